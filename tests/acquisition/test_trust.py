"""The noise that was simulated is the noise that is found."""

import numpy as np
import pytest

from coslice.acquisition.counts import line_integrals_from
from coslice.acquisition.trust import MENDED_WEIGHT, WEIGHT_BOUNDS, measured_trust
from coslice.errors import CosliceError

VIEWS, ROWS, COLUMNS = 30, 16, 120


@pytest.fixture(scope="module")
def exact():
    u, v = np.arange(COLUMNS) - 59.5, np.arange(ROWS)[:, None] - 7.5
    places = 15 * np.cos(np.linspace(0, 3, VIEWS))
    return np.stack([2 * np.sqrt(np.clip(1 - ((u - at) / 35) ** 2, 0, 1)) + 0 * v for at in places])


def recorded(exact, photons=3000, gain=1.0, electronic=0.0, flats=6, seed=0):
    """Counts, flat and dark fields, as a detector of that many counts a photon and that electronic noise reads them."""
    rng = np.random.default_rng(seed)
    beam = photons * (1 + 0.2 * np.sin(np.arange(ROWS * COLUMNS).reshape(ROWS, COLUMNS)))

    def read(expected):
        return gain * rng.poisson(expected) + 100 + electronic * rng.normal(size=np.shape(expected))

    lamp = rng.uniform(0.95, 1.05, (flats, 1, 1))  # the beam is not as bright every time
    return read(beam * np.exp(-exact)), read(lamp * beam), read(np.zeros((flats, ROWS, COLUMNS)))


def deviation_of(measured, exact):
    error = (measured.lines - exact)[~measured.mended]
    return np.sqrt(np.mean((error - np.median(error)) ** 2))


@pytest.mark.parametrize("gain", [0.5, 1.0, 4.0])
@pytest.mark.parametrize("electronic", [0.0, 20.0])
@pytest.mark.parametrize("flats", [2, 6])
def test_the_deviation_from_flat_fields_is_that_of_the_errors(exact, gain, electronic, flats):
    counts, flat, dark = recorded(exact, 4000, gain, electronic, flats)
    measured = line_integrals_from(counts, flat, dark)
    trust = measured_trust(measured, flat, dark)
    assert trust.deviation == pytest.approx(deviation_of(measured, exact), rel=0.1)
    assert trust.photons == pytest.approx(4000, rel=0.1)
    assert f"from how {flats} flat fields differ" in trust.notes[0]


@pytest.mark.parametrize("values", ["counts", "transmission", "lines"])
def test_the_deviation_from_air_is_that_of_the_errors(exact, values):
    counts, flat, _ = recorded(exact, flats=1)
    if values == "counts":
        measured = line_integrals_from(counts - 100, flat - 100)
    else:
        beam = 3000 * (1 + 0.2 * np.sin(np.arange(ROWS * COLUMNS).reshape(ROWS, COLUMNS)))
        through = (counts - 100) / beam
        measured = line_integrals_from(through if values == "transmission" else -np.log(through), values=values)
    trust = measured_trust(measured, flat if values == "counts" else None)
    assert trust.deviation == pytest.approx(deviation_of(measured, exact), rel=0.1)
    assert trust.photons == pytest.approx(3000, rel=0.1) and "in air" in trust.notes[0]


def test_given_photons_are_believed(exact):
    counts, flat, dark = recorded(exact)
    measured = line_integrals_from(counts, flat, dark)
    given, found = measured_trust(measured, photons=3000), measured_trust(measured, flat, dark)
    assert given.photons == 3000 and given.deviation == pytest.approx(found.deviation, rel=0.1)


def test_weights_are_inverse_variances_of_mean_one(exact):
    counts, flat, dark = recorded(exact)
    counts[4, 3, 60] = np.nan
    measured = line_integrals_from(counts, flat, dark)
    weights = measured_trust(measured, flat, dark).weights
    assert weights.dtype == np.float32 and weights.shape == exact.shape
    assert weights.mean(dtype=float) == pytest.approx(1, abs=1e-5)
    good = ~measured.mended
    low, high = WEIGHT_BOUNDS
    middle = np.median(weights[good])
    assert weights[good].min() >= 0.99 * low * middle and weights[good].max() <= 1.01 * high * middle
    assert weights[4, 3, 60] == pytest.approx(MENDED_WEIGHT * middle, rel=0.02)
    assert measured.open_beam is not None
    # without electronic noise 1/var = n/g less the flat fields' part, which is small where few counts are
    ratio = weights[good] * np.exp(measured.lines[good]) / measured.open_beam[np.nonzero(good)[1:]]
    behind = exact[good] > 1
    assert ratio[behind].std() < 0.1 * ratio[behind].mean()


def test_without_noise_all_values_are_trusted_alike(exact):
    trust = measured_trust(line_integrals_from(exact, values="lines"))
    assert trust.deviation == pytest.approx(0, abs=1e-3)
    flat = measured_trust(line_integrals_from(np.zeros_like(exact), values="lines"))
    assert flat.deviation == 0 and (flat.weights == 1).all() and "No noise" in flat.notes[0]


@pytest.mark.parametrize("photons", [0.0, -3.0, float("nan"), float("inf")])
def test_photons_that_are_none_are_refused(exact, photons):
    with pytest.raises(CosliceError, match="a positive number is needed"):
        measured_trust(line_integrals_from(exact, values="lines"), photons=photons)
