"""Folders as they are: what is no usable scan is counted with a true reason, and nothing hangs or is passed over."""

import os
import socket

import nibabel
import numpy as np
import pydicom
import pytest

from coslice.data import embedded_scan
from coslice.errors import CosliceError
from coslice.training.collection.scans import find_scans
from coslice.training.collection.skips import skipped_table
from dicom_series import numbers, write_series

SHAPE = (36, 34, 4)  # (x, y, z)


def noise(seed=0, shape=SHAPE):
    return np.random.default_rng(seed).integers(-1000, 500, shape).astype(np.int16)


def save(path, values=None, affine=None):
    """A NIfTI file, of noise in HU if nothing else is given; any name."""
    path.parent.mkdir(parents=True, exist_ok=True)
    image = nibabel.Nifti1Image(
        noise(len(path.name)) if values is None else values, np.eye(4) if affine is None else affine
    )
    plain = path.with_name(f"x{path.name}.nii{'.gz' if path.name.lower().endswith('.gz') else ''}")
    nibabel.save(image, plain)
    plain.rename(path)
    return path


def kinds(found):
    return {one.path.name: one.kind for one in found.skipped}


def body():
    """Of the embedded chest, every fourth pixel."""
    return embedded_scan().data[::16, ::4, ::4].numpy().T.astype(np.int16)


def numbers_of_32():
    return np.random.default_rng(0).integers(0, 3000, (3, 32, 33)).astype(np.uint16)


def searched(folder, **how):
    return find_scans([folder], **{"plane": "yx", "window": "ct", **how})


def _bare(path):
    write_series(path.parent / "d", numbers()[:1])
    whole = path.parent / "d" / "0000.dcm"
    path.write_bytes(whole.read_bytes()[132:])
    whole.unlink()


def _implicit(path):
    path.write_bytes(b"\x08\x00\x05\x00\x0a\x00\x00\x00ISO_IR 100\x08\x00\x16\x00" + bytes(400))


def _pair(path):
    nibabel.save(nibabel.Nifti1Pair(noise(), np.eye(4)), path)


def _analyze(path):
    nibabel.save(nibabel.AnalyzeImage(noise(), np.eye(4)), path)


def _broken_gzip(path):
    save(path)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 255
    path.write_bytes(content)


