"""Scans that are damaged or lie: NIfTI and DICOM, one thing wrong with each."""

from functools import partial
from itertools import islice

import malformed_dicom
import malformed_nifti
import pytest
from malformed import read_here, tried

from coslice.io.dicom import open_dicom
from coslice.io.nifti import nifti_remarks, read_nifti

pytestmark = pytest.mark.faults

INSPECT = ("inspect", "--series", "1")
NIFTI = {
    "headers": malformed_nifti.headers,
    "values": malformed_nifti.values,
    "packing": malformed_nifti.packing,
    "flips": partial(malformed_nifti.flips, range(150)),
}
DICOM = {
    "elements": malformed_dicom.elements,
    "stacks": malformed_dicom.stacks,
    "files": malformed_dicom.files,
    "flips": partial(malformed_dicom.flips, range(60)),
    "single": partial(malformed_dicom.single, range(40)),
}


@pytest.mark.parametrize("kind", NIFTI)
def test_nifti_is_read_or_refused_in_a_sentence(tmp_path, kind):
    def read(path):
        nifti_remarks(path)
        read_nifti(path)

    count, wrong = read_here(read, NIFTI[kind](), tmp_path)
    assert not wrong, wrong
    assert count > 10


@pytest.mark.parametrize("kind", DICOM)
def test_dicom_is_read_or_refused_in_a_sentence(tmp_path, kind):
    count, wrong = read_here(open_dicom, DICOM[kind](), tmp_path)
    assert not wrong, wrong
    assert count > 10


@pytest.mark.parametrize("kind", NIFTI)
def test_a_command_refuses_nifti_within_its_memory(trials, tmp_path, kind):
    count, wrong = tried(trials, islice(NIFTI[kind](), 0, None, 8), tmp_path, ("inspect",))
    assert not wrong, wrong
    assert count > 2


@pytest.mark.parametrize("kind", DICOM)
def test_a_command_refuses_dicom_within_its_memory(trials, tmp_path, kind):
    count, wrong = tried(trials, islice(DICOM[kind](), 0, None, 9), tmp_path, INSPECT)
    assert not wrong, wrong
    assert count > 1


def test_a_reconstruction_leaves_nothing_behind_of_what_it_refuses(trials, tmp_path):
    inputs = [*islice(malformed_nifti.packing(), 0, 24, 5), *islice(malformed_dicom.stacks(), 0, 9, 2)]
    count, wrong = tried(trials, inputs, tmp_path, ("reconstruct", "--method", "fdk", "--views", "4"))
    assert not wrong, wrong
    assert count == 10
