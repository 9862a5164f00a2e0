"""What the rows of a benchmark make of its lesions: numbers from stored reconstructions, no cell of their own.

Inserted lesions are measured in the difference of two cells of one row and seed, with the lesions and without
(`coslice.lesions.respond`). Noise, d' and what is invented come of the error of the one without. Of a region there is
one cell (`coslice.lesions.measure_region`).

    part         of which lesions the numbers are
    all          of all
    lung, soft   of those in that tissue

Numbers are of one seed each; tables take the mean over seeds.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any

from torch import Tensor

from coslice.benchmark.cell_keys import Keyed
from coslice.benchmark.definition import Benchmark, Cell
from coslice.benchmark.grid import region_of, scan_of
from coslice.benchmark.lesion_content import box_about
from coslice.benchmark.store import Store, digest_of, file_digest
from coslice.io.nifti import read_nifti
from coslice.lesions import (
    Lesion,
    LesionResponse,
    detectability,
    filtered,
    invented,
    measure_region,
    near,
    places,
    profile,
    respond,
)
from coslice.volume import Volume

__all__ = ["lesion_boxes", "lesion_numbers", "number_key"]

Numbers = dict[str, Any]
_VERSION = 1
"""Of the measures: raise it whenever the same reconstructions would give other numbers."""


def lesion_numbers(
    benchmark: Benchmark, cells: Keyed, store: Store, known: Mapping[str, Numbers]
) -> dict[str, Numbers]:
    """The numbers of all cells that have some, by what they depend on, `number_key`.

    Args:
        benchmark, cells: the recipe, and the keys of its cells.
        store: holds all of them.
        known: what was measured before.

    Returns:
        By key: `group`, `row` and `seed`; `parts`, by part and name; `lesions`, the numbers of each one.
    """
    found: dict[str, Numbers] = {}
    for title in benchmark.groups_with_lesions:
        measure: Callable[[Cell], Numbers] | None = None
        for cell in (cell for cell in cells if cell.group == title):
            key = number_key(benchmark, cells, cell)
            if key in known or key in found:
                found[key] = dict(known.get(key) or found[key])
                continue
            measure = measure or _measure(benchmark, title, cells, store)
            found[key] = {"group": title, "row": cell.row, "seed": cell.seed, **measure(cell)}
    return found


def number_key(benchmark: Benchmark, cells: Keyed, cell: Cell) -> str:
    """What the numbers of a cell depend on."""
    group = benchmark.groups[cell.group]
    described: dict[str, Any] = {"version": _VERSION, "cell": cells[cell]}
    if group.region is not None:
        described["region"] = asdict(group.region)
        if group.region.mask is not None:
            described["mask"] = file_digest(benchmark.scans[group.region.mask].path)
    else:
        described["absent"] = cells[_absent(benchmark, cell)]
    return digest_of(described)


def lesion_boxes(benchmark: Benchmark, title: str) -> list[tuple[tuple[int, int], tuple[int, int], tuple[int, int]]]:
    """Where the lesions of a group are: first and last (not included) voxel of each along z, y and x."""
    group = benchmark.groups[title]
    if group.lesions is not None:
        scan, _ = scan_of(benchmark, group)
        return [box_about(lesion, scan) for lesion in group.lesions.spread(scan)]
    if group.region is not None:
        return [box_about(region_of(benchmark, group)[0], scan_of(benchmark, group)[0])]
    return []


def _absent(benchmark: Benchmark, cell: Cell) -> Cell:
    """The same cell without the lesions."""
    return replace(cell, group=benchmark.partners[cell.group])


def _measure(benchmark: Benchmark, title: str, cells: Keyed, store: Store) -> Callable[[Cell], Numbers]:
    """How the cells of a group are measured."""
    group = benchmark.groups[title]
    scan, window = scan_of(benchmark, group)
    # What the window lets be seen of it, which is what was measured.
    truth = scan.with_data(window.from_unit(window.to_unit(scan.data)))

    def stored(cell: Cell) -> Volume:
        return truth.with_data(read_nifti(store.volume(cells[cell])).data)

    if group.region is not None:
        region, rim = region_of(benchmark, group)

        def of_region(cell: Cell) -> Numbers:
            numbers = asdict(measure_region(stored(cell), truth, region, rim))
            numbers["rmse"] = numbers.pop("error")
            return {"parts": {"all": numbers}, "lesions": [{"voxels": int(region.sum()), "rim": int(rim.sum())}]}

        return of_region
    assert group.lesions is not None
    lesions = group.lesions.spread(scan)
    shapes = {lesion.diameter: _template(lesion, truth.spacing) for lesion in lesions}
    sites = {
        (tissue.name, diameter): places(scan, tissue, diameter + group.lesions.edge)
        for tissue in group.lesions.tissues
        for diameter in shapes
    }
    free = {diameter: ~near(truth, lesions, diameter / 2) for diameter in shapes}

    def of_lesions(cell: Cell) -> Numbers:
        absent = stored(_absent(benchmark, cell))
        responses = {lesion: respond(lesion, stored(cell), absent, truth) for lesion in lesions}
        scores = {diameter: filtered(absent.data - truth.data, shape) for diameter, shape in shapes.items()}
        parts = {}
        for part in ("all", *(tissue.name for tissue in group.lesions.tissues)):  # pyright: ignore[reportOptionalMemberAccess]
            chosen = {lesion: found for lesion, found in responses.items() if part in ("all", lesion.tissue)}
            wrong = [
                invented(scores[diameter], where & free[diameter])
                for (tissue, diameter), where in sites.items()
                if part in ("all", tissue)
            ]
            parts[part] = _summary(chosen) | {"detectability": _least(chosen, scores, sites), "invented": max(wrong)}
        each = [asdict(lesion) | asdict(found) for lesion, found in responses.items()]
        return {"parts": parts, "lesions": each}

    return of_lesions


def _summary(found: Mapping[Lesion, LesionResponse]) -> dict[str, float | None]:
    """Means over lesions, of those that have the number; the least recovery."""
    names = ("recovery", "noise", "cnr", "offset", "width_z", "width_plane")
    means = {name: _mean([getattr(response, name) for response in found.values()]) for name in names}
    contrasts = [response.recovery * abs(lesion.contrast) for lesion, response in found.items()]
    least = min(response.recovery for response in found.values())
    truth = _mean([abs(lesion.contrast) for lesion in found])
    return means | {"recovery_least": least, "contrast": _mean(contrasts), "contrast_truth": truth}


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return statistics.fmean(known) if known else None


def _template(lesion: Lesion, spacing: tuple[float, float, float]) -> Tensor:
    """The shares of a lesion's shape, centred in odd sides."""
    half = [int(lesion.reach / size) + 1 for size in spacing]
    centred = Lesion((half[0], half[1], half[2]), lesion.diameter, 1.0, lesion.edge)
    return profile(centred, spacing, (2 * half[0] + 1, 2 * half[1] + 1, 2 * half[2] + 1))[0]


def _least(
    found: Mapping[Lesion, LesionResponse],
    scores: Mapping[float, Tensor],
    sites: Mapping[tuple[str, float], Tensor],
) -> float | None:
    """d' of the sort of lesion that is hardest to see.

    Of a sort there are few lesions and many places without one: the scores of the error at all places of its tissue
    stand against the same, moved by the mean response.
    """
    sorts: dict[tuple[str, float, float], list[float]] = {}
    for lesion, response in found.items():
        shift = response.recovery * abs(lesion.contrast)
        sorts.setdefault((lesion.tissue, lesion.diameter, lesion.contrast), []).append(shift)
    primes = []
    for (tissue, diameter, _), shifts in sorts.items():
        absent = scores[diameter][sites[tissue, diameter]]
        absent = absent[absent.isfinite()]
        if len(absent) > 1 and bool(absent.std() > 0):
            primes.append(detectability(absent + statistics.fmean(shifts), absent))
    return min(primes) if primes else None
