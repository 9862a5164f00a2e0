"""
A noise of your own
===================

A strategy says how the noise of a slice depends on the others. One of ten lines ties slices by their distance in mm.
"""

import math
from dataclasses import dataclass, replace

import matplotlib.pyplot as plt

import coslice
from coslice.methods import DDS, changed
from coslice.noise import standard_normals


# %%
# Two planes, and every slice a mix of both at an angle that grows with its place in millimetres. Slerp does the same
# with an angle that depends on how tall the stack is; here two slices a given distance apart are alike to the same
# degree wherever the scan ends. ``standard_normals(key, ...)`` gives planes that depend on the key alone, so a seed
# repeats; ``stack`` is added to in place.
@dataclass(frozen=True)
class Helix(coslice.Strategy):
    """eps_i = cos(w z_i) n_0 + sin(w z_i) n_1, with a quarter of a turn in so many mm: corr = cos(w d)."""

    quarter: float = coslice.setting(30.0, "Distance at which slices are independent", "mm", above=0)

    def add_to_stack(self, stack, scale, key, first, count):
        n_0, n_1 = standard_normals(key, (0, 1), tuple(stack.shape[1:]), stack.device)
        for i, plane in enumerate(stack, first):
            angle = math.pi / 2 * i * self.spacing / self.quarter
            plane.add_(n_0.to(plane), alpha=scale * math.cos(angle))
            plane.add_(n_1.to(plane), alpha=scale * math.sin(angle))


# %%
# Is it what it says? Two laws: unit variance in every slice, and the correlation of the formula.
drawn = Helix(quarter=30.0)((40, 128, 128), coslice.Key(seed=0))
print(f"standard deviation of slices {float(drawn.std((1, 2)).min()):.3f} to {float(drawn.std((1, 2)).max()):.3f}")
for distance in (1, 15, 30):
    measured = float((drawn[distance:] * drawn[:-distance]).mean())
    print(f"{distance:2d} mm apart: correlation {measured:6.3f}, formula {math.cos(math.pi / 2 * distance / 30):6.3f}")

# %%
# In DDS it is one argument. All three have the same seed, prior and data step.
scan = coslice.data.embedded_scan().slices(28, 38).resized(80)
study = coslice.simulate(scan, coslice.SparseViewCT(views=15))
dds = changed(DDS, {"schedule": {"steps": 10, "sigma_max": 0.3}})
noises = {"independent": coslice.Independent(), "ISCS": coslice.Slerp(), "Helix, 30 mm": Helix(quarter=30.0)}
volumes = {"truth": study.unit}
for name, noise in noises.items():
    volumes[name] = coslice.run(study.problem, replace(dds, noise=noise), "ct", seed=0).reconstruction

# %%
# Above the noises from the side, below the reconstructions: what is tied does not flicker.
fig, axes = plt.subplots(2, 4, figsize=(12, 3.2), layout="constrained")
for (top, bottom), (name, volume) in zip(axes.T, volumes.items(), strict=True):
    found = coslice.evaluate(volume, study.unit, lpips=False)
    print(f"{name:14s} SDiff {1000 * found['sdiff']:5.2f}e-3, coronal {found['coronal']['psnr']:.1f} dB")
    if name in noises:
        top.imshow(noises[name]((10, 64, 64), coslice.Key(0))[:, 32], cmap="gray", vmin=-3, vmax=3, aspect=2.5)
    bottom.imshow(volume[:, 38, 8:72].flip(0, 1), cmap="gray", vmin=0.05, vmax=0.55, aspect=2.5)
    bottom.set_title(f"{name}: SDiff {1000 * found['sdiff']:.1f}e-3", fontsize=9)
for ax in axes.flat:
    ax.axis("off")
plt.show()
