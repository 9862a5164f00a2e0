"""A device that there is not: tensors that say they are on it, while the CPU computes.

It is as strict as a GPU: operations on tensors of both devices are refused, but for copies, indices and numbers of no
axis; `.numpy()` is refused. So what would stop on the first GPU stops here.
"""

from __future__ import annotations

from contextlib import contextmanager

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_map

_PLACE = "meta"  # a name that every torch knows and nothing else here uses
aten = torch.ops.aten
crossings = []
"""Shapes of what was copied from one device to the other."""
_MAY_MIX = {aten._to_copy.default, aten.copy_.default, aten.index.Tensor, aten.index_put_.default}


class _There(Tensor):
    """A tensor on the device, holding one of the CPU."""

    held: Tensor

    @staticmethod
    def __new__(cls, held):
        layout = {"strides": held.stride(), "storage_offset": held.storage_offset(), "dtype": held.dtype}
        return Tensor._make_wrapper_subclass(cls, held.shape, device=torch.device(_PLACE), **layout)

    def __init__(self, held):
        self.held = held

    @classmethod
    def __torch_dispatch__(cls, func, types, args=(), kwargs=None):
        return _computed(func, args, kwargs or {})


def _is_there(device):
    return device is not None and torch.device(device).type == _PLACE


def _computed(func, args, kwargs):
    """What the CPU makes of it, on the device if an argument is there or if it is asked for there."""
    here, there = [], {}
    asked = kwargs.get("device")

    def unwrapped(value):
        if isinstance(value, _There):
            there[id(value.held)] = value
            return value.held
        if isinstance(value, Tensor) and value.ndim > 0:
            here.append(value)
        return torch.device("cpu") if isinstance(value, torch.device) and _is_there(value) else value

    args, kwargs = tree_map(unwrapped, (args, kwargs))
    if here and there and func not in _MAY_MIX:
        raise RuntimeError(f"{func}: tensors of the CPU and of {_PLACE} were given")
    stays = bool(there) if asked is None else _is_there(asked)
    if func is aten.copy_.default:
        stays = id(args[0]) in there
    if func is aten._to_copy.default and bool(there) != stays:
        crossings.append(tuple(args[0].shape))

    def wrapped(value):
        if not isinstance(value, Tensor):
            return value
        return there[id(value)] if id(value) in there else _There(value) if stays else value

    return tree_map(wrapped, func(*args, **kwargs))


class _Made(TorchDispatchMode):
    """Makes tensors on the device where they are asked for."""

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        return _computed(func, args, kwargs or {})


class _Built(TorchFunctionMode):
    """The same for those that are built from lists and numbers, of which the other hears nothing."""

    def __torch_function__(self, func, types, args=(), kwargs=None):
        kwargs = dict(kwargs or {})
        if func in (torch.tensor, torch.as_tensor) and _is_there(kwargs.get("device")):
            place = kwargs.pop("device")
            return func(*args, **kwargs).to(place)
        if func is Tensor.tolist and isinstance(args[0], _There):
            return args[0].cpu().tolist()
        if func is Tensor.new_tensor and isinstance(args[0], _There):
            return torch.tensor(args[1], dtype=args[0].dtype, **kwargs).to(_PLACE)
        return func(*args, **kwargs)


@contextmanager
def pretended_device():
    """Within, there is such a device; its name is given."""
    crossings.clear()
    before = torch.__future__.get_swap_module_params_on_conversion()
    torch.__future__.set_swap_module_params_on_conversion(True)
    try:
        with _Made(), _Built():
            yield _PLACE
    finally:
        torch.__future__.set_swap_module_params_on_conversion(before)
