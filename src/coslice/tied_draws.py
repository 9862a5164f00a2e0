"""ISCS in other people's samplers: the normal numbers that torch draws in a block, tied along the stack.

    with coslice.iscs(seed=0):
        volume = sampler(...)

A sampler that treats the slices of a volume as the images of one batch draws its noise by `torch.randn`, whoever
wrote it. In the block such a draw of shape (S, C, H, W) becomes a stack of S slices, each an image of C x H x W
numbers: two Gaussian images are drawn, and the slices lie on the arc between them (Du et al., ICLR 2026, eq. 11). So

    cov(eps_i, eps_j) -> cos(pi (a_i - a_j)/2),    a_i = (i - 1)/(S - 1),

and each slice alone stays standard normal: a prior of slices notices nothing. Start and steps have to be tied alike,
so the first noise is drawn in the block as well.

**What is tied.** `torch.randn`, `torch.randn_like`, `Tensor.normal_` and `torch.normal` (as mean + std eps), and what
calls them: diffusers' `randn_tensor`, `torch.distributions.Normal`. Of those, the draws that `iscs` is told to take;
every other draw gets the bits it would have got. `torch.nn.init.normal_`, `torch.ops` and C++ code are not looked
into: `nn.Linear`, `nn.Conv2d` and `nn.Embedding` start as ever. A network whose weights are made by `torch.randn` is
made before the block.

**What the numbers depend on.** On seed, number of the draw in the block, and shape: not on threads, the device, or
`torch.manual_seed`. The generators of torch are not asked, so what is drawn elsewhere stays what it was. A draw with
a `generator=` of its own takes one word from it, and the noise is made of seed and word: another generator gives
other noise, the same state gives the same noise again, as samplers that rewind their generators need it. Numbers are
those of `coslice.noise`, in float32, rounded to the dtype of the draw; a complex draw has half the variance in each
part.

**Where it holds.** In the thread that entered the block, innermost block first, until it is left, by an exception
too. A generator function that yields in a block leaves it on for whoever takes the next value: put the block round
the loop that takes them. Code under `torch.compile` is compiled anew for the block, as for any mode of torch.
"""

from __future__ import annotations

import math
import operator
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from coslice.errors import CosliceError
from coslice.noise import Key, Slerp, Strategy
from coslice.normal_calls import READERS, NormalDraw, Shape

__all__ = ["TiedDraws", "iscs", "tied_normal"]


def iscs(
    seed: int = 0,
    noise: Strategy | None = None,
    *,
    axis: int = 0,
    size: int | None = None,
    ndim: int | None = None,
    dtype: torch.dtype | None = None,
    device: torch.device | str | None = None,
    spacing: float | None = None,
) -> TiedDraws:
    """A block in which torch's normal draws are tied along a stack: `with coslice.iscs(seed=0) as ties:`.

    The same block gives the same noise each time it is entered. One in which nothing was tied warns when it is left.

    Args:
        seed: of the noise, any integer.
        noise: how slices share noise; None is `Slerp()`, which is ISCS. `Identical()` is BCS, `Independent()` ties
            nothing, and those of `coslice.correlated_noise` tie over millimetres.
        axis: of a draw, along which the slices lie: 0 where they are the batch, 2 in (1, C, S, H, W).
        size: slices of the stack; draws of another number along `axis` are left alone. None: of any number from 2.
        ndim: axes of the draws that are tied. None: three or more, so that a list of numbers is no stack.
        dtype, device: of the draws that are tied; None: of any. "cuda" is every GPU, "cuda:1" one.
        spacing: between neighbouring slices, mm, for noise whose tie is in millimetres. None: as `noise` has it.

    Raises:
        CosliceError: a noise that is no `Strategy`, or whose tie changes with the noise level, which the block cannot
            know; a size below 2, a spacing that is not above 0.
    """
    return TiedDraws(
        operator.index(seed),
        _usable(Slerp() if noise is None else noise, spacing),
        _Choice(axis, size, ndim, dtype, None if device is None else torch.device(device)),
    )


def tied_normal(
    noise: Strategy,
    key: Key,
    shape: Sequence[int],
    axis: int = 0,
    first: int = 0,
    count: int | None = None,
    device: torch.device | str | None = None,
    complex_: bool = False,
) -> Tensor:
    """Standard normal numbers of `shape`, slices stacked along `axis`: float32, or complex64 with variance 1/2 a part.

    Args:
        noise: how the slices share it.
        key: which noise.
        shape: of any number of axes; what is not `axis` is the image.
        axis: of the stack.
        first, count: the first slice of these, and the number of slices of the whole stack. None: these are the stack.
        device: where they are drawn; None is the CPU. The bits are the same everywhere.
        complex_: complex numbers.
    """
    axis %= len(shape)
    slices, image = shape[axis], (*shape[:axis], *shape[axis + 1 :], *((2,) if complex_ else ()))
    # Within an image all numbers are independent, so its layout is free: a row of numbers is the plane of a strategy.
    stack = torch.zeros(slices, 1, math.prod(image), device=device)
    noise.add_to_stack(stack, math.sqrt(0.5) if complex_ else 1.0, key, first, slices if count is None else count)
    images = stack.view(slices, *image)
    return (torch.view_as_complex(images) if complex_ else images).movedim(0, axis)


