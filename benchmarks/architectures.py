"""Which network makes the best prior for its cost: trained alike on the same images, then measured.

    python benchmarks/architectures.py SCANS... --test SCAN.nii.gz --out DIR [--images 6400] [--only NAME ...]

Every network has the EDM preconditioning, the optimiser, the images, noise levels and noise of all the others. The
first three cost about the same per slice; the published NCSN++ is far too large to be trained here and stands beside
them with its cost only. Printed for each: parameters, multiplications per 256 x 256 slice, slices denoised per second
on this machine, the denoising error on slices of the test scan, and the PSNR of its DDS+ISCS reconstruction from 30
views. Trained networks are kept in --out, so an interrupted benchmark goes on.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.flop_counter import FlopCounterMode

from coslice.io.files import write_json
from coslice.io.nifti import read_nifti
from coslice.metrics import evaluate
from coslice.networks import NCSNpp, NCSNppConfig, UNet, UNetConfig
from coslice.preparation import Preparation
from coslice.priors import SlicePrior
from coslice.problems import simulate
from coslice.runs import run
from coslice.training.collection.pack import make_pack
from coslice.training.collection.scans import find_scans
from coslice.training.learning.checkpoint import load_checkpoint, save_checkpoint
from coslice.training.learning.objective import EDMObjective
from coslice.training.learning.trainer import Trainer, measured_moments
from coslice.training.learning.validation import Examples, validate
from coslice.training.run_settings import TrainingSettings
from coslice.training.sections import AugmentSettings, AverageSettings, OptimiserSettings, RateSettings
from coslice.training.supply.slice_stream import SliceStream
from coslice.training.supply.views import default_views

SIGMAS = (0.03, 0.1, 0.3, 1.0)


class AsNoiseLabelled(nn.Module):
    """NCSN++ behind the U-Net's signature: F(x, c) with c = ln(sigma)/4."""

    def __init__(self, config: NCSNppConfig):
        super().__init__()
        self.network = NCSNpp(config)
        # Never trained, so no parameter to a trainer that trains all of them.
        features: Any = self.network.all_modules[0]
        frequencies = features.W.detach()
        del features.W
        features.register_buffer("W", frequencies)
        self.stride = config.stride

    def forward(self, image: Tensor, label: Tensor) -> Tensor:
        return self.network(image, (4 * label.float()).exp())


def _ncsnpp(channels: int) -> Callable[[], nn.Module]:
    # Unscaled and centred: the preconditioning does what these do for a score network.
    shape = NCSNppConfig(
        channels=channels, multipliers=(1, 2, 2, 2), blocks=1, attention=(3,), scale_by_sigma=False, centred=True
    )
    return lambda: AsNoiseLabelled(shape)


