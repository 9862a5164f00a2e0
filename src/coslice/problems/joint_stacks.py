"""Several stacks of thick slices of one patient, in several orientations, reconstructed as one volume.

What one stack blurs, another one shows: fetal and fast brain MR are acquired so. The stacks are taken to lie still
against each other, where their files say they are. Nothing here corrects a patient who moved between them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from scipy.ndimage import affine_transform
from torch import Tensor

from coslice.axes import axis_number
from coslice.classical import Sirt, cgls
from coslice.devices import chosen_device
from coslice.errors import CosliceError
from coslice.operators import SliceStack, Stacks
from coslice.preparation import Preparation
from coslice.problems.modality import modality_of
from coslice.problems.problem import Problem, check_measurement
from coslice.problems.study import Study
from coslice.problems.tasks import SliceSuperResolution
from coslice.problems.thick_scans import outside, thick_axis
from coslice.volume import Volume
from coslice.window import Window, scan_window

__all__ = ["StackProblem", "from_stacks"]

_CG = 10
"""Iterations of conjugate gradients from the mean of the stacks to the first reconstruction."""
_MOST_VOXELS = 2**27
_BELOW = 0.05
"""Of the largest value: scans with values further below 0 were shifted, and a factor does not match them."""
_ENOUGH = 1000
"""Voxels that two stacks must share for their intensities to be compared."""


@dataclass(frozen=True, eq=False)
class StackProblem(Problem):
    """Stacks of thick slices, each in its own place.

    The first reconstruction is the mean of their cubic splines, brought nearer to all stacks by conjugate gradients.
    The pseudo-inverse is SIRT.

    Attributes:
        measurement: y, the seen voxels of all stacks, (n,), in the unit window, float32, see `Stacks.gathered`.
        volume_shape: (z, y, x) of the volume.
        stacks: where they are against the volume.
        spacing: (dz, dy, dx) of the volume, mm.
        noise: standard deviation of the noise in y, of the unit window.
        modality: "ct", "mr", or "" where it is not known.
        clipped: as of `ThickSliceProblem`.

    Raises:
        CosliceError: as `coslice.operators.Stacks`; a measurement of another length.
    """

    kind = "zsr"
    initial_title = "Stacks' mean + CGLS"

    measurement: Tensor
    volume_shape: tuple[int, int, int]
    stacks: tuple[SliceStack, ...]
    spacing: tuple[float, float, float] = (1.0, 1.0, 1.0)  # pyright: ignore[reportIncompatibleMethodOverride]
    noise: float = 0.0
    modality: str = ""
    clipped: bool = True

    def __post_init__(self) -> None:
        check_measurement("StackProblem", self.measurement, self.noise)
        if tuple(self.operator.codomain) != tuple(self.measurement.shape):
            raise CosliceError(
                f"StackProblem: a measurement of shape {tuple(self.measurement.shape)} was given, but of these stacks "
                f"{self.operator.codomain[0]} voxels lie in the volume; Stacks.gathered takes them out."
            )

    def _operator(self) -> Stacks:
        return Stacks(self.volume_shape, self.stacks)

    def initial(self) -> Tensor:
        operator = self.operator
        assert isinstance(operator, Stacks)
        return cgls(operator, self.measurement, _CG, start=self._mean(operator))

    def _mean(self, operator: Stacks) -> Tensor:
        """The mean of the stacks' cubic splines, each where it lies; 0 where none does."""
        total, count = np.zeros(self.volume_shape), np.zeros(self.volume_shape)
        for stack, seen, data in zip(
            self.stacks, operator.seen, operator.scattered(self.measurement.cpu()), strict=True
        ):
            inverse = np.linalg.inv(np.array(stack.affine))
            # From (x, y, z) to the order of arrays.
            matrix, shift = inverse[:3, :3][::-1, ::-1], inverse[:3, 3][::-1]
            spline = affine_transform(data.double().numpy(), matrix, shift, self.volume_shape, order=3, mode="nearest")
            padded = np.pad(seen, 1).astype(np.float32)
            there = affine_transform(padded, matrix, shift + 1, self.volume_shape, order=0, mode="nearest") > 0
            total[there] += spline[there]
            count[there] += 1
        mean = total / np.maximum(count, 1)
        return torch.from_numpy(mean).float().to(self.measurement.device)

    def pseudo_inverse(self, iterations: int) -> Callable[[Tensor], Tensor]:
        return Sirt(self.operator, iterations, positivity=bool(self.measurement.min() >= 0))

    def clamped(self, volume: Tensor) -> Tensor:
        if self.clipped:
            return super().clamped(volume)
        low, high = self._open
        return torch.where(((volume < 0) & low) | ((volume > 1) & high), volume, volume.clamp(0, 1))

    @cached_property
    def _open(self) -> tuple[Tensor, Tensor]:
        """Voxels that a measurement below 0, and one above 1, sees."""
        y = self.measurement
        return self.operator.adjoint((y < 0).float()) > 0, self.operator.adjoint((y > 1).float()) > 0