NOT_READ = {
    "pair.hdr": (_pair, "Analyze or NIfTI pair (.hdr, .img): not read"),
    "analyze.img": (_analyze, None),
    "half.img": (lambda p: p.write_bytes(bytes(900)), "Analyze or NIfTI pair (.hdr, .img): not read"),
    "a.mha": (lambda p: p.write_text("ObjectType = Image"), "MetaImage: not read"),
    "A.MHD": (lambda p: p.write_text("ObjectType = Image"), "MetaImage: not read"),
    "a.nrrd": (lambda p: p.write_bytes(b"NRRD0004"), "NRRD: not read"),
    "brain.mgz": (lambda p: p.write_bytes(b"\x1f\x8b"), "MGH: not read"),
    "a.nii.bz2": (lambda p: p.write_bytes(b"BZh9"), "NIfTI packed otherwise than by gzip: not read"),
    "scan.bak": (save, "NIfTI under another name"),
    "bare": (_bare, None),
    "bare.IMA": (_implicit, "DICOM without preamble"),
    "text.DCM": (lambda p: p.write_text("no"), "damaged or no DICOM, whatever the name"),
    "text.nii": (lambda p: p.write_text("no scan" * 99), "no NIfTI file, whatever the name says"),
    "short.NII": (lambda p: p.write_bytes(save(p).read_bytes()[:-100]), "damaged or cut short"),
    "broken.nii.gz": (_broken_gzip, "damaged or cut short"),
    "none.nii.gz": (lambda p: p.touch(), "empty files"),
    "._x.nii.gz": (lambda p: p.write_bytes(b"\0\5\x16\7"), "hidden files"),
    "gone.nii.gz": (lambda p: p.symlink_to("nowhere.nii.gz"), "links to nothing"),
    "annexed.nii.gz": (lambda p: p.symlink_to(".git/annex/objects/x/y"), "content not fetched"),
    "IM0001": (lambda p: p.symlink_to("../.git/annex/objects/x/y"), "content not fetched"),
    "unlocked.nii.gz": (lambda p: p.write_text("/annex/objects/MD5E-s12--ab.nii.gz\n"), "content not fetched"),
    "lfs.nii": (lambda p: p.write_text("version https://git-lfs.github.com/spec/v1\n"), "content not fetched"),
    "self.nii": (lambda p: p.symlink_to(p.name), "links to themselves"),
    "pipe.nii.gz": (os.mkfifo, "no plain files"),
    "pipe": (os.mkfifo, "no plain files"),
    "device.nii": (lambda p: p.symlink_to("/dev/zero"), "no plain files"),
    "4d.nii": (lambda p: save(p, np.zeros((34, 34, 4, 5), np.int16)), "not one 3D volume"),
    "nan.nii": (lambda p: save(p, np.where(noise() > 0, np.nan, 1).astype(np.float32)), "NaN or infinite voxels"),
    "rgb.nii": (lambda p: save(p, np.zeros(SHAPE, [(c, "u1") for c in "RGB"])), "colour voxels"),
    "complex.nii": (lambda p: save(p, noise().astype(np.complex64)), "complex voxels"),
    "one.nii": (lambda p: save(p, noise(shape=(36, 34, 1))), "one slice"),
    "small.nii": (lambda p: save(p, noise(shape=(31, 34, 4))), "slices below 32 x 32 pixels"),
    "flat.nii": (lambda p: save(p, np.full(SHAPE, -1000, np.int16)), "one value everywhere"),
    "unit.nii": (lambda p: save(p, ((noise() + 1000) / 1500).astype(np.float32)), "no CT in HU"),
    "plus.nii": (lambda p: save(p, body() + 1024), "CT in other units than HU"),
    "offset.nii": (lambda p: save(p, (noise() + 1024).astype(np.uint16)), "no CT in HU"),
    "study.PAR": (lambda p: (p.write_text("# ="), p.with_suffix(".rec").touch()), "Philips PAR/REC: not read"),
    "alone.par": (lambda p: p.write_text("parameters"), None),
    "notes.hdr": (lambda p: p.write_text("ENVI\ndescription"), None),
    "dwi.bval": (lambda p: p.write_text("0 1000"), None),
    "README": (lambda p: p.write_text("read me"), None),
    "desktop.pipe.txt": (lambda p: p.write_text("x"), None),
}
"""Files by name: how they are made, and the kind of reason, None for what is not counted by itself."""


@pytest.fixture
def kind_folder(tmp_path):
    folder = tmp_path / "all"
    folder.mkdir()
    save(folder / "good.nii.gz")
    save(folder / "SECOND.NII")
    save(folder / "Third.NII.GZ")
    for name, (make, _) in NOT_READ.items():
        make(folder / name)
    (folder / "round").symlink_to(folder, target_is_directory=True)
    save(folder / ".git" / "annex" / "objects" / "k.nii")
    (folder / "content.nii").symlink_to(save(tmp_path / "store" / "k"))
    (folder / os.fsdecode(b"caf\xe9.nii")).symlink_to(folder / "good.nii.gz")  # a second name of one scan
    (folder / "a.old").symlink_to(folder / "good.nii.gz")  # and a third, that says nothing
    os.rename(save(folder / "z.nii"), folder / os.fsdecode(b"z\xe9.nii"))
    return folder


def test_everything_that_looks_like_a_scan_is_read_or_counted_with_its_reason(kind_folder):
    found = searched(kind_folder)
    expected = {name: kind for name, (_, kind) in NOT_READ.items() if kind}
    expected["all"] = "one slice"  # the series of the file "bare", which is read without its preamble
    # The two halves of a pair are one scan.
    expected["analyze.hdr"] = "Analyze or NIfTI pair (.hdr, .img): not read"
    assert kinds(found) == expected
    assert len(found.skipped) == len(expected)
    assert {scan.name for scan in found.scans} == {"content", "caf\ufffd", "SECOND", "Third", "z\ufffd"}
    for one in found.skipped:
        assert one.path.name in one.reason and one.reason.isprintable()
    table = skipped_table(found.skipped)
    assert table.startswith(f"Skipped {len(expected)} files") and table.count("\n") == len(set(expected.values()))
    several = next(line for line in table.splitlines() if "content not fetched" in line)
    assert several.split()[0] == "4" and several.endswith(", ...") and several.count(",") == 3
    with pytest.raises(CosliceError, match="scans cannot be used, the first because"):
        searched(kind_folder, strict=True)


