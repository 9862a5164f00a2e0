"""The sampling loop, on priors whose answers are known in closed form."""

import math
from itertools import pairwise

import pytest
import torch

from coslice.classical import admm_tv, mean_diagonal
from coslice.errors import CosliceError
from coslice.fidelity import AfterCorrector, DiffPIRWeight, ProximalCG, ProximalTV, RangeNullSpace, unchanged
from coslice.noise import Identical, Independent, Key, Slerp
from coslice.operators.base import Operator
from coslice.renoising import DDIM, DiffPIR, PredictorCorrector, Renoising, Share
from coslice.sampling import sample, start
from coslice.schedule import Geometric, ddpm_alpha_bar, from_alpha_bar, with_correctors

MEAN, SPREAD = 0.4, 0.3
FULL = Share(1.0)


def gaussian_prior(x, sigma):
    """E[x_0 | x] for x_0 ~ N(MEAN, SPREAD^2), every voxel alone."""
    return MEAN + SPREAD**2 / (SPREAD**2 + sigma**2) * (x - MEAN)


def last(x, sigmas, noise, renoising: Renoising = FULL, prior=gaussian_prior, fidelity=unchanged, seed=0):
    *_, step = sample(x, sigmas, prior, fidelity, noise, seed, renoising)
    return step.x


class Matrix(Operator):
    """A dense A, row by row, for volumes of one line."""

    def __init__(self, matrix):
        self.matrix = matrix
        self.domain, self.codomain = (1, 1, matrix.shape[1]), (matrix.shape[0],)

    def forward(self, volume):
        return self.matrix @ volume.flatten()

    def adjoint(self, measurement):
        return (self.matrix.T @ measurement).view(self.domain)


def spread_after(sigmas, rule, spread):
    """Standard deviation of x along the loop under the Gaussian prior: a linear recurrence."""
    for sigma, sigma_next in pairwise(sigmas):
        shrink = SPREAD**2 / (SPREAD**2 + sigma**2)
        if sigma_next == 0:
            return shrink * spread
        mix = rule(sigma, sigma_next)
        spread = math.hypot((shrink + mix.kept * (1 - shrink)) * spread, mix.fresh)
    return spread


@pytest.mark.parametrize("rule", [DDIM(1.0), DDIM(0.0), DDIM(0.5), FULL, Share(0.3), PredictorCorrector()])
def test_samples_of_a_gaussian_prior_have_the_mean_and_spread_of_theory(rule):
    sigmas = Geometric(60, 20.0, 1e-3).sigmas()
    if isinstance(rule, PredictorCorrector):
        sigmas = with_correctors(sigmas)
    noise = Independent()
    first = math.hypot(sigmas[0], SPREAD)
    samples = last(start(torch.full((16, 32, 32), MEAN), first, noise, seed=1), sigmas, noise, rule).double()
    expected = spread_after(sigmas, rule, first)
    assert abs(float(samples.mean()) - MEAN) < 3 * expected / math.sqrt(samples.numel())
    assert float(samples.std()) == pytest.approx(expected, rel=3 / math.sqrt(2 * samples.numel()))


@pytest.mark.parametrize("rule", [DDIM(1.0), DDIM(0.0), DDIM(0.5), DiffPIR(0.0), PredictorCorrector()])
def test_with_many_steps_the_spread_becomes_the_prior_s(rule):
    first = math.hypot(20.0, SPREAD)
    assert spread_after(Geometric(20_000, 20.0, 1e-4).sigmas(), rule, first) == pytest.approx(SPREAD, rel=2e-3)


