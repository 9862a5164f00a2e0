"""What of a method's settings does nothing, or leaves sampling no work to do: sentences, before any work."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise

from coslice.correlated_noise import Markov
from coslice.methods.data_steps import WeightedGradients
from coslice.methods.method import Method
from coslice.methods.prior_parts import Relay
from coslice.noise import Independent, Strategy

__all__ = ["remarks_on_method", "remarks_on_size"]

_FEW = 2
"""Network evaluations that are no sampling yet; published are 5 and more."""
_LOW, _HIGH = 0.05, 0.1
"""Noise level that sampling should begin above, and end below, of the window; ours begin at 0.2 and more, and end at
0.02 and less."""
_COVERS = 1.0
"""Noise level that hides what a volume of zeros is, of the window."""
_SHORT, _LONG = 0.2, 100.0
"""A length of noise, in slice distances and in stacks: below it slices are independent, above it they are identical."""
_CG, _TALL, _WIDE = 6, 16, 200 * 200
"""Conjugate gradients of ours that did not reach the data of so many slices of so many pixels (docs/performance.md)."""


def remarks_on_method(method: Method, sigmas: Sequence[float], slices: int, apart_mm: float) -> tuple[str, ...]:
    """Full sentences; none of settings like the published ones.

    Args:
        method: with all its settings.
        sigmas: its noise levels, then 0.
        slices: of the stack that its noise is tied along.
        apart_mm: from one to the next.
    """
    return (*_on_levels(method, sigmas), *_on_noise(method, sigmas, slices, apart_mm))


def remarks_on_size(method: Method, slices: int, pixels: int) -> tuple[str, ...]:
    """A full sentence where ours has too few iterations to reach the data: tall stacks of wide slices.

    Args:
        method: with all its settings.
        slices: of the stack.
        pixels: of a slice.
    """
    data, relayed = method.data, isinstance(method.prior, Relay)
    if not (relayed and isinstance(data, WeightedGradients) and data.iterations <= _CG and data.trust is None):
        return ()
    if slices < _TALL or pixels < _WIDE or method.fast:
        return ()
    return (
        f"{method.title} has {data.iterations} steps of conjugate gradients for a noise level, too few for "
        f"{slices} slices of {pixels} pixels: on 24 slices of 256 x 256 pixels it was 4 dB below its usual 12; give "
        "--set data.iterations=12, or the fast form (--fast).",
    )


def _on_levels(method: Method, sigmas: Sequence[float]) -> Iterator[str]:
    steps, first, last = len(sigmas) - 1, sigmas[0], sigmas[-2]
    if steps > _FEW and method.renoising.quiet >= steps - 1:
        yield (
            f"None of the {steps - 1} transitions between noise levels puts noise back, since the last "
            f"{method.renoising.quiet} are to be quiet: the prior is told of noise that is not there."
        )
    if steps <= _FEW:
        yield (
            f"{steps} network evaluation{'s' if steps > 1 else ''} a sample {'are' if steps > 1 else 'is'} a "
            "denoising of the first reconstruction rather than sampling; the methods take 20 and more."
        )
    if first < _LOW:
        yield (
            f"Sampling begins at sigma {first:.3g} of the window: what the first reconstruction has wrong by more than "
            "that stays, whatever the prior knows; the methods begin at 0.2 and more."
        )
    elif method.start.volume == "noise" and first < _COVERS:
        yield (
            f"Sampling begins from noise alone, but sigma {first:.3g} does not hide what it begins from, a volume of "
            "zeros; begin at 5 and more, or from the first reconstruction."
        )
    if last > _HIGH and steps > _FEW:
        yield (
            f"Sampling ends at sigma {last:.3g} of the window: what is finer than the prior sees through such noise is "
            "missing; the methods end at 0.02 and less."
        )


def _on_noise(method: Method, sigmas: Sequence[float], slices: int, apart_mm: float) -> Iterator[str]:
    noise = method.noise
    if isinstance(noise, Independent) or not noise.built_in():
        return
    title = noise.kind
    if slices < 2:
        yield f"There is one slice, so noise of kind {title} has none to tie it to."
        return
    levels = list(pairwise(sigmas[:-1]))
    fresh = [method.renoising(one, two, len(levels) - 1 - k).fresh for k, (one, two) in enumerate(levels)]
    if fresh and not any(fresh):
        yield f"No step adds fresh noise, so that of kind {title} is that of the start and of nothing else."
    yield from _on_length(noise, slices, apart_mm)


def _on_length(noise: Strategy, slices: int, apart_mm: float) -> Iterator[str]:
    if not isinstance(noise, Markov):
        return
    if noise.length < _SHORT * apart_mm:
        yield (
            f"Noise of kind {noise.kind} falls over {noise.length:.3g} mm, and slices are {apart_mm:.3g} mm apart: it "
            "is as good as independent."
        )
    elif noise.length > _LONG * slices * apart_mm:
        yield (
            f"Noise of kind {noise.kind} falls over {noise.length:.3g} mm, and the stack is {slices * apart_mm:.3g} mm "
            "high: it is as good as identical in all slices."
        )
