"""Priors as files: safetensors whose metadata says everything needed to use them.

The metadata entry "coslice" is a JSON object:

    network, config        architecture and its shape, see `coslice.networks.NETWORKS`
    denoiser               how the network becomes D(x, sigma): {"kind": "edm", "data_mean", "data_std"},
                           {"kind": "ve", "input_range"} or {"kind": "vp", "betas", "input_range"}; without a range, as
                           in files of earlier versions, "ve" saw [0, 1] and "vp" [-1, 1]
    window                 the intensities that are 0 and 1: "ct", "mr" or "LOW:HIGH"
    plane                  rows and columns of the images
    sigma_range            noise levels trained for
    classes                of neighbouring slices and of jumping ones, of a prior of patches that has classes; or absent
    card                   name, data, licences, training, validation losses: for people

A network is stored in the type it is to be computed in: those that coslice trains in bfloat16, imported ones in
float32, as published. Weights of 16 bits may be packed without loss, as those that come with coslice are, see
`coslice.io.packing`.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors
import torch
from torch import nn

from coslice.axes import stacked_along
from coslice.devices import multiplies_bfloat16
from coslice.errors import CosliceError
from coslice.io.files import atomic
from coslice.io.packing import read_weights, write_weights
from coslice.networks import NETWORKS, GuidedUNet
from coslice.networks.edm import EDMDenoiser
from coslice.priors.denoisers import CENTRED, RAW, Betas, InputRange, VEDenoiser, VPDenoiser
from coslice.priors.origins import UNKNOWN, Shown, ask_for_rest, differs, shown_in_words, spoken
from coslice.priors.places import find_prior
from coslice.priors.published import Published, read_published
from coslice.priors.slices import SlicePrior
from coslice.priors.travelling_cards import called, named_card, unnamed, without_names
from coslice.window import same_window

__all__ = [
    "check_shown",
    "described_prior",
    "import_prior",
    "is_published",
    "load_prior",
    "prior_of",
    "read_card",
    "save_prior",
]

_PUBLISHED_CLASSES = (1, 3)
"""Of neighbouring and of jumping slices, in DiffusionBlend's released sampling code; its networks have 4."""


def load_prior(
    name: str | Path,
    device: torch.device | str = "cpu",
    *,
    plane: str | None = None,
    window: str | None = None,
    input_range: InputRange | None = None,
    otherwise: Shown = UNKNOWN,
) -> SlicePrior:
    """A prior by the name of an embedded or imported one, the path of a file, or "hf:OWNER/REPOSITORY[/FILE]".

    A file is one made by coslice, or a published checkpoint of NCSN++ or guided diffusion as its authors left it. A
    network stored in bfloat16 runs in bfloat16 on devices that multiply it natively, else in float32; one stored in
    float32 runs in float32. D's output is float32 always.

    Args:
        name: see above.
        device: to load it on.
        plane, window, input_range: what its images were, as `import_prior` takes them, for a published checkpoint; a
            file made by coslice says it itself.
        otherwise: the same, for a published checkpoint of which nothing else says it.

    Raises:
        CosliceError: no such prior, or a file that is not one; a published checkpoint of which nothing says what its
            images were; statements that a file made by coslice contradicts.
    """
    path = find_prior(str(name))
    described = _description(path)
    if described is None:
        published = read_published(path, stated=Shown(plane, window, input_range), otherwise=otherwise)
        prior, dtype = _imported(path, published), torch.float32
        # Who imports a file reads the notes; who uses it as it is, is told.
        prior.card["remarks"] = unnamed(published.inferred, path)
    else:
        prior, dtype = _restored(path, called(str(name), path, described["card"]), described)
        check_shown(prior, Shown(plane, window, input_range))
    if dtype == torch.bfloat16 and not multiplies_bfloat16(torch.device(device)):
        dtype = torch.float32
    prior.denoiser.to(device, dtype).to(memory_format=torch.channels_last)  # pyright: ignore
    prior.denoiser.eval().requires_grad_(False)
    return prior


