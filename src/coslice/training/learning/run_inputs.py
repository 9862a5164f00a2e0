"""What a run begins with: the slices, the weights to start from, the network's shape, the stream of images.

Together with `run_folder` it finds everything a user can get wrong, while nothing has been computed yet.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path

import torch

from coslice.errors import CosliceError
from coslice.io.documents import read_json
from coslice.io.files import write_json
from coslice.networks.unet import UNet
from coslice.parallel import Ranks
from coslice.priors import load_prior
from coslice.problems import task_of_key
from coslice.training.collection.catalogue import Pack
from coslice.training.collection.pack import (
    as_packed,
    check_scans,
    is_pack,
    known_scans,
    make_pack,
    open_pack,
    regrouped,
)
from coslice.training.collection.recut import recut_pack
from coslice.training.collection.skips import skipped_record, skipped_table
from coslice.training.learning.beginning import Beginning
from coslice.training.learning.checkpoint import has_checkpoint
from coslice.training.learning.journal import Listener
from coslice.training.learning.trainer import measured_moments
from coslice.training.run_settings import TrainingSettings, default_network
from coslice.training.sections import View
from coslice.training.supply.pair_stream import PairStream, views_of_sizes
from coslice.training.supply.pairs import check_pairs, make_pairs
from coslice.training.supply.rollout_stream import RolloutStream
from coslice.training.supply.rollouts import Rollouts, found_rollouts, make_rollouts
from coslice.training.supply.slice_stream import SliceStream
from coslice.training.supply.views import default_views, whole_views

__all__ = [
    "SCANS",
    "fingerprint",
    "image_stream",
    "other_scans",
    "resolved_settings",
    "run_pack",
    "skipped_counts",
]

SCANS = "scans.json"
"""In a run's folder: what was found in the places that were searched, and what was not used."""


def run_pack(settings: TrainingSettings, places: Sequence[Path], out: Path, ranks: Ranks, listener: Listener) -> Pack:
    """The slices: of a pack as it is, or of scans, found and packed by the rank that writes.

    What was found and what was not used is told to the listener, and written into scans.json in `out`.
    """
    data, folder = settings.data, out / "slices"
    for task in settings.supervised.tasks if settings.supervised else ():
        task_of_key(task)  # before the hours of packing
    if settings.rollouts and settings.start.init is None and not all(one.priors for one in settings.rollouts):
        raise CosliceError(
            "train: rollouts were asked for, but neither init nor rollouts.priors says whose prior is to reconstruct; "
            "give --init PRIOR."
        )
    if len(places) == 1 and is_pack(places[0]):
        if not ranks.writes:
            ranks.wait()  # What the first has put together, the others find.
        pack = open_pack(places[0], folder)
        pack = _along(pack, data.plane, folder, listener)
        if ranks.writes:
            ranks.wait()
        return _with_subjects(pack, data.subjects, listener)
    if not places and not is_pack(folder):
        raise CosliceError("train: no DATA was given; give scans, folders of scans, or a pack.")
    if places and ranks.writes:
        from coslice.training.collection.scans import find_scans

        goes_on = has_checkpoint(out)
        rule = None if goes_on else data.subjects
        found = find_scans(places, data.strict, known_scans(folder), data.plane, data.window, rule)
        if found.skipped:
            listener.note(skipped_table(found.skipped))
        found = as_packed(found, folder) if goes_on else found
        if found is None:
            raise other_scans(out)
        check_scans(found.scans, data.plane, data.window)
        # Written before the hours of packing, so that the folder is known to be a run's.
        if not goes_on:
            settings.save(out / "run.yaml")
            listener.note(found.subjects)
        record = {"scans": len(found.scans), "subjects": found.subjects, "skipped": skipped_record(found.skipped)}
        write_json(out / SCANS, record)
        credits = "; ".join(words for words in (data.credit, data.licence) if words)
        make_pack(
            *(found, data.plane, data.window, folder),
            size=data.size,
            progress=listener.packing,
            credits=credits,
            background=data.background or "",
        )
        ranks.wait()
        return open_pack(folder)
    if not ranks.writes:
        ranks.wait()
    pack = _along(open_pack(folder), data.plane, folder, listener)
    if ranks.writes:
        ranks.wait()
    return pack


def _along(pack: Pack, plane: str, folder: Path, listener: Listener) -> Pack:
    """The pack, cut anew below `folder` if it is of another plane."""
    if pack.plane == plane:
        return pack
    cut, left_out = recut_pack(pack, plane, folder / plane)
    without = f"; {len(left_out)} scans have no images that fit there ({', '.join(left_out[:5])})" if left_out else ""
    listener.note(f"The pack is of plane {pack.plane}; its {len(cut.scans)} scans are cut along {plane}{without}.")
    return cut


def other_scans(out: Path) -> CosliceError:
    """What is said where the run in `out` is to go on with scans that are not its own."""
    return CosliceError(
        f"{out} was begun on other scans than those given now; give the same, leave DATA out to go on with the slices "
        f"that are in it, or start a new run from what it has learned, with {out / 'prior.safetensors'} as init."
    )


def skipped_counts(out: Path) -> dict[str, int]:
    """How many files the run in `out` did not use, by kind; {} where nothing was searched."""
    try:
        record = read_json(out / SCANS)
        return {str(one["kind"]): int(one["count"]) for one in record["skipped"]}
    except (OSError, ValueError, KeyError, TypeError):
        return {}


def _with_subjects(pack: Pack, rule: str | None, listener: Listener) -> Pack:
    """The pack of somebody, which is not written to, with subjects by a rule if there is one."""
    if rule:
        pack, how = regrouped(pack, rule)
        listener.note(how)
    return pack


