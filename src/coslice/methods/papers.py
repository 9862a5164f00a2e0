"""The papers as compositions: every published constant, with its source. No logic lives here.

Where our default is another number, `published` has the one that was published, and a comment says why ours differs.
"+ISCS" is no method: it is the noise of any of the diffusion methods.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from difflib import get_close_matches

from coslice.correlated_noise import Matern
from coslice.errors import CosliceError
from coslice.methods.data_steps import (
    ConjugateGradients,
    Guidance,
    NullSpace,
    StackTV,
    TrustedPrediction,
    TVAfterCorrector,
    UpdateGuidance,
    WeightedGradients,
)
from coslice.methods.method import AnyMethod, Direct, Method, Start
from coslice.methods.prior_parts import Patches, Planes, Relay, Slices, Windows
from coslice.methods.solutions import (
    AdmmTVSolution,
    AnalyticSolution,
    CglsSolution,
    NetworkSolution,
    SirtSolution,
    SuitedSolution,
)
from coslice.noise import Independent
from coslice.renoising import DDIM, DiffPIR, PredictorCorrector, Share
from coslice.schedule import Geometric, VariancePreserving

__all__ = [
    "DIFFUSIONBLEND_TV",
    "KINDS",
    "METHODS",
    "default_method",
    "find_method",
    "methods_for",
    "published_evaluations",
]

DDS = Method(
    name="dds",
    title="DDS",
    source="Chung et al., ICLR 2024; CT settings of Du et al., ICLR 2026, section 4.1, appendix A.3 and their code",
    prior=Slices(),
    data=ConjugateGradients(iterations=10),
    renoising=Share(1.0),
    # Sampling starts at FDK, which is wrong by about 0.1; noise far above that only wipes out what it knows, and spends
    # a third of the steps on it (docs/results.md).
    schedule=Geometric(steps=30, sigma_max=0.5, sigma_min=0.01),
    # Its code's end has more PSNR, and less texture: LPIPS and slice-to-slice differences are worse (as-published.md).
    published={"schedule.sigma_max": 5.0, "end": "denoised-estimate"},
)

DDNM = Method(
    name="ddnm",
    title="DDNM",
    source="Wang et al., ICLR 2023; CT settings of Du et al., ICLR 2026, appendix A.3 and their code",
    prior=Slices(),
    data=NullSpace(sirt_iterations=100),
    schedule=Geometric(steps=30, sigma_max=5.0, sigma_min=0.01),
    published={"start.solution": "sirt", "end": "denoised"},  # of 100 iterations, as its pseudo-inverse
)

DDS_TV = replace(
    DDS,
    name="dds-tv",
    title="DDS+TV",
    source="Chung et al., ICLR 2024; lambda and rho of Chung et al., CVPR 2023; 5 CG iterations",
    data=StackTV(weight=0.04, penalty=10.0, iterations=5),  # Song et al., NeurIPS 2024, ran DDS with 0.4
)

DIFFUSION_MBIR = Method(
    name="diffusion-mbir",
    title="DiffusionMBIR",
    source="Chung et al., CVPR 2023; lambda, rho and the corrector's 0.16 as in Song et al., NeurIPS 2024, appendix",
    prior=Slices(),
    data=TVAfterCorrector(weight=0.04, penalty=10.0, iterations=1),
    renoising=PredictorCorrector(snr=0.16),
    # Published from pure noise, which took its authors a day; sigma as for DDS.
    schedule=Geometric(steps=200, sigma_max=0.5, sigma_min=0.01),
    published={
        "schedule.steps": 4000,  # 2,000 levels, a predictor and a corrector at each
        "schedule.sigma_max": 378.0,
        "start.volume": "noise",
        "end": "kaczmarz",
    },
)

DIFFPIR = Method(
    name="diffpir",
    title="DiffPIR",
    source="Zhu et al., CVPRW 2023: lambda 7, zeta 0.3, 100 steps",
    prior=Slices(),
    data=TrustedPrediction(weight=7.0, iterations=10),
    renoising=DiffPIR(zeta=0.3),
    schedule=Geometric(steps=100, sigma_max=0.5, sigma_min=0.01),  # as DDS
)

DPS = Method(
    name="dps",
    title="DPS",
    source="Chung et al., ICLR 2023",
    prior=Slices(),
    data=Guidance(step=1.0),
    renoising=DDIM(1.0),
    schedule=Geometric(steps=100, sigma_max=5.0, sigma_min=0.01),
    published={"schedule.steps": 1000},
)

DDS_2D = replace(
    DDS,
    name="dds-2d",
    title="DDS 2D",
    source="Chung et al., ICLR 2024, with the settings of Song et al., NeurIPS 2024, section 4 and appendix A.5",
    data=ConjugateGradients(iterations=5),
    renoising=Share(0.85),
    schedule=VariancePreserving(steps=100, sigma_max=0.5, sigma_min=0.01),  # where sampling starts is as for DDS
    published={
        "schedule.sigma_max": 78.7,
        "schedule.sigma_min": 0.00501,
        "start.volume": "noise",
        "renoising.quiet": 1,  # in its code
    },
)

DDS_3D = replace(
    DDS_2D,
    name="dds-3d",
    title="DDS 3D (TV)",
    data=StackTV(weight=0.4, penalty=10.0, iterations=5),
)

DIFFUSIONBLEND = replace(
    DDS_2D,
    name="diffusionblend",
    title="DiffusionBlend",
    source="Song et al., NeurIPS 2024, Algorithm 2 and section 4",
    prior=Windows(),
    # A prior that sees neighbours together averages out what is independent in them; ISCS makes the volume steadier and
    # the error larger (docs/results.md).
    noise=Independent(),
    published={**DDS_2D.published, "schedule.steps": 200},
)

DIFFUSIONBLEND_PP = replace(
    DIFFUSIONBLEND,
    name="diffusionblend++",
    title="DiffusionBlend++",
    source="Song et al., NeurIPS 2024, Algorithm 1, section 4 and appendix A.4; ends as in their code",
    prior=Patches(cross_every=2, partition="random", ends="overlap"),
)

DIFFUSIONBLEND_TV = StackTV(weight=5e-5, penalty=0.001, iterations=5)
"""The data step of DiffusionBlend's code for LIDC-IDRI, where the paper writes conjugate gradients: lambda 0.00005 and
rho 0.001, so small that it nearly is them. Its A^T A has a mean diagonal of about 1, to which ours are relative."""

WDDS = replace(
    DDS,
    name="wdds",
    title="WDDS",
    source="ours: DDS with a data step in the metric of the prior's uncertainty, and a start that suits the views",
    # With half as many it is 0.6 dB lower at 30 views, and 1.2 on a wedge (docs/weighted.md).
    data=WeightedGradients(iterations=18),
    # The weighted step agrees with the data sooner, so sampling may start lower (docs/weighted.md).
    schedule=Geometric(steps=30, sigma_max=0.3, sigma_min=0.01),
    start=Start(solution=SuitedSolution()),
    # One sample pays for its texture in PSNR: a little less of it costs LPIPS nearly nothing (docs/weighted.md).
    renoising=Share(temperature=0.9),
    published={},
)

WBLEND = replace(
    WDDS,
    name="wblend",
    title="WBlend",
    source="ours: WDDS that sees patches first, as DiffusionBlend++ does, and slices last, tied over millimetres",
    prior=Relay(),
    # Six are too few for slices of 256 pixels, and 0.6 dB less at 30 views of 128 (docs/weighted.md).
    data=WeightedGradients(iterations=12),
    # It may end lower too, which published networks do not know: theirs is the usual 0.01.
    schedule=Geometric(steps=50, sigma_max=0.3, sigma_min=0.005),
    # Slices of 1 mm are nearly the same, slices of 3 mm are not: ISCS, which counts slices, ties those too tightly.
    noise=Matern(length=5.0),
)

TPDM = replace(
    DPS,
    name="tpdm",
    title="TPDM",
    source="Lee et al., ICCV 2023, and their code; step of Song et al., NeurIPS 2024, appendix A.5",
    prior=Planes(auxiliary_every=2),
    # Tuned on a training scan at 64 pixels, with 40 network evaluations; the published one is for 4,000.
    data=UpdateGuidance(step=0.25),
    renoising=PredictorCorrector(snr=0.16, carried="mean"),
    schedule=Geometric(steps=200, sigma_max=0.5, sigma_min=0.01),  # sigma as for DDS
    noise=Independent(),  # as DiffusionBlend
    published={
        "schedule.steps": 4000,  # 2,000 levels, two calls each
        "schedule.sigma_max": 378.0,
        "start.volume": "noise",
        "prior.auxiliary_every": 2.7,
        "data.step": 0.5,
    },
)

TPDM_CG = replace(
    DDS,
    name="tpdm-cg",
    title="TPDM-CG",
    source="ours: the two planes of TPDM (Lee et al., ICCV 2023) with the data step of DDS",
    prior=Planes(auxiliary_every=2),
    noise=Independent(),
    published={},
)

FDK = Direct(
    "fdk", "FDK", "Feldkamp, Davis & Kress, J. Opt. Soc. Am. A 1984", solution=AnalyticSolution(), kinds=("ct",)
)
CUBIC = Direct("cubic", "Cubic", "a cubic spline through the thick slices", solution=AnalyticSolution(), kinds=("zsr",))
SIRT = Direct(
    "sirt",
    "SIRT",
    "Gilbert, J. Theor. Biol. 1972; 100 iterations with positivity as in Du et al.'s code",
    solution=SirtSolution(iterations=100),
)
CGLS = Direct("cgls", "CGLS", "Hestenes & Stiefel 1952, on the normal equations", solution=CglsSolution(iterations=20))
ADMM_TV = Direct(
    "admm-tv",
    "ADMM-TV",
    "Du et al., ICLR 2026, eq. 13; weight and penalty tuned on training scans at 128 and 256 pixels",
    solution=AdmmTVSolution(weight=0.06, penalty=1.0, iterations=30, cg_iterations=5),
    # Of their code, after Chung et al., CVPR 2023. At 30 views lambda 3 is .25 and rho 50 is 4.1 of the mean diagonal.
    published={
        "solution.weight": 3.0,
        "solution.penalty": 50.0,
        "solution.cg_iterations": 20,
        "solution.scale": "voxels",
        "solution.axes": "yx",
        "solution.isotropic": False,
        "solution.periodic": True,
    },
)
FBP_UNET = Direct(
    "fbp-unet",
    "FBP-UNet",
    "Jin et al., IEEE TIP 2017; one network for several tasks is ours",
    solution=NetworkSolution(),
    kinds=("ct",),
)

_CT: tuple[AnyMethod, ...] = (
    *(WBLEND, WDDS),
    *(DDS, DDNM, DDS_TV, DIFFUSION_MBIR, DIFFPIR, DPS),
    *(DDS_2D, DDS_3D, DIFFUSIONBLEND, DIFFUSIONBLEND_PP, TPDM, TPDM_CG),
    *(FDK, CUBIC, SIRT, CGLS, ADMM_TV, FBP_UNET),
)


def _for_thick_slices(method: Method, steps: int | None = 20, temperature: float = 0.8) -> Method:
    """The noise levels for thick slices.

    Published for MRI: 20 network evaluations (the code: 5). The levels are ours: cubic interpolation is wrong by about
    0.05, and what much more noise wipes out of it does not come back. So is the temperature: one sample pays for its
    texture in PSNR (docs/results.md).
    """
    levels = replace(method.schedule, sigma_max=0.2, sigma_min=0.02)
    published = {"schedule.sigma_max": 5.0, "schedule.sigma_min": 0.01, "renoising.temperature": 1.0, "data.rounds": 0}
    return replace(
        method,
        published=published if method.name in ("dds", "ddnm") else {},
        schedule=levels if steps is None else replace(levels, steps=steps),
        renoising=replace(method.renoising, temperature=temperature),
    )


# Published for MRI: one CG iteration. The rounds are ours: where a thick slice of MR is 0, none of its thin ones, which
# are not negative, can be anything else.
_MR_CG = ConjugateGradients(iterations=1, rounds=10)
_PLAIN_CG = ConjugateGradients(iterations=1)
# Slices of the prior lie across the thick ones: what the data say of one holds for none of its neighbours.
_MR_WEIGHTED = WeightedGradients(iterations=5, late=0.0, tie=0.0, rounds=10)
_MR_TPDM = {
    "schedule.steps": 4000,
    "schedule.sigma_max": 378.0,
    "schedule.sigma_min": 0.01,
    "start.volume": "range",
}
_ON_THICK_SLICES: dict[str, AnyMethod] = {
    method.name: method
    for method in (
        replace(_for_thick_slices(DDS), data=_MR_CG),
        *(replace(_for_thick_slices(replace(method, start=Start())), data=_MR_WEIGHTED) for method in (WDDS, WBLEND)),
        replace(_for_thick_slices(DDNM), data=NullSpace(rounds=10)),
        _for_thick_slices(DDS_TV),
        _for_thick_slices(DIFFPIR, None, 1.0),
        *(
            replace(_for_thick_slices(method, None, 1.0), data=_PLAIN_CG)
            for method in (DDS_2D, DIFFUSIONBLEND, DIFFUSIONBLEND_PP)
        ),
        _for_thick_slices(DDS_3D, None, 1.0),
        # Step for slices 5 times as thick; 3 for 4 times, 2 for 3 times, 1 for 2 times (Lee et al.'s code).
        replace(_for_thick_slices(TPDM, None, 1.0), data=UpdateGuidance(step=4.0), published=_MR_TPDM),
        replace(_for_thick_slices(TPDM_CG), data=_MR_CG),
        # Tuned on a training brain. The constants of the code are for CT: it has no ADMM-TV for MR.
        replace(ADMM_TV, solution=replace(ADMM_TV.solution, weight=0.01), published={}),
    )
}

METHODS: dict[str, AnyMethod] = {method.name: method for method in _CT}
"""The methods by name, with their settings for CT; `find_method` knows those for thick slices."""

KINDS = ("ct", "zsr")
"""The kinds of problems that methods have settings for: CT, and thick slices."""


def methods_for(kind: str) -> dict[str, AnyMethod]:
    """The methods for problems of a kind, by name, with their settings for such problems."""
    own = _ON_THICK_SLICES if kind == "zsr" else {}
    return {
        name: own.get(name, method)
        for name, method in METHODS.items()
        if not method.kinds or not kind or kind in method.kinds
    }


def default_method(kind: str, priors: Sequence[object] = ()) -> str:
    """The name of the method that is taken where none is given: the best we know for the problem and its priors.

    For thick slices that is DDS: there WDDS gains nothing (docs/weighted.md).

    Args:
        kind: of the problem, as of `find_method`.
        priors: those that are given, in order, None for one that is not. One that is given alone may be of single
            slices, and then has no partner for patches.
    """
    first, second = (*priors, None, None)[:2]
    if kind == "zsr":
        return "dds"
    return "wblend" if kind == "ct" and (first is None or second is not None) else "wdds"


def published_evaluations(method: AnyMethod, kind: str = "ct") -> int | None:
    """Network evaluations of a sample by a method of its name as it was published; of one of ours, as it comes.

    Args:
        method: with any settings.
        kind: of the problem, as of `find_method`.

    Returns:
        As many as `Method.evaluations` counts; None of a method that does not sample, or that is not coslice's.
    """
    usual = methods_for(kind).get(method.name)
    if not isinstance(usual, Method):
        return None
    steps = usual.published.get("schedule.steps", usual.schedule.steps)
    return replace(usual, schedule=replace(usual.schedule, steps=steps)).evaluations


def find_method(name: str, kind: str = "ct") -> AnyMethod:
    """A method by name, with its settings for problems of a kind.

    Args:
        name: one of `METHODS`.
        kind: "ct", "zsr" (thick slices), or "" for any other problem.

    Raises:
        CosliceError: an unknown method, or one that is not for such problems.
    """
    if kind not in (*KINDS, ""):
        raise CosliceError(f'method: the kind of problem "{kind}" was given, but it is one of {", ".join(KINDS)}.')
    if name not in METHODS:
        near = get_close_matches(str(name).lower(), METHODS, 1)
        meant = f"did you mean {near[0]}?" if near else "or give FILE.py:NAME for one of your own."
        raise CosliceError(f'method: "{name}" was given, but the methods are {", ".join(METHODS)}; {meant}')
    found = methods_for(kind)
    if name not in found:
        raise CosliceError(f"method {name}: it is not for this task; choose one of {', '.join(found)}.")
    return found[name]
