"""A file of several arrays, in words: what there is to choose from."""

from __future__ import annotations

import shlex

from coslice.cli.descriptions.description import Description
from coslice.cli.measurements import ProjectionFiles
from coslice.errors import CosliceError
from coslice.io.recordings import dataset_names

__all__ = ["arrays_description"]


def arrays_description(files: ProjectionFiles, error: CosliceError) -> Description | None:
    """The arrays of a file of many, where none was named and none could be chosen."""
    if files.dataset is not None or files.recording.is_dir():
        return None
    try:
        arrays = dataset_names(files.recording)
    except CosliceError:
        return None
    if len(arrays) < 2:
        return None
    name = str(files.recording)
    images = [one for one in arrays if sum(side > 1 for side in one.shape) > 1]
    typed = "\n".join(shlex.join(["coslice", "inspect", name, "--dataset", one.name]) for one in images[:8])
    return Description(
        f"{files.recording.name}: a file of {len(arrays)} arrays",
        tuple(("Array", f"{one}.") for one in arrays),
        {
            "kind": "arrays",
            "arrays": [{"name": one.name, "shape": list(one.shape), "type": one.dtype} for one in arrays],
        },
        (("warning", str(error)),),
        (("To look at one of them", typed),) if typed else (),
    )
