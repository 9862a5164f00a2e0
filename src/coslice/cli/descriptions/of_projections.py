"""Measured projections in words, with a scanner or without one.

Of a large recording a sample is looked at: a few views as they are for what the numbers are and how noisy, and views in
blocks of pixels for what depends on the geometry. The rotation axis is looked for in all views, in a few rows.
"""

from __future__ import annotations

import math
import shlex
from dataclasses import replace
from typing import Any

import numpy as np

from coslice.acquisition.counts import MeasuredLines
from coslice.acquisition.doubts import doubts
from coslice.acquisition.recorded_values import sample_of
from coslice.acquisition.reduction import Reduction
from coslice.acquisition.rotation_axis import axis_column, with_axis
from coslice.cli.descriptions.description import Description, by, number
from coslice.cli.descriptions.looked_at import Sample, blocks_to_look_at, likely_water, sample_as_it_is
from coslice.cli.descriptions.of_arrays import arrays_description
from coslice.cli.descriptions.of_scanners import (
    Voxels,
    scanner_entries,
    scanner_facts,
    shortest_geometry,
    stored_entries,
    usual_voxels,
)
from coslice.cli.measurements import ProjectionFiles, opened
from coslice.errors import CosliceError
from coslice.geometry import Geometry, Orbit
from coslice.io.geometry_files import ScannerFile
from coslice.io.recordings import Recording, read_recording
from coslice.problems import Stated
from coslice.problems.projections import Taken, take

