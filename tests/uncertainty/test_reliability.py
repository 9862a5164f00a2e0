"""Coverage is a share of voxels, of the body and of all; the body is what the skin holds."""

import numpy as np
import pytest
import torch

from coslice.errors import CosliceError
from coslice.uncertainty import body_mask, coverage, reliability_curve

SHAPE = (4, 40, 48)


def chest() -> tuple[torch.Tensor, torch.Tensor]:
    """HU of an ellipse with two lungs on a thin table, and where its inside is."""
    y, x = torch.meshgrid(torch.linspace(-1, 1, SHAPE[1]), torch.linspace(-1, 1, SHAPE[2]), indexing="ij")
    inside = x**2 + (1.5 * y) ** 2 < 0.8
    lungs = (x.abs() - 0.4) ** 2 / 0.05 + y**2 / 0.1 < 1
    hu = torch.where(inside, 40.0, -1000.0).masked_fill(lungs, -850.0)
    hu[-3] = 100.0  # the table
    return hu.expand(SHAPE).clone(), inside.expand(SHAPE)


def test_the_body_is_what_the_skin_encloses_and_no_table():
    hu, inside = chest()
    off = body_mask(hu) != inside
    assert float(off.double().mean()) < 0.005  # corners of the skin, from taking thin things away
    assert not body_mask(hu)[:, -3].any()


@pytest.mark.parametrize(("scale", "shift"), [(1 / 2600, 1000 / 2600), (3.0, -77.0)])
def test_the_body_does_not_depend_on_the_unit(scale, shift):
    hu, _ = chest()
    assert torch.equal(body_mask(hu * scale + shift), body_mask(hu))


def test_air_that_is_exact_flatters_all_voxels_and_not_the_body():
    truth, inside = chest()
    estimate = truth + inside * 10.0
    estimate[:2] = truth[:2]
    held = coverage(truth, estimate, torch.full(SHAPE, 9.0), inside)
    assert held.body == 0.5
    assert held.everywhere == pytest.approx(1 - 0.5 * float(inside.double().mean()))
    assert coverage(truth, estimate, torch.full(SHAPE, 10.0), inside).body == 1


def test_the_curve_is_the_coverage_of_every_level():
    truth, _ = chest()
    noise = torch.randn(SHAPE, generator=torch.Generator().manual_seed(0))
    widths = {68.0: torch.full(SHAPE, 0.9945), 95.0: torch.full(SHAPE, 1.96)}
    curve = reliability_curve(truth, truth + noise, widths)
    for level, held in curve.items():
        assert held == coverage(truth, truth + noise, widths[level])
        assert held.body == pytest.approx(level / 100, abs=0.02)
        assert held.everywhere == pytest.approx(float((noise.abs() <= widths[level]).double().mean()))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"estimate": torch.zeros(4, 40, 47)}, "estimate has shape"),
        ({"half_width": torch.full(SHAPE, -1.0)}, "below 0"),
        ({"half_width": torch.full(SHAPE, np.nan)}, "not finite"),
        ({"body": torch.zeros(SHAPE)}, "0 voxels"),
        ({"body": torch.ones(4, 40)}, "shape"),
        ({"truth": torch.zeros(SHAPE)}, "constant"),
    ],
)
def test_what_cannot_be_counted_is_refused(change, words):
    truth, _ = chest()
    given = {"truth": truth, "estimate": truth, "half_width": torch.ones(SHAPE)} | change
    with pytest.raises(CosliceError, match=words):
        coverage(**given)
