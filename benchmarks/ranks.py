"""One volume over several processes: how much faster than one process with one thread, and where the time goes.

    python benchmarks/ranks.py [--ranks 2] [--method dds] [--steps 30] [--size 256] [--slices 8:40]

The embedded chest, its slices resized, from 30 cone-beam views by the embedded prior. Each number of ranks runs in
processes of its own, started by torchrun with one thread each. Printed side by side for the steps of the sampler: wall
seconds in the prior, the data step and re-noising; processor seconds of the busiest rank; seconds in which it waited
for messages. The wall seconds of a machine that does other work besides mean little; the ratio of processor seconds is
what a machine with a core for every rank would come near to. The volumes are compared too.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from coslice.data import embedded_scan
from coslice.methods import changed, find_method
from coslice.parallel import Ranks, joined
from coslice.plans import plan
from coslice.preparation import Preparation, parse_slices
from coslice.priors import load_prior
from coslice.problems import simulate
from coslice.runs import run

PARTS = ("initial", "preparation", "prior", "fidelity", "renoising")


def main() -> None:
    """Run the same reconstruction on one rank and on several, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ranks", type=int, default=2)
    parser.add_argument("--method", default="dds")
    parser.add_argument("--steps", type=int, default=30)
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--slices", default="8:40")
    parser.add_argument("--out", type=Path, help=argparse.SUPPRESS)  # of a rank: where its numbers go
    chosen = parser.parse_args()
    if chosen.out is not None:
        measure(chosen)
        return
    with tempfile.TemporaryDirectory() as folder:
        found = {count: started(count, Path(folder) / str(count)) for count in (1, chosen.ranks)}
        volumes = [torch.load(Path(folder) / str(count) / "volume.pt") for count in found]
    alone, many = found.values()
    table = Table("", "1 rank", f"{chosen.ranks} ranks", "ratio", box=SIMPLE_HEAD)
    rows: list[tuple[str, float, float]] = [(f"{part}, s", alone[part], many[part]) for part in PARTS]
    rows.append(("steps, wall s", alone["steps"], many["steps"]))
    rows.append(("steps, processor s of the busiest rank", alone["processor"], many["processor"]))
    for name, one, other in rows:
        table.add_row(name, f"{one:.2f}", f"{other:.2f}", f"{one / other:.2f}" if other else "")
    table.add_row("steps, waited for messages, s", "0.00", f"{many['waited']:.2f}", "")
    Console().print(table)
    print(f"largest difference of the volumes: {float((volumes[0] - volumes[1]).abs().max()):.3g}")


def started(count: int, folder: Path) -> dict[str, float]:
    """The numbers of the busiest rank of a run on so many."""
    folder.mkdir()
    words = ["-m", "torch.distributed.run", "--nproc-per-node", str(count), __file__, *sys.argv[1:], "--out", folder]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    subprocess.run([sys.executable, *map(str, words)], check=True, env=environment)
    ranks = [json.loads(path.read_text()) for path in folder.glob("*.json")]
    return max(ranks, key=lambda numbers: numbers["processor"])


def measure(chosen: argparse.Namespace) -> None:
    """One rank's run, timed."""
    torch.set_num_threads(1)
    prior = load_prior("ct")
    preparation = Preparation(slices=parse_slices(chosen.slices, embedded_scan().shape[0]), size=chosen.size)
    problem = simulate(embedded_scan(), window=prior.window_for, preparation=preparation).problem
    method = find_method(chosen.method)
    few = plan(problem, changed(method, {"schedule": {"steps": 2}}, "benchmark"))
    planned = plan(problem, changed(method, {"schedule": {"steps": chosen.steps}}, "benchmark"))
    waited = timed_messages()
    with joined() as ranks:
        run(few)  # compiles
        began: dict[str, float] = {}

        def progress(phase: str, done: int, total: int) -> None:
            if phase == "preparation" and done == 1:
                began.update(wall=time.perf_counter(), processor=time.process_time(), waited=waited["s"])

        result = run(planned, progress=progress)
        numbers: dict[str, Any] = {name: result.seconds.get(name, 0.0) for name in PARTS}
        numbers["steps"] = time.perf_counter() - began["wall"]
        numbers["processor"] = time.process_time() - began["processor"]
        numbers["waited"] = waited["s"] - began["waited"]
        (chosen.out / f"{ranks.rank}.json").write_text(json.dumps(numbers))
        if ranks.writes:
            torch.save(result.reconstruction, chosen.out / "volume.pt")


def timed_messages() -> dict[str, float]:
    """Seconds spent in messages from now on."""
    spent = {"s": 0.0}

    def timed(method: Any) -> Any:
        def called(*arguments: Any) -> Any:
            began = time.perf_counter()
            try:
                return method(*arguments)
            finally:
                spent["s"] += time.perf_counter() - began

        return called

    for name in ("hand_round_", "largest"):
        setattr(Ranks, name, timed(getattr(Ranks, name)))
    return spent


if __name__ == "__main__":
    main()
