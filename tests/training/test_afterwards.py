"""Averages of other widths, made of those that a run has kept."""

import json
import shutil

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from scipy.integrate import quad
from torch import nn
from typer.testing import CliRunner

from coslice.cli.app import app
from coslice.errors import CosliceError
from coslice.priors import load_prior, read_card
from coslice.training.learning.afterwards import KeptAverages, average_run, parse_widths
from coslice.training.learning.average import Average, exponent
from coslice.training.learning.profiles import Profile, inner, mixture
from coslice.training.learning.run_folder import stored_settings
from coslice.training.learning.snapshots import keep_snapshots, stored_snapshots
from coslice.training.learning.training_run import opened_run
from small_runs import OFTEN, SMALL, Notes, assert_same_weights, go, state

pytestmark = pytest.mark.usefixtures("one_thread")
TRACKED, ENDS = (0.05, 0.12), tuple(range(50, 401, 50))


def profile(p, s):
    return (p.power + 1) * s**p.power / p.end ** (p.power + 1)


@pytest.mark.parametrize("a", [Profile(1.0, exponent(0.05)), Profile(0.3, exponent(0.2))])
@pytest.mark.parametrize("b", [Profile(1.0, exponent(0.12)), Profile(0.7, 0.0)])
def test_products_of_profiles_are_their_integrals(a, b):
    ends = min(a.end, b.end)
    assert inner(a, b) == inner(b, a)
    assert inner(a, b) == pytest.approx(quad(lambda s: profile(a, s) * profile(b, s), 0, ends, limit=200)[0], rel=1e-8)
    # In images rather than in parts of the run, it is as much smaller.
    longer = [Profile(1000 * p.end, p.power) for p in (a, b)]
    assert inner(*longer) == pytest.approx(inner(a, b) / 1000)


def walked(widths):
    """Averages of a random walk of 400 steps, by width and step; and the walk itself, (400, 40)."""
    walk = np.cumsum(np.random.default_rng(0).normal(size=(400, 40)), axis=0)
    averages = {width: Average(nn.Linear(40, 1, bias=False).double(), width) for width in widths}
    kept = {}
    for step, theta in enumerate(walk, 1):
        for width, average in averages.items():
            average.update([torch.from_numpy(theta[None].copy())], 1, step)
            if step in ENDS:
                kept[width, step] = average.weights["weight"][0].numpy().copy()
    return kept, walk


@pytest.mark.parametrize("width", TRACKED)
def test_a_width_that_was_tracked_is_itself(width):
    kept, _ = walked(TRACKED)
    known = [Profile(end, exponent(w)) for w, end in kept]
    mixed = mixture(Profile(400, exponent(width)), known)
    made = mixed.coefficients @ np.stack(list(kept.values()))
    assert np.abs(made - kept[width, 400]).max() < 1e-10 * np.abs(made).max() and mixed.missed < 1e-6
    # Not because it would be so anyway: without the end there is something to miss.
    earlier = {key: value for key, value in kept.items() if key[1] < 400}
    mixed = mixture(Profile(400, exponent(width)), [Profile(end, exponent(w)) for w, end in earlier])
    assert mixed.missed > 0.1


@pytest.mark.parametrize("width", [0.03, 0.04, 0.07, 0.1, 0.15, 0.2])
def test_a_width_that_was_not_tracked_is_met_within_its_bound(width):
    """|made - true| <= missed ||p|| ||theta - its mean||, by Cauchy and Schwarz, and the coefficients sum to 1."""
    kept, walk = walked((*TRACKED, width))
    true = kept[width, 400]
    kept = {key: value for key, value in kept.items() if key[0] in TRACKED}
    wanted = Profile(400, exponent(width))
    mixed = mixture(wanted, [Profile(end, exponent(w)) for w, end in kept])
    assert mixed.coefficients.sum() == pytest.approx(1, abs=1e-12)
    made = mixed.coefficients @ np.stack(list(kept.values()))
    spread = np.sqrt(((walk - walk.mean(axis=0)) ** 2).sum(axis=0))
    bound = mixed.missed * np.sqrt(inner(wanted, wanted)) * spread
    assert (np.abs(made - true) <= bound).all()
    # And closer to it than any of the averages that were kept.
    nearest = min(np.abs(value - true).mean() for value in kept.values())
    assert np.abs(made - true).mean() < 0.5 * nearest


def test_snapshots_are_evenly_spaced_and_bounded_however_long_the_run(tmp_path):
    """Of 4 wanted, every 10 images; then the run is made longer, and they are asked for every 25."""
    averages = [Average(nn.Linear(2, 2), 0.1)]

    def there():
        return [one.images for one in stored_snapshots(tmp_path)]

    for images in (10, 20, 30, 40):
        keep_snapshots(tmp_path, averages, images, 4)
    assert there() == [10, 20, 30, 40]
    for images in (50, 75, 100):
        keep_snapshots(tmp_path, averages, images, 4)
    assert len(there()) == 4 and there()[-1] == 100 and max(np.diff([0, *there()])) <= 40
    keep_snapshots(tmp_path, averages, 125, 0)
    assert there()[-1] == 100


