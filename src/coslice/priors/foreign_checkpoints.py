"""A network out of a folder of another library, as a published one: `coslice.priors.foreign_folders` says which.

Weights are safetensors, or pickles that hold nothing but tensors and plain values (`coslice.priors.checkpoint_files`);
anything else is refused before it is read. All of them must find their place in the network that the configuration
describes, and no place may stay empty. What the scheduler says makes the network a denoiser.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch

from coslice.errors import CosliceError
from coslice.escapes import visible
from coslice.networks.limits import check_room
from coslice.priors.checkpoint_files import check_sizes, read_checkpoint
from coslice.priors.filling import check_fit, filled, some
from coslice.priors.foreign_folders import ForeignFiles, foreign_files
from coslice.priors.foreign_networks import FOREIGN, ForeignConfig, ForeignUNet
from coslice.priors.origins import UNKNOWN, Shown, origin_of
from coslice.priors.published import Published, unwrapped
from coslice.priors.step_tables import TrainedSteps, steps_of_diffusers, steps_of_monai, usual

__all__ = ["read_foreign"]


def read_foreign(
    name: str, config: str | Path | None = None, stated: Shown = UNKNOWN, otherwise: Shown = UNKNOWN
) -> Published:
    """The network behind "diffusers:..." or "monai:...", and what is known of it.

    Args:
        name, config: as `coslice.priors.foreign_folders.foreign_files` takes them.
        stated, otherwise: what its images were, as `coslice.priors.published.read_published` takes it.

    Raises:
        CosliceError: as `foreign_files`; a library that is not there; weights that do not fit; a scheduler that is not
            known.
    """
    files = foreign_files(name, config)
    config_class, network_class = FOREIGN[files.family]
    shape = config_class.from_dict(files.config, files.source)
    steps = _steps(files)
    known, count = getattr(shape, "steps", None), len(steps.table.table)
    if known is not None and count > known:
        raise CosliceError(
            f"{files.source}: the network knows {known} steps, but its scheduler has {count}; give the scheduler that "
            "it was trained with."
        )
    content = read_checkpoint(files.weights)
    weights, average, notes = unwrapped(content, files.weights.name)
    if average is not None:
        notes = ("The file holds averaged (EMA) weights without names, which were not used.",)
    check_sizes(weights.values(), files.weights)
    check_room(files.name, shape, {key: tuple(weight.shape) for key, weight in weights.items()})
    with torch.device("meta"):
        network = network_class(shape)
    _check_answers(files.name, network, shape)
    check_fit(network.inner, {key: (one.dtype, tuple(one.shape)) for key, one in weights.items()}, files.weights.name)
    filled(network.inner, weights, files.weights.name)
    network.eval().requires_grad_(False)
    shown, said = origin_of(Path(files.title), files.family, shape, files.settings, stated, otherwise)
    said = (*said, *_sorts(shape.image_channels), *steps.notes)
    size = getattr(shape, "image_size", None)
    found = Published(files.family, network, shape, shown, steps.table, size, (*notes, *said), said)
    return replace(found, prediction=steps.prediction, asked=name)


def _check_answers(name: str, network: ForeignUNet, shape: ForeignConfig) -> None:
    """Refuse a network that can be built and not asked: it is asked once, for shapes alone, which takes no numbers.

    Raises:
        CosliceError: its blocks do not fit each other, or it needs tables that no file of weights holds.
    """
    if unkept := [key for key, _ in network.inner.named_buffers() if key not in network.inner.state_dict()]:
        raise CosliceError(
            f"prior: {name} has blocks with tables that files of weights do not hold ({some(unkept)}), but one that "
            "its weights alone make up is needed."
        )
    side, channels = 2 * network.stride, shape.image_channels
    try:
        with torch.no_grad():
            answer = network.eval()(torch.zeros(1, channels, side, side, device="meta"), torch.zeros(1, device="meta"))
        fits = tuple(answer.shape) == (1, shape.arguments["out_channels"], side, side)
        reason = "" if fits else f"of an image {side} x {side} it makes {tuple(answer.shape)}"
    except Exception as error:  # a stranger's code, with arguments that it was not written for
        reason = (str(error).strip() or type(error).__name__).splitlines()[0][:160]
    if reason:
        raise CosliceError(
            f"prior: {name} describes a network that cannot be asked for images ({visible(reason)}); correct its "
            "configuration."
        )


def _steps(files: ForeignFiles) -> TrainedSteps:
    if files.scheduler is None:
        return usual()
    read = steps_of_diffusers if files.family == "diffusers-unet" else steps_of_monai
    return read(files.scheduler, files.scheduler_source)


def _sorts(channels: int) -> tuple[str, ...]:
    if channels == 1:
        return ()
    return (
        f"Its images have {channels} channels, which were taken for as many neighbouring slices; a network of colours "
        "or of codes is no prior of a volume.",
    )
