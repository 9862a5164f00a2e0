"""Folders of diffusers and MONAI: which of their files say what a network is, and which hold its weights.

    diffusers:PATH                   a folder as `save_pretrained` of a UNet2DModel writes it, or of a pipeline
    diffusers:OWNER/NAME[@REVISION]  the same on the Hugging Face Hub, where there is no such folder here
    monai:PATH                       a bundle: configs/inference.json (or .yaml), models/model.pt; or a file of weights
                                     beside its configuration

Nothing of a folder is run. Of a diffusers folder three JSON files are read, of a bundle the entries of the network and
of the scheduler: a class that is known and plain values, which may be named by others, as "@image_size". An expression,
"$...", is refused. A file coslice.json (or .yaml) in the folder may say what the images were, in the words of a
configuration: plane, window, input_range.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from coslice.errors import CosliceError
from coslice.escapes import shown, visible
from coslice.io.documents import read_json, read_yaml
from coslice.io.refusals import shown_path
from coslice.networks.configuration import Settings
from coslice.priors.configurations import configuration_beside
from coslice.priors.hub import hub_folder

__all__ = ["ForeignFiles", "foreign_files", "foreign_name", "is_foreign"]

_PREFIXES = {"diffusers:": "diffusers-unet", "monai:": "monai-unet"}
_ON_HUB = re.compile(r"[\w.-]+/[\w.-]+(@[\w./-]+)?")
_CARDS = ("coslice.json", "coslice.yaml", "coslice.yml")
_SCHEDULERS = ("scheduler/scheduler_config.json", "scheduler_config.json")
_DESCRIBING = ["model_index.json", "config.json", "unet/config.json", *_SCHEDULERS, *_CARDS]
_WEIGHTS = ("diffusion_pytorch_model.safetensors", "diffusion_pytorch_model.fp16.safetensors")
_WEIGHTS += ("diffusion_pytorch_model.bin", "diffusion_pytorch_model.fp16.bin")
_LATENT = ("vae", "vqvae", "movq", "vqgan", "autoencoder")
_CONDITIONS = ("text_encoder", "text_encoder_2", "tokenizer", "image_encoder", "prior", "class_embedder")
_BUNDLE = tuple(
    f"configs/{name}.{kind}" for name in ("inference", "infer", "train") for kind in ("json", "yaml", "yml")
)
_BUNDLE_WEIGHTS = ("models/model.safetensors", "models/model.pt", "models/model.pth")
_TARGETS = ("DiffusionModelUNet", "monai.networks.nets.DiffusionModelUNet")
_TARGETS += ("generative.networks.nets.DiffusionModelUNet",)
_STEPPERS = ("DDPMScheduler", "DDIMScheduler", "PNDMScheduler")
_MOST_REFERENCES = 20
_MOST_VALUES = 10_000
"""Of one argument, with what its references stand for written out."""


@dataclass(frozen=True)
class ForeignFiles:
    """What a folder says, and where its weights are.

    Attributes:
        name: as the user gave it.
        family: a name in `coslice.priors.foreign_networks.FOREIGN`.
        title: what people call it: the last part of its name.
        config: the arguments of the network.
        source: the file they are from, for messages.
        scheduler: what is said of its steps; None where nothing is.
        scheduler_source: the file that is from.
        settings: what is said of its images.
        weights: the file they are in.
        described: all other files that were read.
    """

    name: str
    family: str
    title: str
    config: Mapping[str, Any]
    source: str
    scheduler: Mapping[str, Any] | None
    scheduler_source: str
    settings: Settings
    weights: Path
    described: tuple[Path, ...] = field(default=())


def is_foreign(name: str) -> bool:
    """Whether a name is of a folder of another library: "diffusers:..." or "monai:..."."""
    return name.startswith(tuple(_PREFIXES))


def foreign_name(name: str) -> str:
    """The last part of a name, by which a prior may be called: "diffusers:models/chest/unet" is "chest"."""
    address = name.partition(":")[2].partition("@")[0]
    parts = [part for part in re.split(r"[\\/]+", address) if part not in ("", ".", "..")]
    if len(parts) > 1 and parts[-1] in ("unet", "unet_ema"):
        parts.pop()
    last = parts[-1] if parts else "prior"
    return Path(last).stem if last.endswith((".pt", ".pth", ".safetensors")) else last


def foreign_files(name: str, config: str | Path | None = None) -> ForeignFiles:
    """The files behind a name; those on the Hub are fetched.

    Args:
        name: see the module.
        config: what takes the place of the configuration beside it: of diffusers that of the scheduler, of MONAI that
            of the bundle.

    Raises:
        CosliceError: no such folder, one that lacks a file, or a network that is none of noisy images alone.
    """
    prefix = next(one for one in _PREFIXES if name.startswith(one))
    address = name.removeprefix(prefix)
    if not address:
        raise CosliceError(f"prior: {name} was given, but {prefix}PATH is needed, the folder of a network.")
    given = None if config is None else Path(config)
    if prefix == "monai:":
        return _of_monai(name, _place(name, address), given)
    folder = _place(name, address)
    if folder.is_dir():
        return _of_diffusers(name, folder, given, None)
    if folder.is_file():
        raise CosliceError(f"prior: {name} is a file, but the folder it is in is needed, with its config.json.")
    if address.startswith(".") or not _ON_HUB.fullmatch(address):
        raise CosliceError(
            f"prior: {name} was given, but there is no folder {visible(address)}, and a name on the Hub is "
            "diffusers:OWNER/NAME[@REVISION]."
        )
    return _of_diffusers(name, hub_folder(name, address, _DESCRIBING), given, address)


def _place(name: str, address: str) -> Path:
    """The path that an address is of, where there is anything or not.

    Raises:
        CosliceError: no path at all: it is too long, or below a home that nobody has.
    """
    try:
        place = Path(address).expanduser()
        place.is_dir()
    except (OSError, RuntimeError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise CosliceError(
            f"prior: {visible(shown_path(name))} was given, but no folder can be looked for there "
            f"({reason.lower().rstrip('.')}); correct the path."
        ) from error
    return place


def _of_diffusers(name: str, folder: Path, given: Path | None, address: str | None) -> ForeignFiles:
    """Of a folder here, or of one whose weights are still at an `address` on the Hub."""
    inside = folder.name == "unet" and (folder.parent / "model_index.json").is_file()
    top = folder.parent if inside else folder
    index = top / "model_index.json"
    if index.is_file():
        _check_pipeline(name, _read(index))
    part = "" if inside or not (top / "unet" / "config.json").is_file() else "unet/"
    described = folder / f"{part}config.json"
    if not described.is_file():
        raise CosliceError(
            f"prior: {name} has neither config.json nor unet/config.json, so it is no network that save_pretrained of "
            "diffusers wrote; give the folder with these files."
        )
    config = _read(described)
    _check_class(name, config)
    schedulers = [top / one for one in _SCHEDULERS] + [folder / "scheduler_config.json"]
    if folder.name.startswith("unet"):
        schedulers.append(folder.parent / _SCHEDULERS[0])
    beside = given or next((one for one in schedulers if one.is_file()), None)
    weights = _here(name, folder, part) if address is None else _on_hub(name, address, part)
    settings, cards = _said_of_images(folder if folder == top else top)
    files = [index if index.is_file() else None, described, beside, *cards]
    return ForeignFiles(
        name=name,
        family="diffusers-unet",
        title=foreign_name(name),
        config=config,
        source=f"{name}: config.json",
        scheduler=None if beside is None else _read(beside),
        scheduler_source="" if beside is None else f"{name}: {beside.name}",
        settings=settings,
        weights=weights,
        described=tuple(file for file in files if file is not None),
    )


def _check_pipeline(name: str, index: Mapping[str, Any]) -> None:
    """Refuse pipelines whose network sees something else than the noisy image, or more."""
    parts = {key for key, value in index.items() if isinstance(value, list) and any(one is not None for one in value)}
    title = visible(str(index.get("_class_name", "a pipeline"))[:80])
    if latent := [part for part in _LATENT if part in parts]:
        raise CosliceError(
            f"prior: {name} is a {title} with a {latent[0]}: its network denoises codes of images and not images, but "
            "a diffusion model of pixels is needed."
        )
    if asked := [part for part in _CONDITIONS if part in parts]:
        raise CosliceError(
            f"prior: {name} is a {title} with a {asked[0]}: its network waits for a condition, but one of images alone "
            "is needed."
        )


def _check_class(name: str, config: Mapping[str, Any]) -> None:
    found = config.get("_class_name")
    if found == "UNet2DModel":
        return
    if found == "UNet2DConditionModel":
        raise CosliceError(
            f"prior: {name} is a UNet2DConditionModel, which waits for a condition with every image, but a "
            "UNet2DModel, of images alone, is needed."
        )
    raise CosliceError(f"prior: {name} is a {shown(found)}, but a UNet2DModel of diffusers is needed.")


def _here(name: str, folder: Path, part: str) -> Path:
    found = next((folder / f"{part}{one}" for one in _WEIGHTS if (folder / f"{part}{one}").is_file()), None)
    if found is None:
        cut = list((folder / part).glob("diffusion_pytorch_model*.index.json"))
        raise _without_weights(name, part, bool(cut))
    return found


def _on_hub(name: str, address: str, part: str) -> Path:
    for one in _WEIGHTS:
        found = hub_folder(name, address, [f"{part}{one}"]) / f"{part}{one}"
        if found.is_file():
            return found
    raise _without_weights(name, part, False)


def _without_weights(name: str, part: str, cut: bool) -> CosliceError:
    what = "its weights in several files" if cut else f"no {part}{_WEIGHTS[0]}"
    return CosliceError(
        f"prior: {name} has {what}, but its weights in one file are needed; save it anew, as in "
        "unet.save_pretrained(FOLDER)."
    )


def _of_monai(name: str, place: Path, given: Path | None) -> ForeignFiles:
    if place.is_dir():
        described = given or next((place / one for one in _BUNDLE if (place / one).is_file()), None)
        weights = next((place / one for one in _BUNDLE_WEIGHTS if (place / one).is_file()), None)
        if described is None or weights is None:
            lacks = "configs/inference.json or .yaml" if described is None else "models/model.pt or .safetensors"
            raise CosliceError(f"prior: {name} has no {lacks}, so it is no bundle of MONAI; give its folder.")
        settings, cards = _said_of_images(place)
    elif place.is_file():
        described, weights = given or configuration_beside(place), place
        if described is None:
            raise CosliceError(
                f"prior: {name} has no configuration beside it; give one with a network_def and a scheduler, as of a "
                "bundle: coslice priors import " + f"{name} --config inference.json."
            )
        settings, cards = Settings({}, "coslice.json"), []
    else:
        raise CosliceError(f"prior: {name} was given, but there is no folder or file {visible(str(place))}.")
    tree, who = _read(described), f"{name}: {described.name}"
    network, scheduler = _network_of(tree, who), _scheduler_of(tree, who)
    return ForeignFiles(
        name=name,
        family="monai-unet",
        title=foreign_name(name),
        config=network,
        source=who,
        scheduler=scheduler,
        scheduler_source=who,
        settings=settings,
        weights=weights,
        described=(described, *cards),
    )


def _network_of(tree: Mapping[str, Any], who: str) -> dict[str, Any]:
    entries = _targets(tree)
    if any(target.rpartition(".")[2].startswith(("Autoencoder", "VQVAE")) for target in entries.values()):
        raise CosliceError(
            f"{who}: it has an autoencoder: its network denoises codes of images and not images, but a diffusion model "
            "of pixels is needed."
        )
    found = [key for key, target in entries.items() if target in _TARGETS]
    if len(found) != 1:
        there = ", ".join(visible(target[:60]) for target in list(entries.values())[:4]) or "nothing with a _target_"
        raise CosliceError(
            f"{who}: one network of the class {_TARGETS[1]} is needed, but it defines {len(found)} (it has {there})."
        )
    arguments = _arguments(tree, found[0], who)
    if "num_channels" in arguments:  # as it was called before the network came to MONAI
        arguments["channels"] = arguments.pop("num_channels")
    return arguments


def _scheduler_of(tree: Mapping[str, Any], who: str) -> dict[str, Any] | None:
    entries = {key: target for key, target in _targets(tree).items() if target.endswith("Scheduler")}
    usable = [key for key, target in entries.items() if target.rpartition(".")[2] in _STEPPERS]
    if not usable:
        if strange := [target for target in entries.values() if ".schedulers." in target]:
            raise CosliceError(
                f"{who}: the scheduler {visible(strange[0][:80])} is not known; known are {', '.join(_STEPPERS)}."
            )
        return None
    return _arguments(tree, usable[0], who)


def _targets(tree: Mapping[str, Any]) -> dict[str, str]:
    """The classes that are named at the top, by their keys."""
    found = {key: value.get("_target_") for key, value in tree.items() if isinstance(value, Mapping)}
    return {key: target for key, target in found.items() if isinstance(target, str)}


def _arguments(tree: Mapping[str, Any], key: str, who: str) -> dict[str, Any]:
    given: dict[str, Any] = {}
    for name, value in tree[key].items():
        if not isinstance(name, str):
            raise CosliceError(f"{who}: {visible(key)} has the key {shown(name)}, but a word is needed; correct it.")
        if not name.startswith("_"):
            given[name] = _resolved(tree, value, f"{key}.{name}", who, [_MOST_VALUES])
    return given


def _resolved(tree: Mapping[str, Any], value: Any, path: str, who: str, left: list[int], depth: int = 0) -> Any:
    """A plain value, or what a reference to one stands for; of `left` values at most, which are counted down."""
    left[0] -= 1
    if left[0] < 0:
        raise CosliceError(
            f"{who}: {visible(path)} stands for more than {_MOST_VALUES:,} values, which no network has; correct it."
        )
    if isinstance(value, list):
        return [_resolved(tree, one, path, who, left, depth) for one in value]
    if not isinstance(value, str) or value[:1] not in ("@", "$", "%"):
        return value
    if value[0] == "@" and depth > _MOST_REFERENCES:
        raise CosliceError(f"{who}: {visible(path)} leads from {shown(value)} to others without an end; correct it.")
    if value[0] != "@":
        raise CosliceError(
            f"{who}: {visible(path)} is {shown(value)}, which asks to run code, so it was refused and nothing of it "
            "was run; write the value itself there."
        )
    found: Any = tree
    for part in re.split(r"::|#", value[1:]):
        if not isinstance(found, Mapping) or part not in found:
            raise CosliceError(f"{who}: {visible(path)} is {shown(value)}, but there is no such entry; correct it.")
        found = found[part]
    return _resolved(tree, found, path, who, left, depth + 1)


def _said_of_images(folder: Path) -> tuple[Settings, list[Path]]:
    """What a file of the user's in the folder says of the images, and that file; nothing where there is none."""
    path = next((folder / one for one in _CARDS if (folder / one).is_file()), None)
    if path is None:
        return Settings({}, _CARDS[0]), []
    return Settings(_read(path), path.name), [path]


def _read(path: Path) -> Mapping[str, Any]:
    try:
        found = read_json(path) if path.suffix == ".json" else read_yaml(path)
    except (OSError, ValueError) as error:
        reason = (getattr(error, "strerror", None) or "").lower() or f"it is not JSON or YAML of plain values ({error})"
        raise CosliceError(f"prior: {path.name} cannot be read as a configuration: {reason}; correct it.") from error
    if not isinstance(found, Mapping):
        raise CosliceError(f"prior: {path.name} holds {shown(found)}, but names with values are needed; correct it.")
    return found
