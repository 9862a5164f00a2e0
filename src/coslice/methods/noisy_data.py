"""The data step that noisy measurements call for.

A data step that stops early, as that of DDS, has no place for noise: the more iterations, the more of it is fitted.
Of a measurement whose noise is known ray by ray, the step that weighs the prediction against it is better by far
(docs/your-own-scan.md), with enough iterations for weights that differ by orders of magnitude.
"""

from __future__ import annotations

from dataclasses import replace

from coslice.methods.data_steps import ConjugateGradients, TrustedPrediction, WeightedGradients
from coslice.methods.method import AnyMethod, Method
from coslice.problems import Problem

__all__ = ["suited_to_noise"]

_TRUST = TrustedPrediction(weight=0.5, iterations=25)


def suited_to_noise(method: AnyMethod, problem: Problem) -> AnyMethod:
    """The method with a data step that weighs the prediction against the noise of `problem`.

    Another data step is taken only of CT whose noise and weights of rays are known, and only in place of one that stops
    early. All other methods and problems keep theirs.

    Args:
        method: with the settings it would have.
        problem: what was measured.
    """
    if problem.kind != "ct" or problem.weights is None or not problem.noise or not isinstance(method, Method):
        return method
    match method.data:
        case ConjugateGradients(gamma=None, rounds=rounds) | WeightedGradients(trust=None, rounds=rounds):
            return replace(method, data=replace(_TRUST, rounds=rounds))
        case _:
            return method
