"""What a method needs to know of a measurement: y = A x, and the inverses that cost no prior."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from coslice.operators import Operator

__all__ = ["Problem"]


@dataclass(frozen=True)
class Problem:
    """y = A x, whatever the scanner.

    Attributes:
        kind: "ct" or "zsr": which of a method's published settings apply.
        operator: A, from volumes (z, y, x) in the unit window.
        measurement: y.
        initial: the reconstruction sampling starts from: FDK for CT, cubic interpolation for thick slices.
        pseudo_inverse: iterations -> A-dagger, as DDNM uses it: SIRT for CT, in closed form for thick slices.
        initial_title: what tables call the initial reconstruction.
        description: the geometry in words that rebuild it.
        unit: what published operators call 1, in units of A: the width of a voxel in mm for CT, where they count
            lengths in voxels and A in mm.
        noise: standard deviation of the noise in y, in units of y; 0 where there is none or it is not known.
        spacing: (dz, dy, dx) of the voxels in mm.
        key: the task's, for networks that know certain tasks only, see `Acquisition.key`; "" where it has none.
    """

    kind: str
    operator: Operator
    measurement: Tensor
    initial: Callable[[], Tensor]
    pseudo_inverse: Callable[[int], Callable[[Tensor], Tensor]]
    initial_title: str
    description: str
    unit: float = 1.0
    noise: float = 0.0
    spacing: tuple[float, float, float] = (1.0, 1.0, 1.0)
    key: str = ""