NETWORKS: dict[str, Callable[[], nn.Module]] = {
    "U-Net, unfolded, 24": lambda: UNet(UNetConfig(channels=24, blocks=1, fold=1)),
    "U-Net, 2 x 2 folded, 48": lambda: UNet(UNetConfig(channels=48, blocks=1, fold=2)),
    "U-Net, 4 x 4 folded, 96": lambda: UNet(UNetConfig(channels=96, multipliers=(1, 2, 3), blocks=1, fold=4)),
    "NCSN++-like, 24": _ncsnpp(24),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("scans", nargs="+", type=Path, help="CT scans to train on")
    parser.add_argument("--test", type=Path, required=True, help="CT scan to measure on")
    parser.add_argument("--slices", type=int, nargs=2, default=(100, 116), metavar=("FIRST", "LAST"))
    parser.add_argument("--size", type=int, default=128, help="of the slices reconstructed")
    parser.add_argument("--images", type=int, default=6_400)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--only", nargs="+", default=list(NETWORKS), choices=list(NETWORKS), metavar="NAME")
    options = parser.parse_args()
    pack = make_pack(find_scans(options.scans, strict=True), "yx", "ct", options.out / "slices")
    rows = {}
    for name in options.only:
        kept = options.out / f"{name.replace(' ', '-').replace(',', '')}.json"
        if not kept.exists():
            write_json(kept, measure(name, pack, options))
        rows[name] = json.loads(kept.read_text(encoding="utf-8"))
    show({**rows, "NCSN++ as published": cost(NCSNpp, NCSNppConfig())})


def measure(name: str, pack, options) -> dict:
    """Train one network and measure it."""
    stream = SliceStream(pack, pack.names, default_views(pack), AugmentSettings(), 0)
    settings = TrainingSettings(
        images=options.images,
        views=stream.views,
        optimiser=OptimiserSettings("muon", 1.2e-3),
        schedule=RateSettings("linear", warmup=1_600, decay=0.4),
        averages=AverageSettings((0.1,)),
    ).with_moments(*measured_moments(stream, 16))
    torch.manual_seed(0)
    trainer = Trainer(settings, stream, objective=EDMObjective(settings, NETWORKS[name]()))
    folder = options.out / name.replace(" ", "-").replace(",", "")
    folder.mkdir(exist_ok=True)
    if (folder / "checkpoint.pt").exists():
        trainer.load(load_checkpoint(folder)[0])
    began, saved = time.perf_counter(), time.perf_counter()
    with trainer.working():
        while trainer.images < settings.images:
            trainer.step()
            if time.perf_counter() - saved > 60 or trainer.images >= settings.images:
                save_checkpoint(folder, trainer.state())
                saved = time.perf_counter()
                rate = trainer.images / (saved - began)
                Console(stderr=True).print(f"{name}: {trainer.images} images, {rate:.2f}/s")
    denoiser = trainer.averaged(0)
    scan = read_nifti(options.test)
    prior = SlicePrior(denoiser.to(torch.bfloat16), getattr(denoiser.network, "stride", 16), (0.002, 20.0))
    study = simulate(scan, window=prior.window_for, preparation=Preparation(tuple(options.slices), size=options.size))
    began = time.perf_counter()
    result = run(study.problem, "dds", prior)
    seconds = time.perf_counter() - began
    whole = prior.window_for(scan).to_unit(scan.data[options.slices[0] : options.slices[1] : 4])[:, None]
    halved = functional.avg_pool2d(whole, 2)
    table = validate(denoiser, Examples(halved, torch.full((len(halved),), scan.spacing[0])), SIGMAS)
    metrics = evaluate(result.reconstruction, study.unit, lpips=False)
    known = {"rmse": {f"{sigma:g}": table[sigma] for sigma in SIGMAS}, "images": trainer.images, "seconds": seconds}
    planes = {plane: metrics[plane]["psnr"] for plane in ("axial", "coronal", "sagittal")}
    return {**cost(lambda: NETWORKS[name]()), **known, "psnr": planes}


def cost(build: Callable[..., nn.Module], *arguments) -> dict:
    """Parameters, and multiply-adds for a 256 x 256 slice, counted without doing them."""
    with torch.device("meta"):
        network = build(*arguments)
        image, level = torch.zeros(1, 1, 256, 256), torch.ones(1)
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            network(image, level)
    return {"parameters": sum(p.numel() for p in network.parameters()), "flops": counter.get_total_flops()}


def show(rows: dict[str, dict]) -> None:
    table = Table(box=SIMPLE_HEAD)
    sigmas = [f"RMSE at {sigma:g}" for sigma in SIGMAS]
    for column in ("network", "parameters", "GFLOP/slice", *sigmas, "axial", "coronal", "sagittal"):
        table.add_column(column)
    for name, row in rows.items():
        rmse = [f"{value:.4f}" for value in row.get("rmse", {}).values()] or ["-"] * len(SIGMAS)
        psnr = [f"{value:.2f}" for value in row.get("psnr", {}).values()] or ["-"] * 3
        table.add_row(name, f"{row['parameters'] / 1e6:.1f} M", f"{row['flops'] / 1e9:.1f}", *rmse, *psnr)
    Console(width=160).print(table)


if __name__ == "__main__":
    main()
