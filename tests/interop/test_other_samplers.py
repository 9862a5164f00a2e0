"""ISCS in the samplers of diffusers, MONAI, azula and deepinv: the real ones, with priors known in closed form.

Two priors of independent pixels. Of the one, a pixel is -1 or 1: where nothing is measured the noise decides, and
slices with noise of their own decide each for itself. The other is Gaussian: every sampler is linear in its noise, so
what it returns must have the covariance of the noise along the stack.
"""

from __future__ import annotations

import functools
import json
import math
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import coslice
from coslice.errors import CosliceError
from coslice.interop import TiedNoise, disable_iscs, enable_iscs
from elsewhere import library

SLICES, SHAPE = 16, (16, 1, 64, 64)


@dataclass(frozen=True)
class Pixels:
    """E[x | x + sigma n] of pixels with values centre -+ spread, or Gaussian ones of that mean and spread."""

    two_valued: bool
    centre: float = 0.0
    spread: float = 1.0

    def __call__(self, x: Tensor, sigma: Tensor | float) -> Tensor:
        variance = torch.as_tensor(sigma, dtype=x.dtype).clamp(min=1e-3) ** 2
        away, spread = x - self.centre, self.spread
        if self.two_valued:
            return self.centre + spread * torch.tanh(spread * away / variance)
        return self.centre + away * spread**2 / (spread**2 + variance)


class Denoiser(nn.Module):
    """The same as deepinv asks for it."""

    def __init__(self, prior: Pixels) -> None:
        super().__init__()
        self.prior = prior

    def forward(self, x: Tensor, sigma: Tensor | float, **_: object) -> Tensor:
        return self.prior(x, sigma)


def ddim(prior: Pixels, noise: TiedNoise | None = None) -> Tensor:
    scheduler = library("diffusers").DDIMScheduler(clip_sample=False, prediction_type="sample")
    scheduler.set_timesteps(20)
    x = torch.randn(SHAPE) if noise is None else noise.at(0)
    for number, t in enumerate(scheduler.timesteps, 1):
        fresh = {} if noise is None else {"variance_noise": noise.at(number)}
        x = scheduler.step(_predicted(prior, x, scheduler.alphas_cumprod[t]), t, x, eta=1.0, **fresh).prev_sample
    return x


def ddpm(prior: Pixels) -> Tensor:
    scheduler = library("diffusers").DDPMScheduler(clip_sample=False, prediction_type="sample")
    scheduler.set_timesteps(20)
    x = torch.randn(SHAPE)
    for t in scheduler.timesteps:
        x = scheduler.step(_predicted(prior, x, scheduler.alphas_cumprod[t]), t, x).prev_sample
    return x


def euler_ancestral(prior: Pixels) -> Tensor:
    scheduler = library("diffusers").EulerAncestralDiscreteScheduler()
    scheduler.set_timesteps(20)
    x = torch.randn(SHAPE) * scheduler.init_noise_sigma
    for t, sigma in zip(scheduler.timesteps, scheduler.sigmas, strict=False):
        scheduler.scale_model_input(x, t)
        x = scheduler.step((x - prior(x, sigma)) / sigma, t, x).prev_sample
    return x


def sde_dpm(prior: Pixels) -> Tensor:
    scheduler = library("diffusers").DPMSolverMultistepScheduler(
        algorithm_type="sde-dpmsolver++", prediction_type="sample"
    )
    scheduler.set_timesteps(20)
    x = torch.randn(SHAPE)
    for t, sigma in zip(scheduler.timesteps, scheduler.sigmas, strict=False):
        x = scheduler.step(_predicted(prior, x, 1 / (1 + sigma**2)), t, x).prev_sample
    return x


def monai(prior: Pixels) -> Tensor:
    inferer, network = monai_inferer(prior)
    return inferer.sample(input_noise=torch.randn(SHAPE), diffusion_model=network, verbose=False)


def monai_inferer(prior: Pixels) -> tuple:
    scheduler = library("monai.networks.schedulers").DDPMScheduler(
        num_train_timesteps=40, beta_start=1e-3, beta_end=0.4, clip_sample=False, prediction_type="sample"
    )

    def network(x: Tensor, timesteps: Tensor, context: None) -> Tensor:
        return _predicted(prior, x, scheduler.alphas_cumprod[int(timesteps)])

    return library("monai.inferers").DiffusionInferer(scheduler), network


def azula(prior: Pixels) -> Tensor:
    sampler = azula_sampler(prior)
    return sampler(sampler.init(SHAPE))


