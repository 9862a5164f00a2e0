"""One process for the trials of a session, since its imports take seconds."""

import gzip
from collections.abc import Iterator

import pytest
from harness import Trials


@pytest.fixture(scope="session")
def trials() -> Iterator[Trials]:
    with Trials() as started:
        yield started


@pytest.fixture
def small_pack(tmp_path):
    """A folder with a pack of one small scan, split for travel."""
    from malformed_nifti import content

    from coslice.training.collection.pack import make_pack, split_pack
    from coslice.training.collection.scans import find_scans

    (tmp_path / "scan.nii.gz").write_bytes(gzip.compress(content()))
    pack = make_pack(find_scans([tmp_path]), "yx", "ct", tmp_path / "pack")
    split_pack(pack, tmp_path / "travel")
    return tmp_path / "travel"
