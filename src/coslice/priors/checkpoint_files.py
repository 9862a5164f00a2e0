"""Files of weights of strangers: read as tensors and plain values, without running anything, within what is there.

A pickle can run programs when it is read. Only the reader that knows nothing but tensors and plain values is used here,
and files that ask for more are refused. So are files that would be larger in memory than on disk: archives whose
entries are compressed or lie one over the other, tensors that repeat one number for gigabytes, and containers of
containers that stand for more values than can be counted.
"""

from __future__ import annotations

import io
import pickle
import pickletools
import re
import warnings
import zipfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import Tensor

from coslice.errors import CosliceError
from coslice.escapes import visible
from coslice.io.packing import check_header
from coslice.io.refusals import check_name

__all__ = ["check_sizes", "read_checkpoint"]

_INSTRUCTIONS = {instruction.code: instruction for instruction in pickletools.opcodes}
_MOST_PER_BYTE = 8
"""Bytes in memory for one on disk, of an archive whose entries are compressed."""
_MOST_PICKLED = 2**26
"""Bytes of the pickle in an archive, which holds names and shapes but no weights."""
_MOST_VALUES = 1_000_000
"""Of a tuple, with all that is in it written out."""
_DEEPEST = 100
_PICKLES = 5
_MOST_LETTERS = 200
_REFUSED = ("builtins bytearray", "__builtin__ bytearray")
"""What torch would make, of any size."""
_NUMBERS = {
    *(torch.float64, torch.float32, torch.float16, torch.bfloat16),
    *(torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8),
}
_SLACK = 2**20


def read_checkpoint(path: Path) -> Any:
    """What the file holds, as tensors and plain values; the numbers of most files are read when they are looked at.

    Raises:
        CosliceError: no such file; damaged; a pickle that holds more than tensors and plain values; larger in memory
            than on disk.
    """
    if path.is_dir() or not path.is_file():
        kind = "a folder" if path.is_dir() else "no file" if path.exists() else "not there"
        raise CosliceError(f"{path} is {kind}, but a checkpoint is needed; give the file the weights are in.")
    try:
        with open(path, "rb") as file:
            opening = file.read(9)
        if opening[8:] == b"{":
            check_name(path)
            check_header(path)
            return safetensors.torch.load_file(path)
        if opening.startswith(b"PK\x03\x04"):  # as torch tells an archive from pickles one after the other
            mapped = _check_archive(path)
        else:
            _check_pickles(path)
            mapped = False
        with warnings.catch_warnings():
            # About odd pickles, of which the outcome will speak.
            warnings.simplefilter("ignore")
            return torch.load(path, weights_only=True, map_location="cpu", mmap=mapped)
    except CosliceError:
        raise
    except pickle.UnpicklingError as error:
        if (asked := _asked_for(str(error))) is None:
            raise _damaged(path) from error
        raise _asking(path, asked) from error
    except Exception as error:  # whatever strange bytes lead a parser to
        raise _damaged(path) from error


def check_sizes(tensors: Iterable[Tensor], path: Path) -> None:
    """Refuse tensors that are larger than what was stored of them, or of no usual kind.

    A tensor may repeat one stored number as often as its shape says, and copying it makes all of them.

    Raises:
        CosliceError: likewise.
    """
    claimed = 0
    for tensor in tensors:
        usual = tensor.layout is torch.strided and tensor.device.type == "cpu" and tensor.dtype in _NUMBERS
        if not usual or tensor.is_nested:
            raise CosliceError(f"{path.name} holds tensors that are not plain arrays of numbers; have them saved so.")
        claimed += tensor.numel() * tensor.element_size()
    size = path.stat().st_size
    if claimed > 2 * size + _SLACK:  # some are stored once and named twice
        raise CosliceError(
            f"{path.name} holds {size / 2**20:.3g} MB, but its tensors claim {claimed / 2**20:.3g} MB; have them saved "
            "with all their numbers."
        )


