"""Time A, A^T and a step of conjugate gradients on the tasks of the projector, and check them against closed forms.

    python benchmarks/projectors.py [--large] [--threads N] [--repeats N]

Tasks: 30 cone-beam views over 360 degrees (S, L, and XL with --large) and a parallel stack over 180 degrees
(P), voxels of 1 mm. `mismatch` is |<A x, y> - <x, A^T y>| / (|A x| |y|) on dense random x and y; `error` is
the relative L2 distance of A x to analytic line integrals of ellipsoids averaged over 4 x 4 points a pixel;
`peak` is the resident memory of this process while it ran the task, ours alone. `CG step` is A^T A with all that an
iteration of conjugate gradients adds to it. Times are the best of several.
"""

from __future__ import annotations

import argparse
import importlib
import math
import multiprocessing
import resource
import time
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from coslice.classical import conjugate_gradient, vectors
from coslice.geometry import ConeBeam, Grid, ParallelBeam, sparse_view
from coslice.operators import Projector

_CONE = {"pixel": (1.5, 1.5), "source_axis": 1000.0, "axis_detector": 536.0}
TASKS = {
    "S": (
        Grid((64, 128, 128)),
        ConeBeam(sparse_view(30), (192, 256), (1.5, 1.5), source_axis=500.0, axis_detector=268.0),
    ),
    "L": (Grid((128, 256, 256)), ConeBeam(sparse_view(30), (256, 512), **_CONE)),
    "XL": (Grid((300, 256, 256)), ConeBeam(sparse_view(30), (512, 512), **_CONE)),
    "P": (Grid((128, 256, 256)), ParallelBeam(sparse_view(30, math.pi), (128, 384), (1.0, 1.0))),
}
# value, centre and semi-axes as (x, y, z), both as a share of half the grid's extent
ELLIPSOIDS = (
    (1.0, (0.0, 0.0, 0.0), (0.8, 0.7, 0.75)),
    (-0.5, (0.2, 0.1, 0.1), (0.3, 0.35, 0.4)),
    (0.7, (-0.3, -0.25, -0.2), (0.2, 0.15, 0.25)),
)


def measure(name: str, repeats: int, threads: int) -> tuple[float, float, float, float, float, float, float]:
    """Seconds of A, A^T, A^T A and a CG step, mismatch, peak memory in MB and error of a task."""
    torch.set_num_threads(threads)
    grid, geometry = TASKS[name]
    projector = Projector(geometry, grid)
    generator = torch.Generator().manual_seed(0)
    nz, ny, nx = grid.shape
    views, rows, columns = geometry.shape
    x = torch.rand((ny, nx, nz), generator=generator).permute(2, 0, 1)
    y = torch.rand((views, columns, rows), generator=generator).permute(0, 2, 1)
    projected, back = projector.forward(x), projector.adjoint(y)
    left, right = _inner(projected, y), _inner(x, back)
    mismatch = abs(left - right) / math.sqrt(_inner(projected, projected) * _inner(y, y))
    del projected, back
    times = _best(lambda: projector.forward(x), repeats), _best(lambda: projector.adjoint(y), repeats)
    out = vectors.empty_like(x)
    product = _best(lambda: projector.gram(x, out=out), repeats)
    short, long = (
        _best(lambda n=n: conjugate_gradient(lambda p: projector.gram(p, out=out), x, None, n), repeats) for n in (1, 5)
    )
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    volume = sum(value * _ellipsoid(grid, centre, axes) for value, centre, axes in ELLIPSOIDS)
    assert isinstance(volume, Tensor)
    return *times, product, (long - short) / 4, mismatch, peak, _error(projector, volume)


def _inner(a: Tensor, b: Tensor) -> float:
    return sum(float((p.double() * q.double()).sum()) for p, q in zip(a, b, strict=True))


def _best(run: Callable[[], object], repeats: int) -> float:
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        run()
        times.append(time.perf_counter() - start)
    return min(times)


def _in_mm(grid: Grid, shares: tuple[float, float, float]) -> np.ndarray:
    return np.array(shares) * np.array(grid.size[::-1]) / 2


def _ellipsoid(grid: Grid, centre: tuple, axes: tuple, split: int = 4) -> Tensor:
    """Share of every voxel within an ellipsoid, (z, y, x)."""
    c, a = _in_mm(grid, centre), _in_mm(grid, axes)
    fine = (np.arange(split) + 0.5) / split - 0.5
    z, y, x = (
        (((grid.axis(n)[:, None] + fine * d).reshape(-1) - c["xyz".index(n)]) / a["xyz".index(n)]) ** 2
        for n, d in zip("zyx", grid.spacing, strict=True)
    )
    nz, ny, nx = grid.shape
    slabs = [
        ((z[k * split : (k + 1) * split, None, None] + y[:, None] + x) <= 1)
        .reshape(split, ny, split, nx, split)
        .mean((0, 2, 4), dtype=np.float32)
        for k in range(nz)
    ]
    return torch.from_numpy(np.stack(slabs))


