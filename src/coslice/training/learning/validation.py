"""How good a denoiser is on scans it does not learn from: numbers, and a picture.

The training loss mixes all noise levels, weighted for the optimiser. What a reconstruction feels is the error of the
denoiser itself, so validation measures that, as `coslice.priors.denoising_error` has it, on held-out slices and fixed
noise, for a handful of sigmas.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from coslice.io.files import atomic
from coslice.noise import Independent, Key
from coslice.priors.denoising_error import SIGMAS, mean_squares
from coslice.renoising import Share
from coslice.sampling import sample, start
from coslice.schedule import Karras
from coslice.training.learning.optimisers import Mapper

__all__ = ["SIGMAS", "ErrorTable", "Examples", "cleaned", "overall", "picture", "rms", "save_picture", "validate"]

ErrorTable = dict[str, dict[str, float]]
"""{"128 px": {sigma or task: RMSE in units of the window}}."""


@dataclass(frozen=True)
class Examples:
    """What a denoiser is shown.

    Attributes:
        images: (n, slices, h, w), in the unit window.
        distances: (n,), mm between the slices of an image, or their classes.
    """

    images: Tensor
    distances: Tensor


def validate(
    denoiser: nn.Module,
    examples: Examples,
    sigmas: Iterable[float] = SIGMAS,
    mapper: Mapper = map,
    dtype: torch.dtype | None = None,
) -> dict[float, float]:
    """RMSE(sigma) of D over `examples`, in units of the window.

    Args:
        denoiser: D, on any device.
        examples: on the CPU.
        sigmas: noise levels.
        mapper: a `map` that may share the images among threads.
        dtype: of autocast; None computes as the weights are.
    """
    device, images = next(denoiser.parameters()).device, examples.images

    def squares(numbers: Sequence[int]) -> np.ndarray:
        some = images[numbers[0] : numbers[-1] + 1].to(device)
        distances = examples.distances[numbers[0] : numbers[-1] + 1].to(device)
        return mean_squares(lambda x, sigma: _denoised(denoiser, x, distances, sigma, dtype), some, numbers, levels)

    levels = tuple(sigmas)
    size = 1 if device.type == "cpu" else 16
    groups = [range(i, min(i + size, len(images))) for i in range(0, len(images), size)]
    means = np.concatenate(list(mapper(squares, groups)), axis=1).mean(axis=1)
    return dict(zip(levels, np.sqrt(means).tolist(), strict=True))


def overall(table: Mapping[str, Mapping[Any, float]]) -> float:
    """One number for a table {size: {sigma: RMSE}}: the geometric mean, to which every noise level counts alike."""
    logs = [math.log(max(rmse, 1e-12)) for row in table.values() for rmse in row.values()]
    return math.exp(sum(logs) / len(logs))


def picture(
    denoiser: nn.Module,
    examples: Examples,
    mean: float,
    highest: float,
    mapper: Mapper = map,
    dtype: torch.dtype | None = None,
    upwards: bool = False,
    lowest: float = 0.0,
) -> np.ndarray:
    """What a denoiser does, as a picture (h, w), uint8; with `upwards` each image's first row is its lowest.

    A row for each example: as it is, then with noise and denoised, at sigma 0.1, 0.5 and 2; of patches, their middle
    slices. The last row are samples from pure noise at `highest`, by 20 deterministic steps of the one loop, always
    from the same noise, with the first example's distance; the last step is at 0.005, or at `lowest` if that is more.
    """
    device = next(denoiser.parameters()).device
    truth, distances = examples.images.to(device), examples.distances.to(device)
    slices, size = truth.shape[1], 1 if device.type == "cpu" else 16

    def denoised(images: Tensor, sigma: float, apart: Tensor) -> Tensor:
        parts = zip(images.split(size), apart.split(size), strict=True)
        return torch.cat(list(mapper(lambda part: _denoised(denoiser, part[0], part[1], sigma, dtype), parts)))

    def step_of(x: Tensor, sigma: float) -> Tensor:
        return denoised(x.unflatten(0, (-1, slices)), sigma, distances[:1].expand(7)).flatten(0, 1)

    columns = [truth]
    for number, sigma in enumerate((0.1, 0.5, 2.0)):
        noisy = Independent().add_(truth.flatten(0, 1).clone(), sigma, Key(0, number, "picture")).view(truth.shape)
        columns += [noisy, denoised(noisy, sigma, distances)]
    x = start(torch.full((7 * slices, *truth.shape[2:]), mean, device=device), highest, Independent(), seed=0)
    for step in sample(
        x, Karras(20, highest, max(0.005, lowest)).sigmas(), step_of, lambda d, _: d, Independent(), 0, Share(0.0)
    ):
        x = step.x
    middle = slices // 2
    rows = [*torch.cat([column[:, middle : middle + 1] for column in columns], dim=1), x[middle::slices]]
    if upwards:
        rows = [row.flip(-2) for row in rows]
    grey = torch.cat([torch.cat(list(row), dim=1) for row in rows]).clamp(0, 1)
    return (grey * 255).round().byte().cpu().numpy()


def cleaned(
    denoiser: nn.Module,
    images: Tensor,
    sigma: Tensor,
    mapper: Mapper,
    dtype: torch.dtype | None,
    distances: Tensor | None = None,
) -> Tensor:
    """clip(D(images, sigma)), float32 on the CPU.

    Args:
        denoiser: D, on any device.
        images: (n, slices, h, w), on the CPU.
        sigma: (n,), their noise levels.
        mapper: a `map` that may share the images among threads.
        dtype: of autocast; None computes as the weights are.
        distances: (n,), as of `Examples`; None of single slices.
    """
    device = next(denoiser.parameters()).device
    size = 1 if device.type == "cpu" else 16
    apart = torch.zeros(len(images)) if distances is None else distances

    def some(part: tuple[Tensor, Tensor, Tensor]) -> Tensor:
        x, levels, mm = (one.to(device) for one in part)
        return _asked(denoiser, x, mm, levels, dtype).clamp(0, 1).float().cpu()

    return torch.cat(list(mapper(some, zip(images.split(size), sigma.split(size), apart.split(size), strict=True))))


def rms(error: Tensor) -> float:
    """Root mean square, summed in double precision."""
    return float(error.double().square().mean().sqrt())


def _denoised(
    denoiser: nn.Module, images: Tensor, distances: Tensor, sigma: float, dtype: torch.dtype | None
) -> Tensor:
    return _asked(denoiser, images, distances, torch.full((len(images),), sigma, device=images.device), dtype)


@torch.no_grad()  # inside what threads run: the switch is per thread
def _asked(denoiser: nn.Module, images: Tensor, distances: Tensor, sigma: Tensor, dtype: torch.dtype | None) -> Tensor:
    with torch.autocast(images.device.type, torch.bfloat16, enabled=dtype == torch.bfloat16):
        return denoiser(images, sigma, distances)


def save_picture(path: Path, grey: np.ndarray) -> None:
    """Write a picture (h, w), uint8, as PNG."""
    path.parent.mkdir(exist_ok=True)
    with atomic(path) as part:
        Image.fromarray(grey).save(part)