def from_stacks(
    scans: Sequence[Volume],
    window: Window | Callable[[Volume], Window] | None = None,
    spacing_mm: float | None = None,
    fwhm_mm: float | None = None,
    device: str = "cpu",
    *,
    target: Volume | None = None,
    axes: Sequence[str | None] | None = None,
    thickness_mm: float | None = None,
    modality: str | None = None,
) -> Study:
    """The problem of several stacks of one patient; nothing is known of the volume behind them.

    The volume's axes are those of the first stack. It holds all that any stack shows. Intensities of the others are
    multiplied by one number each, so that they match those of the first.

    Args:
        scans: thick slices along any axis each, in their own units, two stacks or more (one is possible).
        window: intensities of unit 0 and 1, or how to find them from the first stack; None is that of CT for a CT,
            else that of MR.
        spacing_mm: of the volume's cubes, mm; None is the smallest distance between pixels in any plane.
        fwhm_mm: full width at half maximum of a Gaussian slice profile, mm; None is a box.
        device: where to work.
        target: a volume whose voxels are those to reconstruct; its data are not used. None makes cubes, as above.
        axes: for each stack, the axis along which its slices lie; None finds it, see `thick_axis`.
        thickness_mm: of the slices, mm; None is the distance between them.
        modality: as of `from_thick_slices`.

    Raises:
        CosliceError: no stacks, stacks without a place in common, or a volume too large.
    """
    if not scans:
        raise CosliceError("from_stacks: no stack was given, at least one is needed.")
    if axes is not None and len(axes) != len(scans):
        raise CosliceError(f"from_stacks: {len(axes)} axes were given for {len(scans)} stacks; give one for each.")
    if fwhm_mm is not None and thickness_mm is not None:
        raise CosliceError("from_stacks: a Gaussian profile and a thickness were given; leave one out.")
    remarks: list[str] = []
    found: list[str] = []
    for number, scan in enumerate(scans):
        axis, remark = thick_axis(scan, None if axes is None else axes[number])
        found.append(axis)
        remarks += [f"Stack {number + 1}: {remark}"] if remark else []
    word, guess = modality_of(scans[0], modality)
    remarks += [guess] if guess else []
    target = _target(scans, found, spacing_mm) if target is None else target
    if math.prod(target.shape) > _MOST_VOXELS:
        raise CosliceError(
            f"from_stacks: a volume of {' x '.join(map(str, target.shape))} voxels would hold these stacks, at most "
            f"{_MOST_VOXELS:.2g} voxels are possible; crop the stacks, or choose a larger spacing."
        )
    stacks = tuple(_placed(scan, axis, target, fwhm_mm, thickness_mm) for scan, axis in zip(scans, found, strict=True))
    operator = Stacks(target.shape, stacks)
    # HU are the same in every stack, and numbers around 0 have no ratio.
    ratios = word != "ct" and all(float(scan.data.min()) > -_BELOW * float(scan.data.max()) for scan in scans)
    others = scans[1:] if ratios else ()
    scales = [1.0] * len(scans)
    scales[1:] = [_scale(scans[0], other, number + 2, remarks) for number, other in enumerate(others)] or scales[1:]
    matched = [scan.data * scale for scan, scale in zip(scans, scales, strict=True)]
    if window is None:
        window = scan_window("ct" if word == "ct" else SliceSuperResolution.window, scans[0].data)
    window = window(scans[0]) if callable(window) else window
    for number, data in enumerate(matched):
        remarks += [f"Stack {number + 1}: {said}" for said in outside(scans[number].with_data(data), window)]
    y = operator.gathered([window.to_unit(data, clip=False) for data in matched]).to(str(chosen_device(device)))
    remarks += _coverage(operator)
    if len(scans) > 1:
        remarks.append("The stacks were taken to lie still against each other: motion between them is not corrected.")
    problem = StackProblem(y, target.shape, stacks, target.spacing, modality=word, clipped=False)
    first = window.from_unit(problem.initial().cpu())
    dz, dy, dx = target.spacing
    title = f"{len(scans)} stacks of thick slices together, to {dz:.4g} x {dy:.4g} x {dx:.4g} mm"
    step = scans[0].spacing[axis_number(found[0])]
    factor = max(1, round(step / target.spacing[axis_number(found[0])]))
    task = SliceSuperResolution(factor, fwhm_mm, found[0], thickness_mm)
    volume = target.with_data(first)
    return Study(volume, window, None, problem, task, Preparation(), title, scans[0], remarks=tuple(remarks))