def test_variance_preserving_form_is_the_same_loop_in_other_variables():
    """DDIM as eq. 12 writes it, in x, alpha_bar and epsilon, against the loop in sigma."""
    alpha_bar = ddpm_alpha_bar()
    timesteps = torch.linspace(999, 0, 25, dtype=torch.float64).round().long()
    sigmas = from_alpha_bar(alpha_bar, 25)
    eta, noise, seed = 0.6, Slerp(), 5
    x = start(torch.zeros(4, 12, 12), sigmas[0], noise, seed).double()
    ours = last(x, sigmas, noise, DDIM(eta), seed=seed)

    a = alpha_bar[timesteps].tolist() + [1.0]
    vp = x * math.sqrt(a[0])
    for step in range(25):
        sigma = math.sqrt((1 - a[step]) / a[step])
        clean = gaussian_prior(vp / math.sqrt(a[step]), sigma)
        epsilon = (vp - math.sqrt(a[step]) * clean) / math.sqrt(1 - a[step])
        spread = eta * math.sqrt((1 - a[step + 1]) / (1 - a[step]) * (1 - a[step] / a[step + 1]))
        fresh = noise.add_(torch.zeros_like(vp), 1.0, Key(seed, step))
        vp = math.sqrt(a[step + 1]) * clean + math.sqrt(max(1 - a[step + 1] - spread**2, 0)) * epsilon
        vp = vp + (spread * fresh if step < 24 else 0)
    torch.testing.assert_close(ours, vp, rtol=0, atol=1e-10)


def test_full_renoising_forgets_x_and_none_follows_the_direction():
    x = torch.randn(3, 8, 8, generator=torch.Generator().manual_seed(0))
    estimate = torch.full_like(x, 0.25)
    full, _ = list(sample(x, (2.0, 1.0, 0.0), lambda x, s: 0 * x, lambda d, s: estimate, Independent(), 7))
    torch.testing.assert_close(full.x, estimate + Independent()((3, 8, 8), Key(7, 0)))
    ode, _ = list(sample(x, (2.0, 1.0, 0.0), lambda x, s: 0 * x, lambda d, s: estimate, Independent(), 7, Share(0.0)))
    torch.testing.assert_close(ode.x, estimate + 0.5 * x)


def test_the_kept_noise_is_named_by_its_origin():
    x = torch.randn(3, 8, 8, generator=torch.Generator().manual_seed(0))
    for rule, origin in ((DDIM(0.0), 0.1), (DDIM(0.0, origin="estimate"), 0.25), (DiffPIR(0.0), 0.25)):
        parts = (lambda x, s: torch.full_like(x, 0.1), lambda d, s: torch.full_like(d, 0.25), Independent(), 7, rule)
        step, _ = list(sample(x, (2.0, 1.0, 0.0), *parts))
        torch.testing.assert_close(step.x, 0.25 + 0.5 * (x - origin))


def test_a_correction_acts_on_every_renoised_volume_and_on_the_last_estimate():
    seen = []

    def correction(x, sigma, sigma_next):
        seen.append((x.clone(), sigma, sigma_next))
        return x + 1

    x, sigmas = torch.zeros(2, 8, 8), (1.0, 1.0, 0.5, 0.0)
    steps = list(sample(x, sigmas, gaussian_prior, unchanged, Independent(), 0, PredictorCorrector(), correction))
    assert [levels[1:] for levels in seen] == list(pairwise(sigmas))
    assert all(torch.equal(step.x, given[0] + 1) for step, given in zip(steps, seen, strict=True))
    assert torch.equal(steps[1].denoised, gaussian_prior(steps[0].x, 1.0))
    assert torch.equal(seen[-1][0], steps[-1].estimate)
    after = AfterCorrector(lambda x, sigma: x + 1 + sigma)
    assert [float(after(torch.zeros(1), *levels)) for levels in pairwise(sigmas)] == [2.0, 0.0, 1.0]


def test_steps_tell_what_happened_and_leave_the_start_alone():
    x = torch.ones(2, 8, 8)
    steps = list(sample(x, (1.0, 0.5, 0.0), gaussian_prior, lambda d, s: d + 1, Independent(), 0))
    assert [(s.index, s.sigma) for s in steps] == [(0, 1.0), (1, 0.5)]
    torch.testing.assert_close(steps[0].denoised, gaussian_prior(torch.ones(2, 8, 8), 1.0))
    torch.testing.assert_close(steps[0].estimate, steps[0].denoised + 1)
    assert torch.equal(steps[1].x, steps[1].estimate)
    assert torch.equal(x, torch.ones(2, 8, 8))


