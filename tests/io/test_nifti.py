"""What is read is what is there; what is written is what was read; what makes no sense is refused."""

import gzip
import os
import tracemalloc
from itertools import permutations, product

import nibabel
import numpy as np
import pytest
import torch
from nibabel.orientations import aff2axcodes, inv_ornt_aff

from coslice.errors import CosliceError
from coslice.io.files import atomic, prepare_output
from coslice.io.nifti import nifti_shape, read_nifti, write_nifti
from coslice.volume import Volume

ORIENTATIONS = [tuple(codes) for order in permutations(("RL", "AP", "SI")) for codes in product(*order)]
# Tilted by 12 and 7 degrees, every entry exact in float32, as a file stores it.
TILTED = np.array(
    [
        [0.6875, -0.140625, 0.25, -81.5],
        [0.15625, 0.671875, 0.125, -64.25],
        [-0.125, -0.09375, 2.4375, 33.75],
        [0, 0, 0, 1],
    ]
)


def in_order(codes: tuple[str, ...], array: np.ndarray, affine: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """A canonical array and affine brought to another axis order, by hand: move axes, then flip."""
    source = [next(i for i, pair in enumerate(("RL", "AP", "SI")) if code in pair) for code in codes]
    turned = np.moveaxis(array, source, (0, 1, 2))
    columns, origin = affine[:3, source].copy(), affine[:3, 3].copy()
    for axis, code in enumerate(codes):
        if code in "LPI":
            turned = np.flip(turned, axis)
            origin += columns[:, axis] * (turned.shape[axis] - 1)
            columns[:, axis] *= -1
    result = np.eye(4)
    result[:3, :3], result[:3, 3] = columns, origin
    return np.ascontiguousarray(turned), result


def save(path, array, affine=None, **header):
    image = nibabel.Nifti1Image(array, np.eye(4) if affine is None else affine)
    for name, value in header.items():
        image.header[name] = value
    nibabel.save(image, path)
    return path


def loaded(path) -> nibabel.Nifti1Image:
    image = nibabel.load(path)
    assert isinstance(image, nibabel.Nifti1Image)
    return image


def corrupt(path, **header):
    """Change fields of a written .nii without the library's repairs."""
    content = bytearray(path.read_bytes())
    raw = nibabel.Nifti1Header(bytes(content[:348]), check=False)
    for name, value in header.items():
        raw[name] = value
    content[:348] = raw.binaryblock
    path.write_bytes(bytes(content))
    return path


@pytest.mark.parametrize("codes", ORIENTATIONS, ids="".join)
def test_every_orientation_is_read_to_one_canonical_volume_and_written_back_as_it_was(tmp_path, codes):
    canonical = np.random.default_rng(3).integers(-1024, 3071, (4, 5, 3)).astype(np.float32)
    array, affine = in_order(codes, canonical, TILTED)
    assert aff2axcodes(affine) == codes
    volume = read_nifti(save(tmp_path / "in.nii", array, affine))

    assert np.array_equal(volume.data.numpy(), canonical.transpose(2, 1, 0))
    np.testing.assert_allclose(volume.affine, TILTED, rtol=0, atol=1e-12)
    assert volume.orientation == codes

    write_nifti(volume, tmp_path / "out.nii")
    back = loaded(tmp_path / "out.nii")
    assert np.array_equal(np.asanyarray(back.dataobj), array)
    assert back.affine is not None and np.array_equal(back.affine, affine)


def test_there_are_48_orientations():
    assert len(set(ORIENTATIONS)) == 48


def test_qform_agrees_with_sform_unless_the_grid_is_sheared(tmp_path):
    angle = 0.3
    turn = np.eye(4)
    turn[:2, :2] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    straight = turn @ np.diag((0.7, 0.7, 2.5, 1))
    write_nifti(Volume(torch.zeros(3, 4, 5), straight, space_code=4), tmp_path / "straight.nii.gz")
    image = loaded(tmp_path / "straight.nii.gz")
    np.testing.assert_allclose(image.get_qform(), straight, atol=1e-5)
    assert (int(image.header["qform_code"]), int(image.header["sform_code"])) == (4, 4)
    assert image.header.get_xyzt_units()[0] == "mm"
    np.testing.assert_allclose(image.header.get_zooms(), (0.7, 0.7, 2.5), rtol=1e-6)

    write_nifti(Volume(torch.zeros(3, 4, 5), TILTED), tmp_path / "sheared.nii.gz")
    assert int(loaded(tmp_path / "sheared.nii.gz").header["qform_code"]) == 0


def test_a_cut_scan_is_written_where_it_was(tmp_path):
    array, affine = in_order(("P", "I", "L"), np.arange(60, dtype=np.float32).reshape(4, 5, 3), TILTED)
    whole = read_nifti(save(tmp_path / "in.nii", array, affine))
    write_nifti(whole.slices(1, 3), tmp_path / "cut.nii.gz")
    image = loaded(tmp_path / "cut.nii.gz")
    assert image.affine is not None
    inverse = np.linalg.inv(affine)
    for index in np.ndindex(image.shape):
        i, j, k, _ = np.rint(inverse @ image.affine @ (*index, 1)).astype(int)
        assert image.dataobj[index] == array[i, j, k]


def test_slope_and_intercept_are_applied(tmp_path):
    stored = np.arange(24, dtype=np.int16).reshape(2, 3, 4)
    path = corrupt(save(tmp_path / "scaled.nii", stored), scl_slope=2.5, scl_inter=-1024)
    expected = stored.transpose(2, 1, 0) * 2.5 - 1024
    assert np.array_equal(read_nifti(path).data.numpy(), expected)


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.uint16, np.int32, np.float32, np.float64])
@pytest.mark.parametrize("order", "<>")
def test_every_number_type_and_byte_order_reads_alike(tmp_path, dtype, order):
    array = np.arange(24).reshape(2, 3, 4)
    header = nibabel.Nifti1Header(endianness=order)
    header.set_data_dtype(dtype)
    nibabel.save(nibabel.Nifti1Image(array.astype(dtype), np.eye(4), header), tmp_path / "a.nii")
    assert np.array_equal(read_nifti(tmp_path / "a.nii").data.numpy(), array.transpose(2, 1, 0))


