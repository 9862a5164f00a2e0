"""The command line that makes a reconstruction again.

It says what differs from the defaults and nothing else. Files of the user appear as SCAN.nii.gz, PRIOR.safetensors and
the like: a page may be passed on, and what a file is called may say whose it is.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import fields
from typing import Any

from coslice.cli.selection import OWN_OPTIONS, settings_tree
from coslice.detector import GaussianNoise, PhotonNoise
from coslice.methods import (
    FAST_FORMS,
    METHODS,
    AnyMethod,
    Method,
    changed,
    default_method,
    fast_form,
    find_method,
    parts_of,
    setting_lines,
    usual_priors,
)
from coslice.plans import Plan
from coslice.preparation import Preparation
from coslice.priors.places import embedded_priors
from coslice.problems import Study, Task
from coslice.settings import Part

__all__ = ["benchmark_command", "reconstruct_command"]

_RECORDING = "PROJECTIONS"
_SCAN, _PRIORS = "SCAN.nii.gz", ("PRIOR.safetensors", "PRIOR2.safetensors")
_OPTIONS = {path: name for name, path in OWN_OPTIONS.items()}


def reconstruct_command(study: Study, planned: Plan, out: str = "out") -> str | None:
    """One line for a shell.

    Args:
        study: what was measured.
        planned: how it was reconstructed.
        out: the folder to name.

    Returns:
        None where the command line cannot say it: the noise of the measurement is of another kind or has another seed
        than the method, a part of the method is defined elsewhere, or the background of the scan was made air.
    """
    if study.preparation.background:
        return None
    task = study.task
    if task is not None and task.noise is not None:
        told = type(task.noise) in (GaussianNoise, PhotonNoise)
        if not told or task.seed != planned.seed:
            return None
    priors = list(_prior_options(planned))
    method = _method_options(planned.method, study.problem.kind, [name for _, name in priors])
    if method is None:
        return None
    words = ["coslice", "reconstruct", _SCAN if study.task is not None else _RECORDING]
    options = _scan_options(study) if study.task is not None else _recording_options(study)
    if study.reference:
        options = (*options, ("reference", "all-views" if study.stated.get("reference") else "REFERENCE"))
    for name, value in (*options, *method, *priors, ("seed", planned.seed or None)):
        if value is None or value is False:
            continue
        words.append("--" + name.replace("_", "-"))
        if value is not True:
            words.append(str(value))
    return shlex.join([*words, "--out", f"{out}/"])


def benchmark_command(
    called: str, scans: Iterable[str], priors: Iterable[str], seeds: int | None, protocol: str | None = None
) -> str:
    """One line for a shell that makes a benchmark again.

    Args:
        called: the recipe, see `coslice.benchmark.Benchmark`.
        scans, priors: names of those that the user gave; files appear as FILE.
        seeds: how many the user asked for; None where that was left to the recipe.
        protocol: the one that the user asked for; None likewise.
    """
    words = ["coslice", "benchmark", called]
    for option, names in (("--scan", scans), ("--prior", priors)):
        words += [word for name in names for word in (option, f"{name}=FILE")]
    for option, value in (("--seeds", seeds), ("--protocol", protocol)):
        words += [] if value is None else [option, str(value)]
    return shlex.join(words)


def _recording_options(study: Study) -> Iterator[tuple[str, Any]]:
    """What was stated of measured projections; a pair is FIRST:LAST, LOW:HIGH or ROWS,COLUMNS."""
    for name, value in study.stated.items():
        if name in ("reference", "format", "air"):
            continue
        if name == "repair":
            yield "no-repair", not value
        elif name == "axis":
            yield "rotation_axis", value
        elif isinstance(value, list):
            between = "," if name in ("binning", "pixel") else ":"
            yield name, between.join("" if end is None else f"{end:g}" for end in value)
        elif name == "water":
            yield name, f"{value}:{study.stated['air']}" if "air" in study.stated else value
        else:
            yield name, value


def _scan_options(study: Study) -> Iterator[tuple[str, Any]]:
    task = study.task
    assert task is not None
    yield "task", None if task.kind == "svct" else task.kind
    yield "from_measurement", study.measured
    for name, _ in task.settings():
        value, usual = getattr(task, name), _usual(task, name)
        # Of a measured scan, no factor means the one that makes cubes, and not the usual one.
        given = value != usual or (name == "factor" and study.measured)
        if name == "rows" and given:  # --rows are those of a recording
            yield "set", f"task.rows={value:g}"
        elif name not in ("noise", "seed") and given:
            yield name.removesuffix("_mm"), value
    if isinstance(task.noise, GaussianNoise):
        yield "measurement_noise", task.noise.sd
    if isinstance(task.noise, PhotonNoise):
        yield "photons", task.noise.photons
        yield "electronic_noise", task.noise.electronic or None
    yield "values", study.values
    for item in fields(Preparation):
        value = getattr(study.preparation, item.name)
        yield item.name, "{}:{}".format(*value) if item.name == "slices" and value else value


def _usual(task: Task, name: str) -> Any:
    return next(item.default for item in fields(task) if item.name == name)


def _method_options(method: AnyMethod, kind: str, priors: Sequence[str | None]) -> list[tuple[str, Any]] | None:
    if method.name not in METHODS:
        return None
    usual = find_method(method.name, kind)
    options: list[tuple[str, Any]] = [("method", None if method.name == default_method(kind, priors) else method.name)]
    if type(method) is not type(usual):
        return None
    if isinstance(method, Method) and method.fast:
        if method.name not in FAST_FORMS[kind]:
            return None
        usual = fast_form(usual, kind)
        options.append(("fast", True))
    given: list[tuple[str, Any]] = []
    for path, word in _kinds(method).items():
        if word != _kinds(changed(usual, settings_tree(given))).get(path):
            if word == "":
                return None
            given.append((path, word))
    before = {line.path: line.value for line in setting_lines(changed(usual, settings_tree(given)))}
    for line in setting_lines(method):
        if line.path not in _kinds(method) and line.value != before.get(line.path):
            given.append((line.path, line.value))
    for path, value in given:
        if path in _OPTIONS:
            options.append((_OPTIONS[path], value))
        else:
            shown = value if isinstance(value, str) else json.dumps(value)
            options.append(("set", f"{path}={shown}"))
    return options


def _kinds(method: AnyMethod) -> dict[str, str | None]:
    """The word of every part by path; "" of a part that is not coslice's or has none, None where there is no part."""
    return {path: None if part is None else _word(part) for path, part in parts_of(method).items()}


def _word(part: Part) -> str:
    """The word of a part that the command line knows."""
    return part.kind if part.built_in() else ""


def _prior_options(planned: Plan) -> Iterator[tuple[str, str | None]]:
    usual = usual_priors(planned.problem.kind, planned.method.need, planned.problem.modality)
    files = iter(_PRIORS)
    for number, (option, prior) in enumerate(zip(("prior", "auxiliary_prior"), planned.priors, strict=False)):
        name = prior.card.get("name")
        default = usual[number] if number < len(usual) else None
        yield option, None if name == default else name if name in embedded_priors() else next(files)
