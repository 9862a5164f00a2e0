"""NIfTI files with something wrong in them: every field of the header, cuts, flipped bits, packing."""

from __future__ import annotations

import bz2
import gzip
import zlib
from collections.abc import Iterator
from typing import Any

import nibabel
import numpy as np
from malformed import Malformed, flipped, truncated

from small_bodies import ball

SHAPE = (8, 32, 32)
_NAN, _INF = float("nan"), float("inf")


def content(version: int = 1, data: np.ndarray | None = None, **fields: object) -> bytes:
    """A file of a small CT, with fields of its header set as they are given, whatever they are."""
    array = (ball(SHAPE) if data is None else data).astype(np.float32 if data is None else data.dtype).T
    affine = np.diag((4.0, 4.0, 2.0, 1.0))
    kind = nibabel.Nifti1Image if version == 1 else nibabel.Nifti2Image
    image = kind(array, affine)
    image.header.set_xyzt_units("mm")
    whole = image.to_bytes()
    size = 348 if version == 1 else 540
    header = np.frombuffer(whole[:size], image.header.template_dtype).copy()
    for name, value in fields.items():
        header[name] = value
    return header.tobytes() + whole[size:]


def _of_fields() -> Iterator[tuple[str, bool | None, dict[str, Any]]]:
    """(name, must be refused, fields)."""
    dim = (3, 32, 32, 8, 1, 1, 1, 1)
    for place in range(4):
        for value in (0, -1, -32768, 32767, 31, 7) if place else (0, -1, 1, 2, 8, 100, 32767, -32768):
            fits = place > 0 and (value == 7 or (value == 31 and place < 3))
            yield f"dim[{place}] {value}", not fits, {"dim": (*dim[:place], value, *dim[place + 1 :])}
    yield "dim 7-D of ones", False, {"dim": (7, 32, 32, 8, 1, 1, 1, 1)}
    yield "dim 4-D", True, {"dim": (4, 32, 32, 4, 2, 1, 1, 1)}
    yield "dim 5-D of vectors", True, {"dim": (5, 32, 32, 4, 1, 2, 1, 1)}
    yield "dim all large", True, {"dim": (7, *(32767,) * 7)}
    for code in (0, 1, 32, 128, 255, 1536, 1792, 2048, 2304, 3, 5, -1, 9999):
        yield f"datatype {code}", True, {"datatype": code}
    for code, refused in ((2, True), (4, True), (256, True), (8, None), (64, True), (1024, True)):
        yield f"datatype {code}, bitpix unchanged", refused, {"datatype": code}
    for bits in (0, 1, -1, 7, 64, 32767):
        yield f"bitpix {bits}", bits != 0, {"bitpix": bits}
    for axis in (1, 2, 3):
        for value in (0, -1, -4, _NAN, _INF, -_INF, 1e-30, 1e30, 1e-4, 5000):
            steps = [1.0, 4.0, 4.0, 2.0, 1.0, 1.0, 1.0, 1.0]
            steps[axis] = value
            yield f"pixdim[{axis}] {value}", True, {"pixdim": steps}
    for value in (0, 2, -7, _NAN, _INF):
        yield f"pixdim[0] {value}", None, {"pixdim": (value, 4, 4, 2, 1, 1, 1, 1)}
    for value in (_NAN, _INF, -_INF, 1e30, -1e30, 3e38):
        yield (
            f"scl_slope {value}",
            None if value != value or 1e29 < abs(value) < 1e39 else True,
            {"scl_slope": value, "scl_inter": 0},
        )
        yield f"scl_inter {value}", None if 1e29 < abs(value) < 1e39 else True, {"scl_slope": 1, "scl_inter": value}
    yield "scl_slope 0", None, {"scl_slope": 0}
    yield "scl_slope 1e-40", None, {"scl_slope": 1e-40}
    yield "scl_slope 0 with an offset", None, {"scl_slope": 0, "scl_inter": 1024}
    for value in (_NAN, _INF, 0, -1, 1, 347, 351, 353, 3.5, 1e9, 1e30, -1e30):
        yield f"vox_offset {value}", True, {"vox_offset": value}
    for code in (-1, 6, 100, 32767):
        yield f"sform_code {code}", True, {"sform_code": code}
        yield f"qform_code {code}", True, {"qform_code": code}
    for row in "xyz":
        for value in (_NAN, _INF, 1e30, 1e-30, 5000):
            yield f"srow_{row} all {value}", True, {f"srow_{row}": (value,) * 4, "sform_code": 1}
        yield f"srow_{row} zero", True, {f"srow_{row}": (0,) * 4, "sform_code": 1}
    yield "sform 100 times pixdim", True, _sform(400, 400, 200)
    yield "sform a hundredth of pixdim", True, _sform(0.04, 0.04, 0.02)
    yield "sform 1.3 times pixdim", False, _sform(5.2, 5.2, 2.6)
    yield "sform singular", True, {"sform_code": 1, "srow_y": (4, 0, 0, 0)}
    yield "sform nearly singular", True, {"sform_code": 1, "srow_x": (4, 0, 0, 0), "srow_y": (4, 1e-6, 0, 0)}
    yield "sform far away", True, {"sform_code": 1, "srow_x": (4, 0, 0, 1e20)}
    for value in (_NAN, _INF, 2.0, 1e30, -5.0):
        yield f"quatern_b {value}", None, {"quatern_b": value, "qform_code": 1, "sform_code": 0}
        yield f"qoffset_x {value}", None, {"qoffset_x": value, "qform_code": 1, "sform_code": 0}
    yield "no form at all", None, {"qform_code": 0, "sform_code": 0}
    for size in (0, -1, 347, 349, 540, 1, 2**31 - 1):
        yield f"sizeof_hdr {size}", True, {"sizeof_hdr": size}
    for magic in (b"", b"ni1", b"n+3", b"n+2", b"xxxx"):
        yield f"magic {magic!r}", True, {"magic": magic}
    for code in (0, 1, 3, 4, 5, 6, 7, 8, 16, 24, 63, 255):
        yield f"xyzt_units {code}", True if code == 1 else None, {"xyzt_units": code}
    for code in (1001, 1002, 1005, 2003, 2004, -1, 32767):
        yield f"intent_code {code}", None, {"intent_code": code}
    yield "cal_max and cal_min odd", None, {"cal_max": _NAN, "cal_min": _INF}
    yield "descrip of control characters", None, {"descrip": b"\x1b[31m\x00\x07" * 8}


