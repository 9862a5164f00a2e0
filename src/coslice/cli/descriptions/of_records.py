"""A prior, and a folder of results, in words."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from coslice.cli.descriptions.description import Description, by, number
from coslice.errors import CosliceError
from coslice.escapes import shown
from coslice.io.documents import read_json

__all__ = ["prior_description", "run_description"]


def prior_description(name: str) -> Description:
    """A prior: what it has seen and what it takes; its card is in the facts.

    Raises:
        CosliceError: no such prior, or a file that is none.
    """
    from coslice.priors import read_card
    from coslice.priors.suitability import seen_by

    card = read_card(name)
    seen = seen_by(card)
    parts = [
        word
        for word, known in (
            (f"the plane {seen.get('plane', card.get('plane'))}", "plane" in seen or "plane" in card),
            (f"pixels of {_range(seen.get('pixel_mm'))} mm", "pixel_mm" in seen),
            (f"slices {_range(seen.get('slice_mm'))} mm apart", "slice_mm" in seen),
            (f"images of {_range(seen.get('size'))} pixels a side", "size" in seen),
            (f"bodies at {_range((seen.get('intensity') or {}).get('level'))} of its window", "intensity" in seen),
        )
        if known
    ]
    entries = [("Has seen", f"{', '.join(parts)}." if parts else "Its card does not say.")]
    if "window" in card:
        entries.append(("Window", f"Its 0 and 1 are those of {card['window']}."))
    title = card.get("title", card.get("network", ""))
    label = Path(name).stem if name.endswith(".safetensors") else name
    return Description(
        f"{label}: a prior{f', {title}' if title else ''}",
        tuple(entries),
        {"kind": "prior", "seen": seen, "card": card},
        advice=(("To use it", f"coslice reconstruct SCAN --prior {name} --out out/"),),
    )


def run_description(folder: Path) -> Description:
    """A folder of results, by its run.json.

    Raises:
        CosliceError: a run.json that is none of ours.
    """
    path = folder / "run.json" if folder.is_dir() else folder
    try:
        record = read_json(path)
        study, methods = record["study"], record["methods"]
        words = _run_words(record, study, methods)
        remarks = tuple(("Remarks", str(remark)) for remark in record.get("remarks", ()))
    except (OSError, ValueError, LookupError, TypeError, AttributeError, ArithmeticError, RecursionError) as error:
        raise CosliceError(
            f"{path} is no record of a run of coslice ({type(error).__name__}: {shown(str(error))}); give a folder "
            "that coslice reconstruct wrote."
        ) from error
    return Description(
        f"{folder.name or folder}: results of coslice {record.get('coslice') or ''}".rstrip(),
        (("Run", words), *remarks),
        {"kind": "run", "task": study.get("task"), "methods": list(methods), "seconds": record.get("seconds")},
    )


def _run_words(record: dict[str, Any], study: dict[str, Any], methods: dict[str, Any]) -> str:
    window = study["window"]
    names = [str(one.get("title", stem)) for stem, one in methods.items()]
    priors = [str(card.get("name", "one without a name")) for card in record.get("priors", ())]
    seconds = _total(record.get("seconds", {}))
    task = {
        "svct": "sparse-view CT",
        "lact": "limited-angle CT",
        "zsr": "thick slices made thin",
        "projections": "measured projections",
        "stacks": "several stacks",
    }.get(str(study.get("task")), str(study.get("task")))
    measured = " (a real measurement)" if study.get("measured") else ""
    grid = f"{by(study['shape'])} voxels (z, y, x) of {by(study['spacing_mm'])} mm"
    seen = f"{number(float(window['low']))} to {number(float(window['high']))} {window.get('unit', '')}".rstrip()
    return (
        f"{task[0].upper()}{task[1:]}{measured}: {grid}, in a window of {seen}"
        + f". Reconstructed by {', '.join(names) or 'no method'}"
        + (f" with {' and '.join(priors)}" if priors else "")
        + f" in {number(seconds, 3)} s on {record.get('device', 'cpu')}, seed "
        + ", ".join(dict.fromkeys(str(one.get("seed")) for one in record.get("recipes", {}).values()))
        + "."
    )


def _total(seconds: Any) -> float:
    """Of all methods and all that they do."""
    return sum(map(_total, seconds.values())) if isinstance(seconds, dict) else float(seconds)


def _range(ends: Any) -> str:
    if not isinstance(ends, list | tuple) or len(ends) != 2:
        return str(ends)
    low, high = (f"{end:.3g}" for end in ends)
    return low if low == high else f"{low} to {high}"
