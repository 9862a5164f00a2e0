"""The papers as values: every published constant, with its source. No logic lives here.

Where our default is another number, a comment says which was published and why ours differs.

`+ISCS` is not a method: it is `--noise iscs` on any of the diffusion methods.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from coslice.geometry import ConeBeam, Grid

__all__ = ["CLASSICAL", "DIFFUSION", "METHODS", "ON_ZSR", "Method", "published_cone_beam"]


@dataclass(frozen=True)
class Method:
    """A reconstruction method and its published settings.

    Attributes:
        name: as the command line knows it.
        title: as tables print it.
        source: where the constants come from.
        kinds: of problems it is for, "ct" and "zsr".
        fidelity: "proximal-cg" (DDS), "null-space" (DDNM), "proximal-tv" (DDS+TV), "weighted-cg" (DiffPIR), "guidance"
            (DPS) or "tv-after-corrector" (DiffusionMBIR); "" for a classical method.
        renoising: "share", "ddim", "diffpir" or "predictor-corrector", see `coslice.renoising`.
        steps: network evaluations for each sample.
        samples: reconstructions with different noise, of which the mean is taken.
        sigma_max, sigma_min: of the geometric schedule.
        eta: share of fresh noise in re-noising, zeta of DiffPIR.
        temperature: size of the fresh noise against the published.
        cg_iterations: CG steps per data fidelity update.
        sirt_iterations: SIRT steps of the pseudo-inverse, or of SIRT itself.
        iterations: outer iterations of a classical method.
        tv_weight, tv_penalty: lambda and rho of total variation, relative to the mean diagonal of A^T A. (Published
            code scales its backprojection by pi/(2 views), which brings that diagonal to about 1.)
        data_weight: lambda of DiffPIR.
        guidance: step of DPS, for an A that counts lengths in voxels.
        rounds: of alternating projection, at the end, between the data and values from 0 to 1.
    """

    name: str
    title: str
    source: str
    kinds: tuple[str, ...] = ("ct", "zsr")
    fidelity: str = ""
    renoising: str = "share"
    steps: int = 30
    samples: int = 1
    sigma_max: float = 5.0
    sigma_min: float = 0.01
    eta: float = 1.0
    temperature: float = 1.0
    cg_iterations: int = 10
    sirt_iterations: int = 100
    iterations: int = 0
    tv_weight: float = 0.0
    tv_penalty: float = 1.0
    data_weight: float = 0.0
    guidance: float = 0.0
    rounds: int = 0


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

DDS_TV = Method(
    name="dds-tv",
    title="DDS+TV",
    source="Chung et al., ICLR 2024; lambda and rho of Chung et al., CVPR 2023; 5 CG iterations",
    fidelity="proximal-tv",
    sigma_max=0.5,  # as DDS, beside which it is measured
    cg_iterations=5,
    tv_weight=0.04,  # Song et al., NeurIPS 2024, ran DDS with 0.4
    tv_penalty=10.0,
)

DIFFUSION_MBIR = Method(
    name="diffusion-mbir",
    title="DiffusionMBIR",
    source="Chung et al., CVPR 2023; lambda, rho and the corrector's 0.16 as in Song et al., NeurIPS 2024, appendix",
    fidelity="tv-after-corrector",
    renoising="predictor-corrector",
    steps=200,  # published: 2,000, from pure noise, which took its authors a day
    sigma_max=0.5,  # as DDS
    cg_iterations=1,
    tv_weight=0.04,
    tv_penalty=10.0,
)

DIFFPIR = Method(
    name="diffpir",
    title="DiffPIR",
    source="Zhu et al., CVPRW 2023: lambda 7, zeta 0.3, 100 steps",
    fidelity="weighted-cg",
    renoising="diffpir",
    steps=100,
    sigma_max=0.5,  # as DDS
    eta=0.3,
    data_weight=7.0,
)

DPS = Method(
    name="dps",
    title="DPS",
    source="Chung et al., ICLR 2023",
    fidelity="guidance",
    renoising="ddim",
    steps=100,  # published: 1,000
    guidance=1.0,
)

FDK = Method(name="fdk", title="FDK", source="Feldkamp, Davis & Kress, J. Opt. Soc. Am. A 1984", kinds=("ct",))

CUBIC = Method(name="cubic", title="Cubic", source="a cubic spline through the thick slices", kinds=("zsr",))

SIRT = Method(
    name="sirt",
    title="SIRT",
    source="Gilbert, J. Theor. Biol. 1972; 100 iterations with positivity as in Du et al.'s code",
)

CGLS = Method(name="cgls", title="CGLS", source="Hestenes & Stiefel 1952, on the normal equations", iterations=20)

ADMM_TV = Method(
    name="admm-tv",
    title="ADMM-TV",
    source="Du et al., ICLR 2026, eq. 13; weight and penalty tuned on training scans at 128 and 256 pixels",
    iterations=30,
    cg_iterations=5,
    tv_weight=0.06,
)

DIFFUSION: dict[str, Method] = {m.name: m for m in (DDS, DDNM, DDS_TV, DIFFUSION_MBIR, DIFFPIR, DPS)}
CLASSICAL: dict[str, Method] = {m.name: m for m in (FDK, CUBIC, SIRT, CGLS, ADMM_TV)}
METHODS: dict[str, Method] = {**DIFFUSION, **CLASSICAL}

# Published for MRI: 20 network evaluations (the code: 5) and one CG iteration. The levels are ours: cubic interpolation
# is wrong by about 0.05, and what much more noise wipes out of it does not come back. So is the temperature: one sample
# pays for its texture in PSNR (docs/results.md). And the rounds: where a thick slice of MR is 0, none of its thin ones,
# which are not negative, can be anything else.
_ZSR: dict[str, Any] = {"steps": 20, "sigma_max": 0.2, "sigma_min": 0.02, "temperature": 0.8}
ON_ZSR: dict[str, dict[str, Any]] = {
    "dds": {**_ZSR, "cg_iterations": 1, "rounds": 10},
    "ddnm": {**_ZSR, "rounds": 10},
    "dds-tv": _ZSR,
    "diffpir": {"sigma_max": 0.2, "sigma_min": 0.02},
    "admm-tv": {"tv_weight": 0.01},  # tuned on a training brain
}
"""What is different for super-resolution along z, by method."""


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
