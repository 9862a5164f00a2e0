"""Training small enough for tests: a stream of blobs, a network for it, and some steps."""

from __future__ import annotations

import torch
from torch import nn

from coslice.networks.unet import UNetConfig
from coslice.training.learning.trainer import Trainer
from coslice.training.run_settings import TrainingSettings
from coslice.training.sections import View
from coslice.tree import plain

SMALL = UNetConfig(channels=16, multipliers=(1, 2), blocks=1)


class Blobs:
    """A stream of smooth random images, 7 a step, every fifth step of twice the side and 3 images."""

    def images(self, step, batch):
        return 3 if step % 5 == 4 else 7

    def batch(self, step, batch, first=0, count=None):
        total, side = self.images(step, batch), 32 if step % 5 == 4 else 16
        count = total - first if count is None else count
        made = torch.empty(count, 1, side, side)
        for i in range(count):
            generator = torch.Generator().manual_seed(1000 * step + first + i)
            coarse = torch.rand(1, 1, 4, 4, generator=generator)
            made[i] = nn.functional.interpolate(coarse, (side, side), mode="bilinear")[0]
        return made

    def distances(self, step, first, count):
        return torch.arange(first, first + count) + 10.0 * step


def small(**changes):
    """Settings for `Blobs`, whose learning rate is large enough to be seen; `changes` by their names in run.yaml."""
    views = (View(16, (1.0, 1.0), 0.8), View(32, (1.0, 1.0), 0.2, 0.4))
    tree = {"images": 200, "batch": 7, "micro": 2, "precision": "f32", "data_mean": 0.5, "data_std": 0.2}
    tree |= {"network": SMALL, "views": views, "schedule": {"warmup": 10}}
    return TrainingSettings.from_dict({key: plain(value) for key, value in {**tree, **changes}.items()})


def weights(trainer):
    return torch.cat([parameter.detach().reshape(-1) for parameter in trainer.parameters])


def trained(steps=6, threads=2, **changes):
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        trainer = Trainer(small(**changes), Blobs())
        with trainer.working():
            for _ in range(steps):
                trainer.step()
    finally:
        torch.set_num_threads(before)
    return trainer
