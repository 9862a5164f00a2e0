"""A step of training: the loss, its gradient, and what follows from it.

The network learns to denoise (EDM; Karras et al., NeurIPS 2022): for an image x, a noise level sigma and noise n,

    loss = |D(x + sigma n, sigma) - x|^2 / c_out(sigma)^2,           ln sigma ~ N(ln median, spread^2)

averaged over the images of the step; the weight 1/c_out^2 makes every sigma count alike for an untrained network.
A published network goes on with the loss of its family (`objective`).

A step's images are cut into micro-batches of fixed size, whose gradients are summed in their order. On a CPU a
pool computes them, one thread each: many threads sharing every operation would wait for the slowest each time, which
stalls where cores are shared with other work. Neither the number of threads nor who finishes first changes a bit of
the result.

`Trainer.state()` is all that the next step depends on.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from coslice.devices import multiplies_bfloat16
from coslice.errors import CosliceError
from coslice.parallel import ALONE, Ranks
from coslice.training.learning.average import averages_of
from coslice.training.learning.objective import EDMObjective, Objective
from coslice.training.learning.optimisers import Mapper, clip_, relative_rate, steps_of
from coslice.training.run_settings import TrainingSettings
from coslice.training.supply.batches import Batch, BatchQueue, ImageStream

__all__ = ["BANDS", "StepReport", "Trainer", "common_side", "measured_moments"]

BANDS = (0.02, 0.06, 0.2, 0.6, 2.0)
"""Edges of the noise levels' bands in which losses are logged."""

_MICRO = 8


@dataclass(frozen=True)
class StepReport:
    """The numbers of a step; tensors are on the trainer's device, and not waited for.

    Attributes:
        images: of the step.
        losses: sums of the images' losses, per band of sigma.
        counts: numbers of images, per band.
        norm: of the gradient, before clipping.
        rate: learning rate.
        stop: on how many ranks a stop was asked for.
    """

    images: int
    losses: Tensor
    counts: Tensor
    norm: Tensor
    rate: float
    stop: Tensor


