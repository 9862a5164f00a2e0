"""Going on from published networks: their losses, their levels, and runs of them."""

import json

import numpy as np
import pytest
import torch
from scipy.stats import norm

from coslice.errors import CosliceError
from coslice.networks import GuidedUNet, GuidedUNetConfig, NCSNpp
from coslice.noise import Key
from coslice.priors import load_prior, read_card
from coslice.priors.denoisers import Betas, VEDenoiser, VPDenoiser
from coslice.priors.origins import Shown
from coslice.training.learning import measures
from coslice.training.learning.beginning import beginning_of
from coslice.training.learning.objective import PublishedObjective
from coslice.training.learning.run_folder import run_settings_of
from coslice.training.learning.trainer import Trainer
from coslice.training.presets import PRESETS, family_preset
from coslice.training.run_settings import TrainingSettings
from coslice.training.supply.slice_stream import SliceStream
from published import SMALL_GUIDED, SMALL_NCSNPP, SMALL_PATCHES, blend_checkpoint, filled, published_layout
from small_runs import assert_same_weights, go
from small_training import small, weights

pytestmark = pytest.mark.usefixtures("one_thread")

LEARNED = GuidedUNetConfig(channels=32, multipliers=(1, 2), attention=(1,), head_channels=16, learn_sigma=True)
GENTLE = {"images": 8, "views": [{"side": 16, "scale": [0.5, 0.5], "share": 1}], "optimiser": {"learning_rate": 1e-3}}


def drawn(channels=1):
    generator = torch.Generator().manual_seed(3)
    images = torch.rand(3, channels, 16, 16, generator=generator)
    return images, torch.randn(images.shape, generator=generator)


# --- losses


@torch.no_grad()
def test_the_loss_of_ve_is_score_matching_weighted_by_sigma_squared():
    """score_sde's, for a score network s: mean of (s sigma + z)^2, at x0 + sigma z."""
    network, (images, noise) = filled(NCSNpp(SMALL_NCSNPP)), drawn()
    sigma = torch.tensor([0.02, 0.7, 90.0])
    score = network(images + sigma[:, None, None, None] * noise, sigma)
    expected = [float(((s * level + z) ** 2).mean()) for s, level, z in zip(score, sigma, noise, strict=True)]
    got = VEDenoiser(network, (0.01, 378.0)).loss(images, sigma, noise)
    assert got.tolist() == pytest.approx(expected, rel=1e-4)


def hybrid_loss(network, images, noise, steps, learned, labels=()):
    """Guided diffusion's, in its own variables: v = 2 x - 1, q_sample at whole t, mean square of eps, and the bound."""
    beta = np.linspace(1e-4, 2e-2, 1000)
    bar = np.cumprod(1 - beta)
    losses = []
    for i, t in enumerate(steps):
        v = 2 * images[i].double().numpy() - 1
        v_t = bar[t] ** 0.5 * v + (1 - bar[t]) ** 0.5 * noise[i].double().numpy()
        answer = network(
            torch.from_numpy(v_t).float()[None], torch.tensor([float(t)]), *(one[i : i + 1] for one in labels)
        )
        answer = answer[0].double().numpy()
        eps, rest = answer[: len(v)], answer[len(v) :]
        loss = ((eps - noise[i].numpy()) ** 2).mean()
        if learned:
            last = bar[t - 1] if t else 1.0
            tilde = beta[max(t, 1)] * (1 - bar[max(t, 1) - 1]) / (1 - bar[max(t, 1)])
            logs = (rest + 1) / 2 * np.log(beta[t]) + (1 - (rest + 1) / 2) * np.log(tilde)
            clean = (v_t - (1 - bar[t]) ** 0.5 * eps) / bar[t] ** 0.5

            def mean(image, t=t, last=last, v_t=v_t):
                return (beta[t] * last**0.5 * image + (1 - last) * (1 - beta[t]) ** 0.5 * v_t) / (1 - bar[t])

            if t:
                square = (mean(v) - mean(clean)) ** 2
                bits = 0.5 * (logs - np.log(tilde) + (tilde + square) / np.exp(logs) - 1)
            else:
                gauss = norm(mean(clean), np.exp(logs / 2))
                upper = np.where(v > 0.999, 1, gauss.cdf(v + 1 / 255))
                bits = -np.log(np.maximum(upper - np.where(v < -0.999, 0, gauss.cdf(v - 1 / 255)), 1e-12))
            loss += bits.mean() / np.log(2)
        losses.append(loss)
    return losses


