"""Small scans on disk, and a prior small enough to be trained in no time: none, since it need not be good."""

import sys

import nibabel
import numpy as np
import pytest
import torch

from coslice.cli import main
from coslice.networks.edm import EDMDenoiser
from coslice.networks.unet import UNet, UNetConfig
from coslice.priors import SlicePrior, save_prior


def ball(shape=(16, 32, 32), spacing=(2.0, 4.0, 4.0), radius=50.0):
    """A ball of water in air, HU, (z, y, x), with a denser core off its centre."""
    axes = [(np.arange(n) - (n - 1) / 2) * d for n, d in zip(shape, spacing, strict=True)]
    z, y, x = np.meshgrid(*axes, indexing="ij")
    hu = np.where(z**2 + y**2 + x**2 < radius**2, 0.0, -1000.0)
    return np.where(z**2 + (y - 15) ** 2 + (x + 10) ** 2 < 12**2, 400.0, hu).astype(np.float32)


@pytest.fixture(scope="session")
def scan(tmp_path_factory):
    """A NIfTI scan of 16 x 32 x 32 voxels, stored with flipped and swapped axes."""
    path = tmp_path_factory.mktemp("scan") / "ball.nii.gz"
    array = ball().transpose(1, 2, 0)[::-1]  # (y flipped, x, z)
    affine = np.zeros((4, 4))
    affine[1, 0], affine[0, 1], affine[2, 2], affine[3, 3] = -4.0, 4.0, 2.0, 1.0
    affine[:3, 3] = (-70.0, 55.0, 10.0)
    nibabel.save(nibabel.Nifti1Image(np.ascontiguousarray(array), affine), path)
    return path


@pytest.fixture(scope="session")
def tiny_prior(tmp_path_factory):
    """A prior file whose network puts out zeros: the best linear denoiser, voxel by voxel."""
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("prior") / "tiny.safetensors"
    network = UNet(UNetConfig(channels=16, multipliers=(1, 2), blocks=1))
    save_prior(path, SlicePrior(EDMDenoiser(network, 0.2, 0.2), network.stride, (0.002, 20.0), card={"name": "tiny"}))
    return path


@pytest.fixture
def coslice(capsys, monkeypatch):
    """Run the command line in this process: coslice(*arguments) -> (exit code, stdout, stderr)."""

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["coslice", *map(str, arguments)])
        with pytest.raises(SystemExit) as left:
            main()
        said = capsys.readouterr()
        return left.value.code or 0, said.out, said.err

    return run
