"""The X-rays of a tube, and how water, bone and iron weaken each energy of them.

Mass attenuation coefficients mu/rho are those of NIST (Hubbell and Seltzer, standard reference database 126, tables 3
and 4: water, liquid; bone, cortical (ICRU-44); iron; aluminium). Between the energies of the tables ln(mu/rho) is
linear in ln E, but for the edges of iron and aluminium, which lie below all of them.

The tube's photons follow Kramers' law (Phil. Mag. 46, 1923), n(E) ~ E_max/E - 1, behind aluminium of d mm; the
detector adds up energies, so energy E has the share

    w(E) ~ E (E_max/E - 1) exp(-mu_Al(E) d)

of the signal. Characteristic lines of the anode are left out.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

import numpy as np

from coslice.errors import CosliceError
from coslice.settings import Part, setting

__all__ = ["DENSITIES", "HU_ENERGY", "SingleEnergy", "Spectrum", "TubeSpectrum", "mass_attenuation"]

HU_ENERGY = 70.0
"""Energy in keV at which HU are taken to say what attenuates: near the mean energy of a 120 kVp scanner."""

DENSITIES = {"water": 1.0, "bone": 1.92, "iron": 7.874, "aluminium": 2.699}
"""g/cm^3, of the same tables."""

_ENERGIES = (10.0, 15.0, 20.0, 30.0, 40.0, 50.0, 60.0, 80.0, 100.0, 150.0, 200.0)
_MASS = {
    "water": (5.329, 1.673, 0.8096, 0.3756, 0.2683, 0.2269, 0.2059, 0.1837, 0.1707, 0.1505, 0.1370),
    "bone": (28.51, 9.032, 4.001, 1.331, 0.6655, 0.4242, 0.3148, 0.2229, 0.1855, 0.1480, 0.1309),
    "iron": (170.6, 57.08, 25.68, 8.176, 3.629, 1.958, 1.205, 0.5952, 0.3717, 0.1964, 0.1460),
    "aluminium": (26.23, 7.955, 3.441, 1.128, 0.5685, 0.3681, 0.2778, 0.2018, 0.1704, 0.1378, 0.1223),
}


def mass_attenuation(material: str, energies: float | np.ndarray) -> np.ndarray:
    """mu/rho in cm^2/g at energies of 10 to 200 keV.

    Args:
        material: a name in `DENSITIES`.
        energies: keV.

    Raises:
        CosliceError: another material, or an energy that the tables do not have.
    """
    if material not in _MASS:
        raise CosliceError(f'mass_attenuation: "{material}" was given, but the materials are {", ".join(_MASS)}.')
    energies = np.asarray(energies, dtype=float)
    if not (energies.min() >= _ENERGIES[0] and energies.max() <= _ENERGIES[-1]):
        raise CosliceError(
            f"mass_attenuation: energies of {energies.min():g} to {energies.max():g} keV were given, "
            f"{_ENERGIES[0]:g} to {_ENERGIES[-1]:g} are needed."
        )
    return np.exp(np.interp(np.log(energies), np.log(_ENERGIES), np.log(_MASS[material])))


@dataclass(frozen=True)
class Spectrum(Part, ABC):
    """Which energies the signal of the open beam is made of."""

    @abstractmethod
    def lines(self) -> tuple[np.ndarray, np.ndarray]:
        """Energies in keV, and the share of the signal that each of them is; the shares sum to 1."""

    def water(self) -> float:
        """Attenuation of a little water, 1/mm: -ln of the signal, by mm of water, where there is next to none."""
        energies, shares = self.lines()
        return float(shares @ mass_attenuation("water", energies)) * DENSITIES["water"] / 10


@dataclass(frozen=True)
class SingleEnergy(Spectrum):
    """One energy: no beam hardening.

    Attributes:
        energy: keV.
    """

    kind = "single"

    energy: float = setting(HU_ENERGY, "Energy of the photons", "keV", least=_ENERGIES[0], most=_ENERGIES[-1])

    def lines(self) -> tuple[np.ndarray, np.ndarray]:
        return np.array([float(self.energy)]), np.ones(1)


@dataclass(frozen=True)
class TubeSpectrum(Spectrum):
    """A tube behind a filter, seen by a detector that adds up energies.

    Attributes:
        peak: voltage of the tube, kV: no photon has more keV.
        filter: of aluminium, mm.
        bins: so many energies stand for all of them, evenly from 15 keV up.
    """

    kind = "tube"

    peak: float = setting(120.0, "Voltage of the tube", "kV", least=30, most=_ENERGIES[-1])
    filter: float = setting(6.0, "Aluminium before the object", "mm", least=0)
    bins: int = setting(16, "Number of energies", least=1, most=1000)

    def lines(self) -> tuple[np.ndarray, np.ndarray]:
        low = _ENERGIES[1]
        width = (self.peak - low) / self.bins
        energies = low + (np.arange(self.bins) + 0.5) * width
        filtered = np.exp(-mass_attenuation("aluminium", energies) * DENSITIES["aluminium"] * self.filter / 10)
        shares = (self.peak - energies) * filtered
        return energies, shares / shares.sum()
