"""Layers of networks that only answer, in the numbers and the order of work that a processor is fastest at.

Networks are written once, with the functions of this module for their layers. While they learn, and wherever nobody
says otherwise, these are plain torch. Inside `answering(...)` on a CPU, without gradients,

    closed    conv(SiLU(norm(x) (1 + scale) + shift)) + plus    two passes of our own over x, see `fused_numba`,
                                                                then the convolution, which adds `plus` itself
    doubled   conv(every pixel of x made 2 x 2)                 4/9 of the products, see there

and with 8-bit integers the convolutions behind a normalisation take 256 levels of their input, and of the weights of
each of their output channels, and sum the products exactly (Jacob et al., CVPR 2018; Krishnamoorthi, 2018). That is
twice as fast as bfloat16 on a processor with the instructions for it (VNNI). Steps and origins of the levels are
computed for every image from the image itself: nothing is calibrated, and no result depends on what else is denoised.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, TypeVar
from weakref import WeakKeyDictionary

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from coslice.devices import multiplies_bfloat16
from coslice.networks.eight_bits import LEAST_PIXELS, EightBitConv, Levels

__all__ = ["Answers", "activated", "answering", "closed", "convolved", "doubled", "kept"]

_Value = TypeVar("_Value")


@dataclass
class Answers:
    """What the threads that answer for one volume share.

    Attributes:
        eight_bits: whether convolutions multiply 8-bit integers.
        kept: what is the same for every image, such as the embedding of the noise level.
    """

    eight_bits: bool = False
    kept: dict[Any, Any] = field(default_factory=dict)


_WIDEST = 16.0
"""Range against root mean square of images that 256 levels say enough of: to 256 / (sqrt(12) 16), 1 in 55."""

_here = threading.local()


@contextmanager
def answering(answers: Answers | None) -> Generator[None]:
    """Networks called inside, by this thread, answer in this way; None is plain torch."""
    before = getattr(_here, "answers", None)
    _here.answers = answers
    try:
        yield
    finally:
        _here.answers = before


def _answers(x: Tensor) -> Answers | None:
    """How to answer for images x; None for plain torch."""
    answers = getattr(_here, "answers", None)
    usable = x.device.type == "cpu" and not torch.is_grad_enabled() and x.dtype in (torch.bfloat16, torch.float32)
    return answers if usable else None


def kept(key: Any, label: Tensor, compute: Callable[[], _Value]) -> _Value:
    """compute(), once for all images of a volume whose `label` (b,) holds the same numbers."""
    answers = _answers(label)
    if answers is None:
        return compute()
    key = (key, *label.tolist())
    if key not in answers.kept:
        answers.kept[key] = compute()
    return answers.kept[key]


def activated(norm: nn.GroupNorm, x: Tensor, active: bool = True) -> Tensor:
    """SiLU(norm(x)), or norm(x): (b, c, h, w), the same shape."""
    if _answers(x) is None:
        return F.silu(norm(x)) if active else norm(x)
    x = x.contiguous(memory_format=torch.channels_last)
    out = torch.empty_like(x)
    for one, written in zip(x.split(1), out.split(1), strict=True):
        _Line(norm, one).write(written, active)
    return out


def closed(
    norm: nn.GroupNorm,
    conv: nn.Conv2d,
    x: Tensor,
    *,
    offset: Tensor | None = None,
    scale: Tensor | None = None,
    shift: Tensor | None = None,
    plus: Tensor | None = None,
    spare: bool = False,
) -> Tensor:
    """conv(SiLU(norm(x + offset) (1 + scale) + shift)) + plus.

    Args:
        x: (b, c, h, w).
        offset, scale, shift: (b, c), or (1, c) for all images; None is 0.
        plus: of the result's shape; None is 0.
        spare: whether nobody needs `plus` any more, and it may be written to.
    """
    answers = _answers(x)
    if answers is None:
        u = norm(x if offset is None else x + offset[:, :, None, None])
        u = u if scale is None else u * (1 + scale[:, :, None, None])
        u = u if shift is None else u + shift[:, :, None, None]
        y = conv(F.silu(u))
        return y if plus is None else plus + y
    x = x.contiguous(memory_format=torch.channels_last)
    parts = []
    for number, one in enumerate(x.split(1)):  # no image depends on those beside it
        labels = (part if part is None else part[min(number, len(part) - 1)] for part in (offset, scale, shift))
        line = _Line(norm, one, *labels)
        part = plus if plus is None else plus[number : number + 1]
        parts.append(_convolved(answers, conv, line, part if spare or part is None else part.clone()))
    return parts[0] if len(parts) == 1 else torch.cat(parts)


def _convolved(answers: Answers, conv: nn.Conv2d, line: _Line, plus: Tensor | None) -> Tensor:
    """`plus`, if it is given, holds the result."""
    eight = _eight_bits(conv, line.shape) if answers.eight_bits and line.finite else None
    if eight is not None:
        return eight(line.levels(eight.padding), line.dtype, plus)
    y = torch.empty(line.shape, dtype=line.dtype, memory_format=torch.channels_last)
    line.write(y, True)
    y = conv(y)
    return y if plus is None else y.add_(plus)


def convolved(conv: nn.Conv2d, x: Tensor, levels: bool = True) -> Tensor:
    """conv(x): (b, c, h, w) -> (b, c', h', w').

    Args:
        x: images.
        levels: whether 256 levels may do. What is added up along a network often has few channels that are much larger
            than the others, and levels that reach up to those say little of the rest: images whose range is more than
            `_WIDEST` times their root mean square are convolved in bfloat16 at least.
    """
    answers = _answers(x)
    if answers is None:
        return conv._conv_forward(x, conv.weight, conv.bias)
    eight = _eight_bits(conv, x.shape) if answers.eight_bits and levels else None
    if eight is None:
        return _in_own_type(answers, conv, x)
    parts = []
    for one in x.contiguous(memory_format=torch.channels_last).split(1):
        found = _levels(one, eight.padding)
        parts.append(_in_own_type(answers, conv, one) if found is None else eight(found, x.dtype))
    return parts[0] if len(parts) == 1 else torch.cat(parts)


def _in_own_type(answers: Answers, conv: nn.Conv2d, x: Tensor) -> Tensor:
    """conv(x) of float32 or bfloat16; where integers are exact enough, of bfloat16."""
    if answers.eight_bits and x.dtype == torch.float32 and multiplies_bfloat16(x.device):
        half = _once(conv, "half", lambda: _in_bfloat16(conv))
        return conv._conv_forward(x.bfloat16(), *half).float()
    return conv._conv_forward(x, conv.weight, conv.bias)


def _in_bfloat16(conv: nn.Conv2d) -> tuple[Tensor, Tensor | None]:
    weight = conv.weight.detach().to(torch.bfloat16, memory_format=torch.channels_last)
    return weight, None if conv.bias is None else conv.bias.detach().bfloat16()


def doubled(conv: nn.Conv2d, x: Tensor) -> Tensor:
    """conv of x (b, c, h, w) with every pixel made a block of 2 x 2: (b, c', 2h, 2w), for a 3 x 3 convolution.

    Of the nine pixels that a pixel of the result sees, only four differ: it sees 2 x 2 pixels of x, with sums of
    weights. Along a row with the weights u, v, w, between its pixels i - 1 and i, the results 2i - 1 and 2i are

        (u + v) x_(i-1) + w x_i        and        u x_(i-1) + (v + w) x_i,

    so one 2 x 2 convolution with four times the channels gives, at every corner between pixels, the four around it.
    """
    if _answers(x) is None:
        larger = F.interpolate(x, scale_factor=2.0, mode="nearest")
        return F.conv2d(larger, conv.weight, conv.bias, padding=1)
    corners = convolved(_once(conv, "corners", lambda: _at_corners(conv)), x)
    count, (height, width) = len(x), x.shape[2:]
    shape = (count, conv.out_channels, 2 * height, 2 * width)
    result = torch.empty(shape, dtype=x.dtype, memory_format=torch.channels_last)
    for number, corner in enumerate(corners.chunk(4, dim=1)):
        # What is after a corner is the first of the pixel there; what is before it, the second of the last.
        down, right = 1 - number // 2, 1 - number % 2
        result[:, :, down::2, right::2] = corner[:, :, down : down + height, right : right + width]
    return result


def _at_corners(conv: nn.Conv2d) -> nn.Conv2d:
    """The 2 x 2 convolution of `doubled`."""
    u, v, w = conv.weight.detach().float().unbind(2)
    weights = []
    for row in (torch.stack((u + v, w), 2), torch.stack((u, v + w), 2)):
        u, v, w = row.unbind(3)
        weights += [torch.stack((u + v, w), 3), torch.stack((u, v + w), 3)]
    weight = torch.cat(weights).to(conv.weight.dtype).contiguous(memory_format=torch.channels_last)
    with torch.device("meta"):  # given below
        corners = nn.Conv2d(conv.in_channels, 4 * conv.out_channels, 2, padding=1, bias=conv.bias is not None)
    corners.weight = nn.Parameter(weight, requires_grad=False)
    if conv.bias is not None:
        corners.bias = nn.Parameter(conv.bias.detach().repeat(4), requires_grad=False)
    return corners


def _levels(x: Tensor, margin: tuple[int, int]) -> Levels | None:
    """x (1, c, h, w), channels last, in levels, with a margin of zeros; None where they would say too little."""
    from coslice.networks import fused_numba

    pixels = _pixels(x)
    low, high, size = fused_numba.ends(pixels)
    if not high - low <= _WIDEST * size:  # nor of what is no number, which levels would hide
        return None
    levels = Levels.between(low, high, x.shape, margin)
    same = np.ones(x.shape[1], np.float32), np.zeros(x.shape[1], np.float32)
    fused_numba.levels(pixels, *same, False, levels.step, levels.zero, margin, levels.stored)
    return levels


class _Line:
    """u = a x + b of one image (1, c, h, w), channels last."""

    def __init__(
        self,
        norm: nn.GroupNorm,
        x: Tensor,
        offset: Tensor | None = None,
        scale: Tensor | None = None,
        shift: Tensor | None = None,
    ) -> None:
        from coslice.networks import fused_numba

        self._kernels = fused_numba
        self.shape, self.dtype, self._x = x.shape, x.dtype, _pixels(x)
        weight, bias, nothing = _once(norm, "line", lambda: _of_norm(norm))
        labels = (nothing if label is None else label.float().numpy() for label in (offset, scale, shift))
        self._a, self._b = np.empty((2, x.shape[1]), np.float32)
        self._largest = fused_numba.line(self._x, weight, bias, *labels, norm.num_groups, norm.eps, self._a, self._b)

    @property
    def finite(self) -> bool:
        """Whether u is numbers, as a and b tell, which means and deviations of x are in; levels would hide others."""
        return bool(np.isfinite(self._a).all() and np.isfinite(self._b).all())

    def write(self, out: Tensor, active: bool) -> None:
        """SiLU(u), or u, into `out`, like x."""
        self._kernels.normalised(self._x, self._a, self._b, active, _pixels(out))

    def levels(self, margin: tuple[int, int]) -> Levels:
        """SiLU(u) in levels, with a margin of zeros."""
        # SiLU(u) <= u, and hardly less where it is large.
        levels = Levels.between(self._kernels.LOWEST, max(self._largest, 0.1), self.shape, margin)
        self._kernels.levels(self._x, self._a, self._b, True, levels.step, levels.zero, margin, levels.stored)
        return levels


def _of_norm(norm: nn.GroupNorm) -> tuple[np.ndarray, ...]:
    """Weight, bias, and zeros, (c,) float32."""
    weight, bias = norm.weight.detach().float().numpy(), norm.bias.detach().float().numpy()
    return weight, bias, np.zeros_like(bias)


def _pixels(image: Tensor) -> Any:
    """(1, c, h, w), channels last, as a numpy array (h w, c); bfloat16 as uint16."""
    rows = image.permute(0, 2, 3, 1).flatten(0, 2)
    return rows.view(torch.uint16).numpy() if rows.dtype == torch.bfloat16 else rows.numpy()


_lock = threading.Lock()
_made: WeakKeyDictionary[nn.Module, dict[str, tuple[tuple[int, int], Any]]] = WeakKeyDictionary()
"""What was made of the weights of a layer. Not on the layer itself: it need not be copied, stored or sent."""


def _once(layer: nn.Conv2d | nn.GroupNorm, what: str, make: Callable[[], _Value]) -> _Value:
    """make(), once for the weights as they are."""
    state = (layer.weight.data_ptr(), layer.weight._version)
    with _lock:
        made = _made.setdefault(layer, {})
        if what not in made or made[what][0] != state:
            made[what] = (state, make())
        return made[what][1]


def _eight_bits(conv: nn.Conv2d, shape: tuple[int, ...]) -> EightBitConv | None:
    """`conv` with weights of 8 bits; None where images (b, c, h, w) gain nothing from it."""
    if shape[2] * shape[3] < LEAST_PIXELS:
        return None
    return _once(conv, "eight bits", lambda: EightBitConv(conv) if EightBitConv.suits(conv) else None)