def azula_sampler(prior: Pixels):
    denoise, schedules = library("azula.denoise"), library("azula.noise")

    class Known(denoise.Denoiser):
        def __init__(self) -> None:
            super().__init__()
            self.schedule = schedules.VPSchedule()

        def forward(self, x_t: Tensor, t: Tensor, **_: object):
            alpha, sigma = self.schedule(t)
            return denoise.DiracPosterior(prior(x_t / alpha, sigma / alpha))

    return library("azula.sample").DDPMSampler(Known(), steps=20, silent=True)


def posterior_diffusion(prior: Pixels, noise: TiedNoise | None = None, seed: int | None = None) -> Tensor:
    sampling = library("deepinv").sampling
    solver = sampling.EulerSolver(
        timesteps=torch.linspace(1, 0.001, 40), rng=None if seed is None else torch.Generator().manual_seed(seed)
    )
    sde = sampling.VariancePreservingDiffusion(alpha=1.0, minus_one_one=False)
    model = sampling.PosteriorDiffusion(denoiser=Denoiser(prior), sde=sde, solver=solver, minus_one_one=False)
    start = SHAPE
    if noise is not None:
        solver.randn_like = noise.randn_like
        first = solver.timesteps[0]
        start = noise.at(0) * sde.sigma_t(first) * sde.scale_t(first)
    return model(torch.zeros(SHAPE), None, x_init=start)


def ddrm(prior: Pixels) -> Tensor:
    model, physics = ddrm_model(prior)
    return model(physics.A(torch.zeros(SHAPE)), physics)


def ddrm_model(prior: Pixels) -> tuple:
    model = library("deepinv").sampling.DDRM(denoiser=Denoiser(prior), sigmas=np.linspace(2, 0, 20), eta=0.85)
    return model, _half_measured()


def diffpir(prior: Pixels) -> Tensor:
    deepinv = library("deepinv")
    # Images of [0, 1] there, and of [-1, 1] in all other samplers.
    scaled = Pixels(prior.two_valued, 0.5, 0.5 if prior.two_valued else 0.15)
    model = deepinv.sampling.DiffPIR(Denoiser(scaled), deepinv.optim.data_fidelity.L2(), max_iter=20)
    physics = _half_measured()
    return (model(physics.A(torch.full(SHAPE, 0.5)), physics) - 0.5) / scaled.spread


def _predicted(prior: Pixels, x: Tensor, alpha_bar: Tensor) -> Tensor:
    """The prior for images that shrink as noise is added."""
    return prior(x / alpha_bar.sqrt(), ((1 - alpha_bar) / alpha_bar).sqrt())


def _half_measured():
    """The upper half of every slice is measured, the lower one is not."""
    deepinv = library("deepinv")
    mask = torch.zeros(1, *SHAPE[2:])
    mask[:, :32] = 1
    return deepinv.physics.Inpainting(SHAPE[1:], mask=mask, noise_model=deepinv.physics.GaussianNoise(0.05))


SAMPLERS = (ddim, ddpm, euler_ancestral, sde_dpm, monai, azula, posterior_diffusion, ddrm, diffpir)
each_sampler = pytest.mark.parametrize("sampler", SAMPLERS, ids=lambda sampler: sampler.__name__)


def unmeasured(volume: Tensor) -> Tensor:
    """(slices, pixels) of the half that no sampler here has measured."""
    return volume[:, 0, 32:].flatten(1).double()


def sdiff(volume: Tensor) -> float:
    """SDiff: mean |x_{i+1} - x_i| of neighbouring slices."""
    return float(unmeasured(volume).diff(dim=0).abs().mean())


@each_sampler
def test_flicker_falls_and_the_spread_stays(sampler):
    prior = Pixels(two_valued=True)
    torch.manual_seed(0)
    without = sampler(prior)
    before = torch.get_rng_state()
    with coslice.iscs(seed=0) as ties:
        tied = sampler(prior)
    with coslice.iscs(seed=0):
        again = sampler(prior)
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(tied, again)
    assert set(ties.tied) == {SHAPE} and not ties.passed
    assert sdiff(tied) < sdiff(without) / 5
    # Of 2048 pixels, the spread of a slice has a standard error of at most 1/sqrt(2 * 2048); five of them.
    spread = unmeasured(without).std()
    assert (unmeasured(tied).std(dim=1) / spread - 1).abs().max() < 5 / 64
    # and as many pixels of a slice are up as down
    assert unmeasured(tied).mean(1).abs().max() < 5 / math.sqrt(2048)


@each_sampler
def test_the_stack_has_the_covariance_of_the_noise(sampler):
    a = torch.linspace(0, 1, SLICES, dtype=torch.float64)
    expected = torch.cos(math.pi / 2 * (a[:, None] - a[None, :]))
    bound = 5 / math.sqrt(2048)
    for noise, matrix in ((None, expected), (coslice.Independent(), torch.eye(SLICES))):
        with coslice.iscs(1, noise, size=SLICES):
            volume = unmeasured(sampler(Pixels(two_valued=False)))
        assert (torch.corrcoef(volume) - matrix).abs().max() < bound