def _error(projector: Projector, volume: Tensor, split: int = 4) -> float:
    """Relative L2 distance of A x to chords averaged over split^2 points a pixel."""
    geometry, grid = projector.geometry, projector.grid
    assert isinstance(geometry, (ConeBeam, ParallelBeam))
    rows, columns = geometry.detector
    fine = type(geometry)(
        **{
            **{field: getattr(geometry, field) for field in geometry.__dataclass_fields__},
            "detector": (rows * split, columns * split),
            "pixel": (geometry.pixel[0] / split, geometry.pixel[1] / split),
        }
    )
    projected = projector.forward(volume)
    gap = size = 0.0
    for view in range(geometry.views):
        start, direction = fine.rays(view)
        exact = np.zeros((rows, columns))
        for value, centre, axes in ELLIPSOIDS:
            semi = _in_mm(grid, axes)
            s, d = (start - _in_mm(grid, centre)) / semi, direction / semi
            a, b, c = (np.einsum("...i,...i->...", p, q) for p, q in ((d, d), (s, d), (s, s)))
            chord = 2 * np.sqrt(np.maximum(b * b - a * (c - 1), 0)) / a * np.linalg.norm(direction, axis=-1)
            exact += value * chord.reshape(rows, split, columns, split).mean((1, 3))
        gap += float(((projected[view].numpy() - exact) ** 2).sum())
        size += float((exact**2).sum())
    return math.sqrt(gap / size)


def rtk_is_installed() -> bool:
    try:
        return importlib.import_module("itk").RTK is not None
    except (ImportError, AttributeError):  # itk finds its parts when they are asked for
        return False


def measure_rtk(name: str, repeats: int, threads: int) -> tuple[float, float]:
    """Seconds of itk-rtk's Joseph projector and its back-projector on the same task."""
    import itk  # type: ignore[import-not-found]
    from itk import RTK as rtk  # type: ignore[import-not-found]

    itk.MultiThreaderBase.SetGlobalDefaultNumberOfThreads(threads)
    grid, scan = TASKS[name]
    kind = itk.Image[itk.F, 3]
    circle = rtk.ThreeDCircularProjectionGeometry.New()
    for angle in scan.angles:
        distances = (scan.source_axis, scan.source_detector) if isinstance(scan, ConeBeam) else (1000.0, 0.0)
        circle.AddProjection(*distances, math.degrees(angle))

    def image(shape: tuple[int, ...], spacing: tuple[float, ...]):
        made = itk.image_from_array(np.random.default_rng(0).random(shape, np.float32), ttype=kind)
        made.SetSpacing(spacing)
        made.SetOrigin([-(n - 1) / 2 * d for n, d in zip(shape[::-1], spacing, strict=True)])
        return made

    volume = image((grid.shape[1], grid.shape[0], grid.shape[2]), (1.0, 1.0, 1.0))
    stack = image((scan.views, *scan.detector), (scan.pixel[1], scan.pixel[0], 1.0))
    results = []
    for filter_type, inputs in (
        (rtk.JosephForwardProjectionImageFilter, (stack, volume)),
        (rtk.JosephBackProjectionImageFilter, (volume, stack)),
    ):

        def run(filter_type=filter_type, inputs=inputs) -> None:
            step = filter_type[kind, kind].New()
            for number, given in enumerate(inputs):
                step.SetInput(number, given)
            step.InPlaceOff()  # or it consumes its first input, and there is no second run
            step.SetGeometry(circle)
            step.Update()

        results.append(_best(run, repeats))
    return results[0], results[1]


def main() -> None:
    parser = argparse.ArgumentParser(description="Time the projector and check it against closed forms.")
    parser.add_argument("--large", action="store_true", help="also task XL, 300 x 256 x 256")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    peer = rtk_is_installed()
    print(f"{options.threads} threads, best of {options.repeats}, seconds")
    if not peer:
        print("itk-rtk is not installed: no ratios to it")
    print("| task | A | A^T | A^T A | CG step | mismatch | error | peak MB | itk-rtk / ours, A and A^T |")
    print("|---|---|---|---|---|---|---|---|---|")
    context = multiprocessing.get_context("spawn")  # a process of its own per task, so that peaks do not add up
    for name in TASKS:
        if name == "XL" and not options.large:
            continue
        with context.Pool(1) as pool:
            ours = pool.apply(measure, (name, options.repeats, options.threads))
            theirs = pool.apply(measure_rtk, (name, options.repeats, options.threads)) if peer else None
        forward, adjoint, product, step, mismatch, peak, error = ours
        ratio = f"{theirs[0] / forward:.1f}, {theirs[1] / adjoint:.1f}" if theirs else "-"
        times = f"{forward:.3f} | {adjoint:.3f} | {product:.3f} | {step:.3f}"
        print(f"| {name} | {times} | {mismatch:.1e} | {error:.4f} | {peak:.0f} | {ratio} |")


if __name__ == "__main__":
    main()