def _sform(x: float, y: float, z: float) -> dict[str, Any]:
    return {"sform_code": 1, "srow_x": (x, 0, 0, 0), "srow_y": (0, y, 0, 0), "srow_z": (0, 0, z, 0)}


def headers() -> Iterator[Malformed]:
    """One field at a time."""
    for name, refused, fields in _of_fields():
        yield Malformed(name, {"scan.nii": content(**fields)}, "scan.nii", refused)
    of_nifti2: tuple[tuple[str, dict[str, Any]], ...] = (
        ("dim huge", {"dim": (3, 2**40, 2**40, 2**40, 1, 1, 1, 1)}),
        ("dim negative", {"dim": (3, -(2**62), 32, 8, 1, 1, 1, 1)}),
        ("dim overflows", {"dim": (3, 2**32, 2**32, 1, 1, 1, 1, 1)}),
        ("dim rank 2^62", {"dim": (2**62, 32, 32, 8, 1, 1, 1, 1)}),
        ("offset 2^62", {"vox_offset": 2**62}),
        ("offset negative", {"vox_offset": -(2**62)}),
        ("pixdim inf", {"pixdim": (1, _INF, 4, 2, 1, 1, 1, 1)}),
    )
    for name, fields in of_nifti2:
        yield Malformed(f"NIfTI-2, {name}", {"scan.nii": content(2, **fields)}, "scan.nii", True)


