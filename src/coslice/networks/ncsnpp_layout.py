"""What names and shapes of published NCSN++ weights tell about the network.

`all_modules.N` counts modules in order of use, and the names below N give each away:

    W                              Fourier features
    weight (2 axes)                a dense layer
    GroupNorm_0, GroupNorm_1, ...  a residual block; resampling ones have the shortcut Conv_2 without changing width
    GroupNorm_0, NIN_0..3          attention
    Conv                           the shrunken picture joined to the features
    Conv_0 alone, Conv2d_0         a pyramid's convolution, without or with the FIR filter
    weight (1 axis), (4 axes)      a normalisation, a convolution: towards the output

Blocks per level are those before the first resampling; levels are the resamplings downwards and one. The rest
(skip_rescale, the filter, ...) leaves no trace and has to come from a configuration file, or be assumed as published.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from torch import Tensor

from coslice.errors import CosliceError
from coslice.escapes import shown
from coslice.networks.configuration import ConfigEntry, Settings, flag, integer, missing, numbers, tidy

__all__ = ["ASSUMED", "IDLE", "TITLE", "entries", "infer"]

TITLE = "NCSN++"

ASSUMED = {
    "fir": "The weights do not tell how images are resampled; the FIR filter 1, 3, 3, 1 was assumed.",
    "skip_rescale": "The weights do not tell whether sums of branches are divided by sqrt(2); they were assumed to be.",
    "scale_by_sigma": "The weights do not tell whether the output is divided by sigma; that it is was assumed.",
    "sigma_max": "The weights hold no table of noise levels; 2000 from 0.01 to 378 were assumed.",
}
"""Fields that may stay unknown, and the sentence that says what was assumed."""

_WORDS = {
    "channels": (integer, "nf"),
    "blocks": (integer, "num_res_blocks"),
    "image_channels": (integer, "num_channels"),
    "embedding": (str, "embedding_type"),
    "progressive_input": (str, "progressive_input"),
    "progressive": (str, "progressive"),
    "fir": (flag, "fir"),
    "skip_rescale": (flag, "skip_rescale"),
    "scale_by_sigma": (flag, "scale_by_sigma"),
    "centred": (flag, "centered"),
    "sigma_min": (float, "sigma_min"),
    "sigma_max": (float, "sigma_max"),
    "scales": (integer, "num_scales"),
    "fourier_scale": (float, "fourier_scale"),
}

_KINDS: dict[str, tuple[Any, ...]] = {
    "resblock_type": ("biggan",),
    "normalization": ("GroupNorm",),
    "nonlinearity": ("swish", "silu"),
    "attention_type": ("ddpm",),
    "conditional": (True,),
    "is_complex": (False,),
    "logit_transform": (False,),
}
"""Entries of which only these values can be read."""

IDLE: dict[str, tuple[Any, ...]] = {
    **dict.fromkeys(("beta_min", "beta_max", "dropout", "ema_rate", "init_scale", "resamp_with_conv", "conv_size"), ()),
    **dict.fromkeys(("name", "random_flip", "seed", "device", "dataset", "root", "save_path", "category"), ()),
    **dict.fromkeys(("image_height", "image_width", "tfrecords_path", "lr", "batch_size"), ()),
    "is_multi": (False,),
    "uniform_dequantization": (False,),
}
"""Entries that say nothing a reader needs, with the values of which that holds; without any, all."""

Shape = tuple[int, ...]


def infer(shapes: Mapping[str, Shape], sigmas: Tensor | None) -> dict[str, Any]:
    """Entries of `NCSNppConfig.from_dict` that shapes (name -> shape) and the table of noise levels tell.

    Raises:
        CosliceError: a parameter is missing without which they tell too little.
    """
    modules = _modules(shapes)
    fourier = "W" in modules.get(0, {}) or len(modules.get(3, {}).get("weight", ())) == 4
    first = 3 if fourier else 2
    start = modules.get(first, {}).get("weight")
    if start is None or len(start) != 4:
        raise missing(TITLE, f"all_modules.{first}.weight")
    order = sorted(number for number in modules if number > first)
    residual = [number for number in order if _is_residual(modules[number])]
    resampling = [number for number in residual if _resamples(modules[number])]
    levels = (len(resampling) + 1) // 2 + 1
    blocks = sum(number < resampling[0] for number in residual) if resampling else (len(residual) - 3) // 2
    firsts = residual[:: blocks + 1][:levels] if blocks > 0 else []
    if len(firsts) < levels:
        raise CosliceError(f"{TITLE}: the weights have {len(residual)} residual blocks, which make no such network.")
    inferred: dict[str, Any] = {
        "image_channels": start[1],
        "channels": start[0],
        "multipliers": tuple(tidy(_widths(modules[number])[1] / start[0]) for number in firsts),
        "blocks": blocks,
        "attention": tuple(level for level, number in enumerate(firsts) if _is_attention(modules.get(number + 1, {}))),
        "embedding": "fourier" if fourier else "positional",
    }
    if sigmas is not None and sigmas.ndim == 1 and len(sigmas) > 1:
        ends = (float(f"{float(value):.6g}") for value in (sigmas.max(), sigmas.min()))
        inferred.update(zip(("sigma_max", "sigma_min"), ends, strict=True), scales=len(sigmas))
    middle = residual[levels * (blocks + 1) - 1]
    inferred |= _pyramid_in(modules, resampling[0], modules[firsts[1]]) if resampling else {"progressive_input": "none"}
    return inferred | _pyramid_out(modules, order, middle, levels)


def _pyramid_in(modules: dict[int, dict[str, Shape]], resampling: int, deeper: dict[str, Shape]) -> dict[str, Any]:
    """`progressive_input`, from what follows the first resampling, and the first block of the level below."""
    # A joined picture is shrunken first, by a module without parameters.
    joined = modules.get(resampling + 2, {}) if resampling + 1 not in modules else {}
    below = modules.get(resampling + 1, {})
    if any(leaf.startswith("Conv.") for leaf in joined):
        width = (joined.get("Conv.weight") or joined.get("Conv.bias") or (0,))[0]
        combined = "cat" if _widths(deeper)[0] == 2 * width else "sum"
        return {"progressive_input": "input_skip", "progressive_combine": combined}
    if any(leaf.startswith("Conv2d_0.") for leaf in below):
        return {"progressive_input": "residual", "fir": True}
    if any(leaf.startswith("Conv_0.") for leaf in below) and not _is_residual(below):
        return {"progressive_input": "residual", "fir": False}
    return {"progressive_input": "none"}


def _pyramid_out(modules: dict[int, dict[str, Shape]], order: list[int], middle: int, levels: int) -> dict[str, Any]:
    """`progressive`, from the modules after the middle's first block."""
    later = [modules[number] for number in order if number > middle]
    outputs = [module for module in later if len(module.get("weight", ())) == 4]
    convs = [m for m in later if not _is_residual(m) and ("Conv2d_0.weight" in m or "Conv_0.weight" in m)]
    if convs:
        return {"progressive": "residual", "fir": "Conv2d_0.weight" in convs[0]}
    if len(outputs) > 1:
        return {"progressive": "output_skip" if levels > 1 else "residual"}
    return {"progressive": "none"}


