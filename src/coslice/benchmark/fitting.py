"""Which priors the cells of a benchmark are computed with, and whether they are priors of what the cells compare.

A recipe compares the rows of a group in one window, and may say of a prior which plane and window it needs. Both are
compared with what the prior was shown, by values, not by names, before anything is computed.

Rows in another window would be of another object: what is clipped differs, and so do the noise of the measurement and
the weights of total variation. So a prior of a CT window that is not the group's is refused, not converted.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from coslice.benchmark.definition import Benchmark, Cell
from coslice.errors import CosliceError
from coslice.methods import Direct, Method, NetworkSolution
from coslice.plans import load_priors
from coslice.priors import Shown, SlicePrior, check_shown, load_prior
from coslice.priors.supervised import check_diffusion, check_supervised
from coslice.window import same_window

__all__ = ["Fitting"]


class Fitting:
    """The priors of a benchmark, each loaded once.

    Args:
        benchmark: whose cells they are for.
        device: to load them on.
    """

    def __init__(self, benchmark: Benchmark, device: str) -> None:
        self._benchmark, self._device = benchmark, device
        self._loaded: dict[tuple[str, Shown], SlicePrior] = {}
        self._found: dict[tuple[object, ...], tuple[SlicePrior, ...]] = {}

    def priors(self, cell: Cell) -> tuple[SlicePrior, ...]:
        """The priors of a cell.

        Raises:
            CosliceError: one that cannot be read, that lacks, or whose images are not those the recipe compares.
        """
        group = self._benchmark.groups[cell.group]
        key = (group.kind, cell.method.need, group.window, *cell.priors, *cell.shown)
        if key not in self._found:
            named = zip(cell.priors, cell.shown, strict=True)
            loaded = [name and self._prior(name, shown) for name, shown in named]
            priors = load_priors(cell.method, group.kind, loaded, self._device)
            for prior, shown in zip(priors, cell.shown, strict=False):
                # Its range is the network's own business.
                check_shown(prior, replace(shown, input_range=None), f"is what {self._benchmark.name} needs")
                if not same_window(prior.window, group.window):
                    raise CosliceError(
                        f"prior {prior.name}: it sees the window {prior.window}, but the rows of {cell.group} are "
                        f"compared in the window {group.window}; name another prior, or use it outside of the table: "
                        "coslice reconstruct."
                    )
            self._found[key] = priors
        return self._found[key]

    def check(self, cells: Iterable[Cell]) -> tuple[str, ...]:
        """Refuse priors that do not fit their cells, without a measurement; sentences on what was inferred of them.

        Raises:
            CosliceError: as `priors`; a prior of another sort than the method needs, or noise levels or a task that it
                does not know.
        """
        said: list[str] = []
        for cell in cells:
            method, priors = cell.method, self.priors(cell)
            said += [f"Prior {prior.name}: {remark}" for prior in priors for remark in prior.card.get("remarks", ())]
            if self._benchmark.groups[cell.group].kind == "zsr" and priors and all("z" not in p.plane for p in priors):
                said.append(
                    f"Prior {priors[0].name} sees planes {priors[0].plane}, each thin slice of {cell.group} alone; one "
                    "of a plane with z sees how they follow each other."
                )
            if isinstance(method, Direct) and isinstance(method.solution, NetworkSolution):
                check_supervised(priors[0], self._benchmark.groups[cell.group].task_key)
            if isinstance(method, Method):
                for number, prior in enumerate(priors):
                    check_diffusion(prior, method.name)
                    patches = method.need == "patches" or (method.need == "relay" and number == 0)
                    (prior.check_patches if patches else prior.check_single)()
                    prior.check_sigmas(method.schedule.sigma_max, method.schedule.sigma_min)
        return tuple(dict.fromkeys(said))

    def _prior(self, name: str, shown: Shown) -> SlicePrior:
        if (name, shown) not in self._loaded:
            self._loaded[name, shown] = load_prior(name, self._device, otherwise=shown)
        return self._loaded[name, shown]
