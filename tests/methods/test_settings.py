"""Settings: changed by name, refused by name, described for people and for keys."""

from dataclasses import dataclass, fields, replace

import pytest
import yaml

from coslice.errors import CosliceError
from coslice.methods import (
    DDS,
    FDK,
    METHODS,
    ConjugateGradients,
    DataStep,
    Direct,
    Method,
    StackTV,
    changed,
    described,
    differing,
    find_method,
    methods_for,
    parts_of,
    setting_lines,
)
from coslice.methods.former import FORMER
from coslice.noise import Identical, Slerp
from coslice.renoising import DDIM, DiffPIR, Share
from coslice.schedule import Geometric, Karras
from coslice.settings import setting
from coslice.tree import assignments

EVERY = [(name, kind) for kind in ("ct", "zsr") for name in methods_for(kind)]


def test_a_change_is_a_new_value():
    mine = changed(DDS, {"data": {"iterations": 20}, "noise": "identical", "samples": 3})
    assert mine == replace(DDS, data=ConjugateGradients(iterations=20), noise=Identical(), samples=3)
    assert DDS.data == ConjugateGradients(iterations=10) and DDS.samples == 1
    assert mine.label == "DDS + BCS, mean of 3"


def test_three_ways_say_the_same():
    python = replace(DDS, data=replace(DDS.data, iterations=20), schedule=Karras(10, 0.5, 0.01))
    text = "{data: {iterations: 20}, schedule: {kind: karras, steps: 10}}"
    command = assignments(["data.iterations=20", "schedule.kind=karras", "schedule.steps=10"])
    assert changed(DDS, yaml.safe_load(text)) == changed(DDS, command) == python


def test_a_part_of_another_kind_keeps_what_was_chosen_of_what_both_inherit():
    assert changed(DDS, {"schedule": "karras"}).schedule == Karras(30, 0.5, 0.01)
    blend, diffpir = METHODS["dds-2d"], METHODS["diffpir"]
    assert isinstance(blend, Method) and isinstance(diffpir, Method)
    assert changed(blend, {"renoising": "ddim"}).renoising == DDIM(0.85)
    cooled = changed(blend, {"renoising": {"temperature": 0.5}})
    # zeta is no eta, and DiffPIR's origin is its own
    assert changed(cooled, {"renoising": "diffpir"}).renoising == DiffPIR(temperature=0.5)
    assert changed(diffpir, {"renoising": "share"}).renoising == Share()
    # 10 iterations of conjugate gradients are no choice for total variation
    assert changed(DDS, {"data": "tv"}).data == StackTV()


def test_a_part_may_be_given_as_a_value_and_taken_away():
    tied = changed(DDS, {"start": {"noise": Slerp(angle=60)}})
    assert tied.start.noise == Slerp(angle=60)
    assert changed(tied, {"start": {"noise": {"angle": 30}}}).start.noise == Slerp(angle=30)
    assert changed(tied, {"start": {"noise": None}}) == DDS


@pytest.mark.parametrize(("name", "kind"), EVERY)
def test_every_setting_can_be_set_to_what_it_is(name, kind):
    method = find_method(name, kind)
    tree = {}
    for line in setting_lines(method):
        parts = parts_of(method)
        if line.path in parts and parts[line.path] is None:
            continue
        *sections, last = line.path.split(".")
        section = tree
        for part in sections:
            section = section.setdefault(part, {})
        if line.path in parts:
            section.setdefault(last, {})["kind"] = line.value
        else:
            section[last] = line.value
    assert changed(method, tree) == method


@pytest.mark.parametrize(("name", "kind"), EVERY)
def test_every_setting_says_what_it_means(name, kind):
    for line in setting_lines(find_method(name, kind)):
        assert line.setting.meaning and line.setting.meaning[0].isupper(), line.path
    for path in find_method(name, kind).published:
        assert path in {line.path for line in setting_lines(find_method(name, kind))}


