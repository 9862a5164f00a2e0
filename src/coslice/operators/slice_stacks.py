"""The measurement of several stacks of thick slices, of any orientation, as one operator.

Stack s has voxels i = (i_x, i_y, i_z) at M_s i mm, and shows of the volume x, whose voxels j are at T j mm,

    y_s(i) = sum_q w_q  x(T^-1 M_s (i + o_q)),

with x(.) interpolated trilinearly between voxel centres. The offsets o_q lie evenly over what a voxel of the stack
shows, with weights w_q that sum to 1: along the slices' axis a box of the thickness, or a Gaussian of a given full
width at half maximum; in the plane the pixel, where it is larger than the volume's voxels. As many offsets are taken
as voxels of the volume lie within. So a stack whose slices lie in the volume's, each of k of them, is `ThickSlices`
itself.

A is a sparse matrix, made once. Rows whose weights do not lie wholly in the volume are left out: what such a voxel saw
is partly unknown. `seen` says which are in, and y holds these only, stack after stack.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from scipy.sparse import csr_matrix, vstack
from torch import Tensor

from coslice.errors import CosliceError
from coslice.operators.base import Operator

__all__ = ["SliceStack", "Stacks"]

_INSIDE = 0.999
"""Of a row's weights in the volume: less is a row partly outside. The rest is what affines in files are rounded by."""
_CORNERS = np.array([[(c >> 2) & 1, (c >> 1) & 1, c & 1] for c in range(8)])
_LARGEST = 4e8
"""Entries of the matrix, 8 bytes each."""
_PER_SAMPLE = 4
"""Entries that a sample adds, about: the next one along its line shares half of its 8."""
_TAIL = 1e-4
"""Of the peak: what a Gaussian profile leaves out, as in `ThickSlices`."""


@dataclass(frozen=True)
class SliceStack:
    """Where the voxels of one stack are, and what each of them shows.

    Attributes:
        shape: (z, y, x) of the stack's own array.
        affine: 4 x 4, index (x, y, z, 1) of the stack to the index (x, y, z, 1) of the volume, as rows of numbers.
        axis: 0, 1 or 2, for z, y and x: the stack's own axis along which its slices lie.
        thickness: of a slice, as a part of the distance between slices; 1 leaves no gap.
        gaussian: whether `thickness` is the full width at half maximum of a Gaussian, and not the width of a box.
    """

    shape: tuple[int, int, int]
    affine: tuple[tuple[float, ...], ...]
    axis: int = 0
    thickness: float = 1.0
    gaussian: bool = False

    def lines(self) -> list[tuple[np.ndarray, np.ndarray]]:
        """Offsets along each of the stack's axes (x, y, z), in its indices, and their weights."""
        matrix = np.array(self.affine)[:3, :3]
        lines: list[tuple[np.ndarray, np.ndarray]] = []
        for column in range(3):
            through = column == 2 - self.axis
            step = float(np.linalg.norm(matrix[:, column]))
            lines.append(_line(self.thickness if through else 1.0, step, through and self.gaussian))
        return lines

    def offsets(self) -> tuple[np.ndarray, np.ndarray]:
        """o_q (q, 3) in indices (x, y, z) of the stack, and the weights w_q (q,)."""
        lines = self.lines()
        places = np.stack(np.meshgrid(*(at for at, _ in lines), indexing="ij"), -1).reshape(-1, 3)
        weights = np.prod(np.stack(np.meshgrid(*(w for _, w in lines), indexing="ij"), -1), -1).reshape(-1)
        return places, weights


class Stacks(Operator):
    """A volume (z, y, x) to the seen voxels of all stacks, (n,), stack after stack.

    The arithmetic is that of one thread of a CPU, whatever the device of a tensor: no bit depends on threads.

    Args:
        shape: (z, y, x) of the volume.
        stacks: where they are.

    Attributes:
        domain: `shape`.
        codomain: (n,).
        stacks: as given.
        seen: for each stack, which of its voxels are in y, bool of its shape (z, y, x).

    Raises:
        CosliceError: no stack, a matrix too large for memory, or stacks of which no voxel lies in the volume.
    """

    def __init__(self, shape: tuple[int, int, int], stacks: Sequence[SliceStack]) -> None:
        if len(shape) != 3 or min(shape) < 2:
            raise CosliceError(
                f"Stacks: the shape {tuple(shape)} was given, three numbers (z, y, x) from 2 up are needed."
            )
        if not stacks:
            raise CosliceError("Stacks: no stack was given, at least one is needed.")
        _check_size(stacks)
        self.stacks, self.domain = tuple(stacks), tuple(shape)
        self.seen: list[np.ndarray] = []
        rows: list[Any] = []
        for number, stack in enumerate(self.stacks):
            matrix, seen = _rows(shape, stack)
            if not seen.any():
                raise CosliceError(
                    f"Stacks: no voxel of stack {number + 1} lies in the volume; check that all stacks are of one "
                    "patient and one session, or choose a larger volume."
                )
            rows.append(matrix)
            self.seen.append(seen)
        self.matrix: Any = vstack(rows, format="csr")
        self.codomain = (int(self.matrix.shape[0]),)

    def __repr__(self) -> str:
        return f"Stacks({self.domain}, {list(self.stacks)})"

    def forward(self, volume: Tensor) -> Tensor:
        """A x: (z, y, x) -> (n,)."""
        self._check(volume, self.domain, "a volume")
        image = self.matrix @ volume.detach().reshape(-1).to("cpu", torch.float32).numpy()
        return torch.from_numpy(image).to(volume.device)

    def adjoint(self, measurement: Tensor) -> Tensor:
        """A^T y: (n,) -> (z, y, x)."""
        self._check(measurement, self.codomain, "a measurement")
        image = self.matrix.T @ measurement.detach().to("cpu", torch.float32).numpy()
        return torch.from_numpy(image).reshape(self.domain).to(measurement.device)

    def remark(self, device: torch.device) -> str:
        if device.type == "cpu":
            return ""
        return f"The network works on {device}, but the stacks are compared with the volume on the CPU, by one thread."

    def gathered(self, stacks: Sequence[Tensor]) -> Tensor:
        """y of the stacks as they were measured, (z, y, x) each: their seen voxels, one after the other."""
        given, needed = [tuple(one.shape) for one in stacks], [stack.shape for stack in self.stacks]
        if given != needed:
            raise CosliceError(f"Stacks: stacks of shapes {given} were given, {needed} are needed.")
        masks = [torch.from_numpy(seen).to(one.device) for one, seen in zip(stacks, self.seen, strict=True)]
        return torch.cat([one[mask] for one, mask in zip(stacks, masks, strict=True)])

    def scattered(self, measurement: Tensor, fill: float = 0.0) -> list[Tensor]:
        """The inverse of `gathered`: what is in no y is `fill`."""
        self._check(measurement, self.codomain, "a measurement")
        counts = [int(seen.sum()) for seen in self.seen]
        stacks = []
        for part, seen in zip(measurement.split(counts), self.seen, strict=True):
            stack = measurement.new_full(seen.shape, fill)
            stack[torch.from_numpy(seen).to(stack.device)] = part
            stacks.append(stack)
        return stacks

    def _check(self, tensor: Tensor, shape: tuple[int, ...], what: str) -> None:
        if tuple(tensor.shape) != tuple(shape):
            raise CosliceError(f"Stacks: {what} of shape {tuple(tensor.shape)} was given, {tuple(shape)} is needed.")