def check_shown(prior: SlicePrior, stated: Shown, whose: str = "was stated") -> None:
    """Refuse a prior that was shown other images.

    Args:
        prior: whose images are known.
        stated: what is needed of them; nothing is checked of what is None.
        whose: ends the words on what is needed.

    Raises:
        CosliceError: another plane, window or range.
    """
    own = Shown(prior.plane, prior.window, getattr(prior.denoiser, "input_range", None))
    for name, value in stated.known.items():
        if differs(name, value, getattr(own, name)):
            has, needed = spoken({name: getattr(own, name)}), spoken({name: value})
            raise CosliceError(f"prior {prior.name}: it has the {has}, but {needed} {whose}; name another prior.")


def is_published(name: str) -> bool:
    """Whether a prior is a checkpoint as its authors left it, and no file of coslice's; not of what nobody can read."""
    path = find_prior(name)
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            return "coslice" not in (file.metadata() or {})
    except (safetensors.SafetensorError, OSError):
        return path.suffix != ".safetensors"


def import_prior(
    path: str | Path,
    format: str = "auto",
    config: str | Path | None = None,
    plane: str | None = None,
    window: str | None = None,
    licence: str = "not stated",
    source: str = "not stated",
    classes: tuple[int, int] | None = None,
    input_range: InputRange | None = None,
) -> SlicePrior:
    """A published checkpoint as a prior, see `coslice.priors.published`.

    What its images were is taken from the configuration, the names and the shape of the file where it is not stated
    (`coslice.priors.origins`), and the card's notes say so.

    One of several channels is a prior of patches. If it has classes, they stand for the distance between slices; the
    weights do not say which is which.

    Args:
        path, format, config: as `read_published` takes them.
        plane: rows and columns of the images, as in "yx".
        window: intensities that are 0 and 1: "ct", "mr" or "LOW:HIGH".
        licence, source: for the card.
        classes: of neighbouring slices, and of jumping ones; None is 1 and 3, as DiffusionBlend's released code has it.
        input_range: what the network saw for 0 and 1, as in (-1, 1).

    Raises:
        CosliceError: as `read_published`; a plane, window or range that is none, or that nothing says; classes that the
            network does not know.
    """
    path = Path(path)
    published = read_published(path, format, config, Shown(plane, window, input_range))
    return _imported(path, published, licence, source, classes, config)


def _imported(
    path: Path,
    published: Published,
    licence: str = "not stated",
    source: str = "not stated",
    classes: tuple[int, int] | None = None,
    config: str | Path | None = None,
) -> SlicePrior:
    channels, shown = published.config.image_channels, published.shown
    chosen, noted = _classes_of_patches(classes, getattr(published.config, "classes", 0), channels)
    ask_for_rest(path, shown)
    assert shown.plane is not None and shown.window is not None and shown.input_range is not None
    denoiser = published.denoiser()
    seen = "ct" if same_window("ct", shown.window) else shown.window
    card = {
        **named_card(path, published.family),
        "source": source,
        "licence": licence,
        "parameters": sum(parameter.numel() for parameter in published.network.parameters()),
        "image_size": published.image_size or "not stated",
        **shown_in_words(shown.plane, seen, shown.input_range),
        "notes": [*unnamed(published.notes, path, config), *noted],
    }
    return SlicePrior(
        denoiser=denoiser,
        stride=published.config.stride,
        sigma_range=denoiser.sigma_range,
        plane=shown.plane,
        window=seen,
        channels=channels,
        classes=chosen,
        name=card["name"],
        card=card,
    )


def _classes_known(denoiser: nn.Module) -> int:
    return denoiser.classes if isinstance(denoiser, VPDenoiser) else 0


