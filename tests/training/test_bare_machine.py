"""Training where little more than torch is installed."""

import io
import json
import os
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest
import torch
import yaml

from coslice.priors import read_card
from coslice.training.collection.pack import open_pack, split_pack
from small_runs import SMALL, environment, state

HIDING = """
import importlib.machinery, sys
absent = ("nibabel", "pydicom", "highdicom")
class Hidden:
    def find_spec(self, name, path=None, target=None):
        return None if name.partition(".")[0] in absent else old(name, path, target)
old, importlib.machinery.PathFinder.find_spec = importlib.machinery.PathFinder.find_spec, Hidden().find_spec
"""
ROOT = Path(__file__).parents[2]


@pytest.mark.slow
def test_the_script_trains_where_little_is_installed(pack, tmp_path):
    """Twice on one machine without any reader of scans: the second call goes on where the first stopped."""
    travel, bare = tmp_path / "travel", tmp_path / "bare"
    split_pack(open_pack(pack), travel)
    bare.mkdir()
    (bare / "sitecustomize.py").write_text(HIDING)
    config = tmp_path / "run.yaml"
    config.write_text(yaml.safe_dump(SMALL))
    more = environment(PYTHON=sys.executable, DEVICE="cpu", CONFIG=str(config))
    more["PYTHONPATH"] = os.pathsep.join([str(bare), more["PYTHONPATH"]])
    seen = []
    for minutes in ("0.00001", "5"):
        words = ["bash", str(ROOT / "scripts" / "train_on_gpu.sh"), str(travel), str(tmp_path / "run"), minutes]
        done = subprocess.run([*words, str(tmp_path / "out")], env=more, capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, done.stderr[-2000:]
        seen.append(state(tmp_path / "run")["images"])
    assert seen == [4, 80]
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert names >= {"prior.safetensors", "prior.md", "log.jsonl", "samples.png", "run.yaml"}
    assert all(path.stat().st_size <= 16 * 2**20 for path in (tmp_path / "out").iterdir())


@pytest.mark.slow
def test_a_day_with_a_gpu_is_rehearsed(pack, tmp_path):
    """Every part in small, where little is installed; then again in the same folder, cut short: it trains on."""
    travel, bare, out = tmp_path / "travel", tmp_path / "bare", tmp_path / "out"
    split_pack(open_pack(pack), travel)
    bare.mkdir()
    (bare / "sitecustomize.py").write_text(HIDING)
    config = tmp_path / "run.yaml"
    config.write_text(yaml.safe_dump(SMALL))
    more = environment(PYTHON=sys.executable, DEVICE="cpu", CONFIG=str(config), PACK=str(travel))
    more |= {"SIZE": "16", "SLICES": "4 5", "VIEWS": "4", "STEPS": "2", "NCSNPP": "16", "COMPILED": "0"}
    more["PYTHONPATH"] = os.pathsep.join([str(bare), more["PYTHONPATH"]])
    script = str(ROOT / "scripts" / "gpu_day.sh")

    def day(minutes, **changes):
        words = ["bash", script, str(out), minutes]
        done = subprocess.run(words, env=more | changes, capture_output=True, text=True, timeout=600)
        assert done.returncode == 0, done.stderr[-2000:]
        return json.loads((out / "summary.json").read_text())

    found = day("10")
    failed = [record for record in found["records"] if "failed" in record]
    assert not failed, failed
    known = {record["name"]: record for record in found["records"]}
    assert known["the same bits twice, and as the CPU"]["same_bits"]
    assert known["the same bits twice, and as the CPU"]["difference_db"] <= 0.02
    assert known["tests of the projector"]["exit"] == 0
    for name in ("embedded, 4 slices", "embedded, 5 slices", "NCSN++, 4 slices", "NCSN++ in float32, 4 slices"):
        assert known[name]["seconds"] > 0 and known[name]["prior_floor"] > 0 and known[name]["data_floor"] > 0
    assert (out / "summary.md").read_text().startswith("# A day with a GPU")
    assert {path.name for path in (out / "training").iterdir()} >= {"prior.safetensors", "log.jsonl"}
    assert all(path.stat().st_size <= 16 * 2**20 for path in out.rglob("*") if path.is_file())
    # On a new machine there is only what came back, and the training goes on from there.
    assert images(out) == 80
    day("10", SET="images=120", SLICES="4 4")
    assert images(out) == 120


@pytest.mark.slow
def test_several_priors_are_trained_one_after_the_other(pack, tmp_path):
    """Each in a folder of its own, with what it needs to go on and no more; widths are tried at its end."""
    travel, out = tmp_path / "travel", tmp_path / "out"
    split_pack(open_pack(pack), travel)
    first, second = tmp_path / "one.yaml", tmp_path / "two.yaml"
    first.write_text(yaml.safe_dump(SMALL))
    three = {**SMALL["network"], "image_channels": 3, "positions": True}
    second.write_text(yaml.safe_dump({**SMALL, "network": three, "patches": {"slices": 3}}))
    more = environment(PYTHON=sys.executable, DEVICE="cpu", CONFIG=f"{first} {second}", PACK=str(travel))
    more |= {"PARTS": "", "SHARES": "1 2", "AVERAGE": "0.1"}

    def day(minutes="10", **changes):
        words = ["bash", str(ROOT / "scripts" / "gpu_day.sh"), str(out), minutes]
        return subprocess.run(words, env=more | changes, capture_output=True, text=True, timeout=600)

    assert day().returncode == 0
    summary = json.loads((out / "summary.json").read_text())["training"]
    assert list(summary["runs"]) == ["one", "two"] and "one: " in summary["said"] and "two: " in summary["said"]
    for name, slices in (("one", 1), ("two", 3)):
        assert images(out / name) == 80
        card = read_card(str(out / name / "training" / "prior.safetensors"))
        assert card["recipe"]["patches"]["slices"] == slices and "0.1" in card["averages_tried"]
        with tarfile.open(fileobj=kept(out / name)) as state:
            names = {path.split("/")[1] for path in state.getnames() if "/" in path}
        assert names == {"checkpoint.pt", "run.yaml", "log.jsonl", "prior.safetensors", "prior.md"}
    assert all(path.stat().st_size <= 16 * 2**20 for path in out.rglob("*") if path.is_file())
    # Of five minutes the first has a third of a second.
    assert day("5", SET="images=120", SHARES="1 1000", AVERAGE="").returncode == 0
    assert (images(out / "one"), images(out / "two")) == (80, 120)


def kept(out):
    """The state that is kept in `out`, put together."""
    return io.BytesIO(b"".join(path.read_bytes() for path in sorted((out / "state").iterdir())))


def images(out):
    """How many images the training that is kept in `out` has seen."""
    with tarfile.open(fileobj=kept(out)) as state:
        member = state.extractfile("./checkpoint.pt")
        assert member is not None
        return torch.load(io.BytesIO(member.read()), weights_only=True)["images"]
