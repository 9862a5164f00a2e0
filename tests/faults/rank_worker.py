"""One rank of a group, `rank_worker.py JOB FOLDER`: what the tests of ranks start, several at a time."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

import torch

import small_problems
from coslice import run
from coslice.cli import main as coslice_main
from coslice.errors import CosliceError, SaidElsewhere
from coslice.methods import changed, find_method
from coslice.parallel import joined

METHODS = ("dds", "wdds", "ddnm", "dps", "tpdm", "diffusionblend++", "wblend")


def method_of(name, kind="ct"):
    few = small_problems.QUICK | small_problems.OWN.get(name, {})
    return changed(find_method(name, kind), few, "test")


def volumes():
    """What every method makes of a small problem, by name."""
    found = {}
    for name in METHODS:
        method = method_of(name)
        found[name] = run(small_problems.ct(), method, small_problems.priors(method), seed=3).reconstruction
    thick = method_of("dds", "zsr")
    found["thick"] = run(small_problems.zsr(), thick, small_problems.priors(thick, "zx"), seed=3).reconstruction
    return found


def endless(folder, ranks):
    """A run that is far from its end when something happens to it."""
    method = changed(find_method("dds"), {"schedule": {"steps": 100_000}}, "test")

    def progress(phase, done, total):
        if phase == "sampling" and done == 3:
            (folder / f"started-{ranks.rank}").touch()

    run(small_problems.ct(), method, [small_problems.prior()], progress=progress)


def main(job, folder):
    with joined() as ranks:
        if job == "volumes":
            torch.save(volumes(), folder / f"{ranks.size}-{ranks.rank}.pt")
        elif job == "endless":
            endless(folder, ranks)
        elif job == "other" and ranks.rank == 1:  # a file that is another on this machine
            run(small_problems.ct(scale=1.01), method_of("dds"), [small_problems.prior()])
        elif job == "other":
            run(small_problems.ct(), method_of("dds"), [small_problems.prior()])
        elif job == "missing" and ranks.rank == 1:
            raise CosliceError("prior: x.safetensors is not there.")
        elif job == "missing":
            endless(folder, ranks)
        elif job == "busy":  # nobody waits for a message when the other one dies
            (folder / f"started-{ranks.rank}").touch()
            time.sleep(300)


def child(environment, words, out):
    """A rank that a process with all imports done was forked for; words go to out.0 and out.1, as by numbers."""
    os.environ.update(environment)
    for number, stream in ((1, sys.stdout), (2, sys.stderr)):
        stream.flush()
        os.dup2(os.open(f"{out}.{number}", os.O_WRONLY | os.O_CREAT | os.O_TRUNC), number)
    started(words)


def started(words):
    torch.set_num_threads(1)
    if words[0] == "coslice":
        sys.argv = words
        coslice_main()
        return
    try:
        main(words[0], Path(words[1]))
    except SaidElsewhere:
        sys.exit(2)
    except CosliceError as error:
        sys.stderr.write(f"coslice: {error}\n")
        sys.exit(2)


if __name__ == "__main__":
    started(sys.argv[1:])
