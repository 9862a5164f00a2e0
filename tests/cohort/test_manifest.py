"""Laws of manifests and recipes: they say what a command line says, and what is wrong is said before any work."""

from __future__ import annotations

import os
import shutil
from typing import Any, cast

import pytest

from coslice.cli.cohort_options import columns, files_of, options_of, read_cohort_recipe, shown, wish_of
from coslice.cli.reconstruct import asked
from coslice.cli.wishes import How
from coslice.cohort import fingerprint, flat_numbers, read_manifest, same_content, share_of, statistics_of
from coslice.cohort.cohort_folder import RESERVED
from coslice.errors import CosliceError


@pytest.fixture
def wishes(tmp_path):
    """What `coslice reconstruct` would be asked for each row: wishes(manifest, recipe) -> by name."""

    def made(manifest, recipe):
        path, other = tmp_path / "m.csv", tmp_path / "r.yaml"
        path.write_text(manifest)
        other.write_text(recipe)
        common = read_cohort_recipe(other)
        rows = read_manifest(path, columns(), RESERVED).scans
        out = tmp_path / "out"
        return {row.name: wish_of(row, options_of(row, common, path), out, "cpu", False) for row in rows}

    return made


def said(tmp_path, scan="a.nii.gz", **options):
    return asked(cast(Any, None), scan=tmp_path / scan, out=tmp_path / "out", device="cpu", **options)


def test_a_recipe_and_a_row_say_what_a_command_line_says(wishes, tmp_path):
    (tmp_path / "near.safetensors").touch()
    recipe = """
views: 40
method: dds
prior: near.safetensors
compare: [sirt, fdk]
slices: 8:40
photons: 1e5
set: {data: {iterations: 20}, noise: {kind: ou, length: 5}, task: {rows: 0.5}, renoising: ddim}
"""
    rows = "scan;name;views;set.data.iterations;fast;#site\na.nii.gz;p;;;;x\na.nii.gz;q;12;30;true;y\n\n"
    found = wishes(rows, recipe)
    common = {"method": "dds", "prior": str(tmp_path / "near.safetensors"), "compare": "sirt,fdk", "slices": "8:40"}
    others = ["noise.kind=ou", "noise.length=5", "task.rows=0.5", "renoising=ddim"]
    p = said(tmp_path, views=40, photons=1e5, settings=["data.iterations=20", *others], **common)
    q = said(tmp_path, views=12, photons=1e5, fast=True, settings=["data.iterations=30", *others], **common)
    assert {"p", "q"} == set(found)
    for name, wanted in (("p", p), ("q", q)):
        ours, theirs = found[name], wanted
        assert ours.func is theirs.func
        for one, other in zip(ours.args, theirs.args, strict=True):
            if isinstance(one, How):  # settings may be said in another order
                assert one.chosen("ct") == other.chosen("ct")
                assert {**vars(one), "settings": ()} == {**vars(other), "settings": ()}
            else:
                assert one == other


def test_what_a_scan_is_decides_what_is_asked_for(wishes, tmp_path):
    rows = "scan,name,task,from-measurement,geometry,stack\nt.nii,a,zsr,true,,\np.npy,b,,,geo.json,\n"
    rows += "t.nii,c,zsr,,,u.nii; v.nii"
    found = wishes(rows, "")
    assert [found[name].func.__name__ for name in "abc"] == [
        *("reconstruct_slices", "reconstruct_projections", "reconstruct_slices")
    ]
    assert found["b"].args[0].geometry == tmp_path / "geo.json"
    assert found["c"].args[0] == tuple(tmp_path / name for name in ("t.nii", "u.nii", "v.nii"))


def test_a_manifest_of_a_spreadsheet_is_read(tmp_path):
    path = tmp_path / "m.csv"
    for between in ",;\t":
        text = between.join(("scan", "Name", "measurement_noise", "#ward")) + "\r\n"
        text += between.join(("sub/p1.nii.gz", "", "0.1", '"a, b; c"')) + "\r\n" + between * 3 + "\r\nsub/p2.npy\r\n"
        path.write_bytes(text.encode("utf-8-sig"))
        one, two = read_manifest(path, columns()).scans
        assert (one.name, one.line, one.options, one.notes) == (
            "p1",
            2,
            {"measurement-noise": "0.1"},
            {"ward": "a, b; c"},
        )
        assert (two.name, two.scan, two.options) == ("p2", tmp_path / "sub" / "p2.npy", {})


WRONG_ROWS = {
    "": "is empty",
    "scan\n": "no scan",
    "name\na\n": "one called scan",
    "scan,view\na.nii,3\n": "#view",
    "scan,views,views\na.nii,3,3\n": "twice",
    "scan,views\na.nii,3,4\n": "has 3 cells",
    "scan,views\n,3\n": "names no scan",
    "scan\na.nii\nb/a.nii.gz\n": "have one name",
    "scan,name\na.nii,P\nb.nii,p\n": "have one name",
    "scan,name\na.nii,../p\n": "cannot be the name",
    "scan,name\na.nii,.p\n": "cannot be the name",
    "scan,name\na.nii,cohort\n": "cannot be that",
    'scan,name\na.nii,"\x1b[31m"\n': "cannot be the name",
    "scan,name\na.nii," + 200 * "x" + "\n": "cannot be the name",
    'scan\n"a.nii\n': "no CSV",
    "scan\n\x00\n": "no text",
    "scan,views\na.nii,many\n": "views is 'many'",
    "scan,views\na.nii,8.5\n": "views is 8.5",
    "scan,task\na.nii,mri\n": "mri",
    "scan,out\na.nii,there\n": "not known",
    "scan,set.data.iterations\na.nii,[1\n": "not YAML",
    "scan,rows\na.nii,1:4\n": "taken for a scan",
}


