"""What a real scanner gives of a known object: counts, open-beam frames and dark frames, with all that is not ideal.

A task (`coslice.problems.tasks`) measures y = A x on the grid that reconstructs it, with monochromatic rays as thin as
lines. Here nothing is shared with the reconstruction: the object is finer than its voxels or has none, and

    T(pixel)  = mean over rays of the pixel and points of the focal spot of  sum_E w(E) exp(-sum_m mu_m(E) t_m)
    Q         = Poisson(I0 (1 - drift) T)                                   photons, each view by itself
    counts    = response * (blur Q) + dark + N(0, electronic^2)             rounded, not below 0

with t_m the areal densities of the materials along the ray (`coslice.xray.phantoms`), mu_m and w of the spectrum
(`coslice.xray.spectra`). Intensities are averaged and not their logarithms, so edges show the non-linear partial
volume effect, and several energies harden the beam. The light of a scintillator spreads after the photons were
counted, so the blur makes the noise of neighbours alike. The polychromatic signal is counted as if all photons were
alike; a detector that adds up energies has a few per cent more noise.

The response of a pixel is its gain, 0 if it is dead. A pixel that causes a ring has another gain in the scan than in
the open-beam frames, so these do not correct it. The frames are taken before the scan, which drifts from them.

Draws are counter-based, as in `coslice.detector`: a view's noise depends on the seed, its number and its own values.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from coslice.errors import CosliceError
from coslice.geometry import FanBeam, Geometry, Grid, Orbit
from coslice.noise import Key, generator
from coslice.settings import Part, setting
from coslice.volume import Volume
from coslice.xray.phantoms import Ellipsoid, Ellipsoids, FineVoxels, XrayObject
from coslice.xray.spectra import SingleEnergy, Spectrum, mass_attenuation

__all__ = ["Exposure", "XrayScanner", "simulate_counts"]

_FWHM = 2 * math.sqrt(2 * math.log(2))  # of a Gaussian, in standard deviations
_RING = 0.05  # standard deviation of the gain of a pixel that causes a ring, against 1
_RAYS_AT_ONCE = 2_000_000


@dataclass(frozen=True)
class XrayScanner(Part):
    """Settings of a scanner that is not ideal.

    Attributes:
        photons: I0, per pixel and view of the open beam.
        electronic: standard deviation of the read-out, counts.
        spectrum: which energies.
        oversample: fine voxels to one of the object's, along each axis.
        rays: of a pixel, along each of its sides.
        focal_spot: width and height of the source, mm, as four points with the variance of a square; 0 is a point.
        blur: full width at half maximum of the detector's Gaussian, pixels.
        gain: standard deviation of the pixels' gains, against their mean of 1.
        dark: counts without a beam: a detector adds them so that its read-out noise does not fall below 0.
        dead: share of pixels that answer nothing.
        rings: share of pixels with another gain in the scan than in the open-beam frames.
        drift: share of the open beam that is lost by the last view, evenly; below 0 it grows.
        jitter: standard deviation of the views' true angles about those of the geometry, degrees.
        axis_offset: the true detector stands so much further along +u than the geometry says, mm.
        frames: so many open-beam and so many dark frames.
    """

    kind = "scanner"

    photons: float = setting(1e5, "Photons per pixel and view of the open beam", least=1, most=1e8)
    electronic: float = setting(5.0, "Standard deviation of the read-out", "counts", least=0)
    spectrum: Spectrum = setting(SingleEnergy(), "Energies of the rays")
    oversample: int = setting(2, "Fine voxels to one of the object's, along each axis", least=1, most=8)
    rays: int = setting(2, "Rays of a pixel along each of its sides", least=1, most=8)
    focal_spot: float = setting(0.0, "Width and height of the source", "mm", least=0)
    blur: float = setting(0.0, "Full width at half maximum of the detector's blur", "pixels", least=0)
    gain: float = setting(0.0, "Standard deviation of the pixels' gains", "of their mean", least=0, most=0.3)
    dark: float = setting(100.0, "Counts without a beam", "counts", least=0, most=1e8)
    dead: float = setting(0.0, "Share of pixels that answer nothing", least=0, most=0.5)
    rings: float = setting(0.0, "Share of pixels whose gain differs from that of the open-beam frames", least=0, most=1)
    drift: float = setting(0.0, "Share of the open beam that is lost by the last view", least=-0.9, most=0.9)
    jitter: float = setting(0.0, "Standard deviation of the views' true angles", "degrees", least=0)
    axis_offset: float = setting(0.0, "True place of the detector along +u against the geometry's", "mm")
    frames: int = setting(10, "Open-beam and dark frames, each", least=1, most=10_000)


@dataclass(frozen=True, eq=False)
class Exposure:
    """What `simulate_counts` gives.

    Attributes:
        counts: (views, rows, columns), int32; float32 without noise.
        flats, darks: (frames, rows, columns), likewise.
        geometry: as it was given: what a user would know.
        true_geometry: where the rays ran, with jitter and offset.
        dead: (rows, columns), true for a pixel that answers nothing.
        water: attenuation of a little water in this beam, 1/mm.
    """

    counts: np.ndarray
    flats: np.ndarray
    darks: np.ndarray
    geometry: Geometry
    true_geometry: Geometry
    dead: np.ndarray
    water: float


def simulate_counts(
    scanned: Volume | Sequence[Ellipsoid] | XrayObject,
    geometry: Geometry,
    scanner: XrayScanner = XrayScanner(),
    seed: int = 0,
    grid: Grid | None = None,
    noise: bool = True,
) -> Exposure:
    """Expose an object as a real scanner does.

    Args:
        scanned: a scan in HU, ellipsoids, or an object of your own.
        geometry: what the scanner believes of itself.
        scanner: all that is not ideal.
        seed: of all draws.
        grid: where the scan's voxels are, mm; None is about its middle.
        noise: without, counts are what is expected: no photon and read-out noise, no rounding.

    Raises:
        CosliceError: a grid of another shape than the scan, or one without a scan; a focal spot of rays that do not
            come from a point.
    """
    if isinstance(scanned, XrayObject):
        thing = scanned
    elif isinstance(scanned, Volume):
        thing = FineVoxels(scanned, grid, scanner.oversample)
    else:
        thing = Ellipsoids(tuple(scanned))
    if grid is not None and not isinstance(scanned, Volume):
        raise CosliceError(
            "simulate_counts: a grid was given without a scan whose voxels it could place; leave it out."
        )
    true = _misaligned(geometry, scanner, seed)
    detector = _DetectorPixels.drawn(scanner, geometry.shape[1:], seed)
    counts = np.empty(geometry.shape, np.int32 if noise else np.float32)
    last = max(geometry.views - 1, 1)
    for view, transmission in enumerate(_transmissions(thing, true, scanner)):
        beam = scanner.photons * (1 - scanner.drift * view / last)
        counts[view] = detector.read(beam * transmission, detector.in_scan, Key(seed, 0, "scan"), view, noise)
    frames = [np.full(geometry.shape[1:], light) for light in (scanner.photons, 0.0)]
    flats, darks = (
        np.stack([detector.read(frame, detector.in_flats, Key(seed, 0, word), i, noise) for i in range(scanner.frames)])
        for word, frame in zip(("flat", "dark"), frames, strict=True)
    )
    kind = counts.dtype
    water = scanner.spectrum.water()
    return Exposure(counts, flats.astype(kind), darks.astype(kind), geometry, true, detector.dead, water)


@dataclass(frozen=True, eq=False)
class _DetectorPixels:
    """The pixels' responses (rows, columns), in the open-beam frames and in the scan."""

    scanner: XrayScanner
    in_flats: np.ndarray
    in_scan: np.ndarray
    dead: np.ndarray

    @staticmethod
    def drawn(scanner: XrayScanner, shape: tuple[int, ...], seed: int) -> _DetectorPixels:
        def draws(word: str) -> np.random.Generator:
            return generator(Key(seed, 0, word), 0)

        gain = np.maximum(1 + scanner.gain * draws("gain").standard_normal(shape), 0.05)
        rings = draws("rings")
        off = np.where(rings.random(shape) < scanner.rings, _RING * rings.standard_normal(shape), 0.0)
        dead = draws("dead").random(shape) < scanner.dead
        gain[dead] = 0
        return _DetectorPixels(scanner, gain, gain * (1 + off), dead)

    def read(self, photons: np.ndarray, response: np.ndarray, key: Key, frame: int, noise: bool) -> np.ndarray:
        """Counts of one frame in which so many photons are expected."""
        scanner = self.scanner
        if noise:
            photons = generator(key, frame).poisson(photons).astype(np.float64)
        if scanner.blur:
            # Reflected at the edges, which keeps the sum.
            photons = ndimage.gaussian_filter(photons, scanner.blur / _FWHM, mode="reflect")
        counts = response * np.asarray(photons) + scanner.dark
        if not noise:
            return counts
        readout = generator(replace(key, stream=f"{key.stream}-e"), frame).standard_normal(counts.shape)
        return np.maximum(np.rint(counts + scanner.electronic * readout), 0)


