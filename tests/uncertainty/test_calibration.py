"""A calibrated interval covers its nominal share, in any unit; it says what it is for, and comes back from its file."""

import json
import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from coslice.errors import CosliceError
from coslice.io.files import write_json
from coslice.uncertainty import (
    LEVELS,
    Calibration,
    Case,
    Conditions,
    coverage,
    find_calibration,
    read_calibration,
    reliability_curve,
    shipped_calibrations,
    why_none,
)

SHAPE = (6, 48, 48)
BODY = torch.ones(SHAPE, dtype=torch.bool)
CONDITIONS = Conditions("dds", "svct-cone-30", ("ct",), 8, (1.0, 3.0), (2.5, 3.2), settings={"noise": {"kind": "iscs"}})


def toy(seed: int, a: float = 2.0, b: float = 0.3, samples: int = 9) -> Case:
    """Errors with the variance a^2 s^2 + b^2; s is smooth, and known by the deviation of some samples."""
    generator = torch.Generator().manual_seed(seed)
    y = torch.linspace(0, 2 * math.pi, SHAPE[1])[None, :, None].expand(SHAPE)
    s = 0.2 + 0.8 * torch.sin(y / 2) ** 2
    truth = torch.rand(SHAPE, generator=generator)
    drawn = s * torch.randn((samples, *SHAPE), generator=generator)
    error = (a**2 * s**2 + b**2).sqrt() * torch.randn(SHAPE, generator=generator)
    return Case(truth, truth + error, drawn.std(0), BODY)


def fitted(*seeds: int, scale: float = 1.0, **toys) -> Calibration:
    cases = [toy(seed, **toys) for seed in seeds]
    scaled = [Case(scale * c.truth, scale * c.estimate, scale * c.deviation, BODY) for c in cases]
    return Calibration.fit(scaled, CONDITIONS, "toy", ("one", "two"))


def test_the_interval_covers_its_nominal_share_of_errors_it_has_not_seen():
    calibration, other = fitted(0, 1), toy(7)
    curve = reliability_curve(other.truth, other.estimate, calibration.half_widths(other.deviation), BODY)
    assert list(curve) == list(LEVELS)
    for level, held in curve.items():
        assert held.body == pytest.approx(level / 100, abs=0.02)
    # where the samples agree and where they do not, and not only on the whole
    half = calibration.half_width(other.deviation, 90)
    for part in (slice(0, 8), slice(20, 28)):
        inside = torch.zeros(SHAPE, dtype=torch.bool)
        inside[:, part] = True
        assert coverage(other.truth, other.estimate, half, inside).body == pytest.approx(0.9, abs=0.04)


def test_on_what_it_was_fitted_on_it_covers_exactly():
    case, calibration = toy(3), fitted(3)
    for level, width in calibration.half_widths(case.deviation).items():
        held = coverage(case.truth, case.estimate, width, BODY).body
        assert 0 <= held - level / 100 < 2 / BODY.sum() or held == pytest.approx(level / 100, abs=2e-4)


def test_gaussian_errors_give_back_a_b_and_the_quantiles_of_a_gaussian():
    calibration = fitted(*range(4), samples=200)
    assert calibration.a == pytest.approx(2.0, rel=0.03)
    assert calibration.b == pytest.approx(0.3, rel=0.1)
    expected = {50: 0.6745, 68: 0.9945, 80: 1.2816, 90: 1.6449, 95: 1.96}
    assert calibration.quantiles == pytest.approx(expected, rel=0.02)


def test_a_deviation_of_few_samples_is_blurred_and_one_that_is_known_is_not_needed_to_be():
    assert fitted(0, samples=3).blur >= 2
    narrow = Calibration.fit([toy(0)], CONDITIONS, blurs=(0.0,))
    case = toy(5)
    blurred = fitted(0).uncertainty(case.deviation)
    # the narrower interval at the same coverage is the one that knows more
    for calibration in (narrow, fitted(0)):
        held = coverage(case.truth, case.estimate, calibration.half_width(case.deviation), BODY).body
        assert held == pytest.approx(0.9, abs=0.02)
    assert float((blurred * fitted(0).quantiles[90]).mean()) < float(narrow.half_width(case.deviation).mean())


def test_a_deviation_that_says_nothing_leaves_a_constant_interval():
    generator = torch.Generator().manual_seed(0)
    truth = torch.rand(SHAPE, generator=generator)
    case = Case(truth, truth + torch.randn(SHAPE, generator=generator), torch.zeros(SHAPE), BODY)
    calibration = Calibration.fit([case], CONDITIONS)
    assert calibration.b > 0
    assert calibration.half_width(case.deviation, 68).unique().numel() == 1
    assert coverage(case.truth, case.estimate, calibration.half_width(case.deviation, 68), BODY).body == pytest.approx(
        0.68, abs=1e-3
    )


@pytest.mark.parametrize("scale", [2600.0, 1e-3])
def test_in_another_unit_it_is_the_same_calibration(scale):
    unit, scaled = fitted(0, 1), fitted(0, 1, scale=scale)
    assert scaled.blur == unit.blur
    assert scaled.a == pytest.approx(unit.a, rel=1e-4)
    assert scaled.b == pytest.approx(scale * unit.b, rel=1e-4)
    assert scaled.quantiles == pytest.approx(dict(unit.quantiles), rel=1e-4)
    given = toy(9).deviation
    torch.testing.assert_close(scaled.half_width(scale * given), scale * unit.half_width(given), rtol=1e-4, atol=0)
    torch.testing.assert_close(
        unit.scaled(scale).half_width(scale * given), scale * unit.half_width(given), rtol=1e-5, atol=0
    )


