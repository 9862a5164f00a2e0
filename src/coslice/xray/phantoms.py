"""What X-rays pass: voxels in HU, or ellipsoids, as areal densities of water, bone and iron along rays.

    t_m(ray) = integral of rho_m along the ray                                        g/cm^2, material m

Voxels in HU become materials so that at `HU_ENERGY` they attenuate as their HU say, r = 1 + HU/1000 times water: up to
100 HU water of the density r; above it a mixture whose share of bone grows evenly, to all of it at 1500 HU; above
`METAL` iron. (Soft tissue, blood and fat attenuate like water of another density; so does air.)
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage

from coslice.errors import CosliceError
from coslice.geometry import Geometry, Grid
from coslice.operators import Projector
from coslice.volume import Volume
from coslice.xray.spectra import DENSITIES, HU_ENERGY, mass_attenuation

__all__ = ["METAL", "Ellipsoid", "Ellipsoids", "FineVoxels", "XrayObject", "material_densities"]

METAL = 6000.0
"""HU above which a voxel is iron: no bone attenuates so."""

_SOFT, _BONE = 100.0, 1500.0


def material_densities(hu: np.ndarray) -> dict[str, np.ndarray]:
    """Densities in g/cm^3 of the materials that are there, each of the shape of `hu`; below -1000 HU is nothing."""
    attenuation = np.maximum(1 + np.asarray(hu, np.float32) / 1000, 0)  # against water
    metal = hu > METAL
    bone = np.minimum(np.maximum((hu - _SOFT) / (_BONE - _SOFT), 0), 1)
    water = float(mass_attenuation("water", HU_ENERGY)) * DENSITIES["water"]
    shares = {"water": np.where(metal, 0, 1 - bone), "bone": np.where(metal, 0, bone), "iron": metal}
    return {
        name: (share * attenuation * water / float(mass_attenuation(name, HU_ENERGY))).astype(np.float32)
        for name, share in shares.items()
        if share.any()
    }


class XrayObject(ABC):
    """Something that attenuates."""

    @abstractmethod
    def areal_densities(self, geometry: Geometry) -> dict[str, np.ndarray]:
        """t of each material along every ray, g/cm^2, (views, rows, columns)."""


class FineVoxels(XrayObject):
    """A scan on voxels finer than its own.

    Args:
        scan: HU.
        grid: where its voxels are; None is the scan's own, about its middle.
        oversample: fine voxels to one of the scan, along each axis, by cubic splines; 1 is the scan itself.
    """

    def __init__(self, scan: Volume, grid: Grid | None = None, oversample: int = 1) -> None:
        grid = scan.grid() if grid is None else grid
        if tuple(grid.shape) != scan.shape:
            raise CosliceError(
                f"FineVoxels: a scan of {scan.shape} voxels was given for a grid of {tuple(grid.shape)} (z, y, x); "
                "both have the same voxels."
            )
        hu = np.asarray(scan.data.cpu().numpy(), np.float32)
        if oversample > 1:
            fine = ndimage.zoom(hu, oversample, order=3, mode="nearest", grid_mode=True)
            hu = np.asarray(fine, np.float32)
            z, y, x = (n * oversample for n in grid.shape)
            dz, dy, dx = (mm / oversample for mm in grid.spacing)
            grid = replace(grid, shape=(z, y, x), spacing=(dz, dy, dx))
        self.hu, self.grid = hu, grid
        self._densities = {name: torch.from_numpy(part) for name, part in material_densities(hu).items()}

    def areal_densities(self, geometry: Geometry) -> dict[str, np.ndarray]:
        projector = Projector(geometry, self.grid)
        return {name: projector.forward(part).numpy() / 10 for name, part in self._densities.items()}


@dataclass(frozen=True)
class Ellipsoid:
    """A body of one material, with axes along z, y and x, turned about z.

    Attributes:
        centre: (z, y, x), mm.
        radii: half axes (z, y, x), mm.
        density: what it adds, g/cm^3; below 0 for a hole in another one.
        material: a name in `coslice.xray.spectra.DENSITIES`.
        turn: rad, from x towards y.

    Raises:
        CosliceError: a number that is not finite, a radius that is not above 0, another material.
    """

    centre: tuple[float, float, float]
    radii: tuple[float, float, float]
    density: float = 1.0
    material: str = "water"
    turn: float = 0.0

    def __post_init__(self) -> None:
        numbers = (*self.centre, *self.radii, self.density, self.turn)
        if len(numbers) != 8 or not all(map(math.isfinite, numbers)) or min(self.radii) <= 0:
            raise CosliceError(
                f"Ellipsoid: centre {self.centre}, radii {self.radii}, density {self.density} and turn {self.turn} "
                "were given, but finite numbers are needed, three (z, y, x) above 0 for the radii."
            )
        if self.material not in DENSITIES:
            raise CosliceError(f'Ellipsoid: "{self.material}" was given, but the materials are {", ".join(DENSITIES)}.')

    def chord(self, start: NDArray[np.float64], direction: NDArray[np.float64]) -> NDArray[np.float64]:
        """Length in mm within the body of the lines through `start` along `direction`, (..., 3) as (x, y, z)."""
        cosine, sine = math.cos(self.turn), math.sin(self.turn)
        turned = np.array(((cosine, sine, 0.0), (-sine, cosine, 0.0), (0.0, 0.0, 1.0)))
        ball = turned / np.array(self.radii[::-1])[:, None]  # to where the body is a ball of radius 1
        s: NDArray[np.float64] = (start - np.array(self.centre[::-1])) @ ball.T
        d: NDArray[np.float64] = direction @ ball.T
        dd, sd, ss = np.sum(d * d, axis=-1), np.sum(s * d, axis=-1), np.sum(s * s, axis=-1)
        inside = np.maximum(sd**2 - dd * (ss - 1), 0.0)
        return 2 * np.sqrt(inside) / dd * np.linalg.norm(direction, axis=-1)


@dataclass(frozen=True)
class Ellipsoids(XrayObject):
    """Bodies without voxels, whose densities add where they overlap: rays through them have closed forms."""

    bodies: Sequence[Ellipsoid]

    def areal_densities(self, geometry: Geometry) -> dict[str, np.ndarray]:
        found = {body.material: np.zeros(geometry.shape) for body in self.bodies}
        for view in range(geometry.views):
            start, direction = geometry.rays(view)
            for body in self.bodies:
                found[body.material][view] += body.density * body.chord(start, direction) / 10
        return found
