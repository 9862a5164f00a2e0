"""Laws of keys: a finished cell is found again as long as its numbers would come out the same, and not any longer."""

from __future__ import annotations

from dataclasses import fields, make_dataclass, replace

import pytest
import yaml

from coslice.benchmark import Store, keyed_cells, load_benchmark
from coslice.benchmark.definition import setting_of
from coslice.methods import ConjugateGradients, DataStep
from coslice.report.publication import publish
from coslice.settings import setting
from small_benchmark import computed, loaded

OWN = """
from dataclasses import dataclass, replace

from coslice.methods import DDS, ConjugateGradients, DataStep
from coslice.noise import Independent
from coslice.settings import setting


@dataclass(frozen=True)
class Halfway(DataStep):
    '''Half of the way from the prediction to what conjugate gradients make of it.'''

    kind = "halfway"

    share: float = setting(0.5, "Share of the way", least=0, most=1)

    def build(self, problem, along):
        solve = ConjugateGradients(2).build(problem, along)
        return lambda denoised, sigma: denoised + self.share * (solve(denoised, sigma) - denoised)


MINE = replace(DDS, name="mine", title="Mine", data=Halfway(), noise=Independent())
"""


@pytest.fixture
def own(tree, tmp_path):
    """Write a file of an own method, and a recipe beside it: own(text, folder, row) -> the recipe's path."""

    def write(text, folder="own", **row):
        place = tmp_path / folder
        place.mkdir()
        (place / "halfway.py").write_text(text)
        path = place / "ball.yaml"
        rows = {"Mine": {"method": "halfway.py:MINE", **row}, "DDS": {"method": "dds"}}
        settings = {"*": {"steps": 2}, "dds": {"data": {"iterations": 2}}}
        groups = {"few": tree["groups"]["few"]}
        changes = {"methods": rows, "settings": settings, "groups": groups, "published": {}, "seeds": [0]}
        figures = [{"x": "data.share", "y": "axial.psnr"}]
        path.write_text(yaml.safe_dump(tree | changes | {"figures": figures}, sort_keys=False))
        return path

    return write


def later(kind, **settings):
    """A part as a later version of coslice might have it, with other settings or defaults."""
    kept = [(f.name, f.type, f) for f in fields(kind) if f.name not in settings]
    fresh = [(name, float, made) for name, made in settings.items()]
    methods = {"__module__": kind.__module__, "kind": kind.kind, "check": kind.check}
    return make_dataclass(kind.__name__, kept + fresh, bases=(DataStep,), frozen=True, namespace=methods)


def keys_with(benchmark, data):
    """The keys of the rows of DDS, with another data step."""
    rows = {
        group: {row: replace(chosen, method=replace(chosen.method, data=data)) for row, chosen in found.items()}
        for group, found in benchmark.rows.items()
    }
    return list(keyed_cells(replace(benchmark, rows=rows)).values())


@pytest.fixture
def of_dds(tree, saved):
    return loaded(saved(tree | {"methods": {"DDS": {"method": "dds"}}, "published": {}}))


def test_a_new_setting_whose_default_changes_nothing_keeps_every_key(of_dds):
    grown = later(ConjugateGradients, tolerance=setting(0.0, "Residual to stop at", least=0))
    for settings in ({}, {"iterations": 3}, {"gamma": 2.0, "rounds": 1}):
        now = keys_with(of_dds, ConjugateGradients(**settings))
        assert keys_with(of_dds, grown(**settings)) == now
        assert not set(keys_with(of_dds, grown(**settings, tolerance=0.1))) & set(now)


def test_a_default_that_changes_gives_other_keys_and_the_former_value_the_former_ones(of_dds):
    other = later(ConjugateGradients, iterations=setting(12, "Steps of conjugate gradients", least=1, first=10))
    now = keys_with(of_dds, ConjugateGradients())
    assert not set(keys_with(of_dds, other())) & set(now)
    assert keys_with(of_dds, other(iterations=10)) == now
    assert keys_with(of_dds, other()) == keys_with(of_dds, ConjugateGradients(iterations=12))


def test_the_source_of_an_own_part_is_part_of_the_key_and_the_place_of_its_file_is_not(own):
    def keys(path):
        return {cell.row: key for cell, key in keyed_cells(loaded(path)).items()}

    here, there = keys(own(OWN, "here")), keys(own(OWN, "there"))
    other = keys(own(OWN.replace("ConjugateGradients(2)", "ConjugateGradients(3)"), "other"))
    assert here == there
    assert here["Mine"] != other["Mine"] and here["DDS"] == other["DDS"]
    assert keys(own(OWN, "set", data={"share": 0.25}))["Mine"] != here["Mine"]


def test_an_own_method_is_a_row_like_any_other(own, tmp_path):
    benchmark, store = load_benchmark(str(own(OWN, data={"share": 0.25}))), Store(tmp_path / "out")
    mine = benchmark.rows["few"]["Mine"].method
    assert (setting_of(mine, "data.share"), setting_of(mine, "schedule.steps")) == (0.25, 2)
    assert len(computed(benchmark, store)) == 2
    table, page = publish(tmp_path / "out" / "ball", benchmark, keyed_cells(benchmark), store)
    assert [row.title for row in table.groups["few"]] == ["Mine", "DDS"]
    text = page.read_text(encoding="utf-8")
    assert "halfway" in text and "0.25" in text and "halfway.py" not in text and str(tmp_path) not in text
    assert (tmp_path / "out" / "ball" / "figures" / "axial-psnr-against-data-share.svg").is_file()


