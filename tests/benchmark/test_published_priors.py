"""Published checkpoints in a benchmark: what a recipe says of them, what is refused before hours, and Table 1 whole."""

import json
import re
import shutil
from pathlib import Path

import nibabel
import numpy as np
import pytest
import torch
import yaml

from coslice.benchmark import keyed_cells, load_benchmark
from coslice.networks import NCSNpp
from coslice.priors import import_prior, load_prior, save_prior
from coslice.priors.origins import PUBLISHED_FILES
from published import SMALL_NCSNPP, filled

PAGE = Path(__file__).parents[2] / "docs" / "checkpoints.md"
NEEDED = {"ct.slices": {"needs": "a network", "plane": "yx", "window": "ct"}}


@pytest.fixture
def network(tmp_path):
    """A raw checkpoint whose name says nothing."""
    torch.save(filled(NCSNpp(SMALL_NCSNPP)).state_dict(), tmp_path / "network.pth")
    return tmp_path / "network.pth"


def named(path):
    return ("--prior", f"ct.slices={path}")


def test_a_recipe_says_what_a_raw_checkpoint_was_shown(coslice, refused, tree, saved, network):
    del tree["priors"]
    path = saved(tree | {"priors": NEEDED})
    code, said, _ = coslice("benchmark", path, "--plan", *named(network))
    assert code == 0 and "plane yx and window ct were taken from what it is to be used for" in " ".join(said.split())
    path = saved(tree | {"priors": {"ct.slices": {"needs": "a network"}}}, "silent")
    assert "coslice priors import network.pth --plane yx --window ct" in refused(
        "benchmark", path, "--plan", *named(network)
    )


def test_a_plan_refuses_priors_that_do_not_fit(refused, tree, saved, network, tmp_path, saved_patch_prior):
    path = saved(tree | {"priors": NEEDED})
    shutil.copy(network, tmp_path / "checkpoint_95.pth")
    save_prior(tmp_path / "coronal.safetensors", import_prior(network, plane="zx", window="ct"))
    save_prior(tmp_path / "wide.safetensors", import_prior(network, plane="yx", window="-1024:3072"))
    for file, reason in (
        ("checkpoint_95.pth", "has the plane zx, but plane yx is what ball needs"),  # fastMRI's knees
        ("coronal.safetensors", "has the plane zx, but plane yx is what ball needs"),
        ("wide.safetensors", "has the window -1024:3072, but window ct is what ball needs"),
        (saved_patch_prior, "patches of 3 slices"),
    ):
        assert reason in refused("benchmark", path, "--plan", *named(tmp_path / file))
    path = saved(tree | {"priors": {"ct.slices": str(tmp_path / "wide.safetensors")}}, "wide")
    assert "compared in the window ct" in refused("benchmark", path, "--plan")


def test_a_window_in_numbers_is_the_window_of_that_name(coslice, tree, saved, network, tmp_path):
    prior = import_prior(network, plane="yx", window="-1000:1600")
    assert prior.window == "ct"
    save_prior(tmp_path / "numbers.safetensors", prior)
    path = saved(tree | {"priors": NEEDED})
    assert coslice("benchmark", path, "--plan", *named(tmp_path / "numbers.safetensors"))[0] == 0


def test_what_a_recipe_says_of_a_raw_checkpoint_is_part_of_its_cells(tree, saved, network):
    keys = []
    for number, shown in enumerate(({}, {"plane": "yx"}, {"plane": "zx"})):
        path = saved(tree | {"priors": {"ct.slices": {"needs": "a network", **shown}}}, f"recipe{number}")
        keys.append(set(keyed_cells(load_benchmark(str(path), priors={"ct.slices": str(network)})).values()))
    classical = keys[0] & keys[1] & keys[2]
    assert classical and all(len(one - classical) == 10 for one in keys)
    assert not (keys[0] & keys[1]) - classical and not (keys[1] & keys[2]) - classical


