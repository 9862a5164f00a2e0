"""The parts of training: recipes, rates, optimisers, averages, checkpoints, batches, ranks, the step."""

import json
import math
import os
import pickle

import numpy as np
import pytest
import torch
from torch import nn

from coslice.errors import CosliceError
from coslice.networks.edm import EDMDenoiser
from coslice.networks.unet import UNet, UNetConfig
from coslice.training.average import Average, exponent
from coslice.training.checkpoint import load_checkpoint, save_checkpoint
from coslice.training.feed import Feed
from coslice.training.loop import BANDS, Trainer, Turn, measured
from coslice.training.optimisers import Adam, Muon, clip_, orthogonal, relative_rate, steps_of
from coslice.training.ranks import Ranks
from coslice.training.recipe import Optimiser, Recipe, Schedule, Sigmas, differences, overlay
from coslice.training.views import View
from coslice.training.watch import Examples, Journal, Meter, overall, picture, told, validate
from coslice.tree import read_tree

SMALL = UNetConfig(channels=16, multipliers=(1, 2), blocks=1)


@pytest.fixture(autouse=True)
def one_thread():
    """Small tensors are done sooner by one thread than by two that wait for each other."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


class Blobs:
    """A stream of smooth random images, 7 a step, every fifth step of twice the side and 3 images."""

    def images(self, step, batch):
        return 3 if step % 5 == 4 else 7

    def batch(self, step, batch, first=0, count=None):
        total, side = self.images(step, batch), 32 if step % 5 == 4 else 16
        count = total - first if count is None else count
        made = torch.empty(count, 1, side, side)
        for i in range(count):
            generator = torch.Generator().manual_seed(1000 * step + first + i)
            coarse = torch.rand(1, 1, 4, 4, generator=generator)
            made[i] = nn.functional.interpolate(coarse, (side, side), mode="bilinear")[0]
        return made

    def distances(self, step, first, count):
        return torch.arange(first, first + count) + 10.0 * step


def small(**changes):
    """A recipe for `Blobs`, whose learning rate is large enough to be seen."""
    views = (View(16, (1.0, 1.0), 0.8), View(32, (1.0, 1.0), 0.2, 0.4))
    values = {"images": 200, "batch": 7, "micro": 2, "precision": "f32", "data_mean": 0.5, "data_std": 0.2}
    values |= {"network": SMALL, "views": views, "schedule": Schedule(warmup=10)}
    return Recipe(**{**values, **changes})


def weights(trainer):
    return torch.cat([parameter.detach().reshape(-1) for parameter in trainer.parameters])


def trained(steps=6, threads=2, **changes):
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        trainer = Trainer(small(**changes), Blobs())
        with trainer.working():
            for _ in range(steps):
                trainer.step()
    finally:
        torch.set_num_threads(before)
    return trainer


# --- recipe


def test_a_recipe_survives_its_file(tmp_path):
    recipe = small(init="ct", optimiser=Optimiser("muon", 1e-3), seed=7)
    recipe.save(tmp_path / "run.yaml")
    assert Recipe.load(tmp_path / "run.yaml") == recipe
    assert Recipe.from_dict({}) == Recipe()
    stretched = small(views=(View(16, (1.0, 1.0), 1, 1, (1.0, 2.0)),))
    stretched.save(tmp_path / "run.yaml")
    assert Recipe.load(tmp_path / "run.yaml") == stretched
    tree = recipe.to_dict()
    del tree["views"][0]["stretch"], tree["patches"]  # as a file from before they were there
    assert Recipe.from_dict(tree) == recipe


def test_yaml_as_people_write_it(tmp_path):
    (tmp_path / "a.yaml").write_text("optimiser: {learning_rate: 1e-3}\ndata:\n  validation: [s1, s2]\nbatch: 8\n")
    recipe = Recipe.load(tmp_path / "a.yaml")
    assert recipe.optimiser.learning_rate == 1e-3 and recipe.data.validation == ("s1", "s2") and recipe.batch == 8
    (tmp_path / "b.yaml").write_text("")
    assert Recipe.load(tmp_path / "b.yaml") == Recipe()


@pytest.mark.parametrize(
    ("tree", "told"),
    [
        ({"batchsize": 3}, "key batchsize is not known"),
        ({"optimiser": {"lr": 3}}, r"key optimiser\.lr is not known; choose among name, learning_rate"),
        ({"optimiser": {"name": "sgd"}}, r"optimiser\.name is 'sgd', but it must be adam or muon"),
        ({"optimiser": {"learning_rate": "fast"}}, r"optimiser\.learning_rate is 'fast', but a number is needed"),
        ({"optimiser": {"learning_rate": -1}}, r"optimiser\.learning_rate is -1\.0"),
        ({"optimiser": {"betas": [0.9]}}, r"optimiser\.betas is \[0\.9\], but a list of 2 is needed"),
        ({"optimiser": "muon"}, "optimiser is 'muon', but keys with values are needed"),
        ({"batch": 0}, "batch is 0, but it must be at least 1"),
        ({"batch": 1.5}, r"batch is 1\.5, but a whole number is needed"),
        ({"batch": True}, "batch is True, but a whole number"),
        ({"images": "many"}, "images is 'many'"),
        ({"micro": 0}, "micro is 0"),
        ({"seed": -1}, "seed is -1"),
        ({"precision": "fp8"}, "precision is 'fp8', but it must be auto, bf16 or f32"),
        ({"data": {"plane": "yy"}}, r"data\.plane is 'yy'"),
        ({"data": {"plane": "xyz"}}, r"data\.plane is 'xyz'"),
        ({"data": {"size": 8}}, r"data\.size is 8, but it must be at least 32"),
        ({"data": {"validation": 1.0}}, r"data\.validation is 1\.0"),
        ({"data": {"strict": "yes"}}, r"data\.strict is 'yes', but true or false"),
        ({"schedule": {"name": "step"}}, r"schedule\.name is 'step'"),
        ({"schedule": {"decay": 2}}, r"schedule\.decay is 2\.0"),
        ({"averages": {"widths": []}}, r"averages\.widths"),
        ({"averages": {"widths": [0.5]}}, r"averages\.widths"),
        ({"sigma": {"lowest": 30}}, r"sigma\.lowest is 30\.0"),
        ({"sigma": {"median": 0}}, r"sigma\.median"),
        ({"network": {"width": 3}}, r"key network\.width is not known"),
        ({"network": {"multipliers": [1, "2"]}}, r"network\.multipliers\[1\] is '2'"),
        ({"views": []}, "views is"),
        ({"views": [{"side": 64}]}, r"views\[0\] lacks one of scale, share"),
        ({"views": [{"side": 64, "scale": [1, 1], "share": 1, "zoom": 2}]}, r"key views\[0\]\.zoom is not known"),
        ({"views": [{"side": 0, "scale": [1, 1], "share": 1}]}, "side"),
        ({"views": [{"side": 64, "scale": [1, 1], "share": 1, "stretch": [2]}]}, r"views\[0\]\.stretch is \[2\]"),
        ({"augment": {"flip_rows": 2}}, "flip"),
        ({"patches": {"slices": 0}}, "at least 1 slice"),
        ({"patches": {"jump": 2}}, "shares between 0 and 1"),
        ({"patches": {"slices": 3}, "network": {}}, r"network\.image_channels is 1, but it must be patches\.slices, 3"),
        ({"network": {"image_channels": 3}}, r"network\.image_channels is 3, but it must be patches\.slices, 1"),
    ],
)
def test_a_wrong_recipe_is_refused_by_the_key(tree, told):
    with pytest.raises(CosliceError, match=told):
        Recipe.from_dict(tree)


@pytest.mark.parametrize(("text", "told"), [("a: [", "is not YAML"), ("- 1\n", "holds no keys")])
def test_files_that_hold_no_recipe(tmp_path, text, told):
    (tmp_path / "a.yaml").write_text(text)
    with pytest.raises(CosliceError, match=told):
        read_tree(tmp_path / "a.yaml")
    with pytest.raises(CosliceError, match="cannot be read"):
        read_tree(tmp_path / "none.yaml")


def test_overlay_and_differences_undo_each_other():
    stored = Recipe().to_dict()
    given = {"batch": 3, "data": {"plane": "zx"}, "init": None}
    merged = overlay(stored, given)
    assert differences(stored, given) == ["batch", "data.plane"]
    assert differences(merged, given) == [] and merged["data"]["window"] == "ct"


# --- rates


@pytest.mark.parametrize("name", ["linear", "cosine", "inverse-sqrt"])
def test_rates_rise_from_0_and_fall_to_0(name):
    schedule = Schedule(name, warmup=100, hold=300, decay=0.2)
    rates = [relative_rate(schedule, n, 1000) for n in range(1001)]
    assert rates[0] == 0 and rates[-1] == pytest.approx(0, abs=1e-12) and max(rates) <= 1
    assert rates[:100] == sorted(rates[:100]) and rates[100:] == sorted(rates[100:], reverse=True)
    assert rates[50] == pytest.approx(0.5)


def test_rates_at_known_places():
    assert relative_rate(Schedule("linear", 0, decay=0.25), 700, 1000) == 1
    assert relative_rate(Schedule("linear", 0, decay=0.25), 875, 1000) == pytest.approx(0.5)
    assert relative_rate(Schedule("cosine", 0), 500, 1000) == pytest.approx(0.5)
    assert relative_rate(Schedule("inverse-sqrt", 0, hold=100, decay=0.1), 400, 1000) == pytest.approx(0.5)


# --- optimisers


def test_adam_is_the_papers():
    parameter = nn.Parameter(torch.tensor([1.0, -2.0, 3.0]))
    reference, mean, square = parameter.detach().clone().double(), torch.zeros(3).double(), torch.zeros(3).double()
    adam = Adam([parameter], (0.9, 0.99))
    for step in range(1, 6):
        gradient = torch.tensor([1.0, 0.1, -2.0]) * step
        adam.step([gradient], 0.01 * step)
        mean = 0.9 * mean + 0.1 * gradient
        square = 0.99 * square + 0.01 * gradient.double() ** 2
        reference -= 0.01 * step * (mean / (1 - 0.9**step)) / ((square / (1 - 0.99**step)).sqrt() + 1e-8)
    torch.testing.assert_close(parameter.detach().double(), reference, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("shape", [(3, 24, 60), (2, 60, 24), (1, 16, 16)])
def test_newton_schulz_keeps_directions_and_evens_out_lengths(shape):
    u, _, v = torch.linalg.svd(torch.randn(shape, generator=torch.Generator().manual_seed(0)), full_matrices=False)
    lengths = torch.linspace(1.0, 0.05, u.shape[-1])
    turned = orthogonal(u * lengths @ v)
    inside = u.mT @ turned @ v.mT
    diagonal = inside.diagonal(dim1=1, dim2=2)
    assert float(diagonal.min()) > 0.6 and float(diagonal.max()) < 1.3
    assert float((inside - torch.diag_embed(diagonal)).abs().max()) < 1e-3


def test_muon_moves_hidden_convolutions_by_orthogonal_steps_and_the_rest_as_adam():
    torch.manual_seed(0)
    one, other = UNet(SMALL), UNet(SMALL)
    other.load_state_dict(one.state_dict())
    before = {name: value.clone() for name, value in one.named_parameters()}
    gradients = [torch.randn_like(parameter) for parameter in one.parameters()]
    Muon(one, (0.9, 0.99), 0.95, torch.float32).step(gradients, 0.01)
    steps_of(Optimiser("adam"), other).step(gradients, 0.01)
    adams = dict(other.named_parameters())
    for name, value in one.named_parameters():
        moved = (value - before[name]).detach()
        if value.ndim == 4 and name not in ("first.weight", "last.weight"):
            matrix = moved.permute(0, 2, 3, 1).reshape(len(moved), -1)
            lengths = torch.linalg.svdvals(matrix) / (0.01 * 0.2 * math.sqrt(max(matrix.shape)))
            assert float(lengths.min()) > 0.3 and float(lengths.max()) < 1.3, name
        else:
            torch.testing.assert_close(value, adams[name], msg=name)


def test_clipping_shrinks_to_the_norm_and_never_enlarges():
    gradients = [torch.full((3,), 4.0), torch.full((4,), 3.0)]
    norm = math.sqrt(3 * 16 + 4 * 9)
    assert float(clip_(gradients, 1.0)) == pytest.approx(norm)
    assert float(clip_(gradients, 5.0)) == pytest.approx(1.0, rel=1e-5)
    assert float(clip_(gradients, 5.0)) == pytest.approx(1.0, rel=1e-5)


# --- averages


@pytest.mark.parametrize("width", [0.05, 0.12, 0.25])
def test_an_average_has_the_profile_of_its_width(width):
    """Of weights theta(t) = t and t^2 it tells mean and variance of its own weighting: closed forms in gamma."""
    gamma, n = exponent(width), 20_000
    network = nn.Linear(1, 2, bias=False)
    average = Average(network.double(), width)
    for i in range(1, n + 1):
        t = i / n
        average.update([torch.tensor([[t], [t * t]], dtype=torch.float64)], 1, i)
    mean, square = average.weights["weight"].flatten().tolist()
    assert mean == pytest.approx((gamma + 1) / (gamma + 2), rel=1e-3)
    assert math.sqrt(square - mean**2) == pytest.approx(width, rel=1e-2)


def test_an_average_does_not_depend_on_where_it_began():
    average = Average(nn.Linear(2, 2), 0.1)
    average.update([torch.ones(2, 2), torch.zeros(2)], 8, 8)
    assert torch.equal(average.weights["weight"], torch.ones(2, 2))


def test_widths_that_no_power_has():
    for width in (0.0, 0.3, float("nan")):
        with pytest.raises(CosliceError, match="width"):
            exponent(width)


# --- checkpoints


def test_a_damaged_checkpoint_gives_way_to_the_one_before(tmp_path):
    assert load_checkpoint(tmp_path) == (None, "")
    for images in (1, 2):
        save_checkpoint(tmp_path, {"images": images, "w": torch.full((1000,), float(images))})
    assert load_checkpoint(tmp_path)[0]["images"] == 2
    latest = tmp_path / "checkpoint.pt"
    whole = latest.read_bytes()
    middle = whole.index(torch.full((20,), 2.0).numpy().tobytes())
    for damaged in (whole[: len(whole) // 2], b"", whole[: middle + 40] + b"\1" + whole[middle + 41 :]):
        latest.write_bytes(damaged)
        state, notice = load_checkpoint(tmp_path)
        assert state["images"] == 1 and "checkpoint.pt is damaged; going on from checkpoint.previous.pt" in notice
    latest.unlink()
    assert load_checkpoint(tmp_path)[0]["images"] == 1
    (tmp_path / "checkpoint.previous.pt").write_bytes(b"PK")
    with pytest.raises(CosliceError, match="cannot be read"):
        load_checkpoint(tmp_path)


def test_a_checkpoint_that_would_execute_code_is_not_believed(tmp_path):
    class Evil:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "executed"),)

    torch.save({"images": Evil()}, tmp_path / "checkpoint.pt")
    with pytest.raises(CosliceError, match="cannot be read"):
        load_checkpoint(tmp_path)
    (tmp_path / "checkpoint.pt").write_bytes(pickle.dumps(Evil()))
    with pytest.raises(CosliceError, match="cannot be read"):
        load_checkpoint(tmp_path)
    assert not (tmp_path / "executed").exists()


# --- batches and ranks


def test_batches_drawn_ahead_are_those_drawn_alone():
    feed = Feed(Blobs(), 7, Sigmas(), seed=3)
    alone = [feed[step] for step in range(6)]
    for pinned_threads in (1, 4):
        feed._threads = pinned_threads
        with feed.running():
            ahead = [feed[step] for step in (*range(6), 2)]
        for a, b in zip(ahead, [*alone, alone[2]], strict=True):
            assert all(torch.equal(one, other) for one, other in zip(a.tensors, b.tensors, strict=True))


@pytest.mark.parametrize("size", [1, 2, 3, 5, 8])
def test_ranks_share_a_step_without_gap_or_overlap(size):
    for count in (1, 3, 7, 16):
        shares = [Ranks(rank, size).share(count) for rank in range(size)]
        assert [first for first, _ in shares] == list(np.cumsum([0, *(n for _, n in shares)])[:-1])
        assert sum(n for _, n in shares) == count and max(n for _, n in shares) - min(n for _, n in shares) <= 1
    whole = Feed(Blobs(), 7, Sigmas(), seed=3)[4]
    parts = [Feed(Blobs(), 7, Sigmas(), 3, Ranks(rank, size))[4] for rank in range(size)]
    for name in ("images", "sigma", "noise", "distance"):
        assert torch.equal(torch.cat([getattr(part, name) for part in parts]), getattr(whole, name))


def test_sigmas_are_lognormal_within_their_ends():
    feed = Feed(Blobs(), 7, Sigmas(0.2, 1.0, 0.05, 1.0), seed=0)
    logs = torch.cat([feed.draw(step, 0, 7).sigma for step in range(400) if step % 5 != 4]).log()
    inside = (logs > math.log(0.051)) & (logs < math.log(0.99))
    assert float(logs.min()) >= math.log(0.05) - 1e-6 and float(logs.max()) <= 1e-6
    assert float(logs[inside].median()) == pytest.approx(math.log(0.2), abs=0.1)


# --- the step


def test_threads_change_nothing():
    one, three = (trained(threads=threads, precision="bf16") for threads in (1, 3))
    assert torch.equal(weights(one), weights(three))


def test_micro_batches_add_up_to_the_batch():
    start, parts, whole = (weights(trained(steps, micro=micro)) for steps, micro in ((0, 2), (5, 2), (5, None)))
    assert float((parts - whole).norm() / (parts - start).norm()) < 1e-4


def test_the_gradient_is_that_of_the_mean_loss():
    trainer = Trainer(small(), Blobs())
    with trainer.working():
        batch = trainer.feed[4]
        gradients, losses = trainer._gradients(batch)
        loss = EDMDenoiser(trainer.network, 0.5, 0.2).loss(batch.images, batch.sigma, batch.noise)
        expected = torch.autograd.grad(loss.mean(), trainer.parameters)
    torch.testing.assert_close(losses, loss.detach(), rtol=1e-4, atol=1e-5)
    for gradient, reference in zip(gradients, expected, strict=True):
        torch.testing.assert_close(gradient, reference, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("optimiser", ["adam", "muon"])
def test_a_state_is_all_that_the_next_step_depends_on(tmp_path, optimiser):
    settings = Optimiser(optimiser, 1e-3)
    through = trained(7, optimiser=settings)
    save_checkpoint(tmp_path, trained(3, optimiser=settings).state())
    resumed = Trainer(small(optimiser=settings), Blobs())
    resumed.load(load_checkpoint(tmp_path)[0])
    with resumed.working():
        for _ in range(4):
            resumed.step()
    assert torch.equal(weights(resumed), weights(through)) and resumed.images == through.images
    for a, b in zip(resumed.averages, through.averages, strict=True):
        assert all(torch.equal(a.weights[name], b.weights[name]) for name in a.weights)


def test_training_learns_and_tells():
    trainer = Trainer(small(images=2000, optimiser=Optimiser("adam", 3e-3)), Blobs())
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
    assert measured(Blobs(), 7) == (round(float(images.mean()), 3), round(float(images.std(correction=0)), 3))


def test_validation_of_a_silent_network_is_known():
    """D is then Wiener's filter of N(m, s^2): its error on such data is sigma s / sqrt(sigma^2 + s^2)."""
    generator = torch.Generator().manual_seed(0)
    images = 0.5 + 0.05 * torch.randn(8, 1, 32, 32, generator=generator)
    silent = EDMDenoiser(UNet(SMALL), 0.5, 0.05)
    for sigma, rmse in validate(silent, Examples(images, torch.ones(8)), (0.02, 0.05, 0.2)).items():
        assert rmse == pytest.approx(sigma * 0.05 / math.hypot(sigma, 0.05), rel=0.03)


