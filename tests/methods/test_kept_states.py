"""A run goes on from a kept state to the bits of one that was not interrupted: every method."""

from __future__ import annotations

from dataclasses import dataclass, replace

import pytest
import torch

from coslice import plan, run
from coslice.errors import CosliceError
from coslice.io.state_files import read_state, write_state
from coslice.methods import ConjugateGradients, DataStep, changed, find_method
from coslice.noise import Identical
from coslice.output import run_kept
from coslice.states import Stateful
from coslice.variance import SuccessivePredictions
from pretended import pretended_device
from small_problems import DIFFUSION, ct, prior, priors, quick, scan, zsr


class Enough(Exception):
    """Thrown where a run is to end."""


def states_of(planned, path, **named):
    """The result of a run, and all states that it gave, by way of a file."""
    states = []

    def keep(state):
        write_state(path, state, {})
        found = read_state(path, planned.problem.measurement.device)
        assert found is not None
        states.append(found[0])

    return run(planned, keep=keep, **named), states


@pytest.mark.parametrize("name", DIFFUSION)
def test_every_method_goes_on_to_the_same_bits(name, tmp_path):
    problem = zsr()
    method = quick(name, noise="independent", samples=2 if name in ("wdds", "dds-tv") else 1)
    planned = plan(problem, method, priors(method, "zx"), seed=3)
    whole, states = states_of(planned, tmp_path / "state.safetensors", truth=scan())
    steps = len(planned.sigmas) - 1
    assert [state.done for state in states] == list(range(1, method.samples * steps + 1))
    assert all(state.total == method.samples * steps for state in states)
    assert [state.finished for state in states] == [False] * (len(states) - 1) + [True]
    for state in states[1 : 4 if method.samples > 1 else 2]:
        again = run(planned, kept=state, truth=scan())
        assert torch.equal(again.reconstruction, whole.reconstruction)
        assert again.trajectory == whole.trajectory and again.resumed == 1
        assert (again.deviation is None) == (whole.deviation is None) == (method.samples == 1)
        if again.deviation is not None and whole.deviation is not None:
            assert torch.equal(again.deviation, whole.deviation)


@pytest.mark.parametrize("name", ["wdds", "diffusion-mbir", "wblend"])
def test_memories_of_operators_with_a_layout_of_their_own_come_back_as_they_lay(name, tmp_path):
    problem, method = ct(), quick(name, "ct")
    planned = plan(problem, method, priors(method))
    whole, states = states_of(planned, tmp_path / "state.safetensors")
    assert len(states[-2].tensors) == 3
    assert torch.equal(run(planned, kept=states[-2]).reconstruction, whole.reconstruction)


@pytest.mark.parametrize("kind", ["two-noises", "tweedie"])
def test_an_estimate_that_asks_the_prior_goes_on_too(kind, tmp_path):
    method = quick("wdds", data={"variance": kind})
    planned = plan(zsr(), method, priors(method, "zx"))
    whole, states = states_of(planned, tmp_path / "state.safetensors")
    assert torch.equal(run(planned, kept=states[1]).reconstruction, whole.reconstruction)


def test_without_what_the_data_step_remembers_the_bits_are_others(tmp_path):
    """So the laws above look at something."""
    for name in ("wdds", "dds-tv"):
        method = quick(name)
        planned = plan(zsr(), method, priors(method, "zx"))
        whole, states = states_of(planned, tmp_path / "state.safetensors")
        _, fresh = states_of(replace(planned, seed=1), tmp_path / "other.safetensors")
        mixed = {**states[1].tensors, **{k: v for k, v in fresh[1].tensors.items() if k.startswith("fidelity")}}
        again = run(planned, kept=replace(states[1], tensors=mixed))
        assert not torch.equal(again.reconstruction, whole.reconstruction)


def test_a_method_that_does_not_sample_keeps_its_result(tmp_path):
    method = changed(find_method("sirt"), {"solution": {"iterations": 3}})
    planned = plan(ct(), method)
    whole, (state,) = states_of(planned, tmp_path / "state.safetensors")
    assert state.finished and torch.equal(run(planned, kept=state).reconstruction, whole.reconstruction)


