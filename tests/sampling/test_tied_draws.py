"""Torch's normal draws in a block: tied where they are the stack, torch's own bits everywhere else."""

import math
import threading
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import Tensor

import coslice
from coslice.errors import CosliceError
from coslice.noise import Key, Strategy
from coslice.tied_draws import TiedDraws, iscs, tied_normal

SHAPE = (5, 2, 24, 24)
STRATEGIES = [
    coslice.Slerp(),
    coslice.Slerp(angle=60),
    coslice.Identical(),
    coslice.Independent(),
    coslice.Matern(length=4.0, spacing=1.5),
    coslice.Anchors(every=2.0),
    coslice.Mixed(share=0.2),
]


def key(number: int, seed: int = 0) -> Key:
    return Key(seed, number, "tied draws")


def drawn(seed: int = 0, number: int = 0, shape: tuple[int, ...] = SHAPE) -> Tensor:
    """What draw `number` of a block is, by way of the strategy that reconstructions use."""
    flat = coslice.Slerp()((shape[0], 1, math.prod(shape[1:])), key(number, seed))
    return flat.view(shape)


class Named(Tensor):
    """A tensor of a class of its own, as MONAI's MetaTensor is."""


def within(block: TiedDraws, action: Callable[[], Any]) -> Any:
    with block:
        return action()


@pytest.fixture
def state() -> Iterator[Tensor]:
    """torch's random state, which is to be the same afterwards."""
    before = torch.get_rng_state()
    yield before
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("noise", STRATEGIES, ids=lambda noise: noise.kind + str(noise.label))
def test_a_draw_is_the_noise_of_a_volume(noise: Strategy, state):
    with iscs(3, noise):
        first, second = torch.randn(6, 1, 8, 10), torch.randn(6, 1, 8, 10)
    assert torch.equal(first[:, 0], noise((6, 8, 10), key(0, 3)))
    assert torch.equal(second[:, 0], noise((6, 8, 10), key(1, 3)))


def test_covariance_along_the_stack_is_the_closed_form():
    slices, pixels, draws = 9, 64 * 64, 4
    with iscs(seed=1):
        stacks = torch.cat([torch.randn(slices, 1, 64, 64).flatten(1) for _ in range(draws)], 1).double()
    a = torch.linspace(0, 1, slices, dtype=torch.float64)
    expected = torch.cos(math.pi / 2 * (a[:, None] - a[None, :]))
    # A covariance of n pairs has a standard error of at most sqrt(2/n); five of them.
    bound = 5 * math.sqrt(2 / (pixels * draws))
    assert (stacks @ stacks.T / stacks.shape[1] - expected).abs().max() < bound
    # and two draws have nothing to do with each other
    one, other = stacks[:, :pixels], stacks[:, pixels : 2 * pixels]
    assert (one @ other.T / pixels).abs().max() < 5 / math.sqrt(pixels)


def test_every_form_of_a_draw_is_the_same_draw(state):
    like = torch.zeros(SHAPE)
    forms = {
        "ints": lambda: torch.randn(*SHAPE),
        "tuple": lambda: torch.randn(SHAPE),
        "list": lambda: torch.randn(list(SHAPE)),
        "Size": lambda: torch.randn(torch.Size(SHAPE)),
        "keyword": lambda: torch.randn(size=SHAPE),
        "out": lambda: torch.randn(SHAPE, out=torch.empty(SHAPE)),
        "like": lambda: torch.randn_like(like),
        "like an expanded one": lambda: torch.randn_like(torch.zeros(()).expand(SHAPE)),
        "normal_": lambda: torch.empty(SHAPE).normal_(),
        "normal": lambda: torch.normal(0.0, 1.0, SHAPE),
        "normal of a mean": lambda: torch.normal(like),
        "normal of a spread": lambda: torch.normal(0.0, torch.ones(SHAPE)),
        "normal of both, broadcast": lambda: torch.normal(torch.zeros(5, 1, 1, 1), torch.ones(2, 24, 24)),
        "distribution": lambda: torch.distributions.Normal(like, 1.0).rsample(),
        "distribution, sampled": lambda: torch.distributions.Normal(0.0, 1.0).sample(SHAPE),
    }
    for name, form in forms.items():
        with iscs(seed=7):
            assert torch.equal(form(), drawn(7)), name


