"""
Flicker between slices, and how ISCS removes it
===============================================

The same sampler with independent noise and with ISCS: one argument makes the striped planes smooth.
"""

from dataclasses import replace

import matplotlib.pyplot as plt

import coslice

# %%
# DDS with few views: the measurement leaves much open, and what it leaves open the noise decides.
scan = coslice.data.embedded_scan().slices(24, 40).resized(80)
study = coslice.simulate(scan, coslice.SparseViewCT(views=15))
dds = coslice.methods.changed(coslice.find_method("dds"), {"schedule": {"steps": 12}, "data": {"iterations": 8}})
prior = coslice.load_prior("ct")

# %%
# ``+ISCS`` is no other method: only the noise is another value. The seed is the same.
volumes = {"truth": study.unit}
for name, noise in (("independent noise", coslice.Independent()), ("ISCS", coslice.Slerp())):
    volumes[name] = coslice.run(study.problem, replace(dds, noise=noise), prior, seed=0).reconstruction

# %%
# SDiff is the mean absolute difference between neighbouring slices. It is to be right, not small: anatomy changes,
# too. Too high is flicker, too low is smoothing across slices.
fig, axes = plt.subplots(3, 2, figsize=(9, 5), layout="constrained", width_ratios=[2.4, 1])
for row, (name, volume) in zip(axes, volumes.items(), strict=True):
    found = coslice.evaluate(volume, study.unit, lpips=False)
    print(
        f"{name:18s} SDiff {1000 * found['sdiff']:5.2f}e-3 (truth {1000 * found['sdiff_truth']:.2f}e-3)",
        *(f"{plane} {found[plane]['psnr']:5.1f}" for plane in ("axial", "coronal", "sagittal") if name != "truth"),
    )
    row[0].imshow(volume[:, 38, 8:72].flip(0, 1), cmap="gray", vmin=0.05, vmax=0.55, aspect=1)
    row[0].set_title(f"{name}, coronal (z stretched 5 times): SDiff {1000 * found['sdiff']:.2f}e-3", fontsize=9)
    row[1].imshow(volume[8].flip(0, 1), cmap="gray", vmin=0.05, vmax=0.55)
    row[1].set_title("axial", fontsize=9)
for ax in axes.flat:
    ax.axis("off")
plt.show()