@pytest.mark.parametrize("rows", WRONG_ROWS)
def test_a_manifest_that_is_wrong_is_one_sentence(wishes, rows):
    with pytest.raises(CosliceError) as told:
        wishes(rows, "")
    assert WRONG_ROWS[rows] in str(told.value) and "\n" not in str(told.value) and len(str(told.value)) < 1500


WRONG_RECIPES = {
    "view: 3": "did you mean views?",
    "out: there": "not a recipe's",
    "scan: there": "not a recipe's",
    "views: many": "a whole number",
    "views: [3]": "a whole number",
    "fast: 1": "true or false",
    "method: {kind: dds}": "a word",
    "set: data.iterations=3": "a section",
    "measurement-noise: 1\nmeasurement_noise: 2": "twice",
    "[1, 2]": "holds no keys",
    "seed: -1": "at least 0",
}


@pytest.mark.parametrize("recipe", WRONG_RECIPES)
def test_a_recipe_that_is_wrong_is_one_sentence(wishes, recipe):
    with pytest.raises(CosliceError) as told:
        wishes("scan\na.nii\n", recipe)
    assert WRONG_RECIPES[recipe] in str(told.value) and "\n" not in str(told.value)


def test_shares_are_the_whole_and_even():
    for count in (1, 3, 12, 100):
        items = tuple(range(count))
        for of in (1, 2, 5, 12, 30):
            shares = [share_of(items, f"{number}/{of}") for number in range(of)]
            assert sorted(one for share in shares for one in share) == list(items)
            assert max(map(len, shares)) - min(map(len, shares)) <= 1
            assert shares == [share_of(items, f"{number}/{of}") for number in range(of)]
    for wrong in ("4/4", "1", "-1/3", "1/0", "a/b", "1/2/3"):
        with pytest.raises(CosliceError, match="K/N"):
            share_of(items, wrong)


def test_content_is_the_same_where_only_time_or_place_are_others(tmp_path):
    """Of a file and of a folder; one other byte is another content."""
    folder = tmp_path / "series"
    folder.mkdir()
    for number in range(3):
        (folder / f"{number}.dcm").write_bytes(bytes([number]) * 100)
    if hasattr(os, "mkfifo"):
        os.mkfifo(folder / "pipe")
    (folder / "link").symlink_to(tmp_path / "nowhere")
    for path in (folder, folder / "1.dcm"):
        known = fingerprint(path)
        assert same_content(path, known)
        os.utime(folder / "1.dcm", ns=(5, 5))
        assert same_content(path, known)
        (folder / "1.dcm").write_bytes(bytes([1]) * 99 + b"x")
        assert not same_content(path, known)
        (folder / "1.dcm").write_bytes(bytes([1]) * 100)
        assert same_content(path, known)
    known = fingerprint(folder)
    shutil.move(folder, tmp_path / "elsewhere")
    assert same_content(tmp_path / "elsewhere", known) and not same_content(folder, known)
    (tmp_path / "elsewhere" / "1.dcm").rename(tmp_path / "elsewhere" / "9.dcm")
    os.utime(tmp_path / "elsewhere" / "9.dcm")
    assert not same_content(tmp_path / "elsewhere", known)


def test_a_recipe_is_shown_without_places(tmp_path):
    (tmp_path / "r.yaml").write_text(
        "prior: p.safetensors\nmethod: own.py:MINE\ngeometry: g.json\nreference: all-views"
    )
    (tmp_path / "p.safetensors").touch()
    options = read_cohort_recipe(tmp_path / "r.yaml")
    assert shown(options) == {
        "prior": "p.safetensors",
        "method": "own.py:MINE",
        "geometry": "g.json",
        "reference": "all-views",
    }
    files = {"prior": "p.safetensors", "method": "own.py", "geometry": "g.json"}
    assert files_of(options) == {parameter: tmp_path / name for parameter, name in files.items()}


def test_statistics_of_known_numbers():
    scans = {name: {"axial.psnr": value, "sdiff_gap": -value} for name, value in (("a", 1.0), ("b", 2.0), ("c", 6.0))}
    psnr, gap = statistics_of(scans | {"d": {"axial.psnr": 3.0}})
    assert (psnr.count, psnr.mean, psnr.median, psnr.worst, psnr.worst_scan) == (4, 3.0, 2.5, 1.0, "a")
    assert psnr.deviation == pytest.approx((14 / 3) ** 0.5)
    assert (gap.count, gap.worst, gap.worst_scan) == (3, -1.0, "a")  # less is better
    assert statistics_of({"a": {"sdiff": 1.0}})[0].deviation is None


def test_numbers_of_the_reconstruction_come_first():
    values = {"axial": {"psnr": 30.0, "lpips": None}, "sdiff": float("nan")}
    assert list(flat_numbers({"initial": values, "reconstruction": values}).items()) == [
        *(("axial.psnr", 30.0), ("initial.axial.psnr", 30.0))
    ]
