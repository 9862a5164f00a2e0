"""Everything outside the body made air: what is body and what is not is known here, since it was drawn."""

import nibabel
import numpy as np
import pytest
import torch
import yaml

from coslice.background import AIR, body_mask, outside_as_air
from coslice.benchmark.recipe_content import BenchmarkScan
from coslice.errors import CosliceError
from coslice.preparation import Preparation
from coslice.training.collection.pack import make_pack
from coslice.training.collection.scans import find_scans
from coslice.training.sections import DataSettings
from coslice.volume import Volume

pytestmark = pytest.mark.usefixtures("one_thread")
MM = 2.0
AFFINE = np.diag([MM, MM, 3.0, 1.0])


def drawn(gap=4, seed=0):
    """HU (z, y, x) of a body with lungs on a table `gap` pixels below it, in noisy air; and where the body is."""
    z, y, x = np.mgrid[:6, :64, :64]
    body = ((y - 26) / 18) ** 2 + ((x - 32) / 26) ** 2 <= 1
    lungs = ((y - 24) / 8) ** 2 + ((abs(x - 32) - 12) / 7) ** 2 <= 1
    lowest = np.flatnonzero(body[0].any(axis=1)).max()
    table = (y > lowest + gap) & (y <= lowest + gap + 2) & (abs(x - 32) < 30)
    tube = (y - 58) ** 2 + (x - 8) ** 2 <= 2
    hu = np.where(body, 40.0, -1000.0)
    hu = np.where(lungs, -850.0, hu)
    hu = np.where(table | tube | (lungs & (z == 3) & (y == 24)), 100.0, hu)  # a vessel in the lungs
    return hu + np.random.default_rng(seed).normal(0, 20, hu.shape), body


def volume(hu):
    return Volume(torch.from_numpy(hu.astype(np.float32)), AFFINE)


def test_the_body_stays_with_its_lungs_and_the_rest_is_air():
    hu, body = drawn()
    assert np.array_equal(body_mask(hu, (MM, MM)), body)
    cleared = outside_as_air(volume(hu)).data.numpy()
    assert np.array_equal(cleared[body], hu.astype(np.float32)[body]) and set(cleared[~body]) == {AIR}


def test_of_a_table_that_is_touched_what_lies_near_stays():
    """Within 6 mm of the body, three pixels; the rest of it goes, and no more of the body than without a table."""
    hu, body = drawn(gap=0)
    mask = body_mask(hu, (MM, MM))
    assert mask[body].all()
    far = np.ones_like(body)
    for down in range(-3, 4):
        for across in range(-3, 4):
            far &= ~np.roll(body, (down, across), axis=(1, 2))
    assert not mask[far].any() and not np.array_equal(mask, body)


def test_what_has_no_air_or_no_body_is_refused():
    hu, _ = drawn()
    with pytest.raises(CosliceError, match="lowest value is 0, but a CT in HU has air"):
        outside_as_air(volume(np.clip(hu, 0, None)))
    with pytest.raises(CosliceError, match="no body to keep"):
        outside_as_air(volume(np.full_like(hu, -1000.0)))
    with pytest.raises(CosliceError, match="it is air, or left out"):
        Preparation(background="water")
    with pytest.raises(CosliceError, match=r"data\.background is 'air', but it must be left out for MR"):
        DataSettings(window="mr", background="air")


def test_a_scan_of_a_recipe_is_prepared_so_and_says_it():
    hu, body = drawn()
    scan = BenchmarkScan(**yaml.safe_load("{file: lidc.nii, slices: '1:5', background: air}"))
    prepared = scan.preparation(6)(volume(hu))
    assert set(prepared.data.numpy()[~body[1:5]]) == {AIR}
    assert scan.preparation(6).settings["background"] == "air" and "background" not in Preparation().settings


def test_packs_are_made_of_it_and_of_both_sorts_none_is_taken_for_the_other(tmp_path):
    hu, body = drawn()
    nibabel.save(nibabel.Nifti1Image(hu.transpose(2, 1, 0).round().astype(np.int16), AFFINE), tmp_path / "a.nii")
    found = find_scans([tmp_path / "a.nii"], False)
    as_it_is = make_pack(found, "yx", "ct", tmp_path / "pack")
    before = as_it_is.slices("a").copy()
    cleared = make_pack(found, "yx", "ct", tmp_path / "pack", background="air")
    assert cleared.summary()["background"] == "air" and "background" not in as_it_is.summary()
    after = cleared.slices("a")
    kept = after > 0
    assert not np.array_equal(before, after) and np.array_equal(before[kept], after[kept])
    # A pack may show rows the other way round; as many pixels are air all the same.
    assert (after == 0).sum() >= (~body).sum() and (before == 0).sum() < (~body).sum()
