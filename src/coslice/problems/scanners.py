"""The scanners of the papers, scaled to the field of view of a scan."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from coslice.geometry import ConeBeam, Grid, ParallelBeam

__all__ = ["BEAMS", "Beam", "published_cone_beam", "published_parallel_beam"]


def published_cone_beam(angles: Sequence[float], grid: Grid, rows: float = 2.0) -> ConeBeam:
    """The cone-beam scanner of the ISCS paper (appendix A.2), scaled to the field of view of `grid`.

    Published: 256 voxels of size 1 across, a detector of 512 x 512 pixels two voxels wide and high, source-axis
    700 and axis-detector 500 voxels. Here the field of view keeps its mm and stands for 256; a grid of n voxels
    across gets 2n detector columns over the same extent, and rows of twice the slice spacing, so that slices are
    resolved as they were published whatever their thickness. Pixels that no ray through the grid reaches are
    left out.

    Args:
        angles: of the views, rad.
        grid: of the volume.
        rows: height of a detector row, slices. At the axis, nearer to the source, it covers 7/12 of that.
    """
    unit = max(grid.size[1:]) / 256
    columns = 2 * max(grid.shape[1:])
    scanner = ConeBeam(
        angles=tuple(angles),
        detector=(math.ceil(1024 / rows), columns),
        pixel=(rows * grid.spacing[0], 1024 * unit / columns),
        source_axis=700 * unit,
        axis_detector=500 * unit,
    )
    return scanner.cropped(grid)


def published_parallel_beam(angles: Sequence[float], grid: Grid, rows: float = 1.0) -> ParallelBeam:
    """The parallel-beam scanner of DiffusionBlend (Song et al., NeurIPS 2024, section 4), scaled to `grid`.

    Published: a detector of 512 pixels for slices of 256 x 256, in every slice by itself. How wide a pixel is, the
    paper does not tell; the projector that it cites sums along the lines of the image turned, so a detector pixel is
    as wide as one of the image. A grid of n voxels across gets 2n columns of a voxel's width, and a row per slice.
    Columns that no ray through the grid reaches, those beyond its diagonal, are left out. `rows` is the height of a
    row in slices, which can be nothing else.
    """
    columns = 2 * max(grid.shape[1:])
    scanner = ParallelBeam(
        angles=tuple(angles),
        detector=(grid.shape[0], columns),
        pixel=(grid.spacing[0], 2 * max(grid.size[1:]) / columns),
        offset=(grid.centre[0], 0.0),
    )
    return scanner.cropped(grid)


@dataclass(frozen=True)
class Beam:
    """A kind of scanner, and the published numbers of its tasks.

    Attributes:
        scanner: (angles in rad, grid, height of a detector row in slices) -> geometry.
        turn: angle in degrees after which a view shows nothing new.
        views: number of views of sparse-view CT.
        wedge: angle of limited-angle CT, degrees.
        rows: height of a detector row, slices.
        whole_rows: whether it must be that, since every slice is a scan of its own.
    """

    scanner: Callable[[Sequence[float], Grid, float], ConeBeam | ParallelBeam]
    turn: float
    views: int
    wedge: float
    rows: float
    whole_rows: bool = False


BEAMS = {
    "cone": Beam(published_cone_beam, turn=360.0, views=30, wedge=100.0, rows=2.0),
    "parallel": Beam(published_parallel_beam, turn=180.0, views=8, wedge=90.0, rows=1.0, whole_rows=True),
}
"""Scanners by the name of their beam."""
