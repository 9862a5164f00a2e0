"""The kernels for GPUs: the laws, and equality with those of the CPU.

Where there is a GPU they are compiled for it; elsewhere Triton interprets them on the CPU.
"""

import math
import os
import subprocess
import sys

import pytest
import torch

import laws
from coslice.geometry import ConeBeam, FanBeam, Grid, ParallelBeam
from coslice.operators import Projector
from laws import assert_operator, draw, relative

pytest.importorskip("triton", reason="triton is not installed")
from coslice.operators import joseph_triton

ANGLES = (0.1, math.pi / 4, 2.0, math.pi)
GRID = Grid((5, 6, 7), (1.2, 1.0, 0.9), (1.5, -1.0, 2.0))
CONE = ConeBeam(ANGLES, (6, 11), (1.5, 1.4), (1.0, 1.0), source_axis=60.0, axis_detector=30.0)
FAN = FanBeam(ANGLES, (6, 11), (1.1, 1.4), (1.0, 1.0), source_axis=60.0, axis_detector=30.0)
PARALLEL = ParallelBeam(ANGLES, (6, 11), (0.9, 0.8), (1.0, 1.0))
NEAR = ConeBeam(ANGLES, (6, 30), (1.5, 2.0), source_axis=10.0, axis_detector=8.0)  # a fan of 118 degrees
FINE = ConeBeam(ANGLES, (14, 18), (0.5, 0.45), source_axis=60.0, axis_detector=30.0)
COARSE = ConeBeam(ANGLES, (2, 3), (6.0, 5.0), source_axis=60.0, axis_detector=30.0)
SINGLE = ConeBeam((0.7,), (1, 1), (2.0, 2.0), source_axis=60.0, axis_detector=30.0)
GEOMETRIES = {"cone": CONE, "fan": FAN, "parallel": PARALLEL}
CASES = {
    **{name: (geometry, GRID) for name, geometry in GEOMETRIES.items()},
    "near": (NEAR, GRID),
    "fine": (FINE, GRID),
    "coarse": (COARSE, GRID),
    "one pixel": (SINGLE, GRID),
    "one slice": (CONE, Grid((1, 6, 7), (2.5, 1.0, 1.0))),
    "one row of voxels": (FAN, Grid((3, 1, 7))),
    "flat voxels": (CONE, Grid((4, 6, 7), (3.0, 1.5, 0.6))),
    "beside the detector": (PARALLEL, Grid((5, 6, 7), centre=(40.0, 0.0, 0.0))),
}


@pytest.fixture(autouse=True)
def large_tiles(monkeypatch):
    """The interpreter walks programs one by one: few and large ones are soon done."""
    if laws.DEVICE == "cpu":
        monkeypatch.setattr(joseph_triton, "_TILE", 4096)


@pytest.mark.slow
@pytest.mark.parametrize("geometry", GEOMETRIES.values(), ids=GEOMETRIES.keys())
def test_laws(geometry):
    assert_operator(Projector(geometry, GRID, "triton"), tolerance=1e-7)


@pytest.mark.parametrize(("geometry", "grid"), CASES.values(), ids=CASES.keys())
def test_they_are_the_kernels_of_the_cpu(geometry, grid):
    ours, theirs = Projector(geometry, grid, "triton"), Projector(geometry, grid, "numba")
    x, y = draw(grid.shape, 1), draw(geometry.shape, 2)
    projected, back = ours.forward(x), ours.adjoint(y)
    assert relative(projected, theirs.forward(x)) <= 1e-6
    assert relative(back, theirs.adjoint(y)) <= 1e-6
    scale = float(projected.double().norm() * y.double().norm())
    assert abs(laws.inner(projected, y) - laws.inner(x, back)) <= 1e-7 * scale


def test_neither_the_run_nor_the_tiles_change_a_bit(monkeypatch):
    projector = Projector(CONE, GRID, "triton")
    x, y = draw(projector.domain), draw(projector.codomain)
    first = projector.forward(x), projector.adjoint(y)
    for tile in (joseph_triton._TILE, 256):
        monkeypatch.setattr(joseph_triton, "_TILE", tile)
        assert torch.equal(projector.forward(x), first[0]) and torch.equal(projector.adjoint(y), first[1])


COMPILED = """
import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource
from coslice.operators import joseph_triton

pointers = {"path": "*i64", "span": "*i32", "driven": "*i32"}
pointers |= dict.fromkeys(("volume", "weighted", "out", "crossing"), "*fp32") | {"margin": "fp32"}
for kernel in (joseph_triton._forward, joseph_triton._adjoint):
    blocks = {"BESIDE": 8, "ALONG": 64}
    names = {name: "constexpr" if name in blocks else pointers.get(name, "i32") for name in kernel.arg_names}
    made = triton.compile(ASTSource(kernel, names, blocks), GPUTarget("cuda", CAPABILITY, 32), joseph_triton._FUSED)
    assert not any(word in made.asm["ptx"] for word in ("atom.", "red.", ".f64", ".local")), kernel.__name__
"""


@pytest.mark.slow
@pytest.mark.parametrize("capability", [75, 90])
def test_they_compile_without_atomics_doubles_or_spills(capability):
    """For GPUs that are not there: of 2018, which has no bfloat16, and of 2022."""
    environment = {**os.environ, "TRITON_INTERPRET": "0"}
    words = [sys.executable, "-c", COMPILED.replace("CAPABILITY", str(capability))]
    done = subprocess.run(words, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-2000:]