def test_a_generator_of_the_sampler_still_chooses_the_sample():
    def run(seed: int) -> Tensor:
        with coslice.iscs(seed=0):
            return posterior_diffusion(Pixels(two_valued=False), seed=seed)

    one, other = run(1), run(2)
    assert torch.equal(one, run(1)) and sdiff(one) < 0.2
    assert abs(float(torch.corrcoef(torch.stack([one[0].flatten(), other[0].flatten()]))[0, 1])) < 5 / 64


def test_noise_handed_to_a_scheduler_is_that_of_the_block():
    prior = Pixels(two_valued=False)
    with coslice.iscs(seed=2):
        expected = ddim(prior)
    assert torch.equal(ddim(prior, TiedNoise(SHAPE, seed=2)), expected)


def test_randn_like_of_a_deepinv_solver_is_that_of_the_block():
    prior = Pixels(two_valued=False)
    with coslice.iscs(seed=2):
        expected = posterior_diffusion(prior)
    noise = TiedNoise(SHAPE, seed=2, dtype=torch.float64)
    assert torch.equal(posterior_diffusion(prior, noise), expected)
    # A seed begins anew, at the first step of that seed.
    assert torch.equal(noise.randn_like(expected, seed=5), TiedNoise(SHAPE, 5, dtype=torch.float64).at(1))
    assert torch.equal(noise.randn_like(expected), TiedNoise(SHAPE, 5, dtype=torch.float64).at(2))
    with pytest.raises(CosliceError, match="make one for every shape"):
        noise.randn_like(expected[:3])
    with pytest.raises(CosliceError, match="no axis 4"):
        TiedNoise(SHAPE, axis=4)


def test_samplers_with_a_start_of_their_own_are_enabled():
    """With number 0 of a seed as the start, an enabled call is one block about start and steps."""
    prior, start = Pixels(two_valued=False), TiedNoise(SHAPE, 3).at(0)
    with coslice.iscs(seed=3):
        expected = monai(prior)
    inferer, network = monai_inferer(prior)
    enable_iscs(inferer, seed=3, call="sample")
    given = {"input_noise": start, "diffusion_model": network, "verbose": False}
    assert torch.equal(inferer.sample(**given), expected)
    torch.manual_seed(0)
    assert sdiff(disable_iscs(inferer).sample(**given)) > 5 * sdiff(expected)
    with coslice.iscs(seed=3):
        expected = azula(prior)
    sampler = enable_iscs(azula_sampler(prior), seed=3)
    with coslice.iscs(seed=3):
        start = sampler.init(SHAPE)
    assert torch.equal(sampler(start), expected)


def test_a_model_of_deepinv_is_enabled():
    model, physics = ddrm_model(Pixels(two_valued=True))
    y = physics.A(torch.zeros(SHAPE))
    with coslice.iscs(seed=1) as ties:
        ties.skip(1)
        expected = model(y, physics)
    assert torch.equal(enable_iscs(model, seed=1)(y, physics), expected)


