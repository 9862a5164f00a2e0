"""Averaged weights have the profile of their width."""

import math

import pytest
import torch
from torch import nn

from coslice.errors import CosliceError
from coslice.training.learning.average import Average, exponent

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.mark.parametrize("width", [0.05, 0.12, 0.25])
def test_an_average_has_the_profile_of_its_width(width):
    """Of weights theta(t) = t and t^2 it tells mean and variance of its own weighting: closed forms in gamma."""
    gamma, n = exponent(width), 20_000
    network = nn.Linear(1, 2, bias=False)
    average = Average(network.double(), width)
    for i in range(1, n + 1):
        t = i / n
        average.update([torch.tensor([[t], [t * t]], dtype=torch.float64)], 1, i)
    mean, square = average.weights["weight"].flatten().tolist()
    assert mean == pytest.approx((gamma + 1) / (gamma + 2), rel=1e-3)
    assert math.sqrt(square - mean**2) == pytest.approx(width, rel=1e-2)


def test_an_average_does_not_depend_on_where_it_began():
    average = Average(nn.Linear(2, 2), 0.1)
    average.update([torch.ones(2, 2), torch.zeros(2)], 8, 8)
    assert torch.equal(average.weights["weight"], torch.ones(2, 2))


def test_widths_that_no_power_has():
    for width in (0.0, 0.3, float("nan")):
        with pytest.raises(CosliceError, match="width"):
            exponent(width)