def test_nifti_2_and_a_wrong_suffix_are_read(tmp_path):
    array = np.arange(24, dtype=np.float32).reshape(2, 3, 4)
    nibabel.save(nibabel.Nifti2Image(array, TILTED), tmp_path / "two.nii")
    volume = read_nifti(tmp_path / "two.nii")
    assert np.array_equal(volume.data.numpy(), array.transpose(2, 1, 0))
    (tmp_path / "packed.nii").write_bytes(gzip.compress((tmp_path / "two.nii").read_bytes()))
    assert torch.equal(read_nifti(tmp_path / "packed.nii").data, volume.data)


def test_a_trailing_axis_of_one_is_no_fourth_dimension(tmp_path):
    assert read_nifti(save(tmp_path / "a.nii", np.zeros((2, 3, 4, 1), np.float32))).shape == (4, 3, 2)


@pytest.mark.parametrize(("unit", "factor"), [("mm", 1.0), ("micron", 1e-3), ("unknown", 1.0)])
def test_lengths_arrive_in_millimetres(tmp_path, unit, factor):
    image = nibabel.Nifti1Image(np.zeros((2, 3, 4), np.float32), np.diag((5, 6, 7, 1)))
    image.header.set_xyzt_units(unit)
    nibabel.save(image, tmp_path / "a.nii")
    assert read_nifti(tmp_path / "a.nii").spacing == pytest.approx((7 * factor, 6 * factor, 5 * factor))


def test_without_an_affine_the_header_gives_the_spacing(tmp_path):
    path = corrupt(
        save(tmp_path / "a.nii", np.zeros((2, 3, 4), np.float32)),
        qform_code=0, sform_code=0, pixdim=[1, 0.7, 0.8, 2.5, 0, 0, 0, 0],
    )  # fmt: skip
    assert read_nifti(path).spacing == pytest.approx((2.5, 0.8, 0.7))


