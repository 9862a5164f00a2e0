"""What the README shows is run as it stands: a newcomer has nothing else."""

import re
import shlex
from pathlib import Path
from typing import Any, cast

import pytest
import torch

from coslice.cli.app import app
from coslice.io.nifti import write_nifti
from coslice.volume import Volume
from shown_pages import made_small, python_blocks, run_shown

README = Path(__file__).parents[2] / "README.md"
TEXT = README.read_text(encoding="utf-8")
BLOCKS = python_blocks(README)


@pytest.fixture
def chest(tmp_path, monkeypatch):
    """A folder with a small chest.nii.gz, of enough slices for the README's."""
    grown = torch.rand(170, 24, 24, generator=torch.Generator().manual_seed(0)) * 300 - 150
    write_nifti(Volume(grown), tmp_path / "chest.nii.gz")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_python_of_the_readme_runs_and_does_what_it_says(chest, tiny_prior):
    """With a small prior, few slices and few steps in place of its numbers, which are all that is changed."""
    small = made_small(
        BLOCKS[0],
        (
            ('load_prior("ct")', f'load_prior(r"{tiny_prior}")'),
            (".slices(100, 164).resized(128)", ".slices(100, 108).resized(16)"),
            ("SparseViewCT(views=30)", "SparseViewCT(views=4)"),
            ("run(study.problem)", 'run(study.problem, "sirt")'),
            ("replace(DDS, data", "replace(DDS, schedule=replace(DDS.schedule, steps=2), data"),
        ),
    )
    names = run_shown(small)
    assert len(BLOCKS) == 2 and names["mine"].label == "DDS + OU 5 mm"
    assert names["result"].reconstruction.shape == names["study"].unit.shape == (8, 16, 16)


def test_the_block_for_samplers_of_others_ties_their_slices():
    def pipe(batch_size):
        x = torch.randn(batch_size, 1, 32, 32)
        for _ in range(3):
            x = 0.5 * x + 0.5 * torch.randn_like(x)
        return x

    def likeness(slices):
        return float((slices[1:] * slices[:-1]).mean() / slices.square().mean())

    torch.manual_seed(0)
    assert abs(likeness(pipe(64))) < 0.05
    assert likeness(run_shown("import coslice\n" + BLOCKS[1], pipe=pipe)["slices"]) > 0.95


def test_the_commands_of_the_readme_are_understood():
    """Every option of every command line exists: parsed, not run."""
    import typer

    root = cast(Any, typer.main.get_command(app))  # a group or, below, a command: only groups have commands
    seen = 0
    for block in re.findall(r"```sh\n(.*?)```", TEXT, re.DOTALL):
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
    screen = TEXT[: TEXT.index("## ")]
    assert "docs/images/demo.jpg" in screen and re.findall(r"^make (\w+)", screen, re.MULTILINE) == ["demo", "test"]


def test_the_readme_is_read_in_one_go():
    assert len(TEXT.splitlines()) < 120


def test_links_of_the_readme_lead_somewhere_and_to_what_a_newcomer_reads():
    linked = {target.split("#")[0] for target in re.findall(r"\]\(([^)\s]+)\)", TEXT) if ":" not in target}
    assert [target for target in linked if not (README.parent / target).exists()] == []
    assert {f"docs/{name}.md" for name in ("quick-start", "how-iscs-works", "questions", "migration")} <= linked
