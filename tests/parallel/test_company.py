"""What a rank is told of its machine: which accelerator is its own, and how many threads."""

import pytest
import torch

from coslice import devices
from coslice.cli.torchrun import refuse_ranks
from coslice.errors import CosliceError
from coslice.parallel import ALONE, Ranks, company, joined


@pytest.fixture
def on_two_gpus(monkeypatch):
    """Rank 3 of 4, the second one on a machine with two GPUs that nobody asks for memory."""
    monkeypatch.setattr(devices, "company", lambda: Ranks(3, 4, 1))
    monkeypatch.setattr(devices, "_device", torch.device)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)


def test_each_rank_has_an_accelerator_of_its_own(on_two_gpus, monkeypatch):
    assert devices.chosen_device("cuda") == torch.device("cuda", 1)
    assert devices.chosen_device("cpu") == torch.device("cpu")
    with pytest.raises(CosliceError, match="each of them needs an accelerator of its own"):
        devices.chosen_device("cuda:0")
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    with pytest.raises(CosliceError, match="number 2 on its machine, which has 1"):
        devices.chosen_device("cuda")


def test_a_process_that_torchrun_did_not_start_is_alone(monkeypatch):
    for name in ("RANK", "WORLD_SIZE"):
        monkeypatch.delenv(name, raising=False)
    with joined() as ranks:
        assert ranks == ALONE == company()
    monkeypatch.setenv("RANK", "0")
    monkeypatch.setenv("WORLD_SIZE", "1")
    with joined() as ranks:
        assert ranks.size == 1
        refuse_ranks("demo")


def test_an_environment_that_is_no_torchrun_is_refused(monkeypatch):
    monkeypatch.setenv("RANK", "first")
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(CosliceError, match="start them by torchrun"), joined():
        pass


def test_idle_cores_are_said(monkeypatch):
    monkeypatch.setattr("coslice.parallel.ranks.usable_cores", lambda: 16)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 1)
    assert "14 are idle, which OMP_NUM_THREADS=8 would use" in Ranks(0, 2).description
    monkeypatch.setattr(torch, "get_num_threads", lambda: 8)
    assert Ranks(0, 2).description == "2 ranks share the work, each with 8 threads of a CPU."
