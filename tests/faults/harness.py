"""Commands on malformed input: each in a process of its own, with its exit code, its words, its memory and its time.

A command takes seconds to start and milliseconds to refuse. So one process imports everything, and every trial is a
fork of it: `Trials` starts that process, and `tried` runs one command in it. The process has one thread, so a fork of
it is whole.

    with Trials() as trials:
        trial = trials.tried("reconstruct", "scan.nii.gz", "--out", "out")
        trial.refused(out)                      one sentence, exit code 2, nothing written, memory below the bound
"""

from __future__ import annotations

import io
import json
import os
import resource
import selectors
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from contextlib import redirect_stderr, redirect_stdout, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from worlds import enter

BOUND_MB = 300
"""What a refusal may take of memory beyond what the imports did. See docs/reliability.md."""
PATIENCE_S = 40.0
"""After that a command hangs, also on a busy machine."""
_CEILING_MB = 4096
"""Of addresses, so that what goes wrong ends in the child and not in the machine."""


@dataclass(frozen=True)
class Trial:
    """What a command did.

    Attributes:
        arguments: of the command.
        code: exit code; minus the signal that ended it; None where it did not end.
        output, errors: what it printed.
        memory_mb: its peak beyond that of the process it was forked from.
        seconds: wall time.
        user_s: time that its own code took of a processor.
    """

    arguments: tuple[str, ...]
    code: int | None
    output: str
    errors: str
    memory_mb: float
    seconds: float
    user_s: float

    def sane(self, bound_mb: float = BOUND_MB) -> Trial:
        """It ended by itself, accepted or refused, without a traceback and within its memory."""
        assert self.code is not None, f"hangs: {self}"
        assert self.code >= 0, f"killed: {self}"
        assert "Traceback" not in self.errors + self.output, f"traceback: {self}"
        assert self.code in (0, 2), f"exit code {self.code}: {self}"
        assert self.memory_mb < bound_mb, f"{self.memory_mb:.0f} MB: {self}"
        if self.code == 2:
            assert self.errors.strip(), f"refused without a word: {self}"
            assert len(self.errors) < 2000, f"{len(self.errors)} characters of errors: {self}"
        control = [c for c in self.output + self.errors if ord(c) < 32 and c not in "\n\r\t"]
        assert not control, f"control characters {control[:5]}: {self}"
        return self

    def refused(self, out: Path | None = None, bound_mb: float = BOUND_MB) -> Trial:
        """It refused: one sentence, exit code 2, and nothing at `out`."""
        self.sane(bound_mb)
        assert self.code == 2, f"accepted: {self}"
        assert out is None or not out.exists(), f"left {sorted(out.rglob('*')) if out.is_dir() else out}: {self}"
        return self


class Trials:
    """A process from which commands are forked."""

    def __init__(self, environment: dict[str, str] | None = None) -> None:
        """Start it.

        Args:
            environment: on top of this process's.
        """
        variables = {"OMP_NUM_THREADS": "1", "NUMBA_NUM_THREADS": "1", "COLUMNS": "200", **(environment or {})}
        self._process = subprocess.Popen(
            [sys.executable, __file__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, **variables},
            text=True,
        )

    def tried(
        self,
        *arguments: str | Path,
        folder: str | Path | None = None,
        environment: dict[str, str] | None = None,
        patience_s: float = PATIENCE_S,
        ceiling_mb: float = _CEILING_MB,
        world: dict[str, Any] | None = None,
    ) -> Trial:
        """Run `coslice ARGUMENTS` and wait for its end, or for the end of patience.

        Args:
            arguments: of the command.
            folder: to run it in.
            environment: on top of that of the process.
            patience_s: then it is killed, and its code is None.
            ceiling_mb: of addresses beyond what there is at the start.
            world: the machine around it, see `worlds.enter`.
        """
        assert self._process.stdin is not None and self._process.stdout is not None
        words = [os.fsdecode(one) for one in arguments]
        wish = [words, None if folder is None else str(folder), environment or {}, patience_s, ceiling_mb, world or {}]
        self._process.stdin.write(json.dumps(wish) + "\n")
        self._process.stdin.flush()
        answer = self._process.stdout.readline()
        assert answer, "the process of the trials is dead"
        return Trial(tuple(words), *json.loads(answer))

    def __enter__(self) -> Trials:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.communicate()


