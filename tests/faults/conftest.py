"""One process for the trials of a session, since its imports take seconds."""

from collections.abc import Iterator

import pytest
from harness import Trials


@pytest.fixture(scope="session")
def trials() -> Iterator[Trials]:
    with Trials() as started:
        yield started
