"""Projections that are damaged or lie: NumPy, HDF5, MATLAB, MetaImage, TIFF."""

from functools import partial
from itertools import islice

import malformed_recordings as made
import pytest
from malformed import read_here, tried

from coslice.io.recordings import dataset_names, read_recording

pytestmark = pytest.mark.faults

FORMATS = {
    "npy": partial(made.npy, range(60)),
    "npz": partial(made.npz, range(60)),
    "hdf5": partial(made.hdf5, range(36)),
    "matlab": partial(made.matlab, range(40)),
    "meta_images": partial(made.meta_images, range(40)),
    "tiffs": partial(made.tiffs, range(40)),
}


@pytest.mark.parametrize("kind", FORMATS)
def test_projections_are_read_or_refused_in_a_sentence(tmp_path, kind):
    def read(path):
        dataset_names(path)
        recording = read_recording(path)
        assert recording.data.ndim == 3

    count, wrong = read_here(read, FORMATS[kind](), tmp_path)
    assert not wrong, wrong
    assert count > 80


@pytest.mark.parametrize("kind", FORMATS)
def test_a_command_refuses_projections_within_its_memory(trials, tmp_path, kind):
    count, wrong = tried(trials, islice(FORMATS[kind](), 0, None, 13), tmp_path, ("inspect", "--geometry", "g.json"))
    assert not wrong, wrong
    assert count > 5