def test_overall_is_a_geometric_mean():
    assert overall({"a": {0.1: 1.0, 1.0: 4.0}, "b": {0.1: 2.0, 1.0: 2.0}}) == pytest.approx(2.0)


# --- the log


def test_a_log_forgets_what_came_after_the_checkpoint(tmp_path):
    log = tmp_path / "log.jsonl"
    log.write_text('{"images": 10, "loss": 1.0}\n{"images": 20, "loss": 0.5}\n{"images": 30, "lo')
    journal = Journal(tmp_path, 10)
    journal.write({"images": 15, "loss": 0.75})
    journal.close()
    assert [json.loads(line)["images"] for line in log.read_text().splitlines()] == [10, 15]


def test_a_meter_survives_a_checkpoint_and_refuses_what_is_no_number(tmp_path):
    def turn(loss):
        losses = torch.zeros(len(BANDS) + 1)
        losses[1] = loss
        return Turn(4, losses, torch.ones(len(BANDS) + 1), torch.tensor(0.5), 1e-3, torch.tensor(0.0))

    meter = Meter()
    meter.add(turn(2.0))
    save_checkpoint(tmp_path, meter.state())
    again = Meter(load_checkpoint(tmp_path)[0])
    for one in (meter, again):
        one.add(turn(4.0))
    first, second = meter.record(), again.record()
    assert first == second and first["loss_per_sigma"]["0.02-0.06"] == 3.0 and first["loss"] == 0.5
    meter.add(turn(float("nan")))
    with pytest.raises(CosliceError, match="no number any more"):
        meter.state()


def test_records_are_told_in_a_line():
    rows = {"64 px": {"0.1": 0.02, "1": 0.05}}
    record = {"images": 9000, "best": "0.05", "validation": {"0.05": {"overall": 0.03, **rows}}}
    assert told(record) == "9,000 images: validation error 0.03000 (at sigma 0.1 1: 64 px 0.0200 0.0500)"


def test_pictures_of_upward_rows_are_turned_tile_by_tile():
    """A denoiser that answers its input: every tile of one picture is the other's, upside down."""

    class Same(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = torch.nn.Parameter(torch.zeros(1), requires_grad=False)

        def forward(self, x, sigma, distance):
            return x

    images = torch.rand(2, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    examples = Examples(images, torch.ones(2))
    down, up = (picture(Same(), examples, 0.2, 1.0, upwards=upwards) for upwards in (False, True))
    assert down.shape == up.shape == (3 * 8, 7 * 8)
    tiles = [shown.reshape(3, 8, 7, 8) for shown in (down, up)]
    assert (tiles[0][:, ::-1] == tiles[1]).all() and (tiles[0] != tiles[1]).any()
    assert (tiles[0][:2, :, 0] == (images[:, 0] * 255).round().byte().numpy()).all()
