"""
ISCS in a sampler that is not ours
==================================

A plain DDPM loop cleans a stack of slices, and they flicker. Inside ``with coslice.iscs(seed=0):`` they do not.
"""

from itertools import pairwise

import matplotlib.pyplot as plt
import torch

import coslice

# %%
# Ho et al.'s ancestral sampler as it stands in many repositories, started at a noisy image (SDEdit): it asks torch for
# its noise, knows nothing of volumes, and takes the slices of a stack for a batch of images, (slices, 1, y, x). The
# network here is the embedded prior; it could be any.
alpha_bar = torch.cumprod(1 - torch.linspace(1e-4, 0.02, 1000, dtype=torch.float64), 0)
network = coslice.load_prior("ct")


@torch.no_grad()
def ddpm(images, times):
    first = float(alpha_bar[times[0]])
    x = first**0.5 * images + (1 - first) ** 0.5 * torch.randn_like(images)
    for t, s in pairwise([*times, None]):
        a_t, a_s = float(alpha_bar[t]), 1.0 if s is None else float(alpha_bar[s])
        clean = network(x[:, 0] / a_t**0.5, ((1 - a_t) / a_t) ** 0.5)[:, None].clamp(0, 1)
        noise = (x - a_t**0.5 * clean) / (1 - a_t) ** 0.5
        fresh = ((1 - a_s) / (1 - a_t) * (1 - a_t / a_s)) ** 0.5
        x = a_s**0.5 * clean + max(0.0, 1 - a_s - fresh**2) ** 0.5 * noise + fresh * torch.randn(x.shape)
    return x


# %%
# Twice the same call, on a filtered back-projection of 30 views. The second time every normal draw whose first axis is
# the stack is tied by slerp between two planes, those of the start and of the steps alike; ``size`` says how many
# slices that are.
scan = coslice.data.embedded_scan().slices(28, 40).resized(80)
study = coslice.simulate(scan, coslice.SparseViewCT(beam="parallel", views=30))
start, times = study.problem.initial().clamp(0, 1)[:, None], range(90, -1, -10)
torch.manual_seed(0)
volumes = {"truth": study.unit, "torch's own noise": ddpm(start, times)[:, 0]}
with coslice.iscs(seed=0, size=len(start)):
    volumes["with coslice.iscs(seed=0)"] = ddpm(start, times)[:, 0]

# %%
# Coronal planes. Each slice is as good as before, but now it is decided once for all of them what is there.
fig, axes = plt.subplots(1, 3, figsize=(12, 2.6), layout="constrained")
for ax, (name, volume) in zip(axes, volumes.items(), strict=True):
    found = coslice.evaluate(volume, study.unit, lpips=False)
    print(f"{name:26s} SDiff {1000 * found['sdiff']:5.2f}e-3, axial {found['axial']['psnr']:.1f} dB")
    ax.imshow(volume[:, 38, 8:72].flip(0, 1), cmap="gray", vmin=0.05, vmax=0.55, aspect=2)
    ax.set_title(f"{name}: SDiff {1000 * found['sdiff']:.1f}e-3", fontsize=10)
    ax.axis("off")
plt.show()
