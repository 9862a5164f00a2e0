"""Priors of other libraries: the denoiser is the one that their own schedulers and formulas make of the network."""

import json
import os
import pickle
import subprocess
import sys
import time
from functools import partial
from itertools import pairwise, product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

import small_problems as small
from coslice import CosliceError, load_prior, plan, run
from coslice.benchmark.cell_keys import _files_of_prior
from coslice.identities import prior_digest
from coslice.noise import Independent, Key
from coslice.priors import (
    from_deepinv,
    from_diffusers,
    from_monai,
    import_prior,
    prior_from,
    read_card,
    save_prior,
)
from coslice.priors.denoisers import Betas, VPDenoiser
from coslice.priors.step_tables import (
    StepTable,
    TrainedSteps,
    steps_of_diffusers,
    steps_of_monai,
    steps_of_scheduler,
    usual,
)
from elsewhere import library

PREDICTIONS = ("epsilon", "sample", "v_prediction")
SCHEDULES: tuple[dict[str, Any], ...] = (
    {"beta_schedule": "linear"},
    {"beta_schedule": "scaled_linear", "beta_start": 0.00085, "beta_end": 0.012},
    {"beta_schedule": "squaredcos_cap_v2"},
    {"beta_schedule": "sigmoid", "num_train_timesteps": 300},
    {"trained_betas": [0.001 * (1 + i) for i in range(40)]},
    {"beta_schedule": "linear", "rescale_betas_zero_snr": True},
    {"beta_schedule": "scaled_linear", "rescale_betas_zero_snr": True},
)
SIZES = {"in_channels": 1, "out_channels": 1}


@pytest.fixture
def diffusers():
    return library("diffusers")


@pytest.fixture
def monai():
    """The module of its schedulers."""
    return library("monai.networks.schedulers")


def tiny_unet(seed=0, **changes) -> Any:
    torch.manual_seed(seed)
    shape = {
        **SIZES,
        "sample_size": 16,
        "layers_per_block": 1,
        "block_out_channels": (8, 16),
        "norm_num_groups": 4,
        "attention_head_dim": 4,
        "down_block_types": ("DownBlock2D", "AttnDownBlock2D"),
        "up_block_types": ("AttnUpBlock2D", "UpBlock2D"),
    }
    return library("diffusers").UNet2DModel(**{**shape, **changes}).eval()


BUNDLE: dict[str, Any] = {
    "imports": ["$import torch"],
    "device": "$torch.device('cpu')",
    "width": 8,
    "steps": {"count": 50},
    "network_def": {
        "_target_": "monai.networks.nets.DiffusionModelUNet",
        "spatial_dims": 2,
        **SIZES,
        "channels": ["@width", 16],
        "attention_levels": [False, True],
        "num_res_blocks": 1,
        "num_head_channels": 8,
        "norm_num_groups": 4,
    },
    "network": "$@network_def.to(@device)",
    "scheduler": {
        "_target_": "monai.networks.schedulers.DDPMScheduler",
        "num_train_timesteps": "@steps::count",
        "schedule": "scaled_linear_beta",
        "prediction_type": "v_prediction",
        "clip_sample": False,
    },
}


def monai_unet(seed=0) -> Any:
    torch.manual_seed(seed)
    arguments = {k: v for k, v in BUNDLE["network_def"].items() if k != "_target_"} | {"channels": (8, 16)}
    network = library("monai.networks.nets").DiffusionModelUNet(**arguments).eval()
    for parameter in network.parameters():  # its last convolution begins at 0, which would say nothing
        nn.init.normal_(parameter, std=0.2)
    return network