class Trainer:
    """A network in training: `with trainer.working(): trainer.step()`.

    Args:
        settings: with data_mean and data_std.
        stream: of training images.
        device: where the network lives.
        ranks: this process among others.
        compiled: fuse the network's small operations with `torch.compile`, for the most frequent size of image.
        objective: what is trained, and for what; None: a fresh U-Net, from the settings' seed.
    """

    def __init__(
        self,
        settings: TrainingSettings,
        stream: ImageStream,
        device: torch.device | str = "cpu",
        ranks: Ranks = ALONE,
        compiled: bool = False,
        objective: Objective | None = None,
    ):
        if settings.start.data_mean is None or settings.start.data_std is None:
            raise CosliceError("Trainer: data_mean or data_std is None; measure them with `measured_moments`.")
        self.settings, self.stream, self.device, self.ranks = settings, stream, torch.device(device), ranks
        self.objective = EDMObjective(settings) if objective is None else objective
        network = self.objective.network
        self.network = network.to(self.device, torch.float32, memory_format=torch.channels_last)  # pyright: ignore
        self.parameters = [parameter for parameter in self.network.parameters() if parameter.requires_grad]
        self.averages = averages_of(settings.averages, self.network)
        arithmetic, seed = settings.arithmetic, settings.start.seed
        auto = arithmetic.precision == "auto" and multiplies_bfloat16(self.device)
        self.dtype = torch.bfloat16 if auto or arithmetic.precision == "bf16" else torch.float32
        self.optimiser = steps_of(settings.optimiser, self.network, self.dtype)
        self.batches = BatchQueue(stream, settings.batch, self.objective, seed, ranks, self.device.type != "cpu")
        self.images = self.steps = 0
        self._on_cpu = self.device.type == "cpu"
        self._micro = arithmetic.micro or (_MICRO if self._on_cpu else math.ceil(settings.batch / ranks.size))
        self._plain: Any = self.objective.learner(self.network)
        fast: Any = torch.compile(self.network) if compiled else self.network
        self._fast: Any = self.objective.learner(fast)
        self._fast_side = common_side(settings)
        self._edges = torch.tensor(BANDS, device=self.device)
        self._workers: ThreadPoolExecutor | None = None

    @contextmanager
    def working(self) -> Iterator[None]:
        """Inside, threads compute gradients and draw batches ahead."""
        threads = torch.get_num_threads()
        torch.set_num_threads(1 if self._on_cpu else threads)
        try:
            with ThreadPoolExecutor(threads) as pool, self.batches.running():
                self._workers = pool if self._on_cpu else None
                yield
        finally:
            self._workers = None
            torch.set_num_threads(threads)

    @property
    def mapper(self) -> Mapper:
        """A `map` whose work is shared among the trainer's threads, where it has any."""
        return self._workers.map if self._workers else map

    @property
    def rate(self) -> float:
        """The learning rate of the next step."""
        # Of the image in the middle of the step, so that neither end of the run has a step of rate 0.
        middle = self.images + self.stream.images(self.steps, self.settings.batch) / 2
        share = relative_rate(self.settings.schedule, min(int(middle), self.settings.images - 1), self.settings.images)
        return self.settings.optimiser.learning_rate * share

    def step(self, stop: bool = False) -> StepReport:
        """Learn from the next step's images.

        Args:
            stop: whether this rank has been asked to stop; all of them learn of it.
        """
        batch = self.batches[self.steps].to(self.device)
        gradients, losses = self._gradients(batch)
        bands = torch.bucketize(batch.sigma, self._edges)
        sums = torch.zeros(2, len(BANDS) + 1, device=self.device)
        sums.index_add_(1, bands, torch.stack((losses, torch.ones_like(losses))))
        stops = torch.tensor(float(stop), device=self.device)
        self.ranks.add_([*gradients, sums, stops])
        norm = clip_(gradients, self.settings.optimiser.clip)
        rate = self.rate
        self.optimiser.step(gradients, rate, self.mapper)
        self.steps += 1
        self.images += batch.total
        for average in self.averages:
            average.update(self.parameters, batch.total, self.images)
        return StepReport(batch.total, sums[0], sums[1], norm, rate, stops)

    def averaged(self, index: int) -> nn.Module:
        """`with_weights` of average number `index`."""
        return self.with_weights(self.averages[index].weights)

    def with_weights(self, weights: dict[str, Tensor]) -> nn.Module:
        """A learner of its own with these trained parameters, for use rather than training."""
        network = copy.deepcopy(self.network)
        network.load_state_dict({**network.state_dict(), **weights})
        return self.objective.learner(network).eval().requires_grad_(False)

    def state(self) -> dict[str, Any]:
        """All that the next step depends on, besides settings and stream."""
        return {
            "images": self.images,
            "steps": self.steps,
            "network": {name: value.detach() for name, value in self.network.named_parameters()},
            "optimiser": self.optimiser.state_dict(),
            "averages": [average.weights for average in self.averages],
        }

    @torch.no_grad()
    def load(self, state: dict[str, Any]) -> None:
        """Go on from `state`."""
        self.images, self.steps = state["images"], state["steps"]
        for name, value in self.network.named_parameters():
            value.copy_(state["network"][name])
        self.optimiser.load_state_dict(state["optimiser"])
        for average, weights in zip(self.averages, state["averages"], strict=True):
            average.load(weights)

    def _gradients(self, batch: Batch) -> tuple[list[Tensor], Tensor]:
        """Of this rank's part of the mean loss; and each image's loss."""
        if not len(batch.images):
            return [torch.zeros_like(parameter) for parameter in self.parameters], batch.sigma
        # Views of fewer, larger images are cut into as many parts as the others.
        size = max(1, round(self._micro * batch.total / self.settings.batch))
        parts = [Batch(batch.total, *part) for part in zip(*(x.split(size) for x in batch.tensors), strict=True)]
        gradients, losses = None, []
        for gradient, loss in self.mapper(self._gradient, parts):
            losses.append(loss)
            if gradients is None:
                gradients = gradient
            else:
                torch._foreach_add_(gradients, gradient)  # pyright: ignore[reportPrivateImportUsage]
        assert gradients is not None
        return gradients, torch.cat(losses)

    def _gradient(self, part: Batch) -> tuple[list[Tensor], Tensor]:
        # Only one size is worth a compilation; the others run as they are.
        denoiser = self._fast if part.images.shape[-1] == self._fast_side else self._plain
        images = part.images.contiguous(memory_format=torch.channels_last)
        low = self.dtype == torch.bfloat16
        with torch.autocast(self.device.type, torch.bfloat16) if low else nullcontext():
            losses = denoiser.loss(images, part.sigma, part.noise, part.distance) * part.weight
        return list(torch.autograd.grad(losses.sum() / part.total, self.parameters)), losses.detach()


def common_side(settings: TrainingSettings) -> int:
    """The side that most training images have, in pixels."""
    sides: dict[int, float] = {}
    for view in settings.views or ():
        sides[view.side] = sides.get(view.side, 0.0) + view.share * view.images
    return max(sides, key=lambda side: sides[side], default=0)


def measured_moments(stream: ImageStream, batch: int, steps: int = 16) -> tuple[float, float]:
    """Mean and standard deviation of the images of the first steps, to three decimals."""
    total, squares, count = 0.0, 0.0, 0
    for step in range(steps):
        images = stream.batch(step, batch, 0, min(16, stream.images(step, batch))).double()
        total, squares, count = total + float(images.sum()), squares + float((images**2).sum()), count + images.numel()
    mean = total / count
    return round(mean, 3), max(round(math.sqrt(max(squares / count - mean**2, 0.0)), 3), 0.001)
