"""Where a run stands, as named tensors and numbers: what is kept of it, so that it can go on after it was killed.

A function of the sampling loop that remembers something from step to step says what that is: it is `Stateful`, with the
two methods that torch's modules and optimisers have. What has no memory has none of them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

from torch import Tensor

__all__ = ["State", "Stateful", "joined_states", "state_below"]


@runtime_checkable
class Stateful(Protocol):
    """A function with a memory, such as the split and the dual of ADMM.

    `load_state_dict` of a new function makes it go on as the one did whose `state_dict` it is given, to the same bits.
    """

    def state_dict(self) -> dict[str, Any]:
        """The memory between two steps: tensors, which are not changed in place afterwards, numbers, text, None."""
        ...

    def load_state_dict(self, state_dict: Mapping[str, Any], /) -> Any:
        """Put a memory in the place of one's own; its tensors are on the device that they were on."""
        ...


@dataclass(frozen=True)
class State:
    """Where a run stands. Its tensors are the run's own: who keeps a state writes it at once, and holds on to none.

    Attributes:
        numbers: what JSON can say.
        tensors: by name, on the run's device.
    """

    numbers: Mapping[str, Any]
    tensors: Mapping[str, Tensor]

    @property
    def done(self) -> int:
        """Steps that need not be made again."""
        return int(self.numbers["done"])

    @property
    def total(self) -> int:
        """Steps of the whole run; 1 of a method that does not sample."""
        return int(self.numbers["total"])

    @property
    def finished(self) -> bool:
        """Whether all samples are there."""
        return self.done >= self.total

    @property
    def silent(self) -> tuple[str, ...]:
        """Parts of the user's own that may have a memory and do not say so: their sample begins anew."""
        return tuple(self.numbers.get("silent", ()))


def joined_states(parts: Mapping[str, Stateful]) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Numbers and tensors of several memories, their names behind that of the part: "fidelity.dual"."""
    entries = {f"{part}.{name}": value for part, one in parts.items() for name, value in one.state_dict().items()}
    tensors = {name: value for name, value in entries.items() if isinstance(value, Tensor)}
    return {name: value for name, value in entries.items() if name not in tensors}, tensors


def state_below(name: str, entries: Mapping[str, Any]) -> dict[str, Any]:
    """The entries of `joined_states` that are of one part."""
    return {key.removeprefix(f"{name}."): value for key, value in entries.items() if key.startswith(f"{name}.")}
