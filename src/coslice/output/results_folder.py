"""The folder of a run's results, from the first step to the last file.

    with open_results(out, overwrite, identity) as results:          locked; what a killed run left is cleared
        keeper = results.keeper("reconstruction", planned, asked)    states, in the hidden folder
        ...
        with results.together() as aside:                            all files or none
            ...

While a run is not finished, the hidden folder `.coslice` in it holds

    lock                 of the process that is at work
    run.json             what the run is, and the command that makes it
    NAME.safetensors     where the plan of this file stem stands, at most one state for each
    results/             new results, before they take the place of old ones

and none of it when it has ended. The same command goes on with a run that is not finished.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

from coslice.devices import is_out_of_memory
from coslice.errors import CosliceError
from coslice.identities import digest_of_tree, first_difference
from coslice.io.documents import read_json
from coslice.io.files import prepare_output, remove_dead_temporaries, write_json
from coslice.io.locks import HIDDEN, hidden_folder, lock_folder
from coslice.output.exchange import aside_in, drop_aside, exchange, exchange_begun, finish_exchange
from coslice.output.keeping import EVERY, Keeper
from coslice.plans import Plan
from coslice.stop_signals import Stopped

__all__ = ["ResultsFolder", "kept_command", "open_results"]

_RUN = "run.json"
_KEEP_EVERY = "COSLICE_KEEP_EVERY"
"""Seconds between two states, from the environment; for tests."""


@dataclass
class ResultsFolder:
    """A folder that this process has for itself.

    Attributes:
        out: the folder.
        identity: of the run, see `coslice.identities.run_identity`.
        say: called with sentences for the user.
        resumable: whether `coslice reconstruct --resume` knows the command.
        complete: whether the results are all there already: a run that was killed had only to put them in place.
        keepers: of the plans so far.
    """

    out: Path
    identity: Mapping[str, Any]
    say: Callable[[str], None]
    resumable: bool = False
    complete: bool = False
    keepers: list[Keeper] = field(default_factory=list[Keeper], repr=False)

    def keeper(self, stem: str, planned: Plan, asked: Sequence[str] = ()) -> Keeper:
        """What keeps the state of one of the plans, see `coslice.output.keeping.Keeper`."""
        every = float(os.environ.get(_KEEP_EVERY, EVERY))
        path = hidden_folder(self.out) / f"{stem}.safetensors"
        keeper = Keeper(path, planned, every, asked, self.say, self._way, self.identity.get(stem))
        self.keepers.append(keeper)
        return keeper

    def stopped(self, signal: str) -> Stopped:
        """For a signal that comes while no step is made."""
        left = self._way if _states(self.out) else "there was nothing to be kept yet"
        return Stopped(signal, f"Stopped by {signal}; {left}.")

    @contextmanager
    def together(self) -> Iterator[Path]:
        """A folder for all the results, which are in `out` at the end of the block, or not at all.

        Raises:
            CosliceError: the disk is full, say. Earlier results are then as they were, and what was computed is kept.
        """
        aside = aside_in(self.out)
        try:
            yield aside
            exchange(self.out, digest_of_tree(self.identity))
        except (CosliceError, OSError) as error:
            if exchange_begun(self.out):
                raise
            drop_aside(self.out)
            places = [place for keeper in self.keepers if (place := keeper.rescue())]
            if len(places) < len(self.keepers):
                where = "there was no room to keep the reconstruction either"
            else:
                where = f"the reconstruction is kept in {', '.join(places)}: with more room, the same command writes it"
            raise CosliceError(f"{_clause(error)}; earlier results are as they were, and {where}.") from error

    @property
    def _way(self) -> str:
        by_name = f", and so does coslice reconstruct --resume {self.out}" if self.resumable else ""
        return f"the same command goes on from there{by_name}"


@contextmanager
def open_results(
    out: Path,
    overwrite: bool,
    identity: Mapping[str, Any],
    command: Sequence[str] = (),
    say: Callable[[str], None] = lambda sentence: None,
) -> Iterator[ResultsFolder]:
    """Have a folder for the results of a run, new, empty, or with the same run in it that is not finished.

    Args:
        out: the folder; made where it is missing.
        overwrite: whether it may hold other files. Earlier results are replaced at the end, all at once.
        identity: of the run, see `coslice.identities.run_identity`.
        command: words behind `coslice` that make the run, for `kept_command`; none where it is no command's.
        say: called with sentences for the user.

    Raises:
        CosliceError: another process is at work in it; it holds something, or an unfinished run that is another
            (without `overwrite`); it cannot be written to; too little memory for the run.
        Stopped: Ctrl-C, with what is true of the run.
    """
    existed = out.exists()
    prepare_output(out, overwrite=True)
    try:
        with lock_folder(out, say) as hidden:
            complete = finish_exchange(out) == digest_of_tree(identity)
            results = ResultsFolder(out, identity, say, bool(command), complete)
            if complete:
                say(f"The results in {out} were complete before the run was killed, and are in their places.")
            else:
                _begin(out, overwrite, identity, command, say)
            try:
                yield results
            except KeyboardInterrupt:
                raise results.stopped("SIGINT") from None
            except (MemoryError, RuntimeError) as error:
                if not is_out_of_memory(error):
                    raise
                kept = "the same command goes on from the last state" if _states(out) else "nothing is kept yet"
                raise CosliceError(
                    f"There is too little memory for this run ({_clause(error)}); {kept}. Free some, or take fewer or "
                    "smaller slices."
                ) from error
            finally:
                drop_aside(out)
                if not _states(out) and all(keeper.path.parent == hidden for keeper in results.keepers):
                    with suppress(OSError):
                        (hidden / _RUN).unlink()
    finally:
        if not existed:
            with suppress(OSError):
                out.rmdir()  # made for nothing


def kept_command(out: Path) -> tuple[list[str], Path] | None:
    """The words behind `coslice` that make the unfinished run in a folder, and the folder where they were said.

    Returns:
        None where results were complete and only had to be put in their places, which is done then.

    Raises:
        CosliceError: there is none, or its command is not known.
    """
    if exchange_begun(out):
        with lock_folder(out):
            finish_exchange(out)
        return None
    run = _read(out)
    words, place = run.get("command"), run.get("place")
    if not run:
        raise CosliceError(f"{out} holds no unfinished run; give the whole command to begin one.")
    if not (isinstance(words, list) and words and all(isinstance(one, str) for one in cast("list[Any]", words))):
        raise CosliceError(f"The run in {out} was not begun by a command; go on with it as it was begun.")
    if not isinstance(place, str) or not Path(place).is_dir():
        raise CosliceError(f"The run in {out} was begun in {place}, which is not there; give the whole command.")
    return cast("list[str]", words), Path(place)


def _begin(
    out: Path, overwrite: bool, identity: Mapping[str, Any], command: Sequence[str], say: Callable[[str], None]
) -> None:
    """Check what is in the folder, clear what a killed run left, and write down what this one is."""
    hidden, before = hidden_folder(out), _read(out)
    remove_dead_temporaries(out)
    remove_dead_temporaries(hidden)
    other = first_difference(before["identity"], identity) if before else ""
    if _states(out) and other:
        if not overwrite:
            raise CosliceError(
                f"{out} holds a run that is not finished, with {other}; give its command to go on with it, "
                "--overwrite to begin anew, or another folder."
            )
        say(f"The unfinished run in {out} had {other}; this one begins anew.")
        for one in _states(out):
            one.unlink()
    if (other or not before) and not overwrite and any(one.name != HIDDEN for one in out.iterdir()):
        raise CosliceError(
            f"The folder {out} is not empty; choose a new one, or ask for overwriting to replace files in it."
        )
    write_json(hidden / _RUN, {"identity": identity, "command": list(command), "place": os.getcwd()})


def _states(out: Path) -> list[Path]:
    return sorted(hidden_folder(out).glob("[!.]*.safetensors"))


def _read(out: Path) -> dict[str, Any]:
    """What the unfinished run in a folder is; nothing where there is none."""
    try:
        run = read_json(hidden_folder(out) / _RUN)
        return run if isinstance(run["identity"], dict) else {}
    except (OSError, ValueError, KeyError, TypeError):
        return {}


def _clause(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")[:200]
