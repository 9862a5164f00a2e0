"""
ISCS in a sampler that is not ours
==================================

A plain DDPM loop dreams up chests. Inside ``with coslice.iscs(seed=0):`` its slices belong to one chest.
"""

from itertools import pairwise

import matplotlib.pyplot as plt
import torch

import coslice

# %%
# Ho et al.'s ancestral sampler, as it stands in many repositories: it asks torch for its noise, knows nothing of
# volumes, and takes a stack of slices for a batch of images. The network is the embedded prior.
alpha_bar = torch.cumprod(1 - torch.linspace(1e-4, 0.02, 1000, dtype=torch.float64), 0)
network = coslice.load_prior("ct")


@torch.no_grad()
def ddpm(shape, times):
    x = torch.randn(shape)
    for t, s in pairwise([*times, None]):
        a_t, a_s = float(alpha_bar[t]), 1.0 if s is None else float(alpha_bar[s])
        clean = network(x[:, 0] / a_t**0.5, ((1 - a_t) / a_t) ** 0.5)[:, None].clamp(0, 1)
        noise = (x - a_t**0.5 * clean) / (1 - a_t) ** 0.5
        fresh = ((1 - a_s) / (1 - a_t) * (1 - a_t / a_s)) ** 0.5
        x = a_s**0.5 * clean + max(0.0, 1 - a_s - fresh**2) ** 0.5 * noise + fresh * torch.randn_like(x)
    return x[:, 0]


# %%
# Twice the same call. The second time every normal draw whose first axis is the stack is tied by slerp between two
# planes: the start, and the noise of each step.
shape, times = (8, 1, 80, 80), [*range(740, 0, -40), 0]
torch.manual_seed(0)
volumes = {"torch's own noise": ddpm(shape, times)}
with coslice.iscs(seed=0):
    volumes["with coslice.iscs(seed=0)"] = ddpm(shape, times)

# %%
# Eight slices each. With independent noise they are eight different chests; with ISCS neighbours are nearly the same
# and the stack goes slowly from one to another. Every single one is as good a chest as before.
fig, axes = plt.subplots(2, 8, figsize=(12, 3.4), layout="constrained")
for row, (name, volume) in zip(axes, volumes.items(), strict=True):
    difference = coslice.metrics.slice_difference(volume)
    print(f"{name:26s} SDiff {1000 * difference:6.2f}e-3, standard deviation of a slice {float(volume[4].std()):.3f}")
    for number, (ax, image) in enumerate(zip(row, volume, strict=True)):
        ax.imshow(image.flip(0, 1), cmap="gray", vmin=0.05, vmax=0.55)
        ax.set_title(f"slice {number}", fontsize=8)
        ax.axis("off")
    row[0].set_title(f"{name}: SDiff {1000 * difference:.1f}e-3", fontsize=9, loc="left")
plt.show()