def test_files_without_permission_are_counted_and_others_are_none_of_ours(tmp_path, monkeypatch):
    save(tmp_path / "good.nii")
    for name in ("shut.nii", "IM01", "table.csv"):
        save(tmp_path / name)
    opened = open

    def guarded(file, *rest, **more):
        if os.path.basename(str(file)) in ("shut.nii", "IM01", "table.csv"):
            raise PermissionError(13, "Permission denied")
        return opened(file, *rest, **more)

    monkeypatch.setattr("builtins.open", guarded)
    assert kinds(searched(tmp_path)) == {"shut.nii": "no permission to read", "IM01": "no permission to read"}


def test_sockets_and_pipes_are_not_opened_when_they_are_asked_for(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(tmp_path / "s"))
        for name in ("pipe", "s"):
            with pytest.raises(CosliceError, match=f"No usable scan .*{name} is a pipe, socket or device"):
                find_scans([tmp_path / name])
    with pytest.raises(CosliceError, match="does not exist"):
        find_scans([tmp_path / "nowhere"])


def test_what_is_no_scan_is_never_refused(tmp_path):
    """A folder from a hospital has reports in it, one from a Mac its companions."""
    write_series(tmp_path / "ct", numbers_of_32())
    write_series(tmp_path / "report", numbers()[:1], Modality="SR")
    write_series(tmp_path / "scout", numbers()[:1], ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"])
    (tmp_path / "._ct.dcm").write_bytes(b"\0\5\x16\7")
    found = searched(tmp_path, strict=True)
    assert [scan.name for scan in found.scans] == ["ct"]
    assert sorted(kind.split(" ")[0] for kind in kinds(found).values()) == ["DICOM", "hidden"]
    assert len(found.skipped) == 3


def test_one_series_that_is_not_one_stack_stops_no_others(tmp_path):
    save(tmp_path / "good.nii")
    write_series(tmp_path / "twice", numbers_of_32())
    series = pydicom.dcmread(tmp_path / "twice" / "0000.dcm").SeriesInstanceUID
    write_series(tmp_path / "twice", numbers_of_32(), series=series, names=range(10, 13))
    found = searched(tmp_path)
    assert [scan.name for scan in found.scans] == ["good"]
    assert [one.path.name for one in found.skipped] == ["twice"] and "same place" in found.skipped[0].reason


@pytest.mark.parametrize(("window", "low"), [("mr", -90), ("200:300", 100)])
def test_a_scan_that_the_window_does_not_show_stops_no_others(tmp_path, window, low):
    for name in "ab":
        save(tmp_path / f"{name}.nii", abs(noise(ord(name))))
    save(tmp_path / "dark.nii", (noise() % 80 + low).astype(np.int16))
    assert kinds(searched(tmp_path, window=window)) == {"dark.nii": "nothing in the window"}


@pytest.mark.parametrize(
    ("change", "kind"),
    [
        ({"turn": 25.0}, "tilted by more than 20 degrees"),
        ({"spacing": (1.0, 4.0, 1.0)}, "pixels of another form than those of most scans"),
        ({"offset": 1024}, "no CT in HU"),
    ],
)
def test_a_scan_unlike_the_others_is_skipped_and_a_collection_of_two_sorts_is_refused(tmp_path, change, kind):
    def odd(name):
        cosine, sine = np.cos(np.radians(change.get("turn", 0))), np.sin(np.radians(change.get("turn", 0)))
        affine = np.diag((*change.get("spacing", (1, 1, 1)), 1.0))
        affine[:2, :2] = np.array([[cosine, -sine], [sine, cosine]]) @ affine[:2, :2]
        save(tmp_path / name, noise() + np.int16(change.get("offset", 0)), affine)

    for name in "abc":
        save(tmp_path / f"{name}.nii", noise(ord(name)))
    odd("odd.nii")
    found = searched(tmp_path)
    assert [scan.name for scan in found.scans] == ["a", "b", "c"] and kinds(found) == {"odd.nii": kind}
    with pytest.raises(CosliceError, match=r"1 scan cannot be used, the first because: .*odd\.nii"):
        searched(tmp_path, strict=True)
    if "offset" in change:  # without a window, nothing says that CT is wanted, but most scans are
        with pytest.raises(CosliceError, match="different modalities"):
            searched(tmp_path, window=None)
    if "spacing" in change:
        odd("odd2.nii")
        assert len(searched(tmp_path).scans) == 5 and not searched(tmp_path).skipped
