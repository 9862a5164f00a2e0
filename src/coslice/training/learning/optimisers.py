"""From gradients to steps: Adam, AdamW, Muon, and the learning rate over a run.

Adam divides a running mean of the gradient by its running size, number by number (Kingma & Ba, ICLR 2015). AdamW also
shrinks the weights, by the learning rate times a decay (Loshchilov & Hutter, ICLR 2019).
Muon treats the weights of a layer as the matrix they are (Jordan et al., 2024): of the momentum M = U S V^T it
takes U V^T, so every direction of the layer learns at the same pace. The singular values are brought near 1 without
decomposing anything, by iterating an odd polynomial (Newton-Schulz):

    X <- a X + b (X X^T) X + c (X X^T)^2 X,      a, b, c = 3.4445, -4.7750, 2.0315,   X_0 = M/|M|, 5 times

which maps singular values between about 0.01 and 1 into 0.7..1.2. A step is scaled by 0.2 sqrt(max(rows, columns)),
the size of a typical step of Adam, so that both take the same learning rates (Liu et al., 2025). A convolution is the
matrix (out, in * height * width). Muon is for hidden layers: the first and last convolution, normalisations, biases
and dense layers of the label go to Adam.

Rates are functions of the images seen only, not of steps or time, so a change of batch or machine changes nothing.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from coslice.errors import CosliceError
from coslice.training.sections import OptimiserSettings, RateSettings

__all__ = ["Adam", "Mapper", "Muon", "Steps", "clip_", "orthogonal", "relative_rate", "steps_of"]


def relative_rate(schedule: RateSettings, images: int, total: int) -> float:
    """The learning rate after `images` of `total` images, relative to its highest, 0 to 1.

    "linear": constant, then straight to 0 over the last `decay` of the run. "cosine": half a cosine from 1 to 0.
    "inverse-sqrt": constant for `hold` images, then sqrt(hold / images) (EDM2), with the final fall of "linear".
    All are multiplied by the warm-up, a straight rise from 0.
    """
    warm = min(1.0, images / schedule.warmup) if schedule.warmup else 1.0
    if schedule.name == "cosine":
        share = (images - schedule.warmup) / max(total - schedule.warmup, 1)
        return warm * (0.5 + 0.5 * math.cos(math.pi * min(max(share, 0.0), 1.0)))
    fall = min(1.0, max(total - images, 0) / (schedule.decay * total)) if schedule.decay else float(images < total)
    slow = math.sqrt(schedule.hold / max(images, schedule.hold)) if schedule.name == "inverse-sqrt" else 1.0
    return warm * slow * fall


@torch.no_grad()
def clip_(gradients: list[Tensor], largest: float | None) -> Tensor:
    """Shrink the gradients, in place, to a joint norm of at most `largest`, if any; returns the norm they had."""
    norm = torch.linalg.vector_norm(torch.stack(torch._foreach_norm(gradients)))  # pyright: ignore[reportPrivateImportUsage]
    if largest is None:
        return norm
    torch._foreach_mul_(gradients, (largest / (norm + 1e-12)).clamp(max=1.0))  # pyright: ignore[reportPrivateImportUsage]
    return norm


Mapper = Callable[[Callable[[Any], Any], Iterable[Any]], Iterable[Any]]
"""`map`, or the `map` of a pool of threads."""


class Steps(Protocol):
    """What turns gradients into steps; its state is all that the next step depends on."""

    def step(self, gradients: Sequence[Tensor], rate: float, mapper: Mapper = map) -> None:
        """Move the parameters, given their gradients in the same order; `mapper` may share the work among threads."""
        ...

    def state_dict(self) -> dict[str, Any]: ...

    def load_state_dict(self, state: dict[str, Any]) -> None: ...


class Adam:
    """Adam for some parameters, or with `decay` AdamW; torch's, with one pass over memory per step."""

    def __init__(self, parameters: Sequence[nn.Parameter], betas: tuple[float, float], decay: float = 0.0):
        self.parameters = list(parameters)
        kind = torch.optim.AdamW if decay else torch.optim.Adam
        self._adam = kind(self.parameters, betas=betas, weight_decay=decay, fused=True)

    def step(self, gradients: Sequence[Tensor], rate: float, mapper: Mapper = map) -> None:
        for parameter, gradient in zip(self.parameters, gradients, strict=True):
            parameter.grad = gradient
        self._adam.param_groups[0]["lr"] = rate
        self._adam.step()
        self._adam.zero_grad(set_to_none=True)

    def state_dict(self) -> dict[str, Any]:
        return self._adam.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._adam.load_state_dict(state)


