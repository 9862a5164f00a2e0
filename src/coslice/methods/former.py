"""Former names of settings, each with its path today.

Files and commands from before methods were compositions are answered with the new form.
"""

from __future__ import annotations

__all__ = ["FORMER", "FORMER_OF_DIRECT"]

FORMER = {
    "anchor_angle": "noise.angle",
    "auxiliary_every": "prior.auxiliary_every",
    "cg_iterations": "data.iterations",
    "cross_every": "prior.cross_every",
    "data_weight": "data.weight",
    "ends": "prior.ends",
    "eta": "renoising.eta",
    "gamma": "data.gamma",
    "guidance": "data.step",
    "partition": "prior.partition",
    "patch_noise": "prior.lanes",
    "rounds": "data.rounds",
    "sigma_max": "schedule.sigma_max",
    "sigma_min": "schedule.sigma_min",
    "sirt_iterations": "data.sirt_iterations",
    "start_from": "start.volume",
    "start_noise": "start.noise",
    "steps": "schedule.steps",
    "temperature": "renoising.temperature",
    "tv_penalty": "data.penalty",
    "tv_weight": "data.weight",
}
"""Path of today by former name; `renoising`, `schedule`, `noise` and `samples` keep theirs."""

FORMER_OF_DIRECT = {
    "cg_iterations": "solution.cg_iterations",
    "sirt_iterations": "solution.iterations",
    "tv_penalty": "solution.penalty",
    "tv_weight": "solution.weight",
}
"""The same for methods that do not sample."""
