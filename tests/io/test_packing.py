"""Packed weights: every bit comes back, less room is taken, and a file cannot ask for more than it holds."""

import json
import tracemalloc
import zlib

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from coslice.errors import CosliceError
from coslice.io.packing import read_weights, stored_tensors, write_weights
from coslice.io.weight_levels import levels_of, on_levels, weights_of

EVERY_WORD = torch.arange(2**16).to(torch.int32).to(torch.int16)
"""All patterns of 16 bits: zeros of both signs, subnormal numbers, infinities, every NaN."""


def bits(tensor):
    return (tensor.view(torch.int16) if tensor.dtype == torch.bfloat16 else tensor).numpy().tobytes()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_every_pattern_of_bits_comes_back(dtype, tmp_path):
    assert len(EVERY_WORD.unique()) == 2**16
    given = {"b": EVERY_WORD.view(dtype).reshape(256, 4, 64), "a": EVERY_WORD.flip(0).view(dtype)}
    write_weights(tmp_path / "all.safetensors", given, {"coslice": "{}"}, packed=True)
    found = read_weights(tmp_path / "all.safetensors")
    assert set(found) == set(given)
    for name, weight in given.items():
        assert found[name].dtype == dtype and found[name].shape == weight.shape
        assert bits(found[name]) == bits(weight)


@pytest.mark.parametrize("seed", range(20))
def test_any_tensors_of_any_types_and_shapes_come_back(seed, tmp_path):
    """With empty ones, scalars, views that are not contiguous, and types that are not packed."""
    draw = np.random.default_rng(seed)
    dtypes = [torch.bfloat16, torch.float16, torch.float32, torch.float64, torch.int64, torch.bool]
    given = {}
    for number in range(draw.integers(1, 9)):
        shape = tuple(draw.integers(0, 6, size=draw.integers(0, 5)).tolist())
        values = torch.from_numpy(np.asarray(draw.standard_normal(shape) * 10.0 ** draw.integers(-12, 12)))
        weight = values.to(dtypes[draw.integers(len(dtypes))])
        given[f"{draw.integers(1000)}.{number}"] = weight.transpose(0, -1) if weight.ndim > 1 else weight
    for packed in (False, True):
        path = tmp_path / f"{packed}.safetensors"
        write_weights(path, given, {"of": "mine"}, packed)
        found = read_weights(path)
        assert set(found) == set(given)
        for name, weight in given.items():
            assert found[name].dtype == weight.dtype and found[name].shape == weight.shape
            assert bits(found[name]) == bits(weight)
        with safe_open(path, framework="pt") as file:
            assert file.metadata()["of"] == "mine"


def test_normal_weights_take_two_thirds_of_the_room_and_rounded_ones_less(tmp_path):
    """The entropy of a normal number's exponent is 2.5 bits, and a bit of its fraction that is always 0 takes none."""
    weights = torch.randn(200_000, generator=torch.Generator().manual_seed(0)).to(torch.bfloat16)
    sizes = {}
    for kept in (7, 5):
        lower = 2 ** (7 - kept) - 1
        rounded = (weights.view(torch.int16) & ~lower).view(torch.bfloat16)
        write_weights(tmp_path / "x.safetensors", {"w": rounded}, {}, packed=True)
        sizes[kept] = (tmp_path / "x.safetensors").stat().st_size * 8 / len(weights)
    assert 10.4 < sizes[7] < 10.8 and sizes[7] - sizes[5] == pytest.approx(2, abs=0.05)


def weights_like(kind, shape):
    """Weights that look like levels and are none, or are."""
    rounded = on_levels(torch.randn(shape, generator=torch.Generator().manual_seed(1)))
    changed = rounded.clone().view(torch.int16)
    if kind == "one bit off":
        changed.view(-1)[3] ^= 1
    elif kind == "a zero with a sign":
        changed.view(-1)[5] = torch.tensor(-0.0).to(torch.bfloat16).view(torch.int16)
    elif kind == "infinite":
        changed.view(-1)[3] = torch.tensor(float("inf")).to(torch.bfloat16).view(torch.int16)
    elif kind == "a channel of zeros":
        changed[1] = 0
    elif kind == "tiny":
        return on_levels(rounded * 1e-38)
    return changed.view(torch.bfloat16)


CONVOLUTION = (4, 3, 3, 3)
LOOKS = ("levels", "one bit off", "a zero with a sign", "infinite", "a channel of zeros", "tiny")
SHAPES = [("levels", (1, 20)), ("levels", (6, 2, 2)), ("ones", (40,)), ("ones", (3, 0, 7)), ("ones", ())]


@pytest.mark.parametrize(("kind", "shape"), [*((kind, CONVOLUTION) for kind in LOOKS), *SHAPES])
def test_weights_of_eight_bits_come_back_and_so_does_what_only_looks_like_them(kind, shape, tmp_path):
    weight = torch.ones(shape, dtype=torch.bfloat16) if kind == "ones" else weights_like(kind, shape)
    given = {"w": weight, "b": torch.arange(5).to(torch.bfloat16), "n": torch.arange(3)}
    write_weights(tmp_path / "x.safetensors", given, {}, packed=True)
    found = read_weights(tmp_path / "x.safetensors")
    assert set(found) == set(given) and all(bits(found[name]) == bits(value) for name, value in given.items())
    assert stored_tensors(tmp_path / "x.safetensors") == {n: (t.dtype, tuple(t.shape)) for n, t in given.items()}