def test_where_the_data_are_silent_slices_differ_as_their_noise_does():
    """The prior acts on each voxel alone and linearly, so the samples inherit the noise's differences."""
    sigmas = Geometric(10).sigmas()
    differences = {}
    for noise in (Independent(), Slerp(), Identical()):
        samples = last(start(torch.zeros(16, 24, 24), 5.0, noise, 0), sigmas, noise)
        differences[type(noise)] = float(samples.diff(dim=0).square().mean().sqrt() / samples.std())
    assert differences[Identical] == 0
    # Independent slices differ by sqrt(2) of their spread, slerp's by the chord of 90/15 degrees.
    assert differences[Independent] == pytest.approx(math.sqrt(2), rel=0.05)
    assert differences[Slerp] == pytest.approx(2 * math.sin(math.pi / 4 / 15), rel=0.1)


def test_proximal_cg_solves_equation_16_and_starts_early_stopping_at_the_denoised():
    generator = torch.Generator().manual_seed(0)
    operator = Matrix(torch.randn(5, 9, generator=generator, dtype=torch.float64))
    y, denoised = torch.randn(5, generator=generator).double(), torch.randn(1, 1, 9, generator=generator).double()
    gamma = 0.7
    exact = torch.linalg.solve(
        gamma * operator.matrix.T @ operator.matrix + torch.eye(9, dtype=torch.float64),
        gamma * operator.matrix.T @ y + denoised.flatten(),
    )
    found = ProximalCG(operator, y, iterations=9, gamma=gamma)(denoised, 1.0)
    torch.testing.assert_close(found.flatten(), exact, rtol=1e-6, atol=1e-6)
    # Run to its end, the early-stopped form is the projection of the denoised onto {A z = y}.
    projected = denoised.flatten() + torch.linalg.pinv(operator.matrix) @ (y - operator.matrix @ denoised.flatten())
    found = ProximalCG(operator, y, iterations=9)(denoised, 1.0)
    torch.testing.assert_close(found.flatten(), projected, rtol=1e-6, atol=1e-6)


def test_null_space_keeps_the_null_part_and_takes_the_range_part_from_the_data():
    generator = torch.Generator().manual_seed(1)
    operator = Matrix(torch.randn(4, 9, generator=generator, dtype=torch.float64))
    pinv = torch.linalg.pinv(operator.matrix)
    y, denoised = torch.randn(4, generator=generator).double(), torch.randn(1, 1, 9, generator=generator).double()
    estimate = RangeNullSpace(operator, y, lambda m: (pinv @ m).view(1, 1, 9))(denoised, 1.0)
    torch.testing.assert_close(operator.forward(estimate), y, rtol=1e-6, atol=1e-6)
    null = torch.eye(9, dtype=torch.float64) - pinv @ operator.matrix
    torch.testing.assert_close(null @ estimate.flatten(), null @ denoised.flatten(), rtol=1e-6, atol=1e-6)


def test_gamma_may_depend_on_the_level_as_diffpir_s_does():
    generator = torch.Generator().manual_seed(2)
    operator = Matrix(torch.randn(5, 9, generator=generator, dtype=torch.float64))
    y, denoised = torch.randn(5, generator=generator).double(), torch.randn(1, 1, 9, generator=generator).double()
    weight = DiffPIRWeight(lam=3.0, noise=0.2)
    for sigma in (2.0, 0.3):
        # argmin |y - A z|^2 + rho |z - denoised|^2 with rho = lambda noise^2 / sigma^2
        rho = 3.0 * 0.2**2 / sigma**2
        square = operator.matrix.T @ operator.matrix + rho * torch.eye(9, dtype=torch.float64)
        exact = torch.linalg.solve(square, operator.matrix.T @ y + rho * denoised.flatten())
        found = ProximalCG(operator, y, 20, weight)(denoised, sigma)
        torch.testing.assert_close(found.flatten(), exact, rtol=1e-6, atol=1e-6)
        assert torch.equal(found, ProximalCG(operator, y, 20, weight(sigma))(denoised, sigma))


