"""A share of independent noise mixed into noise that is tied along the stack.

    eps = sqrt(1 - s) tied + sqrt(s) independent,      s = share, 0 to 1

Every slice stays standard Gaussian, and the correlation of any two becomes 1 - s times what it was. The share may
depend on the noise level sigma: a strong tie while the large structures are decided, a weak one while texture is.
Between sigma_early and sigma_late it is linear in ln sigma, outside it is constant,

    s(sigma) = late + (early - late) clamp(ln(sigma/sigma_late) / ln(sigma_early/sigma_late), 0, 1),

the simplest form with two plateaus, and linear in the number of the step where the schedule is geometric.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from torch import Tensor

from coslice.errors import CosliceError
from coslice.noise import Independent, Key, Reading, Slerp, Strategy
from coslice.settings import setting

__all__ = ["Mixed"]


@dataclass(frozen=True)
class Mixed(Strategy):
    """A tied strategy with a share of independent noise in it, of all noise levels or by level.

    The loop says at which level it adds noise (`at`). Called without that, the strategy takes `scale` for the level,
    which is the level in full re-noising and less with a temperature or an eta below 1.

    Attributes:
        tied: the strategy that independent noise is mixed into.
        share: of the variance, that is independent; with `late`, at levels from `sigma_early` up.
        late: the share at levels up to `sigma_late`; None is `share` everywhere.
        sigma_early, sigma_late: noise levels between which the share changes, in units of the window.

    Raises:
        CosliceError: a share that is not from 0 to 1, sigma_late not below sigma_early, or a `Mixed` in a `Mixed`.
    """

    kind, title = "mixed", "mixed"

    tied: Strategy = setting(Slerp(), "Strategy that independent noise is mixed into")
    share: float = setting(0.1, "Share of the variance that is independent, at first", least=0, most=1)
    late: float | None = setting(None, "The share at the end; none is the same throughout", least=0, most=1)
    sigma_early: float = setting(0.5, "Noise level down to which the first share holds", "of the window", above=0)
    sigma_late: float = setting(0.01, "Noise level from which on the last holds", "of the window", above=0)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.sigma_late >= self.sigma_early:
            raise CosliceError(
                f"Mixed: sigma_early {self.sigma_early:g} and sigma_late {self.sigma_late:g} were given, but the early "
                "level is the higher one; swap or correct them."
            )
        if isinstance(self.tied, Mixed):
            # Both would draw the same independent planes, and one share can say what two do.
            raise CosliceError(
                "Mixed: a Mixed was given as the tied noise, but it holds independent noise already; "
                "mix once, with share 1 - (1 - a)(1 - b)."
            )

    @property
    def label(self) -> str:
        shares = [self.share] if self.late is None else [self.share, self.late]
        percent = " to ".join(f"{100 * share:g}" for share in shares)
        return f"{self.tied.label or self.tied.kind} with {percent} % independent"

    def share_at(self, sigma: float) -> float:
        """s(sigma), 0 to 1."""
        if self.late is None:
            return self.share
        if sigma <= self.sigma_late:
            return self.late
        ramp = min(1.0, math.log(sigma / self.sigma_late) / math.log(self.sigma_early / self.sigma_late))
        return self.late + (self.share - self.late) * ramp

    def at(self, sigma: float) -> Strategy:
        return replace(self, tied=self.tied.at(sigma), share=self.share_at(sigma), late=None)

    def add_to_stack(self, stack: Tensor, scale: float, key: Key, first: int, count: int) -> None:
        share = self.share_at(scale)
        if share < 1:
            every = (self.spacing, self.spacing, self.spacing)
            tied = self.tied.laid_out(Reading(self.along, self.lanes), every)
            tied.add_to_stack(stack, scale * math.sqrt(1 - share), key, first, count)
        if share > 0:
            # Of another stream: planes of the same number would be those that the tied noise is made of.
            own = replace(key, stream=f"+{key.stream}")
            Independent().add_to_stack(stack, scale * math.sqrt(share), own, first, count)
