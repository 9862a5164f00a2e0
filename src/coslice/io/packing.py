"""Weights in safetensors files, as they are or packed without loss.

The bits of a trained weight are not equally busy. Most weights of a layer are of similar size, so of the 8 bits of a
bfloat16's exponent less than 3 carry anything; sign and fraction are as good as random. Packing takes the two apart.
Every 16-bit word, bfloat16 or float16, is turned by one bit, which brings the sign behind the fraction,

    s eeeeeeee fffffff  ->  eeeeeeee fffffffs        (bfloat16)
    s eeeee ffffffffff  ->  eeeeefff fffffffs        (float16)

and the words' first and second bytes are written one after the other as two planes, each under a Huffman code
(zlib's, with no search for repetitions: there are none). A bfloat16 then takes 10.7 bits, a float16 13.6.

Of a bfloat16 tensor whose weights are levels of 8 bits (`coslice.io.weight_levels`) the levels are a third plane, of 7
bits a weight, and the largest weight of each channel is all that the other two hold of it.

A packed file is a safetensors file still. Its tensors "packed.first", "packed.second" and, where there are levels,
"packed.levels" are the streams, and its metadata entry "packed" lists name, type and shape of what is in them, in
order, a tensor of levels under the type "BF16/I8"; tensors of other types lie beside them as always. A file is only
believed as far as its streams go: they must hold what the list says to the byte, and a Huffman code takes a bit for a
byte at least, so no file can ask for more than 8 times its own size.
"""

from __future__ import annotations

import json
import math
import shutil
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import safetensors
import torch
from safetensors.torch import save_file
from torch import Tensor

from coslice.errors import CosliceError
from coslice.escapes import shown
from coslice.io.documents import json_of
from coslice.io.weight_levels import levels_of, weights_of

__all__ = ["TYPES", "check_header", "read_weights", "replace_metadata", "stored_tensors", "write_weights"]

_LIST = "packed"
_FIRST, _SECOND, _LEVELS = "packed.first", "packed.second", "packed.levels"
_DTYPES = {"BF16": torch.bfloat16, "F16": torch.float16}
_OF_LEVELS = "BF16/I8"
TYPES = _DTYPES | {"F32": torch.float32, "F64": torch.float64, "I64": torch.int64, "I32": torch.int32}
TYPES |= {"U8": torch.uint8, "I8": torch.int8, "I16": torch.int16, "BOOL": torch.bool}
_MOST_HEADER = 16 * 2**20
_NAMES = {dtype: name for name, dtype in _DTYPES.items()}
_MEMORY = 9
"""zlib's largest: a code for every 32,768 bytes, which is what pays most for weights."""
_BYTES_PER_BYTE = 8
"""The most that a byte of a Huffman code can stand for."""
_AT_ONCE = 2**24
"""Numbers that are read while a file is open once."""


def write_weights(
    path: str | Path, weights: Mapping[str, Tensor], metadata: Mapping[str, str], packed: bool = False
) -> None:
    """Write `weights` as a safetensors file with `metadata`; `packed`: those of 16 bits without loss in less room.

    Raises:
        CosliceError: a name that the packed streams themselves have.
        OSError: the operating system refuses.
    """
    stored = {name: weight.detach().contiguous() for name, weight in weights.items()}
    chosen = {name: weight for name, weight in stored.items() if packed and weight.dtype in _NAMES}
    # Kernels with kernels and biases with biases: what is alike shares a code.
    chosen = dict(sorted(chosen.items(), key=lambda item: item[1].ndim))
    if not chosen:
        _save(stored, path, dict(metadata))
        return
    if taken := {_FIRST, _SECOND, _LEVELS} & set(stored):
        raise CosliceError(f"weights: a tensor {min(taken)} was given, but packing needs that name; give it another.")
    found = {name: levels_of(weight) for name, weight in chosen.items()}
    words = {name: weight if (pair := found[name]) is None else pair[1] for name, weight in chosen.items()}
    levels = [pair[0].cpu().reshape(-1) for pair in found.values() if pair is not None]
    first, second = _planes(words)
    streams = {_FIRST: _compressed(first), _SECOND: _compressed(second)}
    if levels:
        streams[_LEVELS] = _compressed(torch.cat(levels).numpy().view(np.uint8))
    listed = [
        [name, _NAMES[weight.dtype] if found[name] is None else _OF_LEVELS, list(weight.shape)]
        for name, weight in chosen.items()
    ]
    beside = {name: weight for name, weight in stored.items() if name not in chosen}
    _save({**streams, **beside}, path, {**metadata, _LIST: json.dumps(listed)})


