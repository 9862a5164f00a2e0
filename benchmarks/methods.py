"""Methods side by side on one scan: the paper's table, seconds and ratios.

    python benchmarks/methods.py SCAN.nii.gz --slices 100:164 --size 128 [--task lact] [--methods dds dds+iscs ...]
        [--keep FILE.json]

Without a scan, the embedded one. A method is a name of the command line, "+iscs" or "+identical" behind it, and
settings behind a colon: dds+iscs:eta=0.5,seed=3. --prior patches=FILE planes=FILE,FILE supervised=FILE names others
than the embedded priors. With --keep, finished rows are stored and not computed again.
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import fields
from pathlib import Path
from typing import Any

import yaml

from coslice.cli.display import show_table
from coslice.data import embedded_scan
from coslice.errors import CosliceError
from coslice.io.nifti import read_nifti
from coslice.measurement_noise import GaussianNoise, PhotonNoise
from coslice.methods import METHODS
from coslice.metrics import evaluate
from coslice.parts import load_priors
from coslice.preparation import Preparation
from coslice.recipe import Recipe, chosen_method
from coslice.reconstruction import run
from coslice.study import parse_slices, simulate, write_json
from coslice.tasks import Acquisition
from coslice.volume import scan_window

CT = ["fdk", "sirt", "cgls", "admm-tv", "dds", "dds+identical", "dds+iscs", "dds-tv", "ddnm", "ddnm+iscs"]
PARALLEL = ["fdk", "fbp-unet", "dds-2d", "dds-2d+iscs", "dds-3d", "diffusion-mbir", "tpdm-cg", "tpdm"]
PARALLEL += ["diffusionblend", "diffusionblend++", "diffusionblend+++iscs"]
ZSR = ["cubic", "admm-tv", "dds", "dds+iscs", "dds-tv", "ddnm", "ddnm+iscs"]


def recipe_of(name: str) -> tuple[str, Recipe]:
    """What the table calls it, and the recipe: "dds+iscs:eta=0.5" """
    text, _, tail = name.partition(":")
    # "diffusionblend++" is a name.
    method, _, noise = (text, "", "") if text in METHODS else text.rpartition("+")
    settings: dict[str, Any] = {
        key: yaml.safe_load(value) for key, value in (s.split("=") for s in tail.split(",") if s)
    }
    unknown = settings.keys() - {field.name for field in fields(Recipe)}
    if unknown:
        raise CosliceError(f"{name}: a recipe has no {', '.join(unknown)}.")
    recipe = Recipe(method=method, noise=noise or "independent", **settings)
    return recipe.title + (f", {tail}" if tail else ""), recipe


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("scan", type=Path, nargs="?", help="NIfTI: CT in HU, or MR")
    parser.add_argument("--slices", help="FIRST:LAST")
    parser.add_argument("--task", default="svct")
    parser.add_argument("--beam", help="cone or parallel [cone]")
    for name, kind in {"views": int, "angle": float, "factor": int, "fwhm": float, "measurement-noise": float}.items():
        parser.add_argument(f"--{name}", type=kind)
    parser.add_argument("--photons", type=float)
    for name, kind in {"thickness": float, "spacing": float, "size": int, "pad": int}.items():
        parser.add_argument(f"--{name}", type=kind)
    parser.add_argument("--prior", nargs="*", default=[], metavar="KIND=NAME", help="instead of the embedded one")
    parser.add_argument("--methods", nargs="+", metavar="NAME")
    parser.add_argument("--keep", type=Path, help="JSON file of finished rows")
    options = parser.parse_args()
    options.prior = dict(pair.split("=") for pair in options.prior)

    noise = None if options.measurement_noise is None else GaussianNoise(options.measurement_noise)
    noise = noise if options.photons is None else PhotonNoise(options.photons)
    acquisition = Acquisition(
        options.task, options.views, options.angle, options.factor, options.fwhm, noise, beam=options.beam
    )
    scan = read_nifti(options.scan) if options.scan else embedded_scan()
    cut = parse_slices(options.slices, scan.shape[0])
    preparation = Preparation(cut, options.thickness, options.spacing, options.size, options.pad)
    study = simulate(scan, lambda volume: scan_window(acquisition.window, volume.data), acquisition, preparation)
    rows = json.loads(options.keep.read_text()) if options.keep and options.keep.exists() else {}
    names = options.methods or (ZSR if not acquisition.is_ct else PARALLEL if options.beam == "parallel" else CT)
    for name in names:
        if name not in rows:
            title, recipe = recipe_of(name)
            began = time.perf_counter()
            method = chosen_method(recipe, acquisition.kind)
            asked = options.prior.get(method.prior, "").split(",")
            prior, auxiliary = load_priors(method, acquisition.kind, *[name or None for name in asked])
            result = run(study.problem, recipe, prior, study.unit, auxiliary=auxiliary)
            seconds = time.perf_counter() - began
            metrics = evaluate(result.reconstruction, study.unit)
            rows[name] = {"title": title, "seconds": seconds, "phases": result.seconds, "metrics": metrics}
            rows[name]["trajectory"] = result.trajectory
            if options.keep:
                write_json(options.keep, rows)
            print(f"{title}: {seconds:.1f} s", flush=True)
    shown = {name: rows[name] for name in names}
    print(f"{study.truth!r}\n{study.title}")
    show_table({row["title"]: row["metrics"] for row in shown.values()})
    first = next(iter(shown.values()))
    for row in shown.values():
        phases = ", ".join(f"{phase} {seconds:.1f}" for phase, seconds in row["phases"].items())
        ratio = row["seconds"] / first["seconds"]
        print(f"{row['title']:<24}{row['seconds']:>8.1f} s  {ratio:>7.2f} x {first['title']}  ({phases})")


if __name__ == "__main__":
    main()
