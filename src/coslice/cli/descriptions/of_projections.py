"""Measured projections in words, with a scanner or without one.

Of a large recording a sample is looked at: a few views as they are for what the numbers are and how noisy, and views in
blocks of pixels for what depends on the geometry. The rotation axis is looked for in all views, in a few rows.
"""

from __future__ import annotations

import json
import math
import shlex
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from coslice.acquisition.counts import MeasuredLines, line_integrals_from
from coslice.acquisition.doubts import doubts
from coslice.acquisition.recorded_values import sample_of
from coslice.acquisition.reduction import Reduction
from coslice.acquisition.rotation_axis import axis_column, with_axis
from coslice.acquisition.scale import found_water
from coslice.acquisition.trust import Trust, measured_trust
from coslice.cli.descriptions.description import Description, by, number
from coslice.cli.descriptions.of_scanners import (
    Voxels,
    scanner_entries,
    scanner_facts,
    stored_entries,
    usual_voxels,
)
from coslice.cli.measurements import ProjectionFiles, opened
from coslice.errors import CosliceError
from coslice.geometry import Geometry, Orbit
from coslice.io.geometry_files import ScannerFile
from coslice.io.recordings import Recording, dataset_names, read_recording
from coslice.problems import Stated
from coslice.problems.measured_grid import chosen_slices
from coslice.problems.projections import Taken, first_reconstruction, take

__all__ = ["projections_description"]

_AS_THEY_ARE = 12_000_000  # values that are looked at one by one
_IN_BLOCKS = 12_000_000  # likewise in blocks of pixels
_READ = 300_000_000  # that are read for those
_LEAST_VIEWS, _LEAST_COLUMNS = 48, 192
_MIDDLE = 8  # rows, and slices, of the reconstruction that water is looked for in
_WATER = (0.0145, 0.038)
"""Attenuation of water from 150 to 30 keV, 1/mm (Hubbell and Seltzer, NIST tables of X-ray mass attenuation)."""


def projections_description(files: ProjectionFiles, stated: Stated, one_view: bool = False) -> Description:
    """A recording, alone or with the scanner that it was measured by.

    Args:
        files: their names.
        stated: what the user says of them.
        one_view: whether its one view stands for all.

    Raises:
        CosliceError: a recording that cannot be read; a geometry that cannot be.
    """
    try:
        recording = read_recording(
            files.recording, flat=files.flat, dark=files.dark, dataset=files.dataset, order=files.order
        )
    except CosliceError as error:
        listed = _listing(files, error)
        if listed is None:
            raise
        return listed
    said = _Said(files, recording, stated)
    if files.geometry is None and files.beam is None:
        return said.alone()
    one_view = one_view or (len(recording.data) == 1 and files.geometry is not None)
    try:
        recording, scanner = opened(files, one_view)
    except CosliceError as error:
        said.doubts.append(("grave", str(error)))
        return said.alone()
    said.recording = recording
    if one_view and not stated.axisymmetric and scanner.geometry.views > 1:
        sentence = (
            f"The recording has one view and the geometry {scanner.geometry.views}: it can only be reconstructed where "
            "the one view stands for all, as of an object that is the same all around; say --axisymmetric then."
        )
        said.doubts.append(("warning", sentence))
    return said.with_scanner(scanner, replace(stated, axisymmetric=one_view and scanner.geometry.views > 1))


def _listing(files: ProjectionFiles, error: CosliceError) -> Description | None:
    """The arrays of a file of many, where none was named and none could be chosen."""
    if files.dataset is not None or files.recording.is_dir():
        return None
    try:
        arrays = dataset_names(files.recording)
    except CosliceError:
        return None
    if len(arrays) < 2:
        return None
    name = files.recording.name
    images = [one for one in arrays if sum(side > 1 for side in one.shape) > 1]
    typed = "\n".join(shlex.join(["coslice", "inspect", name, "--dataset", one.name]) for one in images[:8])
    return Description(
        f"{name}: a file of {len(arrays)} arrays",
        tuple(("Array", f"{one}.") for one in arrays),
        {
            "kind": "arrays",
            "arrays": [{"name": one.name, "shape": list(one.shape), "type": one.dtype} for one in arrays],
        },
        (("warning", str(error)),),
        (("To look at one of them", typed),) if typed else (),
    )