def stacked(seed=0):
    """Fewer measurements than voxels, for a stack of one-voxel slices."""
    generator = torch.Generator().manual_seed(seed)
    operator = Matrix(torch.randn(7, 9, generator=generator, dtype=torch.float64))
    operator.domain = (9, 1, 1)
    return operator, torch.randn(7, generator=generator).double()


def test_total_variation_called_again_and_again_comes_to_its_minimum():
    """Warm duals: calls of one iteration, each going on from the last volume, are ADMM itself."""
    operator, y = stacked()
    diagonal = mean_diagonal(operator_in_single(operator))
    tv = ProximalTV(operator, y, weight=0.1 * diagonal, penalty=diagonal, cg_iterations=20)
    x = torch.zeros(9, 1, 1, dtype=torch.float64)
    for _ in range(300):
        x = tv(x, 1.0)
    expected = admm_tv(operator_in_single(operator), y.float(), 0.1, 1.0, 300, 20, ("z",))
    torch.testing.assert_close(x.float(), expected, rtol=0, atol=1e-4)
    # Once there, one call with any start of its conjugate gradients stays.
    torch.testing.assert_close(tv(torch.ones_like(x), 1.0), x, rtol=0, atol=1e-6)


def operator_in_single(operator):
    single = Matrix(operator.matrix.float())
    single.domain = operator.domain
    return single


def test_total_variation_goes_on_from_a_state_that_was_kept():
    operator, y = stacked(1)
    parts = {"weight": 0.3, "penalty": 2.0, "admm_iterations": 2, "cg_iterations": 3}
    whole, first, second = (ProximalTV(operator, y, **parts) for _ in range(3))
    x = torch.rand(9, 1, 1, generator=torch.Generator().manual_seed(2)).double()
    before = x.clone()
    assert whole.state is None
    once = whole(x, 1.0)
    assert torch.equal(x, before) and torch.equal(first(x, 1.0), once)
    second.state = first.state
    assert torch.equal(second(once, 1.0), whole(once, 1.0))
    # Without its memory it would be another map.
    assert not torch.equal(ProximalTV(operator, y, **parts)(once, 1.0), second(once, 1.0))


def test_a_sequence_that_is_no_schedule_is_refused():
    for sigmas in ((1.0, 0.5), (0.5, 1.0, 0.0), (1.0, 0.0, 0.0)):
        with pytest.raises(CosliceError, match="falling sequence"):
            list(sample(torch.zeros(1, 8, 8), sigmas, gaussian_prior, unchanged, Independent(), 0))


def test_bad_fidelity_settings_are_refused():
    operator = Matrix(torch.eye(3))
    with pytest.raises(CosliceError, match="at least 1"):
        ProximalCG(operator, torch.zeros(3), iterations=0)
    with pytest.raises(CosliceError, match="gamma"):
        ProximalCG(operator, torch.zeros(3), gamma=-1.0)
    for weight, penalty in ((-1.0, 1.0), (1.0, 0.0)):
        with pytest.raises(CosliceError, match="penalty"):
            ProximalTV(operator, torch.zeros(3), weight, penalty)
    with pytest.raises(CosliceError, match="at least 1 of each"):
        ProximalTV(operator, torch.zeros(3), 1.0, 1.0, admm_iterations=0)
    with pytest.raises(CosliceError, match="axes"):
        ProximalTV(operator, torch.zeros(3), 1.0, 1.0, along="w")
    with pytest.raises(CosliceError, match="above 0"):
        DiffPIRWeight(1.0, 0.0)
