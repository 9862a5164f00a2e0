"""Noise correlated over millimetres, and shares of independent noise: closed forms, and what they do not depend on."""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import pytest
import torch

from coslice.axes import axis_number
from coslice.cli.selection import chosen_method
from coslice.correlated_noise import Anchors, Markov, Matern, OrnsteinUhlenbeck, Transition
from coslice.errors import CosliceError
from coslice.methods import DDS, Method, changed, differing, kinds_of
from coslice.mixed_noise import Mixed
from coslice.noise import Following, Identical, Independent, Key, Lanes, Reading, Slerp, Strategy, standard_normal
from coslice.plans import plan
from coslice.renoising import Share
from coslice.sampling import sample, start
from small_problems import prior, zsr

KEY = Key(seed=3, step=5)
SIDE = 96


def rooted(distance: float, length: float) -> float:
    u = math.sqrt(3) * distance / length
    return (1 + u) * math.exp(-u)


def spans(p: float, q: float, every: float) -> float:
    """What two places have in common where anchors are at right angles: of each anchor, the product of the weights."""

    def weight(place: float, anchor: int) -> float:
        away = abs(place / every - anchor)
        return math.cos(math.pi / 2 * away) if away < 1 else 0.0

    return sum(weight(p, anchor) * weight(q, anchor) for anchor in range(100))


FORMS: list[tuple[Strategy, Callable[[float, float], float]]] = [
    (OrnsteinUhlenbeck(length=4.0), lambda p, q: math.exp(-abs(p - q) / 4)),
    (OrnsteinUhlenbeck(length=0.3), lambda p, q: math.exp(-abs(p - q) / 0.3)),
    (Matern(length=5.0), lambda p, q: rooted(abs(p - q), 5)),
    (Matern(length=0.4), lambda p, q: rooted(abs(p - q), 0.4)),
    (Anchors(every=7.0), lambda p, q: spans(p, q, 7)),
    (Anchors(every=1.5), lambda p, q: spans(p, q, 1.5)),
    (Mixed(tied=Matern(length=9.0), share=0.3), lambda p, q: 1.0 if p == q else 0.7 * rooted(abs(p - q), 9)),
]
STRATEGIES = [strategy for strategy, _ in FORMS]
LANES = [Lanes(), Lanes(3, offset=1), Lanes(3, width=3), Lanes(2, width=4, offset=1)]


def correlation(volume: torch.Tensor, along: str) -> torch.Tensor:
    return torch.corrcoef(volume.movedim(axis_number(along), 0).flatten(1).double())


@pytest.mark.parametrize("spacing", [1.0, 2.5])
@pytest.mark.parametrize(("strategy", "form"), FORMS, ids=[one.label for one, _ in FORMS])
@pytest.mark.parametrize("lanes", LANES[:3])
def test_the_correlation_is_the_closed_form_of_millimetres_in_every_lane(strategy, form, spacing, lanes):
    for along in "zy":
        shape = [SIDE, SIDE, SIDE]
        shape[axis_number(along)] = 10
        noise = replace(strategy, along=along, spacing=spacing, lanes=lanes)(tuple(shape), KEY)
        expected = torch.tensor(
            [[form(i * spacing, j * spacing) if lanes[i] == lanes[j] else 0.0 for j in range(10)] for i in range(10)]
        )
        assert (correlation(noise, along) - expected).abs().max() < 5 / SIDE  # five standard errors
        slices = noise.movedim(axis_number(along), 0).flatten(1).double()
        assert (slices.mean(1).abs() < 5 / SIDE).all()
        assert ((slices.square().mean(1) - 1).abs() < 5 * math.sqrt(2) / SIDE).all()
        assert ((slices**4).mean(1) - 3).abs().max() < 5 * math.sqrt(96) / SIDE


@pytest.mark.parametrize("decay", [1e-7, 1e-3, 0.1, 1.0, 7.0, 800.0])
@pytest.mark.parametrize("make", [OrnsteinUhlenbeck, Matern])
def test_transitions_keep_unit_variance_and_compose(make, decay):
    """Exactly, whatever the spacing: two steps of half the distance are one, and kept kept^T + fresh fresh^T = 1."""
    strategy = make(length=1.0)

    def matrices(distance: float) -> tuple[torch.Tensor, torch.Tensor]:
        step = strategy.transition(distance)
        return torch.tensor(step.kept, dtype=torch.float64), torch.tensor(step.fresh, dtype=torch.float64)

    kept, fresh = matrices(decay)
    torch.testing.assert_close(kept @ kept.T + fresh @ fresh.T, torch.eye(len(kept)).double(), rtol=0, atol=1e-12)
    half, _ = matrices(decay / 2)
    torch.testing.assert_close(half @ half, kept, rtol=0, atol=1e-12)


def test_ornstein_uhlenbeck_is_its_recursion():
    noise, k = OrnsteinUhlenbeck(length=4.0, spacing=2.0)((6, 8, 9), KEY), math.exp(-0.5)
    expected = standard_normal(KEY, 0, (8, 9))
    for i in range(6):
        if i:
            expected = k * expected + math.sqrt(1 - k * k) * standard_normal(KEY, i, (8, 9))
        torch.testing.assert_close(noise[i], expected)


