"""Nothing of a person leaves with a result: a mark is put wherever one may stand, and looked for in all files.

The list of attributes is that of the standard's basic profile, beside every text that pydicom's dictionary knows.
"""

import gzip
import json
from pathlib import Path

import numpy as np
import pytest
from pydicom import Dataset, Sequence, config, dcmread
from pydicom._dicom_dict import DicomDictionary
from pydicom.datadict import keyword_for_tag, tag_for_keyword

from coslice.data import embedded_scan
from coslice.io.dicom.carried import TECHNIQUE
from coslice.io.nifti import write_nifti
from dicom_series import write_series
from published import write_checkpoints
from small_training import SMALL

pytestmark = pytest.mark.faults

PROFILE = {int(tag, 16) for tag in (Path(__file__).parent / "basic_profile.txt").read_text().split()}
"""Tags of PS3.15, table E.1-1 (2026c), that pydicom's dictionary knows."""
MARK = "ZZMARK"
VALUES = {
    **dict.fromkeys(("LO", "SH", "ST", "LT", "UT", "UC"), f"{MARK} text"),
    "PN": f"{MARK}^Person",
    "AE": MARK,
    "UR": f"https://{MARK}.example",
    "DA": "18790314",
    "DT": "18790314113000",
    "TM": "113007.187903",
    "AS": "142Y",
    "UI": "1.2.826.0.1.87903.14",
}
"""A value for each kind of text."""
LOOKED_FOR = (MARK.encode(), b"18790314", b"113007.1879", b"142Y", b"87903.14")
NEEDED = {
    *("SOPClassUID", "SOPInstanceUID", "SeriesInstanceUID", "StudyInstanceUID", "FrameOfReferenceUID"),
    *("RescaleType", "PhotometricInterpretation", "TransferSyntaxUID", "MediaStorageSOPClassUID"),
    *("MediaStorageSOPInstanceUID", "SpecificCharacterSet", "ConversionType", "PatientPosition"),
}
"""By which a reader knows what it reads."""


def everything(folder):
    """By name, the content of all files below a folder, unpacked."""
    found = {}
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            content = path.read_bytes()
            found[str(path.relative_to(folder))] = gzip.decompress(content) if path.suffix == ".gz" else content
    assert found
    return found


def left_of(folder, marks, but=()):
    """(file, what stands around the mark) of every mark that is found in names or contents."""
    left = []
    for name, content in everything(folder).items():
        for mark in marks:
            place = content.find(mark)
            if place >= 0:
                left.append((name, content[max(0, place - 60) : place + 40]))
            if mark in name.encode():
                left.append((name, mark))
    return [one for one in left if not any(one[0].startswith(name) for name in but)]


def seeded(series):
    """Every text of the dictionary in every file of a series: at the top, in a sequence, in private elements."""
    for path in series.glob("*.dcm"):
        dataset = dcmread(path)
        for words in (dataset, nested := Dataset()):
            for tag, (vr, *_) in DicomDictionary.items():
                word = keyword_for_tag(tag)
                if vr in VALUES and word and word not in NEEDED and word not in TECHNIQUE and tag >> 16 > 2:
                    words.add_new(tag, vr, VALUES[vr])
        deeper = Dataset()
        deeper.PersonIdentificationCodeSequence = Sequence([nested])
        dataset.RequestAttributesSequence = Sequence([nested, deeper])
        block = dataset.private_block(0x0009, f"{MARK} creator", create=True)
        block.add_new(0x01, "LO", f"{MARK} private")
        dataset.save_as(path)


@pytest.fixture(scope="module")
def scan():
    chest = embedded_scan().slices(20, 30).resized(64)
    return chest.data.numpy()


@pytest.fixture
def series(tmp_path, scan):
    config.settings.writing_validation_mode, before = config.IGNORE, config.settings.writing_validation_mode
    stored = np.clip(scan + 1024, 0, None).astype(np.uint16)
    affine = np.array([[-6.7, 0, 0, 200.0], [0, -6.7, 0, 200.0], [0, 0, 3.0, 0], [0, 0, 0, 1]])
    folder = write_series(tmp_path / "in", stored, affine, RescaleSlope=1, RescaleIntercept=-1024)
    seeded(folder)
    config.settings.writing_validation_mode = before
    return folder


def test_no_attribute_of_the_basic_profile_is_carried_but_the_uids_that_its_option_keeps():
    assert len(PROFILE) > 600 and tag_for_keyword("PatientName") in PROFILE
    carried = {name for name in TECHNIQUE if tag_for_keyword(name) in PROFILE}
    assert carried == {"StudyInstanceUID", "FrameOfReferenceUID"}


