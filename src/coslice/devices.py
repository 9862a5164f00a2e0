"""Which device computes, what it does natively, and how it is kept busy."""

from __future__ import annotations

import os
import platform
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import nn

from coslice.errors import CosliceError
from coslice.escapes import visible
from coslice.parallel import company

__all__ = [
    "chosen_device",
    "compiled",
    "deterministic",
    "finish",
    "images_at_once",
    "is_out_of_memory",
    "machine_words",
    "multiplies_bfloat16",
]

_FEWEST, _MOST = 4, 64  # images in a call: of a device that does not say what it has, and of any
_SHARE = 0.4  # of a device's memory for the images of a call; the rest is for volumes and for others
_AMPERE = (8, 0)  # compute capability of the first GPUs by NVIDIA that multiply bfloat16


def chosen_device(name: str) -> torch.device:
    """The device called `name`; "auto" is an accelerator that has double precision, where there is one, else the CPU.

    Of several ranks each has an accelerator of its own, that of its number on its machine.

    Raises:
        CosliceError: torch cannot use it here; there are fewer accelerators than ranks.
    """
    device = _device(name)
    return device if device.type == "cpu" else _own(device)


def _own(device: torch.device) -> torch.device:
    """The accelerator of this rank."""
    ranks = company()
    if ranks.size == 1:
        return device
    module = getattr(torch, device.type, None)
    there = getattr(module, "device_count", lambda: 1)()
    if ranks.local >= there:
        raise CosliceError(
            f"device: {device.type} was asked for, but rank {ranks.rank} is number {ranks.local + 1} on its machine, "
            f"which has {there} of them; start as many processes as there are accelerators, or say --device cpu."
        )
    if device.index is not None:
        raise CosliceError(
            f"device: {device} was given to {ranks.size} ranks, but each of them needs an accelerator of its own; say "
            f"--device {device.type}."
        )
    return torch.device(device.type, ranks.local)


def _device(name: str) -> torch.device:
    # Matrix products of a GPU give the same bits every time if this is there before the first of them.
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    if name == "auto":
        accelerator = getattr(torch, "accelerator", None)
        if accelerator is None:  # torch before 2.6
            return torch.device("cuda" if torch.cuda.is_available() else "cpu")
        found = accelerator.current_accelerator() if accelerator.is_available() else None
        return found if found is not None and _has_doubles(found) else torch.device("cpu")
    try:
        (torch.zeros(1, device=name) + 1).item()  # "meta" has tensors and no numbers
        return torch.device(name)
    except (RuntimeError, AssertionError, ImportError, ValueError, TypeError, OverflowError, AttributeError) as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0][:80]
        raise CosliceError(
            f'device: "{visible(name[:80])}" was given, but torch cannot use it here ({visible(reason)}); try cpu.'
        ) from error


def multiplies_bfloat16(device: torch.device) -> bool:
    """Whether products of bfloat16 are done in hardware; where they are emulated, float32 is faster."""
    if device.type == "cpu":
        return bool(getattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)())
    if device.type == "cuda" and torch.version.hip is None:
        return torch.cuda.get_device_capability(device) >= _AMPERE
    return True


def images_at_once(device: torch.device, answer: Callable[[], object]) -> int:
    """How many images go into one call of a network: a power of two, as many as keep a GPU busy and fit in its memory.

    It goes by the memory that the device has and not by what is free: how a convolution rounds depends on how many
    images it is of, and the same seed is to give the same volume whoever else uses the device.

    Args:
        device: where the network is; one that is no GPU takes few.
        answer: asks the network for one image; what memory that takes is measured.

    Raises:
        CosliceError: the memory is too small for one image.
    """
    if device.type != "cuda":
        return 1 if device.type == "cpu" else _FEWEST
    answer()  # what is made once, like the workspace of a library, is no image's
    torch.cuda.synchronize(device)
    before = torch.cuda.memory_allocated(device)
    torch.cuda.reset_peak_memory_stats(device)
    answer()
    each = max(1, torch.cuda.max_memory_allocated(device) - before)
    room = _SHARE * torch.cuda.get_device_properties(device).total_memory / each
    if room < 1:
        raise CosliceError(
            f"device: one image takes {each / 2**30:.1f} GiB on {device}, more than {_SHARE:.0%} of its memory; choose "
            "smaller slices, or --device cpu."
        )
    return min(_MOST, 1 << int(room).bit_length() - 1)


def compiled(network: nn.Module, answer: Callable[[], object]) -> str:
    """Fuse the operations of a network by `torch.compile`, in place: "", or why it stays as it is, in a full sentence.

    Args:
        network: what is compiled for every shape that it is given.
        answer: asks it once; it is then that compiling is done, and fails where there is no compiler.
    """
    try:
        network.compile(dynamic=False)
        answer()
    except Exception as error:  # of the compiler's own, of torch's, and of the system's: a run needs none of it
        network._compiled_call_impl = None
        reason = (str(error).strip() or type(error).__name__).splitlines()[0][:100]
        return f"The network is not compiled, since torch.compile failed here ({reason}); it runs as it is, slower."
    return ""


def finish(device: torch.device) -> None:
    """Wait until a device has done what it was given: only then a clock tells what it took."""
    wait = getattr(getattr(torch, device.type, None), "synchronize", None)
    if wait is not None:
        wait()


def machine_words(device: torch.device) -> str:
    """The class of machine: threads and what its processor multiplies, or the accelerator's name."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    threads, cores = torch.get_num_threads(), os.cpu_count() or 1
    able = torch.backends.cpu.get_cpu_capability()
    return f"{threads} thread{'s' * (threads > 1)} of {cores} cores ({platform.machine()}, {able}), {device.type}"


@contextmanager
def deterministic(device: torch.device) -> Iterator[None]:
    """Within, sums on a GPU are done in an order of their own where torch knows one, and give the same bits every time.

    Without, additions to one place, the gradients of convolutions among them, come in whatever order threads arrive.
    Where torch knows none it warns.
    """
    if device.type == "cpu":
        yield
        return
    before = torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()
    torch.use_deterministic_algorithms(True, warn_only=True)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before[0], warn_only=before[1])


def _has_doubles(device: torch.device) -> bool:
    try:
        torch.zeros(1, dtype=torch.float64, device=device)
    except (RuntimeError, TypeError):
        return False
    return True


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that there is too little memory, of the machine or of an accelerator.

    torch has a class of its own for accelerators only; of the CPU's memory it speaks as of any other failure.
    """
    words = ("not enough memory", "out of memory", "can't allocate memory", "cannot allocate memory")
    return isinstance(error, MemoryError) or any(one in str(error).lower() for one in words)
