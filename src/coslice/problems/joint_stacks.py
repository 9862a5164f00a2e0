"""Several stacks of thick slices of one patient, in several orientations, reconstructed as one volume.

What one stack blurs, another one shows: fetal and fast brain MR are acquired so. The stacks are taken to lie still
against each other, where their files say they are. Nothing here corrects a patient who moved between them.
"""

# pyright: basic, reportMissingTypeStubs=false
# Arrays of scipy have no types.

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from scipy.ndimage import affine_transform, maximum_filter
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
from coslice.problems.thick_scans import gap_said, outside, thick_axis
from coslice.volume import Volume
from coslice.window import Window, scan_window

__all__ = ["StackProblem", "from_stacks"]

_CG = 10
"""Iterations of conjugate gradients from the mean of the stacks to the first reconstruction."""
_MOST_VOXELS = 2**27
_ROUNDING = 1e-3
"""Of a voxel: affines in files are float32."""
_BELOW = 0.05
"""Of the largest value: scans with values further below 0 were shifted, and a factor does not match them."""
_ALIKE = 0.02
"""Factors as near to 1 as they can be told."""
_COVERED = 0.5
"""Of the most that two stacks see of a voxel together: what less is seen of lies at their ends."""
_ENOUGH = 100
"""Voxels that two stacks must share for their intensities to be compared."""


