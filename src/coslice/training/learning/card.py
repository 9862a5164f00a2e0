"""What a prior's file says of its making: as data in the weights' metadata, and as a page for people."""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping
from typing import Any

import torch

from coslice.parallel import Ranks
from coslice.priors.travelling_cards import NOT_FOR
from coslice.training.collection.catalogue import Pack
from coslice.training.collection.pack_brightness import pack_intensity
from coslice.training.learning.validation import ErrorTable
from coslice.training.run_settings import TrainingSettings
from coslice.window import CT_WINDOW

__all__ = ["card_page", "hardware", "prior_card"]


def hardware(device: torch.device, ranks: Ranks) -> str:
    """The machine in a few words."""
    if device.type == "cpu":
        processor = platform.processor() or platform.machine() or "CPU"
        words = f"{torch.get_num_threads()} of {os.cpu_count()} cores, {processor}"
    else:
        module = getattr(torch, device.type, None)
        words = getattr(module, "get_device_name", str)(device)
    return f"{ranks.size} x {words}" if ranks.size > 1 else words


def prior_card(
    name: str,
    settings: TrainingSettings,
    pack: Pack,
    held_out: tuple[str, ...],
    progress: dict[str, Any],
    table: ErrorTable,
    average: str,
    skipped: Mapping[str, int],
) -> dict[str, Any]:
    """Everything to know of a prior, ready for JSON; it travels, so it names no scan and no folder.

    Args:
        name: of the prior.
        settings: of the run.
        pack: of the slices.
        held_out: scans the table is measured on; empty: none could be held out.
        progress: images, steps, hours, hardware of the run.
        table: validation RMSE.
        average: name of the averaged weights.
        skipped: how many files were found and not used, by kind of reason.
    """
    trained = [name for name in pack.names if name not in held_out]
    rows = {size: {key: round(rmse, 6) for key, rmse in row.items()} for size, row in table.items()}
    card: dict[str, Any] = {
        "name": name,
        "title": f"{pack.scans[0].modality}, plane {pack.plane}{_as_patches(settings.patches.slices)}"
        + (", FBP-UNet" if settings.supervised else "")
        + (f", {settings.published.described['network']}" if settings.published else ""),
        "data": {**pack.summary(), "intensity": pack_intensity(pack, trained or None)},
        "skipped": dict(skipped),
        "licence": settings.data.licence,
        "data_licence": settings.data.licence or "not stated",
        "data_credit": settings.data.credit or pack.credits or "not stated",
        "not_for": f"{NOT_FOR}; {own}" if (own := settings.data.not_for) else NOT_FOR,
        **progress,
        "average": float(average) if average[0].isdigit() else average,
        "validated_on": {"scans": len(held_out), "subjects": len({pack.scan(name).person for name in held_out})},
        "validation_rmse": rows,
    }
    if settings.published:
        card["fine_tuned_from"] = settings.published.origin
        card["image_size"] = max(view.side for view in settings.views or ())
    if pack.window == "ct":
        span = CT_WINDOW.high - CT_WINDOW.low
        card["validation_rmse_hu"] = {
            size: {sigma: round(rmse * span, 2) for sigma, rmse in row.items()} for size, row in rows.items()
        }
    return card | {"recipe": settings.to_travel()}


def card_page(card: dict[str, Any]) -> str:
    """The card as Markdown."""
    data, settings = card["data"], card["recipe"]
    facts = {
        "what": f"{_kind(card)}, plane {data['plane']}, window {data['window']} as [0, 1]",
        "pixels": f"{_range(data['pixel_mm'])} mm as stored, "
        f"slices {_range(data['slice_mm'])} mm apart{_thickened(settings)}; "
        f"trained on images of {', '.join(sorted({str(view['side']) for view in settings['views']}, key=int))} pixels "
        + ("of whole slices" if "tasks" in card else f"at zooms {_zooms(settings['views'])}"),
        **_conditions(card),
        **({"background": f"set to {data['background']}"} if data.get("background") else {}),
        "data": f"{data['slices']:,} slices of {_scans(data)} ({data['modality']})",
        **_skipped(card),
        **_brightness(data),
        "licence of the data": card["data_licence"],
        "credit": card["data_credit"],
        "not for": card["not_for"],
        "training": f"{card['images']:,} images in {card['steps']:,} steps, "
        f"{card['hours']:.1f} h on {card['hardware']}",
        "started from": _start(card),
        "weights": _averaging(card["average"]),
    }
    lines = [f"# {card['name']}", "", "| | |", "|---|---|", *(f"| {key} | {value} |" for key, value in facts.items())]
    rows, unit = card["validation_rmse"], "units of the window"
    if "validation_rmse_hu" in card:
        rows, unit = card["validation_rmse_hu"], "HU"
    held_out = card["validated_on"]
    count = held_out["scans"] if isinstance(held_out, dict) else len(held_out)  # which older cards name
    where = f"{count} scan{'s' * (count > 1)} held out" if count else "training scans, since none was held out"
    keys, what, first = list(next(iter(rows.values()), {})), "Denoising error", "sigma"
    if "tasks" in card:
        what, first = "Error", "task"
        span = CT_WINDOW.high - CT_WINDOW.low if unit == "HU" else 1.0
        for size, row in card["validation_rmse_analytic"].items():
            rows = {**rows, f"{size}, analytic": {key: rmse * span for key, rmse in row.items()}}
    lines += ["", f"**{what}** on slices of {where}, root mean square in {unit}:", ""]
    lines += [f"| {first} | {' | '.join(keys)} |", "|---" * (len(keys) + 1) + "|"]
    lines += [f"| {size} | {' | '.join(f'{row[key]:.4g}' for key in keys)} |" for size, row in rows.items()]
    lines += _rollout_lines(card)
    lines += [
        "",
        "The recipe is in the metadata of the weights. Not for diagnosis: a prior fills in what a measurement",
    ]
    lines += ["leaves open, and may fill in wrongly what was not among its training data.", ""]
    return "\n".join(lines)


