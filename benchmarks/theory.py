"""How much noise of neighbouring slices should have in common: the tables and the drawing of docs/theory.md.

    python benchmarks/theory.py                    # prints the tables, in seconds
    python benchmarks/theory.py --docs docs        # and puts them, and the drawing, into the page

Nothing is sampled: everything is linear and Gaussian, and the covariance of the sampler's error is followed from step
to step. tests/sampling/test_theory.py holds the recursion against the sampling loop itself.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from coslice.io.files import write_text
from coslice.methods import DDS

Array = NDArray[np.float64]
Weight = Callable[[Array, Array], Array]
"""Covariances of the prediction's error and of its change since the last step -> metric W of the data step."""

SIGMAS = DDS.renoising.sigmas(DDS.schedule)


# Covariances along a stack of slices, distances in slices


def ou(count: int, length: float) -> Array:
    """exp(-d/length); the identity at length 0, all ones at infinity."""
    distance = np.abs(np.subtract.outer(np.arange(count), np.arange(count))).astype(float)
    if length == 0:
        return np.eye(count)
    return np.exp(-distance / length)


def slerp(count: int) -> Array:
    place = np.arange(count) / (count - 1)
    return np.cos(math.pi / 2 * np.subtract.outer(place, place))


def rows(count: int, pitch: float) -> Array:
    """Detector rows that are `pitch` slices high, each the mean of what it covers; none reaches beyond."""
    edges = np.arange(0, count - pitch + 1e-9, pitch)
    slices = np.arange(count)
    covered = np.minimum(edges[:, None] + pitch, slices + 1) - np.maximum(edges[:, None], slices)
    return np.maximum(covered, 0) / pitch


# The recursion


def identity(error: Array, change: Array) -> Array:
    """The published data step: every voxel is trusted alike."""
    return np.eye(len(error))


def null_space(a: Array, w: Array) -> Array:
    """N = I - W A^T (A W A^T)^+ A: what the data step leaves of the error of a prediction."""
    gain = w @ a.T @ np.linalg.pinv(a @ w @ a.T, rcond=1e-9, hermitian=True) if len(a) else np.zeros((len(w), 0))
    return np.eye(len(w)) - gain @ a


@dataclass(frozen=True)
class Error:
    """After a step: E = E[e e^T] and B = E[e x^T] of the estimate, and F = E[f f^T] of the prediction before it."""

    estimate: Array
    with_truth: Array
    prediction: Array


def follow(
    truth: Array, a: Array, noise: Array, sigmas: Sequence[float] = SIGMAS, weight: Weight = identity
) -> list[Error]:
    """The error after each step of the loop, started at A^+ y.

    Args:
        truth: C, covariance of the stack; the prior knows its diagonal alone.
        a: A (measurements, slices).
        noise: K, covariance of the noise, with ones on its diagonal.
        sigmas: levels, then 0.
        weight: W of the data step of every step.
    """
    eye, variances = np.eye(len(truth)), np.diag(truth)
    first = null_space(a, eye)
    e, b, n = first @ truth @ first.T, -first @ truth, first
    f, f_with_truth = np.zeros_like(truth), np.zeros_like(truth)
    steps = []
    for sigma, _ in pairwise(sigmas):
        g = np.diag(variances / (variances + sigma**2))

        def moved(by: Array, before: Array, with_truth: Array, g: Array = g, sigma: float = sigma) -> Array:
            """Covariance of by u + g sigma eps - (1 - g) x, from those of u with itself and with x."""
            shared = by @ with_truth @ (eye - g)
            fresh = sigma**2 * g @ noise @ g + (eye - g) @ truth @ (eye - g)
            return by @ before @ by.T + fresh - shared - shared.T

        new = moved(g, e, b)
        if weight is not identity:
            change = moved(g @ n - eye, f, f_with_truth) if steps else new
            n = null_space(a, weight(new, change))
        f, f_with_truth = new, g @ b - (eye - g) @ truth
        e, b = n @ f @ n.T, n @ f_with_truth
        steps.append(Error(e, b, f))
    return steps


def gain(s: float, sigmas: Sequence[float] = SIGMAS) -> tuple[float, float]:
    """v/s^2 and b: where A is silent, estimate = noise of variance v and (1 - b) of the start, which b is away from."""
    v, kept = 0.0, 1.0
    for sigma in sigmas[:-1]:
        g = s**2 / (s**2 + sigma**2)
        v, kept = g**2 * (v + sigma**2), g * kept
    return v / s**2, 1 - kept


# What is looked at


def mean_square(covariance: Array) -> float:
    return float(np.trace(covariance)) / len(covariance)


def difference(covariance: Array) -> float:
    """Mean of E|u_{i+1} - u_i|^2."""
    d = np.diff(np.eye(len(covariance)), axis=0)
    return mean_square(d @ covariance @ d.T)


