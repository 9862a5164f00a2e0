"""A data step and a noise of one's own, in a file outside of the package, run through everything that there is."""

import json
import math
import textwrap
from dataclasses import dataclass, replace
from typing import Any, cast

import pytest
import torch

import coslice as package
from coslice.errors import CosliceError
from coslice.geometry import Grid
from coslice.methods import ConjugateGradients, DataStep, load_method
from coslice.noise import Identical, Key, Strategy
from coslice.settings import setting
from coslice.window import CT_WINDOW

MINE = textwrap.dedent(
    '''
    from dataclasses import dataclass, replace

    from coslice import Strategy, setting
    from coslice.methods import DDS, ConjugateGradients, DataStep
    from coslice.noise import standard_normal
    from coslice.schedule import Geometric


    @dataclass(frozen=True)
    class Halfway(DataStep):
        """Part of the way from the prediction to DDS's estimate."""

        share: float = setting(0.5, "Share of the way", least=0, most=1)

        def build(self, problem, along):
            estimate = ConjugateGradients(iterations=3).build(problem, along)
            return lambda denoised, sigma: denoised + self.share * (estimate(denoised, sigma) - denoised)


    @dataclass(frozen=True)
    class Alternating(Strategy):
        """One plane of noise, its sign turned in every second slice."""

        def add_to_stack(self, stack, scale, key, first, count):
            plane = standard_normal(key, 0, tuple(stack.shape[1:])).to(stack)
            for i, image in enumerate(stack, first):
                image.add_(plane, alpha=scale * (-1) ** i)


    mine = replace(DDS, name="mine", title="Mine", data=Halfway(), noise=Alternating(), schedule=Geometric(2, 0.5, 0.1))
    '''
)


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "mine.py"
    path.write_text(MINE)
    return path


@pytest.fixture
def problem():
    truth = torch.rand(8, 16, 16, generator=torch.Generator().manual_seed(0))
    return package.SparseViewCT(views=4).problem(truth, Grid((8, 16, 16), (2.0, 4.0, 4.0)), CT_WINDOW)


def test_own_parts_do_in_the_loop_what_they_say(file, problem, tiny_prior):
    mine = cast(Any, load_method(f"{file}:mine"))  # its parts are of classes that only the file knows
    prior = package.load_prior(tiny_prior)
    assert mine.label == "Mine + Alternating"
    # the whole way is DDS with that many iterations, none of it is the prior alone
    whole = package.methods.changed(mine, {"data": {"share": 1.0}, "noise": "iscs"})
    dds = package.methods.changed(mine, {"data": {"kind": "cg", "iterations": 3}, "noise": "iscs"})
    assert whole.data.share == 1 and dds.data == package.methods.ConjugateGradients(3)
    ours, theirs = (package.run(problem, method, prior, seed=3).reconstruction for method in (whole, dds))
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-6)
    drawn, plain = mine.noise((4, 6, 6), Key(1)), Identical()((4, 6, 6), Key(1))
    assert torch.equal(drawn, plain * torch.tensor([1.0, -1.0, 1.0, -1.0])[:, None, None])


def test_the_command_runs_a_method_out_of_a_file(coslice, file, scan, tiny_prior, tmp_path):
    out = tmp_path / "out"
    options = ("--views", 4, "--prior", tiny_prior, "--method", f"{file}:mine", "--set", "data.share=0.25")
    code, shown, error = coslice("reconstruct", scan, *options, "--out", out)
    assert code == 0, error
    assert "Mine +" in shown and "Alternating" in shown  # a table breaks long titles
    record = json.loads((out / "run.json").read_text())
    assert record["methods"]["reconstruction"]["data"] == {"kind": "Halfway", "share": 0.25}
    assert record["recipes"]["reconstruction"] == {
        "method": "mine",
        "seed": 0,
        "noise": "Alternating",
        "steps": 2,
        "samples": 1,
    }
    # the page names the parts, and no place of this machine
    page = (out / "report.html").read_text()
    assert "Alternating" in page and str(tmp_path) not in page and str(tmp_path) not in (out / "run.json").read_text()


