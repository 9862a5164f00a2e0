"""Marks: elements by which slices of one series are told apart that do not belong into one stack.

Echoes, b-values, phases, components and kernels lie at the same places, or half a step beside each other; slices of
both in one stack would show an anatomy that flickers from slice to slice.
"""

from __future__ import annotations

import math
from typing import Any

__all__ = ["MARKS", "PRIVATE", "TIMES", "b_value", "mark"]

MARKS = (
    *("FrameOfReferenceUID", "StackID", "AcquisitionNumber"),
    *("EchoNumbers", "EchoTime", "EffectiveEchoTime", "InversionTime", "InversionTimes", "FlipAngle", "RepetitionTime"),
    *("TemporalPositionIdentifier", "TemporalPositionIndex", "TemporalPositionTimeOffset"),
    *("DiffusionBValue", "DiffusionGradientOrientation", "DiffusionDirectionality"),
    *("ImageType", "FrameType", "ComplexImageComponent", "SequenceName"),
    *("ConvolutionKernel", "ReconstructionAlgorithm", "KVP", "SliceThickness", "RescaleType", "ScanOptions"),
    *("NominalPercentageOfCardiacPhase", "NominalCardiacTriggerDelayTime"),
)
TIMES = ("TriggerTime", "AcquisitionTime", "ContentTime", "AcquisitionDateTime")
"""Marks that also vary within one stack, since slices are acquired one after the other."""

_SIEMENS, _GE, _PHILIPS = 0x0019100C, 0x00431039, 0x20011003
PRIVATE = (_SIEMENS, _GE, _PHILIPS)
"""Where vendors put the b-value before the standard had a place for it."""


def mark(value: Any) -> Any:
    """A value that compares: numbers to four digits, lists as tuples; None without one."""
    if value is None or value == "":
        return None
    if isinstance(value, (str, bytes)):
        return str(value)
    if hasattr(value, "__iter__"):
        return tuple(mark(one) for one in value) or None
    try:
        number = float(value)
    except (TypeError, ValueError):
        return str(value)
    return float(f"{number:.4g}") if math.isfinite(number) else None


def b_value(dataset: Any) -> float | None:
    """The b-value in s/mm^2 from a vendor's own element; None without one."""
    for tag in PRIVATE:
        if tag not in dataset:
            continue
        value = dataset[tag].value
        try:
            if isinstance(value, bytes):
                value = value.decode("ascii").strip("\0 ").split("\\")
            first = value if isinstance(value, (str, int, float)) else value[0]
            # GE adds 10^9 to it.
            return float(first) % 1e9
        except (ValueError, TypeError, IndexError, UnicodeDecodeError):
            continue
    return None
