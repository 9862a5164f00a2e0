"""docs/theory.md: its recursion is what the sampling loop does, its sentences hold, and its numbers are computed."""

import importlib.util
import math
import sys
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch

from coslice.correlated_noise import Anchors, Matern, OrnsteinUhlenbeck
from coslice.fidelity import ProximalCG
from coslice.mixed_noise import Mixed
from coslice.noise import Identical, Independent, Slerp
from coslice.operators.thick_slices import ThickSlices
from coslice.sampling import sample, start
from coslice.schedule import Geometric

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "theory.md").read_text(encoding="utf-8")
COUNT, SIDE = 12, 128
SIGMAS = Geometric(8, 0.5, 0.02).sigmas()


@cache
def theory():
    spec = importlib.util.spec_from_file_location("theory_of_noise", ROOT / "benchmarks" / "theory.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


def matern(count, length):
    u = math.sqrt(3) * np.abs(np.subtract.outer(np.arange(count), np.arange(count))) / length
    return (1 + u) * np.exp(-u)


def half_mixed(count):
    return 0.6 * theory().ou(count, 4) + 0.4 * np.eye(count)


NOISES = [
    (Independent(), np.eye),
    (Identical(), lambda n: np.ones((n, n))),
    (Slerp(), lambda n: theory().slerp(n)),
    (OrnsteinUhlenbeck(length=6.0, spacing=2.0), lambda n: theory().ou(n, 3)),
    (Matern(length=6.0, spacing=2.0), lambda n: matern(n, 3)),
    (Anchors(every=11.0), lambda n: theory().slerp(n)),
    (Mixed(tied=OrnsteinUhlenbeck(length=4.0), share=0.4), half_mixed),
]


def stack(covariance: np.ndarray, seed: int) -> torch.Tensor:
    """As many independent stacks as a slice has pixels, of a covariance along z."""
    draws = np.random.default_rng(seed).standard_normal((len(covariance), SIDE, SIDE))
    return torch.as_tensor(np.einsum("ij,jyx->iyx", np.linalg.cholesky(covariance), draws), dtype=torch.float32)


def wiener(variances: np.ndarray):
    s2 = torch.tensor(variances, dtype=torch.float32)[:, None, None]
    return lambda x, sigma: s2 / (s2 + sigma**2) * x


def moment(u: torch.Tensor, v: torch.Tensor) -> np.ndarray:
    return (u.flatten(1).double() @ v.flatten(1).double().T / SIDE**2).numpy()


def assert_moments(found: np.ndarray, expected: np.ndarray, u: np.ndarray, v: np.ndarray) -> None:
    """Within five standard errors of a second moment of Gaussians with these variances."""
    deviation = np.sqrt((np.outer(np.diag(u), np.diag(v)) + expected**2) / SIDE**2)
    assert (np.abs(found - expected) <= 5 * deviation + 1e-9).all()


@pytest.mark.parametrize(("noise", "kernel"), NOISES, ids=[one.label or one.kind for one, _ in NOISES])
def test_the_recursion_is_what_the_loop_does_with_thick_slices_and_conjugate_gradients(noise, kernel):
    """Every step's error, with itself and with the truth, over 16384 stacks at once."""
    covariance = 0.2**2 * theory().ou(COUNT, 5)
    truth, operator = stack(covariance, 1), ThickSlices((COUNT, SIDE, SIDE), 3)
    y = operator.forward(truth)
    expected = theory().follow(covariance, operator.matrix, kernel(COUNT), SIGMAS)
    x = start(operator.pseudo_inverse(y), SIGMAS[0], noise, 2)
    fidelity = ProximalCG(operator, y, iterations=2)
    for step, error in zip(sample(x, SIGMAS, wiener(np.diag(covariance)), fidelity, noise, 2), expected, strict=True):
        e, f = step.estimate - truth, step.denoised - truth
        assert_moments(moment(e, e), error.estimate, error.estimate, error.estimate)
        assert_moments(moment(e, truth), error.with_truth, error.estimate, covariance)
        assert_moments(moment(f, f), error.prediction, error.prediction, error.prediction)


@pytest.mark.parametrize("which", ["W = diag F", "W = diag of the change", "W = F"])
def test_the_recursion_is_what_the_loop_does_with_a_metric_and_uneven_slices(which):
    """W of each step from the recursion, in a data step of this test; rows that overlap slices in part."""
    covariance, a, noise = theory().uneven(4, COUNT), theory().rows(COUNT, 2.5), OrnsteinUhlenbeck(length=3.0)
    metrics = []

    def recorded(f, change):
        metrics.append(theory().WEIGHTS[which](f, change))
        return metrics[-1]

    expected = theory().follow(covariance, a, theory().ou(COUNT, 3), SIGMAS, recorded)
    gains = iter([w @ a.T @ np.linalg.inv(a @ w @ a.T) for w in metrics])
    truth, kept = stack(covariance, 3), []

    def fidelity(denoised, sigma):
        gain = torch.as_tensor(next(gains) @ a, dtype=torch.float32)
        return denoised + torch.einsum("ij,jyx->iyx", gain, truth - denoised)

    first = torch.einsum("ij,jyx->iyx", torch.as_tensor(np.linalg.pinv(a) @ a, dtype=torch.float32), truth)
    x = start(first, SIGMAS[0], noise, 4)
    for step, error in zip(sample(x, SIGMAS, wiener(np.diag(covariance)), fidelity, noise, 4), expected, strict=True):
        e = step.estimate - truth
        assert_moments(moment(e, e), error.estimate, error.estimate, error.estimate)
        kept.append(step.denoised)
    if which == "W = diag of the change":
        change = moment(kept[-1] - kept[-2], kept[-1] - kept[-2])
        np.testing.assert_allclose(np.diag(change), np.diag(metrics[-1]), rtol=5 * math.sqrt(2) / SIDE)


# The page's sentences


def test_the_error_is_linear_in_the_noise_with_the_weight_v():
    truth, a = 0.05**2 * theory().ou(COUNT, 5), theory().rows(COUNT, 3)
    v = 0.05**2 * theory().gain(0.05)[0]
    n = theory().null_space(a, np.eye(COUNT))
    free, tied = (theory().follow(truth, a, k)[-1].estimate for k in (np.eye(COUNT), theory().ou(COUNT, 7)))
    np.testing.assert_allclose(free - tied, v * n @ (np.eye(COUNT) - theory().ou(COUNT, 7)) @ n, atol=1e-12)
    scan = theory().Scan(5, 3, count=COUNT)
    followed = sum(
        share * theory().follow(truth, part, theory().ou(COUNT, 7))[-1].estimate for share, part in scan.parts()
    )
    np.testing.assert_allclose(scan.error(theory().ou(COUNT, 7)), followed, atol=1e-12)
    apart = [theory().mean_square(scan.error(k)) for k in (np.eye(COUNT), np.ones((COUNT, COUNT)))]
    assert apart[0] - apart[1] == pytest.approx(v * 0.5 * (1 - 1 / 3))


def test_many_steps_make_half_the_variance():
    assert theory().gain(0.05, theory().fine_sigmas())[0] == pytest.approx(0.5, abs=2e-3)


@pytest.mark.parametrize("pitch", [0.5, 1])
def test_where_slices_do_not_mix_noise_moves_the_error_and_leaves_its_size(pitch):
    scan = theory().Scan(6, pitch, count=COUNT)
    v = scan.s**2 * theory().gain(scan.s)[0]
    free, tied = (scan.error(k) for k in (np.eye(COUNT), theory().ou(COUNT, 6)))
    assert theory().mean_square(free) == pytest.approx(theory().mean_square(tied), rel=1e-9)
    moved = 0.5 * 2 * v * math.exp(-1 / 6)
    assert theory().difference(free) - theory().difference(tied) == pytest.approx(moved)


def test_where_rows_are_coarse_longer_noise_has_a_smaller_error():
    scan = theory().Scan(6, 3, count=COUNT)
    errors = [theory().mean_square(scan.error(theory().ou(COUNT, length))) for length in (0, 1, 3, 9, 40, math.inf)]
    assert errors == sorted(errors, reverse=True) and errors[0] > 1.1 * errors[-1]


@pytest.mark.parametrize("length", [3, 9])
def test_the_best_length_is_the_formula_where_slices_do_not_mix(length):
    scan = theory().Scan(length, 0.5, count=COUNT)
    v, _ = theory().gain(scan.s)
    assert scan.best_length() == pytest.approx(-1 / math.log(1 - (1 - math.exp(-1 / length)) / v), rel=1e-3)


def test_no_metric_beats_the_covariance_of_the_error_and_its_size_does_not_matter():
    random = np.random.default_rng(0)
    for _ in range(20):
        a, root, other = random.standard_normal((4, 9)), random.standard_normal((9, 9)), random.standard_normal((9, 9))
        c = root @ root.T
        best = theory().null_space(a, c)
        np.testing.assert_allclose(theory().null_space(a, 7.3 * c), best, atol=1e-8)
        least = np.trace(best @ c @ best.T)
        for w in (np.eye(9), np.diag(np.diag(c)), other @ other.T):
            n = theory().null_space(a, w)
            assert np.trace(n @ c @ n.T) >= least * (1 - 1e-9)
        # the posterior mean's, for y without noise
        np.testing.assert_allclose(best @ c, c - c @ a.T @ np.linalg.inv(a @ c @ a.T) @ a @ c, atol=1e-8)


def test_two_voxels_are_the_formula():
    a, c = np.ones((1, 2)), np.diag([10.0, 1.0])
    for wrong, power in ((1, 0), (1, 0.5), (4, 1), (1, 2)):
        n = theory().null_space(a, np.diag([wrong * 10.0**power, 1.0]))
        best = 2 * 10 / 11
        assert theory().two_voxels(10, wrong, power) == pytest.approx(np.trace(n @ c @ n.T) / best)
    assert theory().two_voxels(10, power=0) == pytest.approx(11**2 / 40)


@pytest.mark.parametrize("name", ["gains", "errors", "wrongs", "metrics"])
def test_the_numbers_of_the_page_are_computed(name):
    """The tables that take a second or two; the others are made by the same run of the same script."""
    shown = PAGE.partition(f"<!-- {name} -->\n")[2].partition("\n<!-- end -->")[0]
    assert shown == theory().TABLES[name]()
