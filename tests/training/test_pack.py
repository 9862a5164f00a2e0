"""A pack holds the window's slices to half a step, is made once, survives an interruption, and travels without loss."""

import json
import shutil
from dataclasses import replace

import nibabel
import numpy as np
import pytest
import torch

from coslice.errors import CosliceError
from coslice.io.nifti import read_nifti
from coslice.priors import read_card, update_card
from coslice.priors.suitability import seen_by
from coslice.training.collection import pack as packing
from coslice.training.collection.pack import is_pack, known_scans, make_pack, open_pack, split, split_pack
from coslice.training.collection.pack_brightness import pack_intensity, write_intensity
from coslice.training.collection.scans import FoundScans, find_scans
from coslice.values import brightness_of, spans
from coslice.window import scan_window

SHAPE = (33, 40, 36)  # (z, y, x)


def save(folder, name, step: float = 8, seed=0, shape=SHAPE, dtype: type = np.int16, empty=0):
    """A NIfTI scan whose values are multiples of `step` from -1000 to 1600 and beyond, clipped at both ends."""
    rng = np.random.default_rng(seed)
    values = np.clip(rng.normal(100, 900, shape).round() // step * step, -1021, 1999)
    values[:, :empty] = -1000
    affine = np.diag((0.8, 0.9, 2.0, 1.0))
    nibabel.save(nibabel.Nifti1Image(values.transpose(2, 1, 0).astype(dtype), affine), folder / f"{name}.nii.gz")
    return folder / f"{name}.nii.gz"


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    folder = tmp_path_factory.mktemp("scans")
    for seed, name in enumerate(("a", "b", "c")):
        save(folder, name, step=(8, 1, 3)[seed], seed=seed)
    return find_scans([folder])


@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("plane", ["yx", "zx", "zy", "xy"])
@pytest.mark.parametrize("window", ["ct", "-160:240"])
def test_slices_are_the_windowed_volume_to_half_a_step(tmp_path, found, plane, bits, window):
    pack = make_pack(found, plane, window, tmp_path / "pack", bits)
    order = ["zyx".index(axis) for axis in (*(set("zyx") - set(plane)), *plane)]
    for scan in found.scans:
        volume = read_nifti(scan.paths[0])
        expected = scan_window(window, volume.data).to_unit(volume.data).permute(order)
        stored = torch.from_numpy(pack.slices(scan.name).astype(np.float64)) / pack.full
        assert stored.shape == expected.shape == pack.scan(scan.name).shape
        assert (stored - expected).abs().max() <= 0.5 / (2**bits - 1) + 1e-6
        assert pack.scan(scan.name).spacing == tuple(volume.spacing[axis] for axis in order)
        assert isinstance(pack.slices(scan.name), np.memmap)
    assert len(pack) == sum(pack.slices(name).shape[0] for name in "abc")


def test_the_quantum_is_the_step_of_integers_and_none_for_others(tmp_path, found):
    save(tmp_path, "real", step=0.7, dtype=np.float32)
    pack = make_pack(found, "yx", "ct", tmp_path / "pack")
    assert [round(scan.quantum * 2600, 6) for scan in pack.scans] == [8, 1, 3]
    assert make_pack(find_scans([tmp_path / "real.nii.gz"]), "yx", "ct", tmp_path / "p2").scans[0].quantum == 0
    assert all(scan.quantum == 0 for scan in make_pack(found, "yx", "ct", tmp_path / "p3", size=32).scans)


def test_resampled_slices_are_those_of_the_resampled_volume(tmp_path, found):
    pack = make_pack(found, "yx", "ct", tmp_path / "pack", size=(32, 48))
    for scan in found.scans:
        volume = read_nifti(scan.paths[0])
        # The window comes first: what lies beyond it must not bleed into its neighbours.
        expected = volume.with_data(scan_window("ct", volume.data).to_unit(volume.data)).resized((32, 48))
        assert np.abs(pack.slices(scan.name) / 65535 - expected.data.numpy()).max() < 1e-5
        np.testing.assert_allclose(pack.scan(scan.name).spacing, expected.spacing, rtol=1e-6)


def test_how_bright_a_pack_is_is_how_bright_its_scans_are_in_their_windows(tmp_path, found, tiny_prior):
    pack = make_pack(found, "zx", "ct", tmp_path / "pack")
    volumes = [read_nifti(scan.paths[0]).data for scan in found.scans]
    units = [scan_window("ct", data).to_unit(data).permute(1, 0, 2).numpy() for data in volumes]
    for names, chosen in ((None, units), (["b"], units[1:2])):
        intensity, expected = pack_intensity(pack, names), spans(map(brightness_of, chosen))
        assert intensity.keys() == expected.keys() == {"level", "bright", "clipped"}
        for name, ends in expected.items():
            assert intensity[name] == pytest.approx(ends, abs=2e-4)
    shutil.copy(tiny_prior, tmp_path / "mine.safetensors")
    update_card(tmp_path / "mine.safetensors", {"data": {"plane": "zx", "pixel_mm": [1.0, 2.0]}})
    written = write_intensity(tmp_path / "mine.safetensors", pack, ["b"])
    seen = seen_by(read_card(tmp_path / "mine.safetensors"))
    assert seen == {"plane": "zx", "pixel_mm": [1.0, 2.0], "intensity": written} and written == pack_intensity(
        pack, "b"
    )
    # The window of an MR scan is made by what lies beyond it, so that says nothing.
    assert "clipped" not in pack_intensity(replace(pack, window="mr"))


def test_mr_scans_have_windows_of_their_own(tmp_path):
    for name, factor in (("dark", 1), ("bright", 7)):
        values = np.random.default_rng(0).integers(0, 100, SHAPE).astype(np.int16) * factor
        nibabel.save(nibabel.Nifti1Image(values, np.eye(4)), tmp_path / f"{name}.nii")
    pack = make_pack(find_scans([tmp_path]), "zx", "mr", tmp_path / "pack")
    np.testing.assert_allclose(pack.scan("bright").window.high, 7 * pack.scan("dark").window.high)
    assert np.abs(pack.slices("bright").astype(int) - pack.slices("dark")).max() <= 1


def test_empty_slices_are_left_out_and_counted(tmp_path):
    save(tmp_path, "a", empty=5)
    found = find_scans([tmp_path])
    pack = make_pack(found, "zx", "ct", tmp_path / "pack")
    assert pack.scan("a").left_out == 5 and len(pack) == SHAPE[1] - 5
    assert len(make_pack(found, "zx", "ct", tmp_path / "all", empty=0.0)) == SHAPE[1]
    with pytest.raises(CosliceError, match="nothing in the window 5000 to 6000"):
        make_pack(found, "zx", "5000:6000", tmp_path / "none")


def test_a_pack_is_made_once_and_goes_on_after_an_interruption(tmp_path, found, monkeypatch):
    whole = make_pack(found, "yx", "ct", tmp_path / "whole")
    reads = []
    original = packing._pack_scan

    def counted(pack, scan):
        if len(reads) == stop_after:
            raise KeyboardInterrupt
        reads.append(scan.name)
        return original(pack, scan)

    monkeypatch.setattr(packing, "_pack_scan", counted)
    stop_after = 2
    with pytest.raises(KeyboardInterrupt):
        make_pack(found, "yx", "ct", tmp_path / "pack")
    assert is_pack(tmp_path / "pack")
    with pytest.raises(CosliceError, match="unfinished"):
        open_pack(tmp_path / "pack")
    stop_after = 3
    again = make_pack(found, "yx", "ct", tmp_path / "pack")
    assert reads == ["a", "b", "c"]
    assert again == make_pack(found, "yx", "ct", tmp_path / "pack") == open_pack(tmp_path / "pack")
    assert again.scans == whole.scans
    for name in "abc":
        assert np.array_equal(again.slices(name), whole.slices(name))


def test_only_what_changed_is_redone(tmp_path, monkeypatch):
    for name in "ab":
        save(tmp_path, name)
    pack = make_pack(find_scans([tmp_path]), "yx", "ct", tmp_path / "pack")
    foreign = tmp_path / "pack" / "mine.npy"
    foreign.touch()
    (tmp_path / "a.nii.gz").unlink()
    save(tmp_path, "b", seed=5)
    save(tmp_path, "d")
    found = find_scans([tmp_path], known=known_scans(tmp_path / "pack"))
    changed = make_pack(found, "yx", "ct", tmp_path / "pack")
    assert changed.names == ("b", "d")
    assert (changed.slices("b") != np.load(tmp_path / "pack" / changed.scan("b").file)).sum() == 0
    files = {path.name for path in (tmp_path / "pack").glob("*.npy")}
    assert files == {scan.file for scan in changed.scans} | {"mine.npy"}
    assert {scan.file for scan in pack.scans}.isdisjoint(files)
    other = make_pack(found, "yx", "-160:240", tmp_path / "pack")
    assert other.scan("b").window.low == -160 and open_pack(tmp_path / "pack") == other
    assert set(known_scans(tmp_path / "pack")) == {scan.stamp for scan in found.scans}


@pytest.mark.parametrize("bits", [8, 16])
def test_a_pack_travels_in_small_files_without_loss(tmp_path, found, bits):
    pack = make_pack(found, "yx", "ct", tmp_path / "pack", bits, credits="thanks")
    limit = 60_000
    # Small chunks, so that one stack is spread over several files.
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("coslice.training.collection.chunks._CHUNK", 20_000)
        files = split_pack(pack, tmp_path / "travel", limit)
    assert len(files) > 2 and all(path.stat().st_size <= limit for path in files)
    assert str(tmp_path) not in files[0].read_text() and found.scans[0].stamp not in files[0].read_text()
    for cache in (None, tmp_path / "cache"):
        back = open_pack(tmp_path / "travel", cache)
        assert back == open_pack(tmp_path / "travel", cache)
        assert back.summary() == pack.summary()
        for name in pack.names:
            assert np.array_equal(back.slices(name), pack.slices(name))
            assert back.scan(name) == replace(pack.scan(name), source=None, file=back.scan(name).file)
    damaged = bytearray(files[1].read_bytes())
    damaged[100] ^= 1
    files[1].write_bytes(damaged)
    with pytest.raises(CosliceError, match=r"part-000.bin is damaged"):
        open_pack(tmp_path / "travel", tmp_path / "elsewhere")
    files[1].unlink()
    with pytest.raises(CosliceError, match=r"part-000.bin does not exist"):
        open_pack(tmp_path / "travel", tmp_path / "elsewhere")


def test_a_pack_from_a_stranger_names_no_file_outside_itself(tmp_path, found):
    make_pack(found, "yx", "ct", tmp_path / "pack")
    record = json.loads((tmp_path / "pack" / "pack.json").read_text())
    for file in ("../stolen.npy", "/stolen.npy", "pack.json"):
        record["scans"][0]["file"] = file
        (tmp_path / "pack" / "pack.json").write_text(json.dumps(record))
        with pytest.raises(CosliceError, match=r"pack.json is damaged"):
            open_pack(tmp_path / "pack")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda f: (f / "pack.json").unlink(), "holds no pack"),
        (lambda f: (f / "pack.json").write_text("{"), "pack.json is damaged"),
        (lambda f: (f / "pack.json").write_text('{"version": 99}'), "of version 99, 1 is needed"),
        (lambda f: [p.write_bytes(p.read_bytes()[:-9]) for p in f.glob("*.npy")], "missing or damaged"),
        (lambda f: [np.save(p, np.zeros((2, 3))) for p in f.glob("*.npy")], r"holds float64 \(2, 3\)"),
        (lambda f: [p.unlink() for p in f.glob("*.npy")], "missing or damaged"),
    ],
)
def test_damage_is_named(tmp_path, found, change, message):
    make_pack(found, "yx", "ct", tmp_path / "pack")
    change(tmp_path / "pack")
    with pytest.raises(CosliceError, match=message):
        open_pack(tmp_path / "pack").slices("a")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"bits": 12}, "8 or 16"),
        ({"size": 16}, "at least 32"),
        ({"window": "mr"}, "a is CT"),
        ({"window": "bone"}, 'window: "bone"'),
        ({"plane": "yy"}, "two different axes"),
        ({"found": FoundScans(())}, "no scans"),
    ],
)
def test_senseless_settings_are_refused_before_a_folder_is_made(tmp_path, found, settings, message):
    given = {"found": found, "plane": "yx", "window": "ct", "folder": tmp_path / "pack", **settings}
    with pytest.raises(CosliceError, match=message):
        make_pack(**given)
    assert not (tmp_path / "pack").exists()


