"""Voxel-driven back-projection on CPU cores.

A voxel column is a line parallel to the rotation axis. In one view all its voxels are seen by the same
place between two detector columns and at the same magnification, so the kernel mixes those two columns
(contiguous along the rows), then walks down the mixture in steps of (magnification dz / row pitch) with
linear interpolation. Volume (y, x, z) and projections (view, column, row) both have z innermost.

A voxel column is summed by one thread in the order of the views: the result does not depend on the
number of threads.
"""

from __future__ import annotations

import math

import numpy as np
from numba import prange

from coslice.kernels import kernel

__all__ = ["backproject"]


@kernel(parallel=True, fastmath=True, nogil=True, error_model="numpy")
def backproject(out, filtered, cosines, sines, ys, xs, first_z, dz, first_p, dp, first_q, dq, curvature, cone):
    """Add sum over views of m^2 * filtered(m t, m z), m = 1/(1 - curvature r), to `out`.

    Args:
        out: (y, x, z) float32.
        filtered: (view, column + 2, row + 2) float32, with a border of zeros.
        cosines, sines: of the view angles, float32.
        ys, xs: voxel centres, mm; first_z, dz: likewise, as a start and a step.
        first_p, dp, first_q, dq: first pixel of the border and pitch on the virtual detector, mm.
        curvature: 1 / source_axis; 0 for parallel rays.
        cone: whether z is magnified too.
    """
    views, columns, rows = filtered.shape
    ny, nx, nz = out.shape
    for j in prange(ny):
        mixture = np.zeros(rows + 2, np.float32)
        for i in range(nx):
            column = out[j, i]
            for view in range(views):
                m = np.float32(1.0) / (np.float32(1.0) - curvature * (xs[i] * cosines[view] + ys[j] * sines[view]))
                p = ((ys[j] * cosines[view] - xs[i] * sines[view]) * m - first_p) / dp
                if p < 0 or p >= columns - 1:
                    continue
                mz = m if cone else np.float32(1.0)
                step = dz * mz / dq
                start = (first_z * mz - first_q) / dq
                low = max(0, math.ceil(-start / step))
                high = min(nz, math.ceil((rows - 1 - start) / step))
                # rounding of start + k step may put the last voxel a hair outside
                while low < high and start + np.float32(low) * step < 0:
                    low += 1
                while low < high and start + np.float32(high - 1) * step >= rows - 1:
                    high -= 1
                if low >= high:
                    continue
                left = int(p)
                share = (p - np.float32(left)) * m * m
                rest = m * m - share
                begin = start + np.float32(low) * step
                top = int(begin)
                bottom = min(rows, int(start + np.float32(high - 1) * step) + 2)
                # slices from 0, and an unsigned row, spare the loops the test for negative indices
                a = filtered[view, left, top:bottom]
                b = filtered[view, left + 1, top:bottom]
                for row in range(bottom - top):
                    mixture[row] = rest * a[row] + share * b[row]
                begin -= np.float32(top)
                seen = column[low:high]
                for k in range(high - low):
                    q = begin + np.float32(k) * step
                    row = np.uint32(q)
                    part = q - np.float32(row)
                    seen[k] += mixture[row] + part * (mixture[row + np.uint32(1)] - mixture[row])
