"""
Reading and writing: voxels that know where they are
====================================================

Whatever is cut, resampled or written, a point of the patient keeps its millimetres.
"""

import tempfile
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

import coslice
from coslice.io.dicom import read_dicom, write_dicom

# %%
# A volume is a tensor (z, y, x) and an affine that takes voxels to millimetres towards the patient's right, anterior
# and superior. NIfTI in any orientation comes in like this, and goes out in the orientation it came in.
scan = coslice.data.embedded_scan()
print(scan)
with tempfile.TemporaryDirectory() as place:
    coslice.write_nifti(scan, Path(place) / "scan.nii.gz")
    again = coslice.read_nifti(Path(place) / "scan.nii.gz")
print("NIfTI and back: values within", float((again.data - scan.data).abs().max()), "HU")

# %%
# A DICOM series is a folder. ``read_dicom`` sorts its slices by where they are and refuses those that are missing or
# uneven; ``write_dicom`` makes a derived series of a reconstruction, with the source's study where it is given.
with tempfile.TemporaryDirectory() as place:
    part = scan.slices(20, 26)
    for sentence in write_dicom(part, Path(place) / "series", description="a part", derivation="cut out of a scan"):
        print("-", sentence)
    series = read_dicom(Path(place) / "series")
moved, changed = np.abs(series.affine - part.affine).max(), float((series.data - part.data).abs().max())
print(f"DICOM and back: affine within {moved:.0e} mm, values within {changed:.2f} HU")

# %%
# Operations, and where the same point of the patient is in each: the affine follows every one of them.
point = scan.affine @ (40, 70, 30, 1)  # index (x, y, z)
volumes = {
    "as read": scan,
    "cropped": scan.cropped((40, 80, 100)),
    "resized(64)": scan.resized(64),
    "resampled(5 mm)": scan.resampled(5.0),
    "thickened(8 mm)": scan.thickened(8.0),
}
fig, axes = plt.subplots(1, 5, figsize=(12, 3), layout="constrained", sharex=True, sharey=True)
for ax, (name, volume) in zip(axes, volumes.items(), strict=True):
    x, y, z = (np.linalg.inv(volume.affine) @ point)[:3]
    print(f"{name:16s} {volume.shape} voxels of", *(f"{mm:.2f}" for mm in volume.spacing), "mm:", end=" ")
    print(f"the point is at index (z, y, x) = ({z:.1f}, {y:.1f}, {x:.1f})")
    corners = np.array([(-0.5, -0.5, 0, 1), (volume.shape[2] - 0.5, volume.shape[1] - 0.5, 0, 1)]) @ volume.affine.T
    extent = (*corners[:, 0], *corners[:, 1])
    ax.imshow(volume.data[round(z)], cmap="gray", vmin=-900, vmax=400, origin="lower", extent=extent)
    ax.plot(*point[:2], "+", color="C1", markersize=14)
    ax.set_title(name)
    ax.set_xlabel("mm to the right")
axes[0].set(ylabel="mm to anterior")
axes[0].invert_xaxis()  # the patient's right on the left, as radiologists look
plt.show()
