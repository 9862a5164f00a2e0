"""Whose scans they are, told by names, folders and DICOM, or by a rule; and nothing written gives a patient away."""

import hashlib
import json
import re
from dataclasses import replace

import nibabel
import numpy as np
import pytest
from pydicom.uid import generate_uid

from coslice.errors import CosliceError
from coslice.training.collection.pack import as_packed, known_scans, make_pack, open_pack, split, split_pack
from coslice.training.collection.scans import find_scans
from coslice.training.collection.subjects import ScanClue, subject_labels, subjects_of
from dicom_series import write_series


def grouped(paths, rule=None):
    """Sets of the paths that are one subject's, for paths of one subject with several."""
    clues = [ScanClue(tuple(path.split("/")), file=path.split("/")[-1] + ".nii.gz") for path in paths]
    labels, _ = subjects_of(clues, rule)
    groups = {}
    for path, label in zip(paths, labels, strict=True):
        groups.setdefault(label or path, set()).add(path)
    return sorted(sorted(group) for group in groups.values() if len(group) > 1)


def paths_of(text):
    """Groups apart by |, and their scans, with what they share before a colon: "a: 1 2" is a1, a2."""
    groups = []
    for group in text.split("|"):
        stem, _, ends = group.partition(":")
        groups.append(sorted(stem.strip() + end for end in ends.split()))
    return groups


@pytest.mark.parametrize(
    "text",
    [
        "BRATS_001: _0000 _0001 | BRATS_002: _0000 _0001",
        "BRATS_001: _0000 _0001",
        "BraTS20_Training_001: _t1 _t1ce _t2 _flair | BraTS20_Training_002: _t1 _flair",
        "acrinflt001: _a _b | acrinflt013:  | x: ",
        "P01: -T1 -T2 | P02: -T1 -T2",
        "P01: _20190312 _2020-01-01 | P02: _20190312 _20200101",
        "P01_ses-: 1 2 | P02_ses-: 1 2",
        "smith: _1 _2 | jones: _1 _2",
        "001: a b | 002: a b",
        "sub-01/ses-: 1/anat/T1w 2/anat/T1w | sub-02/anat/: T1w T2w",
        "sub-01: _ses-1_T1w _ses-2_T1w _acq-x_T1w",
        "P1: /ct /cbct | P2: /ct /cbct",
        "P1: /2019-01-01/ct /2020-01-01/ct | P2: /2019-01-01/ct /2020-01-01/ct",
        "ward/P1: /before/ct /after/ct | ward/P2: /before/ct /after/ct",
        "P001: /P001_x /P001_y | P002: /P002_x /P002_y",
        "OAS1_0001: _MR1 _MR2 | OAS1_0002: _MR1 _MR2",
        "NL01: _m00 _m12 | NL02: _m00 _m12",
        "Case12: A B | Case13: A B",
        "IXI002-Guys-0828: -T1 -T2 | IXI012-HH-1211: -T1 -T2",
    ],
)
def test_scans_of_one_person_stay_together(text):
    groups = paths_of(text)
    assert grouped([path for group in groups for path in group]) == sorted(g for g in groups if len(g) > 1)
    mirrored = [path for group in reversed(groups) for path in reversed(group)]
    assert grouped(mirrored) == sorted(g for g in groups if len(g) > 1)


@pytest.mark.parametrize(
    "paths",
    [
        [f"scan{n}" for n in range(12)],
        [f"case_{n}" for n in range(12)],
        [f"lung_{n:03d}" for n in range(12)],
        [f"case_{n:04d}" for n in range(12)],
        [f"kits19_{n:03d}" for n in range(12)],
        [f"ds002748_scan{n}" for n in range(30)],
        ["a", "b", "c"],
        ["T1_1", "T1_2", "T1_3"],
        ["imagesTr/P001", "imagesTr/P002", "imagesTs/P003"],
        ["volume-0", "volume-1", "volume-2", "volume-3", "volume-4", "volume-5"],
        ["a/one", "b/c/one"],
        ["OAS1_0001", "OAS1_0002"],
    ],
)
def test_numbers_of_patients_are_not_taken_for_repetitions(paths):
    assert grouped(paths) == []


def test_scans_of_one_person_in_folders_of_modalities_stay_together():
    paths = [f"{folder}/P00{n}" for folder in ("CT_images", "MR_images") for n in (1, 2, 3)]
    assert grouped(paths) == [[f"CT_images/P00{n}", f"MR_images/P00{n}"] for n in (1, 2, 3)]


def test_what_two_signs_tell_is_joined():
    clues = [ScanClue(("sub-1_a",), "x"), ScanClue(("sub-1_b",)), ScanClue(("sub-2_a",), "x"), ScanClue(("sub-3_a",))]
    assert subjects_of(clues)[0] == ["subject-1", "subject-1", "subject-1", ""]


