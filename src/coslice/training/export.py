"""`python -m coslice.training.export RUN --scans VAL... --out FILE`: EMA weights as a prior, with their card.

The card's losses are root-mean-square denoising errors in HU on slices of scans the run did not see.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import torch

from coslice.networks.edm import EDMDenoiser
from coslice.networks.unet import UNet, UNetConfig
from coslice.priors import load_prior, save_prior
from coslice.training.loop import validation_loss
from coslice.training.slices import SlicePool
from coslice.volume import CT_WINDOW

SIGMA_RANGE = (0.002, 20.0)
SIGMAS = (0.01, 0.03, 0.1, 0.3, 1.0, 3.0)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m coslice.training.export", description=__doc__)
    parser.add_argument("run", type=Path, help="folder of a training run")
    parser.add_argument("--scans", nargs="+", type=Path, required=True, help="validation scans")
    parser.add_argument("--out", type=Path, required=True, help="safetensors file to write")
    parser.add_argument("--card", type=Path, required=True, help="JSON with name, data, licences, hardware")
    parser.add_argument("--stride", type=int, default=4, help="measure every STRIDE-th validation slice")
    options = parser.parse_args()
    state = torch.load(options.run / "checkpoint.pt", weights_only=True)
    recipe = state["recipe"]
    network = UNet(UNetConfig.from_dict(recipe["network"]))
    network.load_state_dict(state["average"])
    denoiser = EDMDenoiser(network, recipe["data_mean"], recipe["data_std"])
    card = json.loads(options.card.read_text()) | {"images": state["images"], "recipe": recipe}
    save_prior(options.out, denoiser, CT_WINDOW, "yx", SIGMA_RANGE, card)

    # Measured as users get it: from the file, in the precision this machine computes in.
    shipped = load_prior(str(options.out)).prior
    pool = SlicePool(options.scans, (CT_WINDOW.low, CT_WINDOW.high), quantum=0.0)
    full = pool.unit(torch.arange(0, len(pool), options.stride), torch.Generator())
    half = torch.nn.functional.interpolate(full, scale_factor=0.5, mode="bilinear", antialias=True)
    card["validation_rmse_hu"] = {
        f"{images.shape[-1]} px": {
            f"{sigma:g}": round(loss * (CT_WINDOW.high - CT_WINDOW.low), 2)
            for sigma, loss in validation_loss(shipped.denoiser, images, SIGMAS).items()
        }
        for images in (half, full)
    }
    save_prior(options.out, denoiser, CT_WINDOW, "yx", SIGMA_RANGE, card)


if __name__ == "__main__":
    main()
