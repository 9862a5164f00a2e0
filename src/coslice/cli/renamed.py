"""Options of earlier versions, answered with their new form."""

from __future__ import annotations

from difflib import get_close_matches
from typing import Any

__all__ = ["FORMER_OPTIONS", "sentence_of"]

FORMER_OPTIONS: dict[str, dict[str, str]] = {
    "reconstruct": {
        "--air": "--water WATER:AIR",
        "--anchor-angle": "--set noise.angle=DEGREES",
        "--auxiliary-every": "--set prior.auxiliary_every=N",
        "--cg-iterations": "--set data.iterations=N (of admm-tv: solution.cg_iterations)",
        "--cross-every": "--set prior.cross_every=N",
        "--data-weight": "--set data.weight=NUMBER",
        "--ends": "--set prior.ends=WORD",
        "--eta": "--set renoising.eta=NUMBER (of diffpir: renoising.zeta)",
        "--gamma": "--set data.gamma=NUMBER",
        "--guidance": "--set data.step=NUMBER",
        "--partition": "--set prior.partition=WORD",
        "--patch-noise": "--set prior.lanes=true (lanes) or false (slices)",
        "--renoising": "--set renoising=WORD",
        "--rounds": "--set data.rounds=N",
        "--schedule": "--set schedule=WORD",
        "--sigma-max": "--set schedule.sigma_max=NUMBER",
        "--sigma-min": "--set schedule.sigma_min=NUMBER",
        "--sirt-iterations": "--set data.sirt_iterations=N (of sirt: solution.iterations)",
        "--start-from": "--set start.volume=WORD",
        "--start-noise": "--set start.noise=WORD",
        "--temperature": "--set renoising.temperature=NUMBER",
        "--tv-penalty": "--set data.penalty=NUMBER (of admm-tv: solution.penalty)",
        "--tv-weight": "--set data.weight=NUMBER (of admm-tv: solution.weight)",
    },
    "train": {
        "--learning-rate": "--set optimiser.learning_rate=NUMBER",
        "--optimiser": "--set optimiser.name=WORD",
        "--precision": "--set precision=WORD",
        "--schedule": "--set schedule.name=WORD",
    },
}
"""The new form of each option that a command no longer has, by command."""


def sentence_of(error: Any) -> str:
    """One sentence for a command line that cannot be understood; none where the help has been shown instead.

    An option that is not known is answered with its new form where it is a former one, else with the nearest there is.

    Args:
        error: the usage error of the command line's library.
    """
    context = getattr(error, "ctx", None)
    path = context.command_path if context else "coslice"
    if not hasattr(error, "possibilities"):
        message = error.format_message().rstrip(".")
        return message if message.endswith("?") or not message else f"{message}; see {path} --help."
    name = (context.command.name if context else None) or "coslice"
    option = error.option_name.partition("=")[0]
    new = FORMER_OPTIONS.get(name, {}).get(option)
    if new is not None:
        return f"{name}: the option {option} is now {new}."
    parameters = context.command.params if context else ()
    known = [text for item in parameters for text in item.opts if text.startswith("--")]
    near = get_close_matches(option, known, 1)
    return f"{name}: there is no option {option}; " + (f"did you mean {near[0]}?" if near else f"see {path} --help.")
