"""From a plan to a reconstruction.

`run` drives the sampling loop with the parts of a plan, or calls a method that does not sample. It knows no file, no
terminal and no modality. After every step it says where it stands, and from there another call goes on to the same
bits: whoever keeps that, keeps it elsewhere.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property, partial
from typing import Any

import torch
from torch import Tensor

from coslice.devices import finish
from coslice.errors import CosliceError
from coslice.identities import digest_of_tree, plan_identity
from coslice.methods import (
    Acting,
    AnyMethod,
    DataStep,
    Direct,
    Ending,
    Method,
    PriorPart,
    Projecting,
    parts_of,
)
from coslice.metrics import Watcher
from coslice.noise import Strategy
from coslice.parallel import agree, dividing, from_first
from coslice.plans import Plan, Priors, plan
from coslice.problems import Problem, Study
from coslice.renoising import Renoising
from coslice.run_result import Result
from coslice.sampling import Changing, Denoiser, Step, altered, sample, start
from coslice.states import State, Stateful, joined_states, state_below
from coslice.threads import counting
from coslice.uncertainty import Welford
from coslice.variance import Variance

__all__ = ["Keep", "Progress", "Result", "Watch", "run"]

Progress = Callable[[str, int, int], None]
"""progress(phase, done, total), called as work goes on: "sampling" counts steps, and once a second "denoising" the
images of the step at work."""

_OFTEN = 1.0
"""Seconds between two words on the images of a step."""

Keep = Callable[[State], None]
"""keep(state), called after every step with where the run stands. It may raise, to stop the run there."""


Watch = Callable[[Step], None]
"""watch(step), called with every step of the sampling loop."""


@dividing()
def run(
    problem: Problem | Study | Plan,
    method: str | AnyMethod | None = None,
    prior: Priors = None,
    *,
    seed: int | None = None,
    fast: bool = False,
    truth: Tensor | None = None,
    lpips: bool = False,
    progress: Progress = lambda phase, done, total: None,
    keep: Keep = lambda state: None,
    kept: State | None = None,
    watch: Watch = lambda step: None,
) -> Result:
    """Reconstruct.

    Args:
        problem: what was measured, as a problem; as a study, whose window and truth the result then knows; or a plan,
            which has its method, prior and seed.
        method: a name, or a method of one's own; None is our best, see `coslice.plan`.
        prior: for a method that needs one; None takes the embedded one. Two for a method of two planes.
        seed: of all randomness; None is 0.
        fast: whether to take the method's fast form, see `coslice.methods.fast_form`.
        truth: (z, y, x), only to measure the estimates along the way; None is that of a study.
        lpips: whether the trajectory holds LPIPS too.
        progress: called after every step, and within those that take seconds.
        keep: called after every step that another one follows, and after every sample.
        kept: a state that `keep` was given by a run of the same plan; the run goes on from there, and its sums are from
            now on this run's. `coslice.output.run_kept` keeps states in a file, and checks whose they are.
        watch: called with every step of every sample, as it is made; of a method that does not sample, never.

    Raises:
        CosliceError: as `coslice.plan`.
    """
    study = None
    if isinstance(problem, Study):
        study, problem = problem, problem.problem
        truth = study.unit if truth is None else truth
    if isinstance(problem, Plan):
        if (method, prior, seed, fast) != (None, None, None, False):
            raise CosliceError(
                "run: a plan was given with a method, prior, seed or fast, but it has its own; leave them out."
            )
        planned = problem
    else:
        planned = plan(problem, method, prior, 0 if seed is None else seed, fast=fast)
    problem, method = planned.problem, planned.method
    agree(lambda: digest_of_tree(plan_identity(planned)), "the measurement, a prior or a setting")
    kept = from_first(kept, problem.measurement.device)
    log, samples = _Log(Watcher(truth, lpips), progress), Welford()
    if kept is not None:
        log.load_state_dict(kept.numbers["log"])
        samples.load_state_dict(state_below("samples", {**kept.numbers, **kept.tensors}))
    with log.phase("initial"):
        initial = problem.initial()
    _check_numbers("run: the first reconstruction", initial, "check the measurement and its geometry")
    if isinstance(method, Direct):
        if not samples.count:
            with log.phase("reconstruction"):
                solved = method.solution.solve(problem, initial, planned.priors, log.iterated)
            log.evaluations += method.evaluations
            samples.add(solved)
            keep(_state(samples, log, 1, 1))
        return _result(planned, study, samples.mean, initial, log)
    sigmas, along = planned.sigmas, planned.priors[0].along
    steps = len(sigmas) - 1
    total = method.samples * steps
    log.say_steps(total)
    beginning = _Beginning(planned, initial, log)
    for number in range(samples.count, method.samples):
        seed = planned.seed + number
        asked = planned.prior(number)
        start_noise, noise = planned.noise(asked)
        with log.phase("preparation"):
            acting = method.data.acting(problem, asked, along, sigmas)
        first = 0
        if kept is not None and "x" in kept.tensors:
            first, x = kept.done - number * steps, kept.tensors["x"]
            for name, one in acting.memories.items():
                one.load_state_dict(state_below(name, {**kept.numbers, **kept.tensors}))
        else:
            x = method.start.placed(problem, start(beginning.volume, sigmas[0], start_noise, seed))
        kept = None  # the next sample begins at its beginning
        denoiser, fidelity = (
            altered(acting.denoiser, partial(log.timed, "prior")),
            log.timed("fidelity", acting.fidelity),
        )
        if acting.witness is not None:
            acting.witness.told = log.asked
        ask = denoiser.at(steps - 1) if isinstance(denoiser, Changing) else denoiser
        silent = _silent(method, acting)
        anew = _state(samples, log, number * steps, total, silent=silent)
        log.begin()
        # Driven here and not in a function of its own: whoever debugs a network finds few frames above it.
        for step in sample(x, sigmas, denoiser, fidelity, noise, seed, method.renoising, acting.correction, first):
            watch(step)
            last = step.index == steps - 1
            x = log.ended(method.end, step, ask, problem) if last else step.x
            log.end(total)
            if number == 0:
                log.record(step, x if last else step.estimate)
            if not last:
                done = number * steps + step.index + 1
                keep(anew if silent else _state(samples, log, done, total, x, acting))
            log.begin()
        if isinstance(method.data, Projecting) and method.data.rounds:
            project = acting.projection or acting.fidelity
            with log.phase("projection"):
                for _ in range(method.data.rounds):
                    x = project(problem.clamped(x), sigmas[-2])
        samples.add(x)
        keep(_state(samples, log, (number + 1) * steps, total))
    return _result(planned, study, samples.mean, initial, log, samples.deviation)


class _Beginning:
    """What samples start from, made when the first of them needs it: a run that goes on may not."""

    def __init__(self, planned: Plan, initial: Tensor, log: _Log) -> None:
        self._planned, self._initial, self._log = planned, initial, log

    @cached_property
    def volume(self) -> Tensor:
        method, problem = self._planned.method, self._planned.problem
        assert isinstance(method, Method)
        if method.start.solution is not None:
            with self._log.phase("start"):
                return method.start.solution.solve(
                    problem, self._initial, self._planned.priors, lambda done, count: None
                )
        return self._initial if method.start.volume == "initial" else torch.zeros_like(self._initial)


def _state(
    samples: Welford,
    log: _Log,
    done: int,
    total: int,
    x: Tensor | None = None,
    acting: Acting | None = None,
    silent: Sequence[str] = (),
) -> State:
    """Where a run stands between two steps, or with no x between two samples."""
    parts: dict[str, Stateful] = {"samples": samples, **({} if acting is None else acting.memories)}
    numbers, tensors = joined_states(parts)
    numbers |= {"done": done, "total": total, "log": log.state_dict(), "silent": list(silent)}
    return State(numbers, tensors if x is None else tensors | {"x": x})


def _silent(method: Method, acting: Acting) -> list[str]:
    """The user's own parts that act in the loop, and say neither what they remember nor that they do not."""
    own = [
        part
        for part in parts_of(method).values()
        if isinstance(part, (PriorPart, DataStep, Renoising, Strategy, Variance))
        and not (part.built_in() or part.memoryless)
    ]
    says = any(one.state_dict() or not isinstance(one, torch.nn.Module) for one in acting.memories.values())
    return [type(part).__name__ for part in own if not (says and isinstance(part, DataStep))]


