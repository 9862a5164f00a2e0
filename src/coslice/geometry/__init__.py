"""Where the rays run: CT geometries in millimetres and radians.

A world point is (x, y, z), in mm from the isocentre; the rotation axis is z. At view angle beta a
circular scanner has

    source            source_axis * (cos beta, sin beta, 0)
    detector centre   -axis_detector * (cos beta, sin beta, 0) + offset
    u (columns)       (-sin beta, cos beta, 0)
    v (rows)          (0, 0, 1)

and pixel (row j, column i) is centred at u = (i - (columns - 1)/2) du + offset_u, likewise v. A
parallel scanner has rays along -(cos beta, sin beta, 0), from source side to detector. `Orbit` frees
every view from the circle: it lists source, detector centre and pixel steps per view.

Arrays never appear here with voxels in them; a `Grid` says where the voxels are.
"""

from typing import TypeAlias

from coslice.geometry.circular import (
    ConeBeam,
    FanBeam,
    ParallelBeam,
    angles_of,
    limited_angle,
    missing_wedge,
    sparse_view,
)
from coslice.geometry.orbit import Orbit
from coslice.geometry.voxels import Grid

__all__ = [
    "ConeBeam",
    "FanBeam",
    "Geometry",
    "Grid",
    "Orbit",
    "ParallelBeam",
    "angles_of",
    "limited_angle",
    "missing_wedge",
    "sparse_view",
]

Geometry: TypeAlias = ConeBeam | FanBeam | ParallelBeam | Orbit
"""Any of the scanners."""
