"""Fit the calibration of a method's uncertainty on training scans, and check it on others.

    python scripts/calibrate.py --fit a.nii.gz b.nii.gz --check c.nii.gz --slices 16 --size 128 --samples 8
        --method dds --task svct --cache calibration/ --out src/coslice/data/calibration/dds-svct-8.json

Every scan is cut to its middle slices, measured, reconstructed with K samples and put into the cache, so a run that was
killed goes on where it was. Printed are reliability tables: of every fitted scan by the calibration of the others
(leave one out, where there are at least two), and of the scans to check by that of all fitted ones. Scans to check must
be no scans that the prior was trained on. A scan is FILE or FILE:FIRST:LAST. "--last N" calibrates the standard
deviation of the last N predictions of a single run in place of that of samples; of N = 2 it is how far they are apart,
divided by sqrt(2).
"""

from __future__ import annotations

import argparse
import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.stats import spearmanr

import coslice
from coslice.benchmark import NUMERICS
from coslice.benchmark.store import file_digest
from coslice.io.files import atomic, write_json
from coslice.methods import Method, Projecting, changed, load_method
from coslice.output import conditions_of
from coslice.plans import Plan, load_priors
from coslice.problems import Study, make_task
from coslice.sampling import sample, start
from coslice.uncertainty import LEVELS, Calibration, Case, Conditions, Welford, body_mask, coverage, reliability_curve

TISSUES = (
    ("air in the body, below -500 HU", -np.inf, -500.0),
    ("soft, to 150 HU", -500.0, 150.0),
    ("bone", 150.0, np.inf),
)


@dataclass(frozen=True)
class Reconstructed:
    """A scan with what the fit needs of it."""

    name: str
    case: Case
    conditions: Conditions
    low: float
    width: float


