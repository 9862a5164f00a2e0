"""What a file may ask for, and what is no file."""

import bz2
import gzip
import hashlib
import os
import re
import signal

import nibabel
import numpy as np
import pydicom
import pytest
from pydicom.uid import DeflatedExplicitVRLittleEndian

from coslice.errors import CosliceError
from coslice.io import memory
from coslice.io.dicom import open_dicom
from coslice.io.memory import FREE, PACKING, check_memory, check_packing, on_disk
from coslice.io.nifti import nifti_remarks, read_nifti
from coslice.io.plain_files import check_plain, walked
from coslice.io.recordings.hdf5_trial import check_by_trial
from coslice.training.collection.chunks import read_chunks
from dicom_series import numbers, write_series


def test_holes_take_no_room(tmp_path):
    path = tmp_path / "holes"
    path.write_bytes(b"x" * 5000)
    assert on_disk(path) == 5000
    os.truncate(path, 10**9)
    assert on_disk(path) <= 5000 + 8192


def test_a_file_stands_for_a_hundred_times_its_size_or_128_mb():
    assert (PACKING, FREE) == (100, 2**27)
    check_packing("a", FREE, 1)
    check_packing("a", 300 * 10**6, 3 * 10**6)
    for needed, present in ((FREE + 1, 1), (3 * 10**8 + 1, 3 * 10**6)):
        with pytest.raises(CosliceError, match=r"a takes .* on the disk and would fill .* unpack it on the disk first"):
            check_packing("a", needed, present)


def test_memory_is_that_of_the_machine_the_container_and_the_process(monkeypatch):
    there = memory.available()
    assert there is None or 0 < there < 2**50
    for place in ("_of_machine", "_of_container", "_of_process"):
        with monkeypatch.context() as patched:
            patched.setattr(memory, place, lambda: 10**6)
            check_memory("a", 10**6, "go")
            with pytest.raises(CosliceError, match=r"a needs 977 kB of memory, and 977 kB are available; go\."):
                check_memory("a", 10**6 + 100, "go")


@pytest.mark.parametrize("axes", ["RAS", "SPL", "ILP", "ASR"])
@pytest.mark.parametrize("dtype", ["int16", "uint8", ">f4", "float64"])
def test_slices_are_those_of_the_whole_bit_by_bit(tmp_path, axes, dtype):
    shape = {"R": 5, "L": 5, "A": 6, "P": 6, "S": 7, "I": 7}
    array = np.random.default_rng(0).uniform(0, 200, [shape[letter] for letter in axes]).astype(dtype)
    affine = nibabel.orientations.inv_ornt_aff(nibabel.orientations.axcodes2ornt(axes), array.shape)
    image = nibabel.Nifti1Image(array, affine)
    image.header.set_slope_inter(1.7, -3)
    for name in ("a.nii", "a.nii.gz"):
        nibabel.save(image, tmp_path / name)
        whole, part = read_nifti(tmp_path / name), read_nifti(tmp_path / name, (2, 5))
        reference = nibabel.as_closest_canonical(nibabel.load(tmp_path / name)).get_fdata(dtype=np.float32)
        assert np.array_equal(whole.data.numpy(), reference.transpose(2, 1, 0))
        assert np.array_equal(part.data.numpy(), whole.data[2:5].numpy())
        assert np.allclose(part.affine, whole.slices(2, 5).affine)


def test_nothing_is_read_behind_the_last_slice_that_is_wanted(tmp_path):
    array = np.random.default_rng(0).integers(0, 4000, (40, 40, 40)).astype(np.int16)
    content = gzip.compress(nibabel.Nifti1Image(array, np.eye(4)).to_bytes())
    path = tmp_path / "a.nii.gz"
    path.write_bytes(content[: len(content) // 2])
    assert np.array_equal(read_nifti(path, (0, 8)).data.numpy(), array[..., :8].transpose(2, 1, 0))
    with pytest.raises(CosliceError, match="cut short"):
        read_nifti(path)


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"bitpix": 16}, "float32 .* and of 16 bits .* contradict each other"),
        ({"vox_offset": 0}, "begin at byte 0"),
        ({"scl_slope": np.inf}, r"scales its numbers by inf .* \(scl_slope, scl_inter\)"),
        ({"srow_x": (100, 0, 0, 0), "srow_y": (0, 100, 0, 0), "srow_z": (0, 0, 100, 0)}, "100 x 100 x 100 mm in sform"),
        ({"srow_x": (1, 0, 0, 1e20)}, "places its voxels 1e.20 mm"),
    ],
)
def test_a_header_that_contradicts_itself_is_refused(tmp_path, fields, words):
    (tmp_path / "a.nii").write_bytes(headed(**fields))
    with pytest.raises(CosliceError, match=words):
        read_nifti(tmp_path / "a.nii")


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"srow_x": (1.1, 0, 0, 0)}, "1.1 x 1 x 1 mm in sform and 1 x 1 x 1 mm in pixdim; sform is believed"),
        ({"xyzt_units": 0}, "no unit for its lengths: they are taken as millimetres"),
        ({"sform_code": 0}, "does not say where it lies"),
        ({"intent_code": 1002}, r"no plain image \(label, intent code 1002\)"),
        ({"dim": (3, 4, 4, 3, 1, 1, 1, 1)}, "64 bytes behind the voxels"),
        ({"pixdim": (7, 1, 1, 1, 1, 1, 1, 1), "qform_code": 1}, "word on mirroring .* is 7"),
    ],
)
def test_what_a_header_leaves_open_is_said(tmp_path, fields, words):
    for name, pack in (("a.nii", bytes), ("a.nii.gz", gzip.compress)):
        (tmp_path / name).write_bytes(pack(headed(**fields)))
        read_nifti(tmp_path / name)
        assert len(nifti_remarks(tmp_path / name)) == 1
        assert re.search(words, nifti_remarks(tmp_path / name)[0])


