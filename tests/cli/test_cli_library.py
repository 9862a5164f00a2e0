"""`coslice reconstruct` does what the library does: the same volume, from the same values."""

from __future__ import annotations

import json

import pytest
import torch

from coslice import plan, read_nifti, run
from coslice.detector import GaussianNoise, PhotonNoise
from coslice.methods import METHODS, changed, described, find_method
from coslice.output import titles
from coslice.preparation import Preparation
from coslice.priors import load_prior
from coslice.problems import LimitedAngleCT, SliceSuperResolution, SparseViewCT, simulate
from coslice.tree import overlay

FEW = {"schedule": {"steps": 3}}
SMALL = Preparation(size=16)


def same(coslice, arguments, out, scan, task, method, priors=(), preparation=Preparation(), seed=0):
    """The file that the command leaves is the volume of the library, and its record says how; the record."""
    code, said, error = coslice(*arguments, "--out", out)
    assert code == 0, error
    loaded = [load_prior(prior) for prior in priors]
    window = loaded[0].window_for if loaded else None
    study = simulate(read_nifti(scan), task, window, preparation)
    planned = plan(study.problem, method, loaded, seed)
    result = run(planned)
    expected = study.window.from_unit(result.reconstruction)
    torch.testing.assert_close(read_nifti(out / "reconstruction.nii.gz").data, expected, rtol=1e-6, atol=1e-3)
    record = json.loads((out / "run.json").read_text())
    assert record["methods"]["reconstruction"] == json.loads(json.dumps(described(method)))
    assert record["study"] == json.loads(json.dumps(study.settings))
    assert [card.get("name") for card in record["priors"]] == [prior.card.get("name") for prior in loaded]
    name = titles(study, {"reconstruction": planned})["reconstruction"]
    assert name in (out / "report.html").read_text("utf-8") and "Report:" in said
    return record


@pytest.mark.parametrize(
    ("options", "method", "task", "preparation"),
    [
        (
            ["--method", "dps", "--set", "data.step=0.5", "--noise", "independent", "--set", "renoising.eta=0.5"],
            changed(METHODS["dps"], {"data": {"step": 0.5}, "noise": "independent", "renoising": {"eta": 0.5}}),
            SparseViewCT(views=8),
            SMALL,
        ),
        (
            ["--method", "diffusion-mbir", "--steps", 1, "--noise", "identical", "--set", "start.noise=iscs"],
            changed(
                METHODS["diffusion-mbir"],
                {"schedule": {"steps": 1}, "noise": "identical", "start": {"noise": "iscs"}},
            ),
            SparseViewCT(views=8),
            SMALL,
        ),
        (
            ["--method", "dds", "--set", "start.volume=noise", "--set", "noise.angle=60", "--set", "data.gamma=5"],
            changed(METHODS["dds"], {"start": {"volume": "noise"}, "noise": {"angle": 60.0}, "data": {"gamma": 5.0}}),
            SparseViewCT(views=8),
            SMALL,
        ),
        (
            ["--thickness", 4, "--photons", 1e5, "--electronic-noise", 10],
            # the default with a prior of one's own, and where noise is known
            changed(METHODS["wdds"], {"data": {"trust": 7.0}}),
            SparseViewCT(views=8, noise=PhotonNoise(1e5, 10.0)),
            Preparation(size=16, thickness=4.0),
        ),
        (
            [
                "--method",
                "dds",
                "--set",
                "renoising=ddim",
                "--set",
                "renoising.eta=0.5",
                "--set",
                "schedule=karras",
                "--samples",
                2,
            ],
            changed(METHODS["dds"], {"renoising": {"kind": "ddim", "eta": 0.5}, "schedule": "karras", "samples": 2}),
            SparseViewCT(views=8),
            SMALL,
        ),
    ],
)
def test_methods_noises_and_preparations_of_ct(
    coslice, svct, scan, tiny_prior, tmp_path, options, method, task, preparation
):
    few = {} if "--steps" in options else FEW
    arguments = [*svct, "--size", 16, *options]
    same(coslice, arguments, tmp_path / "out", scan, task, changed(method, few), [tiny_prior], preparation)


@pytest.mark.parametrize(
    ("options", "method", "task"),
    [
        (["--method", "fdk", "--task", "lact", "--angle", 90], METHODS["fdk"], LimitedAngleCT(views=8, angle=90.0)),
        (
            ["--method", "sirt", "--set", "solution.iterations=5"],
            changed(METHODS["sirt"], {"solution": {"iterations": 5}}),
            SparseViewCT(views=8),
        ),
        (["--method", "cgls", "--beam", "parallel"], METHODS["cgls"], SparseViewCT("parallel", 8)),
    ],
)
def test_classical_methods_of_ct(coslice, scan, tmp_path, options, method, task):
    arguments = ["reconstruct", scan, "--views", 8, "--size", 16, *options]
    same(coslice, arguments, tmp_path / "out", scan, task, method, preparation=SMALL)


def test_cubic_interpolation_needs_no_prior(coslice, head, tmp_path):
    arguments = ["reconstruct", head, "--task", "zsr", "--method", "cubic", "--factor", 2]
    same(coslice, arguments, tmp_path / "out", head, SliceSuperResolution(2), METHODS["cubic"])


