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
from small_bodies import ball


def ended(call: Callable[[], object]) -> str:
    """Call what may refuse; the sentence that it refused with, or "" where it did not: nothing else may come of it."""
    try:
        call()
    except CosliceError as error:
        assert 0 < len(str(error)) < 3000
        return str(error)
    return ""


def tiny_scan(folder: Path) -> Path:
    """A CT of 8 slices of 16 x 16 voxels."""
    path = folder / "ball.nii.gz"
    array = ball()[4:12, 8:24, 8:24].transpose(2, 1, 0)
    nibabel.save(nibabel.Nifti1Image(np.ascontiguousarray(array), np.diag([4.0, 4.0, 2.0, 1.0])), path)
    return path


def good_prior(folder: Path) -> Path:
    """A prior of an untrained network."""
    torch.manual_seed(0)
    network = UNet(UNetConfig(channels=16, multipliers=(1, 2), blocks=1))
    path = folder / "good.safetensors"
    save_prior(path, SlicePrior(EDMDenoiser(network, 0.2, 0.2), network.stride, (0.002, 20.0), card={"name": "good"}))
    return path