def _line(width: float, step: float, gaussian: bool) -> tuple[np.ndarray, np.ndarray]:
    """Offsets along one axis, in steps of the stack, and weights that sum to 1.

    Args:
        width: of the profile, in steps.
        step: in voxels of the volume.
        gaussian: whether `width` is the FWHM of a Gaussian.
    """
    if not gaussian:
        count = max(1, round(width * step))
        return (np.arange(count) + 0.5) / count * width - width / 2, np.full(count, 1 / count)
    # At the centres of voxels of a volume that lies as the slices do, as for `ThickSlices`.
    reach, half = math.ceil(width * step * math.sqrt(-math.log2(_TAIL)) / 2), (round(step) + 1) % 2 / 2
    at = (np.arange(-reach - 2 * half, reach + 1) + half) / step
    weights = 0.5 ** (2 * at / width) ** 2
    kept = weights >= _TAIL * weights.max()
    return at[kept], weights[kept] / weights[kept].sum()


def _check_size(stacks: Sequence[SliceStack]) -> None:
    entries = sum(math.prod((*stack.shape, *(len(at) for at, _ in stack.lines()))) * _PER_SAMPLE for stack in stacks)
    if entries > _LARGEST:
        raise CosliceError(
            f"Stacks: the matrix of these stacks would take about {entries * 8 / 2**30:.0f} GiB of memory, at most "
            f"{_LARGEST * 8 / 2**30:.0f} are possible; crop the stacks to the body part, or choose larger voxels."
        )


def _rows(shape: tuple[int, int, int], stack: SliceStack) -> tuple[Any, np.ndarray]:
    """The rows of the voxels of a stack that are seen wholly, and which they are."""
    affine = np.array(stack.affine)
    offsets, weights = stack.offsets()
    shifts = offsets @ affine[:3, :3].T
    parts, seen = [], np.zeros(stack.shape, dtype=bool)
    # Plane by plane, so that what is not summed up yet stays small.
    for z in range(stack.shape[0]):
        y, x = np.meshgrid(*(np.arange(n) for n in stack.shape[1:]), indexing="ij")
        index = np.stack((x, y, np.full_like(x, z)), -1).reshape(-1, 3)
        part, inside = _plane(shape, index @ affine[:3, :3].T + affine[:3, 3], shifts, weights)
        parts.append(part[inside])
        seen[z] = inside.reshape(stack.shape[1:])
    return vstack(parts, format="csr"), seen


def _plane(
    shape: tuple[int, int, int], centres: np.ndarray, shifts: np.ndarray, weights: np.ndarray
) -> tuple[Any, np.ndarray]:
    """Rows of voxels with `centres` (n, 3) in indices (x, y, z) of the volume, and whether they lie in it wholly."""
    points = centres[:, None, :] + shifts
    # Rounding in affines must not put a sample that lies on a centre outside of the last one.
    nearest = np.round(points)
    points = np.where(np.abs(points - nearest) < 1e-6, nearest, points)
    lower = np.floor(points)
    part = points - lower
    columns = lower[..., None, :].astype(np.int64) + _CORNERS
    shares = np.where(_CORNERS == 1, part[..., None, :], 1 - part[..., None, :]).prod(-1) * weights[:, None]
    inside = ((columns >= 0) & (columns < np.array(shape[::-1]))).all(-1) & (shares > 0)
    rows = np.broadcast_to(np.arange(len(points))[:, None, None], shares.shape)[inside]
    x, y, z = np.moveaxis(columns[inside], -1, 0)
    flat = (z * shape[1] + y) * shape[2] + x
    matrix: Any = csr_matrix((shares[inside], (rows, flat)), (len(points), math.prod(shape)))
    total = np.asarray(matrix.sum(1)).ravel()
    matrix = matrix.multiply(np.where(total > 0, 1 / np.where(total > 0, total, 1), 0)[:, None]).tocsr()
    return matrix.astype(np.float32), total > _INSIDE
