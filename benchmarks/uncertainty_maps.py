"""Which map knows best where a reconstruction is wrong: samples, or predictions of a single run.

    python benchmarks/uncertainty_maps.py chest.nii.gz --slices 40 48 [--size 128] [--samples 2]

Each map is calibrated on the left half of the body and looked at in the right half of the same scan. This compares
maps; how an interval does on another scan is what scripts/calibrate.py measures.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import torch
from scipy.stats import spearmanr

import coslice
from coslice.methods import Method
from coslice.output import conditions_of
from coslice.sampling import sample, start
from coslice.uncertainty import Calibration, Case, Welford, body_mask, coverage

LAST = (2, 10)  # predictions


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("scan", type=Path)
    parser.add_argument("--slices", type=int, nargs=2, default=(40, 48))
    parser.add_argument("--size", type=int, default=128)
    parser.add_argument("--samples", type=int, default=2)
    options = parser.parse_args()
    prior = coslice.load_prior("ct")
    preparation = coslice.Preparation(slices=tuple(options.slices), size=options.size)
    study = coslice.simulate(
        coslice.read_nifti(options.scan), coslice.SparseViewCT(views=30), prior.window_for, preparation
    )
    planned, truth = coslice.plan(study.problem, "dds", prior), study.unit
    assert truth is not None and isinstance(planned.method, Method)
    method, sigmas, initial = planned.method, planned.sigmas, study.problem.initial()
    summed = Welford()
    maps: dict[str, tuple[torch.Tensor, torch.Tensor]] = {}
    for number in range(options.samples):
        asked = planned.prior(number)
        first, noise = planned.noise(asked)
        acting = method.data.acting(study.problem, asked, prior.along, sigmas)
        predictions = {last: Welford() for last in LAST}
        x = start(initial, sigmas[0], first, number)
        for step in sample(x, sigmas, acting.denoiser, acting.fidelity, noise, number, method.renoising):
            x = step.x
            for last, counted in predictions.items():
                if step.index >= len(sigmas) - 1 - last:
                    counted.add(step.denoised)
        if number == 0:
            maps["none"] = x, torch.ones_like(x)
            maps |= {f"last {last} predictions": (x, deviation(one)) for last, one in predictions.items()}
        summed.add(x)
    if options.samples > 1:
        maps[f"{options.samples} samples"] = summed.mean, deviation(summed)
    body = body_mask(truth)
    left, right = body.clone(), body.clone()
    left[..., truth.shape[2] // 2 :] = False
    right[..., : truth.shape[2] // 2] = False
    hu = study.window.from_unit(truth)
    tissues = (body & (hu < -500), body & (hu >= -500) & (hu < 150), body & (hu >= 150))
    print(f"{'map':<22}{'rank':>6}{'half-width, HU':>16}{'coverage of 90 %':>18}{'lung':>8}{'soft':>8}{'bone':>8}")
    for name, (estimate, spread) in maps.items():
        estimate = estimate.clamp(0, 1)
        calibration = Calibration.fit([Case(truth, estimate, spread, left)], conditions_of(planned, name))
        half = calibration.half_width(spread)
        error = (truth - estimate).abs()
        rank: Any = float("nan") if name == "none" else spearmanr(error[right], half[right])[0]
        held = [100 * coverage(truth, estimate, half, part & right).body for part in (body, *tissues)]
        width = study.window.width * float(half[right].mean())
        print(f"{name:<22}{rank:>6.2f}{width:>16.1f}{held[0]:>18.1f}" + "".join(f"{one:>8.1f}" for one in held[1:]))


def deviation(summed: Welford) -> torch.Tensor:
    found = summed.deviation
    assert found is not None
    return found


if __name__ == "__main__":
    main()
