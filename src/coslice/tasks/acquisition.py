"""How a known volume is measured: the task and its numbers, checked before any file is read."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import Tensor

from coslice.errors import CosliceError
from coslice.measurement_noise import MeasurementNoise, PhotonNoise
from coslice.tasks.ct import PUBLISHED_WEDGE, cone_beam_ct, view_angles
from coslice.tasks.problem import Problem
from coslice.tasks.zsr import PUBLISHED_FACTOR, simulated_thick_slices
from coslice.volume import Window

__all__ = ["TASKS", "Acquisition"]

TASKS = {"svct": "Sparse-view CT", "lact": "Limited-angle CT", "zsr": "Super-resolution along z"}
"""Tasks by the name the command line gives them."""


@dataclass(frozen=True)
class Acquisition:
    """A simulated scan. None takes the published value, or none at all.

    Attributes:
        task: a name in `TASKS`.
        views: of CT; svct: 30, lact: one per degree.
        angle: wedge of lact in degrees, 100.
        factor: thin slices per thick one of zsr, 5.
        fwhm_mm: full width at half maximum of zsr's slice profile, mm; None is a box.
        noise: of the measurement.
        seed: of the noise.

    Raises:
        CosliceError: an unknown task, a setting of another task, or a number out of its range.
    """

    task: str = "svct"
    views: int | None = None
    angle: float | None = None
    factor: int | None = None
    fwhm_mm: float | None = None
    noise: MeasurementNoise | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        if self.task not in TASKS:
            raise CosliceError(f'task: "{self.task}" was given, but the tasks are {", ".join(TASKS)}.')
        other = ("factor", "fwhm_mm") if self.is_ct else ("views", "angle")
        for name in other:
            value = getattr(self, name)
            if value is not None:
                option = {"fwhm_mm": "fwhm"}.get(name, name)
                raise CosliceError(
                    f"task {self.task}: --{option} {value:g} was given, but it belongs to "
                    f"{'zsr' if self.is_ct else 'svct and lact'}; leave it out or choose another --task."
                )
        if self.is_ct:
            view_angles(self.task, self.views, self.angle)
            return
        if isinstance(self.noise, PhotonNoise):
            raise CosliceError("task zsr: --photons was given, but MR counts none; give --measurement-noise instead.")
        if self.factor is not None and self.factor < 2:
            raise CosliceError(f"task zsr: a factor of {self.factor} was given, at least 2 is needed.")
        if self.fwhm_mm is not None and not self.fwhm_mm > 0:
            raise CosliceError(f"task zsr: a FWHM of {self.fwhm_mm:g} mm was given, more than 0 is needed.")

    @property
    def is_ct(self) -> bool:
        return self.task != "zsr"

    def problem(self, truth: Tensor, spacing: tuple[float, float, float], window: Window) -> Problem:
        """Measure `truth` (z, y, x), in the unit window, with voxels of `spacing` mm.

        Raises:
            CosliceError: fewer slices than one thick one has, or a slice profile too wide.
        """
        if self.is_ct:
            angles = view_angles(self.task, self.views, self.angle)
            return cone_beam_ct(truth, spacing, angles, self.noise, self.seed, window)
        fwhm = None if self.fwhm_mm is None else self.fwhm_mm / spacing[0]
        return simulated_thick_slices(truth, self.factor or PUBLISHED_FACTOR, fwhm, self.noise, self.seed)

    @property
    def settings(self) -> dict[str, Any]:
        """The numbers that were chosen, for the record."""
        if self.is_ct:
            angle = PUBLISHED_WEDGE if self.task == "lact" and self.angle is None else self.angle
            chosen = {"views": len(view_angles(self.task, self.views, self.angle)), "angle": angle}
        else:
            chosen = {"factor": self.factor or PUBLISHED_FACTOR, "fwhm_mm": self.fwhm_mm}
        return {"task": self.task, **chosen, "noise": repr(self.noise) if self.noise else None, "noise_seed": self.seed}

    def __str__(self) -> str:
        chosen = self.settings
        detail = (
            f"{chosen['views']} cone-beam views"
            if self.is_ct
            else f"{chosen['factor']} thin slices to a thick one, "
            + ("box profile" if self.fwhm_mm is None else f"Gaussian profile of {self.fwhm_mm:g} mm")
        )
        return f"{TASKS[self.task]}, {detail}" + (f", {self.noise}" if self.noise else "")