@pytest.mark.parametrize(
    ("tree", "said"),
    [
        ({"iteration": 3}, "did you mean data.iterations?"),
        ({"data": {"iteration": 3}}, "did you mean data.iterations?"),
        ({"data": {"weight": 3.0}}, "data has no setting of that name"),
        ({"noise": "icsc"}, "did you mean iscs?"),
        ({"noise": {"kind": 3}}, "it is one of independent, "),
        ({"data": {"iterations": 0}}, "at least 1 is needed"),
        ({"data": {"iterations": 2.5}}, "a whole number is needed"),
        ({"data": {"iterations": True}}, "a whole number is needed"),
        ({"data": {"gamma": 0}}, "above 0 is needed"),
        ({"data": 3}, "cg, null-space"),
        ({"renoising": {"eta": 1.5}}, "at most 1 is needed"),
        ({"schedule": {"sigma_min": 3.0}}, "0 < sigma_min <= sigma_max"),
        ({"prior": {"ends": "repeat"}}, "prior has no setting of that name; it has arithmetic"),
        ({"samples": 0}, "at least 1 is needed"),
        ({"start": {"volume": "truth"}}, "initial or noise or range is needed"),
        ({"data": "tv-after-corrector"}, "choose predictor-corrector"),
        ({"name": "mine"}, "no setting of that name"),
    ],
)
def test_refusals_name_the_setting_and_what_is_needed(tree, said):
    with pytest.raises(CosliceError) as refused:
        changed(DDS, tree, "dds")
    assert said in str(refused.value) and str(refused.value).startswith("dds: ") and "\n" not in str(refused.value)


def test_former_names_are_answered_with_the_paths_of_today():
    for name, path in FORMER.items():
        base = next(
            method
            for method in METHODS.values()
            if path in {line.path for line in setting_lines(method)} or path == "start.noise"
        )
        if name in ("steps", "ends", "noise"):
            continue  # also names of settings today
        with pytest.raises(CosliceError, match=f"did you mean {path}"):
            changed(base, {name: 1})


def test_a_method_that_does_not_sample_has_no_noise_and_no_steps():
    assert isinstance(FDK, Direct) and not {"noise", "schedule"} & {item.name for item in fields(FDK)}
    for name in ("noise", "schedule", "samples", "prior"):
        with pytest.raises(CosliceError, match="FDK does not sample"):
            changed(FDK, {name: "iscs"})


def test_thick_slices_have_settings_of_their_own():
    for name, method in methods_for("zsr").items():
        assert method.name == name
        if isinstance(method, Method) and name not in ("dps", "diffusion-mbir"):
            assert (method.schedule.sigma_max, method.schedule.sigma_min) == (0.2, 0.02)
    dds = find_method("dds", "zsr")
    assert isinstance(dds, Method)
    assert dds.data == ConjugateGradients(iterations=1, rounds=10)
    assert dds.renoising == Share(temperature=0.8)
    assert dds.schedule == Geometric(20, 0.2, 0.02)
    with pytest.raises(CosliceError, match="fdk: it is not for this task"):
        find_method("fdk", "zsr")


def test_the_description_is_the_whole_method():
    """Two methods are the same if and only if their descriptions are."""
    trees = {str(described(find_method(name, kind))) for name, kind in EVERY}
    assert len(trees) == len({repr(find_method(name, kind)) for name, kind in EVERY})
    assert described(DDS)["data"] == {"kind": "cg", "rounds": 0, "iterations": 10, "gamma": None}


@dataclass(frozen=True)
class Before(DataStep):
    kind = "test-before"
    iterations: int = setting(3, "Iterations", least=1)


@dataclass(frozen=True)
class After(DataStep):
    """`Before`, a release later: a new setting that changes nothing, and another default."""

    kind = "test-before"
    iterations: int = setting(5, "Iterations", least=1, first=3)
    momentum: float = setting(0.0, "Momentum", least=0)


@pytest.fixture
def of_coslice(monkeypatch):
    for kind in (Before, After):
        monkeypatch.setattr(kind, "__module__", "coslice.tests")


def test_a_new_setting_that_changes_nothing_leaves_no_trace_in_a_key(of_coslice):
    assert differing(Before(4)) == differing(After(4)) == {"kind": "test-before", "iterations": 4}
    assert differing(Before()) == differing(After(3)) == {"kind": "test-before"}
    # the old default is still what it was, and the new one is another value
    assert differing(After()) == {"kind": "test-before", "iterations": 5}
    assert differing(After(3, momentum=0.5)) == {"kind": "test-before", "momentum": 0.5}


def test_a_part_from_elsewhere_is_known_by_its_source():
    found = differing(replace(DDS, data=Before()))["data"]
    assert found["iterations"] == 3 and len(found["code"]) == 16
