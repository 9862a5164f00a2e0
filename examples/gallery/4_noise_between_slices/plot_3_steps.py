"""
Along the steps: trajectory and schedule
========================================

What the estimate looks like while the noise falls, and what more steps buy.
"""

import matplotlib.pyplot as plt

import coslice
from coslice.methods import DDS, changed

# %%
# The sampling loop gives a step at a time: its noise level, the prior's prediction, and the estimate that agrees with
# the data. ``watch`` is called with each, and may draw, save or stop.
scan = coslice.data.embedded_scan().slices(28, 36).resized(80)
study = coslice.simulate(scan, coslice.SparseViewCT(views=15))
method = changed(DDS, {"schedule": {"steps": 16, "sigma_max": 0.5}})
seen = []
result = coslice.run(
    study.problem,
    method,
    seed=0,
    truth=study.unit,
    watch=lambda step: seen.append((step.sigma, step.x[4], step.estimate[4])),
)

# %%
# Above the noisy volume that goes into the next step, below the estimate of that step. Large structures are there
# from the first step, since sampling starts at FDK; texture comes last.
fig, axes = plt.subplots(2, 5, figsize=(11, 4.6), layout="constrained")
for (top, bottom), number in zip(axes.T, (0, 4, 8, 12, 15), strict=True):
    sigma, noisy, estimate = seen[number]
    top.imshow(noisy.flip(0, 1), cmap="gray", vmin=0.05, vmax=0.55)
    top.set_title(f"after step {number + 1}: x", fontsize=9)
    bottom.imshow(estimate.flip(0, 1), cmap="gray", vmin=0.05, vmax=0.55)
    bottom.set_title(f"estimate at sigma {sigma:.3f}: {result.trajectory[number]['psnr']:.1f} dB", fontsize=9)
    top.axis("off")
    bottom.axis("off")
plt.show()

# %%
# Fewer steps, and the same method: the curves end higher the more steps there are, and slice differences (SDiff) come
# down towards that of the truth (dashed).
trajectories = {16: result.trajectory}
for steps in (4, 8):
    shorter = changed(method, {"schedule": {"steps": steps}})
    trajectories[steps] = coslice.run(study.problem, shorter, seed=0, truth=study.unit).trajectory
fig, axes = plt.subplots(1, 2, figsize=(9, 3.4), layout="constrained")
for steps, trajectory in sorted(trajectories.items()):
    sigmas = [record["sigma"] for record in trajectory]
    axes[0].plot(sigmas, [record["psnr"] for record in trajectory], "o-", label=f"{steps} steps")
    axes[1].plot(sigmas, [1000 * record["sdiff"] for record in trajectory], "o-")
    last = trajectory[-1]
    print(f"{steps:2d} steps: {last['psnr']:.1f} dB, SDiff {1000 * last['sdiff']:.2f}e-3")
truth = coslice.metrics.slice_difference(study.unit)
print(f"truth: SDiff {1000 * truth:.2f}e-3")
axes[1].axhline(1000 * truth, color="black", linestyle="--")
for ax, label in zip(axes, ("PSNR of the estimate (dB)", "SDiff (1e-3 of the window)"), strict=True):
    ax.set(xlabel="noise level sigma", ylabel=label, xscale="log")
    ax.invert_xaxis()
axes[0].legend()
plt.show()