@dataclass(frozen=True)
class Scan:
    """A stack whose in-plane directions are partly measured, with rows of some pitch, and partly not at all.

    Attributes:
        length: correlation length l of the stack, slices.
        pitch: of the rows, slices.
        measured: share of the in-plane directions that the views measure.
        s: standard deviation of what the prior does not know.
        count: slices.
    """

    length: float
    pitch: float
    measured: float = 0.5
    s: float = 0.05
    count: int = 60

    @property
    def truth(self) -> Array:
        return self.s**2 * ou(self.count, self.length)

    def parts(self) -> list[tuple[float, Array]]:
        return [
            (self.measured, rows(self.count, self.pitch)),
            (1 - self.measured, np.zeros((0, self.count))),
        ]

    @cached_property
    def _without_noise(self) -> list[tuple[float, Array, Array, Array]]:
        """Share, N, and E and B of noise 0: the noise adds v N K N^T to E and nothing to B."""
        zero, eye = np.zeros((self.count, self.count)), np.eye(self.count)
        found = []
        for share, a in self.parts():
            last = follow(self.truth, a, zero)[-1]
            found.append((share, null_space(a, eye), last.estimate, last.with_truth))
        return found

    def error(self, noise: Array) -> Array:
        """Covariance of the last estimate's error."""
        v = gain(self.s)[0] * self.s**2
        total = np.zeros((self.count, self.count))
        for share, n, e, _ in self._without_noise:
            total += share * (e + v * n @ noise @ n.T)
        return total

    def estimate(self, noise: Array) -> Array:
        """Covariance of the last estimate itself."""
        total = self.truth + self.error(noise)
        for share, _, _, b in self._without_noise:
            total += share * (b + b.T)
        return total

    def posterior(self) -> float:
        """Mean square error of the posterior's mean, relative to s^2: of who knows C."""
        left = [share * mean_square(null_space(a, self.truth) @ self.truth) for share, a in self.parts()]
        return sum(left) / self.s**2

    def flicker(self, noise: Array) -> float:
        """SDiff of the estimate over that of the truth: roots of energies, as all is Gaussian."""
        return math.sqrt(difference(self.estimate(noise)) / difference(self.truth))

    def best_length(self) -> float:
        """L at which SDiff is the truth's; 0 where independent noise has too little, inf where all has too much."""
        if self.flicker(ou(self.count, 0)) <= 1:
            return 0.0
        low, high = 1e-2, 1e5
        if self.flicker(ou(self.count, high)) > 1:
            return math.inf
        for _ in range(24):
            middle = math.sqrt(low * high)
            low, high = (middle, high) if self.flicker(ou(self.count, middle)) > 1 else (low, middle)
        return high


# Tables


def table(heads: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    marks = ["---", *["---:"] * (len(heads) - 1)]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in (heads, marks, *lines))


def gains() -> str:
    lines = []
    for s in (0.01, 0.02, 0.05, 0.1, 0.2):
        v, b = gain(s)
        fine, _ = gain(s, fine_sigmas())
        lines.append([f"{s:g}", f"{v:.3f}", f"{b:.3f}", f"{fine:.3f}"])
    return table(["s", "v/s^2, 30 steps", "b, 30 steps", "v/s^2, 3000 steps from 5"], lines)


def fine_sigmas() -> tuple[float, ...]:
    ratio = (1e-4 / 5) ** (1 / 2999)
    return (*(5 * ratio**i for i in range(3000)), 0.0)


def kernels(count: int, length: float) -> dict[str, Array]:
    return {
        "independent": ou(count, 0),
        "OU l/4": ou(count, length / 4),
        "OU l/2": ou(count, length / 2),
        "OU l": ou(count, length),
        "OU 4 l": ou(count, 4 * length),
        "slerp": slerp(count),
        "identical": ou(count, math.inf),
    }


PITCHES = (0.5, 1, 2, 3, 5)
LENGTH = 8.0


def errors() -> str:
    lines = []
    for pitch in PITCHES:
        scan = Scan(LENGTH, pitch)
        found = [mean_square(scan.error(k)) / scan.s**2 for k in kernels(scan.count, LENGTH).values()]
        lines.append([f"{pitch:g}", *(f"{value:.3f}" for value in found), f"{scan.posterior():.3f}"])
    return table(["row, slices", *kernels(2, LENGTH), "posterior mean"], lines)


def flickers() -> str:
    lines = []
    for pitch in PITCHES:
        scan = Scan(LENGTH, pitch)
        lines.append([f"{pitch:g}", *(f"{scan.flicker(k):.2f}" for k in kernels(scan.count, LENGTH).values())])
    return table(["row, slices", *kernels(2, LENGTH)], lines)


