"""Small networks of the published families, and the files their authors would have written."""

import ast
import gzip
import math
import shutil
from collections import OrderedDict
from pathlib import Path

import numpy as np
import torch

from coslice.networks import GuidedUNet, GuidedUNetConfig, NCSNppConfig

DATA = Path(__file__).parent / "data" / "checkpoints"
FREQUENCIES = "all_modules.0.W"
SMALL_NCSNPP = NCSNppConfig(channels=8, multipliers=(1, 2), blocks=1)
SMALL_GUIDED = GuidedUNetConfig(channels=32, multipliers=(1, 2), attention=(1,), head_channels=16, learn_sigma=False)

SMALL_PATCHES = GuidedUNetConfig(3, channels=32, multipliers=(1, 2), attention=(1,), head_channels=64, classes=4)


def filled(network, seed=0):
    """`network` with every parameter drawn anew: a fresh one is silent."""
    generator = torch.Generator().manual_seed(seed)
    for name, parameter in network.named_parameters():
        if not name.endswith(FREQUENCIES):
            scale = 0.3 if parameter.ndim < 2 else 1.0 / math.sqrt(parameter[0].numel())
            parameter.data = torch.randn(parameter.shape, generator=generator) * scale
    return network.eval().requires_grad_(False)


def names_and_shapes(file):
    """What a published file holds, in its order: {name: shape}, from a list in `DATA`."""
    lines = gzip.decompress((DATA / file).read_bytes()).decode().splitlines()
    return {name: ast.literal_eval(shape) for name, shape in (line.split("\t") for line in lines)}


def write_checkpoints(folder):
    """The two small checkpoints of `DATA`'s reference outputs, and what lies beside them, in `folder`.

    Their weights are the draws they were made of, in the order of their sorted names; see the README there.
    """
    drawn = _drawn(names_and_shapes("adm_tiny_keys.tsv.gz"), seed=5)
    torch.save(OrderedDict(drawn), folder / "adm_tiny.pt")
    names = names_and_shapes("ncsnpp_tiny_keys.tsv.gz")
    table = names.pop("sigmas")
    drawn = _drawn(names, seed=7)
    sigmas = torch.from_numpy(np.exp(np.linspace(np.log(378), np.log(0.01), *table)))
    model = {"module.sigmas": sigmas} | {f"module.{name}": 1.25 * value for name, value in drawn.items()}
    shadow = [value for name, value in drawn.items() if name != FREQUENCIES]
    average = {"decay": 0.999, "num_updates": 0, "shadow_params": shadow}
    torch.save({"model": model, "ema": average, "step": 1234, "optimizer": {}}, folder / "ncsnpp_tiny.pth")
    shutil.copy(DATA / "adm_tiny_config.json", folder)


def _drawn(shapes, seed) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    drawn = dict.fromkeys(shapes, torch.empty(0))  # in the order of the file; drawn in that of sorted names
    for name in sorted(shapes):
        value = torch.randn(shapes[name], generator=generator)
        if name == FREQUENCIES:
            drawn[name] = 16 * torch.randn(shapes[name], generator=generator)
        elif len(shapes[name]) > 1:
            drawn[name] = value / math.prod(shapes[name][1:]) ** 0.5
        else:
            drawn[name] = 1 + 0.1 * value if name.endswith("weight") else 0.05 * value
    return drawn


def published_layout(network, path):
    """What score_sde's training loop saves: other weights in `model`, the network's own as averages without names."""
    trained = [name for name, _ in network.named_parameters() if name != FREQUENCIES]
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
