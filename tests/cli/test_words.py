"""The command line that is shown on pages: read again by its own parser, it is what was run."""

from __future__ import annotations

import inspect
import shlex
from dataclasses import dataclass, replace
from typing import Any

import pytest
import typer

import coslice.cli.jobs
from coslice.cli.app import app
from coslice.cli.parsing import attenuations
from coslice.cli.selection import settings_of_task
from coslice.cli.words import reconstruct_command
from coslice.detector import GaussianNoise, PhotonNoise
from coslice.errors import CosliceError
from coslice.methods import (
    DDS,
    FAST_FORMS,
    KINDS,
    METHODS,
    DataStep,
    changed,
    default_method,
    fast_form,
    find_method,
    methods_for,
    parts_of,
    setting_lines,
)
from coslice.mixed_noise import Mixed
from coslice.noise import Independent
from coslice.plans import Plan
from coslice.preparation import Preparation, parse_slices
from coslice.problems import (
    LimitedAngleCT,
    SliceSuperResolution,
    SparseViewCT,
    ThickSliceProblem,
    TransmissionNoise,
    from_thick_slices,
    simulate,
)
from coslice.tree import nested
from oblique import WINDOW, thin
from small_problems import another, excluded, prior

TASKS = (
    SparseViewCT(),
    SparseViewCT("parallel", 12, noise=PhotonNoise(1e5, 3.5), seed=7),
    SparseViewCT(views=20, rows=0.5),
    LimitedAngleCT(angle=95.5, noise=GaussianNoise(0.1), seed=7),
    SliceSuperResolution(4, 3.3),
)
CHANGES: tuple[tuple[str, dict[str, Any]], ...] = (
    ("dds", {}),
    ("sirt", {"solution": {"iterations": 3}}),
    (
        "dds",
        {"noise": "independent", "schedule": {"steps": 5}, "renoising": {"eta": 0.85}, "start": {"volume": "noise"}},
    ),
    ("dds", {"noise": {"angle": 40.0}, "start": {"noise": {"kind": "iscs", "angle": 30.0}}, "samples": 3}),
    (
        "dds",
        {
            "noise": {"kind": "mixed", "tied": {"kind": "ou", "length": 8.0}, "late": 0.5},
            "start": {"noise": {"kind": "mixed", "tied": {"kind": "iscs", "angle": 30.0}}},
        },
    ),
    ("dds", {"schedule": {"kind": "karras", "rho": 5.0}, "data": "tv"}),
    ("dds", {"schedule": {"kind": "vp", "steps": 30}, "renoising": {"kind": "diffpir", "temperature": 0.5}}),
    ("dds", {"data": {"gamma": 1e-5}, "renoising": "ddim"}),
    ("diffusionblend++", {"noise": "iscs", "prior": {"lanes": False, "cross_every": 3}}),
    ("tpdm", {"prior": {"auxiliary_every": 3}, "data": {"step": 1e-3}}),
    ("diffusion-mbir", {"schedule": {"steps": 9}, "renoising": {"snr": 0.2}}),
)


COMMAND = typer.main.get_command(app)  # made once: it has many options


def understood(command: str | None, monkeypatch) -> dict[str, Any]:
    """What `coslice reconstruct` would do at a line."""
    assert command is not None
    coslice_word, *words = shlex.split(command)
    assert coslice_word == "coslice" and words[0] == "reconstruct"
    asked: dict[str, Any] = {}

    def heard(function):
        """In its place: what it was called with, by name."""
        names = inspect.signature(function)
        return lambda *given: asked.update(names.bind(*given).arguments, job=function.__name__)

    for job in ("reconstruct_scan", "reconstruct_slices", "reconstruct_projections"):
        monkeypatch.setattr(coslice.cli.jobs, job, heard(getattr(coslice.cli.jobs, job)))
    COMMAND(words, standalone_mode=False)
    monkeypatch.undo()
    kind = asked["task"].problem_kind if "task" in asked else "ct" if "files" in asked else "zsr"
    how = asked["how"]
    return asked | {"method": how.chosen(kind), "seed": how.seed, "priors": how.priors}


