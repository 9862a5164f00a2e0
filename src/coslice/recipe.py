"""How to reconstruct: names and numbers, checked together before any work is done.

A `Recipe` says what differs from the published values, `chosen_method` joins the two. A setting that a method
does not read is refused: whoever gives one believes that it does something.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, fields, replace

from coslice.errors import CosliceError
from coslice.methods import DIFFUSION, METHODS, ON_ZSR, Method
from coslice.noise import NOISES, Slerp, Strategy
from coslice.priors.partitions import ENDS, RandomPartitions
from coslice.renoising import DDIM, Cooled, DiffPIR, PredictorCorrector, Renoising, Share
from coslice.schedule import SCHEDULES, with_correctors

__all__ = ["RENOISING", "Recipe", "chosen_method", "sigmas_of", "strategy_of"]

RENOISING: dict[str, Callable[[Method], Renoising]] = {
    "share": lambda method: Share(method.eta),
    "ddim": lambda method: DDIM(method.eta),
    "diffpir": lambda method: DiffPIR(method.eta),
    "predictor-corrector": lambda method: PredictorCorrector(),
}
"""Re-noising rules by the name the command line gives them."""

_SAMPLER = frozenset(
    ("steps", "samples", "schedule", "sigma_max", "sigma_min", "renoising", "eta", "temperature", "start_noise")
    + ("anchor_angle",)
)  # settings of every diffusion method
_READS: dict[str, frozenset[str]] = {
    "proximal-cg": frozenset({"cg_iterations", "gamma", "rounds"}),
    "null-space": frozenset({"sirt_iterations", "rounds"}),
    "proximal-tv": frozenset({"cg_iterations", "tv_weight", "tv_penalty", "rounds"}),
    "tv-after-corrector": frozenset({"cg_iterations", "tv_weight", "tv_penalty"}),
    "weighted-cg": frozenset({"cg_iterations", "data_weight", "rounds"}),
    "guidance": frozenset({"guidance"}),
    "sirt": frozenset({"sirt_iterations"}),
    "admm-tv": frozenset({"cg_iterations", "tv_weight", "tv_penalty"}),
}
"""Settings beside the sampler's, by fidelity or by the name of a classical method."""
_READS_OF_PRIOR: dict[str, frozenset[str]] = {
    "partitions": frozenset({"cross_every", "partition", "ends", "patch_noise"}),
    "windows": frozenset({"ends", "patch_noise"}),
    "planes": frozenset({"auxiliary_every"}),
}
"""Settings of priors that are more than one of single slices, by blend or by kind of prior."""
PATCH_NOISE = ("lanes", "slices")


@dataclass(frozen=True)
class Recipe:
    """How to reconstruct. None takes the method's published value.

    Attributes:
        method: a name in `coslice.methods.METHODS`.
        noise: "independent", "identical" (BCS) or "iscs"; "" becomes the method's.
        start_noise: the same names, for the noise added to the first volume; None takes `noise`.
        start_from: "initial", the analytic reconstruction plus noise, as published, or "noise" alone.
        anchor_angle: of ISCS, in degrees (the paper's Table 8); None leaves it as drawn.
        renoising: a name in `RENOISING`.
        schedule: a name in `coslice.schedule.SCHEDULES`.
        steps, sigma_max, sigma_min: its length and its ends.
        samples: reconstructions with seeds `seed`, `seed` + 1, ..., of which the mean is the result.
        eta: share of fresh noise.
        temperature: size of the fresh noise against the published, 0 to 1, see `coslice.renoising.Cooled`.
        rounds: of projections at the end, see `coslice.methods.Method`.
        cg_iterations: per data step.
        gamma: of DDS, for an A that counts lengths in voxels; None takes the early-stopped form.
        sirt_iterations: of SIRT, and of DDNM's pseudo-inverse.
        tv_weight, tv_penalty, data_weight, guidance: see `coslice.methods.Method`.
        cross_every, partition, ends, auxiliary_every: likewise.
        patch_noise: what ISCS and BCS tie together where a prior sees patches: "lanes", the default, leaves the slices
            of a patch independent (`coslice.noise.Lanes`); "slices" treats all alike, as with a prior of single ones.
        lpips: whether the trajectory holds LPIPS too.
        seed: of all randomness.
    """

    method: str = "dds"
    noise: str = ""
    start_noise: str | None = None
    start_from: str = "initial"
    anchor_angle: float | None = None
    renoising: str | None = None
    schedule: str | None = None
    steps: int | None = None
    samples: int | None = None
    sigma_max: float | None = None
    sigma_min: float | None = None
    eta: float | None = None
    temperature: float | None = None
    rounds: int | None = None
    cg_iterations: int | None = None
    gamma: float | None = None
    sirt_iterations: int | None = None
    tv_weight: float | None = None
    tv_penalty: float | None = None
    data_weight: float | None = None
    guidance: float | None = None
    cross_every: int | None = None
    partition: str | None = None
    ends: str | None = None
    patch_noise: str | None = None
    auxiliary_every: int | None = None
    lpips: bool = False
    seed: int = 0

    def __post_init__(self) -> None:
        usual = METHODS[self.method].noise if self.method in METHODS else "iscs"
        object.__setattr__(self, "noise", self.noise or usual)

    @property
    def title(self) -> str:
        """As tables print it: "DDS + ISCS", "DDS, mean of 5"."""
        if self.method not in METHODS:
            raise _unknown(self.method)
        method = METHODS[self.method]
        if method.name not in DIFFUSION:
            return method.title
        suffix = {"independent": "", "iscs": " + ISCS"}.get(self.noise, " + BCS")
        return method.title + suffix + (f", mean of {self.samples}" if (self.samples or 1) > 1 else "")