def _check_archive(path: Path) -> bool:
    """Refuse archives that are larger in memory than on disk, and pickles that take for ever.

    Returns:
        Whether its numbers lie in it as they are, so that those nobody asks for, an optimiser's, need not be read.
    """
    size = path.stat().st_size
    with zipfile.ZipFile(path) as archive:
        entries = archive.infolist()
        if sum(entry.file_size for entry in entries) > _MOST_PER_BYTE * size:
            raise CosliceError(
                f"{path.name} holds {size / 2**20:.3g} MB that would unfold to more than {_MOST_PER_BYTE} times as "
                "many; have it saved without compression."
            )
        for entry in entries:
            if entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):  # which unpack whole blocks
                raise CosliceError(f"{path.name} is packed by a method that torch does not write; have it saved anew.")
            if entry.filename.endswith(".pkl"):
                if entry.file_size > _MOST_PICKLED:
                    raise CosliceError(f"{path.name} holds a pickle of more than 64 MB; have its tensors saved alone.")
                _check_pickle(io.BytesIO(archive.read(entry)), path)
    return all(entry.compress_type == zipfile.ZIP_STORED for entry in entries)


def _check_pickles(path: Path) -> None:
    """The same of files of earlier versions of torch: five pickles, and then numbers."""
    with open(path, "rb") as file:
        start = file.read(_MOST_PICKLED)
    pickles = io.BytesIO(start)
    try:
        for _ in range(_PICKLES):
            _check_pickle(pickles, path)
    except CosliceError:
        raise
    except (ValueError, LookupError, StopIteration, OverflowError, MemoryError):
        return  # torch will say what is wrong with it


def _check_pickle(file: io.BytesIO, path: Path) -> None:
    """Refuse tuples of tuples that are hashed for ever, or deep enough to end the interpreter.

    A key of a dictionary is hashed with all that is in it, each time it is met: forty pairs of pairs are a million
    million. Nothing is built here: of every value only its size and its depth are followed.
    """
    stack: list[Any] = []
    memo: dict[int, tuple[int, int]] = {}
    mark = object()

    def taken(count: int) -> tuple[int, int]:
        parts = [stack.pop() for _ in range(count)]
        parts = [part for part in parts if part is not mark]
        return 1 + sum(part[0] for part in parts), 1 + max((part[1] for part in parts), default=0)

    def to_mark() -> int:
        return next(count for count, one in enumerate(reversed(stack)) if one is mark)

    for instruction, given, _ in pickletools.genops(file):
        name, argument = instruction.name, str(given)
        if name == "GLOBAL" and (len(argument) > _MOST_LETTERS or argument in _REFUSED):
            raise _asking(path, argument.replace(" ", "."))
        if name in ("PUT", "BINPUT", "LONG_BINPUT"):
            memo[int(argument)] = stack[-1]
        elif name == "MEMOIZE":
            memo[len(memo)] = stack[-1]
        elif name in ("GET", "BINGET", "LONG_BINGET"):
            stack.append(memo[int(argument)])
        elif name == "MARK":
            stack.append(mark)
        elif name == "POP_MARK":
            del stack[len(stack) - to_mark() - 1 :]
        elif name in ("TUPLE", "LIST", "DICT", "FROZENSET", "OBJ", "INST"):
            value = taken(to_mark())
            stack.pop()
            stack.append(value)
        elif name in ("APPENDS", "SETITEMS", "ADDITEMS"):
            count = to_mark()
            del stack[len(stack) - count - 1 :]  # what holds it keeps its size: a list cannot be a key
        else:
            before = len(instruction.stack_before)
            value = taken(before) if before else (1, 1)
            if name in ("APPEND", "SETITEM", "BUILD"):
                value = (1, 1)
            stack += [value] * len(instruction.stack_after)
        if stack and stack[-1] is not mark and (stack[-1][0] > _MOST_VALUES or stack[-1][1] > _DEEPEST):
            raise CosliceError(
                f"{path.name} holds values in values in values beyond all measure, so it was not read; have its "
                "tensors saved alone."
            )


def _asked_for(refusal: str) -> str | None:
    """What of a pickle torch refused, by its message; None if it was no pickle."""
    if found := re.search(r"GLOBAL ([\w.]+)", refusal):
        return found[1]
    found = re.search(r"Unsupported operand (\d+)", refusal)
    code = _INSTRUCTIONS.get(chr(int(found[1]))) if found else None
    return None if code is None else f"pickle instruction {code.name}"


def _asking(path: Path, what: str) -> CosliceError:
    return CosliceError(
        f"{path.name} asks to run code when it is read ({visible(what[:80])}), so it was refused and nothing of it was "
        "run; have its tensors saved alone, as a state dict or as safetensors."
    )


def _damaged(path: Path) -> CosliceError:
    return CosliceError(
        f"{path.name} cannot be read as a PyTorch or safetensors file; it may be damaged or incomplete."
    )
