"""Seconds of filtered back-projection on this computer: `python benchmarks/fdk.py`.

Sizes as in the projector benchmark: S is 64 x 128 x 128 voxels and a detector of 192 x 256 pixels, L is
128 x 256 x 256 and 256 x 512; 30 cone-beam views over a full turn. The best of several runs is printed,
filtering included, after one that compiles. With itk-rtk installed (`pip install itk-rtk`) its
FDKConeBeamReconstructionFilter does the same task beside it.
"""

from __future__ import annotations

import argparse
import importlib
import math
import time
from collections.abc import Callable

import numpy as np
import torch

from coslice.classical.fdk import fdk
from coslice.geometry import ConeBeam, Grid, sparse_view

SIZES = {
    "S": (ConeBeam(sparse_view(30), (192, 256), (1.5, 1.5), source_axis=500, axis_detector=268), Grid((64, 128, 128))),
    "L": (
        ConeBeam(sparse_view(30), (256, 512), (1.5, 1.5), source_axis=1000, axis_detector=536),
        Grid((128, 256, 256)),
    ),
}


def best(work: Callable[[], object], repeats: int) -> float:
    """Seconds of the fastest of `repeats` runs, after one that is not counted."""
    work()
    seconds = []
    for _ in range(repeats):
        start = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - start)
    return min(seconds)


def rtk_task(projections: torch.Tensor, geometry: ConeBeam, grid: Grid) -> Callable[[], object] | None:
    """The same reconstruction by itk-rtk, or None where it is not installed."""
    try:
        itk = importlib.import_module("itk")
        rtk = itk.RTK
    except (ImportError, AttributeError):
        return None
    orbit = rtk.ThreeDCircularProjectionGeometry.New()
    for angle in geometry.angles:
        orbit.AddProjection(geometry.source_axis, geometry.source_detector, math.degrees(angle))
    image = itk.Image[itk.F, 3]
    stack = itk.image_from_array(np.ascontiguousarray(projections.numpy()))
    stack.SetSpacing((geometry.pixel[1], geometry.pixel[0], 1.0))
    stack.SetOrigin((float(geometry.u()[0]), float(geometry.v()[0]), 0.0))

    def work() -> object:
        # its rotation axis is y: the stack of slices lies along the second axis
        empty = rtk.ConstantImageSource[image].New()
        nz, ny, nx = grid.shape
        dz, dy, dx = grid.spacing
        empty.SetSize((nx, nz, ny))
        empty.SetSpacing((dx, dz, dy))
        empty.SetOrigin((-(nx - 1) / 2 * dx, -(nz - 1) / 2 * dz, -(ny - 1) / 2 * dy))
        reconstruction = rtk.FDKConeBeamReconstructionFilter[image].New()
        reconstruction.SetInput(0, empty.GetOutput())
        reconstruction.SetInput(1, stack)
        reconstruction.SetGeometry(orbit)
        reconstruction.Update()
        return reconstruction.GetOutput()

    return work


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=5, help="runs of which the fastest counts (default 5)")
    repeats = parser.parse_args().repeats
    print(f"{torch.get_num_threads()} threads; seconds, best of {repeats}")
    print(f"{'size':6}{'coslice':>10}{'itk-rtk':>10}{'ratio':>8}")
    missing = False
    for name, (geometry, grid) in SIZES.items():
        noise = np.random.default_rng(0).standard_normal(geometry.shape, dtype=np.float32)
        projections = torch.from_numpy(noise)
        ours = best(lambda y=projections, g=geometry, v=grid: fdk(y, g, v), repeats)
        other = rtk_task(projections, geometry, grid)
        if other is None:
            missing = True
            print(f"{name:6}{ours:10.3f}{'-':>10}{'-':>8}")
        else:
            theirs = best(other, repeats)
            print(f"{name:6}{ours:10.3f}{theirs:10.3f}{theirs / ours:8.1f}")
    if missing:
        print("itk-rtk is not installed: no ratio.")


if __name__ == "__main__":
    main()
