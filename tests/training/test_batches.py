"""Batches and ranks: a step is the same whoever draws it, and however many share it."""

import math

import numpy as np
import pytest
import torch

from coslice.parallel import Ranks
from coslice.training.levels import SigmaSettings
from coslice.training.supply.batches import BatchQueue
from small_training import Blobs

pytestmark = pytest.mark.usefixtures("one_thread")


def test_batches_drawn_ahead_are_those_drawn_alone():
    feed = BatchQueue(Blobs(), 7, SigmaSettings(), seed=3)
    alone = [feed[step] for step in range(6)]
    for pinned_threads in (1, 4):
        feed._threads = pinned_threads
        with feed.running():
            ahead = [feed[step] for step in (*range(6), 2)]
        for a, b in zip(ahead, [*alone, alone[2]], strict=True):
            assert all(torch.equal(one, other) for one, other in zip(a.tensors, b.tensors, strict=True))


@pytest.mark.parametrize("size", [1, 2, 3, 5, 8])
def test_ranks_share_a_step_without_gap_or_overlap(size):
    for count in (1, 3, 7, 16):
        shares = [Ranks(rank, size).share(count) for rank in range(size)]
        assert [first for first, _ in shares] == list(np.cumsum([0, *(n for _, n in shares)])[:-1])
        assert sum(n for _, n in shares) == count and max(n for _, n in shares) - min(n for _, n in shares) <= 1
    whole = BatchQueue(Blobs(), 7, SigmaSettings(), seed=3)[4]
    parts = [BatchQueue(Blobs(), 7, SigmaSettings(), 3, Ranks(rank, size))[4] for rank in range(size)]
    for name in ("images", "sigma", "noise", "distance"):
        assert torch.equal(torch.cat([getattr(part, name) for part in parts]), getattr(whole, name))


def test_sigmas_are_lognormal_within_their_ends():
    feed = BatchQueue(Blobs(), 7, SigmaSettings(0.2, 1.0, 0.05, 1.0), seed=0)
    logs = torch.cat([feed.draw(step, 0, 7).sigma for step in range(400) if step % 5 != 4]).log()
    inside = (logs > math.log(0.051)) & (logs < math.log(0.99))
    assert float(logs.min()) >= math.log(0.05) - 1e-6 and float(logs.max()) <= 1e-6
    assert float(logs[inside].median()) == pytest.approx(math.log(0.2), abs=0.1)