def _transmissions(thing: XrayObject, geometry: Geometry, scanner: XrayScanner) -> Iterator[np.ndarray]:
    """T of view after view, (rows, columns)."""
    energies, shares = scanner.spectrum.lines()
    sources = _focal_spot(geometry, scanner.focal_spot)
    views, rows, columns = geometry.shape
    n = scanner.rays
    at_once = max(1, _RAYS_AT_ONCE // (rows * columns * n * n))
    for first in range(0, views, at_once):
        taken = range(first, min(first + at_once, views))
        total = np.zeros((len(taken), rows, columns))
        for source in sources:
            densities = thing.areal_densities(_divided(_chosen_views(source, taken), n))
            signal: NDArray[np.float64] = np.zeros((len(taken), rows * n, columns * n))
            for energy, share in zip(energies, shares, strict=True):
                exponent = sum(float(mass_attenuation(name, energy)) * t for name, t in densities.items())
                signal += share * np.exp(-np.asarray(exponent, np.float64))
            total += signal.reshape(len(taken), rows, n, columns, n).mean((2, 4))
        yield from total / len(sources)


def _misaligned(geometry: Geometry, scanner: XrayScanner, seed: int) -> Geometry:
    """Where the scanner stands in truth."""
    shift = scanner.axis_offset
    turns = np.radians(scanner.jitter) * generator(Key(seed, 0, "jitter"), 0).standard_normal(geometry.views)
    if scanner.jitter == 0 and shift == 0:
        return geometry
    if not isinstance(geometry, Orbit):
        angles = tuple(float(angle + turn) for angle, turn in zip(geometry.angles, turns, strict=True))
        return replace(geometry, angles=angles, offset=(geometry.offset[0], geometry.offset[1] + shift))
    column = np.array(geometry.column_step)
    centre = np.array(geometry.centre) + shift * column / np.linalg.norm(column, axis=1, keepdims=True)
    return replace(
        geometry,
        source=_turned(geometry.source, turns),
        centre=_turned(centre, turns),
        row_step=_turned(geometry.row_step, turns),
        column_step=_turned(column, turns),
    )


def _turned(vectors: Sequence[Sequence[float]] | np.ndarray, turns: np.ndarray) -> tuple[tuple[float, ...], ...]:
    """Each vector (x, y, z) turned about z, from x towards y."""
    x, y, z = np.moveaxis(np.asarray(vectors, dtype=np.float64), 1, 0)
    cosine, sine = np.cos(turns), np.sin(turns)
    return _vectors(np.stack((cosine * x - sine * y, sine * x + cosine * y, z), axis=1))


def _vectors(array: np.ndarray) -> tuple[tuple[float, ...], ...]:
    return tuple(tuple(map(float, vector)) for vector in array)


def _focal_spot(geometry: Geometry, width: float) -> list[Geometry]:
    """The geometry seen from each of the points that stand for the source."""
    if width == 0:
        return [geometry]
    if isinstance(geometry, FanBeam) or not geometry.divergent:
        raise CosliceError(
            f"simulate_counts: a focal spot of {width:g} mm was given for a {type(geometry).__name__}, whose rays do "
            "not come from a point; leave it out, or give a ConeBeam."
        )
    orbit = geometry.to_orbit()
    across, up = (
        np.array(steps) / np.linalg.norm(steps, axis=1, keepdims=True) for steps in (orbit.column_step, orbit.row_step)
    )
    away = width / math.sqrt(12)  # points at +-d have the variance d^2, a uniform width w has w^2/12
    source = np.array(orbit.source)
    return [replace(orbit, source=_vectors(source + away * (a * across + b * up))) for a in (-1, 1) for b in (-1, 1)]


def _chosen_views(geometry: Geometry, views: range) -> Geometry:
    """The same scanner at some of its views."""
    if not isinstance(geometry, Orbit):
        return replace(geometry, angles=geometry.angles[views.start : views.stop])
    fields = ("source", "centre", "row_step", "column_step")
    return replace(geometry, **{name: getattr(geometry, name)[views.start : views.stop] for name in fields})


def _divided(geometry: Geometry, n: int) -> Geometry:
    """Every pixel cut into n x n."""
    if n == 1:
        return geometry
    rows, columns = geometry.detector
    detector = (rows * n, columns * n)
    if not isinstance(geometry, Orbit):
        dv, du = geometry.pixel
        return replace(geometry, detector=detector, pixel=(dv / n, du / n))
    row, column = (_vectors(np.array(steps) / n) for steps in (geometry.row_step, geometry.column_step))
    return replace(geometry, detector=detector, row_step=row, column_step=column)