def test_every_scan_weighs_the_same_whatever_its_size():
    large, small = toy(0), toy(1, a=4.0, b=1.0)
    part = Case(small.truth[:1, :16], small.estimate[:1, :16], small.deviation[:1, :16], BODY[:1, :16])
    truth, estimate, deviation, body = (
        torch.cat([v] * 3) for v in (large.truth, large.estimate, large.deviation, BODY)
    )
    repeated = Case(truth, estimate, deviation, body)
    once, thrice = (Calibration.fit([one, part], CONDITIONS) for one in (large, repeated))
    assert thrice.quantiles == pytest.approx(dict(once.quantiles), rel=1e-6)
    assert (thrice.a, thrice.b) == pytest.approx((once.a, once.b), rel=1e-6)


def test_only_the_body_counts():
    case, body = toy(0), torch.zeros(SHAPE, dtype=torch.bool)
    body[:, 10:30] = True
    elsewhere = case.estimate.clone()
    elsewhere[:, 30:] = 0
    one, other = (
        Calibration.fit([Case(case.truth, e, case.deviation, body)], CONDITIONS) for e in (case.estimate, elsewhere)
    )
    assert one == other


def test_it_comes_back_from_its_file(tmp_path):
    calibration = fitted(0)
    write_json(tmp_path / "toy.json", calibration.as_tree())
    assert read_calibration(tmp_path / "toy.json") == calibration


@pytest.mark.parametrize(
    "broken", ["not json", "[]", "{}", '{"a": 1}', json.dumps(fitted(0).as_tree() | {"quantiles": {"90": -1}})]
)
def test_a_file_that_holds_none_is_refused(tmp_path, broken):
    (tmp_path / "broken.json").write_text(broken)
    with pytest.raises(CosliceError):
        read_calibration(tmp_path / "broken.json")
    with pytest.raises(CosliceError, match="cannot be read"):
        read_calibration(tmp_path / "missing.json")


def test_those_in_the_package_are_whole_and_named_as_their_files():
    assert [calibration.name for calibration in shipped_calibrations()] == ["wblend-svct-8"]
    for calibration in shipped_calibrations():
        assert calibration.scans and calibration.name
        assert {50, 68, 80, 90, 95} <= set(calibration.quantiles)
        assert Calibration.from_tree(calibration.as_tree()) == calibration


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"method": "ddnm"}, "the method is dds, not ddnm"),
        ({"settings": {}}, "the settings of dds are others"),
        ({"task": "lact-cone-100"}, "the task is svct-cone-30, not lact-cone-100"),
        ({"priors": ("mine",)}, "the prior is ct, not mine"),
        ({"priors": ()}, "the prior is ct, not none"),
        ({"samples": 4}, "the number of samples is 8, not 4"),
        ({"source": "last 10 steps"}, "the source of the deviation is samples, not last 10 steps"),
        ({"between": (5.0, 5.0)}, "the slices are 1 to 3 mm apart, not 5"),
        ({"within": (1.5, 1.5)}, "the pixels are 2.5 to 3.2 mm apart, not 1.5"),
    ],
)
def test_where_it_does_not_apply_it_says_why_in_one_sentence(change, said):
    known = (
        replace(fitted(0), name="far", conditions=replace(CONDITIONS, method="dps", samples=3, task="zsr-5")),
        fitted(0),
    )
    run = replace(CONDITIONS, between=(1.0, 1.0), within=(3.4, 3.4))
    assert find_calibration(run, known) is known[1] and why_none(run, known) == ""
    other = replace(run, **change)
    assert find_calibration(other, known) is None
    assert why_none(other, known) == f"No interval: no calibration fits this run; of the nearest, toy, {said}."
    assert why_none(other, ()) == "No interval: there is no calibration."


@pytest.mark.parametrize(
    ("broken", "words"),
    [
        (lambda: Calibration.fit([], CONDITIONS), "0 cases"),
        (lambda: Calibration.fit([toy(0)], CONDITIONS, levels=(100,)), "between 0 and 100"),
        (lambda: Calibration.fit([replace(toy(0), estimate=toy(0).truth)], CONDITIONS), "no error"),
        (lambda: Case(BODY.float(), BODY.float(), -BODY.float()), "below 0"),
        (lambda: Case(BODY.float(), BODY.float(), BODY.float()[:2]), "deviation has shape"),
        (lambda: fitted(0).half_width(toy(0).deviation, 99), "99 % was asked for"),
        (lambda: fitted(0).uncertainty(toy(0).deviation * np.nan), "not finite"),
        (lambda: replace(fitted(0), b=0.0), "b above 0"),
        (lambda: replace(fitted(0), quantiles={50: 2.0, 90: 1.0}), "do not fall"),
    ],
)
def test_what_cannot_be_calibrated_is_refused(broken, words):
    with pytest.raises(CosliceError, match=words):
        broken()