@dataclass(frozen=True)
class _Choice:
    """Which draws are tied, as `iscs` says it."""

    axis: int
    size: int | None
    ndim: int | None
    dtype: torch.dtype | None
    device: torch.device | None

    def __post_init__(self) -> None:
        if self.size is not None and self.size < 2:
            raise CosliceError(f"iscs: a size of {self.size} was given, but a stack has at least 2 slices.")

    def why_not(self, shape: Shape, chunk: tuple[int, int] | None) -> str:
        """What a draw of this shape lacks; "" if it may be tied."""
        axes, axis = len(shape), self.axis
        if self.ndim is None and axes < 3:
            return f"{axes} axes, and a stack of images has 3 or more (ndim={axes} takes these)"
        if self.ndim is not None and axes != self.ndim:
            return f"{axes} axes, not {self.ndim}"
        if not -axes <= axis < axes:
            return f"no axis {axis}"
        if 0 in shape:
            return "no numbers in it"
        slices = shape[axis]
        if chunk is not None:
            first, count = chunk
            return "" if first + slices <= count else f"{slices} slices from {first} on, beyond a stack of {count}"
        if self.size is None and slices < 2:
            return f"{slices} along axis {axis}, and a stack has 2 or more"
        if self.size is not None and slices != self.size:
            return f"{slices} along axis {axis}, not {self.size}"
        return ""

    def why_not_of_kind(self, made: Tensor) -> str:
        """The same of its dtype and device."""
        if not (made.is_floating_point() or made.is_complex()) or made.layout != torch.strided or made.is_meta:
            return "not dense real or complex numbers"
        if self.dtype is not None and made.dtype != self.dtype:
            return f"{made.dtype}, not {self.dtype}"
        wanted = self.device
        if wanted is not None and (made.device.type, made.device.index) not in (
            (wanted.type, wanted.index),
            *(((wanted.type, made.device.index),) if wanted.index is None else ()),
        ):
            return f"on {made.device}, not {wanted}"
        return ""


