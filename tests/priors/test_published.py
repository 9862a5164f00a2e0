"""Published files: reference outputs, strict names, inferred shapes."""

import copy
import json
import math
import pickle

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch.nn import functional as F

from coslice.errors import CosliceError
from coslice.networks import (
    NETWORKS,
    GuidedUNet,
    GuidedUNetConfig,
    NCSNpp,
    NCSNppConfig,
    NoiseTable,
    Pyramids,
    guided_layout,
    ncsnpp_layout,
)
from coslice.networks.halving import FIRConv2d, fir_down, fir_up
from coslice.priors.denoisers import VEDenoiser, VPDenoiser
from coslice.priors.published import read_published
from laws import draw, relative
from published import SMALL_GUIDED, SMALL_NCSNPP, filled, names_and_shapes, published_layout, reference


def test_ncsnpp_gives_the_reference_score(checkpoints):
    given, expected = read_published(checkpoints / "ncsnpp_tiny.pth"), reference("ncsnpp_tiny_io.npz")
    assert relative(given.network(expected["x"], expected["sigma"]), expected["score"]) <= 2e-5
    assert given.config == NCSNppConfig(channels=16, multipliers=(1, 2, 2), blocks=1, attention=(1,))
    assert given.family == "ncsnpp" and given.betas is None and given.sigma_range == (0.01, 378.0)
    assert any("divided by sigma" in note for note in given.notes)
    x, sigma = expected["x"], expected["sigma"]
    tweedie = x + sigma[:, None, None, None] ** 2 * expected["score"]
    assert isinstance(given.denoiser(), VEDenoiser)
    assert relative(given.denoiser()(x, sigma), tweedie) <= 2e-5


def test_parameters_that_were_scaled_as_a_whole_are_scaled_back(tmp_path):
    """The Fourier frequencies have no average to be replaced by; that all the others are off by one factor tells."""
    network = filled(NCSNpp(NCSNppConfig(channels=16, multipliers=(1, 2), blocks=1)))
    published_layout(network, tmp_path / "as-trained.pth")
    content = torch.load(tmp_path / "as-trained.pth", weights_only=True)
    names = [name for name, _ in network.named_parameters()]
    state = network.state_dict()
    scaled = {f"module.{name}": value * (0.7 if name in names else 1) for name, value in state.items()}
    torch.save({**content, "model": scaled}, tmp_path / "scaled.pth")
    as_trained, given = read_published(tmp_path / "as-trained.pth"), read_published(tmp_path / "scaled.pth")
    x, sigma = torch.rand(2, 1, 16, 16), torch.tensor([0.1, 3.0])
    assert torch.equal(as_trained.network(x, sigma), network(x, sigma))
    assert relative(given.network(x, sigma), network(x, sigma)) <= 1e-4
    assert any("scaled by 0.7" in note for note in given.notes)
    assert not any("scaled by" in note for note in as_trained.notes)


def test_guided_diffusion_gives_the_reference_noise(checkpoints):
    given, expected = read_published(checkpoints / "adm_tiny.pt"), reference("adm_tiny_io.npz")
    assert relative(given.network(expected["x"], expected["t"]), expected["out"]) <= 1e-5
    assert given.family == "guided-diffusion" and given.image_size == 64 and given.betas is not None
    # Back in the unit window: the noisy image of step t, and the noise the network names in it.
    abar = given.betas.alpha_bar()[expected["t"]].float()[:, None, None, None]
    noisy, odds = expected["x"] / abar.sqrt(), ((1 - abar) / abar).sqrt()
    for denoiser, unit, sigma in (
        (given.denoiser((-1, 1)), (noisy + 1) / 2, odds / 2),
        (
            given.denoiser(),
            noisy,
            odds,
        ),  # one channel in, two out: DDS, whose images were as they are
    ):
        assert isinstance(denoiser, VPDenoiser) and denoiser.stride == 2
        assert relative(denoiser(unit, sigma.flatten()), unit - sigma * expected["out"][:, :1]) <= 1e-4


@pytest.mark.parametrize(
    ("file", "layout", "family", "parameters"),
    [
        ("ncsnpp_aapm256_keys.tsv.gz", ncsnpp_layout, "ncsnpp", 61_433_601),
        ("adm_aapm256_keys.tsv.gz", guided_layout, "guided-diffusion", 374_022_658),
    ],
)
def test_every_name_and_shape_of_the_full_models(file, layout, family, parameters):
    shapes = names_and_shapes(file)
    inferred = layout.infer(shapes, torch.tensor([378.0, 0.01])) if family == "ncsnpp" else layout.infer(shapes)
    inferred.pop("scales", None)
    config_class, network_class = NETWORKS[family]
    assert config_class.from_dict(inferred) == config_class()  # the defaults are the published models
    with torch.device("meta"):
        network = network_class(config_class.from_dict(inferred))
    assert {name: tuple(value.shape) for name, value in network.state_dict().items()} == shapes
    assert sum(value.numel() for value in network.parameters()) == parameters


