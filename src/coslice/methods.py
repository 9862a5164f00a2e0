"""The papers as values: every published constant, with its source. No logic lives here.

Where our default is another number, a comment says which was published and why ours differs.

`+ISCS` is not a method: it is `--noise iscs` on any of the diffusion methods.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from coslice.geometry import ConeBeam, Grid

__all__ = ["CLASSICAL", "DIFFUSION", "METHODS", "Method", "published_cone_beam"]


@dataclass(frozen=True)
class Method:
    """A reconstruction method and its published settings.

    Attributes:
        name: as the command line knows it.
        title: as tables print it.
        source: where the constants come from.
        fidelity: "proximal-cg" (DDS) or "null-space" (DDNM); "" for a classical method.
        steps: network evaluations.
        sigma_max, sigma_min: of the geometric schedule.
        eta: share of fresh noise in re-noising.
        cg_iterations: CG steps per data fidelity update.
        sirt_iterations: SIRT steps of the pseudo-inverse, or of SIRT itself.
        iterations: outer iterations of a classical method.
    """

    name: str
    title: str
    source: str
    fidelity: str = ""
    steps: int = 30
    sigma_max: float = 5.0
    sigma_min: float = 0.01
    eta: float = 1.0
    cg_iterations: int = 10
    sirt_iterations: int = 100
    iterations: int = 0


DDS = Method(
    name="dds",
    title="DDS",
    source="Chung et al., ICLR 2024; CT settings of Du et al., ICLR 2026, section 4.1, appendix A.3 and their code",
    fidelity="proximal-cg",
    # Published: 5. Sampling starts at FDK, which is wrong by about 0.1; noise far above that only wipes out what it
    # knows, and spends a third of the steps on it (docs/results.md).
    sigma_max=0.5,
)

DDNM = Method(
    name="ddnm",
    title="DDNM",
    source="Wang et al., ICLR 2023; CT settings of Du et al., ICLR 2026, appendix A.3 and their code",
    fidelity="null-space",
)

FDK = Method(name="fdk", title="FDK", source="Feldkamp, Davis & Kress, J. Opt. Soc. Am. A 1984")

SIRT = Method(
    name="sirt",
    title="SIRT",
    source="Gilbert, J. Theor. Biol. 1972; 100 iterations with positivity as in Du et al.'s code",
    iterations=100,
)

CGLS = Method(name="cgls", title="CGLS", source="Hestenes & Stiefel 1952, on the normal equations", iterations=20)

ADMM_TV = Method(
    name="admm-tv",
    title="ADMM-TV",
    source="Du et al., ICLR 2026, eq. 13; weight and penalty tuned on a training scan at 128 and 256 pixels",
    iterations=30,
)

DIFFUSION: dict[str, Method] = {method.name: method for method in (DDS, DDNM)}
CLASSICAL: dict[str, Method] = {method.name: method for method in (FDK, SIRT, CGLS, ADMM_TV)}
METHODS: dict[str, Method] = {**DIFFUSION, **CLASSICAL}


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
