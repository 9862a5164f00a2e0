"""The folder of a run, and the settings that hold in it.

Doing the same again in the same folder goes on with the run. What was given then need not be given again; what is
given must be the same, but for the run's length and what nothing is computed from.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from coslice.errors import CosliceError
from coslice.io.locks import HIDDEN
from coslice.io.refusals import check_name
from coslice.training.collection.pack import is_pack, open_pack
from coslice.training.learning.beginning import with_published
from coslice.training.learning.checkpoint import has_checkpoint
from coslice.training.run_settings import MAY_CHANGE, TrainingSettings, differences
from coslice.tree import overlay

__all__ = ["check_run_folder", "run_settings_of", "stored_settings"]


def run_settings_of(out: Path, places: Sequence[Path], given: Mapping[str, Any]) -> TrainingSettings:
    """The settings of the run in `out`, by what a user says of it.

    In a new run, what is left out has its default, that of its preset, or what a published network asks for
    (`coslice.training.learning.beginning`); plane, window and background are those of the data where these are a pack.
    In a run that has a checkpoint, it is as it was.

    Args:
        out: folder of the run.
        places: of the data.
        given: a tree of settings, as in run.yaml.

    Raises:
        CosliceError: a key or value that is wrong, or other than that of the run so far.
    """
    check_run_folder(out)
    if has_checkpoint(out):
        return stored_settings(out, _same_leaves(TrainingSettings.from_dict(given).to_dict(), given))
    packed: dict[str, Any] = {}
    if len(places) == 1 and is_pack(places[0]):
        pack = open_pack(places[0], out / "slices")
        # Its slices are as they are; a published network's size is for those that are still to be made.
        packed = {"plane": pack.plane, "window": pack.window, "background": pack.background or None, "size": None}
    return TrainingSettings.from_dict(with_published(given, {"data": packed}))


def stored_settings(out: Path, given: Mapping[str, Any]) -> TrainingSettings:
    """The settings of the run in `out`, with what `given` may change.

    Raises:
        CosliceError: `given` sets something else to another value.
    """
    stored = TrainingSettings.load(out / "run.yaml").to_dict()
    changed = [key for key in differences(stored, given) if key not in MAY_CHANGE]
    if changed:
        was, now = _leaf(stored, changed[0]), _leaf(given, changed[0])
        raise CosliceError(
            f"{out} holds a run with {changed[0]} {was!r}, but {now!r} was given; leave it out to go on with that run, "
            "or choose another folder."
        )
    return TrainingSettings.from_dict(overlay(stored, _set_only(given)))


def check_run_folder(out: Path) -> None:
    """Refuse a folder that holds something else.

    Raises:
        CosliceError: it does, or is a file.
    """
    check_name(out.absolute())
    if out.exists() and not out.is_dir():
        raise CosliceError(f"{out} is a file, but a folder is needed for the run; choose another name.")
    if (
        out.is_dir()
        and not (out / "run.yaml").is_file()
        and {path.name for path in out.iterdir()} - {"slices", "pairs", "rollouts", HIDDEN}
    ):
        raise CosliceError(f"The folder {out} holds something that is no training run; choose another one.")


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