def test_matern_is_smooth_and_ornstein_uhlenbeck_is_not():
    """E|eps_{i+1} - eps_i|^2 falls with the square of the spacing, or with the spacing itself."""
    for make, power in ((Matern, 2), (OrnsteinUhlenbeck, 1)):
        fine, coarse = (
            (make(length=20.0, spacing=spacing)((8, 64, 64), KEY).diff(dim=0) ** 2).mean() for spacing in (0.1, 0.4)
        )
        assert float(coarse / fine) == pytest.approx(4**power, rel=0.06)


@pytest.mark.parametrize("lanes", LANES)
def test_one_span_is_slerp(lanes):
    slerp, one = Slerp(lanes=lanes, spacing=2.0), Anchors(every=22.0, lanes=lanes, spacing=2.0)
    torch.testing.assert_close(one((12, 16, 16), KEY), slerp((12, 16, 16), KEY), rtol=0, atol=1e-6)


def test_slices_at_anchors_are_the_anchors():
    noise = Anchors(every=6.0, spacing=2.0)((10, 16, 16), KEY)
    for anchor in range(4):
        torch.testing.assert_close(noise[3 * anchor], standard_normal(KEY, anchor, (16, 16)), rtol=0, atol=1e-6)


@pytest.mark.parametrize("strategy", STRATEGIES, ids=lambda one: one.label)
@pytest.mark.parametrize("lanes", LANES)
def test_a_slab_and_a_taller_stack_have_the_same_noise_bit_for_bit(strategy, lanes):
    strategy = replace(strategy, along="y", lanes=lanes, spacing=2.0)
    whole = strategy((6, 12, 10), KEY)
    slab = strategy.add_(torch.zeros(6, 4, 10), 1.0, KEY, first=5, count=12)
    assert torch.equal(slab, whole[:, 5:9])
    assert torch.equal(strategy((6, 31, 10), KEY)[:, :12], whole)


def test_slerp_is_the_one_that_stretches_with_the_stack():
    """Without which the law above would say nothing."""
    assert not torch.allclose(Slerp()((31, 8, 8), KEY)[:12], Slerp()((12, 8, 8), KEY), atol=0.1)


@pytest.mark.parametrize("strategy", STRATEGIES, ids=lambda one: one.label)
def test_steps_seeds_and_purposes_have_noise_of_their_own(strategy):
    base = strategy((2, 64, 64), KEY)
    assert torch.equal(base, strategy((2, 64, 64), Key(3, 5, "renoise")))
    for other in (Key(4, 5), Key(3, 6), Key(3, 5, "start")):
        both = torch.cat((base, strategy((2, 64, 64), other)))
        assert correlation(both, "z")[:2, 2:].abs().max() < 5 / 64


@pytest.mark.parametrize("strategy", STRATEGIES, ids=lambda one: one.label)
def test_noise_is_added_in_place_times_its_scale_in_any_layout(strategy):
    volume = torch.rand(6, 7, 5).permute(2, 0, 1)
    before, strategy = volume.clone(), replace(strategy, along="x", spacing=2.0)
    expected = before + 0.25 * strategy((5, 6, 7), KEY)
    torch.testing.assert_close(strategy.add_(volume, 0.25, KEY), expected)
    assert strategy.add_(volume, 0.0, KEY) is volume


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: OrnsteinUhlenbeck(length=0.0), "OrnsteinUhlenbeck: length 0 mm was given, above 0 is needed"),
        (lambda: Matern(length=-2.0), "Matern: length -2 mm was given, above 0"),
        (lambda: Matern(length=math.inf), "Matern: length inf mm was given, above 0"),
        (lambda: Anchors(every=0.0), "Anchors: every 0 mm was given, above 0"),
        (lambda: Mixed(share=1.2), "Mixed: share 1.2 was given, at least 0 and at most 1"),
        (lambda: Mixed(late=-0.1), "Mixed: late -0.1 was given"),
        (lambda: Mixed(sigma_early=0.1, sigma_late=0.1), "early level is the higher one"),
        (lambda: Mixed(tied=Mixed()), "mix once"),
    ],
)
def test_what_cannot_be_is_refused_in_a_sentence(make, words):
    with pytest.raises(CosliceError, match=words):
        make()


# A share by noise level


def test_the_share_is_a_ramp_in_the_logarithm_of_the_level():
    mixed = Mixed(share=0.1, late=0.5, sigma_early=1.0, sigma_late=0.01)
    levels = {5.0: 0.1, 1.0: 0.1, 10**-0.5: 0.2, 0.1: 0.3, 0.01: 0.5, 0.001: 0.5}
    for sigma, share in levels.items():
        assert mixed.share_at(sigma) == pytest.approx(share)
        fixed = mixed.at(sigma)
        assert isinstance(fixed, Mixed) and fixed.share_at(9.0) == fixed.share_at(1e-4) == pytest.approx(share)
        # Taken for the level where nobody said one.
        torch.testing.assert_close(
            mixed.add_(torch.zeros(3, 8, 8), sigma, KEY), fixed.add_(torch.zeros(3, 8, 8), sigma, KEY)
        )
    assert Mixed(share=0.2).share_at(1e-9) == 0.2


