"""A pack cut along another plane is the pack that the scans themselves would have become."""

import nibabel
import numpy as np
import pytest

from coslice.errors import CosliceError
from coslice.training.collection.pack import make_pack, open_pack, split_pack
from coslice.training.collection.recut import recut_pack
from coslice.training.collection.scans import find_scans
from small_runs import SMALL, Notes, go, state


def saved(folder, name, shape, spacing, empty=0):
    """A scan of noise in HU, (z, y, x), its first rows `empty`."""
    values = np.random.default_rng(len(name)).normal(0, 300, shape).round()
    values[:, :empty] = -1000
    affine = np.diag((spacing[2], spacing[1], spacing[0], 1.0))
    nibabel.save(nibabel.Nifti1Image(values.transpose(2, 1, 0).astype(np.int16), affine), folder / f"{name}.nii.gz")


@pytest.fixture
def scans(tmp_path):
    folder = tmp_path / "scans"
    folder.mkdir()
    saved(folder, "a", (36, 40, 44), (1.0, 1.1, 0.9), empty=3)
    saved(folder, "bb", (33, 38, 50), (1.2, 1.0, 1.0))
    return folder


@pytest.mark.parametrize("plane", ["zx", "zy", "xy"])
def test_it_is_what_the_scans_would_have_become(scans, tmp_path, plane):
    """Bits, sizes, spacings, and slices that are left out since nothing is in them; from a pack that travelled too."""
    pack = make_pack(find_scans([scans]), "yx", "ct", tmp_path / "axial", bits=8)
    split_pack(pack, tmp_path / "travel")
    wanted = make_pack(find_scans([scans]), plane, "ct", tmp_path / "wanted", bits=8)
    travelled = open_pack(tmp_path / "travel")
    cut = pack
    for source in (pack, travelled):
        cut, left_out = recut_pack(source, plane, tmp_path / source.folder.name / "cut")
        assert left_out == () and (cut.plane, cut.window, cut.bits) == (plane, "ct", 8)
        for name in wanted.names:
            assert np.array_equal(cut.slices(name), wanted.slices(name))
            for what in ("shape", "spacing", "window", "quantum", "left_out", "modality"):
                assert getattr(cut.scan(name), what) == getattr(wanted.scan(name), what)
    if plane == "zx":
        assert cut.scan("a").left_out == 3
    # Found the second time, and made anew where it is of another pack.
    times = {path: path.stat().st_mtime_ns for path in cut.folder.iterdir()}
    assert recut_pack(travelled, plane, cut.folder)[0] == cut
    assert {path: path.stat().st_mtime_ns for path in cut.folder.iterdir()} == times
    (scans / "a.nii.gz").unlink()
    fewer = make_pack(find_scans([scans]), "yx", "ct", tmp_path / "fewer", bits=8)
    assert recut_pack(fewer, plane, cut.folder)[0].names == ("bb",)


def test_scans_that_have_no_such_images_are_left_out(scans, tmp_path):
    """Too few slices, or long pixels where those of more slices are square."""
    saved(scans, "few", (20, 40, 40), (1.0, 1.0, 1.0))
    saved(scans, "thick", (34, 36, 40), (4.0, 1.0, 1.0))
    pack = make_pack(find_scans([scans]), "yx", "ct", tmp_path / "axial", bits=8)
    cut, left_out = recut_pack(pack, "zx", tmp_path / "cut")
    assert cut.names == ("a", "bb") and left_out == ("few", "thick")
    only = make_pack(find_scans([scans / "few.nii.gz"]), "yx", "ct", tmp_path / "only", bits=8)
    with pytest.raises(CosliceError, match="none of its scans has images of 32 x 32 pixels or more in plane zx"):
        recut_pack(only, "zx", tmp_path / "none")


def test_a_run_cuts_its_pack_and_goes_on_without_it(scans, tmp_path):
    axial = tmp_path / "axial"
    make_pack(find_scans([scans]), "yx", "ct", axial, bits=8)
    split_pack(open_pack(axial), tmp_path / "travel")
    settings, notes, out = {**SMALL, "data": {"plane": "zx"}}, Notes(), tmp_path / "run"
    go(out, tmp_path / "travel", settings=settings, minutes=1e-6, listener=notes)
    assert any("The pack is of plane yx; its 2 scans are cut along zx" in note for note in notes.notes)
    go(out, minutes=1e-6, settings={})
    assert state(out)["images"] == 8
    # As of a pack that was made in that plane.
    make_pack(find_scans([scans]), "zx", "ct", tmp_path / "coronal", bits=8)
    go(tmp_path / "other", tmp_path / "coronal", settings=SMALL, minutes=1e-6)
    one, two = state(tmp_path / "other"), state(out)
    assert one["scans"] == two["scans"] and one["recipe"]["data"]["plane"] == "zx"
