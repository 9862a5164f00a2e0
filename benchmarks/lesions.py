"""Are small lesions kept, and are none invented? Methods side by side, as docs/lesions.md explains.

    python benchmarks/lesions.py SCAN.nii.gz --slices 150:166 --size 128 --out lesions
    python benchmarks/lesions.py SCAN.nii.gz --rows dds:iscs "dds:iscs data.iterations=20" mine.py:MINE --out lesions
    python benchmarks/lesions.py T1.nii.gz --task zsr --box 60:76,15:46,18:41 --between 0:450 --out region

Known lesions are put into the scan; every row reconstructs it with them and without, by the same seeds. With --mask or
--box nothing is put in: what is measured is a lesion that is there. Reconstructions are kept in the folder, so a run
that was killed goes on, and other rows, seeds or lesions compute only what is new.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from coslice.benchmark import NUMERICS, Store, digest_of
from coslice.benchmark.store import file_digest
from coslice.errors import CosliceError
from coslice.io.files import write_json, write_text
from coslice.io.nifti import read_nifti
from coslice.lesions import (
    LUNG,
    SOFT_TISSUE,
    Lesion,
    LesionResponse,
    detectability,
    filtered,
    insert,
    invented,
    measure_region,
    near,
    outlined,
    places,
    profile,
    resolvable,
    respond,
    rim_of,
    spread_lesions,
)
from coslice.methods import USUAL_PRIORS, AnyMethod, Direct, changed, differing, find_method, is_own, load_method
from coslice.plans import load_priors, plan
from coslice.preparation import Preparation, parse_slices
from coslice.priors.places import find_prior
from coslice.problems import Study, make_task, simulate
from coslice.runs import run
from coslice.tree import assignments, nested
from coslice.volume import Volume
from coslice.window import Window, scan_window

ROWS = {
    "ct": ("fdk", "admm-tv", "dds-tv:independent", "dds:independent", "dds:identical", "dds:iscs"),
    "zsr": ("cubic", "admm-tv", "dds:independent", "dds:iscs"),
}
TISSUES = (LUNG, SOFT_TISSUE)


@dataclass(frozen=True)
class LesionRow:
    """A method of the table, by the words it was asked for with."""

    title: str
    method: AnyMethod


def row_of(text: str, kind: str, steps: int | None) -> LesionRow:
    """From "METHOD[:NOISE] [PATH=VALUE ...]"; METHOD is a name or FILE.py:NAME, the noise of which is noise=WORD."""
    name, *settings = text.split()
    noise = None
    if not is_own(name):
        name, _, noise = name.partition(":")
    method = load_method(name) if is_own(name) else find_method(name, kind)
    if steps is not None and not isinstance(method, Direct):
        method = changed(method, {"schedule": {"steps": steps}}, text)
    if noise:
        method = changed(method, {"noise": noise}, text)
    method = changed(method, assignments(settings, text) if settings else nested(()), text)
    return LesionRow(", ".join([method.label, *settings]), method)


class Laboratory:
    """The scan with lesions and without, and what each row makes of them."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.task = make_task(options.task, {"views": options.views, "factor": options.factor})
        self.kind, self.device, self.seeds = self.task.problem_kind, options.device, range(options.seeds)
        whole = read_nifti(options.scan)
        self.preparation = Preparation(
            slices=None if options.slices is None else parse_slices(options.slices, whole.shape[0]), size=options.size
        )
        self.rows = [row_of(text, self.kind, options.steps) for text in options.rows or ROWS[self.kind]]
        twice = {row.title for row in self.rows if sum(other.title == row.title for other in self.rows) > 1}
        if twice:
            raise CosliceError(f"rows: {', '.join(twice)} is there twice; leave one out.")
        self.scan = self.preparation(whole)
        priors = {name for row in self.rows for name in self.names_of_priors(row)}
        windows = {prior.window for row in self.rows for prior in load_priors(row.method, self.kind, None, "cpu")}
        if len(windows) > 1:
            raise CosliceError(f"rows: their priors see different windows ({', '.join(windows)}); run each alone.")
        self.window: Window = scan_window(windows.pop() if windows else self.task.window, self.scan.data)
        self.digests = {name: file_digest(find_prior(name)) for name in priors}
        self.scan_digest = file_digest(options.scan)
        self.store = Store(options.out)
        self.store.prepare()
        self.studies: dict[tuple[Lesion, ...], Study] = {}

    def names_of_priors(self, row: LesionRow) -> tuple[str, ...]:
        return USUAL_PRIORS[self.kind, row.method.need] if row.method.need else ()

    @property
    def truth(self) -> Volume:
        """The scan as its window lets it be seen, which is what was measured."""
        return self.scan.with_data(self.window.from_unit(self.window.to_unit(self.scan.data)))

    def seeds_of(self, row: LesionRow) -> Sequence[int]:
        """One for a method that draws nothing."""
        return (0,) if isinstance(row.method, Direct) else self.seeds

    def with_lesions(self, lesions: tuple[Lesion, ...]) -> Volume:
        """The scan with lesions.

        Raises:
            CosliceError: the window would cut some of their contrast away.
        """
        present = insert(self.scan, lesions)
        seen = self.window.to_unit(present.data) - self.window.to_unit(self.scan.data)
        lost = (seen - (present.data - self.scan.data) / (self.window.high - self.window.low)).abs().max()
        if float(lost) > 1e-4:
            raise CosliceError(f"lesions: the window {self.window} cuts off some of their contrast; choose others.")
        return present

    def reconstruction(self, row: LesionRow, seed: int, lesions: tuple[Lesion, ...] = ()) -> Volume:
        """What a row makes of the scan with `lesions`, computed where it is not in the folder yet."""
        key = digest_of(
            {
                "numerics": NUMERICS,
                "scan": self.scan_digest,
                "preparation": self.preparation.settings,
                "task": differing(self.task),
                "window": asdict(self.window),
                "lesions": [asdict(lesion) for lesion in lesions],
                "method": differing(row.method),
                "priors": [self.digests[name] for name in self.names_of_priors(row)],
                "seed": seed,
            }
        )
        while not self.store.has(key):
            with self.store.taken(key) as mine:
                if mine and not self.store.has(key):
                    self._compute(key, row, seed, lesions)
            if not mine:
                time.sleep(0.5)
        return self.scan.with_data(read_nifti(self.store.volume(key)).data)

    def _compute(self, key: str, row: LesionRow, seed: int, lesions: tuple[Lesion, ...]) -> None:
        began = time.perf_counter()
        if lesions not in self.studies:
            volume = self.with_lesions(lesions) if lesions else self.scan
            self.studies[lesions] = simulate(volume, self.task, self.window, device=self.device)
        study = self.studies[lesions]
        planned = plan(study.problem, row.method, load_priors(row.method, self.kind, None, self.device), seed)
        result = run(planned)
        seconds = time.perf_counter() - began
        record = {"row": row.title, "seed": seed, "lesions": len(lesions), "seconds": seconds, "phases": result.seconds}
        nothing: dict[str, Any] = {"metrics": {}, "curves": {}, "trajectory": []}
        self.store.put(
            key, record | nothing, study.volume.with_data(self.window.from_unit(result.reconstruction.cpu()))
        )
        print(f"{row.title}, seed {seed}, {len(lesions)} lesions: {seconds:.0f} s", file=sys.stderr, flush=True)


