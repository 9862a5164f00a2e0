"""Noise strategies: their covariance along the stack, their anchors, and that a key is all they depend on."""

import math

import numpy as np
import pytest
import torch

from coslice.axes import axis_number
from coslice.errors import CosliceError
from coslice.noise import Following, Identical, Independent, Key, Lanes, Reading, Slerp, standard_normal

KEY = Key(seed=3, step=5)
ALONGS = ["z", "y", "x"]


def correlation(volume: torch.Tensor, along: str) -> torch.Tensor:
    """Correlation matrix of the slices of a volume."""
    return torch.corrcoef(volume.movedim(axis_number(along), 0).flatten(1).double())


@pytest.mark.parametrize("along", ALONGS)
def test_covariance_along_the_stack_is_the_closed_form(along):
    shape = [96, 96, 96]
    shape[axis_number(along)] = 9
    a = torch.linspace(0, 1, 9, dtype=torch.float64)
    expected = {
        Independent: torch.eye(9, dtype=torch.float64),
        Identical: torch.ones(9, 9, dtype=torch.float64),
        Slerp: torch.cos(math.pi / 2 * (a[:, None] - a[None, :])),
    }
    for strategy, matrix in expected.items():
        measured = correlation(strategy(along)(tuple(shape), KEY), along)
        assert (measured - matrix).abs().max() < 5 / 96, strategy  # five standard errors of a correlation


@pytest.mark.parametrize("strategy", [Independent(), Identical(), Slerp()])
def test_every_slice_is_standard_gaussian(strategy):
    noise = strategy((5, 128, 128), KEY).flatten(1).double()
    count = 128 * 128
    assert (noise.mean(1).abs() < 5 / math.sqrt(count)).all()
    assert ((noise.square().mean(1) - 1).abs() < 5 * math.sqrt(2 / count)).all()
    assert ((noise**4).mean(1) - 3).abs().max() < 5 * math.sqrt(96 / count)


def test_slerp_is_equation_11():
    z_1, z_s = (standard_normal(KEY, i, (32, 40)).double().numpy() for i in (0, 1))
    omega = math.acos((z_1 * z_s).sum() / np.linalg.norm(z_1) / np.linalg.norm(z_s))
    noise = Slerp()((7, 32, 40), KEY).numpy()
    for i in range(1, 8):
        a = (i - 1) / 6
        expected = (math.sin((1 - a) * omega) * z_1 + math.sin(a * omega) * z_s) / math.sin(omega)
        np.testing.assert_allclose(noise[i - 1], expected, atol=2e-6)


def test_slerp_ends_at_its_anchors_and_has_rank_two():
    noise = Slerp()((20, 24, 24), KEY)
    torch.testing.assert_close(noise[0], standard_normal(KEY, 0, (24, 24)), atol=1e-6, rtol=0)
    torch.testing.assert_close(noise[-1], standard_normal(KEY, 1, (24, 24)), atol=1e-6, rtol=0)
    values = torch.linalg.svdvals(noise.flatten(1).double())
    assert values[2] < 1e-5 * values[0]


@pytest.mark.parametrize("degrees", [30, 60, 90, 120, 150, 175])
def test_prescribed_anchor_angle(degrees):
    strategy = Slerp(angle=degrees)
    z_1, z_s, omega = strategy.anchors(KEY, (64, 64))
    cosine = float((z_1 * z_s).sum() / z_1.norm() / z_s.norm())
    assert math.degrees(math.acos(cosine)) == pytest.approx(degrees, abs=0.01)
    assert float(z_s.norm()) == pytest.approx(float(standard_normal(KEY, 1, (64, 64)).norm()), rel=1e-5)
    # On the way from one anchor to the other the length stays on the sphere, whatever the angle.
    lengths = strategy((11, 64, 64), KEY).flatten(1).norm(dim=1) / 64
    assert ((lengths - 1).abs() < 0.05).all()
    assert math.degrees(omega) == pytest.approx(degrees)


@pytest.mark.parametrize("strategy", [Independent(), Identical(), Slerp()])
def test_a_slab_of_a_stack_gets_the_stack_s_noise(strategy):
    whole = strategy((12, 16, 16), KEY)
    slab = strategy.add_(torch.zeros(4, 16, 16), 1.0, KEY, first=5, count=12)
    assert torch.equal(slab, whole[5:9])


