"""`coslice train`: what is said there comes before the file, and a mistake is one sentence."""

import re
from typing import get_type_hints

import pytest
import typer
import yaml
from typer.testing import CliRunner

from coslice.cli.train import train as command
from coslice.errors import CosliceError
from coslice.training.learning.training_run import Pace
from coslice.training.run_settings import TrainingSettings
from small_runs import SMALL


@pytest.fixture
def coslice_train():
    app = typer.Typer()
    app.command()(command)
    return lambda *words: CliRunner().invoke(app, [str(word) for word in words])


def test_the_command_line_comes_before_the_file(coslice_train, scans, tmp_path):
    config = tmp_path / "run.yaml"
    config.write_text(yaml.safe_dump({**SMALL, "seed": 3}))
    words = ["--config", config, "--out", tmp_path / "run", "--images", 8, "--val", "scan2"]
    words += ["--set", "optimiser.learning_rate=1e-3", "--set", "optimiser.name=adam"]
    done = coslice_train(scans, *words, "--log-every", 4, "--device", "cpu")
    assert done.exit_code == 0, done.output
    stored = yaml.safe_load((tmp_path / "run" / "run.yaml").read_text())
    assert (stored["images"], stored["seed"], stored["batch"]) == (8, 3, 4)
    assert stored["optimiser"]["name"] == "adam" and stored["optimiser"]["learning_rate"] == 1e-3
    assert stored["data"]["validation"] == ["scan2"]
    assert "Finished after 8 images" in done.output and "8 of 8 images" in done.output


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--plane", "xx"], "data.plane is 'xx'"),
        (["--window", "bone"], '"bone"'),
        (["--size", 4], "data.size is 4"),
        (["--images", 0], "images is 0"),
        (["--batch", 0], "batch is 0"),
        (["--set", "optimiser.learning_rate=0"], "learning_rate is 0.0"),
        (["--set", "optimiser.name=sgd"], "optimiser.name is 'sgd'"),
        (["--set", "schedule.name=steep"], "schedule.name is 'steep'"),
        (["--set", "precision=f64"], "precision is 'f64'"),
        (["--val", 2], "data.validation is 2.0"),
        (["--val", "nobody"], '"nobody"'),
        (["--init", "nothing"], "nothing"),
        (["--seed", -1], "seed is -1"),
        (["--minutes", -1], "-1 minutes"),
        (["--device", "abacus"], "abacus"),
        (["--log-every", 0], "at least 1"),
        (["--config", "none.yaml"], "cannot be read"),
        (["--set", "learning_rate=1e-3"], "key learning_rate is not known; did you mean optimiser.learning_rate?"),
        (["--set", "optimiser.momentun=0.9"], "did you mean optimiser.momentum? Known are name, learning_rate, betas"),
        (["--set", "optimiser"], "'optimiser' was given, but NAME=VALUE is needed"),
        (["--batch", 4, "--set", "batch=4"], "batch was given twice"),
        (["--task", "svct-cone-8", "--set", "supervised={}"], "supervised was given as a whole and in parts"),
    ],
)
def test_wrong_options_are_one_sentence(coslice_train, scans, tmp_path, words, message):
    done = coslice_train(scans, "--out", tmp_path / "run", *words)
    assert isinstance(done.exception, CosliceError)
    assert message in str(done.exception) and "\n" not in str(done.exception)
    assert not (tmp_path / "run" / "checkpoint.pt").exists()


def test_the_help_names_the_defaults_there_are():
    """`default N` in the help of an option is the value in an empty run.yaml, or of an empty `Pace`."""
    settings, pace = TrainingSettings(), Pace()
    known = {"plane": settings.data.plane, "window": settings.data.window, "slices": settings.patches.slices}
    known |= {"images": settings.images, "batch": settings.batch, "val": settings.data.validation}
    known |= {"seed": settings.start.seed, "log_every": pace.log}
    known |= {"validate_every": pace.validate, "save_every": f"{pace.save:g}"}
    hints = get_type_hints(command, include_extras=True).items()
    helps = {name: hint.__metadata__[0].help for name, hint in hints if hasattr(hint, "__metadata__")}
    stated = {name: found[1] for name, text in helps.items() if (found := re.search(r"default (\S+)\.$", text))}
    assert stated == {name: str(value) for name, value in known.items()}
