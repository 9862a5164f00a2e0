"""A scan and a prior as small as commands take them."""

from collections.abc import Callable
from pathlib import Path

import nibabel
import numpy as np
import torch

from coslice.errors import CosliceError
from coslice.networks.edm import EDMDenoiser
from coslice.networks.unet import UNet, UNetConfig
from coslice.priors import SlicePrior, save_prior


def ended(call: Callable[[], object]) -> str:
    """Call what may refuse; the sentence that it refused with, or "" where it did not: nothing else may come of it."""
    said = ""
    try:
        call()
    except CosliceError as error:
        said = str(error) or "nothing" * 1000
    assert len(said) < 3000
    return said


def tiny_scan(folder: Path) -> Path:
    """A CT of 8 slices of 16 x 16 voxels."""
    path = folder / "ball.nii.gz"
    z, y, x = np.meshgrid(*(np.linspace(-1, 1, count) for count in (8, 16, 16)), indexing="ij")
    tissue = 40 + 60 * np.cos(5 * x) * np.cos(4 * y + z) + np.random.default_rng(0).normal(0, 15, x.shape)
    array = np.where(y**2 + x**2 < 0.7, tissue, -1000).transpose(2, 1, 0).astype(np.float32)
    nibabel.save(nibabel.Nifti1Image(np.ascontiguousarray(array), np.diag([4.0, 4.0, 2.0, 1.0])), path)
    return path


def good_prior(folder: Path) -> Path:
    """A prior of an untrained network."""
    torch.manual_seed(0)
    network = UNet(UNetConfig(channels=16, multipliers=(1, 2), blocks=1))
    path = folder / "good.safetensors"
    save_prior(path, SlicePrior(EDMDenoiser(network, 0.2, 0.2), network.stride, (0.002, 20.0), card={"name": "good"}))
    return path