class Muon:
    """Muon for the hidden convolutions of a network, Adam for the rest.

    Args:
        network: whose parameters are moved, all of them.
        betas: of Adam.
        momentum: of Muon, in Nesterov's form.
        dtype: in which the polynomial is iterated; bfloat16 is accurate enough and fast where it is native.
    """

    def __init__(self, network: nn.Module, betas: tuple[float, float], momentum: float, dtype: torch.dtype):
        parameters = [parameter for parameter in network.parameters() if parameter.requires_grad]
        convolutions = [i for i, parameter in enumerate(parameters) if parameter.ndim == 4]
        self._hidden = convolutions[1:-1]
        self._others = [i for i in range(len(parameters)) if i not in set(self._hidden)]
        self._weights = [parameters[i] for i in self._hidden]
        self._adam = Adam([parameters[i] for i in self._others], betas)
        self._momentum, self._dtype = momentum, dtype
        self._means = [torch.zeros_like(weight) for weight in self._weights]

    @torch.no_grad()
    def step(self, gradients: Sequence[Tensor], rate: float, mapper: Mapper = map) -> None:
        self._adam.step([gradients[i] for i in self._others], rate)
        given = [gradients[i] for i in self._hidden]
        if not given:
            return
        torch._foreach_lerp_(self._means, given, 1 - self._momentum)  # pyright: ignore[reportPrivateImportUsage]
        ahead = torch._foreach_lerp(given, self._means, self._momentum)  # pyright: ignore[reportPrivateImportUsage]
        alike: dict[torch.Size, list[int]] = {}
        for i, weight in enumerate(self._weights):
            alike.setdefault(weight.shape, []).append(i)

        @torch.no_grad()  # again: the switch is per thread
        def move(members: list[int]) -> None:
            steps = orthogonal(torch.stack([_matrix(ahead[i]) for i in members]).to(self._dtype))
            scale = 0.2 * math.sqrt(max(steps.shape[1:]))
            for i, step in zip(members, steps.to(torch.float32), strict=True):
                self._weights[i].add_(_kernel(step, self._weights[i].shape), alpha=-rate * scale)

        list(mapper(move, alike.values()))

    def state_dict(self) -> dict[str, Any]:
        return {"adam": self._adam.state_dict(), "means": self._means}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._adam.load_state_dict(state["adam"])
        for mean, stored in zip(self._means, state["means"], strict=True):
            mean.copy_(stored)


def steps_of(settings: OptimiserSettings, network: nn.Module, dtype: torch.dtype = torch.float32) -> Steps:
    """The optimiser that `settings` name, for all parameters of `network` that are trained."""
    if settings.name in ("adam", "adamw"):
        parameters = [parameter for parameter in network.parameters() if parameter.requires_grad]
        return Adam(parameters, settings.betas, settings.weight_decay if settings.name == "adamw" else 0.0)
    if settings.name == "muon":
        return Muon(network, settings.betas, settings.momentum, dtype)
    raise CosliceError(f'optimiser: "{settings.name}" was given, but adam, adamw or muon is needed; correct it.')


def orthogonal(matrices: Tensor, iterations: int = 5) -> Tensor:
    """U V^T, nearly, of each of the matrices (n, rows, columns) = U S V^T."""
    a, b, c = 3.4445, -4.7750, 2.0315
    tall = matrices.shape[1] > matrices.shape[2]
    x = matrices.mT if tall else matrices
    x = x / (torch.linalg.vector_norm(x, dim=(1, 2), keepdim=True) + 1e-7)
    for _ in range(iterations):
        square = x @ x.mT
        x = torch.baddbmm(x, torch.baddbmm(square, square, square, beta=b, alpha=c), x, beta=a)
    return x.mT if tall else x


def _matrix(kernel: Tensor) -> Tensor:
    """(out, in, h, w) -> (out, h w in): the order of channels-last memory, and of no consequence to U V^T."""
    return kernel.permute(0, 2, 3, 1).reshape(len(kernel), -1)


def _kernel(matrix: Tensor, shape: torch.Size) -> Tensor:
    out, into, height, width = shape
    return matrix.view(out, height, width, into).permute(0, 3, 1, 2)
