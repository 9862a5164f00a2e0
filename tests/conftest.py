"""Small scans on disk, and a prior small enough to be trained in no time: none, since it need not be good."""

import os
import sys

import nibabel
import numpy as np
import pytest
import torch
import yaml

import laws
from coslice.cli import main
from coslice.networks.edm import EDMDenoiser
from coslice.networks.unet import UNet, UNetConfig
from coslice.priors import SlicePrior, save_prior
from published import write_checkpoints
from small_benchmark import small_tree
from small_bodies import ball


def pytest_addoption(parser):
    parser.addoption("--device", default="cpu", help="where the laws of operators are tried: cpu, cuda, ...")


def pytest_configure(config):
    laws.DEVICE = config.getoption("--device")
    if laws.DEVICE == "cpu":
        os.environ["TRITON_INTERPRET"] = "1"  # before anything imports triton
    if "PYTEST_XDIST_WORKER" in os.environ:
        torch.set_num_threads(1)  # each core has a worker of its own


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
    return saved_prior(tmp_path_factory, "tiny", 0)


def saved_prior(tmp_path_factory, name, seed, plane="yx", window="ct", slices=1):
    torch.manual_seed(seed)
    path = tmp_path_factory.mktemp("prior") / f"{name}.safetensors"
    network = UNet(UNetConfig(slices, channels=16, multipliers=(1, 2), blocks=1, positions=slices > 1))
    denoiser = EDMDenoiser(network, 0.2, 0.2)
    prior = SlicePrior(denoiser, network.stride, (0.002, 20.0), plane, window, slices, card={"name": name})
    save_prior(path, prior)
    return path


@pytest.fixture(scope="session")
def checkpoints(tmp_path_factory):
    """A folder of two small published checkpoints, ncsnpp_tiny.pth and adm_tiny.pt with its configuration."""
    folder = tmp_path_factory.mktemp("checkpoints")
    write_checkpoints(folder)
    return folder


@pytest.fixture(scope="session")
def head(tmp_path_factory):
    """A NIfTI scan of an MR-like head, 16 x 24 x 20 voxels (z, y, x) of 1 x 1.5 x 1.5 mm, stored (z down, x, y)."""
    path = tmp_path_factory.mktemp("head") / "head.nii.gz"
    axes = [(np.arange(n) - (n - 1) / 2) * d for n, d in zip((16, 24, 20), (1.0, 1.5, 1.5), strict=True)]
    z, y, x = np.meshgrid(*axes, indexing="ij")
    bright = 400 + 200 * np.cos(z / 3) * np.cos(y / 4) * np.cos(x / 5)
    array = np.where(z**2 / 100 + y**2 / 250 + x**2 / 150 < 1, bright, 0).astype(np.float32)
    affine = np.zeros((4, 4))
    affine[2, 0], affine[0, 1], affine[1, 2], affine[3, 3] = -1.0, 1.5, 1.5, 1.0
    affine[:3, 3] = (-14.0, -17.0, 60.0)
    nibabel.save(nibabel.Nifti1Image(np.ascontiguousarray(array.transpose(0, 2, 1)[::-1]), affine), path)
    return path


@pytest.fixture(scope="session")
def tiny_coronal_prior(tmp_path_factory):
    """As `tiny_prior`, of coronal planes in an MR window."""
    return saved_prior(tmp_path_factory, "coronal", 1, "zx", "mr")


@pytest.fixture(scope="session")
def saved_patch_prior(tmp_path_factory):
    """As `tiny_prior`, of patches of three slices."""
    return saved_prior(tmp_path_factory, "patches", 2, slices=3)


@pytest.fixture(scope="session")
def saved_second_prior(tmp_path_factory):
    """As `tiny_prior`, of coronal planes."""
    return saved_prior(tmp_path_factory, "second", 3, "zx")


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


@pytest.fixture
def refused(coslice):
    """Run a command that must fail: refused(*arguments) -> the one sentence it said, at exit code 2."""

    def run(*arguments):
        code, _, error = coslice(*arguments)
        lines = [line for line in error.strip().splitlines() if line]
        assert code == 2 and len(lines) == 1, error
        assert lines[0].startswith("coslice: ") and "Traceback" not in error
        return lines[0]

    return run


@pytest.fixture
def svct(scan, tiny_prior):
    """Arguments of a CT reconstruction that takes a second."""
    return ["reconstruct", scan, "--prior", tiny_prior, "--steps", 3, "--views", 8]


@pytest.fixture
def zsr(head, tiny_coronal_prior):
    """The same for super-resolution."""
    return ["reconstruct", head, "--task", "zsr", "--prior", tiny_coronal_prior, "--steps", 3]


@pytest.fixture
def prior_files(tiny_prior, saved_patch_prior, saved_second_prior):
    """The priors of a method of CT, on the command line: prior_files("tpdm") -> options."""

    def options(method):
        if method.startswith("diffusionblend"):
            return ["--prior", saved_patch_prior]
        second = ["--auxiliary-prior", saved_second_prior] if method.startswith("tpdm") else []
        return ["--prior", tiny_prior, *second]

    return options


@pytest.fixture
def tree(scan, tiny_prior):
    return small_tree(scan, tiny_prior)


@pytest.fixture
def saved(tmp_path):
    """Write a recipe: saved(tree) -> its path."""

    def write(tree, name="ball"):
        path = tmp_path / f"{name}.yaml"
        path.write_text(yaml.safe_dump(tree, sort_keys=False))
        return path

    return write


@pytest.fixture(scope="module")
def one_thread():
    """Small tensors are done sooner by one thread than by two that wait for each other."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
