"""Files in, files out: the only room that knows about axis orders on disk.

Everything read here arrives as a `coslice.volume.Volume` in (z, y, x) and millimetres; everything
written goes back in the axis order it came in, whole or not at all.
"""

from coslice.io.files import atomic, prepare_output
from coslice.io.nifti import read_nifti, write_nifti

__all__ = ["atomic", "prepare_output", "read_nifti", "write_nifti"]