__all__ = ["projections_description"]


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
        listed = arrays_description(files, error)
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
        name = str(self.files.recording)
        told = [("The shortest geometry file, geometry.json", shortest_geometry(recording))]
        command = f"coslice inspect {shlex.quote(name)} --geometry geometry.json{self._options()}"
        told.append(("Then", command))
        if recording.angles is not None:
            told.append(
                ("Or, if the beam is parallel", f"coslice inspect {shlex.quote(name)} --beam parallel{self._options()}")
            )

        def picture() -> bytes:
            from coslice.report.inspection import projections_picture

            views, rows, columns = recording.data.shape
            row = rows // 2
            if sample is None:
                view, title = np.asarray(recording.data[0], np.float32), "as stored"
                sinogram = np.asarray(recording.data[:, row], np.float32)
            else:
                view, title = sample.measured.lines[0], "line integrals"
                sinogram = sample.measured.lines[:, row]
            return projections_picture(view, sinogram, (0, rows - 1), (0, columns - 1), views, title=title)

        return Description(
            f"{self.files.recording.name}: measured projections, whose geometry is not known",
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
        fewer = usual_voxels(geometry, stated.grid, scanner.grid, stated.detector.binning)
        if fewer.size is not None:
            stated = replace(stated, grid=replace(stated.grid, size=fewer.size))
            self.stated = stated
            self.doubts.append(("warning", f"{fewer.problem} What follows is for --size {fewer.size}."))
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
            rows=_range(stated.detector.rows, geometry.detector[0], scanner.flip_rows),
            columns=_range(stated.detector.columns, geometry.detector[1], scanner.flip_columns),
        )
        try:
            kept = reduction.geometry(geometry)
            voxels = usual_voxels(kept, stated.grid, scanner.grid, stated.detector.binning)
        except CosliceError as error:
            kept, voxels = geometry, Voxels(None, problem=str(error))
        if voxels.problem and ("grave", voxels.problem) not in self.doubts:
            self.doubts.append(("grave", voxels.problem))
        entries += [*scanner_entries(kept, voxels, scanner.flip_columns), *stored_entries(scanner)]
        if taken is not None:
            axis = taken.axis
            if axis is not None and not isinstance(taken.geometry, Orbit):
                axis = replace(axis, column=axis_column(taken.geometry))  # in pixels of this sample, which has it there
            told = doubts(taken.lines, taken.geometry, taken.grid, axis)
            self.doubts += [(one.severity, one.sentence) for one in told]
            entries += self._water(taken)
        entries += [("Remarks", note) for note in (*self.recording.notes, *scanner.notes)]
        order = ("grave", "warning", "note")
        self.doubts.sort(key=lambda doubt: order.index(doubt[0]))
        options = self._options(typed, axisymmetric=stated.axisymmetric)
        command = f"coslice reconstruct {shlex.quote(str(self.files.recording))}{options} --out out/"
        return Description(
            f"{self.files.recording.name}: measured projections ({scanner.format})",
            tuple(entries),
            self.facts | {"scanner": {"format": scanner.format, **scanner_facts(kept, voxels)}},
            tuple(self.doubts),
            ((_purpose(self.doubts), command),),
            lambda: self._picture(taken, scanner, geometry, voxels, axes),
        )

    def _entries(self, sample: Sample | None) -> list[tuple[str, str]]:
        recording = self.recording
        views, rows, columns = recording.data.shape
        kind = recording.data.dtype.name
        some = sample_of(recording.data)
        finite = some[np.isfinite(some)]
        range_ = f", {number(float(finite.min()), 6)} to {number(float(finite.max()), 6)}" if finite.size else ""
        many = "views" if views > 1 else "view"
        entries = [("Recording", f"{views} {many} of {rows} x {columns} pixels (rows x columns), {kind}{range_}.")]
        fields = [
            f"{1 if field.ndim == 2 else len(field)} {word} field{'s' if field.ndim > 2 and len(field) > 1 else ''}"
            for word, field in (("flat", recording.flat), ("dark", recording.dark))
            if field is not None
        ]
        entries.append(("Fields", f"With {' and '.join(fields)}." if fields else "No flat and no dark field."))
        if recording.angles is not None and self.files.geometry is None and self.files.beam is None:
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

    def _sample(self, white: float | None) -> Sample | None:
        """Some views, all of a small recording; None where their values cannot be made line integrals."""
        try:
            return sample_as_it_is(self.recording, self.stated, white)
        except CosliceError as error:
            self.doubts.append(("grave", str(error)))
            return None

    def _taken(self, scanner: ScannerFile, stated: Stated) -> Taken | None:
        """Line integrals in blocks, with the axis where it is found; None where there are none."""
        if any(severity == "grave" for severity, _ in self.doubts):
            return None
        _, rows, columns = scanner.geometry.detector[0], *scanner.geometry.detector
        views, binning = blocks_to_look_at(len(self.recording.data), rows, columns)
        few = replace(stated, detector=replace(stated.detector, binning=binning or stated.detector.binning))
        if not stated.axisymmetric and views < scanner.geometry.views:
            few = replace(few, views=views)
            notes = f"{views} of the views" + (f" in blocks of {by(binning)} pixels" if binning else "")
            self.facts["sample"] = notes
        reason = ""
        turning = not isinstance(scanner.geometry, Orbit) and scanner.geometry.views >= 3 and columns >= 8
        for axis in ("find", stated.axis if stated.axis != "find" else None) if turning else (None,):
            try:
                return take(self.recording, scanner, replace(few, axis=axis))
            except CosliceError as error:
                reason = str(error)
        self.doubts.append(("grave", reason))
        return None

    def _axis(self, taken: Taken, scanner: ScannerFile, stated: Stated, given: float) -> tuple[float | None, str]:
        """The column along +u where the axis clearly is elsewhere, else None; and what is said of it."""
        axis = taken.axis
        assert axis is not None
        last = scanner.geometry.detector[1] - 1
        first = _range(stated.detector.columns, last + 1, scanner.flip_columns)
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
        apart = column - given  # which is no doubt where it was asked for
        how = "opposite views match" if axis.sure else "from the centre of mass of the views"
        found = f"found at column {stored:.1f} of 0..{last} ({how}, to about {axis.uncertainty:.2g} columns)"
        if abs(apart) <= max(0.5, 3 * axis.uncertainty):
            return (
                None,
                f"The axis of rotation is where the geometry has it, column {_stored(given, scanner):.1f}: {found}.",
            )
        source = "as given" if isinstance(stated.axis, float | int) else "in the geometry"
        sentence = (
            f"The axis of rotation was {found}, {abs(apart):.1f} columns from where it is {source} "
            f"({_stored(given, scanner):.1f}): off-centre, everything comes out doubled or blurred. Type "
            f"--rotation-axis {stored:.1f}, or --rotation-axis find."
        )
        if stated.axis != "find":
            self.doubts.append(("grave" if abs(apart) > 2 else "warning", sentence))
        return column, f"Taken at column {stored:.1f} in what follows, where it was found."

    def _water(self, taken: Taken) -> list[tuple[str, str]]:
        """What may be water in a first reconstruction, where its attenuation is like that of water."""
        mu = likely_water(taken)
        if mu is None:
            return []
        self.facts["water_per_mm"] = mu
        sentence = (
            f"The commonest matter attenuates {mu:.3g} 1/mm, as water does of X-rays of 30 to 150 keV: if it is water "
            f"or soft tissue, --water find, or --water {mu:.3g}, gives HU."
        )
        return [("Water", sentence)]

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
            ("rows", stated.detector.rows and _interval(stated.detector.rows)),
            ("columns", stated.detector.columns and _interval(stated.detector.columns)),
            ("binning", stated.detector.binning and ",".join(map(str, stated.detector.binning))),
            ("size", stated.grid.size),
            ("spacing", stated.grid.spacing),
        ):
            if value is not None:
                words += [f"--{name}", f"{value:g}" if isinstance(value, float) else str(value)]
        words += [*more, *(["--axisymmetric"] if axisymmetric else [])]
        return f" {shlex.join(words)}" if words else ""

    def _picture(
        self,
        taken: Taken | None,
        scanner: ScannerFile,
        geometry: Geometry,
        voxels: Voxels,
        axes: list[tuple[str, float]],
    ) -> bytes:
        from coslice.report.inspection import projections_picture, scanner_picture

        if taken is None:
            return scanner_picture(geometry, voxels.grid)
        stated, (rows, columns) = self.stated, geometry.detector
        first = [
            _range(kept, count, flipped) or (0, count)
            for kept, count, flipped in (
                (stated.detector.rows, rows, scanner.flip_rows),
                (stated.detector.columns, columns, scanner.flip_columns),
            )
        ]
        spans = [(low, high - 1) for low, high in first]
        middle = taken.lines.shape[1] // 2
        return projections_picture(
            taken.lines[0], taken.lines[:, middle], spans[0], spans[1], geometry.views, axes, geometry, voxels.grid
        )


def _purpose(doubts: list[tuple[str, str]]) -> str:
    """What the command is for, where it will not do yet."""
    open_ = [sentence for severity, sentence in doubts if severity == "grave" and "--rotation-axis" not in sentence]
    return "To reconstruct it, once what is marked !! is settled" if open_ else "To reconstruct it"


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
