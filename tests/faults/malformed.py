"""What the generators of malformed inputs make, and how it is tried: inputs by name, the same for the same seed."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from harness import BOUND_MB, Trial, Trials

CUT = (-60, -40, -20, -1)
"""Of a file's end, so many hundredths."""


@dataclass(frozen=True)
class Malformed:
    """One input: files by their paths in a folder, and which of them is given.

    Attributes:
        name: says what is wrong with it, and which seed made it.
        files: content by relative path.
        given: the path that the command gets.
        refused: whether it must be refused; None where accepting it with a word is as good.
        words: further arguments.
    """

    name: str
    files: dict[str, bytes]
    given: str
    refused: bool | None = None
    words: tuple[str, ...] = ()

    def write(self, folder: Path) -> Path:
        """Write the files; returns the path that is given."""
        for name, content in self.files.items():
            place = folder / name
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(content)
        return folder / self.given


def truncated(content: bytes, places: Iterable[float]) -> Iterator[tuple[str, bytes]]:
    """`content` cut at shares of its length."""
    for share in places:
        at = int(len(content) * share)
        yield f"cut at byte {at} of {len(content)}", content[:at]


def flipped(content: bytes, seeds: Iterable[int], within: int) -> Iterator[tuple[str, bytes]]:
    """`content` with one to eight bits flipped in its first `within` bytes, one for each seed."""
    for seed in seeds:
        random = np.random.default_rng(seed)
        found = bytearray(content)
        for at in random.integers(0, 8 * min(within, len(content)), random.integers(1, 9)):
            found[at // 8] ^= 1 << (at % 8)
        yield f"bits flipped, seed {seed}", bytes(found)


def tried(
    trials: Trials, one: Malformed, folder: Path, command: Sequence[str], bound_mb: float = BOUND_MB
) -> tuple[Trial, Path]:
    """`command` with the input and a place for results."""
    out = folder / "out"
    place = one.write(folder)
    words = [*(str(folder / word) if word in one.files else word for word in command), str(place), *one.words]
    words += ["--out", str(out)] if command[0] != "inspect" else []
    return trials.tried(*words), out


def judged(
    trials: Trials, inputs: Iterable[Malformed], folder: Path, command: Sequence[str], bound_mb: float = BOUND_MB
) -> list[str]:
    """What went wrong with any of the inputs, by name; nothing is the right answer."""
    wrong = []
    for number, one in enumerate(inputs):
        trial, out = tried(trials, one, folder / str(number), command)
        try:
            trial.refused(out, bound_mb) if one.refused else trial.sane(bound_mb)
            assert one.refused is not False or trial.code == 0, f"refused: {trial.errors}"
            assert trial.code == 0 or not out.exists(), "something is left"
        except AssertionError as error:
            wrong.append(f"{one.name}: {str(error)[:1500]}")
    return wrong


Maker = Callable[[], Iterator[Malformed]]
