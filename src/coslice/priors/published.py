"""Checkpoints as their authors left them.

Two families are read, from the files that training wrote:

    ncsnpp              score_sde's NCSN++: {"model", "ema": {"shadow_params"}, ...}, or a plain state dict
    guided-diffusion    OpenAI's U-Net: a plain state dict, or one wrapped in a dict of a training framework

The averaged (EMA) weights are the ones that sample well, so they are taken where there are any; score_sde keeps them as
a list without names, in the order of the trained parameters of "model". The network's shape is inferred from names and
shapes, the network built, and every name and shape compared: weights fit exactly or are refused. What leaves no trace
in the weights comes from a configuration file: the one given, else one beside the checkpoint (NAME_config.json,
NAME.json, NAME.yaml, config.json, config.yaml). It may not contradict the weights. What neither says is assumed as
published, and `Published.notes` says so.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from coslice.errors import CosliceError
from coslice.escapes import shown as shown_value
from coslice.networks import NETWORKS, guided_layout, ncsnpp_layout
from coslice.networks.configuration import ConfigEntry, Settings, agrees, side
from coslice.networks.guided_config import GuidedUNetConfig
from coslice.networks.limits import check_room
from coslice.networks.ncsnpp_config import NCSNppConfig, noise_levels
from coslice.priors.checkpoint_files import check_sizes, read_checkpoint
from coslice.priors.configurations import settings_of
from coslice.priors.denoisers import CENTRED, RAW, Betas, InputRange, VEDenoiser, VPDenoiser
from coslice.priors.filling import check_fit, filled, some
from coslice.priors.foreign_networks import ForeignConfig
from coslice.priors.origins import UNKNOWN, Shown, origin_of, spoken
from coslice.priors.step_tables import StepTable

__all__ = ["FORMATS", "Published", "read_published", "unwrapped"]

FORMATS = ("auto", "ncsnpp", "guided-diffusion")

_MARKS = {"all_modules": "ncsnpp", "input_blocks": "guided-diffusion"}
_AVERAGED = ("ema", "model_ema", "ema_model", "ema_state_dict", "state_dict_ema", "params_ema")
_TRAINED = ("state_dict", "model", "model_state_dict", "network", "net", "unet", "params")
_UNTRAINED = ("sigmas", "all_modules.0.W")


@dataclass(frozen=True)
class Published:
    """A published network, ready to use, and what is known of it.

    Attributes:
        family: "ncsnpp" or "guided-diffusion", the name in `coslice.networks.NETWORKS`; or one in
            `coslice.priors.foreign_networks.FOREIGN`.
        network: float32, in eval mode, its weights frozen. NCSN++: (x, sigma) -> score; guided diffusion:
            (x, t) or, with classes, (x, t, y) -> noise.
        config: its shape.
        shown: what its images were, where anything says it.
        betas: the variances of a variance-preserving network; None for the others.
        image_size: side in pixels of the images it was trained on, where a configuration file says it.
        notes: sentences on what the weights do not tell and what was assumed.
        inferred: those of them on what its images were; of a network of another library also on its steps.
        prediction: what a variance-preserving network names.
        asked: the name that it was asked for by, of a folder of another library.
    """

    family: str
    network: nn.Module
    config: NCSNppConfig | GuidedUNetConfig | ForeignConfig
    shown: Shown
    betas: Betas | StepTable | None
    image_size: int | None
    notes: tuple[str, ...]
    inferred: tuple[str, ...]
    prediction: str = "epsilon"
    asked: str = ""

    @property
    def sigma_range(self) -> tuple[float, float]:
        """Noise levels it was trained for, in the unit window."""
        return self.denoiser().sigma_range

    def denoiser(self, input_range: InputRange | None = None) -> VEDenoiser | VPDenoiser:
        """D(x, sigma) in the unit window.

        Args:
            input_range: what the network saw for 0 and 1; None is what `shown` says.

        Raises:
            CosliceError: neither says it.
        """
        saw = self.shown.input_range if input_range is None else input_range
        if saw is None:
            raise CosliceError(
                f"{self.family}: nothing says in which range the network saw its images; state it, as in 0:1 or -1:1."
            )
        if isinstance(self.config, GuidedUNetConfig | ForeignConfig):
            betas, config = self.betas or Betas(), self.config
            return VPDenoiser(self.network, betas, config.learn_sigma, config.classes, saw, self.prediction)
        levels, width = self.config.levels, saw[1] - saw[0]
        return VEDenoiser(self.network, (levels.sigma_min / width, levels.sigma_max / width), saw)


def read_published(
    path: str | Path,
    format: str = "auto",
    config: str | Path | Mapping | None = None,
    stated: Shown = UNKNOWN,
    otherwise: Shown = UNKNOWN,
) -> Published:
    """Read a published checkpoint.

    Args:
        path: the file, a PyTorch pickle or safetensors.
        format: "auto", "ncsnpp" or "guided-diffusion".
        config: its configuration, as a JSON or YAML file or as a mapping, in the published words or ours; where None, a
            file beside the checkpoint is looked for.
        stated, otherwise: what its images were: as the user states it, and where nothing else says it; see
            `coslice.priors.origins`.

    Raises:
        CosliceError: no such file; damaged; a pickle that holds more than tensors and plain values; not of the
            format; parameters missing, unexpected or of the wrong shape; a configuration that contradicts them.
    """
    path = Path(path)
    if format not in FORMATS:
        raise CosliceError(f'format: "{format}" was given, but it is one of {", ".join(FORMATS)}.')
    weights, average, notes = unwrapped(read_checkpoint(path), path.name)
    check_sizes([*weights.values(), *(average or ())], path)
    weights, family = _named(weights, path.name, format)
    if average is not None:
        weights, scaled = _averaged(weights, average, path.name)
        notes, average = (*notes, *scaled), None  # nothing else may keep what `filled` takes out
    elif family == "ncsnpp":
        notes = notes or ("The file holds no averaged (EMA) weights; the trained ones were taken.",)
    settings, more = settings_of(path, config)
    shapes = {name: tuple(weight.shape) for name, weight in weights.items()}
    if family == "ncsnpp":
        fields, assumed = _ncsnpp_fields(shapes, weights.get("sigmas"), settings, path.name)
        betas, schedule = None, ()
    else:
        fields, assumed = _guided_fields(shapes, settings, path.name)
        betas, schedule = _betas(settings)
    config_class, network_class = NETWORKS[family]
    shape: Any = config_class.from_dict(fields)
    shown, said = origin_of(path, family, shape, settings, stated, otherwise)
    if family == "ncsnpp":
        shape = replace(shape, centred=_centred(shown, path.name))
    network = _filled(network_class, shape, weights, path.name)
    size = settings.value(side, "image_size")
    unread = settings.unread((ncsnpp_layout if family == "ncsnpp" else guided_layout).IDLE)
    spare = (f"{settings.source} says {', '.join(unread)}, which was not used.",) if unread else ()
    notes = (*notes, *more, *assumed, *schedule, *said, *spare)
    return Published(family, network, shape, shown, betas, size, notes, said)


def _centred(shown: Shown, name: str) -> bool:
    """Whether NCSN++ is given images in [-1, 1]; in [0, 1] it brings them there itself."""
    if shown.input_range not in (RAW, CENTRED):
        raise CosliceError(
            f"{name}: NCSN++ sees images in 0:1 or -1:1, but {spoken({'input_range': shown.input_range})} was given; "
            "give one of the two."
        )
    return shown.input_range == CENTRED


def _are_weights(content: Any) -> bool:
    return (
        isinstance(content, Mapping)
        and len(content) > 0
        and all(isinstance(name, str) and isinstance(weight, Tensor) for name, weight in content.items())
    )


def unwrapped(content: Any, name: str) -> tuple[dict[str, Tensor], list[Tensor] | None, tuple[str, ...]]:
    """The state dict inside a checkpoint, the list of averaged weights that replaces part of it, and notes."""
    if _are_weights(content):
        return dict(content), None, ()
    if isinstance(content, Mapping):
        trained = next((key for key in _TRAINED if _are_weights(content.get(key))), None)
        average = next((content[key] for key in _AVERAGED if isinstance(content.get(key), Mapping)), {})
        shadow = average.get("shadow_params")
        if trained and isinstance(shadow, list | tuple) and all(isinstance(weight, Tensor) for weight in shadow):
            return dict(content[trained]), list(shadow), ()
        for key in _AVERAGED:
            if _are_weights(content.get(key)):
                return dict(content[key]), None, (f'The averaged weights under "{key}" were taken.',)
        if trained:
            spoken = (
                f'The weights under "{trained}" were taken; the file holds no averaged (EMA) ones that can be read.'
            )
            return dict(content[trained]), None, (spoken,)
    raise CosliceError(
        f"{name} holds no weights that can be found; a state dict is needed, alone or under "
        f"{', '.join(_TRAINED[:3])} or {_AVERAGED[0]}."
    )


def _named(weights: dict[str, Tensor], name: str, format: str) -> tuple[dict[str, Tensor], str]:
    """The weights without what wrappers put before their names, and the family those names belong to."""
    pattern = re.compile(rf"(.*?\.|)({'|'.join(_MARKS)})\.\d")
    found = next((match for match in map(pattern.match, weights) if match), None)
    if found is None:
        raise CosliceError(
            f"{name} holds {len(weights)} tensors ({some(list(weights))}), which are named neither as NCSN++'s "
            "(all_modules...) nor as guided diffusion's (input_blocks...); only these two can be imported."
        )
    prefix, family = found[1], _MARKS[found[2]]
    if format not in ("auto", family):
        raise CosliceError(
            f'{name} was to be read as "{format}", but its tensors are named as those of "{family}"; '
            "give that format, or auto."
        )
    return {key.removeprefix(prefix): weight for key, weight in weights.items()}, family


def _averaged(
    weights: dict[str, Tensor], average: list[Tensor], name: str
) -> tuple[dict[str, Tensor], tuple[str, ...]]:
    """`weights` with those that were trained replaced by their averages, which have no names but the same order."""
    trained = [key for key in weights if key not in _UNTRAINED]
    if len(trained) != len(average):
        raise CosliceError(
            f"{name} holds {len(average)} averaged (EMA) tensors for {len(trained)} trained ones, but as many are "
            "needed; the file may be incomplete."
        )
    for key, weight in zip(trained, average, strict=True):
        if weights[key].shape != weight.shape:
            raise CosliceError(
                f"{name}: the averaged (EMA) tensor for {key} has shape {tuple(weight.shape)}, but "
                f"{tuple(weights[key].shape)} is needed; the two parts of the file do not belong together."
            )
    together = {**weights, **dict(zip(trained, average, strict=True))}
    scale = _common_scale([weights[key] for key in trained], average)
    frequencies = "all_modules.0.W"
    if scale == 1 or frequencies not in weights:
        return together, ()
    # Training cannot do this: somebody scaled all parameters at once, and this one has no average to tell what it was.
    note = f"All under the file's trained weights was scaled by {scale:g}; {frequencies} was scaled back."
    return {**together, frequencies: weights[frequencies] / scale}, (note,)


def _common_scale(trained: Sequence[Tensor], average: Sequence[Tensor]) -> float:
    """The one factor between all trained tensors and their averages, to 1e-5; 1 where there is none."""
    largest = max(range(len(average)), key=lambda i: float(average[i].abs().max()) if average[i].numel() else 0.0)
    flat, mean = trained[largest].double().flatten(), average[largest].double().flatten()
    scale = float(flat @ mean / (mean @ mean).clamp_min(1e-300))
    alike = all(
        torch.allclose(raw.double(), scale * ema.double(), rtol=1e-5, atol=1e-12)
        for raw, ema in zip(trained, average, strict=True)
    )
    return float(f"{scale:.6g}") if alike and scale != 0 else 1.0


def _ncsnpp_fields(
    shapes: dict[str, tuple[int, ...]], sigmas: Tensor | None, settings: Settings, name: str
) -> tuple[dict[str, Any], tuple[str, ...]]:
    inferred = ncsnpp_layout.infer(shapes, sigmas)
    fields = _agreed(inferred, ncsnpp_layout.entries(settings, inferred), settings.source, name)
    assumed = tuple(note for field, note in ncsnpp_layout.ASSUMED.items() if field not in fields)
    return fields, assumed


def _guided_fields(
    shapes: dict[str, tuple[int, ...]], settings: Settings, name: str
) -> tuple[dict[str, Any], tuple[str, ...]]:
    inferred = guided_layout.infer(shapes)
    fields = _agreed(inferred, guided_layout.entries(settings, inferred), settings.source, name)
    assumed = tuple(note for field, note in guided_layout.ASSUMED.items() if field not in fields)
    if "head_channels" in fields:
        return fields, assumed
    widths = GuidedUNetConfig.from_dict({**fields, "head_channels": None, "heads": 1}).attended
    heads, note = guided_layout.usual_heads(widths)
    return {**fields, **heads}, (note, *assumed)


def _agreed(inferred: dict[str, Any], entries: list[ConfigEntry], source: str, name: str) -> dict[str, Any]:
    """What the weights say, joined by what the configuration says of the rest.

    Raises:
        CosliceError: a configuration against what the weights say.
    """
    fields = dict(inferred)
    for entry in entries:
        if entry.field in inferred and not agrees(entry.value, inferred[entry.field]):
            raise CosliceError(
                f"{source} says {entry.word} {shown_value(entry.given)}, but by the shapes in {name} {entry.field} is "
                f"{shown_value(inferred[entry.field])}; give the configuration that belongs to these weights."
            )
        fields.setdefault(entry.field, entry.value)
    return fields


def _betas(settings: Settings) -> tuple[Betas, tuple[str, ...]]:
    """The variances of the steps, as the configuration says or as published."""
    schedule = settings.value(str, "noise_schedule", "beta_schedule")
    if schedule not in (None, "linear"):
        raise CosliceError(f'{settings.source}: noise schedule "{schedule}" was given, but only "linear" can be used.')
    count = settings.value(side, "diffusion_steps", "num_diffusion_timesteps")
    first, last = settings.value(float, "beta_start"), settings.value(float, "beta_end")
    note = (
        ()
        if count is not None or first is not None
        else ("The weights do not tell the noise schedule; 1000 linear betas from 0.0001 to 0.02 were assumed.",)
    )
    usual = Betas()
    # With other numbers of steps guided diffusion keeps the sum of the variances.
    steps = usual.count if count is None else count
    scale = usual.count / steps
    betas = Betas(usual.first * scale if first is None else first, usual.last * scale if last is None else last, steps)
    return betas, note


def _filled(network_class: Any, config: Any, weights: dict[str, Tensor], name: str) -> nn.Module:
    """The network of `config` with `weights` in it, each of which it must have a place for."""
    check_room(name, config, {key: tuple(weight.shape) for key, weight in weights.items()})
    try:
        with torch.device("meta"):
            network = network_class(config)
    except CosliceError:
        raise
    except (ValueError, RuntimeError) as error:
        raise CosliceError(f"{name}: no network can be built with {config} ({error}).") from error
    if "sigmas" in network.state_dict() and "sigmas" not in weights:
        weights["sigmas"] = noise_levels(config.levels)
    check_fit(network, {key: (weight.dtype, tuple(weight.shape)) for key, weight in weights.items()}, name)
    return filled(network, weights, name)
