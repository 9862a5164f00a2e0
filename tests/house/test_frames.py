"""From the user's call to the network there are at most six frames of ours, threads counted."""

import sys
import threading
from pathlib import Path

import pytest
import torch
from torch import nn

import coslice
from coslice.geometry import Grid
from coslice.priors import SlicePrior
from coslice.window import CT_WINDOW

PACKAGE = str(Path(coslice.__file__).parent)
PRIORS = str(Path(PACKAGE) / "priors")


class Counting(nn.Module):
    """A denoiser that counts the frames of coslice above it."""

    positions = False

    def __init__(self):
        super().__init__()
        self.within = []

    def forward(self, x, sigma, *labels):
        frame, names = sys._getframe(1), []
        while frame is not None:
            if frame.f_code.co_filename.startswith(PACKAGE):
                names.append(frame.f_code.co_name)
            frame = frame.f_back
        self.within.append((threading.current_thread() is threading.main_thread(), names))
        return 0.5 * x


def problem():
    truth = torch.rand(6, 16, 16, generator=torch.Generator().manual_seed(0))
    return coslice.SparseViewCT(views=4).problem(truth, Grid((6, 16, 16), (2.0, 4.0, 4.0)), CT_WINDOW)


@pytest.mark.parametrize(
    ("method", "channels", "planes"),
    [
        ("dds", 1, ("yx",)),
        ("diffusionblend++", 3, ("yx",)),
        ("diffusionblend", 3, ("yx",)),
        ("tpdm-cg", 1, ("yx", "zx")),
    ],
)
def test_at_most_six_frames(monkeypatch, method, channels, planes):
    counting = Counting()
    priors = [SlicePrior(counting, 1, (0.001, 10.0), plane, channels=channels) for plane in planes]
    caller = []
    # The worker's stack begins anew: what stands above it is the stack of the thread that shares the work.
    from concurrent.futures import ThreadPoolExecutor

    def submitted(self, function, *arguments, **named):
        frame, names, asks = sys._getframe(1), [], False
        while frame is not None:
            if frame.f_code.co_filename.startswith(PACKAGE):
                names.append(frame.f_code.co_name)
                asks |= frame.f_code.co_filename.startswith(PRIORS)
            frame = frame.f_back
        if asks:  # metrics share work among threads too, and no network is below them
            caller.append(names)
        return original(self, function, *arguments, **named)

    original = ThreadPoolExecutor.submit
    monkeypatch.setattr(ThreadPoolExecutor, "submit", submitted)
    chosen = coslice.methods.changed(coslice.find_method(method), {"schedule": {"steps": 2}})
    coslice.run(problem(), chosen, priors)
    assert counting.within and caller
    longest = max(caller, key=len)
    for in_main, names in counting.within:
        frames = names if in_main else [*names, *longest]
        assert len(frames) <= 6, frames
