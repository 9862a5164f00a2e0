"""Compiled kernels, and where they are kept.

Compiling takes tens of seconds, so kernels are kept on disk: where $NUMBA_CACHE_DIR says, beside the code, or in the
user's cache folder, whichever can be written to; else in a folder of the user's own among the temporary ones; else
not at all, and they are compiled anew by every process. An installation that nobody can write to and a user without a
home (a container) are common, and no reason to fail.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numba

from coslice.private_folders import private_folder

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
        kept: Any = numba.njit(cache=True, **options)(function)
    finally:
        numba.config.CACHE_DIR = before  # pyright: ignore
    if hasattr(kept, "_cache"):
        kept._cache = _Forgiving(kept._cache)
    return kept


def _temporary() -> str:
    """A folder that nobody else can write to: what is read from it is run.

    Raises:
        OSError: there is none.
    """
    return str(private_folder("kernels"))


class _Forgiving:
    """numba's store of one kernel, whose damage or refusal costs the time to compile, and never the run.

    A disk may be full when the kernel is written, a machine may have lost its power while it was, and somebody may have
    emptied the folder since it was found.
    """

    def __init__(self, store: Any) -> None:
        self._store = store

    def load_overload(self, *what: Any) -> Any:
        try:
            return self._store.load_overload(*what)
        except Exception:  # whatever unpickling makes of damaged bytes
            with suppress(Exception):
                self._store.flush()  # or it would be found damaged again, by every process to come
            return None

    def save_overload(self, *what: Any) -> None:
        with suppress(Exception):  # of the system, or of an index that is damaged and cannot be replaced
            self._store.save_overload(*what)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)