_REMEDIES = {
    "prior": "check the prior's weights, its window, and on an accelerator whether bfloat16 is enough for it",
    "fidelity": "check the measurement, and the settings of the data step",
}
"""What to do about a part of the loop that gives no numbers."""


def _finite(volume: Tensor) -> bool:
    """Whether every voxel is a number. A sum tells at a fraction of the cost, unless it runs over itself."""
    return bool(volume.sum().isfinite()) or bool(volume.isfinite().all())


def _check_numbers(what: str, volume: Tensor, remedy: str) -> None:
    if not _finite(volume):
        wrong = int((~volume.isfinite()).sum())
        raise CosliceError(f"{what} holds {wrong:,} voxels that are no numbers; {remedy}.")


def _result(
    planned: Plan, study: Study | None, volume: Tensor, initial: Tensor, log: _Log, deviation: Tensor | None = None
) -> Result:
    if not bool(volume.isfinite().all()):
        raise CosliceError(
            f"run: the reconstruction by {planned.label} holds values that are no numbers; check the measurement, and "
            "the settings and parts that are not the published ones."
        )
    clamped = planned.problem.clamped
    return Result(
        clamped(volume),
        clamped(initial),
        log.trajectory,
        log.seconds,
        deviation,
        resumed=log.resumed,
        evaluations=log.evaluations,
        plan=planned,
        study=study,
    )


