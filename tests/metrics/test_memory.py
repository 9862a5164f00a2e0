"""Memory as a law: what is needed beside the volumes does not grow with them."""

from __future__ import annotations

import json
import subprocess
import sys
import tracemalloc

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from coslice.io.nifti import write_nifti
from coslice.metrics import Watcher, evaluate, images, per_slice_of_each, perceptual, planes
from coslice.report.viewer import packed
from coslice.volume import Volume


class Largest(TorchDispatchMode):
    """The bytes of the largest tensor that an operation made, views of its arguments not counted."""

    def __init__(self):
        super().__init__()
        self.bytes = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        made = func(*args, **(kwargs or {}))
        given = {one.untyped_storage().data_ptr() for one in args if isinstance(one, torch.Tensor)}
        for one in made if isinstance(made, tuple | list) else (made,):
            if isinstance(one, torch.Tensor) and one.untyped_storage().data_ptr() not in given:
                self.bytes = max(self.bytes, one.untyped_storage().nbytes())
        return made


@pytest.fixture
def alone(monkeypatch):
    """Work that threads share is done by the caller: what is watched is watched in one thread."""
    monkeypatch.setattr(images, "spread", lambda device, function, *lists: [*map(function, *lists)])


def scan(slices, side=32):
    """A volume, and another."""
    truth = torch.rand(slices, side, side, generator=torch.Generator().manual_seed(0))
    return truth, (0.9 * truth + 0.05).contiguous()


@pytest.mark.parametrize("with_lpips", [False, True])
def test_metrics_of_a_volume_eight_times_as_large_need_no_larger_temporaries(monkeypatch, alone, with_lpips):
    for module in (images, perceptual, planes):
        monkeypatch.setattr(module, "_PIECE", 2 * 32 * 256)  # images of the larger: those along z are 32 x 256
    largest = []
    for slices in (32, 256):
        truth, other = scan(slices)
        with Largest() as watched:
            curves = per_slice_of_each({"one": other}, truth, with_lpips)
            evaluate(other, truth, curves=curves["one"])
        largest.append(watched.bytes)
    assert largest[0] > 0 and largest[1] <= 1.3 * largest[0]


def test_what_watches_a_step_copies_a_volume_once_and_no_more(alone):
    """The estimate clipped; none of its temporaries is in float64."""
    truth, other = scan(256, 64)
    with Largest() as watched:
        Watcher(truth).record(0, 0.1, other)
    assert watched.bytes <= 4 * truth.numel()


def test_a_volume_is_packed_for_a_page_slice_by_slice():
    """Of every voxel the high byte waits, and what is deflated already; a copy in float64 would be 8 bytes."""
    volume, _ = scan(64, 64)
    packed(volume[:2], (-1000.0, 1600.0), 1.0)
    tracemalloc.start()
    try:
        text = packed(volume, (-1000.0, 1600.0), 1.0)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    # The list of parts and the result are there together for a moment.
    assert peak < volume.numel() + 2.5 * len(text) + 20 * 64 * 64 * 8


@pytest.mark.slow
def test_a_whole_run_needs_few_bytes_for_every_voxel(tmp_path, tiny_prior):
    """So few that 512 x 512 x 300 voxels fit 24 GiB: below 200 of each, everything counted."""
    megabytes = []
    for slices in (32, 160):
        path = tmp_path / f"{slices}.nii"
        write_nifti(Volume(1000 * scan(slices, 128)[0] - 500), path)
        words = [
            str(path),
            "--method",
            "wdds",
            "--prior",
            str(tiny_prior),
            "--steps",
            "2",
            "--out",
            str(tmp_path / path.stem),
        ]
        subprocess.run([sys.executable, "-m", "coslice", "reconstruct", *words], check=True, capture_output=True)
        megabytes.append(json.loads((tmp_path / path.stem / "run.json").read_text())["peak_memory_mb"])
    assert (megabytes[1] - megabytes[0]) * 2**20 < 200 * 128 * 128 * 128
