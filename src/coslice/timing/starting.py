"""What it takes until work begins, in processes of their own: the help, the first import, the first kernel."""

from __future__ import annotations

import subprocess
import sys
import time

from coslice.errors import CosliceError
from coslice.timing.ledger import Line
from coslice.timing.stopwatch import Seconds

__all__ = ["starts"]

_COMMAND = "import sys; sys.argv = ['coslice', {words}]; from coslice.cli import main; main()"
_STARTS = {
    "python alone": "pass",
    "coslice --help": _COMMAND.format(words="'--help'"),
    "import torch": "import torch",
    "import all that coslice reconstruct needs": "import coslice.cli.jobs",
}
_KERNEL = """
import math, time, torch
from coslice.geometry import ConeBeam, Grid, sparse_view
from coslice.operators import Projector
scanner = ConeBeam(sparse_view(2), (8, 8), (1.5, 1.5), source_axis=50.0, axis_detector=26.8)
operator = Projector(scanner, Grid((8, 8, 8)))
began = time.perf_counter()
operator.adjoint(operator.forward(torch.ones(8, 8, 8)))
print(time.perf_counter() - began)
"""


def starts(count: int = 3) -> list[Line]:
    """Time them, one after the other.

    Args:
        count: processes of each.

    Raises:
        CosliceError: a process that failed.
    """
    lines = []
    for name, code in _STARTS.items():
        times = []
        for _ in range(count):
            began = time.perf_counter()
            _run(code)
            times.append(time.perf_counter() - began)
        lines.append(Line("start", name, "process", Seconds.of(times)))
    _run(_KERNEL)  # compiles what is not kept yet
    loaded = Seconds.of([float(_run(_KERNEL)) for _ in range(count)])
    return [*lines, Line("start", "first A and A^T (compiled before)", "process", loaded)]


def _run(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise CosliceError(f"bench: a process that was started to be timed failed ({last}); run coslice --help first.")
    return done.stdout