@pytest.mark.parametrize("strategy", [Independent(), Identical(), Slerp()])
def test_noise_depends_on_every_part_of_the_key_and_on_nothing_else(strategy):
    shape = (3, 16, 16)
    base = strategy(shape, KEY)
    assert torch.equal(base, strategy(shape, Key(3, 5, "renoise")))
    for other in (Key(4, 5), Key(3, 6), Key(3, 5, "start")):
        assert correlation(torch.stack((base[0], strategy(shape, other)[0])), "z")[0, 1].abs() < 5 / 16
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        assert torch.equal(base, strategy(shape, KEY))
    finally:
        torch.set_num_threads(threads)


def test_planes_of_neighbouring_keys_do_not_overlap():
    # A counter-based generator walks its counter; a long plane must not run into the next index or step.
    long = standard_normal(Key(0, 0), 0, (1 << 18,))
    for key, index in ((Key(0, 0), 1), (Key(0, 1), 0)):
        met = np.isin(standard_normal(key, index, (64,)).numpy(), long.numpy())
        assert met.mean() < 0.25  # a few floats meet by chance, a shared stretch would meet in all


def test_adding_in_place_in_any_memory_layout_is_the_same():
    shape = (5, 6, 7)
    permuted = torch.zeros(6, 7, 5).permute(2, 0, 1)
    for strategy in (Independent("y"), Identical("y"), Slerp("y")):
        assert torch.equal(strategy.add_(permuted.clone(), 0.5, KEY), strategy.add_(torch.zeros(shape), 0.5, KEY))


def test_one_slice_is_the_first_anchor():
    assert torch.equal(Slerp()((1, 8, 8), KEY)[0], standard_normal(KEY, 0, (8, 8)))


def test_bad_settings_are_refused():
    with pytest.raises(CosliceError, match="axis"):
        Independent("w")
    for angle in (0.0, 180.0, -30.0, math.nan):
        with pytest.raises(CosliceError, match="between 0 and 180"):
            Slerp(angle=angle)


LANES = [Lanes(3), Lanes(3, offset=2), Lanes(3, width=3), Lanes(2, width=4, offset=1)]


