"""Keeping where a run stands, in a file: when, and what becomes of it if the disk or the user says no.

    result = run_kept(plan, "state.safetensors")      killed at any moment, the same line goes on to the same bits

A state is written after a step if a minute has passed since the last one, and at the end; and less often where writing
takes long, so that it never costs more than a fiftieth of the time. A new state takes the place of the one before once
it is whole and on the disk.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from torch import Tensor

from coslice.errors import CosliceError
from coslice.identities import first_difference, plan_identity, version_of
from coslice.io.state_files import read_state, write_state
from coslice.parallel import company
from coslice.plans import Plan
from coslice.runs import Progress, Result, run
from coslice.states import State
from coslice.stop_signals import Stopped

__all__ = ["EVERY", "Keeper", "run_kept"]

EVERY = 60.0
"""Seconds between two states."""
_SHARE = 50
"""Of the time, at most one part in so many is spent on writing them."""


class Keeper:
    """What `coslice.run` calls after every step: writes the state of a plan into a file, and stops when it is asked to.

    Args:
        path: of the file; ends in .safetensors.
        planned: the plan.
        every: seconds between two states; 0 keeps every step.
        asked: names of signals that ask to stop, as `coslice.stop_signals.stop_signals` gives them.
        say: called with what there is to say, in sentences.
        way: how to go on, for those whom a signal stopped.
        identity: of the plan, where it is known already; None makes it.
    """

    def __init__(
        self,
        path: Path,
        planned: Plan,
        every: float = EVERY,
        asked: Sequence[str] = (),
        say: Callable[[str], None] = lambda sentence: None,
        way: str = "the same call goes on from there",
        identity: Mapping[str, Any] | None = None,
    ) -> None:
        self.path, self._planned, self._every, self._asked, self._say, self._way = path, planned, every, asked, say, way
        self._identity = plan_identity(planned) if identity is None else identity
        self._last, self._cost, self._failed = time.monotonic(), 0.0, ""
        self._unkept: State | None = None

    def kept(self) -> State | None:
        """The state to go on from, and a sentence about it; None where there is none, or it is damaged.

        Raises:
            CosliceError: one of another plan.
        """
        if not self.path.is_file():
            return None
        found = read_state(self.path, self._planned.problem.measurement.device)
        if found is None:
            self._say(f"{self.path.name} is damaged, so {self._planned.label} begins anew.")
            return None
        state, more = found
        if where := first_difference(more.get("identity"), self._identity):
            raise CosliceError(f"{self.path} is the state of another run ({where}); remove it, or name another file.")
        made_by = self._circumstances()
        others = [f"{name} {value}" for name, value in more["made_by"].items() if value != made_by[name]]
        if others:
            self._say(f"What was kept is of {', '.join(others)}: the results are those of one run but for rounding.")
        self._say(f"{self._planned.label}: {_standing(state)}, kept {_ago(time.time() - more['at'])}.")
        return state

    def __call__(self, state: State) -> None:
        """Write the state if it is time to.

        Raises:
            Stopped: a signal asked for it.
        """
        wait = max(self._every, _SHARE * self._cost) if self._every else 0.0
        if self._asked or state.finished or time.monotonic() - self._last >= wait:
            self.write(state)
        if self._asked:
            behind = f"; {self._failed}" if self._failed else ""
            at = f"at step {state.done} of {state.total}"
            raise Stopped(self._asked[0], f"Stopped by {self._asked[0]} {at}; {self._way}{behind}.")

    def write(self, state: State) -> None:
        """Write the state now. A disk that refuses does not end the run: that is said, once, and tried again later."""
        began = time.monotonic()
        more = {"identity": self._identity, "at": time.time(), "made_by": self._circumstances()}
        try:
            write_state(self.path, state, more)
            self._failed, self._unkept = "", None
        except CosliceError as error:
            if not self._failed:
                self._say(f"Where the run stands cannot be kept: {error}")
            self._failed = "but this state could not be kept, so it goes on from the one before, if there is one"
            self._unkept = state if state.finished else None
        self._last = time.monotonic()
        self._cost = self._last - began

    def rescue(self) -> str:
        """Where the finished reconstruction is kept, in words; in the temporary folder of the system if need be."""
        if self._unkept is None:
            return f"{self.path}"
        state = self._unkept
        self.write(state)
        if self._unkept is None:
            return f"{self.path}"
        wanted = self.path
        try:
            self.path = Path(tempfile.mkdtemp(prefix="coslice-")) / wanted.name
        except OSError:
            return ""
        self.write(state)
        if self._unkept is None:
            return f"{self.path} (move it to {wanted} first)"
        with suppress(OSError):
            self.path.parent.rmdir()
        self.path = wanted
        return ""

    def _circumstances(self) -> dict[str, Any]:
        device = self._planned.problem.measurement.device.type
        return {"torch": version_of("torch"), "numba": version_of("numba"), "device": device}


def run_kept(
    planned: Plan,
    path: str | Path,
    *,
    every: float = EVERY,
    truth: Tensor | None = None,
    lpips: bool = False,
    progress: Progress = lambda phase, done, total: None,
    say: Callable[[str], None] = lambda sentence: None,
) -> Result:
    """`coslice.run` of a plan whose state is kept in a file, from which the same call goes on.

    The file stays at the end: the same call then gives the result at once. One process may use it at a time.

    Args:
        planned: as `coslice.plan` makes it.
        path: of the file, NAME.safetensors; one to six volumes of float32 large, and while it is replaced twice that.
        every: seconds between two states.
        truth, lpips, progress: as of `coslice.run`.
        say: called with what there is to say, such as where the run goes on.

    Raises:
        CosliceError: as `coslice.run`; a file that holds the state of another plan.
    """
    if not company().writes:  # of several ranks the first keeps, and hands round what it has
        return run(planned, truth=truth, lpips=lpips, progress=progress)
    keeper = Keeper(Path(path), planned, every, say=say)
    return run(planned, truth=truth, lpips=lpips, progress=progress, keep=keeper, kept=keeper.kept())


def _standing(state: State) -> str:
    if state.finished:
        return "finished before"
    if state.silent:
        return (
            f"going on after step {state.done} of {state.total}, at the beginning of a sample, since {state.silent[0]} "
            "does not say whether it remembers anything (memoryless = True in the class says that it does not)"
        )
    return f"going on after step {state.done} of {state.total}"


def _ago(seconds: float) -> str:
    for unit, length in (("days", 86400), ("hours", 3600), ("minutes", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:.0f} {unit} ago"
    return f"{max(seconds, 0):.0f} s ago"
