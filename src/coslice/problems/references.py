"""What a real measurement is compared with, where its truth is not known: another scan of the same object."""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import product

import numpy as np

from coslice.axes import AXES
from coslice.errors import CosliceError
from coslice.problems.study import Study
from coslice.resampling import index_of, interpolated
from coslice.values import remarks_on_resemblance
from coslice.volume import Volume

__all__ = ["with_reference"]

_ALIGNED = 0.01  # of a voxel: nearer voxels are the same ones
_BEYOND = 0.51  # of a voxel that the last voxels of a reference may be passed by


def with_reference(study: Study, reference: Volume, name: str) -> Study:
    """The study with `reference`, on its own grid, to compare results with.

    The reference is resized in the plane as the study's scan was. Voxels that lie on its own are taken as they are;
    otherwise it is interpolated linearly, which is said.

    Args:
        study: of a real measurement.
        reference: a scan of the same object, in the same place and units.
        name: what tables call it.

    Raises:
        CosliceError: a reference that does not cover the study's volume; the sentence says what it covers.
    """
    volume, done = study.volume, study.preparation
    if done.spacing is not None and study.measured:
        reference = reference.resampled((reference.spacing[0], done.spacing, done.spacing))
    if done.size is not None:
        reference = reference.resized(done.size)
    place = np.linalg.inv(reference.affine) @ volume.affine  # index (x, y, z) of the study to that of the reference
    corners = np.array([*product(*((0, n - 1) for n in volume.shape[::-1]))], dtype=np.float64)
    seen = index_of(corners, place)
    last = np.array(reference.shape[::-1]) - 1
    if (seen < -_BEYOND).any() or (seen > last + _BEYOND).any():
        raise CosliceError(f"reference: {name} does not cover the volume to reconstruct{_covered(study, reference)}.")
    shift = np.round(place[:3, 3])
    if np.abs(seen - corners - shift).max() < _ALIGNED:
        x, y, z = (int(n) for n in shift)
        nz, ny, nx = volume.shape
        data, how = reference.data[z : z + nz, y : y + ny, x : x + nx], ""
    else:
        data, how = interpolated(reference.data, place, volume.shape), ", interpolated linearly to its voxels"
    unit = study.window.to_unit(data).to(study.problem.measurement.device)
    known = volume.with_data(data)
    first = volume.with_data(study.window.from_unit(study.problem.initial().cpu()))
    remark = f"The truth is not known: results are compared with {name}{how}."
    alike = remarks_on_resemblance(first, known, "first reconstruction", name)
    return replace(study, volume=known, unit=unit, reference=name, remarks=(*study.remarks, *alike, remark))


def _covered(study: Study, reference: Volume) -> str:
    """Which slices along z the reference covers, where it is z that it is too short in, counted as --slices does."""
    volume = study.volume
    place = np.linalg.inv(volume.affine) @ reference.affine
    middle = [(n - 1) / 2 for n in reference.shape[::-1]]
    ends = sorted(float((place @ (middle[0], middle[1], k, 1))[2]) for k in (0, reference.shape[0] - 1))
    first, last = max(0, int(np.ceil(ends[0] - _BEYOND))), min(volume.shape[0] - 1, int(np.floor(ends[1] + _BEYOND)))
    if first > last:
        return ": they have no slice in common"
    if (first, last) == (0, volume.shape[0] - 1):
        return f": it is smaller in the plane; along {AXES[0]} it is large enough"
    measured = volume.shape[0] if study.thick is None else study.thick.shape[0]
    begun, each = (study.preparation.slices or (0, 0))[0], volume.shape[0] / measured
    first, last = begun + math.ceil(first / each - 1e-9), begun + math.floor((last + 1) / each + 1e-9)
    return f"; it holds measured slices {first} to {last - 1}: keep those, --slices {first}:{last}"
