"""HDF5: the Data Exchange layout of synchrotrons, NXtomo, and any file whose dataset is named.

Data Exchange has `exchange/data`, `data_white`, `data_dark` and `theta` (degrees unless its attribute "units" says
otherwise), and names axes in the attribute "axes": "theta:y:x". NXtomo keeps flat and dark fields among the
projections and tells them apart by `image_key`: 0 projection, 1 flat field, 2 dark field, 3 invalid.

References: De Carlo et al., J. Synchrotron Rad. 21 (2014) 1224 (Data Exchange); NXtomo in the NeXus manual.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from coslice.errors import CosliceError
from coslice.io.memory import check_packing
from coslice.io.plain_files import check_plain, what_else
from coslice.io.recordings.hdf5_trial import check_by_trial
from coslice.io.recordings.named_arrays import angles_in_radians, chosen, said_to_be_logged, with_role
from coslice.io.recordings.stored import (
    DEFLATE,
    Stored,
    StoredArray,
    check_numbers,
    check_promise,
    damaged,
    optional,
    reading,
)

__all__ = ["datasets", "hdf5_arrays", "opened", "read_hdf5", "values"]

_MM = {"m": 1e3, "meter": 1e3, "metre": 1e3, "cm": 10.0, "mm": 1.0, "um": 1e-3, "µm": 1e-3, "μm": 1e-3}
_MM |= {"micron": 1e-3, "microns": 1e-3, "micrometer": 1e-3, "micrometre": 1e-3, "nm": 1e-6}
_AXES = {"theta": "v", "angle": "v", "rotationangle": "v", "z": "r", "y": "r", "x": "c", "row": "r", "column": "c"}
_AXES |= {"rows": "r", "columns": "c", "views": "v", "v": "r", "u": "c"}
_SHOWN = 1000
_SMALL = 1 << 20


@contextmanager
def opened(path: Path) -> Iterator[Any]:
    """An h5py.File for reading.

    Raises:
        CosliceError: damaged, or h5py is not installed.
    """
    h5py = optional("h5py", path)
    with reading(path):
        check_by_trial(path, _look_through)
        with h5py.File(path, "r") as file:
            _check_links(file, path)
            yield file


def _look_through(path: Path) -> None:
    """Read all of a file but its large arrays."""
    h5py = optional("h5py", path)
    with h5py.File(path, "r") as file:
        _check_links(file, path)
        for item in datasets(file).values():
            for look in (lambda one: list(one.attrs.items()), _pieces, _small):
                with suppress(Exception):
                    look(item)


def _check_links(file: Any, path: Path) -> None:
    """Refuse links to what is there and is no plain file: HDF5 opens it, and a pipe is opened for ever.

    Raises:
        CosliceError: there is one.
    """
    h5py = optional("h5py", path)
    others: set[str] = set()

    def note(name: bytes, link: Any) -> None:
        if link.type == h5py.h5l.TYPE_EXTERNAL:
            others.add(os.fsdecode(file.id.links.get_val(name)[0]))

    file.id.links.visit(note, info=True)
    for other in sorted(others):
        for place in (path.parent / other, Path(other)):
            if os.path.lexists(place) and what_else(place) not in ("is a link to nothing", "is a folder"):
                check_plain(place, f"{path} links to it, and a file is needed")


def _pieces(item: Any) -> None:
    if item.id.get_storage_size() and item.chunks:
        item.id.get_num_chunks()


def _small(item: Any) -> None:
    elsewhere = item.external or item.is_virtual  # in files that are looked at before they are opened
    if not elsewhere and item.size * item.dtype.itemsize <= _SMALL:
        item[()]


def datasets(group: Any) -> dict[str, Any]:
    """Every dataset in a file or group by its path, once each; links are not followed."""
    h5py = optional("h5py", Path(group.file.filename))
    found: dict[str, Any] = {}

    def note(name: str, item: Any) -> bool | None:
        if isinstance(item, h5py.Dataset) and item.shape is not None:
            found[name] = item
        return True if len(found) >= _SHOWN else None

    group.visititems(note)
    return found


def hdf5_arrays(path: Path) -> tuple[StoredArray, ...]:
    """The datasets of an HDF5 file; none is read.

    Raises:
        CosliceError: damaged, or h5py is not installed.
    """
    with opened(path) as file:
        return _listing(datasets(file))


def read_hdf5(path: Path, dataset: str | None) -> Stored:
    """The projections of an HDF5 file, mapped where they are neither chunked nor compressed, and what belongs to them.

    Raises:
        CosliceError: damaged, cut short, never written, or not of real numbers; no such dataset, or several that could
            be meant; h5py, or a filter that the file is packed with, is not installed.
    """
    with opened(path) as file:
        arrays = _listing(datasets(file))
        name, notes = "exchange/data", ()
        if dataset is not None and hasattr(file.get(dataset), "visititems"):
            name, notes = chosen(path, _listing(datasets(file[dataset]), dataset.strip("/") + "/"), None)
        elif dataset is not None and hasattr(file.get(dataset), "dtype"):
            name = dataset.strip("/")  # also by a link, which no listing shows
        elif dataset is not None or not hasattr(file.get(name), "dtype"):
            name, notes = chosen(path, arrays, dataset)
        arrays = (*arrays, *(one for one in _beside(file, name) if one not in arrays))
        item = file[name]
        data, more = values(item, path)
        stored = Stored(
            data,
            order=_order(item),
            pixel=_pixel(file, name),
            logged=said_to_be_logged(lambda key: _text(item, key)),
            notes=notes + more,
        )
        for role in ("flat", "dark"):
            other = with_role(role, arrays, name)
            if other is not None and _never_written(file[other]):
                stored = replace(stored, notes=(*stored.notes, f"{other} was never written and was not taken."))
            elif other is not None:
                field, more = values(file[other], path)
                stored = replace(stored, notes=stored.notes + more, **{role: field})
        theta = with_role("angles", arrays, name) or _near(file, name, "sample/rotation_angle", "rotation_angle")
        if theta is not None:
            found, more = values(file[theta], path)
            angles, said = angles_in_radians(theta, found, _text(file[theta], "units"), degrees_if_silent=True)
            stored = replace(stored, angles=angles, notes=stored.notes + more + said)
        key = _near(file, name, "image_key", "instrument/detector/image_key")
        return stored if key is None else _by_key(stored, values(file[key], path)[0].reshape(-1), key, path)


def _listing(found: dict[str, Any], inside: str = "") -> tuple[StoredArray, ...]:
    return tuple(StoredArray(inside + name, item.shape, _word(item)) for name, item in found.items())


def _beside(file: Any, name: str) -> tuple[StoredArray, ...]:
    """The datasets in the group of `name`, those behind links too."""
    group = name.rpartition("/")[0]
    members = {key: file.get(f"{group}/{key}") for key in islice(file[group or "/"], _SHOWN)}
    found = {key: item for key, item in members.items() if getattr(item, "shape", None) is not None}
    return _listing(found, f"{group}/".lstrip("/"))


def values(item: Any, path: Path) -> tuple[np.ndarray, tuple[str, ...]]:
    """The values of one dataset, and the sentence about parts of it that were never written.

    Raises:
        CosliceError: it does not hold what it promises, not real numbers, or needs other files or filters.
    """
    what = f"{item.name.strip('/')} in {path}"
    check_numbers(what, item.dtype)
    path = _home(item, path)
    if item.external:
        raise CosliceError(f"{what} keeps its values in another file, which is not read; save them in the file itself.")
    if item.is_virtual:
        return _virtual(item, path), ()
    present = item.id.get_storage_size()
    if _never_written(item):
        raise CosliceError(f"{what} was never written: it has a shape, {item.shape}, and no values; check the export.")
    check_promise(path, item.shape, item.dtype, present, DEFLATE if item.chunks else 1)
    if item.chunks:  # one is unpacked whole, and may be larger than all that is wanted
        check_packing(f"A piece of {what}", math.prod(item.chunks) * item.dtype.itemsize, present)
    start = item.id.get_offset()
    if start is not None and item.chunks is None:
        if start + present > path.stat().st_size:
            raise damaged(path, f"{item.name} ends behind the end of the file")
        return np.memmap(path, item.dtype, "r", start, item.shape), ()
    notes: tuple[str, ...] = ()
    if item.chunks:
        wanted = math.prod(-(-side // step) for side, step in zip(item.shape, item.chunks, strict=True))
        missing = wanted - item.id.get_num_chunks()
        if missing > 0:
            notes = (
                f"{missing} of the {wanted} pieces of {what} were never written and read as {item.fillvalue:g}: "
                "was the scan stopped?",
            )
    try:
        return item[()], notes
    except OSError as error:
        if "filter" in str(error) or "plugin" in str(error):
            raise CosliceError(
                f"{what} is packed with a filter that h5py lacks; install hdf5plugin and import it, or save the file "
                "without compression or with gzip."
            ) from error
        raise


def _never_written(item: Any) -> bool:
    """Whether a dataset has a shape and no values: HDF5 would give its fill value for all of them."""
    return not (item.is_virtual or item.external or item.id.get_storage_size()) and math.prod(item.shape) > 0


def _home(item: Any, path: Path) -> Path:
    """The file a dataset is in: `path`, or one beside it that `path` links to."""
    home, given = Path(item.file.filename).resolve(), path.resolve()
    if home == given:
        return path
    if given.parent not in home.parents:
        raise CosliceError(f"{path} links to {home} for {item.name}, but only files in its own folder are read.")
    return home


def _virtual(item: Any, path: Path) -> np.ndarray:
    """A dataset pieced together of others; where one is missing, HDF5 itself would fill in zeros without a word."""
    held = 0
    for source in item.virtual_sources():
        other = path if source.file_name == "." else path.parent / source.file_name
        if not other.is_file() or path.resolve().parent not in other.resolve().parents:
            raise CosliceError(
                f"{path} takes {item.name} from {source.file_name}, which is not in its own folder; copy it there."
            )
        held += other.stat().st_size
    check_promise(path, item.shape, item.dtype, held, DEFLATE)
    return item[()]


def _by_key(stored: Stored, key: np.ndarray, name: str, path: Path) -> Stored:
    """Projections, flat and dark fields that one array holds, taken apart."""
    if key.size != stored.data.shape[0]:
        raise CosliceError(
            f"{path} has {key.size} values in {name} for {stored.data.shape[0]} images, but needs one each; "
            "correct the file, or save its projections, flat and dark fields apart."
        )
    parts = [key == kind for kind in range(3)]
    views, flats, darks = (int(part.sum()) for part in parts)
    if not views:
        raise CosliceError(f"{path} has no projections: no image has 0 in {name}.")
    angles = stored.angles
    if angles is not None and len(angles) == key.size:
        angles = tuple(angle for angle, is_view in zip(angles, parts[0], strict=True) if is_view)
    left = key.size - views - flats - darks
    return replace(
        stored,
        data=stored.data[parts[0]],
        flat=stored.data[parts[1]] if flats else stored.flat,
        dark=stored.data[parts[2]] if darks else stored.dark,
        angles=angles,
        notes=stored.notes
        + (
            f"By {name}, {views} of {key.size} images are projections, {flats} flat and {darks} dark fields"
            + (f"; {left} are invalid and were left." if left else "."),
        ),
    )


def _near(file: Any, name: str, *wanted: str) -> str | None:
    """A dataset of one of these names in the group of `name`, or in a group around it."""
    group = name
    while group:
        group = group.rpartition("/")[0]
        for one in wanted:
            place = f"{group}/{one}".strip("/")
            if place != name and hasattr(file.get(place), "dtype"):
                return place
    return None


def _pixel(file: Any, name: str) -> tuple[float, float] | None:
    """(dv, du) in mm, where the file gives them with a unit."""
    found: list[float | None] = []
    for axis in "yx":
        words = (f"{axis}_pixel_size", f"pixel_size_{axis}", "pixel_size", "detector_pixel_size")
        rooms = ("", "instrument/detector/", "measurement/instrument/detector/", "detector/")
        place = _near(file, name, *(room + word for word in words for room in rooms))
        found.append(None if place is None else _length(file[place]))
    dv, du = found
    return None if dv is None or du is None else (dv, du)


def _length(item: Any) -> float | None:
    scale = _MM.get(_text(item, "units").strip().lower())
    if scale is None or item.dtype.kind not in "iuf" or item.size != 1:
        return None
    step = float(np.asarray(item[()]).reshape(())) * scale
    return step if math.isfinite(step) and step > 0 else None


def _order(item: Any) -> str | None:
    """The order that the attribute "axes" names, if it names views, rows and columns once each."""
    plain = ["".join(c for c in axis.lower() if c.isalnum()) for axis in _text(item, "axes").split(":")]
    letters = "".join(_AXES.get(axis, "?") for axis in plain)
    return letters if sorted(letters) == sorted("vrc") and len(item.shape) == 3 else None


def _text(item: Any, key: str) -> str:
    """An attribute of text, or ""."""
    value = item.attrs.get(key, "")
    if isinstance(value, np.ndarray) and value.size == 1:
        value = value.reshape(-1)[0]
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else value if isinstance(value, str) else ""


def _word(item: Any) -> str:
    return "text" if item.dtype.kind in "OSU" else item.dtype.name
