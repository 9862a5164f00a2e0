"""Laws of lesions in recipes: what is put in, what is compared with what, and which cells stay as they are."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
import yaml
from scipy import ndimage

from coslice.benchmark import (
    Store,
    check_lesions,
    keyed_cells,
    lesion_boxes,
    lesion_numbers,
    metric_called,
    number_key,
    truth_of,
)
from coslice.errors import CosliceError
from coslice.io.nifti import write_nifti
from coslice.lesions import LUNG, SOFT_TISSUE, places, spread_lesions
from coslice.volume import Volume
from small_benchmark import computed, loaded

SPACING = (2.0, 2.0, 2.0)
MM = np.diag((2.0, 2.0, 2.0, 1.0))
LESIONS = {"diameters": [8], "lung": [300], "soft": [-50]}
SVCT = {"scan": "body", "task": "svct", "views": 6}
RECORD = {"metrics": {}, "curves": {}, "trajectory": [], "seconds": 1.0, "phases": {}}


def body():
    """A cylinder of 40 HU with one of lung in its middle, in air."""
    radius = torch.hypot(*torch.meshgrid(*[2 * (torch.arange(40) - 19.5)] * 2, indexing="ij"))
    plane = torch.where(radius < 16, -800.0, torch.where(radius < 38, 40.0, -1000.0))
    return Volume(plane.expand(16, 40, 40).clone(), MM)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    place = tmp_path_factory.mktemp("lesions")
    write_nifti(body(), place / "body.nii.gz")
    mask = torch.zeros(16, 40, 40)
    mask[6:10, 5:9, 18:23] = 1
    write_nifti(Volume(mask, MM), place / "mask.nii.gz")
    return place


def recipe(folder, **over):
    tree = {
        "title": "Lesions",
        "metrics": ["lesion.recovery", "lesion.soft.cnr", "lesion.lung.detectability"],
        "scans": {"body": {"file": str(folder / "body.nii.gz")}, "mask": {"file": str(folder / "mask.nii.gz")}},
        "groups": {"plain": dict(SVCT), "with": SVCT | {"lesions": LESIONS}},
        "methods": {"FDK": {"method": "fdk"}},
    }
    path = folder / "lesions.yaml"
    path.write_text(yaml.safe_dump(tree | over, sort_keys=False))
    return loaded(path)


def kept(benchmark, folder, volumes):
    """A store that holds a reconstruction for each group, and the keys of its cells."""
    cells, store = keyed_cells(benchmark), Store(folder / "store")
    store.prepare()
    for cell, key in cells.items():
        store.put(key, RECORD, volumes[cell.group])
    return cells, store


def test_numbers_of_lesions_are_those_of_the_difference_of_two_cells(folder):
    """A share of 0.6 of each lesion in an error of known noise: recovery, contrast, CNR and d' by their definitions."""
    benchmark, scan = recipe(folder), body()
    tissues = replace(LUNG, contrasts=(300.0,)), replace(SOFT_TISSUE, contrasts=(-50.0,))
    lesions = spread_lesions(scan, (8.0,), tissues)
    present, _ = truth_of(benchmark, benchmark.groups["with"])
    added = present.data - scan.data
    assert float(added.max()) == pytest.approx(300) and float(added.min()) == pytest.approx(-50)
    error = 20 * torch.randn(scan.shape, generator=torch.Generator().manual_seed(0))
    absent = scan.with_data(scan.data + error)
    cells, store = kept(benchmark, folder, {"plain": absent, "with": absent.with_data(absent.data + 0.6 * added)})
    (numbers,) = lesion_numbers(benchmark, cells, store, {}).values()
    parts = numbers["parts"]
    assert (numbers["group"], numbers["row"]) == ("with", "FDK") and len(numbers["lesions"]) == 2
    assert parts["all"]["recovery"] == pytest.approx(0.6, abs=1e-3)
    assert parts["lung"]["contrast"] == pytest.approx(180, rel=1e-3) and parts["lung"]["contrast_truth"] == 300
    assert parts["soft"]["cnr"] == pytest.approx(30 / parts["soft"]["noise"], rel=1e-3)
    assert parts["soft"]["noise"] == pytest.approx(20, rel=0.2)
    # d': the shift of the matched filter's score over its spread at all places of lung.
    (box,) = [box for box, lesion in zip(lesion_boxes(benchmark, "with"), lesions, strict=True) if lesion.contrast > 0]
    shares = (added[tuple(slice(*ends) for ends in box)] / 300).double().numpy()
    scores = ndimage.correlate(error.double().numpy(), shares, mode="constant") / (shares**2).sum()
    spread = scores[places(scan, LUNG, 8.0).numpy()].std(ddof=1)
    assert parts["lung"]["detectability"] == pytest.approx(180 / spread, rel=5e-3)
    assert metric_called("lesion.soft.cnr").of({"lesions": parts}) == parts["soft"]["cnr"]
    assert metric_called("lesion.recovery").of(RECORD) is None


