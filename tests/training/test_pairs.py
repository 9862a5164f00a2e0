"""Pairs of analytic reconstructions and the truth: what they are, and how they are drawn."""

import shutil
from pathlib import Path

import nibabel
import numpy as np
import pytest
import torch

from coslice.errors import CosliceError
from coslice.networks.edm import EDMDenoiser
from coslice.parallel import Ranks
from coslice.problems import LimitedAngleCT, SparseViewCT, task_of_key
from coslice.training.collection.pack import make_pack, open_pack
from coslice.training.collection.scans import find_scans
from coslice.training.levels import SigmaSettings
from coslice.training.sections import View
from coslice.training.supply.batches import BatchQueue
from coslice.training.supply.pair_stream import PairStream, views_of_sizes
from coslice.training.supply.pairs import make_pairs
from small_pairs import SIZES, TASKS, Zero, as_used, packed_phantoms

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def pack(tmp_path_factory):
    return packed_phantoms(tmp_path_factory.mktemp("scans"), tmp_path_factory.mktemp("pack"))


@pytest.fixture(scope="module")
def pairs(pack, tmp_path_factory):
    return make_pairs(open_pack(pack), TASKS, SIZES, tmp_path_factory.mktemp("pairs"))


@pytest.fixture
def stream(pairs):
    return PairStream(pairs, ("scan0", "scan1"), views_of_sizes(SIZES), seed=5)


@pytest.mark.parametrize(
    ("key", "task"),
    [
        ("svct-parallel-8", SparseViewCT(beam="parallel", views=8)),
        ("svct-cone-30", SparseViewCT(beam="cone", views=30)),
        ("lact-parallel-90", LimitedAngleCT(beam="parallel", angle=90.0)),
        ("lact-cone-22.5-7", LimitedAngleCT(beam="cone", angle=22.5, views=7)),
    ],
)
def test_a_key_is_the_name_of_one_acquisition(key, task):
    assert task_of_key(key) == task and task.key == key


@pytest.mark.parametrize(
    "key",
    ["", "svct", "svct-parallel", "svct-parallel-08", "svct-parallel-0", "svct-cone-x", "svct-spiral-8", "zsr-cone-5"]
    + ["lact-cone", "lact-cone-100-100", "lact-cone-400", "lact-parallel-nan", "lact-cone-90-3-1", "svct-cone--3"],
)
def test_what_is_no_key_is_refused(key):
    with pytest.raises(CosliceError, match=f'the key "{key}" was given'):
        task_of_key(key)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("task", TASKS)
def test_pairs_are_what_use_will_see(pairs, task, size):
    truth, analytic = as_used(1, size, task)
    # The pack has rounded once, the pair once more.
    torch.testing.assert_close(_unit(pairs.truth("scan1", size)), truth, rtol=0, atol=2e-5)
    torch.testing.assert_close(_unit(pairs.analytic(task, "scan1", size)), analytic, rtol=0, atol=3e-4)


def _unit(stored):
    return torch.from_numpy(stored.astype(np.float32) / 65535)


def test_levels_are_the_root_mean_square_of_what_is_wrong(pairs):
    for task, level in pairs.levels(("scan0", "scan2")).items():
        squares = [
            (_unit(pairs.analytic(task, name, size)) - _unit(pairs.truth(name, size))).square().mean()
            for name in ("scan0", "scan2")
            for size in SIZES
        ]
        assert level == pytest.approx(float(torch.stack(squares).mean().sqrt()), abs=1e-4)


def test_pairs_are_made_once_and_what_is_lost_again(pack, pairs, tmp_path):
    class Made(Exception):
        pass

    def stop(done, total, name):
        if done == 5:
            raise Made

    folder, opened = tmp_path / "pairs", open_pack(pack)
    with pytest.raises(Made):
        make_pairs(opened, TASKS, SIZES, folder, progress=stop)
    first = {path: path.stat().st_mtime_ns for path in folder.glob("*.npy")}
    assert len(first) == 5
    again = make_pairs(opened, TASKS, SIZES, folder)
    assert {path: path.stat().st_mtime_ns for path in first} == first
    assert again.errors == pairs.errors
    lost = folder / again.file(TASKS[0], "scan0", 32)
    lost.unlink()
    make_pairs(opened, TASKS, SIZES, folder)
    assert lost.read_bytes() == (pairs.folder / lost.name).read_bytes()
    (folder / "pairs.json").write_text("{")
    assert make_pairs(opened, TASKS[:1], SIZES[:1], folder).errors.items() <= pairs.errors.items()
    assert len(list(folder.glob("*.npy"))) == 3 * 2


class Spy(EDMDenoiser):
    """Remembers what it was shown."""

    def forward(self, x, sigma, distance=None):
        self.shown = x, sigma
        return super().forward(x, sigma, distance)