NCSNPP_CONFIGS = {
    "bare": NCSNppConfig(channels=8, multipliers=(1, 2, 1), blocks=2, pyramids=Pyramids("none")),
    "one level": NCSNppConfig(channels=8, multipliers=(2,), blocks=2, attention=(0,), pyramids=Pyramids("none")),
    "sum": NCSNppConfig(image_channels=3, channels=8, multipliers=(1, 3), blocks=1, pyramids=Pyramids("input_skip")),
    "cat": NCSNppConfig(
        channels=8,
        multipliers=(1, 1, 2),
        blocks=2,
        attention=(0, 2),
        pyramids=Pyramids("input_skip", "cat", "output_skip"),
    ),
    "residual": NCSNppConfig(
        channels=8, multipliers=(2, 1), blocks=3, attention=(1,), pyramids=Pyramids(output="residual")
    ),
    "plain": NCSNppConfig(
        channels=8,
        multipliers=(1, 2),
        blocks=1,
        fir=False,
        pyramids=Pyramids(output="residual"),
        levels=NoiseTable(0.01, 50.0, 11),
    ),
    "positional": NCSNppConfig(
        channels=16,
        multipliers=(1, 1.5),
        blocks=1,
        embedding="positional",
        skip_rescale=False,
        scale_by_sigma=False,
        centred=True,
        fir_kernel=(1, 1),
        levels=NoiseTable(sigma_max=90.0, scales=1000),
    ),
}


@pytest.mark.parametrize("name", NCSNPP_CONFIGS)
def test_ncsnpp_files_tell_their_shape(name, tmp_path):
    config = NCSNPP_CONFIGS[name]
    network = filled(NCSNpp(config))
    published_layout(network, tmp_path / "checkpoint_7.pth")
    unsaid = ("fir", "fir_kernel", "skip_rescale", "scale_by_sigma", "centred")
    given = read_published(tmp_path / "checkpoint_7.pth", config={key: getattr(config, key) for key in unsaid})
    assert given.config == config == NCSNppConfig.from_dict(json.loads(json.dumps(config.to_dict())))
    x, sigma = draw((2, config.image_channels, 8, 12)), torch.tensor([0.02, 30.0])
    assert torch.equal(given.network(x, sigma), network(x, sigma))
    assert network(x, sigma).shape == x.shape and network(x, sigma).std() > 1e-3
    for other in (NCSNppConfig(), SMALL_NCSNPP):
        assert given.config != other


def test_a_stored_shape_is_flat_and_in_the_published_words():
    """Files of earlier versions, and configurations of score_sde, are read by these words."""
    pyramids = {"progressive_input": "input_skip", "progressive_combine": "cat", "progressive": "residual"}
    stored = {**pyramids, "sigma_min": 0.02, "sigma_max": 50.0, "scales": 11}
    config = NCSNppConfig(pyramids=Pyramids("input_skip", "cat", "residual"), levels=NoiseTable(0.02, 50.0, 11))
    assert NCSNppConfig.from_dict(stored) == config
    written = config.to_dict()
    assert stored.items() <= written.items() and not any(isinstance(value, dict) for value in written.values())


