"""What a release ships: the wheel holds the package and its data and nothing else, and says what it needs."""

from __future__ import annotations

import ast
import importlib
import re
import subprocess
import sys
import tarfile
import zipfile
from email.parser import Parser
from functools import lru_cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

import coslice
from elsewhere import library

ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "src" / "coslice"
LARGEST = 25_000_000
"""Bytes of the wheel, as CONTRIBUTING.md promises."""
NAMES = {"yaml": "pyyaml", "PIL": "pillow"}
"""Distributions that are called otherwise than their modules."""
OPTIONAL = {
    "gdcm": "dicom",
    "h5py": "projections",
    "tifffile": "projections",
    "huggingface_hub": "hub",
    "ray": "cluster",
}
OPTIONAL |= {"triton": "gpu", "ipyniivue": "viewer", "tensorboard": "train"}
BROUGHT = {"IPython": "viewer", "ipywidgets": "viewer"}
"""Modules that a distribution of an extra needs itself."""
DISTRIBUTION = {"gdcm": "python_gdcm"}


def project() -> dict:
    if sys.version_info < (3, 11):
        pytest.skip("tomllib comes with Python 3.11")
    import tomllib  # pyright: ignore[reportMissingImports]  # checked as 3.10, which lacks it

    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def built(tmp_path_factory) -> tuple[Path, Path]:
    """A wheel and an sdist of this checkout."""
    library("hatchling")
    folder = str(tmp_path_factory.mktemp("release"))
    return tuple(  # pyright: ignore[reportReturnType]
        Path(next(builder(kind)(str(ROOT)).build(directory=folder, versions=["standard"])))
        for kind in ("wheel", "sdist")
    )


def builder(kind: str) -> Any:
    """Hatchling's builder of a "wheel" or an "sdist"."""
    return getattr(importlib.import_module(f"hatchling.builders.{kind}"), f"{kind.title()}Builder")


def contents(wheel: Path) -> dict[str, int]:
    """Files of a wheel, with their checksums."""
    return {one.filename: one.CRC for one in zipfile.ZipFile(wheel).infolist()}


def tracked(*under: str) -> set[str]:
    done = subprocess.run(["git", "ls-files", *under], cwd=ROOT, capture_output=True, text=True)
    if done.returncode:
        pytest.skip("this is no checkout, so nothing says which files are the project's")
    return {line for line in done.stdout.splitlines() if (ROOT / line).is_file()}


def requirements(lines) -> dict[str, str]:
    """By name, what is written behind it."""
    return {re.split(r"[^\w.-]", line)[0].lower().replace("-", "_"): line for line in lines}


@lru_cache
def imported() -> dict[str, set[str]]:
    """Modules of others that the sources import, inside functions too, with the files that do."""
    found: dict[str, set[str]] = {}
    for path in SOURCE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [name.name for name in node.names] if isinstance(node, ast.Import) else []
            names += [node.module] if isinstance(node, ast.ImportFrom) and node.module and not node.level else []
            called = getattr(getattr(node, "func", None), "attr", "") or getattr(getattr(node, "func", None), "id", "")
            if isinstance(node, ast.Call) and called.endswith(("optional", "import_module")):
                names += [str(one.value) for one in node.args[:1] if isinstance(one, ast.Constant)]
            for name in names:
                if (first := name.split(".")[0]) not in (*sys.stdlib_module_names, "coslice"):
                    found.setdefault(first, set()).add(str(path.relative_to(SOURCE)))
    return found


def test_the_wheel_is_the_package_as_it_is_tracked(built):
    files = {name for name in contents(built[0]) if ".dist-info/" not in name}
    assert files == {name.removeprefix("src/") for name in tracked("src/coslice")}
    assert {"coslice/py.typed", "coslice/__init__.pyi", "coslice/data/priors/ct.safetensors"} <= files
    assert {"coslice/data/scan/chest.nii.gz", "coslice/report/templates/page.html"} <= files
    assert "coslice/benchmark/recipes/table1.yaml" in files


