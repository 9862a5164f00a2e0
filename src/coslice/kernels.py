"""Compiled kernels, and where they are kept.

Compiling takes tens of seconds, so kernels are kept on disk: where $NUMBA_CACHE_DIR says, beside the code, or in the
user's cache folder, whichever can be written to; else in a folder of the user's own among the temporary ones; else
not at all, and they are compiled anew by every process. An installation that nobody can write to and a user without a
home (a container) are common, and no reason to fail.
"""

from __future__ import annotations

import os
import stat
import tempfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numba

__all__ = ["kernel"]


def kernel(**options: Any) -> Callable[[Callable[..., Any]], Any]:
    """A decorator: `numba.njit` with these options, kept on disk where there is a place for it."""

    def compiled(function: Callable[..., Any]) -> Any:
        for folder in (lambda: None, _temporary) if _usual_place(function) else (_temporary,):
            # What fails is only the search for a place: nothing is compiled before the first call.
            with suppress(RuntimeError, OSError):
                return _kept(function, options, folder())
        return numba.njit(**options)(function)

    return compiled


def _usual_place(function: Callable[..., Any]) -> bool:
    """Whether numba may look for a place itself: with no home at all it would make a folder called "~" here."""
    if numba.config.CACHE_DIR or os.path.isabs(os.path.expanduser("~")):  # pyright: ignore
        return True
    beside = Path(function.__code__.co_filename).parent
    compiled = beside / "__pycache__"
    return os.access(compiled, os.W_OK) if compiled.is_dir() else not compiled.exists() and os.access(beside, os.W_OK)


def _kept(function: Callable[..., Any], options: dict[str, Any], folder: str | None) -> Any:
    """`function`, compiled on its first call and kept in `folder`; None leaves the place to numba."""
    before = numba.config.CACHE_DIR  # pyright: ignore
    if folder is not None:
        numba.config.CACHE_DIR = folder  # pyright: ignore  # read here, once for every function
    try:
        return numba.njit(cache=True, **options)(function)
    finally:
        numba.config.CACHE_DIR = before  # pyright: ignore


def _temporary() -> str:
    """A folder that nobody else can write to: what is read from it is run.

    Raises:
        OSError: there is none.
    """
    place = tempfile.gettempdir()  # raises where no folder can be written to
    if Path(place) == Path.cwd() or not hasattr(os, "getuid"):
        raise OSError("no folder for temporary files that is one's own")
    folder = Path(place) / f"coslice-kernels-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    found = folder.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid() or found.st_mode & 0o022:
        raise OSError(f"{folder} is somebody else's")
    return str(folder)
