"""Priors as files: safetensors whose metadata says everything needed to use them.

The metadata entry "coslice" is a JSON object:

    network, config        architecture and its shape, see `coslice.networks.NETWORKS`, and
                           `coslice.priors.foreign_networks.FOREIGN` for those of other libraries
    denoiser               how the network becomes D(x, sigma): {"kind": "edm", "data_mean", "data_std"},
                           {"kind": "ve", "input_range"} or {"kind": "vp", "betas", "input_range"}; without a range, as
                           in files of earlier versions, "ve" saw [0, 1] and "vp" [-1, 1]; of networks of other
                           libraries {"kind": "vp-table", "steps", "prediction", "input_range"}
    window                 the intensities that are 0 and 1: "ct", "mr" or "LOW:HIGH"
    plane                  rows and columns of the images
    sigma_range            noise levels trained for
    classes                of neighbouring slices and of jumping ones, of a prior of patches that has classes; or absent
    card                   for people: name, data, training, validation losses; "licence" of the weights, "data_licence"
                           and "data_credit" of what they were trained on, "not_for"; for programs too: "seen", see
                           `coslice.priors.suitability`, and "measured", see `coslice.priors.denoising_error`

A network is stored in the type it is to be computed in: those that coslice trains in bfloat16, imported ones in
float32, as published. Weights of 16 bits may be packed without loss, as those that come with coslice are, see
`coslice.io.packing`.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors
import torch

from coslice.axes import stacked_along
from coslice.devices import multiplies_bfloat16
from coslice.errors import CosliceError
from coslice.io.files import atomic
from coslice.io.packing import check_header, read_weights, replace_metadata, stored_tensors, write_weights
from coslice.io.refusals import check_name
from coslice.priors.denoisers import InputRange
from coslice.priors.filling import check_fit, filled
from coslice.priors.foreign_checkpoints import read_foreign
from coslice.priors.foreign_folders import is_foreign
from coslice.priors.metadata import check_classes, checked_description, described_prior, prior_of
from coslice.priors.origins import UNKNOWN, Shown, ask_for_rest, differs, shown_in_words, spoken
from coslice.priors.places import find_prior
from coslice.priors.published import Published, read_published
from coslice.priors.slices import SlicePrior
from coslice.priors.travelling_cards import NOT_FOR, called, named_card, unnamed, without_names
from coslice.tree import plain
from coslice.window import same_window

__all__ = [
    "check_shown",
    "import_prior",
    "is_published",
    "load_prior",
    "read_card",
    "save_prior",
    "update_card",
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

    "diffusers:FOLDER-or-OWNER/NAME" and "monai:FOLDER" are networks of these libraries as they save them, see
    `coslice.priors.foreign_folders`; the libraries compute them.

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
    path, stated = find_prior(str(name)), Shown(plane, window, input_range)
    foreign = is_foreign(str(name))
    described = None if foreign else _description(path)
    if described is None:
        if foreign:
            published = read_foreign(str(name), stated=stated, otherwise=otherwise)
        else:
            published = read_published(path, stated=stated, otherwise=otherwise)
        prior, dtype = _imported(path, published), torch.float32
        # Who imports a file reads the notes; who uses it as it is, is told.
        prior.card["remarks"] = unnamed(published.inferred, path)
    else:
        prior, dtype = _restored(path, called(str(name), path, described["card"]), described)
        check_shown(prior, stated)
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
    """A published checkpoint as a prior, see `coslice.priors.published`, or a folder of another library.

    What its images were is taken from the configuration, the names and the shape of the file where it is not stated
    (`coslice.priors.origins`), and the card's notes say so.

    One of several channels is a prior of patches. If it has classes, they stand for the distance between slices; the
    weights do not say which is which.

    Args:
        path, format, config: as `read_published` takes them; of "diffusers:..." and "monai:..." the configuration is
            that of the scheduler, and that of the bundle.
        plane: rows and columns of the images, as in "yx".
        window: intensities that are 0 and 1: "ct", "mr" or "LOW:HIGH".
        licence, source: for the card.
        classes: of neighbouring slices, and of jumping ones; None is 1 and 3, as DiffusionBlend's released code has it.
        input_range: what the network saw for 0 and 1, as in (-1, 1).

    Raises:
        CosliceError: as `read_published`; a plane, window or range that is none, or that nothing says; classes that the
            network does not know.
    """
    stated = Shown(plane, window, input_range)
    if is_foreign(str(path)):
        if format != "auto":
            raise CosliceError(f'import: the format "{format}" was given for {path}, whose name says it; leave it out.')
        published = read_foreign(str(path), config, stated)
        return _imported(find_prior(str(path)), published, licence, source, classes, config)
    path = Path(path)
    published = read_published(path, format, config, stated)
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
    ask_for_rest(path, shown, published.asked)
    assert shown.plane is not None and shown.window is not None and shown.input_range is not None
    denoiser = published.denoiser()
    seen = "ct" if same_window("ct", shown.window) else shown.window
    card = {
        **named_card(path, published.family),
        "source": source,
        "licence": licence,
        "data_licence": "not stated",
        "data_credit": "not stated",
        "not_for": NOT_FOR,
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


def _classes_of_patches(
    chosen: tuple[int, int] | None, known: int, channels: int
) -> tuple[tuple[int, int] | None, tuple[str, ...]]:
    """The classes of neighbouring and of jumping slices, and a note on where they are from."""
    if chosen is not None:
        check_classes(chosen, known, channels)
        return chosen, (f"Neighbouring slices are of class {chosen[0]}, jumping ones of {chosen[1]}, as was chosen.",)
    if not known or channels < 2:
        return None, ()
    if known <= max(_PUBLISHED_CLASSES):
        return None, (f"Which of its {known} classes neighbouring and jumping slices have is not known.",)
    near, far = _PUBLISHED_CLASSES
    published = f"Neighbouring slices are of class {near}, jumping ones of {far}, as in DiffusionBlend's released code."
    return _PUBLISHED_CLASSES, (published,)


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
    check_name(path)
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


def read_card(name: str | Path) -> dict[str, Any]:
    """What a prior's file says of it, without loading the weights where the file is coslice's own.

    Raises:
        CosliceError: as `load_prior`.
    """
    path = find_prior(str(name))
    described = _description(path)
    if described is None:
        prior = load_prior(name)
        network: Any = prior.network
        found = {"network": type(network).__name__, "sigma_range": list(prior.sigma_range)}
        found |= {} if prior.classes is None else {"classes": list(prior.classes)}
        return {**prior.card, **found, "config": network.config.to_dict()}
    _prior_without_weights(path, path.stem, described)  # a file that would not load is none that can be shown
    card = described["card"]
    keys = ("network", "window", "plane", "sigma_range", "config", "classes")
    found = {key: described[key] for key in keys if key in described} | {"along": stacked_along(described["plane"])}
    if "input_range" in described["denoiser"]:
        found["input_range"] = described["denoiser"]["input_range"]
    return {"name": path.stem, **card, **found}


def update_card(path: str | Path, entries: Mapping[str, Any]) -> None:
    """Say more on the card of a prior's file, or something else; its weights stay as they are, bit for bit.

    Args:
        path: of a file of coslice's.
        entries: of the card, of plain values; None takes one away.

    Raises:
        CosliceError: a file that is none, entries that a card cannot have, or a place that cannot be written to.
    """
    path = Path(path)
    described = _description(path)
    if described is None:
        raise CosliceError(
            f"prior: {path.name} is no file that coslice wrote, so it has no card to write on; make one of it with "
            "coslice priors import."
        )
    card = {key: value for key, value in {**described["card"], **plain(entries)}.items() if value is not None}
    entry = json.dumps({**described, "card": card}, allow_nan=False)
    checked_description(entry, path)  # what would not be read again is not written
    with atomic(path) as part:
        replace_metadata(path, part, {"coslice": entry})
        shutil.copymode(path, part)


def _description(path: Path) -> dict[str, Any] | None:
    """The metadata of coslice's own files, checked; None for files that are somebody else's.

    Raises:
        CosliceError: metadata of ours that say what cannot be.
    """
    try:
        with open(path, "rb") as file:
            if file.read(9)[8:] != b"{":
                return None
        check_header(path)
        with safetensors.safe_open(path, framework="pt") as file:
            entry = (file.metadata() or {}).get("coslice")
    except (safetensors.SafetensorError, OSError):
        return None
    if entry is None:
        return None
    described = checked_description(entry, path)
    return described | {"card": without_names(described["card"])}


def _restored(path: Path, name: str, described: dict[str, Any]) -> tuple[SlicePrior, torch.dtype]:
    """The prior a file of coslice's describes, in float32, and the type its weights are stored in."""
    prior, stored = _prior_without_weights(path, name, described)
    filled(prior.network, read_weights(path), path.name, own=True)
    dtypes = {dtype for dtype, _ in stored.values()}
    return prior, torch.bfloat16 if dtypes == {torch.bfloat16} else torch.float32


def _prior_without_weights(
    path: Path, name: str, described: dict[str, Any]
) -> tuple[SlicePrior, dict[str, tuple[torch.dtype, tuple[int, ...]]]]:
    """The prior that a file describes, and type and shape of its tensors, which fit it; none of them is read.

    Raises:
        CosliceError: tensors that are not those of the network.
    """
    stored = stored_tensors(path)
    prior = prior_of(described, name, {key: shape for key, (_, shape) in stored.items()})
    check_fit(prior.network, stored, path.name)
    return prior, stored


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
