"""What users say of a scan's numbers: straight lines to HU, or a refusal."""

import pytest
import torch

from coslice.errors import CosliceError
from coslice.values import parse_values
from coslice.volume import Volume


@pytest.mark.parametrize(
    ("text", "water", "pairs"),
    [
        # pairs of a number and its HU
        ("hu", None, {-1000: -1000, 40: 40}),
        ("any", None, {0.3: 0.3}),
        ("hu+1024", None, {0: -1024, 1024: 0}),
        ("HU + 1000", None, {0: -1000, 1040: 40}),
        ("hu-1024", None, {-2024: -1000}),
        ("0:1=-1000:1600", None, {0: -1000, 1: 1600, 0.5: 300}),
        ("0:255=-1000:1600", None, {255: 1600}),
        ("-1:1=-1000:1000", None, {-1: -1000, 0: 0}),
        ("1000:0=-1000:0", None, {1000: -1000, 0: 0, -500: 500}),
        ("mu/cm", 0.2, {0: -1000, 0.2: 0, 0.4: 1000}),
        ("mu/mm", 0.02, {0: -1000, 0.02: 0, 0.01: -500}),
        ("mu/cm:0.2", None, {0.2: 0}),
        ("mu/mm:0.02", 0.03, {0.02: 0}),  # what stands in the text goes before
    ],
)
def test_a_statement_is_the_straight_line_it_says(text, water, pairs):
    values = parse_values(text, water)
    numbers = torch.tensor(list(pairs), dtype=torch.float32).reshape(1, 1, -1)
    converted, remark = values.apply(Volume(numbers))
    assert converted.data.flatten().tolist() == pytest.approx(list(pairs.values()), abs=1e-3)
    assert bool(remark) == (list(pairs) != list(pairs.values()))
    again = parse_values(values.text)  # what the record says makes the same again
    assert (again.slope, again.intercept) == pytest.approx((values.slope, values.intercept))


@pytest.mark.parametrize(
    "text",
    ["", "HUU", "hu+", "hu+many", "hu+inf", "0:1", "0:1=5", "0:1=-1000:nan", "1:1=0:5", "0:1=7:7", "0:1:2=0:1"]
    + ["mu", "mu/m", "mu/cm:", "mu/cm:water"],
)
def test_a_statement_of_another_form_is_answered_with_the_forms_there_are(text):
    with pytest.raises(CosliceError, match=r"hu\+1024, A:B=C:D|attenuation of water"):
        parse_values(text)


@pytest.mark.parametrize(
    ("text", "water", "said"),
    [
        ("mu/cm", None, "as in mu/cm:0.193"),
        ("mu/mm", None, "as in mu/mm:0.0193"),
        ("mu/cm:-0.2", None, "positive"),
        ("mu/cm", 0.0193, "check the unit"),
        ("mu/mm", 0.193, "check the unit"),
    ],
)
def test_attenuation_needs_that_of_water_in_its_own_unit(text, water, said):
    with pytest.raises(CosliceError, match=said):
        parse_values(text, water)
