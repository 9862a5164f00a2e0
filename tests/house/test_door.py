"""The public door: what `coslice.` offers, and what it costs to open it."""

import json
import subprocess
import sys
from importlib.metadata import version

import pytest

import coslice


def python(code: str) -> str:
    """What a fresh interpreter prints."""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_every_name_that_is_offered_is_there():
    for name in (*coslice.__all__, "__version__"):
        assert getattr(coslice, name) is not None
    assert set(coslice.__all__) <= set(dir(coslice))
    assert coslice.__version__ == version("coslice")
    with pytest.raises(AttributeError):
        _ = coslice.no_such_name  # pyright: ignore[reportAttributeAccessIssue]


def test_a_name_is_not_hidden_by_the_module_it_comes_from():
    """coslice.run stays the function, however its module was imported before."""
    code = "import coslice.runs, coslice.plans, coslice.sampling; print(*map(callable, (coslice.{})))"
    assert python(code.format("run, coslice.plan, coslice.sample")) == "True True True"


def test_noise_needs_torch_and_numpy_and_nothing_else():
    code = """
import json, sys
before = set(sys.modules)
import torch, numpy
with_torch = set(sys.modules)
import coslice.noise
new = {name.split(".")[0] for name in set(sys.modules) - with_torch}
print(json.dumps(sorted(new - set(sys.stdlib_module_names))))
"""
    assert json.loads(python(code)) == ["coslice", "lazy_loader"]


@pytest.mark.parametrize("words", [["--help"], ["--version"], ["reconstruct", "--help"], ["train", "--help"]])
def test_help_loads_neither_torch_nor_numpy(words):
    code = f"""
import sys
sys.argv = ["coslice", *{words!r}]
from coslice.cli import main
try:
    main()
except SystemExit as end:
    assert not end.code, end.code
print("heavy:", sorted({{"torch", "numpy", "numba", "matplotlib", "scipy", "nibabel"}} & set(sys.modules)))
"""
    assert python(code).splitlines()[-1] == "heavy: []"


def test_everything_can_be_imported_without_posix():
    """On Windows there is no resource, fcntl, pwd, grp and termios."""
    code = """
import importlib, pkgutil, sys
import torch, numba, numpy, matplotlib, rich, typer, nibabel, pydicom, scipy, filelock  # others' modules may ask
for name in ("resource", "fcntl", "pwd", "grp", "termios"):
    sys.modules[name] = None
import coslice
for found in pkgutil.walk_packages(coslice.__path__, "coslice."):
    if not found.name.endswith("__main__"):
        try:
            importlib.import_module(found.name)
        except ModuleNotFoundError as error:
            if error.name != "triton":  # of the extra for GPUs, loaded where it is there
                raise
from coslice.output import peak_memory_mb
print(peak_memory_mb())
"""
    assert python(code) == "None"


def test_reconstruct_has_few_options():
    code = """
import typer
from coslice.cli.app import app
command = typer.main.get_command(app).commands["reconstruct"]
print(sum(len(item.opts) > 0 and item.opts[0].startswith("--") for item in command.params) + 1)  # and --help
"""
    assert int(python(code)) <= 56