@pytest.mark.parametrize("config", [SMALL_GUIDED, LEARNED, SMALL_PATCHES], ids=["eps", "variance", "patches"])
@torch.no_grad()
def test_the_loss_of_vp_is_that_of_guided_diffusion(config):
    network, (images, noise) = filled(GuidedUNet(config)), drawn(config.image_channels)
    images[0, 0, 0] = torch.tensor([0.0, 1.0]).repeat(8)  # the outermost bins
    denoiser = VPDenoiser(network, Betas(), config.learn_sigma, config.classes)
    labels = (torch.tensor([1, 3, 1]),) if config.classes else ()
    steps = [0, 120, 999]
    sigma = denoiser.drawn_levels(torch.tensor([(t + 0.5) / 1000 for t in steps]))
    got = denoiser.loss(images, sigma, noise, *labels)
    expected = hybrid_loss(network, images, noise, steps, config.learn_sigma, labels)
    assert got.tolist() == pytest.approx(expected, rel=2e-3)


def test_the_variance_alone_learns_from_its_bound():
    """The gradient of the noise is that of the mean square, whatever the bound says of it."""
    images, noise = drawn()
    answer = torch.randn(3, 2, 16, 16, generator=torch.Generator().manual_seed(1)).requires_grad_()

    class Saying(torch.nn.Module):
        def forward(self, v, t):
            return answer

    denoiser = VPDenoiser(Saying(), Betas(), learn_sigma=True)
    denoiser.loss(images, denoiser.drawn_levels(torch.tensor([0.0, 0.3, 0.9])), noise).sum().backward()
    assert answer.grad is not None and answer.grad[:, 1].abs().max() > 0
    torch.testing.assert_close(answer.grad[:, :1], 2 * (answer[:, :1].detach() - noise) / 256)


def test_levels_are_log_uniform_and_whole_steps():
    ve = PublishedObjective(VEDenoiser(NCSNpp(SMALL_NCSNPP), (0.01, 378.0))).levels(Key(0, 0, "sigma"), 4000)
    place = (ve / 0.01).log() / np.log(37800)
    assert float(place.min()) >= 0 and float(place.max()) <= 1
    assert float(place.mean()) == pytest.approx(0.5, abs=0.02) and float(place.std()) == pytest.approx(
        12**-0.5, abs=0.01
    )
    vp = VPDenoiser(GuidedUNet(SMALL_GUIDED), Betas(), learn_sigma=False)
    steps = vp.step(PublishedObjective(vp).levels(Key(0, 0, "sigma"), 4000))
    assert float((steps - steps.round()).abs().max()) < 0.01
    assert float(steps.min()) < 5 and float(steps.max()) > 994 and float(steps.mean()) == pytest.approx(499.5, abs=20)


# --- steps


class OneImage:
    """A stream of one picture."""

    def __init__(self, channels, label):
        y, x = torch.meshgrid(torch.arange(16.0), torch.arange(16.0), indexing="ij")
        self.image = (0.5 + 0.4 * torch.sin(x / 3) * torch.cos(y / 4)).expand(1, channels, 16, 16)
        self.label = label

    def images(self, step, batch):
        return batch

    def batch(self, step, batch, first=0, count=None):
        return self.image.expand(batch - first if count is None else count, -1, -1, -1)

    def distances(self, step, first, count):
        return torch.full((count,), self.label)


def vp(config):
    return VPDenoiser(filled(GuidedUNet(config)).requires_grad_(True), Betas(), config.learn_sigma, config.classes)


