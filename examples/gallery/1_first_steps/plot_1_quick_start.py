"""
Quick start: a chest from 30 views
==================================

A real chest CT is measured from 30 directions and reconstructed, by a formula and by diffusion, in a few lines.
"""

import matplotlib.pyplot as plt

import coslice

# %%
# A scan comes with the package: 64 slices of a chest that no prior was trained on. Here its slices are made 4 mm
# thick and 96 pixels wide, so that everything takes seconds. ``coslice.read_nifti("chest.nii.gz")`` reads yours.
scan = coslice.data.embedded_scan().thickened(4).resized(96)
print(scan)

# %%
# ``simulate`` measures it: 30 cone-beam views. The study that comes back holds the problem, which is all that a
# reconstruction sees, and the truth, ``study.unit``. Both live in the window of the prior, where -1000 HU is 0 and
# 1600 HU is 1.
study = coslice.simulate(scan, coslice.SparseViewCT(views=30))
print(study.title, "-", *study.problem.measurement.shape, "numbers (views, rows, columns)")

# %%
# ``run`` reconstructs. Without the name of a method it takes our best, WBlend, with the priors that come along;
# ``fast`` halves its steps. The same seed gives the same volume.
result = coslice.run(study.problem, fast=True, seed=0)

# %%
# The formula (FDK) is where sampling started. Streaks cross its planes, and noise-like errors hide the vessels. The
# reconstruction has lost the streaks in all three planes, also in the two that the prior has never looked at: it was
# trained on axial images alone. PSNR is the mean over the slices of a plane; the truth against itself is 100 dB.
volumes = {"truth": study.unit, "FDK": result.initial, "WBlend": result.reconstruction}
planes = {"axial": lambda v: v[8], "coronal": lambda v: v[:, 48], "sagittal": lambda v: v[:, :, 40]}
dz, dy, dx = scan.spacing
fig, axes = plt.subplots(3, 3, figsize=(9, 4.8), layout="constrained", gridspec_kw={"height_ratios": [96, 16, 16]})
for column, (name, volume) in zip(axes.T, volumes.items(), strict=True):
    found = coslice.evaluate(volume, study.unit, lpips=False)
    for ax, (plane, cut) in zip(column, planes.items(), strict=True):
        # Rows run from posterior to anterior and from inferior to superior: turned, the patient is as usual.
        ax.imshow(cut(volume).flip(0, 1), cmap="gray", vmin=0.05, vmax=0.55, aspect=1 if plane == "axial" else dz / dx)
        psnr = "" if name == "truth" else f", {found[plane]['psnr']:.1f} dB"
        ax.set_title(f"{name}, {plane}{psnr}", fontsize=9)
        ax.axis("off")
    print(f"{name:7s}", *(f"{plane} {found[plane]['psnr']:5.1f} dB" for plane in planes))
plt.show()

# %%
# ``scan.with_data(study.window.from_unit(result.reconstruction))`` is a volume in HU where the scan was, which
# ``coslice.write_nifti`` writes. On the command line the whole page is
# ``coslice reconstruct chest.nii.gz --views 30 --out out/``.
