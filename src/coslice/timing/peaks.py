"""What this machine reaches at its best: the rates and the bandwidth that floors are counted with.

    convolutions    3 x 3, of the shapes of a prior's own layers, by the library that the prior uses: floating-point
                    operations (or those of integers) per second, for each precision
    arithmetic      products of two float32 matrices of 1024 x 1024: as near to the processor's fused multiply-adds as
                    code comes
    memory          a = b + s c of arrays that no cache holds (STREAM's triad, McCalpin 1995): bytes per second

A convolution is done as a prior does it on a CPU: every thread works on an image of its own.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from coslice.devices import multiplies_bfloat16
from coslice.threads import spread
from coslice.timing.stopwatch import timed

__all__ = ["PRECISIONS", "Layer", "Peaks", "convolutions_of", "measured_peaks"]

PRECISIONS = ("float32", "bfloat16", "int8")

Layer = tuple[int, int, int, int]
"""Channels in and out, rows and columns of a 3 x 3 convolution."""

_SIDE = 1024  # of the matrices
_TRIAD = 1 << 25  # numbers of each array: 128 MiB


@dataclass(frozen=True)
class Peaks:
    """Measured on one device with one number of threads.

    Attributes:
        convolutions: operations per second by precision; only those that the machine has in hardware.
        arithmetic: float32 operations per second.
        memory: bytes per second.
    """

    convolutions: Mapping[str, float]
    arithmetic: float
    memory: float

    def floor(self, operations: float = 0.0, moved: float = 0.0, rate: str = "arithmetic") -> float:
        """The least seconds for so many operations and bytes.

        Args:
            operations: multiplications and additions.
            moved: bytes from and to memory.
            rate: "arithmetic", or the precision of convolutions.
        """
        peak = self.arithmetic if rate == "arithmetic" else self.convolutions[rate]
        return max(operations / peak, moved / self.memory)


def convolutions_of(network: nn.Module, call: Callable[[], object], most: int = 3) -> list[Layer]:
    """The shapes of the 3 x 3 convolutions that a network spends the most operations on, during `call`."""
    found: Counter[Layer] = Counter()

    def seen(layer: nn.Module, given: tuple[Tensor, ...], made: Tensor) -> None:
        assert isinstance(layer, nn.Conv2d)
        if layer.kernel_size == (3, 3) and layer.stride == (1, 1) and layer.groups == 1:
            shape = layer.in_channels, layer.out_channels, made.shape[-2], made.shape[-1]
            found[shape] += math.prod(shape)

    hooks = [layer.register_forward_hook(seen) for layer in network.modules() if isinstance(layer, nn.Conv2d)]
    try:
        call()
    finally:
        for hook in hooks:
            hook.remove()
    return [shape for shape, _ in found.most_common(most)]


def measured_peaks(device: torch.device, layers: list[Layer], seconds: float = 1.0) -> Peaks:
    """Measure them.

    Args:
        device: where.
        layers: shapes of 3 x 3 convolutions; the fastest of them counts.
        seconds: to spend on each.
    """
    rates: dict[str, float] = {}
    for precision in PRECISIONS:
        if precision == "bfloat16" and not multiplies_bfloat16(device):
            continue
        # An operation that this torch has not, or not for this processor, is one that no prior here uses either.
        with suppress(RuntimeError, AttributeError, TypeError, NotImplementedError):
            rates[precision] = max(_rate(device, layer, precision, seconds / len(layers)) for layer in layers)
    if rates.get("int8", 0.0) <= max(rates.get("bfloat16", 0.0), rates["float32"]):
        rates.pop("int8", None)  # emulated
    left, right = (torch.rand(_SIDE, _SIDE, device=device) for _ in range(2))
    result = torch.empty_like(left)
    product = timed(lambda: torch.mm(left, right, out=result), device, seconds)
    first, second = (torch.rand(_TRIAD, device=device) for _ in range(2))
    third = torch.empty_like(first)
    triad = timed(lambda: torch.add(first, second, alpha=3.0, out=third), device, seconds)
    return Peaks(rates, 2 * _SIDE**3 / product.median, 3 * 4 * _TRIAD / triad.median)


def _rate(device: torch.device, layer: Layer, precision: str, seconds: float) -> float:
    workers = torch.get_num_threads() if device.type == "cpu" else 1
    again = 1 if device.type != "cpu" else max(1, round(2e9 / _operations(layer)))
    images = 16 if device.type != "cpu" else 1
    calls = [_convolution(device, layer, precision, images) for _ in range(workers)]

    def repeatedly(call: Callable[[], object]) -> None:
        for _ in range(again):
            call()

    with torch.inference_mode():
        taken = timed(lambda: spread(device, repeatedly, calls), device, seconds)
    return workers * again * images * _operations(layer) / taken.median


def _operations(layer: Layer) -> float:
    before, after, rows, columns = layer
    return 2 * 9 * before * after * rows * columns


def _convolution(device: torch.device, layer: Layer, precision: str, images: int) -> Callable[[], Any]:
    before, after, rows, columns = layer
    if precision == "int8":
        return _of_integers(device, layer, images)
    dtype = getattr(torch, precision)
    form = {"device": device, "dtype": dtype}
    x = torch.rand(images, before, rows, columns, **form).contiguous(memory_format=torch.channels_last)
    weight = torch.rand(after, before, 3, 3, **form).contiguous(memory_format=torch.channels_last)
    return lambda: F.conv2d(x, weight, None, padding=1)


def _of_integers(device: torch.device, layer: Layer, images: int) -> Callable[[], Any]:
    before, after, rows, columns = layer
    if device.type != "cpu":
        raise NotImplementedError
    ops = torch.ops.onednn
    grid = ([1, 1], [1, 1], [1, 1], 1)  # stride, padding, dilation, groups
    steps, zeros = torch.ones(after), torch.zeros(after, dtype=torch.int32)
    weight = torch.randint(-127, 128, (after, before, 3, 3), dtype=torch.int8)
    packed = ops.qconv_prepack(weight, steps, 1.0, 0, *grid, None)
    x = torch.randint(0, 256, (images, before, rows, columns), dtype=torch.uint8)
    x = x.contiguous(memory_format=torch.channels_last)
    bias = torch.zeros(after)
    given = (x, 1.0, 0, packed, steps, zeros, bias, *grid, 1.0, 0, torch.bfloat16, "none", [], "")
    return lambda: ops.qconv2d_pointwise(*given)
