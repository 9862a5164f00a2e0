"""coslice: 3D medical images from diffusion priors trained on 2D slices, kept coherent by ISCS."""

from typing import TYPE_CHECKING, Any

from coslice.errors import CosliceError
from coslice.geometry import ConeBeam, FanBeam, Grid, Orbit, ParallelBeam, limited_angle, sparse_view
from coslice.metrics import evaluate
from coslice.noise import Identical, Independent, Key, Slerp
from coslice.operators import Projector
from coslice.priors import load_prior
from coslice.recipe import Recipe
from coslice.reconstruction import run
from coslice.sample import sample, start
from coslice.volume import CT_WINDOW, Volume, Window

if TYPE_CHECKING:
    from coslice.io.nifti import read_nifti, write_nifti

__all__ = [
    "CT_WINDOW",
    "ConeBeam",
    "CosliceError",
    "FanBeam",
    "Grid",
    "Identical",
    "Independent",
    "Key",
    "Orbit",
    "ParallelBeam",
    "Projector",
    "Recipe",
    "Slerp",
    "Volume",
    "Window",
    "evaluate",
    "limited_angle",
    "load_prior",
    "read_nifti",
    "run",
    "sample",
    "sparse_view",
    "start",
    "write_nifti",
]


def __getattr__(name: str) -> Any:
    # Only on demand: a machine that is lent to train on packed slices need have nothing that reads scans.
    if name in ("read_nifti", "write_nifti"):
        from coslice.io import nifti

        return getattr(nifti, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
