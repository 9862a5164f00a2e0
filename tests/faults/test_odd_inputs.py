"""Inputs that cost far more than they say, that wait for ever, or that nobody looked at before the work began."""

import io
import json
import os
import struct
import zipfile

import h5py
import malformed_priors
import numpy as np
import pytest
from hostile_options import commands
from malformed_recordings import GEOMETRY, SHAPE
from small_inputs import good_prior, tiny_scan

from coslice.errors import CosliceError
from coslice.io.documents import json_of
from coslice.io.recordings import dataset_names
from coslice.priors.checkpoint_files import read_checkpoint

pytestmark = pytest.mark.faults

PLAN = ("cohort", "m.csv", "--out", "out", "--plan", "--engine", "local")
ROW = "scan\nball.nii.gz\n"


def test_every_command_shows_its_help(trials):
    for path, _ in commands():
        done = trials.tried(*path, "--help").sane()
        assert done.code == 0 and "[" in done.output


def test_keys_without_end_of_which_two_are_one():
    text = "{" + ",".join(f'"{number}":0' for number in range(200_000)) + ',"199999":1}'
    with pytest.raises(ValueError, match="'199999' is there twice"):
        json_of(text)


@pytest.mark.parametrize(
    ("manifest", "said"),
    [
        (",".join(["scan", *["#"] * 100_000]) + "\nball.nii.gz\n", "twice"),
        ("scan\nball.nii.gz" + "," * 20_000_000, "more than 3,000,000 cells"),
        ("scan,name\nball.nii.gz,aux.txt\n", "Windows keeps it for a device"),
        ("scan,name\nball.nii.gz,a\u202eb\n", "no control characters"),
        ("scan,values\nball.nii.gz,nonsense\n", "A:B=C:D"),
        ("scan,slices\nball.nii.gz,a:b\n", "FIRST:LAST"),
    ],
)
def test_manifests_are_read_in_time_and_checked_before_the_work(trials, tmp_path, manifest, said):
    tiny_scan(tmp_path)
    (tmp_path / "m.csv").write_text(manifest, encoding="utf-8")
    done = trials.tried(*PLAN, folder=tmp_path).refused(tmp_path / "out")
    assert said in done.errors and done.user_s < 8


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--engine", "x"), "ray or local"),
        (("--workers", "0"), "at least 1"),
        (("--workers", "1000000000"), "at most 10,000"),
        (("--threads", "-1"), "at least 1"),
        (("--device", "meta"), "torch cannot use it"),
        (("--device", "cuda:99"), "no such GPU"),
        (("--share", "\u0660/\u0661"), "K/N is needed"),
        (("--out", "m.csv"), "is no"),
        (("--out", "/dev/null"), "is a device"),
        (("--out", "link"), "is a link to nothing"),
    ],
)
def test_a_plan_refuses_what_the_work_would(trials, tmp_path, words, said):
    tiny_scan(tmp_path)
    (tmp_path / "m.csv").write_text(ROW)
    (tmp_path / "link").symlink_to("nowhere")
    assert said in trials.tried(*PLAN, *words, folder=tmp_path).refused(tmp_path / "out").errors


@pytest.mark.parametrize("name", ["cohort/ball.json", "ball/run.json", "ball/metrics.json"])
@pytest.mark.parametrize("other", ["pipe", "device"])
def test_records_of_a_cohort_that_are_no_files(trials, tmp_path, name, other):
    tiny_scan(tmp_path)
    (tmp_path / "m.csv").write_text(ROW)
    for folder in ("cohort", "ball"):
        (tmp_path / "out" / folder).mkdir(parents=True)
    (tmp_path / "out/cohort/ball.json").write_text(json.dumps({"state": "done"}))
    (tmp_path / "out/ball/report.html").write_text("")
    (tmp_path / "out/ball/run.json").write_text("{}")
    place = tmp_path / "out" / name
    place.unlink(missing_ok=True)
    os.mkfifo(place) if other == "pipe" else place.symlink_to("/dev/zero")
    done = trials.tried("cohort", "m.csv", "--out", "out", "--table", folder=tmp_path, patience_s=20)
    assert done.code in (0, 1) and "Traceback" not in done.errors and done.memory_mb < 100