def _rollout_lines(card: dict[str, Any]) -> list[str]:
    """Of a prior that was shown a sampler's steps: what is left of their errors."""
    tables = card.get("rollouts_rmse")
    if not tables:
        return []
    unit, span = ("HU", CT_WINDOW.high - CT_WINDOW.low) if card["data"]["window"] == "ct" else ("window", 1.0)
    lines = [
        "",
        f"**Rollouts** of held-out scans: error ({unit}) of what a sampler shows the prior, before and after it:",
    ]
    lines += ["", "| size | task, method | before | after |", "|---|---|---|---|"]
    for size, table in tables.items():
        for task, errors in table.items():
            before, after = (f"{error * span:.3g}" for error in errors)
            lines.append(f"| {size} | {task} | {before} | {after} |")
    return lines


def _brightness(data: dict[str, Any]) -> dict[str, str]:
    """How bright the scans were, in the unit window."""
    seen = data["intensity"]
    words = f"bodies at {_range(seen['level'])} of the window, their brightest hundredth from {_range(seen['bright'])}"
    if "clipped" in seen:
        words += f"; at most {100 * seen['clipped'][1]:.2g} % of a slice beyond it"
    return {"brightness": words}


def _thickened(settings: dict[str, Any]) -> str:
    least = settings["data"].get("thickness")
    return f", thinner ones than {least:g} mm shown as means over so much" if least else ""


def _start(card: dict[str, Any]) -> str:
    init = card["recipe"]["init"] or "untrained weights"
    origin = card.get("fine_tuned_from")
    if not origin:
        return init
    said = "; ".join(
        f"{key} {origin[key]}" for key in ("source", "licence") if origin.get(key, "not stated") != "not stated"
    )
    title, preset = origin.get("title", "a published network"), card["recipe"]["preset"]
    return f"{init} ({title}{'; ' if said else ''}{said}), by the settings of {preset}"


def _averaging(average: float | str) -> str:
    """An average, in words; of those with a rate, that of 0 is none."""
    if isinstance(average, str):
        return "the last ones" if average == "rate 0" else f"averaged exponentially, {average} a step"
    return f"averaged, relative width {average:g}"


def _scans(data: dict[str, Any]) -> str:
    scans, subjects = data["scans"], data.get("subjects", data["scans"])
    of_subjects = f" of {subjects} subject{'s' * (subjects > 1)}" if subjects != scans else ""
    return f"{scans} scan{'s' * (scans > 1)}{of_subjects}"


def _skipped(card: dict[str, Any]) -> dict[str, str]:
    """Of a folder as it was: what was there besides."""
    counts = card.get("skipped") or {}
    return {"found and not used": "; ".join(f"{count} {kind}" for kind, count in counts.items())} if counts else {}


def _as_patches(slices: int) -> str:
    return f", patches of {slices}" if slices > 1 else ""


def _kind(card: dict[str, Any]) -> str:
    """What the denoiser takes; of patches, with the distances its slices had in training."""
    if "tasks" in card:
        return "an FBP-UNet D(b, s): what is behind an analytic reconstruction b of a task, slice by slice"
    patches, (low, high) = card["recipe"]["patches"], card["data"]["slice_mm"]
    slices, jump = patches["slices"], patches["jump"]
    if slices == 1:
        return "a denoiser D(x, sigma) of single slices"
    apart = _range([low * (slices if jump == 1 else 1), high * (slices if jump > 0 else 1)])
    published = card["recipe"].get("published")
    if published:
        classes = published["described"].get("classes")
        told = f", of class {classes[0]} and {classes[1]}" if classes else ""
        return f"a denoiser D(x, sigma) of patches of {slices} slices, neighbours or {slices} apart{told}"
    sort = "neighbours" if jump == 0 else f"{slices} apart" if jump == 1 else f"neighbours or {slices} apart"
    return f"a denoiser D(x, sigma, d) of patches of {slices} slices ({sort}), d = {apart} mm from one to the next"


def _conditions(card: dict[str, Any]) -> dict[str, str]:
    """What D's label says."""
    if "tasks" in card:
        levels = ", ".join(f"{task} ({level:g})" for task, level in card["tasks"].items())
        return {"tasks, and s": f"{levels}; s is the root mean square error of b in training"}
    sigma = card["recipe"]["sigma"]
    return {"sigma": f"{sigma['lowest']:g} to {sigma['highest']:g}"}


def _zooms(views: list[dict[str, Any]]) -> str:
    def ends(key: str) -> list[float]:
        return [min(view[key][0] for view in views), max(view[key][1] for view in views)]

    zooms, stretches = (" to ".join(f"{end:g}" for end in ends(key)) for key in ("scale", "stretch"))
    return zooms if ends("stretch") == [1, 1] else f"{zooms}, rows stretched by {stretches} besides"


def _range(ends: list[float]) -> str:
    low, high = (f"{end:.3g}" for end in ends)
    return low if low == high else f"{low} to {high}"
