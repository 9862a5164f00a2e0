"""The noise of a group's measurement, as a recipe says it."""

from __future__ import annotations

from dataclasses import dataclass

from coslice.detector import MeasurementNoise, detector_noise
from coslice.errors import CosliceError
from coslice.problems import TransmissionNoise

__all__ = ["GroupNoise"]


@dataclass(frozen=True, kw_only=True)
class GroupNoise:
    """What the detector of a group adds.

    Attributes:
        measurement_noise, photons, electronic_noise: as the command line takes them.
        transmission, bad_pixels, bad_pixel_sd: with photons, as `coslice.problems.TransmissionNoise` takes them;
            without a transmission the photons are behind real attenuation.
    """

    measurement_noise: float | None = None
    photons: float | None = None
    electronic_noise: float = 0.0
    transmission: float | None = None
    bad_pixels: float = 0.0
    bad_pixel_sd: float = 0.0

    @property
    def noise(self) -> MeasurementNoise | None:
        """The noise, None where there is none.

        Raises:
            CosliceError: as `coslice.detector.detector_noise` and `coslice.problems.TransmissionNoise`; a transmission
                without photons, or bad pixels without a transmission.
        """
        plain = detector_noise(self.measurement_noise, self.photons, self.electronic_noise)
        if self.transmission is None:
            if self.bad_pixels or self.bad_pixel_sd:
                raise CosliceError(
                    "group: bad_pixels or bad_pixel_sd was given without a transmission, which they come with; give "
                    "all of photons, transmission, bad_pixels and bad_pixel_sd."
                )
            return plain
        if self.photons is None:
            raise CosliceError(
                f"group: transmission {self.transmission:g} was given without photons, whose share it is; give photons."
            )
        return TransmissionNoise(
            self.photons,
            self.electronic_noise,
            transmission=self.transmission,
            bad_pixels=self.bad_pixels,
            bad_pixel_sd=self.bad_pixel_sd,
        )