def _archive(content: bytes, method: int, promised: int | None = None) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", method) as archive:
        archive.writestr("data.npy", content)
        archive.writestr("data.pkl", content)
    packed = stream.getvalue()
    return packed if promised is None else packed.replace(struct.pack("<I", len(content)), struct.pack("<I", promised))


def test_packed_arrays_are_not_unpacked_for_their_headers(trials, tmp_path):
    long = b"\x93NUMPY\x02\x00" + struct.pack("<I", 10**7) + b" " * (10**7)
    scan = tmp_path / "p.npz"
    scan.write_bytes(_archive(long, zipfile.ZIP_BZIP2))
    assert "packed by a method" in trials.tried("inspect", scan).refused(bound_mb=22).errors
    scan.write_bytes(_archive(long, zipfile.ZIP_DEFLATED))
    assert "its header would have 10000000 bytes" in trials.tried("inspect", scan).refused(bound_mb=22).errors


def test_checkpoints_packed_by_whole_blocks(tmp_path):
    file = tmp_path / "k.pt"
    file.write_bytes(_archive(bytes(10**6), zipfile.ZIP_BZIP2, promised=1000))
    with pytest.raises(CosliceError, match="packed by a method"):
        read_checkpoint(file)


@pytest.mark.parametrize("kind", ["values", "link"])
def test_hdf5_that_leads_to_a_pipe(trials, tmp_path, kind):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "g.json").write_bytes(GEOMETRY)
    with h5py.File(tmp_path / "p.h5", "w") as file:
        if kind == "values":
            file.create_dataset("data", SHAPE, "u1", external=[(str(tmp_path / "pipe"), 0, 432)])
        else:
            file["exchange/data"] = h5py.ExternalLink("pipe", "/data")
    done = trials.tried("inspect", "p.h5", "--geometry", "g.json", folder=tmp_path, patience_s=15).refused()
    assert ("another file" if kind == "values" else "is a pipe") in done.errors


def test_hdf5_that_leads_to_nothing_is_read_without_it(tmp_path):
    with h5py.File(tmp_path / "p.h5", "w") as file:
        file["data"], file["other"] = np.ones(SHAPE), h5py.ExternalLink("nowhere.h5", "/data")
    assert [one.name for one in dataset_names(tmp_path / "p.h5")] == ["data"]


def test_options_that_would_do_nothing(trials, tmp_path):
    tiny_scan(tmp_path)
    words = ("reconstruct", "ball.nii.gz", "--method", "fdk", "--out", "out")
    assert "--median was given" in trials.tried(*words, "--median", "5", folder=tmp_path).refused().errors
    assert "leave it out" in trials.tried("inspect", "ball.nii.gz", "--series", "3", folder=tmp_path).refused().errors


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--task", "svct-parallel-10**9"), "keys are like"),
        (("--batch", "1000000000"), "at most 100,000"),
        (("--epochs", "1e308"), "at most 1,000,000"),
        (("--size", "1000000000"), "at most 4,096 pixels"),
        (("--licence", "\x1b[31m"), "without controls"),
    ],
)
def test_training_refuses_before_scans_are_packed(trials, tmp_path, words, said):
    done = trials.tried("train", tiny_scan(tmp_path), *words, "--out", tmp_path / "out")
    assert said in done.refused(tmp_path / "out").errors


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--run", 'dds "'), "a method and options are needed"),
        (("--run", " "), "nothing was given"),
        (("--out", "nowhere/table.md"), "does not exist"),
        (("--out", "pipe.json"), "is a pipe"),
        (("--threads", "1000000000"), "at most 10,000"),
    ],
)
def test_bench_refuses_before_it_times(trials, tmp_path, words, said):
    os.mkfifo(tmp_path / "pipe.json")
    assert said in trials.tried("bench", "--no-parts", "--whole", *words, folder=tmp_path).refused().errors


def test_a_card_with_a_number_as_a_word(trials, tmp_path):
    described, weights = malformed_priors.parts(good_prior(tmp_path))
    described["card"]["seen"] = {"slice_mm": [1, "1e5"]}
    (tmp_path / "bad.safetensors").write_bytes(malformed_priors.written(described, weights))
    words = ("--method", "dds", "--steps", "1", "--prior", tmp_path / "bad.safetensors", "--out", tmp_path / "out")
    done = trials.tried("reconstruct", tiny_scan(tmp_path), *words).refused(tmp_path / "out")
    assert "card.seen.slice_mm" in done.errors