def bundle(folder: Path, tree=BUNDLE, network=None, weights="models/model.pt") -> Path:
    for name in ("configs", "models"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    (folder / "configs" / "inference.json").write_text(json.dumps(tree))
    torch.save((network or monai_unet()).state_dict(), folder / weights)
    return folder


def images_of(plane: str, window: str) -> Any:
    return {"plane": plane, "window": window}


def images(count=2, rows=16, columns=16, seed=1):
    return torch.rand(count, 1, rows, columns, generator=torch.Generator().manual_seed(seed))


# what schedulers say


@pytest.mark.parametrize("schedule", SCHEDULES, ids=lambda one: "-".join(map(str, one.values()))[:30])
def test_a_schedulers_file_gives_the_steps_of_the_scheduler(diffusers, schedule, tmp_path):
    scheduler = diffusers.DDPMScheduler(prediction_type="sample", **schedule)
    scheduler.save_config(tmp_path)
    found = steps_of_diffusers(json.loads((tmp_path / "scheduler_config.json").read_text()), "s")
    own = scheduler.alphas_cumprod.double()
    own = own[own > 1e-11]  # the last of a rescaled table leaves nothing of the image
    assert found.prediction == "sample" and not found.notes
    assert len(found.table.table) == len(own) >= len(scheduler.alphas_cumprod) - 1
    torch.testing.assert_close(found.table.alpha_bar(), own, rtol=3e-4, atol=1e-9)  # theirs are rounded to 24 bits


@pytest.mark.parametrize("schedule", ["linear_beta", "scaled_linear_beta", "sigmoid_beta", "cosine"])
def test_a_bundles_scheduler_gives_the_steps_of_monais(monai, schedule):
    own = monai.DDIMScheduler(num_train_timesteps=200, schedule=schedule).alphas_cumprod.double()
    found = steps_of_monai({"num_train_timesteps": 200, "schedule": schedule}, "s")
    torch.testing.assert_close(found.table.alpha_bar(), own[own > 1e-11], rtol=3e-4, atol=1e-9)


def test_what_a_scheduler_does_not_say_is_said():
    torch.testing.assert_close(usual().table.alpha_bar(), Betas().alpha_bar(), rtol=1e-12, atol=0)
    assert usual().prediction == "epsilon" and "1000 linear betas" in usual().notes[0]
    found = steps_of_diffusers({"_class_name": "DDPMScheduler", "beta_start": 0.001}, "s")
    assert found.table == StepTable.of_betas(np.linspace(0.001, 0.02, 1000).tolist())
    assert found.notes == (
        "The scheduler does not say beta_schedule linear, num_train_timesteps 1000, beta_end 0.02, prediction_type "
        "epsilon, which was assumed.",
    )


# D(x, sigma) in closed form


class GaussianNetwork(nn.Module):
    """What a perfect network says of pixels N(mean, spread^2) of its own range: posterior means, in doubles."""

    def __init__(self, table, prediction, mean, spread):
        super().__init__()
        self.table, self.prediction, self.mean, self.spread = np.asarray(table), prediction, mean, spread

    def forward(self, v_t, t, return_dict=True):
        logs = 0.5 * np.log((1 - self.table) / self.table)
        sigma = np.exp(np.interp(t.double().numpy(), np.arange(len(logs)), logs))
        a = torch.from_numpy(1 / np.sqrt(1 + sigma**2))[:, None, None, None]
        b = torch.from_numpy(sigma / np.sqrt(1 + sigma**2))[:, None, None, None]
        apart = (v_t.double() - a * self.mean) / (a**2 * self.spread**2 + b**2)
        v, n = self.mean + a * self.spread**2 * apart, b * apart
        said = {"epsilon": n, "sample": v, "v_prediction": a * n - b * v}[self.prediction].to(v_t.dtype)
        assert not return_dict
        return (said,)


@pytest.mark.parametrize(("prediction", "schedule"), product(PREDICTIONS, SCHEDULES), ids=lambda one: "")
def test_a_perfect_network_gives_the_posterior_mean_at_every_level(diffusers, prediction, schedule):
    """x0 ~ N(m, s^2), x = x0 + sigma n: E[x0 | x] = m + s^2/(s^2 + sigma^2) (x - m)."""
    m, s, low, width = 0.3, 0.2, -1.0, 2.0
    scheduler = diffusers.DDPMScheduler(prediction_type=prediction, **schedule)
    table = [one for one in scheduler.alphas_cumprod.double().tolist() if one > 1e-11]
    network = GaussianNetwork(table, prediction, low + width * m, width * s).eval()
    prior = from_diffusers(network, scheduler, window="ct", input_range=(low, low + width))
    lowest, highest = prior.sigma_range
    for sigma in np.geomspace(lowest, min(highest, 200.0), 23):
        x = m + np.sqrt(s**2 + sigma**2) * torch.randn(2, 1, 5, 6, generator=torch.Generator().manual_seed(2))
        expected = m + s**2 / (s**2 + sigma**2) * (x - m)
        torch.testing.assert_close(prior(x, float(sigma)), expected, rtol=0, atol=3e-6 * max(1.0, sigma))


# the same as the library's own step


@pytest.mark.parametrize("prediction", PREDICTIONS)
def test_a_saved_pipeline_predicts_what_its_scheduler_does(diffusers, prediction, tmp_path):
    unet = tiny_unet()
    scheduler = diffusers.DDIMScheduler(
        prediction_type=prediction, clip_sample=False, beta_schedule="squaredcos_cap_v2"
    )
    diffusers.DDIMPipeline(unet, scheduler).save_pretrained(tmp_path / "chest-ct-axial")
    prior = load_prior(f"diffusers:{tmp_path / 'chest-ct-axial'}")  # the name says the plane and the window
    assert (prior.plane, prior.window, prior.stride, prior.products) == ("yx", "ct", 2, "float32")
    steppers = scheduler, diffusers.DDPMScheduler.from_config(scheduler.config)
    for stepper in steppers:
        stepper.set_timesteps(1000)
    x0, n = images(), torch.randn(2, 1, 16, 16, generator=torch.Generator().manual_seed(3))
    for t in (0, 1, 17, 500, 900):
        v_t = scheduler.add_noise(2 * x0 - 1, n, torch.tensor([t, t]))
        alpha_bar = float(scheduler.alphas_cumprod[t])
        with torch.no_grad():
            said = unet(v_t, t).sample
        denoised = prior((v_t / alpha_bar**0.5 + 1) / 2, ((1 - alpha_bar) / alpha_bar) ** 0.5 / 2)
        for stepper in steppers:
            expected = stepper.step(said, t, v_t).pred_original_sample
            scale = max(1.0, float(expected.abs().max()))
            torch.testing.assert_close(2 * denoised - 1, expected, rtol=0, atol=2e-4 * scale)


def test_monais_bundle_and_network_predict_what_its_scheduler_does(monai, tmp_path):
    network = monai_unet()
    scheduler = monai.DDPMScheduler(50, "scaled_linear_beta", prediction_type="v_prediction", clip_sample=False)
    stored = load_prior(f"monai:{bundle(tmp_path, network=network)}", plane="zx", window="mr", input_range=(0, 1))
    live = from_monai(network, scheduler, plane="zx", window="mr", input_range=(0, 1))
    assert stored.stride == live.stride == 2
    x0, n = images(), torch.randn(2, 1, 16, 16, generator=torch.Generator().manual_seed(3))
    for t in (0, 1, 20, 49):
        v_t = scheduler.add_noise(x0, n, torch.tensor([t, t]))
        alpha_bar = float(scheduler.alphas_cumprod[t])
        with torch.no_grad():
            expected = scheduler.step(network(v_t, torch.tensor([t, t])), t, v_t)[1]
        for prior in (stored, live):
            denoised = prior(v_t / alpha_bar**0.5, ((1 - alpha_bar) / alpha_bar) ** 0.5)
            torch.testing.assert_close(denoised, expected, rtol=1e-4, atol=1e-5)


def test_a_network_at_hand_a_folder_and_an_imported_file_are_one_prior(diffusers, tmp_path):
    pipeline = diffusers.DDPMPipeline(
        tiny_unet(), diffusers.DDPMScheduler(prediction_type="v_prediction", rescale_betas_zero_snr=True)
    )
    pipeline.save_pretrained(tmp_path / "chest")
    name, said = f"diffusers:{tmp_path / 'chest'}", images_of("zx", "-160:240")
    stored = load_prior(name, **said, input_range=(-1, 1))
    imported = import_prior(name, **said, licence="of a test")
    save_prior(tmp_path / "own.safetensors", imported)
    own, live = load_prior(tmp_path / "own.safetensors"), from_diffusers(pipeline, **said)
    assert (own.plane, own.window, own.card["licence"], own.stride) == ("zx", "-160:240", "of a test", 2)
    assert "usual in diffusers" in own.card["notes"][0]
    x = images(3)
    for sigma in (0.006, 0.3, 40.0, 5000.0):
        first = stored(x, sigma)
        assert own(x, sigma).equal(first)
        # its table is rounded to 24 bits, which its last steps feel
        torch.testing.assert_close(live(x, sigma), first, rtol=1e-3, atol=1e-3 * max(1.0, sigma))
    assert own.sigma_range == stored.sigma_range and live.sigma_range == pytest.approx(own.sigma_range, rel=0.02)
    save_prior(tmp_path / "live.safetensors", live)  # what was at hand is a file too
    torch.testing.assert_close(load_prior(tmp_path / "live.safetensors")(x, 0.3), live(x, 0.3))
    with pytest.raises(CosliceError, match=r"no file can describe|is needed"):
        save_prior(tmp_path / "none.safetensors", prior_from(lambda v, s: v, sigma=(0.1, 1), window="ct"))


def test_sides_that_the_network_cannot_take_are_reflected_beyond(diffusers):
    prior = from_diffusers(tiny_unet(), diffusers.DDPMScheduler(), window="ct")
    odd = images(2, 13, 18)
    wide = F.pad(odd, (0, 0, 0, 1), mode="reflect")
    torch.testing.assert_close(prior(odd, 0.2), prior(wide, 0.2)[..., :13, :], rtol=0, atol=1e-6)


def test_a_network_that_names_variances_too_is_heard_for_its_noise(diffusers):
    both = tiny_unet(out_channels=2)
    prior = from_diffusers(both, diffusers.DDPMScheduler(), window="ct")
    x, sigma = images(1), 0.2
    denoiser: Any = prior.denoiser
    step = denoiser.step(torch.tensor([sigma]))
    with torch.no_grad():
        said = both((2 * x - 1) / (1 + 4 * sigma**2) ** 0.5, step).sample
    torch.testing.assert_close(prior(x, sigma), x - sigma * said[:, :1])


def test_training_learns_what_the_network_names():
    """The loss of a network is 0 where it names noise, image or velocity exactly, and 1 where it is wrong by 1."""
    table, low, width = TrainedSteps(StepTable.of_betas(np.linspace(1e-4, 0.02, 100).tolist())).table, -1.0, 2.0
    x0, n = images(1), torch.randn(1, 1, 16, 16, generator=torch.Generator().manual_seed(3))
    a = float(table.alpha_bar()[60]) ** 0.5
    b, v = (1 - a**2) ** 0.5, low + width * x0
    for prediction, named in (("epsilon", n), ("sample", v), ("v_prediction", a * n - b * v)):
        for wrong in (0.0, 1.0):
            network = nn.Module()
            network.forward = lambda v_t, t, named=named, wrong=wrong: named + wrong  # pyright: ignore
            denoiser = VPDenoiser(network, table, False, 0, (low, low + width), prediction)
            loss = denoiser.loss(x0, torch.tensor([b / a / width]), n)
            torch.testing.assert_close(loss, torch.tensor([wrong]), rtol=1e-4, atol=1e-5)


# functions and denoisers


def shrunk(v, sigma):
    """The posterior mean of N(0, 1) in the range of the function."""
    return v / (1 + sigma**2)


def test_a_function_sees_its_own_range_and_the_noise_of_it():
    """With v = 4 x - 1 the prior is of x0 ~ N(1/4, 1/16)."""
    prior = prior_from(shrunk, sigma=(0.01, 9), window="mr", plane="zx", input_range=(-1, 3), multiple=4)
    x = images(3, 10, 7)
    for sigma in (0.01, 0.5, 9.0):
        expected = 0.25 + (x - 0.25) / (1 + 16 * sigma**2)
        torch.testing.assert_close(prior(x, sigma), expected)
        torch.testing.assert_close(prior(x[:, 0].permute(1, 0, 2).contiguous(), sigma)[:, 1], expected[1, 0])
    levels = torch.tensor([0.1, 0.7, 2.0])
    each = torch.cat([prior(x[i : i + 1], float(levels[i])) for i in range(3)])
    torch.testing.assert_close(prior.denoiser(x, levels), each)


def test_a_run_with_deepinvs_denoiser_is_the_loop_with_it():
    """Algorithm 1 by hand, with the network called directly, slice by slice."""
    torch.manual_seed(0)
    network = library("deepinv").models.DnCNN(in_channels=1, out_channels=1, depth=3, nf=4, pretrained=None).eval()
    plain = {"noise": {"kind": "independent"}, "renoising": {"temperature": 1.0}, "data": {"rounds": 0}}
    problem, method = small.zsr(), small.quick("dds", "zsr", **plain)
    prior = from_deepinv(network, sigma=(0.01, 0.4), window="mr")
    steps = []
    found = run(problem, method, prior, seed=5, watch=steps.append).reconstruction
    sigmas, fidelity, x = method.schedule.sigmas(), method.data.build(problem, "z"), problem.initial().clone()
    Independent().add_to_stack(x, sigmas[0], Key(5, 0, "start"), 0, len(x))
    for step, (sigma, following) in enumerate(pairwise(sigmas)):
        with torch.no_grad():
            denoised = torch.stack([network(one[None, None], sigma)[0, 0] for one in x])
        x = fidelity(denoised, sigma).clone(memory_format=torch.contiguous_format)
        if following:
            Independent().add_to_stack(x, following, Key(5, step), 0, len(x))
        torch.testing.assert_close(steps[step].denoised, denoised, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(steps[-1].x, x, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(found, problem.clamped(x), rtol=1e-4, atol=1e-5)


def test_levels_that_a_denoiser_is_not_good_for_are_refused_when_a_run_is_planned():
    prior = prior_from(shrunk, sigma=(0.01, 0.2), window="ct")
    with pytest.raises(CosliceError) as refused:
        plan(small.ct(), small.quick("dds", "ct"), prior)
    assert str(refused.value) == (
        "prior shrunk: sigma 0.3 was asked for, but it was trained for 0.01 to 0.2; choose the schedule within that "
        "range: schedule.sigma_max and schedule.sigma_min."
    )
    plan(small.ct(), small.quick("dds", "ct", schedule={"sigma_max": 0.2}), prior)


def test_a_function_without_gradients_is_refused_where_they_are_needed():
    def blind(v, sigma):
        return torch.from_numpy(v.detach().numpy() / (1 + sigma**2))

    prior = prior_from(blind, sigma=(0.01, 9), window="ct")
    x = torch.rand(3, 8, 8)
    with pytest.raises(CosliceError, match="function gives no gradients, but the method asks for them"):
        prior.pull_back(x, 0.5, x)
    told = prior_from(shrunk, sigma=(0.01, 9), window="ct").pull_back(x, 0.5, torch.ones_like(x))
    torch.testing.assert_close(told, torch.full_like(x, 1 / 1.25))


def test_one_at_a_time_means_one_at_a_time():
    """Threads take slices side by side; a function that must not be shared is never entered twice."""
    inside, most = [], []

    def counting(v, sigma):
        inside.append(1)
        most.append(len(inside))
        time.sleep(0.002)
        inside.pop()
        return v

    prior = prior_from(counting, sigma=(0.01, 9), window="ct", one_at_a_time=True)
    before = torch.get_num_threads()
    torch.set_num_threads(4)
    try:
        prior(torch.rand(12, 8, 8), 0.5)
    finally:
        torch.set_num_threads(before)
    assert len(most) == 12 and set(most) == {1}


def test_a_function_may_answer_in_the_same_memory_again():
    memory = torch.empty(1, 1, 8, 8)

    def lazy(v, sigma):
        return torch.mul(v, 0.5, out=memory)

    prior = prior_from(lazy, sigma=(0.01, 9), window="ct", one_at_a_time=True)
    x = torch.rand(2, 1, 8, 8)
    torch.testing.assert_close(prior.denoiser(x, torch.tensor([0.5, 0.6])), x / 2)


def test_a_function_is_told_by_what_its_arguments_are_when_left_out():
    def scaled(by: Any):
        def denoise(v, sigma, factor=by):
            return v * float(factor)

        return prior_digest(prior_from(denoise, sigma=(0.1, 1), window="ct"))

    assert scaled(2.0) == scaled(2.0) != scaled(3.0)
    assert scaled(torch.tensor(2.0)) != scaled(torch.tensor(2.0)), "what cannot be written down is not known"


def test_a_prior_is_told_by_weights_shape_steps_and_words(diffusers):
    def digest(unet, scheduler=None, **said):
        return prior_digest(from_diffusers(unet, scheduler or diffusers.DDPMScheduler(), **{"window": "ct", **said}))

    own = digest(tiny_unet())
    assert own == digest(tiny_unet())
    others = [
        digest(tiny_unet(1)),
        digest(tiny_unet(act_fn="gelu")),  # what no weight tells
        digest(tiny_unet(), diffusers.DDPMScheduler(prediction_type="sample")),
        digest(tiny_unet(), diffusers.DDPMScheduler(beta_schedule="scaled_linear")),
        digest(tiny_unet(), input_range=(0, 2)),
        digest(tiny_unet(), window="mr"),
    ]
    assert len({own, *others}) == 7

    def of(function, **said):
        return prior_digest(prior_from(function, sigma=(0.1, 1), window="ct", **said))

    linear = nn.Linear(2, 2).eval()
    assert of(shrunk) == of(shrunk) != of(linear) == of(linear)
    with torch.no_grad():
        changed = nn.Linear(2, 2).eval()
    assert of(linear) != of(changed)
    # a function with hidden values cannot be told, unless its maker says what it is
    assert of(partial(shrunk)) != of(partial(shrunk))
    assert of(partial(shrunk), identity="v1") == of(partial(shrunk), identity="v1") != of(shrunk)
    assert of(partial(shrunk), identity="v1") != of(partial(shrunk), identity="v2")


# refusals


def folder_of(tmp_path, config=None, index=None, scheduler=None, weights=None) -> str:
    tmp_path.mkdir(exist_ok=True)
    for name, content in (("model_index", index), ("config", config), ("scheduler_config", scheduler)):
        if content is not None:
            (tmp_path / f"{name}.json").write_text(json.dumps(content))
    if weights is not None:
        (tmp_path / weights).write_bytes(b"")
    return f"diffusers:{tmp_path}"


UNET = {"_class_name": "UNet2DModel", **SIZES, "block_out_channels": [8, 16], "norm_num_groups": 4}
UNET |= {"down_block_types": ["DownBlock2D"] * 2, "up_block_types": ["UpBlock2D"] * 2}
WEIGHTS = "diffusion_pytorch_model.safetensors"


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        (
            {},
            "prior: {} has neither config.json nor unet/config.json, so it is no network that save_pretrained of "
            "diffusers wrote; give the folder with these files.",
        ),
        (
            {"config": UNET},
            f"prior: {{}} has no {WEIGHTS}, but its weights in one file are needed; save it anew, as in "
            "unet.save_pretrained(FOLDER).",
        ),
        (
            {"config": UNET, "weights": "diffusion_pytorch_model.safetensors.index.json"},
            "prior: {} has its weights in several files, but its weights in one file are needed; save it anew, as in "
            "unet.save_pretrained(FOLDER).",
        ),
        (
            {"config": {"_class_name": "UNet2DConditionModel"}},
            "prior: {} is a UNet2DConditionModel, which waits for a condition with every image, but a UNet2DModel, of "
            "images alone, is needed.",
        ),
        (
            {"config": {"_class_name": "VQModel"}},
            "prior: {} is a 'VQModel', but a UNet2DModel of diffusers is needed.",
        ),
        (
            {"index": {"_class_name": "LDMPipeline", "vqvae": ["diffusers", "VQModel"]}},
            "prior: {} is a LDMPipeline with a vqvae: its network denoises codes of images and not images, but a "
            "diffusion model of pixels is needed.",
        ),
        (
            {"index": {"_class_name": "X", "vae": [None, None], "text_encoder": ["transformers", "T"]}},
            "prior: {} is a X with a text_encoder: its network waits for a condition, but one of images alone is "
            "needed.",
        ),
        (
            {"config": UNET | {"num_class_embeds": 10}, "weights": WEIGHTS},
            "{}: config.json: it waits for a class with every image, but a network of images alone is needed.",
        ),
        (
            {"config": UNET | {"in_channels": 2}, "weights": WEIGHTS},
            "{}: config.json: it makes 1 channels of 2, but as many or twice as many are needed; a network that sees "
            "more than the noisy image is none of an image alone.",
        ),
        (
            {"config": UNET | {"layers_per_block": 10**9}, "weights": WEIGHTS},
            "{}: config.json: blocks 1000000000 was given, but it must be from 1 to 1024; give the shape that the "
            "network was trained with.",
        ),
        (
            {"config": UNET | {"shell": "rm"}, "weights": WEIGHTS},
            "{}: config.json: shell is 'rm', which is not known of a UNet2DModel.",
        ),
        (
            {"config": UNET, "weights": WEIGHTS, "scheduler": {"_class_name": "FlowMatchEulerDiscreteScheduler"}},
            "{}: scheduler_config.json: the scheduler 'FlowMatchEulerDiscreteScheduler' is not known; known are those "
            "with a table of betas, such as DDPMScheduler and DDIMScheduler.",
        ),
        (
            {"config": UNET, "weights": WEIGHTS, "scheduler": {"_class_name": "DDPMScheduler", "beta_schedule": "exp"}},
            "{}: scheduler_config.json: beta_schedule is 'exp', but linear or scaled_linear or squaredcos_cap_v2 or "
            "sigmoid is needed; correct it.",
        ),
    ],
    ids=lambda one: "",
)
def test_folders_that_are_no_prior_are_refused_in_a_sentence(given, sentence, tmp_path, refused):
    name = folder_of(tmp_path / "model", **given)
    expected = sentence.format(name)
    with pytest.raises(CosliceError) as raised:
        load_prior(name, plane="yx", window="ct")
    assert str(raised.value) == expected
    assert refused("priors", "show", name) == f"coslice: {expected}"


def test_what_was_shown_is_asked_for_on_the_command_line_and_then_imported(diffusers, tmp_path, refused, coslice):
    tiny_unet().save_pretrained(tmp_path / "model")
    name, out = f"diffusers:{tmp_path / 'model'}", tmp_path / "own.safetensors"
    assert refused("priors", "import", name, "--out", out) == (
        f"coslice: {name}: neither its name nor a coslice.json in it says which plane its images were of (yx axial, zx "
        "coronal, zy sagittal), nor which intensities were 0 and 1 (ct, mr or LOW:HIGH); state it, as in: coslice "
        f"priors import {name} --plane yx --window ct."
    )
    code, said, _ = coslice("priors", "import", name, "--plane", "yx", "--window", "ct", "--out", out)
    assert code == 0 and "No scheduler lies beside the network" in " ".join(said.split())
    prior = load_prior(out)
    assert prior.sigma_range == pytest.approx(Betas().sigmas((-1, 1))[[0, -1]].tolist())
    # or a file of the user's in the folder says it once
    (tmp_path / "model" / "coslice.json").write_text(json.dumps({"plane": "yx", "window": "ct", "range": "-1:1"}))
    x = images(1)
    assert load_prior(name)(x, 0.3).equal(prior(x, 0.3))
    assert read_card(name)["network"] == "DiffusersUNet"
    named = [path.name for path in _files_of_prior(name)]  # what a finished cell of a benchmark depends on
    assert named == [WEIGHTS, "config.json", "coslice.json"]


class Stranger:
    """A pickle that leaves a file where it is run."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (str(self.path), "w")


def test_nothing_of_a_folder_is_run(diffusers, tmp_path):
    trace = tmp_path / "trace"
    name = folder_of(tmp_path / "model", config=UNET)
    (tmp_path / "model" / "diffusion_pytorch_model.bin").write_bytes(pickle.dumps({"a": Stranger(trace)}))
    with pytest.raises(CosliceError, match="so it was refused and nothing of it was run"):
        load_prior(name, plane="yx", window="ct")
    tree = json.loads(json.dumps(BUNDLE))
    tree["network_def"]["channels"] = f"$open('{trace}', 'w')"
    with pytest.raises(CosliceError) as raised:
        load_prior(f"monai:{bundle(tmp_path / 'bundle', tree)}", plane="yx", window="ct", input_range=(0, 1))
    assert "network_def.channels is " in str(raised.value)
    assert "which asks to run code, so it was refused and nothing of it was run" in str(raised.value)
    tree["network_def"] = {"_target_": "os.system", "command": f"touch {trace}"}
    with pytest.raises(CosliceError, match=r"it defines 0 \(it has os.system, monai.networks.schedulers.DDPMSch"):
        load_prior(f"monai:{bundle(tmp_path / 'bundle', tree)}", plane="yx", window="ct", input_range=(0, 1))
    assert not trace.exists()


def test_weights_of_tensors_alone_are_read_from_a_pickle(diffusers, tmp_path):
    unet = tiny_unet()
    unet.save_pretrained(tmp_path / "one")
    unet.save_pretrained(tmp_path / "two", safe_serialization=False)
    said = images_of("yx", "ct")
    one, two = (load_prior(f"diffusers:{tmp_path / name}", **said) for name in ("one", "two"))
    assert (tmp_path / "two" / "diffusion_pytorch_model.bin").is_file() and prior_digest(one) == prior_digest(two)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"autoencoder_def": {"_target_": "monai.networks.nets.AutoencoderKL"}}, "denoises codes of images"),
        ({"network_def": BUNDLE["network_def"] | {"spatial_dims": 3}}, "spatial_dims is 3, but a network of two"),
        ({"network_def": BUNDLE["network_def"] | {"with_conditioning": True}}, "it waits for a condition or a class"),
        ({"width": 16}, "does not fit the DiffusionModelUNet that it describes"),
        ({"steps": {}}, "scheduler.num_train_timesteps is '@steps::count', but there is no such entry"),
        ({"scheduler": {"_target_": "monai.networks.schedulers.RFlowScheduler"}}, "RFlowScheduler is not known"),
        ({"width": "@width"}, r"channels leads from '@width' to others without an end"),
        ({"width": "@a0", **{f"a{n}": [f"@a{n + 1}"] * 9 for n in range(19)}, "a19": 1}, "more than 10,000 values"),
    ],
)
def test_bundles_that_are_no_prior_are_refused(monai, change, sentence, tmp_path):
    with pytest.raises(CosliceError, match=sentence):
        load_prior(f"monai:{bundle(tmp_path, {**BUNDLE, **change})}", plane="yx", window="ct", input_range=(0, 1))


def test_a_key_of_a_bundle_that_is_no_word_is_refused(tmp_path):
    place = bundle(tmp_path, network=nn.Conv2d(1, 1, 1))
    (place / "configs" / "inference.json").unlink()
    (place / "configs" / "inference.yaml").write_text("network_def: {_target_: DiffusionModelUNet, 1: 2}\n")
    with pytest.raises(CosliceError, match="network_def has the key 1, but a word is needed"):
        load_prior(f"monai:{place}")


@pytest.mark.parametrize("address", ["~nobody-of-this-name/x", "a" * 300, "a" * 300 + "/b"])
@pytest.mark.parametrize("prefix", ["diffusers:", "monai:"])
def test_an_address_that_is_no_path_is_refused(prefix, address):
    with pytest.raises(CosliceError, match="no folder can be looked for there"):
        load_prior(prefix + address)


def test_a_path_that_is_not_there_is_looked_for_nowhere_else():
    with pytest.raises(CosliceError, match=r"there is no folder \.\./not-there, and a name on the Hub is"):
        load_prior("diffusers:../not-there")


@pytest.mark.parametrize(
    ("down", "up", "reason"),
    [
        ("SkipDownBlock2D", "SkipUpBlock2D", "cannot be asked for images"),
        ("DownEncoderBlock2D", "UpDecoderBlock2D", "cannot be asked for images"),
        ("KDownBlock2D", "KUpBlock2D", "tables that files of weights do not hold"),
    ],
)
def test_a_network_that_could_not_answer_is_refused_before_a_run(diffusers, down, up, reason, tmp_path):
    shape = {"down_block_types": (down, down), "up_block_types": (up, up), "block_out_channels": (32, 64)}
    tiny_unet(**shape).save_pretrained(tmp_path)
    with pytest.raises(CosliceError, match=reason):
        load_prior(f"diffusers:{tmp_path}", plane="yx", window="ct")


def test_a_rescaled_table_ends_one_step_earlier_whoever_wrote_it(diffusers):
    """Some schedulers write 2^-24 at the last step, where others write 0: more than at the step before."""
    tables = [
        steps_of_scheduler(kind(rescale_betas_zero_snr=True)).table.table
        for kind in (diffusers.DDPMScheduler, diffusers.EulerDiscreteScheduler)
    ]
    assert len(tables[0]) == len(tables[1]) == 999
    np.testing.assert_allclose(tables[0], tables[1], rtol=1e-5)


def test_a_folder_whose_name_is_no_text_is_refused_by_its_name(diffusers, tmp_path):
    place = tmp_path / os.fsdecode(b"chest-ct-axial-\xff")
    tiny_unet().save_pretrained(tmp_path / "model")
    (tmp_path / "model").rename(place)
    with pytest.raises(CosliceError, match="has a name that is not UTF-8"):
        load_prior(f"diffusers:{place}")


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("betas", [[1.0, 1.0], [1e-300, 1e-300]])
def test_betas_that_cannot_be_rescaled_are_refused(betas):
    with pytest.raises(CosliceError, match="cannot be rescaled to zero signal"):
        StepTable.of_betas(betas, rescaled=True)


def test_networks_at_hand_that_are_no_prior_are_refused(diffusers):
    with pytest.raises(CosliceError, match=r"in training mode, where dropout .* call its eval"):
        from_diffusers(tiny_unet().train(), diffusers.DDPMScheduler(), window="ct")
    with pytest.raises(CosliceError, match="a network without its scheduler was given"):
        from_diffusers(tiny_unet(), window="ct")
    with pytest.raises(CosliceError, match="FlowMatchEulerDiscreteScheduler: it has no alphas_cumprod"):
        from_diffusers(tiny_unet(), diffusers.FlowMatchEulerDiscreteScheduler(), window="ct")
    with pytest.raises(CosliceError, match=r"answered with \(1, 1, 8, 4\), but the same shape is needed"):
        prior_from(lambda v, s: v[..., :4], sigma=(0.1, 1), window="ct")(images(2, 8, 8), 0.5)
    wrongs: tuple[dict[str, Any], ...] = ({"sigma": 0.1}, {"multiple": 2.5}, {"channels": 1.5})
    for wrong in wrongs:
        with pytest.raises(CosliceError, match=r"two levels are needed|a whole number from 1 on is needed"):
            prior_from(shrunk, **{"sigma": (0.1, 1), "window": "ct", **wrong})
    with pytest.raises(CosliceError, match="its answer is complex"):
        prior_from(lambda v, s: v + 0j, sigma=(0.1, 1), window="ct")(images(2, 8, 8), 0.5)
    with pytest.raises(CosliceError, match="the smallest and the largest noise level"):
        prior_from(shrunk, sigma=(1, 0.1), window="ct")


# the Hub


def test_a_repository_is_fetched_once_its_description_says_that_it_can_be_used(diffusers, tmp_path, monkeypatch):
    """Of the Hub's repositories only what is needed is asked for, and no weights of a network that is refused."""
    import huggingface_hub

    tiny_unet().save_pretrained(tmp_path / "there" / "unet")
    (tmp_path / "there" / "model_index.json").write_text(json.dumps({"_class_name": "DDPMPipeline"}))
    folder_of(tmp_path / "latent", index={"_class_name": "LDMPipeline", "vqvae": ["diffusers", "VQModel"]})
    asked = []

    def snapshot(repository, *, revision, allow_patterns):
        asked.append((repository, revision, tuple(allow_patterns)))
        return str(tmp_path / repository.partition("/")[2])

    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot)
    said = images_of("yx", "ct")
    prior = load_prior("diffusers:someone/there@main", **said)
    assert prior_digest(prior) == prior_digest(load_prior(f"diffusers:{tmp_path / 'there'}", **said))
    assert {one[:2] for one in asked} == {("someone/there", "main")}
    files = [file for one in asked for file in one[2]]
    assert {file for file in files if "pytorch" in file} == {f"unet/{WEIGHTS}"}
    asked.clear()
    with pytest.raises(CosliceError, match="codes of images"):
        load_prior("diffusers:someone/latent", **said)
    assert not [file for one in asked for file in one[2] if "pytorch" in file]
    with pytest.raises(CosliceError, match="there is no folder nowhere, and a name on the Hub is diffusers:OWNER/NAME"):
        load_prior("diffusers:nowhere")


def test_libraries_are_imported_when_one_of_their_networks_is_built():
    code = f"""
import sys
sys.modules["diffusers"] = None
import coslice, coslice.priors.metadata, coslice.priors.live_priors
print(sorted({{"diffusers", "monai", "deepinv", "huggingface_hub"}} & {{m for m in sys.modules if sys.modules[m]}}))
from coslice.priors.foreign_networks import DiffusersUNet, DiffusersUNetConfig
try:
    DiffusersUNet(DiffusersUNetConfig.from_dict({UNET!r}))
except coslice.CosliceError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == [
        "[]",
        "prior: networks of diffusers are computed by diffusers, which is not installed; install it with: pip install "
        '"coslice[diffusers]".',
    ]
