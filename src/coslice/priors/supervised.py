"""FBP-UNet: a network that was shown analytic reconstructions beside the truth, and makes the one into the other.

Jin et al. (IEEE Trans. Image Processing 2017) train a U-Net N by regression, slice by slice, to name what is wrong with
a filtered back-projection b = clip(FBP(A x), 0, 1),

    x ~ b + N(b),        minimising |b + N(b) - x|^2 over slices x and their simulated scans.

A denoiser D(b, s) trained on b in place of x + s n is such a network: s is a number that stands for the task, the root
mean square of b - x over the slices trained on, and D's own skip connection (`coslice.networks.edm`) carries b to the
output. The paper trains a network for each task. Here one network may know several: it tells them apart by s and by
what their artefacts look like, and its card lists them under "tasks". Only the card of a supervised prior has this
entry.

Nothing here makes the answer agree with the measurement: A is not used any more.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from torch import Tensor

from coslice.errors import CosliceError
from coslice.priors.slices import SlicePrior

__all__ = ["as_input", "check_diffusion", "check_supervised", "fbp_unet", "tasks_of"]


def tasks_of(card: dict[str, Any]) -> dict[str, float]:
    """The tasks that the prior with this card is trained for, and their s; none of a diffusion prior."""
    return card.get("tasks", {})


def check_diffusion(prior: SlicePrior, method: str) -> None:
    """Refuse a supervised prior where a method needs a denoiser of any noise.

    Raises:
        CosliceError: it is one.
    """
    if tasks_of(prior.card):
        raise CosliceError(
            f"method {method}: prior {prior.name} was given, but it removes artefacts of "
            f"{', '.join(tasks_of(prior.card))} and no noise; choose the method fbp-unet, or a diffusion prior."
        )


def as_input(initial: Tensor) -> Tensor:
    """An analytic reconstruction as the network meets it, in training and in use: clipped to the unit window."""
    return initial.clamp(0, 1)


def fbp_unet(prior: SlicePrior, initial: Tensor, key: str) -> Tensor:
    """The truth that `prior` expects behind an analytic reconstruction, slice by slice.

    Args:
        prior: a supervised one.
        initial: the analytic reconstruction (z, y, x) in the unit window.
        key: of the task, as `coslice.problems.SparseViewCT.key` writes it.

    Returns:
        (z, y, x), in the unit window, not clipped.

    Raises:
        CosliceError: as `check_supervised`; slices smaller than it can take.
    """
    check_supervised(prior, key)
    # It answers once: nothing that follows mends what integers would get wrong.
    exact = replace(prior, arithmetic="float")
    return exact(as_input(initial), tasks_of(prior.card)[key])


def check_supervised(prior: SlicePrior, key: str) -> None:
    """Refuse a prior that does not know a task.

    Raises:
        CosliceError: a diffusion prior, or a task that the prior was not trained for.
    """
    tasks = tasks_of(prior.card)
    if key not in tasks:
        known = f"it knows {', '.join(tasks)}" if tasks else "it is a diffusion prior"
        raise CosliceError(
            f"method fbp-unet: prior {prior.name} was given for the task {key}, but {known}; train one with "
            f"`coslice train SCANS --task {key} --out DIR`."
        )