def values() -> Iterator[Malformed]:
    """Voxels that are none, and extensions that lie."""
    body = ball(SHAPE)
    for name, data in (
        ("all NaN", np.full(SHAPE, _NAN, np.float32)),
        ("one NaN", np.where(np.arange(body.size).reshape(SHAPE) == 7, _NAN, body).astype(np.float32)),
        ("all infinite", np.full(SHAPE, _INF, np.float32)),
        ("beyond float32", np.full(SHAPE, 1e300)),
    ):
        yield Malformed(name, {"scan.nii": content(data=data)}, "scan.nii", True)
    plain = content()
    for size, code in ((16, 6), (2**31 - 16, 6), (0, 0), (7, 6), (-16, 4), (32, 2**31 - 1)):
        extension = b"\1\0\0\0" + np.array((size, code), "<i4").tobytes() + b"\x1b" * 8
        start = np.frombuffer(plain[:348], nibabel.Nifti1Header.template_dtype).copy()
        start["vox_offset"] = 352 + 16
        yield Malformed(
            f"extension of {size} bytes, code {code}",
            {"scan.nii": start.tobytes() + extension + plain[352:]},
            "scan.nii",
        )
    swapped = nibabel.Nifti1Header(plain[:348], check=False).as_byteswapped().binaryblock
    yield Malformed("header swapped, data not", {"scan.nii": swapped + plain[348:]}, "scan.nii", None)


def packing() -> Iterator[Malformed]:
    """Cuts, packing of other kinds, and gzip streams that are broken."""
    plain = content()
    packed = gzip.compress(plain, mtime=0)
    for name, cut in truncated(plain, (0, 0.001, 0.005, 0.01, 0.0106, 0.011, 0.1, 0.5, 0.9, 0.9999)):
        yield Malformed(name, {"scan.nii": cut}, "scan.nii", True)
    for name, cut in truncated(packed, (0, 0.001, 0.01, 0.05, 0.1, 0.3, 0.5, 0.7, 0.9, 0.995, 0.9999)):
        yield Malformed(f"gzip {name}", {"scan.nii.gz": cut}, "scan.nii.gz", True)
    checksum = bytearray(packed)
    checksum[-6] ^= 1
    length = bytearray(packed)
    length[-1] ^= 1
    for name, found in (
        ("wrong checksum", bytes(checksum)),
        ("wrong length", bytes(length)),
        ("gzip twice", gzip.compress(packed, mtime=0)),
        ("bz2", bz2.compress(plain)),
        ("zlib", zlib.compress(plain)),
        ("junk behind the stream", packed + b"junk"),
        ("gzip of nothing", gzip.compress(b"")),
        ("gzip of a header alone", gzip.compress(plain[:348])),
        ("two bytes", b"\x1f\x8b"),
        ("text", b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n"),
    ):
        yield Malformed(name, {"scan.nii.gz": found}, "scan.nii.gz", True)
    yield Malformed("two gzip members", {"scan.nii.gz": _members(plain)}, "scan.nii.gz", False)
    yield Malformed("zeros behind the stream", {"scan.nii.gz": packed + bytes(512)}, "scan.nii.gz", False)
    yield Malformed("gzip under the name .nii", {"scan.nii": packed}, "scan.nii", None)
    yield Malformed("plain under the name .nii.gz", {"scan.nii.gz": plain}, "scan.nii.gz", None)


def _members(plain: bytes) -> bytes:
    return gzip.compress(plain[:5000], mtime=0) + gzip.compress(plain[5000:], mtime=0)


def flips(seeds: range) -> Iterator[Malformed]:
    """Random bits of the header, of the deflated stream."""
    plain = content()
    for name, found in flipped(plain, seeds, 352):
        yield Malformed(name, {"scan.nii": found}, "scan.nii")
    for name, found in flipped(gzip.compress(plain, mtime=0), seeds, 4000):
        yield Malformed(f"gzip {name}", {"scan.nii.gz": found}, "scan.nii.gz")
