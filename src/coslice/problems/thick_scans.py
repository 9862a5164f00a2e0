"""A real scan of thick slices as the measurement it is.

Which axis is thick, how many thin slices there are to a thick one and how much of the body lies between them are said
by the caller or found from the scan; what is found or taken for granted is said in the study's remarks.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import torch

from coslice.axes import AXES, PLANES, axis_number
from coslice.devices import chosen_device
from coslice.errors import CosliceError
from coslice.preparation import Preparation
from coslice.problems.modality import modality_of
from coslice.problems.study import Study
from coslice.problems.super_resolution import ThickSliceProblem
from coslice.problems.task_remarks import remarks_on_problem
from coslice.problems.tasks import SliceSuperResolution
from coslice.resampling import new_count
from coslice.values import reading_of, remarks_on_appearance
from coslice.volume import Volume
from coslice.window import Window, scan_window

__all__ = ["from_thick_slices", "gap_said", "outside", "thick_axis"]

_CLEARLY = 1.2
"""A spacing this much larger than the other two is that of the slices."""
_THINNER = 2.0
"""Slices that lie this much nearer to each other than pixels do are not the thick ones, whatever the file's order."""
_WHOLE = 1e-4
"""Factors this near to a whole number are one: spacings in files are rounded."""
_SAME = 0.01
"""Slices whose thickness is their distance to this part of it have neither gap nor overlap."""
_SLICE_AXIS = {"L": "x", "R": "x", "A": "y", "P": "y", "I": "z", "S": "z"}


def from_thick_slices(
    scan: Volume,
    window: Window | Callable[[Volume], Window] | None = None,
    factor: float | None = None,
    fwhm_mm: float | None = None,
    preparation: Preparation = Preparation(),
    device: str = "cpu",
    *,
    axis: str | None = None,
    gap_mm: float | None = None,
    thickness_mm: float | None = None,
    modality: str | None = None,
) -> Study:
    """The problem of a real scan with thick slices; nothing is known of the volume behind it.

    Values outside the window are kept as they were measured.

    Args:
        scan: thick slices along any one axis, in their own units.
        window: intensities of unit 0 and 1, or how to find them from the prepared scan; None is that of CT for a CT,
            else that of MR.
        factor: distance between thick slices in thin ones; None makes voxels as near to cubes as a whole number can.
        fwhm_mm: full width at half maximum of a Gaussian slice profile, mm; None is a box.
        preparation: what to do before, not along the thick axis.
        device: where to work.
        axis: "z", "y" or "x", along which slices are thick; None finds it, see `thick_axis`.
        gap_mm: between slices, mm; below 0 they overlap. None is what `thickness_mm` leaves, or none.
        thickness_mm: of the slices, mm, where it is not the distance between them.
        modality: "CT" or "MR", as DICOM says it; None is found from the values, see `coslice.problems.modality_of`.

    Raises:
        CosliceError: slices no thicker than their pixels are wide, an axis that cannot be told, a slice profile too
            wide, a gap and a thickness that do not fit each other, a preparation along the thick axis; a window in HU
            for values that are none.
    """
    axis, found = thick_axis(scan, axis)
    number = axis_number(axis)
    remarks = [found] if found else []
    scan = _prepared(scan, preparation, axis)
    step = scan.spacing[number]
    thickness_mm = _thickness(step, gap_mm, thickness_mm, fwhm_mm)
    factor = _factor(scan, axis, thickness_mm or step) if factor is None else _whole(factor)
    word, guess = modality_of(scan, modality)
    remarks += [guess] if guess else []
    remarks += gap_said(step, thickness_mm)
    if isinstance(factor, float):
        remarks.append(
            f"{factor:.4g} thin slices to a thick one is no whole number: a thin slice counts for each thick one by "
            "the part that lies in it."
        )
    task = SliceSuperResolution(factor, fwhm_mm, axis, thickness_mm)
    if window is None:
        window = scan_window("ct" if word == "ct" else task.window, scan.data)
    window = window(scan) if callable(window) else window
    if window.unit == "HU" and word != "ct":
        _check_hu(scan)
    remarks += outside(scan, window)
    unit = window.to_unit(scan.data, clip=False).to(str(chosen_device(device)))
    spacing = list(scan.spacing)
    spacing[number] = step / factor
    fwhm, thickness = (None if mm is None else mm / spacing[number] for mm in (fwhm_mm, thickness_mm))
    dz, dy, dx = spacing
    problem = ThickSliceProblem(
        unit,
        factor,
        fwhm,
        spacing=(dz, dy, dx),
        axis=axis,
        thickness=thickness,
        modality=word,
        clipped=False,
    )
    remarks += [*remarks_on_appearance(scan, window, axis), *remarks_on_problem(problem, simulated=False)]
    thin = (torch.arange(new_count(scan.shape[number], 1 / factor)) + 0.5).div(factor).long()
    volume = scan.with_thin_slices(scan.data.index_select(number, thin), factor, axis)
    profile = "" if fwhm_mm is None else f", Gaussian profile of {fwhm_mm:g} mm"
    title = f"Super-resolution along {axis}, {step:.4g} mm to {step / factor:.4g} mm{profile}"
    return Study(volume, window, None, problem, task, preparation, title, scan, remarks=tuple(remarks))


def _check_hu(scan: Volume) -> None:
    """Refuse values that are no HU where a prior is to see them as such."""
    found = reading_of(scan)
    if found.hu or found.verdict == "constant":
        return
    raise CosliceError(
        f"zsr: values of {found.low:.6g} to {found.high:.6g} were given, which look like {found.verdict}, but the "
        f"prior sees HU; MR belongs to a prior of MR, as --prior mr; or say what the numbers are, --values "
        f"{found.statement}."
    )


