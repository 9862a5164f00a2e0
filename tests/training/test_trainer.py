"""The step: its gradient, what it depends on, and that it learns."""

import pytest
import torch

from coslice.networks.edm import EDMDenoiser
from coslice.training.learning.checkpoint import load_checkpoint, save_checkpoint
from coslice.training.learning.journal import Meter
from coslice.training.learning.trainer import Trainer, measured_moments
from coslice.training.learning.validation import Examples, overall, validate
from coslice.training.sections import OptimiserSettings
from small_training import Blobs, small, trained, weights

pytestmark = pytest.mark.usefixtures("one_thread")


def test_threads_change_nothing():
    one, three = (trained(threads=threads, precision="bf16") for threads in (1, 3))
    assert torch.equal(weights(one), weights(three))


def test_micro_batches_add_up_to_the_batch():
    start, parts, whole = (weights(trained(steps, micro=micro)) for steps, micro in ((0, 2), (5, 2), (5, None)))
    assert float((parts - whole).norm() / (parts - start).norm()) < 1e-4


def test_the_gradient_is_that_of_the_mean_loss():
    trainer = Trainer(small(), Blobs())
    with trainer.working():
        batch = trainer.batches[4]
        gradients, losses = trainer._gradients(batch)
        loss = EDMDenoiser(trainer.network, 0.5, 0.2).loss(batch.images, batch.sigma, batch.noise)
        expected = torch.autograd.grad(loss.mean(), trainer.parameters)
    torch.testing.assert_close(losses, loss.detach(), rtol=1e-4, atol=1e-5)
    for gradient, reference in zip(gradients, expected, strict=True):
        torch.testing.assert_close(gradient, reference, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("optimiser", ["adam", "muon"])
def test_a_state_is_all_that_the_next_step_depends_on(tmp_path, optimiser):
    settings = OptimiserSettings(optimiser, 1e-3)
    through = trained(7, optimiser=settings)
    save_checkpoint(tmp_path, trained(3, optimiser=settings).state())
    resumed = Trainer(small(optimiser=settings), Blobs())
    state, _ = load_checkpoint(tmp_path)
    assert state is not None
    resumed.load(state)
    with resumed.working():
        for _ in range(4):
            resumed.step()
    assert torch.equal(weights(resumed), weights(through)) and resumed.images == through.images
    for a, b in zip(resumed.averages, through.averages, strict=True):
        assert all(torch.equal(a.weights[name], b.weights[name]) for name in a.weights)


def test_training_learns_and_tells():
    trainer = Trainer(small(images=2000, optimiser=OptimiserSettings("adam", 3e-3)), Blobs())
    examples = Examples(Blobs().batch(10_000, 7), torch.ones(7))
    untrained = overall({"16 px": validate(trainer.averaged(0), examples, (0.1, 0.5))})
    meter = Meter()
    with trainer.working():
        for _ in range(40):
            meter.add(trainer.step())
    record = meter.record()
    assert trainer.images == 40 * 7 - 8 * 4 and 0 < record["loss"] < 1 and record["gradient_norm"] > 0
    assert overall({"16 px": validate(trainer.averaged(0), examples, (0.1, 0.5))}) < 0.9 * untrained
    assert meter.record()["loss"] == 0


def test_measured_moments_are_those_of_the_images():
    images = torch.cat([Blobs().batch(step, 7).flatten() for step in range(16)])
    assert measured_moments(Blobs(), 7) == (round(float(images.mean()), 3), round(float(images.std(correction=0)), 3))