def test_a_snapshot_is_the_average_to_eleven_bits(tmp_path):
    average = Average(nn.Linear(50, 50), 0.1)
    average.weights["bias"][0] = 1e6  # which no float16 is
    keep_snapshots(tmp_path, [average], 7, 1)
    found = stored_snapshots(tmp_path)[0].weights(average.weights)
    for name, value in average.weights.items():
        assert (found[name] - value).abs().max() <= value.abs().max() * 2**-11
    with pytest.raises(CosliceError, match="of another network"):
        stored_snapshots(tmp_path)[0].weights({"weight": torch.zeros(2, 2)})


@pytest.fixture(scope="module")
def finished(pack, tmp_path_factory):
    out = tmp_path_factory.mktemp("runs") / "whole"
    go(out, pack)
    return out


def test_a_run_keeps_them_and_a_killed_one_the_same(pack, finished, tmp_path):
    """Eight of each width; the run that was cut off in between ends with the same bytes."""
    names = sorted(path.name for path in (finished / "averages").iterdir())
    ends = [12, 20, 32, 40, 52, 60, 72, 80]  # the first step past every tenth image
    assert names == [f"{end:09d}-{width}.safetensors" for end in ends for width in ("0.05", "0.12")]
    out = tmp_path / "killed"
    go(out, pack, minutes=1e-6)
    shutil.copytree(finished / "averages", out / "averages", dirs_exist_ok=True)  # of a part that was lost
    go(out, pack)
    assert_same_weights(out, finished)
    for name in names:
        assert (out / "averages" / name).read_bytes() == (finished / "averages" / name).read_bytes()


def test_the_best_of_the_averages_becomes_the_prior(pack, finished, tmp_path):
    out, notes = tmp_path / "run", Notes()
    shutil.copytree(finished, out)
    path, found = average_run(out, [pack], (0.03, 0.2), device="cpu", pace=OFTEN, listener=notes)
    assert path == out / "prior.safetensors" and len(notes.notes) == len(found) == 4
    errors = [one.error for one in found]
    assert errors == sorted(errors) and {one.name for one in found} == {"0.03", "0.05", "0.12", "0.2"}
    card = read_card(str(path))
    assert str(card["average"]) == found[0].name and set(card["averages_tried"]) == {one.name for one in found}
    assert card["images"] == 80 and f"relative width {found[0].name}" in (out / "prior.md").read_text()
    # It is that average, as the checkpoint and the snapshots make it; and the run itself is what it was.
    with opened_run(stored_settings(out, {}), [pack], out, "cpu", pace=OFTEN) as run:
        weights, missed = KeptAverages(run).weights(float(found[0].name))
    assert found[0].missed in (0.0, missed)
    for name, value in load_file(path).items():
        assert torch.allclose(value.float(), weights[name], rtol=2**-8, atol=1e-6)
    assert (out / "checkpoint.pt").read_bytes() == (finished / "checkpoint.pt").read_bytes()
    # A width that was tracked is, made so, the one in the checkpoint.
    with opened_run(stored_settings(out, {}), [pack], out, "cpu", pace=OFTEN) as run:
        weights, missed = KeptAverages(run).weights(0.05)
    assert missed < 1e-6
    for name, value in state(out)["averages"][0].items():
        assert torch.allclose(weights[name], value, rtol=1e-5, atol=1e-6)


def test_the_command_writes_elsewhere_if_asked(pack, finished, tmp_path):
    target = tmp_path / "mine.safetensors"
    before = (finished / "prior.safetensors").read_bytes()
    words = ["priors", "average", finished, pack, "--widths", "0.1", "--out", target, "--device", "cpu"]
    done = CliRunner().invoke(app, [str(word) for word in words])
    assert done.exit_code == 0, done.output
    assert "Best: width" in done.output and load_prior(target).name == "mine"
    assert (finished / "prior.safetensors").read_bytes() == before and target.with_suffix(".md").is_file()


def test_runs_and_widths_of_which_nothing_can_be_made(pack, finished, tmp_path):
    bare, damaged = tmp_path / "bare", tmp_path / "damaged"
    shutil.copytree(finished, bare, ignore=shutil.ignore_patterns("averages"))
    with pytest.raises(CosliceError, match="has kept no averages of its way"):
        average_run(bare, [pack], device="cpu", pace=OFTEN)
    go(tmp_path / "none", pack, settings={**SMALL, "averages": {"snapshots": 0}}, minutes=1e-6)
    assert not (tmp_path / "none" / "averages").exists()
    with pytest.raises(CosliceError, match="holds no training run"):
        average_run(tmp_path / "nowhere", [pack], device="cpu")
    with pytest.raises(CosliceError, match=r"must end in \.safetensors"):
        average_run(bare, [pack], target=tmp_path / "a.pt", device="cpu")
    for text in ("0.1,wide", "0.3", "0", "nan", ""):
        with pytest.raises(CosliceError, match=r"numbers above 0 and up to 0\.25"):
            parse_widths(text)
    shutil.copytree(finished, damaged)
    file = next(iter(sorted((damaged / "averages").iterdir())))
    file.write_bytes(file.read_bytes()[:-100])
    with pytest.raises(CosliceError, match="is damaged or cannot be read; delete it"):
        average_run(damaged, [pack], (0.1,), device="cpu", pace=OFTEN)
    file.unlink()
    assert average_run(damaged, [pack], (0.1,), device="cpu", pace=OFTEN)[1]
    json.dumps(read_card(str(damaged / "prior.safetensors")))
