"""Priors of strangers: what is not one is a sentence, nothing of it is run, and no more is allocated than is there."""

import os
import shutil
from itertools import islice

import malformed_priors
import pytest
from small_inputs import ended, good_prior, tiny_scan

from coslice.priors import read_card
from published import write_checkpoints

pytestmark = pytest.mark.faults


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("priors")
    return folder, good_prior(folder), tiny_scan(folder)


def _tried(trials, place, content, suffix, use):
    folder, _, scan = place
    file, out = folder / f"bad{suffix}", folder / "out"
    shutil.rmtree(out, ignore_errors=True)  # of what was rightly accepted
    file.write_bytes(content)
    words = ("--method", "dds", "--steps", "1", "--views", "4", "--prior", file, "--out", out)
    done = trials.tried("reconstruct", scan, *words) if use else trials.tried("priors", "show", file)
    assert not (folder / "pwned").exists() and not os.path.exists("pwned")
    return done


def test_metadata_are_typed(trials, place):
    """Every entry of another type, out of bounds, too long or too deep; some by command, and some of these in use."""
    file = place[0] / "card.safetensors"
    for number, (_, content) in enumerate(islice(malformed_priors.metadata(place[1]), 0, None, 2)):
        file.write_bytes(content)
        ended(lambda: read_card(file))
        if number % 18 == 0:
            _tried(trials, place, content, ".safetensors", use=number % 36 == 0).sane()


@pytest.mark.parametrize(
    ("path", "value", "said"),
    [
        (("sigma_range",), [20.0, 0.002], "sigma_range is 20 to 0.002"),
        (("sigma_range",), [0.002], "sigma_range is [0.002]"),
        (("sigma_range",), "0:1", "sigma_range is '0:1'"),
        (("plane",), "xx", "two different axes"),
        (("plane",), 3, "plane is 3, but a word is needed"),
        (("window",), "1:0", "must be ct, mr, or LOW:HIGH"),
        (("window",), "-inf:inf", "must be ct, mr, or LOW:HIGH"),
        (("denoiser", "data_std"), 0, "data_std 0 were given"),
        (("denoiser", "data_std"), -1, "data_std -1 were given"),
        (("denoiser", "data_std"), malformed_priors.RAW + "Infinity", "it holds Infinity"),
        (("denoiser", "data_std"), "x", "denoiser.data_std is 'x', but a number is needed"),
        (("denoiser", "kind"), "ve", "the key denoiser.data_mean is not known"),
        (("network",), "ncsnpp", "the key fold is not known"),
        (("config", "multipliers"), [10**6], "numbers above 0 and up to 1024"),
        (("config", "blocks"), 10**9, "blocks 1000000000 was given"),
        (("config", "channels"), 2**40, "channels 1099511627776 was given"),
        (("config", "channels"), 64 * 1024, "the two do not belong together"),
        (("card",), "a card", "card is 'a card'"),
        (("card", "name"), ["x"], "card.name is ['x']"),
        (("card", "seen"), {"pixel_mm": [2, 1]}, "card.seen.pixel_mm is [2, 1]"),
        (("card", "notes"), malformed_priors.RAW + "[" * 200_000, "nested too deeply"),
        (("card", "images"), malformed_priors.RAW + malformed_priors.HUGE, "a number of 5000 digits"),
    ],
)
def test_what_is_wrong_is_named(trials, place, path, value, said):
    described, weights = malformed_priors.parts(place[1])
    content = malformed_priors.written(malformed_priors.replaced(described, path, value), weights)
    assert said in _tried(trials, place, content, ".safetensors", use=True).refused(place[0] / "out").errors


def test_tensors_are_those_of_the_network(trials, place):
    for label, content in malformed_priors.tensors(place[1]):
        use = label.endswith(("NaN", "inf"))  # which the header does not tell
        done = _tried(trials, place, content, ".safetensors", use).refused(place[0] / "out")
        assert "prior" in done.errors or "bad" in done.errors, (label, done)


def test_headers_that_lie_are_refused(trials, place):
    for label, content in malformed_priors.headers(place[1]):
        _tried(trials, place, content, ".safetensors", use=label.startswith("packed")).refused(place[0] / "out")


def test_pickles_are_never_run(trials, place, monkeypatch):
    for _, content in malformed_priors.pickles():
        _tried(trials, place, content, ".pt", use=False).refused()


def test_checkpoints_take_no_more_memory_than_they_are_long(trials, place):
    write_checkpoints(place[0])
    for _, content in malformed_priors.archives(place[0] / "ncsnpp_tiny.pth"):
        _tried(trials, place, content, ".pth", use=False).refused()


def test_one_odd_file_in_the_store_hides_no_other(trials, place, tmp_path):
    store = tmp_path / "store"
    store.mkdir()
    (store / "mine.safetensors").write_bytes(place[1].read_bytes())
    (store / "odd.safetensors").write_bytes(b"nonsense")
    (store / "folder.safetensors").mkdir()
    (store / "dangling.safetensors").symlink_to(tmp_path / "nowhere")
    os.mkfifo(store / "pipe.safetensors")
    (store / "red\x1b[31m.safetensors").write_bytes(b"{")
    done = trials.tried("priors", environment={"COSLICE_PRIORS": str(store)}).sane()
    assert done.code == 0 and "mine (yours)" in done.output
    for name in ("odd", "folder", "dangling", "pipe", r"red\x1b[31m"):
        assert f"{name} in your store is no prior" in done.errors