def test_what_was_measured_before_is_not_measured_again(folder):
    benchmark = recipe(folder)
    cells, store = kept(benchmark, folder, {"plain": body(), "with": body()})
    (cell,) = [cell for cell in cells if cell.group == "with"]
    known = {number_key(benchmark, cells, cell): {"parts": "kept"}}
    assert lesion_numbers(benchmark, cells, store, json.loads(json.dumps(known))) == known


def test_a_region_is_measured_in_one_cell_whose_key_it_leaves_alone(folder):
    region = SVCT | {"region": {"mask": "mask"}}
    plain = set(keyed_cells(recipe(folder)).values())
    benchmark = recipe(folder, groups={"patient": region}, metrics=["lesion.contrast", "lesion.bias", "lesion.rmse"])
    assert set(keyed_cells(benchmark).values()) < plain, "the cell of the group without lesions"
    assert lesion_boxes(benchmark, "patient") == [((6, 10), (5, 9), (18, 23))]
    moved = body()
    moved.data[6:10, 5:9, 18:23] += torch.tensor([7.0, 9.0]).repeat(2)[:, None, None]
    cells, store = kept(benchmark, folder, {"patient": moved})
    (numbers,) = lesion_numbers(benchmark, cells, store, {}).values()
    found = numbers["parts"]["all"]
    assert found["bias"] == pytest.approx(8, abs=1e-3) and found["rmse"] == pytest.approx(math.sqrt(65), abs=1e-3)
    assert found["contrast"] == pytest.approx(found["contrast_truth"] + 8, abs=1e-3)


def test_lesions_are_cells_of_their_own_and_leave_all_others_alone(folder):
    both = keyed_cells(recipe(folder))
    alone = keyed_cells(recipe(folder, groups={"plain": dict(SVCT)}, metrics=["sdiff"]))
    other = keyed_cells(recipe(folder, groups={"plain": dict(SVCT), "with": SVCT | {"lesions": LESIONS | {"seed": 1}}}))
    keys, others = ({cell.group: key for cell, key in found.items()} for found in (both, other))
    assert list(alone.values()) == [keys["plain"]] and keys["plain"] == others["plain"]
    assert len({keys["plain"], keys["with"], others["with"]}) == 3