def prepared(scan: str, options: argparse.Namespace, prior: coslice.SlicePrior) -> Study:
    path, _, span = scan.partition(":")
    volume = coslice.read_nifti(path)
    if span:
        first, last = map(int, span.split(":"))
    else:
        first = max((volume.shape[0] - options.slices) // 2, 0)
        last = min(first + options.slices, volume.shape[0])
    preparation = coslice.Preparation(slices=(first, last), size=options.size)
    return coslice.simulate(volume, make_task(options.task, {"views": options.views}), prior.window_for, preparation)


def reconstructed(scan: str, options: argparse.Namespace) -> Reconstructed:
    """From the cache, or run now."""
    kind = make_task(options.task).problem_kind
    method = load_method(options.method) if ".py:" in options.method else coslice.find_method(options.method, kind)
    assert isinstance(method, Method), "only a method that samples has a deviation"
    samples, source = (1, f"last {options.last} steps") if options.last else (options.samples, "samples")
    method = changed(
        method, {"samples": samples, "schedule": {"steps": options.steps}} if options.steps else {"samples": samples}
    )
    priors = load_priors(method, kind, options.prior)
    study = prepared(scan, options, priors[0])
    assert study.unit is not None
    planned = coslice.plan(study.problem, method, priors, options.seed)
    conditions = conditions_of(planned, source)
    digest = file_digest(Path(scan.partition(":")[0]))
    said = json.dumps([digest, NUMERICS, study.settings, asdict(conditions), planned.seed], sort_keys=True, default=str)
    file = (
        options.cache
        / f"{Path(scan.partition(':')[0]).name.partition('.')[0]}-{hashlib.sha256(said.encode()).hexdigest()[:12]}.npz"
    )
    if not file.exists():
        print(f"{scan}: {samples} samples of {'x'.join(map(str, study.volume.shape))} voxels", flush=True)
        estimate, deviation = of_steps(planned, options.last) if options.last else of_samples(planned)
        with atomic(file) as part:
            np.savez(part, estimate=estimate.numpy(), deviation=deviation.numpy())
    with np.load(file) as held:
        estimate, deviation = (torch.from_numpy(held[name]) for name in ("estimate", "deviation"))
    case = Case(study.unit, estimate, deviation, body_mask(study.unit))
    first, last = study.preparation.slices or (0, study.volume.shape[0])
    name = f"{Path(scan.partition(':')[0]).name.partition('.')[0]} {first}:{last}"
    return Reconstructed(name, case, conditions, study.window.low, study.window.width)


def of_samples(planned: Plan) -> tuple[torch.Tensor, torch.Tensor]:
    result = coslice.run(planned)
    assert result.deviation is not None
    return result.reconstruction, result.deviation


def of_steps(planned: Plan, last: int) -> tuple[torch.Tensor, torch.Tensor]:
    """The reconstruction of one run, and the standard deviation of its last predictions."""
    method, prior, initial = planned.method, planned.prior(), planned.problem.initial()
    assert isinstance(method, Method)
    first, noise = planned.noise(prior)
    along = planned.priors[0].along
    acting = method.data.acting(planned.problem, prior, along, planned.sigmas)
    if method.start.solution is not None:
        initial = method.start.solution.solve(planned.problem, initial, planned.priors, lambda done, total: None)
    x = start(initial, planned.sigmas[0], first, planned.seed)
    predictions, first_counted = Welford(), len(planned.sigmas) - 1 - last
    parts = (acting.denoiser, acting.fidelity, noise, planned.seed, method.renoising, acting.correction)
    for step in sample(x, planned.sigmas, *parts):
        x = step.x
        if step.index >= first_counted:
            predictions.add(step.denoised)
    if isinstance(method.data, Projecting):
        for _ in range(method.data.rounds):
            x = (acting.projection or acting.fidelity)(x.clamp(0, 1), planned.sigmas[-2])
    assert predictions.deviation is not None
    return x.clamp(0, 1), predictions.deviation


def table(title: str, calibration: Calibration, scans: Sequence[Reconstructed]) -> None:
    """Nominal against observed coverage, in the body and everywhere, and how the half-width is spread."""
    print(f"\n{title}: a {calibration.a:.3g}, b {calibration.b * scans[0].width:.3g} HU, blur {calibration.blur:g} px")
    print(f"{'scan':<32}{'':<14}" + "".join(f"{level:>7g}%" for level in LEVELS))
    for one in scans:
        curve = reliability_curve(
            one.case.truth, one.case.estimate, calibration.half_widths(one.case.deviation), one.case.body
        )
        for place in ("body", "everywhere"):
            print(f"{one.name:<32}{place:<14}" + "".join(f"{100 * getattr(curve[k], place):>8.1f}" for k in LEVELS))
        half, error = calibration.half_width(one.case.deviation), (one.case.truth - one.case.estimate).abs()
        inside = torch.from_numpy(one.case.inside)
        rank: Any = spearmanr(error[inside], half[inside])
        bare = coverage(one.case.truth, one.case.estimate, 1.645 * one.case.deviation, one.case.body).body
        quantiles = one.width * np.quantile(half[inside], (0.1, 0.5, 0.9))
        print(f"    half-width of 90 %: {', '.join(f'{q:.0f}' for q in quantiles)} HU at 10, 50, 90 % of the body")
        print(f"    rank correlation with |error| {rank.statistic:.2f}; 1.645 deviations cover {100 * bare:.1f} %")
        hu = one.case.truth * one.width + one.low
        for word, low, high in TISSUES:
            part = inside & (hu >= low) & (hu < high)
            if part.any():
                held = float((error <= half)[part].double().mean())
                print(f"    {word}: the interval of 90 % holds {100 * held:.1f} %")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--fit", nargs="+", required=True, metavar="SCAN", help="training scans")
    parser.add_argument("--check", nargs="*", default=[], metavar="SCAN", help="scans that nothing was trained on")
    parser.add_argument("--slices", type=int, default=16, help="in the middle of each scan that names none")
    parser.add_argument("--size", type=int, default=128)
    parser.add_argument("--samples", type=int, default=8)
    parser.add_argument("--steps", type=int, default=None, help="[the method's]")
    parser.add_argument("--method", default="dds")
    parser.add_argument("--prior", default=None, help="the method's usual one if none is given")
    parser.add_argument("--task", default="svct")
    parser.add_argument("--views", type=int, default=None)
    parser.add_argument("--last", type=int, default=0, help="predictions of a single run, in place of samples")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--cache", type=Path, required=True, help="a folder")
    parser.add_argument("--out", type=Path, default=None, help="the calibration's file; its name is the calibration's")
    options = parser.parse_args()
    if options.last == 1 or (not options.last and options.samples < 2):
        parser.error("a deviation is of at least two samples, or of the last two predictions of one.")
    options.cache.mkdir(parents=True, exist_ok=True)
    fits, checks = ([reconstructed(scan, options) for scan in scans] for scans in (options.fit, options.check))

    def fitted(scans: Sequence[Reconstructed]) -> Calibration:
        conditions = scans[0].conditions.joined([one.conditions for one in scans[1:]])
        name = options.out.stem if options.out else f"{options.method}-{options.task}-{options.samples}"
        return Calibration.fit([one.case for one in scans], conditions, name, [one.name for one in scans])

    for one in fits if len(fits) > 1 else []:
        table("Fitted on the other scans", fitted([other for other in fits if other is not one]), [one])
    calibration = fitted(fits)
    table(f"Fitted on {', '.join(calibration.scans)}", calibration, [*fits, *checks])
    print(f"\nquantiles of |error| / u: {', '.join(f'{k:g} %: {q:.3g}' for k, q in calibration.quantiles.items())}")
    if options.out:
        write_json(options.out, calibration.as_tree())
        print(f"Written: {options.out}")


if __name__ == "__main__":
    main()
