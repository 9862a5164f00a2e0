"""A recording is what another program wrote, whatever the format, the axes and the bytes; else it is refused."""

import logging
import re
import struct
import tracemalloc
import zipfile
from contextlib import suppress
from itertools import permutations
from pathlib import Path

import h5py
import numpy as np
import pytest
import scipy.io
import SimpleITK
import tifffile
from PIL import Image

from coslice.errors import CosliceError
from coslice.io.recordings import dataset_names, is_recording, read_recording

TOOTH = Path(__file__).parents[1] / "data" / "tooth" / "tooth.h5"
SHAPE = (5, 7, 9)
VALUES = np.random.default_rng(0).integers(0, 120, SHAPE)


def same(found, wanted):
    return found is not None and np.array_equal(found, wanted)


def close(found, wanted):
    return found is not None and np.allclose(found, wanted, rtol=1e-6, atol=1e-14)


def npy(path, array):
    np.save(path / "a.npy", array)
    return path / "a.npy"


def npy_of_fortran(path, array):
    return npy(path, np.asfortranarray(array))


def npz(path, array):
    np.savez(path / "a.npz", proj=array, voltage=60.0)
    return path / "a.npz"


def npz_compressed(path, array):
    np.savez_compressed(path / "a.npz", proj=array)
    return path / "a.npz"


def tiff(path, array, **options):
    tifffile.imwrite(path / "a.tif", array, photometric="minisblack", **options)
    return path / "a.tif"


def tiff_big_endian(path, array):
    return tiff(path, array, byteorder=">")


def tiff_deflated(path, array):
    return tiff(path, array, compression="zlib", predictor=array.dtype.kind != "f")


def tiff_big(path, array):
    return tiff(path, array, bigtiff=True)


def tiff_pages(path, array):
    with tifffile.TiffWriter(path / "a.tif") as file:
        for view in array:
            file.write(view, contiguous=False, metadata=None, rowsperstrip=3)
    return path / "a.tif"


def tiff_files(path, array):
    for number, view in enumerate(array):
        tifffile.imwrite(path / f"view{number + 8}.tif", view)  # 8, 9, 10, 11, 12
    return path


def hdf5(path, array, name="exchange/data", **options):
    with h5py.File(path / "a.h5", "w") as file:
        file.create_dataset(name, data=array, **options)
    return path / "a.h5"


def hdf5_chunked(path, array):
    return hdf5(path, array, chunks=(2, 4, 4), compression="gzip", shuffle=True)


def hdf5_of_another_layout(path, array):
    return hdf5(path, array, "scan/images")


def hdf5_by_a_link(path, array):
    hdf5(path, array)
    with h5py.File(path / "master.nxs", "w") as file:
        file["entry/data/data"] = h5py.ExternalLink("a.h5", "/exchange/data")
        file["exchange"] = h5py.SoftLink("/entry/data")
    return path / "master.nxs"


def hdf5_virtual(path, array):
    hdf5(path, array)
    layout = h5py.VirtualLayout(array.shape, array.dtype)
    layout[...] = h5py.VirtualSource("a.h5", "exchange/data", array.shape)
    with h5py.File(path / "v.h5", "w") as file:
        file.create_virtual_dataset("exchange/data", layout)
    return path / "v.h5"


def meta_image(path, array, suffix=".mha", compressed=False):
    SimpleITK.WriteImage(SimpleITK.GetImageFromArray(array), str(path / f"a{suffix}"), compressed)
    return path / f"a{suffix}"


def mha_compressed(path, array):
    return meta_image(path, array, compressed=True)


def mhd(path, array):
    return meta_image(path, array, ".mhd")


def mhd_compressed(path, array):
    return meta_image(path, array, ".mhd", compressed=True)


def matlab(path, array, compressed=False):
    scipy.io.savemat(path / "a.mat", {"proj": array, "kV": 60.0, "who": "us"}, do_compression=compressed)
    return path / "a.mat"


def matlab_compressed(path, array):
    return matlab(path, array, True)


def matlab_struct(path, array):
    scipy.io.savemat(path / "a.mat", {"Ct": {"sinogram": array, "scan": {"kV": 60.0}}}, do_compression=True)
    return path / "a.mat"


def matlab_73(path, array, **attributes):
    """As MATLAB writes: column-major, behind 512 bytes of its own."""
    kinds = {"float64": "double", "float32": "single"}
    with h5py.File(path / "a.mat", "w", userblock_size=512) as file:
        item = file.create_dataset("proj", data=array.T)
        item.attrs["MATLAB_class"] = np.bytes_(kinds.get(array.dtype.name, array.dtype.name))
        text = file.create_dataset("who", data=np.frombuffer(b"ctscan", np.uint16).reshape(1, 3))
        text.attrs["MATLAB_class"] = np.bytes_("char")
    with open(path / "a.mat", "r+b") as stream:
        stream.write(b"MATLAB 7.3 MAT-file, Platform: GLNXA64, HDF5 schema 1.00 .".ljust(124) + b"\x00\x02IM")
    return path / "a.mat"


WRITERS = [
    *(npy, npy_of_fortran, npz, npz_compressed),
    *(tiff, tiff_big_endian, tiff_deflated, tiff_big, tiff_pages, tiff_files),
    *(hdf5, hdf5_chunked, hdf5_of_another_layout, hdf5_by_a_link, hdf5_virtual),
    *(meta_image, mha_compressed, mhd, mhd_compressed),
    *(matlab, matlab_compressed, matlab_struct, matlab_73),
]
FILES = [write for write in WRITERS if write is not tiff_files]


