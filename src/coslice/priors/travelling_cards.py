"""What a card may say where it travels: beside the weights, in the record of every run, on pages.

A card says what a prior is, and not whose scans it was made of or on whose machine. Cards that earlier versions wrote
name the scans that were held out and the path of the weights that training began with; read today, they have counts
and the last part of the path.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from coslice.priors.configurations import configuration_beside
from coslice.priors.origins import published_name

__all__ = ["NOT_FOR", "TERMS", "called", "named_card", "place_name", "recipe_without_names", "unnamed", "without_names"]

NOT_FOR = "diagnosis; anatomy, contrast, implants and disease unlike its training data may be filled in wrongly"
"""What no prior is for."""
TERMS = ("licence", "data_licence", "data_credit", "not_for")
"""What a card is to say besides its numbers: the licence of the weights, that of the training data, whom to credit for
these, and what the prior cannot do."""
_TABLES = (".csv", ".tsv", ".txt")


def without_names(card: dict[str, Any]) -> dict[str, Any]:
    """The card without names of scans and without paths; itself where it has none."""
    held, recipe = card.get("validated_on"), card.get("recipe")
    said = dict(card)
    if isinstance(held, list | tuple):
        said["validated_on"] = {"scans": len(held)}
    elif isinstance(held, str) and held:
        said["validated_on"] = {"scans": 1}
    if isinstance(recipe, Mapping):
        said["recipe"] = recipe_without_names(recipe)
    return said


def recipe_without_names(recipe: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of a training run, as a tree, without names of held-out scans and without paths."""
    tree, data, rollouts = dict(recipe), recipe.get("data"), recipe.get("rollouts")
    if isinstance(tree.get("init"), str):
        tree["init"] = place_name(tree["init"])
    if isinstance(rollouts, list | tuple):
        tree["rollouts"] = [_without_places(one) if isinstance(one, Mapping) else one for one in rollouts]
    if isinstance(data, Mapping):
        tree["data"] = below = dict(data)
        held, subjects = below.get("validation"), below.get("subjects")
        if isinstance(held, list | tuple):
            below["validation"] = [f"held-out-{number + 1}" for number in range(len(held))]
        if isinstance(subjects, str) and (subjects.lower().endswith(_TABLES) or "(" not in subjects):
            below["subjects"] = place_name(subjects)
    return tree


def _without_places(rollout: Mapping[str, Any]) -> dict[str, Any]:
    priors = rollout.get("priors")
    if not isinstance(priors, list | tuple):
        return dict(rollout)
    return {**rollout, "priors": [place_name(one) if isinstance(one, str) else one for one in priors]}


def place_name(text: str) -> str:
    """Of a file the name, of a run's prior that of the run; what is no path stays as it is."""
    if text.startswith("hf:"):
        return text
    if text.startswith(("diffusers:", "monai:")):
        return text.partition(":")[0] + ":" + place_name(text.partition(":")[2])
    folder, name = ["", *re.split(r"[\\/]+", text)][-2:]
    return folder if name == "prior.safetensors" and folder.strip(".") else name


def named_card(path: Path, family: str) -> dict[str, str]:
    """What the card of an imported checkpoint says it is.

    A file may be called by a person. One that was published is known by its name, any other by its content.
    """
    known, digest = published_name(path, family), _short_hash(path)
    title = f"{family}, imported" + (f" from {known}" if known else "")
    return {"name": known or f"{family}-{digest}", "title": title, "sha256": digest}


def called(name: str, path: Path, card: Mapping[str, Any]) -> str:
    """What sentences call a prior: by the name it was asked for, or, of a file, as its card does, never by its path."""
    return name if Path(name) != path else str(card.get("name", "of a file"))


def unnamed(notes: Sequence[str], path: Path, config: str | Path | None = None) -> list[str]:
    """Notes without the names of a checkpoint and of its configuration, given or found beside it."""
    beside = configuration_beside(path) if config is None else Path(config)
    names = {path.name: f"CHECKPOINT{path.suffix}"} | (
        {} if beside is None else {beside.name: f"CONFIG{beside.suffix}"}
    )
    for name, word in names.items():
        notes = [note.replace(name, word) for note in notes]
    return list(notes)


def _short_hash(path: Path) -> str:
    """Eight hexadecimal digits of the content of a file, by which it is told from others."""
    digest = hashlib.sha256()
    with open(path, "rb") as stream:
        while block := stream.read(1 << 22):
            digest.update(block)
    return digest.hexdigest()[:8]
