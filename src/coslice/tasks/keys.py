"""Names of CT tasks, read back: "svct-parallel-8", "lact-cone-100" and the like, as `Acquisition.key` writes them.

Networks that are trained for one task, and the files and options that speak of them, name the task by its key.
"""

from __future__ import annotations

from coslice.errors import CosliceError
from coslice.tasks.acquisition import Acquisition

__all__ = ["acquisition_of"]


def acquisition_of(key: str) -> Acquisition:
    """The noise-free acquisition whose `key` this is.

    Raises:
        CosliceError: a key that `Acquisition.key` would not write, of whatever kind.
    """
    try:
        match key.split("-"):
            case ["svct", beam, views]:
                found = Acquisition("svct", views=int(views), beam=beam)
            case ["lact", beam, angle]:
                found = Acquisition("lact", angle=float(angle), beam=beam)
            case ["lact", beam, angle, views]:
                found = Acquisition("lact", views=int(views), angle=float(angle), beam=beam)
            case _:
                raise ValueError
        # One name for one task: "svct-cone-030" or "lact-cone-100-100" would be second ones.
        if found.key != key:
            raise ValueError
    except ValueError as error:
        raise CosliceError(
            f'task: the key "{key}" was given, but keys are like svct-parallel-8 (views) or lact-cone-100 (degrees); '
            "correct it."
        ) from error
    return found