def test_the_wheel_is_as_small_as_is_promised(built):
    assert built[0].stat().st_size <= LARGEST
    assert f"{LARGEST // 10**6} MB" in (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")


def test_the_wheel_says_who_may_use_it_and_what_it_needs(built):
    wheel, told = zipfile.ZipFile(built[0]), project()["project"]
    (info,) = {name.split("/")[0] for name in wheel.namelist() if ".dist-info/" in name}
    metadata = Parser().parsestr(wheel.read(f"{info}/METADATA").decode())
    assert (metadata["Name"], metadata["Version"]) == ("coslice", told["version"])
    assert metadata["Requires-Python"] == told["requires-python"]
    assert set(metadata.get_all("License-File", [])) == {"LICENSE", "NOTICE"}
    for name in ("LICENSE", "NOTICE"):
        assert wheel.read(f"{info}/licenses/{name}") == (ROOT / name).read_bytes()
    assert set(metadata.get_all("Provides-Extra", [])) == set(told["optional-dependencies"])
    needed = [line for line in metadata.get_all("Requires-Dist", []) if "extra ==" not in line]
    assert set(requirements(needed)) == set(requirements(told["dependencies"]))
    assert "coslice = coslice.cli:main" in wheel.read(f"{info}/entry_points.txt").decode()
    assert metadata.get_payload() == (ROOT / "README.md").read_text(encoding="utf-8")


def test_the_sdist_builds_the_same_wheel(built, tmp_path):
    safe: dict[str, Any] = {"filter": "data"} if hasattr(tarfile, "data_filter") else {}
    with tarfile.open(built[1]) as archive:
        archive.extractall(tmp_path, **safe)
    (sources,) = tmp_path.iterdir()
    again = Path(next(builder("wheel")(str(sources)).build(directory=str(tmp_path / "dist"), versions=["standard"])))
    assert contents(again) == contents(built[0])
    assert (sources / "tests" / "house" / "test_release.py").is_file() and (sources / "constraints.txt").is_file()
    shipped = {str(path.relative_to(sources)) for path in sources.rglob("*") if path.is_file()}
    assert not {name for name in shipped if re.match(r"runs/|\.venv/|dist/|.*__pycache__", name)}
    assert (built[1].stat().st_size) <= LARGEST + 5_000_000


def test_every_import_is_a_dependency_or_of_an_extra():
    told = project()["project"]
    needed = set(requirements(told["dependencies"]))
    extras = {name: set(requirements(lines)) for name, lines in told["optional-dependencies"].items()}
    for module, files in imported().items():
        name = NAMES.get(module, module).lower()
        extra = OPTIONAL.get(module) or BROUGHT.get(module)
        if extra is None:
            assert name in needed, f"{module} is imported by {sorted(files)}, and no dependency brings it"
        elif module not in BROUGHT:
            assert DISTRIBUTION.get(module, module) in extras[extra], f"{module} is not in the extra {extra}"
    assert needed <= {NAMES.get(module, module).lower() for module in imported()}, "needed by nothing"


def test_modules_that_need_an_extra_are_not_imported_with_others():
    """At the top of a module stand dependencies alone; only what is loaded for a GPU asks for triton there."""
    allowed = {"operators/joseph_triton.py": {"triton"}}
    for path in SOURCE.rglob("*.py"):
        name = path.relative_to(SOURCE).as_posix()
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            modules = [one.name for one in node.names] if isinstance(node, ast.Import) else []
            modules += [node.module] if isinstance(node, ast.ImportFrom) and node.module else []
            optional = {module.split(".")[0] for module in modules} & {*OPTIONAL, *BROUGHT}
            assert optional <= allowed.get(name, set()), name


def test_what_is_missing_is_one_sentence_with_the_line_that_installs_it(monkeypatch, tmp_path):
    """Of every extra that a command stops without; hub, cluster and the pages' viewer have theirs elsewhere."""
    from coslice.io.dicom import stored_pixels
    from coslice.io.recordings.stored import optional
    from coslice.operators import projector

    for module in ("h5py", "tifffile"):
        monkeypatch.setitem(sys.modules, module, None)
        with pytest.raises(coslice.CosliceError, match=r'pip install "coslice\[projections\]"'):
            optional(module, tmp_path / "scan")
    monkeypatch.setattr(stored_pixels, "find_spec", lambda name: None)
    assert 'pip install "coslice[dicom]"' in stored_pixels._advice()
    monkeypatch.setattr(projector, "_installed", lambda: False)
    beam = coslice.ParallelBeam(coslice.sparse_view(4), (2, 6), (1.0, 1.0))
    operator = coslice.Projector(beam, coslice.Grid((2, 4, 4), (1, 1, 1)), backend="triton")
    with pytest.raises(coslice.CosliceError, match=r"pip install coslice\[gpu\]"):
        operator.forward(torch.ones(2, 4, 4))


def test_one_version_everywhere():
    told = project()["project"]["version"]
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert coslice.__version__ == version("coslice") == told == str(citation["version"])
    heads = re.findall(r"^## (.+)$", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert [head for head in heads if told in head] == heads[:1], "the changelog begins with this version"


def test_the_citation_is_of_its_format():
    """Fields that the format 1.2.0 needs, and none that it does not know."""
    said = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    known = {"cff-version", "message", "title", "type", "version", "license", "authors", "keywords", "references"}
    assert {"cff-version", "message", "title", "authors"} <= set(said) <= known | {"abstract", "date-released"}
    assert said["cff-version"] == "1.2.0" and said["type"] == "software"
    assert said["license"] == project()["project"]["license"]
    for reference in said["references"]:
        assert {"type", "title", "authors"} <= set(reference)
    people = [person for one in (said, *said["references"]) for person in one["authors"]]
    assert all(set(person) in ({"family-names", "given-names"}, {"name"}) for person in people)


@pytest.mark.slow
def test_a_release_installs_and_works_where_nothing_else_is():
    """Builds, installs, imports and runs the demo in an environment of its own; needs pip's sources, and minutes."""
    done = subprocess.run(
        ["bash", str(ROOT / "scripts" / "try_release.sh"), sys.executable], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.splitlines()[-1] == "The release installs and works."
