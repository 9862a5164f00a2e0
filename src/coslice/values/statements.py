"""What the numbers of a scan stand for, as the user says it.

    hu               Hounsfield units; do not ask
    hu+1024          Hounsfield units with 1024 added, as scanners store them without a sign; any other number likewise
    A:B=C:D          a straight line: A is C HU and B is D HU, as in 0:1=-1000:1600; A above B turns a negative
    mu/mm, mu/cm     attenuation; HU = 1000 (mu/mu_water - 1), with the water's given as in mu/cm:0.193
    any              any numbers, taken as they are

All of them are HU = slope v + intercept.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from coslice.errors import CosliceError
from coslice.volume import Volume

__all__ = ["Values", "parse_values"]

_ATTENUATIONS = {"mu/mm": 10.0, "mu/cm": 1.0}
"""How many of them are one per cm."""
_WATER = {"mu/mm": "0.0193", "mu/cm": "0.193"}
"""Water's at 70 keV, the mean energy of a usual scan (NIST XCOM), for an example."""


@dataclass(frozen=True)
class Values:
    """What a number v of a scan stands for: slope v + intercept.

    Attributes:
        text: as the user says it, see `parse_values`.
        slope, intercept: of the straight line to HU; 1 and 0 leave a scan as it is.
    """

    text: str
    slope: float = 1.0
    intercept: float = 0.0

    def apply(self, volume: Volume) -> tuple[Volume, str]:
        """The volume in HU, and a sentence on what was done to it; "" where nothing was."""
        if (self.slope, self.intercept) == (1.0, 0.0):
            return volume, ""
        low, high = (self.slope * float(value) + self.intercept for value in volume.data.aminmax())
        low, high = min(low, high), max(low, high)
        converted = volume.with_data(volume.data * self.slope + self.intercept)
        return converted, (
            f"The scan's values were turned into HU as {self.text}: {self.slope:g} v {self.intercept:+g}, which is "
            f"{low:.6g} to {high:.6g} HU; all results are in HU."
        )


def parse_values(text: str, water: float | None = None) -> Values:
    """What the user says of a scan's numbers.

    Args:
        text: hu, hu+1024, A:B=C:D, mu/mm, mu/cm (also mu/cm:0.193) or any.
        water: attenuation of water in the unit of the text, for mu/mm and mu/cm.

    Raises:
        CosliceError: text of another form, a line that is flat or not finite, an attenuation without that of water.
    """
    word = text.strip().lower().replace(" ", "")
    if word in ("hu", "any"):
        return Values(word)
    try:
        if word.startswith("hu"):
            added = _number(word[2:])
            return Values(f"hu{added:+.15g}", 1.0, -added)
        unit, _, given = word.partition(":")
        if unit in _ATTENUATIONS:
            return _attenuation(unit, _number(given) if given else water)
        before, equals, after = word.partition("=")
        if not equals:
            raise ValueError
        (a, b), (c, d) = ([_number(end) for end in side.split(":")] for side in (before, after))
        if a == b or c == d:
            raise ValueError
    except CosliceError:  # a ValueError too, and the better sentence
        raise
    except ValueError:
        raise CosliceError(
            f'values: "{text}" was given, but hu, hu+1024, A:B=C:D (A is C HU and B is D HU, as in 0:1=-1000:1600), '
            "mu/mm or mu/cm with the attenuation of water (as in mu/cm:0.193), or any is needed."
        ) from None
    slope = (d - c) / (b - a)
    return Values(word, slope, c - slope * a)


def _attenuation(unit: str, water: float | None) -> Values:
    if water is None:
        raise CosliceError(
            f"values: {unit} was given without the attenuation of water, which HU are counted from and which depends "
            f"on the energy; add it, as in {unit}:{_WATER[unit]} (70 keV)."
        )
    per_cm = water * _ATTENUATIONS[unit]
    if not 0 < water < math.inf:
        raise CosliceError(
            f"values: an attenuation of water of {water:g} was given with {unit}, a positive number is needed."
        )
    if not 0.03 < per_cm < 1.9:
        # From 5 MeV to 15 keV: outside, the other unit was meant.
        raise CosliceError(
            f"values: an attenuation of water of {water:g} was given with {unit}, but no X-rays are attenuated so; "
            f"at 70 keV it is {_WATER[unit]}; check the unit."
        )
    return Values(f"{unit}:{water:g}", 1000 / water, -1000.0)


def _number(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError
    return number
