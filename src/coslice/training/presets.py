"""Published settings of training, by name, for going on from the published networks.

A preset lies below whatever a user says: `--preset diffusionblend --batch 8` is its batch of 8. A published network
takes the one of its family where none is named. What its source does not say is said here.

    diffusionblend    its training code: AdamW (decay 0.01) at a constant 1e-5, batches of 4, no clipping, the last
                      weights; 100,100 steps. Which slices of a scan make a patch was decided when its data were made,
                      which is not released; half of the patches jump here, and none is reversed.
    dds               DDS's networks, as DiffusionBlend's authors fine-tuned them (their A.5): batches of 4, 10 epochs
                      of LIDC-IDRI (100 of the smaller AAPM set). Their optimiser is not stated; it is that of
                      diffusionblend.
    diffusion-mbir    DiffusionMBIR's networks, likewise (A.5): batches of 4, 10 epochs (100 of AAPM); the rest as its
                      configuration has it: Adam at 2e-4 after 5,000 steps of warm-up, gradients clipped to norm 1,
                      averages that keep 0.999 a step, images mirrored left to right. Its code sums the loss over the
                      pixels where this averages, so it clips sooner.
    tpdm              TPDM's networks: 10 epochs of LIDC-IDRI (A.5); the rest as diffusion-mbir, whose code it shares.
"""

from __future__ import annotations

from typing import Any

from coslice.errors import CosliceError

__all__ = ["PRESETS", "family_preset", "preset_tree"]

_AS_IT_IS = {"flip_columns": 0.0, "flip_rows": 0.0, "gain": 0.0, "offset": 0.0, "dequantise": False}
_CONSTANT = {"name": "linear", "warmup": 0, "decay": 0.0}

_BLEND: dict[str, Any] = {
    "images": 400_400,
    "batch": 4,
    "augment": _AS_IT_IS,
    "patches": {"jump": 0.5, "flip": 0.0},
    "optimiser": {"name": "adamw", "learning_rate": 1e-5, "betas": [0.9, 0.999], "weight_decay": 0.01, "clip": None},
    "schedule": _CONSTANT,
    "averages": {"widths": [], "rates": [0.0]},
}
_MBIR: dict[str, Any] = {
    "batch": 4,
    "augment": {**_AS_IT_IS, "flip_columns": 0.5},
    "optimiser": {"name": "adam", "learning_rate": 2e-4, "betas": [0.9, 0.999], "clip": 1.0},
    "schedule": {**_CONSTANT, "warmup": 20_000, "epochs": 10.0},
    "averages": {"widths": [], "rates": [0.999]},
}

PRESETS: dict[str, dict[str, Any]] = {
    "diffusionblend": _BLEND,
    "dds": {**_BLEND, "schedule": {**_CONSTANT, "epochs": 10.0}},
    "diffusion-mbir": _MBIR,
    "tpdm": _MBIR,
}
"""Trees of settings, as in run.yaml."""


def preset_tree(name: str) -> dict[str, Any]:
    """The settings of a preset.

    Raises:
        CosliceError: there is none of this name.
    """
    if name not in PRESETS:
        raise CosliceError(f'train: preset "{name}" was given, but there are {", ".join(PRESETS)}; choose one.')
    return PRESETS[name]


def family_preset(network: str, channels: int) -> str:
    """The preset of a published network, by its name in `coslice.networks.NETWORKS` and its channels."""
    if network == "ncsnpp":
        return "diffusion-mbir"
    return "diffusionblend" if channels > 1 else "dds"
