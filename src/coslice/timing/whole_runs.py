"""Whole reconstructions, each in a process of its own, and where their seconds went.

What `coslice reconstruct` says in its run.json are the phases of the sampler; what is left of the process's seconds is
the start, the simulated measurement, the metrics, the files and the page.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch

from coslice.axes import PLANES
from coslice.errors import CosliceError
from coslice.timing.ledger import Line, Whole
from coslice.timing.stopwatch import Seconds

__all__ = ["whole_runs"]

_OUTSIDE = "outside the sampler"


def whole_runs(words: Sequence[str], runs: int, said: Callable[[str], None] = lambda text: None) -> Whole:
    """Time `coslice reconstruct WORDS --out ...` with as many threads as torch has here.

    Args:
        words: of the command: the scan and options.
        runs: processes, one after the other; medians are given.
        said: called with a few words before each.

    Raises:
        CosliceError: a run that failed, with its last words.
    """
    spent: dict[str, list[float]] = {}
    peak, numbers = 0.0, ""
    for number in range(runs):
        said(f"whole run {number + 1} of {runs}")
        with tempfile.TemporaryDirectory() as folder:
            seconds = _run([*words, "--out", str(Path(folder) / "out")])
            record = _read(Path(folder) / "out" / "run.json")
            numbers = _numbers(Path(folder) / "out" / "metrics.json")
        peak = max(peak, record["peak_memory_mb"] or 0.0)
        phases: dict[str, float] = record["seconds"]["reconstruction"]
        for name, taken in {"whole process": seconds, **phases, _OUTSIDE: seconds - sum(phases.values())}.items():
            spent.setdefault(name, []).append(taken)
    shown = " ".join(Path(word).name if os.sep in word else word for word in words)
    lines = [Line("", name, "run", Seconds.of(times)) for name, times in spent.items()]
    return Whole(f"coslice reconstruct {shown}", lines, peak, numbers)


def _run(words: Sequence[str]) -> float:
    command = [sys.executable, "-m", "coslice", "reconstruct", *words]
    environment = os.environ | {"OMP_NUM_THREADS": str(torch.get_num_threads())}
    began = time.perf_counter()
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    seconds = time.perf_counter() - began
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["no message"])[-1].removeprefix("coslice: ")
        raise CosliceError(f"bench: coslice reconstruct {' '.join(words)} failed: {last}")
    return seconds


def _read(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text(encoding="utf-8"))


def _numbers(path: Path) -> str:
    """PSNR of the planes in words; "" where it is not known."""
    metrics = _read(path).get("reconstruction") if path.is_file() else None
    return "" if metrics is None else " / ".join(f"{metrics[plane]['psnr']:.2f}" for plane in PLANES) + " dB"