def _modules(shapes: Mapping[str, Shape]) -> dict[int, dict[str, Shape]]:
    modules: dict[int, dict[str, Shape]] = {}
    for name, shape in shapes.items():
        head, _, rest = name.partition(".")
        number, _, leaf = rest.partition(".")
        if head == "all_modules" and number.isdecimal():
            modules.setdefault(int(number), {})[leaf] = shape
    return modules


# One missing or misnamed parameter must not hide what a module is: the strict check is to name it afterwards.
def _is_residual(module: dict[str, Shape]) -> bool:
    return any(leaf.startswith(("GroupNorm_1.", "Dense_0.", "Conv_1.")) for leaf in module)


def _is_attention(module: dict[str, Shape]) -> bool:
    return any(leaf.startswith("NIN_") for leaf in module) and not _is_residual(module)


def _resamples(module: dict[str, Shape]) -> bool:
    width_in, width_out = _widths(module)
    return width_in == width_out and any(leaf.startswith("Conv_2.") for leaf in module)


def _widths(block: dict[str, Shape]) -> tuple[int, int]:
    """Channels into and out of a residual block."""
    into = block.get("GroupNorm_0.weight") or block.get("GroupNorm_0.bias") or (0,)
    out = block.get("GroupNorm_1.weight") or block.get("GroupNorm_1.bias") or (0,)
    return into[0], out[0]


def entries(settings: Settings, inferred: Mapping[str, Any]) -> list[ConfigEntry]:
    """What a configuration file says, in the words of score_sde or in ours.

    Raises:
        CosliceError: a value that cannot be read, or a kind of network that is not this one.
    """
    found = [entry for field, (kind, word) in _WORDS.items() for entry in settings.entries(field, kind, word, field)]
    found += settings.entries("fir_kernel", numbers, "fir_kernel")
    found += settings.entries("progressive_combine", str, "progressive_combine")
    found += settings.entries("attention", numbers, "attention")
    found += settings.entries("multipliers", numbers, "ch_mult", "multipliers")
    size = settings.value(integer, "image_size")
    resolutions = settings.entries("attention", numbers, "attn_resolutions")
    if size and resolutions:
        levels = tuple(n for n in range(len(inferred["multipliers"])) if size // 2**n in resolutions[0].value)
        found.append(replace(resolutions[0], value=levels))
    for word, known in _KINDS.items():
        value = settings.get(word)
        if value is not None and str(value[1]).lower() not in [str(one).lower() for one in known]:
            raise CosliceError(
                f"{settings.source}: {word} {shown(value[1])} was given, but only networks with {known[0]} can be read."
            )
    sde = settings.inside("training", "sde") or settings.value(str, "sde")
    if sde not in (None, "vesde"):
        raise CosliceError(
            f"{settings.source}: sde {shown(sde)} was given, but only NCSN++ of vesde, variance exploding, can be read."
        )
    if inferred["progressive_input"] != "input_skip":  # then nothing is combined
        found = [entry for entry in found if entry.field != "progressive_combine"]
    return found
