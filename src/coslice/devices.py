"""Which device computes, and what it does natively."""

from __future__ import annotations

import torch

from coslice.errors import CosliceError

__all__ = ["chosen_device", "multiplies_bfloat16"]


def chosen_device(name: str) -> torch.device:
    """The device called `name`; "auto" is an accelerator that has double precision, where there is one, else the CPU.

    Raises:
        CosliceError: torch cannot use it here.
    """
    if name == "auto":
        accelerator = getattr(torch, "accelerator", None)
        if accelerator is None:  # torch before 2.6
            return torch.device("cuda" if torch.cuda.is_available() else "cpu")
        found = accelerator.current_accelerator() if accelerator.is_available() else None
        return found if found is not None and _has_doubles(found) else torch.device("cpu")
    try:
        torch.empty(1, device=name)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0][:80]
        raise CosliceError(f'device: "{name}" was given, but torch cannot use it here ({reason}); try cpu.') from error
    return torch.device(name)


def multiplies_bfloat16(device: torch.device) -> bool:
    """Whether products of bfloat16 are done in hardware; where they are emulated, float32 is faster."""
    return device.type != "cpu" or bool(getattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)())


def _has_doubles(device: torch.device) -> bool:
    try:
        torch.zeros(1, dtype=torch.float64, device=device)
    except (RuntimeError, TypeError):
        return False
    return True