def studied(task, preparation=Preparation()):
    """A study of a small scan, which says of itself that it was prepared."""
    return replace(simulate(thin(), replace(task, noise=None), WINDOW), task=task, preparation=preparation)


def planned(study, method, *priors, seed=0):
    return Plan(study.problem, method, priors, seed)


@pytest.mark.parametrize("task", TASKS, ids=str)
@pytest.mark.parametrize(("name", "tree"), CHANGES)
@pytest.mark.parametrize("seed", [0, 7])
def test_the_command_of_a_page_is_understood_as_what_was_run(task, name, tree, seed, monkeypatch):
    preparation = Preparation(slices=(3, 40), thickness=None, spacing=1.25, size=96, pad=None)
    task = replace(task, seed=seed)
    study = studied(task, preparation)
    method = changed(find_method(name, study.problem.kind), tree)
    got = understood(reconstruct_command(study, planned(study, method, seed=seed)), monkeypatch)
    assert (got["method"], got["seed"], got["task"]) == (method, seed, task)
    assert replace(got["preparation"], slices=parse_slices(got["slices"], 99)) == preparation
    assert got["job"] == "reconstruct_scan" and got["priors"] == (None, None)


@pytest.mark.parametrize(
    ("kind", "once"), [("ct", True), *(pytest.param(kind, False, marks=pytest.mark.slow) for kind in ("ct", "zsr"))]
)
def test_whatever_setting_is_another_the_command_says_it(kind, once, monkeypatch):
    """Of every method, or, which is a quarter of the work, once of what several methods have alike."""
    seen: set[tuple[str, str]] = set()
    study = studied(SparseViewCT() if kind == "ct" else SliceSuperResolution())
    for method in methods_for(kind).values():
        for line in setting_lines(method):
            # A part that is named is not one value but many.
            if line.path in parts_of(method) or excluded(method, line):
                continue
            if once and (line.path, repr(line.value)) in seen:
                continue
            seen.add((line.path, repr(line.value)))
            other = changed(method, nested([(line.path, another(line))]))
            command = reconstruct_command(study, planned(study, other))
            assert command is not None
            assert understood(command, monkeypatch)["method"] == other, command


@pytest.mark.parametrize("kind", KINDS)
def test_the_command_of_a_method_as_it_is_names_the_method_alone(kind):
    study = studied(SparseViewCT() if kind == "ct" else SliceSuperResolution())
    for name, method in methods_for(kind).items():
        words = [] if kind == "ct" else ["--task", "zsr"]
        words += [] if name == default_method(kind) else ["--method", name]
        expected = shlex.join(["coslice", "reconstruct", "SCAN.nii.gz", *words, "--out", "out/"])
        assert reconstruct_command(study, planned(study, method)) == expected


def test_a_command_says_what_differs_and_nothing_else():
    study = studied(SparseViewCT())
    assert reconstruct_command(study, planned(study, DDS)) == (
        "coslice reconstruct SCAN.nii.gz --method dds --out out/"
    )
    best = planned(study, find_method(default_method("ct")))
    assert reconstruct_command(study, best) == "coslice reconstruct SCAN.nii.gz --out out/"
    longer = changed(DDS, {"data": {"iterations": 20}, "schedule": {"steps": 50}, "noise": "independent"})
    assert reconstruct_command(study, planned(study, longer, seed=3), "here") == (
        "coslice reconstruct SCAN.nii.gz --method dds --noise independent --set data.iterations=20 --steps 50 --seed 3 "
        "--out here/"
    )
    noisy = studied(SparseViewCT(noise=GaussianNoise(0.1), seed=1))
    assert reconstruct_command(noisy, planned(noisy, DDS, seed=2)) is None, "one seed is all the command line has"