_OPTIONAL = tuple(field.name for field in fields(Recipe) if field.default is None)
_OF_METHOD = tuple(name for name in _OPTIONAL if name in {field.name for field in fields(Method)})


def chosen_method(recipe: Recipe, kind: str = "ct") -> Method:
    """The method of a recipe, with the recipe's values in place of the published ones where given.

    Args:
        recipe: names and numbers.
        kind: of the problem, "ct" or "zsr".

    Raises:
        CosliceError: an unknown method, noise, re-noising or start, a method that is not for such problems, or a number
            out of its range.
    """
    if recipe.method not in METHODS:
        raise _unknown(recipe.method)
    method = METHODS[recipe.method]
    if kind not in method.kinds:
        suited = ", ".join(name for name, one in METHODS.items() if kind in one.kinds)
        raise CosliceError(f"method {method.name}: it is not for this task; choose one of {suited}.")
    for name in (recipe.noise, recipe.start_noise or recipe.noise):
        if name not in NOISES:
            raise CosliceError(f'noise: "{name}" was given, but the strategies are {", ".join(NOISES)}.')
    if recipe.start_from not in ("initial", "noise"):
        raise CosliceError(f'start_from: "{recipe.start_from}" was given, "initial" or "noise" is needed.')
    names = {"renoising": RENOISING, "schedule": SCHEDULES, "partition": ("random", "fixed"), "ends": ENDS}
    for name, known in (names | {"patch_noise": PATCH_NOISE}).items():
        given = getattr(recipe, name)
        if given is not None and given not in known:
            raise CosliceError(f'{name}: "{given}" was given, but the choices are {", ".join(known)}.')
    _check_read(recipe, method)
    given = {name: value for name in _OF_METHOD if (value := getattr(recipe, name)) is not None}
    usual = ON_ZSR.get(method.name, {}) if kind == "zsr" else {}
    method = replace(method, **(usual | given), noise=recipe.noise)
    _check_numbers(recipe, method)
    return method


def _check_read(recipe: Recipe, method: Method) -> None:
    """Refuse settings that would change nothing."""
    reads = _READS.get(method.fidelity or method.name, frozenset())
    reads |= _READS_OF_PRIOR.get(method.blend or method.prior, frozenset())
    if method.name in DIFFUSION:
        reads |= _SAMPLER
    if (recipe.renoising or method.renoising) == "predictor-corrector":
        reads -= {"eta"}
    if "iscs" not in (recipe.noise, recipe.start_noise):
        reads -= {"anchor_angle"}
    if {recipe.noise, recipe.start_noise or recipe.noise} == {"independent"}:
        reads -= {"patch_noise"}
    for name in _OPTIONAL:
        value = getattr(recipe, name)
        if value is not None and name not in reads:
            known = ", ".join(sorted(reads)) or "nothing"
            raise CosliceError(
                f"{name}: {value} was given, but {recipe.title} would not read it; leave it out (it reads {known})."
            )


def _check_numbers(recipe: Recipe, method: Method) -> None:
    # Building the cheap parts is checking their numbers, before any file is read or made.
    sigmas_of(method)
    Cooled(Share(method.eta), method.temperature)
    for name in (recipe.noise, recipe.start_noise or recipe.noise):
        strategy_of(recipe, name, "z")
    RandomPartitions(2, recipe.seed, method.cross_every)
    if method.auxiliary_every < 2:
        raise CosliceError(f"auxiliary_every: {method.auxiliary_every} was given, at least 2 is needed.")
    for name in ("samples", "cg_iterations", "sirt_iterations"):
        if getattr(method, name) < 1:
            raise CosliceError(f"{name}: {getattr(method, name)} was given, at least 1 is needed.")
    if method.rounds < 0:
        raise CosliceError(f"rounds: {method.rounds} was given, 0 or more are needed.")
    for name in ("tv_weight", "guidance", "data_weight"):
        if not 0 <= getattr(method, name) < math.inf:
            raise CosliceError(f"{name}: {getattr(method, name):g} was given, a number from 0 up is needed.")
    if not 0 < method.tv_penalty < math.inf:
        raise CosliceError(f"tv_penalty: {method.tv_penalty:g} was given, a positive number is needed.")
    if recipe.gamma is not None and not 0 < recipe.gamma < math.inf:
        raise CosliceError(f"gamma: {recipe.gamma:g} was given, a positive number is needed, or none at all.")
    if method.fidelity == "weighted-cg" and method.data_weight == 0:
        raise CosliceError("data_weight: 0 was given, DiffPIR needs a positive number.")
    if method.fidelity == "tv-after-corrector" and method.renoising != "predictor-corrector":
        raise CosliceError(
            f"renoising: {method.renoising} was given for {method.name}, whose data step follows a corrector; "
            "leave it out."
        )


def _unknown(name: str) -> CosliceError:
    return CosliceError(f'method: "{name}" was given, but the methods are {", ".join(METHODS)}.')


def sigmas_of(method: Method) -> tuple[float, ...]:
    """The schedule of a method, as many levels as it evaluates the network, then 0."""
    schedule = SCHEDULES[method.schedule]
    if method.renoising != "predictor-corrector":
        return schedule(method.steps, method.sigma_max, method.sigma_min)
    # Every level is visited twice.
    return with_correctors(schedule((method.steps + 1) // 2, method.sigma_max, method.sigma_min))


def strategy_of(recipe: Recipe, name: str, along: str) -> Strategy:
    """The strategy called `name`, with the recipe's angle if it is ISCS, for slices stacked along an axis."""
    if name == "iscs" and recipe.anchor_angle is not None:
        return Slerp(along, angle=math.radians(recipe.anchor_angle))
    return NOISES[name](along)