def test_a_published_number_of_a_task_is_the_same_cell_named_or_left_out(tree, saved):
    def keys(**group):
        groups = {"few": {"scan": "ball", **group}}
        return list(keyed_cells(loaded(saved(tree | {"groups": groups, "published": {}}))).values())

    assert keys() == keys(task="svct", beam="cone", views=30) != keys(beam="parallel")
    assert keys(task="lact") == keys(task="lact", angle=100, views=100) != keys(task="lact", angle=90)
    plain = {"DDS": {"method": "dds"}}
    tree["methods"], tree["priors"], tree["figures"] = plain, {"zsr.slices": "mr"}, []
    assert keys(task="zsr") == keys(task="zsr", factor=5) != keys(task="zsr", factor=4)


def test_keys_of_a_recipe_do_not_change_from_commit_to_commit(tmp_path, saved):
    """Whoever changes one of them changes what cells are computed anew: raise `NUMERICS`, `DRAWS`, or find out why."""
    scan, prior = tmp_path / "scan.nii.gz", tmp_path / "prior.safetensors"
    scan.write_bytes(b"a scan")
    prior.write_bytes(b"a prior")
    rows = {
        "FDK": {"method": "fdk"},
        "SIRT": {"method": "sirt", "solution": {"iterations": 50}},
        "DDS": {"method": "dds", "noise": "independent"},
        "angle": {"method": "dds", "noise": {"kind": "iscs", "angle": 30}, "steps": 10, "samples": 2},
        "DDNM": {"method": "ddnm", "schedule": "karras", "start": {"volume": "noise", "noise": "identical"}},
        "DiffPIR": {"method": "diffpir", "renoising": {"zeta": 0.5}, "lpips": True},
        "DiffusionMBIR": {"method": "diffusion-mbir"},
        "DPS": {"method": "dps", "data": {"step": 2}},
        "DiffusionBlend++": {"method": "diffusionblend++", "prior": {"ends": "repeat"}},
        "TPDM-CG": {"method": "tpdm-cg", "prior": {"auxiliary_every": 3}},
    }
    needs = ("ct.slices", "ct.patches", "ct.planes", "ct.planes.auxiliary", "zsr.slices", "zsr.patches", "zsr.planes")
    recipe = {
        "title": "Keys",
        "metrics": ["sdiff"],
        "seeds": [1],
        "scans": {"scan": {"file": str(scan), "slices": "0:8", "size": 64}},
        "groups": {
            "few": {"scan": "scan", "views": 8, "photons": 1e5},
            "thick": {
                "scan": "scan",
                "task": "zsr",
                "fwhm_mm": 4,
                "settings": {"*": {"renoising": {"temperature": 1}}},
            },
        },
        "methods": rows,
        "priors": dict.fromkeys((*needs, "zsr.planes.auxiliary"), str(prior)),
    }
    keys = {f"{cell.group}, {cell.row}": key for cell, key in keyed_cells(loaded(saved(recipe))).items()}
    assert keys == GOLDEN


GOLDEN = {
    "few, FDK": "f123e5c5d034f15faa8b081563837e63",
    "few, SIRT": "fdd4d9c78f989abc0ac71b63319d1923",
    "few, DDS": "0fc91e70ddaac85f8c2c1e53a7d85493",
    "few, angle": "5fe338156e40ed6037c89aec0cc8a8f2",
    "few, DDNM": "a0c77e1cd30cf84a42040ae78cf224a8",
    "few, DiffPIR": "3b5678a81409364e8c0d5a9402630daa",
    "few, DiffusionMBIR": "1ab54bd1759937ecd506029d24a66f98",
    "few, DPS": "f8affde2013bcc1bfaf39bc7d34da7fb",
    "few, DiffusionBlend++": "8bc5bc791a05bbd6278de7c1c26c2493",
    "few, TPDM-CG": "d6e0351aa66e1bd30f9c3eabd4fe9663",
    "thick, SIRT": "5479923d69489e2ca7bd7873d38f13e5",
    "thick, DDS": "8092ff86dd7574fb4c68dcbc2d73bdda",
    "thick, angle": "b65e7b565524aaa70e77f7af6db60d63",
    "thick, DDNM": "b3aa068a3cb44e89c34f6ef0422f9fc5",
    "thick, DiffPIR": "b314e1c9a42e21eeb38658619d6b0680",
    "thick, DiffusionMBIR": "4346fd8a5e0ae1b161c0079e322d73c1",
    "thick, DPS": "72ee05af60f9cba964dbd6984e5ded7a",
    "thick, DiffusionBlend++": "d71019428fe76edea52e3da35a200526",
    "thick, TPDM-CG": "48189c13618cab252c4838eda83de9d4",
}
