"""
Limited angle: where the errors sit
===================================

From 90 degrees of views a wedge of Fourier space is never measured. What a method makes of it can be seen there.
"""

import math

import matplotlib.pyplot as plt
import torch

import coslice

# %%
# A parallel view at angle beta measures the spatial frequencies along its detector (the Fourier slice theorem): over
# 90 degrees of views, half of all directions.
scan = coslice.data.embedded_scan().thickened(4).slices(5, 12).resized(80)
task = coslice.LimitedAngleCT(beam="parallel", angle=90, views=45)
study = coslice.simulate(scan, task)
wblend = coslice.methods.fast_form(coslice.methods.WBLEND)
volumes = {
    "FBP": study.problem.initial(),
    "ADMM-TV": coslice.run(study.problem, "admm-tv").reconstruction,
    "WBlend": coslice.run(study.problem, wblend, seed=0).reconstruction,
}

# %%
# Directions of frequencies, and which of them are measured. The lowest frequencies are left out: they belong to all
# directions.
size = scan.shape[1]
f = torch.fft.fftshift(torch.fft.fftfreq(size))
direction = torch.rad2deg(torch.atan2(f[:, None], f[None, :]))
measured = (direction - 90) % 180 < 90
away = f[:, None] ** 2 + f[None, :] ** 2 > (3 / size) ** 2

# %%
# Above the images, below the energy of their errors by frequency (log scale), the wedge between dashed lines. FBP has
# nothing there. Total variation fills in a part, and the prior, which knows what chests look like, more of it. Outside
# the wedge, where there are data, its error is smallest: nearly all that is left lies in what was never measured.
fig, axes = plt.subplots(2, 4, figsize=(11, 5.6), layout="constrained")
axes[0, 0].imshow(study.unit[3].flip(0, 1), cmap="gray", vmin=0.05, vmax=0.55)
axes[0, 0].set_title("truth")
axes[1, 0].imshow(measured & away, cmap="gray", vmin=-1, vmax=1)
axes[1, 0].set_title("measured frequencies (white)", fontsize=9)
for (top, bottom), (name, volume) in zip(axes.T[1:], volumes.items(), strict=True):
    error = volume - study.unit
    spectrum = torch.fft.fftshift(torch.fft.fft2(error), dim=(1, 2)).abs().square().mean(0)
    inside, outside = (float(spectrum[part & away].sum()) for part in (~measured, measured))
    psnr = coslice.evaluate(volume, study.unit, lpips=False)["axial"]["psnr"]
    print(f"{name:8s} axial {psnr:.1f} dB, {100 * inside / (inside + outside):.0f} % of the error in the wedge")
    top.imshow(volume[3].flip(0, 1), cmap="gray", vmin=0.05, vmax=0.55)
    top.set_title(f"{name}, {psnr:.1f} dB")
    bottom.imshow(spectrum.log10(), cmap="magma", vmin=-3, vmax=3, extent=(-0.5, 0.5, -0.5, 0.5))
    for border in (0, 90):
        x, y = 0.5 * math.cos(math.radians(border)), 0.5 * math.sin(math.radians(border))
        bottom.plot((-x, x), (-y, y), "w--", linewidth=0.8)
    bottom.set_title(f"{100 * inside / (inside + outside):.0f} % of the error in the wedge", fontsize=9)
for ax in axes.flat:
    ax.axis("off")
plt.show()