@pytest.mark.parametrize(
    ("options", "name", "tree", "task", "preparation"),
    [
        (["--method", "ddnm"], "ddnm", {}, SliceSuperResolution(), Preparation()),
        (
            ["--spacing", 1.5, "--pad", 24, "--fwhm", 6, "--samples", 2],
            "dds",
            {"samples": 2},
            SliceSuperResolution(fwhm_mm=6.0),
            Preparation(spacing=1.5, pad=24),
        ),
        (
            ["--measurement-noise", 0.02, "--set", "renoising=ddim", "--method", "dds-tv", "--seed", 7],
            "dds-tv",
            {"renoising": "ddim"},
            SliceSuperResolution(noise=GaussianNoise(0.02), seed=7),
            Preparation(),
        ),
    ],
)
def test_methods_noises_and_preparations_of_super_resolution(
    coslice, zsr, head, tiny_coronal_prior, tmp_path, options, name, tree, task, preparation
):
    method = changed(find_method(name, "zsr"), overlay(FEW, tree))
    arguments = [*zsr, *options]
    same(coslice, arguments, tmp_path / "out", head, task, method, [tiny_coronal_prior], preparation, task.seed)


def test_the_record_holds_what_was_chosen_and_what_was_left_to_the_method(
    coslice, zsr, head, tiny_coronal_prior, tmp_path
):
    options = ["--method", "dds-tv", "--factor", 2, "--fwhm", 3, "--samples", 2, "--seed", 7, "--size", 16]
    method = changed(find_method("dds-tv", "zsr"), FEW | {"samples": 2})
    task = SliceSuperResolution(2, 3.0, seed=7)
    record = same(coslice, [*zsr, *options], tmp_path / "out", head, task, method, [tiny_coronal_prior], SMALL, 7)
    assert {"task": "zsr", "factor": 2, "fwhm_mm": 3.0, "size": 16, "noise_seed": 7}.items() <= record["study"].items()
    assert {"samples": 2, "steps": 3, "seed": 7}.items() <= record["recipes"]["reconstruction"].items()
    assert record["methods"]["reconstruction"]["renoising"]["eta"] == 1.0
    assert [prior["name"] for prior in record["priors"]] == ["coronal"]
    assert len(record["trajectory"]["reconstruction"]) == 3


@pytest.mark.parametrize(
    ("name", "options", "tree"),
    [
        ("dds-2d", ["--noise", "iscs"], {}),
        (
            "dds-3d",
            ["--set", "data.weight=0.1", "--set", "schedule=karras"],
            {"data": {"weight": 0.1}, "schedule": {"kind": "karras"}},
        ),
        (
            "diffusionblend",
            ["--noise", "iscs", "--set", "prior.ends=repeat"],
            {"noise": "iscs", "prior": {"ends": "repeat"}},
        ),
        (
            "diffusionblend++",
            ["--set", "prior.cross_every=0", "--set", "prior.partition=fixed"],
            {"prior": {"cross_every": 0, "partition": "fixed"}},
        ),
        (
            "diffusionblend++",
            ["--noise", "iscs", "--samples", 2, "--set", "prior.lanes=false"],
            {"noise": "iscs", "samples": 2, "prior": {"lanes": False}},
        ),
        ("tpdm", ["--set", "data.step=0.3"], {"data": {"step": 0.3}}),
        (
            "tpdm-cg",
            ["--noise", "identical", "--set", "prior.auxiliary_every=3"],
            {"noise": "identical", "prior": {"auxiliary_every": 3}},
        ),
    ],
)
def test_methods_that_see_more_than_a_slice(coslice, scan, prior_files, tmp_path, name, options, tree):
    files = prior_files(name)
    arguments = ["reconstruct", scan, "--method", name, *files, "--steps", 3, "--views", 8, "--size", 16, *options]
    method = changed(find_method(name), overlay(FEW, tree))
    preparation = Preparation((2, 13), size=16)
    arguments += ["--slices", "2:13"]
    record = same(coslice, arguments, tmp_path / "out", scan, SparseViewCT(views=8), method, files[1::2], preparation)
    names = {"diffusionblend": ["patches"], "tpdm": ["tiny", "second"]}
    expected = next((names[key] for key in names if name.startswith(key)), ["tiny"])
    assert [prior["name"] for prior in record["priors"]] == expected


OWN = """
from dataclasses import dataclass, replace

from coslice.fidelity import ProximalCG
from coslice.methods import DDS, DataStep
from coslice.settings import setting


@dataclass(frozen=True)
class MySteps(DataStep):
    often: int = setting(4, "Steps of conjugate gradients", least=1)

    def build(self, problem, along):
        return ProximalCG(problem.operator, problem.measurement, self.often)


MINE = replace(DDS, name="mine", title="Mine", data=MySteps())
"""


def test_a_method_out_of_a_file_of_the_user_s_is_run_and_set_as_the_others(coslice, svct, scan, tiny_prior, tmp_path):
    (tmp_path / "mine.py").write_text(OWN)
    arguments = [*svct, "--size", 16, "--method", f"{tmp_path / 'mine.py'}:MINE"]
    for options, iterations in (([], 4), (["--set", "data.often=2"], 2)):
        out = tmp_path / str(iterations)
        code, said, error = coslice(*arguments, *options, "--out", out)
        assert code == 0, error
        assert "Mine + ISCS" in said
        theirs = tmp_path / f"dds-{iterations}"
        coslice(*svct, "--size", 16, "--method", "dds", "--set", f"data.iterations={iterations}", "--out", theirs)
        volumes = [read_nifti(folder / "reconstruction.nii.gz").data for folder in (out, theirs)]
        assert torch.equal(*volumes)
        data = json.loads((out / "run.json").read_text())["methods"]["reconstruction"]["data"]
        assert data == {"kind": "MySteps", "often": iterations}
        # A command that only this machine understands is not shown.
        assert 'class="command"' not in (out / "report.html").read_text("utf-8")
