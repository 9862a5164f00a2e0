"""Published networks as denoisers of the unit window.

The sampler knows one thing, D(x, sigma) = E[x0 | x] for x = x0 + sigma n with x0 in [0, 1]. Networks were trained to
say other things.

**Score (variance exploding).** s(x, sigma) = grad_x log p_sigma(x); by Tweedie's formula

    D(x, sigma) = x + sigma^2 s(x, sigma).

A network whose images were not in [0, 1] but in an input range [a, b], so v = a + w x with the width w = b - a, had
noise w times as large in v, and by the chain rule its score counts w times as much in x:

    D(x, sigma) = x + w sigma^2 s(a + w x, w sigma).

**Noise (variance preserving).** The network saw v in an input range [a, b], shrunken as noise came in, and names that:

    v_t = sqrt(abar_t) v + sqrt(1 - abar_t) n,        eps(v_t, t) ~ n.

Dividing by sqrt(abar_t), and knowing that a range of width w = b - a makes the noise w times as large as in [0, 1], a
noisy image x of ours is

    v_t = sqrt(abar_t) (a + w x)    with    w sigma = sqrt((1 - abar_t) / abar_t),    abar_t = 1 / (1 + w^2 sigma^2),

and (v_t - sqrt(1 - abar_t) eps) / sqrt(abar_t) = a + w (x - sigma eps) is the denoised v, hence in every range

    D(x, sigma) = x - sigma eps(v_t, t).

The range decides what the network is shown and at which sigma its steps are. DiffusionBlend's networks saw 2 x - 1,
[-1, 1]: w = 2, and sigma is half of sqrt((1 - abar) / abar), 0.005 to 78.7. DDS's CT network saw the images as they
were, [0, 1]: w = 1, 0.01 to 157. In the wrong range a network is asked for images that it has never seen, at half or
twice the noise.

Others name the image v itself, or the velocity u = sqrt(abar_t) n - sqrt(1 - abar_t) v (Salimans and Ho, ICLR 2022):

    D(x, sigma) = (v(v_t, t) - a)/w    or    D(x, sigma) = (sqrt(abar_t) v_t - sqrt(1 - abar_t) u(v_t, t) - a)/w.

abar takes the table's values at whole t only. For sigmas between them t is interpolated linearly in ln(sigma), which
is exact at the table's entries, and abar is computed from sigma, so the noise in v_t is always what sigma says.

**Training** goes on with the published loss. Both are the mean square of what is wrong in the noise, (D - x0)/sigma:

    VE    |sigma s(x, sigma) + n|^2     ln sigma uniform over its range (Song et al., ICLR 2021, eq. 7, weight sigma^2)
    VP    |eps(v_t, t) - n|^2           t uniform over the table (Ho et al., NeurIPS 2020, eq. 14); v or u likewise

and networks that learn their variance add its bound (`coslice.priors.learned_variance`).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import asdict, dataclass

import torch
from torch import Tensor, nn

from coslice.errors import CosliceError
from coslice.escapes import shown
from coslice.priors.learned_variance import variance_bound
from coslice.priors.step_tables import PREDICTIONS, StepTable
from coslice.schedule import ddpm_alpha_bar

__all__ = ["CENTRED", "MARGIN", "RAW", "Betas", "InputRange", "VEDenoiser", "VPDenoiser", "check_input_range"]

InputRange = tuple[float, float]
"""What a network was shown for 0 and 1 of the unit window."""

_LARGEST_END = 1e9

CENTRED: InputRange = (-1.0, 1.0)
RAW: InputRange = (0.0, 1.0)


_MOST_STEPS = 100_000

MARGIN = 1e-3
"""Share of itself by which a noise level may be outside of those a network was trained for.

