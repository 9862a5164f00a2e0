"""The command line that makes a reconstruction again.

It says what differs from the defaults and nothing else. Files of the user appear as SCAN.nii.gz and PRIOR.safetensors:
a page may be passed on, and what a file is called may say whose it is.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import Any

from coslice.measurement_noise import GaussianNoise, PhotonNoise
from coslice.methods import METHODS, USUAL_PRIORS
from coslice.preparation import Preparation
from coslice.priors.places import embedded_priors
from coslice.recipe import Recipe
from coslice.tasks import Acquisition

__all__ = ["reconstruct_command", "scan_options"]

_SCAN, _PRIOR = "SCAN.nii.gz", "PRIOR.safetensors"


def scan_options(acquisition: Acquisition, preparation: Preparation, measured: bool = False) -> dict[str, Any]:
    """What `coslice reconstruct` calls the settings of a measurement, with their values; None where not given.

    Args:
        acquisition, preparation: how the scan was measured, and what was done before.
        measured: whether the scan is the measurement itself.
    """
    given = {f"{'fwhm' if f.name == 'fwhm_mm' else f.name}": getattr(acquisition, f.name) for f in fields(Acquisition)}
    noise = given.pop("noise")
    if isinstance(noise, GaussianNoise):
        given["measurement_noise"] = noise.sd
    if isinstance(noise, PhotonNoise):
        given |= {"photons": noise.photons, "electronic_noise": noise.electronic or None}
    given |= {f.name: getattr(preparation, f.name) for f in fields(Preparation)}
    if preparation.slices is not None:
        given["slices"] = "{}:{}".format(*preparation.slices)
    return {"from_measurement": measured} | given


def reconstruct_command(
    options: Mapping[str, Any], recipe: Recipe, priors: Sequence[str | None] = (), out: str = "out"
) -> str | None:
    """One line for a shell.

    Args:
        options: as `scan_options` gives them.
        recipe: how it was reconstructed.
        priors: names of the prior, and of that of a second plane.
        out: the folder to name.

    Returns:
        None where the noise of the measurement has another seed than the recipe, which the command line cannot say.
    """
    if (options.get("measurement_noise") or options.get("photons")) and options["seed"] != recipe.seed:
        return None
    method = METHODS[recipe.method]
    told = {**options, **{f.name: getattr(recipe, f.name) for f in fields(Recipe)}}
    usual = {f.name: f.default for f in (*fields(Acquisition), *fields(Recipe))} | {"noise": method.noise}
    kind = "zsr" if options["task"] == "zsr" else "ct"
    if method.prior:
        names = USUAL_PRIORS.get((kind, method.prior), (None, None))
        for option, name, default in zip(("prior", "auxiliary_prior"), priors, names, strict=False):
            told[option] = None if name == default else name if name in embedded_priors() else _PRIOR
    words = ["coslice", "reconstruct", _SCAN]
    for name, value in told.items():
        if value is None or value is False or value == usual.get(name):
            continue
        words.append("--" + name.replace("_", "-"))
        if value is not True:
            words.append(str(value))
    return shlex.join([*words, "--out", f"{out}/"])