class TiedDraws(TorchFunctionMode):
    """What `iscs` returns: the block, and what it tied.

    Attributes:
        seed, noise: as given.
        tied: how many draws of which shape were tied since the block was last entered.
        passed: how many normal draws of which shape were left alone, and why.
    """

    def __init__(self, seed: int, noise: Strategy, choice: _Choice) -> None:
        super().__init__()
        self.seed, self.noise = seed, noise
        self.tied: Counter[Shape] = Counter()
        self.passed: Counter[tuple[Shape, str]] = Counter()
        self._choice = choice
        self._open = False
        self._chunk: tuple[int, int] | None = None
        # Of every chunk (None: whole stacks), how many draws it has had: the number of the next.
        self._numbers: Counter[int | None] = Counter()
        self._words: dict[int, int] = {}

    def __repr__(self) -> str:
        said = [f"{_times(number)} of {shape} tied" for shape, number in self.tied.items()] or ["no draw tied"]
        noise = type(self.noise).__name__
        return f"iscs(seed={self.seed}, noise={noise}): {'; '.join([*said, *self._left_alone()])}"

    def __enter__(self) -> TiedDraws:
        if self._open:
            raise CosliceError(
                "iscs: this block is open already, here or in another thread, and its draws have their numbers; "
                "make another with coslice.iscs(...)."
            )
        self._open = True
        for record in (self.tied, self.passed, self._numbers, self._words):
            record.clear()
        super().__enter__()
        return self

    def __exit__(self, exc_type: Any, exc_val: Any, exc_tb: Any) -> None:
        super().__exit__(exc_type, exc_val, exc_tb)
        self._open = False
        if exc_type is None and not self.tied:
            warnings.warn(self._nothing(), stacklevel=2)

    def skip(self, number: int) -> None:
        """Leaves out `number` draws: the next one gets the number that it would have had after them."""
        self._numbers[None if self._chunk is None else self._chunk[0]] += operator.index(number)

    @contextmanager
    def chunk(self, first: int, count: int) -> Iterator[TiedDraws]:
        """A block in the block, in which a draw is a part of the stack: for samplers that take it batch by batch.

            for first in range(0, 64, 8):
                with ties.chunk(first, 64):
                    parts.append(sampler(measurement[first : first + 8]))

        Draws are numbered for each chunk, so that number n of one chunk and number n of another are parts of the same
        stack, and a chunk that is entered again goes on where it was left. So the chunks may be the outer loop or the
        inner one. Draws with a generator share the word that the first chunk takes for its draw of that number.

        Args:
            first: number of the chunk's first slice, from 0.
            count: slices of the whole stack.

        Raises:
            CosliceError: outside of the block or in another chunk, a chunk that is not in its stack, or a stack of
                another height than the `size` of the block.
        """
        if not self._open or self._chunk is not None:
            where = "in another chunk" if self._open else "outside of its block"
            raise CosliceError(
                f"iscs: a chunk was opened {where}; open one at a time, inside `with coslice.iscs(...)`."
            )
        size = self._choice.size
        if not 0 <= first < count or count < 2 or (size is not None and count != size):
            raise CosliceError(
                f"iscs: a chunk from slice {first} of {count} was given, but slices are counted from 0 to below the "
                f"height of the stack, which is {'at least 2' if size is None else size}."
            )
        self._chunk = first, count
        try:
            yield self
        finally:
            self._chunk = None

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        # torch takes the mode off while this runs: what is called here is what it would be without the block.
        if func not in READERS:
            return func(*args, **kwargs)
        draw = READERS[func](args, kwargs)
        if draw is None:
            return func(*args, **kwargs)
        lacking = self._choice.why_not(draw.shape, self._chunk)
        if not lacking:
            made = draw.make()
            lacking = self._choice.why_not_of_kind(made)
            if not lacking:
                return self._fill(draw, made)
        self.passed[draw.shape, lacking] += 1
        return func(*args, **kwargs)

    def _fill(self, draw: NormalDraw, made: Tensor) -> Tensor:
        first, count = self._chunk or (0, draw.shape[self._choice.axis])
        values = tied_normal(
            self.noise,
            self._key(draw.generator),
            draw.shape,
            self._choice.axis,
            first,
            count,
            made.device,
            made.is_complex(),
        )
        if draw.mean is not None:
            # In the draw's own precision where it has more than float32, and never in less.
            values = values.to(torch.promote_types(made.dtype, values.dtype)) * draw.std + draw.mean
        with torch.set_grad_enabled(draw.in_place and torch.is_grad_enabled()):
            made.copy_(values)
        self.tied[draw.shape] += 1
        return made

    def _key(self, generator: torch.Generator | None) -> Key:
        chunk = None if self._chunk is None else self._chunk[0]
        number = self._numbers[chunk]
        self._numbers[chunk] += 1
        if generator is None:
            return Key(self.seed, number, "tied draws")
        if chunk is None:
            word = _word(generator)
        else:
            word = self._words[number] = self._words[number] if number in self._words else _word(generator)
        return Key(self.seed, 0, f"tied draws {word}")

    def _left_alone(self) -> list[str]:
        return [f"{_times(number)} of {shape} left alone: {why}" for (shape, why), number in self.passed.items()]

    def _nothing(self) -> str:
        if not self.passed:
            return (
                "iscs: nothing was tied in this block, since torch drew no normal numbers in it. Was the noise drawn "
                "before the block, by NumPy or in another thread, or does this sampler draw none (eta 0)?"
            )
        most = "; ".join(self._left_alone()[:5]) + ("; ..." if len(self.passed) > 5 else "")
        return (
            f"iscs: nothing was tied in this block. {most}. Slices must be drawn together, as one batch with one "
            "generator or none; say which draws are the stack with axis, size, ndim, dtype and device, or with "
            "chunk(first, count) where the stack is sampled in parts."
        )


def _word(generator: torch.Generator) -> int:
    return int(torch.empty((), dtype=torch.int64, device=generator.device).random_(generator=generator))


def _times(number: int) -> str:
    return "1 draw" if number == 1 else f"{number} draws"


def _usable(noise: Any, spacing: float | None) -> Strategy:
    if not isinstance(noise, Strategy):
        raise CosliceError(
            f"iscs: {noise!r} was given as the noise, but it must be a strategy, as coslice.Slerp() or "
            "coslice.Matern(length=5); hand in a value of such a class."
        )
    if noise.at(1e-9) != noise.at(1e9):
        raise CosliceError(
            f"iscs: {noise!r} ties slices by the noise level, which is not known in the block; "
            "give it one share for all levels."
        )
    if spacing is None:
        return noise
    if not 0 < spacing < math.inf:
        raise CosliceError(f"iscs: a spacing of {spacing:g} mm was given, but slices lie more than 0 mm apart.")
    return replace(noise, spacing=float(spacing))
