"""Which circular scanner a list of views is, if it is one.

Most formats can put source and detector anywhere, view by view, and most scans turn on a circle all the same. FDK and
short-scan weights exist for circles only, so the circle is looked for. With the source of view n at radius R and angle
beta_n about z, and d the direction from it to the axis, a pixel of row j and column i belongs to the circular scanner
when its ray meets the plane through the detector and the plane through the axis, both perpendicular to d, where that
scanner's ray does. The pitches and offsets u = a + i du, v = b + j dv are those of least squares; what remains, in
pixels, is the misfit. A pitch below 0 says that the stored rows or columns run the other way.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from coslice.errors import CosliceError
from coslice.geometry import ConeBeam, Geometry, Orbit, ParallelBeam
from coslice.io.geometry_files.scanner_file import tidy

__all__ = ["Fitted", "check_pixels", "fitted"]

_EXACT, _CLOSE = 1e-3, 0.1
"""Pixels of misfit that are rounding, and that a reconstruction does not see."""


@dataclass(frozen=True)
class Fitted:
    """A geometry, circular where the views allow it.

    Attributes:
        geometry: the circle, or the orbit as it was.
        flip_rows, flip_columns: the stored rows, columns run against +v, +u.
        notes: where the circle is not exact, by how many pixels.
    """

    geometry: Geometry
    flip_rows: bool = False
    flip_columns: bool = False
    notes: tuple[str, ...] = ()


def fitted(orbit: Orbit, name: str) -> Fitted:
    """The circular scanner that `orbit` is to a tenth of a pixel, or else `orbit` itself.

    Raises:
        CosliceError: pixels without a size, in the file called `name`.
    """
    check_pixels(orbit, name)
    with np.errstate(all="ignore"):
        found = _cone(orbit) if orbit.divergent else _parallel(orbit)
    if found is None or not found[1] <= _CLOSE:
        far = "" if found is None or not np.isfinite(found[1]) else f" (off by up to {found[1]:.3g} pixels)"
        note = (
            f"The views do not lie on a circle about the axis z{far}, so the first reconstruction is by conjugate "
            "gradients instead of FDK."
        )
        return Fitted(orbit, notes=(note,))
    circle, misfit, flip_rows, flip_columns = found
    notes: tuple[str, ...] = ()
    if misfit > _EXACT:
        notes = (f"The views are taken for a circle about the axis z, which is off by up to {misfit:.2g} pixels.",)
    return Fitted(circle, flip_rows, flip_columns, notes)


def check_pixels(orbit: Orbit, name: str) -> None:
    """Refuse a detector whose pixels have no size in some view, in the file called `name`."""
    sizes = np.linalg.norm(np.cross(orbit.row_step, orbit.column_step), axis=-1)
    if not sizes.min() > 0:
        raise CosliceError(
            f"{name}: the steps between the detector's pixels are 0 or parallel in view {int(sizes.argmin()) + 1}; two "
            "directions across the detector are needed."
        )


def _arrays(orbit: Orbit) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Sources (n, 3), and of nine pixels the rows j (9,), columns i (9,) from the centre and places (n, 9, 3)."""
    source, centre, row, column = (
        np.array(vectors) for vectors in (orbit.source, orbit.centre, orbit.row_step, orbit.column_step)
    )
    half = [max((count - 1) / 2, 0.5) for count in orbit.detector]
    j, i = (side.reshape(-1) for side in np.meshgrid(*(np.array((-h, 0.0, h)) for h in half), indexing="ij"))
    pixels = centre[:, None] + j[:, None] * row[:, None] + i[:, None] * column[:, None]
    return source, j, i, pixels


def _line(index: np.ndarray, places: np.ndarray) -> tuple[float, float]:
    """Offset and pitch of `places` (n, 9) over `index` (9,), by least squares; the indices have mean 0."""
    return float(places.mean()), float((places @ index).mean() / (index @ index))


def _cone(orbit: Orbit) -> tuple[ConeBeam, float, bool, bool] | None:
    source, j, i, pixels = _arrays(orbit)
    radii = np.hypot(source[:, 0], source[:, 1])
    radius = float(radii.mean())
    if not radii.min() > 0:
        return None
    angles = np.unwrap(np.arctan2(source[:, 1], source[:, 0]))
    zero = np.zeros_like(angles)
    towards = np.stack((-np.cos(angles), -np.sin(angles), zero), -1)
    across = np.stack((-np.sin(angles), np.cos(angles), zero), -1)
    # Rays know no distance along themselves, so a detector before the axis may as well stand at the axis.
    distance = max(float(np.einsum("nc,nc->n", pixels[:, 4], towards).mean()), 0.0)
    rays = pixels - source[:, None]
    forward = np.einsum("npc,nc->np", rays, towards)
    if not forward.min() > 0:
        return None

    def met(depth: float) -> tuple[np.ndarray, np.ndarray]:
        """(u, v) of the rays, (n, 9) each, on the plane `depth` mm behind the axis."""
        places = source[:, None] + rays * ((depth + radii[:, None]) / forward)[..., None]
        return np.einsum("npc,nc->np", places, across), places[..., 2]

    u, v = met(distance)
    (u_offset, du), (v_offset, dv) = _line(i, u), _line(j, v)
    magnification = (radius + distance) / radius
    at_axis = [place * magnification for place in met(0.0)]
    ideal_u, ideal_v = u_offset + i * du, v_offset + j * dv
    misfit = max(
        float(np.abs(places - ideal).max() / abs(pitch))
        for places, ideal, pitch in (
            (u, ideal_u, du),
            (v, ideal_v, dv),
            (at_axis[0], ideal_u, du),
            (at_axis[1], ideal_v, dv),
        )
    )
    if not np.isfinite(misfit):
        return None
    circle = ConeBeam(
        angles=tuple(map(float, angles)),
        detector=orbit.detector,
        pixel=(tidy(abs(dv)), tidy(abs(du))),
        offset=(tidy(v_offset), tidy(u_offset)),
        source_axis=tidy(radius),
        axis_detector=tidy(distance),
    )
    return circle, misfit, dv < 0, du < 0


def _parallel(orbit: Orbit) -> tuple[ParallelBeam, float, bool, bool] | None:
    direction, j, i, pixels = _arrays(orbit)
    level = np.hypot(direction[:, 0], direction[:, 1])
    if not level.min() > 0:
        return None
    # Parallel rays have no sense of travel: the one in which the columns run along +u is taken.
    step = np.array(orbit.column_step)
    backwards = direction[:, 1] * step[:, 0] - direction[:, 0] * step[:, 1] < 0
    direction = np.where(backwards[:, None], -direction, direction)
    angles = np.unwrap(np.arctan2(-direction[:, 1], -direction[:, 0]))
    across = np.stack((-np.sin(angles), np.cos(angles), np.zeros_like(angles)), -1)
    u, v = np.einsum("npc,nc->np", pixels, across), pixels[..., 2]
    (u_offset, du), (v_offset, dv) = _line(i, u), _line(j, v)
    climb = float(np.abs(direction[:, 2] / level).max()) * abs(du) * orbit.detector[1]
    misfit = max(
        float(np.abs(u - u_offset - i * du).max() / abs(du)),
        float(np.abs(v - v_offset - j * dv).max() / abs(dv)),
        climb / abs(dv),
    )
    if not np.isfinite(misfit):
        return None
    circle = ParallelBeam(
        angles=tuple(map(float, angles)),
        detector=orbit.detector,
        pixel=(tidy(abs(dv)), tidy(abs(du))),
        offset=(tidy(v_offset), tidy(u_offset)),
    )
    return circle, misfit, dv < 0, du < 0
