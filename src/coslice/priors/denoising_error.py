"""How good a prior is at what it is for: the error of its denoiser, by noise level and size of pixel.

Of images x and noise n,

    RMSE(sigma) = sqrt(mean (clip(D(x + sigma n, sigma)) - x)^2)

in units of the window (times its width: in HU). Training measures it of what it trains (`coslice.training.learning`),
and `measure_prior` of a finished prior on scans that it never saw: of the images as the scan has them, and of the same
with half as many pixels a side, twice as large, since a network that knows the one need not know the other.

Noise is counted, not drawn in turn (`coslice.noise`): that of image i of a scan depends on the seed and i alone, so
the numbers are the same whichever other slices are measured, and on any number of threads.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial

import numpy as np
import torch
from torch import Tensor

from coslice.axes import axis_number
from coslice.devices import finish, machine_words
from coslice.errors import CosliceError
from coslice.noise import Key, standard_normals
from coslice.priors.denoisers import MARGIN
from coslice.priors.partitions import Patch
from coslice.priors.slices import SlicePrior
from coslice.priors.supervised import tasks_of
from coslice.resampling import resize
from coslice.values import Settled, settle
from coslice.volume import Volume
from coslice.window import EMPTY, Window

__all__ = ["SIGMAS", "ErrorRow", "Measurement", "mean_squares", "measure_prior", "settled_for"]

SIGMAS = (0.01, 0.03, 0.1, 0.3, 1.0, 3.0)
"""Noise levels at which priors are measured."""

_AT_ONCE = 16
"""Images in memory together."""
_HALVED = 16
"""Pixels of a side, from which on images are halved."""
_TIMED = 0.1
"""Noise level at which evaluations are timed, or the nearest that is measured."""
_NEEDED = {"HU": "ct", "a.u.": "mr"}
"""What a scan's numbers must be by the unit of the prior's window, see `coslice.values.settle`."""

Progress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class ErrorRow:
    """What was measured of one scan, at one size of pixel.

    Attributes:
        scan: its number, from 1; a card names no scan.
        kind: "slices", or of patches "neighbours" and "jumping".
        images: how many were measured.
        pixels: rows and columns of an image.
        pixel_mm: between rows and between columns.
        apart_mm: between the slices of the scan, or of a patch.
        rmse: by noise level, in units of the window, as in {"0.1": 0.02}; of patches over all of their slices.
        rmse_hu: the same in HU; {} where the window is not in HU.
        seconds: that one evaluation took, for each slice in it, all threads together.
    """

    scan: int
    kind: str
    images: int
    pixels: tuple[int, int]
    pixel_mm: tuple[float, float]
    apart_mm: float
    rmse: dict[str, float]
    rmse_hu: dict[str, float] = field(default_factory=dict)
    seconds: float = 0.0


@dataclass(frozen=True)
class Measurement:
    """What a prior was found to be good for. A card holds it under "measured", as plain values.

    Attributes:
        rows: for each scan, its sizes of pixel; of patches, neighbours and jumping ones.
        seed: of the noise.
        machine: that it was measured on, in words.
        arithmetic: in what the network multiplied there, which moves the last digits.
    """

    rows: tuple[ErrorRow, ...]
    seed: int = 0
    machine: str = ""
    arithmetic: str = ""


def mean_squares(
    denoise: Callable[[Tensor, float], Tensor],
    images: Tensor,
    numbers: Sequence[int],
    sigmas: Sequence[float],
    seed: int = 0,
) -> np.ndarray:
    """Mean squares of clip(D(x + sigma n, sigma)) - x, (noise levels, images) float64.

    Args:
        denoise: D, of images (n, slices, rows, columns) at one noise level.
        images: x, in the unit window, where D is computed.
        numbers: of the images, by which they have their noise.
        sigmas: noise levels.
        seed: of the noise.
    """
    shape = tuple(images.shape[1:])
    noise = torch.stack([*standard_normals(Key(seed, 0, "validate"), numbers, shape)]).to(images.device)
    found = np.empty((len(sigmas), len(images)))
    for k, sigma in enumerate(sigmas):
        errors = denoise(images + sigma * noise, sigma).clamp(0, 1) - images
        for i, error in enumerate(errors.cpu()):
            # Summed by numpy, on one thread and in double precision: the same on any number of them.
            found[k, i] = np.square(error.numpy().astype(np.float64)).mean()
    return found


def measure_prior(
    prior: SlicePrior,
    scans: Sequence[Volume],
    slices: tuple[int | None, int | None] = (None, None),
    most: int = 32,
    seed: int = 0,
    values: str | None = None,
    progress: Progress = lambda phase, done, total: None,
) -> Measurement:
    """The denoising error of a prior on scans, by size of pixel and noise level; see the module.

    Args:
        prior: a diffusion prior, of slices or of patches.
        scans: in their own units; those that it was not trained on say what it is good for.
        slices: first and last (not included) along the axis that the prior's images are stacked along; None is an end.
        most: images of a scan, evenly through it, those left out that show nothing.
        seed: of the noise.
        values: what the numbers of the scans are, as in "hu+1024", see `coslice.values.parse_values`; None looks.
        progress: called with a phase, what is done of it, and of how much.

    Raises:
        CosliceError: an FBP-UNet, which takes no noise; a range of slices that a scan does not have, or in which it
            shows nothing; slices that the network cannot take; numbers that are not in the unit of its window.
    """
    if tasks := tasks_of(prior.card):
        raise CosliceError(
            f"prior {prior.name}: it removes artefacts of {', '.join(tasks)} and no noise, so it has no error by noise "
            "level; its card has its errors by task, which coslice train measures at the end of a run."
        )
    low, high = prior.sigma_range
    sigmas = [sigma for sigma in SIGMAS if low * (1 - MARGIN) <= sigma <= high * (1 + MARGIN)]
    if not sigmas:
        raise CosliceError(
            f"prior {prior.name}: it was trained for sigma {low:g} to {high:g}, but it is measured at "
            f"{', '.join(f'{sigma:g}' for sigma in SIGMAS)}, of which it needs one."
        )
    if not scans or most < 1:
        raise CosliceError(
            f"measure: {len(scans)} scans and at most {most} images of each were given, at least 1 of both is needed."
        )
    stacks = [_stack(prior, scan, slices, values) for scan in scans]  # all, before hours are spent on the first
    rows: list[ErrorRow] = []
    for number, whole in enumerate(stacks, 1):
        for stack in (whole, whole.halved()):
            for kind, patches in () if stack is None else _chosen(prior, stack, most):
                assert stack is not None
                phase = f"scan {number} of {len(stacks)}, {stack.images.shape[-1]} pixels across"
                squares, seconds = _squares(prior, stack, patches, sigmas, seed, partial(progress, phase))
                rmse = dict(zip(sigmas, np.sqrt(squares.mean(axis=1)).tolist(), strict=True))
                rows.append(_row(stack, number, kind, patches, rmse, seconds))
    return Measurement(tuple(rows), seed, machine_words(_device(prior)), prior.products)


def settled_for(prior: SlicePrior, scan: Volume, values: str | None = None) -> Settled:
    """A scan in the unit of a prior's window, with what was done to it.

    Raises:
        CosliceError: as `coslice.values.settle`.
    """
    return settle(scan, _NEEDED.get(prior.window_for(scan).unit, ""), values)


@dataclass(frozen=True)
class _Stack:
    """A scan as the prior meets it: images (n, rows, columns) in the unit window, mm of (slices, rows, columns)."""

    images: Tensor
    spacing: tuple[float, float, float]
    window: Window
    first: int

    def halved(self) -> _Stack | None:
        """With half as many pixels a side; None of images that are small already."""
        rows, columns = self.images.shape[1:]
        if min(rows, columns) < _HALVED:
            return None
        size = round(rows / 2), round(columns / 2)
        apart, down, across = self.spacing
        spacing = apart, down * rows / size[0], across * columns / size[1]
        return _Stack(resize(self.images, size), spacing, self.window, self.first)


def _stack(prior: SlicePrior, scan: Volume, slices: tuple[int | None, int | None], values: str | None) -> _Stack:
    settled = settled_for(prior, scan, values).scan
    window = prior.window_for(settled)
    order = [axis_number(axis) for axis in (prior.along, *prior.plane)]
    data = settled.data.permute(order)
    first, last = 0 if slices[0] is None else slices[0], len(data) if slices[1] is None else slices[1]
    if not 0 <= first < last <= len(data):
        raise CosliceError(
            f"measure: slices {first}:{last} along {prior.along} were asked for, but the scan has {len(data)} there; "
            "name a range within."
        )
    prior.check(tuple(settled.shape))
    apart, down, across = (settled.spacing[axis] for axis in order)
    return _Stack(window.to_unit(data[first:last]).contiguous(), (apart, down, across), window, first)


def _chosen(prior: SlicePrior, stack: _Stack, most: int) -> Iterator[tuple[str, list[Patch]]]:
    """By kind, the images to measure: at most so many, evenly through those that show something.

    Raises:
        CosliceError: none does; fewer slices than a patch has.
    """
    shown = (stack.images.amax(dim=(1, 2)) >= EMPTY).nonzero().flatten().tolist()
    count, k = len(stack.images), prior.channels
    if not shown or count < k:
        lacking = f"{count} slices, and a patch has {k}" if shown else "nothing in the window of the prior"
        raise CosliceError(f"measure: a scan has {lacking}; give others, or more slices.")
    middles = [shown[i] for i in np.unique(np.linspace(0, len(shown) - 1, min(most, len(shown))).round().astype(int))]
    for kind, gap in (("slices", 1),) if k == 1 else (("neighbours", 1), ("jumping", k)):
        reach = (k - 1) * gap
        if reach < count:  # too few slices for one patch of jumping ones are none
            starts = [min(max(0, middle - reach // 2), count - 1 - reach) for middle in middles]
            yield (
                kind,
                [Patch(tuple(range(s, s + reach + 1, gap)), tuple(range(k)), gap) for s in dict.fromkeys(starts)],
            )


def _squares(
    prior: SlicePrior,
    stack: _Stack,
    patches: list[Patch],
    sigmas: list[float],
    seed: int,
    heard: Callable[[int, int], None],
) -> tuple[np.ndarray, float]:
    """Mean squares of the error, (noise levels, images), and the seconds that an evaluation took for each slice."""
    device, apart = _device(prior), stack.spacing[0]
    timed = min(sigmas, key=lambda sigma: abs(sigma - _TIMED))
    found: list[np.ndarray] = []
    seconds = math.inf
    for start in range(0, len(patches), _AT_ONCE):
        heard(start, len(patches))
        some = patches[start : start + _AT_ONCE]
        label = prior.label(some, apart, device)
        images = torch.stack([stack.images[list(patch.slices)] for patch in some]).to(device)
        numbers = [stack.first + patch.slices[0] for patch in some]
        denoise = partial(_denoised, prior, label)
        found.append(mean_squares(denoise, images, numbers, sigmas, seed))
        began = time.perf_counter()  # of what has just been done, so nothing is loaded or compiled any more
        denoise(images, timed)
        finish(device)
        seconds = min(seconds, (time.perf_counter() - began) / images.shape[:2].numel())
    heard(len(patches), len(patches))
    return np.concatenate(found, axis=1), seconds


def _denoised(prior: SlicePrior, label: Tensor | None, x: Tensor, sigma: float) -> Tensor:
    return prior(x, sigma, label)


def _row(
    stack: _Stack, number: int, kind: str, patches: list[Patch], rmse: dict[float, float], seconds: float
) -> ErrorRow:
    apart, down, across = stack.spacing
    rows, columns = stack.images.shape[1:]
    width = stack.window.width if stack.window.unit == "HU" else 0.0
    return ErrorRow(
        scan=number,
        kind=kind,
        images=len(patches),
        pixels=(rows, columns),
        pixel_mm=(round(down, 4), round(across, 4)),
        apart_mm=round(patches[0].gap * apart, 4),
        rmse={f"{sigma:g}": round(error, 6) for sigma, error in rmse.items()},
        rmse_hu={f"{sigma:g}": round(error * width, 2) for sigma, error in rmse.items()} if width else {},
        seconds=float(f"{seconds:.3g}"),
    )


def _device(prior: SlicePrior) -> torch.device:
    first = next(prior.denoiser.parameters(), None)
    return torch.device("cpu") if first is None else first.device