@dataclass(frozen=True, eq=False)
class _Sample:
    """Some views as they are."""

    views: tuple[int, ...]
    measured: MeasuredLines
    trust: Trust


class _Said:
    """What is said of a recording."""

    def __init__(self, files: ProjectionFiles, recording: Recording, stated: Stated) -> None:
        self.files, self.recording, self.stated = files, recording, stated
        self.doubts: list[tuple[str, str]] = []
        self.facts: dict[str, Any] = {"kind": "projections"}

    def alone(self) -> Description:
        """Without a geometry."""
        recording = self.recording
        sample = self._sample(self.stated.white)
        entries = [*self._entries(sample), *(("Remarks", note) for note in recording.notes)]
        entries.append(("Geometry", self._missing()))
        name = self.files.recording.name
        told = [("The shortest geometry file, geometry.json", _shortest(recording))]
        command = f"coslice inspect {shlex.quote(name)} --geometry geometry.json{self._options()}"
        told.append(("Then", command))
        if recording.angles is not None:
            told.append(
                ("Or, if the beam is parallel", f"coslice inspect {shlex.quote(name)} --beam parallel{self._options()}")
            )

        def picture() -> bytes:
            from coslice.report.inspection import projections_picture

            row = recording.data.shape[1] // 2
            if sample is None:
                view, title = np.asarray(recording.data[0], np.float32), "as stored"
                sinogram = np.asarray(recording.data[:, row], np.float32)
            else:
                view, title = sample.measured.lines[0], "line integrals"
                sinogram = sample.measured.lines[:, row]
            return projections_picture(view, sinogram, (0, recording.data.shape[2] - 1), row, title=title)

        return Description(
            f"{name}: measured projections, whose geometry is not known",
            tuple(entries),
            self.facts,
            tuple(self.doubts),
            tuple(told),
            picture,
        )

    def with_scanner(self, scanner: ScannerFile, stated: Stated) -> Description:
        """With a geometry."""
        white = stated.white if stated.white is not None or self.recording.flat is not None else scanner.white
        entries = self._entries(self._sample(white))
        geometry = scanner.geometry
        taken = self._taken(scanner, stated)
        typed: list[str] = []
        axes: list[tuple[str, float]] = []
        if not isinstance(geometry, Orbit):
            given = axis_column(geometry) if not isinstance(stated.axis, float | int) else stated.axis
            if isinstance(stated.axis, float | int) and scanner.flip_columns:
                given = geometry.detector[1] - 1 - given
            axes.append(("axis as given", given))
            geometry = with_axis(geometry, given)
            if taken is not None and taken.axis is not None:
                found, words = self._axis(taken, scanner, stated, given)
                entries.append(("Axis", words))
                if found is not None:
                    axes.append(("axis as found", found))
                    geometry = with_axis(geometry, found)
                    typed = ["--rotation-axis", f"{_stored(found, scanner):.1f}"]
        reduction = Reduction(
            rows=_range(stated.rows, geometry.detector[0], scanner.flip_rows),
            columns=_range(stated.columns, geometry.detector[1], scanner.flip_columns),
        )
        try:
            kept = reduction.geometry(geometry)
            voxels = usual_voxels(kept, stated.grid, scanner.grid, stated.binning)
        except CosliceError as error:
            kept, voxels = geometry, Voxels(None, problem=str(error))
        if voxels.problem:
            self.doubts.append(("grave", voxels.problem))
        entries += [*scanner_entries(kept, voxels), *stored_entries(scanner)]
        if taken is not None:
            self.doubts += [(one.severity, one.sentence) for one in doubts(taken.lines, taken.geometry, taken.grid)]
            entries += self._water(taken)
        entries += [("Remarks", note) for note in (*self.recording.notes, *scanner.notes)]
        order = ("grave", "warning", "note")
        self.doubts.sort(key=lambda doubt: order.index(doubt[0]))
        options = self._options(typed, axisymmetric=stated.axisymmetric)
        command = f"coslice reconstruct {shlex.quote(self.files.recording.name)}{options} --out out/"
        return Description(
            f"{self.files.recording.name}: measured projections ({scanner.format})",
            tuple(entries),
            self.facts | {"scanner": {"format": scanner.format, **scanner_facts(kept, voxels)}},
            tuple(self.doubts),
            (("To reconstruct it", command),),
            lambda: self._picture(taken, geometry, voxels, axes),
        )

    def _entries(self, sample: _Sample | None) -> list[tuple[str, str]]:
        recording = self.recording
        views, rows, columns = recording.data.shape
        kind = recording.data.dtype.name
        some = sample_of(recording.data)
        finite = some[np.isfinite(some)]
        range_ = f", {number(float(finite.min()), 6)} to {number(float(finite.max()), 6)}" if finite.size else ""
        entries = [("Recording", f"{views} view{'s' if views > 1 else ''} of {rows} x {columns} pixels (rows x columns), {kind}{range_}.")]
        fields = [
            f"{1 if field.ndim == 2 else len(field)} {word} field{'s' if field.ndim > 2 and len(field) > 1 else ''}"
            for word, field in (("flat", recording.flat), ("dark", recording.dark))
            if field is not None
        ]
        entries.append(("Fields", f"With {' and '.join(fields)}." if fields else "No flat and no dark field."))
        if recording.angles is not None and self.files.geometry is None:
            ends = (math.degrees(recording.angles[0]), math.degrees(recording.angles[-1]))
            entries.append(("Angles", f"The file has them: {ends[0]:.4g} to {ends[1]:.4g} degrees."))
        self.facts |= {
            "shape": [views, rows, columns],
            "type": kind,
            "flat_fields": None if recording.flat is None else len(recording.flat),
            "dark_fields": None if recording.dark is None else len(recording.dark),
            "pixel_mm": None if recording.pixel is None else list(recording.pixel),
            "values": None,
        }
        if sample is None:
            return entries
        if len(sample.views) < views:
            entries.append(("Sample", f"What follows of values is from {len(sample.views)} of the views."))
        self.facts |= {
            "values": sample.measured.values,
            "noise": sample.trust.deviation,
            "photons": sample.trust.photons if math.isfinite(sample.trust.photons) else None,
        }
        entries.append(("Values", f"{_KINDS[sample.measured.values]}{self._because(sample.measured)}"))
        entries += [("Values", note) for note in sample.measured.notes]
        entries += [("Noise", note) for note in sample.trust.notes]
        return entries

    def _because(self, measured: MeasuredLines) -> str:
        """Why they are taken for what they are, where no note of the measurement says it."""
        if self.stated.values is not None:
            return ", as said."
        if measured.values == "counts":
            beam = "flat fields" if self.recording.flat is not None else "the white level"
            return f", since {beam} came with them; the logarithm was not taken yet."
        if self.recording.logged:
            return ", as the file says."
        return "."

    def _sample(self, white: float | None) -> _Sample | None:
        """Some views, all of a small recording; None where their values cannot be made line integrals."""
        data = self.recording.data
        count = min(len(data), max(2, _AS_THEY_ARE // (data.shape[1] * data.shape[2])))
        views = tuple(np.unique(np.linspace(0, len(data) - 1, count).round().astype(int)).tolist())
        some = data if count == len(data) else data[list(views)]
        flat, dark = self.recording.flat, self.recording.dark
        try:
            measured = line_integrals_from(
                some,
                flat,
                dark,
                white=None if flat is not None and self.stated.white is None else white,
                values=self.stated.values,
                logged=self.recording.logged,
                repair=self.stated.repair,
            )
            return _Sample(views, measured, measured_trust(measured, flat, dark, self.stated.photons))
        except CosliceError as error:
            self.doubts.append(("grave", str(error)))
            return None

    def _taken(self, scanner: ScannerFile, stated: Stated) -> Taken | None:
        """Line integrals in blocks, with the axis where it is found; None where there are none."""
        if any(severity == "grave" for severity, _ in self.doubts):
            return None
        _, rows, columns = scanner.geometry.detector[0], *scanner.geometry.detector
        views, binning = _blocks(len(self.recording.data), rows, columns)
        few = replace(stated, binning=binning or stated.binning)
        if not stated.axisymmetric and views < scanner.geometry.views:
            few = replace(few, views=views)
            notes = f"{views} of the views" + (f" in blocks of {by(binning)} pixels" if binning else "")
            self.facts["sample"] = notes
        turning = not isinstance(scanner.geometry, Orbit) and scanner.geometry.views >= 3 and columns >= 8
        for axis in ("find", stated.axis if stated.axis != "find" else None) if turning else (None,):
            try:
                return take(self.recording, scanner, replace(few, axis=axis))
            except CosliceError as error:
                reason = str(error)
        self.doubts.append(("grave", reason))
        return None

    def _axis(
        self, taken: Taken, scanner: ScannerFile, stated: Stated, given: float
    ) -> tuple[float | None, str]:
        """The column along +u where the axis clearly is elsewhere, else None; and what is said of it."""
        axis = taken.axis
        assert axis is not None
        last = scanner.geometry.detector[1] - 1
        first = _range(stated.columns, last + 1, scanner.flip_columns)
        column = axis.column + (first[0] if first else 0)
        stored = _stored(column, scanner)
        self.facts["axis"] = {
            "given_column": _stored(given, scanner),
            "found_column": stored if math.isfinite(axis.uncertainty) else None,
            "uncertainty": axis.uncertainty if math.isfinite(axis.uncertainty) else None,
            "sure": axis.sure,
        }
        if not math.isfinite(axis.uncertainty):
            return None, axis.notes[0]
        apart = column - given
        how = "opposite views match" if axis.sure else "from the centre of mass of the views"
        found = f"found at column {stored:.1f} of 0..{last} ({how}, to about {axis.uncertainty:.2g} columns)"
        if abs(apart) <= max(0.5, 3 * axis.uncertainty):
            return None, f"The axis of rotation is where the geometry has it, column {_stored(given, scanner):.1f}: {found}."
        source = "as given" if isinstance(stated.axis, float | int) else "in the geometry"
        sentence = (
            f"The axis of rotation was {found}, {abs(apart):.1f} columns from where it is {source} "
            f"({_stored(given, scanner):.1f}): off-centre, everything comes out doubled or blurred. Type "
            f"--rotation-axis {stored:.1f}, or --rotation-axis find."
        )
        self.doubts.append(("grave" if abs(apart) > 2 else "warning", sentence))
        return column, f"Taken at column {stored:.1f} in what follows, where it was found."

    def _water(self, taken: Taken) -> list[tuple[str, str]]:
        """What may be water in a first reconstruction, where its attenuation is like that of water."""
        if taken.geometry.views < 8 or isinstance(taken.geometry, Orbit):
            return []
        try:
            water = found_water(first_reconstruction(_middle(taken)))
        except CosliceError:
            return []
        mu = water.scale.water
        if not _WATER[0] <= mu <= _WATER[1] or water.certainty < 0.6:
            return []
        self.facts["water_per_mm"] = mu
        return [
            (
                "Water",
                f"The commonest matter attenuates {mu:.3g} 1/mm, as water does of X-rays from 30 to 150 keV: if it is "
                f"water or soft tissue, --water find, or --water {mu:.3g}, gives HU.",
            )
        ]

    def _missing(self) -> str:
        recording = self.recording
        known = [
            word
            for word, value in (("its angles", recording.angles), ("the size of its pixels", recording.pixel))
            if value is not None
        ]
        has = f" The file has {' and '.join(known)}." if known else ""
        lacking = "where the source, the axis and the detector stand"
        lacking += "" if recording.angles is not None else ", the angles of the views"
        lacking += "" if recording.pixel is not None else ", and how large its pixels are"
        return f"Not known: {lacking}.{has} Give --geometry: the scanner's own file, or the JSON below."

    def _options(self, more: list[str] | None = None, axisymmetric: bool = False) -> str:
        """What was said of the files, as one would type it again; what is found goes before what was said."""
        files, stated, more = self.files, self.stated, more or []
        words: list[str] = []
        for name, value in (
            ("geometry", files.geometry),
            ("beam", files.beam),
            ("flat", files.flat),
            ("dark", files.dark),
            ("dataset", files.dataset),
            ("order", files.order),
            ("pixel", files.pixel and ",".join(f"{mm:g}" for mm in files.pixel)),
            ("white", stated.white),
            ("values", stated.values),
            ("rotation-axis", stated.axis if not more else None),
            ("rows", stated.rows and _interval(stated.rows)),
            ("columns", stated.columns and _interval(stated.columns)),
            ("binning", stated.binning and ",".join(map(str, stated.binning))),
            ("size", stated.grid.size),
            ("spacing", stated.grid.spacing),
        ):
            if value is not None:
                words += [f"--{name}", f"{value:g}" if isinstance(value, float) else str(value)]
        words += [*more, *(["--axisymmetric"] if axisymmetric else [])]
        return f" {shlex.join(words)}" if words else ""

    def _picture(
        self, taken: Taken | None, geometry: Geometry, voxels: Voxels, axes: list[tuple[str, float]]
    ) -> bytes:
        from coslice.report.inspection import projections_picture, scanner_picture

        if taken is None:
            return scanner_picture(geometry, voxels.grid)
        rows = taken.lines.shape[1]
        first = _range(self.stated.columns, geometry.detector[1], False) or (0, geometry.detector[1])
        return projections_picture(
            taken.lines[0],
            taken.lines[:, rows // 2],
            (first[0], first[1] - 1),
            rows // 2,
            axes,
            geometry,
            voxels.grid,
        )


_KINDS = {"counts": "Counts", "transmission": "Transmission", "lines": "Line integrals"}


def _stored(column: float, scanner: ScannerFile) -> float:
    """A column along +u as the file counts it, or the other way round."""
    return scanner.geometry.detector[1] - 1 - column if scanner.flip_columns else column


def _range(kept: tuple[int | None, int | None] | None, count: int, flipped: bool) -> tuple[int, int] | None:
    if kept is None:
        return None
    first, last = kept[0] or 0, count if kept[1] is None else kept[1]
    return (count - last, count - first) if flipped else (first, last)


def _interval(kept: tuple[int | None, int | None]) -> str:
    return ":".join("" if end is None else str(end) for end in kept)


def _blocks(views: int, rows: int, columns: int) -> tuple[int, tuple[int, int] | None]:
    """How many views to look at, and the (rows, columns) of a block; None for pixels as they are."""
    views = min(views, max(_LEAST_VIEWS, _READ // (rows * columns)))
    block = 1
    while views * math.ceil(rows / block) * (columns // block) > _IN_BLOCKS and columns // (block + 1) >= _LEAST_COLUMNS:
        block += 1
    views = min(views, max(_LEAST_VIEWS, _IN_BLOCKS // (math.ceil(rows / block) * (columns // block))))
    return views, None if block == 1 else (min(block, rows), block)


def _middle(taken: Taken) -> Taken:
    """A few rows in the middle of the detector and the slices there."""
    geometry, grid = taken.geometry, taken.grid
    assert not isinstance(geometry, Orbit)
    nearest = int(np.abs(geometry.v()).argmin())
    first = max(0, min(nearest - _MIDDLE // 2, geometry.detector[0] - _MIDDLE))
    few = Reduction(rows=(first, min(geometry.detector[0], first + _MIDDLE)))
    height = grid.axis("z")
    middle = int(np.abs(height - float(np.mean(few.geometry(geometry).v()))).argmin())
    low = max(0, min(middle - _MIDDLE // 2, grid.shape[0] - _MIDDLE))
    return replace(
        taken,
        lines=np.asarray(taken.lines)[:, slice(*(few.rows or (0, None)))],
        geometry=few.geometry(geometry),
        grid=chosen_slices(grid, (low, min(grid.shape[0], low + _MIDDLE))),
    )


def _shortest(recording: Recording) -> str:
    """The JSON that is missing, with what is known filled in and "?" for what is not."""
    values: dict[str, Any] = {"type": "cone"}
    if recording.angles is None:
        values["angles_deg"] = {"start": 0, "arc": 360}
    if recording.pixel is None:
        values["pixel_mm"] = ["?", "?"]
    values |= {"source_axis_mm": "?", "source_detector_mm": "?", "rotation": "counterclockwise"}
    return json.dumps(values)


