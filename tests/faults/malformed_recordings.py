"""Files of projections with something wrong in them: headers that lie, cuts, flipped bits, packing."""

from __future__ import annotations

import io
import struct
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import scipy.io
import tifffile
from malformed import Malformed, flipped, truncated

SHAPE = (9, 4, 12)
GEOMETRY = b'{"type": "parallel", "angles_deg": {"start": 0, "arc": 180}, "pixel_mm": 1}'
_SHARES = (0, 0.01, 0.05, 0.1, 0.2, 0.4, 0.6, 0.9, 0.99)


def _data() -> np.ndarray:
    return np.random.default_rng(0).uniform(0.1, 2, SHAPE).astype(np.float32)


def _recording(name: str, file: str, content: bytes, refused: bool | None = None, **beside: bytes) -> Malformed:
    files = {file: content, "g.json": GEOMETRY, **{key.replace("__", "."): value for key, value in beside.items()}}
    return Malformed(name, files, file, refused)


def _written(suffix: str, write: Callable[[Path], Any]) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"a{suffix}"
        write(path)
        return path.read_bytes()


def _npy(data: np.ndarray) -> bytes:
    stream = io.BytesIO()
    np.save(stream, data, allow_pickle=True)
    return stream.getvalue()


def _header(text: str, version: tuple[int, int] = (1, 0), body: bytes = b"") -> bytes:
    words = text.encode()
    length = struct.pack("<H" if version == (1, 0) else "<I", len(words))
    return b"\x93NUMPY" + bytes(version) + length + words + (body or _data().tobytes())


def npy(seeds: range) -> Iterator[Malformed]:
    good = _npy(_data())
    for name, cut in truncated(good, _SHARES):
        yield _recording(f"npy {name}", "p.npy", cut, True)
    shapes = ("(9,4,12)", "(10**12,)", "(1000000000000,)", "(-9,4,12)", "(9,4,13)", "(9,4,0)", "()", "(9.0,4,12)")
    shapes += ("(2**63,2)", "(9223372036854775807,9223372036854775807)", "9", "[9,4,12]", "None", "(True,4,12)")
    for shape in shapes:
        text = f"{{'descr': '<f4', 'fortran_order': False, 'shape': {shape}, }}\n"
        yield _recording(f"npy of shape {shape}", "p.npy", _header(text), shape != "(9,4,12)")
    for descr in (
        "|O",
        "|V4",
        "|S4",
        "<U1",
        "|b1",
        "<c8",
        "<M8[D]",
        "<f2",
        ">f4",
        "<f16",
        "[('a','<f4')]",
        "x",
        "<f999",
    ):
        text = (
            f"{{'descr': {descr if descr[0] == '[' else repr(descr)}, 'fortran_order': False, 'shape': (9, 4, 12), }}\n"
        )
        yield _recording(f"npy of type {descr}", "p.npy", _header(text), None if descr in ("<f2", ">f4") else True)
    for text in (
        "__import__('os').system('touch evil')",
        "{'descr': '<f4'}",
        "(" * 5000,
        "{'descr': '<f4', 'fortran_order': 7, 'shape': (9, 4, 12), 'more': 1}",
        "[" * 200 + "]" * 200,
        "9" * 5000,
        "\x00" * 64,
    ):
        yield _recording(f"npy with the header {text[:30]!r}", "p.npy", _header(text), True)
    for version in ((0, 0), (2, 0), (3, 0), (4, 0), (255, 255)):
        text = "{'descr': '<f4', 'fortran_order': False, 'shape': (9, 4, 12), }\n"
        yield _recording(f"npy of version {version}", "p.npy", _header(text, version), version not in ((2, 0), (3, 0)))
    yield _recording("npy with a header of 4 GB", "p.npy", b"\x93NUMPY\x02\x00\xff\xff\xff\xff" + good[10:], True)
    yield _recording("npy of objects", "p.npy", _npy(np.array([[{}] * 3] * 3, object)), True)
    for value in (np.nan, np.inf, -np.inf, 1e38, -1e38):
        yield _recording(f"npy of {value} alone", "p.npy", _npy(np.full(SHAPE, value, np.float32)))
    for name, content in flipped(good, seeds, 128):
        yield _recording(f"npy {name}", "p.npy", content)


