"""Laws of DM4CT's noise: its published formula written out, its moments in closed form, and rings that stay."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from coslice.detector import LineIntegrals, measured, standard_deviation, variances
from coslice.errors import CosliceError
from coslice.geometry import Grid
from coslice.operators import Projector
from coslice.problems import SliceSuperResolution, SparseViewCT, TransmissionNoise, published_parallel_beam
from coslice.problems.transmission_noise import _mean, _spread
from coslice.window import CT_WINDOW, Window

GRID = Grid((4, 32, 32), (1.0, 1.0, 1.0))
OPERATOR = Projector(published_parallel_beam(np.linspace(0, 3, 30).tolist(), GRID), GRID)


def body(level: float = 0.4) -> torch.Tensor:
    """A disc of `level` in air, (z, y, x)."""
    y, x = torch.meshgrid(torch.linspace(-1, 1, 32), torch.linspace(-1, 1, 32), indexing="ij")
    return (level * ((x / 0.8) ** 2 + (y / 0.6) ** 2 < 1)).expand(4, 32, 32).contiguous()


def sinograms(truth: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Of the image from 0 to 1, and from -1 to 1, float64."""
    return OPERATOR.forward(truth).double(), OPERATOR.forward(2 * truth - 1).double()


def grey() -> torch.Tensor:
    """The sinogram of an image that is in the middle everywhere."""
    return OPERATOR.forward(torch.full(GRID.shape, 0.5))


@pytest.mark.parametrize("level", [0.4, 0.98], ids=["dark", "bright"])
@pytest.mark.parametrize("transmission", [0.5, 0.2])
def test_the_line_integrals_are_the_sinogram_of_the_image_from_minus_1_to_1_at_its_transmission(level, transmission):
    truth = torch.full(GRID.shape, level) if level > 0.9 else body(level)
    y, signed = sinograms(truth)
    noise = TransmissionNoise(1e4, transmission=transmission)
    for window in (CT_WINDOW, Window(-1024.0, 3071.0)):
        lines = noise.lines(OPERATOR, y.float(), window)
        p = np.stack([lines.from_unit(y, view) for view in range(len(y))])
        factor = -math.log(transmission) / float(signed.mean())
        assert (factor < 0) == (level < 0.9), "an image that is mostly below the middle attenuates the other way"
        np.testing.assert_allclose(p, factor * signed.numpy(), atol=1e-5)
        assert math.exp(-p.mean()) == pytest.approx(transmission, rel=1e-5)
        back = np.stack([lines.to_unit(p[view], view) for view in range(len(y))])
        np.testing.assert_allclose(back, y.numpy(), atol=1e-5)


def test_the_noise_has_the_variance_of_its_counts_in_units_of_the_sinogram():
    """s' = -ln(N / I0) / f has the variance exp(p) / (I0 f^2), and y half of s'; the rays of air are the noisiest."""
    y, signed = sinograms(body())
    factor = -math.log(0.5) / float(signed.mean())
    expected = ((factor * signed).exp() / 1e4 / factor**2 / 4).expand(4, -1, -1, -1)
    noise = TransmissionNoise(1e4)
    lines = noise.lines(OPERATOR, y.float(), CT_WINDOW)
    errors = torch.stack([measured(y, noise, seed, lines) - y for seed in range(4)])
    ratio = errors.square() / expected
    assert float(ratio.mean()) == pytest.approx(1, abs=5 * math.sqrt(2 / ratio.numel()))
    assert float(variances(y, noise, lines)[0, 0, 5]) == pytest.approx(float(expected[0, 0, 0, 5]), rel=1e-4)
    assert standard_deviation(y, noise, lines) == pytest.approx(math.sqrt(float(expected.mean())), rel=1e-4)
    air = y[0, 0] == 0
    middle = signed.shape[2] // 2
    assert float(expected[0, 0, 0][air].max()) > 1.3 * float(expected[0, 0, 0, middle])


