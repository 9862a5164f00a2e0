"""Made by hand: what itk-rtk projects of a known phantom, and the XML that it writes. Needs `pip install itk-rtk`.

    python tests/data/rtk/make.py

RTK's Joseph projector has nothing in common with ours but the name. The phantom has no symmetry, and neither have the
geometries: a displaced detector on a circle, free views with tilted detectors and moved sources, and parallel rays.
"""

# pyright: reportMissingImports=false
from pathlib import Path

import itk
import numpy as np
from itk import RTK as rtk

FOLDER = Path(__file__).parent
SPACING = (2.0, 2.5, 3.0)  # z, y, x of RTK's world
SHAPE = (30, 24, 22)
PIXEL = (5.0, 4.0)  # rows, columns
DETECTOR = (22, 34)
ORIGIN = (-50.0, -75.0)  # v, u of the first pixel


def phantom():
    """Smooth blobs, different in every direction, in RTK's order [z, y, x]."""
    axes = [(np.arange(n) - (n - 1) / 2) * d for n, d in zip(SHAPE, SPACING, strict=True)]
    z, y, x = np.meshgrid(*axes, indexing="ij")
    blobs = (
        (1.0, (0, 0, 0), (15, 16, 18)),
        (0.8, (14, -9, 6), (5, 7, 6)),
        (1.2, (-9, 12, 12), (6, 5, 5)),
        (-0.5, (5, 6, -14), (7, 5, 6)),
    )
    volume = np.zeros(SHAPE)
    for value, (cz, cy, cx), (rz, ry, rx) in blobs:
        volume += value * np.exp(-0.5 * (((z - cz) / rz) ** 2 + ((y - cy) / ry) ** 2 + ((x - cx) / rx) ** 2))
    for axis, n in enumerate(SHAPE):  # 0 at the borders, where projectors differ in what they take for the last voxel
        volume *= np.sin(np.pi * np.arange(n) / (n - 1)).reshape([-1 if a == axis else 1 for a in range(3)]) ** 0.5
    return volume.astype(np.float16).astype(np.float32)


def geometries():
    """By name: the lists of AddProjection's arguments, view by view."""
    circle = [(500.0, 800.0, 20 + 47.0 * view, 12.0, -4.0) for view in range(6)]
    free = [
        (500.0 + view, 800.0 - 2 * view, 200 - 31.0 * view, 6.0 * view - 9, 5.0 - view, 4.0 - view, 3.0 * view - 5)
        + (8.0 - 3 * view, 2.0 * view - 3)
        for view in range(6)
    ]
    parallel = [(500.0, 0.0, 10 + 29.0 * view, 7.0, -3.0) for view in range(6)]
    return {"circle": circle, "free": free, "parallel": parallel}


def image(array, spacing, origin):
    made = itk.image_from_array(array)
    made.SetSpacing([float(s) for s in reversed(spacing)])
    made.SetOrigin([float(o) for o in reversed(origin)])
    return made


def project(volume, views, name):
    geometry = rtk.ThreeDCircularProjectionGeometry.New()
    for view in views:
        geometry.AddProjection(*view)
    kind = itk.Image[itk.F, 3]
    projector = rtk.JosephForwardProjectionImageFilter[kind, kind].New()
    stack = np.zeros((len(views), *DETECTOR), np.float32)
    projector.SetInput(0, image(stack, (1.0, *PIXEL), (0.0, *ORIGIN)))
    corner = [-(n - 1) / 2 * d for n, d in zip(SHAPE, SPACING, strict=True)]
    projector.SetInput(1, image(volume, SPACING, corner))
    projector.SetGeometry(geometry)
    projector.Update()
    writer = rtk.ThreeDCircularProjectionGeometryXMLFileWriter.New()
    writer.SetFilename(str(FOLDER / f"{name}.xml"))
    writer.SetObject(geometry)
    writer.WriteFile()
    return itk.array_from_image(projector.GetOutput())


if __name__ == "__main__":
    volume = phantom()
    stacks = {name: project(volume, views, name).astype(np.float16) for name, views in geometries().items()}
    np.savez_compressed(
        FOLDER / "projections.npz",
        volume=volume.astype(np.float16),
        spacing=SPACING,
        pixel=PIXEL,
        origin=ORIGIN,
        **stacks,
    )