def test_the_pages_name_every_published_file_and_their_small_recipe_is_table_1(tmp_path):
    page = PAGE.read_text(encoding="utf-8")
    rows = [line.split("|")[1:] for line in page.splitlines() if line.startswith("| `")]
    for file in PUBLISHED_FILES:
        (first, *_) = [row for row in rows if re.search(file.pattern, row[0].replace("...", "_"), re.IGNORECASE)]
        for cell, value in zip(first[3:5], (file.shown.plane, file.shown.window), strict=True):
            assert value is None or f"`{value}`" in cell, (file.title, cell)
        if file.shown.input_range is not None:
            assert f"`{file.shown.input_range[0]:g}:{file.shown.input_range[1]:g}`" in first[5]
    (small,) = re.findall(r"```yaml\n(like: table1\n.*?)```", page, re.DOTALL)
    (tmp_path / "small.yaml").write_text(small)
    named = {"ct.slices": "ct.pth", "zsr.slices": "mr.pth"}
    found = load_benchmark(f"{tmp_path / 'small.yaml'}:paper", {"chest": "c.nii", "brain": "b.nii"}, named)
    whole = load_benchmark("table1-paper", {"chest": "c.nii", "brain": "b.nii"}, named)
    assert {group: list(rows) for group, rows in found.rows.items()} == {g: list(r) for g, r in whole.rows.items()}
    assert found.shown == whole.shown and (found.shown["zsr.slices"].plane, found.shown["ct.slices"].plane) == (
        "zx",
        "yx",
    )


@pytest.mark.slow
def test_table_1_of_the_paper_runs_to_its_end_at_a_small_size(coslice, checkpoints, scan, tmp_path):
    """The command of the pages, with files of the published layout, laid over the shipped recipe."""
    rng = np.random.default_rng(0)
    nibabel.save(nibabel.Nifti1Image(rng.random((16, 16, 15), np.float32) * 900, np.eye(4)), tmp_path / "brain.nii.gz")
    small = {
        "like": "table1",
        "metrics": ["axial.psnr", "sdiff_gap"],
        "editions": {
            "paper": {
                "scans": {"chest": {"needs": "a chest", "slices": "0:12", "size": 16}, "brain": {"needs": "a brain"}},
                "groups": {
                    "SVCT": {"scan": "chest", "task": "svct", "views": 6},
                    "LACT": {"scan": "chest", "task": "lact", "angle": 100},
                    "MRI SR": {"scan": "brain", "task": "zsr", "factor": 5},
                },
                "settings": {
                    "*": {"schedule": {"steps": 2, "sigma_max": 5, "sigma_min": 0.01}},
                    "ddnm": {"data": {"sirt_iterations": 2}},
                },
            }
        },
    }
    (tmp_path / "small.yaml").write_text(yaml.safe_dump(small))
    network, out = checkpoints / "ncsnpp_tiny.pth", tmp_path / "out"
    arguments = ["--scan", f"chest={scan}", "--scan", f"brain={tmp_path / 'brain.nii.gz'}", "--out", out]
    arguments += ["--prior", f"ct.slices={network}", "--prior", f"zsr.slices={network}"]
    code, said, error = coslice("benchmark", f"{tmp_path / 'small.yaml'}:paper", *arguments, "--plan")
    assert code == 0 and "0 of " in said, error
    code, said, error = coslice("benchmark", f"{tmp_path / 'small.yaml'}:paper", *arguments)
    assert code == 0, error
    records = [json.loads(path.read_text()) for path in (out / "cells").glob("*.json")]
    assert len(records) == 21 and all(np.isfinite(record["metrics"]["axial"]["psnr"]) for record in records)
    assert (out / "small-paper" / "table.csv").is_file()
    # The same file was an axial prior of CT and a coronal one of MR, as the recipe says of each.
    assert load_prior(network, plane="zx", window="mr").along == "y"
