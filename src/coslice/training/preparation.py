"""What has to be settled before the first step: the folder, the recipe, the slices, the weights to start from.

Everything a user can get wrong is found here, while nothing has been computed yet.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch

from coslice.errors import CosliceError
from coslice.networks.edm import EDMDenoiser
from coslice.networks.unet import UNet, for_patches
from coslice.training.checkpoint import has_checkpoint
from coslice.training.loop import measured
from coslice.training.pack import Pack, check_scans, is_pack, known_scans, make_pack, open_pack
from coslice.training.pairs import check_pairs, make_pairs
from coslice.training.ranks import Ranks
from coslice.training.recipe import MAY_CHANGE, Recipe, differences, overlay, shape
from coslice.training.slices import SliceStream
from coslice.training.supervised import PairStream, views_of
from coslice.training.views import View, default_views
from coslice.training.watch import Listener

__all__ = ["claim", "fed", "fingerprint", "load_initial", "packed", "resolved", "settle", "stored_recipe"]


def settle(out: Path, places: Sequence[Path], explicit: Mapping[str, Any]) -> Recipe:
    """The recipe of the run in `out`, given what the user says of it.

    In a new run, what `explicit` leaves out has its default, and plane and window are those of DATA where that is a
    pack. In a run that has a checkpoint, it is as it was.

    Raises:
        CosliceError: a key or value that is wrong, or other than that of the run so far.
    """
    claim(out)
    recipe = Recipe.from_dict(explicit)
    given = _same_leaves(recipe.to_dict(), explicit)
    if has_checkpoint(out):
        return stored_recipe(out, given)
    if len(places) == 1 and is_pack(places[0]):
        pack = _opened(places[0], out)
        return Recipe.from_dict(overlay({"data": {"plane": pack.plane, "window": pack.window}}, given))
    return recipe


def load_initial(name: str, slices: int) -> EDMDenoiser:
    """The denoiser of a prior that a run can start from; of single slices, made one of patches where these are wanted.

    Raises:
        CosliceError: no such prior, one that is not of this training's kind, or one of other patches.
    """
    from coslice.priors import load_prior

    denoiser = load_prior(name).denoiser
    if not isinstance(denoiser, EDMDenoiser) or not isinstance(denoiser.network, UNet):
        raise CosliceError(f'train: --init "{name}" is no U-Net that coslice trained; give one that is.')
    had = denoiser.network.config.image_channels
    if had not in (1, slices):
        raise CosliceError(
            f'train: --init "{name}" is of {had} slices to an image, but {slices} were asked for; '
            "give it one slice or as many."
        )
    network = denoiser.network if had == slices else for_patches(denoiser.network, slices)
    return EDMDenoiser(network.float().requires_grad_(True), denoiser.data_mean, denoiser.data_std)


def resolved(recipe: Recipe, pack: Pack, initial: EDMDenoiser | None) -> Recipe:
    """The recipe with its network and views, where these were left to be found out; checked against the pack."""
    if (recipe.data.plane, recipe.data.window) != (pack.plane, pack.window):
        raise CosliceError(
            f"train: plane {recipe.data.plane} and window {recipe.data.window} were asked for, but the pack in "
            f"{pack.folder} is of plane {pack.plane} and window {pack.window}; leave them out, or make another pack."
        )
    if initial is not None:
        assert isinstance(initial.network, UNet)
        if recipe.network not in (None, initial.network.config):
            raise CosliceError(
                f"train: {recipe.network} was asked for, but {recipe.init} is a {initial.network.config}; "
                "leave out network, or start without --init."
            )
        recipe = replace(recipe, network=initial.network.config, data_mean=initial.data_mean, data_std=initial.data_std)
    network = recipe.network or shape(recipe.patches.slices)
    views = _views(recipe, pack)
    for view in views:
        if view.side % network.stride:
            raise CosliceError(
                f"train: a view of {view.side} pixels was asked for, but sides must be multiples of the network's "
                f"stride {network.stride}; change views.side or network."
            )
    return replace(recipe, network=network, views=views)


def _views(recipe: Recipe, pack: Pack) -> tuple[View, ...]:
    if not recipe.supervised:
        return recipe.views or default_views(pack)
    check_pairs(pack, recipe.supervised.tasks)
    sizes = recipe.supervised.sizes or sorted({view.side for view in recipe.views or default_views(pack)})
    views = recipe.views or views_of(sizes)
    if {view.side for view in views} != set(sizes):
        raise CosliceError(
            f"train: supervised.sizes {', '.join(map(str, sizes))} were asked for, but views of other sides; "
            "leave out the one or the other."
        )
    return views


def fed(
    recipe: Recipe,
    pack: Pack,
    names: tuple[str, ...],
    out: Path,
    device: torch.device,
    ranks: Ranks,
    listener: Listener,
) -> tuple[Recipe, SliceStream | PairStream]:
    """A resolved recipe with mean and deviation of its images, and their stream; pairs are simulated before."""
    assert recipe.views
    stream: SliceStream | PairStream
    if recipe.supervised:
        sizes = sorted({view.side for view in recipe.views})
        if not ranks.writes:
            ranks.wait()  # What the first has made, the others find.
        elif not has_checkpoint(out):
            # Written before the hours of simulating, so that the folder is known to be a run's.
            recipe.save(out / "run.yaml")
        pairs = make_pairs(pack, recipe.supervised.tasks, sizes, out / "pairs", device, listener.simulating)
        if ranks.writes:
            ranks.wait()
        stream = PairStream(pairs, names, recipe.views, recipe.seed)
    else:
        stream = SliceStream(pack, names, recipe.views, recipe.augment, recipe.seed, recipe.patches)
    if recipe.data_mean is None or recipe.data_std is None:
        mean, std = measured(stream, recipe.batch)
        recipe = replace(recipe, data_mean=mean, data_std=std)
    return recipe, stream


def packed(recipe: Recipe, places: Sequence[Path], out: Path, ranks: Ranks, listener: Listener) -> Pack:
    """The slices: of a pack as it is, or of scans, found and packed by the rank that writes."""
    if len(places) == 1 and is_pack(places[0]):
        if not ranks.writes:
            ranks.wait()
        pack = _opened(places[0], out)
        if ranks.writes:
            ranks.wait()
        return pack
    folder = out / "slices"
    if not places and not is_pack(folder):
        raise CosliceError("train: no DATA was given; give scans, folders of scans, or a pack.")
    if places and ranks.writes:
        from coslice.training.scans import find_scans

        found = find_scans(places, recipe.data.strict, known_scans(folder))
        for skipped in found.skipped:
            listener.note(f"Skipped: {skipped.reason}")
        if found.skipped:
            listener.note(f"{len(found.skipped)} skipped, {len(found.scans)} scans to use.")
        data = recipe.data
        check_scans(found.scans, data.plane, data.window)
        # Written before the hours of packing, so that the folder is known to be a run's.
        if not has_checkpoint(out):
            recipe.save(out / "run.yaml")
        credits = "; ".join(words for words in (data.credit, data.licence) if words)
        make_pack(found, data.plane, data.window, folder, size=data.size, progress=listener.packing, credits=credits)
    ranks.wait()
    return open_pack(folder)


def _opened(place: Path, out: Path) -> Pack:
    return open_pack(place, out / "slices")


def claim(out: Path) -> None:
    if out.exists() and not out.is_dir():
        raise CosliceError(f"{out} is a file, but a folder is needed for the run; choose another name.")
    if (
        out.is_dir()
        and not (out / "run.yaml").is_file()
        and {path.name for path in out.iterdir()} - {"slices", "pairs"}
    ):
        raise CosliceError(f"The folder {out} holds something that is no training run; choose another one for --out.")


def stored_recipe(out: Path, given: Mapping[str, Any]) -> Recipe:
    """The recipe of the run in `out`, with what `given` may change.

    Raises:
        CosliceError: `given` sets something else to another value.
    """
    stored = Recipe.load(out / "run.yaml").to_dict()
    changed = [key for key in differences(stored, given) if key not in MAY_CHANGE]
    if changed:
        was, now = _leaf(stored, changed[0]), _leaf(given, changed[0])
        raise CosliceError(
            f"{out} holds a run with {changed[0]} {was!r}, but {now!r} was given; leave it out to go on with that run, "
            "or choose another folder."
        )
    return Recipe.from_dict(overlay(stored, _set_only(given)))


def _leaf(tree: Mapping[str, Any], path: str) -> Any:
    value: Any = tree
    for key in path.split("."):
        value = value[key]
    return value


def _same_leaves(full: Mapping[str, Any], chosen: Mapping[str, Any]) -> dict[str, Any]:
    """The leaves of `full` that `chosen` has too."""
    return {
        key: _same_leaves(full[key], value)
        if isinstance(value, Mapping) and isinstance(full[key], Mapping)
        else full[key]
        for key, value in chosen.items()
    }


def _set_only(tree: Mapping[str, Any]) -> dict[str, Any]:
    """Without the leaves that are None."""
    return {k: _set_only(v) if isinstance(v, Mapping) else v for k, v in tree.items() if v is not None}


def fingerprint(pack: Pack) -> str:
    told = [(scan.name, scan.shape, asdict(scan.window)) for scan in pack.scans]
    return hashlib.sha256(repr((pack.plane, pack.window, pack.bits, told)).encode()).hexdigest()
