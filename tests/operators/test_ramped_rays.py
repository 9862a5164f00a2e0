"""Rays whose residuals count by frequency: a transpose pair, and a shorter way to what the data say."""

import math

import pytest
import torch

from coslice.errors import CosliceError
from coslice.fidelity import WeightedCG
from coslice.geometry import ConeBeam, Grid, ParallelBeam, limited_angle
from coslice.operators import Projector, RampedRays
from coslice.variance import Estimator, SuccessivePredictions
from laws import assert_operator, draw, inner, relative

GRID = Grid((3, 32, 32))
WEDGE = ParallelBeam(limited_angle(math.radians(100), 40), (3, 47), (1.0, 1.0))
CONE = ConeBeam((0.0, 0.7, 2.5), (9, 21), (1.5, 1.4), (1.0, 2.0), source_axis=90.0, axis_detector=45.0)


@pytest.mark.parametrize("geometry", [WEDGE, CONE])
@pytest.mark.parametrize("power", [0.0, 0.5, 1.0])
def test_it_is_an_operator(geometry, power):
    assert_operator(RampedRays(Projector(geometry, GRID), power))


def test_its_filter_is_the_power_of_the_frequency_and_of_no_frequency_a_little():
    """By what a wave on a long detector keeps of its squares."""
    projector = Projector(ParallelBeam((0.0,), (2, 4096), (1.0, 1.0)), Grid((2, 8, 8)))
    for power in (0.0, 0.75, 1.0):
        ramped = RampedRays(projector, power)

        def kept(row, ramped=ramped):
            row = row.expand(1, 2, -1).contiguous()
            filtered = ramped.filtered(row)
            return inner(filtered, filtered) / inner(row, row)

        places = torch.arange(4096.0)
        for cycles in (0.02, 0.1, 0.4):
            assert kept(torch.cos(2 * math.pi * cycles * places)) == pytest.approx((2 * cycles) ** power, rel=1e-2)
        assert 0 < kept(torch.ones(4096)) < 1.001 * 0.01 ** (power / 2)


def test_the_number_of_threads_changes_no_bit():
    ramped, y = RampedRays(Projector(WEDGE, GRID), 0.5), draw((40, 3, 47))
    threads, results = torch.get_num_threads(), []
    try:
        for count in (1, 2, 3):
            torch.set_num_threads(count)
            results.append(ramped.filtered(y))
    finally:
        torch.set_num_threads(threads)
    assert all(torch.equal(result, results[0]) for result in results)


def test_beside_a_wedge_conjugate_gradients_are_nearer_after_as_many_iterations():
    """From a smoothed volume to what the data say of it: with the ramp six do more than twelve without."""
    projector = Projector(WEDGE, GRID)
    smooth = torch.nn.functional.avg_pool2d
    truth = smooth(draw((3, 36, 36)), 5, 1)
    start, y = smooth(truth, 5, 1, 2), projector.forward(truth)

    def error(operator, measurement, iterations):
        step = WeightedCG(operator, measurement, Estimator(SuccessivePredictions(), "z"), (iterations,))
        return relative(step(start, 0.1), truth)

    ramped = RampedRays(projector, 1.0)
    plain = {n: error(projector, y, n) for n in (6, 12)}
    assert error(ramped, ramped.filtered(y), 6) < plain[12] < plain[6] < relative(start, truth)


def test_what_has_no_rows_of_a_detector_is_refused():
    with pytest.raises(CosliceError, match=r"a power of -1 .* from 0 up"):
        RampedRays(Projector(WEDGE, GRID), -1.0)