class Sequential:
    """NCSN++ once more, written independently: weights read by number in order of use, no modules, no levels kept."""

    def __init__(self, config, state):
        self.c, self.state, self.number = config, state, 0

    def next(self):
        self.number += 1
        prefix = f"all_modules.{self.number - 1}."
        return {name.removeprefix(prefix): value for name, value in self.state.items() if name.startswith(prefix)}

    def norm(self, h, w, name="GroupNorm_0."):
        return F.group_norm(h, min(h.shape[1] // 4, 32), w[name + "weight"], w[name + "bias"], eps=1e-6)

    def add(self, a, b):
        return (a + b) / math.sqrt(2) if self.c.skip_rescale else a + b

    def resize(self, h, way):
        if self.c.fir:
            return (fir_down if way == "down" else fir_up)(h, self.c.fir_kernel)
        return (
            F.interpolate(h, scale_factor=0.5, mode="area")
            if way == "down"
            else h.repeat_interleave(2, 2).mT.repeat_interleave(2, 2).mT
        )

    def block(self, h, label, way=""):
        w = self.next()
        x, h = h, F.silu(self.norm(h, w))
        if way:
            x, h = self.resize(x, way), self.resize(h, way)
        h = F.conv2d(h, w["Conv_0.weight"], w["Conv_0.bias"], padding=1)
        h = h + F.linear(F.silu(label), w["Dense_0.weight"], w["Dense_0.bias"])[..., None, None]
        h = F.conv2d(F.silu(self.norm(h, w, "GroupNorm_1.")), w["Conv_1.weight"], w["Conv_1.bias"], padding=1)
        return self.add(F.conv2d(x, w["Conv_2.weight"], w["Conv_2.bias"]) if "Conv_2.weight" in w else x, h)

    def attention(self, x):
        w = self.next()
        h = self.norm(x, w)
        q, k, v = (torch.einsum("bchw,cd->bhwd", h, w[f"NIN_{i}.W"]) + w[f"NIN_{i}.b"] for i in range(3))
        weights = torch.einsum("bhwc,bijc->bhwij", q, k).flatten(3) / math.sqrt(x.shape[1])
        h = torch.einsum("bhwn,bnc->bhwc", weights.softmax(-1), v.flatten(1, 2))
        return self.add(x, (h @ w["NIN_3.W"] + w["NIN_3.b"]).permute(0, 3, 1, 2))

    def pyramid(self, h, way):
        w = self.next()
        if "Conv2d_0.weight" in w:
            layer = FIRConv2d(h.shape[1], len(w["Conv2d_0.bias"]), self.c.fir_kernel, way)
            layer.load_state_dict({"weight": w["Conv2d_0.weight"], "bias": w["Conv2d_0.bias"]})
            return layer(h)
        if way == "down":
            return F.conv2d(F.pad(h, (0, 1, 0, 1)), w["Conv_0.weight"], w["Conv_0.bias"], stride=2)
        return F.conv2d(self.resize(h, "up"), w["Conv_0.weight"], w["Conv_0.bias"], padding=1)

    def out(self, h):
        h = F.silu(self.norm(h, self.next(), ""))
        w = self.next()
        return F.conv2d(h, w["weight"], w["bias"], padding=1)

    def label(self, sigma):
        c = self.c
        if c.embedding == "fourier":
            phase = 2 * math.pi * sigma.log()[:, None] * self.next()["W"]
        else:
            table = np.geomspace(c.levels.sigma_max, c.levels.sigma_min, c.levels.scales)
            index = torch.tensor([np.abs(np.log(table / float(s))).argmin() for s in sigma])
            half = c.channels // 2
            phase = index[:, None] / 10000 ** (torch.arange(half) / (half - 1))
        first, second = self.next(), self.next()
        h = F.linear(torch.cat((phase.sin(), phase.cos()), 1), first["weight"], first["bias"])
        return F.linear(F.silu(h), second["weight"], second["bias"])

    @torch.no_grad()
    def __call__(self, x, sigma):
        c, last = self.c, len(self.c.multipliers) - 1
        label = self.label(sigma)
        picture = x if c.centred else 2 * x - 1
        w = self.next()
        stack = [F.conv2d(picture, w["weight"], w["bias"], padding=1)]
        for level in range(last + 1):
            for _ in range(c.blocks):
                h = self.block(stack[-1], label)
                stack.append(self.attention(h) if level in c.attention else h)
            if level < last:
                h = self.block(stack[-1], label, "down")
                if c.pyramids.input == "residual":
                    h = picture = self.add(self.pyramid(picture, "down"), h)
                elif c.pyramids.input == "input_skip":
                    self.next()  # the module that halves has a number, and no weights
                    picture, w = self.resize(picture, "down"), self.next()
                    lifted = F.conv2d(picture, w["Conv.weight"], w["Conv.bias"])
                    h = lifted + h if c.pyramids.combine == "sum" else torch.cat((lifted, h), 1)
                stack.append(h)
        h = self.block(self.attention(self.block(stack[-1], label)), label)
        output = h
        for level in range(last, -1, -1):
            for _ in range(c.blocks + 1):
                h = self.block(torch.cat((h, stack.pop()), 1), label)
            h = self.attention(h) if level in c.attention else h
            if c.pyramids.output == "output_skip":
                if level < last:
                    self.next()
                    output = self.resize(output, "up")
                output = self.out(h) + (output if level < last else 0)
            elif c.pyramids.output == "residual":
                output = self.out(h) if level == last else self.add(self.pyramid(output, "up"), h)
                h = h if level == last else output
            h = self.block(h, label, "up") if level else h
        h = output if c.pyramids.output == "output_skip" else self.out(h)
        return h / sigma[:, None, None, None] if c.scale_by_sigma else h


@pytest.mark.parametrize("name", NCSNPP_CONFIGS)
def test_ncsnpp_computes_in_the_published_order(name):
    config = NCSNPP_CONFIGS[name]
    network = filled(NCSNpp(config))
    x, sigma = draw((2, config.image_channels, 8, 12)), network.sigmas[[2, -3]]
    assert relative(network(x, sigma), Sequential(config, network.state_dict())(x, sigma)) <= 2e-5


GUIDED_CONFIGS = {
    "classes": GuidedUNetConfig(
        image_channels=3, channels=32, multipliers=(1, 2), attention=(1,), head_channels=16, classes=4
    ),
    "heads": GuidedUNetConfig(
        channels=32,
        multipliers=(2, 1, 1),
        blocks=2,
        attention=(0, 2),
        head_channels=None,
        heads=2,
        heads_up=1,
        new_attention_order=True,
        scale_shift=False,
        resampling="conv",
        learn_sigma=False,
    ),
    "fractions": GuidedUNetConfig(
        channels=64, multipliers=(0.5, 1.5), attention=(), head_channels=32, resampling="pool"
    ),
    "one level": GuidedUNetConfig(channels=32, multipliers=(1,), blocks=2, attention=(0,), head_channels=8),
    "conv, attention": GuidedUNetConfig(
        channels=32, multipliers=(1, 1), blocks=1, attention=(0, 1), head_channels=32, resampling="conv"
    ),
}


@pytest.mark.parametrize(
    ("name", "wrap"),
    [(name, "plain") for name in GUIDED_CONFIGS] + [("heads", wrap) for wrap in ("wrapped", "safetensors", "half")],
)
def test_guided_files_tell_their_shape(name, wrap, tmp_path):
    config = GUIDED_CONFIGS[name]
    network = filled(GuidedUNet(config))
    path = tmp_path / "model.pt"
    state = network.state_dict()
    if wrap == "safetensors":
        save_file(state, path)
    elif wrap == "half":
        torch.save({key: value.half() for key, value in state.items()}, path)
        network.load_state_dict({key: value.half().float() for key, value in state.items()})
    else:
        torch.save(
            state if wrap == "plain" else {"step": 3, "ema": {f"module.model.{k}": v for k, v in state.items()}}, path
        )
    heads = ("heads", "heads_up", "head_channels", "new_attention_order")
    given = read_published(path, config={key: getattr(config, key) for key in heads})
    if config.head_channels is None:
        assert given.config == config
    else:  # then the number of heads means nothing
        assert isinstance(given.config, GuidedUNetConfig)
        assert given.config == GuidedUNetConfig.from_dict({**config.to_dict(), "heads": given.config.heads})
    x, t = draw((2, config.image_channels, 8, 12)), torch.tensor([3.25, 700.0])
    y = (torch.tensor([0, 3]),) if config.classes else ()
    assert torch.equal(given.network(x, t, *y), network(x, t, *y))
    assert next(given.network.parameters()).dtype == torch.float32
    assert network(x, t, *y).shape[1] == config.image_channels * (1 + config.learn_sigma)


@pytest.mark.parametrize("family", ["ncsnpp", "guided-diffusion"])
def test_a_copy_computes_with_its_own_weights(family):
    """NCSN++ keeps its modules twice, once as published and once by level: both must follow into a copy."""
    network = filled(NETWORKS[family][1](SMALL_NCSNPP if family == "ncsnpp" else SMALL_GUIDED))
    x, level = draw((1, 1, 8, 8)), torch.tensor([0.5])
    before = network(x, level)
    twin = pickle.loads(pickle.dumps(copy.deepcopy(network)))
    assert torch.equal(twin(x, level), before)
    for parameter in twin.parameters():
        parameter.zero_()
    assert not twin(x, level).any() and torch.equal(network(x, level), before)


def test_sides_that_cannot_be_halved_and_missing_classes_are_refused():
    with pytest.raises(CosliceError, match="multiples of 2"):
        NCSNpp(SMALL_NCSNPP)(torch.zeros(1, 1, 7, 8), torch.ones(1))
    with pytest.raises(CosliceError, match="multiples of 2"):
        GuidedUNet(SMALL_GUIDED)(torch.zeros(1, 1, 8, 9), torch.ones(1))
    with pytest.raises(CosliceError, match="one of 0 to 3"):
        GuidedUNet(GUIDED_CONFIGS["classes"])(torch.zeros(1, 3, 8, 8), torch.ones(1))