def test_mean_and_spread():
    mean, std = torch.arange(5.0).view(5, 1, 1, 1), torch.full((2, 24, 24), 0.5)
    eps, expected = drawn(2), 0.5 * drawn(2) + mean
    for form in (
        lambda: torch.normal(mean, std),
        lambda: torch.normal(mean.expand(SHAPE), 0.5),
        lambda: torch.normal(mean, std, out=torch.empty(SHAPE)),
    ):
        with iscs(2):
            torch.testing.assert_close(form(), expected, atol=1e-6, rtol=0)
    with iscs(2):
        torch.testing.assert_close(torch.empty(SHAPE).normal_(3, std=0.25), 3 + 0.25 * eps, atol=1e-6, rtol=0)
    with iscs(2):
        torch.testing.assert_close(torch.normal(-1, 2, size=SHAPE), 2 * eps - 1, atol=1e-6, rtol=0)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_other_dtypes_are_rounded_from_float32(dtype):
    with iscs():
        assert torch.equal(torch.randn(SHAPE, dtype=dtype), drawn().to(dtype))
    with iscs():
        assert torch.equal(torch.empty(SHAPE, dtype=dtype).normal_(), drawn().to(dtype))
    with iscs():
        # mean + std eps is rounded once, at the end, and in float64 it is float64 arithmetic
        scaled = drawn().to(torch.promote_types(dtype, torch.float32)) * 0.1 + 0.7
        assert torch.equal(torch.normal(0.7, 0.1, SHAPE, dtype=dtype), scaled.to(dtype))


def test_complex_numbers_have_half_the_variance_in_each_part():
    with iscs():
        eps = torch.randn(3, 1, 64, 64, dtype=torch.complex64)
    whole = eps.flatten(1).to(torch.complex128)
    covariance = whole @ whole.conj().T / whole.shape[1]
    a = torch.tensor([0, 0.5, 1], dtype=torch.float64)
    expected = torch.cos(math.pi / 2 * (a[:, None] - a[None, :]))
    bound = 5 / math.sqrt(64 * 64)
    assert (covariance.real - expected).abs().max() < bound and covariance.imag.abs().max() < bound
    assert abs(float(eps.real.square().mean()) - 0.5) < bound


def test_what_the_result_is_besides_its_numbers():
    with iscs():
        leaf = torch.randn(SHAPE, requires_grad=True)
        last = torch.randn_like(torch.zeros(SHAPE), memory_format=torch.channels_last)
        meant = torch.empty(SHAPE)
        assert torch.randn(SHAPE, out=meant) is meant and meant.normal_() is meant
    assert leaf.requires_grad and leaf.is_leaf and last.is_contiguous(memory_format=torch.channels_last)
    with iscs(), torch.no_grad():
        assert torch.equal(torch.randn(SHAPE), drawn())
    with iscs(), torch.inference_mode():
        assert torch.equal(torch.randn(SHAPE), drawn())
    with iscs():
        named = torch.randn_like(torch.zeros(SHAPE).as_subclass(Named))
    assert type(named) is Named and torch.equal(named.as_subclass(Tensor), drawn())
    leaf = torch.zeros(SHAPE, requires_grad=True)
    with pytest.raises(RuntimeError, match="in-place"):
        within(iscs(), leaf.normal_)


