"""A small benchmark: a recipe, and what tests do with it."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from contextlib import contextmanager

from coslice.benchmark import complete, keyed_cells, load_benchmark
from coslice.methods import Method

QUICK = {"steps": 2, "data": {"iterations": 2}}


def small_tree(scan, tiny_prior):
    """A recipe of two groups, four rows and two seeds, small enough to be run in no time."""
    return {
        "title": "A ball",
        "source": "Nobody, 2026, Table 1",
        "metrics": ["axial.psnr", "coronal.ssim", "axial.psnr.std", "sdiff_gap"],
        "seeds": [0, 1],
        "scans": {"ball": {"file": str(scan)}},
        "priors": {"ct.slices": str(tiny_prior)},
        "groups": {"few": {"scan": "ball", "views": 4}, "many": {"scan": "ball", "views": 9}},
        "methods": {
            "FDK": {"method": "fdk"},
            "Cubic": {"method": "cubic"},
            "DDS": {"method": "dds", "noise": "independent"},
            "DDS+ISCS": {"method": "dds", "noise": "iscs"},
            "DDS+ISCS, longer": {"method": "dds", "noise": "iscs", "steps": 3, "groups": ["few"]},
        },
        "settings": {"*": dict(QUICK)},
        "figures": [
            {"x": "steps", "y": "axial.psnr"},
            {"x": "step", "y": ["psnr", "sdiff"]},
            {"x": "axial.psnr", "y": "sdiff_gap"},
        ],
        "pictures": [{"planes": ["axial"], "groups": ["few"], "rows": ["DDS"]}],
        "published": {"few": {"DDS": [30.0, 0.9, None, [0.01, 0.002]], "FDK": [None, None, None, None]}},
    }


def loaded(path, **named):
    return load_benchmark(str(path), **named)


def sampling(benchmark, group, row):
    """The method of a row that samples."""
    method = benchmark.rows[group][row].method
    assert isinstance(method, Method)
    return method


def kept(store, key):
    """The record of a finished cell."""
    record = store.record(key)
    assert record is not None
    return record


def computed(benchmark, store):
    """Complete a grid; titles of what was computed, in order."""
    done = []

    @contextmanager
    def working(cell):
        yield lambda phase, done, total: None
        done.append((cell.group, cell.row, cell.seed))

    complete(benchmark, keyed_cells(benchmark), store, "cpu", working)
    return done


def records_of(benchmark, store):
    found = {}
    for cell, key in keyed_cells(benchmark).items():
        found.setdefault((cell.group, cell.row), []).append(store.record(key))
    return found


def command(path, out):
    """The command line in a process of its own."""
    return [sys.executable, "-m", "coslice", "benchmark", str(path), "--out", str(out), "--device", "cpu"]


def finished(path, out):
    return subprocess.run(command(path, out), capture_output=True, text=True, check=True).stdout


def killed(path, out, cells):
    """Start, and kill -9 as soon as so many cells are there."""
    process = subprocess.Popen(command(path, out), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while process.poll() is None and len(list(out.glob("cells/*.json"))) < cells:
        time.sleep(0.005)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()


def without(text, out):
    """`text` of a run, less its folder and the last number of every line, where seconds are."""
    return re.sub(r"[ \d]+(?=[ |\\]*$)", " SECONDS", text.replace(str(out), "OUT"), flags=re.MULTILINE)
