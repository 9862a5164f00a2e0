"""Training images, cut out of a pack: which slice, which window of it, at which resolution.

A prior should know a body in coarse pixels and in fine ones, whole and in part. So a step draws one *view*
(a side in pixels, a range of zooms), and every image of the step is a window of side x side pixels of a
slice zoomed by s, ln s uniform in the view's range:

    e = side / s                                stored pixels under the window; cut there, at random
    e_rows = side / (s s')                      where a view stretches: ln s' uniform in its range
    u = a (antialiased bilinear) e -> side      the zoom, turned by an angle uniform in -rotate..rotate (`turning`)
    u' = clip(g u + o),  u > 0                  scanners differ in gain g and offset o; air stays 0

Stored values are steps of a staircase q wide. A network that sees the staircase learns it, so each value
is moved to a random place on its own step, u + q (r - 1/2) with r uniform, before anything else.

Planes across slices have pixels that are no squares (coronal CT: 1.5 mm by the slices' 3 mm). Stretching shows a
prior of such planes many aspect ratios, so that it serves scans of other thickness.

A patch is k slices of one scan as channels of one image: neighbours, or slices k apart (DiffusionBlend's cross
partition), under one window. Its network is given how many mm apart they are, so it learns from thin slices and
thick ones. A slice d mm thick is drawn as often as 1/d, or the few scans of thin slices would hardly be seen.

**Slices no thinner than some mm.** Thin slices hold more of their scanner's noise, and a prior that is shown them as
truth learns to make that noise. With a least thickness T, a slice k of a scan whose slices are d < T mm apart is shown
as what a scanner makes of its recording when asked for slices of T mm,

    u_k = sum_j w_j x_j,        w_j = |[(j - 1/2) d, (j + 1/2) d]  with  [k d - T/2, k d + T/2]| / T,

within the scan, so that the weights sum to 1. Noise that is independent from slice to slice falls by sum_j w_j^2, to
about d/T in variance. What it costs is detail along the stack: what is thinner than T fades by its part of T, and a
slanted edge is as blurred as in a slice of T mm. In the slice nothing is smoothed. Scans of thicker slices are as they
are. (Learning to predict a slice from its neighbours, as Noise2Noise does, would not do: at low noise levels D is the
identity, which no neighbour is, and its loss has the weight 1/sigma^2 there.)

Image number `item` of step `step` depends on (seed, step, item) alone (a Philox counter, as in
`coslice.noise`), never on the size of the batch, on threads, ranks or the images before: a run that is
resumed, or spread over machines, sees what an uninterrupted one sees.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from coslice.errors import CosliceError
from coslice.noise import Key, generator
from coslice.resampling import resize
from coslice.training.collection.catalogue import Pack
from coslice.training.sections import AugmentSettings, PatchSettings, View
from coslice.training.supply.turning import Span, Turned
from coslice.training.supply.views import Views, locate

__all__ = ["SliceStream"]

_SINGLE = PatchSettings()


@dataclass(frozen=True)
class _Choice:
    """What an image is to show: rows of the scan number `stack`, `gap` apart, and seven numbers in [0, 1)."""

    stack: int
    rows: list[int]
    gap: int
    numbers: tuple[float, ...]


class SliceStream(Views):
    """An endless, numbered supply of images of some scans of a pack.

    Args:
        pack: the slices.
        names: the scans to draw from; every slice is equally likely, of patches in proportion to 1/(its mm).
        views: the kinds of batches.
        augment: how images are varied.
        seed: the user's.
        patches: what the channels of an image are.
        classes: of neighbouring and of jumping slices, for a network that is told these instead of mm.
        thickness: least, in mm, of the slices that are shown; None shows them as they are.

    Raises:
        CosliceError: no names, a name the pack does not have, no views.
    """

    def __init__(
        self,
        pack: Pack,
        names: Sequence[str],
        views: Sequence[View],
        augment: AugmentSettings,
        seed: int,
        patches: PatchSettings = _SINGLE,
        classes: tuple[int, int] | None = None,
        thickness: float | None = None,
    ):
        super().__init__(views, seed)
        self.pack, self.names, self.augment, self.thickness = pack, tuple(names), augment, thickness or 0.0
        self.patches, self.classes = patches, classes
        self._stacks, self._steps, self._ends = _opened(pack, names)
        self._pixels = [pack.scan(name).spacing[1:] for name in names]
        self._spacing = [pack.scan(name).spacing[0] for name in names]
        lengths = [len(stack) for stack in self._stacks]
        self._thick = self._spacing if patches.slices > 1 else [1.0] * len(lengths)
        self._weights = np.cumsum([length / mm for length, mm in zip(lengths, self._thick, strict=True)])

    def __len__(self) -> int:
        """Number of different slices."""
        return int(self._ends[-1])

    def batch(self, step: int, batch: int, first: int = 0, count: int | None = None) -> Tensor:
        """Images first..first+count-1 of step `step` (all of them by default), (count, slices, side, side) in [0, 1].

        Raises:
            CosliceError: the step does not have these images.
        """
        view, count = self.view(step), self.checked_count(step, batch, first, count)
        out = np.zeros((count, self.patches.slices, view.side, view.side), dtype=np.float32)
        for i in range(count):
            self._draw(out[i], view, generator(Key(self.seed, step, "slices"), first + i))
        return torch.from_numpy(out)

    def distances(self, step: int, first: int, count: int) -> Tensor:
        """mm between the slices of images first..first+count-1 of step `step`, or their classes: (count,)."""
        chosen = [self._choose(generator(Key(self.seed, step, "slices"), first + i)) for i in range(count)]
        told = [self.told(choice.gap, self._spacing[choice.stack]) for choice in chosen]
        return torch.tensor(told, dtype=torch.float32)

    def told(self, gap: int, spacing: float) -> float:
        """What a network is told of slices that are `gap` apart."""
        return gap * spacing if self.classes is None else self.classes[gap > 1]

    def validation(self, names: Sequence[str], count: int, side: int) -> tuple[Tensor, Tensor]:
        """`count` whole images (fewer, if there are fewer slices) of the scans `names`, never varied.

        Returns:
            (n, slices, side, side), and what `distances` says of them (n,); as many patches jump as in training.

        They are evenly spaced through the scans put end to end. Each is shrunk to fit (not enlarged), which is half
        resolution where `side` is half of a slice's, put in the middle, and surrounded by zeros. Its rows are first
        stretched as images are in training: by the geometric mean of the range of the first view of that side (or of
        the first of all).

        Raises:
            CosliceError: no names, or one the pack does not have; a count or side below 1.
        """
        if min(count, side) < 1:
            raise CosliceError(
                f"validation: {count} slices of side {side} were asked for, at least 1 of each is needed."
            )
        stacks, _, ends = _opened(self.pack, names)
        count = min(count, int(ends[-1]))
        out = np.zeros((count, self.patches.slices, side, side), dtype=np.float32)
        distances = torch.zeros(count)
        stretch = math.sqrt(math.prod(next((v for v in self.views if v.side == side), self.views[0]).stretch))
        for i, index in enumerate((np.arange(count) + 0.5) * ends[-1] / count):
            stack, middle = locate(ends, int(index))
            jumping = int((i + 1) * self.patches.jump) > int(i * self.patches.jump)
            rows, gap = self.patches.rows(middle, jumping, len(stacks[stack]))
            raw = stacks[stack][rows]
            height, width = raw.shape[1] * stretch, raw.shape[2]
            scale = min(1.0, side / max(height, width))
            image = _zoomed(_unit(raw), max(1, round(height * scale)), max(1, round(width * scale)))
            _place(out[i], image, 0.5, 0.5)
            distances[i] = self.told(gap, self.pack.scan(names[stack]).spacing[0])
        return torch.from_numpy(out), distances

    def _choose(self, generator: np.random.Generator) -> _Choice:
        pick, *numbers = generator.random(8)
        place = pick * self._weights[-1]
        stack = int(np.searchsorted(self._weights, place, side="right"))
        before = self._weights[stack - 1] if stack else 0.0
        count = len(self._stacks[stack])
        middle = min(int((place - before) * self._thick[stack]), count - 1)
        if self.patches.slices == 1:
            return _Choice(stack, [middle], 1, tuple(numbers))
        jump, flip = generator.random(2)
        rows, gap = self.patches.rows(middle, jump < self.patches.jump, count)
        return _Choice(stack, rows[::-1] if flip < self.patches.flip else rows, gap, tuple(numbers))

    def _draw(self, out: np.ndarray, view: View, generator: np.random.Generator) -> None:
        """Fill `out` (slices, side, side), which is zero, with one image."""
        choice = self._choose(generator)
        stack, (zoom, down, across, rows, columns, gain, offset) = choice.stack, choice.numbers
        low, high = view.scale
        scale, taller = low * (high / low) ** zoom, 1.0
        if view.stretch != (1, 1):
            low, high = view.stretch
            taller = low * (high / low) ** generator.random()
        turn = 0.0
        if self.augment.rotate:
            turn = math.radians(self.augment.rotate) * (2 * generator.random() - 1)
        stored = self._stacks[stack]
        spans = _window(stored.shape[1:], view.side, (scale * taller, scale), (down, across))
        region = tuple(slice(span.start, span.start + span.shown) for span in spans)
        turned = Turned(spans, view.side, stored.shape[1:], self._pixels[stack], turn) if turn else None
        region = turned.region if turned else region
        near, mixing = _slab(choice.rows, len(stored), self._spacing[stack], self.thickness)
        raw = stored[:, region[0], region[1]][near]
        image = _unit(raw)
        if self.augment.dequantise:
            noise = generator.random(raw.shape, dtype=np.float32)
            noise -= 0.5
            noise *= self._steps[stack]
            # What was clipped to an end of the window is no rounded value.
            noise *= (raw > 0) & (raw < self.pack.full)
            image += noise
            np.clip(image, 0, 1, out=image)
        image = _mixed(mixing, image)
        image = turned(image) if turned else _zoomed(image, spans[0].size, spans[1].size)
        image = _jitter(image, 1 + self.augment.gain * (2 * gain - 1), self.augment.offset * (2 * offset - 1))
        if rows < self.augment.flip_rows:
            image = image[:, ::-1]
        if columns < self.augment.flip_columns:
            image = image[:, :, ::-1]
        _place(out, image, down, across)


def _opened(pack: Pack, names: Sequence[str]) -> tuple[list[np.ndarray], list[float], np.ndarray]:
    """Of the scans `names`: stacks of slices, widths of a step, and the number of slices up to and including each."""
    if not names:
        raise CosliceError("SliceStream: no scan was named, at least one is needed.")
    scans = [pack.scan(name) for name in names]
    steps = [max(scan.quantum, 1 / pack.full) for scan in scans]
    return [pack.slices(scan.name) for scan in scans], steps, np.cumsum([scan.shape[0] for scan in scans])


def _window(
    shape: tuple[int, int], side: int, scales: tuple[float, float], places: tuple[float, float]
) -> tuple[Span, Span]:
    """What of slices of `shape` is under a window at the relative places (down, across), by rows and columns.

    `scales` are the zooms of rows and of columns.
    """
    spans = []
    for length, scale, where in zip(shape, scales, places, strict=True):
        extent = max(1, round(side / scale))
        shown = min(extent, length)
        size = side if shown == extent else max(1, min(side, round(length * side / extent)))
        spans.append(Span(int(where * (length - shown + 1)), shown, size, int(where * (side - size + 1))))
    return spans[0], spans[1]


def _slab(rows: list[int], count: int, mm: float, thickness: float) -> tuple[list[int], np.ndarray | None]:
    """Slices that are read for `rows` of a scan of `count`, and how they are mixed (rows, read); None: not at all."""
    if thickness <= mm:
        return rows, None
    half = thickness / mm / 2
    # Overlaps of each slice with the slab about each row, in slices.
    all_of = np.arange(max(0, math.floor(min(rows) - half)), min(count, math.ceil(max(rows) + half) + 1))
    middle = np.array(rows)[:, None]
    overlap = np.minimum(all_of + 0.5, middle + half) - np.maximum(all_of - 0.5, middle - half)
    overlap = overlap.clip(min=0.0)
    read = overlap.any(axis=0)
    return all_of[read].tolist(), (overlap / overlap.sum(axis=1, keepdims=True))[:, read]


def _mixed(mixing: np.ndarray | None, image: np.ndarray) -> np.ndarray:
    if mixing is None:
        return image
    mixed = np.zeros((len(mixing), *image.shape[1:]), dtype=np.float32)
    for weights, target in zip(mixing.astype(np.float32), mixed, strict=True):
        for i in np.flatnonzero(weights):
            target += weights[i] * image[i]
    return mixed


def _unit(raw: np.ndarray) -> np.ndarray:
    return raw.astype(np.float32) * np.float32(1 / np.iinfo(raw.dtype).max)


def _zoomed(image: np.ndarray, height: int, width: int) -> np.ndarray:
    return resize(torch.from_numpy(image), (height, width)).numpy()


def _jitter(image: np.ndarray, gain: float, offset: float) -> np.ndarray:
    image *= np.float32(gain)
    if offset:
        image += np.float32(offset) * (image > 0)
    return np.clip(image, 0, 1, out=image)


def _place(out: np.ndarray, image: np.ndarray, down: float, across: float) -> None:
    """Copy `image` into the larger `out`, at relative place (down, across) of the room there is."""
    (height, width), (rows, columns) = image.shape[1:], out.shape[1:]
    top, left = int(down * (rows - height + 1)), int(across * (columns - width + 1))
    out[:, top : top + height, left : left + width] = image
