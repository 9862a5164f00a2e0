"""Measured projections: what a detector recorded, out of the files that laboratories keep it in.

| format | files | what is read with the projections |
|---|---|---|
| NumPy | .npy, .npz | .npz: flat and dark fields, angles, by their names |
| TIFF | one file of many pages, or a folder of files | pixel size; a folder's flat and dark fields, by their names |
| HDF5 | .h5, .hdf5, .hdf, .nxs | Data Exchange and NXtomo: flat and dark fields, angles, pixel size, unit |
| MetaImage | .mha, .mhd | pixel size |
| MATLAB | .mat, any version | flat and dark fields, angles, by their names |

A file may have its axes in any order, its numbers in any byte order, its angles in any unit. What leaves this room is
(views, rows, columns), and every reading that was a choice is said in a sentence. Values are not touched:
`coslice.acquisition` makes line integrals of them.

Files are not trusted. Nothing is unpickled or evaluated, and no memory is asked for before the file has been seen to
hold what its header promises.
"""

from coslice.io.recordings.recording import Recording, dataset_names, is_recording, read_recording
from coslice.io.recordings.stored import StoredArray

__all__ = ["Recording", "StoredArray", "dataset_names", "is_recording", "read_recording"]
