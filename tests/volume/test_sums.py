"""Inner products: exact in value, and the same to the last bit on any number of threads."""

import pytest
import torch

from coslice.sums import inner


@pytest.mark.parametrize("shape", [(3,), (5, 7), (40, 64, 65), (16, 96, 96)])
def test_the_sum_of_products_in_float64(shape):
    generator = torch.Generator().manual_seed(0)
    a, b = torch.randn(2, *shape, generator=generator)
    assert inner(a, b) == pytest.approx(float((a.double() * b.double()).sum()), rel=1e-5, abs=1e-4)


def test_neither_threads_nor_a_shared_memory_order_matter():
    generator = torch.Generator().manual_seed(1)
    a, b = torch.randn(2, 48, 64, 65, generator=generator)
    turned = [t.permute(1, 2, 0).contiguous().permute(2, 0, 1) for t in (a, b)]
    threads = torch.get_num_threads()
    values, values_turned = set(), set()
    try:
        for count in (1, 2, 3, 4):
            torch.set_num_threads(count)
            values.add(inner(a, b))
            values_turned.add(inner(*turned))
    finally:
        torch.set_num_threads(threads)
    assert len(values) == 1 and len(values_turned) == 1
    assert values.pop() == pytest.approx(values_turned.pop(), rel=1e-6)