def test_bad_pixels_are_off_by_the_same_in_every_view():
    y, _ = sinograms(body())
    plain, rings = TransmissionNoise(1e4), TransmissionNoise(1e4, bad_pixels=0.25, bad_pixel_sd=0.3)
    lines = plain.lines(OPERATOR, y.float(), CT_WINDOW)
    noisy = measured(y, plain, 5, lines)
    added = measured(y, rings, 5, lines) - noisy
    torch.testing.assert_close(added, added[:1].expand_as(added), rtol=0, atol=1e-9)
    pixels = added[0][added[0].abs() > 1e-9]
    assert len(pixels) == round(0.25 * added[0].numel())
    lengths = OPERATOR.forward(torch.ones(GRID.shape)).double()
    wanted = 0.3 * float((2 * noisy - lengths).std()) / 2
    assert float(pixels.std()) == pytest.approx(wanted, rel=4 / math.sqrt(2 * len(pixels)))
    again = measured(y, rings, 6, lines) - measured(y, plain, 6, lines)
    assert not torch.equal(again[0] != 0, added[0] != 0), "another seed, other pixels"
    errors = torch.stack([measured(y, rings, seed, lines) - y for seed in range(20)])
    said = standard_deviation(y, rings, lines)
    assert said == pytest.approx(float(errors.square().mean().sqrt()), rel=0.1)
    assert said > 1.2 * standard_deviation(y, plain, lines)


def test_a_task_measures_with_it():
    task = SparseViewCT("parallel", 12, noise=TransmissionNoise(5e3), seed=2)
    problem = task.problem(body(), GRID, CT_WINDOW)
    clean = SparseViewCT("parallel", 12).problem(body(), GRID, CT_WINDOW)
    off = (problem.measurement - clean.measurement).double()
    assert problem.noise == pytest.approx(float(off.square().mean().sqrt()), rel=0.1)
    assert 0.01 < problem.noise / float(clean.measurement.square().mean().sqrt()) < 0.2


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: TransmissionNoise(1e4, transmission=1.0), "mean transmission of 1 was given, between 0 and 1"),
        (lambda: TransmissionNoise(1e4, bad_pixels=1.5, bad_pixel_sd=1), "a share of 1.5 bad pixels"),
        (lambda: TransmissionNoise(1e4, bad_pixels=0.1), "give both or neither"),
        (lambda: TransmissionNoise(1e4, bad_pixels=0.1, bad_pixel_sd=1e300), "a number from 0 to 1e6"),
        (lambda: TransmissionNoise(0.0), "0 photons"),
        (lambda: SliceSuperResolution(noise=TransmissionNoise(1e4)), "MR counts none"),
        (lambda: TransmissionNoise(1e4).lines(OPERATOR, grey(), CT_WINDOW), "is 0, so no factor"),
    ],
)
def test_what_cannot_be_is_refused(make, words):
    with pytest.raises(CosliceError, match=words):
        make()


def test_the_number_of_threads_changes_no_bit():
    y = 50 * torch.rand(30, 100, 1000, generator=torch.Generator().manual_seed(0))
    lines = LineIntegrals(0.7, -0.1 * y)
    before, found = torch.get_num_threads(), []
    try:
        for threads in (1, 2, 3, 4):
            torch.set_num_threads(threads)
            found.append((_spread(y, lines), _mean(y)))
    finally:
        torch.set_num_threads(before)
    assert len(set(found)) == 1
    assert found[0][0] == pytest.approx(float((0.7 * y - 0.1 * y).double().std()) / 0.7, rel=1e-6)


@pytest.mark.filterwarnings("error")
def test_a_ray_that_dims_nothing_counts_the_most_photons_without_a_warning():
    y, noise = torch.rand(5, 4, 6), TransmissionNoise(1e4, bad_pixels=1.0, bad_pixel_sd=0.1)
    lines = LineIntegrals(1000.0, torch.full((5, 4, 6), -5000.0))
    assert bool(measured(y, noise, 0, lines).isfinite().all())