def test_the_split_is_by_whole_scans_and_never_changes(tmp_path, found):
    pack = make_pack(found, "yx", "ct", tmp_path / "pack")
    scans = tuple(replace(pack.scans[0], name=f"s{k}", subject=f"p{k // 2}" if k < 10 else "") for k in range(30))
    many = replace(pack, scans=scans)
    train, held = split(many, 0.2)
    assert sorted(train + held) == sorted(many.names) and not set(train) & set(held)
    # 5 subjects of two scans and 20 of one: a fifth of 25.
    assert len({many.scan(name).subject or name for name in held}) == 5
    assert not {many.scan(n).subject for n in train} & {many.scan(n).subject for n in held} - {""}
    shuffled = replace(many, scans=tuple(reversed(scans)))
    assert set(split(shuffled, 0.2)[1]) == set(held)

    for fraction in (0.001, 0.999):
        assert all(split(pack, fraction))
    alone = replace(many, scans=scans[-1:])
    assert split(alone, 0.5) == (("s29",), ())
    assert split(many, 0.0) == (many.names, ())
    assert split(many, ["s3", "s1"])[1] == ("s1", "s3")
    for wrong, message in (
        (1.0, "from 0 to below 1"),
        (["x"], 'scan "x" was asked for'),
        (list(many.names), "at least one is needed to train on"),
    ):
        with pytest.raises(CosliceError, match=message):
            split(many, wrong)


def test_the_summary_says_what_is_in_it(tmp_path, found):
    summary = make_pack(found, "zx", "ct", tmp_path / "pack", credits="CC-BY").summary()
    assert json.loads(json.dumps(summary)) == summary
    assert (summary["scans"], summary["slices"], summary["plane"]) == (3, 3 * SHAPE[1], "zx")
    assert summary["pixel_mm"] == [0.8, 2.0] and summary["slice_mm"] == [0.9, 0.9] and summary["credits"] == "CC-BY"


def test_the_catalogue_holds_what_every_one_before_held(tmp_path, found):
    """So that packs of an earlier version are taken up."""
    make_pack(found, "yx", "ct", tmp_path / "pack")
    record = json.loads((tmp_path / "pack" / "pack.json").read_text())
    assert " ".join(record) == "version complete plane window bits size empty scans credits"
    scan = "name file shape spacing window quantum left_out modality subject source"
    assert " ".join(record["scans"][0]) == scan
    source = "name paths kind shape spacing modality tilt subject stamp"
    assert " ".join(record["scans"][0]["source"]) == source
