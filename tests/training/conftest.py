"""Scans and a pack on which small runs train."""

import pytest

from small_runs import packed_discs, saved_discs


@pytest.fixture(scope="module")
def scans(tmp_path_factory):
    return saved_discs(tmp_path_factory.mktemp("scans"))


@pytest.fixture(scope="module")
def pack(scans, tmp_path_factory):
    return packed_discs(scans, tmp_path_factory.mktemp("pack"))
