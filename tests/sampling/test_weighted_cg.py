"""Laws of the weighted data step: what it is in closed form, and what it is worth where the errors are Gaussian."""

import math

import numpy as np
import pytest
import torch

from coslice.errors import CosliceError
from coslice.fidelity import ProximalCG, WeightedCG
from coslice.methods import WeightedGradients, changed, find_method
from coslice.noise import Independent
from coslice.operators import Operator
from coslice.sampling import sample
from coslice.schedule import Geometric
from coslice.variance import Estimator, SuccessivePredictions, Tweedie, TwoNoises, Variance, smoothed, spread_along
from small_problems import ct, quick, reconstructed

SHAPE = (4, 3, 3)
VOXELS = math.prod(SHAPE)


class Dense(Operator):
    """A matrix of a few random rays through a small volume."""

    def __init__(self, rays=14, seed=1):
        self.matrix = torch.randn((rays, VOXELS), generator=torch.Generator().manual_seed(seed))
        self.domain, self.codomain = SHAPE, (rays,)

    def forward(self, volume):
        return self.matrix @ volume.reshape(-1)

    def adjoint(self, measurement):
        return (self.matrix.T @ measurement).view(SHAPE)


class Known(Estimator):
    """An estimator that knows the variance."""

    def __init__(self, variance, along="z"):
        super().__init__(SuccessivePredictions(), along)
        self.variance_is = variance

    def __call__(self, denoised, sigma):
        return self.variance_is


