"""Time deepinv's DiffPIR around our network and our projector, against our own loop around the same two.

    python benchmarks/solvers.py [--slices N] [--pixels N] [--steps N] [--threads N]

One measurement (30 cone-beam views of the embedded chest, resized), one prior, 10 conjugate gradients a step, the same
threads. deepinv (`pip install deepinv`, for this benchmark only) gets the network in two ways: as its users wrap one, a
batch of slices through the torch module; and as our `SlicePrior`, which spreads slices over threads itself. Its
operator calls our kernels in both. Printed are seconds per evaluation of the network, the least of a few runs, the
share of it that the network takes, and the ratio to our DiffPIR. deepinv's takes a data step less than it has steps,
ours one in each. Quality is not compared: schedules and starts differ.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import torch
from torch import Tensor

import coslice
from coslice.data import embedded_scan
from coslice.methods import changed, find_method
from coslice.preparation import Preparation
from coslice.priors import SlicePrior
from coslice.problems import Problem, simulate

_ITERATIONS = 10
_NOISE = 0.01  # of the measurement, as DiffPIR's step assumes it, against its largest entry


class Watched:
    """A function, and the seconds spent in it."""

    def __init__(self, function: Callable[..., Tensor]) -> None:
        self.function, self.seconds, self.calls = function, 0.0, 0

    def __call__(self, *given: Any, **named: Any) -> Tensor:
        began = time.perf_counter()
        made = self.function(*given, **named)
        self.seconds, self.calls = self.seconds + time.perf_counter() - began, self.calls + 1
        return made


def imported_deepinv() -> Any:
    """deepinv; beside a torch for CPUs torchvision lacks operations, none of which is called here."""
    with suppress(RuntimeError):  # it is there
        library = torch.library.Library("torchvision", "DEF")
        for name in ("nms", "qnms"):
            library.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        imported_deepinv.kept = library  # type: ignore[attr-defined]  # or it is gone again
    import deepinv  # type: ignore[import-not-found]

    return deepinv


def theirs(deepinv: Any, problem: Problem, denoiser: Callable[[Tensor, float], Tensor], steps: int) -> Watched:
    """Run deepinv's DiffPIR; volumes are batches of one image whose channels are slices, as its operator wants them."""
    operator, y = problem.operator, problem.measurement
    physics = deepinv.physics.LinearPhysics(
        A=lambda x, **_: operator.forward(x[0])[None],
        A_adjoint=lambda y, **_: operator.adjoint(y[0])[None],
        img_size=operator.domain,
        max_iter=_ITERATIONS,
        tol=0.0,
        implicit_backward_solver=False,
    )
    asked = Watched(lambda x, sigma: denoiser(x[0], float(sigma))[None])
    sampler = deepinv.sampling.DiffPIR(
        model=asked, data_fidelity=deepinv.optim.L2(), sigma=_NOISE, max_iter=steps, zeta=1.0
    )
    with torch.no_grad():
        found = sampler(y[None], physics, seed=1, x_init=problem.initial()[None])
    assert bool(found.isfinite().all())
    return asked


def in_batches(prior: SlicePrior, images: int = 8) -> Callable[[Tensor, float], Tensor]:
    """The network as a torch module, a few slices a call."""

    def denoiser(x: Tensor, sigma: float) -> Tensor:
        parts = [prior.denoiser(part[:, None], torch.full((len(part),), sigma))[:, 0] for part in x.split(images)]
        return torch.cat(parts)

    return denoiser


def within(prior: SlicePrior, denoiser: Callable[[Tensor, float], Tensor]) -> Callable[[Tensor, float], Tensor]:
    """The same at a noise level that the network knows: deepinv's schedule begins far above."""
    low, high = prior.sigma_range
    return lambda x, sigma: denoiser(x.contiguous(), min(max(sigma, low), high))


def main() -> None:
    parser = argparse.ArgumentParser(description="Time deepinv's DiffPIR around our network against our own loop.")
    parser.add_argument("--slices", type=int, default=24)
    parser.add_argument("--pixels", type=int, default=256)
    parser.add_argument("--steps", type=int, default=6)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--repeats", type=int, default=2)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    try:
        deepinv = imported_deepinv()
    except ImportError as error:
        print(f"deepinv cannot be imported ({error}): nothing to compare with")
        return
    preparation = Preparation(slices=(0, options.slices), size=options.pixels)
    problem = simulate(embedded_scan(), preparation=preparation).problem
    prior = coslice.load_prior("ct")

    def ours(name: str) -> tuple[float, float]:
        method = changed(
            find_method(name, "ct"), {"schedule": {"steps": options.steps}, "data": {"iterations": _ITERATIONS}}
        )
        planned = coslice.plan(problem, method, prior)
        began = time.perf_counter()
        spent = coslice.run(planned).seconds
        # The last call of the network, with which some methods end, is one more.
        calls = options.steps + (method.end.kind not in (None, "", "estimate"))
        return (time.perf_counter() - began) / calls, spent["prior"] / calls

    def of_deepinv(denoiser: Callable[[Tensor, float], Tensor]) -> tuple[float, float]:
        began = time.perf_counter()
        asked = theirs(deepinv, problem, within(prior, denoiser), options.steps)
        return (time.perf_counter() - began) / asked.calls, asked.seconds / asked.calls

    rows: dict[str, Callable[[], tuple[float, float]]] = {
        "coslice diffpir": lambda: ours("diffpir"),
        "coslice dds": lambda: ours("dds"),
        "deepinv DiffPIR, the network in batches": lambda: of_deepinv(in_batches(prior)),
        "deepinv DiffPIR, our SlicePrior": lambda: of_deepinv(prior),
    }
    print(
        f"{options.slices} slices of {options.pixels} pixels, {options.threads} threads, deepinv {deepinv.__version__}"
    )
    print("| solver | seconds per evaluation | of it the network | ratio |\n|---|---|---|---|")
    best: dict[str, tuple[float, float]] = {}
    for _ in range(options.repeats):  # in turn, so that a busy moment meets all of them
        for name, row in rows.items():
            best[name] = min(best.get(name, (float("inf"), 0.0)), row())
    reference = best["coslice diffpir"][0]
    for name, (whole, network) in best.items():
        print(f"| {name} | {whole:.2f} | {network:.2f} | {whole / reference:.2f} |")


if __name__ == "__main__":
    main()