def _classes_of_patches(
    chosen: tuple[int, int] | None, known: int, channels: int
) -> tuple[tuple[int, int] | None, tuple[str, ...]]:
    """The classes of neighbouring and of jumping slices, and a note on where they are from."""
    if chosen is not None:
        _check_classes(chosen, known, channels)
        return chosen, (f"Neighbouring slices are of class {chosen[0]}, jumping ones of {chosen[1]}, as was chosen.",)
    if not known or channels < 2:
        return None, ()
    if known <= max(_PUBLISHED_CLASSES):
        return None, (f"Which of its {known} classes neighbouring and jumping slices have is not known.",)
    near, far = _PUBLISHED_CLASSES
    published = f"Neighbouring slices are of class {near}, jumping ones of {far}, as in DiffusionBlend's released code."
    return _PUBLISHED_CLASSES, (published,)


def _check_classes(classes: tuple[int, int], known: int, channels: int) -> None:
    if not known or channels < 2:
        lacking = "no classes" if not known else "images of one channel"
        raise CosliceError(f"import: classes {classes} were given, but the network has {lacking}; leave them out.")
    if len(classes) != 2 or not all(isinstance(one, int) and 0 <= one < known for one in classes):
        raise CosliceError(
            f"import: classes {classes} were given, but two of 0 to {known - 1} are needed: that of neighbouring "
            "slices and that of jumping ones."
        )


def save_prior(
    path: str | Path, prior: SlicePrior, dtype: torch.dtype = torch.float32, *, packed: bool = False
) -> None:
    """Write `prior` as `load_prior` reads it, atomically.

    Args:
        path: file to write.
        prior: its network must be of a family in `coslice.networks.NETWORKS`.
        dtype: of its floating-point weights in the file.
        packed: weights of 16 bits are packed without loss, to two thirds of their size for bfloat16.

    Raises:
        CosliceError: a network or denoiser that has no name in a file, or a place that cannot be written to.
    """
    described = {**described_prior(prior), "window": prior.window, "plane": prior.plane, "card": prior.card}
    network: Any = prior.network
    weights = {
        key: (value.to(dtype) if value.is_floating_point() else value).detach().contiguous()
        for key, value in network.state_dict().items()
    }
    with atomic(path) as part:
        write_weights(part, weights, {"coslice": json.dumps(described)}, packed)
        # safetensors writes files that nobody else may read.
        part.chmod(0o666 & ~_umask())


def described_prior(prior: SlicePrior) -> dict[str, Any]:
    """What the file of `prior` says of its network and its denoiser, of plain values; `prior_of` reads it.

    Raises:
        CosliceError: a network or denoiser that has no name in a file.
    """
    network: Any = prior.network
    family = next((name for name, (_, module) in NETWORKS.items() if type(network) is module), None)
    if family is None:
        raise CosliceError(f"save_prior: a {type(network).__name__} was given, one of {', '.join(NETWORKS)} is needed.")
    return {
        "network": family,
        "config": network.config.to_dict(),
        "denoiser": _denoiser_to_dict(prior.denoiser),
        "sigma_range": list(prior.sigma_range),
    } | ({} if prior.classes is None else {"classes": list(prior.classes)})


def read_card(name: str | Path) -> dict[str, Any]:
    """What a prior's file says of it, without loading the weights where the file is coslice's own.

    Raises:
        CosliceError: as `load_prior`.
    """
    path = find_prior(str(name))
    described = _description(path)
    if described is None:
        prior = load_prior(path)
        network: Any = prior.network
        found = {"network": type(network).__name__, "sigma_range": list(prior.sigma_range)}
        found |= {} if prior.classes is None else {"classes": list(prior.classes)}
        return {**prior.card, **found, "config": network.config.to_dict()}
    card = described["card"]
    keys = ("network", "window", "plane", "sigma_range", "config", "classes")
    found = {key: described[key] for key in keys if key in described} | {"along": stacked_along(described["plane"])}
    if "input_range" in described["denoiser"]:
        found["input_range"] = described["denoiser"]["input_range"]
    return {"name": path.stem, **card, **found}