def test_of_a_series_with_a_mark_in_every_attribute_none_is_left(series, tmp_path, trials):
    out = tmp_path / "out"
    words = ("reconstruct", series, "--method", "fdk", "--views", "8", "--dicom", "--out", out)
    assert trials.tried(*words).sane().code == 0
    assert not left_of(out, LOOKED_FOR)
    written = dcmread(next((out / "dicom").glob("*.dcm")))
    assert written.PatientIdentityRemoved == "YES" and not any(element.tag.is_private for element in written.iterall())
    source = dcmread(next(series.glob("*.dcm")))
    assert written.SeriesInstanceUID != source.SeriesInstanceUID and written.SOPInstanceUID != source.SOPInstanceUID
    assert trials.tried("inspect", series, "--out", tmp_path / "look").sane().code == 0
    assert not left_of(tmp_path / "look", LOOKED_FOR)


def test_who_asks_for_the_patient_gets_the_patient(series, tmp_path, trials):
    out = tmp_path / "out"
    words = ("reconstruct", series, "--method", "fdk", "--views", "8", "--dicom", "--keep-patient", "--out", out)
    assert trials.tried(*words).sane().code == 0
    written = dcmread(next((out / "dicom").glob("*.dcm")))
    assert str(written.PatientName) == f"{MARK}^Person" and written.PatientIdentityRemoved == "NO"
    assert {name.partition("/")[0] for name, _ in left_of(out, LOOKED_FOR)} == {"dicom"}


@pytest.fixture
def home(tmp_path, scan):
    """A folder called as a person is, with scans, projections, a method and a checkpoint that are called so too."""
    folder = tmp_path / f"{MARK}^JOHN"
    (folder / "scans").mkdir(parents=True)
    chest = embedded_scan().resized(64)
    write_nifti(chest.slices(20, 30), folder / f"{MARK}_ct.nii.gz")
    for number in range(2):
        write_nifti(chest.slices(30 * number, 30 * number + 8), folder / "scans" / f"{MARK}_{number}.nii.gz")
    angles = [10.0 * k for k in range(36)]
    recording = {"type": "parallel", "angles_deg": angles, "pixel_mm": 6.7, "rotation": "clockwise"}
    (folder / f"{MARK}_geometry.json").write_text(json.dumps(recording))
    ball = np.maximum(0, 1 - ((np.arange(64) - 31.5) / 20) ** 2) * 2
    np.save(folder / f"{MARK}_views.npy", np.broadcast_to(ball, (36, 8, 64)) + np.arange(36)[:, None, None] * 1e-4)
    (folder / f"{MARK}_method.py").write_text(
        "from dataclasses import replace\nfrom coslice.methods import find_method\n"
        "MINE = replace(find_method('dds'), name='mine')\n"
    )
    write_checkpoints(folder)
    (folder / "ncsnpp_tiny.pth").rename(folder / f"{MARK}_network.pth")
    return folder


def test_names_of_files_and_folders_stay_where_they_are(home, tmp_path, trials):
    """What is left by design: in a run's folder, which stays at home, its slices by the names of the scans."""
    ct, marks = home / f"{MARK}_ct.nii.gz", (MARK.encode(), str(tmp_path).encode())
    run, imported, small = tmp_path / "run", tmp_path / "imported", tmp_path / "small.yaml"
    imported.mkdir()
    small.write_text(json.dumps({"network": SMALL.to_dict(), "images": 4, "batch": 2}))
    few = ("--views", "8", "--steps", "3", "--prior", run / "prior.safetensors")
    views = ("--geometry", home / f"{MARK}_geometry.json", "--values", "lines", "--method", "fdk")
    network = ("--plane", "yx", "--window", "ct", "--range", "0:1", "--out", imported / "mine.safetensors")
    asked = {
        run: ("train", home / "scans", "--window", "ct", "--size", "32", "--config", small),
        imported: ("priors", "import", home / f"{MARK}_network.pth", *network),
        tmp_path / "a": ("reconstruct", ct, *few, "--method", "dds"),
        tmp_path / "b": ("reconstruct", ct, *few, "--method", f"{home / f'{MARK}_method.py'}:MINE"),
        tmp_path / "c": ("reconstruct", home / f"{MARK}_views.npy", *views),
        tmp_path / "d": ("inspect", home / f"{MARK}_views.npy", *views[:4]),
    }
    for out, words in asked.items():
        trial = trials.tried(*words, *(() if out == imported else ("--out", out)), patience_s=120).sane()
        assert trial.code == 0, trial
        assert not left_of(out, marks, ("slices/",) if out == run else ())