def headed(**fields) -> bytes:
    image = nibabel.Nifti1Image(np.arange(64, dtype=np.float32).reshape(4, 4, 4), np.eye(4))
    image.set_qform(None, 0)
    image.header.set_xyzt_units("mm")
    content = image.to_bytes()
    header = np.frombuffer(content[:348], nibabel.Nifti1Header.template_dtype).copy()
    for name, value in fields.items():
        header[name] = value
    return header.tobytes() + content[348:]


def test_a_deflated_series_is_the_plain_one(tmp_path):
    plain = write_series(tmp_path / "plain", numbers())
    expected = open_dicom(plain).volume.data.numpy()
    for path in plain.iterdir():
        dataset = pydicom.dcmread(path)
        dataset.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
        dataset.save_as(path)
    assert np.array_equal(open_dicom(plain).volume.data.numpy(), expected)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"HighBit": 11}, "16 bits of a number up to bit 11"),
        ({"Columns": 6}, "bytes of pixels, where 1 x 6 x 6 of 16 bits take 72"),
        ({"RescaleIntercept": None}, "CT without a rescale intercept"),
        ({"PhotometricInterpretation": "RGB"}, "is a colour image"),
        ({"PixelSpacing": [5000, 5000]}, "gives pixels of 5000 x 5000 mm"),
    ],
)
def test_dicom_that_contradicts_itself_is_refused(tmp_path, changes, words):
    folder = write_series(tmp_path / "series", numbers())
    for path in folder.iterdir():
        dataset = pydicom.dcmread(path)
        for name, value in changes.items():
            if value is None:
                delattr(dataset, name)
            else:
                setattr(dataset, name, value)
        dataset.save_as(path)
    with pytest.raises(CosliceError, match=words):
        open_dicom(folder)


def test_a_part_of_a_pack_is_unpacked_as_far_as_its_slices_go(tmp_path):
    part = bz2.compress(bytes(2**22))
    (tmp_path / "a.bin").write_bytes(part)
    digest = hashlib.sha256(part).hexdigest()
    with pytest.raises(CosliceError, match="do not hold the slices"):
        list(
            read_chunks(
                tmp_path, [{"file": "a.bin", "sha256": digest, "chunks": [[0, len(part)]]}], [(1, 8, 8)], np.uint8
            )
        )


def test_a_library_that_breaks_off_does_so_in_a_copy(tmp_path):
    path = tmp_path / "a.h5"
    path.write_bytes(b"x")
    with pytest.raises(ValueError, match="breaks off"):
        check_by_trial(path, lambda _: os.kill(os.getpid(), signal.SIGTERM))
    check_by_trial(path, lambda _: 1 / 0)  # which is raised again where it is read


def test_a_pipe_is_not_opened(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(CosliceError, match="pipe is a pipe, not a file; give one"):
        check_plain(tmp_path / "pipe", "give one")


def test_links_lead_to_each_folder_once_and_not_out(tmp_path):
    for name in ("in/a/b", "beside", "other"):
        (tmp_path / name).mkdir(parents=True)
    for link, target in (("a/b/up", "../.."), ("a/out", "../.."), ("again", "a"), ("other", "../other")):
        (tmp_path / "in" / link).symlink_to(target)
    seen = [str(base.relative_to(tmp_path / "in")) for base, _ in walked(tmp_path / "in", lambda *_: None)]
    assert seen == [".", "a", "a/b", "other"]
