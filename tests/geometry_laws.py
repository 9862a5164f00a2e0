"""What a geometry read from a file owes: the ray of a stored pixel passes where the format's own formulas put it."""

import json

import numpy as np

from coslice.geometry import ConeBeam, FanBeam, ParallelBeam


def written(folder, values, name="geometry.json"):
    path = folder / name
    path.write_text(values if isinstance(values, str) else json.dumps(values))
    return path


def circle_of(scanner) -> ConeBeam | FanBeam | ParallelBeam:
    """The geometry of a scanner that turns on a circle."""
    assert isinstance(scanner.geometry, ConeBeam | FanBeam | ParallelBeam)
    return scanner.geometry


def stored_rays(scanner, view):
    """Points and unit directions of a view's rays, (rows, columns, 3) each, in the order in which pixels are stored."""
    point, direction = scanner.geometry.rays(view)
    rows = slice(None, None, -1) if scanner.flip_rows else slice(None)
    columns = slice(None, None, -1) if scanner.flip_columns else slice(None)
    direction = direction / np.linalg.norm(direction, axis=-1, keepdims=True)
    return point[rows, columns], direction[rows, columns]


def distance(scanner, view, row, column, place):
    """From `place` (x, y, z), mm, to the ray of a stored pixel."""
    point, direction = (array[row, column] for array in stored_rays(scanner, view))
    return float(np.linalg.norm(np.cross(np.asarray(place) - point, direction)))


def assert_cone(scanner, views, source, pixel, tolerance=1e-6):
    """The ray of every corner pixel runs from `source(view)` to `pixel(view, row, column)`."""
    rows, columns = scanner.geometry.detector
    for view in range(views):
        for row, column in ((0, 0), (0, columns - 1), (rows - 1, 0), (rows // 2, columns // 3)):
            start, end = np.asarray(source(view)), np.asarray(pixel(view, row, column))
            assert distance(scanner, view, row, column, start) < tolerance
            assert distance(scanner, view, row, column, end) < tolerance
            assert stored_rays(scanner, view)[1][row, column] @ (end - start) > 0


def assert_parallel(scanner, views, direction, pixel, tolerance=1e-6):
    """The ray of every corner pixel passes through `pixel(view, row, column)` along `direction(view)`."""
    rows, columns = scanner.geometry.detector
    for view in range(views):
        for row, column in ((0, 0), (0, columns - 1), (rows - 1, 0), (rows // 2, columns // 3)):
            assert distance(scanner, view, row, column, pixel(view, row, column)) < tolerance
            along = stored_rays(scanner, view)[1][row, column]
            assert np.linalg.norm(np.cross(along, direction(view))) < tolerance
