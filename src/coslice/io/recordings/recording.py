"""A recording, whichever file it comes from."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from coslice.errors import CosliceError
from coslice.io.plain_files import check_plain
from coslice.io.recordings.axis_orders import Shape, arranged, checked_order, laid_out, three_axes
from coslice.io.recordings.hdf5 import hdf5_arrays, read_hdf5
from coslice.io.recordings.matlab import matlab_arrays, read_matlab
from coslice.io.recordings.meta_images import read_meta_image
from coslice.io.recordings.named_arrays import role_of
from coslice.io.recordings.numpy_arrays import npz_arrays, read_npy, read_npz
from coslice.io.recordings.stored import Stored, StoredArray, check_numbers, check_promise, reading, sides
from coslice.io.recordings.tiff import read_tiff
from coslice.io.recordings.tiff_folder import TIFF_SUFFIXES, has_tiffs, read_tiff_folder

__all__ = ["Recording", "dataset_names", "is_recording", "read_recording"]

_FORMATS = {
    "npy": (".npy",),
    "npz": (".npz",),
    "tiff": TIFF_SUFFIXES,
    "hdf5": (".h5", ".hdf5", ".hdf", ".he5", ".nxs", ".nx", ".nexus"),
    "metaimage": (".mha", ".mhd"),
    "matlab": (".mat",),
}
_ONE_ARRAY: dict[str, Callable[[Path], Stored]] = {"npy": read_npy, "tiff": read_tiff, "metaimage": read_meta_image}
_MANY_ARRAYS: dict[str, Callable[[Path, str | None], Stored]] = {
    "npz": read_npz,
    "hdf5": read_hdf5,
    "matlab": read_matlab,
}
_LISTING: dict[str, Callable[[Path], tuple[StoredArray, ...]]] = {
    "npz": npz_arrays,
    "hdf5": hdf5_arrays,
    "matlab": matlab_arrays,
}
_BEGINNINGS = {
    b"\x93NUMPY": "npy",
    b"PK\x03\x04": "npz",
    b"II*\x00": "tiff",
    b"MM\x00*": "tiff",
    b"II+\x00": "tiff",
    b"MM\x00+": "tiff",
    b"\x89HDF\r\n\x1a\n": "hdf5",
    b"MATLAB ": "matlab",
}
_RAW = (".raw", ".bin", ".img", ".dat", ".vol")


@dataclass(frozen=True, eq=False)
class Recording:
    """What a detector recorded.

    Attributes:
        data: (views, rows, columns), rows along v and columns along u unless the scanner's file says otherwise;
            integers or floats as they are stored, in the machine's byte order, NaN among them. Often mapped from the
            file, and then not writable.
        flat: (n, rows, columns), the open beam.
        dark: (n, rows, columns), the beam off.
        angles: of the views, rad, where the file has them.
        pixel: (dv, du), mm, where the file has it.
        origin: (v, u) of the centre of the first pixel, mm, where the file has it; read by RTK's geometry alone.
        logged: what the file says of itself: True line integrals, False counts, None nothing.
        name: of the file or folder.
        notes: what was chosen, assumed, left out or found odd, in full sentences.
    """

    data: np.ndarray
    flat: np.ndarray | None = None
    dark: np.ndarray | None = None
    angles: tuple[float, ...] | None = None
    pixel: tuple[float, float] | None = None
    logged: bool | None = None
    name: str = ""
    notes: tuple[str, ...] = ()
    origin: tuple[float, float] | None = None


def read_recording(
    path: str | Path,
    *,
    flat: str | Path | np.ndarray | None = None,
    dark: str | Path | np.ndarray | None = None,
    dataset: str | None = None,
    order: str | None = None,
    shape: Shape | None = None,
) -> Recording:
    """The projections in `path`: .npy, .npz, TIFF or a folder of them, HDF5, .mha, .mhd, or .mat.

    Args:
        path: a file, or a folder of TIFF files.
        flat: the open beam, an array or a file or folder as `path`; in place of the one that `path` itself has.
        dark: the beam off, likewise.
        dataset: which array of a file of many; of a folder, the beginning of the files' names.
        order: the axes of the file, outermost first, by a letter each: "vrc" a stack of images, "rvc" a stack of
            sinograms, "vc" one sinogram. Without it, the order that the file names, else v, r, c, unless `shape` fits
            only another one.
        shape: (views, rows, columns) as the scanner has them, None for those not known. It settles the order of axes;
            whether the recording has this shape is the caller's to check.

    Raises:
        CosliceError: no such file; a file that is damaged, cut short or in another format; not real numbers; colour;
            several arrays or orders of axes that could be meant; fields of another size than the projections; a
            package that is not installed.
    """
    path = Path(path)
    stored = _read(path, dataset)
    check_numbers(path, stored.data.dtype)
    what = path.name or str(path)
    data = three_axes(stored.data, what)
    notes = stored.notes
    if order is not None:
        order = checked_order(order, what, data.ndim)
    else:
        named = [stored.order] if stored.order is not None and len(stored.order) == data.ndim else []
        found, said = arranged(data, what, shape, named)
        order = found or (named or [{2: "rc", 3: "vrc"}[data.ndim]])[0]
        notes += said
        if named and order != named[0]:
            notes += (f'{what} says that its axes are "{named[0]}"; they were read as "{order}", which fits.',)
        elif named and order != "vrc":
            notes += (f'{what} says that its axes are "{order}" (v views, r rows, c columns).',)
    projections = laid_out(data, order)
    size = projections.shape[1:]
    fields = {}
    for role, given in (("flat", flat), ("dark", dark)):
        own = getattr(stored, role)
        field, source, more = (own, f"in {what}", ()) if given is None else _given_field(given, role)
        if given is not None and own is not None:
            more += (f"The {role} field that was given replaces the one in {what}.",)
        fields[role], said = (None, ()) if field is None else _field(field, f"The {role} field {source}", size, order)
        notes += more + said
    angles = stored.angles
    if angles is not None and len(angles) != len(projections):
        notes += (f"{what} has {len(angles)} angles for {len(projections)} views; the angles were not taken.",)
        angles = None
    pixel = _pixel(stored, data, order)
    if pixel is not None:
        notes += (f"{what} says that its pixels are {pixel[1]:g} x {pixel[0]:g} mm (columns x rows).",)
    notes += _not_finite(projections, what)
    origin = _along(stored.origin, data.ndim, order)
    return Recording(
        _native(projections), fields["flat"], fields["dark"], angles, pixel, stored.logged, what, notes, origin
    )


def dataset_names(path: str | Path) -> tuple[StoredArray, ...]:
    """Name, shape and type of every array in a file of many (.npz, HDF5, .mat), without reading them; else ().

    Raises:
        CosliceError: as `read_recording`.
    """
    path = Path(path)
    listing = _LISTING.get("" if path.is_dir() else _format(path))
    return () if listing is None else listing(path)


def is_recording(path: str | Path) -> bool:
    """Whether `path` is a file in one of the formats, by its name or its beginning, or a folder with TIFF files."""
    path = Path(path)
    if path.is_dir():
        return has_tiffs(path)
    try:
        return bool(_format(path))
    except CosliceError:
        return False


def _format(path: Path) -> str:
    """The format of a file, by its suffix, else by how it begins.

    Raises:
        CosliceError: there is no such file, or it has another format.
    """
    check_plain(path, "give the file of projections, or the folder of their TIFF files")
    suffix = path.suffix.lower()
    for name, suffixes in _FORMATS.items():
        if suffix in suffixes:
            return name
    with reading(path), open(path, "rb") as stream:
        start = stream.read(16)
    for beginning, name in _BEGINNINGS.items():
        if start.startswith(beginning):
            return name
    if suffix in _RAW:
        raise CosliceError(
            f"{path} is a raw file, which says neither its size nor its type; put a MetaImage header (.mhd: NDims, "
            "DimSize, ElementType, HeaderSize, ElementDataFile) beside it and give that."
        )
    raise CosliceError(
        f"{path} is in no format that projections are read from; give .npy, .npz, .tif, .h5, .mha, .mhd or .mat, or a "
        "folder of .tif files."
    )


def _read(path: Path, dataset: str | None, role: str = "") -> Stored:
    if path.is_dir():
        return read_tiff_folder(path, dataset, role)
    found = _format(path)
    if found in _MANY_ARRAYS:
        return _MANY_ARRAYS[found](path, dataset)
    if dataset is not None:
        raise CosliceError(f"The dataset {dataset!r} was named, but {path} has one array without a name; leave it out.")
    return _ONE_ARRAY[found](path)


def _given_field(given: str | Path | np.ndarray, role: str) -> tuple[np.ndarray, str, tuple[str, ...]]:
    """A field that is given beside the projections: the array, where it comes from, and the file's notes."""
    if isinstance(given, np.ndarray):
        return given, "given", ()
    path = Path(given)
    # Of the file of a whole scan its own field is meant: by name, or told from projections by a key.
    named = [array.name for array in dataset_names(path) if role_of(array.name) == role]
    stored = _read(path, named[0] if len(named) == 1 else None, role)
    own = getattr(stored, role)
    return (stored.data, str(path), () if named else stored.notes) if own is None else (own, f"in {path}", ())


