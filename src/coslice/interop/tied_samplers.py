"""ISCS switched on for a sampler of another library, or handed to it as noise.

    enable_iscs(pipe, seed=0)                                every call of a diffusers pipeline is tied
    enable_iscs(inferer, seed=0, call="sample")              MONAI's inferers sample by a method
    scheduler.step(..., variance_noise=noise.at(1 + i))      noise = TiedNoise((64, 1, 256, 256)), its start noise.at(0)
    solver.randn_like = noise.randn_like                     deepinv's solvers of stochastic differential equations

All give the numbers of a block `with coslice.iscs(seed=0):` (`coslice.tied_draws`), of which they are made: number 0
for a start that is handed in, from 1 on for what the sampler draws. None of the libraries is imported: a sampler is
changed by what it is, not by who wrote it.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Iterable, Sequence
from typing import Any, TypeVar, cast

import torch
from torch import Tensor

from coslice.errors import CosliceError
from coslice.noise import Strategy
from coslice.tied_draws import iscs

__all__ = ["TiedNoise", "disable_iscs", "enable_iscs"]

Sampler = TypeVar("Sampler")
_WITHOUT = "_without_iscs"
_LATER = (inspect.isgeneratorfunction, inspect.iscoroutinefunction, inspect.isasyncgenfunction)


def enable_iscs(
    sampler: Sampler,
    seed: int = 0,
    noise: Strategy | None = None,
    *,
    call: str = "__call__",
    axis: int = 0,
    size: int | None = None,
    spacing: float | None = None,
) -> Sampler:
    """Ties the noise of every later call of `sampler`, and returns it: of diffusers, deepinv, azula.

    Each call runs in a block `coslice.iscs` of its own. So two calls with equal arguments give the same stack; for
    another one hand the call another generator, where it takes one, or enable with another seed. Only this object is
    changed: its class becomes one of the same name that is derived from its class, which `disable_iscs` undoes.
    Enabling twice is enabling once, with the later settings. An enabled sampler cannot be pickled.

    What is drawn outside of the call is not tied: a start that is handed in comes from `TiedNoise(shape, seed).at(0)`,
    or from a block of its own. Draws of the call are numbered from 1, so that number 0 of the same seed is free for it.

    Args:
        sampler: any object that is called, or has a method `call`, to sample the slices of a stack as one batch.
        seed, noise, axis, spacing: as in `coslice.iscs`.
        call: name of the method that samples; "sample" for MONAI's inferers.
        size: slices of the stack. None: the call's `batch_size` where it has an argument of that name, or else any.

    Raises:
        CosliceError: settings that `coslice.iscs` refuses, a sampler without that method, one that yields its
            results or is awaited, or one that cannot change its class. A later call raises it for a list of generators,
            which would draw every slice alone.
    """
    iscs(seed, noise, axis=axis, size=size, spacing=spacing)  # what it refuses is refused here, not at the first call
    disable_iscs(sampler)
    own = type(sampler)
    method = getattr(own, call, None)
    if not callable(method):
        raise CosliceError(
            f"enable_iscs: a {own.__name__} was given, which has no method {call!r}; "
            "name the one that samples, as in enable_iscs(inferer, call='sample')."
        )
    if any(kind(method) for kind in _LATER):
        raise CosliceError(
            f"enable_iscs: {own.__name__}.{call} samples after it was called, as its values are taken; put a block "
            "`with coslice.iscs(seed=0):` round the loop that takes them instead."
        )
    written: Any = inspect.getattr_static(own, call)  # a function, or what makes one a static or a class method
    bind = getattr(written, "__get__", lambda *_: written)
    try:
        takes = inspect.signature(bind(sampler, own))
    except ValueError:  # of compiled code, which does not say what it takes
        takes = inspect.Signature()

    @functools.wraps(method)
    def tied(self: Any, *args: Any, **kwargs: Any) -> Any:
        _refuse_generators([*args, *kwargs.values()])
        slices = size
        if slices is None and "batch_size" in takes.parameters:
            bound = takes.bind(*args, **kwargs)
            bound.apply_defaults()
            batch = bound.arguments["batch_size"]
            slices = batch if isinstance(batch, int) and batch > 1 else None
        with iscs(seed, noise, axis=axis, size=slices, spacing=spacing) as ties:
            ties.skip(1)
            return bind(self, type(self))(*args, **kwargs)

    names = {"__module__": own.__module__, "__qualname__": own.__qualname__, "__doc__": own.__doc__}
    try:
        cast(Any, sampler).__class__ = type(own.__name__, (own,), {**names, call: tied, _WITHOUT: own})
    except TypeError as error:
        raise CosliceError(
            f"enable_iscs: objects of the class {own.__name__} keep their class ({error}); "
            "call the sampler inside `with coslice.iscs(seed=0):` instead."
        ) from error
    return sampler


def disable_iscs(sampler: Sampler) -> Sampler:
    """Undoes `enable_iscs`, and returns the sampler; one that was not enabled stays as it is."""
    before = type(sampler).__dict__.get(_WITHOUT)
    if before is not None:
        sampler.__class__ = before
    return sampler


class TiedNoise:
    """The tied noise of every step of a sampler, for those that take it as an argument.

    Draw number n is that of `coslice.iscs` with the same seed: 0 the start, n the n-th step after it, where every step
    draws once.

    Args:
        shape: of the draws, slices along `axis`.
        seed, noise, axis, spacing: as in `coslice.iscs`.
        dtype, device: of the draws; None is torch's default.

    Raises:
        CosliceError: settings that `coslice.iscs` refuses, or a shape without two slices along `axis`.
    """

    def __init__(
        self,
        shape: Sequence[int],
        seed: int = 0,
        noise: Strategy | None = None,
        *,
        axis: int = 0,
        spacing: float | None = None,
        dtype: torch.dtype | None = None,
        device: torch.device | str | None = None,
    ) -> None:
        self.shape, self.seed, self.dtype, self.device = tuple(shape), seed, dtype, device
        if not -len(self.shape) <= axis < len(self.shape):
            raise CosliceError(f"TiedNoise: a shape {self.shape} was given, which has no axis {axis}.")
        size, ndim = self.shape[axis], len(self.shape)
        self._block = functools.partial(iscs, noise=noise, axis=axis, size=size, ndim=ndim, spacing=spacing)
        self._block(seed)
        self._drawn = 1

    def at(self, number: int) -> Tensor:
        """Draw number `number`, from 0, of `shape`."""
        with self._block(self.seed) as ties:
            ties.skip(number)
            return torch.randn(self.shape, dtype=self.dtype, device=self.device)

    def randn_like(self, input: Tensor, seed: int | None = None) -> Tensor:
        """The next draw, from number 1 on, in the dtype and on the device of `input`: number 0 is left for the start.

        Args:
            input: of `shape`.
            seed: another seed from here on, and number 1 of it; None goes on.

        Raises:
            CosliceError: an input of another shape.
        """
        if tuple(input.shape) != self.shape:
            raise CosliceError(
                f"TiedNoise: a tensor of shape {tuple(input.shape)} was given, but this noise is of {self.shape}; "
                "make one for every shape."
            )
        if seed is not None:
            self.seed, self._drawn = seed, 1
        with self._block(self.seed) as ties:
            ties.skip(self._drawn)
            self._drawn += 1
            return torch.randn_like(input)


def _refuse_generators(given: Iterable[Any]) -> None:
    for one in given:
        if isinstance(one, list) and len(one) > 1 and all(isinstance(each, torch.Generator) for each in one):
            raise CosliceError(
                f"enable_iscs: {len(one)} generators were given, one for each slice, which draw every slice alone; "
                "give one generator or none."
            )