@pytest.mark.parametrize("spacing", [(0, 1, 1), (1, -1, 1), (1, 1, np.nan), (np.inf, 1, 1), (1e-20, 1, 1), (1, 1, 1e9)])
@pytest.mark.parametrize("code", [0, 1])
def test_an_absurd_voxel_size_is_refused_not_repaired(tmp_path, spacing, code):
    path = save(tmp_path / "a.nii", np.zeros((2, 3, 4), np.float32))
    corrupt(path, pixdim=[1, *spacing, 0, 0, 0, 0], sform_code=code, qform_code=0)
    with pytest.raises(CosliceError, match=r"a\.nii gives a voxel size of"):
        read_nifti(path)


@pytest.mark.parametrize(
    ("row", "words"),
    [([0, 0, 0, 0], "voxel size|flattens"), ([np.nan, 0, 0, 0], "NaN"), ([2, 2, 1e-9, 5], "voxel size|flattens")],
)
def test_a_senseless_affine_is_refused(tmp_path, row, words):
    path = save(tmp_path / "a.nii", np.zeros((2, 3, 4), np.float32))
    corrupt(path, srow_z=row)
    with pytest.raises(CosliceError, match=words):
        read_nifti(path)


def test_an_unknown_kind_of_coordinates_is_refused(tmp_path):
    path = corrupt(save(tmp_path / "a.nii", np.zeros((2, 3, 4), np.float32)), sform_code=205)
    with pytest.raises(CosliceError, match="sform_code 205"):
        read_nifti(path)


def test_two_axes_along_one_line_are_refused(tmp_path):
    path = save(tmp_path / "a.nii", np.zeros((2, 3, 4), np.float32))
    corrupt(path, srow_x=[1, 1, 0, 0], srow_y=[1, 1, 0, 0])
    with pytest.raises(CosliceError, match="flattens"):
        read_nifti(path)


@pytest.mark.parametrize(
    ("array", "words"),
    [
        (np.zeros((4, 5), np.float32), r"shape \(4, 5\)"),
        (np.zeros((2, 3, 4, 2), np.float32), r"shape \(2, 3, 4, 2\)"),
        (np.zeros((2, 3, 4), np.complex64), "complex voxels"),
        (np.zeros((2, 3, 4), [("R", "u1"), ("G", "u1"), ("B", "u1")]), "colour voxels"),
    ],
)
def test_what_is_not_one_grey_3d_scan_is_refused(tmp_path, array, words):
    with pytest.raises(CosliceError, match=rf"a\.nii .*{words}"):
        read_nifti(save(tmp_path / "a.nii", array))


def test_bad_voxels_are_counted(tmp_path):
    array = np.zeros((2, 3, 4), np.float32)
    array[0, 0, :3] = np.nan, np.inf, -np.inf
    with pytest.raises(CosliceError, match=r"a\.nii has 3 voxels"):
        read_nifti(save(tmp_path / "a.nii", array))


def test_missing_files_and_folders_are_refused(tmp_path):
    with pytest.raises(CosliceError, match=r"none\.nii does not exist"):
        read_nifti(tmp_path / "none.nii")
    with pytest.raises(CosliceError, match="is a folder"):
        read_nifti(tmp_path)


def test_a_file_one_may_not_read_is_not_called_damaged(tmp_path, monkeypatch):
    path = save(tmp_path / "a.nii", np.zeros((2, 3, 4), np.float32))

    def refuse(*_):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("builtins.open", refuse)
    with pytest.raises(CosliceError, match="may not be read"):
        read_nifti(path)


