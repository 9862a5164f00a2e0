"""The papers as values: every published constant, with its source. No logic lives here.

Where our default is another number, a comment says which was published and why ours differs.

`+ISCS` is not a method: it is `--noise iscs` on any of the diffusion methods.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from coslice.geometry import ConeBeam, Grid, ParallelBeam

__all__ = [
    "CLASSICAL",
    "DIFFUSION",
    "METHODS",
    "ON_ZSR",
    "USUAL_PRIORS",
    "Method",
    "published_cone_beam",
    "published_parallel_beam",
]


@dataclass(frozen=True)
class Method:
    """A reconstruction method and its published settings.

    Attributes:
        name: as the command line knows it.
        title: as tables print it.
        source: where the constants come from.
        kinds: of problems it is for, "ct" and "zsr".
        prior: what it needs: of "slices", of "patches", of slices of two "planes", "supervised", or "" for none.
        blend: of a prior of patches: "partitions", cut anew at every step, or "windows" about every slice.
        noise: where none is asked for, a name in `coslice.noise.NOISES`.
        fidelity: "proximal-cg" (DDS), "null-space" (DDNM), "proximal-tv" (DDS+TV), "weighted-cg" (DiffPIR), "guidance"
            (DPS) or "tv-after-corrector" (DiffusionMBIR); "" for a method that does not sample.
        renoising: "share", "ddim", "diffpir" or "predictor-corrector", see `coslice.renoising`.
        steps: network evaluations for each sample.
        samples: reconstructions with different noise, of which the mean is taken.
        schedule: of sigma, a name in `coslice.schedule.SCHEDULES`.
        sigma_max, sigma_min: its ends.
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
        cross_every, partition, ends: of patches: see `coslice.priors.partitions.RandomPartitions`; partition is
            "random" or "fixed".
        auxiliary_every: the prior of the second plane takes one step of so many.
    """

    name: str
    title: str
    source: str
    kinds: tuple[str, ...] = ("ct", "zsr")
    prior: str = ""
    blend: str = ""
    noise: str = "iscs"
    fidelity: str = ""
    renoising: str = "share"
    steps: int = 30
    samples: int = 1
    schedule: str = "geometric"
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
    cross_every: int = 2
    partition: str = "random"
    ends: str = "overlap"
    auxiliary_every: int = 2


DDS = Method(
    name="dds",
    title="DDS",
    source="Chung et al., ICLR 2024; CT settings of Du et al., ICLR 2026, section 4.1, appendix A.3 and their code",
    prior="slices",
    fidelity="proximal-cg",
    # Published: 5. Sampling starts at FDK, which is wrong by about 0.1; noise far above that only wipes out what it
    # knows, and spends a third of the steps on it (docs/results.md).
    sigma_max=0.5,
)

DDNM = Method(
    name="ddnm",
    title="DDNM",
    source="Wang et al., ICLR 2023; CT settings of Du et al., ICLR 2026, appendix A.3 and their code",
    prior="slices",
    fidelity="null-space",
)

DDS_TV = Method(
    name="dds-tv",
    title="DDS+TV",
    source="Chung et al., ICLR 2024; lambda and rho of Chung et al., CVPR 2023; 5 CG iterations",
    prior="slices",
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
    prior="slices",
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
    prior="slices",
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
    prior="slices",
    fidelity="guidance",
    renoising="ddim",
    steps=100,  # published: 1,000
    guidance=1.0,
)

# Published: 100 evaluations, from pure noise; where sampling starts is as for DDS.
DDS_2D = replace(
    DDS,
    name="dds-2d",
    title="DDS 2D",
    source="Chung et al., ICLR 2024, with the settings of Song et al., NeurIPS 2024, section 4 and appendix A.5",
    schedule="vp",
    steps=100,
    eta=0.85,
    cg_iterations=5,
)

DDS_3D = replace(
    DDS_2D,
    name="dds-3d",
    title="DDS 3D (TV)",
    fidelity="proximal-tv",
    tv_weight=0.4,
    tv_penalty=10.0,
)

DIFFUSIONBLEND = replace(
    DDS_2D,
    name="diffusionblend",
    title="DiffusionBlend",
    source="Song et al., NeurIPS 2024, Algorithm 2 and section 4",
    prior="patches",
    blend="windows",
    # A prior that sees neighbours together averages out what is independent in them; ISCS makes the volume steadier and
    # the error larger (docs/results.md).
    noise="independent",
)

DIFFUSIONBLEND_PP = replace(
    DIFFUSIONBLEND,
    name="diffusionblend++",
    title="DiffusionBlend++",
    source="Song et al., NeurIPS 2024, Algorithm 1, section 4 and appendix A.4; ends as in their code",
    blend="partitions",
)

TPDM = replace(
    DPS,
    name="tpdm",
    title="TPDM",
    source="Lee et al., ICCV 2023; DPS step as in Song et al., NeurIPS 2024, appendix A.5",
    prior="planes",
    noise="independent",  # as DiffusionBlend
    steps=200,  # published: 2,000
    sigma_max=0.5,  # as DDS
    guidance=0.5,
)

TPDM_CG = replace(
    DDS,
    name="tpdm-cg",
    title="TPDM-CG",
    source="ours: the two planes of TPDM (Lee et al., ICCV 2023) with the data step of DDS",
    prior="planes",
    noise="independent",
)

FBP_UNET = Method(
    name="fbp-unet",
    title="FBP-UNet",
    source="Jin et al., IEEE TIP 2017; one network for several tasks is ours",
    kinds=("ct",),
    prior="supervised",
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

DIFFUSION: dict[str, Method] = {
    m.name: m
    for m in (
        *(DDS, DDNM, DDS_TV, DIFFUSION_MBIR, DIFFPIR, DPS),
        *(DDS_2D, DDS_3D, DIFFUSIONBLEND, DIFFUSIONBLEND_PP, TPDM, TPDM_CG),
    )
}
CLASSICAL: dict[str, Method] = {m.name: m for m in (FDK, CUBIC, SIRT, CGLS, ADMM_TV, FBP_UNET)}
METHODS: dict[str, Method] = {**DIFFUSION, **CLASSICAL}

# Published for MRI: 20 network evaluations (the code: 5) and one CG iteration. The levels are ours: cubic interpolation
# is wrong by about 0.05, and what much more noise wipes out of it does not come back. So is the temperature: one sample
# pays for its texture in PSNR (docs/results.md). And the rounds: where a thick slice of MR is 0, none of its thin ones,
# which are not negative, can be anything else.
_LEVELS: dict[str, Any] = {"sigma_max": 0.2, "sigma_min": 0.02}
_ZSR: dict[str, Any] = {**_LEVELS, "steps": 20, "temperature": 0.8}
ON_ZSR: dict[str, dict[str, Any]] = {
    "dds": {**_ZSR, "cg_iterations": 1, "rounds": 10},
    "ddnm": {**_ZSR, "rounds": 10},
    "dds-tv": _ZSR,
    "diffpir": _LEVELS,
    **{name: {**_LEVELS, "cg_iterations": 1} for name in ("dds-2d", "diffusionblend", "diffusionblend++")},
    "dds-3d": _LEVELS,
    "tpdm": _LEVELS,
    "tpdm-cg": {**_ZSR, "cg_iterations": 1, "rounds": 10},
    "admm-tv": {"tv_weight": 0.01},  # tuned on a training brain
}
"""What is different for super-resolution along z, by method."""


USUAL_PRIORS: dict[tuple[str, str], tuple[str, str | None]] = {
    ("ct", "slices"): ("ct", None),
    ("ct", "patches"): ("ct3", None),
    ("ct", "planes"): ("ct", "ct-coronal"),
    ("ct", "supervised"): ("ct-fbp-unet", None),
    ("zsr", "slices"): ("mr", None),
}
"""Embedded priors by kind of problem and what a method needs: the prior, and that of a second plane."""


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