def _field(array: np.ndarray, what: str, size: tuple[int, ...], order: str) -> tuple[np.ndarray, tuple[str, ...]]:
    """A flat or dark field as (n, rows, columns), its axes in the order of the projections', or in any that fits."""
    check_numbers(what, array.dtype)
    check_promise(Path(what), array.shape or (0,), array.dtype, array.nbytes)
    array = array if array.ndim == 1 else three_axes(array, what)
    preferred = order.replace("v", "") if array.ndim < len(order) else order
    found, notes = arranged(array, what, (None, *size), [preferred])  # type: ignore[arg-type]
    if found is None:
        raise CosliceError(
            f"{what} is {sides(array.shape)}, but the projections have {sides(size)} pixels (rows x columns); give a "
            "field that was recorded with the same detector, binning and crop."
        )
    field = _native(laid_out(array, found))
    return field, notes + _not_finite(field, what)


def _native(array: np.ndarray) -> np.ndarray:
    """The array in the machine's byte order, which the files of other machines have to be read into memory for."""
    return array if array.dtype.isnative else array.astype(array.dtype.newbyteorder("="))


def _not_finite(array: np.ndarray, what: str) -> tuple[str, ...]:
    if array.dtype.kind != "f":
        return ()
    # View by view: the whole may be larger than memory.
    wrong = sum(int(np.size(view) - np.isfinite(view).sum()) for view in array)
    return (f"{what} has {wrong} values that are NaN or infinite, of {array.size}.",) if wrong else ()


def _pixel(stored: Stored, data: np.ndarray, order: str) -> tuple[float, float] | None:
    """(dv, du) from the spacing of the axes, once their order is known."""
    return stored.pixel if stored.pixel is not None else _along(stored.spacing, data.ndim, order)


def _along(values: Sequence[float | None], ndim: int, order: str) -> tuple[float, float] | None:
    """Of a value per axis of the file, those of the rows and of the columns."""
    if len(values) != ndim:
        return None
    along = dict(zip(order, values, strict=True))
    v, u = along.get("r"), along.get("c")
    return None if v is None or u is None else (v, u)
