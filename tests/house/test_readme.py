"""What the README shows is run as it stands: a newcomer has nothing else."""

import re
import shlex
from pathlib import Path
from typing import Any, cast

import pytest
import torch

from coslice.cli.app import app
from coslice.io.nifti import write_nifti
from coslice.methods import load_method
from coslice.volume import Volume

README = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```python\n(.*?)```", README, re.DOTALL)


@pytest.fixture
def chest(tmp_path, monkeypatch):
    """A folder with a small chest.nii.gz, of enough slices for the README's."""
    grown = torch.rand(170, 24, 24, generator=torch.Generator().manual_seed(0)) * 300 - 150
    write_nifti(Volume(grown), tmp_path / "chest.nii.gz")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_python_of_the_readme_runs_and_does_what_it_says(chest, tiny_prior):
    """With a small prior, few slices and few steps in place of its numbers, which are all that is changed."""
    small = "\n\n".join(BLOCKS)
    for shown, instead in (
        ('load_prior("ct")', f'load_prior(r"{tiny_prior}")'),
        (".slices(100, 164).resized(128)", ".slices(100, 108).resized(16)"),
        ("SparseViewCT(views=30)", "SparseViewCT(views=4)"),
        ("Geometric(30,", "Geometric(2,"),
        ("run(study.problem)", 'run(study.problem, "dds", prior)'),
        ('"dds", prior', "replace(DDS, schedule=replace(DDS.schedule, steps=2)), prior"),
        ("DDS, name=", "DDS, schedule=replace(DDS.schedule, steps=2), name="),
    ):
        assert shown in small, shown
        small = small.replace(shown, instead)
    names: dict[str, Any] = {"__name__": "readme"}
    exec("from dataclasses import replace\nfrom coslice.methods import DDS\n" + small, names)
    assert len(BLOCKS) == 4
    for own in ("Landweber", "Groups", "EverySecondRow"):
        text = next(block for block in BLOCKS if f"class {own}" in block)
        lines = text[text.index(f"class {own}") :].split("\n\n\n")[0].splitlines()
        assert len([line for line in lines if line.strip()]) < 20
    # its operator's adjoint is one, and its noise is shared as it says
    operator, key = names["operator"], __import__("coslice").Key(0)
    x, y = torch.rand(operator.domain), torch.rand(operator.codomain)
    assert torch.allclose((operator.forward(x) * y).sum(), (x * operator.adjoint(y)).sum(), rtol=1e-5)
    drawn = names["Groups"](size=3)((63, 64, 64), key)
    for distance, shared in ((1, 2 / 3), (2, 1 / 3), (3, 0.0)):
        assert abs(float((drawn[distance:] * drawn[:-distance]).mean()) - shared) < 0.03
    assert abs(float(drawn.var()) - 1) < 0.02
    slab = drawn[10:20]
    assert torch.equal(names["Groups"](size=3).add_(torch.zeros_like(slab), 1.0, key, 10, 63), slab)


def test_the_file_of_the_readme_is_a_method_for_the_command_line(chest):
    (chest / "mine.py").write_text(next(block for block in BLOCKS if "class Landweber" in block), encoding="utf-8")
    assert load_method("mine.py:mine").label == "Mine + Groups"


def test_the_commands_of_the_readme_are_understood():
    """Every option of every command line exists: parsed, not run."""
    import typer

    root = cast(Any, typer.main.get_command(app))  # a group or, below, a command: only groups have commands
    seen = 0
    for block in re.findall(r"```sh\n(.*?)```", README, re.DOTALL):
        for line in block.splitlines():
            words = shlex.split(line, comments=True)
            if words[:1] != ["coslice"]:
                continue
            command, rest = root, words[1:]
            while hasattr(command, "commands") and rest and rest[0] in command.commands:
                command, rest = command.commands[rest[0]], rest[1:]
            known = {option for item in command.params for option in item.opts}
            assert {word for word in rest if word.startswith("--")} <= known | {"--help"}, line
            seen += 1
    assert seen >= 10


def test_the_first_screen_has_the_picture_and_two_commands():
    screen = README[: README.index("## ")]
    assert "docs/images/demo.jpg" in screen and re.findall(r"^make (\w+)", screen, re.MULTILINE) == ["demo", "test"]
