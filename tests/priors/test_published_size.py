"""benchmarks/published_size.py writes what authors' code writes; what is imported of it is every bit of the network."""

import importlib.util
import sys
import zipfile
from functools import cache
from pathlib import Path

import pytest
import torch

from coslice import run
from coslice.methods import changed, find_method
from coslice.networks import NETWORKS
from coslice.priors import SlicePrior, import_prior, load_prior, save_prior
from coslice.priors.checkpoint_files import read_checkpoint
from coslice.priors.denoisers import CENTRED, RAW, Betas, VEDenoiser, VPDenoiser
from published import names_and_shapes
from small_problems import ct

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "published_size.py"
OWN_LEVELS = {"schedule": {"steps": 2, "sigma_max": 0.3, "sigma_min": 0.05}, "noise": "independent"}


@cache
def script():
    spec = importlib.util.spec_from_file_location("published_size", SCRIPT)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


def built_directly(name, network):
    """The prior of a network, with nothing read from a file."""
    if name == "ncsnpp":
        levels = network.config.levels
        return SlicePrior(VEDenoiser(network, (levels.sigma_min, levels.sigma_max), RAW), network.stride, (0.01, 378.0))
    of_patches = name == "blend"
    classes = network.config.classes
    denoiser = VPDenoiser(network, Betas(), True, classes, CENTRED if of_patches else RAW)
    channels, known = network.config.image_channels, (1, 3) if of_patches else None
    return SlicePrior(denoiser, network.stride, denoiser.sigma_range, channels=channels, classes=known)


def imported(name, kind, folder, tiny=True):
    """The network, and the prior that comes of its file and of the file that importing wrote."""
    network = kind.network(tiny)
    kind.write(network, folder / kind.file)
    saw = (-1.0, 1.0) if name == "blend" else (0.0, 1.0)
    prior = import_prior(folder / kind.file, plane="yx", window="ct", input_range=saw)
    save_prior(folder / "ours.safetensors", prior)
    return network, prior, load_prior(folder / "ours.safetensors")


@pytest.mark.parametrize("name", ["ncsnpp", "guided", "blend"])
def test_import_keeps_every_bit_and_reconstructs_as_the_network_itself(name, tmp_path):
    network, first, second = imported(name, script().KINDS[name], tmp_path)
    expected = network.state_dict()
    for prior in (first, second):
        found = prior.network.state_dict()
        assert found.keys() == expected.keys()
        assert all(torch.equal(found[key], expected[key]) and found[key].dtype == torch.float32 for key in found)
    method = changed(find_method(script().KINDS[name].method, "ct"), OWN_LEVELS)
    direct = built_directly(name, network.to(memory_format=torch.channels_last))
    runs = [run(ct(), method, prior).reconstruction for prior in (direct, second)]
    assert torch.equal(*runs) and 0.001 < float(runs[0].std()) < 1


@pytest.mark.parametrize(
    ("name", "file", "parameters"),
    [("ncsnpp", "ncsnpp_aapm256_keys.tsv.gz", 61_433_601), ("guided", "adm_aapm256_keys.tsv.gz", 374_022_658)],
)
def test_what_is_measured_has_the_published_names_and_shapes(name, file, parameters):
    with torch.device("meta"):
        network = NETWORKS["ncsnpp" if name == "ncsnpp" else "guided-diffusion"][1](script().KINDS[name].published)
    assert {key: tuple(weight.shape) for key, weight in network.state_dict().items()} == names_and_shapes(file)
    assert sum(weight.numel() for weight in network.parameters()) == parameters


def test_a_file_that_is_gone_or_changed_changes_no_network(tmp_path):
    """Numbers are read from the file's own pages, and none of those is kept."""
    kind = script().KINDS["guided"]
    network, first, second = imported("guided", kind, tmp_path)
    for file in (kind.file, "ours.safetensors"):
        with open(tmp_path / file, "r+b") as opened:
            opened.write(bytes((tmp_path / file).stat().st_size))
    for prior in (first, second):
        assert all(torch.equal(prior.network.state_dict()[key], weight) for key, weight in network.state_dict().items())


def test_an_archive_packed_anew_holds_the_same(tmp_path):
    """Pages of a file can only be taken for numbers where they are not packed."""
    kind = script().KINDS["guided"]
    network = kind.network(True)
    kind.write(network, tmp_path / "plain.pt")
    with zipfile.ZipFile(tmp_path / "plain.pt") as plain, zipfile.ZipFile(tmp_path / "packed.pt", "w") as packed:
        for entry in plain.infolist():
            packed.writestr(entry.filename, plain.read(entry), zipfile.ZIP_DEFLATED)
    found = read_checkpoint(tmp_path / "packed.pt")
    assert all(torch.equal(found[key], weight) for key, weight in network.state_dict().items())


def test_hours_are_those_of_images_times_levels_below_and_above_the_integers():
    """Of 30 levels from 5 to 0.01, in equal ratios, four are below 0.02: 5 (1/500)^(i/29) with i >= 26."""
    found = {"together": 3, "evaluations": {"float": 36.0, "int8": 9.0}}
    assert script().hours(found, 300, 30, "float") == pytest.approx(100 * 30 * 36 / 3600)
    assert script().hours(found, 300, 30, "auto") == pytest.approx(100 * (26 * 9 + 4 * 36) / 3600)
