"""Noise strategies whose correlation along the stack is in millimetres.

Slerp stretches with the stack: of 50 slices and of 300, the first and the last are a right angle apart, so how alike
two neighbours are depends on where the scan ends. Here it depends on the distance d between two slices alone:

    OrnsteinUhlenbeck(length)   corr = exp(-d/length)                                   rough
    Matern(length)              corr = (1 + sqrt(3) d/length) exp(-sqrt(3) d/length)    smooth
    Anchors(every)              slerp between Gaussian planes every so many mm          Slerp is the case of one span

The first two are Markov processes: the state of a slice, one plane or two, follows from that of the slice before and
from fresh planes (Rasmussen & Williams 2006, appendix B). So a stack of S slices costs O(S), the correlation is exact
whatever the spacing of slices, and a state for each lane is all that is held.

Every plane belongs to a slice or an anchor by its number, counted from the first slice. The leading slices of a taller
stack have bit for bit the noise of the shorter one.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from dataclasses import dataclass

from torch import Tensor

from coslice.noise import Key, Strategy, angle_between, standard_normal, standard_normals
from coslice.settings import setting

__all__ = ["Anchors", "Markov", "Matern", "OrnsteinUhlenbeck", "Transition"]

Rows = tuple[tuple[float, ...], ...]


@dataclass(frozen=True)
class Transition:
    """next state = kept @ state + fresh @ z, z fresh planes; kept kept^T + fresh fresh^T = 1 keeps unit variance."""

    kept: Rows
    fresh: Rows


@dataclass(frozen=True)
class Markov(Strategy):
    """Noise whose slices depend on the one before alone. An own one is a subclass with `transition`.

    A slab deep in a stack costs as much as all slices up to its last one: the recursion begins at the first slice.

    Attributes:
        length: of the correlation, mm.

    Raises:
        CosliceError: a length that is not above 0.
    """

    length: float = setting(5.0, "Distance over which the correlation falls", "mm", above=0)

    @abstractmethod
    def transition(self, distance: float) -> Transition:
        """From the state of a slice to that of one `distance` mm further; as many rows as the state has planes."""

    @property
    def label(self) -> str:
        return f"{self.title or type(self).__name__} {self.length:g} mm"

    def add_to_stack(self, stack: Tensor, scale: float, key: Key, first: int, count: int) -> None:
        # In float32 whatever the stack is.
        size = len(self.transition(self.spacing).kept)
        drawn = standard_normals(key, range(size * (first + len(stack))), tuple(stack.shape[1:]), stack.device)
        steps: dict[int, Transition] = {}
        states: dict[int, tuple[int, list[Tensor]]] = {}
        for i in range(first + len(stack)):
            lane = self.lanes[i]
            fresh = [next(drawn) for _ in range(size)]
            if lane not in states:
                state = fresh
            else:
                before, state = states[lane]
                step = steps.setdefault(i - before, self.transition((i - before) * self.spacing))
                state = [
                    _mixed((*kept, *new), (*state, *fresh)) for kept, new in zip(step.kept, step.fresh, strict=True)
                ]
            states[lane] = i, state
            if i >= first:
                stack[i - first].add_(state[0].to(stack), alpha=scale)


@dataclass(frozen=True)
class OrnsteinUhlenbeck(Markov):
    """Noise with corr(eps_i, eps_j) = exp(-d/length), d the distance between slices i and j.

        eps_0 = z_0,   eps_i = k eps_{i-1} + sqrt(1 - k^2) z_i,   k = exp(-spacing/length)

    (Uhlenbeck & Ornstein 1930.) One plane is drawn for each slice, and one is held. Short lengths lead to independent
    noise, long ones to identical noise.

    Attributes:
        length: distance at which the correlation is 1/e, mm.
    """

    kind, title = "ou", "OU"

    def transition(self, distance: float) -> Transition:
        decay = distance / self.length
        return Transition(((math.exp(-decay),),), ((math.sqrt(-math.expm1(-2 * decay)),),))


@dataclass(frozen=True)
class Matern(Markov):
    """Smooth noise, Matern's with nu = 3/2: corr = (1 + u) exp(-u), u = sqrt(3) d/length.

    It solves f'' + 2 k f' + k^2 f = white noise, k = sqrt(3)/length; with the state (f, f'/k),

        kept = exp(-u) [[1 + u, u], [-u, 1 - u]],    fresh fresh^T = 1 - kept kept^T.

    (Rasmussen & Williams 2006, eqs. 4.17 and B.27.) Two planes are drawn for each slice, and two are held.

    Attributes:
        length: distance at which the correlation is 0.48, mm.
    """

    kind, title = "matern", "Matérn"

    def transition(self, distance: float) -> Transition:
        u = math.sqrt(3) * distance / self.length
        decay = math.exp(-u)
        kept = ((decay * (1 + u), decay * u), (-decay * u, decay * (1 - u)))
        # The lower triangular root of 1 - kept kept^T. Its first entry is 4/3 u^3 at small u: a difference of numbers
        # near 1, which rounding may leave below 0.
        value = math.sqrt(max(0.0, 1 - kept[0][0] ** 2 - kept[0][1] ** 2))
        tied = 2 * (decay * u) ** 2 / value if value > 0 else 0.0
        slope = math.sqrt(max(0.0, 1 - kept[1][0] ** 2 - kept[1][1] ** 2 - tied**2))
        return Transition(kept, ((value, 0.0), (tied, slope)))


@dataclass(frozen=True)
class Anchors(Strategy):
    """Spherical interpolation between Gaussian planes that stand every L mm of the stack, the first at its first slice.

    Between anchors j and j + 1, with a = d/L of the way gone and Omega the angle between the two as drawn,

        eps = [sin((1 - a) Omega) z_j + sin(a Omega) z_{j+1}] / sin(Omega),

    which is ISCS (Du et al., ICLR 2026, eq. 11) span by span. Large planes are near a right angle: then

        corr = cos(pi (a_1 - a_2)/2) in one span, sin(pi a_1/2) cos(pi a_2/2) in neighbouring ones, 0 further away.

    A span as long as the stack is `Slerp`. An anchor is drawn when it is needed, so any slab is had without what is
    before it, and two planes for each lane are held.

    Attributes:
        every: L, mm.

    Raises:
        CosliceError: a distance that is not above 0.
    """

    kind, title = "anchors", "ISCS"

    every: float = setting(50.0, "Distance between neighbouring anchors", "mm", above=0)

    @property
    def label(self) -> str:
        return f"{self.title} {self.every:g} mm"

    def add_to_stack(self, stack: Tensor, scale: float, key: Key, first: int, count: int) -> None:
        spans: dict[int, _Span] = {}
        for i, plane in enumerate(stack, first):
            lane, place = self.lanes[i], i * self.spacing / self.every
            number = math.floor(place)
            last = spans.get(lane)
            if last is None or last.number != number:
                spans[lane] = last = self._span(key, stack, lane, number, last)
            a, omega = place - number, last.omega
            plane.add_(last.start.to(stack), alpha=scale * math.sin((1 - a) * omega) / math.sin(omega))
            plane.add_(last.end.to(stack), alpha=scale * math.sin(a * omega) / math.sin(omega))

    def _span(self, key: Key, stack: Tensor, lane: int, number: int, last: _Span | None) -> _Span:
        shape, device = tuple(stack.shape[1:]), stack.device
        if last is not None and last.number == number - 1:
            start = last.end
        else:
            start = standard_normal(key, self._index(lane, number), shape, device)
        end = standard_normal(key, self._index(lane, number + 1), shape, device)
        return _Span(number, start, end, angle_between(start, end))

    def _index(self, lane: int, anchor: int) -> int:
        # In pairs, so that the first two of every lane are those of Slerp, and one span is Slerp number for number.
        return 2 * (lane + self.lanes.count * (anchor // 2)) + anchor % 2


@dataclass(frozen=True)
class _Span:
    """Two neighbouring anchors, and the angle between them (rad)."""

    number: int
    start: Tensor
    end: Tensor
    omega: float


def _mixed(weights: tuple[float, ...], planes: tuple[Tensor, ...]) -> Tensor:
    total = planes[0] * weights[0]
    for weight, plane in zip(weights[1:], planes[1:], strict=True):
        if weight:
            total.add_(plane, alpha=weight)
    return total
