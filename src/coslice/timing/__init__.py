"""The ledger of time: what each part of a run takes on this machine, and the least it could take.

    floor = max(operations / the rate this machine was measured to reach, bytes / its measured bandwidth)

which is the roofline model (Williams, Waterman & Patterson, Communications of the ACM 2009). What a part takes more
than its floor can be won by better code; what the floor itself takes, only by fewer operations.
"""

from coslice.timing.ledger import HEADS, Ledger, Line, Whole, kept
from coslice.timing.parts import SIZES, Bench, prepared
from coslice.timing.peaks import Peaks, measured_peaks
from coslice.timing.starting import starts
from coslice.timing.whole_runs import whole_runs

__all__ = [
    "HEADS",
    "SIZES",
    "Bench",
    "Ledger",
    "Line",
    "Peaks",
    "Whole",
    "kept",
    "measured_peaks",
    "prepared",
    "starts",
    "whole_runs",
]
