"""Geometry files: what scanners and other programs write about where their rays run, in our world.

Every format has its own start and sense of angles, order of pixels and signs of offsets; the modules say which, and
from where that is known. Where a file leaves something open, the reading says what was assumed.
"""

from coslice.io.geometry_files.astra import from_astra, to_astra
from coslice.io.geometry_files.own_json import write_geometry
from coslice.io.geometry_files.reading import read_geometry
from coslice.io.geometry_files.scanner_file import ScannerFile
from coslice.io.geometry_files.tigre import from_tigre

__all__ = ["ScannerFile", "from_astra", "from_tigre", "read_geometry", "to_astra", "write_geometry"]
