"""Slices that make a grid: all alike, evenly spaced along a line, and of one acquisition.

Sorted by their distance along the normal, slices of one stack are one step apart, within a tenth of it: a missing
slice doubles a step. A mark (echo time, acquisition number, ...) whose values alternate along the way says that two
stacks are woven into each other, even where the steps are even. Such slices are split by the mark, and only if every
part is an even stack of its own; blocks, one value after the other, are one stack and stay together.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np

from coslice.errors import CosliceError
from coslice.io.dicom.headers import SliceHeader
from coslice.io.dicom.marks import MARKS, TIMES
from coslice.io.lengths import check_spacing

__all__ = ["DicomStack", "split_stacks"]

_UNEVEN = 0.1
"""Steps between slices may differ by this much of a step; a missing slice doubles one."""
_SAID = 0.01
"""Lengths that differ by more than this share of themselves are spoken of."""
_SAME_PLACE = 1e-3
_THICK = 1.2


@dataclass(frozen=True, eq=False)
class DicomStack:
    """Slices of one grid.

    Attributes:
        slices: in ascending order along r x c.
        step: from one to the next, (3,), mm, LPS.
        part: what sets them apart in their series, as "EchoTime 10"; "" for all of it.
    """

    slices: tuple[SliceHeader, ...]
    step: np.ndarray
    part: str = ""

    @property
    def affine(self) -> np.ndarray:
        """Index (column, row, slice, 1) to mm (R, A, S, 1): (4, 4)."""
        first = self.slices[0]
        affine = np.eye(4)
        affine[:3, 0] = first.directions[0] * first.spacing[1]
        affine[:3, 1] = first.directions[1] * first.spacing[0]
        affine[:3, 2], affine[:3, 3] = self.step, first.position
        return np.diag((-1.0, -1.0, 1.0, 1.0)) @ affine

    @property
    def distance(self) -> float:
        """Between the planes of neighbouring slices, in mm."""
        return float(abs(self.step @ _normal(self.slices[0])))

    @property
    def tilt(self) -> float:
        """Between the normal of the slices and the line they are stacked along, in degrees."""
        return float(np.degrees(np.arccos(min(self.distance / float(np.linalg.norm(self.step)), 1.0))))

    @property
    def thickness(self) -> float | None:
        """SliceThickness in mm (the median), None if the files do not say."""
        said = [one.thickness for one in self.slices if one.thickness is not None]
        return float(np.median(said)) if said else None

    @property
    def remarks(self) -> tuple[str, ...]:
        """What the headers say otherwise than the positions, what overlaps or is missing, what was assumed."""
        texts = list(dict.fromkeys(one.remark for one in self.slices if one.remark))
        steps = np.diff([one.position @ _normal(self.slices[0]) for one in self.slices])
        if len(steps) and float(np.ptp(steps)) > max(_SAID * self.distance, 0.01):
            texts.append(
                f"The slices are {steps.min():.4g} to {steps.max():.4g} mm apart; "
                f"they were taken as {self.distance:.4g} mm apart everywhere."
            )
        between = [one.between for one in self.slices if one.between is not None]
        if between and abs(float(np.median(between)) - self.distance) > _SAID * self.distance:
            texts.append(
                f"SpacingBetweenSlices says {float(np.median(between)):.4g} mm and the positions {self.distance:.4g} "
                "mm; the positions were believed."
            )
        thickness = self.thickness
        if thickness is not None and abs(thickness - self.distance) > _SAID * self.distance:
            relation = (
                f"they overlap by {thickness - self.distance:.4g} mm"
                if thickness > self.distance
                else f"gaps of {self.distance - thickness:.4g} mm lie between them"
            )
            texts.append(f"The slices are {thickness:.4g} mm thick and {self.distance:.4g} mm apart: {relation}.")
        return tuple(texts)


def split_stacks(slices: Sequence[SliceHeader], name: str) -> list[DicomStack]:
    """The stack that slices of one series make, or the several ones, each by what its slices have in common.

    Args:
        slices: in any order, one at least.
        name: of their place, for sentences.

    Raises:
        CosliceError: one slice only; slices of different sizes, spacings or directions, in the same place, missing,
            uneven or not in a line, or woven together, and no mark parts them into even stacks.
    """
    stack, reason = _stack(slices, name)
    if stack is not None:
        return [stack]
    # A hole in one stack is no reason to call what lies on its two sides two stacks.
    if reason.parted:
        for names in _partitions(slices):
            groups: dict[Any, list[SliceHeader]] = {}
            for one in slices:
                groups.setdefault(tuple(_aspect(one, mark) for mark in names), []).append(one)
            parts = [(values, _stack(group, name)[0]) for values, group in groups.items()]
            stacks = [
                DicomStack(part.slices, part.step, _said(names, values)) for values, part in parts if part is not None
            ]
            if len(stacks) == len(parts) > 1:
                return sorted(stacks, key=lambda part: _order(part.part))
    raise CosliceError(reason.sentence)


@dataclass(frozen=True)
class _Reason:
    sentence: str
    parted: bool = False
    """Whether parting the slices may help."""


_FINE = _Reason("")


def _stack(slices: Sequence[SliceHeader], name: str) -> tuple[DicomStack | None, _Reason]:
    """The stack of these slices, or why they are none."""
    if len(slices) < 2:
        return None, _Reason(f"{name} holds one slice, but a volume needs at least two; give the whole series.")
    if unlike := _unlike(slices):
        return None, _Reason(f"{name} mixes {unlike}", parted=True)
    normal = _normal(slices[0])
    ordered = sorted(slices, key=lambda one: (float(one.position @ normal), one.path, one.frame or 0))
    positions = np.array([one.position for one in ordered])
    steps = np.diff(positions @ normal)
    # One of the steps, not a mean of two of them.
    usual = float(np.sort(steps)[(len(steps) - 1) // 2])
    if steps.min() <= _SAME_PLACE:
        differing = _differing(ordered)
        of = f" ({', '.join(differing)})" if differing else ""
        return None, _Reason(
            f"{name} holds several slices in the same place, as of phases or echoes{of}; give one of them.", parted=True
        )
    woven = _woven(ordered, usual)
    if woven:
        return None, _Reason(
            f"{name} holds slices woven together that differ in {woven}, and they are no even stacks "
            "of their own; export them as series of their own.",
            parted=True,
        )
    if uneven := _uneven(steps, positions @ normal, usual):
        return None, _Reason(f"{name} has {uneven}; give the complete series.")
    check_spacing([usual], name, "slices at a distance")
    step = (positions[-1] - positions[0]) / (len(positions) - 1)
    line = positions[0] + np.arange(len(positions))[:, None] * step
    if np.abs(positions - line).max() > 0.5 * usual:
        return None, _Reason(f"{name} has slices that do not lie in a line; give slices of one stack.", parted=True)
    return DicomStack(tuple(ordered), step), _FINE


def _normal(one: SliceHeader) -> np.ndarray:
    across = np.cross(one.directions[0], one.directions[1])
    return across / np.linalg.norm(across)


def _unlike(slices: Sequence[SliceHeader]) -> str:
    first = slices[0]
    for other in slices:
        if other.shape != first.shape:
            shapes = [" x ".join(str(n) for n in one.shape) for one in (first, other)]
            return f"slices of {shapes[0]} and {shapes[1]} pixels; give slices of one size."
        if not np.allclose(other.spacing, first.spacing, rtol=1e-3):
            return "slices with pixels of different sizes in mm; give slices of one sort."
        if not np.allclose(other.directions, first.directions, atol=1e-2):
            return "slices of different directions; give slices of one direction."
        if other.rescales != first.rescales:
            return "slices with a rescale slope and without one, whose values do not go together; export them again."
    return ""


def _uneven(steps: np.ndarray, places: np.ndarray, usual: float) -> str:
    """Where steps are of another length than the usual, in words; which ones are right only a majority can tell."""
    wrong = np.flatnonzero(np.abs(steps - usual) > _UNEVEN * usual)
    if not len(wrong):
        return ""
    worst = int(wrong[np.argmax(np.abs(steps[wrong] - usual))])
    count = len(places)
    holes = np.rint(steps[wrong] / usual)
    if (np.abs(steps[wrong] - holes * usual) <= _UNEVEN * usual).all() and (holes >= 2).all():
        absent = int((holes - 1).sum())
        cause = f"so {absent} slice{' is' if absent == 1 else 's are'} missing"
    else:
        cause = "so slices are missing or uneven"
    others = [f"{place + 1}" for place in wrong if place != worst]
    also = f", and likewise after {', '.join(others[:8])}{', ...' if len(others) > 8 else ''}" if others else ""
    return (
        f"slices {steps[worst]:.3g} mm apart (after slice {worst + 1} of {count}{also}) where others are "
        f"{usual:.3g} mm apart, from {places[worst]:.2f} to {places[worst + 1]:.2f} mm along their normal, {cause}"
    )


def _woven(ordered: Sequence[SliceHeader], step: float) -> str:
    """The mark whose values alternate along the stack, and the values, in words; "" without one."""
    thick = [one.thickness for one in ordered if one.thickness is not None]
    # Scanners acquire every second slice of a stack first, so times alternate within one stack too; then
    # the slices are as thick as they are apart. Slices of two stacks overlap.
    times = TIMES if thick and float(np.median(thick)) > _THICK * step else ()
    for name in (*MARKS, *times):
        values = [one.marks.get(name) for one in ordered]
        runs = 1 + sum(a != b for a, b in zip(values, values[1:], strict=False))
        if runs > len(set(values)) > 1:
            return f"{name} ({_listed(values)})"
    return ""


def _differing(slices: Sequence[SliceHeader]) -> list[str]:
    names = [name for name in (*MARKS, *TIMES) if len({one.marks.get(name) for one in slices}) > 1]
    return [f"{name} {_listed([one.marks.get(name) for one in slices])}" for name in names[:3]]


def _partitions(slices: Sequence[SliceHeader]) -> Iterator[tuple[str, ...]]:
    """Names of marks to part slices by: one, then two, then all of those that take few values."""
    few = []
    for name in ("directions", "shape", "spacing", "SOPInstanceUID", *MARKS, *TIMES):
        count = len({_aspect(one, name) for one in slices})
        if 1 < count <= len(slices) / 2:
            few.append(name)
    for number in (1, 2):
        yield from combinations(few, number)
    if len(few) > 2:
        yield tuple(name for name in few if name not in TIMES)


def _aspect(one: SliceHeader, name: str) -> Any:
    if name == "directions":
        return tuple(float(cosine) + 0.0 for cosine in np.round(one.directions.ravel(), 1))
    if name == "shape":
        return one.shape
    if name == "spacing":
        return tuple(float(f"{length:.3g}") for length in one.spacing)
    return one.marks.get(name)


def _said(names: Sequence[str], values: Sequence[Any]) -> str:
    words = {"directions": "ImageOrientationPatient", "shape": "Rows x Columns", "spacing": "PixelSpacing"}
    return ", ".join(f"{words.get(name, name)} {_text(value)}" for name, value in zip(names, values, strict=True))


def _text(value: Any) -> str:
    if value is None:
        return "none"
    if isinstance(value, tuple):
        return "\\".join(_text(one) for one in value)
    return f"{value:g}" if isinstance(value, float) else str(value)


def _listed(values: Sequence[Any]) -> str:
    texts = list(dict.fromkeys(_text(value) for value in values))
    texts.sort(key=_order)
    return ", ".join(texts[:4]) + (", ..." if len(texts) > 4 else "")


def _order(text: str) -> tuple[Any, ...]:
    """Numbers inside a text in their order, "EchoTime 5" before "EchoTime 10"."""
    key: list[tuple[int, float, str]] = []
    for word in text.replace(",", " ").split():
        try:
            key.append((0, float(word), ""))
        except ValueError:
            key.append((1, 0.0, word))
    return tuple(key)
