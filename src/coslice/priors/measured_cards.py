"""What was measured of a prior, as a table, as a part of a page, and written onto its card.

A card holds it under "measured", as `coslice.priors.denoising_error.Measurement` of plain values. A page NAME.md that
stands beside NAME.safetensors gets the same between two marks, and what is around them stays: a page is written by
hand, numbers are not.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from coslice.errors import CosliceError
from coslice.io.files import write_text
from coslice.priors.denoising_error import ErrorRow, Measurement
from coslice.priors.places import embedded_priors, find_prior
from coslice.priors.storage import is_published, update_card
from coslice.tree import built, plain

__all__ = ["error_table", "measured_of", "own_file", "page_with", "write_measurement"]

_BEGIN = "<!-- measured: what follows is written by `coslice priors measure --write` -->"
_END = "<!-- measured: end -->"


def measured_of(card: Mapping[str, Any]) -> Measurement | None:
    """What was measured of the prior with this card; None where nothing was.

    Raises:
        CosliceError: an entry that cannot be read.
    """
    entry = card.get("measured")
    return None if entry is None else built(Measurement, entry, "measured.", "card")


def error_table(measured: Measurement, in_hu: bool) -> list[tuple[str, ...]]:
    """Rows of words, the head first: an image, its errors by noise level, and milliseconds for a slice.

    Args:
        measured: of a prior.
        in_hu: in HU, where the window is in HU; else in units of the window.
    """
    keys = list(dict.fromkeys(key for row in measured.rows for key in row.rmse))
    rows = [("scan and images", *keys, "ms a slice")]
    for row in measured.rows:
        errors = row.rmse_hu if in_hu else row.rmse
        cells = (f"{errors[key]:#.3g}".removesuffix(".") if key in errors else "-" for key in keys)
        rows.append((_images(row), *cells, f"{1e3 * row.seconds:.3g}"))
    return rows


def page_with(page: str, measured: Measurement) -> str:
    """A page in Markdown with what was measured, in place of what was measured before, or at its end.

    Raises:
        CosliceError: the first mark stands there without the second, so nobody knows what is to be replaced.
    """
    before, found, rest = page.partition(_BEGIN)
    _, ended, after = rest.partition(_END)
    if found and not ended:
        raise CosliceError(f'The page beside the prior has a line "{_BEGIN}" and no "{_END}" after it; put it back.')
    section = f"{_BEGIN}\n{_section(measured)}\n{_END}"
    if not found:
        return f"{page.rstrip()}\n\n{section}\n"
    return f"{before}{section}{after}"


def own_file(name: str) -> Path:
    """The file of a prior that may be written to: one of the user's own, or whichever is named by its path.

    Raises:
        CosliceError: no such prior; the name of one that comes along, a checkpoint of somebody else's, or the Hub.
    """
    if name in embedded_priors():
        raise CosliceError(
            f"prior {name}: it comes with coslice, and what is measured of it is written to no file by this name; "
            "leave out --write, or give the path of a copy."
        )
    path = find_prior(name)
    if name.startswith("hf:") or is_published(str(path)):
        raise CosliceError(
            f"prior {name}: it is a file of somebody else's, which has no card to write on; import it with coslice "
            "priors import, and measure that."
        )
    return path


def write_measurement(path: Path, measured: Measurement) -> tuple[Path, ...]:
    """Put onto the card of a prior's file what was measured, and into the page beside it, where one stands.

    Returns:
        The files that were written, whole or not at all.

    Raises:
        CosliceError: as `coslice.priors.storage.update_card`; a page that is no text, or as of `page_with`.
    """
    page = path.with_suffix(".md")
    text = None
    if page.is_file():
        try:
            text = page.read_text(encoding="utf-8")
        except (OSError, ValueError) as error:
            raise CosliceError(f"{page.name} stands beside the prior, but it is no page of text; move it.") from error
    renewed = None if text is None else page_with(text, measured)
    update_card(path, {"measured": plain(measured)})
    if renewed is None:
        return (path,)
    write_text(page, renewed)
    return path, page


def _section(measured: Measurement) -> str:
    in_hu = all(row.rmse_hu for row in measured.rows)
    head, *rows = error_table(measured, in_hu)
    unit = "HU" if in_hu else "units of the window"
    counts = sorted({row.images for row in measured.rows})
    images = f"{counts[0]} to {counts[-1]}" if len(counts) > 1 else f"{counts[0]}"
    lines = [
        f"**Denoising error** by noise level sigma (of the window), root mean square in {unit}, of {images} images a "
        "row:",
        "",
        f"| {' | '.join(head)} |",
        "|---" + "|---:" * (len(head) - 1) + "|",
        *(f"| {' | '.join(row)} |" for row in rows),
        "",
        f"Convolutions in {measured.arithmetic}; noise of seed {measured.seed}; times of one evaluation on "
        f"{measured.machine}.",
    ]
    return "\n".join(lines)


def _images(row: ErrorRow) -> str:
    (down, across), (tall, wide) = row.pixels, row.pixel_mm
    pixel = f"{tall:.3g}" if tall == wide else f"{tall:.3g} x {wide:.3g}"
    words = f"{row.scan}: {down} x {across} of {pixel} mm"
    return words if row.kind == "slices" else f"{words}, {row.kind}, {row.apart_mm:.3g} mm apart"
