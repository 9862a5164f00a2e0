"""What a user of `coslice reconstruct` wishes of any measurement: how to reconstruct, and where results go."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from coslice.cli.selection import chosen_method
from coslice.devices import chosen_device
from coslice.errors import CosliceError
from coslice.methods import AnyMethod, default_method, find_method
from coslice.plans import Plan, load_priors, plan
from coslice.priors import SlicePrior, check_window_of_prior
from coslice.problems import Study
from coslice.volume import Volume
from coslice.window import Window, scan_window

__all__ = ["ALL_VIEWS", "How", "Where", "keep_priors"]

ALL_VIEWS = "all-views"
"""The word for the reference of measured projections that is made of all their views."""

_kept: dict[object, tuple[SlicePrior, ...]] | None = None


def keep_priors() -> None:
    """From now on, this process keeps the priors it loaded last: for one that reconstructs many scans."""
    global _kept
    _kept = {} if _kept is None else _kept


@dataclass(frozen=True)
class How:
    """How to reconstruct, in the words of the command; None is the usual.

    Attributes:
        method: a name, or FILE.py:NAME.
        priors: names or files of the prior and of that of a second plane.
        noise, steps, samples, settings: of the method.
        seed: of all randomness.
        lpips: whether LPIPS is followed over the steps.
        device: where to work.
        compare: names of methods that are run beside it.
        reference: what a real measurement is compared with.
        window: values that the prior sees as 0 and 1.
        fast: whether the fast form of the method is meant; not of those that are run beside it.
    """

    method: str | None = None
    priors: tuple[str | None, str | None] = (None, None)
    noise: str | None = None
    steps: int | None = None
    samples: int | None = None
    settings: tuple[str, ...] = ()
    seed: int = 0
    lpips: bool = False
    device: str = "auto"
    compare: tuple[str, ...] = ()
    reference: str | None = None
    window: tuple[float, float] | None = None
    fast: bool = False

    @property
    def place(self) -> str:
        """The device, checked."""
        return str(chosen_device(self.device))

    def chosen(self, kind: str) -> AnyMethod:
        """The method for a kind of problem."""
        name = default_method(kind, self.priors) if self.method is None else self.method
        return chosen_method(name, kind, self.noise, self.steps, self.samples, self.settings, self.fast)

    def check(self, kind: str) -> None:
        """Refuse what cannot be compared, before a measurement is read that may take minutes.

        Raises:
            CosliceError: a method to compare that is not known, or a reference that is not there.
        """
        for name in self.compare:
            if name in ("reconstruction", "initial"):
                raise CosliceError(f"compare: {name} was given, but a name that `coslice methods` lists is needed.")
            find_method(name, kind)
        if self.reference not in (None, ALL_VIEWS) and not Path(self.reference).exists():
            raise CosliceError(
                f"reference: {self.reference} does not exist; give a scan, or {ALL_VIEWS} of projections."
            )

    def changes(self, part: str) -> bool:
        """Whether the user set something of a part of the method."""
        return any(setting.split("=")[0].split(".")[0].strip() == part for setting in self.settings)

    def loaded(self, method: AnyMethod, kind: str, modality: str = "") -> tuple[SlicePrior, ...]:
        """The priors of the method; the last ones again where they are kept, see `keep_priors`, and are the same."""
        key = (method.name, method.need, kind, self.priors, self.place, modality, *map(_changed, self.priors))
        if _kept is None or key not in _kept:
            found = load_priors(method, kind, self.priors, self.place, modality)
            if _kept is None:
                return found
            _kept.clear()
            _kept[key] = found
        return _kept[key]

    def check_window(self, priors: Sequence[SlicePrior], values: str | None) -> tuple[str, ...]:
        """Refuse a window that is not the priors', unless the numbers are said to be in a unit of their own."""
        if self.window is None:
            return ()
        window = Window(*self.window, "")
        if not priors and values != "any":
            raise CosliceError(
                f"window: {window.low:g} to {window.high:g} was given for a scan in its usual unit; leave it out, or, "
                "if the numbers are in another unit, add --values any."
            )
        said = (check_window_of_prior(window, prior, told=values == "any") for prior in priors)
        return tuple(remark for remarks in said for remark in remarks)

    def seen(self, priors: Sequence[SlicePrior], usual: str) -> Callable[[Volume], Window]:
        """How the window of a scan is found: as stated, as the prior sees it, or the usual one."""
        if self.window is not None:
            low, high = self.window
            return lambda volume: Window(low, high, "")
        return lambda volume: scan_window(priors[0].window if priors else usual, volume.data)

    def plans(self, study: Study, method: AnyMethod, priors: Sequence[SlicePrior]) -> dict[str, Plan]:
        """The method, and those to compare it with, by file stem."""
        planned = {"reconstruction": plan(study.problem, method, priors, self.seed)}
        for name in self.compare:
            planned[name] = plan(study.problem, name, seed=self.seed, device=self.place)
        return planned


@dataclass(frozen=True)
class Where:
    """Where the results go.

    Attributes:
        out: the folder.
        overwrite: whether earlier results in it are replaced.
        dicom: whether a DICOM series is written too.
        keep_patient: whether it names the patient.
        command: the words behind `coslice`, which go on with the run if it is killed; none where it is no command's.
    """

    out: Path
    overwrite: bool = False
    dicom: bool = False
    keep_patient: bool = False
    command: tuple[str, ...] = ()


def _changed(prior: str | None) -> int | None:
    """When a prior's file was changed; None of a name."""
    try:
        return None if prior is None else Path(prior).stat().st_mtime_ns
    except (OSError, ValueError):
        return None