The first level of 1,000 linear betas is 0.0100005, and 0.01 is what everybody calls it.
"""


def check_input_range(given: InputRange) -> None:
    """Refuse a range that is none.

    Raises:
        CosliceError: ends that are not finite, or in the wrong order.
    """
    low, high = given
    if not (max(abs(low), abs(high)) <= _LARGEST_END and high - low >= 1 / _LARGEST_END):
        raise CosliceError(
            f"range: {low:g}:{high:g} was given, but LOW:HIGH is needed, what the network saw for 0 and 1 of the "
            "window; usual are -1:1 and 0:1."
        )


@dataclass(frozen=True)
class Betas:
    """The variances added in each of the steps a variance-preserving network was trained on, growing linearly.

    Attributes:
        first, last: of the first and the last step (Ho et al., NeurIPS 2020).
        count: number of steps.

    Raises:
        CosliceError: variances outside (0, 1), or fewer than two steps.
    """

    first: float = 1e-4
    last: float = 2e-2
    count: int = 1000

    def __post_init__(self) -> None:
        if not (0 < self.first < 1 and 0 < self.last < 1 and 1 < self.count <= _MOST_STEPS):
            raise CosliceError(
                f"betas: {self.first:g} to {self.last:g} in {shown(self.count)} steps were given, but betas lie "
                f"between 0 and 1, and there are from 2 to {_MOST_STEPS} of them."
            )

    def alpha_bar(self) -> Tensor:
        """abar_t = prod_(s <= t) (1 - beta_s): (count,) float64."""
        return ddpm_alpha_bar(self.first, self.last, self.count)

    def sigmas(self, input_range: InputRange) -> Tensor:
        """The noise level of each step, in the unit window, of a network with this input range: (count,) float64."""
        alpha_bar = self.alpha_bar()
        return ((1 - alpha_bar) / alpha_bar).sqrt() / (input_range[1] - input_range[0])

    def to_dict(self) -> dict:
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict) -> Betas:
        return cls(**values)


class PublishedDenoiser(nn.Module, ABC):
    """What the denoisers of published networks share: a network, its range of images, its noise levels.

    Attributes:
        network: the published module.
        sigma_range: smallest and largest sigma, in the unit window.
        input_range: what the network saw for 0 and 1 of the unit window.
        stride: image sides must be multiples of this.
    """

    def __init__(self, network: nn.Module, sigma_range: tuple[float, float], input_range: InputRange):
        super().__init__()
        check_input_range(input_range)
        self.network = network
        self.sigma_range = sigma_range
        self.input_range: InputRange = (float(input_range[0]), float(input_range[1]))

    @property
    def width(self) -> float:
        """Of the input range: by how much a difference of images is larger to the network than in the unit window."""
        return self.input_range[1] - self.input_range[0]

    def shown(self, x: Tensor) -> Tensor:
        """Images of the unit window in the network's range."""
        return self.input_range[0] + self.width * x

    @property
    def stride(self) -> int:
        return getattr(self.network, "stride", 1)

    @property
    def own_layers(self) -> bool:
        """Whether its convolutions are those of `coslice.networks.inference`, which know other arithmetic."""
        return getattr(self.network, "own_layers", True)

    @abstractmethod
    def drawn_levels(self, uniform: Tensor) -> Tensor:
        """Noise levels as training draws them, from numbers in [0, 1): both (n,)."""

    @abstractmethod
    def loss(self, images: Tensor, sigma: Tensor, noise: Tensor, label: Tensor | None = None) -> Tensor:
        """The published training loss of each image, averaged over its pixels: (b,).

        Args:
            images: x0 (b, c, h, w), in the unit window.
            sigma: (b,), see `drawn_levels`.
            noise: n, standard normal, like `images`.
            label: as of `forward`, of networks with classes.
        """

    @property
    def dtype(self) -> torch.dtype:
        """The type the network computes in; what goes in and comes out of the denoiser is float32."""
        return next((p.dtype for p in self.network.parameters() if p.is_floating_point()), torch.float32)

    def levels(self, x: Tensor, sigma: Tensor | float) -> Tensor:
        """`sigma` (b,), or one number for all images of x (b, c, h, w): (b,) float32.

        Raises:
            CosliceError: a number of levels that is not the number of images, or a level outside `sigma_range`.
        """
        levels = torch.as_tensor(sigma, dtype=torch.float32, device=x.device)
        if levels.ndim > 1 or (levels.ndim == 1 and len(levels) not in (1, len(x))):
            raise CosliceError(
                f"{type(self).__name__}: noise levels of shape {tuple(levels.shape)} were given for {len(x)} images, "
                "one number or one for each image is needed."
            )
        low, high = self.sigma_range
        inside = (levels >= low * (1 - MARGIN)) & (levels <= high * (1 + MARGIN))
        if not bool(inside.all()):
            worst = float(levels.reshape(-1)[~inside.reshape(-1)][0])
            raise CosliceError(
                f"{type(self).__name__}: sigma {worst:g} was asked for, but the network was trained for {low:g} to "
                f"{high:g}; choose the schedule within that range."
            )
        return levels.expand(len(x)) if levels.numel() == 1 else levels


