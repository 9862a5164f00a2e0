"""What a run is: that which must be the same for a state of one run to be gone on with by another.

It is a tree of plain values, so that where two differ can be said: settings by name, and digests of what has no name,
the measurement, weights, and the user's own code.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from typing import Any, cast

import torch
from torch import Tensor

from coslice.methods import described, differing
from coslice.plans import Plan
from coslice.priors import SlicePrior
from coslice.problems import Problem, Study

__all__ = ["digest_of_tree", "first_difference", "plan_identity", "prior_digest", "run_identity", "version_of"]

_ADDRESS = re.compile(r" at 0x[0-9a-fA-F]+")
_WORDS = {"measurement": "another measurement", "truth": "another truth", "code": "other code of one's own"}
_WORDS |= {"priors": "another prior", "coslice": "another version of coslice"}


def run_identity(study: Study, plans: Mapping[str, Plan], **written: Any) -> dict[str, Any]:
    """Of a whole run: its plans by file stem, what they are compared with, and what else is written.

    Args:
        study: what was measured.
        plans: by file stem.
        written: by name, what decides which files there are and what is in them.
    """
    truth = None if study.unit is None else _digest(study.unit)
    identity = {stem: plan_identity(planned) for stem, planned in plans.items()}
    return _as_read({**identity, "study": study.settings, "truth": truth, **written})


def plan_identity(planned: Plan) -> dict[str, Any]:
    """Of one plan."""
    return _as_read(
        {
            "coslice": version_of("coslice"),
            "method": described(planned.method),
            "code": digest_of_tree(differing(planned.method)),
            "seed": planned.seed,
            "measurement": _of_problem(planned.problem),
            "priors": [prior_digest(prior) for prior in planned.priors],
        }
    )


def first_difference(before: Any, now: Any, path: str = "") -> str:
    """Where two identities differ, in words: "data.iterations 10, and now 20"; "" where they are the same."""
    if isinstance(before, Mapping) and isinstance(now, Mapping):
        one, other = cast("Mapping[str, Any]", before), cast("Mapping[str, Any]", now)
        found = (first_difference(one.get(k), other.get(k), f"{path}.{k}") for k in [*one, *(set(other) - {*one})])
        return next(filter(None, found), "")
    if before == now:
        return ""
    name = path.strip(".").removeprefix("reconstruction.").removeprefix("method.")
    if isinstance(before, Mapping) or isinstance(now, Mapping):
        return f"{name}, which is left out now" if isinstance(before, Mapping) else f"no {name}, which is there now"
    return _WORDS.get(name.rpartition(".")[2]) or f"{name} {_shown(before)}, and now {_shown(now)}"


def version_of(name: str) -> str | None:
    """The version of an installed package; None of one that is not."""
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def digest_of_tree(tree: Any) -> str:
    """32 hexadecimal digits for a tree of plain values."""
    return hashlib.sha256(json.dumps(tree, sort_keys=True, default=str).encode()).hexdigest()[:32]


def _shown(value: Any) -> str:
    return "none" if value is None else str(value)


def _as_read(tree: Any) -> Any:
    """The tree as a file gives it back."""
    return json.loads(json.dumps(tree, default=str))


def _of_problem(problem: Problem) -> str:
    words = [type(problem).__qualname__, _ADDRESS.sub("", problem.description), problem.noise, problem.spacing]
    tensors = [one for one in (problem.measurement, problem.weights) if one is not None]
    return digest_of_tree([*words, *map(_digest, tensors)])


def prior_digest(prior: SlicePrior) -> str:
    """32 hexadecimal digits for a prior: its weights, and how it reads a volume.

    Of a function that cannot be told from others (`coslice.priors.prior_from`) they are those of this process alone.
    """
    reads: list[Any] = [prior.sigma_range, prior.plane, prior.window, prior.channels, prior.classes, prior.arithmetic]
    reads += getattr(prior.denoiser, "beside_weights", [])
    weights = prior.denoiser.state_dict()
    return digest_of_tree([*reads, {name: _digest(one) for name, one in weights.items() if isinstance(one, Tensor)}])


def _digest(tensor: Tensor) -> str:
    content = tensor.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().data
    digest = hashlib.sha256(repr((tensor.dtype, tuple(tensor.shape))).encode())
    digest.update(content)
    return digest.hexdigest()
