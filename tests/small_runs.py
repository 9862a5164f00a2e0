"""Training runs small enough for tests: three scans of a disc, a few steps, and what to look at afterwards."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import nibabel
import numpy as np
import torch
import yaml
from safetensors.torch import load_file

from coslice.training.collection.pack import make_pack
from coslice.training.collection.scans import find_scans
from coslice.training.learning.journal import Listener
from coslice.training.learning.run_folder import run_settings_of
from coslice.training.learning.training_run import Pace, train

SMALL = {
    "images": 80,
    "batch": 4,
    "micro": 2,
    "precision": "f32",
    "network": {"channels": 16, "multipliers": [1, 2], "blocks": 1},
    "schedule": {"warmup": 8},
    "optimiser": {"name": "muon"},
}
OFTEN = Pace(log=8, validate=48, save=0, examples=2)


def saved_discs(folder):
    """Three CT scans of 10 slices of 32 x 32 pixels in `folder`; returns it."""
    generator = np.random.default_rng(0)
    y, x = np.mgrid[:32, :32]
    for number in range(3):
        disc = (y - 16) ** 2 + (x - 14 - number) ** 2 < (9 + number) ** 2
        hu = np.where(disc, 40.0, -1000.0) + generator.normal(0, 8, (10, 32, 32))
        image = nibabel.Nifti1Image(hu.transpose(2, 1, 0).round().astype(np.int16), np.diag([8.0, 8.0, 5.0, 1.0]))
        nibabel.save(image, folder / f"scan{number}.nii.gz")
    return folder


def packed_discs(scans, folder):
    make_pack(find_scans([scans], False), "yx", "ct", folder, bits=8)
    return folder


def go(out, *places, settings=SMALL, **options):
    """Train on `places` into `out`, on the CPU and with frequent records."""
    places = [Path(place) for place in places]
    return train(run_settings_of(out, places, settings), places, out, **{"device": "cpu", "pace": OFTEN, **options})


def state(folder):
    return torch.load(folder / "checkpoint.pt", weights_only=True)


def assert_same_weights(folder, other):
    one, two = state(folder), state(other)
    assert (one["images"], one["steps"]) == (two["images"], two["steps"])
    for a, b in ((one["network"], two["network"]), *zip(one["averages"], two["averages"], strict=True)):
        assert all(torch.equal(a[name], b[name]) for name in a)
    a, b = load_file(folder / "prior.safetensors"), load_file(other / "prior.safetensors")
    assert all(torch.equal(a[name], b[name]) for name in a)


def records(folder):
    lines = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    for line in lines:
        line.pop("images_per_second", None)
    return lines


class Notes(Listener):
    def __init__(self):
        self.notes, self.records = [], []

    def note(self, text):
        self.notes.append(text)

    def record(self, record):
        self.records.append(record)


def environment(**more):
    """For a process of its own: the sources first, and one thread, on a machine that is shared."""
    path = os.pathsep.join([str(Path(sys.modules["coslice"].__path__[0]).parent), *sys.path])
    return {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "ignore", **more}


def arguments(pack, out, settings=SMALL, **more):
    config = out.parent / f"{out.name}.yaml"
    config.write_text(yaml.safe_dump({**settings, **more}))
    every = ["--log-every", OFTEN.log, "--validate-every", OFTEN.validate, "--save-every", 0]
    return [str(a) for a in (pack, "--out", out, "--config", config, "--device", "cpu", *every)]
