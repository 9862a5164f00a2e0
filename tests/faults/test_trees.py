"""YAML of strangers, wherever it is read: recipes, runs of training, configurations beside checkpoints."""

import shutil
from itertools import islice

import pytest
import yaml
from malformed_yaml import NAMES, texts, trees
from small_inputs import ended, good_prior, tiny_scan

from coslice.benchmark import load_benchmark
from coslice.training.run_settings import TrainingSettings
from published import write_checkpoints
from small_benchmark import small_tree

pytestmark = pytest.mark.faults


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("trees")
    (folder / "weights").mkdir()
    write_checkpoints(folder / "weights")
    return folder, small_tree(tiny_scan(folder), good_prior(folder))


def _planned(trials, folder, content, name=""):
    (folder / "bad.yaml").write_bytes(content)
    before = sorted(folder.parent.iterdir())
    done = trials.tried("benchmark", f"bad.yaml{name}", "--plan", "--out", "out", folder=folder)
    assert sorted(folder.parent.iterdir()) == before and not (folder / "pwned").exists()
    shutil.rmtree(folder / "out", ignore_errors=True)
    return done


def test_files_that_are_no_recipe(trials, place):
    for _, content in texts():
        _planned(trials, place[0], content).refused(place[0] / "out")


def test_files_that_are_no_run_of_training(trials, place):
    folder, _ = place
    for _, content in islice(texts(), 0, None, 4):
        (folder / "bad.yaml").write_bytes(content)
        trials.tried("train", "nowhere", "--config", "bad.yaml", "--out", "run", folder=folder).refused(folder / "run")


def test_files_that_are_no_configuration_of_a_checkpoint(trials, place):
    """`adm_tiny.pt` needs its configuration, so what cannot be read is refused, and what says nothing is no use."""
    folder, _ = place
    for _, content in islice(texts(), 1, None, 4):
        (folder / "weights" / "adm_tiny.json").unlink(missing_ok=True)
        (folder / "weights" / "adm_tiny.yaml").write_bytes(content)
        words = (
            "priors",
            "import",
            "weights/adm_tiny.pt",
            "--plane",
            "yx",
            "--window",
            "ct",
            "--out",
            "new.safetensors",
        )
        trials.tried(*words, folder=folder).sane()
        (folder / "new.safetensors").unlink(missing_ok=True)


def test_recipes_with_one_thing_wrong(trials, place):
    file = place[0] / "recipe.yaml"
    for number, (_, content) in enumerate(islice(trees(place[1]), 0, None, 12)):
        file.write_bytes(content)
        ended(lambda: load_benchmark(str(file)))
        if number % 20 == 0:
            _planned(trials, place[0], content).sane()


def test_runs_with_one_thing_wrong(trials, place):
    folder, _ = place
    for number, (_, content) in enumerate(islice(trees(TrainingSettings().to_dict()), 0, None, 12)):
        (folder / "bad.yaml").write_bytes(content)
        ended(lambda: TrainingSettings.load(folder / "bad.yaml"))
        if number % 20 == 0:
            words = ("train", "nowhere", "--config", "bad.yaml", "--out", "run")
            trials.tried(*words, folder=folder).refused(folder / "run")


def test_no_name_leads_out_of_the_folder(trials, place):
    folder, tree = place
    for name in NAMES:
        if "\0" not in name:  # which no command line holds
            content = yaml.safe_dump({**tree, "editions": {name: {}}}).encode()
            _planned(trials, folder, content, f":{name}").sane()
    for key in ("groups", "methods"):
        for name in NAMES[::4]:
            content = yaml.safe_dump({**tree, key: {**tree[key], name: next(iter(tree[key].values()))}}).encode()
            _planned(trials, folder, content).sane()
    evil = yaml.safe_dump({**tree, "editions": {"../../evil": {}}}).encode()
    assert "cannot be the name of a file" in _planned(trials, folder, evil, ":../../evil").refused().errors