def test_weights_of_eight_bits_take_seven_and_are_those_that_convolutions_of_eight_bits_multiply(tmp_path):
    """Rounding what is rounded changes nothing, with the steps that `coslice.networks.eight_bits` has."""
    weights = torch.randn(64, 32, 9, 9, generator=torch.Generator().manual_seed(0)) * torch.rand(64, 1, 1, 1)
    rounded = on_levels(weights)
    found = levels_of(rounded)
    assert found is not None
    levels, tops = found
    assert torch.equal(on_levels(rounded), rounded) and torch.equal(weights_of(levels, tops), rounded)
    assert int(levels.abs().amax()) == 127 and torch.equal(tops, rounded.abs().flatten(1).amax(1))
    steps = rounded.float().abs().amax((1, 2, 3)) / 127
    assert torch.equal((rounded.float() / steps[:, None, None, None]).round().to(torch.int8), levels)
    assert bool(((rounded.float() - weights).abs() <= (steps[:, None, None, None] * 1.01)).all())
    write_weights(tmp_path / "x.safetensors", {"w": rounded}, {}, packed=True)
    assert 6.8 < (tmp_path / "x.safetensors").stat().st_size * 8 / weights.numel() < 7.4


def written(path, **changes):
    """A packed file of 64 weights, some of its parts exchanged."""
    write_weights(path, {"w": torch.ones(8, 8, dtype=torch.bfloat16)}, {}, packed=True)
    with safe_open(path, framework="pt") as file:
        listed = file.metadata()["packed"]
    parts = {**load_file(path), **{name: value for name, value in changes.items() if name != "packed"}}
    metadata = {"packed": changes.get("packed", listed)}
    save_file({name: value for name, value in parts.items() if value is not None}, path, metadata=metadata)
    return path


def stream(content):
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    return torch.frombuffer(bytearray(packer.compress(content) + packer.flush()), dtype=torch.uint8)


FIRST, LEVELS = "packed.first", "packed.levels"
NOISE = np.random.default_rng(0).bytes(65)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({FIRST: stream(NOISE[:63])}, "not of the 64 weights"),
        ({FIRST: stream(NOISE)}, "not of the 64 weights"),
        ({FIRST: torch.cat((stream(NOISE[:64]), stream(NOISE)))}, "not of the 64 weights"),
        ({FIRST: stream(NOISE[:64])[:-9]}, "not of the 64 weights"),
        ({FIRST: torch.full((40,), 255, dtype=torch.uint8)}, "broken"),
        ({FIRST: None}, "missing"),
        ({FIRST: torch.zeros(40)}, "missing"),
        ({"w": torch.zeros(2)}, "w is in it twice"),
        ({"packed": json.dumps([["w", "BF16", [1 << 40, 1 << 40]]])}, "cannot hold the"),
        ({"packed": json.dumps([["w", "BF16", [-8, -8]]])}, "no sizes"),
        ({"packed": json.dumps([["w", "BF16", [8, 8.0]]])}, "no sizes"),
        ({"packed": json.dumps([["w", "F32", [8, 8]]])}, "cannot be read"),
        ({"packed": json.dumps([["w", "BF16/I8", [64, 1]]])}, "missing"),
        ({"packed": json.dumps([["w", "BF16/I8", [64, 1]]]), LEVELS: stream(NOISE)}, "not of the 64 weights"),
        ({"packed": json.dumps([["w", "BF16/I8", [64, 1 << 50]]]), LEVELS: stream(NOISE)}, "cannot hold the"),
        ({"packed": json.dumps([["w", "BF16/I8", []]])}, "without a channel"),
        ({"packed": "[["}, "cannot be read"),
        ({"packed": "3"}, "cannot be read"),
    ],
)
def test_a_file_whose_list_and_streams_differ_is_refused(changes, reason, tmp_path):
    path = written(tmp_path / "odd.safetensors", **changes)
    with pytest.raises(CosliceError, match=rf"odd\.safetensors was given, but .* \(.*{reason}.*\); get the file anew"):
        read_weights(path)


def test_a_stream_that_would_fill_the_memory_is_given_up(tmp_path):
    """A thousand times its own size, as zlib can: no further than a byte beyond what is listed."""
    bomb = stream(bytes(50_000_000))
    listed = json.dumps([["w", "BF16", [50_000_000]]])
    for listing, reason in (({}, "not of the 64 weights"), ({"packed": listed}, "cannot hold the 50000000 weights")):
        path = written(tmp_path / "bomb.safetensors", **{FIRST: bomb, "packed.second": bomb.clone(), **listing})
        tracemalloc.start()
        with pytest.raises(CosliceError, match=reason):
            read_weights(path)
        assert tracemalloc.get_traced_memory()[1] < 1_000_000
        tracemalloc.stop()


def test_a_name_that_packing_needs_is_refused(tmp_path):
    weights = {FIRST: torch.ones(3, dtype=torch.bfloat16)}
    with pytest.raises(CosliceError, match=r"packed\.first was given"):
        write_weights(tmp_path / "x.safetensors", weights, {}, packed=True)


@pytest.mark.parametrize("at_once", [1, 7, 100, 2**24])
def test_a_file_is_read_whole_however_many_numbers_at_once(at_once, tmp_path, monkeypatch):
    monkeypatch.setattr("coslice.io.packing._AT_ONCE", at_once)
    draw = torch.Generator().manual_seed(0)
    given = {str(side): torch.randn(side, 3, generator=draw) for side in range(9)}
    write_weights(tmp_path / "x.safetensors", given, {})
    found = read_weights(tmp_path / "x.safetensors")
    assert set(found) == set(given) and all(torch.equal(found[name], weight) for name, weight in given.items())