def ve(_):
    network = filled(NCSNpp(SMALL_NCSNPP))
    for name, parameter in network.named_parameters():
        parameter.requires_grad_(not name.endswith(".0.W"))
    return VEDenoiser(network, (0.01, 378.0))


@pytest.mark.parametrize(("make", "config"), [(ve, None), (vp, SMALL_PATCHES)], ids=["ve", "vp"])
def test_three_steps_lower_the_loss_on_one_image(make, config):
    denoiser, channels = make(config), config.image_channels if config else 1
    stream = OneImage(channels, 3.0)
    optimiser = {"name": "adam", "learning_rate": 3e-3, "clip": None}
    changes = {"network": None, "batch": 4, "micro": 2, "schedule": {"warmup": 0}, "optimiser": optimiser}
    settings = small(**changes, averages={"widths": [], "rates": [0.0, 0.5]})
    trainer = Trainer(settings, stream, objective=PublishedObjective(denoiser))

    @torch.no_grad()
    def loss(learner):
        generator = torch.Generator().manual_seed(9)
        noise = torch.randn(8, channels, 16, 16, generator=generator)
        sigma = denoiser.drawn_levels((torch.arange(8) + 0.5) / 8)
        return float(learner.loss(stream.batch(0, 8), sigma, noise, torch.full((8,), 3.0)).mean())

    before, start = loss(trainer.averaged(0)), weights(trainer)
    with trainer.working():
        for _ in range(3):
            trainer.step()
    assert loss(trainer.averaged(0)) < before
    # The last weights, and half of the way there three times over.
    last = trainer.averages[0].weights
    assert all(torch.equal(last[name], value) for name, value in trainer.network.named_parameters() if name in last)
    assert not torch.equal(weights(trainer), start)


def test_an_exponential_average_is_what_its_rate_says():
    from coslice.training.learning.average import ExponentialAverage

    network = torch.nn.Linear(1, 1, bias=False)
    torch.nn.init.constant_(network.weight, 8.0)
    average = ExponentialAverage(network, 0.5)
    for value in (0.0, 4.0):
        average.update([torch.full((1, 1), value)], 4, 4)
    assert float(average.weights["weight"]) == 0.5 * (0.5 * 8.0) + 0.5 * 4.0 and average.name == "rate 0.5"


# --- runs


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory):
    folder = tmp_path_factory.mktemp("published")
    published_layout(filled(NCSNpp(SMALL_NCSNPP)), folder / "ncsnpp.pth")
    torch.save(filled(GuidedUNet(LEARNED)).state_dict(), folder / "guided.pt")
    blend_checkpoint(folder / "patches.ckpt")
    return folder


@pytest.mark.parametrize("file", ["ncsnpp.pth", "patches.ckpt"])
def test_a_run_from_a_published_network(pack, checkpoints, tmp_path, file, monkeypatch):
    """Interrupted, it ends with the same bits; its prior is the network's own, tells its origin, and no folder."""
    monkeypatch.setattr(measures, "picture", lambda *_, **__: np.zeros((8, 8), dtype=np.uint8))  # which takes long
    monkeypatch.setattr(measures, "SIGMAS", (0.1, 400.0))
    init = checkpoints / file
    settings = {**GENTLE, "init": str(init)}
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    go(whole, pack, settings=settings)
    assert go(parts, pack, settings=settings, minutes=1e-6).images == 4
    init.rename(init.with_suffix(".away"))  # it is not needed any more
    try:
        go(parts, pack, settings=settings)
    finally:
        init.with_suffix(".away").rename(init)
    assert_same_weights(whole, parts)
    before, prior = load_prior(init, otherwise=Shown("yx", "ct")), load_prior(whole / "prior.safetensors")
    assert type(prior.denoiser) is type(before.denoiser) and type(prior.network) is type(before.network)
    assert (prior.channels, prior.classes, prior.sigma_range) == (before.channels, before.classes, before.sigma_range)
    assert (prior.plane, prior.window, prior.stride) == ("yx", "ct", before.stride)
    # What is exported is the average: of rate 0 the last weights, to the last bit.
    stored = torch.load(whole / "checkpoint.pt", weights_only=True)
    written = prior.network.state_dict()
    assert all(torch.equal(written[name], value) for name, value in stored["averages"][0].items())
    assert any(not torch.equal(written[name], value) for name, value in before.network.state_dict().items())
    card = read_card(whole / "prior.safetensors")
    origin = card["fine_tuned_from"]
    assert origin["title"].endswith("imported") and file not in json.dumps(origin) and card["recipe"]["init"] == file
    page = (whole / "prior.md").read_text()
    assert f"| started from | {file} (" in page and "classes" not in page
    assert str(checkpoints) not in json.dumps(card) + page
    assert list(card["validation_rmse"]["16 px"]) == ["0.1"]


