"""Checkpoints: one of two is always whole, and none is executed."""

import os
import pickle

import pytest
import torch

from coslice.errors import CosliceError
from coslice.training.learning.checkpoint import load_checkpoint, save_checkpoint


def restored(folder):
    state, _ = load_checkpoint(folder)
    assert state is not None
    return state


def test_a_damaged_checkpoint_gives_way_to_the_one_before(tmp_path):
    assert load_checkpoint(tmp_path) == (None, "")
    for images in (1, 2):
        save_checkpoint(tmp_path, {"images": images, "w": torch.full((1000,), float(images))})
    assert restored(tmp_path)["images"] == 2
    latest = tmp_path / "checkpoint.pt"
    whole = latest.read_bytes()
    middle = whole.index(torch.full((20,), 2.0).numpy().tobytes())
    for damaged in (whole[: len(whole) // 2], b"", whole[: middle + 40] + b"\1" + whole[middle + 41 :]):
        latest.write_bytes(damaged)
        state, notice = load_checkpoint(tmp_path)
        assert (
            state is not None
            and state["images"] == 1
            and "checkpoint.pt is damaged; going on from checkpoint.previous.pt" in notice
        )
    latest.unlink()
    assert restored(tmp_path)["images"] == 1
    (tmp_path / "checkpoint.previous.pt").write_bytes(b"PK")
    with pytest.raises(CosliceError, match="cannot be read"):
        load_checkpoint(tmp_path)


def test_a_checkpoint_that_would_execute_code_is_not_believed(tmp_path):
    class Evil:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "executed"),)

    torch.save({"images": Evil()}, tmp_path / "checkpoint.pt")
    with pytest.raises(CosliceError, match="cannot be read"):
        load_checkpoint(tmp_path)
    (tmp_path / "checkpoint.pt").write_bytes(pickle.dumps(Evil()))
    with pytest.raises(CosliceError, match="cannot be read"):
        load_checkpoint(tmp_path)
    assert not (tmp_path / "executed").exists()