def test_the_axis_of_the_stack():
    with iscs(4, axis=2):
        video = torch.randn(1, 3, 5, 6, 7)
    assert torch.equal(video, tied_normal(coslice.Slerp(), key(0, 4), (1, 3, 5, 6, 7), axis=2))
    assert torch.equal(video.movedim(2, 0).reshape(5, -1), drawn(4, 0, (5, 1, 3, 6, 7)).reshape(5, -1))
    with iscs(4, axis=-1):
        assert torch.equal(torch.randn(6, 7, 5).movedim(-1, 0), drawn(4, 0, (5, 6, 7)))


@pytest.mark.parametrize(
    ("which", "draw"),
    [
        ({}, lambda: torch.randn(1, 3, 8, 8)),
        ({}, lambda: torch.randn(64)),
        ({}, lambda: torch.randn(8, 128)),
        ({}, lambda: torch.randn(0, 3, 8)),
        ({}, lambda: torch.zeros(5, 3, 8, dtype=torch.float32).uniform_()),
        ({}, lambda: torch.rand(5, 3, 8)),
        ({}, lambda: torch.nn.functional.dropout(torch.ones(5, 3, 8))),
        ({}, lambda: torch.bernoulli(torch.full((5, 3, 8), 0.5))),
        ({}, lambda: torch.nn.Conv2d(2, 2, 3).weight.detach()),
        ({}, lambda: torch.nn.Embedding(5, 3).weight.detach()),
        ({"size": 6}, lambda: torch.randn(SHAPE)),
        ({"ndim": 5}, lambda: torch.randn(SHAPE)),
        ({"dtype": torch.float16}, lambda: torch.randn(SHAPE)),
        ({"device": "meta"}, lambda: torch.randn(SHAPE)),
        ({"axis": 4}, lambda: torch.randn_like(torch.zeros(SHAPE))),
        ({"size": 6}, lambda: torch.zeros(SHAPE).normal_(1, 2)),
        ({"size": 6}, lambda: torch.normal(torch.ones(SHAPE), 2.0)),
    ],
)
def test_what_is_not_the_stack_gets_torch_s_own_bits(which, draw):
    torch.manual_seed(11)
    expected, after = draw(), torch.rand(3)
    torch.manual_seed(11)
    ties = iscs(0, **which)
    with pytest.warns(UserWarning, match="nothing was tied"):
        found = within(ties, lambda: (draw(), torch.rand(3)))
    assert torch.equal(found[0], expected) and torch.equal(found[1], after) and not ties.tied


def test_which_draws_are_tied_can_be_said():
    with iscs(0, size=5, ndim=4, dtype=torch.float32, device="cpu") as ties:
        torch.randn(SHAPE)
        for shape in ((6, 2, 24, 24), (5, 24, 24), (1, 5, 2, 24)):
            torch.randn(shape)
        torch.randn(SHAPE, dtype=torch.float64)
    assert ties.tied == {SHAPE: 1}
    assert {shape for shape, _ in ties.passed} == {(6, 2, 24, 24), (5, 24, 24), (1, 5, 2, 24), SHAPE}


def test_a_call_that_is_wrong_is_refused_by_torch():
    for wrong in (
        lambda: torch.randn(5, 2, -3),
        lambda: torch.randn(SHAPE, dtype=torch.int64),
        lambda: torch.normal(0.0, -1.0, SHAPE),
        lambda: torch.normal(torch.zeros(SHAPE), -torch.ones(SHAPE)),
        lambda: torch.zeros(SHAPE).normal_(0, -1),
        lambda: torch.normal(torch.zeros(3), torch.zeros(4)),
        lambda: torch.randn(SHAPE, colour=3),  # pyright: ignore[reportCallIssue]
    ):
        with pytest.raises((RuntimeError, TypeError, NotImplementedError)) as outside:
            wrong()
        with pytest.raises(type(outside.value)), iscs():
            wrong()