@pytest.mark.parametrize("lanes", LANES)
@pytest.mark.parametrize("along", ["z", "y"])
def test_lanes_are_stacks_of_their_own(lanes, along):
    """Nothing between lanes; within a lane the closed form in the places that slices have in the whole stack."""
    count, shape = 12, [90, 90, 90]
    shape[axis_number(along)] = count
    of = torch.tensor([(i - lanes.offset) // lanes.width % lanes.count for i in range(count)])
    together = (of[:, None] == of[None, :]).double()
    a = torch.linspace(0, 1, count, dtype=torch.float64)
    expected = {
        Independent: torch.eye(count, dtype=torch.float64),
        Identical: together,
        Slerp: together * torch.cos(math.pi / 2 * (a[:, None] - a[None, :])),
    }
    for strategy, matrix in expected.items():
        noise = strategy(along, lanes)(tuple(shape), KEY)
        assert (correlation(noise, along) - matrix).abs().max() < 5 / 90, strategy
        slices = noise.movedim(axis_number(along), 0).flatten(1).double()
        assert (slices.mean(1).abs() < 5 / 90).all()
        assert ((slices.square().mean(1) - 1).abs() < 5 * math.sqrt(2) / 90).all()


def test_identical_lanes_repeat_as_many_planes_as_there_are_lanes():
    noise = Identical(lanes=Lanes(3, offset=1))((8, 12, 12), KEY)
    assert all(torch.equal(noise[i], noise[i + 3]) for i in range(5))
    assert len({tuple(plane.flatten().tolist()) for plane in noise}) == 3


def test_one_lane_is_the_stack_and_every_lane_of_slerp_is_equation_11():
    shape = (9, 16, 16)
    assert torch.equal(Slerp(lanes=Lanes(1, 4, 2))(shape, KEY), Slerp()(shape, KEY))
    lanes = Lanes(3, offset=1)
    noise = Slerp(lanes=lanes)(shape, KEY)
    for i in range(9):
        lane = (i - 1) % 3
        z_1, z_s = (standard_normal(KEY, 2 * lane + end, shape[1:]).double() for end in (0, 1))
        omega = float(torch.acos((z_1 * z_s).sum() / z_1.norm() / z_s.norm()))
        expected = (math.sin((1 - i / 8) * omega) * z_1 + math.sin(i / 8 * omega) * z_s) / math.sin(omega)
        torch.testing.assert_close(noise[i], expected.float(), rtol=0, atol=2e-6)
    # Each lane has its own pair of anchors, so there are two directions to a lane and no more.
    values = torch.linalg.svdvals(noise.flatten(1).double())
    assert values[5] > 1e-3 * values[0] and values[6] < 1e-5 * values[0]


def test_a_prescribed_angle_is_that_of_every_lane():
    strategy = Slerp(angle=50, lanes=Lanes(3))
    for lane in range(3):
        z_1, z_s, _ = strategy.anchors(KEY, (64, 64), lane)
        assert math.degrees(math.acos(float((z_1 * z_s).sum() / z_1.norm() / z_s.norm()))) == pytest.approx(
            50, abs=0.01
        )


@pytest.mark.parametrize("make", [Independent, Identical, Slerp])
@pytest.mark.parametrize("lanes", LANES)
def test_a_slab_of_a_stack_gets_the_stack_s_noise_whatever_the_lanes(make, lanes):
    strategy = make("y", lanes)
    whole = strategy((6, 12, 10), KEY)
    slab = strategy.add_(torch.zeros(6, 4, 10), 1.0, KEY, first=5, count=12)
    assert torch.equal(slab, whole[:, 5:9])


@pytest.mark.parametrize("strategy", [Independent(), Identical("x"), Slerp(angle=57.0)])
def test_noise_is_laid_out_for_whoever_reads_it_next(strategy):
    """The start for step 0; what step k adds for step k + 1; and it is the strategy in all else."""
    asked, shape = [], (6, 7, 8)

    def reading(step):
        asked.append(step)
        return Reading("zyx"[step % 3], Lanes(2 + step % 2, 1, step))

    following = Following(strategy, reading)
    for key, step in ((Key(1, 0, "start"), 0), (Key(1, 0), 1), (Key(1, 4), 5), (Key(1, 7), 8)):
        along, lanes = "zyx"[step % 3], Lanes(2 + step % 2, 1, step)
        laid_out = {
            Independent: Independent(along, lanes),
            Identical: Identical(along, lanes),
            Slerp: Slerp(along, lanes, angle=57.0),
        }[type(strategy)]
        assert torch.equal(following(shape, key), laid_out(shape, key))
        assert asked[-1] == step
    key = Key(1, 4)
    slab = following.add_(torch.zeros(6, 7, 3), 2.0, key, first=5, count=8)
    assert torch.equal(slab, 2.0 * following(shape, key)[:, :, 5:])


def test_every_slice_is_standard_gaussian_whatever_the_reading():
    following = Following(Slerp(), lambda step: Reading("zyx"[step % 3], Lanes(3, 1 + 2 * (step % 2), step)))
    for step in range(4):
        noise = following((60, 60, 60), Key(0, step)).double()
        for axis in range(3):
            slices = noise.movedim(axis, 0).flatten(1)
            if axis == (step + 1) % 3:
                assert (slices.mean(1).abs() < 5 / 60).all()
                assert ((slices.square().mean(1) - 1).abs() < 5 * math.sqrt(2) / 60).all()


@pytest.mark.parametrize("along", ALONGS)
def test_a_strategy_is_laid_out_along_the_axis_that_is_read_with_the_mm_between_its_slices(along):
    """Whatever it was before; its own settings stay."""
    reading, spacing = Reading(along, Lanes(3, offset=1)), (5.0, 0.7, 0.8)
    for strategy in (Independent(), Identical("x", Lanes(2)), Slerp("y", spacing=9.0, angle=40.0)):
        laid_out = strategy.laid_out(reading, spacing)
        assert (laid_out.along, laid_out.lanes) == (along, reading.lanes)
        assert laid_out.spacing == dict(zip("zyx", spacing, strict=True))[along]
        assert type(laid_out) is type(strategy) and getattr(laid_out, "angle", 40.0) == 40.0
        seen = Following(strategy, lambda step, reading=reading: reading, spacing)((6, 7, 8), KEY)
        assert torch.equal(seen, laid_out((6, 7, 8), KEY))
