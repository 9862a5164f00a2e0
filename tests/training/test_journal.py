"""The log of a run: it reads as if nothing had happened, and no number in it is none."""

import json

import pytest
import torch

from coslice.errors import CosliceError
from coslice.training.learning.checkpoint import load_checkpoint, save_checkpoint
from coslice.training.learning.journal import Journal, Meter, record_line
from coslice.training.learning.trainer import BANDS, StepReport


def test_a_log_forgets_what_came_after_the_checkpoint(tmp_path):
    log = tmp_path / "log.jsonl"
    log.write_text('{"images": 10, "loss": 1.0}\n{"images": 20, "loss": 0.5}\n{"images": 30, "lo')
    journal = Journal(tmp_path, 10)
    journal.write({"images": 15, "loss": 0.75})
    journal.close()
    assert [json.loads(line)["images"] for line in log.read_text().splitlines()] == [10, 15]


def test_a_meter_survives_a_checkpoint_and_refuses_what_is_no_number(tmp_path):
    def report(loss):
        losses = torch.zeros(len(BANDS) + 1)
        losses[1] = loss
        return StepReport(4, losses, torch.ones(len(BANDS) + 1), torch.tensor(0.5), 1e-3, torch.tensor(0.0))

    meter = Meter()
    meter.add(report(2.0))
    save_checkpoint(tmp_path, meter.state())
    again = Meter(load_checkpoint(tmp_path)[0])
    for one in (meter, again):
        one.add(report(4.0))
    first, second = meter.record(), again.record()
    assert first == second and first["loss_per_sigma"]["0.02-0.06"] == 3.0 and first["loss"] == 0.5
    meter.add(report(float("nan")))
    with pytest.raises(CosliceError, match="no number any more"):
        meter.state()


def test_a_record_is_a_line_for_people():
    rows = {"64 px": {"0.1": 0.02, "1": 0.05}}
    record = {"images": 9000, "best": "0.05", "validation": {"0.05": {"overall": 0.03, **rows}}}
    assert record_line(record) == "9,000 images: validation error 0.03000 (at sigma 0.1 1: 64 px 0.0200 0.0500)"