@pytest.mark.parametrize("content", [b"", b"\x5c\x01", b"these are words " * 40, os.urandom(2000), b"\x80\x04K\x01."])
@pytest.mark.parametrize("packed", [False, True])
def test_other_content_is_refused(tmp_path, content, packed):
    path = tmp_path / "a.nii.gz"
    path.write_bytes(gzip.compress(content) if packed else content)
    with pytest.raises(CosliceError, match=r"a\.nii\.gz is not a NIfTI file"):
        read_nifti(path)


@pytest.mark.parametrize("keep", [20, 200, 2000, -9, -1])
@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
def test_a_file_cut_short_is_refused(tmp_path, keep, suffix):
    path = save(tmp_path / f"a{suffix}", np.random.default_rng(0).random((9, 10, 11)).astype(np.float32))
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(CosliceError, match=r"cut short|not a NIfTI file"):
        read_nifti(path)


def test_a_flipped_bit_in_a_packed_file_is_noticed(tmp_path):
    path = save(tmp_path / "a.nii.gz", np.random.default_rng(0).random((9, 10, 11)).astype(np.float32))
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(bytes(content))
    with pytest.raises(CosliceError, match=r"damaged"):
        read_nifti(path)


def test_a_header_that_promises_too_much_is_refused_before_memory_is_taken(tmp_path):
    path = save(tmp_path / "a.nii", np.zeros((2, 3, 4), np.float32))
    corrupt(path, dim=[3, 32767, 32767, 32767, 1, 1, 1, 1])
    with pytest.raises(CosliceError, match="cut short"):
        read_nifti(path)


@pytest.mark.parametrize("image_class", [nibabel.Nifti1Image, nibabel.Nifti2Image])
def test_no_damage_to_a_header_gets_past_as_anything_but_a_refusal_or_a_finite_volume(tmp_path, image_class):
    nibabel.save(image_class(np.ones((2, 3, 4), np.int16), TILTED), tmp_path / "a.nii")
    whole = (tmp_path / "a.nii").read_bytes()
    rng = np.random.default_rng(11)
    for _ in range(300):
        content = bytearray(whole)
        for place in rng.integers(4, 352 if image_class is nibabel.Nifti1Image else 544, rng.integers(1, 6)):
            content[place] = rng.choice([0, 1, 127, 128, 255, int(rng.integers(256))])
        (tmp_path / "b.nii").write_bytes(bytes(content))
        try:
            volume = read_nifti(tmp_path / "b.nii")
        except CosliceError as error:
            assert "b.nii" in str(error)  # noqa: PT017
        else:
            assert torch.isfinite(volume.data).all()
            assert all(1e-3 <= s <= 1e3 for s in volume.spacing)


def test_writing_refuses_other_suffixes_bad_voxels_and_places_that_are_not(tmp_path):
    volume = Volume(torch.zeros(2, 3, 4))
    with pytest.raises(CosliceError, match=r"must end in \.nii"):
        write_nifti(volume, tmp_path / "a.png")
    with pytest.raises(CosliceError, match="2 voxels"):
        write_nifti(
            volume.with_data(torch.tensor([torch.nan, torch.inf] + [0.0] * 22).view(2, 3, 4)), tmp_path / "a.nii"
        )
    with pytest.raises(CosliceError, match="cannot be written"):
        write_nifti(volume, tmp_path / "nowhere" / "a.nii")
    (tmp_path / "file").touch()
    with pytest.raises(CosliceError, match="cannot be written"):
        write_nifti(volume, tmp_path / "file" / "a.nii")
    assert [p.name for p in tmp_path.iterdir()] == ["file"]


@pytest.mark.parametrize("failure", [RuntimeError, KeyboardInterrupt])
def test_a_failure_half_way_leaves_the_old_file_and_nothing_else(tmp_path, failure):
    path = tmp_path / "scan.nii.gz"
    path.write_text("old")

    def half_way():
        with atomic(path) as temporary:
            assert temporary.parent == path.parent
            assert temporary.name.endswith(".nii.gz")
            temporary.write_text("half")
            raise failure

    with pytest.raises(failure):
        half_way()
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_finished_file_replaces_the_old_one(tmp_path):
    path = tmp_path / "scan.json"
    path.write_text("old")
    with atomic(path) as temporary:
        temporary.write_text("new")
        assert path.read_text() == "old"
    assert path.read_text() == "new"
    assert list(tmp_path.iterdir()) == [path]