def npz(seeds: range) -> Iterator[Malformed]:
    stream = io.BytesIO()
    np.savez_compressed(stream, data=_data(), angles_deg=np.arange(0, 180, 20.0))
    good = stream.getvalue()
    for name, cut in truncated(good, _SHARES):
        yield _recording(f"npz {name}", "p.npz", cut, True)
    for method in (zipfile.ZIP_STORED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA):
        yield _recording(f"npz packed by method {method}", "p.npz", _zipped({"data.npy": _npy(_data())}, method))
    for name in ("../evil.npy", "/evil.npy", "data.npy/", "a\x1b[31m.npy", "x" * 3000 + ".npy", ".npy"):
        yield _recording(f"npz with a member {name[:20]!r}", "p.npz", _zipped({name: _npy(_data())}))
    yield _recording("npz of nothing", "p.npz", _zipped({}), True)
    yield _recording("npz of texts", "p.npz", _zipped({"a.txt": b"a", "b.npy": b"not an array"}), True)
    yield _recording("npz of objects", "p.npz", _zipped({"data.npy": _npy(np.array([[None] * 9] * 9))}), True)
    yield _recording("npz with two of one name", "p.npz", _twice())
    yield _recording("npz encrypted", "p.npz", _flagged(good), True)
    for name, content in flipped(good, seeds, len(good)):
        yield _recording(f"npz {name}", "p.npz", content)


