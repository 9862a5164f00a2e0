"""Priors as files: safetensors whose metadata says everything needed to use them.

The metadata entry "coslice" is a JSON object:

    network, config        architecture and its shape
    data_mean, data_std    of the EDM preconditioning, in the unit window
    window                 {"low", "high", "unit"} that maps to 0 and 1
    plane                  rows and columns of the images
    sigma_range            noise levels trained for
    card                   name, data, licences, training cost, validation losses: for people

Weights are stored in bfloat16. Nothing is ever unpickled.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

import safetensors
import torch
from safetensors.torch import save_file

from coslice.errors import CosliceError
from coslice.io.files import atomic
from coslice.networks.edm import EDMDenoiser
from coslice.networks.unet import UNet, UNetConfig
from coslice.priors.slices import SlicePrior
from coslice.volume import Window

__all__ = ["LoadedPrior", "embedded_priors", "load_prior", "save_prior"]

_STORE = resources.files("coslice") / "data" / "priors"


@dataclass(frozen=True)
class LoadedPrior:
    """A prior and what its file says of it.

    Attributes:
        prior: the denoiser of volumes.
        window: the intensity window it lives in.
        card: name, data, licences, cost, losses.
    """

    prior: SlicePrior
    window: Window
    card: dict


def embedded_priors() -> dict[str, Path]:
    """The priors that come with coslice, by name."""
    return {Path(str(file)).stem: Path(str(file)) for file in _STORE.iterdir() if file.name.endswith(".safetensors")}


def load_prior(name: str, device: torch.device | str = "cpu") -> LoadedPrior:
    """A prior by the name of an embedded one or the path of a file.

    On a CPU that multiplies bfloat16 natively, and on every other device, the network runs in bfloat16; else in
    float32. The denoiser's output is float32 always.

    Raises:
        CosliceError: no such prior, or a file that is not one.
    """
    path = embedded_priors().get(name, Path(name))
    if not path.is_file():
        known = ", ".join(sorted(embedded_priors())) or "none"
        raise CosliceError(f'prior: "{name}" was given, but it is neither an embedded prior ({known}) nor a file.')
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            described = json.loads((file.metadata() or {})["coslice"])
            weights = {key: file.get_tensor(key) for key in file.keys()}
        network = UNet(UNetConfig.from_dict(described["config"]))
        network.load_state_dict(weights)
    except (safetensors.SafetensorError, KeyError, TypeError, json.JSONDecodeError, RuntimeError) as error:
        raise CosliceError(
            f"prior: {path.name} was given, but it is not a coslice prior ({_first_line(error)}); "
            "give an embedded name or a file made by coslice."
        ) from error
    network = network.to(device, _fast_dtype(torch.device(device))).to(memory_format=torch.channels_last)  # pyright: ignore
    denoiser = EDMDenoiser(network, described["data_mean"], described["data_std"]).eval().requires_grad_(False)
    prior = SlicePrior(
        denoiser=denoiser,
        stride=network.stride,
        sigma_range=tuple(described["sigma_range"]),
        plane=described["plane"],
        name=name,
    )
    return LoadedPrior(prior, Window(**described["window"]), described["card"])


def save_prior(
    path: Path, denoiser: EDMDenoiser, window: Window, plane: str, sigma_range: tuple[float, float], card: dict
) -> None:
    """Write a U-Net denoiser as `load_prior` reads it, atomically."""
    network = denoiser.network
    if not isinstance(network, UNet):
        raise CosliceError(f"save_prior: a {type(network).__name__} was given, a UNet is needed.")
    described = {
        "network": "unet",
        "config": network.config.to_dict(),
        "data_mean": denoiser.data_mean,
        "data_std": denoiser.data_std,
        "window": {"low": window.low, "high": window.high, "unit": window.unit},
        "plane": plane,
        "sigma_range": list(sigma_range),
        "card": card,
    }
    weights = {key: value.detach().to(torch.bfloat16).contiguous() for key, value in network.state_dict().items()}
    with atomic(path) as part:
        save_file(weights, part, metadata={"coslice": json.dumps(described)})


def _fast_dtype(device: torch.device) -> torch.dtype:
    if device.type != "cpu":
        return torch.bfloat16
    # Without native bfloat16 products a CPU emulates them, slower than float32.
    native = getattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)()
    return torch.bfloat16 if native else torch.float32


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0][:120]
