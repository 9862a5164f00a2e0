"""The 2D prior on a volume, its file, and EDM preconditioning."""

import json

import pytest
import torch
from safetensors.torch import save_file

from coslice.errors import CosliceError
from coslice.networks.edm import EDMDenoiser
from coslice.networks.unet import UNet, UNetConfig
from coslice.priors import SlicePrior, embedded_priors, load_prior, save_prior
from coslice.volume import CT_WINDOW

SMALL = UNetConfig(channels=16, multipliers=(1, 2), blocks=1)


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    net = UNet(SMALL)
    for parameter in net.parameters():  # a fresh network is the identity: give every layer something to do
        torch.nn.init.normal_(parameter, std=0.1)
    return net.requires_grad_(False)


@pytest.fixture(scope="module")
def prior(network):
    return SlicePrior(EDMDenoiser(network, 0.2, 0.2), network.stride, (0.01, 10.0))


@pytest.fixture
def volume():
    return torch.rand(7, 20, 24, generator=torch.Generator().manual_seed(1))


def test_each_slice_is_denoised_alone(prior, volume):
    whole = prior(volume, 0.3)
    order = torch.tensor([3, 0, 6, 1, 5, 2, 4])
    assert torch.equal(prior(volume[order], 0.3), whole[order])
    assert torch.equal(prior(volume[2:3], 0.3), whole[2:3])


@pytest.mark.parametrize("plane", ["yx", "zx", "zy", "xy"])
def test_planes_are_chosen_by_name(prior, plane):
    volume = torch.rand(12, 16, 20, generator=torch.Generator().manual_seed(2))
    turned = SlicePrior(prior.denoiser, prior.stride, prior.sigma_range, plane)
    order = ["zyx".index(axis) for axis in (turned.along, *plane)]
    expected = prior(volume.permute(order), 0.3)
    assert torch.equal(turned(volume, 0.3).permute(order), expected)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_result_depends_neither_on_neighbours_nor_on_threads(dtype):
    """Bit for bit, at a size where torch splits its sums among threads."""
    torch.manual_seed(0)
    net = UNet(UNetConfig(channels=32, multipliers=(1, 2), blocks=1))
    for parameter in net.parameters():
        torch.nn.init.normal_(parameter, std=0.05)
    net = net.to(dtype, memory_format=torch.channels_last).requires_grad_(False)
    denoiser = EDMDenoiser(net, 0.2, 0.2)
    volume = torch.rand(5, 96, 96, generator=torch.Generator().manual_seed(3))
    threads = torch.get_num_threads()
    results = []
    try:
        for count, cut in ((1, 5), (2, 5), (2, 2), (3, 3), (4, 1)):
            torch.set_num_threads(count)
            prior = SlicePrior(denoiser, net.stride, (0.01, 10.0))
            results.append(torch.cat([prior(slab, 0.3) for slab in volume.split(cut)]))
            assert torch.get_num_threads() == count
    finally:
        torch.set_num_threads(threads)
    assert all(torch.equal(result, results[0]) for result in results)


def test_sides_that_are_no_multiple_of_the_stride_are_padded_by_reflection(prior):
    volume = torch.rand(2, 18, 21, generator=torch.Generator().manual_seed(4))
    padded = torch.nn.functional.pad(volume[:, None], (0, 3, 0, 2), mode="reflect")[:, 0]
    assert torch.equal(prior(volume, 0.3), prior(padded, 0.3)[:, :18, :21])


def test_refusals(prior, volume):
    with pytest.raises(CosliceError, match="at least 4 x 4"):
        prior(volume[:, :3], 0.3)
    with pytest.raises(CosliceError, match=r"trained for 0\.01 to 10"):
        prior(volume, 20.0)


def test_preconditioning_at_its_two_ends(network):
    """As sigma -> 0 the denoiser is the identity; as sigma grows a silent network answers the data's mean."""
    denoiser = EDMDenoiser(network, 0.3, 0.2)
    x = torch.rand(2, 1, 16, 16, generator=torch.Generator().manual_seed(5))
    torch.testing.assert_close(denoiser(x, torch.full((2,), 1e-5)), x, atol=1e-3, rtol=0)
    silent = EDMDenoiser(UNet(SMALL), 0.3, 0.2).requires_grad_(False)  # a fresh network puts out zeros
    torch.testing.assert_close(silent(x, torch.full((2,), 1e4)), torch.full_like(x, 0.3), atol=1e-6, rtol=0)


