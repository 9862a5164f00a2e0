"""The counter-based generator: the published words, and that ten rounds of it can be walked back."""

import numpy as np
import pytest
import torch

from coslice.philox import named_key, philox

WORD = 2**32 - 1


@pytest.mark.parametrize(
    ("counter_and_key", "words"),
    [
        ("00000000 00000000 00000000 00000000 00000000 00000000", "6627e8d5 e169c58d bc57ac4c 9b00dbd8"),
        ("ffffffff ffffffff ffffffff ffffffff ffffffff ffffffff", "408f276d 41c83b0e a20bc7c6 6d5451fd"),
        ("243f6a88 85a308d3 13198a2e 03707344 a4093822 299f31d0", "d16cfe09 94fdcceb 5001e420 24126ea1"),
    ],
)
def test_the_known_answers_of_random123(counter_and_key, words):
    asked = [int(word, 16) for word in counter_and_key.split()]
    assert philox(*asked) == tuple(int(word, 16) for word in words.split())
    c0, c1, c2, c3 = (torch.tensor(word) for word in asked[:4])
    tensors = philox(c0, c1, c2, c3, *asked[4:])
    assert [int(word) for word in tensors] == [int(word, 16) for word in words.split()]


def test_tensors_and_integers_give_the_same_words():
    draw = np.random.default_rng(0)
    counters, key = draw.integers(0, 2**32, (4, 50)), draw.integers(0, 2**32, 2).tolist()
    c0, c1, c2, c3 = torch.from_numpy(counters)
    together = torch.stack(philox(c0, c1, c2, c3, key[0], key[1]))
    for i, counter in enumerate(counters.T.tolist()):
        assert tuple(together[:, i].tolist()) == philox(*counter, *key)


def test_different_counters_give_different_words():
    """Every round is undone by the inverses of its two factors modulo 2^32, so none can be met twice."""
    draw = np.random.default_rng(1)
    for _ in range(20):
        counter, key = draw.integers(0, 2**32, 4).tolist(), draw.integers(0, 2**32, 2).tolist()
        c0, c1, c2, c3 = philox(*counter, *key)
        for number in reversed(range(10)):
            k0, k1 = (key[0] + number * 0x9E3779B9) & WORD, (key[1] + number * 0xBB67AE85) & WORD
            a, b = c3 * pow(0xD2511F53, -1, 2**32) & WORD, c1 * pow(0xCD9E8D57, -1, 2**32) & WORD
            c0, c1, c2, c3 = a, c0 ^ (b * 0xCD9E8D57 >> 32) ^ k0, b, c2 ^ (a * 0xD2511F53 >> 32) ^ k1
        assert [c0, c1, c2, c3] == counter


def test_every_seed_and_every_name_has_a_key_of_its_own():
    names = ["", "a", "a\0", "start", "renoise", "+renoise", "renoise-of-another", "sixteen letters.", "é"]
    names += ["a name of more than sixteen letters", "a name of more than sixteen letterS"]
    seeds = [0, 1, 2**32, 2**63, -1, 12345678901234567890]
    keys = {named_key(seed, name) for seed in seeds for name in names}
    assert len(keys) == len(seeds) * len(names)
    assert all(0 <= word <= WORD for key in keys for word in key)
    assert named_key(-1, "start") == named_key(2**64 - 1, "start")