def _zipped(members: dict[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", method) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return stream.getvalue()


def _twice() -> bytes:
    import warnings

    stream = io.BytesIO()
    with warnings.catch_warnings(), zipfile.ZipFile(stream, "w") as archive:
        warnings.simplefilter("ignore")
        archive.writestr("data.npy", _npy(_data()))
        archive.writestr("data.npy", _npy(_data() * 2))
    return stream.getvalue()


def _flagged(content: bytes) -> bytes:
    found = bytearray(content)
    for start, at in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        place = found.find(start)
        while place >= 0:
            found[place + at] |= 1
            place = found.find(start, place + 1)
    return bytes(found)


@cache
def _hdf5(packed: bool = True) -> bytes:
    def write(path: Path) -> None:
        with h5py.File(path, "w") as file:
            file.create_dataset(
                "exchange/data",
                data=_data(),
                chunks=(3, 4, 12) if packed else None,
                compression="gzip" if packed else None,
            )
            file["exchange/theta"] = np.arange(0, 180, 20.0)
            file["exchange/data"].attrs["axes"] = "theta:y:x"

    return _written(".h5", write)


def hdf5(seeds: range) -> Iterator[Malformed]:
    for packed in (True, False):
        good = _hdf5(packed)
        for name, cut in truncated(good, (0, 0.005, 0.1, 0.5, 0.9, 0.99)):
            yield _recording(f"hdf5 {name}, packed {packed}", "p.h5", cut, True)
        for name, content in flipped(good, seeds, len(good)):
            yield _recording(f"hdf5 packed {packed}, {name}", "p.h5", content)

    def made(name: str, fill: Callable[[Any], Any], refused: bool | None = True) -> Malformed:
        def write(path: Path) -> None:
            with h5py.File(path, "w") as file:
                fill(file)

        return _recording(f"hdf5 {name}", "p.h5", _written(".h5", write), refused)

    yield made("empty", lambda file: None)
    yield made("of text", lambda file: file.create_dataset("data", data=["a", "b"]))
    yield made("never written", lambda file: file.create_dataset("data", SHAPE, "f4"))
    yield made("of 10^12 values never written", lambda file: file.create_dataset("data", (10**4,) * 3, "f4"))
    yield made(
        "of 10^12 values in chunks", lambda f: f.create_dataset("data", (10**4,) * 3, "f4", chunks=(1, 100, 100))
    )
    yield made("with a slice of 10^12 values", _some_of_many)
    yield made("with a link to itself", lambda file: file.__setitem__("a", h5py.SoftLink("/a")))
    yield made("with an external link", lambda file: file.__setitem__("data", h5py.ExternalLink("/etc/passwd", "/")))
    yield made("with groups that hold each other", _ring, None)
    yield made("of complex numbers", lambda file: file.create_dataset("data", data=_data() * 1j))
    yield made("of records", lambda f: f.create_dataset("data", data=np.zeros((4, 4), [("a", "f4"), ("b", "i4")])))
    yield made("with image_key of another length", _keys(7), None)
    yield made("with image_key of none", _keys(9, 3), None)
    yield made("with angles of text", _beside("theta", np.array([b"a"] * 9)), None)
    yield made("with angles that are NaN", _beside("theta", np.full(9, np.nan)), None)
    yield made("with 10,000 datasets", _many, None)
    yield made("with odd attributes", _attributes, None)
    yield made("with values in another file", _external)
    yield made("pieced together of files that are not there", _virtual)
    yield made("with a filter that is not there", _filtered, None)


def _some_of_many(file: Any) -> None:
    data = file.create_dataset("data", (10**4,) * 3, "f4", chunks=(1, 100, 100), compression="gzip")
    data[0, :100, :100] = 1


def _ring(file: Any) -> None:
    file.create_group("a/b")
    file["a/b/c"] = file["a"]
    file["a/data"] = _data()


def _keys(count: int, value: int = 0) -> Callable[[Any], None]:
    def fill(file: Any) -> None:
        file["entry/data"], file["entry/image_key"] = _data(), np.full(count, value)

    return fill


def _beside(name: str, values: np.ndarray) -> Callable[[Any], None]:
    def fill(file: Any) -> None:
        file["exchange/data"], file[f"exchange/{name}"] = _data(), values

    return fill


def _many(file: Any) -> None:
    for number in range(2000):
        file[f"g{number}"] = number
    file["data"] = _data()


def _attributes(file: Any) -> None:
    file["data"] = _data()
    file["data"].attrs["axes"] = np.arange(5)
    file["data"].attrs["units"] = b"\xff\xfe\x1b[31m"
    file["x_pixel_size"] = np.nan
    file["x_pixel_size"].attrs["units"] = "mm"


def _external(file: Any) -> None:
    file.create_dataset("data", (4, 4, 4), "u1", external=[("/etc/passwd", 0, 64)])


def _virtual(file: Any) -> None:
    layout = h5py.VirtualLayout(SHAPE, "f4")
    layout[:] = h5py.VirtualSource("/etc/nowhere.h5", "data", SHAPE)
    file.create_virtual_dataset("data", layout)


def _filtered(file: Any) -> None:
    file.create_dataset("data", data=_data(), chunks=SHAPE, fletcher32=True, shuffle=True)


@cache
def _matlab(packed: bool) -> bytes:
    return _written(
        ".mat", lambda path: scipy.io.savemat(path, {"data": _data(), "angles": np.arange(9.0)}, do_compression=packed)
    )


def matlab(seeds: range) -> Iterator[Malformed]:
    for packed in (True, False):
        good = _matlab(packed)
        for name, cut in truncated(good, _SHARES):
            yield _recording(f"mat {name}, packed {packed}", "p.mat", cut, True)
        for name, content in flipped(good[:126], seeds, 126):
            yield _recording(f"mat packed {packed}, start, {name}", "p.mat", content + good[126:])
        for name, content in flipped(good[124:], seeds, 160):
            yield _recording(f"mat packed {packed}, {name}", "p.mat", good[:124] + content)
    good = _matlab(False)
    for at in range(128, 200, 8):
        for value in (0, 2**31 - 1, 2**32 - 1):
            found = good[: at + 4] + struct.pack("<I", value) + good[at + 8 :]
            yield _recording(f"mat with {value} at byte {at + 4}", "p.mat", found)
    for number, content in enumerate((b"MATLAB 4", b"MATLAB 7.3 " + bytes(200), good[:128], good[:128] * 4)):
        yield _recording(f"mat, fragment {number}", "p.mat", content, True)
    head = good[:128]
    for promised in (2**32 - 1, 2**31, 10**8):
        packed = zlib.compress(struct.pack("<2I", 14, promised) + bytes(64))
        yield _recording(
            f"mat promising {promised} bytes", "p.mat", head + struct.pack("<2I", 15, len(packed)) + packed, True
        )


def meta_images(seeds: range) -> Iterator[Malformed]:
    lines = {
        "ObjectType": "Image",
        "NDims": "3",
        "BinaryData": "True",
        "BinaryDataByteOrderMSB": "False",
        "CompressedData": "False",
        "Offset": "0 0 0",
        "ElementSpacing": "1 1 1",
        "DimSize": "12 4 9",
        "ElementType": "MET_FLOAT",
        "ElementDataFile": "LOCAL",
    }

    def made(changes: dict[str, str], body: bytes | None = None) -> bytes:
        told = {"ObjectType": "Image"} | changes | {key: value for key, value in lines.items() if key not in changes}
        if "ElementDataFile" in told:  # the header ends with it
            told["ElementDataFile"] = told.pop("ElementDataFile")
        text = "".join(f"{key} = {value}\n" for key, value in told.items())
        return text.encode("latin-1") + (_data().tobytes() if body is None else body)

    for key, values in (
        ("NDims", ("0", "-1", "2", "4", "x", "", "99999999999")),
        (
            "DimSize",
            ("", "12 4", "12 4 0", "12 4 -9", "12 4 10", "1000000 1000000 1000000", "x y z", "1e3 4 9", "9" * 5000),
        ),
        ("ElementType", ("", "MET_NONE", "MET_ASCII_CHAR", "MET_DOUBLE", "MET_STRING", "x")),
        ("CompressedData", ("True",)),
        ("BinaryData", ("False",)),
        ("ElementNumberOfChannels", ("3", "0", "-1", "x")),
        (
            "ElementDataFile",
            ("", "/etc/passwd", "../g.json", "nowhere.raw", "LIST", "a%d.raw", "g.json\x00", "\x1b[31m", "x" * 5000),
        ),
    ):
        for value in values:
            yield _recording(f"mha {key} {value[:20]!r}", "p.mha", made({key: value}), True)
    for key, values in (
        ("ElementSpacing", ("nan 1 1", "inf 1 1", "0 1 1", "-1 1 1", "x", "1", "1e-300 1 1", "1e300 1 1")),
        ("HeaderSize", ("-2", "99999999999", "x", "1e9")),  # of a file of its own only
        ("Offset", ("nan 0 0", "x", "1e300 0 0", "")),
    ):
        for value in values:
            yield _recording(f"mha {key} {value!r}", "p.mha", made({key: value}))
    for name, body in (
        ("nothing", b""),
        ("half", zlib.compress(_data().tobytes())[:600]),
        ("no zlib", b"x" * 900),
        ("too much", zlib.compress(bytes(10**7))),
        ("too little", zlib.compress(bytes(10))),
    ):
        yield _recording(f"mha compressed, {name}", "p.mha", made({"CompressedData": "True"}, body), True)
    good = made({})
    for name, cut in truncated(good, _SHARES):
        yield _recording(f"mha {name}", "p.mha", cut, True)
    for name, content in flipped(good, seeds, 200):
        yield _recording(f"mha {name}", "p.mha", content)


def tiffs(seeds: range) -> Iterator[Malformed]:
    data = (_data() * 1000).astype(np.uint16)
    for compression in (None, "zlib"):
        good = _written(
            ".tif",
            lambda path, packing=compression: tifffile.imwrite(
                path, data, compression=packing, photometric="minisblack"
            ),
        )
        for name, cut in truncated(good, _SHARES):
            yield _recording(f"tif {name}, packed {compression}", "p.tif", cut, True)
        for name, content in flipped(good, seeds, len(good) if compression else 400):
            yield _recording(f"tif packed {compression}, {name}", "p.tif", content)
        for tag, values in (
            (256, (0, 1, 13, 2**31, 2**32 - 1)),
            (257, (0, 1, 5, 2**31, 2**32 - 1)),
            (258, (0, 1, 7, 64, 255)),
            (259, (0, 2, 7, 34712, 50000, 65535)),
            (262, (0, 2, 3, 5, 65535)),
            (273, (0, 1, 2**31, 2**32 - 1)),
            (277, (0, 2, 3, 65535)),
            (278, (0, 1, 2**32 - 1)),
            (279, (0, 1, 2**31, 2**32 - 1)),
            (339, (0, 2, 3, 4, 5, 6)),
        ):
            for value in values:
                found = _tagged(good, tag, value)
                if found is not None:
                    yield _recording(f"tif packed {compression}, tag {tag} {value}", "p.tif", found)
        yield _recording(f"tif packed {compression}, a ring of pages", "p.tif", _ring_of_pages(good))
        yield _recording(
            f"tif packed {compression}, pages at 4 GB", "p.tif", good[:4] + b"\xff\xff\xff\xff" + good[8:], True
        )
    yield _recording(
        "tif in colour",
        "p.tif",
        _written(".tif", lambda path: tifffile.imwrite(path, np.zeros((8, 8, 3), np.uint8))),
        True,
    )
    yield Malformed(
        "a folder of tif files of which one is none", {"t/a1.tif": b"II*\x00", "t/a2.tif": b"none"}, "t", True
    )


def _tagged(content: bytes, tag: int, value: int) -> bytes | None:
    """The first page with another value of a tag."""
    at = struct.unpack_from("<I", content, 4)[0]
    for entry in range(struct.unpack_from("<H", content, at)[0]):
        place = at + 2 + 12 * entry
        found, kind, _ = struct.unpack_from("<HHI", content, place)
        if found == tag:
            word = struct.pack("<I" if kind == 4 else "<HH", *((value,) if kind == 4 else (value & 0xFFFF, 0)))
            return content[:place] + struct.pack("<HHI", tag, kind, 1) + word + content[place + 12 :]
    return None


def _ring_of_pages(content: bytes) -> bytes:
    at = struct.unpack_from("<I", content, 4)[0]
    after = at + 2 + 12 * struct.unpack_from("<H", content, at)[0]
    return content[:after] + struct.pack("<I", at) + content[after + 4 :]


def others() -> Iterator[Malformed]:
    for name, content in (
        ("a.raw", bytes(1000)),
        ("b.vol", bytes(1000)),
        ("c.h5", b""),
        ("d.mat", b"x"),
        ("e.npz", b"PK"),
    ):
        yield _recording(f"a file {name} of {len(content)} bytes", name, content, True)


def npy_of_counts() -> bytes:
    """A good file of line integrals."""
    return _npy(_data())
