"""The scanners of the papers, scaled to the field of view of a scan."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from coslice.geometry import ConeBeam, Grid, ParallelBeam

__all__ = ["BEAMS", "Beam", "published_cone_beam", "published_parallel_beam"]


def published_cone_beam(angles: Sequence[float], grid: Grid) -> ConeBeam:
    """The cone-beam scanner of the ISCS paper (appendix A.2), scaled to the field of view of `grid`.

    Published: 256 voxels of size 1 across, a detector of 512 x 512 pixels two voxels wide and high, source-axis
    700 and axis-detector 500 voxels. Here the field of view keeps its mm and stands for 256; a grid of n voxels
    across gets 2n detector columns over the same extent, and rows of twice the slice spacing, so that slices are
    resolved as they were published whatever their thickness. Pixels that no ray through the grid reaches are
    left out.
    """
    unit = max(grid.size[1:]) / 256
    columns = 2 * max(grid.shape[1:])
    scanner = ConeBeam(
        angles=tuple(angles),
        detector=(512, columns),
        pixel=(2 * grid.spacing[0], 1024 * unit / columns),
        source_axis=700 * unit,
        axis_detector=500 * unit,
    )
    return scanner.cropped(grid)


def published_parallel_beam(angles: Sequence[float], grid: Grid) -> ParallelBeam:
    """The parallel-beam scanner of DiffusionBlend (Song et al., NeurIPS 2024, section 4), scaled to `grid`.

    Published: a detector of 512 pixels for slices of 256 x 256, in every slice by itself. How wide a pixel is, the
    paper does not tell; the projector that it cites sums along the lines of the image turned, so a detector pixel is
    as wide as one of the image. A grid of n voxels across gets 2n columns of a voxel's width, and a row per slice.
    Columns that no ray through the grid reaches, those beyond its diagonal, are left out.
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
        scanner: (angles in rad, grid) -> geometry.
        turn: angle in degrees after which a view shows nothing new.
        views: number of views of sparse-view CT.
        wedge: angle of limited-angle CT, degrees.
    """

    scanner: Callable[[Sequence[float], Grid], ConeBeam | ParallelBeam]
    turn: float
    views: int
    wedge: float


BEAMS = {
    "cone": Beam(published_cone_beam, turn=360.0, views=30, wedge=100.0),
    "parallel": Beam(published_parallel_beam, turn=180.0, views=8, wedge=90.0),
}
"""Scanners by the name of their beam."""