def test_the_network_is_shown_the_analytic_reconstruction(stream, pairs):
    spy, feed = Spy(Zero(), 0.3, 0.2), BatchQueue(stream, 12, SigmaSettings(), seed=5)
    tasks = {level: task for task, level in stream.levels.items()}
    sides = set()
    for step in range(6):
        batch = feed[step]
        side = batch.images.shape[-1]
        sides.add(side)
        assert len(batch.images) == (12 if side == 32 else round(12 * (32 / 48) ** 2))
        spy.loss(batch.images, batch.sigma, batch.noise)
        for x, sigma, truth in zip(spy.shown[0], spy.shown[1], batch.images, strict=True):
            task = tasks[round(float(sigma), 4)]
            found = 0
            for name in stream.names:
                same = (_unit(pairs.truth(name, side)) - truth).abs().amax(dim=(1, 2)) == 0
                if same.any():
                    row = int(same.nonzero()[0])
                    stored = _unit(pairs.analytic(task, name, side)[row])
                    torch.testing.assert_close(x[0], stored, rtol=0, atol=1e-6)
                    found += 1
            assert found == 1
    assert sides == set(SIZES)


def test_draws_depend_on_seed_step_and_item_alone(stream, pairs):
    feed = BatchQueue(stream, 10, SigmaSettings(), seed=5)
    for step in range(4):
        whole = feed[step]
        shared = [BatchQueue(stream, 10, SigmaSettings(), seed=5, ranks=Ranks(rank, 3))[step] for rank in range(3)]
        for one, parts in zip(whole.tensors, zip(*(part.tensors for part in shared), strict=True), strict=True):
            assert torch.equal(one, torch.cat(parts))
        fresh = PairStream(pairs, stream.names, stream.views, seed=5)
        assert torch.equal(fresh.batch(step, 10, 1, 2), whole.images[1:3])
        assert torch.equal(fresh.batch(step, 40, 1, 2), whole.images[1:3])
    with pytest.raises(CosliceError, match="images 3 to 99"):
        stream.batch(0, 10, 3, 96)
    other = PairStream(pairs, stream.names, (View(32, (1.0, 1.0), 1.0),), seed=6)
    same = PairStream(pairs, stream.names, (View(32, (1.0, 1.0), 1.0),), seed=5)
    assert not torch.equal(other.batch(0, 10), same.batch(0, 10))


def test_tasks_and_slices_are_equally_likely(pairs):
    stream = PairStream(pairs, ("scan0", "scan1"), (View(32, (1.0, 1.0), 1.0),), seed=0)
    count = 1200
    truths = stream.batch(0, count)
    sigma = stream.corruption(0, 0, truths).sigma
    first = int((sigma == stream.levels[TASKS[0]]).sum())
    assert abs(first - count / 2) < 4 * (count / 4) ** 0.5
    _, seen = torch.unique(truths.flatten(1), dim=0, return_counts=True)
    assert len(seen) == len(stream) == 12
    assert float((seen - count / 12).abs().max()) < 4 * (count / 12) ** 0.5


def test_larger_sizes_are_rarer_and_cost_a_step_as_much():
    small, large = views_of_sizes((256, 128))
    assert (small.side, small.images, large.side, large.images) == (128, 1.0, 256, 0.25)
    assert large.share == small.share / 2


def test_only_axial_ct_can_be_scanned(tmp_path):
    scans = tmp_path / "scans"
    scans.mkdir()
    cube = np.random.default_rng(0).integers(0, 500, (32, 32, 32)).astype(np.int16)
    nibabel.save(nibabel.Nifti1Image(cube, np.eye(4)), scans / "a.nii.gz")
    for plane in ("yx", "zx"):
        opened = make_pack(find_scans([scans]), plane, "mr", tmp_path / plane)
        with pytest.raises(CosliceError, match=f"plane {plane} and window mr; give axial slices"):
            make_pairs(opened, TASKS, (32,), tmp_path / "pairs")


def test_pairs_that_were_damaged_are_named(pairs, tmp_path):
    copied = type(pairs)(
        pairs.pack, Path(shutil.copytree(pairs.folder, tmp_path / "pairs")), TASKS, SIZES, pairs.errors
    )
    path = copied.folder / copied.file("truth", "scan0", 32)
    for damage in (b"", b"\x93NUMPY"):
        path.write_bytes(damage)
        with pytest.raises(CosliceError, match="missing or damaged; delete it"):
            copied.truth("scan0", 32)
    np.save(path, np.zeros((2, 2), dtype=np.uint16))
    with pytest.raises(CosliceError, match="delete it"):
        copied.truth("scan0", 32)