def test_a_generator_has_its_say_and_moves_on(state):
    def block(word: int, seed: int = 0) -> tuple[Tensor, Tensor]:
        generator = torch.Generator().manual_seed(word)
        with iscs(seed):
            return torch.randn(SHAPE, generator=generator), torch.empty(SHAPE).normal_(generator=generator)

    first, second = block(5)
    assert all(map(torch.equal, block(5), (first, second)))  # repeats
    correlations = torch.corrcoef(torch.stack([x[0].flatten() for x in (first, second, *block(6), *block(5, 1))]))
    assert (correlations - torch.eye(6)).abs().max() < 5 / math.sqrt(first[0].numel())
    generator = torch.Generator().manual_seed(5)
    with iscs():
        torch.randn(SHAPE)
        assert torch.equal(torch.randn(SHAPE, generator=generator), first)  # whatever was drawn before
        generator.manual_seed(5)
        assert torch.equal(torch.randn(SHAPE, generator=generator), first)  # a generator that is wound back


def test_the_seed_repeats_whatever_torch_is_seeded_with_and_however_many_threads():
    expected = drawn(9), drawn(9, 1)
    threads = torch.get_num_threads()
    block = iscs(9)
    try:
        for number in (1, 2):
            torch.set_num_threads(number)
            torch.manual_seed(number)
            with block:  # entered again, it begins again
                assert all(map(torch.equal, (torch.randn(SHAPE), torch.randn(SHAPE)), expected))
    finally:
        torch.set_num_threads(threads)
    with iscs(10):
        assert not torch.equal(torch.randn(SHAPE), expected[0])


def test_the_inner_block_wins_and_an_exception_leaves_all_as_it_was(state):
    with iscs(1) as outer:
        first = torch.randn(SHAPE)
        with iscs(2) as inner:
            assert torch.equal(torch.randn(SHAPE), drawn(2))
        with pytest.raises(KeyError), iscs(3):
            raise KeyError
        assert torch.equal(torch.randn(SHAPE), drawn(1, 1)) and torch.equal(first, drawn(1))
    assert outer.tied == {SHAPE: 2} and inner.tied == {SHAPE: 1}
    torch.manual_seed(0)
    expected = torch.randn(SHAPE)
    torch.manual_seed(0)
    assert torch.equal(torch.randn(SHAPE), expected)
    torch.set_rng_state(state)


def test_an_open_block_is_not_entered_twice():
    with iscs(1) as ties:
        with pytest.raises(CosliceError, match="open already"), ties:
            pass
        assert torch.equal(torch.randn(SHAPE), drawn(1))
    with ties:
        assert torch.equal(torch.randn(SHAPE), drawn(1))


def test_another_thread_is_outside_of_the_block():
    found = []
    torch.manual_seed(3)
    expected = torch.randn(SHAPE)
    torch.manual_seed(3)
    with iscs(1) as ties:
        torch.randn(SHAPE)
        thread = threading.Thread(target=lambda: found.append(torch.randn(SHAPE)))
        thread.start()
        thread.join()
    assert torch.equal(found[0], expected) and ties.tied == {SHAPE: 1}


@pytest.mark.parametrize("noise", [None, coslice.Matern(length=3.0), coslice.Independent()])
@pytest.mark.parametrize("with_generator", [False, True])
def test_chunks_are_parts_of_the_stack_in_either_order(noise, with_generator):
    shape, steps = (7, 1, 6, 6), 3
    starts = {0: 3, 3: 3, 6: 1}

    def draw(slices: int, generators: dict[int, torch.Generator], first: int = 0) -> Tensor:
        generator = generators.setdefault(first, torch.Generator().manual_seed(4)) if with_generator else None
        return torch.randn(slices, *shape[1:], generator=generator)

    with iscs(5, noise):
        made: dict[int, torch.Generator] = {}
        whole = [draw(7, made) for _ in range(steps)]
    with iscs(5, noise, size=7) as ties:  # a whole sampler for one chunk after the other
        made, parts = {}, {}
        for first, slices in starts.items():
            with ties.chunk(first, 7):
                parts[first] = [draw(slices, made, first) for _ in range(steps)]
    for step in range(steps):
        assert torch.equal(torch.cat([part[step] for part in parts.values()]), whole[step])
    with iscs(5, noise) as ties:  # one step after the other, each chunk by chunk, with one generator for all
        made = {}
        for step in range(steps):
            rows = []
            for first, slices in starts.items():
                with ties.chunk(first, 7):
                    rows.append(draw(slices, made))
            assert torch.equal(torch.cat(rows), whole[step])


