"""Kernels are kept where it can be, and compiled where it cannot: a place that refuses is never the end."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import numba
import pytest

from coslice import kernels

CONFIG: Any = vars(numba)["config"]
KERNEL = textwrap.dedent(
    """
    from coslice.kernels import kernel

    @kernel(error_model="numpy")
    def twice(x):
        return 2 * x
    """
)


@pytest.fixture
def twice(tmp_path, monkeypatch):
    """Make the kernel of a new module, in a folder that numba finds it cannot write to: twice() -> kernel."""
    monkeypatch.setattr(CONFIG, "CACHE_DIR", "")
    (tmp_path / "code").mkdir()
    (tmp_path / "code" / "doubling.py").write_text(KERNEL)
    (tmp_path / "code" / "__pycache__").write_text("a file, where a folder is needed")
    monkeypatch.setenv("HOME", "/proc/none")
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "temporary"))
    monkeypatch.chdir(tmp_path)

    def make():
        source = tmp_path / "code" / "doubling.py"
        names = {"__name__": "doubling", "__file__": str(source)}
        exec(compile(source.read_text(), source, "exec"), names)
        return names["twice"]

    return make


def kept(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.suffix in (".nbi", ".nbc")] if folder.is_dir() else []


needs_owners = pytest.mark.skipif(not hasattr(os, "getuid"), reason="files here have no owner to go by")


@needs_owners
def test_without_another_place_kernels_are_kept_among_the_users_own_temporary_files(twice, tmp_path):
    (tmp_path / "temporary").mkdir()
    assert twice()(21) == 42
    (folder,) = (tmp_path / "temporary").iterdir()
    assert folder.stat().st_mode & 0o777 == 0o700 and kept(folder)
    assert not CONFIG.CACHE_DIR  # other people's kernels go where they went


@needs_owners
@pytest.mark.parametrize("kind", ["link", "open", "file"])
def test_a_folder_that_others_could_have_filled_is_not_read(twice, tmp_path, kind):
    place = tmp_path / "temporary" / f"coslice-kernels-{os.getuid()}"
    place.parent.mkdir()
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    if kind == "link":
        place.symlink_to(elsewhere)
    elif kind == "open":
        place.mkdir()
        place.chmod(0o777)
    else:
        place.write_text("")
    assert twice()(21) == 42
    assert not kept(place) and not kept(elsewhere)


def test_where_nothing_can_be_kept_kernels_are_compiled_all_the_same(twice, tmp_path):
    assert twice()(21) == 42  # the folder for temporary files does not exist
    assert not kept(tmp_path)


def test_a_user_without_a_home_gets_no_folder_of_that_name(twice, tmp_path, monkeypatch):
    monkeypatch.setattr(os.path, "expanduser", lambda path: path)
    (tmp_path / "temporary").mkdir()
    assert twice()(21) == 42
    assert not (tmp_path / "~").exists()


def test_a_place_that_the_user_names_goes_before_all(twice, tmp_path, monkeypatch):
    monkeypatch.setattr(CONFIG, "CACHE_DIR", str(tmp_path / "named"))
    assert twice()(21) == 42 and kept(tmp_path / "named")


def test_no_kernel_of_ours_asks_numba_for_a_place_itself():
    """So that every one of them finds what `kernel` finds."""
    source = Path(kernels.__file__).parent
    asking = [path.name for path in source.rglob("*.py") if "njit(" in path.read_text(encoding="utf-8")]
    assert asking == ["kernels.py"]


@pytest.mark.slow
def test_every_command_starts_without_a_home_or_a_place_to_write(tmp_path):
    environment = {**os.environ, "HOME": "/proc/none", "NUMBA_CACHE_DIR": "/proc/none", "TMPDIR": "/proc/none"}
    code = "import sys; sys.argv = ['coslice', 'methods']; from coslice.cli.app import main; main()"
    done = subprocess.run([sys.executable, "-c", code], env=environment, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0 and "dds" in done.stdout, done.stderr
    assert not list(tmp_path.iterdir())


@pytest.mark.slow  # a process of its own, which compiles nothing but loads torch and numba
def test_the_first_kernel_leaves_torch_its_threads():
    """numba's OpenMP and torch's are one: starting numba's threads must not give torch more than it was told."""
    script = "import torch; from coslice.threads import compiled_kernels\nwith compiled_kernels(): pass\n"
    script += "print(torch.get_num_threads())"
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "NUMBA_NUM_THREADS": "2"}
    done = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["1"]


@needs_owners
@pytest.mark.parametrize("damage", [b"", b"\x80\x04", b"\0" * 500, b"text"])
@pytest.mark.parametrize("suffix", [".nbi", ".nbc"])
def test_a_kept_kernel_that_is_damaged_is_compiled_anew_and_mended(twice, tmp_path, suffix, damage):
    (tmp_path / "temporary").mkdir()
    assert twice()(21) == 42
    files = kept(tmp_path / "temporary")
    for path in files:
        if path.suffix == suffix:
            path.write_bytes(damage)
    assert twice()(21) == 42
    again = twice()
    assert again(21) == 42 and again.stats.cache_hits


@needs_owners
@pytest.mark.parametrize("refusing", ["os.replace", "numba.core.caching.dumps"])
def test_a_disk_that_is_full_costs_the_keeping_and_not_the_kernel(twice, tmp_path, monkeypatch, refusing):
    (tmp_path / "temporary").mkdir()
    kernel = twice()

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(refusing, full)
    assert kernel(21) == 42 and not kept(tmp_path / "temporary")