def fingerprint(pack: Pack) -> str:
    """A hash of the scans in a pack: their names, shapes and windows."""
    scans = [(scan.name, scan.shape, asdict(scan.window)) for scan in pack.scans]
    return hashlib.sha256(repr((pack.plane, pack.window, pack.bits, scans)).encode()).hexdigest()


def resolved_settings(settings: TrainingSettings, pack: Pack, start: Beginning) -> TrainingSettings:
    """The settings with network and views, where these were left to be found out; checked against the pack.

    Raises:
        CosliceError: a pack of another plane, window or background, a network that `start` is not, sides that do not
            suit it.
    """
    initial = start.ours
    if (settings.data.plane, settings.data.window) != (pack.plane, pack.window):
        raise CosliceError(
            f"train: plane {settings.data.plane} and window {settings.data.window} were asked for, but the pack in "
            f"{pack.folder} is of plane {pack.plane} and window {pack.window}; leave them out, or make another pack."
        )
    if (settings.data.background or "") != pack.background:
        raise CosliceError(
            f"train: data.background {settings.data.background} was asked for, but the pack in {pack.folder} has "
            f"{pack.background or 'the scans as they are'}; leave it out, or make another pack."
        )
    if initial is not None:
        assert isinstance(initial.network, UNet)
        if settings.network not in (None, initial.network.config):
            raise CosliceError(
                f"train: {settings.network} was asked for, but {settings.start.init} is a {initial.network.config}; "
                "leave out network, or start without init."
            )
        settings = replace(settings, network=initial.network.config)
        settings = settings.with_moments(initial.data_mean, initial.data_std)
    published = start.published
    network = None if published else settings.network or default_network(settings.patches.slices)
    views = _views(settings, pack)
    stride = published.stride if published else network.stride if network else 1
    for view in views:
        if view.side % stride:
            raise CosliceError(
                f"train: a view of {view.side} pixels was asked for, but sides must be multiples of the network's "
                f"stride {stride}; change views.side, --size or network."
            )
    for one in settings.rollouts:
        if one.size % stride:
            raise CosliceError(
                f"train: rollouts.size {one.size} was asked for, but sides must be multiples of the network's stride "
                f"{stride}; change rollouts.size or network."
            )
    return replace(settings, network=network, views=views)


def image_stream(
    settings: TrainingSettings,
    pack: Pack,
    names: tuple[str, ...],
    out: Path,
    device: torch.device,
    ranks: Ranks,
    listener: Listener,
) -> tuple[TrainingSettings, SliceStream | PairStream | RolloutStream]:
    """Resolved settings with mean and deviation of the images and their number, and the stream of these.

    Pairs are simulated before, and scans reconstructed for rollouts.
    """
    assert settings.views
    stream: SliceStream | PairStream | RolloutStream
    if settings.supervised:
        sizes = sorted({view.side for view in settings.views})
        if not ranks.writes:
            ranks.wait()  # What the first has made, the others find.
        elif not has_checkpoint(out):
            # Written before the hours of simulating, so that the folder is known to be a run's.
            settings.save(out / "run.yaml")
        pairs = make_pairs(pack, settings.supervised.tasks, sizes, out / "pairs", device, listener.simulating)
        if ranks.writes:
            ranks.wait()
        stream = PairStream(pairs, names, settings.views, settings.start.seed)
    else:
        classes = settings.published.described.get("classes") if settings.published else None
        patches, seed = settings.patches, settings.start.seed
        stream = SliceStream(
            pack, names, settings.views, settings.augment, seed, patches, classes, settings.data.thickness
        )
        if settings.rollouts:
            stream = RolloutStream(stream, _rollouts(settings, pack, out, device, ranks, listener))
    if settings.schedule.epochs is not None and not has_checkpoint(out):
        settings = replace(settings, images=max(1, round(settings.schedule.epochs * len(stream))))
    if settings.start.data_mean is None or settings.start.data_std is None:
        settings = settings.with_moments(*measured_moments(stream, settings.batch))
    return settings, stream


def _rollouts(
    settings: TrainingSettings, pack: Pack, out: Path, device: torch.device, ranks: Ranks, listener: Listener
) -> list[Rollouts]:
    """Of each of the settings' rollouts; made by the rank that writes, found by the others."""
    if not ranks.writes:
        ranks.wait()
    elif not has_checkpoint(out):
        settings.save(out / "run.yaml")
    made: list[Rollouts] = []
    for one in settings.rollouts:
        if has_checkpoint(out):
            made.append(found_rollouts(pack, one, out / "rollouts"))
            continue
        names = one.priors or (settings.start.init or "",)
        priors = [load_prior(name, device=str(device)) for name in names]
        made.append(make_rollouts(pack, one, priors, out / "rollouts", device, listener.simulating))
    if ranks.writes:
        ranks.wait()
    return made


def _views(settings: TrainingSettings, pack: Pack) -> tuple[View, ...]:
    if not settings.supervised:
        return settings.views or (whole_views(pack) if settings.published else default_views(pack))
    check_pairs(pack, settings.supervised.tasks)
    sizes = settings.supervised.sizes or sorted({view.side for view in settings.views or default_views(pack)})
    views = settings.views or views_of_sizes(sizes)
    if {view.side for view in views} != set(sizes):
        raise CosliceError(
            f"train: supervised.sizes {', '.join(map(str, sizes))} were asked for, but views of other sides; "
            "leave out the one or the other."
        )
    return views