def test_an_output_folder_is_made_or_taken_when_empty(tmp_path):
    made = prepare_output(tmp_path / "a" / "b")
    assert made.is_dir()
    assert not any(made.iterdir())
    assert prepare_output(made) == made


def test_a_full_output_folder_needs_overwriting_and_keeps_its_files(tmp_path):
    (tmp_path / "result.json").write_text("old")
    with pytest.raises(CosliceError, match="not empty"):
        prepare_output(tmp_path)
    assert prepare_output(tmp_path, overwrite=True) == tmp_path
    assert [p.name for p in tmp_path.iterdir()] == ["result.json"]


@pytest.mark.parametrize("overwrite", [False, True])
def test_an_impossible_output_folder_is_refused_and_nothing_is_left(tmp_path, overwrite):
    (tmp_path / "file").write_text("kept")
    (tmp_path / "broken").symlink_to(tmp_path / "gone")
    with pytest.raises(CosliceError, match="is a file"):
        prepare_output(tmp_path / "file", overwrite)
    for place in (tmp_path / "file" / "a" / "b", tmp_path / "broken", tmp_path / "new" / ("n" * 300)):
        with pytest.raises(CosliceError, match="cannot be written to"):
            prepare_output(place, overwrite)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["broken", "file"]


def test_inv_ornt_aff_agrees_with_the_axis_moves_of_this_file():
    # Guards the tests' own helper against the library's reading of an orientation.
    array = np.zeros((4, 5, 3), np.float32)
    for codes in ORIENTATIONS:
        turned, affine = in_order(codes, array, TILTED)
        turn = nibabel.orientations.io_orientation(affine)
        np.testing.assert_allclose(affine @ inv_ornt_aff(turn, turned.shape), TILTED, atol=1e-12)


@pytest.mark.parametrize("codes", ["RAS", "LPI", "SAR", "AIL"])
@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
def test_slices_that_are_read_alone_are_those_of_the_whole(tmp_path, codes, suffix):
    array = np.random.default_rng(0).integers(-1000, 1000, (4, 5, 6)).astype(np.int16)  # (x, y, z)
    turned, affine = in_order(tuple(codes), array, TILTED)
    image = nibabel.Nifti1Image(turned, affine)
    image.set_qform(np.diag((1, 2, 3, 1.0)), 1)
    path = tmp_path / f"scan{suffix}"
    nibabel.save(image, path)
    whole, part = read_nifti(path).slices(2, 5), read_nifti(path, (2, 5))
    assert nifti_shape(path) == read_nifti(path).shape == (6, 5, 4)
    assert torch.equal(part.data, whole.data) and part.orientation == whole.orientation
    np.testing.assert_allclose(part.affine, whole.affine, atol=1e-9)
    assert part.qform is not None and whole.qform is not None
    np.testing.assert_allclose(part.qform, whole.qform, atol=1e-5)
    for wrong in ((2, 2), (-1, 3), (4, 7)):
        with pytest.raises(CosliceError, match=r"slices .* were asked for, 0:6 are there"):
            read_nifti(path, wrong)


def test_a_few_slices_of_a_huge_file_cost_what_they_are(tmp_path):
    """1.6 GB of zeros, which the disk does not hold either; two slices of it are 1 MB, and their copies as numbers."""
    path = tmp_path / "huge.nii"
    header = nibabel.Nifti1Header()
    header.set_data_shape((512, 512, 3000))
    header.set_data_dtype(np.int16)
    header["vox_offset"] = 352
    with open(path, "wb") as stream:
        header.write_to(stream)
        stream.truncate(352 + 2 * 512 * 512 * 3000)
    tracemalloc.start()
    try:
        part = read_nifti(path, (1500, 1502))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert part.shape == (2, 512, 512) and peak < 16e6