REFUSED = {
    "no lesions": ({"groups": {"plain": SVCT}}, "no group has lesions or a region"),
    "no partner": ({"groups": {"with": SVCT | {"lesions": LESIONS}}}, "the same without them"),
    "another measurement": (
        {"groups": {"plain": SVCT | {"views": 7}, "with": SVCT | {"lesions": LESIONS}}},
        "the same without them",
    ),
    "a row without partner": (
        {"methods": {"FDK": {"method": "fdk"}, "SIRT": {"method": "sirt", "groups": ["with"]}}},
        "row SIRT of with",
    ),
    "nothing to put in": ({"groups": {"with": SVCT | {"lesions": {"lung": [], "soft": []}}}}, "at least one lesion"),
    "no CT": (
        {
            "groups": {"with": {"scan": "body", "task": "zsr", "factor": 2, "lesions": LESIONS}},
            "methods": {"Cubic": {"method": "cubic"}},
        },
        "found by their HU",
    ),
    "both": (
        {"groups": {"with": SVCT | {"lesions": LESIONS, "region": {"mask": "mask"}}}},
        "only one of the two is measured",
    ),
    "no such mask": ({"groups": {"one": SVCT | {"region": {"mask": "none"}}}}, "its scans are body, mask"),
    "neither mask nor box": ({"groups": {"one": SVCT | {"region": {}}}}, "a mask or a box is needed"),
    "an unknown number": ({"metrics": ["lesion.size"]}, "metrics of lesions are lesion.NAME"),
    "an unknown tissue": ({"metrics": ["lesion.bone.cnr"]}, "lesion.lung.NAME"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_could_not_be_measured_is_refused_before_anything_is_computed(folder, case):
    over, said = REFUSED[case]
    with pytest.raises(CosliceError, match=said):
        recipe(folder, **over)


def elsewhere(folder):
    """The recipe's mask, of as many voxels, one of them farther along x."""
    moved = MM.copy()
    moved[0, 3] = 2.0
    path = folder / "elsewhere.nii.gz"
    write_nifti(Volume(torch.ones(16, 40, 40), moved), path)
    return {"body": {"file": str(folder / "body.nii.gz")}, "mask": {"file": str(path)}}


OF_THE_SCAN = {
    "a box outside": ({"region": {"box": [[0, 17], [0, 40], [0, 40]]}}, "has .16, 40, 40. voxels"),
    "a box the wrong way": ({"region": {"box": [[3, 1], [0, 40], [0, 40]]}}, "0 <= first < last"),
    "no tissue about it": ({"region": {"box": [[0, 16], [0, 40], [0, 40]]}}, "about it are 0 voxels of tissue"),
    "a mask elsewhere": ({"region": {"mask": "mask"}}, "lies elsewhere"),
    "too large": ({"lesions": LESIONS | {"diameters": [200]}}, "no place is left in lung"),
}


@pytest.mark.parametrize("case", OF_THE_SCAN)
def test_lesions_that_the_scan_has_not_are_refused_by_the_plan_and_before_anything_is_computed(folder, case, tmp_path):
    over, said = OF_THE_SCAN[case]
    groups = {"plain": SVCT, "with": SVCT | over}
    benchmark = recipe(folder, groups=groups, metrics=["lesion.recovery"], scans=elsewhere(folder))
    with pytest.raises(CosliceError, match=f"group with: .*{said}"):
        check_lesions(benchmark, benchmark.groups)
    with pytest.raises(CosliceError, match=f"group with: .*{said}"):
        computed(benchmark, Store(tmp_path / "out"))
    assert not (tmp_path / "out").exists()


PICTURES = {
    "an unknown row": ({"rows": ["SIRT"]}, "the rows are FDK"),
    "an unknown group": ({"groups": ["else"]}, "the groups are plain, with"),
    "an unknown plane": ({"planes": ["oblique"]}, "planes are axial, coronal, sagittal"),
    "a window the wrong way": ({"window": [820, -480]}, "black must be below white"),
    "an unknown window": ({"window": "liver"}, "windows are chest, soft"),
    "too many lesions": ({"lesion": 3}, "no group of theirs has so many"),
    "a lesion and a zoom": ({"lesion": 1, "zoom": True}, "give one of them"),
    "a plane that is not shown": ({"planes": ["axial"], "zoom": {"coronal": [0.5, 0.5]}}, "add it to planes"),
    "a place beyond the scan": ({"at": {"axial": 1.5}}, "a place from 0 to 1"),
}


@pytest.mark.parametrize("case", PICTURES)
def test_pictures_that_could_not_be_drawn_are_refused_when_the_recipe_is_read(folder, case):
    over, said = PICTURES[case]
    with pytest.raises(CosliceError, match=said):
        recipe(folder, pictures=[over])


def test_a_window_by_name_is_for_ct_alone(folder):
    brain = {"groups": {"brain": {"scan": "body", "task": "zsr", "factor": 2}}, "methods": {"C": {"method": "cubic"}}}
    with pytest.raises(CosliceError, match="is no CT"):
        recipe(folder, pictures=[{"window": "soft"}], metrics=["sdiff"], **brain)