def check_header(path: str | Path) -> None:
    """Refuse a safetensors file whose header is longer than the file, or than that of any network, before it is read.

    Raises:
        CosliceError: likewise.
    """
    path = Path(path)
    try:
        with open(path, "rb") as file:
            length = int.from_bytes(file.read(8), "little")
        room = path.stat().st_size - 8
    except OSError as error:
        raise CosliceError(f"{path} cannot be read ({(error.strerror or str(error)).lower()}).") from error
    if length > min(room, _MOST_HEADER):
        raise CosliceError(
            f"{path.name} cannot be read: its header claims {shown(length)} bytes, where the file has {max(room, 0)} "
            "and a network needs less than 16 MB; get the file anew from where it came."
        )


def stored_tensors(path: str | Path) -> dict[str, tuple[torch.dtype, tuple[int, ...]]]:
    """Type and shape of the tensors that `read_weights` would read, without reading them.

    Raises:
        CosliceError: as `read_weights`; a type that is none of numbers.
        safetensors.SafetensorError: no safetensors file.
    """
    found: dict[str, tuple[torch.dtype, tuple[int, ...]]] = {}
    with safetensors.safe_open(path, framework="pt") as file:
        for name in file.keys():
            tensor = file.get_slice(name)
            dtype = TYPES.get(tensor.get_dtype())
            if dtype is None:
                raise _damaged(Path(path).name, f"{shown(name)} is of the type {shown(tensor.get_dtype())}")
            found[name] = dtype, tuple(tensor.get_shape())
        listed = (file.metadata() or {}).get(_LIST)
    if listed is None:
        return found
    for name in (_FIRST, _SECOND, _LEVELS):
        found.pop(name, None)
    return found | {entry.name: (entry.dtype, entry.shape) for entry in _entries(listed, Path(path).name)}


def read_weights(path: str | Path) -> dict[str, Tensor]:
    """The tensors of a safetensors file, as they are or unpacked, bit for bit what was written, in memory of their own.

    Raises:
        CosliceError: a packed file whose list and streams do not belong together.
        safetensors.SafetensorError: no safetensors file.
    """
    weights: dict[str, Tensor] = {}
    with safetensors.safe_open(path, framework="pt") as file:
        lengths = {name: math.prod(file.get_slice(name).get_shape()) for name in file.keys()}
        listed = (file.metadata() or {}).get(_LIST)
    for names in _portions(lengths):
        # An open file's pages stay with the process once they were read: opened anew, few of them are there at once.
        with safetensors.safe_open(path, framework="pt") as file:
            weights |= {name: file.get_tensor(name).clone() for name in names}
    return weights if listed is None else _unpacked(weights, listed, Path(path).name)


def _portions(lengths: Mapping[str, int]) -> list[list[str]]:
    """The names, in order, in portions of tensors that together have `_AT_ONCE` numbers, or of one larger tensor."""
    portions: list[list[str]] = []
    room = 0
    for name, length in lengths.items():
        if length > room or not portions:
            portions.append([])
            room = _AT_ONCE
        portions[-1].append(name)
        room -= length
    return portions


def replace_metadata(path: str | Path, copy: str | Path, entries: Mapping[str, str]) -> None:
    """Write a copy of a safetensors file with other metadata; every byte of its tensors stays.

    Args:
        path: the file.
        copy: to write.
        entries: of the metadata; others stay.

    Raises:
        CosliceError: a header that is none.
        OSError: the operating system refuses.
    """
    check_header(path)
    with open(path, "rb") as file, open(copy, "wb") as written:
        length = int.from_bytes(file.read(8), "little")
        try:
            header: Any = json_of(file.read(length).decode())
            header["__metadata__"] = {**header.get("__metadata__", {}), **entries}
        except (ValueError, TypeError, AttributeError) as error:
            raise CosliceError(
                f"{Path(path).name} cannot be read: its header is damaged; get the file anew."
            ) from error
        content = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
        content += b" " * (-len(content) % 8)  # tensors begin at a multiple of 8
        written.write(len(content).to_bytes(8, "little") + content)
        shutil.copyfileobj(file, written, 1 << 22)


