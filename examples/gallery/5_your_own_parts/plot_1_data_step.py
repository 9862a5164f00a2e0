"""
A data step of your own
=======================

How a method agrees with the measurement is a class of a few lines: here steps of SIRT, not conjugate gradients.
"""

from dataclasses import dataclass, replace

import matplotlib.pyplot as plt
import torch

import coslice
from coslice.methods import DDS, DataStep, changed


# %%
# A part is a small frozen dataclass. ``setting`` names what can be set and its bounds; ``build`` gets a problem and
# gives the function (denoised, sigma) -> estimate that the sampling loop calls.
@dataclass(frozen=True)
class SirtSteps(DataStep):
    """z + C A^T R (y - A z), again and again: R and C are one over the sums of rows and columns of A."""

    steps: int = coslice.setting(10, "Steps", least=1)

    def build(self, problem, along):
        operator, y = problem.operator, problem.measurement
        rows = 1 / operator.forward(torch.ones(operator.domain)).clamp(min=1e-3)
        columns = 1 / operator.adjoint(torch.ones(operator.codomain)).clamp(min=1e-3)

        def agree(denoised, sigma):
            z = denoised.clone()
            for _ in range(self.steps):
                z += columns * operator.adjoint(rows * (y - operator.forward(z)))
            return z

        return agree


# %%
# It takes the place of DDS's own. All else stays: prior, noise, schedule, and what the command line does with a
# method, where ``--method mine.py:mine --set data.steps=20`` runs it.
dds = changed(DDS, {"schedule": {"steps": 12, "sigma_max": 0.3}})
mine = replace(dds, name="sirt-steps", title="DDS with SIRT steps", data=SirtSteps(steps=10))
print(mine.label, "-", mine.data)

scan = coslice.data.embedded_scan().slices(28, 36).resized(80)
study = coslice.simulate(scan, coslice.SparseViewCT(views=20))
results = {m.title: coslice.run(study.problem, m, "ct", seed=0, truth=study.unit) for m in (dds, mine)}

# %%
# Conjugate gradients go further in ten steps than SIRT does, so DDS ends higher; the slower data step leaves more
# to the prior. Which is better for noisy data is worth a try.
fig, axes = plt.subplots(1, 4, figsize=(12, 3), layout="constrained", width_ratios=[1.4, 1, 1, 1])
for name, result in results.items():
    axes[0].plot([record["psnr"] for record in result.trajectory], "o-", label=name)
    print(f"{name:20s} {result.trajectory[-1]['psnr']:.1f} dB, {result.seconds['fidelity']:.1f} s in the data step")
axes[0].set(xlabel="step", ylabel="PSNR of the estimate (dB)")
axes[0].legend(fontsize=8)
volumes = {"truth": study.unit, **{name: result.reconstruction for name, result in results.items()}}
for ax, (name, volume) in zip(axes[1:], volumes.items(), strict=True):
    ax.imshow(volume[4].flip(0, 1), cmap="gray", vmin=0.05, vmax=0.55)
    ax.set_title(name, fontsize=9)
    ax.axis("off")
plt.show()
