"""Parts: what their settings say of themselves, and that a part which exists is valid."""

from __future__ import annotations

import math
from dataclasses import MISSING, dataclass, fields

import pytest

from coslice.errors import CosliceError
from coslice.methods import DataStep, PriorPart, Solution, Start, kinds_of
from coslice.noise import Strategy
from coslice.problems import Task
from coslice.renoising import Renoising
from coslice.schedule import Schedule
from coslice.settings import Part, Setting, setting

BASES = (PriorPart, DataStep, Renoising, Schedule, Strategy, Solution, Task)
# Not those that other tests define.
PARTS = [Start, *(part for base in BASES for part in kinds_of(base).values() if part.built_in())]
SETTINGS = [
    pytest.param(part, name, known, id=f"{part.__name__}-{name}") for part in PARTS for name, known in part.settings()
]


@dataclass(frozen=True)
class Sail(Part):
    area: float = setting(20.0, "Area", "m^2", above=0, most=100)
    masts: int = setting(1, "Number of masts", least=1, first=2)
    colour: str = setting("red", "Colour", choices=("red", "white"))
    reefed: bool = setting(False, "Whether it is reefed")
    lean: float | None = setting(None, "Lean of the mast; none is upright", "degrees")
    not_settings = ("maker",)
    maker: str = "nobody"


def test_settings_are_the_fields_that_were_described_in_their_order():
    assert [name for name, _ in Sail.settings()] == ["area", "masts", "colour", "reefed", "lean"]
    known = dict(Sail.settings())
    assert known["area"] == Setting("Area", 20.0, "m^2", above=0, most=100)
    assert known["masts"].first == 2 and known["reefed"].first is False
    assert Sail() == Sail(20.0, 1, "red", False, None)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"area": 0.0}, "Sail: area 0 m^2 was given, above 0 and at most 100 is needed."),
        ({"area": 100.5}, "Sail: area 100.5 m^2 was given, above 0 and at most 100 is needed."),
        ({"area": math.nan}, "Sail: area nan m^2 was given, above 0 and at most 100 is needed."),
        ({"area": "big"}, 'Sail: area "big" was given, a number is needed.'),
        ({"masts": 0}, "Sail: masts 0 was given, at least 1 is needed."),
        ({"masts": "two"}, 'Sail: masts "two" was given, a whole number is needed.'),
        ({"colour": "blue"}, 'Sail: colour "blue" was given, red or white is needed.'),
        ({"lean": math.inf}, "Sail: lean inf degrees was given, a finite number is needed."),
    ],
)
def test_a_value_that_cannot_be_is_refused_by_class_and_name(settings, words):
    with pytest.raises(CosliceError) as caught:
        Sail(**settings)
    assert str(caught.value) == words


def test_bounds_themselves_are_allowed_but_for_what_must_lie_above():
    assert Sail(area=100, masts=1, lean=-40.0, colour="white", reefed=True)
    assert Sail(area=1e-9)


@pytest.mark.parametrize(("part", "name", "known"), SETTINGS)
def test_every_setting_is_described_and_its_default_is_allowed(part, name, known):
    default = next(item.default for item in fields(part) if item.name == name)
    assert default is not MISSING and known.allows(default) and known.allows(known.first)
    assert known.meaning[0].isupper() and not known.meaning.endswith(".")


@pytest.mark.parametrize(("part", "name", "known"), SETTINGS)
def test_no_part_exists_with_a_setting_out_of_its_bounds(part, name, known):
    beyond = [] if known.least is None else [known.least - 1]
    beyond += [] if known.above is None else [known.above]
    beyond += [] if known.most is None else [known.most + 0.1]
    for value in [*beyond, *([math.nan, math.inf, "many"] if beyond or known.choices else [])]:
        with pytest.raises(CosliceError, match=f"{part.__name__}: {name} .* needed"):
            part(**{name: value})


def test_every_part_has_a_word_of_its_own():
    for base in BASES:
        kinds = kinds_of(base)
        assert all(kind.kind == word and issubclass(kind, base) for word, kind in kinds.items()) and len(kinds) > 1