def _serve() -> None:
    import coslice
    import coslice.cli.app
    import coslice.cli.inspect
    import coslice.cli.jobs
    import coslice.training

    for name in coslice.__all__:
        getattr(coslice, name)
    answers, sys.stdout = sys.stdout, sys.stderr
    # A terminal's, also where the tests were started in the background, which ignores them.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    _warm()
    for line in sys.stdin:
        answers.write(json.dumps(_forked(*json.loads(line))) + "\n")
        answers.flush()


def _warm() -> None:
    """Import what commands import late, once for all trials."""
    from coslice.cli import main

    for words in (["--help"], ["reconstruct", "nowhere.nii.gz", "--method", "fdk", "--out", "nowhere"]):
        sys.argv = ["coslice", *words]
        with suppress(SystemExit), redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
            main()
    from numba.core.registry import cpu_target  # what the first compiled kernel of a process waits for

    cpu_target.typing_context.refresh()  # pyright: ignore[reportAttributeAccessIssue]
    cpu_target.target_context.refresh()  # pyright: ignore[reportAttributeAccessIssue]


def _forked(
    words: list[str],
    folder: str | None,
    environment: dict[str, str],
    patience_s: float,
    ceiling_mb: float,
    world: dict[str, Any],
):
    with tempfile.TemporaryFile() as output, tempfile.TemporaryFile() as errors:
        before, began = _resident_mb(), time.monotonic()
        child = os.fork()
        if child == 0:
            _run(words, folder, environment, ceiling_mb, world, output.fileno(), errors.fileno())
        ended = os.pidfd_open(child)
        with selectors.DefaultSelector() as waiting:
            waiting.register(ended, selectors.EVENT_READ)
            late = not waiting.select(patience_s)
        os.close(ended)
        if late:
            os.kill(child, signal.SIGKILL)
        _, status, usage = os.wait4(child, 0)
        seconds, said = time.monotonic() - began, []
        for stream in (output, errors):
            stream.seek(0)
            said.append(stream.read(200_000).decode(errors="replace"))
        code = None if late else os.waitstatus_to_exitcode(status)
        return code, *said, max(0.0, usage.ru_maxrss / 1024 - before), seconds, usage.ru_utime


def _run(
    words: list[str],
    folder: str | None,
    environment: dict[str, str],
    ceiling_mb: float,
    world: dict[str, Any],
    output: int,
    errors: int,
) -> None:
    """The child: it never returns."""
    code = 70
    try:
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        os.dup2(output, 1)
        os.dup2(errors, 2)
        sys.stdout = open(1, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
        sys.stderr = open(2, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
        os.environ.update(environment)
        if folder is not None:
            os.chdir(folder)
        ceiling = int((_addresses_mb() + ceiling_mb) * 2**20)
        resource.setrlimit(resource.RLIMIT_AS, (ceiling, ceiling))
        sys.argv = ["coslice", *words]
        if "COSLICE_TRIAL_FATE" in environment:
            from fates import meet

            meet(environment["COSLICE_TRIAL_FATE"])
        from coslice.cli import main

        enter(world)
        main()
        code = 0
    except SystemExit as error:
        code = error.code if isinstance(error.code, int) else 0 if error.code is None else 1
    except BaseException:
        traceback.print_exc()
        code = 1
    finally:
        for stream in (sys.stdout, sys.stderr):
            try:
                if stream is not None:
                    stream.flush()
            except BaseException:  # as an interpreter has it that cannot flush its streams
                code = 120
        os._exit(code)


def _resident_mb() -> float:
    """What a fork begins with: pages that are mapped from files come back to it one by one, as it needs them."""
    pages = [int(word) for word in Path("/proc/self/statm").read_text().split()]
    return (pages[1] - pages[2]) * resource.getpagesize() / 2**20


def _addresses_mb() -> float:
    return int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize() / 2**20


if __name__ == "__main__":
    _serve()