def test_without_a_share_it_is_the_tied_noise_and_with_all_of_it_independent():
    for tied in (Slerp(), Identical(), OrnsteinUhlenbeck()):
        assert torch.equal(Mixed(tied=tied, share=0.0)((5, 8, 8), KEY), tied((5, 8, 8), KEY))
        free = Mixed(tied=tied, share=1.0)((5, 64, 64), KEY)
        assert (correlation(free, "z") - torch.eye(5)).abs().max() < 5 / 64
        # and of planes that no tied strategy draws with this key
        drawn = torch.stack([standard_normal(KEY, i, (64, 64)) for i in range(5)])
        assert correlation(torch.cat((free, drawn)), "z")[:5, 5:].abs().max() < 5 / 64


@pytest.mark.parametrize(("eta", "temperature"), [(1.0, 1.0), (0.3, 0.5)])
def test_the_loop_says_the_level_not_the_size_of_the_noise(eta, temperature):
    asked = []

    @dataclass(frozen=True)
    class Asking(Mixed):
        def at(self, sigma: float) -> Strategy:
            asked.append(sigma)
            return super().at(sigma)

    sigmas = (0.5, 0.2, 0.05, 0.0)
    for strategy in (Asking(), Following(Asking(), lambda step: Reading("y"))):
        asked.clear()
        x = start(torch.zeros(4, 8, 8), sigmas[0], strategy, 0)
        share = Share(eta, temperature=temperature)
        list(sample(x, sigmas, lambda x, s: 0.5 * x, lambda d, s: d, strategy, 0, share))
        assert asked == [0.5, 0.2, 0.05]


def test_a_tied_strategy_is_laid_out_with_the_whole():
    tied, lanes = OrnsteinUhlenbeck(length=6.0), Lanes(2, offset=1)
    mixed = Mixed(tied=tied, share=0.0).laid_out(Reading("y", lanes), (1.0, 3.0, 1.0))
    assert torch.equal(mixed((4, 9, 8), KEY), replace(tied, along="y", lanes=lanes, spacing=3.0)((4, 9, 8), KEY))


# Words


@pytest.mark.parametrize(
    ("word", "settings", "expected", "label"),
    [
        ("ou", ["noise.length=3"], OrnsteinUhlenbeck(length=3.0), "DDS + OU 3 mm"),
        ("matern", ["noise.length=2.5"], Matern(length=2.5), "DDS + Matérn 2.5 mm"),
        ("anchors", ["noise.every=20"], Anchors(every=20.0), "DDS + ISCS 20 mm"),
        ("mixed", [], Mixed(), "DDS + ISCS with 10 % independent"),
        (
            "mixed",
            ["noise.tied=ou", "noise.tied.length=8", "noise.share=0", "noise.late=0.25"],
            Mixed(tied=OrnsteinUhlenbeck(length=8.0), share=0.0, late=0.25),
            "DDS + OU 8 mm with 0 to 25 % independent",
        ),
        ("mixed", ["noise.tied=independent"], Mixed(tied=Independent()), "DDS + independent with 10 % independent"),
    ],
)
def test_the_command_line_reaches_them(word, settings, expected, label):
    method = chosen_method("dds", "ct", noise=word, settings=settings)
    assert isinstance(method, Method) and method.noise == expected and method.label == label
    assert {"ou", "matern", "anchors", "mixed"} <= set(kinds_of(Strategy))


def test_a_length_is_kept_where_both_have_one_and_keys_hold_it():
    rough = changed(DDS, {"noise": {"kind": "ou", "length": 8}})
    assert changed(rough, {"noise": "matern"}).noise == Matern(length=8.0)
    assert differing(rough)["noise"] == {"kind": "ou", "length": 8.0}
    assert differing(changed(DDS, {"noise": {"kind": "mixed", "tied": "matern"}}))["noise"] == {
        "kind": "mixed",
        "tied": {"kind": "matern"},
    }


def test_a_process_of_one_s_own_is_a_transition():
    @dataclass(frozen=True)
    class Alternating(Markov):
        def transition(self, distance: float) -> Transition:
            k = -math.exp(-distance / self.length)
            return Transition(((k,),), ((math.sqrt(1 - k * k),),))

    noise = Alternating(length=4.0)((4, SIDE, SIDE), KEY)
    assert abs(float(correlation(noise, "z")[0, 1]) + math.exp(-0.25)) < 5 / SIDE


def test_a_silent_noise_is_refused_inside_a_mixture_too():
    @dataclass(frozen=True)
    class Silent(Strategy):
        def add_to_stack(self, stack, scale, key, first, count):
            pass

    with pytest.raises(CosliceError, match="the noise Silent adds nothing"):
        plan(zsr(), replace(DDS, noise=Mixed(tied=Silent())), prior())
