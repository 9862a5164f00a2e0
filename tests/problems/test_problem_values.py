"""Problems are values: they travel, and what they make does not depend on the journey."""

import pickle
from dataclasses import dataclass
from typing import Any

import pytest
import torch

import coslice
from coslice.classical import cgls
from coslice.errors import CosliceError
from coslice.geometry import Grid
from coslice.operators import Operator
from coslice.problems import TASKS, CTProblem, LinearProblem, make_task
from coslice.window import CT_WINDOW

SHAPE, SPACING = (10, 16, 16), (2.0, 4.0, 4.0)


def truth():
    return torch.rand(SHAPE, generator=torch.Generator().manual_seed(0))


def made(kind, **settings) -> Any:
    return make_task(kind, settings).problem(truth(), Grid(SHAPE, SPACING), CT_WINDOW)


@pytest.mark.parametrize(
    ("kind", "settings"),
    [
        ("svct", {"views": 5}),
        ("svct", {"beam": "parallel"}),
        ("lact", {"angle": 40.0, "views": 9}),
        ("zsr", {"factor": 5}),
        ("zsr", {"factor": 3.5, "axis": "x", "slice_thickness_mm": 9.0}),
    ],
)
def test_a_problem_travels(kind, settings):
    problem = made(kind, **settings)
    _ = problem.operator  # what it has made for itself does not travel along
    text = pickle.dumps(problem)
    assert len(text) < problem.measurement.numel() * 4 + 6000
    other = pickle.loads(text)
    assert "operator" not in other.__dict__
    assert torch.equal(other.measurement, problem.measurement)
    assert torch.equal(other.initial(), problem.initial())
    assert torch.equal(other.pseudo_inverse(3)(other.measurement), problem.pseudo_inverse(3)(problem.measurement))
    for name in ("kind", "spacing", "shape", "unit", "noise", "task", "description", "initial_title"):
        assert getattr(other, name) == getattr(problem, name)


def test_the_operator_is_made_once():
    problem = made("svct", views=3)
    assert problem.operator is problem.operator


def test_simulation_only_produces_the_measurement():
    """Measured data make the same value: everything else is geometry and grid."""
    simulated = made("svct", views=6)
    measured = CTProblem(simulated.geometry, simulated.grid, simulated.measurement.clone())
    result = coslice.run(measured, "cgls")
    assert torch.equal(result.reconstruction, coslice.run(simulated, "cgls").reconstruction)
    assert measured.task == "" and simulated.task == "svct-cone-6"


@pytest.mark.parametrize("kind", TASKS)
def test_a_task_says_what_it_is_in_one_place(kind):
    task = make_task(kind)
    assert task.kind == kind and task.settings_chosen["task"] == kind and str(task).startswith(task.title)
    assert task.problem_kind == ("zsr" if kind == "zsr" else "ct")


@dataclass(frozen=True)
class Mask(Operator):
    """Every second voxel is measured."""

    shape: tuple

    @property
    def domain(self):  # pyright: ignore[reportIncompatibleVariableOverride]
        return self.shape

    @property
    def codomain(self):  # pyright: ignore[reportIncompatibleVariableOverride]
        return (self.shape[0], self.shape[1], self.shape[2] // 2)

    def forward(self, volume):
        return volume[..., ::2].contiguous()

    def adjoint(self, measurement):
        volume = torch.zeros(self.shape)
        volume[..., ::2] = measurement
        return volume


def test_an_operator_of_ones_own_is_a_problem():
    operator = Mask(SHAPE)
    y = operator.forward(truth())
    problem = LinearProblem(operator, y, spacing=SPACING, iterations=5)
    assert torch.equal(problem.initial(), cgls(operator, y, 5))
    # A A^T = 1, so the measured voxels come back and nothing is known of the others
    assert torch.allclose(coslice.run(problem, "cgls").reconstruction, operator.adjoint(y), atol=1e-6)
    assert torch.equal(pickle.loads(pickle.dumps(problem)).initial(), problem.initial())


def test_a_measurement_of_another_shape_is_refused():
    problem = made("svct", views=4)
    with pytest.raises(CosliceError, match="the geometry measures"):
        CTProblem(problem.geometry, problem.grid, problem.measurement[:3])
    with pytest.raises(CosliceError, match="the operator measures"):
        LinearProblem(Mask(SHAPE), truth())
