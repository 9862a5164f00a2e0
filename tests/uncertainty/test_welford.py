"""Mean and deviation in one pass are those of all samples together, to the bit whatever the threads."""

import numpy as np
import pytest
import torch

from coslice.errors import CosliceError
from coslice.uncertainty import Welford


def samples(count: int, offset: float = 0.0, shape=(3, 5, 7)) -> list[torch.Tensor]:
    return [offset + torch.randn(shape, generator=torch.Generator().manual_seed(k)) for k in range(count)]


def spread_of(given) -> Welford:
    summed = Welford()
    for one in given:
        summed.add(one)
    return summed


@pytest.mark.parametrize("offset", [0.0, 1000.0])  # a spread that is small against the values
@pytest.mark.parametrize("count", [2, 3, 17])
def test_it_is_numpy_s_mean_and_standard_deviation(count, offset):
    given = samples(count, offset)
    summed, stack = spread_of(given), np.stack([one.double().numpy() for one in given])
    assert summed.count == count and summed.deviation is not None
    assert summed.mean.dtype == summed.deviation.dtype == torch.float32
    np.testing.assert_allclose(summed.mean, stack.mean(0), rtol=1e-6, atol=1e-6 + 1e-7 * offset)
    np.testing.assert_allclose(summed.deviation, stack.std(0, ddof=1), rtol=3e-6, atol=1e-6 + 1e-7 * offset)


def test_one_sample_is_its_own_mean_has_no_deviation_and_is_left_alone():
    (one,) = samples(1)
    before = one.clone()
    summed = spread_of([one])
    assert torch.equal(summed.mean, one) and summed.deviation is None
    summed.add(2 * one)
    assert torch.equal(one, before)


def test_equal_samples_have_no_spread():
    (one,) = samples(1)
    deviation = spread_of([one, one, one]).deviation
    assert deviation is not None and not deviation.any()


def test_threads_change_no_bit():
    given, before = samples(5, 0.3, (7, 67, 131)), torch.get_num_threads()
    found = []
    for threads in (1, 2, 3):
        torch.set_num_threads(threads)
        found.append(spread_of(given))
    torch.set_num_threads(before)
    for other in found[1:]:
        assert other.deviation is not None and found[0].deviation is not None
        assert torch.equal(found[0].mean, other.mean) and torch.equal(found[0].deviation, other.deviation)


def test_what_cannot_be_summed_is_refused():
    with pytest.raises(CosliceError, match="no sample"):
        _ = Welford().mean
    summed = spread_of(samples(1))
    with pytest.raises(CosliceError, match=r"\(3, 5, 8\) was given after one of \(3, 5, 7\)"):
        summed.add(torch.zeros(3, 5, 8))
