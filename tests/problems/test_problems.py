"""Problems: the operator, first reconstruction and pseudo-inverse of a measurement, and that it is a value."""

import pickle
from dataclasses import replace

import numpy as np
import pytest
import torch

from coslice.classical import Sirt, cgls, cubic, fdk
from coslice.detector import GaussianNoise, PhotonNoise
from coslice.errors import CosliceError
from coslice.geometry import Grid, sparse_view
from coslice.operators import ThickSlices
from coslice.problems import (
    CTProblem,
    LimitedAngleCT,
    LinearProblem,
    SliceSuperResolution,
    SparseViewCT,
    ThickSliceProblem,
    published_cone_beam,
    published_parallel_beam,
)
from laws import assert_operator, draw, relative
from simulated import measured, thick_slices, uniform

SPACING = (2.0, 4.0, 4.0)


@pytest.mark.parametrize(("count", "factor"), [(15, 5), (16, 5), (19, 5), (12, 2), (7, 3), (9, 7)])
def test_thick_slices_of_any_number_are_means_with_the_end_reflected(count, factor):
    truth = uniform((count, 4, 6))
    problem = thick_slices(truth, factor)
    missing = -count % factor
    continued = torch.cat([truth, truth[-1 - missing : -1].flip(0)])
    assert relative(problem.measurement, continued.unflatten(0, (-1, factor)).mean(1)) < 1e-6
    assert isinstance(problem.operator, ThickSlices)
    assert problem.operator.reflected == missing
    assert_operator(problem.operator)
    assert torch.equal(problem.initial(), cubic(problem.measurement, factor, count))
    assert problem.kind == "zsr" and problem.unit == 1 and problem.noise == 0


def test_the_pseudo_inverse_of_thick_slices_is_repetition_whatever_the_iterations():
    problem = thick_slices(uniform((15, 4, 6)), 5)
    y = draw(problem.operator.codomain)
    for iterations in (1, 100):
        assert relative(problem.pseudo_inverse(iterations)(y), y.repeat_interleave(5, 0)) < 1e-6


@pytest.mark.parametrize("fwhm", [None, 4.0])
@pytest.mark.parametrize("count", [None, 15, 13])
def test_a_real_scan_and_a_simulated_one_with_the_same_slices_are_one_problem(count, fwhm):
    simulated = thick_slices(uniform((count or 15, 4, 6)), 5, fwhm)
    real = ThickSliceProblem(simulated.measurement, 5, fwhm, count)
    assert real.description == simulated.description
    assert isinstance(real.operator, ThickSlices) and isinstance(simulated.operator, ThickSlices)
    np.testing.assert_array_equal(real.operator.matrix, simulated.operator.matrix)
    assert torch.equal(real.initial(), simulated.initial())
    y = draw(real.operator.codomain)
    assert torch.equal(real.pseudo_inverse(1)(y), simulated.pseudo_inverse(1)(y))


def test_ct_is_projected_in_the_published_geometry_and_starts_at_fdk():
    truth = uniform((6, 16, 16))
    problem = measured(SparseViewCT(views=5), truth, SPACING)
    grid = Grid((6, 16, 16), SPACING)
    geometry = published_cone_beam(sparse_view(5), grid)
    assert problem.description == repr(geometry)
    assert relative(problem.measurement, problem.operator.forward(truth)) == 0
    assert torch.equal(problem.initial(), fdk(problem.measurement, geometry, grid))
    expected = Sirt(problem.operator, 3)(problem.measurement)
    assert torch.equal(problem.pseudo_inverse(3)(problem.measurement), expected)
    assert problem.unit == 4.0 and problem.noise == 0


def test_a_parallel_scan_starts_at_fbp_and_is_the_same_in_any_unit_of_length():
    truth = uniform((6, 16, 16))
    scan = SparseViewCT("parallel")
    problem, larger = (measured(scan, truth, mm) for mm in (SPACING, (4.0, 8.0, 8.0)))
    grid = Grid((6, 16, 16), SPACING)
    geometry = published_parallel_beam(scan.angles, grid)
    assert problem.description == repr(geometry) and problem.initial_title == "FBP"
    assert torch.equal(problem.initial(), fdk(problem.measurement, geometry, grid))
    assert problem.kind == "ct" and problem.unit == 4.0 and problem.noise == 0
    assert_operator(problem.operator)
    # Twice the mm: the same rays, twice as long.
    assert larger.unit == 8.0
    assert torch.equal(larger.measurement, 2 * problem.measurement)
    assert relative(larger.initial(), problem.initial()) < 1e-6
    inverses = (p.pseudo_inverse(3)(p.measurement) for p in (larger, problem))
    assert relative(*inverses) < 1e-6
    assert measured(SparseViewCT(), truth, SPACING).initial_title == "FDK"


