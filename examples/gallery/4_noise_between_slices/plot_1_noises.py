"""
The noises, and how they tie slices together
============================================

What a sampler adds to a volume decides how neighbouring slices agree. Here are five kinds, seen from the side.
"""

import math

import matplotlib.pyplot as plt
import numpy as np
from torch.nn.functional import cosine_similarity

import coslice

# %%
# A noise is a value: it says how the noise of one slice depends on that of the others. Called with a shape and a key
# it draws a volume; the same key draws the same numbers on every machine.
slices, spacing, length = 48, 1.0, 8.0  # mm
noises = {
    "independent": (coslice.Independent(), lambda d: np.where(d == 0, 1.0, 0.0)),
    "ISCS (slerp)": (coslice.Slerp(), lambda d: np.cos(math.pi / 2 * d / (slices - 1) / spacing)),
    "Ornstein-Uhlenbeck": (coslice.OrnsteinUhlenbeck(length=length), lambda d: np.exp(-d / length)),
    "Matérn": (
        coslice.Matern(length=length),
        lambda d: (1 + math.sqrt(3) * d / length) * np.exp(-math.sqrt(3) * d / length),
    ),
    "identical (BCS)": (coslice.Identical(), lambda d: np.ones_like(d)),
}
drawn = {name: noise((slices, 96, 96), coslice.Key(seed=0)) for name, (noise, _) in noises.items()}

# %%
# A coronal plane of each, slices stacked upwards. Every single row is white noise of standard deviation 1: a prior
# that sees slices one by one cannot tell these volumes apart. What differs is what lies above what.
fig, axes = plt.subplots(1, 5, figsize=(11, 2.2), layout="constrained")
for ax, (name, volume) in zip(axes, drawn.items(), strict=True):
    ax.imshow(volume[:, 48], cmap="gray", vmin=-3, vmax=3, origin="lower", aspect=1)
    ax.set_title(f"{name}\nsd of a slice {float(volume[20].std()):.2f}", fontsize=9)
    ax.axis("off")
plt.show()

# %%
# The correlation of slices a distance apart, measured (dots) and by the formula (lines). ISCS falls like a cosine over
# the whole stack, however tall it is; the two in millimetres fall with distance alone, Matérn flat at first and
# Ornstein-Uhlenbeck steeply.
distances = np.arange(0, slices) * spacing
fig, ax = plt.subplots(figsize=(6.5, 3.6), layout="constrained")
for name, (_, formula) in noises.items():
    eps = drawn[name].flatten(1)  # (slices, pixels)
    measured = [float(cosine_similarity(eps[: slices - d], eps[d:], dim=1).mean()) for d in range(slices)]
    (line,) = ax.plot(distances, formula(distances), label=name)
    ax.plot(distances, measured, ".", color=line.get_color())
    away = max(abs(m - f) for m, f in zip(measured, formula(distances), strict=True))
    print(f"{name:20s} neighbours {measured[1]:6.3f}, largest distance from the formula {away:.3f}")
ax.set(xlabel="distance between slices (mm)", ylabel="correlation")
ax.legend(fontsize=8)
plt.show()