def mean_of(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return statistics.fmean(known) if known else None


def template_of(lesion: Lesion, spacing: tuple[float, float, float]) -> torch.Tensor:
    """The shares of a lesion's shape, centred in odd sides."""
    half = [int(lesion.reach / size) + 1 for size in spacing]
    centred = Lesion((half[0], half[1], half[2]), lesion.diameter, 1.0, lesion.edge)
    return profile(centred, spacing, (2 * half[0] + 1, 2 * half[1] + 1, 2 * half[2] + 1))[0]


def lesion_numbers(laboratory: Laboratory, lesions: tuple[Lesion, ...]) -> Iterator[dict[str, Any]]:
    """Of every row: each lesion's numbers, d' of each sort of lesion, and what is invented."""
    truth = laboratory.truth
    shapes = {lesion.diameter: template_of(lesion, truth.spacing) for lesion in lesions}
    sites = {
        (tissue.name, diameter): places(laboratory.scan, tissue, diameter)
        for tissue in TISSUES
        for diameter in shapes
        if any(lesion.tissue == tissue.name for lesion in lesions)
    }
    for row in laboratory.rows:
        responses: dict[Lesion, list[LesionResponse]] = {lesion: [] for lesion in lesions}
        scores: dict[float, list[torch.Tensor]] = {diameter: [] for diameter in shapes}
        for seed in laboratory.seeds_of(row):
            absent = laboratory.reconstruction(row, seed)
            present = laboratory.reconstruction(row, seed, lesions)
            for lesion in lesions:
                responses[lesion].append(respond(lesion, present, absent, truth))
            for diameter, shape in shapes.items():
                scores[diameter].append(filtered(absent.data - truth.data, shape))
        # Of one mask for all seeds: side by side, as if the volume were as many times as high.
        stacked = {diameter: torch.cat(volumes) for diameter, volumes in scores.items()}
        repeats = (len(laboratory.seeds_of(row)), 1, 1)
        false = [
            {
                "tissue": tissue,
                "diameter": diameter,
                "contrast": invented(stacked[diameter], (where & ~near(truth, lesions, diameter / 2)).repeat(repeats)),
            }
            for (tissue, diameter), where in sites.items()
        ]
        kinds = dict.fromkeys((lesion.tissue, lesion.diameter, lesion.contrast) for lesion in lesions)
        yield {
            "row": row.title,
            "lesions": [
                {**asdict(lesion), "seeds": [asdict(response) for response in found]}
                for lesion, found in responses.items()
            ],
            "detectability": [
                {"tissue": t, "diameter": d, "contrast": c, "d_prime": _d_prime(t, d, c, responses, stacked, sites)}
                for t, d, c in kinds
            ],
            "invented": false,
        }


def _d_prime(
    tissue: str,
    diameter: float,
    contrast: float,
    responses: Mapping[Lesion, list[LesionResponse]],
    scores: Mapping[float, torch.Tensor],
    sites: Mapping[tuple[str, float], torch.Tensor],
) -> float | None:
    """d' of a sort of lesion: scores of the error at all places of the tissue, against the same moved by the response.

    There are few lesions of a sort and many places without one, so the spread is taken from these for both.
    """
    shift = [
        response.recovery * contrast
        for lesion, found in responses.items()
        if (lesion.tissue, lesion.diameter, lesion.contrast) == (tissue, diameter, contrast)
        for response in found
    ]
    where = sites[tissue, diameter]
    all_scores = scores[diameter]
    absent = all_scores[where.repeat(len(all_scores) // len(where), 1, 1) & all_scores.isfinite()]
    if len(absent) < 2:
        return None
    sign = 1 if contrast > 0 else -1
    return sign * detectability(absent + statistics.fmean(shift), absent)


def markdown(header: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    rows = [header, ["---"] + ["---:"] * (len(header) - 1), *lines]
    return "\n".join("| " + " | ".join(row) + " |" for row in rows)


def text_of(value: float | None, decimals: int) -> str:
    return "-" if value is None else f"{value:.{decimals}f}"


def lesion_tables(numbers: Sequence[Mapping[str, Any]]) -> str:
    """One table of each tissue, then contrast recovery and d' by the sort of lesion."""
    parts = []
    for tissue in dict.fromkeys(lesion["tissue"] for lesion in numbers[0]["lesions"]):
        lines = []
        for one in numbers:
            found = [r for lesion in one["lesions"] if lesion["tissue"] == tissue for r in lesion["seeds"]]
            prime = [d["d_prime"] for d in one["detectability"] if d["tissue"] == tissue and d["d_prime"] is not None]
            false = [f["contrast"] for f in one["invented"] if f["tissue"] == tissue]
            recovery = [r["recovery"] for r in found]
            columns = [
                (statistics.fmean(recovery), 2),
                (min(recovery), 2),
                (max(recovery), 2),
                (mean_of([r["noise"] for r in found]), 0),
                (mean_of([r["cnr"] for r in found]), 1),
                (mean_of([r["offset"] for r in found]), 2),
                (mean_of([r["width_z"] for r in found]), 2),
                (mean_of([r["width_plane"] for r in found]), 2),
                (min(prime) if prime else None, 1),
                (max(false), 0),
            ]
            lines.append([one["row"], *(text_of(value, decimals) for value, decimals in columns)])
        count = sum(lesion["tissue"] == tissue for lesion in numbers[0]["lesions"])
        header = "recovery | least | most | noise, HU | CNR | offset, mm | width z | width in plane"
        header += " | least d′ | invented, HU"
        parts.append(f"{tissue}, {count} lesions\n\n" + markdown(["method", *header.split(" | ")], lines))
    kinds = [(d["tissue"], d["diameter"], d["contrast"]) for d in numbers[0]["detectability"]]
    header = ["method", *(f"{tissue} {diameter:.2g} mm {contrast:+g}" for tissue, diameter, contrast in kinds)]
    recovered, primes = [], []
    for one in numbers:
        means = [
            statistics.fmean(
                r["recovery"]
                for lesion in one["lesions"]
                if (lesion["tissue"], lesion["diameter"], lesion["contrast"]) == kind
                for r in lesion["seeds"]
            )
            for kind in kinds
        ]
        recovered.append([one["row"], *(text_of(value, 2) for value in means)])
        primes.append([one["row"], *(text_of(d["d_prime"], 1) for d in one["detectability"])])
    parts.append("Contrast recovery\n\n" + markdown(header, recovered))
    parts.append("Detectability d′\n\n" + markdown(header, primes))
    return "\n\n".join(parts) + "\n"


def region_numbers(laboratory: Laboratory, options: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """Of every row: the contrast of the region, by seed."""
    scan = laboratory.scan
    if options.mask is not None:
        mask = read_nifti(options.mask)
        if mask.shape != read_nifti(options.scan).shape:
            raise CosliceError(f"--mask: its {mask.shape} voxels are not the scan's; give a mask on the scan's grid.")
        region = laboratory.preparation(mask).data > 0.5
    else:
        sides = [parse_slices(text, n) for text, n in zip(options.box.split(","), scan.shape, strict=True)]
        low, high = (float(text) for text in options.between.split(":"))
        region = outlined(scan, (slice(*sides[0]), slice(*sides[1]), slice(*sides[2])), low, high)
    # The lowest twentieth of the window is the air or the emptiness about a body, with which nothing is compared.
    rim = rim_of(region, scan.spacing, laboratory.window.to_unit(scan.data) > 0.05)
    print(f"region: {int(region.sum())} voxels, rim: {int(rim.sum())}", file=sys.stderr)
    for row in laboratory.rows:
        found = [
            asdict(measure_region(laboratory.reconstruction(row, seed), laboratory.truth, region, rim))
            for seed in laboratory.seeds_of(row)
        ]
        yield {"row": row.title, "voxels": int(region.sum()), "rim": int(rim.sum()), "seeds": found}


def region_table(numbers: Sequence[Mapping[str, Any]]) -> str:
    names = {"contrast": 0, "recovery": 3, "bias": 0, "error": 0, "cnr": 1}
    lines = [
        [one["row"], *(text_of(mean_of([seed[name] for seed in one["seeds"]]), n) for name, n in names.items())]
        for one in numbers
    ]
    truth = [f"{numbers[0]['seeds'][0]['contrast_truth']:.0f}", "1.000", "0", "0", "-"]
    return markdown(["method", "contrast", "recovery", "bias", "RMSE", "CNR"], [["truth", *truth], *lines]) + "\n"


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("scan", type=Path, help="NIfTI, HU for CT")
    parser.add_argument("--slices", help="FIRST:LAST along z, LAST not included")
    parser.add_argument("--size", type=int, help="pixels of a slice")
    parser.add_argument("--task", default="svct", help="svct, lact or zsr")
    parser.add_argument("--views", type=int)
    parser.add_argument("--factor", type=int, help="thin slices to a thick one, of zsr")
    parser.add_argument("--rows", nargs="+", metavar="ROW", help='"METHOD[:NOISE] [PATH=VALUE ...]" or FILE.py:NAME')
    parser.add_argument("--steps", type=int, help="schedule.steps of all rows that sample")
    parser.add_argument("--seeds", type=int, default=2, help="how many, from 0 on")
    parser.add_argument("--diameters", type=float, nargs="+", default=[3.0, 5.0, 8.0], help="mm")
    parser.add_argument("--each", type=int, default=1, help="lesions of every diameter, tissue and contrast")
    parser.add_argument("--place-seed", type=int, default=0, help="of the places of the lesions")
    parser.add_argument("--mask", type=Path, help="NIfTI on the scan's grid: measure this region, put no lesion in")
    parser.add_argument("--box", help="Z0:Z1,Y0:Y1,X0:X1 of the prepared scan, in which the region is")
    parser.add_argument("--between", default="-inf:inf", metavar="LOW:HIGH", help="thresholds within --box")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--out", type=Path, default=Path("coslice-lesions"), help="folder; may hold finished work")
    return parser.parse_args()


def main() -> None:
    options = parsed()
    laboratory = Laboratory(options)
    if options.mask is not None or options.box is not None:
        numbers = list(region_numbers(laboratory, options))
        name, table = "region", region_table(numbers)
    else:
        diameters = resolvable(options.diameters, laboratory.scan.spacing)
        if diameters != tuple(sorted(options.diameters)):
            sizes = ", ".join(f"{diameter:.3g}" for diameter in diameters)
            print(f"diameters below 2 voxels are raised: {sizes} mm", file=sys.stderr)
        lesions = spread_lesions(laboratory.scan, diameters, TISSUES, options.each, options.place_seed)
        numbers = list(lesion_numbers(laboratory, lesions))
        name, table = "lesions", lesion_tables(numbers)
    write_json(options.out / f"{name}.json", {"study": laboratory.task.settings_chosen, "rows": numbers})
    write_text(options.out / f"{name}.md", table)
    print(table)


if __name__ == "__main__":
    try:
        main()
    except CosliceError as error:
        sys.exit(f"{error}")