def _target(scans: Sequence[Volume], axes: Sequence[str], spacing: float | None) -> Volume:
    """Cubes along the axes of the first stack, about all that any stack shows; empty."""
    if spacing is None:
        spacing = min(
            mm
            for scan, axis in zip(scans, axes, strict=True)
            for number, mm in enumerate(scan.spacing)
            if number != axis_number(axis)
        )
    if not 0 < spacing < math.inf:
        raise CosliceError(f"from_stacks: a spacing of {spacing} mm was given, a positive number is needed.")
    directions, _ = np.linalg.qr(scans[0].directions)
    directions = directions * np.sign(np.diag(directions.T @ scans[0].directions))
    faces = []
    for scan in scans:
        ends = np.array([[-0.5, n - 0.5] for n in scan.shape[::-1]])
        corners = np.stack(np.meshgrid(*ends, indexing="ij"), -1).reshape(-1, 3)
        faces.append((corners @ scan.affine[:3, :3].T + scan.affine[:3, 3]) @ directions)
    low, high = np.concatenate(faces).min(0), np.concatenate(faces).max(0)
    count = np.maximum(np.ceil((high - low) / spacing - 1e-3).astype(int), 2)
    affine = np.eye(4)
    affine[:3, :3] = directions * spacing
    # In the middle of what must be held; where it is a whole number of voxels, face on face.
    affine[:3, 3] = directions @ ((low + high) / 2 - (count - 1) / 2 * spacing)
    x, y, z = (int(n) for n in count)
    if x * y * z > _MOST_VOXELS:
        raise CosliceError(
            f"from_stacks: {z} x {y} x {x} voxels of {spacing:.4g} mm would hold these stacks, at most "
            f"{_MOST_VOXELS:.2g} voxels are possible; crop the stacks, or choose a larger spacing."
        )
    return Volume(torch.zeros(z, y, x), affine, scans[0].orientation, scans[0].space_code)


def _placed(scan: Volume, axis: str, target: Volume, fwhm: float | None, thickness: float | None) -> SliceStack:
    affine = np.linalg.inv(target.affine) @ scan.affine
    step = scan.spacing[axis_number(axis)]
    mm = step if fwhm is None and thickness is None else fwhm or thickness or step
    rows = tuple(tuple(float(value) for value in row) for row in affine)
    return SliceStack(scan.shape, rows, axis_number(axis), mm / step, fwhm is not None)


def _scale(first: Volume, other: Volume, number: int, remarks: list[str]) -> float:
    """What the intensities of another stack must be multiplied by to match those of the first."""
    affine = np.linalg.inv(other.affine) @ first.affine
    matrix, shift = affine[:3, :3][::-1, ::-1], affine[:3, 3][::-1]
    seen = affine_transform(other.data.numpy(), matrix, shift, first.shape, order=1, mode="constant", cval=np.nan)
    ours = first.data.numpy()
    # Of tissue, which is bright in both: in air there is nothing but noise.
    both = np.isfinite(seen)
    if both.sum() >= _ENOUGH:
        both &= (ours > ours[both].mean()) & (seen > seen[both].mean())
    if both.sum() < _ENOUGH:
        remarks.append(
            f"Stack {number}: it shares too little with the first stack for their intensities to be compared; they "
            "were left as they are."
        )
        return 1.0
    scale = float(np.median(ours[both] / seen[both]))
    if not (math.isfinite(scale) and scale > 0):
        return 1.0
    if abs(scale - 1) > 0.01:
        remarks.append(f"Stack {number}: its intensities were multiplied by {scale:.3g} to match those of the first.")
    return scale


def _coverage(operator: Stacks) -> list[str]:
    """Sentences on measured voxels outside the volume, and on voxels that no stack sees."""
    remarks = []
    for number, seen in enumerate(operator.seen):
        if left := int(seen.size - seen.sum()):
            remarks.append(
                f"Stack {number + 1}: {100 * left / seen.size:.2g} % of its voxels reach beyond the volume and were "
                "left out."
            )
    hidden = float((operator.adjoint(torch.ones(operator.codomain)) == 0).double().mean())
    if hidden > 0:
        remarks.append(
            f"{100 * hidden:.2g} % of the volume's voxels are seen by no stack, and come from the prior alone."
        )
    return remarks