def test_settings_of_a_published_network_are_its_familys_and_may_be_changed(pack, checkpoints, tmp_path):
    def of(file, **given):
        return run_settings_of(tmp_path / "new", [pack], {"init": str(checkpoints / file), **given})

    blend = of("patches.ckpt")
    assert (blend.start.preset, blend.batch, blend.patches.slices) == ("diffusionblend", 4, 3)
    assert (blend.optimiser.name, blend.optimiser.learning_rate, blend.optimiser.clip) == ("adamw", 1e-5, None)
    assert blend.averages.rates == (0.0,) and blend.arithmetic.precision == "f32" and not blend.augment.gain
    mbir = of("ncsnpp.pth", batch=8, schedule={"epochs": 100})
    assert (mbir.start.preset, mbir.batch, mbir.schedule.epochs) == ("diffusion-mbir", 8, 100.0)
    assert (mbir.optimiser.learning_rate, mbir.averages.rates) == (2e-4, (0.999,))
    assert (mbir.sigma.lowest, mbir.sigma.highest) == (0.01, 378.0)
    assert of("guided.pt", preset="diffusionblend").images == 400_400
    assert all(TrainingSettings.from_dict(tree) for tree in PRESETS.values())
    assert {family_preset("ncsnpp", 1), family_preset("guided-diffusion", 1)} <= set(PRESETS)
    for given, message in (
        ({"network": {"channels": 32, "image_channels": 3}}, "network is .* left out, since init brings its own"),
        ({"patches": {"slices": 2}}, r"patches\.slices is 2, but it must be 3"),
        ({"sigma": {"lowest": 0.1}}, "which init was trained for"),
        ({"preset": "imagenet"}, 'preset "imagenet" was given, but there are diffusionblend'),
    ):
        with pytest.raises(CosliceError, match=message):
            of("patches.ckpt", **given)
    with pytest.raises(CosliceError, match="is not what the settings were made for"):
        beginning_of(TrainingSettings.from_dict({**blend.to_dict(), "init": str(checkpoints / "guided.pt")}), False)


def test_patches_are_told_their_classes(pack, checkpoints, tmp_path):
    from coslice.parallel import ALONE
    from coslice.training.collection.pack import open_pack
    from coslice.training.learning.journal import Listener
    from coslice.training.learning.run_inputs import image_stream, resolved_settings

    opened = open_pack(pack)
    settings = run_settings_of(tmp_path / "new", [pack], {"init": str(checkpoints / "patches.ckpt"), **GENTLE})
    settings = resolved_settings(settings, opened, beginning_of(settings, False))
    place = tmp_path / "new", torch.device("cpu"), ALONE, Listener()
    settings, stream = image_stream(settings, opened, opened.names, *place)
    labels = torch.cat([stream.distances(step, 0, 4) for step in range(16)])
    assert set(labels.tolist()) == {1.0, 3.0} and 16 < int((labels == 3).sum()) < 48
    assert isinstance(stream, SliceStream)
    _, told = stream.validation(opened.names, 4, 16)
    assert sorted(told.tolist()) == [1.0, 1.0, 3.0, 3.0]