@pytest.fixture(scope="module")
def pipe():
    diffusers = library("diffusers")
    torch.manual_seed(0)
    network = diffusers.UNet2DModel(
        sample_size=16,
        in_channels=1,
        out_channels=1,
        block_out_channels=(8, 8),
        layers_per_block=1,
        norm_num_groups=4,
        down_block_types=("DownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "UpBlock2D"),
    )
    pipe = diffusers.DDPMPipeline(network, diffusers.DDPMScheduler())
    pipe.set_progress_bar_config(disable=True)
    return pipe


def sampled(pipe, **given) -> Tensor:
    return pipe(**{"batch_size": 6, "num_inference_steps": 3, "output_type": "pt", **given}).images


def test_a_pipeline_is_enabled_and_disabled(pipe, tmp_path):
    own = type(pipe)
    torch.manual_seed(4)
    without = sampled(pipe)
    with coslice.iscs(seed=3) as ties:
        ties.skip(1)
        expected = sampled(pipe)
    assert enable_iscs(enable_iscs(pipe, seed=2), seed=3) is pipe
    assert torch.equal(sampled(pipe), expected) and torch.equal(sampled(pipe), expected)
    # It is still what it was, to everything that asks, and no other pipeline is changed.
    assert isinstance(pipe, own) and type(pipe).__name__ == own.__name__ and type(pipe).__mro__[1] is own
    pipe.save_pretrained(tmp_path)
    assert json.loads((tmp_path / "model_index.json").read_text())["_class_name"] == own.__name__
    assert disable_iscs(pipe) is pipe and type(pipe) is own and disable_iscs(pipe) is pipe
    torch.manual_seed(4)
    assert torch.equal(sampled(pipe), without)
    assert sdiff_of_all(expected) < sdiff_of_all(without) / 3  # 18 degrees from slice to slice, and grey values cut


def sdiff_of_all(images: Tensor) -> float:
    return float(images.diff(dim=0).abs().mean())


def test_what_a_pipeline_is_given_keeps_its_meaning(pipe):
    enable_iscs(pipe, seed=0, noise=coslice.Identical())
    try:
        one = sampled(pipe, generator=torch.Generator().manual_seed(1))
        assert torch.equal(one, sampled(pipe, generator=torch.Generator().manual_seed(1)))
        assert not torch.allclose(one, sampled(pipe, generator=torch.Generator().manual_seed(2)), atol=0.05)
        torch.testing.assert_close(one, one[:1].expand_as(one), atol=1e-5, rtol=0)  # Identical: one slice, six times
        with pytest.raises(CosliceError, match="6 generators"):
            sampled(pipe, generator=[torch.Generator() for _ in range(6)])
        with pytest.warns(UserWarning, match=r"\(1, 1, 16, 16\) left alone: 1 along axis 0"):
            sampled(pipe, batch_size=1)
    finally:
        disable_iscs(pipe)


def test_the_page_runs_as_it_stands(pipe):
    """docs/other-samplers.md, block after block, with small samplers of each library under the names it uses."""
    page = Path(__file__).parents[2] / "docs" / "other-samplers.md"
    blocks = re.findall(r"```python\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)
    prior, deepinv = Pixels(two_valued=False), library("deepinv")
    inferer, model = monai_inferer(prior)
    solver = deepinv.sampling.EulerSolver(timesteps=torch.linspace(1, 0.001, 5))
    sde = deepinv.sampling.VariancePreservingDiffusion(alpha=1.0, minus_one_one=False)
    names = {
        "sampler": lambda y: y + torch.randn_like(y),
        "measurement": torch.zeros(64, 1, 8, 8),
        "torch": torch,
        "pipe": pipe,
        "scheduler": library("diffusers").DDIMScheduler(),
        "network": pipe.unet,
        "inferer": inferer,
        "model": model,
        "solver": solver,
        "sde": sde,
        "diffusion": deepinv.sampling.PosteriorDiffusion(
            denoiser=Denoiser(prior), sde=sde, solver=solver, minus_one_one=False
        ),
        "y": torch.zeros(16, 1, 16, 16),
        "physics": None,
    }
    assert len(blocks) == 7
    results = []
    with torch.no_grad():
        for block in blocks:
            exec(block, names)
            results.append({name: names.get(name) for name in ("volume", "parts", "images", "x")})
    assert repr(names["ties"]).startswith("iscs(seed=0, noise=Slerp): 8 draws of (8, 1, 8, 8) tied")
    assert torch.equal(torch.cat(results[2]["parts"]), results[0]["volume"])
    assert not torch.equal(results[1]["volume"], results[0]["volume"])
    # What each library returns is smooth along the stack: neighbours are nearly alike, and the ends are not.
    for images in (results[3]["images"], results[4]["x"], results[5]["images"], results[6]["images"]):
        assert len(images) == 16
        assert float((images[0] - images[-1]).abs().mean()) > 5 * sdiff_of_all(images)


def test_methods_of_every_kind_are_enabled():
    class Sampler:
        @staticmethod
        def static(batch_size=1):
            return torch.randn(batch_size, 1, 4, 4)

        @classmethod
        def of_class(cls, batch_size=1):
            return torch.randn(batch_size, 1, 4, 4)

        partly = functools.partial(torch.randn, 6)

    expected = TiedNoise((6, 1, 4, 4)).at(1)
    for call in ("static", "of_class"):
        assert torch.equal(getattr(enable_iscs(Sampler(), call=call), call)(batch_size=6), expected)
    assert torch.equal(enable_iscs(Sampler(), call="partly").partly(1, 4, 4), expected)


def test_what_cannot_be_enabled_is_refused():
    class Later:
        def __call__(self):
            yield torch.randn(4, 1, 8, 8)

        async def sample(self): ...

    class Slotted:
        __slots__ = ("x",)

        def __call__(self) -> None: ...

    for wrong, words in (
        (lambda: enable_iscs(Slotted()), "keep their class"),
        (lambda: enable_iscs(Later()), "round the loop that takes them"),
        (lambda: enable_iscs(Later(), call="sample"), "samples after it was called"),
        (lambda: enable_iscs(Denoiser(Pixels(True)), call="sample"), "no method 'sample'"),
        (lambda: enable_iscs(Denoiser(Pixels(True)), size=1), "at least 2 slices"),
    ):
        with pytest.raises(CosliceError, match=words):
            wrong()