def test_labels_are_numbers_in_the_order_of_scans():
    assert subject_labels(["9", "x", "7", "9", "7"]) == ["subject-1", "", "subject-2", "subject-1", "subject-2"]


@pytest.mark.parametrize(
    ("content", "file"),
    [
        ("scan,subject\na/x1,P\nb/y.nii.gz,P\nz,Q\nw,Q\n", "s.csv"),
        ("x1\tP\ny\tP\nz.nii.gz\tQ\nw\tQ\n", "s.tsv"),
        ("\ufeffx1;P\r\ny;P\r\n\r\nz;Q\r\nw;Q\r\n", "s.csv"),
    ],
)
def test_a_table_says_whose_the_scans_are(tmp_path, content, file):
    (tmp_path / file).write_text(content, encoding="utf-8")
    paths = ["a/x1", "b/y", "z", "w", "a/new"]
    assert grouped(paths, str(tmp_path / file)) == [["a/x1", "b/y"], ["w", "z"]]
    _, how = subjects_of([ScanClue(("w",)), ScanClue(("new",))], str(tmp_path / file))
    assert how.startswith(f"2 scans of 2 subjects: as {file} says, which does not tell of 1 scans")


def test_a_pattern_says_whose_the_scans_are():
    paths = ["x/P1/a", "x/P1/b", "y/P2/a", "z/P2_b", "other"]
    assert grouped(paths, r"(P\d+)") == [["x/P1/a", "x/P1/b"], ["y/P2/a", "z/P2_b"]]


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        ("(a", "no regular expression"),
        ("a+", "one group"),
        ("(a)(b)", "one group"),
        ("(a)" + "b?" * 200, "at most 300 letters"),
        ("(Q)", "tells of none of the 1 scans, the first of which is x/a"),
        ("nowhere.csv", "no such file"),
        ({"s.csv": "a\n"}, "row 1 of .* lacks a subject"),
        ({"s.csv": "x/a,P\nx/a,Q"}, "two subjects"),
        ({"s.csv": "b,P"}, "tells of none"),
        ({"s.tsv": b"\xff\xfe\x00"}, "cannot be read as text"),
    ],
)
def test_a_rule_that_cannot_be_one_is_refused(tmp_path, rule, message):
    if isinstance(rule, dict):
        name, content = rule.popitem()
        (tmp_path / name).write_bytes(content if isinstance(content, bytes) else content.encode())
        rule = str(tmp_path / name)
    with pytest.raises(CosliceError, match=f"^subjects: .*{message}"):
        subjects_of([ScanClue(("x", "a"))], rule)


def save(path, seed=0):
    values = np.random.default_rng(seed).integers(-1000, 500, (32, 33, 3)).astype(np.int16)
    path.parent.mkdir(parents=True, exist_ok=True)
    nibabel.save(nibabel.Nifti1Image(values, np.eye(4)), path)
    return path


def series(folder, patient, **more):
    stored = np.random.default_rng(len(str(folder))).integers(0, 3000, (3, 32, 33)).astype(np.uint16)
    return write_series(folder, stored, PatientID=patient, **more)


IDS = ("4711234", "0815-X")


@pytest.fixture
def patients(tmp_path):
    """Two patients with two series each, a folder of which is called as the patient is, and one who has no number."""
    series(tmp_path / "a" / "4711234", IDS[0])
    series(tmp_path / "a" / "thin", IDS[0])
    series(tmp_path / "b" / "x", IDS[1])
    series(tmp_path / "b" / "doe_jane", IDS[1], PatientName="Doe^Jane")
    series(tmp_path / "c" / "y", "ANONYMOUS")
    series(tmp_path / "c" / "z", "ANONYMOUS")
    return tmp_path / "a", tmp_path / "b", tmp_path / "c"


def test_nothing_in_a_pack_can_be_tried_against_a_list_of_patients(patients, tmp_path):
    found = find_scans(patients)
    assert "PatientID (4)" in found.subjects
    pack = make_pack(found, "yx", "ct", tmp_path / "pack")
    assert [scan.subject for scan in pack.scans] == ["subject-1", "subject-1", "subject-2", "subject-2", "", ""]
    assert sorted(pack.names) == ["series", "series_2", "thin", "x", "y", "z"]
    split_pack(pack, tmp_path / "travel")
    for folder in ("pack", "travel"):
        text = (tmp_path / folder / "pack.json").read_text()
        for told in (*IDS, "doe", "jane"):
            assert told not in text.replace(str(tmp_path), "")
            for way in ("md5", "sha1", "sha256", "sha512", "blake2b"):
                for written in (told, told.lower(), told.upper(), told + "\n"):
                    assert hashlib.new(way, written.encode()).hexdigest()[:8] not in text
    # What is left of hashes are those of the arrays themselves.
    record = json.loads((tmp_path / "travel" / "pack.json").read_text())
    for scan in record["scans"]:
        assert scan["source"] is None
        content = hashlib.sha256(pack.slices(scan["name"]).tobytes()).hexdigest()
        assert re.fullmatch(rf"{scan['name']}-{content[:12]}\.npy", scan["file"])
    again = make_pack(find_scans(patients, known=known_scans(tmp_path / "pack")), "yx", "ct", tmp_path / "pack")
    assert again == pack == open_pack(tmp_path / "pack")


