"""
Methods side by side
====================

One problem, five ways to solve it: a formula, iterations, total variation, and two diffusion methods.
"""

import time

import matplotlib.pyplot as plt

import coslice

# %%
# A method is a value with a name. ``coslice methods`` on the command line lists them, and
# ``coslice.methods.setting_lines`` what can be set in one.
scan = coslice.data.embedded_scan().thickened(4).slices(4, 14).resized(80)
study = coslice.simulate(scan, coslice.SparseViewCT(views=20))
print(study.title, "of", *scan.shape, "voxels (z, y, x)")

methods = {
    "FDK": coslice.find_method("fdk"),
    "SIRT": coslice.find_method("sirt"),
    "ADMM-TV": coslice.find_method("admm-tv"),
    "DDS + ISCS": coslice.methods.fast_form(coslice.methods.DDS),
    "WBlend": coslice.methods.fast_form(coslice.methods.WBLEND),
}

# %%
# All take the same problem, and none of them the truth. Seconds hold what the first call of each spends on loading
# its prior, and depend on the machine.
volumes = {}
for name, method in methods.items():
    began = time.perf_counter()
    volumes[name] = coslice.run(study.problem, method, seed=0).reconstruction
    found = coslice.evaluate(volumes[name], study.unit, lpips=False)
    print(
        f"{name:11s} axial {found['axial']['psnr']:5.1f} dB, coronal {found['coronal']['psnr']:5.1f} dB, "
        f"SDiff {1000 * found['sdiff']:5.2f}e-3 (truth {1000 * found['sdiff_truth']:.2f}e-3), "
        f"{time.perf_counter() - began:.1f} s"
    )

# %%
# Above a slice, below what each has wrong in it, all in one range. FDK leaves streaks and SIRT weaker ones; total
# variation removes them, and with them the vessels of the lung. The diffusion methods know what slices of chests look
# like, and what is left of their errors has no pattern any more.
fig, axes = plt.subplots(2, 6, figsize=(12, 4.0), layout="constrained")
truth = study.unit[5].flip(0, 1)
axes[0, 0].imshow(truth, cmap="gray", vmin=0.05, vmax=0.55)
axes[0, 0].set_title("truth", fontsize=9)
for (top, bottom), (name, volume) in zip(axes.T[1:], volumes.items(), strict=True):
    image = volume[5].flip(0, 1)
    top.imshow(image, cmap="gray", vmin=0.05, vmax=0.55)
    top.set_title(f"{name}, {coslice.metrics.psnr(image[None], truth[None]).item():.1f} dB", fontsize=9)
    errors = bottom.imshow(image - truth, cmap="RdBu_r", vmin=-0.1, vmax=0.1)
fig.colorbar(errors, ax=axes[1, :], label="error (1 is 2600 HU)", shrink=0.9)
for ax in axes.flat:
    ax.axis("off")
plt.show()
