"""Whether a scan is a CT or an MR: by what its file says, else by its values."""

from __future__ import annotations

from coslice.errors import CosliceError
from coslice.volume import Volume

__all__ = ["modality_of"]

_AIR = -500.0
"""HU below which there is nothing but air and lung."""
_SHARE = 0.01
"""Part of a CT's voxels that lie below: fields of view are wider than bodies, or show lungs."""


def modality_of(scan: Volume, said: str | None = None) -> tuple[str, str]:
    """The modality, "ct", "mr" or "" where it is not known, and a sentence where it was guessed; else "".

    CT is Hounsfield units, and only they have much below -500. MR has no such sign, so it is never guessed.

    Args:
        scan: in its own units.
        said: what is known: "CT" or "MR", as DICOM says it; None is nothing.

    Raises:
        CosliceError: another modality.
    """
    if said is not None:
        if said.lower() not in ("ct", "mr", ""):
            raise CosliceError(f'modality: "{said}" was given, but thick slices can be made thin of CT and of MR only.')
        return said.lower(), ""
    low, high = (float(value) for value in scan.data.aminmax())
    air = float((scan.data < _AIR).double().mean())
    # Not below what scanners give: 2^15 is the smallest number that they store.
    if air < _SHARE or not -(2.0**15) <= low <= 2 * _AIR + 100 or high < 0:
        return "", ""
    return (
        "ct",
        f"Values of {low:.6g} to {high:.6g}, {100 * air:.3g} % of them below {_AIR:g}, were taken for HU: a CT.",
    )
