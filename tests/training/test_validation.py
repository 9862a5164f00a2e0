"""Validation: the error of a denoiser that is known, and pictures that stand upright."""

import math

import pytest
import torch

from coslice.networks.edm import EDMDenoiser
from coslice.networks.unet import UNet
from coslice.training.learning.validation import Examples, overall, picture, validate
from small_training import SMALL

pytestmark = pytest.mark.usefixtures("one_thread")


def test_validation_of_a_silent_network_is_known():
    """D is then Wiener's filter of N(m, s^2): its error on such data is sigma s / sqrt(sigma^2 + s^2)."""
    generator = torch.Generator().manual_seed(0)
    images = 0.5 + 0.05 * torch.randn(8, 1, 32, 32, generator=generator)
    silent = EDMDenoiser(UNet(SMALL), 0.5, 0.05)
    for sigma, rmse in validate(silent, Examples(images, torch.ones(8)), (0.02, 0.05, 0.2)).items():
        assert rmse == pytest.approx(sigma * 0.05 / math.hypot(sigma, 0.05), rel=0.03)


def test_overall_is_a_geometric_mean():
    assert overall({"a": {0.1: 1.0, 1.0: 4.0}, "b": {0.1: 2.0, 1.0: 2.0}}) == pytest.approx(2.0)


def test_pictures_of_upward_rows_are_turned_tile_by_tile():
    """A denoiser that answers its input: every tile of one picture is the other's, upside down."""

    class Same(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = torch.nn.Parameter(torch.zeros(1), requires_grad=False)

        def forward(self, x, sigma, distance):
            return x

    images = torch.rand(2, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    examples = Examples(images, torch.ones(2))
    down, up = (picture(Same(), examples, 0.2, 1.0, upwards=upwards) for upwards in (False, True))
    assert down.shape == up.shape == (3 * 8, 7 * 8)
    tiles = [shown.reshape(3, 8, 7, 8) for shown in (down, up)]
    assert (tiles[0][:, ::-1] == tiles[1]).all() and (tiles[0] != tiles[1]).any()
    assert (tiles[0][:2, :, 0] == (images[:, 0] * 255).round().byte().numpy()).all()
