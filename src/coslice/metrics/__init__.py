"""How good a reconstruction is, plane by plane and slice to slice, measured as published.

`evaluate` gives the numbers of a row of the paper's tables; `per_slice` the curves behind them; a `Watcher` those
of an estimate from step to step. How each number is called and printed stands in `coslice.metrics.quantities`, how
publications take it otherwise in `coslice.metrics.protocols`.
"""

from coslice.metrics.consistency import consistency, slice_difference, slice_differences
from coslice.metrics.images import PSNR_CAP, psnr, ssim
from coslice.metrics.perceptual import lpips
from coslice.metrics.planes import SMALLEST_SIDE, Curves, averages, evaluate, per_slice, per_slice_of_each
from coslice.metrics.protocols import PROTOCOLS, UNIT, Protocol, protocol_called
from coslice.metrics.quantities import PER_PLANE, PER_STEP, PER_VOLUME, QUANTITIES, Quantity, best_of
from coslice.metrics.trajectory import Watcher

__all__ = [
    "PER_PLANE",
    "PER_STEP",
    "PER_VOLUME",
    "PROTOCOLS",
    "PSNR_CAP",
    "QUANTITIES",
    "SMALLEST_SIDE",
    "UNIT",
    "Curves",
    "Protocol",
    "Quantity",
    "Watcher",
    "averages",
    "best_of",
    "consistency",
    "evaluate",
    "lpips",
    "per_slice",
    "per_slice_of_each",
    "protocol_called",
    "psnr",
    "slice_difference",
    "slice_differences",
    "ssim",
]