@dataclass(frozen=True, eq=False, repr=False)
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

    def _words(self) -> str:
        return f", {len(self.stacks)} stacks"

    def _operator(self) -> Stacks:
        return Stacks(self.volume_shape, self.stacks)

    def initial(self) -> Tensor:
        operator = self.operator
        assert isinstance(operator, Stacks)
        return cgls(operator, self.measurement, _CG, start=self._mean(operator))

    def _mean(self, operator: Stacks) -> Tensor:
        """The mean of the stacks' cubic splines, each where it lies; beside one, its last voxels; else 0."""
        total, count = np.zeros(self.volume_shape), np.zeros(self.volume_shape)
        beside, near = np.zeros(self.volume_shape), np.zeros(self.volume_shape)
        for stack, seen, data in zip(
            self.stacks, operator.seen, operator.scattered(self.measurement.cpu()), strict=True
        ):
            inverse: Any = np.linalg.inv(np.array(stack.affine))
            # From (x, y, z) to the order of arrays.
            matrix, shift = inverse[:3, :3][::-1, ::-1], inverse[:3, 3][::-1]
            spline = affine_transform(data.double().numpy(), matrix, shift, self.volume_shape, order=3, mode="nearest")
            padded = np.pad(seen, 2)
            wider = maximum_filter(padded, 3)
            for mask, sums, counts in ((padded, total, count), (wider, beside, near)):
                places = affine_transform(
                    mask.astype(np.float32), matrix, shift + 2, self.volume_shape, order=0, mode="nearest"
                )
                sums += np.where(places > 0, spline, 0)
                counts += places > 0
        mean = np.where(count > 0, total / np.maximum(count, 1), beside / np.maximum(near, 1))
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
    thickness_mm: float | Sequence[float | None] | None = None,
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
        thickness_mm: of the slices, mm, of all stacks or for each; None is the distance between them.
        modality: as of `from_thick_slices`.

    Raises:
        CosliceError: no stacks, stacks without a place in common, or a volume too large.
    """
    if not scans:
        raise CosliceError("from_stacks: no stack was given, at least one is needed.")
    if axes is not None and len(axes) != len(scans):
        raise CosliceError(f"from_stacks: {len(axes)} axes were given for {len(scans)} stacks; give one for each.")
    widths = [thickness_mm] * len(scans) if isinstance(thickness_mm, int | float | None) else list(thickness_mm)
    if len(widths) != len(scans):
        raise CosliceError(
            f"from_stacks: {len(widths)} thicknesses were given for {len(scans)} stacks; give one for each."
        )
    if fwhm_mm is not None and any(mm is not None for mm in widths):
        raise CosliceError("from_stacks: a Gaussian profile and a thickness were given; leave one out.")
    if not all(mm is None or 0 < mm < math.inf for mm in (fwhm_mm, *widths)):
        raise CosliceError(f"from_stacks: profiles of {[fwhm_mm, *widths]} mm were given, numbers above 0 are needed.")
    remarks: list[str] = []
    found: list[str] = []
    for number, scan in enumerate(scans):
        axis, remark = thick_axis(scan, None if axes is None else axes[number])
        found.append(axis)
        remarks += [f"Stack {number + 1}: {remark}"] if remark else []
    word, guess = modality_of(scans[0], modality)
    remarks += [guess] if guess else []
    profiles: list[float] = []
    for number, (scan, axis, mm) in enumerate(zip(scans, found, widths, strict=True)):
        said = gap_said(step := scan.spacing[axis_number(axis)], mm)
        remarks += [f"Stack {number + 1}: {one}" for one in said]
        profiles.append(fwhm_mm or (mm if said and mm else step))
    shown = list(zip(scans, found, profiles, strict=True))
    gaussian = fwhm_mm is not None
    target = _target(shown, spacing_mm, gaussian) if target is None else target
    stacks = tuple(_placed(*one, target.affine, gaussian) for one in shown)
    operator = Stacks(target.shape, stacks)
    # HU are the same in every stack, and numbers around 0 have no ratio.
    ratios = word != "ct" and all(float(scan.data.min()) > -_BELOW * float(scan.data.max()) for scan in scans)
    raw = operator.gathered([scan.data for scan in scans])
    scales = [1.0] * len(scans)
    for number in range(1, len(scans) if ratios else 1):
        scales[number] = _scale(operator, raw, number, remarks)
    matched = [scan.data * scale for scan, scale in zip(scans, scales, strict=True)]
    if window is None:
        window = scan_window("ct" if word == "ct" else SliceSuperResolution.window, scans[0].data)
    window = window(scans[0]) if callable(window) else window
    for number, data in enumerate(matched):
        remarks += [f"Stack {number + 1}: {said}" for said in outside(scans[number].with_data(data), window)]
    y = operator.gathered([window.to_unit(data, clip=False) for data in matched]).to(str(chosen_device(device)))
    remarks += _coverage(operator)
    remarks += _twice(scans)
    if len(scans) > 1:
        remarks.append("The stacks were taken to lie still against each other: motion between them is not corrected.")
    problem = StackProblem(y, target.shape, stacks, target.spacing, modality=word, clipped=False)
    first = window.from_unit(problem.initial().cpu())
    dz, dy, dx = target.spacing
    title = f"{len(scans)} stacks of thick slices together, to {dz:.4g} x {dy:.4g} x {dx:.4g} mm"
    step = scans[0].spacing[axis_number(found[0])]
    factor = max(1, round(step / target.spacing[axis_number(found[0])]))
    task = SliceSuperResolution(factor, fwhm_mm, found[0], None if profiles[0] in (fwhm_mm, step) else profiles[0])
    volume = target.with_data(first)
    return Study(volume, window, None, problem, task, Preparation(), title, scans[0], remarks=tuple(remarks))


def _target(shown: Sequence[tuple[Volume, str, float]], spacing: float | None, gaussian: bool) -> Volume:
    """Cubes along the axes of the first stack, about all that any stack shows; empty.

    The first stack decides where their centres lie, so that a volume whose voxels it was made of has them.
    """
    first = shown[0][0]
    if spacing is None:
        spacing = min(
            mm for scan, axis, _ in shown for number, mm in enumerate(scan.spacing) if number != axis_number(axis)
        )
    if not 0 < spacing < math.inf:
        raise CosliceError(f"from_stacks: a spacing of {spacing} mm was given, a positive number is needed.")
    nz, ny, nx = (max(2, math.ceil(n * mm / spacing)) for n, mm in zip(first.shape, first.spacing, strict=True))
    _check_voxels((nz, ny, nx), spacing)  # before anything as large is made
    directions, _ = np.linalg.qr(first.directions)
    affine = np.eye(4)
    affine[:3, :3] = directions * np.sign(np.diag(directions.T @ first.directions)) * spacing
    ends = []
    for scan, axis, mm in shown:
        stack = _placed(scan, axis, mm, affine, gaussian)
        lines = [at for at, _ in stack.lines()]
        sides = [(at[0], n - 1 + at[-1]) for at, n in zip(lines, scan.shape[::-1], strict=True)]
        corners = np.stack(np.meshgrid(*sides, indexing="ij"), -1).reshape(-1, 3)
        matrix = np.array(stack.affine)
        points = corners @ matrix[:3, :3].T + matrix[:3, 3]
        ends.append((points.min(0), points.max(0)))
    phase = ends[0][0]
    low = phase + np.floor(np.min([end[0] for end in ends], 0) - phase + _ROUNDING)
    count = np.ceil(np.max([end[1] for end in ends], 0) - low - _ROUNDING).astype(int) + 1
    x, y, z = (max(2, int(n)) for n in count)
    _check_voxels((z, y, x), spacing)
    affine[:3, 3] = affine[:3, :3] @ low
    # Without the first stack's qform, a file that has no sform would lose its place.
    qform = None if first.qform is None else first.qform @ np.linalg.inv(first.affine) @ affine
    return Volume(torch.zeros(z, y, x), affine, first.orientation, first.space_code, qform, first.qform_code)


def _check_voxels(shape: tuple[int, int, int], spacing: float) -> None:
    if math.prod(shape) > _MOST_VOXELS:
        raise CosliceError(
            f"from_stacks: {' x '.join(map(str, shape))} voxels of {spacing:.4g} mm and more would be needed to hold "
            f"these stacks, at most {_MOST_VOXELS:.2g} are possible; crop the stacks, or choose a larger spacing."
        )


def _placed(scan: Volume, axis: str, mm: float, target: np.ndarray, gaussian: bool) -> SliceStack:
    """A scan with a profile of `mm` against a volume with the affine `target`."""
    affine = np.linalg.inv(target) @ scan.affine
    step = scan.spacing[axis_number(axis)]
    rows = tuple(tuple(float(value) for value in row) for row in affine)
    return SliceStack(scan.shape, rows, axis_number(axis), mm / step, gaussian)


def _scale(operator: Stacks, y: Tensor, number: int, remarks: list[str]) -> float:
    """What the intensities of stack `number`, from 0, must be multiplied by to match those of the first.

    Each stack is blurred once more as the other one was, B_1 A_2^T y_2 and B_2 A_1^T y_1 with B = A^T A. They differ by
    that factor alone where the blurs are along different axes, whose order does not matter.
    """
    counts = [int(seen.sum()) for seen in operator.seen]
    parts = [torch.zeros_like(y) for _ in range(2)]
    for part, one in zip(parts, (0, number), strict=True):
        part[sum(counts[:one]) : sum(counts[: one + 1])] = 1

    def blurred(volume: Tensor, part: Tensor) -> Tensor:
        return operator.adjoint(operator.forward(volume) * part)

    sums, covers = [], []
    for ours, theirs in (parts, parts[::-1]):
        sums.append(blurred(operator.adjoint(y * ours), theirs))
        covers.append(blurred(operator.adjoint(ours), theirs))
    both = torch.stack([cover > _COVERED * cover.max() for cover in covers]).all(0)
    first, other = (float((total / cover)[both].double().sum()) for total, cover in zip(sums, covers, strict=True))
    if int(both.sum()) < _ENOUGH or not (first > 0 and other > 0):
        remarks.append(
            f"Stack {number + 1}: it shares too little with the first stack for their intensities to be compared; they "
            "were left as they are."
        )
        return 1.0
    scale = first / other
    if abs(scale - 1) <= _ALIKE:
        return 1.0
    remarks.append(f"Stack {number + 1}: its intensities were multiplied by {scale:.3g} to match those of the first.")
    return scale


def _twice(scans: Sequence[Volume]) -> list[str]:
    """Sentences on stacks that are there twice, and show nothing more the second time."""
    return [
        f"Stack {number + 1} is stack {before + 1} once more, with the same voxels in the same places: it shows "
        "nothing new, and counts double."
        for number, scan in enumerate(scans)
        for before, other in enumerate(scans[:number])
        if np.allclose(scan.affine, other.affine) and torch.equal(scan.data, other.data)
    ]


def _coverage(operator: Stacks) -> list[str]:
    """Sentences on measured voxels outside the volume, and on voxels that no stack sees."""
    remarks = []
    for number, seen in enumerate(operator.seen):
        if left := int(seen.size - seen.sum()):
            remarks.append(
                f"Stack {number + 1}: {100 * left / seen.size:.3g} % of its voxels reach beyond the volume and were "
                "left out."
            )
    hidden = float((operator.adjoint(torch.ones(operator.codomain)) == 0).double().mean())
    if hidden > 0:
        remarks.append(
            f"{100 * hidden:.3g} % of the volume's voxels are seen by no stack, and come from the prior alone."
        )
    return remarks
