"""Calls of torch for normal numbers, read: of which shape, mean and spread, and where the numbers go.

torch has four: `randn`, `randn_like`, `Tensor.normal_` and `normal`. A call that is wrong is not read, so that torch
says what is wrong with it.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

__all__ = ["READERS", "NormalDraw", "Shape"]

Shape = tuple[int, ...]


@dataclass(frozen=True)
class NormalDraw:
    """One call of torch for normal numbers: mean + std eps.

    Attributes:
        shape: of the result.
        make: the result without its values; for a draw in place, the tensor itself.
        mean, std: None and anything is 0 and 1.
        in_place: torch's rules for changing a tensor in place hold.
    """

    shape: Shape
    make: Callable[[], Tensor]
    generator: torch.Generator | None
    mean: Tensor | float | None = None
    std: Tensor | float = 1.0
    in_place: bool = False


def _read_randn(args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> NormalDraw | None:
    size = kwargs.get("size", args[0] if len(args) == 1 and isinstance(args[0], Sequence) else args)
    shape = _shape(size)
    rest = _without(kwargs, "size", "generator")
    return None if shape is None else NormalDraw(shape, lambda: torch.empty(shape, **rest), kwargs.get("generator"))


def _read_randn_like(args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> NormalDraw | None:
    like = args[0] if args else kwargs.get("input")
    if not isinstance(like, Tensor):
        return None
    rest = _without(kwargs, "input", "generator")
    return NormalDraw(tuple(like.shape), lambda: torch.empty_like(like, **rest), kwargs.get("generator"))


def _read_normal_(args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> NormalDraw | None:
    given = {**dict(zip(("self", "mean", "std"), args, strict=False)), **kwargs}
    target, mean, std = given["self"], given.get("mean", 0.0), given.get("std", 1.0)
    if not _is_spread(std):
        return None
    mean = None if not isinstance(std, Tensor) and std == 1 and isinstance(mean, (int, float)) and mean == 0 else mean
    return NormalDraw(tuple(target.shape), lambda: target, given.get("generator"), mean, std, in_place=True)


def _read_normal(args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> NormalDraw | None:
    given = {**dict(zip(("mean", "std", "size"), args, strict=False)), **kwargs}
    mean, std, out, generator = given.get("mean", 0.0), given.get("std", 1.0), given.get("out"), given.get("generator")
    if not _is_spread(std):
        return None
    if given.get("size") is not None:
        shape = _shape(given["size"])
        rest = _without(given, "mean", "std", "size", "generator")
        return None if shape is None else NormalDraw(shape, lambda: torch.empty(shape, **rest), generator, mean, std)
    given_tensors = [one for one in (mean, std) if isinstance(one, Tensor)]
    if not given_tensors:
        return None
    try:
        shape = tuple(torch.broadcast_shapes(*(one.shape for one in given_tensors)))
    except RuntimeError:
        return None
    lead = given_tensors[0]
    rest = {"dtype": lead.dtype, "device": lead.device} if out is None else {"out": out}
    return NormalDraw(shape, lambda: torch.empty(shape, **rest), generator, mean, std)


# What cannot be read returns None and is left to torch, which says what is wrong with it.
READERS: dict[Any, Callable[[tuple[Any, ...], Mapping[str, Any]], NormalDraw | None]] = {
    torch.randn: _read_randn,
    torch.randn_like: _read_randn_like,
    torch.Tensor.normal_: _read_normal_,
    torch.normal: _read_normal,
}


def _shape(size: Any) -> Shape | None:
    try:
        shape = tuple(operator.index(n) for n in size)
    except TypeError:
        return None
    return None if min(shape, default=0) < 0 else shape


def _is_spread(std: Any) -> bool:
    if isinstance(std, Tensor):
        return not (std.is_complex() or std.is_meta) and bool((std >= 0).all())
    return isinstance(std, (int, float)) and std >= 0


def _without(kwargs: Mapping[str, Any], *names: str) -> dict[str, Any]:
    return {name: value for name, value in kwargs.items() if name not in names}