def _description(path: Path) -> dict[str, Any] | None:
    """The metadata of coslice's own files; None for files that are somebody else's."""
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            entry = (file.metadata() or {}).get("coslice")
    except (safetensors.SafetensorError, OSError):
        return None
    if entry is None:
        return None
    try:
        described = json.loads(entry)
        missing = {"network", "config", "denoiser", "window", "plane", "sigma_range", "card"} - set(described)
        if missing:
            raise KeyError(", ".join(sorted(missing)))
    except (KeyError, TypeError, json.JSONDecodeError) as error:
        raise _not_a_prior(path, error) from error
    if isinstance(described["card"], dict):
        described["card"] = without_names(described["card"])
    return described


def _restored(path: Path, name: str, described: dict[str, Any]) -> tuple[SlicePrior, torch.dtype]:
    """The prior a file of coslice's describes, in float32, and the type its weights are stored in."""
    weights = read_weights(path)
    try:
        prior = prior_of(described, name)
        prior.network.load_state_dict(weights)
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        raise _not_a_prior(path, error) from error
    dtypes = {weight.dtype for weight in weights.values() if weight.is_floating_point()}
    return prior, torch.bfloat16 if dtypes == {torch.bfloat16} else torch.float32


def prior_of(described: Mapping[str, Any], name: str) -> SlicePrior:
    """A prior as `described_prior` describes it, its network untrained; without plane, window and card, the defaults.

    Raises:
        KeyError, TypeError, ValueError: a description that is none.
        CosliceError: classes that the network does not know.
    """
    config_class, network_class = NETWORKS[described["network"]]
    config: Any = config_class.from_dict(described["config"])
    denoiser = _denoiser(network_class(config), described["denoiser"], tuple(described["sigma_range"]))
    classes = tuple(described["classes"]) if "classes" in described else None
    if classes is not None:
        _check_classes(classes, _classes_known(denoiser), config.image_channels)
    return SlicePrior(
        denoiser=denoiser,
        stride=config.stride,
        sigma_range=tuple(described["sigma_range"]),
        channels=config.image_channels,
        classes=classes,
        name=name,
        **{key: described[key] for key in ("plane", "window", "card") if key in described},
    )


def _denoiser_to_dict(denoiser: nn.Module) -> dict[str, Any]:
    if isinstance(denoiser, EDMDenoiser):
        return {"kind": "edm", "data_mean": denoiser.data_mean, "data_std": denoiser.data_std}
    if isinstance(denoiser, VEDenoiser):
        return {"kind": "ve", "input_range": list(denoiser.input_range)}
    if isinstance(denoiser, VPDenoiser):
        return {"kind": "vp", "betas": denoiser.betas.to_dict(), "input_range": list(denoiser.input_range)}
    raise CosliceError(f"save_prior: a {type(denoiser).__name__} was given, which no file can describe.")


def _denoiser(network: nn.Module, described: dict[str, Any], sigma_range: tuple[float, float]) -> nn.Module:
    if described["kind"] == "edm":
        return EDMDenoiser(network, described["data_mean"], described["data_std"])
    if described["kind"] == "ve":
        return VEDenoiser(network, sigma_range, _range(described, RAW))
    if described["kind"] == "vp" and isinstance(network, GuidedUNet):
        betas, config = Betas.from_dict(described["betas"]), network.config
        return VPDenoiser(network, betas, config.learn_sigma, config.classes, _range(described, CENTRED))
    raise KeyError(f"denoiser {described['kind']} of a {type(network).__name__}")


def _range(described: dict[str, Any], before: InputRange) -> InputRange:
    """The input range a file says, or what files had before they said it."""
    low, high = described.get("input_range", before)
    return float(low), float(high)


def _not_a_prior(path: Path, error: Exception) -> CosliceError:
    reason = (str(error).strip() or type(error).__name__).splitlines()[0][:120]
    return CosliceError(
        f"prior: {path.name} was given, but it is not a prior that coslice can use ({reason}); give an embedded name, "
        "a file made by this version of coslice, or a published checkpoint."
    )


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
