"""Small files that would take gigabytes: what is packed or has holes keeps to the bound of `coslice.io.memory`."""

import bz2
import gzip
import hashlib
import json
import struct
import zlib

import h5py
import malformed_dicom
import malformed_nifti
import numpy as np
import pytest
from malformed_recordings import GEOMETRY

from coslice.errors import CosliceError
from coslice.io.memory import FREE
from coslice.training.collection.pack import open_pack

pytestmark = pytest.mark.faults

FDK = ("reconstruct", "--method", "fdk", "--views", "4")


def zeros(count: int) -> bytes:
    """So many zeros, as members of a gzip stream."""
    piece = gzip.compress(bytes(1 << 24), 9, mtime=0)
    return piece * (count >> 24) + gzip.compress(bytes(count % (1 << 24)), mtime=0)


def header(nk: int, along: str = "k") -> bytes:
    """Of a NIfTI file of 1000 x 1000 x nk bytes; `along` "i": z is the axis that changes fastest."""
    fields = {"dim": (3, 1000, 1000, nk, 1, 1, 1, 1), "datatype": 2, "bitpix": 8}
    if along == "i":
        fields |= {"srow_x": (0, 0, 4, 0), "srow_z": (2, 0, 0, 0), "pixdim": (1, 2, 4, 4, 1, 1, 1, 1)}
    return malformed_nifti.content(sform_code=1, **fields)[:352]


@pytest.mark.parametrize("nk", [500, 2000])
def test_nifti_of_half_a_megabyte(trials, tmp_path, nk):
    scan, out = tmp_path / "scan.nii.gz", tmp_path / "out"
    scan.write_bytes(gzip.compress(header(nk), mtime=0) + zeros(nk * 10**6))
    assert scan.stat().st_size < 2e6
    trial = trials.tried(*FDK, scan, "--out", out).refused(out)
    assert "--slices" in trial.errors and "GB of memory" in trial.errors
    # Eight of its slices are read, and found to be empty.
    trial = trials.tried(*FDK, scan, "--slices", "0:8", "--out", out).refused(out)
    assert "every voxel is 0" in trial.errors
    trials.tried("inspect", scan).refused()


def test_slices_across_all_of_a_packed_file(trials, tmp_path):
    scan, out = tmp_path / "scan.nii.gz", tmp_path / "out"
    scan.write_bytes(gzip.compress(header(200, "i"), mtime=0) + zeros(200 * 10**6))
    trial = trials.tried(*FDK, scan, "--slices", "0:8", "--out", out).refused(out)
    assert "every voxel is 0" in trial.errors


def test_nifti_of_holes(trials, tmp_path):
    scan, out = tmp_path / "scan.nii", tmp_path / "out"
    scan.write_bytes(header(32000))
    with open(scan, "r+b") as stream:
        stream.truncate(352 + 32 * 10**9)
    trials.tried(*FDK, scan, "--out", out).refused(out)
    trial = trials.tried(*FDK, scan, "--slices", "31000:31008", "--out", out).refused(out)
    assert "every voxel is 0" in trial.errors


def test_a_deflated_slice_of_gigabytes(trials, tmp_path):
    files = malformed_dicom.series()
    body = files[3][144 + int.from_bytes(files[3][140:144], "little") :]
    body = body[: body.index(b"\xe0\x7f\x10\x00")] + b"\xe0\x7f\x10\x00OW\x00\x00" + struct.pack("<I", 2**31)
    packer = zlib.compressobj(6, zlib.DEFLATED, -15)
    packed = packer.compress(body) + b"".join(packer.compress(bytes(1 << 24)) for _ in range(64)) + packer.flush()
    for k, content in enumerate(files):
        (tmp_path / f"{k}.dcm").write_bytes(content)
    (tmp_path / "3.dcm").write_bytes(malformed_dicom.meta_of("1.2.840.10008.1.2.1.99") + packed)
    out = tmp_path / "out"
    trials.tried(*FDK, tmp_path, "--out", out).refused(out)


def _chunks(path):
    with h5py.File(path, "w") as file:
        many = {"chunks": (10, 1000, 1000), "compression": "gzip", "compression_opts": 9}
        data = file.create_dataset("data", (200, 1000, 1000), "f4", **many)
        for first in range(0, 200, 10):
            data.id.write_direct_chunk((first, 0, 0), zlib.compress(bytes(4 * 10**7), 9))


def _one_chunk(path):
    with h5py.File(path, "w") as file:
        large = {"chunks": (900, 400, 1200), "maxshape": (None,) * 3, "compression": "gzip"}
        data = file.create_dataset("data", (9, 4, 12), "f4", **large)
        data.id.write_direct_chunk((0, 0, 0), zlib.compress(bytes(10**6), 9))


def _holes(path):
    words = b"{'descr': '<f4', 'fortran_order': False, 'shape': (1000, 1000, 1000), }".ljust(117) + b"\n"
    path.write_bytes(b"\x93NUMPY\x01\x00" + struct.pack("<H", len(words)) + words)
    with open(path, "r+b") as stream:
        stream.truncate(10 + len(words) + 4 * 10**9)


def _packed_array(path):
    np.savez_compressed(path, data=np.zeros((100, 1000, 1000), np.float32))


@pytest.mark.parametrize(
    ("name", "write"), [("a.h5", _chunks), ("b.h5", _one_chunk), ("c.npy", _holes), ("d.npz", _packed_array)]
)
def test_projections_that_unpack_to_gigabytes(trials, tmp_path, name, write):
    write(tmp_path / name)
    (tmp_path / "g.json").write_bytes(GEOMETRY)
    out = tmp_path / "out"
    trials.tried(*FDK[:-2], tmp_path / name, "--geometry", tmp_path / "g.json", "--out", out).refused(out)
    trials.tried("inspect", tmp_path / name, "--geometry", tmp_path / "g.json").refused()


def test_a_part_of_a_pack_that_unpacks_to_more_than_it_lists(tmp_path, small_pack):
    record = json.loads((small_pack / "pack.json").read_text())
    for count in (1 << 22, FREE * 2):
        part = bz2.compress(bytes(count), 9)
        assert len(part) < 2500
        record["parts"] = [{"file": "a.bin", "sha256": hashlib.sha256(part).hexdigest(), "chunks": [[0, len(part)]]}]
        (small_pack / "a.bin").write_bytes(part)
        (small_pack / "pack.json").write_text(json.dumps(record))
        with pytest.raises(CosliceError, match="do not hold the slices they should"):
            open_pack(small_pack, tmp_path / "cache")
    record["scans"][0]["shape"] = [4000, 1000, 1000]
    (small_pack / "pack.json").write_text(json.dumps(record))
    with pytest.raises(CosliceError, match=r"would fill 7\.45 GB"):
        open_pack(small_pack, tmp_path / "cache")
