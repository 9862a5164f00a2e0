"""Figures of slices, as a recipe asks for them under `pictures`: the truth and the rows side by side, plane by plane.

    pictures:
      - {window: chest, zoom: {axial: [0.6, 0.4], coronal: [0.5, 0.5]}, errors: true}
      - {planes: [axial, sagittal], window: [-175, 275], groups: [Nodules], rows: [DDS, DDS+ISCS], lesion: 1}

They are made of the reconstructions that are stored for the first seed, so they cost no cell. What could not be drawn
is refused when the recipe is read.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from coslice.axes import PLANES
from coslice.errors import CosliceError
from coslice.window import DISPLAYS

__all__ = ["SliceFigure", "check_pictures"]


@dataclass(frozen=True)
class SliceFigure:
    """Slices of the truth and of rows: one sheet for each group, columns are volumes, lines are planes.

    Attributes:
        planes: top to bottom.
        window: what is black and white: a name of `coslice.window.DISPLAYS`, which are in HU, or two numbers in the
            scan's unit; None takes the papers' for CT and the whole window for everything else.
        rows: those to show, left to right; none are all of the group.
        groups: those to show; none are all.
        at: place of the slices along the axis they are cut across, from 0 (first) to 1 (last); 0.5 is the middle. Or
            by plane, and the middle of the others.
        zoom: by plane, where in the picture (down, across, each 0..1) the part lies that is framed, and enlarged
            below; true takes the part of the truth with the most detail, in every plane.
        lesion: number of a lesion of the group, from 1: slices go through its middle, it is framed and enlarged. What
            is no lesion's group is not shown.
        errors: whether absolute errors stand below, on one scale.

    Raises:
        CosliceError: what is not so.
    """

    planes: tuple[str, ...] = tuple(PLANES)
    window: str | tuple[float, float] | None = None
    rows: tuple[str, ...] = ()
    groups: tuple[str, ...] = ()
    at: float | dict[str, float] = 0.5
    zoom: bool | dict[str, tuple[float, float]] = False
    lesion: int | None = None
    errors: bool = False

    def __post_init__(self) -> None:
        by_plane = [self.at if isinstance(self.at, dict) else {}, self.zoom if isinstance(self.zoom, dict) else {}]
        for plane in (*self.planes, *(plane for places in by_plane for plane in places)):
            if plane not in PLANES:
                raise CosliceError(f"pictures: the plane {plane} was given, but planes are {', '.join(PLANES)}.")
            if plane not in self.planes:
                raise CosliceError(
                    f"pictures: at or zoom names the plane {plane}, but the planes shown are {', '.join(self.planes)}; "
                    "add it to planes, or leave it out."
                )
        if not self.planes or len(set(self.planes)) != len(self.planes):
            raise CosliceError(f"pictures: planes {list(self.planes)} were given; give at least one, each only once.")
        if isinstance(self.window, str) and self.window not in DISPLAYS:
            raise CosliceError(
                f"pictures: the window {self.window} was given, but windows are {', '.join(DISPLAYS)}, or two numbers."
            )
        low, high = self.display or (0, 1)
        if not low < high:
            raise CosliceError(
                f"pictures: the window [{low:g}, {high:g}] was given, but black must be below white; swap the numbers."
            )
        places = [self.at] if isinstance(self.at, float | int) else list(self.at.values())
        focus = [] if isinstance(self.zoom, bool) else [part for pair in self.zoom.values() for part in pair]
        for name, numbers in (("at", places), ("zoom", focus)):
            for number in numbers:
                if not 0 <= number <= 1:
                    raise CosliceError(f"pictures: {name} {number:g} was given, a place from 0 to 1 is needed.")
        if self.lesion is not None and (self.zoom or self.at != 0.5):
            raise CosliceError("pictures: a lesion was given beside at or zoom, which it settles; give one of them.")
        if self.lesion is not None and self.lesion < 1:
            raise CosliceError(f"pictures: lesion {self.lesion} was given, but lesions are counted from 1.")

    @property
    def display(self) -> tuple[float, float] | None:
        """What is black and white, in the scan's unit; None for the usual."""
        return DISPLAYS[self.window] if isinstance(self.window, str) else self.window

    def place(self, plane: str) -> float:
        """Where the slice of a plane is, 0..1."""
        return self.at.get(plane, 0.5) if isinstance(self.at, dict) else self.at

    def enlarges(self, plane: str) -> bool:
        """Whether a part of a plane is framed, and enlarged below."""
        return plane in self.zoom if isinstance(self.zoom, dict) else self.zoom

    def focus(self, plane: str) -> tuple[float, float] | None:
        """Where that part is, (down, across); None for the one with the most detail."""
        return self.zoom.get(plane) if isinstance(self.zoom, dict) else None


def check_pictures(
    name: str,
    pictures: Sequence[SliceFigure],
    rows: Mapping[str, Mapping[str, object]],
    windows: Mapping[str, str],
    lesions: Mapping[str, int],
) -> None:
    """Refuse figures of rows, groups or lesions that a recipe does not have.

    Args:
        name: of the recipe.
        pictures: its figures of slices.
        rows: by group.
        windows: by group, the name of its intensities: "ct" or "mr".
        lesions: by group, how many lesions it has.

    Raises:
        CosliceError: such a figure.
    """
    for picture in pictures:
        for group in picture.groups:
            if group not in rows:
                raise CosliceError(f"{name}: pictures are of the group {group}, but the groups are {', '.join(rows)}.")
        shown = [group for group in rows if group in (picture.groups or rows)]
        known = list(dict.fromkeys(row for group in shown for row in rows[group]))
        for row in picture.rows:
            if row not in known:
                raise CosliceError(f"{name}: pictures are of the row {row}, but the rows are {', '.join(known)}.")
        for group in shown:
            if isinstance(picture.window, str) and windows[group] != "ct":
                raise CosliceError(
                    f"{name}: the window {picture.window} of pictures is in HU, but {group} is no CT; give two numbers "
                    "in the scan's unit, or leave the window out."
                )
        if picture.lesion is not None and all(lesions[group] < picture.lesion for group in shown):
            raise CosliceError(
                f"{name}: pictures are of lesion {picture.lesion}, but no group of theirs has so many; the groups have "
                f"{', '.join(f'{group} {lesions[group]}' for group in shown)}."
            )
