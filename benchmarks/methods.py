"""Methods side by side on one scan: the paper's table, seconds and ratios.

    python benchmarks/methods.py SCAN.nii.gz --slices 100:164 --size 128 [--task lact] [--methods dds dds+iscs ...]
        [--keep FILE.json]

Without a scan, the embedded one. Methods are names of the command line, "+iscs" or "+identical" behind them. With
--keep, finished rows are stored and not computed again.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

from coslice.cli.display import show_table
from coslice.data import embedded_scan
from coslice.io.nifti import read_nifti
from coslice.methods import DIFFUSION
from coslice.metrics import evaluate
from coslice.priors import load_prior
from coslice.reconstruction import Recipe, run
from coslice.study import parse_slices, simulate, write_json

METHODS = ["fdk", "sirt", "cgls", "admm-tv", "dds", "dds+identical", "dds+iscs", "ddnm", "ddnm+iscs"]


def recipe_of(name: str, **settings) -> Recipe:
    method, _, noise = name.partition("+")
    return Recipe(method=method, noise=noise or "independent", **settings)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("scan", type=Path, nargs="?", help="CT scan in HU, NIfTI")
    parser.add_argument("--slices", help="FIRST:LAST")
    parser.add_argument("--size", type=int)
    parser.add_argument("--task", default="svct")
    parser.add_argument("--views", type=int)
    parser.add_argument("--angle", type=float)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--steps", type=int)
    parser.add_argument("--sigma-max", type=float)
    parser.add_argument("--sirt-iterations", type=int)
    parser.add_argument("--prior", default="ct")
    parser.add_argument("--methods", nargs="+", default=METHODS, metavar="NAME")
    parser.add_argument("--keep", type=Path, help="JSON file of finished rows")
    options = parser.parse_args()

    scan = read_nifti(options.scan) if options.scan else embedded_scan()
    loaded = load_prior(options.prior)
    cut = parse_slices(options.slices, scan.shape[0])
    study = simulate(scan, loaded.window_for(scan), options.task, options.views, options.angle, cut, options.size)
    settings = {"seed": options.seed, "steps": options.steps, "sirt_iterations": options.sirt_iterations}
    settings["sigma_max"] = options.sigma_max
    rows = json.loads(options.keep.read_text()) if options.keep and options.keep.exists() else {}
    for name in options.methods:
        if name not in rows:
            recipe = recipe_of(name, **settings)
            began = time.perf_counter()
            prior = loaded if recipe.method in DIFFUSION else None
            result = run(study.problem, recipe, prior, study.unit)
            seconds = time.perf_counter() - began
            metrics = evaluate(result.reconstruction, study.unit)
            rows[name] = {"title": recipe.title, "seconds": seconds, "phases": result.seconds, "metrics": metrics}
            if options.keep:
                write_json(options.keep, rows)
            print(f"{recipe.title}: {seconds:.1f} s", flush=True)
    shown = {name: rows[name] for name in options.methods}
    print(f"{study.truth!r}, {options.task}, {study.settings['views']} views, seed {options.seed}")
    show_table({row["title"]: row["metrics"] for row in shown.values()})
    first = next(iter(shown.values()))
    for row in shown.values():
        phases = ", ".join(f"{phase} {seconds:.1f}" for phase, seconds in row["phases"].items())
        ratio = row["seconds"] / first["seconds"]
        print(f"{row['title']:<12}{row['seconds']:>8.1f} s  {ratio:>7.2f} x {first['title']}  ({phases})")


if __name__ == "__main__":
    main()