@pytest.mark.parametrize("dtype", ["u1", "i2", "u2", "f4"])
@pytest.mark.parametrize("write", WRITERS, ids=lambda write: write.__name__)
def test_what_another_program_wrote_is_read_value_for_value(tmp_path, write, dtype):
    array = VALUES.astype(dtype) * (1 if dtype[0] == "u" else -1)
    found = read_recording(write(tmp_path, array))
    assert found.data.dtype == array.dtype and found.data.dtype.isnative
    assert same(found.data, array)
    assert (found.flat, found.dark, found.angles, found.logged) == (None, None, None, None)


@pytest.mark.parametrize("dtype", [">u2", ">i4", ">f4", ">f8"])
@pytest.mark.parametrize("write", [npy, npz, npz_compressed, hdf5, hdf5_chunked], ids=lambda write: write.__name__)
def test_numbers_of_machines_of_the_other_byte_order_are_the_same_numbers(tmp_path, write, dtype):
    found = read_recording(write(tmp_path, VALUES.astype(dtype))).data
    assert found.dtype.isnative and same(found, VALUES)


@pytest.mark.parametrize("kind", ["MET_SHORT", "MET_UINT", "MET_LONG", "MET_DOUBLE"])
@pytest.mark.parametrize("big", ["True", "False"])
def test_a_meta_image_of_either_byte_order_is_what_simpleitk_reads(tmp_path, kind, big):
    bytes_of = {"MET_SHORT": 2, "MET_UINT": 4, "MET_LONG": 4, "MET_DOUBLE": 8}[kind]
    head = f"ObjectType = Image\nNDims = 3\nBinaryData = True\nBinaryDataByteOrderMSB = {big}\nDimSize = 9 7 5\n"
    pixels = np.random.default_rng(1).integers(0, 60, 315 * bytes_of, dtype=np.uint8).tobytes()
    (tmp_path / "a.raw").write_bytes(b"camera" + pixels)
    (tmp_path / "a.mhd").write_text(f"{head}HeaderSize = 6\nElementType = {kind}\nElementDataFile = a.raw\n")
    (tmp_path / "b.mhd").write_text(f"{head}HeaderSize = -1\nElementType = {kind}\nElementDataFile = a.raw\n")
    theirs = SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(str(tmp_path / "a.mhd")))
    for name in "ab":
        assert same(read_recording(tmp_path / f"{name}.mhd").data, theirs)