class VEDenoiser(PublishedDenoiser):
    """D(x, sigma) = x + w sigma^2 s(a + w x, w sigma), from a score network with the input range [a, a + w].

    Args:
        network: s(v, sigma_v); image (b, c, h, w) in its input range, noise level (b,) in that range -> score of the
            same shape.
        sigma_range: noise levels it was trained for, in the unit window.
        input_range: what it was shown for 0 and 1 of the unit window; published NCSN++ take [0, 1] and map it to
            [-1, 1] inside.

    Raises:
        CosliceError: an input range that is none.
    """

    def __init__(self, network: nn.Module, sigma_range: tuple[float, float], input_range: InputRange = RAW):
        super().__init__(network, sigma_range, input_range)

    def forward(self, x: Tensor, sigma: Tensor | float) -> Tensor:
        """Denoise x (b, c, h, w), each image at its own sigma (b,), or all at one: float32.

        Raises:
            CosliceError: sigma outside `sigma_range`.
        """
        levels = self.levels(x, sigma)
        x = x.to(torch.float32)
        score = self.network(self.shown(x).to(self.dtype), self.width * levels).to(torch.float32)
        return x + self.width * levels[:, None, None, None] ** 2 * score

    def drawn_levels(self, uniform: Tensor) -> Tensor:
        low, high = self.sigma_range
        return (low * (high / low) ** uniform.double()).float()

    def loss(self, images: Tensor, sigma: Tensor, noise: Tensor, label: Tensor | None = None) -> Tensor:
        levels = self.levels(images, sigma)
        scale = levels[:, None, None, None]
        shown = self.shown(images + scale * noise)
        score = self.network(shown.to(self.dtype), self.width * levels).to(torch.float32)
        return (self.width * scale * score + noise).square().mean(dim=(1, 2, 3))


