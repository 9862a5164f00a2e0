"""The scale that a histogram shows is the one the values were made with, or it is refused."""

import numpy as np
import pytest
import torch

from coslice.acquisition.scale import HounsfieldScale, attenuation_window, found_water, inside_circle
from coslice.data import embedded_scan
from coslice.errors import CosliceError
from coslice.window import CT_WINDOW


def disc(values, noise=0.0, seed=0):
    """Rings of these values, from outside in, in air: (6, 64, 64)."""
    y, x = np.mgrid[:64, :64] - 31.5
    radius = np.hypot(x, y)
    plane = np.zeros((64, 64))
    for number, value in enumerate(values):
        plane[radius < 27 * (1 - number / len(values)) ** 0.7] = value
    return plane + noise * np.random.default_rng(seed).normal(size=(6, 64, 64))


@pytest.fixture(scope="module")
def chest():
    return embedded_scan().data.numpy()[::4]


@pytest.mark.parametrize("water", [0.0193, 0.0268, 0.5])
@pytest.mark.parametrize("noise", [0.0, 0.02])
def test_water_of_a_chest_is_found(chest, water, noise):
    mu = np.maximum(water * (1 + chest / 1000), 0)
    found = found_water(mu + noise * water * np.random.default_rng(0).normal(size=mu.shape))
    assert found.scale.water == pytest.approx(water, rel=0.03)
    assert abs(found.scale.air) < 0.03 * water
    assert "fat and soft tissue" in found.notes[0] and f"{found.scale.water:.4g} 1/mm" in found.notes[0]


@pytest.mark.parametrize("unit", [1.0, 1e-3, 50.0])
@pytest.mark.parametrize(
    ("values", "expected"),
    [([0.02], 0.02), ([0.02, 0.055], 0.02), ([0.05, 0.02], 0.05), ([0.02, 0.004], 0.02), ([0.019, 0.019, 0.06], 0.019)],
)
def test_the_main_peak_of_a_phantom_is_its_water(values, expected, unit):
    found = found_water(unit * disc(values, 0.001))
    assert found.scale.water == pytest.approx(unit * expected, rel=0.02)
    assert found.certainty > 0.8 and "taken for water" in found.notes[0]


RNG = np.random.default_rng(0)


@pytest.mark.parametrize(
    "volume",
    [
        np.zeros((4, 32, 32)),
        -disc([0.02]),
        RNG.uniform(0, 1, (4, 32, 32)),
        0.001 * RNG.normal(size=(4, 64, 64)),
        0.5 + 0.3 * RNG.normal(size=(4, 64, 64)),
        np.full((4, 32, 32), np.nan),
        np.ones((1, 4, 4)),
    ],
    ids=["nothing", "negative", "even", "noise", "wide", "no numbers", "few"],
)
def test_without_a_peak_of_matter_water_is_asked_for(volume):
    with pytest.raises(CosliceError, match="--water MU"):
        found_water(volume)


def test_only_the_field_of_view_counts():
    volume = disc([0.02], 0.0005)
    volume[:, ~inside_circle((64, 64))] = 0.3  # what a reconstruction may have in its corners
    assert found_water(volume).scale.water == pytest.approx(0.02, rel=0.02)
    assert inside_circle((64, 64)).mean() == pytest.approx(np.pi / 4, abs=0.01)
    assert inside_circle((64, 64), 0.5).mean() == pytest.approx(np.pi / 16, abs=0.01)


def test_hu_is_a_scale_with_water_at_0_and_air_at_minus_1000():
    scale = HounsfieldScale(0.021, 0.001)
    assert scale.to_hu(0.021) == pytest.approx(0, abs=1e-9) and scale.to_hu(0.001) == pytest.approx(-1000)
    assert scale.to_hu(0.041) == pytest.approx(1000)
    hu = torch.linspace(-1000, 3000, 9)
    np.testing.assert_allclose(scale.to_hu(scale.from_hu(hu)), hu, atol=1e-3)
    window = scale.window(CT_WINDOW)
    assert (window.low, window.high, window.unit) == (pytest.approx(0.001), pytest.approx(0.053), "1/mm")


@pytest.mark.parametrize(("water", "air"), [(0.0, 0.0), (-0.02, -0.1), (0.01, 0.02), (float("nan"), 0), (0.02, np.inf)])
def test_a_scale_that_is_none_is_refused(water, air):
    with pytest.raises(CosliceError, match="water must be above 0 and above air"):
        HounsfieldScale(water, air)


def test_laboratory_data_get_a_window_from_air_to_their_densest_matter():
    volume = disc([0.4, 1.0])
    window, notes = attenuation_window(volume)
    assert (window.low, window.high) == (0.0, pytest.approx(1.1))
    assert "0 to 1.1 1/mm" in notes[0] and "99.9 % point" in notes[0]
    window, notes = attenuation_window(volume, air=0.1, high=2.0)
    assert (window.low, window.high) == (0.1, 2.0) and "as given" in notes[0]
    # a few voxels of metal do not set it
    volume[:, 30, 30] = 50
    assert attenuation_window(volume)[0].high == pytest.approx(1.1)
    with pytest.raises(CosliceError, match="nothing is in it"):
        attenuation_window(np.zeros((4, 16, 16)))
