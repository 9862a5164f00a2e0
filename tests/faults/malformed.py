"""What the generators of malformed inputs make, and how it is tried: inputs by name, the same for the same seed.

Most inputs are read in the process of the test, which takes milliseconds: whatever is wrong must come out as one
`CosliceError`. Some of each kind are given to a command (`harness`), which must end with a sentence, exit code 2,
nothing written, and its memory below the bound.
"""

from __future__ import annotations

import shutil
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from harness import BOUND_MB, Trials

from coslice.errors import CosliceError

_LONGEST = 1500
"""Letters of a sentence."""


@dataclass(frozen=True)
class Malformed:
    """One input: files by their paths in a folder, and which of them is given.

    Attributes:
        name: says what is wrong with it, and which seed made it.
        files: content by relative path.
        given: the path that the command gets.
        refused: whether it must be refused; None where accepting it with a word is as good.
    """

    name: str
    files: dict[str, bytes]
    given: str
    refused: bool | None = None

    def write(self, folder: Path) -> Path:
        """Write the files; returns the path that is given."""
        for name, content in self.files.items():
            place = folder / name
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(content)
        return folder / self.given


def truncated(content: bytes, shares: Iterable[float]) -> Iterator[tuple[str, bytes]]:
    """`content` cut at shares of its length."""
    for share in shares:
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


def read_here(read: Callable[[Path], object], inputs: Iterable[Malformed], folder: Path) -> tuple[int, list[str]]:
    """How many inputs were read in this process, and what went wrong with which: nothing is right."""
    count = 0
    wrong: list[str] = []
    for one in inputs:
        count += 1
        place = folder / "one"
        given = one.write(place)
        said = None
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                read(given)
        except CosliceError as error:
            said = str(error)
        except Exception as error:
            wrong.append(f"{one.name}: {type(error).__name__} {error}")
        if (said is None and one.refused) or (said is not None and one.refused is False):
            wrong.append(f"{one.name}: {'accepted' if said is None else said}")
        if said is not None and not 10 < len(said) < _LONGEST:
            wrong.append(f"{one.name}: a sentence of {len(said)} letters")
        shutil.rmtree(place)
    return count, wrong


def tried(trials: Trials, inputs: Iterable[Malformed], folder: Path, command: Sequence[str]) -> tuple[int, list[str]]:
    """The same with a command; words of it that are files of the input are given with their folder."""
    count = 0
    wrong: list[str] = []
    for one in inputs:
        count += 1
        place, out = folder / "one", folder / "one" / "out"
        given = one.write(place)
        words = [str(place / word) if word in one.files else word for word in command]
        words += [str(given)] + ([] if command[0] == "inspect" else ["--out", str(out)])
        trial = trials.tried(*words)
        try:
            trial.refused(out, BOUND_MB) if one.refused else trial.sane(BOUND_MB)
            assert one.refused is not False or trial.code == 0, f"refused: {trial.errors}"
            assert trial.code == 0 or not out.exists(), "something is left"
        except AssertionError as error:
            wrong.append(f"{one.name}: {str(error)[:_LONGEST]}")
        shutil.rmtree(place)
    return count, wrong