class VPDenoiser(PublishedDenoiser):
    """D(x, sigma) = x - sigma eps(sqrt(abar) (a + w x), t), with the input range [a, a + w], from what names the noise.

    Args:
        network: eps(v_t, t) or, with classes, eps(v_t, t, label); image (b, c, h, w) in its input range, t (b,) float
            -> noise of the same shape, first half of the channels with `learn_sigma`.
        betas: the variances of the steps it was trained on, or a table of abar.
        learn_sigma: the network has twice the channels.
        classes: number of classes the network was trained with, 0 for none.
        input_range: what the network was shown for 0 and 1 of the unit window.
        prediction: what it names, one of `coslice.priors.step_tables.PREDICTIONS`.

    Raises:
        CosliceError: an input range or a prediction that is none.
    """

    def __init__(
        self,
        network: nn.Module,
        betas: Betas | StepTable = Betas(),
        learn_sigma: bool = True,
        classes: int = 0,
        input_range: InputRange = CENTRED,
        prediction: str = "epsilon",
    ):
        check_input_range(input_range)
        if prediction not in PREDICTIONS:
            raise CosliceError(
                f"VPDenoiser: the prediction {shown(prediction)} was given, {', '.join(PREDICTIONS)} are known."
            )
        sigmas = betas.sigmas(input_range)
        super().__init__(network, (float(sigmas[0]), float(sigmas[-1])), input_range)
        self.betas, self.learn_sigma, self.classes, self.prediction = betas, learn_sigma, classes, prediction
        # Not a buffer, which would be rounded with the network when that is moved to bfloat16.
        self.log_sigmas = sigmas.log()

    def step(self, sigma: Tensor) -> Tensor:
        """The network's t for noise levels (b,), with fractions between the table's entries: (b,) float32."""
        table = self.log_sigmas
        # In float64, which not every accelerator has.
        logs = sigma.detach().cpu().to(torch.float64).log()
        above = torch.searchsorted(table, logs).clamp(1, len(table) - 1)
        low, high = table[above - 1], table[above]
        t = (above - 1) + ((logs - low) / (high - low)).clamp(0, 1)
        return t.to(sigma.device, torch.float32)

    def forward(self, x: Tensor, sigma: Tensor | float, label: Tensor | int | None = None) -> Tensor:
        """Denoise x (b, c, h, w), each image at its own sigma (b,), or all at one: float32.

        `label` (b,), or one for all images, is what a class-conditional network asks for.

        Raises:
            CosliceError: sigma outside `sigma_range`; a label missing, superfluous or unknown; a network that
                answers with another number of channels.
        """
        levels = self.levels(x, sigma)
        x = x.to(torch.float32)
        v_t = self._shrunken(x, levels)
        answer = self._answer(v_t, self.step(levels), label)[:, : x.shape[1]]
        if self.prediction == "epsilon":
            return x - levels[:, None, None, None] * answer
        shrinkage, noise = self._shares(levels)
        v = answer if self.prediction == "sample" else shrinkage * v_t - noise * answer
        return (v - self.input_range[0]) / self.width

    def drawn_levels(self, uniform: Tensor) -> Tensor:
        steps = (uniform.double() * len(self.log_sigmas)).long().clamp(max=len(self.log_sigmas) - 1)
        return self.log_sigmas[steps.cpu()].exp().float()

    def loss(self, images: Tensor, sigma: Tensor, noise: Tensor, label: Tensor | None = None) -> Tensor:
        levels = self.levels(images, sigma)
        step = self.step(levels).round()
        v_t = self._shrunken(images + levels[:, None, None, None] * noise, levels)
        answer = self._answer(v_t, step, label)
        eps, channels = answer[:, : images.shape[1]], images.shape[1]
        loss = (eps - self._named(images, levels, noise)).square().mean(dim=(1, 2, 3))
        if not self.learn_sigma or self.prediction != "epsilon":
            return loss
        v_0, alpha_bar = self._shrunken(images, torch.zeros_like(levels)), self.betas.alpha_bar()
        # Only the variance learns from the bound (Nichol and Dhariwal, ICML 2021, section 3.1).
        bound = variance_bound(v_0, v_t, eps.detach(), answer[:, channels:], step.long(), alpha_bar)
        return loss + len(alpha_bar) / 1000 * bound

    @property
    def beside_weights(self) -> list[object]:
        """What tells it from others with the same weights and levels; nothing of one that is as first published."""
        if isinstance(self.betas, Betas) and self.prediction == "epsilon":
            return []
        shape = getattr(self.network, "identity", None)
        return [self.prediction, list(self.input_range), self.log_sigmas.tolist(), shape]

    def _named(self, images: Tensor, levels: Tensor, noise: Tensor) -> Tensor:
        """What the network is to name of x_0 and n."""
        if self.prediction == "epsilon":
            return noise
        shrinkage, share = self._shares(levels)
        v = self.shown(images)
        return v if self.prediction == "sample" else shrinkage * noise - share * v

    def _shares(self, levels: Tensor) -> tuple[Tensor, Tensor]:
        """sqrt(abar) and sqrt(1 - abar) at `levels` (b,): each (b, 1, 1, 1)."""
        scale = self.width * levels[:, None, None, None]
        shrinkage = 1 / (1 + scale**2).sqrt()
        return shrinkage, scale * shrinkage

    def _shrunken(self, x: Tensor, levels: Tensor) -> Tensor:
        """v_t of images x that are noisy by `levels` (b,)."""
        return self.shown(x) / (1 + self.width**2 * levels[:, None, None, None] ** 2).sqrt()

    def _answer(self, v_t: Tensor, step: Tensor, label: Tensor | int | None) -> Tensor:
        """All the network says of v_t, float32."""
        answer = self.network(v_t.to(self.dtype), step, *self._labels(v_t, label))
        channels = v_t.shape[1]
        if answer.shape[1] != channels * (2 if self.learn_sigma else 1):
            raise CosliceError(
                f"VPDenoiser: for images of {channels} channels the network answered with {answer.shape[1]}, but "
                f"{'twice' if self.learn_sigma else 'just'} as many are needed; check learn_sigma and the images."
            )
        return answer.to(torch.float32)

    def _labels(self, x: Tensor, label: Tensor | int | None) -> tuple[Tensor, ...]:
        if label is None and not self.classes:
            return ()
        if label is None or not self.classes:
            asked = f"needs a label of 0 to {self.classes - 1} for each image" if self.classes else "takes none"
            raise CosliceError(
                f"VPDenoiser: {'no label' if label is None else 'a label'} was given, but the network {asked}; "
                "pass it as the third argument, or leave it out."
            )
        labels = torch.as_tensor(label, device=x.device)
        if labels.is_floating_point() or labels.numel() not in (1, len(x)) or labels.ndim > 1:
            raise CosliceError(
                f"VPDenoiser: labels {labels.dtype} of shape {tuple(labels.shape)} were given for {len(x)} images, "
                "one whole number or one for each image is needed."
            )
        if int(labels.min()) < 0 or int(labels.max()) >= self.classes:
            raise CosliceError(
                f"VPDenoiser: labels {int(labels.min())} to {int(labels.max())} were given, but the network knows "
                f"0 to {self.classes - 1}."
            )
        return (labels.long().expand(len(x)),)
