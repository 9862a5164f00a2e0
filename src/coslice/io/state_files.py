"""Where a run stands, in one file of tensors and numbers (safetensors): whole or not at all, and checked when read.

    header      names, types and shapes of the tensors; in its metadata the numbers, and a checksum of them
    tensors     one after the other, as they lie in memory: the order of their axes there is in the metadata, since sums
                may round otherwise in another one
    checksums   CRC-32 of every tensor, in the order of the metadata

A tensor goes to the disk straight from where it is, an accelerator's by way of a copy of it alone; so keeping a state
takes no second volume of memory. Nothing is unpickled when it is read.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from coslice.errors import CosliceError
from coslice.io.files import atomic
from coslice.io.packing import TYPES
from coslice.states import State

__all__ = ["read_state", "write_state"]

_TYPES = {dtype: name for name, dtype in TYPES.items()}
_META, _SUMS = "coslice", "checksums"


def write_state(path: Path, state: State, more: Mapping[str, Any]) -> None:
    """Write a state, and what else is to be known of it.

    Args:
        path: ends in .safetensors; what is there is replaced once the new file is whole and on the disk.
        state: whose tensors may be on any device.
        more: what JSON can say.

    Raises:
        CosliceError: the operating system refuses; numbers that JSON has no word for, or tensors of another type.
    """
    header: dict[str, Any] = {}
    orders: dict[str, list[int]] = {}
    place = 0
    for name, tensor in state.tensors.items():
        if tensor.dtype not in _TYPES or name == _SUMS:
            raise CosliceError(f"{path.name}: {name} is a tensor of {tensor.dtype}, of which no state is kept.")
        orders[name] = sorted(range(tensor.ndim), key=tensor.stride, reverse=True)
        shape = [tensor.shape[axis] for axis in orders[name]]
        size = tensor.numel() * tensor.element_size()
        header[name] = {"dtype": _TYPES[tensor.dtype], "shape": shape, "data_offsets": [place, place + size]}
        place += size
    header[_SUMS] = {"dtype": "I64", "shape": [len(orders)], "data_offsets": [place, place + 8 * len(orders)]}
    try:
        known = json.dumps({"numbers": dict(state.numbers), "orders": orders, "more": dict(more)})
    except (TypeError, ValueError) as error:
        raise CosliceError(
            f"{path.name}: a state holds what JSON has no word for ({error}); give numbers, text and tensors."
        ) from error
    header["__metadata__"] = {_META: known, "crc": str(zlib.crc32(known.encode()))}
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    sums = []
    with atomic(path) as part, open(part, "wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for name, order in orders.items():
            lying = state.tensors[name].detach().permute(order).cpu().contiguous()
            content = lying.view(-1).view(torch.uint8).numpy().data
            sums.append(zlib.crc32(content))
            file.write(content)
        file.write(b"".join(one.to_bytes(8, "little") for one in sums))


def read_state(path: Path, device: torch.device | str = "cpu") -> tuple[State, dict[str, Any]] | None:
    """The state in a file, its tensors on `device` and in memory as they were; and what else was written of it.

    Returns:
        None of a file that is damaged, or that no `write_state` has written.

    Raises:
        CosliceError: a file that cannot be read.
    """
    try:
        with safe_open(str(path), "pt") as file:
            metadata = file.metadata() or {}
            known = metadata[_META]
            if zlib.crc32(known.encode()) != int(metadata["crc"]):
                return None
            tree = json.loads(known)
            sums = file.get_tensor(_SUMS).tolist()
            tensors: dict[str, Tensor] = {}
            for (name, order), expected in zip(tree["orders"].items(), sums, strict=True):
                lying = file.get_tensor(name).clone()
                if zlib.crc32(lying.view(-1).view(torch.uint8).numpy().data) != expected:
                    return None
                back = sorted(range(len(order)), key=order.__getitem__)
                tensors[name] = lying.to(device).permute(back)
            return State(tree["numbers"], tensors), tree["more"]
    except (OSError, MemoryError) as error:
        raise CosliceError(f"{path} cannot be read ({error}).") from error
    except (SafetensorError, ValueError, KeyError, TypeError, AttributeError, RuntimeError):
        return None