@pytest.mark.parametrize("write", [npy, npz, tiff, hdf5, meta_image, mhd, matlab], ids=lambda write: write.__name__)
def test_a_large_file_that_is_not_compressed_is_not_read_into_memory(tmp_path, write):
    array = np.zeros((300, 100, 100), np.uint16)
    path = write(tmp_path, array)
    read_recording(path)  # what libraries load once does not count
    tracemalloc.start()
    found = read_recording(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert found.data.shape == array.shape and peak < array.nbytes / 5


@pytest.mark.parametrize("cut", [0, 3, 40, 200, -1], ids="at{}".format)
@pytest.mark.parametrize("write", FILES, ids=lambda write: write.__name__)
def test_a_file_that_is_cut_short_is_refused_in_one_sentence_or_complete(tmp_path, write, cut, caplog):
    path = write(tmp_path, VALUES.astype(np.uint16))
    content = path.read_bytes()
    path.write_bytes(content[:cut])
    complete = write in (mhd, mhd_compressed) and b"ElementDataFile = a." in content[:cut]  # the pixels are elsewhere
    with caplog.at_level(logging.WARNING):
        if cut == -1 or complete:  # formats may end with a byte that nobody needs
            with suppress(CosliceError):
                assert same(read_recording(path).data, VALUES)
        else:
            with pytest.raises(CosliceError, match=path.stem):
                read_recording(path)
    assert not caplog.records  # said once, by us


@pytest.mark.parametrize("write", FILES, ids=lambda write: write.__name__)
def test_no_damage_ends_python_or_shows_another_error(tmp_path, write):
    path = write(tmp_path, VALUES.astype(np.uint16))
    content, rng = path.read_bytes(), np.random.default_rng(2)
    for _ in range(10):
        wrong = bytearray(content)
        for at in rng.integers(0, min(len(wrong), 400), 4):
            wrong[at] = rng.integers(256)
        path.write_bytes(wrong)
        with suppress(CosliceError):
            read_recording(path)


def lying_npy(path):
    with open(path / "a.npy", "wb") as stream:
        np.lib.format.write_array_header_1_0(stream, {"descr": "<f4", "fortran_order": False, "shape": (10**6,) * 3})
        stream.write(bytes(1000))
    return path / "a.npy"


def lying_npz(path):
    with zipfile.ZipFile(path / "a.npz", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("proj.npy", lying_npy(path).read_bytes())
    return path / "a.npz"


def lying_tiff(path):
    content = bytearray(tiff(path, VALUES.astype(np.uint16), metadata=None).read_bytes())
    at = 8 + 2
    while content[at : at + 2] not in (struct.pack("<H", 257),):  # ImageLength
        at += 12
    content[at + 8 : at + 12] = struct.pack("<I", 10**9)
    (path / "a.tif").write_bytes(content)
    return path / "a.tif"


def lying_hdf5(path):
    with h5py.File(path / "a.h5", "w") as file:
        item = file.create_dataset("exchange/data", (10**4, 10**4, 10**4), "f4", chunks=(1, 64, 64), compression="gzip")
        item[0, :64, :64] = 1
    return path / "a.h5"


def lying_mha(path):
    text = meta_image(path, VALUES.astype(np.uint16), compressed=True).read_bytes()
    (path / "a.mha").write_bytes(text.replace(b"DimSize = 9 7 5", b"DimSize = 90000 70000 50000"))
    return path / "a.mha"


def lying_matlab(path):
    content = bytearray(matlab(path, VALUES.astype(np.uint16)).read_bytes())
    at = content.index(struct.pack("<3i", *SHAPE))
    content[at : at + 12] = struct.pack("<3i", 10**6, 10**6, 10**6)
    (path / "a.mat").write_bytes(content)
    return path / "a.mat"


LIARS = [lying_npy, lying_npz, lying_tiff, lying_hdf5, lying_mha, lying_matlab]


@pytest.mark.parametrize("write", LIARS, ids=lambda write: write.__name__)
def test_a_header_that_promises_more_than_there_is_gets_no_memory(tmp_path, write):
    path = write(tmp_path)
    tracemalloc.start()
    with pytest.raises(CosliceError, match="damaged or cut short"):
        read_recording(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 30e6


def test_the_measured_tooth(tmp_path):
    found = read_recording(TOOTH)
    with h5py.File(TOOTH) as file:
        names = ("data", "data_white", "data_dark", "theta")
        data, white, dark, theta = (np.asarray(file[f"exchange/{name}"]) for name in names)
    assert same(found.data, data) and data.shape == (21, 2, 640)
    assert same(found.flat, white) and same(found.dark, dark) and white.shape == dark.shape == (5, 2, 640)
    assert found.angles == tuple(np.radians(theta))
    assert found.logged is False  # units: counts
    assert found.notes == ()
    assert "exchange/data (21 x 2 x 640, float32)" in map(str, dataset_names(TOOTH))


def data_exchange(path, **arrays):
    """A file with attributes given as (values, {name: text})."""
    with h5py.File(path / "a.h5", "w") as file:
        for name, given in arrays.items():
            values, attributes = given if isinstance(given, tuple) else (given, {})
            item = file.create_dataset("exchange/" + name, data=values)
            item.attrs.update(attributes)
    return path / "a.h5"


HALF_TURN = np.arange(5) * 36.0


@pytest.mark.parametrize(
    ("values", "unit", "degrees", "said"),
    [
        (HALF_TURN, "degrees", HALF_TURN, ""),
        (HALF_TURN, "deg", HALF_TURN, ""),
        (HALF_TURN, None, HALF_TURN, "degrees"),
        (np.arange(5.0), None, np.arange(5.0), "degrees"),
        (np.radians(HALF_TURN), "rad", HALF_TURN, ""),
        (np.radians(HALF_TURN), "Radians", HALF_TURN, ""),
        (np.radians(HALF_TURN), None, HALF_TURN, "radians"),
        (-np.radians(HALF_TURN * 2), None, -HALF_TURN * 2, "radians"),
        (HALF_TURN, "steps", None, "neither degrees nor radians"),
        (HALF_TURN * np.nan, "deg", None, "not finite"),
        (HALF_TURN[:4], "deg", None, "4 angles for 5 views"),
    ],
)
def test_angles_have_the_unit_that_the_file_says(tmp_path, values, unit, degrees, said):
    attributes = {} if unit is None else {"units": unit}
    found = read_recording(data_exchange(tmp_path, data=VALUES, theta=(values, attributes)))
    if degrees is None:
        assert found.angles is None
    else:
        assert close(found.angles, np.radians(degrees))
    assert (said in " ".join(found.notes)) and bool(said) == bool(found.notes)


@pytest.mark.parametrize(
    ("name", "values", "degrees"),
    [
        ("theta_deg", np.arange(5.0), np.arange(5.0)),
        ("angles_rad", np.radians(np.arange(5.0)), np.arange(5.0)),
        ("angles", np.radians(HALF_TURN), HALF_TURN),
        ("angles", HALF_TURN, HALF_TURN),
        ("angles", np.arange(5.0), None),  # degrees, or radians: no format says which
    ],
)
@pytest.mark.parametrize("of", ["npz", "mat"])
def test_angles_without_a_unit_are_taken_only_where_there_is_no_doubt(tmp_path, of, name, values, degrees):
    if of == "npz":
        np.savez(tmp_path / "a.npz", **{"proj": VALUES, name: values})
    else:
        scipy.io.savemat(tmp_path / "a.mat", {"ct": {"proj": VALUES, "setup": {name: values}}})
    found = read_recording(tmp_path / f"a.{of}")
    if degrees is None:
        assert found.angles is None and "could be degrees or radians" in " ".join(found.notes)
    else:
        assert close(found.angles, np.radians(degrees))


@pytest.mark.parametrize(
    ("attributes", "logged"),
    [
        ({"units": "counts"}, False),
        ({"units": "photons", "description": "transmission"}, False),
        ({"units": "line integrals"}, True),
        ({"units": "-log(I/I0)"}, True),
        ({"description": "minus-log of the transmission"}, True),
        ({"units": "a.u."}, None),
        ({}, None),
    ],
)
def test_only_the_file_itself_says_whether_the_logarithm_is_taken(tmp_path, attributes, logged):
    assert read_recording(data_exchange(tmp_path, data=(VALUES, attributes))).logged is logged


def test_nexus_tells_flat_and_dark_fields_from_projections_by_their_key(tmp_path):
    key = np.array([2, 1, 0, 0, 1, 0, 3, 2])
    images = np.random.default_rng(4).integers(0, 99, (8, 3, 4)).astype(np.uint16)
    with h5py.File(tmp_path / "a.nxs", "w") as file:
        file["entry/instrument/detector/data"] = images
        file["entry/instrument/detector/image_key"] = key
        size = file.create_dataset("entry/instrument/detector/x_pixel_size", data=6.5)
        size.attrs["units"] = "um"
        file["entry/instrument/detector/y_pixel_size"] = 0.013
        file["entry/instrument/detector/y_pixel_size"].attrs["units"] = "mm"
        file["entry/sample/rotation_angle"] = np.arange(8.0) * 10
        file["entry/sample/rotation_angle"].attrs["units"] = "degrees"
        file["entry/data/data"] = file["entry/instrument/detector/data"]
    found = read_recording(tmp_path / "a.nxs")
    for array, kind in ((found.data, 0), (found.flat, 1), (found.dark, 2)):
        assert array is not None and same(array, images[key == kind])
    assert close(found.angles, np.radians([20, 30, 50]))
    assert close(found.pixel, (0.013, 0.0065))
    assert same(read_recording(tmp_path / "a.nxs", dataset="entry/instrument/detector").data, found.data)
    assert "3 of 8 images are projections, 2 flat and 2 dark fields; 1 are invalid" in " ".join(found.notes)


def test_a_scan_that_was_stopped_is_said(tmp_path):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        item = file.create_dataset("exchange/data", SHAPE, "u2", chunks=(1, 7, 9))
        item[:3] = VALUES[:3]
    assert "2 of the 5 pieces of exchange/data" in read_recording(tmp_path / "a.h5").notes[0]


def test_bytes_behind_the_pixels_are_said(tmp_path):
    assert "252 bytes behind" in " ".join(read_recording(mhd_with(tmp_path, DimSize="9 7 3")).notes)


# Orders of axes


@pytest.mark.parametrize("order", ["".join(letters) for letters in permutations("vrc")])
@pytest.mark.parametrize("how", ["told", "from the shape", "from a part of the shape", "named by the file"])
def test_every_order_of_axes_comes_to_views_rows_and_columns(tmp_path, order, how):
    stored = VALUES.transpose(["vrc".index(letter) for letter in order])
    if how == "named by the file":
        names = {"v": "theta", "r": "y", "c": "x"}
        axes = ":".join(names[letter] for letter in order)
        path = data_exchange(tmp_path, data=(stored, {"axes": axes}), data_white=stored)
        found = read_recording(path)
        assert same(found.flat, VALUES)  # fields have the order of the projections
    elif how == "told":
        found = read_recording(npy(tmp_path, stored), order=order)
    else:
        found = read_recording(npy(tmp_path, stored), shape=SHAPE if how == "from the shape" else (5, None, 9))
        assert (f'"{order}"' in " ".join(found.notes)) == (order != "vrc")
    assert same(found.data, VALUES)


@pytest.mark.parametrize(
    ("order", "shape"),
    [("vc", (5, 1, 9)), ("cv", (5, 1, 9)), ("rc", (1, 5, 9)), ("cr", (1, 5, 9)), ("rvc", (1, 5, 9))],
)
def test_a_plane_is_a_sinogram_or_one_view(tmp_path, order, shape):
    plane = VALUES[:, 0]
    stored = plane.T if order[0] == "c" else plane
    for options in ({"order": order}, {"shape": shape}):
        assert same(read_recording(npy(tmp_path, stored), **options).data, plane.reshape(shape))


def test_the_usual_order_is_taken_without_a_word_where_it_fits_or_nothing_does(tmp_path):
    cube = np.arange(4 * 4 * 6).reshape(4, 4, 6)
    for shape in (None, (4, 4, 6), (4, None, 6), (7, 8, 9)):
        found = read_recording(npy(tmp_path, cube), shape=shape)
        assert same(found.data, cube) and not found.notes
    assert read_recording(npy(tmp_path, cube[0])).data.shape == (1, 4, 6)


def test_axes_of_length_one_beyond_three_are_left_out(tmp_path):
    assert same(read_recording(npy(tmp_path, VALUES[:, None, :, :, None])).data, VALUES)


def test_two_unusual_orders_that_fit_are_asked_for(tmp_path):
    path = npy(tmp_path, np.zeros((4, 6, 4)))
    with pytest.raises(CosliceError, match=r"rvc or cvr\.$"):
        read_recording(path, shape=(6, 4, 4))


# Folders of TIFF files


def folder_of(path, names, shape=(3, 4), start=0):
    path.mkdir(exist_ok=True)
    for number, name in enumerate(names):
        tifffile.imwrite(path / name, np.full(shape, start + number, np.uint16))
    return path


def order_in(found):
    return found.data[:, 0, 0].tolist()


@pytest.mark.parametrize(
    "names",
    [
        ["img1.tif", "img2.tif", "img10.tif", "img11.tif"],
        ["img_0009.TIFF", "img_0010.TIFF", "img_0100.TIFF"],
        ["1.tif", "2.tif", "30.tif"],
        ["a1_0.00deg.tif", "a1_0.50deg.tif", "a1_1.00deg.tif", "a1_1.50deg.tif"],
        ["p1_of_12.tif", "p2_of_12.tif", "p10_of_12.tif"],
        ["0001_0.tif", "0002_90.tif", "0003_0.tif", "0004_90.tif"],
        ["scan.9.0.tif", "scan.10.0.tif"],
    ],
    ids=lambda names: names[0],
)
def test_a_folder_is_read_in_the_order_of_its_numbers(tmp_path, names):
    found = read_recording(folder_of(tmp_path, names))
    assert order_in(found) == list(range(len(names)))
    assert f"{names[0]} to {names[-1]}" in found.notes[0]


def test_fields_in_a_folder_are_known_by_their_names(tmp_path):
    folder_of(tmp_path, [f"tooth_{n}.tif" for n in range(4)])
    folder_of(tmp_path, ["flat_1.tif", "flat_2.tif"], start=100)
    folder_of(tmp_path, ["Dark.tif"], start=200)
    (tmp_path / "log.txt").write_text("60 kV")
    found = read_recording(tmp_path)
    assert order_in(found) == [0, 1, 2, 3]
    assert found.flat is not None and found.flat[:, 0, 0].tolist() == [100, 101]
    assert found.dark is not None and found.dark[:, 0, 0].tolist() == [200]
    words = " ".join(found.notes)
    assert "flat_#.tif (2 files) was taken for the flat field" in words and "Dark.tif" in words and "log.txt" in words
    assert order_in(read_recording(tmp_path, dataset="flat")) == [100, 101]


def test_of_several_series_one_is_asked_for(tmp_path):
    folder_of(tmp_path, ["scan1_001.tif", "scan1_002.tif", "scan1_003.tif"])
    folder_of(tmp_path, ["scan2_001.tif", "scan2_002.tif"], start=10)
    with pytest.raises(CosliceError, match=r"scan1_#.tif \(3 files\), scan2_#.tif \(2 files\)"):
        read_recording(tmp_path)
    assert order_in(read_recording(tmp_path, dataset="scan1_")) == [0, 1, 2]
    assert order_in(read_recording(tmp_path, dataset="*2_00?.tif")) == [10, 11]
    with pytest.raises(CosliceError, match="No TIFF file"):
        read_recording(tmp_path, dataset="scan3")


def test_a_missing_number_is_said(tmp_path):
    found = read_recording(folder_of(tmp_path, ["a1.tif", "a2.tif", "a4.tif", "a5.tif"]))
    assert "jump between a2.tif and a4.tif" in " ".join(found.notes)


def test_files_of_several_pages_follow_each_other(tmp_path):
    for number in (2, 10):
        tifffile.imwrite(
            tmp_path / f"part{number}.tif", np.full((3, 4, 5), number, np.uint16), photometric="minisblack"
        )
    found = read_recording(tmp_path)
    assert order_in(found) == [2, 2, 2, 10, 10, 10] and "2 files of 3 images" in found.notes[0]


# Flat and dark fields that are given


@pytest.mark.parametrize("write", [npy, tiff, tiff_files, hdf5, mhd, matlab_73], ids=lambda write: write.__name__)
@pytest.mark.parametrize("count", [1, 3])
def test_fields_come_from_any_format(tmp_path, write, count):
    projections = npy(tmp_path, VALUES)
    (tmp_path / "beam").mkdir()
    beam = np.random.default_rng(8).integers(0, 99, (count, 7, 9)).astype(np.float32)
    path = write(tmp_path / "beam", beam)
    found = read_recording(projections, flat=path, dark=beam[0] if count == 1 else beam)
    assert same(found.flat, beam) and same(found.dark, beam)


def test_one_file_or_folder_may_hold_both_fields(tmp_path):
    projections, beam, off = npy(tmp_path, VALUES), np.full((2, 7, 9), 50), np.full((3, 7, 9), 2)
    np.savez(tmp_path / "fields.npz", flats=beam, darks=off)
    (tmp_path / "fields").mkdir()
    for name, field in (("white", beam), ("dark", off)):
        for number, image in enumerate(field):
            tifffile.imwrite(tmp_path / "fields" / f"{name}_{number}.tif", image)
    for both in (tmp_path / "fields.npz", tmp_path / "fields"):
        found = read_recording(projections, flat=both, dark=both)
        assert same(found.flat, beam) and same(found.dark, off)


def test_fields_that_are_given_replace_those_of_the_file_and_a_scan_lends_its_own():
    given = np.ones((2, 640))
    found = read_recording(TOOTH, flat=given, dark=TOOTH)
    assert same(found.flat, given[None]) and found.dark is not None and found.dark.shape == (5, 2, 640)
    assert "flat field that was given replaces" in " ".join(found.notes)


@pytest.mark.parametrize("beam", [np.arange(9.0), np.arange(18.0).reshape(2, 9)], ids=["one line", "two lines"])
def test_the_fields_of_a_sinogram_are_lines(tmp_path, beam):
    found = read_recording(npy(tmp_path, VALUES[:, 0]), order="vc", flat=beam)
    assert same(found.flat, beam.reshape(-1, 1, 9))


# Pixels


@pytest.mark.parametrize(
    ("resolution", "unit", "pixel"),
    [
        ((50, 100), "CENTIMETER", (0.1, 0.2)),
        ((127, 127), "INCH", (0.2, 0.2)),
        ((72, 72), "INCH", None),
        ((300, 300), "INCH", None),
        ((28.346, 28.346), "CENTIMETER", None),
        ((1, 1), "CENTIMETER", None),
        ((50, 50), "NONE", None),
    ],
)
def test_a_tiff_says_its_pixels_only_with_a_unit_and_not_for_printers(tmp_path, resolution, unit, pixel):
    found = read_recording(tiff(tmp_path, VALUES.astype("u2"), resolution=resolution, resolutionunit=unit))
    assert (found.pixel is None) == (pixel is None) and bool(found.notes) == (pixel is not None)
    if pixel is not None:
        assert close(found.pixel, pixel)


@pytest.mark.parametrize(("order", "pixel"), [("vrc", (0.3, 0.2)), ("rvc", (0.5, 0.2)), ("rcv", (0.5, 0.3))])
def test_the_spacing_of_a_meta_image_goes_with_its_axes(tmp_path, order, pixel):
    image = SimpleITK.GetImageFromArray(VALUES.astype(np.float32))
    image.SetSpacing((0.2, 0.3, 0.5))
    SimpleITK.WriteImage(image, str(tmp_path / "a.mha"))
    found = read_recording(tmp_path / "a.mha", order=order).pixel
    assert close(found, pixel)


@pytest.mark.parametrize("order", ["vrc", "rvc", "cvr"])
def test_where_a_meta_image_puts_its_first_pixel_is_kept(tmp_path, order):
    """RTK places detectors so; its geometry reads it."""
    image = SimpleITK.GetImageFromArray(VALUES.astype(np.float32))
    image.SetOrigin((3.25, -1.5, 7.0))
    SimpleITK.WriteImage(image, str(tmp_path / "a.mha"))
    along = dict(zip(order, (7.0, -1.5, 3.25), strict=True))
    assert read_recording(tmp_path / "a.mha", order=order).origin == (along["r"], along["c"])


@pytest.mark.parametrize("dtype", ["u1", "u2", "f4"])
@pytest.mark.parametrize("compression", [None, "tiff_lzw", "packbits", "tiff_adobe_deflate"])
def test_what_pillow_writes_is_read_whatever_its_compression(tmp_path, compression, dtype):
    views = [Image.fromarray(view) for view in VALUES.astype(dtype)]
    options = {} if compression is None else {"compression": compression}
    views[0].save(tmp_path / "a.tif", save_all=True, append_images=views[1:], **options)
    found = read_recording(tmp_path / "a.tif")
    assert same(found.data, VALUES) and found.data.dtype == dtype and not found.notes


@pytest.mark.parametrize(
    ("options", "words"), [({"photometric": "miniswhite"}, "shows large values dark"), ({"tile": (16, 16)}, "")]
)
def test_what_is_odd_about_a_tiff_is_said_and_its_values_are_kept(tmp_path, options, words):
    tifffile.imwrite(tmp_path / "a.tif", VALUES.astype("u2"), **{"photometric": "minisblack", **options})
    found = read_recording(tmp_path / "a.tif")
    assert same(found.data, VALUES) and words in " ".join(found.notes) and bool(words) == bool(found.notes)


def test_a_thumbnail_beside_an_image_is_left(tmp_path):
    with tifffile.TiffWriter(tmp_path / "a.tif") as file:
        file.write(VALUES[0].astype("u2"), photometric="minisblack")
        file.write(VALUES[0, ::2, ::2].astype("u2"), subfiletype=1, photometric="minisblack")
    assert same(read_recording(tmp_path / "a.tif").data, VALUES[:1])


def test_what_stands_beside_projections_is_found_behind_links_too(tmp_path):
    data_exchange(tmp_path, data=VALUES, data_white=VALUES[:2], theta=(HALF_TURN, {"units": "deg"}))
    with h5py.File(tmp_path / "master.h5", "w") as file:
        for name in ("data", "data_white"):
            file[f"exchange/{name}"] = h5py.ExternalLink("a.h5", f"/exchange/{name}")
        file["angles"] = HALF_TURN * 2
        file["angles"].attrs["units"] = "deg"
        file["exchange/theta"] = h5py.SoftLink("/angles")
    found = read_recording(tmp_path / "master.h5")
    assert same(found.data, VALUES) and same(found.flat, VALUES[:2]) and close(found.angles, np.radians(HALF_TURN * 2))


def test_fields_that_are_empty_or_were_never_written_are_none(tmp_path):
    path = data_exchange(tmp_path, data=VALUES, data_white=np.zeros((0, 7, 9)), data_dark=np.ones((7, 9)))
    found = read_recording(path)
    assert found.flat is None and same(found.dark, np.ones((1, 7, 9)))
    assert not found.notes
    with h5py.File(path, "r+") as file:
        del file["exchange/data_white"]
        file.create_dataset("exchange/data_white", (2, 7, 9), "f4")
    found = read_recording(path)
    assert found.flat is None and found.notes == ("exchange/data_white was never written and was not taken.",)


def test_nan_is_kept_and_counted(tmp_path):
    array = VALUES.astype(np.float32)
    array[1, 2, 3], array[4, 0, 0] = np.nan, np.inf
    found = read_recording(npy(tmp_path, array))
    assert np.array_equal(found.data, array, equal_nan=True) and "2 values that are NaN or infinite" in found.notes[0]


def test_a_file_is_known_by_its_beginning_where_its_name_says_nothing(tmp_path):
    for write in (npy, tiff, tiff_big, hdf5, matlab):
        path = write(tmp_path, VALUES.astype(np.uint16))
        renamed = path.rename(tmp_path / "scan_03")
        assert is_recording(renamed) and same(read_recording(renamed).data, VALUES)
    (tmp_path / "notes.txt").write_text("no scan")
    assert not is_recording(tmp_path / "notes.txt") and not is_recording(tmp_path / "none.npy")


@pytest.mark.parametrize("write", [npz, matlab, matlab_73, hdf5], ids=lambda write: write.__name__)
def test_a_listing_names_what_can_be_chosen(tmp_path, write):
    path = write(tmp_path, VALUES.astype(np.uint16))
    (found,) = [array for array in dataset_names(path) if array.shape == SHAPE]
    assert found.dtype == "uint16"
    assert same(read_recording(path, dataset=found.name).data, VALUES)
    assert dataset_names(npy(tmp_path, VALUES)) == ()


# What is refused


def text(path, name, content: str | bytes = "no scan"):
    (path / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    return path / name


def mhd_with(path, **entries):
    lines = {"NDims": "3", "DimSize": "9 7 5", "ElementType": "MET_USHORT", "ElementDataFile": "a.raw", **entries}
    text(path, "a.raw", bytes(2 * VALUES.size))
    data = lines.pop("ElementDataFile")
    return text(path, "a.mhd", "".join(f"{k} = {v}\n" for k, v in lines.items()) + f"ElementDataFile = {data}\n")


def several_in_hdf5(path):
    with h5py.File(path / "a.h5", "w") as file:
        file["entry/data/low"], file["entry/data/high"], file["entry/spectrum"] = VALUES, VALUES, VALUES[0, 0]
    return path / "a.h5"


def external(path):
    with h5py.File(path / "a.h5", "w") as file:
        file.create_dataset("exchange/data", SHAPE, "u1", external=[("/etc/hostname", 0, 315)])
    return path / "a.h5"


def link_outside(path):
    (path / "inner").mkdir()
    hdf5(path, VALUES)
    with h5py.File(path / "inner" / "b.h5", "w") as file:
        file["exchange/data"] = h5py.ExternalLink("../a.h5", "/exchange/data")
    return path / "inner" / "b.h5"


def virtual_without_its_source(path):
    hdf5_virtual(path, VALUES)
    (path / "a.h5").unlink()
    return path / "v.h5"


def never_written(path):
    with h5py.File(path / "a.h5", "w") as file:
        file.create_dataset("exchange/data", SHAPE, "f4")
    return path / "a.h5"


def nothing_inside(path):
    (path / "scan").mkdir()
    return path / "scan"


def folders_inside(path):
    folder_of(path / "proj", ["a1.tif", "a2.tif"])
    folder_of(path / "flats", ["b1.tif"])
    return path


def mixed_sizes(path):
    folder_of(path, ["a1.tif", "a2.tif", "a4.tif"])
    return folder_of(path, ["a3.tif"], shape=(3, 5))


def mixed_types(path):
    folder_of(path, ["a1.tif", "a2.tif"])
    tifffile.imwrite(path / "a3.tif", np.zeros((3, 4), np.float32))
    return path


def mixed_pages(path):
    with tifffile.TiffWriter(path / "a.tif") as file:
        file.write(np.zeros((4, 5), np.uint8))
        file.write(np.zeros((6, 5), np.uint8))
    return path / "a.tif"


def colour(path):
    tifffile.imwrite(path / "a.tif", np.zeros((6, 5, 3), np.uint8), photometric="rgb")
    return path / "a.tif"


def palette(path):
    Image.fromarray(VALUES[0].astype(np.uint8)).convert("P").save(path / "a.tif")
    return path / "a.tif"


def bits(path):
    Image.fromarray(VALUES[0] > 9).save(path / "a.tif")
    return path / "a.tif"


def hyperstack(path):
    tifffile.imwrite(path / "a.tif", np.zeros((3, 2, 6, 5), np.uint8), photometric="minisblack")
    return path / "a.tif"


def broken_zlib(path):
    content = mha_compressed(path, VALUES.astype(np.uint16)).read_bytes()
    return text(path, "a.mha", content[:-40] + bytes(40))


def logical_73(path):
    path = matlab_73(path, VALUES.astype(np.uint8))
    with h5py.File(path, "r+") as file:
        file["proj"].attrs["MATLAB_class"] = np.bytes_("logical")
    return path


def twice_in_npz(path):
    np.savez(path / "a.npz", low=VALUES, high=VALUES, sum=1)
    return path / "a.npz"


REFUSED = {
    "missing": (lambda path: path / "none.tif", {}, "does not exist"),
    "empty folder": (nothing_inside, {}, "has no TIFF files; it is empty"),
    "folder of folders": (folders_inside, {}, "its folders flats, proj have: give the one with the projections"),
    "folder of something else": (lambda path: npy(path, VALUES).parent, {}, "it has a.npy: give a file of them"),
    "sizes in a folder": (mixed_sizes, {}, r"a3.tif is 3 x 5 uint16, but a1.tif of the same series is 3 x 4"),
    "types in a folder": (mixed_types, {}, r"a3.tif is 3 x 4 float32, but a1.tif"),
    "sizes in a tiff": (mixed_pages, {}, "images of several sizes"),
    "colour": (colour, {}, "is in colour"),
    "palette": (palette, {}, "is in colour"),
    "bits": (bits, {}, "holds true and false"),
    "hyperstack": (hyperstack, {}, "a stack of 3 x 2 x 6 x 5"),
    "raw": (lambda path: text(path, "a.raw", bytes(100)), {}, "raw file.*MetaImage header"),
    "text": (lambda path: text(path, "a.txt"), {}, "no format that projections are read from"),
    "npy of text": (lambda path: npy(path, np.array([["a", "b"]])), {}, "holds text"),
    "npy of objects": (lambda path: npy(path, np.array([[None, 1]])), {}, "holds Python objects"),
    "npy of complex": (lambda path: npy(path, VALUES + 1j), {}, "holds complex numbers"),
    "npy of booleans": (lambda path: npy(path, VALUES > 5), {}, "holds true and false"),
    "npy of records": (lambda path: npy(path, np.zeros((4, 5), "u1,f4")), {}, "holds records"),
    "npy of nothing": (lambda path: npy(path, np.zeros((0, 5, 6))), {}, "no projections are in it"),
    "npy of one axis": (lambda path: npy(path, np.zeros(5)), {}, "is 5, but projections are views x rows x columns"),
    "npy of four axes": (lambda path: npy(path, np.zeros((2, 2, 3, 4))), {}, "is 2 x 2 x 3 x 4, but projections"),
    "not npy": (lambda path: text(path, "a.npy"), {}, "damaged or cut short"),
    "not npz": (lambda path: text(path, "a.npz"), {}, "damaged or cut short"),
    "not tiff": (lambda path: text(path, "a.tif"), {}, "damaged or cut short"),
    "not hdf5": (lambda path: text(path, "a.h5"), {}, "damaged or cut short"),
    "not mha": (lambda path: text(path, "a.mha"), {}, "is no MetaImage"),
    "not matlab": (lambda path: text(path, "a.mat"), {}, "no MATLAB file of version 5 or later"),
    "several in npz": (twice_in_npz, {}, r"2 arrays that could be.*low \(5 x 7 x 9, int64\), high"),
    "several in hdf5": (several_in_hdf5, {}, r"entry/data/high \(5 x 7 x 9, int64\), entry/data/low"),
    "no such dataset": (several_in_hdf5, {"dataset": "entry/none"}, "no dataset 'entry/none'; it has entry/data/high"),
    "dataset of one array": (lambda path: npy(path, VALUES), {"dataset": "a"}, "one array without a name"),
    "only one axis": (lambda path: hdf5(path, np.zeros(5), "a"), {}, "no array of numbers with views"),
    "complex in hdf5": (lambda path: hdf5(path, VALUES + 1j), {}, "holds complex numbers"),
    "booleans in hdf5": (lambda path: hdf5(path, VALUES > 5), {}, "holds true and false"),
    "text in hdf5": (lambda path: hdf5(path, np.full((2, 2, 2), b"a")), {}, "holds text"),
    "external": (external, {}, "keeps its values in another file"),
    "link outside": (link_outside, {}, "only files in its own folder are read"),
    "virtual": (virtual_without_its_source, {}, "takes /exchange/data from a.h5, which is not in its own folder"),
    "never written": (never_written, {}, "was never written"),
    "complex in matlab": (lambda path: matlab(path, VALUES + 1j), {}, "no array of numbers.*complex float64"),
    "booleans in matlab": (lambda path: matlab(path, VALUES > 5), {"dataset": "proj"}, "proj in .* is bool"),
    "booleans in 7.3": (logical_73, {"dataset": "proj"}, "proj in .* is bool"),
    "text in matlab": (lambda path: matlab(path, VALUES), {"dataset": "who"}, "who in .* is text"),
    "mha of colour": (lambda path: mhd_with(path, ElementNumberOfChannels=3), {}, "is in colour"),
    "mha of text": (lambda path: mhd_with(path, BinaryData="False"), {}, "has its pixels as text"),
    "mha of a type": (lambda path: mhd_with(path, ElementType="MET_STRING"), {}, "pixels of MET_STRING"),
    "mha too short": (lambda path: mhd_with(path, DimSize="9 7 6"), {}, "promises 6 x 7 x 9 values in 756 bytes"),
    "mha of other sides": (lambda path: mhd_with(path, NDims=2), {}, "NDims is 2"),
    "mha of a path": (
        lambda path: mhd_with(path, ElementDataFile="/etc/hostname"),
        {},
        "only a file in its own folder",
    ),
    "mha of a way up": (lambda path: mhd_with(path, ElementDataFile="../a.raw"), {}, "only a file in its own folder"),
    "mha of a lost file": (lambda path: mhd_with(path, ElementDataFile="b.raw"), {}, "b.raw .*not beside it"),
    "mha of a list": (lambda path: mhd_with(path, ElementDataFile="LIST"), {}, "over several files"),
    "mha of a pattern": (lambda path: mhd_with(path, ElementDataFile="a%03d.raw 1 5 1"), {}, "over several files"),
    "mha of bad zlib": (broken_zlib, {}, "damaged or cut short"),
    "order of two": (lambda path: npy(path, VALUES), {"order": "vc"}, "has 2 axes, but a.npy has 3"),
    "order of words": (lambda path: npy(path, VALUES), {"order": "xyz"}, "an order names views"),
    "order with two rows": (lambda path: npy(path, VALUES), {"order": "vrr"}, "an order names views"),
    "flat of another size": (lambda path: npy(path, VALUES), {"flat": np.zeros((7, 8))}, "is 7 x 8, but .* 7 x 9 pix"),
    "dark of another size": (
        lambda path: npy(path, VALUES),
        {"dark": np.zeros((3, 6, 9))},
        "The dark field .* 3 x 6 x 9",
    ),
    "flat of complex": (lambda path: npy(path, VALUES), {"flat": np.zeros((7, 9), complex)}, "holds complex"),
    "flat of nothing": (lambda path: npy(path, VALUES), {"flat": np.zeros((0, 7, 9))}, "no projections are in it"),
    "flat that is missing": (lambda path: npy(path, VALUES), {"flat": "none.tif"}, "none.tif does not exist"),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_what_cannot_be_read_is_refused_in_a_sentence(tmp_path, kind):
    write, options, words = REFUSED[kind]
    path = write(tmp_path)
    with pytest.raises(CosliceError) as error:
        read_recording(path, **options)
    assert re.search(words, str(error.value)) and "\n" not in str(error.value) and str(error.value).endswith(".")


@pytest.mark.parametrize(
    ("package", "write"), [("tifffile", tiff), ("tifffile", tiff_files), ("h5py", hdf5), ("h5py", matlab_73)]
)
def test_a_package_that_is_missing_is_named_with_its_extra(tmp_path, monkeypatch, package, write):
    path = write(tmp_path, VALUES.astype(np.uint16))
    monkeypatch.setitem(__import__("sys").modules, package, None)
    with pytest.raises(CosliceError, match=rf'package {package}, .*pip install "coslice\[projections\]"'):
        read_recording(path)


@pytest.mark.parametrize("write", [npy, tiff, hdf5, meta_image, matlab], ids=lambda write: write.__name__)
def test_a_file_that_may_not_be_read_is_said_to_be_so(tmp_path, monkeypatch, write):
    path = write(tmp_path, VALUES.astype(np.uint16))

    def refuse(*_, **__):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("builtins.open", refuse)
    monkeypatch.setattr("h5py.File", refuse)
    monkeypatch.setattr("tifffile.TiffFile", refuse)
    with pytest.raises(CosliceError, match="may not be read by this user"):
        read_recording(path)