def test_chunks_that_cannot_be_are_refused():
    ties = iscs(0, size=8)
    with pytest.raises(CosliceError, match="outside of its block"), ties.chunk(0, 8):
        pass
    with ties:
        for first, count in ((-1, 8), (8, 8), (0, 1), (0, 9)):
            with pytest.raises(CosliceError, match="counted from 0"), ties.chunk(first, count):
                pass
        with ties.chunk(0, 8), pytest.raises(CosliceError, match="another chunk"), ties.chunk(0, 8):
            pass
        with ties.chunk(6, 8):
            torch.randn(2, 1, 4, 4)
            torch.randn(3, 1, 4, 4)
    assert ties.tied == {(2, 1, 4, 4): 1} and "beyond a stack of 8" in repr(ties)


def test_a_block_says_what_it_tied_and_warns_of_nothing():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with iscs(3) as ties:
            torch.randn(SHAPE)
            torch.randn_like(torch.zeros(SHAPE))
            torch.randn(1, 4)
    assert isinstance(ties, TiedDraws)
    assert repr(ties).startswith("iscs(seed=3, noise=Slerp): 2 draws of (5, 2, 24, 24) tied; 1 draw of (1, 4) left")
    with pytest.warns(UserWarning, match="drew no normal numbers"):
        within(iscs(), lambda: torch.zeros(3))
    with pytest.warns(UserWarning, match=r"8 draws of \(1, 1, 4, 4\) left alone: 1 along axis 0.*one generator"):
        within(iscs(), lambda: [torch.randn(1, 1, 4, 4) for _ in range(8)])
    with pytest.raises(ZeroDivisionError):  # who raises has the word: here a warning would be an error
        within(iscs(), lambda: 1 / 0)


def test_what_cannot_be_is_refused_in_a_sentence():
    for wrong in (
        lambda: iscs(0, coslice.Slerp),  # pyright: ignore[reportArgumentType]
        lambda: iscs(0, coslice.Mixed(share=0.1, late=0.5)),
        lambda: iscs(0, size=1),
        lambda: iscs(0, spacing=0.0),
        lambda: iscs(0, spacing=math.inf),
    ):
        with pytest.raises(CosliceError, match=r"^iscs: .*[a-z]\.$"):
            wrong()


@pytest.mark.filterwarnings("ignore:iscs. nothing was tied")
def test_a_draw_without_numbers_is_left_to_torch():
    shape = within(iscs(0), lambda: torch.normal(*(torch.ones(SHAPE, device="meta"),) * 2).shape)
    assert shape == SHAPE


def test_spacing_is_that_of_the_slices():
    with iscs(0, coslice.OrnsteinUhlenbeck(length=6.0), spacing=3.0):
        eps = torch.randn(4, 1, 64, 64).flatten(1).double()
    apart = torch.arange(4.0)
    expected = torch.exp(-(apart[:, None] - apart[None, :]).abs() * 3 / 6)
    assert (torch.corrcoef(eps) - expected).abs().max() < 5 / 64


def test_compiled_code_is_the_same_code():
    """A network that is compiled draws nothing; a compiled step that draws is tied too."""
    step = torch.compile(lambda x: torch.relu(x) + torch.randn_like(x), backend="eager")
    with iscs(6) as ties:
        x = torch.randn(SHAPE)
        assert torch.equal(step(x), torch.relu(x) + drawn(6, 1))
    assert ties.tied == {SHAPE: 2}
