"""A method of the user's own, out of a Python file: FILE.py:NAME.

The command line takes one for --method, and a benchmark for a row. The file is run, so its parts are known by their
words from then on.
"""

from __future__ import annotations

import hashlib
import importlib.util
import sys
from pathlib import Path
from types import ModuleType

from coslice.errors import CosliceError
from coslice.methods.method import AnyMethod, Direct, Method

__all__ = ["is_own", "load_method"]


def is_own(text: str) -> bool:
    """Whether `text` names a file of the user's, and not one of `coslice.methods.METHODS`."""
    return ".py:" in text


def load_method(text: str, folder: Path | None = None) -> AnyMethod:
    """A method out of a Python file, which is run once.

    Args:
        text: "FILE.py:NAME".
        folder: where else to look for FILE, after the current folder.

    Raises:
        CosliceError: no such file, one that fails when it is run, or a name that is no method of it.
    """
    file, _, name = text.rpartition(":")
    places = [Path(file), *([] if folder is None else [folder / file])]
    path = next((place for place in places if place.is_file()), None)
    if path is None:
        raise CosliceError(f"method: {text} was given, but there is no file {file}; give FILE.py:NAME.")
    found = getattr(_module(path), name, None)
    if not isinstance(found, Method | Direct):
        raise CosliceError(f"method: {text} was given, but {name} in that file is no method; give FILE.py:NAME.")
    return found


def _module(path: Path) -> ModuleType:
    # Not the stem alone: a file called random.py must not stand in for the module of that name.
    name = f"{path.stem}_{hashlib.sha256(str(path.resolve()).encode()).hexdigest()[:8]}"
    if name in sys.modules:
        return sys.modules[name]
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses look their module up there
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        del sys.modules[name]
        raise CosliceError(
            f"method: {path.name} cannot be run ({type(error).__name__}: {error}); correct it."
        ) from error
    return module