def best_lengths() -> str:
    lines = []
    for pitch in PITCHES:
        found = [Scan(length, pitch).best_length() for length in (2, 4, 8, 16, 32)]
        lines.append([f"{pitch:g}", *(f"{value:.1f}" for value in found)])
    v, _ = gain(0.05)
    formula = [-1 / math.log(1 - (1 - math.exp(-1 / length)) / v) for length in (2, 4, 8, 16, 32)]
    lines.append(["formula", *(f"{value:.1f}" for value in formula)])
    return table(["row, slices", *(f"l = {length}" for length in (2, 4, 8, 16, 32))], lines)


def two_voxels(ratio: float, wrong: float = 1.0, power: float = 1.0) -> float:
    """Error for W = C_e^power, its first entry times `wrong`, over the least; C_e = diag(ratio, 1), y = x_1 + x_2."""
    t = wrong * ratio**power / (wrong * ratio**power + 1)
    return ((1 - t) ** 2 * ratio + t**2) * (ratio + 1) / ratio


def wrongs() -> str:
    lines = []
    for ratio in (1, 2, 4, 10, 100):
        cells = [
            two_voxels(ratio, power=0),
            two_voxels(ratio, power=0.5),
            1.0,
            two_voxels(ratio, 2),
            two_voxels(ratio, 4),
            two_voxels(ratio, power=2),
        ]
        lines.append([f"{ratio:g}", *(f"{value:.3f}" for value in cells)])
    return table(
        ["a/b", "W = I", "W = C_e^(1/2)", "W = C_e", "one entry twice", "one entry 4 times", "W = C_e^2"], lines
    )


WEIGHTS: dict[str, Weight] = {
    "W = I": identity,
    "W = diag F": lambda f, change: np.diag(np.diag(f)),
    "W = diag of the change": lambda f, change: np.diag(np.diag(change)),
    "W = F": lambda f, change: f,
}


def uneven(length: float, count: int = 30) -> Array:
    """A stack in which two slices of every six are five times as uncertain as the others."""
    s = np.where(np.arange(count) // 2 % 3 == 1, 0.1, 0.02)
    return s[:, None] * ou(count, length) * s


def metrics() -> str:
    a = rows(30, 3)
    lines = []
    for length, name, noise in ((0, "independent", 0), (LENGTH, "independent", 0), (LENGTH, "OU l", LENGTH)):
        truth = uneven(length)
        found = [follow(truth, a, ou(30, noise), weight=weight) for weight in WEIGHTS.values()]
        left = mean_square(null_space(a, truth) @ truth) / mean_square(truth)
        for when, step in (("first", 0), ("last", -1)):
            values = [f"{mean_square(steps[step].estimate) / mean_square(truth):.3f}" for steps in found]
            lines.append([f"{length:g}", name, when, *values, f"{left:.3f}"])
    return table(["l, slices", "noise", "step", *WEIGHTS, "posterior mean"], lines)


TABLES = {
    "gains": gains,
    "errors": errors,
    "flickers": flickers,
    "best": best_lengths,
    "wrongs": wrongs,
    "metrics": metrics,
}


def draw(path: Path) -> None:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 3), layout="constrained")
    left, right = figure.subplots(1, 2)
    ratios = np.geomspace(1 / 16, 16, 17)
    for pitch in (0.5, 2, 3, 5):
        scan = Scan(LENGTH, pitch)
        noises = [ou(scan.count, ratio * LENGTH) for ratio in ratios]
        label = f"rows of {pitch:g} slices"
        left.plot(ratios, [mean_square(scan.error(k)) / scan.s**2 for k in noises], label=label)
        right.plot(ratios, [scan.flicker(k) for k in noises], label=label)
    right.axhline(1, color="0.25", linestyle="--", linewidth=1.2)
    for axes, title in ((left, "mean square error / s²"), (right, "SDiff / SDiff of the truth")):
        axes.set_xscale("log", base=2)
        axes.set_xlabel("length of the noise / length of the stack")
        axes.set_title(title, fontsize=10)
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(color="0.9", linewidth=0.6)
    left.legend(fontsize=8, frameon=False)
    figure.savefig(path, dpi=95, metadata={"Software": None})


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--docs", type=Path, help="folder of theory.md, to write tables and drawing into")
    options = parser.parse_args()
    made = {name: make() for name, make in TABLES.items()}
    for name, text in made.items():
        print(f"{name}\n\n{text}\n")
    if options.docs is not None:
        page = options.docs / "theory.md"
        text = page.read_text(encoding="utf-8")
        for name, lines in made.items():
            before, _, rest = text.partition(f"<!-- {name} -->\n")
            _, _, after = rest.partition("<!-- end -->\n")
            text = f"{before}<!-- {name} -->\n{lines}\n<!-- end -->\n{after}"
        write_text(page, text)
        draw(options.docs / "images" / "theory.png")


if __name__ == "__main__":
    main()
