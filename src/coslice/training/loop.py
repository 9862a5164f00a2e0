"""The training loop: EDM denoising loss, EMA weights, checkpoints that resume.

Progress is counted in images. A checkpoint holds everything the next step depends on (weights,
optimizer, EMA, random state), so a run that is killed goes on from its last checkpoint.
"""

from __future__ import annotations

import copy
import json
import math
import os
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from coslice.networks.edm import EDMDenoiser
from coslice.networks.unet import UNet, UNetConfig
from coslice.training.slices import SlicePool

__all__ = ["Recipe", "Trainer", "validation_loss"]


@dataclass(frozen=True)
class Recipe:
    """Everything a training run is made of, besides its data.

    Attributes:
        network: shape of the U-Net.
        batch: images per step.
        learning_rate: of Adam, after a warm-up over `warmup` images.
        decay_from, decay_to: images between which the learning rate falls linearly to zero.
        ema: images over which the averaged weights forget (half of the images seen, at the start).
        sigma_median, sigma_spread: ln(sigma) ~ N(ln(sigma_median), sigma_spread^2).
        data_mean, data_std: of the training images in the unit window.
        parts: a batch is cut into this many parts, one thread each.
        seed: of images, noise and initial weights.
    """

    network: UNetConfig = UNetConfig(blocks=1)
    batch: int = 16
    parts: int = 2
    learning_rate: float = 4e-4
    warmup: int = 4_000
    decay_from: int = 150_000
    decay_to: int = 200_000
    ema: int = 16_000
    sigma_median: float = 0.15
    sigma_spread: float = 1.5
    data_mean: float = 0.19
    data_std: float = 0.19
    seed: int = 0

    def rate(self, images: int) -> float:
        """Learning rate after `images` images."""
        fall = (self.decay_to - images) / max(self.decay_to - self.decay_from, 1)
        return self.learning_rate * min(1.0, (images + self.batch) / self.warmup, max(fall, 0.0))


class Trainer:
    """A run in a folder: `for log in trainer.run(): ...` trains, logs and saves until the rate is zero.

    Args:
        pool: training images.
        recipe: what to train and how.
        folder: holds `checkpoint.pt`, replaced atomically, and `log.jsonl`.
        compiled: fuse the network's small operations with `torch.compile`.
    """

    def __init__(self, pool: SlicePool, recipe: Recipe, folder: Path, compiled: bool = False):
        self.pool, self.recipe, self.folder = pool, recipe, folder
        torch.manual_seed(recipe.seed)
        network = UNet(recipe.network).to(memory_format=torch.channels_last)  # pyright: ignore
        self.denoiser = EDMDenoiser(network, recipe.data_mean, recipe.data_std)
        self.average = copy.deepcopy(network).requires_grad_(False)
        self.optimizer = torch.optim.Adam(network.parameters(), lr=recipe.learning_rate, betas=(0.9, 0.99))
        self.generator = torch.Generator().manual_seed(recipe.seed)
        self.images = 0
        # One thread per part, instead of many threads per operation, does not stall on a busy machine.
        torch.set_num_threads(1)
        self.workers = ThreadPoolExecutor(recipe.parts)
        self.fast: Any = torch.compile(network) if compiled else network
        self.resume()

    def run(self, save_every: float = 300.0, log_every: int = 3_200) -> Iterator[dict]:
        """Train; yield a record every `log_every` images and save every `save_every` seconds."""
        started, saved, since, total, count = time.monotonic(), time.monotonic(), self.images, 0.0, 0
        while self.images < self.recipe.decay_to:
            loss, seen = self.step()
            total, count = total + loss * seen, count + seen
            if count >= log_every:
                speed = (self.images - since) / (time.monotonic() - started)
                record = {"images": self.images, "loss": total / count, "images_per_second": round(speed, 2)}
                with open(self.folder / "log.jsonl", "a") as file:
                    file.write(json.dumps(record) + "\n")
                yield record
                total, count = 0.0, 0
            if time.monotonic() - saved > save_every:
                self.save()
                saved = time.monotonic()
        self.save()

    def step(self) -> tuple[float, int]:
        """One optimizer step; returns its loss and its number of images."""
        recipe, network = self.recipe, self.denoiser.network
        images = self.pool.batch(recipe.batch, self.generator).contiguous(memory_format=torch.channels_last)
        normal = torch.randn(len(images), generator=self.generator)
        sigma = (math.log(recipe.sigma_median) + recipe.sigma_spread * normal).exp().clamp(0.002, 20.0)
        noise = torch.randn(images.shape, generator=self.generator)
        parts = [part.tensor_split(recipe.parts) for part in (images, sigma, noise)]
        losses, gradients = zip(*self.workers.map(self._gradient, *parts), strict=True)
        for parameter, *shares in zip(network.parameters(), *gradients, strict=True):
            parameter.grad = torch.stack(shares).mean(dim=0)
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        for group in self.optimizer.param_groups:
            group["lr"] = recipe.rate(self.images)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        self.images += recipe.batch
        share = recipe.batch / min(recipe.ema, max(self.images / 2, recipe.batch))
        with torch.no_grad():
            for averaged, current in zip(self.average.parameters(), network.parameters(), strict=True):
                averaged.lerp_(current, share)
        return sum(losses) / len(losses), recipe.batch

    def _gradient(self, images: Tensor, sigma: Tensor, noise: Tensor) -> tuple[float, tuple[Tensor, ...]]:
        # Only one size is worth a compilation; the few full-resolution batches run as they are.
        network = self.denoiser.network
        fast = self.fast if images.shape[-1] == self.pool.side else network
        denoiser = EDMDenoiser(fast, self.recipe.data_mean, self.recipe.data_std)
        with torch.autocast("cpu", torch.bfloat16):
            loss = denoiser.loss(images, sigma, noise).mean()
        return float(loss.detach()), torch.autograd.grad(loss, tuple(network.parameters()))

    def save(self) -> None:
        state = {
            "recipe": asdict(self.recipe),
            "images": self.images,
            "network": self.denoiser.network.state_dict(),
            "average": self.average.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "generator": self.generator.get_state(),
        }
        path = self.folder / "checkpoint.pt"
        torch.save(state, path.with_suffix(".part"))
        os.replace(path.with_suffix(".part"), path)

    def resume(self) -> None:
        path = self.folder / "checkpoint.pt"
        if not path.exists():
            return
        state = torch.load(path, weights_only=True)
        self.images = state["images"]
        self.denoiser.network.load_state_dict(state["network"])
        self.average.load_state_dict(state["average"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.generator.set_state(state["generator"])


@torch.no_grad()
def validation_loss(denoiser: nn.Module, images: Tensor, sigmas: Iterable[float], seed: int = 0) -> dict[float, float]:
    """Root-mean-square denoising error of D at each sigma, over images (n, 1, h, w) and fixed noise."""
    result = {}
    for sigma in sigmas:
        generator = torch.Generator().manual_seed(seed)
        squares = []
        for image in images.split(8):
            noise = torch.randn(image.shape, generator=generator)
            denoised = denoiser(image + sigma * noise, torch.full((len(image),), sigma))
            squares.append((denoised.clamp(0, 1) - image).square().mean(dim=(1, 2, 3)))
        result[sigma] = float(torch.cat(squares).mean().sqrt())
    return result
