"""Phantoms small enough to be scanned in tests, and a network that says nothing."""

from __future__ import annotations

import nibabel
import numpy as np
import torch

from coslice.problems import task_of_key
from coslice.training.collection.pack import make_pack
from coslice.training.collection.scans import find_scans
from coslice.volume import Volume
from coslice.window import CT_WINDOW

TASKS = ("svct-parallel-4", "lact-cone-100-20")
SIZES = (32, 48)


def phantom(number):
    """HU (z, y, x) of a scan of 6 slices of 48 x 40 pixels of 8 x 9 mm: an ellipse with two holes, and texture."""
    generator = np.random.default_rng(number)
    z, y, x = np.mgrid[:6, :48, :40]
    hu = np.full((6, 48, 40), -1000.0)
    hu[((y - 24) / 19) ** 2 + ((x - 20 + z / 3) / 15) ** 2 < 1] = 40.0 + 100 * number
    for side in (-1, 1):
        hu[((y - 22 - z) / 8) ** 2 + ((x - 20 + 7 * side) / 5) ** 2 < 1] = -800.0
    return (hu + generator.normal(0, 8, hu.shape)).round().clip(-1000)


def packed_phantoms(scans, folder):
    """A pack of three phantoms, whose scans are written into `scans`."""
    for number in range(3):
        voxels = phantom(number).transpose(2, 1, 0).astype(np.int16)
        nibabel.save(nibabel.Nifti1Image(voxels, np.diag([9.0, 8.0, 5.0, 1.0])), scans / f"scan{number}.nii.gz")
    make_pack(find_scans([scans]), "yx", "ct", folder)
    return folder


def as_used(number, size, key):
    """Truth and clipped analytic reconstruction of a phantom, by the way a scan takes to its reconstruction."""
    scan = Volume(torch.from_numpy(phantom(number)), np.diag([9.0, 8.0, 5.0, 1.0])).resized(size)
    unit = CT_WINDOW.to_unit(scan.data)
    return unit, task_of_key(key).problem(unit, scan.grid(), CT_WINDOW).initial().clamp(0, 1)


class Zero(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.scale = torch.nn.Parameter(torch.zeros(()))

    def forward(self, image, label):
        return self.scale * image
