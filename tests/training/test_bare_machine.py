"""Training where little more than torch is installed."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

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
