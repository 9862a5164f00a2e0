"""Names of the axes of a volume, and of the planes a radiologist sees it in.

A volume is a tensor (z, y, x). Axes are spoken of by name, never by number: a stack is `along` "z", an image of a
plane has rows and columns "yx".
"""

from __future__ import annotations

from dataclasses import dataclass

from coslice.errors import CosliceError
from coslice.escapes import visible

__all__ = ["AXES", "PLANES", "Plane", "axis_number", "check_plane", "stacked_along"]

AXES = "zyx"
"""The axes of a volume, in the order of a tensor's dimensions."""


@dataclass(frozen=True)
class Plane:
    """One of the three anatomical planes.

    Attributes:
        name: "axial", "coronal" or "sagittal".
        along: the axis its slices are stacked along.
        rows, columns: the axes of an image.
        edges: letters at the top, right, bottom and left edge of an image (R is the patient's right, and so on).
    """

    name: str
    along: str
    rows: str
    columns: str
    edges: tuple[str, str, str, str]


PLANES: dict[str, Plane] = {
    plane.name: plane
    for plane in (
        Plane("axial", "z", "y", "x", ("A", "L", "P", "R")),
        Plane("coronal", "y", "z", "x", ("S", "L", "I", "R")),
        Plane("sagittal", "x", "z", "y", ("S", "P", "I", "A")),
    )
}
"""The planes by name."""


def axis_number(name: str) -> int:
    """The dimension of a tensor (z, y, x) that the axis `name` is.

    Raises:
        CosliceError: a name that is not "z", "y" or "x".
    """
    if not isinstance(name, str) or len(name) != 1 or name not in AXES:  # pyright: ignore[reportUnnecessaryIsInstance]
        raise CosliceError(f'axis: "{name}" was given, but the axes of a volume are "z", "y" and "x".')
    return AXES.index(name)


def stacked_along(plane: str) -> str:
    """The axis along which images with rows and columns `plane`, such as "yx", are stacked: "z".

    Raises:
        CosliceError: as `check_plane`.
    """
    check_plane(plane)
    return next(axis for axis in AXES if axis not in plane)


def check_plane(plane: str) -> None:
    """Refuse rows and columns that are not two different axes.

    Raises:
        CosliceError: they are not.
    """
    if len(plane) != 2 or len(set(plane)) != 2 or not set(plane) <= set(AXES):
        raise CosliceError(
            f'plane: "{visible(plane[:100])}" was given, two different axes of z, y and x are needed, as in yx or zx.'
        )
