"""A scan in words: NIfTI, or the series of a folder of DICOM files."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

import numpy as np
import torch

from coslice.axes import AXES, PLANES, axis_number
from coslice.cli.descriptions.description import Description, by, number
from coslice.cli.opening import OpenedScan, open_scan
from coslice.errors import CosliceError
from coslice.geometry import Grid
from coslice.io.dicom import Series, find_series, is_dicom
from coslice.io.dicom.dicom_files import read_dataset
from coslice.io.dicom.headers import quiet
from coslice.methods import default_method, find_method, usual_priors
from coslice.priors import read_card
from coslice.priors.suitability import remarks_for_card, remarks_on_brightness
from coslice.problems import from_thick_slices, modality_of, thick_axis
from coslice.values import parse_values, reading_of, remarks_for_scan, settle
from coslice.volume import Volume, shears
from coslice.window import CT_WINDOW, Window, scan_window

__all__ = ["scan_description"]

_THICK = 1.5  # spacings that differ less make cubes by no whole factor
_APART_MM = 0.01
_FEW = 16  # voxels along an axis that stand for all where only spacings matter


def scan_description(path: Path, series: str | None = None, values: str | None = None) -> Description:
    """A NIfTI file, a DICOM file or a folder of them.

    Args:
        path: of the file or folder.
        series: which of several DICOM series.
        values: what the user says of the numbers, see `coslice.values.parse_values`.

    Raises:
        CosliceError: nothing in it can be read.
    """
    listed: list[Series] = []
    notes: tuple[str, ...] = ()
    if path.is_dir() or is_dicom(path):
        listed, notes = find_series(path)
    said = [("Series", _series_words(one, path if len(listed) > 1 else None)) for one in listed]
    facts: dict[str, Any] = {"kind": "DICOM" if listed else "scan"}
    if listed:
        facts["series"] = [_series_facts(one) for one in listed]
    try:
        opened = open_scan(path, series)
    except CosliceError as error:
        if not listed or series is not None:
            raise
        some = sum(one.stack is not None for one in listed)
        choice = (
            f"{some} of them make a volume: one is chosen with --series, by number, UID or words of its description."
        )
        return Description(
            f"{path.name}: DICOM, {len(listed)} series",
            (*said, *(("Remarks", note) for note in notes)),
            facts,
            (("warning", choice) if some > 1 else ("grave", str(error)),),
            _choice(path, listed),
        )
    kind = "a NIfTI scan" if opened.dicom is None else f"DICOM, {len(listed)} series"
    if opened.dicom is not None and len(listed) > 1:
        said.append(("Read", opened.dicom.series.listing))
    found = _Scan(path, opened, values)
    return Description(
        f"{path.name}: {kind}",
        (*said, *found.entries, *(("Remarks", remark) for remark in opened.remarks)),
        facts | found.facts,
        tuple(found.doubts),
        found.advice(series),
        found.picture,
    )


class _Scan:
    """What is said of one scan."""

    def __init__(self, path: Path, opened: OpenedScan, values: str | None) -> None:
        self.path, self.opened, self.stated = path, opened, values
        self.doubts: list[tuple[str, str]] = []
        self.if_ct = ""
        volume = opened.volume
        self.facts: dict[str, Any] = {
            "shape": list(volume.shape),
            "spacing_mm": list(volume.spacing),
            "orientation": "".join(volume.orientation),
        }
        self.entries: list[tuple[str, str]] = [("Voxels", _voxels(volume)), ("Place", self._place(volume))]
        self.volume, self.modality = self._values(volume)
        self.window = self._window()
        self.thick = self._thick()
        self._prior()

    def advice(self, series: str | None) -> tuple[tuple[str, str], ...]:
        words = ["coslice", "reconstruct", str(self.path)]
        words += [] if series is None else ["--series", series]
        words += [] if self.stated is None else ["--values", self.stated]
        if self.thick is not None:
            purpose = "To make its slices thin"
            words += ["--task", "zsr", "--from-measurement"]
        elif self.modality == "ct":
            purpose = "To reconstruct it from simulated views and compare"
        else:
            purpose = "To reconstruct it from simulated thick slices and compare"
            words += ["--task", "zsr"]
        told = ((purpose, shlex.join([*words, "--out", "out/"])),)
        if self.if_ct:
            command = ["coslice", "inspect", str(self.path), "--values", self.if_ct]
            told += (("If it is a CT", shlex.join(command)),)
        return told

    def picture(self) -> bytes:
        from coslice.report.inspection import scan_picture

        return scan_picture(self.volume, self.window, self.path.name)

    def _place(self, volume: Volume) -> str:
        """Where it is along z, and how the file has it."""
        last = volume.shape[0] - 1
        middle = [(n - 1) / 2 for n in volume.shape[::-1]]
        low, high = (float((volume.affine @ (*middle[:2], k, 1))[2]) for k in (0, last))
        words = (
            f"z runs from {low:.2f} mm (feet) to {high:.2f} mm (head), from the first slice's centre to the last's. "
        )
        if self.opened.dicom is None:
            order = "".join(volume.orientation)
            fastest = {"S": "feet", "I": "head"}[next(letter for letter in order if letter in "SI")]
            words += (
                f"The file's axes run towards {order} ({', '.join(_SIDES[letter] for letter in order)}), so it begins "
                f"at the {fastest}."
            )
        else:
            words += f"The slices are {_plane(self.opened.dicom.along)}."
        oblique = np.degrees(np.arccos(np.clip(np.abs(np.diag(volume.directions)), 0, 1)).max())
        if oblique > 0.1:
            words += f" Its axes are oblique, by up to {oblique:.1f} degrees against the patient's."
        if shears(volume.affine):
            self.doubts.append(("warning", "The axes are not at right angles, as of a tilted gantry."))
        self._two_places(volume)
        return words

    def _two_places(self, volume: Volume) -> None:
        """What sform and qform say differently."""
        if volume.qform is None or self.opened.dicom is not None:
            return
        corners = np.array([[*(np.array(at) * (np.array(volume.shape[::-1]) - 1)), 1] for at in np.ndindex(2, 2, 2)])
        apart = float(np.linalg.norm(((volume.affine - volume.qform) @ corners.T)[:3], axis=0).max())
        self.facts["qform_apart_mm"] = apart
        if apart > _APART_MM:
            sentence = (
                f"sform (code {volume.space_code}) and qform (code {volume.qform_code}) place the scan up to "
                f"{apart:.4g} mm apart; sform is used, both are kept in what is written, and programs that look at "
                "qform first, as those built on ITK, show it elsewhere."
            )
            self.doubts.append(("warning", sentence))

    def _values(self, volume: Volume) -> tuple[Volume, str]:
        """The scan in the unit of its task, and "ct", "mr" or ""."""
        found = reading_of(volume)
        self.facts["values"] = {
            "low": found.low,
            "high": found.high,
            "looks_like": found.verdict,
            "hounsfield": found.hu,
        }
        stated = self.opened.modality
        if stated is not None and stated.lower() not in ("ct", "mr"):
            self.doubts.append(("warning", f"The files say that it is of modality {stated}; coslice knows CT and MR."))
            stated = None
        guessed, _ = modality_of(volume, stated)
        modality = (stated or ("ct" if found.ct or found.hu else guessed)).lower()
        range_ = f"{number(found.low, 6)} to {number(found.high, 6)}"
        spread = ", ".join(f"{number(float(v), 4)}" for v in np.percentile(volume.data.numpy(), (1, 50, 99)))
        who = {"ct": "a CT", "mr": "an MR scan", "": "a CT or an MR scan, which nothing says"}[modality]
        self.entries.append(
            (
                "Values",
                f"{range_} (1, 50 and 99 % of the voxels are below {spread}): {who}; they look like {found.verdict}.",
            )
        )
        self.facts["modality"] = modality or None
        try:
            settled = settle(volume, modality, parse_values(self.stated) if self.stated else None, self.path.name)
        except CosliceError as error:
            self.doubts.append(("grave", str(error)))
            return volume, modality
        self.entries += [("Values", remark) for remark in settled.remarks]
        if not modality and found.verdict.startswith(("a mask", "a label map")):
            self.doubts.append(("grave", f"It looks like {found.verdict}, which is no image to reconstruct."))
        elif not modality and found.statement not in ("hu", "A:B=C:D"):
            said = "Nothing says whether it is a CT or an MR scan; if it is a CT, say what its numbers are: --values "
            self.doubts.append(("warning", f"{said}{found.statement}, where that is so."))
            self.if_ct = found.statement
        return settled.scan, modality

    def _window(self) -> Window:
        data = self.volume.data
        if self.modality == "ct":
            window = CT_WINDOW
        elif float(data.max()) > 0:
            window = scan_window("mr", data)
        else:
            window = Window(float(data.min()), float(data.min()) + 1, "")
        self.facts["window"] = [window.low, window.high]
        unit = f" {window.unit}".rstrip()
        self.entries.append(("Window", f"{window.low:.6g} to {window.high:.6g}{unit} are the prior's 0 and 1."))
        fits = not any(severity == "grave" for severity, _ in self.doubts)
        self.doubts += [("note", remark) for remark in remarks_for_scan(self.volume, window) if fits]
        return window

    def _thick(self) -> tuple[str, float] | None:
        """(axis, factor) of thick slices; None where the voxels are nearly cubes."""
        volume, thickness = self.opened.volume, self.opened.slice_thickness_mm
        widest, finest = max(volume.spacing), min(volume.spacing)
        if widest / finest < _THICK:
            self.entries.append(("Slices", f"Voxels are nearly cubes ({by(volume.spacing)} mm, z, y, x)."))
            return None
        try:
            axis, said = thick_axis(volume)
            shape = [min(n, _FEW) for n in volume.shape]
            part = volume.cropped((shape[0], shape[1], shape[2]))
            given = None if thickness is None or self.opened.along not in (None, axis) else thickness
            study = from_thick_slices(part, self.window, thickness_mm=given, modality=self.modality, axis=axis)
            problem: Any = study.problem
            factor = float(problem.factor)
        except CosliceError:
            words = (
                f"No one axis has thick slices (voxels of {by(volume.spacing)} mm, z, y, x): --task zsr gains nothing."
            )
            self.entries.append(("Slices", words))
            return None
        fine = study.volume.spacing[axis_number(axis)]
        words = (
            f"Slices are {_plane(axis)}, {number(volume.spacing[axis_number(axis)])} mm apart with pixels of "
            f"{by([mm for name, mm in zip(AXES, volume.spacing, strict=True) if name != axis])} mm"
        )
        words += "" if given is None else f", and {number(given)} mm thick"
        words += f": --task zsr would make {factor:g} of each along {axis}, {number(fine)} mm apart."
        self.entries.append(("Slices", words))
        if said and axis != "z" and "do not tell" in said:
            self.entries.append(("Slices", said))
        self.facts["thick"] = {"axis": axis, "factor": factor, "spacing_mm": fine, "thickness_mm": given}
        return axis, factor

    def _prior(self) -> None:
        kind = "ct" if self.thick is None and self.modality == "ct" else "zsr"
        method = find_method(default_method(kind), kind)
        names = usual_priors(kind, method.need, self.modality)
        shape, spacing = list(self.volume.shape), list(self.volume.spacing)
        if self.thick is not None:
            place = axis_number(self.thick[0])
            shape[place] = round(shape[place] * self.thick[1])
            spacing[place] /= self.thick[1]
        z, y, x = shape
        grid = Grid((z, y, x), (spacing[0], spacing[1], spacing[2]))
        empty = Volume.on(grid, torch.zeros(1).expand(grid.shape))
        task = "reconstruct it from few views" if kind == "ct" else "make its slices thin"
        task = "make simulated thick slices of it thin" if kind == "zsr" and self.thick is None else task
        self.entries.append(("Prior", f"{' and '.join(names)}, by method {method.name}, would {task}."))
        self.facts |= {"priors": list(names), "method": method.name}
        remarks: dict[str, list[str]] = {}
        for name in names:
            card = read_card(name)
            said = remarks_for_card(empty, name, card, card["plane"])
            if not any(severity == "grave" for severity, _ in self.doubts):
                unit = self.window.to_unit(self.volume.data)
                said += remarks_on_brightness(unit, name, card, card["plane"], self.window)
            for remark in said:
                remarks.setdefault(remark.removeprefix(f"Prior {name} was "), []).append(name)
        for remark, of in remarks.items():
            who = f"Prior {of[0]} was" if len(of) == 1 else f"Priors {' and '.join(of)} were"
            self.doubts.append(("warning", f"{who} {remark}"))
        order = ("grave", "warning", "note")
        self.doubts.sort(key=lambda doubt: order.index(doubt[0]))


_SIDES = {"R": "right", "L": "left", "A": "anterior", "P": "posterior", "S": "superior", "I": "inferior"}


def _voxels(volume: Volume) -> str:
    extent = by([n * mm for n, mm in zip(volume.shape, volume.spacing, strict=True)])
    return f"{by(volume.shape)} (z, y, x) of {by(volume.spacing)} mm: {extent} mm."


def _plane(axis: str) -> str:
    return next(plane.name for plane in PLANES.values() if plane.along == axis)


def _choice(path: Path, listed: list[Series]) -> tuple[tuple[str, str], ...]:
    choosable = [one for one in listed if one.stack is not None]
    if len(choosable) < 2:
        return ()
    typed = "\n".join(shlex.join(["coslice", "inspect", str(path), "--series", one.label]) for one in choosable[:8])
    return (("To look at one of them", typed),)


def _series_words(one: Series, folder: Path | None = None) -> str:
    """What is known of a series; where it is within `folder`, of several."""
    if not one.uid:
        return f"A file that cannot be read: {one.problem}"
    words = [one.listing]
    stack = one.stack
    if stack is not None:
        if stack.thickness is not None:
            words.append(f"{number(stack.thickness)} mm thick, {number(stack.distance)} mm apart")
        if stack.tilt > 0.1:
            words.append(f"tilted by {stack.tilt:.1f} degrees")
    if packed := _compression(one):
        words.append(packed)
    place = one.paths[0].parent
    if folder is not None and place != folder and place.is_relative_to(folder):
        words.append(f"in {place.relative_to(folder)}")
    return ", ".join(words) + "." + (f" {one.problem}" if one.problem else "")


def _series_facts(one: Series) -> dict[str, Any]:
    facts: dict[str, Any] = {
        "label": one.label,
        "modality": one.modality or None,
        "description": one.description,
        "slices": one.slices,
        "size": list(one.size),
        "spacing_mm": None if one.spacing is None else list(one.spacing),
        "compression": _compression(one) or None,
        "problem": one.problem or None,
    }
    if one.stack is not None:
        gap = None if one.stack.thickness is None else one.stack.distance - one.stack.thickness
        facts |= {"thickness_mm": one.stack.thickness, "gap_mm": gap, "tilt_deg": one.stack.tilt}
    return facts


def _compression(one: Series) -> str:
    """How the pixels of its first file are compressed, in words; "" where they are not."""
    try:
        with quiet():
            header = read_dataset(one.paths[0], ["SOPClassUID"], pixels=False)
        syntax = header.file_meta.TransferSyntaxUID
        return f"compressed ({syntax.name})" if syntax.is_compressed else ""
    except Exception:  # what is damaged is said by the series itself
        return ""
