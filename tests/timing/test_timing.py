"""The ledger of time: its counts against closed forms, its files, and what it refuses. No test asserts a time."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from coslice.cli import main
from coslice.errors import CosliceError
from coslice.geometry import ConeBeam, Grid, ParallelBeam, sparse_view
from coslice.metrics import perceptual
from coslice.operators import Projector
from coslice.timing import Ledger, Line, Peaks, Whole, kept
from coslice.timing.floors import counted, crossings, perceived, projection
from coslice.timing.peaks import convolutions_of
from coslice.timing.stopwatch import Seconds

PEAKS = Peaks({"float32": 100.0, "bfloat16": 200.0}, arithmetic=50.0, memory=10.0)


def walked(geometry, grid, step=4e-3):
    """The same as `crossings`, by walking along every ray in small steps and seeing where it is."""
    total = 0.0
    half = np.array(grid.size[:0:-1]) / 2
    for view in range(geometry.views):
        start, direction = (np.broadcast_to(part, (*geometry.detector, 3))[0, :, :2] for part in geometry.rays(view))
        direction = direction / np.abs(direction).max(1, keepdims=True)  # a plane of 1 mm a unit
        middle = -(start * direction).sum(1) / (direction**2).sum(1)
        places = start[:, None] + (middle[:, None] + np.arange(-20, 20, step))[..., None] * direction[:, None]
        total += float((np.abs(places) <= half).all(-1).sum()) * step
    return total


@pytest.mark.parametrize(
    "geometry",
    [
        ParallelBeam(sparse_view(3, math.pi), (4, 20), (1.0, 0.7)),
        ConeBeam(sparse_view(4, start=0.3), (4, 24), (1.0, 1.0), source_axis=30.0, axis_detector=20.0),
    ],
    ids=["parallel", "cone"],
)
def test_planes_that_rays_cross_are_those_met_by_walking_along_them(geometry):
    grid = Grid((4, 10, 14))
    assert crossings(geometry, grid) == pytest.approx(walked(geometry, grid), rel=5e-3)


def test_a_view_along_an_axis_crosses_every_plane_with_every_column_that_hits():
    """And a voxel takes 3 operations there, a pixel 4."""
    operator = Projector(ParallelBeam((0.0,), (5, 8), (1.0, 1.0)), Grid((5, 8, 8)))
    assert crossings(operator.geometry, operator.grid) == pytest.approx(8 * 8)  # pyright: ignore[reportArgumentType]
    assert projection(operator) == pytest.approx((64 * (3 * 5 + 4 * 5), 4 * (5 * 8 * 8 + 5 * 8)))


@pytest.mark.slow  # torch's counter takes seconds to load
def test_operations_of_a_convolution_are_two_for_each_weight_and_place():
    x, weight = torch.rand(2, 3, 10, 12), torch.rand(5, 3, 3, 3)
    assert counted(lambda: F.conv2d(x, weight, padding=1)) == 2 * 9 * 3 * 5 * 2 * 10 * 12


@pytest.mark.slow
@pytest.mark.parametrize("side", [64, 99])
def test_operations_of_lpips_are_those_of_its_layers(side):
    """But for the first, which has a second channel that says where the image is."""
    pair = torch.rand(2, 1, side, side + 20)
    first = 2 * 64 * 121 * 2 * ((side - 7) // 4 + 1) * ((side + 13) // 4 + 1)
    assert perceived(side, side + 20) + first == counted(lambda: perceptual._distances(*pair))


def test_the_convolutions_of_a_network_are_its_largest():
    network = torch.nn.Sequential(
        torch.nn.Conv2d(1, 4, 3, padding=1), torch.nn.Conv2d(4, 8, 3, padding=1), torch.nn.Conv2d(8, 8, 1)
    )
    assert convolutions_of(network, lambda: network(torch.rand(1, 1, 6, 7)), most=1) == [(4, 8, 6, 7)]


def test_a_floor_is_the_larger_of_arithmetic_and_memory():
    assert PEAKS.floor(operations=100, moved=1) == 2.0
    assert PEAKS.floor(operations=100, moved=50) == 5.0
    assert PEAKS.floor(operations=100, rate="bfloat16") == 0.5


def test_seconds_are_of_one_piece_and_their_spread_is_half_of_what_lies_between_the_quartiles():
    taken = Seconds.of([8.0, 2.0, 4.0, 6.0, 100.0], per=2)
    assert (taken.median, taken.low, taken.high, taken.count) == (3.0, 2.0, 4.0, 5)
    assert taken.spread == pytest.approx(1 / 3)
    assert Seconds.of([3.0]).spread == 0


def ledger():
    lines = [
        Line("noise", "iscs", "volume", Seconds.of([0.002]), 0.0005),
        Line("start", "coslice --help", "process", Seconds.of([1.5])),
    ]
    whole = Whole("coslice reconstruct a.nii", [Line("", "whole process", "run", Seconds.of([9.0]))], 812.4, "30 dB")
    return Ledger("coslice bench", "2 threads", (4, 8), PEAKS, lines, [whole], date="2026-01-02")


def test_a_ledger_is_written_as_json_and_as_a_page(tmp_path):
    kept(ledger(), tmp_path / "speed.json")
    record = json.loads((tmp_path / "speed.json").read_text())
    assert [line["ratio"] for line in record["parts"]] == [4.0, None]
    assert record["whole"][0]["phases"][0]["seconds"] == 9.0
    kept(ledger(), tmp_path / "speed.md")
    page = (tmp_path / "speed.md").read_text()
    assert "| iscs | volume | 2 ms | 0 % | 0.5 ms | 4.0 |" in page
    assert "| coslice --help | process | 1.5 s | 0 % |  |  |" in page
    assert "at most 812 MB, 30 dB" in page and "2026-01-02" in page
    with pytest.raises(CosliceError, match=r"speed\.txt.*\.json or \.md"):
        kept(ledger(), tmp_path / "speed.txt")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--out", "speed.txt"], "speed.txt"),
        (["--no-parts"], "nothing is left to time"),
        (["--run", "dds"], "without --whole"),
        (["--whole", "--scan", "nowhere.nii"], "nowhere.nii"),
        (["--runs", "0", "--whole"], "at least 1"),
    ],
)
def test_bench_refuses_before_it_works(words, said, monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["coslice", "bench", *words])
    with pytest.raises(SystemExit) as stopped:
        main()
    assert stopped.value.code == 2 and said in capsys.readouterr().err


@pytest.mark.slow
def test_bench_times_every_part_and_a_whole_run(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr("coslice.timing.SIZES", {"quick": (8, 32)})
    words = ["--quick", "--whole", "--runs", "1", "--run", "dds --steps 2", "--out", str(tmp_path / "b.json")]
    monkeypatch.setattr("sys.argv", ["coslice", "bench", *words])
    with pytest.raises(SystemExit) as stopped:
        main()
    assert stopped.value.code == 0, capsys.readouterr().err
    record = json.loads((tmp_path / "b.json").read_text())
    groups = {line["group"] for line in record["parts"]}
    assert groups == {"prior", "projector", "noise", "metrics", "files", "start"}
    assert all(line["seconds"] > 0 for line in record["parts"])
    assert all(line["floor"] > 0 for line in record["parts"] if line["floor"] is not None)
    phases = [line["part"] for line in record["whole"][0]["phases"]]
    assert phases[0] == "whole process" and {"prior", "fidelity", "outside the sampler"} <= set(phases)
    assert record["whole"][0]["peak_memory_mb"] > 0