def thick_axis(scan: Volume, axis: str | None = None) -> tuple[str, str]:
    """The axis along which slices are thick, and a sentence on what was assumed; "" where nothing was.

    Args:
        scan: the slices.
        axis: "z", "y" or "x" where the caller knows it. None takes the one whose spacing is clearly the largest; where
            none is, the axis that the file has its slices along.

    Raises:
        CosliceError: an unknown axis, or one that cannot be told.
    """
    if axis is not None:
        axis_number(axis)
        return axis, ""
    widest = max(scan.spacing)
    wide = [name for name, mm in zip(AXES, scan.spacing, strict=True) if mm > widest / _CLEARLY]
    spacing = " x ".join(f"{mm:.4g}" for mm in scan.spacing)
    if len(wide) == 1:
        plane = next(plane for plane in PLANES.values() if plane.along == wide[0])
        said = f"Spacings of {spacing} mm (z, y, x): slices are {plane.name}, thick along {wide[0]}."
        return wide[0], "" if wide[0] == "z" else said
    slow = _SLICE_AXIS.get(scan.orientation[2].upper(), "z")
    if scan.spacing[axis_number(slow)] * _THINNER < widest:
        raise CosliceError(
            f"zsr: spacings of {spacing} mm (z, y, x) were given, which do not tell along which axis slices are thick; "
            f"say the axis, {' or '.join(wide)}."
        )
    return slow, (
        f"Spacings of {spacing} mm (z, y, x) do not tell along which axis slices are thick; the file stores its slices "
        f"along {slow}, so that was taken."
    )


def outside(scan: Volume, window: Window) -> tuple[str, ...]:
    """A sentence on the voxels of a measurement that lie outside of the window; none where there are none."""
    beyond = scan.data > window.high
    if window.unit != "HU":  # what lies below air in a CT is padding
        beyond |= scan.data < window.low
    share = float(beyond.double().mean())
    if share == 0:
        return ()
    low, high = (float(value) for value in scan.data.aminmax())
    return (
        f"{100 * share:.3g} % of the voxels lie outside the window of {window.low:.6g} to {window.high:.6g} "
        f"({low:.6g} to {high:.6g}); they were kept as measured, but the prior was not trained on such values.",
    )


def gap_said(step: float, thickness: float | None) -> tuple[str, ...]:
    """A sentence on slices of a `thickness` that lie `step` apart, mm; none where they touch, or None is given."""
    if thickness is None or abs(thickness - step) <= _SAME * step:
        return ()
    if thickness < step:
        told = f"what lies in the gaps of {step - thickness:.4g} mm between them was not measured, and is the prior's"
    else:
        told = f"neighbours overlap by {thickness - step:.4g} mm"
    return (f"Slices of {thickness:.4g} mm lie {step:.4g} mm apart: {told}.",)


def _prepared(scan: Volume, preparation: Preparation, axis: str) -> Volume:
    for name in ("thickness", "pad"):
        if getattr(preparation, name) is not None:
            raise CosliceError(f"{name}: it was given for a real measurement, whose slices are as they are.")
    if preparation.size is not None and axis != "z":
        raise CosliceError(
            f"size: {preparation.size} was given, pixels along y and x, but the slices are thick along {axis}, where "
            "they are as they are; give a spacing instead."
        )
    scan = replace(preparation, spacing=None)(scan)
    if preparation.spacing is None:
        return scan
    wanted = [mm if name == axis else preparation.spacing for name, mm in zip(AXES, scan.spacing, strict=True)]
    return scan.resampled((wanted[0], wanted[1], wanted[2]))


def _thickness(step: float, gap: float | None, thickness: float | None, fwhm: float | None) -> float | None:
    """Of the box, mm; None where slices touch, or for a Gaussian, which has its own width."""
    if gap is not None and thickness is not None and abs(thickness + gap - step) > _SAME * step:
        raise CosliceError(
            f"zsr: a gap of {gap:g} mm and slices of {thickness:g} mm were given, but slices are {step:.4g} mm apart; "
            "leave one out."
        )
    thickness = step - gap if thickness is None and gap is not None else thickness
    if thickness is None:
        return None
    if not 0 < thickness < math.inf:
        raise CosliceError(
            f"zsr: slices of {thickness:g} mm were given, {step:.4g} mm apart; a thickness above 0 is needed."
        )
    if fwhm is not None:
        raise CosliceError(
            f"zsr: a Gaussian profile of {fwhm:g} mm was given with a gap or a thickness of slices, but it has a width "
            "of its own; leave one out."
        )
    return None if abs(thickness - step) <= _SAME * step else thickness


def _whole(factor: float) -> float:
    return round(factor) if abs(factor - round(factor)) <= _WHOLE else float(factor)


def _factor(scan: Volume, axis: str, thickness: float) -> int:
    """How many thin slices make voxels that are nearly cubes."""
    number = axis_number(axis)
    step, fine = scan.spacing[number], [mm for place, mm in enumerate(scan.spacing) if place != number]
    if max(step, thickness) < _CLEARLY * max(fine) or round(max(step, thickness) / min(fine)) < 2:
        raise CosliceError(
            f"zsr: slices {step:.4g} mm apart with pixels of {fine[0]:.4g} x {fine[1]:.4g} mm were given, which have "
            f"nothing to gain along {axis}; give a scan with thicker slices, or say the factor."
        )
    return max(1, round(step / min(fine)))
