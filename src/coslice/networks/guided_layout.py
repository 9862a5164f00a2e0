"""What names and shapes of published guided-diffusion weights tell about the network.

`input_blocks` and `output_blocks` both number levels x (blocks + 1) stages. The first stage of `output_blocks` that
doubles the resolution is number `blocks`; it ends in a second residual block or a convolution. Where pooling, which has
no parameters, changes the resolution instead, the numbers in `input_blocks` have gaps. Widths, attention, classes and
the kind of embedding are plain to see. How many heads share the channels of an attention, and in which order they lie,
leaves no trace and has to come from a configuration file, or be assumed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from coslice.errors import CosliceError
from coslice.networks.configuration import ConfigEntry, Settings, flag, integer, missing, numbers, tidy

__all__ = ["ASSUMED", "IDLE", "STEPS", "TITLE", "entries", "infer", "usual_heads"]

TITLE = "guided-diffusion U-Net"

STEPS = ("diffusion_steps", "num_diffusion_timesteps")
"""What configurations call the number of steps."""

ASSUMED = {
    "new_attention_order": (
        "The weights do not tell how queries, keys and values lie; head by head (the legacy order) was assumed."
    ),
}
"""Fields that may stay unknown, and the sentence that says what was assumed."""

_WORDS = {
    "channels": (integer, "num_channels", "model_channels", "channels"),
    "blocks": (integer, "num_res_blocks", "blocks"),
    "image_channels": (integer, "in_channels", "image_channels"),
    "scale_shift": (flag, "use_scale_shift_norm", "scale_shift"),
    "learn_sigma": (flag, "learn_sigma"),
    "new_attention_order": (flag, "use_new_attention_order", "new_attention_order"),
    "classes": (integer, "num_classes", "classes"),
    "resampling": (str, "resampling"),
    "attention": (numbers, "attention"),
}

IDLE: dict[str, tuple[Any, ...]] = {
    **dict.fromkeys(("type", "name", "dropout", "use_fp16", "use_checkpoint", "ema", "ema_rate", "seed", "device"), ()),
    **dict.fromkeys(("var_type", "sigma_small", "timestep_respacing", "use_kl", "rescale_learned_sigmas"), ()),
    **dict.fromkeys(("dataset", "root", "save_path", "random_flip", "lr", "batch_size", "channels"), ()),
    **dict.fromkeys(("num_heads", "heads", "num_classes", "resamp_with_conv", "conv_resample"), ()),
    "dims": (2,),
    "uniform_dequantization": (False,),
    "use_spacecode": (False,),
}
"""Entries that say nothing a reader needs, with the values of which that holds; without any, all. `channels` is the
images' where another word says the network's; of images with three slices the published code leaves it at 1."""

_USUAL_MULTIPLIERS = {
    512: (0.5, 1, 1, 2, 2, 4, 4),
    256: (1, 1, 2, 2, 4, 4),
    128: (1, 1, 2, 3, 4),
    64: (1, 2, 3, 4),
}

Shape = tuple[int, ...]


def infer(shapes: Mapping[str, Shape]) -> dict[str, Any]:
    """Fields of `GuidedUNetConfig` that shapes (name -> shape) tell.

    Raises:
        CosliceError: a parameter is missing without which they tell too little; channels that fit no such network.
    """
    inputs, outputs = _stages(shapes, "input_blocks"), _stages(shapes, "output_blocks")
    resampling, blocks = _resampling(shapes, inputs, outputs)
    levels, rest = divmod(max(outputs, default=-1) + 1, blocks + 1)
    if rest or not levels or not blocks:
        raise CosliceError(
            f"{TITLE}: the weights have {max(outputs, default=-1) + 1} output blocks with {blocks} to a level before "
            "the resolution doubles, which makes no such network."
        )
    channels = _shape(shapes, "time_embed.0.weight")[1]
    first = _shape(shapes, "input_blocks.0.0.weight")
    last = _shape(shapes, "out.2.weight")
    if last[0] not in (first[1], 2 * first[1]):
        raise CosliceError(
            f"{TITLE}: {last[0]} channels come out for {first[1]} that go in, but as many or twice as many are needed."
        )
    starts = [f"input_blocks.{1 + level * (blocks + 1)}." for level in range(levels)]
    widths = [_shape(shapes, start + "0.in_layers.2.weight")[0] for start in starts]
    embedded = _shape(shapes, starts[0] + "0.emb_layers.1.weight")[0]
    return {
        "image_channels": first[1],
        "channels": channels,
        "multipliers": tuple(tidy(width / channels) for width in widths),
        "blocks": blocks,
        "attention": tuple(level for level, start in enumerate(starts) if _any(shapes, start + "1.")),
        "scale_shift": embedded == 2 * widths[0],
        "resampling": resampling,
        "classes": shapes.get("label_emb.weight", (0,))[0],
        "learn_sigma": last[0] == 2 * first[1],
    }


def _resampling(shapes: Mapping[str, Shape], inputs: set[int], outputs: set[int]) -> tuple[str, int]:
    """The kind of resampling, and residual blocks per level."""
    for number in sorted(outputs):
        for place in (1, 2):
            stage = f"output_blocks.{number}.{place}."
            if _any(shapes, stage + "in_layers.") or _any(shapes, stage + "emb_layers."):
                return "residual", number
            if _any(shapes, stage + "conv."):
                return "conv", number
    gaps = sorted(set(range(1, max(inputs, default=0))) - inputs)
    # Without any, there is a single level, which is not resampled.
    return ("pool", gaps[0] - 1) if gaps else ("residual", max(inputs, default=0))


def _stages(shapes: Mapping[str, Shape], head: str) -> set[int]:
    parts = (name.split(".") for name in shapes if name.startswith(head + "."))
    return {int(part[1]) for part in parts if part[1].isdecimal()}


def _any(shapes: Mapping[str, Shape], start: str) -> bool:
    return any(name.startswith(start) for name in shapes)


def _shape(shapes: Mapping[str, Shape], name: str) -> Shape:
    if name not in shapes:
        raise missing(TITLE, name)
    return (*shapes[name], 0, 0)


def entries(settings: Settings, inferred: Mapping[str, Any]) -> list[ConfigEntry]:
    """What a configuration file says, in the words of guided diffusion or in ours.

    Raises:
        CosliceError: a value that cannot be read, or a network that predicts something else.
    """
    found = [entry for field, (kind, *words) in _WORDS.items() for entry in settings.entries(field, kind, *words)]
    if settings.value(flag, "predict_xstart"):
        raise CosliceError(
            f"{settings.source}: predict_xstart was given, but only networks that predict noise can be read."
        )
    for word in ("is_complex", "logit_transform"):
        if settings.value(flag, word):
            raise CosliceError(
                f"{settings.source}: {word} was given, but only networks of images with one value a pixel, as it is, "
                "can be read."
            )
    if settings.value(flag, "rescale_timesteps") and settings.value(integer, *STEPS) not in (None, 1000):
        raise CosliceError(
            f"{settings.source}: rescale_timesteps was given with other than 1000 steps, but only networks that are "
            "asked for whole steps can be read."
        )
    size = settings.value(integer, "image_size")
    found += settings.entries("multipliers", numbers, "channel_mult", "multipliers")
    # An empty channel_mult stands for what is usual at that size.
    found = [
        replace(entry, value=entry.value or _USUAL_MULTIPLIERS.get(size)) if entry.field == "multipliers" else entry
        for entry in found
    ]
    found = [entry for entry in found if entry.value is not None]
    resolutions = settings.entries("attention", numbers, "attention_resolutions")
    if size and resolutions:
        factors = [size // number for number in resolutions[0].value if number]
        levels = tuple(n for n in range(len(inferred["multipliers"])) if 2**n in factors)
        found.append(replace(resolutions[0], value=levels))
    for entry in settings.entries("classes", flag, "class_cond"):
        if not entry.value:  # then the number of classes is idle talk
            found = [other for other in found if other.field != "classes"]
        if entry.value != bool(inferred["classes"]):
            found.append(replace(entry, value=None if entry.value else 0))
    for entry in settings.entries("learn_sigma", integer, "out_channels"):
        if entry.value != inferred["image_channels"]:  # else it is the images', and learn_sigma may double it
            found.append(replace(entry, value=entry.value == 2 * inferred["image_channels"]))
    return found + _resampling_entries(settings) + _head_entries(settings)


def _resampling_entries(settings: Settings) -> list[ConfigEntry]:
    by_blocks = settings.entries("resampling", flag, "resblock_updown")
    by_conv = settings.entries("resampling", flag, "resamp_with_conv", "conv_resample")
    if by_blocks and by_blocks[0].value:
        return [replace(by_blocks[0], value="residual")]
    if by_blocks and by_conv:
        return [replace(by_conv[0], value="conv" if by_conv[0].value else "pool")]
    return []


def _head_entries(settings: Settings) -> list[ConfigEntry]:
    """Heads are counted, unless the channels of one are: -1 means that they are not."""
    found = settings.entries("heads", integer, "num_heads", "heads")
    found += settings.entries("heads_up", _counted, "num_heads_upsample", "heads_up")
    sized = settings.entries("head_channels", _counted, "num_head_channels", "head_channels")
    if not sized and found:
        sized = [ConfigEntry("head_channels", found[0].word, found[0].given, None)]
    return found + sized


def _counted(given: Any) -> int | None:
    number = integer(given)
    return number if number > 0 else None


def usual_heads(widths: tuple[int, ...]) -> tuple[dict[str, Any], str]:
    """Heads where no file says: fields, and a sentence that says what was assumed for attentions of such widths."""
    if all(width % 64 == 0 for width in widths):
        fields, spoken = {"head_channels": 64}, "64 channels a head"
    else:  # multiples of 32 all the same
        fields, spoken = {"head_channels": None, "heads": 4}, "4 heads"
    return fields, f"The weights do not tell how many heads attention has; {spoken} was assumed."
