"""
Low dose: photon noise, weights, and the data step
==================================================

With few photons the measurement itself is uncertain, and most so behind bones. How much should it be believed?
"""

from dataclasses import replace

import matplotlib.pyplot as plt

import coslice
from coslice.detector import PhotonNoise, line_integrals, variances

# %%
# 40 views with 10,000 photons to a pixel. The noise is that of counting (Poisson) before the logarithm; what comes
# out are line integrals whose noise grows where few photons arrive.
scan = coslice.data.embedded_scan().thickened(4).slices(5, 12).resized(80)
noise = PhotonNoise(photons=10_000)
study = coslice.simulate(scan, coslice.SparseViewCT(views=40, noise=noise))
problem = study.problem

# %%
# The variance of each ray, as a scanner would estimate it from its own counts, becomes a weight. A problem carries
# weights, and every data step uses them.
lines = line_integrals(problem.operator, study.window)
variance = variances(problem.measurement, noise, lines)
weights, deviation = coslice.problems.relative_weights(variance)
weighted = replace(problem, weights=weights, noise=deviation)
print(f"weights from {float(weights.min()):.2f} to {float(weights.max()):.2f}, noise of weight 1: {deviation:.2f} mm")

# %%
# DDS solves towards the data by conjugate gradients (CG), and each of them goes further into their noise: without
# weights 4 are better than 10. With weights, rays behind bones are believed less than others, and the same 10 do
# better. DiffPIR asks the noise how far to go, at every step anew. So does ours, by itself where the noise is known:
# here in its fast form, and without the weights.
levels = {"schedule": {"steps": 9, "sigma_max": 0.2}}
dds = coslice.methods.changed(coslice.methods.DDS, levels)
few = coslice.methods.changed(dds, {"data": {"iterations": 4}})
diffpir = coslice.methods.changed(coslice.methods.DIFFPIR, levels)
volumes = {
    "FDK": problem.initial().clamp(0, 1),
    "DDS, 10 CG": coslice.run(problem, dds, seed=0).reconstruction,
    "DDS, 4 CG": coslice.run(problem, few, seed=0).reconstruction,
    "DDS, 10 CG, weights": coslice.run(weighted, dds, seed=0).reconstruction,
    "DiffPIR, weights": coslice.run(weighted, diffpir, seed=0).reconstruction,
    "WBlend, fast": coslice.run(problem, fast=True, seed=0).reconstruction,
}

fig, axes = plt.subplots(1, 7, figsize=(13, 2.5), layout="constrained")
axes[0].imshow(study.unit[3].flip(0, 1), cmap="gray", vmin=0.05, vmax=0.55)
axes[0].set_title("truth", fontsize=9)
for ax, (name, volume) in zip(axes[1:], volumes.items(), strict=True):
    found = coslice.evaluate(volume, study.unit, lpips=False)
    print(f"{name:20s} axial {found['axial']['psnr']:.1f} dB, SSIM {found['axial']['ssim']:.3f}")
    ax.imshow(volume[3].flip(0, 1), cmap="gray", vmin=0.05, vmax=0.55)
    ax.set_title(f"{name}\n{found['axial']['psnr']:.1f} dB", fontsize=9)
for ax in axes:
    ax.axis("off")
plt.show()