def test_a_run_in_a_file_goes_on_whatever_ended_it_and_knows_whose_state_it_is(tmp_path):
    path, said = tmp_path / "state.safetensors", []
    planned = plan(zsr(), quick("wdds"), prior("zx"))
    whole = run(planned)

    def ended(phase, done, total):
        if (phase, done) == ("sampling", 3):
            raise Enough

    with pytest.raises(Enough):
        run_kept(planned, path, every=0, progress=ended)
    result = run_kept(planned, path, every=0, say=said.append)
    assert torch.equal(result.reconstruction, whole.reconstruction) and result.resumed == 1
    assert "going on after step 2 of 3, kept" in said[0]
    assert torch.equal(run_kept(planned, path).reconstruction, whole.reconstruction)
    for other, word in (
        (replace(planned, seed=1), "seed 0, and now 1"),
        (plan(planned.problem, quick("wdds", data={"iterations": 5}), prior("zx")), "data.iterations 2, and now 5"),
        (plan(zsr(4), quick("wdds"), prior("zx")), "another measurement"),
        (plan(planned.problem, quick("wdds"), prior("zx", window="any")), "another prior"),
    ):
        with pytest.raises(CosliceError, match=word):
            run_kept(other, path)


@dataclass(frozen=True)
class Counting(DataStep):
    """Remembers how often it was asked, and says nothing of it."""

    def build(self, problem, along):
        inner, calls = ConjugateGradients(iterations=2).build(problem, along), []

        def fidelity(denoised, sigma):
            calls.append(sigma)
            return inner(denoised, sigma) + 0.01 * len(calls)

        return fidelity


@dataclass(frozen=True)
class Memoryless(DataStep):
    memoryless = True

    def build(self, problem, along):
        return ConjugateGradients(iterations=2).build(problem, along)


class Count:
    """The same as `Counting`, and says what it remembers."""

    def __init__(self, inner):
        self.inner, self.calls = inner, 0

    def __call__(self, denoised, sigma):
        self.calls += 1
        return self.inner(denoised, sigma) + 0.01 * self.calls

    def state_dict(self):
        return {"calls": self.calls}

    def load_state_dict(self, state_dict):
        self.calls = state_dict["calls"]


@dataclass(frozen=True)
class SayingSo(DataStep):
    def build(self, problem, along):
        return Count(ConjugateGradients(iterations=2).build(problem, along))


class Quiet(Identical):
    """A noise of one's own."""


class Doubtful(SuccessivePredictions):
    """An estimate of one's own."""


@pytest.mark.parametrize(
    ("change", "silent"),
    [
        ({"data": Counting()}, ["Counting"]),
        ({"data": Memoryless()}, []),
        ({"data": SayingSo()}, []),
        ({"noise": Quiet()}, ["Quiet"]),
        ({"data": quick("wdds", data={"variance": Doubtful()}).data}, ["Doubtful"]),
    ],
    ids=lambda value: " ".join(map(str, value)) if isinstance(value, list) else "",
)
def test_an_own_part_that_says_nothing_of_a_memory_begins_its_sample_anew(change, silent, tmp_path):
    assert isinstance(Count(None), Stateful)
    method = changed(quick("dds", samples=2, noise="independent"), change)
    planned = plan(zsr(), method, prior("zx"))
    whole, states = states_of(planned, tmp_path / "state.safetensors", truth=scan())
    between = [state for state in states if state.done % 3]
    assert all(list(state.silent) == silent for state in between)
    assert [state.done for state in states] == ([0, 0, 3, 3, 3, 6] if silent else [1, 2, 3, 4, 5, 6])
    again = run(planned, kept=states[1], truth=scan())
    assert torch.equal(again.reconstruction, whole.reconstruction) and again.trajectory == whole.trajectory


@pytest.mark.slow
def test_a_state_of_an_accelerator_is_kept_by_way_of_the_cpu_and_goes_back(tmp_path):
    problem, method = zsr(), quick("wdds")
    planned = plan(problem, method, priors(method, "zx"))
    whole = run(planned)
    with pretended_device() as device:
        there = plan(problem.to(device), method, [replace(prior("zx"), denoiser=prior("zx").denoiser.to(device))])
        result, kept = states_of(there, tmp_path / "there.safetensors")
        assert {str(one.device) for one in kept[0].tensors.values()} == {device}
        again = run(there, kept=kept[0]).reconstruction.cpu()
        assert torch.equal(again, result.reconstruction.cpu())
    torch.testing.assert_close(again, whole.reconstruction, rtol=0, atol=1e-5)
