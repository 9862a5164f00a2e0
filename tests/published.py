"""Small networks of the published families, and the files their authors would have written."""

import math
from pathlib import Path

import numpy as np
import torch

from coslice.networks.guided_diffusion import GuidedUNet, GuidedUNetConfig
from coslice.networks.ncsnpp import NCSNppConfig

DATA = Path(__file__).parent / "data" / "checkpoints"
SMALL_NCSNPP = NCSNppConfig(channels=8, multipliers=(1, 2), blocks=1)
SMALL_GUIDED = GuidedUNetConfig(channels=32, multipliers=(1, 2), attention=(1,), head_channels=16, learn_sigma=False)

SMALL_PATCHES = GuidedUNetConfig(3, channels=32, multipliers=(1, 2), attention=(1,), head_channels=64, classes=4)


def filled(network, seed=0):
    """`network` with every parameter drawn anew: a fresh one is silent."""
    generator = torch.Generator().manual_seed(seed)
    for name, parameter in network.named_parameters():
        if not name.endswith("all_modules.0.W"):
            scale = 0.3 if parameter.ndim < 2 else 1.0 / math.sqrt(parameter[0].numel())
            parameter.data = torch.randn(parameter.shape, generator=generator) * scale
    return network.eval().requires_grad_(False)


def published_layout(network, path):
    """What score_sde's training loop saves: other weights in `model`, the network's own as averages without names."""
    trained = [name for name, _ in network.named_parameters() if name != "all_modules.0.W"]
    state = network.state_dict()
    # As training leaves them: of the same size as their averages, but no multiple of them.
    model = {f"module.{name}": (value.roll(1) if name in trained else value) for name, value in state.items()}
    average = {"decay": 0.999, "num_updates": 7, "shadow_params": [state[name] for name in trained]}
    torch.save({"optimizer": {"state": {}}, "model": model, "ema": average, "step": 7}, path)


def reference(name):
    with np.load(DATA / name) as arrays:
        return {key: torch.from_numpy(arrays[key]) for key in arrays}


def blend_checkpoint(path, config=SMALL_PATCHES):
    """What DiffusionBlend's training loop saves, a guided-diffusion network of three slices with four classes."""
    network = filled(GuidedUNet(config))
    torch.save({"state_dict": network.state_dict(), "iterations": 7}, path)
    return network
