"""Libraries of others, imported where they are asked for."""

from __future__ import annotations

import importlib
from typing import Any

from coslice.errors import CosliceError

__all__ = ["imported"]


def imported(name: str, who: str) -> Any:
    """The module `name`.

    Raises:
        CosliceError: naming `who` needs it, where it is not installed or cannot be imported.
    """
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        package = name.partition(".")[0]
        if error.name == package:
            raise CosliceError(f"{who}: {package} is not installed; pip install {package}.") from error
        raise CosliceError(f"{who}: {name} cannot be imported: {error}.") from error
    except (ImportError, RuntimeError, OSError, AttributeError) as error:  # packages of other builds
        raise CosliceError(f"{who}: {name} cannot be imported: {error}") from error
