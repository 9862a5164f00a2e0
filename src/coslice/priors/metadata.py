"""What a prior's file says of its network, its denoiser and its images: checked as recipes are, before it is believed.

A file may come from anybody. Every entry of its metadata has a type and bounds, and what is refused is named by its
path, as in "denoiser.data_std". The configuration of the network is compared with the tensors that are there before
anything is built, and the network is built without memory.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import torch
from torch import nn

from coslice.axes import check_plane
from coslice.errors import CosliceError
from coslice.escapes import shown, visible
from coslice.io.documents import json_of
from coslice.networks import NETWORKS, GuidedUNet
from coslice.networks.edm import EDMDenoiser
from coslice.networks.limits import check_room
from coslice.priors.denoisers import CENTRED, RAW, Betas, InputRange, VEDenoiser, VPDenoiser
from coslice.priors.denoising_error import Measurement
from coslice.priors.foreign_networks import FOREIGN, ForeignUNet
from coslice.priors.slices import SlicePrior
from coslice.priors.step_tables import StepTable
from coslice.priors.suitability import seen_by
from coslice.tree import built, typed
from coslice.window import check_window

__all__ = ["KEYS", "check_classes", "checked_description", "described_prior", "prior_of"]

KEYS = ("network", "config", "denoiser", "window", "plane", "sigma_range", "card")
"""What the metadata of a file hold; "classes" besides, where a prior of patches has them."""
_LARGEST = 1e6
"""A noise level, or a deviation, in the unit window: published ones reach 378."""


@dataclass(frozen=True)
class _EDM:
    kind: Literal["edm"]
    data_mean: float
    data_std: float

    def __post_init__(self) -> None:
        if abs(self.data_mean) > _LARGEST or not 1 / _LARGEST <= self.data_std <= _LARGEST:
            raise CosliceError(
                f"denoiser: data_mean {self.data_mean:g} and data_std {self.data_std:g} were given, but a mean and a "
                "deviation above 0 in the unit window are needed."
            )


@dataclass(frozen=True)
class _VE:
    kind: Literal["ve"]
    input_range: InputRange = RAW


@dataclass(frozen=True)
class _VP:
    kind: Literal["vp"]
    betas: Betas
    input_range: InputRange = CENTRED


@dataclass(frozen=True)
class _Stepwise:
    kind: Literal["vp-table"]
    steps: StepTable
    prediction: Literal["epsilon", "sample", "v_prediction"]
    input_range: InputRange


_DENOISERS: dict[str, Any] = {"edm": _EDM, "ve": _VE, "vp": _VP, "vp-table": _Stepwise}
_FAMILIES: dict[str, tuple[Any, Any]] = {**NETWORKS, **FOREIGN}


@dataclass(frozen=True)
class _Intensity:
    """As `coslice.values.brightness` has it."""

    level: tuple[float, float] | None = None
    bright: tuple[float, float] | None = None
    clipped: tuple[float, float] | None = None


@dataclass(frozen=True)
class _Seen:
    """As `coslice.priors.suitability` has it."""

    plane: str | None = None
    pixel_mm: tuple[float, float] | None = None
    slice_mm: tuple[float, float] | None = None
    size: tuple[float, float] | None = None
    intensity: _Intensity | None = None


@dataclass(frozen=True)
class _Card:
    """What is read of a card by more than people."""

    name: str | None = None
    title: str | None = None
    plane: str | None = None
    licence: str | None = None
    credit: str | None = None
    data_licence: str | None = None
    data_credit: str | None = None
    not_for: str | None = None
    images: int | None = None
    seen: dict[str, Any] = field(default_factory=dict)
    tasks: dict[str, float] = field(default_factory=dict)
    remarks: tuple[str, ...] = ()
    measured: Measurement | None = None


def checked_description(entry: str, path: Path) -> dict[str, Any]:
    """The metadata entry "coslice" of the file at `path`, each value of its type and within its bounds.

    Raises:
        CosliceError: anything else.
    """
    who = f"prior: {path.name}"
    try:
        described = json_of(entry)
    except ValueError as error:
        raise CosliceError(f"{who}: its metadata cannot be read ({error}); get the file anew.") from error
    described = typed(dict[str, Any], described, "its metadata", who)
    if missing := [key for key in KEYS if key not in described]:
        raise CosliceError(
            f"{who}: its metadata lack {', '.join(sorted(missing))}, so it is no prior of coslice; give another file."
        )
    if strange := [key for key in described if key not in (*KEYS, "classes")]:
        raise CosliceError(f"{who}: its metadata hold {shown(strange[0])}, which is not known; get the file anew.")
    for name in ("window", "plane"):
        typed(str, described[name], name, who)
    check_window(described["window"])
    check_plane(described["plane"])
    card = typed(dict[str, Any], described["card"], "card", who)
    _check_card(card, who)
    _described_denoiser(described["denoiser"], who)
    _ends(described["sigma_range"], who)
    if "classes" in described:
        typed(tuple[int, int], described["classes"], "classes", who)
    _config(described, who)
    return described


def _check_card(card: dict[str, Any], who: str) -> None:
    """Refuse a card whose entries are not what programs take them for; the rest is for people."""
    known = {name: card[name] for name in _Card.__dataclass_fields__ if name in card}
    built(_Card, known, "card.", who)
    try:
        seen = seen_by(card)
    except (TypeError, ValueError, KeyError, AttributeError, IndexError, ZeroDivisionError, OverflowError) as error:
        raise CosliceError(
            f"{who}: its card does not say what it was trained on in a form that can be read; get the file anew."
        ) from error
    ends = {name: seen[name] for name in _Seen.__dataclass_fields__ if name in seen}
    built(_Seen, ends, "card.seen.", who)
    if ends.get("plane") is not None:
        check_plane(ends["plane"])
    lengths = {name: value for name, value in ends.items() if name not in ("plane", "intensity")}
    _check_ends(lengths, "card.seen.", 1 / _LARGEST, "above 0", who)
    _check_ends(ends.get("intensity") or {}, "card.seen.intensity.", 0.0, "from 0 up", who)


def _check_ends(ranges: Mapping[str, Any], path: str, least: float, words: str, who: str) -> None:
    """Refuse pairs that are no ranges of numbers."""
    for name, value in ranges.items():
        # What YAML would take for a number is a word in JSON, and the card is used as it is.
        if value is not None and (any(isinstance(one, str) for one in value) or not least <= value[0] <= value[1]):
            raise CosliceError(f"{who}: {path}{name} is {shown(value)}, but two numbers {words} are needed, in order.")


def _described_denoiser(described: Any, who: str) -> _EDM | _VE | _VP | _Stepwise:
    tree = typed(dict[str, Any], described, "denoiser", who)
    kind = typed(Literal["edm", "ve", "vp", "vp-table"], tree.get("kind"), "denoiser.kind", who)
    return built(_DENOISERS[kind], tree, "denoiser.", who)


def _ends(described: Any, who: str) -> tuple[float, float]:
    low, high = typed(tuple[float, float], described, "sigma_range", who)
    if not 1 / _LARGEST <= low <= high <= _LARGEST:
        raise CosliceError(
            f"{who}: sigma_range is {low:g} to {high:g}, but the smallest and the largest noise level that it was "
            "trained for are needed, above 0 and in this order; get the file anew."
        )
    return low, high


def _config(described: Mapping[str, Any], who: str) -> Any:
    names = tuple(_FAMILIES)
    name = typed(str, described["network"], "network", who)
    if name not in names:
        raise CosliceError(
            f"{who}: network is {visible(name[:100])}, but {', '.join(names)} are known; get the file anew."
        )
    return _FAMILIES[name][0].from_dict(typed(dict[str, Any], described["config"], "config", who), who)


def described_prior(prior: SlicePrior) -> dict[str, Any]:
    """What the file of `prior` says of its network and its denoiser, of plain values; `prior_of` reads it.

    Raises:
        CosliceError: a network or denoiser that has no name in a file.
    """
    network: Any = prior.network
    family = next((name for name, (_, module) in _FAMILIES.items() if type(network) is module), None)
    if family is None or network.config is None:
        raise CosliceError(
            f"save_prior: a {type(network).__name__} was given, one of {', '.join(_FAMILIES)} is needed."
        )
    return {
        "network": family,
        "config": network.config.to_dict(),
        "denoiser": _denoiser_to_dict(prior.denoiser),
        "sigma_range": list(prior.sigma_range),
    } | ({} if prior.classes is None else {"classes": list(prior.classes)})


def prior_of(
    described: Mapping[str, Any], name: str, shapes: Mapping[str, tuple[int, ...]] | None = None
) -> SlicePrior:
    """A prior as `described_prior` describes it, its network untrained; without plane, window and card, the defaults.

    Args:
        described: see there.
        name: of the prior.
        shapes: of its tensors, if they are there; then the network is built without memory, to be given them.

    Raises:
        CosliceError: a description that is none, or that these tensors do not fit.
    """
    who = f"prior {name}"
    if missing := [key for key in KEYS if key not in described and key not in ("window", "plane", "card")]:
        raise CosliceError(f"{who}: its description lacks {', '.join(missing)}.")
    config, told = _config(described, who), _described_denoiser(described["denoiser"], who)
    sigma_range = _ends(described["sigma_range"], who)
    if shapes is not None:
        check_room(who, config, shapes)
    try:
        with torch.device("cpu" if shapes is None else "meta"):
            network = _FAMILIES[described["network"]][1](config)
    except (ValueError, RuntimeError) as error:
        reason = str(error).splitlines()[0][:120]
        raise CosliceError(f"{who}: no network can be built as its configuration says ({reason}).") from error
    denoiser = _denoiser(network, told, sigma_range, who)
    classes = typed(tuple[int, int], described["classes"], "classes", who) if "classes" in described else None
    if classes is not None:
        check_classes(classes, denoiser.classes if isinstance(denoiser, VPDenoiser) else 0, config.image_channels)
    return SlicePrior(
        denoiser=denoiser,
        stride=config.stride,
        sigma_range=sigma_range,
        channels=config.image_channels,
        classes=classes,
        name=name,
        **{key: described[key] for key in ("plane", "window", "card") if key in described},
    )


def check_classes(classes: tuple[int, int], known: int, channels: int) -> None:
    """Refuse classes that a network does not know.

    Args:
        classes: of neighbouring slices and of jumping ones.
        known: how many the network has.
        channels: of its images.

    Raises:
        CosliceError: likewise.
    """
    if not known or channels < 2:
        lacking = "no classes" if not known else "images of one channel"
        raise CosliceError(f"import: classes {classes} were given, but the network has {lacking}; leave them out.")
    if len(classes) != 2 or not all(isinstance(one, int) and 0 <= one < known for one in classes):
        raise CosliceError(
            f"import: classes {classes} were given, but two of 0 to {known - 1} are needed: that of neighbouring "
            "slices and that of jumping ones."
        )


def _denoiser_to_dict(denoiser: nn.Module) -> dict[str, Any]:
    if isinstance(denoiser, EDMDenoiser):
        return {"kind": "edm", "data_mean": denoiser.data_mean, "data_std": denoiser.data_std}
    if isinstance(denoiser, VEDenoiser):
        return {"kind": "ve", "input_range": list(denoiser.input_range)}
    if isinstance(denoiser, VPDenoiser) and isinstance(denoiser.betas, StepTable):
        told = {"prediction": denoiser.prediction, "input_range": list(denoiser.input_range)}
        return {"kind": "vp-table", "steps": {"table": list(denoiser.betas.table)}, **told}
    if isinstance(denoiser, VPDenoiser) and isinstance(denoiser.betas, Betas):
        return {"kind": "vp", "betas": denoiser.betas.to_dict(), "input_range": list(denoiser.input_range)}
    raise CosliceError(f"save_prior: a {type(denoiser).__name__} was given, which no file can describe.")


def _denoiser(
    network: Any, told: _EDM | _VE | _VP | _Stepwise, sigma_range: tuple[float, float], who: str
) -> nn.Module:
    suits = {"edm": ("unet",), "ve": ("ncsnpp",), "vp": ("guided-diffusion",), "vp-table": tuple(FOREIGN)}[told.kind]
    if type(network) not in [_FAMILIES[name][1] for name in suits]:
        raise CosliceError(
            f"{who}: denoiser.kind is {told.kind}, but that is of the network {' or '.join(suits)}, and this one is a "
            f"{type(network).__name__}; get the file anew."
        )
    if isinstance(told, _EDM):
        return EDMDenoiser(network, told.data_mean, told.data_std)
    if isinstance(told, _VE):
        return VEDenoiser(network, sigma_range, told.input_range)
    assert isinstance(network, GuidedUNet | ForeignUNet)
    config: Any = network.config
    if isinstance(told, _Stepwise):
        denoiser = VPDenoiser(network, told.steps, config.learn_sigma, 0, told.input_range, told.prediction)
    else:
        denoiser = VPDenoiser(network, told.betas, config.learn_sigma, config.classes, told.input_range)
    if not all(math.isclose(a, b, rel_tol=0.01) for a, b in zip(denoiser.sigma_range, sigma_range, strict=True)):
        low, high = denoiser.sigma_range
        raise CosliceError(
            f"{who}: sigma_range is {sigma_range[0]:g} to {sigma_range[1]:g}, but by its betas it is {low:g} to "
            f"{high:g}; get the file anew."
        )
    return denoiser