@pytest.mark.parametrize("kind", KINDS)
def test_the_command_of_a_fast_form_says_so_and_what_differs_from_it(kind, monkeypatch):
    study = studied(SparseViewCT() if kind == "ct" else SliceSuperResolution())
    for name in FAST_FORMS[kind]:
        form = fast_form(find_method(name, kind), kind)
        for steps in (None, form.schedule.steps + 1):
            fast = form if steps is None else changed(form, {"schedule": {"steps": steps}})
            command = str(reconstruct_command(study, planned(study, fast)))
            assert ("--steps" in command) == (steps is not None) and "--set" not in command, command
            assert understood(command, monkeypatch)["method"] == fast


@pytest.mark.parametrize("factor", [None, 3, 5])
def test_the_command_of_a_real_scan_splits_its_slices_as_they_were(factor, monkeypatch):
    """Also where that is not into cubes: the usual factor of a simulated scan is none of a measured one."""
    study = from_thick_slices(thin(8, (4.5, 1.5, 1.5)), WINDOW, factor)
    command = reconstruct_command(study, planned(study, find_method("dds", "zsr")))
    got = understood(command, monkeypatch)
    assert isinstance(study.problem, ThickSliceProblem)
    assert got["job"] == "reconstruct_slices" and got["factor"] == study.problem.factor == (factor or 3)


@dataclass(frozen=True)
class Unnamed(DataStep):
    pass


def test_a_setting_of_the_measurement_is_given_once_and_is_plain():
    assert settings_of_task(["task.rows=0.5", "data.iterations=3"], {}) == ({"rows": 0.5}, ("data.iterations=3",))
    with pytest.raises(CosliceError, match=r"task\.views was given by --views and by --set too"):
        settings_of_task(["task.views=8"], {"views": 30})
    with pytest.raises(CosliceError, match=r"task\.rows is \[1, 2\], but a number or a word"):
        settings_of_task(["task.rows=[1, 2]"], {})


def test_the_attenuation_of_air_is_said_with_that_of_water():
    study = replace(studied(SparseViewCT()), task=None)
    for water, air in ((0.02, 0.001), ("find", 0.001), (0.02, 0.0)):
        stated = {"water": water} | ({"air": air} if air else {})
        command = reconstruct_command(replace(study, stated=stated), planned(study, DDS))
        assert command is not None
        words = shlex.split(command)
        assert "--air" not in words and attenuations(words[words.index("--water") + 1]) == (water, air)
    assert attenuations(None) == (None, 0.0)
    for wrong in ("much", "0.02:", "0.02:little", "0.02:0:0"):
        with pytest.raises(CosliceError, match=f'water: "{wrong}" was given'):
            attenuations(wrong)


@dataclass(frozen=True)
class Named(Independent):
    kind = "somebody-s"


def test_what_the_command_line_does_not_know_it_does_not_say():
    """Methods and parts that are defined elsewhere, whether they have a word or not."""
    study = studied(SparseViewCT())
    for own in (
        replace(DDS, name="mine"),
        replace(DDS, data=Unnamed()),
        replace(DDS, noise=Named()),
        changed(DDS, {"start": {"noise": Named()}}),
        replace(DDS, noise=Mixed(tied=Named())),
        changed(DDS, {"start": {"noise": Mixed(tied=Named())}}),
    ):
        assert reconstruct_command(study, planned(study, own)) is None
    dimmed = studied(SparseViewCT("parallel", 12, noise=TransmissionNoise(1e4)))
    assert reconstruct_command(dimmed, planned(dimmed, DDS)) is None, "a noise of recipes only"


@pytest.mark.parametrize(
    ("name", "word"), [("ct", None), ("ct-coronal", "ct-coronal"), ("/home/someone/mine", "PRIOR.safetensors")]
)
def test_a_command_names_embedded_priors_and_no_file_of_the_user(name, word, monkeypatch):
    study = studied(SparseViewCT())
    command = reconstruct_command(study, planned(study, DDS, prior(card={"name": name})))
    assert understood(command, monkeypatch)["priors"] == (word, None)
    assert command is not None and "someone" not in command
    both = planned(study, METHODS["tpdm"], prior(card={"name": "ct"}), prior(card={"name": name}))
    usual = None if name == "ct-coronal" else "ct" if name == "ct" else word
    assert understood(reconstruct_command(study, both), monkeypatch)["priors"] == (None, usual)
