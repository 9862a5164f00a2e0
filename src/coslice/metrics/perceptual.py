"""LPIPS v0.1 with the AlexNet features (Zhang et al., 2018), in plain torch.

Both images, in [-1, 1], pass through the five convolutions of AlexNet. The maps f after each ReLU are
scaled to unit length over channels, and their differences weighed by learned numbers w:

    LPIPS = sum_l mean_pixels sum_c w_lc (f_lc(a) - f_lc(b))^2.

The weights come with the package in float16, which moves the values by at most 1.1e-4; the arithmetic
is float32. AlexNet halves and halves again: below 31 pixels nothing is left to compare.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import lru_cache
from importlib.resources import files

import torch
from torch import Tensor
from torch.nn import functional

from coslice.errors import CosliceError
from coslice.io.packing import read_weights
from coslice.metrics.images import of_pieces

__all__ = ["SMALLEST_SIDE", "lpips", "lpips_of_each"]

SMALLEST_SIDE = 31
"""Pixels an image must have on each side."""

_PIECE = 1 << 18  # numbers of each stack at a time
_WEIGHTS = "data/lpips/lpips_alex_v0.1_fp16.safetensors"
_SHIFT = (-0.030, -0.088, -0.188)
_SCALE = (0.458, 0.448, 0.450)
# Of each convolution: its number among AlexNet's layers, stride, padding, and whether a 3 x 3 pooling precedes it.
_LAYERS = ((0, 4, 2, False), (3, 1, 2, True), (6, 1, 1, True), (8, 1, 1, False), (10, 1, 1, False))


def lpips(image: Tensor, truth: Tensor) -> Tensor:
    """LPIPS of each image: (n, h, w) grey or (n, 3, h, w) twice, in [-1, 1] -> (n,) float64.

    Raises:
        CosliceError: the shapes differ or are neither of these; a side is below 31 pixels.
    """
    return lpips_of_each([image], truth)[0]


def lpips_of_each(images: Sequence[Tensor], truth: Tensor) -> list[Tensor]:
    """`lpips` of several stacks against one truth, whose features are computed once. Errors as there."""
    for image in images:
        grey = image.ndim == 3
        if image.shape != truth.shape or not (grey or (image.ndim == 4 and image.shape[1] == 3)) or len(image) == 0:
            raise CosliceError(
                f"lpips: images of shape {tuple(image.shape)} and a truth of shape {tuple(truth.shape)} were given, "
                "two stacks (n, h, w) or (n, 3, h, w) of one shape are needed."
            )
    if min(truth.shape[-2:]) < SMALLEST_SIDE:
        raise CosliceError(
            f"lpips: images of {truth.shape[-2]} x {truth.shape[-1]} pixels were given, "
            f"at least {SMALLEST_SIDE} x {SMALLEST_SIDE} are needed."
        )
    pieces = of_pieces(_distances, *images, truth, size=_PIECE)
    return [torch.cat(distances) for distances in zip(*pieces, strict=True)]


@torch.inference_mode()  # every thread for itself
def _distances(*stacks: Tensor) -> list[Tensor]:
    """Of the stacks from the last."""
    device, count = stacks[0].device, len(stacks)
    weights = _weights(device)
    totals = [torch.zeros(len(stack), dtype=torch.float64, device=device) for stack in stacks[:-1]]
    for level, maps in enumerate(_features(torch.cat(stacks).float(), weights)):
        *others, truth = functional.normalize(maps, eps=1e-10).chunk(count)
        for total, other in zip(totals, others, strict=True):
            total += ((other - truth).square_().mean((2, 3)) @ weights[f"lin{level}"].flatten()).double()
    return totals


def _features(x: Tensor, weights: dict[str, Tensor]) -> Iterator[Tensor]:
    if x.ndim == 3:
        # The three channels of a grey image are one: (x - shift) / scale of each goes into the first layer's weights,
        # the shift as those of a second channel that is 1 within the image and, as the first, 0 beyond it.
        x, first = torch.stack((x, torch.ones_like(x)), 1), weights["grey"]
    else:
        x, first = (x - weights["shift"]) / weights["scale"], weights["features.0.weight"]
    for number, stride, padding, pooled in _LAYERS:
        if pooled:
            x = functional.max_pool2d(x, 3, 2)
        kernel, bias = weights[f"features.{number}.weight"], weights[f"features.{number}.bias"]
        x = functional.relu(functional.conv2d(x, first if number == 0 else kernel, bias, stride, padding), inplace=True)
        yield x


@lru_cache(maxsize=4)
def _weights(device: torch.device) -> dict[str, Tensor]:
    stored = read_weights(str(files("coslice").joinpath(_WEIGHTS)))
    # Channels last: a third less time, the same values to 1e-9.
    weights = {name: tensor.to(device, torch.float32) for name, tensor in stored.items()}
    for name in (name for name in stored if stored[name].ndim == 4):
        weights[name] = weights[name].contiguous(memory_format=torch.channels_last)
    for name, values in (("shift", _SHIFT), ("scale", _SCALE)):
        weights[name] = torch.tensor(values, device=device).view(1, 3, 1, 1)
    scaled = weights["features.0.weight"].double() / weights["scale"]
    grey = torch.cat([part.sum(1, keepdim=True) for part in (scaled, -weights["shift"] * scaled)], 1)
    weights["grey"] = grey.float().contiguous(memory_format=torch.channels_last)
    return weights
