"""Networks that are built without memory, compared with the tensors that are there, and given them.

Names, shapes and types have to agree, all of them; what is allocated is what the tensors take.
"""

from __future__ import annotations

from collections.abc import Mapping, MutableMapping
from typing import Any

import torch
from torch import Tensor, nn

from coslice.errors import CosliceError
from coslice.escapes import visible

__all__ = ["check_fit", "filled", "some"]

_STORED = {torch.float64, torch.float32, torch.float16, torch.bfloat16}


def check_fit(network: nn.Module, stored: Mapping[str, tuple[torch.dtype, tuple[int, ...]]], name: str) -> None:
    """Refuse tensors that are not those of a network.

    Args:
        network: as its configuration says.
        stored: type and shape of each tensor by name.
        name: of their file.

    Raises:
        CosliceError: tensors that are missing, unexpected, of another shape or of no type of weights.
    """
    needed = {key: tuple(weight.shape) for key, weight in network.state_dict().items()}
    absent = [key for key in needed if key not in stored]
    spare = [key for key in stored if key not in needed]
    odd = [key for key in needed if key in stored and stored[key][1] != needed[key]]
    if absent or spare or odd:
        spoken = [f"{key} {stored[key][1]} instead of {needed[key]}" for key in odd]
        lists = (("missing", absent), ("unexpected", spare), ("of another shape", spoken))
        found = "; ".join(f"{len(keys)} {kind}: {some(keys)}" for kind, keys in lists if keys)
        raise CosliceError(f"{name} does not fit the {type(network).__name__} that it describes ({found}).")
    if strange := [key for key, (dtype, _) in stored.items() if dtype not in _STORED]:
        raise CosliceError(
            f"{name} holds {some(strange)} as {str(stored[strange[0]][0]).removeprefix('torch.')}, but weights are "
            "numbers of 16, 32 or 64 bits with a point; have them saved so."
        )


def filled(network: Any, weights: MutableMapping[str, Tensor], name: str, own: bool = False) -> nn.Module:
    """A network that has no memory yet with `weights`, which fit it, in it: float32, in eval mode, frozen.

    Args:
        network: as its configuration says.
        weights: taken out one by one, so that no more than one of them is there twice.
        name: of their file.
        own: whether each lies in memory of its own, so that one of float32 need not be copied.

    Raises:
        CosliceError: weights that are no numbers.
    """
    if broken := [key for key, weight in weights.items() if not bool(weight.isfinite().all())]:
        raise CosliceError(f"{name} holds values that are not finite ({some(broken)}); it cannot be used.")
    # Copied, for a tensor that is a piece of a file lies where it may, and products of it round as that has it.
    state = {key: weights.pop(key).to(torch.float32, copy=not own).contiguous() for key in list(weights)}
    network.load_state_dict(state, assign=True)
    return network.eval().requires_grad_(False)


def some(names: list[str]) -> str:
    """The first three names, each cut where it is long."""
    return ", ".join(visible(name[:100]) for name in names[:3]) + (", ..." if len(names) > 3 else "")
