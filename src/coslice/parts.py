"""What a recipe is made of, chosen here and nowhere else: prior, noise, fidelity and correction of a run."""

from __future__ import annotations

from collections.abc import Callable

from coslice.classical import mean_diagonal
from coslice.errors import CosliceError
from coslice.fidelity import AfterCorrector, DiffPIRWeight, NullSpace, ProximalCG, ProximalTV, unchanged
from coslice.methods import USUAL_PRIORS, Method
from coslice.noise import Following, Noise
from coslice.priors import Guided, SlicePrior, load_prior
from coslice.priors.blends import Blend, Perpendicular
from coslice.priors.partitions import Partition, RandomPartitions, windows
from coslice.priors.supervised import check_diffusion
from coslice.recipe import Recipe, strategy_of
from coslice.sample import Changing, Correction, Denoiser, Fidelity, each
from coslice.tasks import Problem

__all__ = ["data_parts", "load_priors", "noise_for", "prior_for"]

_FLOOR = 0.001
"""Noise that DiffPIR assumes at the least, for an A that counts lengths in voxels (Zhu et al.'s code)."""


def load_priors(
    method: Method, kind: str, name: str | None = None, auxiliary: str | None = None, device: str = "cpu"
) -> tuple[SlicePrior | None, SlicePrior | None]:
    """The prior of a method, and that of a second plane where it needs one; the embedded ones where none is named.

    Raises:
        CosliceError: a prior that the method would not read, or one that is neither named nor embedded.
    """
    usual = USUAL_PRIORS.get((kind, method.prior), (None, None))
    for given, read in ((name, method.prior), (auxiliary, method.prior == "planes")):
        if given is not None and not read:
            raise CosliceError(
                f"method {method.name}: prior {given} was given, but it would not read it; leave it out."
            )
    if not method.prior:
        return None, None
    names = {"prior": name or usual[0]}
    if method.prior == "planes":
        names["auxiliary-prior"] = auxiliary or usual[1]
    for option, chosen in names.items():
        if chosen is None:
            raise CosliceError(
                f"method {method.name}: no prior of {method.prior} comes with coslice for this task; name one with "
                f"--{option}, or train it with coslice train."
            )
    loaded = [load_prior(chosen, device) for chosen in names.values() if chosen]
    return loaded[0], loaded[1] if len(loaded) > 1 else None


def prior_for(
    problem: Problem, recipe: Recipe, method: Method, prior: SlicePrior, auxiliary: SlicePrior | None = None
) -> SlicePrior | Changing:
    """What a diffusion method asks at every step: the prior of slices as it is, or what it blends of its priors.

    Raises:
        CosliceError: a prior of another kind than the method needs, one that is missing, or one that does not fit.
    """
    shape, sigmas = problem.operator.domain, (method.sigma_max, method.sigma_min)
    check_diffusion(prior, method.name)
    prior.check(shape, *sigmas)
    if method.prior == "patches":
        prior.check_patches()
        axis = "zyx".index(prior.along)
        partition = _partition(recipe, method, prior.channels)
        return Blend(prior, shape[axis], problem.spacing[axis], partition, recipe.patch_noise != "slices")
    for one in (prior, auxiliary):
        if one is not None:
            one.check_single()
    if method.prior == "slices":
        return prior
    if auxiliary is None:
        raise CosliceError(
            f"method {method.name}: no prior of a second plane was given, but it needs one; add --auxiliary-prior."
        )
    auxiliary.check(shape, *sigmas)
    return Perpendicular(prior, auxiliary, method.auxiliary_every)


def _partition(recipe: Recipe, method: Method, size: int) -> Callable[[int, int], Partition]:
    if method.blend == "windows":
        return lambda step, count: windows(count, size, method.ends)
    return RandomPartitions(size, recipe.seed, method.cross_every, method.partition == "random", method.ends)


def noise_for(recipe: Recipe, name: str, prior: SlicePrior | Changing) -> Noise:
    """The strategy called `name`, laid out as the prior reads the volume."""
    if isinstance(prior, Changing):
        return Following(strategy_of(recipe, name, "z"), prior.reading)
    return strategy_of(recipe, name, prior.along)


def data_parts(
    problem: Problem, recipe: Recipe, method: Method, prior: SlicePrior | Changing, along: str
) -> tuple[Denoiser | Changing, Fidelity, Correction | None]:
    """Prior (which guidance changes), fidelity and correction of one run; those with a memory are made anew for each.

    `along` is the axis of the stack.
    """
    operator, y, unit = problem.operator, problem.measurement, problem.unit
    if method.fidelity == "guidance":
        return each(prior, lambda one: Guided(one, one.pull_back, operator, y, method.guidance / unit)), unchanged, None
    if method.fidelity in ("proximal-tv", "tv-after-corrector"):
        scale = mean_diagonal(operator, y.device)
        weight, penalty = method.tv_weight * scale, method.tv_penalty * scale
        total_variation = ProximalTV(operator, y, weight, penalty, along, cg_iterations=method.cg_iterations)
        if method.fidelity == "proximal-tv":
            return prior, total_variation, None
        return prior, unchanged, AfterCorrector(total_variation)
    if method.fidelity == "null-space":
        return prior, NullSpace(operator, y, problem.pseudo_inverse(method.sirt_iterations)), None
    if method.fidelity == "weighted-cg":
        assumed = max(problem.noise, _FLOOR * unit)
        return prior, ProximalCG(operator, y, method.cg_iterations, DiffPIRWeight(method.data_weight, assumed)), None
    gamma = None if recipe.gamma is None else recipe.gamma / unit**2
    return prior, ProximalCG(operator, y, method.cg_iterations, gamma), None
