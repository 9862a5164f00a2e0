"""How a known volume is measured: the task and its numbers, checked before any file is read."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from torch import Tensor

from coslice.errors import CosliceError
from coslice.measurement_noise import MeasurementNoise, PhotonNoise
from coslice.tasks.ct import BEAMS, view_angles, wedge_of
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
        views: of CT; svct: 30, of a parallel beam 8; lact: one per degree.
        angle: wedge of lact in degrees, 100, of a parallel beam 90.
        factor: thin slices per thick one of zsr, 5.
        fwhm_mm: full width at half maximum of zsr's slice profile, mm; None is a box.
        noise: of the measurement.
        seed: of the noise.
        beam: of CT, a name in `BEAMS`: "cone", as the ISCS paper has it, or "parallel", as DiffusionBlend; cone.

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
    beam: str | None = None

    def __post_init__(self) -> None:
        if self.task not in TASKS:
            raise CosliceError(f'task: "{self.task}" was given, but the tasks are {", ".join(TASKS)}.')
        if self.beam is not None and self.beam not in BEAMS:
            raise CosliceError(f'beam: "{self.beam}" was given, but the beams are {", ".join(BEAMS)}.')
        other = ("factor", "fwhm_mm") if self.is_ct else ("beam", "views", "angle")
        for name in other:
            value = getattr(self, name)
            if value is not None:
                option = {"fwhm_mm": "fwhm"}.get(name, name)
                given = value if isinstance(value, str) else f"{value:g}"
                raise CosliceError(
                    f"task {self.task}: --{option} {given} was given, but it belongs to "
                    f"{'zsr' if self.is_ct else 'svct and lact'}; leave it out or choose another --task."
                )
        if self.is_ct:
            self._angles()
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

    @property
    def kind(self) -> str:
        """Of the problem it makes, see `Problem`."""
        return "ct" if self.is_ct else "zsr"

    @property
    def window(self) -> str:
        """The name of the window that such scans are usually seen in, see `coslice.volume.scan_window`."""
        return "ct" if self.is_ct else "mr"

    @property
    def key(self) -> str:
        """A stable name of the views, for files of networks that are trained for one task.

        Task, beam and number of views of svct ("svct-cone-30", "svct-parallel-8"); task, beam and wedge in degrees of
        lact ("lact-cone-100", "lact-parallel-90"), and the number of views where it is not one per degree
        ("lact-cone-100-50"). Noise and the grid are not part of it.

        Raises:
            CosliceError: zsr, which has no views.
        """
        if not self.is_ct:
            raise CosliceError("Acquisition.key: the task zsr was given, but only views have a key; use svct or lact.")
        beam, views = self.beam or "cone", len(self._angles())
        if self.task == "svct":
            return f"svct-{beam}-{views}"
        wedge = wedge_of(beam, self.angle)
        usual = views == len(view_angles("lact", None, wedge, beam))
        return f"lact-{beam}-{wedge:g}" + ("" if usual else f"-{views}")

    def _angles(self) -> tuple[float, ...]:
        return view_angles(self.task, self.views, self.angle, self.beam or "cone")

    def problem(self, truth: Tensor, spacing: tuple[float, float, float], window: Window) -> Problem:
        """Measure `truth` (z, y, x), in the unit window, with voxels of `spacing` mm.

        Raises:
            CosliceError: fewer slices than one thick one has, or a slice profile too wide.
        """
        if self.is_ct:
            simulated = BEAMS[self.beam or "cone"].simulated
            problem = simulated(truth, spacing, self._angles(), self.noise, self.seed, window)
            return replace(problem, spacing=spacing, key=self.key)
        fwhm = None if self.fwhm_mm is None else self.fwhm_mm / spacing[0]
        problem = simulated_thick_slices(truth, self.factor or PUBLISHED_FACTOR, fwhm, self.noise, self.seed)
        return replace(problem, spacing=spacing)

    @property
    def settings(self) -> dict[str, Any]:
        """The numbers that were chosen, for the record."""
        if self.is_ct:
            beam = self.beam or "cone"
            angle = wedge_of(beam, self.angle) if self.task == "lact" else None
            chosen = {"beam": beam, "views": len(self._angles()), "angle": angle}
        else:
            chosen = {"factor": self.factor or PUBLISHED_FACTOR, "fwhm_mm": self.fwhm_mm}
        return {"task": self.task, **chosen, "noise": repr(self.noise) if self.noise else None, "noise_seed": self.seed}

    def __str__(self) -> str:
        chosen = self.settings
        detail = (
            f"{chosen['views']} {chosen['beam']}-beam views"
            if self.is_ct
            else f"{chosen['factor']} thin slices to a thick one, "
            + ("box profile" if self.fwhm_mm is None else f"Gaussian profile of {self.fwhm_mm:g} mm")
        )
        return f"{TASKS[self.task]}, {detail}" + (f", {self.noise}" if self.noise else "")