def _save(tensors: dict[str, Tensor], path: str | Path, metadata: dict[str, str]) -> None:
    try:
        save_file(tensors, path, metadata=metadata)
    except safetensors.SafetensorError as error:  # of a full disk too, without its number
        raise OSError(str(error)) from error


def _planes(weights: Mapping[str, Tensor]) -> tuple[np.ndarray, np.ndarray]:
    """First and second bytes of all words, turned by one bit: (n,) uint8 twice."""
    flat = torch.cat([weight.cpu().reshape(-1).view(torch.int16) for weight in weights.values()])
    words = flat.numpy().view(np.uint16)
    turned = (words << 1) | (words >> 15)
    return (turned >> 8).astype(np.uint8), (turned & 0xFF).astype(np.uint8)


def _compressed(plane: np.ndarray) -> Tensor:
    packer = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS, _MEMORY, zlib.Z_HUFFMAN_ONLY)
    stream = packer.compress(plane.tobytes()) + packer.flush()
    return torch.frombuffer(bytearray(stream), dtype=torch.uint8)


def _unpacked(stored: dict[str, Tensor], listed: str, file: str) -> dict[str, Tensor]:
    entries = _entries(listed, file)
    streams = [stored.pop(name, None) for name in (_FIRST, _SECOND, _LEVELS)]
    count = sum(entry.words for entry in entries)
    first, second = (_plane(stream, count, file) for stream in streams[:2])
    turned = (first.astype(np.uint16) << 8) | second
    words = torch.from_numpy(((turned >> 1) | (turned << 15)).view(np.int16))
    levels = torch.zeros(0, dtype=torch.int8)
    if count := sum(entry.size for entry in entries if entry.of_levels):
        levels = torch.from_numpy(_plane(streams[2], count, file).view(np.int8).copy())
    word = level = 0
    for entry in entries:
        if entry.name in stored:
            raise _damaged(file, f"{entry.name} is in it twice")
        values = words[word : word + entry.words].view(entry.dtype)
        word += entry.words
        if entry.of_levels:
            values = weights_of(levels[level : level + entry.size].reshape(entry.shape), values)
            level += entry.size
        stored[entry.name] = values.reshape(entry.shape)
    return stored


@dataclass(frozen=True)
class _Entry:
    """A packed tensor; `of_levels`: the words are only the largest weight of each of its channels."""

    name: str
    dtype: torch.dtype
    shape: tuple[int, ...]
    of_levels: bool

    @property
    def size(self) -> int:
        return math.prod(self.shape)

    @property
    def words(self) -> int:
        return self.shape[0] if self.of_levels else self.size


def _entries(listed: str, file: str) -> list[_Entry]:
    """The packed tensors, in order."""
    try:
        content: Any = json_of(listed)
        kinds = {_OF_LEVELS: torch.bfloat16, **_DTYPES}
        entries = [_Entry(str(name), kinds[kind], tuple(shape), kind == _OF_LEVELS) for name, kind, shape in content]
    except (ValueError, TypeError, KeyError) as error:
        raise _damaged(file, "its list of them cannot be read") from error
    if not all(type(side) is int and side >= 0 for entry in entries for side in entry.shape):
        raise _damaged(file, "its list of them has sides that are no sizes")
    if not all(entry.shape for entry in entries if entry.of_levels):
        raise _damaged(file, "its list of them has levels without a channel")
    return entries


def _plane(stream: Tensor | None, count: int, file: str) -> np.ndarray:
    """`count` bytes out of a stream that must hold just as many."""
    if stream is None or stream.dtype != torch.uint8 or stream.ndim != 1:
        raise _damaged(file, "one of its streams is missing")
    if count > _BYTES_PER_BYTE * len(stream):
        raise _damaged(file, f"{len(stream)} bytes cannot hold the {count} weights it lists")
    unpacker = zlib.decompressobj(-zlib.MAX_WBITS)
    try:
        # One byte more than there should be tells whether there is more.
        plane = unpacker.decompress(stream.numpy().tobytes(), count + 1)
    except zlib.error as error:
        raise _damaged(file, "one of its streams is broken") from error
    if len(plane) != count or not unpacker.eof or unpacker.unused_data:
        raise _damaged(file, f"a stream is not of the {count} weights it lists")
    return np.frombuffer(plane, np.uint8)


def _damaged(file: str, reason: str) -> CosliceError:
    return CosliceError(
        f"{file} was given, but its packed weights are damaged ({reason}); get the file anew from where it came."
    )
