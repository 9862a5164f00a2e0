"""
The projector and its transpose
===============================

A forward projection, the back-projection that is its exact transpose, and the test that tells.
"""

import matplotlib.pyplot as plt
import torch

import coslice

# %%
# ``Projector`` is A: line integrals, in mm times the unit of the volume. Geometry and grid are all it needs.
scan = coslice.data.embedded_scan().thickened(4).resized(96)
unit = coslice.CT_WINDOW.to_unit(scan.data)
geometry = coslice.problems.published_cone_beam(coslice.sparse_view(30), scan.grid())
projector = coslice.Projector(geometry, scan.grid())
sinogram = projector.forward(unit)
print("volume", *projector.domain, "-> projections", *projector.codomain)

# %%
# The dot test: <A x, y> = <x, A^T y> for any x and y. Conjugate gradients believe in it, and with a back-projector
# that is only similar they stop converging after some steps.
x, y = torch.rand(projector.domain), torch.rand(projector.codomain)
left = (projector.forward(x).double() * y.double()).sum().item()
right = (x.double() * projector.adjoint(y).double()).sum().item()
print(f"<A x, y> = {left:.6g}, <x, A^T y> = {right:.6g}, relative difference {abs(left - right) / left:.0e}")

# %%
# It is differentiable, too: called as a function, its gradient is the transpose.
x = torch.zeros(projector.domain, requires_grad=True)
(0.5 * (projector(x) - sinogram).square().sum()).backward()
difference = (x.grad + projector.adjoint(sinogram)).abs().max() / x.grad.abs().max()
print(f"gradient of |A x - y|^2 / 2 at 0 against -A^T y: {difference.item():.0e}")

# %%
# One view, the central row of all views (the sinogram), and the back-projection of all: every voxel gets the sum of
# what its rays measured. It is blurred like 1/distance, which filtering undoes (FDK) and iterations, too.
back = projector.adjoint(sinogram)
blurred = back * (unit.sum() / back.sum())
sharp = coslice.classical.cgls(projector, sinogram, 20)
fig, axes = plt.subplots(1, 5, figsize=(12, 2.9), layout="constrained", width_ratios=[1.25, 1.25, 1, 1, 1])
axes[0].imshow(sinogram[0].flip(0, 1), cmap="gray", aspect="auto")
axes[0].set_title("view 0: rows, columns")
axes[1].imshow(sinogram[:, geometry.detector[0] // 2], cmap="gray", aspect="auto")
axes[1].set_title("central row: views, columns")
pictures = {"truth": unit, "A^T y, scaled": blurred, "CGLS, 20 iterations": sharp}
for ax, (name, volume) in zip(axes[2:], pictures.items(), strict=True):
    ax.imshow(volume[8].flip(0, 1), cmap="gray", vmin=0, vmax=0.6)
    psnr = coslice.metrics.psnr(volume[8:9], unit[8:9]).item()
    ax.set_title(name if name == "truth" else f"{name}\n{psnr:.1f} dB")
    print(f"{name:20s} {psnr:5.1f} dB")
for ax in axes:
    ax.axis("off")
plt.show()
