"""What lies in folders beside scans, or is given in their place: pipes, devices, links, names that are no text."""

import gzip
import os
import socket
from pathlib import Path

import malformed_dicom
import malformed_nifti
import pytest
from malformed_recordings import GEOMETRY, npy_of_counts

from coslice.io.dicom import open_dicom
from coslice.training.collection.scans import find_scans

pytestmark = pytest.mark.faults

FDK = ("reconstruct", "--method", "fdk", "--views", "4")
NO_TEXT = os.fsdecode(b"b\xff\xfe\n.nii.gz")
ODD = {
    "pipe": "is a pipe",
    "pipe.nii.gz": "is a pipe",
    "pipe.dcm": "is a pipe",
    "pipe.npy": "is a pipe",
    "pipe.json": "is a pipe",
    "socket.nii": "is a socket",
    "/dev/zero": "is a device",
    "zero.nii.gz": "is a device",
    "zero": "is a device",
    "loop.nii.gz": "leads to itself",
    "gone.nii.gz": "link to nothing",
    "nowhere.nii": "does not exist",
    "scan.nii.gz/more": "does not exist",
}


@pytest.fixture(scope="module")
def odd(tmp_path_factory) -> Path:
    """A folder with one good scan and everything that is none."""
    folder = tmp_path_factory.mktemp("odd")
    for name in ("pipe", "pipe.nii.gz", "pipe.dcm", "pipe.npy", "pipe.json", "pipe.csv"):
        os.mkfifo(folder / name)
    here = Path.cwd()
    os.chdir(folder)  # the path of a socket is short
    with socket.socket(socket.AF_UNIX) as one:
        one.bind("socket.nii")
    os.chdir(here)
    for name, target in {
        "zero": "/dev/zero",
        "zero.nii.gz": "/dev/zero",
        "zero.dcm": "/dev/zero",
        "loop.nii.gz": "loop.nii.gz",
        "gone.nii.gz": "../.git/annex/objects/aa/bb/MD5E-s1",
        "gone.dcm": "nowhere",
        "self": ".",
        "up": "..",
    }.items():
        (folder / name).symlink_to(target)
    scan = gzip.compress(malformed_nifti.content())
    (folder / "scan.nii.gz").write_bytes(scan)
    (folder / NO_TEXT).write_bytes(scan[:-20])
    (folder / "half.nii.gz").write_bytes(scan[:200])
    (folder / "empty.nii").write_bytes(b"")
    (folder / "g.json").write_bytes(GEOMETRY)
    (folder / "p.npy").write_bytes(npy_of_counts())
    for k, content in enumerate(malformed_dicom.series()):
        (folder / f"{k}.dcm").write_bytes(content)
    (folder / os.fsdecode(b"\xffslice.dcm")).write_bytes(b"none")
    return folder


@pytest.mark.parametrize("name", ODD)
@pytest.mark.parametrize("command", [FDK, ("inspect",), ("evaluate", "scan.nii.gz")])
def test_what_is_no_file_is_refused_at_once(trials, odd, name, command):
    out = odd / "out"
    words = (*command, name, *(("--out", out) if command == FDK else ()))
    trial = trials.tried(*words, folder=odd, patience_s=20).refused(out)
    # A name that is nothing may also be a prior's.
    assert ODD[name] in trial.errors


@pytest.mark.parametrize("option", ["--geometry", "--flat", "--dark", "--reference"])
@pytest.mark.parametrize("name", ["pipe", "/dev/zero", "loop.nii.gz"])
def test_the_same_beside_projections(trials, odd, option, name):
    out = odd / "out"
    words = ["p.npy", "--geometry", "g.json", "--values", "lines", option, name]
    trials.tried(*FDK[:-2], *words, "--out", out, folder=odd, patience_s=20).refused(out)


def test_a_collection_is_found_among_it(odd):
    found = find_scans([odd])
    assert {scan.kind for scan in found.scans} == {"nifti", "dicom"} and len(found.scans) == 2
    kinds = {one.kind for one in found.skipped}
    expected = {"no plain files", "links to themselves", "content not fetched", "links to nothing", "empty files"}
    assert expected | {"damaged or cut short"} <= kinds
    for one in found.skipped:
        assert one.reason.isprintable() and len(one.reason) < 400


def test_a_series_is_found_among_it_and_the_rest_is_said(odd):
    scan = open_dicom(odd)
    assert scan.volume.shape == (8, 32, 32)
    said = " ".join(scan.notes)
    for words in ("links to files that are not there (3)", "pipes and devices", "damaged or no DICOM"):
        assert words in said


@pytest.mark.skipif(os.geteuid() == 0, reason="nothing is locked for the superuser")
def test_a_folder_that_may_not_be_searched_is_said(tmp_path, odd):
    for k, content in enumerate(malformed_dicom.series()):
        (tmp_path / f"{k}.dcm").write_bytes(content)
    (tmp_path / "locked").mkdir(mode=0)
    assert "may not search (1): locked" in " ".join(open_dicom(tmp_path).notes)
    assert "folders that cannot be searched" in {one.kind for one in find_scans([tmp_path]).skipped}


def test_a_link_to_the_folder_above_is_not_followed(tmp_path):
    for name in ("patient", "other"):
        (tmp_path / name).mkdir()
        for k, content in enumerate(malformed_dicom.series()):
            (tmp_path / name / f"{k}.dcm").write_bytes(content)
    (tmp_path / "patient" / "up").symlink_to("..")
    assert not any("copy" in note for note in open_dicom(tmp_path / "patient").notes)
    assert len(find_scans([tmp_path / "patient"]).scans) == 1


def test_a_name_that_is_no_text_becomes_results(trials, tmp_path):
    scan, out = tmp_path / os.fsdecode(b"s\xff.nii.gz"), tmp_path / "out"
    scan.write_bytes(gzip.compress(malformed_nifti.content()))
    assert trials.tried(*FDK, scan, "--out", out).sane().code == 0
    assert {"run.json", "report.html"} <= {path.name for path in out.iterdir()}