def test_both_sides_of_the_split_are_of_different_people(tmp_path):
    for n in range(5):
        for channel in range(2):
            save(tmp_path / f"B_{n:03d}_{channel:04d}.nii", seed=n)
    pack = make_pack(find_scans([tmp_path]), "yx", "ct", tmp_path / "pack")
    for share in (0.1, 0.4, 0.6):
        train, held = split(pack, share)
        assert not {name[:5] for name in train} & {name[:5] for name in held}
        assert len(held) == 2 * max(1, round(5 * share))
    first = split(pack, 0.3)
    other = make_pack(find_scans([tmp_path], subjects=r"^(B_\d+)"), "yx", "ct", tmp_path / "other")
    assert split(other, 0.3) == first  # whatever told it


def by_digest(names):
    return sorted(names, key=lambda name: hashlib.sha256(name.encode()).hexdigest())


def test_who_is_held_out_is_as_it_always_was(tmp_path):
    """Of scans that are alone by their names, of BIDS by the subject's, and in older packs by what these hold."""
    names = [f"lung_{n:03d}" for n in range(5)]
    for number, name in enumerate(names):
        save(tmp_path / "plain" / f"{name}.nii", number)
        save(tmp_path / "bids" / f"sub-{number}_T1w.nii", number)
    plain = make_pack(find_scans([tmp_path / "plain"]), "yx", "ct", tmp_path / "p1")
    assert set(split(plain, 0.4)[1]) == set(by_digest(names)[:2])
    bids = make_pack(find_scans([tmp_path / "bids"]), "yx", "ct", tmp_path / "p2")
    held = {f"{subject}_T1w" for subject in by_digest([f"sub-{n}" for n in range(5)])[:2]}
    assert set(split(bids, 0.4)[1]) == held
    hashes = [hashlib.sha256(str(n // 2).encode()).hexdigest()[:12] for n in range(5)]
    older = replace(plain, scans=tuple(replace(s, subject=h) for s, h in zip(plain.scans, hashes, strict=True)))
    expected = {name for name, h in zip(names, hashes, strict=True) if h in by_digest(set(hashes))[:1]}
    assert set(split(older, 0.4)[1]) == expected


def old_format(folder, subjects):
    """The pack in `folder` as it was written before subjects were labels."""
    record = json.loads((folder / "pack.json").read_text())
    for scan, subject in zip(record["scans"], subjects, strict=True):
        scan["subject"] = scan["source"]["subject"] = subject
    (folder / "pack.json").write_text(json.dumps(record))


def test_a_pack_of_before_is_read_kept_for_its_run_and_travels_without_hashes(tmp_path):
    for name in ("A1_1", "A1_2", "B1_1", "C1_1"):
        save(tmp_path / "scans" / f"{name}.nii", seed=len(name))
    folder = tmp_path / "pack"
    make_pack(find_scans([tmp_path / "scans"]), "yx", "ct", folder)
    hashes = ["aaaaaaaaaaaa", "", "aaaaaaaaaaaa", "cccccccccccc"]
    old_format(folder, hashes)
    older = open_pack(folder)
    assert [scan.subject for scan in older.scans] == hashes
    found = find_scans([tmp_path / "scans"], known=known_scans(folder))
    assert [scan.subject for scan in found.scans] == ["subject-1", "subject-1", "", ""]
    kept = as_packed(found, folder)
    assert kept is not None and [scan.subject for scan in kept.scans] == hashes
    same = make_pack(kept, "yx", "ct", folder)
    assert all(split(same, share) == split(older, share) for share in (0.2, 0.5))
    split_pack(older, tmp_path / "travel")
    assert [s.subject for s in open_pack(tmp_path / "travel").scans] == ["subject-1", "", "subject-1", ""]
    assert not any(h in (tmp_path / "travel" / "pack.json").read_text() for h in hashes if h)
    (tmp_path / "scans" / "C1_1.nii").unlink()
    assert as_packed(find_scans([tmp_path / "scans"]), folder) is None


def test_series_of_one_patient_are_one_subject(tmp_path):
    series(tmp_path / "ct", "A", SeriesInstanceUID=generate_uid())
    save(tmp_path / "a.nii")
    found = find_scans([tmp_path])
    assert [scan.subject for scan in found.scans] == ["", ""] and "PatientID (1)" in found.subjects