def test_a_benchmark_has_rows_of_ones_own(coslice, file, tree, saved, tmp_path):
    tree["methods"] = {"Ours": {"method": "mine.py:mine", "data": {"share": 0.75}}, "FDK": {"method": "fdk"}}
    tree.pop("published", None)
    tree["figures"] = tree["pictures"] = []
    tree["settings"] = {}
    path = saved(tree)
    assert path.parent == file.parent
    out = tmp_path / "tables"
    code, _, error = coslice("benchmark", path, "--out", out)
    assert code == 0, error
    before = sorted((out / "cells").glob("*.json"))
    assert {json.loads(record.read_text())["row"] for record in before} == {"Ours", "FDK"}
    assert coslice("benchmark", path, "--out", out)[0] == 0
    assert sorted((out / "cells").glob("*.json")) == before
    pages = list(out.rglob("*.html"))
    assert pages and all(str(tmp_path) not in page.read_text() for page in pages)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{folder}/none.py:mine", "there is no file"),
        ("{folder}/mine.py:yours", "yours in that file is no method"),
        ("{folder}/mine.py:Halfway", "Halfway in that file is no method"),
        ("{folder}/broken.py:mine", "cannot be run (ZeroDivisionError"),
    ],
)
def test_files_without_such_a_method_are_refused(file, text, said):
    (file.parent / "broken.py").write_text("1 / 0\n")
    with pytest.raises(CosliceError) as refused:
        load_method(text.format(folder=file.parent))
    assert said in str(refused.value) and "\n" not in str(refused.value)


def test_a_file_does_not_stand_in_for_a_module_of_its_name(file):
    import random

    other = file.with_name("random.py")
    other.write_text(MINE)
    load_method(f"{other}:mine")
    assert __import__("random") is random and random.random


def own(base, **members):
    """A class of a part, as a user's file makes it."""
    return type("Own", (base,), {"__module__": "mine", **members})


def test_a_class_whose_settings_nobody_could_see_is_refused():
    """Records and keys of cells are made of settings: a field that is none would be in neither."""
    field = dataclass(frozen=True)(own(DataStep, __annotations__={"share": float}, share=0.5))
    with pytest.raises(CosliceError, match=r"Own: the field share is no setting; make it with setting"):
        field(0.9)
    with pytest.raises(CosliceError, match=r"Own: it is no dataclass; write @dataclass\(frozen=True\)"):
        own(DataStep, share=setting(0.5, "Share"))()


def test_a_part_does_not_take_the_word_of_one_of_coslice():
    with pytest.raises(CosliceError, match='the kind "cg" was given, but coslice calls its ConjugateGradients so'):
        own(DataStep, kind="cg")
    assert own(Strategy, kind="cg").kind == "cg"  # a word of data steps, and of no noise
    ddnm = package.methods.changed(package.find_method("ddnm"), {"data": "cg"})
    assert isinstance(ddnm, package.Method) and ddnm.data == ConjugateGradients()


def test_a_noise_that_adds_nothing_is_refused_before_the_run(problem, tiny_prior):
    silent = dataclass(frozen=True)(own(Strategy, add_to_stack=lambda self, stack, scale, key, first, count: None))
    method = replace(package.find_method("dds"), noise=silent())
    with pytest.raises(CosliceError, match="the noise Own adds nothing"):
        package.plan(problem, method, package.load_prior(tiny_prior))


@pytest.mark.parametrize(
    ("build", "said"),
    [
        (lambda self, problem, along: None, r"the fidelity is None, but a function"),
        (lambda self, problem, along: lambda d, s: None, r"the fidelity gave None, but a volume"),
        (lambda self, problem, along: lambda d, s: d[1:], r"the fidelity gave \(7, 16, 16\), but .* \(8, 16, 16\)"),
        (
            lambda self, problem, along: lambda d, s: d * math.nan,
            r"at step 1 \(sigma 0.5\), what the fidelity gave holds 2,048 voxels that are no numbers",
        ),
    ],
)
def test_a_data_step_that_gives_no_volume_ends_in_a_sentence_about_it(problem, tiny_prior, build, said):
    step = dataclass(frozen=True)(own(DataStep, build=build))
    method = package.methods.changed(package.find_method("dds"), {"schedule": {"steps": 2}})
    with pytest.raises(CosliceError, match=said):
        package.run(problem, replace(method, data=step()), package.load_prior(tiny_prior))


def test_a_plan_is_run_as_it_is(problem, tiny_prior):
    planned = package.plan(problem, "cgls")
    others: list[dict[str, Any]] = [{"method": "sirt"}, {"prior": tiny_prior}, {"seed": 3}]
    for other in others:
        with pytest.raises(CosliceError, match="a plan was given with a method, prior, seed or fast"):
            package.run(planned, **other)


def test_another_algorithm_under_a_name_says_so():
    """What a table prints is what ran."""
    changed = package.methods.changed
    dds, fdk = package.find_method("dds"), package.find_method("fdk")
    assert changed(dds, {"data": "null-space"}).label == "DDS (null-space) + ISCS"
    assert changed(fdk, {"solution": "sirt"}).label == "FDK (sirt)"
    assert changed(dds, {"data": {"iterations": 3}, "schedule": "karras"}).label == "DDS + ISCS"
