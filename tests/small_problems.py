"""Small problems with a prior in closed form, and methods quick enough to be run on them many times."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from coslice import run
from coslice.detector import MeasurementNoise
from coslice.methods import METHODS, Method, SettingLine, changed, find_method
from coslice.priors import SlicePrior
from coslice.problems import CTProblem, SparseViewCT, ThickSliceProblem
from coslice.tree import overlay
from simulated import measured, thick_slices

SPACING = (2.0, 4.0, 4.0)
QUICK = {"noise": "iscs", "schedule": {"steps": 3, "sigma_max": 0.3, "sigma_min": 0.02}}
OWN = {"ddnm": {"data": {"sirt_iterations": 3}}, "dps": {}, "tpdm": {}}
DIFFUSION = [name for name, method in METHODS.items() if isinstance(method, Method)]


class Smoother(nn.Module):
    """A posterior mean for images that differ little from their neighbourhoods': x shrunk towards its local mean.

    With `mixing`, of patches whose slices are alike: the local mean is that of all channels.
    """

    def __init__(self, mixing=False):
        super().__init__()
        self.mixing = mixing

    def forward(self, x, sigma):
        local = functional.avg_pool2d(functional.pad(x, (1, 1, 1, 1), mode="reflect"), 3, 1)
        if self.mixing:
            local = local.mean(dim=1, keepdim=True)
        share = (0.1**2 / (0.1**2 + sigma**2))[:, None, None, None]
        return share * x + (1 - share) * local


def prior(plane="yx", channels=1, mixing=True, **others) -> SlicePrior:
    return SlicePrior(Smoother(mixing), 2, (1e-3, 50.0), plane, channels=channels, **others)


def priors(method, plane="yx") -> list[SlicePrior]:
    """What a method needs, the first of a plane."""
    if method.need == "planes":
        return [prior(plane), prior("zx" if plane == "yx" else "yx")]
    if method.need == "relay":
        return [prior(plane, 3), prior(plane)]
    return [prior(plane, 3 if method.need == "patches" else 1)] if method.need else []


def scan(shape=(10, 12, 12)) -> Tensor:
    """A soft ball with texture, far from the ends of the window."""
    axes = [torch.linspace(-1, 1, n) for n in shape]
    z, y, x = torch.meshgrid(*axes, indexing="ij")
    texture = torch.rand(shape, generator=torch.Generator().manual_seed(4))
    return 0.4 + 0.15 * torch.exp(-3 * (z**2 + y**2 + x**2)) + 0.05 * texture


def ct(scale: float = 1.0, noise: MeasurementNoise | None = None) -> CTProblem:
    dz, dy, dx = SPACING
    return measured(SparseViewCT(views=6, noise=noise), scan(), (scale * dz, scale * dy, scale * dx))


def zsr(factor: int = 5) -> ThickSliceProblem:
    return thick_slices(scan(), factor)


@dataclass(frozen=True, eq=False)
class StartedAt(ThickSliceProblem):
    """One whose first reconstruction is given."""

    first: Tensor = field(default_factory=scan)

    def initial(self):
        return self.first


def started_at(p: ThickSliceProblem, first: Tensor) -> StartedAt:
    return StartedAt(p.measurement, p.factor, p.fwhm, p.count, p.spacing, p.noise, first=first)


def quick(name: str = "dds", kind: str = "zsr", **changes: Any) -> Any:
    """A method of few steps for problems of a kind, with changes of its own by part."""
    own = OWN.get(name, {"data": {"iterations": 2}})
    return changed(find_method(name, kind), overlay(overlay(QUICK, own), changes))


def reconstructed(problem, method, plane=None, seed=0) -> Tensor:
    plane = plane or ("yx" if problem.kind == "ct" else "zx")
    return run(problem, method, priors(method, plane), seed=seed).reconstruction


def excluded(method: Any, line: SettingLine) -> bool:
    """Whether a setting cannot be another alone: a start from noise has no solution beside it."""
    return line.path == "start.volume" and method.start.solution is not None


def another(line: SettingLine) -> Any:
    """A value that the setting may have and has not."""
    known = line.setting
    if known.choices:
        return next(word for word in known.choices if word != line.value)
    if isinstance(line.value, bool):
        return not line.value
    if line.value is None:
        return 40.0
    candidates = [line.value / 2, line.value + 1] if isinstance(line.value, float) else [line.value + 1]
    return next(value for value in candidates if known.allows(value) and value != line.value)
