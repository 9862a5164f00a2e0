"""The 2D prior on a volume, its file, and EDM preconditioning."""

import json
import subprocess
import sys

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from coslice.axes import axis_number
from coslice.errors import CosliceError
from coslice.networks.edm import EDMDenoiser
from coslice.networks.unet import UNet, UNetConfig
from coslice.priors import SlicePrior, embedded_priors, load_prior, read_card, save_prior, stored_priors
from coslice.window import CT_WINDOW

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
    order = [axis_number(axis) for axis in (turned.along, *plane)]
    expected = prior(volume.permute(order), 0.3)
    assert torch.equal(turned(volume, 0.3).permute(order), expected)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_result_depends_neither_on_neighbours_nor_on_threads(dtype):
    """Bit for bit, at a size where torch splits its sums among threads."""
    torch.manual_seed(0)
    net = UNet(UNetConfig(channels=32, multipliers=(1, 2), blocks=1))
    for parameter in net.parameters():
        torch.nn.init.normal_(parameter, std=0.05)
    # torch's stubs have no `to` with a type and a format.
    net = net.to(dtype, memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
    net.requires_grad_(False)
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


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_saved_prior_loads_with_its_card_and_computes_in_the_type_it_is_stored_in(tmp_path, network, dtype):
    path = tmp_path / "mine.safetensors"
    rounded = UNet(SMALL)
    rounded.load_state_dict({key: value.to(dtype).float() for key, value in network.state_dict().items()})
    denoiser = EDMDenoiser(rounded.requires_grad_(False), 0.25, 0.15)
    save_prior(path, SlicePrior(denoiser, 4, (0.01, 8.0), "zx", "mr", card={"name": "mine"}), dtype)
    loaded = load_prior(str(path))
    assert (loaded.along, loaded.stride, loaded.sigma_range, loaded.window) == ("y", 4, (0.01, 8.0), "mr")
    assert loaded.card == {"name": "mine"}
    assert dtype == torch.bfloat16 or next(loaded.network.parameters()).dtype == torch.float32
    x = torch.rand(1, 1, 16, 16)
    theirs = loaded.denoiser.float()(x, torch.tensor([0.5]))
    torch.testing.assert_close(theirs, denoiser(x, torch.tensor([0.5])))


def test_a_packed_prior_is_the_same_prior_in_less_room(tmp_path, network):
    plain, packed = tmp_path / "plain.safetensors", tmp_path / "packed.safetensors"
    prior = SlicePrior(EDMDenoiser(network, 0.2, 0.2), 4, (0.01, 8.0), card={"name": "mine"})
    save_prior(plain, prior, torch.bfloat16)
    save_prior(packed, prior, torch.bfloat16, packed=True)
    one, other = load_prior(plain).network.state_dict(), load_prior(packed).network.state_dict()
    assert list(one) == list(other) and all(torch.equal(one[name], other[name]) for name in one)
    assert read_card(plain) == read_card(packed)
    with safe_open(packed, framework="pt") as file:
        tensors, metadata = {key: file.get_tensor(key) for key in file.keys()}, file.metadata()
    # Two thirds for the weights, and the list of their names and shapes.
    assert packed.stat().st_size - len(metadata["packed"]) < 0.75 * plain.stat().st_size
    tensors["packed.first"] = tensors["packed.first"][:-9]
    save_file(tensors, packed, metadata=metadata)
    with pytest.raises(CosliceError, match=r"packed\.safetensors was given, but its packed weights are damaged"):
        load_prior(packed)


def test_a_batch_of_images_is_a_volume_of_slices(prior, volume):
    """The one call takes both; images may have a noise level each."""
    images = volume[:, None]
    torch.testing.assert_close(prior(images, 0.3)[:, 0], prior(volume, 0.3), rtol=1e-5, atol=1e-6)
    levels = torch.tensor([0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7])
    alone = torch.cat([prior(image[None], float(level)) for image, level in zip(images, levels, strict=True)])
    torch.testing.assert_close(prior(images, levels), alone, rtol=1e-5, atol=1e-6)
    with pytest.raises(CosliceError, match=r"images \(b, 1, h, w\)"):
        prior(images.expand(-1, 3, -1, -1), 0.3)
    with pytest.raises(CosliceError, match="one sigma, or one for each image"):
        prior(images, levels[:3])
    with pytest.raises(CosliceError, match=r"trained for 0\.01 to 10"):
        prior(images, torch.tensor([0.1] * 6 + [11.0]))
    with pytest.raises(CosliceError, match="takes a volume"):
        prior(volume, levels)


def test_files_that_are_no_prior_are_refused(tmp_path, network):
    with pytest.raises(CosliceError, match=r"neither an embedded prior \(ct.*\), nor one of yours \(.*\), nor a file"):
        load_prior("no-such-prior")
    with pytest.raises(CosliceError, match="is a folder"):
        load_prior(tmp_path)
    garbage = tmp_path / "garbage.safetensors"
    garbage.write_bytes(b"\x80\x04cos\nsystem\n")
    with pytest.raises(CosliceError, match=r"cannot be read|asks to run code"):  # as torch reads on or not
        load_prior(garbage)
    strange = tmp_path / "strange.safetensors"
    save_file({"weight": torch.zeros(3)}, strange)
    with pytest.raises(CosliceError, match="only these two can be imported"):
        load_prior(strange)
    good = tmp_path / "good.safetensors"
    save_prior(good, SlicePrior(EDMDenoiser(network, 0.2, 0.2), 4, (0.01, 8.0)))
    with safe_open(good, framework="pt") as file:
        described, weights = json.loads(file.metadata()["coslice"]), {key: file.get_tensor(key) for key in file.keys()}
    for changed, reason in (
        ({"network": "resnet"}, "network is resnet, but unet, ncsnpp, guided-diffusion, diffusers-unet, monai"),
        ({"config": {**SMALL.to_dict(), "depth": 3}}, "the key config.depth is not known|the key depth is not known"),
        ({"denoiser": {"kind": "ddpm"}}, "denoiser.kind is 'ddpm'"),
        ({"config": {**SMALL.to_dict(), "channels": 24}}, "does not fit the UNet that it describes .*of another shape"),
    ):
        save_file(weights, garbage, metadata={"coslice": json.dumps(described | changed)})
        with pytest.raises(CosliceError, match=reason):
            load_prior(garbage)
    save_file(weights, garbage, metadata={"coslice": json.dumps({"network": "unet"})})
    with pytest.raises(CosliceError, match="card, config, denoiser"):
        read_card(garbage)


def test_a_prior_of_ones_own_is_known_by_name(tmp_path, network, monkeypatch):
    """The store is the folder in $COSLICE_PRIORS; an embedded name cannot be taken over."""
    monkeypatch.setenv("COSLICE_PRIORS", str(tmp_path))
    save_prior(tmp_path / "mine.safetensors", SlicePrior(EDMDenoiser(network, 0.2, 0.2), 4, (0.01, 8.0)))
    save_prior(tmp_path / "ct.safetensors", SlicePrior(EDMDenoiser(network, 0.2, 0.2), 4, (0.01, 8.0)))
    assert set(stored_priors()) == {"mine", "ct"}
    assert load_prior("mine").stride == 4
    assert load_prior("ct").card["name"] == "ct"


def test_the_hub_says_clearly_what_is_wrong(monkeypatch):
    pytest.importorskip("huggingface_hub", reason="the extra hub is not installed")
    with pytest.raises(CosliceError, match="is hf:OWNER/REPOSITORY"):
        load_prior("hf:nobody")
    offline = (
        "import os; os.environ['HF_HUB_OFFLINE'] = '1'; import coslice\n"
        "try: coslice.load_prior('hf:nobody/nothing')\nexcept coslice.CosliceError as error: print(error)"
    )
    said = subprocess.run([sys.executable, "-c", offline], capture_output=True, text=True, check=True).stdout
    assert "could not be fetched from the Hugging Face Hub" in said and len(said.splitlines()) == 1
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(CosliceError, match=r"pip install .coslice\[hub\]."):
        load_prior("hf:nobody/nothing")


@pytest.mark.parametrize("name", sorted(embedded_priors()))
def test_an_embedded_prior_says_what_it_is(name):
    card = read_card(name)
    assert {"name", "title", "data", "licence", "images", "hardware", "validation_rmse"} <= set(card)
    prior = load_prior(name)
    seen = {"mr": ("zx", "y", "mr"), "ct-coronal": ("zx", "y", "ct")}.get(name, ("yx", "z", "ct"))
    assert (prior.plane, prior.along, prior.window) == seen
    assert prior.channels == (3 if name == "ct3" else 1) and ("tasks" in card) == (name == "ct-fbp-unet")
    assert embedded_priors()[name].stat().st_size < 8_000_000


def test_the_embedded_ct_prior_denoises_a_scan_it_never_saw():
    """A tenth of the window of noise, 260 HU: much better than the best that can be done voxel by voxel."""
    from coslice.data import embedded_scan
    from coslice.noise import Independent, Key

    truth = CT_WINDOW.to_unit(embedded_scan().slices(20, 28).data)
    noisy = Independent().add_(truth.clone(), 0.1, Key(0))
    denoised = load_prior("ct")(noisy, 0.1)
    error = float((denoised - truth).square().mean().sqrt())
    voxelwise = 0.1 * float(truth.std()) / (float(truth.var()) + 0.01) ** 0.5
    assert error < 0.4 * voxelwise


def test_the_embedded_prior_of_patches_denoises_better_than_that_of_slices():
    """Neighbours of 1 mm tell of each other; at a tenth of the window by a twelfth of the error."""
    from coslice.data import embedded_scan
    from coslice.noise import Independent, Key
    from coslice.priors.partitions import adjacency

    scan = embedded_scan().slices(20, 29)
    truth = CT_WINDOW.to_unit(scan.data)
    # Of ten draws the ratio was 0.910 to 0.921, 0.916 in the mean.
    noisy = Independent().add_(truth.clone(), 0.1, Key(1))
    patches = adjacency(9, 3).patches
    together = load_prior("ct3").patches(noisy, 0.1, patches, scan.spacing[0])
    alone = load_prior("ct")(noisy, 0.1)
    errors = [float((denoised - truth).square().mean().sqrt()) for denoised in (together, alone)]
    assert errors[0] < 0.94 * errors[1]
    # Told a wrong distance, it does worse.
    misled = load_prior("ct3").patches(noisy, 0.1, patches, 20.0)
    assert errors[0] < float((misled - truth).square().mean().sqrt())