def test_a_silent_network_is_the_best_linear_denoiser():
    """c_skip alone is Wiener's answer for data N(m, s^2): the loss is s^2/(sigma^2 + s^2) sigma^2 / c_out^2 = 1."""
    mean, std, sigma = 0.3, 0.2, 0.5
    generator = torch.Generator().manual_seed(6)
    images = mean + std * torch.randn(64, 1, 32, 32, generator=generator)
    noise = torch.randn(images.shape, generator=generator)
    silent = EDMDenoiser(UNet(SMALL), mean, std)
    loss = silent.loss(images, torch.full((64,), sigma), noise).mean()
    assert float(loss.detach()) == pytest.approx(1.0, abs=0.02)


def test_a_saved_prior_loads_with_its_card(tmp_path, network):
    path = tmp_path / "mine.safetensors"
    rounded = UNet(SMALL)
    rounded.load_state_dict({key: value.bfloat16().float() for key, value in network.state_dict().items()})
    denoiser = EDMDenoiser(rounded.requires_grad_(False), 0.25, 0.15)
    save_prior(path, denoiser, CT_WINDOW, "zx", (0.01, 8.0), {"name": "mine"})
    loaded = load_prior(str(path))
    assert (loaded.prior.along, loaded.prior.stride, loaded.prior.sigma_range) == ("y", 4, (0.01, 8.0))
    assert loaded.window == CT_WINDOW and loaded.card == {"name": "mine"}
    x = torch.rand(1, 1, 16, 16)
    theirs = loaded.prior.denoiser.float()(x, torch.tensor([0.5]))
    torch.testing.assert_close(theirs, denoiser(x, torch.tensor([0.5])))


def test_files_that_are_no_prior_are_refused(tmp_path):
    with pytest.raises(CosliceError, match=r"neither an embedded prior \(ct.*\) nor a file"):
        load_prior("no-such-prior")
    garbage = tmp_path / "garbage.safetensors"
    garbage.write_bytes(b"\x80\x04cos\nsystem\n")
    with pytest.raises(CosliceError, match="is not a coslice prior"):
        load_prior(str(garbage))
    strange = tmp_path / "strange.safetensors"
    save_file({"weight": torch.zeros(3)}, strange)
    with pytest.raises(CosliceError, match="is not a coslice prior"):
        load_prior(str(strange))
    mismatched = tmp_path / "mismatched.safetensors"
    described = {"network": "unet", "config": SMALL.to_dict()}
    save_file({"weight": torch.zeros(3)}, mismatched, metadata={"coslice": json.dumps(described)})
    with pytest.raises(CosliceError, match="is not a coslice prior"):
        load_prior(str(mismatched))


def test_the_embedded_ct_prior_says_what_it_is():
    loaded = load_prior("ct")
    assert loaded.prior.plane == "yx" and loaded.prior.along == "z" and loaded.window == CT_WINDOW
    assert {"name", "data", "licence", "images", "validation_rmse_hu"} <= set(loaded.card)
    assert embedded_priors()["ct"].stat().st_size < 12_000_000


def test_the_embedded_ct_prior_denoises_a_scan_it_never_saw():
    """A tenth of the window of noise, 260 HU: much better than the best that can be done voxel by voxel."""
    from coslice.data import embedded_scan
    from coslice.noise import Independent, Key

    truth = CT_WINDOW.to_unit(embedded_scan().slices(20, 28).data)
    noisy = Independent().add_(truth.clone(), 0.1, Key(0))
    denoised = load_prior("ct").prior(noisy, 0.1)
    error = float((denoised - truth).square().mean().sqrt())
    voxelwise = 0.1 * float(truth.std()) / (float(truth.var()) + 0.01) ** 0.5
    assert error < 0.4 * voxelwise