PROBLEMS = [
    SparseViewCT(views=5, noise=PhotonNoise(1e5)),
    LimitedAngleCT("parallel", 7),
    SliceSuperResolution(4, 9.0, noise=GaussianNoise(0.1)),
]


@pytest.mark.parametrize("task", PROBLEMS, ids=str)
def test_a_problem_is_a_value_that_travels_and_is_the_same_where_it_arrives(task):
    """Whether its operator was made before or not; which then does not travel with it."""
    problem = measured(task, uniform((10, 16, 16)), SPACING)
    fresh = len(pickle.dumps(replace(problem)))
    y, x = draw(problem.operator.codomain), uniform(problem.shape)
    assert len(pickle.dumps(problem)) == fresh
    arrived = pickle.loads(pickle.dumps(problem))
    assert torch.equal(arrived.measurement, problem.measurement)
    for name in ("noise", "task", "kind", "spacing", "shape", "unit", "description", "initial_title"):
        assert getattr(arrived, name) == getattr(problem, name)
    assert torch.equal(arrived.initial(), problem.initial())
    assert torch.equal(arrived.operator.forward(x), problem.operator.forward(x))
    assert torch.equal(arrived.pseudo_inverse(2)(y), problem.pseudo_inverse(2)(y))


@pytest.mark.parametrize("beam", ["cone", "parallel"])
def test_a_free_orbit_is_the_same_scan_and_starts_where_no_formula_is_needed(beam):
    circular = measured(SparseViewCT(beam, 6), uniform((6, 16, 16)), SPACING)
    free = CTProblem(circular.geometry.to_orbit(), circular.grid, circular.measurement)
    x = uniform((6, 16, 16), 1)
    assert relative(free.operator.forward(x), circular.operator.forward(x)) < 1e-5
    assert free.initial_title == "CGLS" and free.unit == circular.unit
    assert torch.equal(free.initial(), cgls(free.operator, free.measurement, 20))


def test_a_problem_of_an_own_operator_starts_at_cgls_and_inverts_by_sirt():
    operator = ThickSlices((12, 4, 6), 3)
    problem = LinearProblem(operator, draw(operator.codomain), 0.1, SPACING, iterations=4)
    assert problem.operator is operator and problem.shape == (12, 4, 6)
    assert (problem.kind, problem.task, problem.unit, problem.noise) == ("", "", 1.0, 0.1)
    assert torch.equal(problem.initial(), cgls(operator, problem.measurement, 4))
    y = draw(operator.codomain, 3)
    assert torch.equal(problem.pseudo_inverse(5)(y), Sirt(operator, 5)(y))


def test_a_problem_goes_to_a_device_with_its_measurement_alone():
    problem = measured(SparseViewCT(views=3), uniform((4, 8, 8)), SPACING)
    assert problem.to("cpu").measurement.device.type == "cpu"
    there = problem.to("meta")
    assert there.measurement.device.type == "meta" and problem.measurement.device.type == "cpu"
    assert (there.geometry, there.grid, there.task) == (problem.geometry, problem.grid, problem.task)


def test_measurements_of_another_shape_are_refused():
    problem = measured(SparseViewCT(views=3), uniform((4, 8, 8)), SPACING)
    with pytest.raises(CosliceError, match=r"CTProblem: projections of shape .* but the geometry measures"):
        replace(problem, measurement=problem.measurement[1:])
    for count in (9, 16):
        with pytest.raises(CosliceError, match="ThickSliceProblem: 3 slices of 5 thin ones were given"):
            ThickSliceProblem(uniform((3, 4, 6)), 5, count=count)
    operator = ThickSlices((12, 4, 6), 3)
    with pytest.raises(CosliceError, match=r"LinearProblem: a measurement of shape \(3, 4, 6\)"):
        LinearProblem(operator, uniform((3, 4, 6)))
    operator.domain = (12, 24)
    with pytest.raises(CosliceError, match=r"LinearProblem: an operator of the domain \(12, 24\)"):
        LinearProblem(operator, uniform((4, 4, 6)))
