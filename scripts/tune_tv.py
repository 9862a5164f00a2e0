"""Find the weight of total variation for each number of views, by a grid search on training scans.

    python scripts/tune_tv.py lungfcp_0001_chest.nii.gz lidc50_0117_chest.nii.gz --views 4 8 15 30 60 100

The middle slices of every scan are measured by the published cone beam and reconstructed by ADMM-TV with every weight.
Printed is the PSNR in dB, the mean of the three planes and of the scans, and in the end the weights that are best, as
the groups of a recipe write them. Scans that numbers are claimed on are no scans to tune on.
"""

from __future__ import annotations

import argparse
import statistics
from pathlib import Path

import coslice
from coslice.axes import PLANES
from coslice.detector import PhotonNoise
from coslice.methods import Direct, changed
from coslice.metrics import evaluate
from coslice.problems import SparseViewCT, Study

WEIGHTS = (0.0075, 0.015, 0.03, 0.06, 0.12, 0.24, 0.48)


def measured(path: Path, views: int, slices: int, size: int, photons: float | None) -> Study:
    """The middle slices of a scan, simulated."""
    scan = coslice.read_nifti(path)
    first = max((scan.shape[0] - slices) // 2, 0)
    preparation = coslice.Preparation(slices=(first, min(first + slices, scan.shape[0])), size=size)
    noise = None if photons is None else PhotonNoise(photons)
    return coslice.simulate(scan, SparseViewCT(views=views, noise=noise), preparation=preparation)


def quality(study: Study, weight: float, penalty: float) -> float:
    """PSNR of ADMM-TV in dB, the mean of the three planes."""
    usual = coslice.find_method("admm-tv")
    assert isinstance(usual, Direct) and study.unit is not None
    solution = changed(usual, {"solution": {"weight": weight, "penalty": penalty}})
    reconstruction = coslice.run(coslice.plan(study.problem, solution)).reconstruction
    found = evaluate(reconstruction, study.unit, lpips=False)
    return statistics.fmean(found[plane]["psnr"] for plane in PLANES)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("scans", nargs="+", type=Path, metavar="SCAN", help="training scans, NIfTI in HU")
    parser.add_argument("--views", nargs="+", type=int, default=[30])
    parser.add_argument("--photons", nargs="+", type=float, default=[0.0], help="per pixel, 0 for no noise")
    parser.add_argument("--weights", nargs="+", type=float, default=WEIGHTS)
    parser.add_argument("--penalties", nargs="+", type=float, default=[1.0])
    parser.add_argument("--slices", type=int, default=24, help="in the middle of each scan")
    parser.add_argument("--size", type=int, default=128, help="pixels across a slice")
    options = parser.parse_args()
    print(f"{'views':>6} {'photons':>8} {'penalty':>8}" + "".join(f"{weight:>9g}" for weight in options.weights))
    best: dict[str, tuple[float, float]] = {}
    for views in options.views:
        for photons in options.photons:
            studies = [measured(scan, views, options.slices, options.size, photons or None) for scan in options.scans]
            found: dict[tuple[float, float], float] = {}
            for penalty in options.penalties:
                print(f"{views:>6} {photons:>8g} {penalty:>8g}", end="", flush=True)
                for weight in options.weights:
                    values = [quality(study, weight, penalty) for study in studies]
                    found[weight, penalty] = statistics.fmean(values)
                    print(f"{found[weight, penalty]:>9.2f}", end="", flush=True)
                print()
            name = f"{views} views" + (f", {photons:g} photons" if photons else "")
            best[name] = max(found, key=lambda pair: found[pair])
    print("\nbest")
    for name, (weight, penalty) in best.items():
        print(f"    {name}: {{solution: {{weight: {weight:g}, penalty: {penalty:g}}}}}")


if __name__ == "__main__":
    main()