def normal(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def known(variance: torch.Tensor | None) -> torch.Tensor:
    assert variance is not None
    return variance


def root(variance, floor, tie, reach, along="z"):
    """L as a matrix, (voxels, voxels), float64: every column is what becomes of a unit vector."""
    s = variance.double().sqrt()
    factors = s / s.mean() + floor
    units = torch.eye(VOXELS, dtype=torch.float64).view(VOXELS, *SHAPE)
    columns = [factors * (unit + tie * spread_along(unit, reach, along)) for unit in units]
    return torch.stack(columns, -1).reshape(VOXELS, VOXELS)


def spread_of(variance, floor=0.3, tie=0.0, reach=1.0, along="z"):
    found = root(variance, floor, tie, reach, along)
    return found @ found.T


@pytest.mark.parametrize(("tie", "along"), [(0.0, "z"), (2.0, "z"), (2.0, "y")])
def test_with_the_true_covariance_it_is_the_posterior_mean(tie, along):
    """z = D + C A^T (A C A^T)^+ (y - A D), for the Gaussian error of covariance C that the metric says."""
    operator, variance = Dense(), normal(*SHAPE, seed=2).square() + 0.1
    truth, denoised = normal(*SHAPE, seed=3), normal(*SHAPE, seed=4)
    y = operator.forward(truth)
    step = WeightedCG(operator, y, Known(variance, along), (30,), 0.3, tie, 1.0)
    c, a = spread_of(variance, 0.3, tie, 1.0, along), operator.matrix.double()
    wrong = (y - operator.forward(denoised)).double()
    expected = denoised.double() + (c @ a.T @ torch.linalg.pinv(a @ c @ a.T) @ wrong).view(SHAPE)
    assert torch.allclose(step(denoised, 0.1).double(), expected, atol=2e-4)


def test_with_noise_of_the_measurement_it_is_the_posterior_mean_too():
    """(C^-1 + gamma A^T A)^-1 (C^-1 D + gamma A^T y): c = 1 and noise of variance 1/gamma."""
    operator, variance, gamma = Dense(), normal(*SHAPE, seed=2).square() + 0.1, 3.0
    y, denoised = normal(14, seed=3), normal(*SHAPE, seed=4)
    step = WeightedCG(operator, y, Known(variance), (40,), 0.3, 1.5, 1.0, lambda sigma: gamma)
    inverse, a = torch.linalg.inv(spread_of(variance, 0.3, 1.5)), operator.matrix.double()
    right = inverse @ denoised.double().reshape(-1) + gamma * a.T @ y.double()
    expected = torch.linalg.solve(inverse + gamma * a.T @ a, right).view(SHAPE)
    assert torch.allclose(step(denoised, 0.1).double(), expected, atol=2e-4)


def test_no_other_metric_has_a_smaller_error():
    """Errors drawn from C: the mean squared error after the step is least in the metric of C itself."""
    operator = Dense()
    variances = {"true": torch.linspace(0.02, 4.0, VOXELS).view(SHAPE)}
    variances |= {"uniform": torch.ones(SHAPE), "opposite": variances["true"].flip(0, 1, 2)}
    c = spread_of(variances["true"])
    draws = torch.linalg.cholesky(c) @ normal(VOXELS, 300, seed=5).double()
    lost = {}
    for name, variance in variances.items():
        errors = []
        for error in draws.T:
            denoised = error.float().view(SHAPE)  # the truth is 0
            step = WeightedCG(operator, torch.zeros(14), Known(variance), (30,))
            errors.append(float(step(denoised, 0.1).square().mean()))
        lost[name] = np.mean(errors)
    a = operator.matrix.double()
    closed = c - c @ a.T @ torch.linalg.pinv(a @ c @ a.T) @ a @ c
    assert lost["true"] == pytest.approx(float(closed.trace()) / VOXELS, rel=0.1)
    assert lost["true"] < 0.95 * lost["uniform"] < 0.9 * lost["opposite"]


def test_where_nothing_is_known_it_is_the_step_of_dds():
    operator, denoised, y = Dense(), normal(*SHAPE), normal(14, seed=1)
    for variance in (None, torch.full(SHAPE, 0.02), torch.zeros(SHAPE)):
        step = WeightedCG(operator, y, Known(variance), (5,))
        assert torch.allclose(step(denoised, 0.1), ProximalCG(operator, y, 5)(denoised, 0.1), atol=1e-4)


def test_the_variance_counts_up_to_a_factor():
    operator, denoised, y, variance = Dense(), normal(*SHAPE), normal(14, seed=1), normal(*SHAPE, seed=2).square()
    once, more = (WeightedCG(operator, y, Known(k * variance), (6,), 0.3, 2.0)(denoised, 0.1) for k in (1.0, 50.0))
    assert torch.allclose(once, more, atol=1e-5)


def test_iterations_follow_the_step_and_the_last_number_goes_on():
    operator, denoised, y = Dense(), normal(*SHAPE), normal(14, seed=1)
    step = WeightedCG(operator, y, Known(None), (0, 3))
    assert torch.equal(step(denoised, 0.1), denoised)
    for _ in range(2):
        assert torch.allclose(step(denoised, 0.1), ProximalCG(operator, y, 3)(denoised, 0.1), atol=1e-5)


@pytest.mark.parametrize(("late", "expected"), [(0.0, (10, 10, 10)), (1.0, (1, 10, 20)), (0.8, (2, 10, 18))])
def test_iterations_grow_about_their_mean(late, expected):
    assert WeightedGradients(late=late)._counts(3) == expected
    assert abs(sum(WeightedGradients(late=late)._counts(30)) - 300) <= 2


def test_smoothing_is_that_of_scipy():
    ndimage = pytest.importorskip("scipy.ndimage")
    volume = normal(7, 20, 16)
    expected = ndimage.gaussian_filter(volume.double().numpy(), (1.0, 2.0, 2.0), mode="nearest", truncate=3)
    assert np.abs(smoothed(volume, 2.0, 1.0).numpy() - expected).max() < 1e-6
    expected = ndimage.gaussian_filter1d(volume.double().numpy(), 1.5, axis=1, mode="constant", radius=5)
    assert np.abs(spread_along(volume, 1.5, "y").numpy() - expected).max() < 1e-6


def test_spreading_is_symmetric_and_takes_stacks_of_one_slice():
    a, b = normal(5, 4, 4), normal(5, 4, 4, seed=1)
    assert float((spread_along(a, 3.0) * b).sum()) == pytest.approx(float((a * spread_along(b, 3.0)).sum()), abs=1e-4)
    assert torch.allclose(spread_along(a[:1], 3.0), a[:1])


def test_successive_predictions_give_their_squared_difference_and_an_average():
    first, second, third = (normal(4, 6, 6, seed=k) for k in range(3))
    estimator = Estimator(SuccessivePredictions(blur=0.0, blur_along=0.0, memory=0.25))
    assert estimator(first, 0.3) is None
    one = (second - first).square()
    assert torch.allclose(known(estimator(second, 0.2)), one)
    assert torch.allclose(known(estimator(third, 0.1)), 0.75 * (third - second).square() + 0.25 * one)


def asked(part: Variance, denoiser, sigma, shape=(6, 40, 40)):
    """What an estimator says in the second step of a loop."""
    estimator = Estimator(part)
    seen = estimator.seen
    watched = seen.watching(denoiser)
    estimator(watched(normal(*shape), sigma), sigma)
    seen.estimate = torch.zeros(shape)
    return known(estimator(watched(normal(*shape, seed=1), sigma), sigma))


def test_tweedie_finds_the_diagonal_of_the_denoisers_derivative():
    """Of D(x) = m x the covariance by Tweedie is sigma^2 m, voxel by voxel."""
    m = torch.full((6, 40, 40), 0.2)
    m[:, :, 20:] = 0.8
    found = asked(Tweedie(blur=1.0, memory=0.0), lambda x, sigma: m * x, 0.1)
    assert float(found[:, :, :16].mean()) == pytest.approx(0.01 * 0.2, rel=1e-3)
    assert float(found[:, :, 24:].mean()) == pytest.approx(0.01 * 0.8, rel=1e-3)


def test_two_noises_differ_by_what_noise_does_to_the_prediction():
    """Of D(x) = m x, x = noise of size sigma, half the mean squared difference is (m sigma)^2."""
    estimator = Estimator(TwoNoises(blur=0.0, blur_along=0.0, memory=0.0))
    watched = estimator.seen.watching(lambda x, sigma: 0.5 * x)
    assert estimator(watched(normal(6, 40, 40), 0.1), 0.1) is None
    estimator.seen.estimate = torch.zeros(6, 40, 40)
    found = known(estimator(watched(0.1 * normal(6, 40, 40, seed=3), 0.1), 0.1))
    assert float(found.mean()) == pytest.approx(0.05**2, rel=0.05)


def test_a_variance_that_asks_sees_what_the_loop_asks():
    """A prior with one voxel that answers to noise: the data step may only move that one, whoever estimates."""
    prior_shape = (3, 8, 8)
    sure = torch.zeros(prior_shape)
    sure[1, 3, 4] = 1.0

    class Sum(Operator):
        domain, codomain = prior_shape, (1,)

        def forward(self, volume):
            return volume.sum().reshape(1)

        def adjoint(self, measurement):
            return measurement.expand(prior_shape).clone()

    for variance in (SuccessivePredictions, TwoNoises, Tweedie):
        part = variance(blur=0.0, blur_along=0.0)
        estimator = Estimator(part)
        step = WeightedCG(Sum(), torch.tensor([2.0]), estimator, (5,), floor=1e-3)
        denoiser = estimator.seen.watching(lambda x, sigma: sure * x)
        levels = Geometric(4, 0.5, 0.1).sigmas()
        *_, last = sample(normal(*prior_shape), levels, denoiser, step, Independent(), 0)
        change = last.estimate - last.denoised
        if variance is not Tweedie:  # whose probe is smoothed over the neighbours
            assert float(change[1, 3, 4]) == pytest.approx(float(change.sum()), rel=0.02)
        assert float(last.estimate.sum()) == pytest.approx(2.0, abs=1e-4)


@pytest.mark.parametrize("kind", ["successive", "two-noises", "tweedie"])
@pytest.mark.parametrize("name", ["dds", "diffusionblend++", "tpdm-cg"])
def test_every_estimate_runs_with_every_sort_of_prior_and_repeats(kind, name):
    method = quick(name, "ct", data={"kind": "weighted-cg", "iterations": 2, "variance": kind})
    one, two = (reconstructed(ct(), method) for _ in range(2))
    assert torch.equal(one, two)
    other = quick(name, "ct", data={"kind": "weighted-cg", "iterations": 2, "variance": kind, "floor": 50.0, "tie": 0})
    assert not torch.equal(one, reconstructed(ct(), other))


def test_threads_change_no_bit():
    operator, variance = Dense(), normal(*SHAPE, seed=2).square()
    estimates = []
    for threads in (1, 2):
        before = torch.get_num_threads()
        torch.set_num_threads(threads)
        try:
            large = smoothed(normal(40, 64, 64), 1.5, 1.0), spread_along(normal(40, 64, 64), 3.0)
            step = WeightedCG(operator, normal(14), Known(variance), (6,), 0.3, 2.0)
            estimates.append((*large, step(normal(*SHAPE), 0.1)))
        finally:
            torch.set_num_threads(before)
    for one, two in zip(*estimates, strict=True):
        assert torch.equal(one, two)


def test_what_cannot_be_is_refused():
    with pytest.raises(CosliceError, match="a floor above 0"):
        WeightedCG(Dense(), torch.zeros(14), Known(None), (5,), 0.0)
    with pytest.raises(CosliceError, match=r"data\.variance\.memory 1 was given, at least 0 and at most 0\.99"):
        changed(find_method("dds"), {"data": {"kind": "weighted-cg", "variance": {"memory": 1.0}}})
