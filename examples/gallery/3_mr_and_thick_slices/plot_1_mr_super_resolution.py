"""
MR: thin slices from thick ones
===============================

A brain whose slices are 5 mm thick gets slices of 1 mm, from a prior that has seen coronal planes of others.
"""

import matplotlib.pyplot as plt

import coslice

# %%
# A T1 brain comes with the package. 5 mm slices are simulated as means of five; of your own thick slices
# ``coslice.problems.from_thick_slices`` makes a problem, in any orientation.
brain = coslice.read_nifti(coslice.data.embedded_file("brain")).cropped((40, 56, 96))
print(brain)
study = coslice.simulate(brain, coslice.SliceSuperResolution(factor=5))
print(study.title, "-", study.problem.measurement.shape[0], "thick slices measured")

# %%
# The prior for MR sees coronal images, in which the thick axis z lies: rows of it are what is missing. So its slices
# are stacked along y, and so is ISCS's noise.
prior = coslice.load_prior("mr")
print(f"prior {prior.name}: plane {prior.plane}, stacked along {prior.along}")
result = coslice.run(study.problem, "dds", prior, seed=0, fast=True)
cubic = coslice.run(study.problem, "cubic").reconstruction

# %%
# A coronal and a sagittal plane. Repeating each thick slice shows what was measured. Cubic interpolation is smooth and
# blurred; DDS with ISCS has sharper borders of ventricles and sulci, also in sagittal planes, which its prior never
# saw. And it does not contradict the data: its means over five slices are what was measured.
repeated = study.problem.pseudo_inverse(1)(study.problem.measurement)
volumes = {"truth": study.unit, "measured": repeated, "cubic": cubic, "DDS + ISCS": result.reconstruction}
fig, axes = plt.subplots(2, 4, figsize=(11, 3.9), layout="constrained", height_ratios=[40 / 96, 40 / 56])
for (top, bottom), (name, volume) in zip(axes.T, volumes.items(), strict=True):
    found = coslice.evaluate(volume, study.unit, lpips=False)
    top.imshow(volume[:, 28].flip(0, 1), cmap="gray", vmin=0, vmax=0.9)
    top.set_title(name if name == "truth" else f"{name}, {found['coronal']['psnr']:.1f} dB", fontsize=10)
    bottom.imshow(volume[:, :, 40].flip(0, 1), cmap="gray", vmin=0, vmax=0.9)
    top.axis("off")
    bottom.axis("off")
    if name != "truth":
        misfit = (study.problem.operator.forward(volume) - study.problem.measurement).square().mean().sqrt()
        psnrs = ", ".join(f"{plane} {found[plane]['psnr']:.1f}" for plane in ("axial", "coronal", "sagittal"))
        print(f"{name:10s} {psnrs} dB; away from the measurement by {float(misfit):.4f}")
plt.show()