class _Log:
    """Seconds per phase, network evaluations, the trajectory, and calls of the caller's `progress`."""

    def __init__(self, watcher: Watcher, progress: Progress) -> None:
        self.watcher, self.progress = watcher, progress
        self.seconds: dict[str, float] = {}
        self.trajectory: list[dict[str, float | int | None]] = []
        self.resumed = self.evaluations = 0
        self._steps, self._began, self._parts_then = 0, 0.0, 0.0
        self._told = time.monotonic()

    def state_dict(self) -> dict[str, Any]:
        """All that was logged so far, as JSON takes it."""
        logged = {"steps": self._steps, "resumed": self.resumed, "evaluations": self.evaluations}
        return logged | {"seconds": dict(self.seconds), "trajectory": list(self.trajectory)}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Go on with the log of a run that was killed."""
        self._steps, self.resumed = int(state_dict["steps"]), int(state_dict["resumed"]) + 1
        self.seconds, self.trajectory = dict(state_dict["seconds"]), list(state_dict["trajectory"])
        # A state of a coslice that did not count has one evaluation for each step, which nearly all methods have.
        self.evaluations = int(state_dict.get("evaluations", self._steps))

    @contextmanager
    def phase(self, name: str) -> Generator[None]:
        """One piece of work from beginning to end."""
        self.progress(name, 0, 1)
        with self._clock(name):
            yield
        self.progress(name, 1, 1)

    def iterated(self, done: int, total: int) -> None:
        """An iteration of a method that does not sample is done."""
        self.progress("reconstruction", done, total)

    def asked(self) -> None:
        """A prior has predicted the volume once more."""
        self.evaluations += 1

    def timed(self, name: str, function: Callable[[Tensor, float], Tensor]) -> Callable[[Tensor, float], Tensor]:
        """`function`, its seconds summed over calls; calls of the prior are counted."""

        if not callable(function):
            raise CosliceError(f"run: the {name} is {function!r}, but a function (x, sigma) -> volume is needed.")

        def call(x: Tensor, sigma: float) -> Tensor:
            with self._clock(name), counting(self._denoised):
                given: Any = function(x, sigma)
                finish(x.device)
            if name == "prior":
                self.asked()
            if not isinstance(given, Tensor) or given.shape != x.shape:
                found = tuple(given.shape) if isinstance(given, Tensor) else given
                raise CosliceError(
                    f"run: the {name} gave {found!r}, but a volume (z, y, x) of shape {tuple(x.shape)} is needed."
                )
            self._check_part(name, x, given, sigma)
            return given

        return call

    @torch.no_grad()
    def ended(self, end: Ending, last: Step, ask: Denoiser, problem: Problem) -> Tensor:
        """What the ending makes of the last step; what it takes besides the prior is counted as fidelity."""
        began, parts = time.perf_counter(), self._parts
        given: Any = end.ended(last, ask, problem)
        if not isinstance(given, Tensor) or given.shape != last.x.shape:
            found = tuple(given.shape) if isinstance(given, Tensor) else given
            raise CosliceError(
                f"run: the end {end.kind or type(end).__name__} gave {found!r}, but a volume (z, y, x) of shape "
                f"{tuple(last.x.shape)} is needed."
            )
        self.seconds["fidelity"] += time.perf_counter() - began - (self._parts - parts)
        what = f"run: what the end {end.kind or type(end).__name__} gave"
        _check_numbers(what, given, "look at that part, and at the measurement")
        return given

    def _check_part(self, name: str, x: Tensor, given: Tensor, sigma: float) -> None:
        """Stop at the step and at the part that makes what is no number, before hours are spent on it."""
        at = f"at step {self._steps + 1} (sigma {sigma:.4g})"
        if not _finite(given):
            _check_numbers(f"run: {at}, what the {name} was given", x, "the noise or the correction made it so")
            _check_numbers(f"run: {at}, what the {name} gave", given, _REMEDIES[name])

    def begin(self) -> None:
        """A step of the loop begins."""
        self._began, self._parts_then = time.perf_counter(), self._parts

    def end(self, total: int) -> None:
        """A step of `total` is done; what its timed parts did not take is that of re-noising."""
        spent = time.perf_counter() - self._began - (self._parts - self._parts_then)
        self.seconds["renoising"] = self.seconds.get("renoising", 0.0) + spent
        self._steps += 1
        self.say_steps(total)

    def say_steps(self, total: int) -> None:
        """How many steps of `total` are done."""
        self.progress("sampling", self._steps, total)
        self._told = time.monotonic()

    def _denoised(self, done: int, total: int) -> None:
        """So many images of a step are."""
        if time.monotonic() - self._told >= _OFTEN:
            self.progress("denoising", done, total)
            self._told = time.monotonic()

    @property
    def _parts(self) -> float:
        return self.seconds.get("prior", 0.0) + self.seconds.get("fidelity", 0.0)

    def record(self, step: Step, estimate: Tensor) -> None:
        """Add the step to the trajectory."""
        with self._clock("trajectory"):
            self.trajectory.append(self.watcher.record(step.index, step.sigma, estimate))

    @contextmanager
    def _clock(self, name: str) -> Generator[None]:
        began = time.perf_counter()
        yield
        self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - began
