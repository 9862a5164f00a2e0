"""
An operator of your own: accelerated MR
=======================================

Any linear measurement with its transpose is a problem: here k-space with most of its columns missing.
"""

from dataclasses import dataclass
from functools import cached_property

import matplotlib.pyplot as plt
import torch

import coslice
from coslice.methods import DDS, changed


# %%
# An operator says its shapes, A and A^T; nothing else is needed. Measured are columns of the Fourier transform along x,
# real and imaginary parts side by side. That each of the two is the transpose of the other is the law to test.
@dataclass(frozen=True)
class FourierColumns(coslice.Operator):
    """Some columns of the orthonormal Fourier transform along x of a real volume."""

    domain: tuple[int, int, int]
    columns: tuple[int, ...]

    @cached_property
    def codomain(self):
        return (2, *self.domain[:2], len(self.columns))

    def forward(self, volume):
        spectrum = torch.fft.fft(volume, norm="ortho")[..., list(self.columns)]
        return torch.stack((spectrum.real, spectrum.imag))

    def adjoint(self, measurement):
        spectrum = torch.zeros(self.domain, dtype=torch.complex64)
        spectrum[..., list(self.columns)] = torch.complex(*measurement)
        return torch.fft.ifft(spectrum, norm="ortho").real


# %%
# The centre of k-space, and every fourth column beyond it: the first, the fifth, ... A real volume has the same in
# columns k and -k, so these say as much as every second one.
brain = coslice.read_nifti(coslice.data.embedded_file("brain")).cropped((40, 32, 96))
unit = coslice.load_prior("mr").window_for(brain).to_unit(brain.data)
centre = [*range(8), *range(96 - 8, 96)]
operator = FourierColumns(brain.shape, tuple(sorted({*centre, *range(1, 96, 4)})))
x, y = torch.rand(operator.domain), torch.rand(operator.codomain)
left, right = (operator.forward(x) * y).sum().item(), (x * operator.adjoint(y)).sum().item()
print(f"{len(operator.columns)} of 96 columns; <A x, y> = {left:.4f}, <x, A^T y> = {right:.4f}")

# %%
# A ``LinearProblem`` takes it, and every method that needs A and A^T alone can run. Its first reconstruction is that of
# conjugate gradients, which leaves what was not measured at 0. Two of them solve it: A^T A has the eigenvalues 0,
# 1/2 and 1, the last where both k and -k were measured.
problem = coslice.LinearProblem(operator, operator.forward(unit), spacing=brain.spacing)
method = changed(DDS, {"schedule": {"steps": 12, "sigma_max": 0.2}, "data": {"iterations": 2}})
result = coslice.run(problem, method, "mr", seed=0)

# %%
# A coronal plane. Missing columns fold the brain over itself; the prior unfolds it.
volumes = {"truth": unit, "CGLS (zero filled)": result.initial, "DDS + ISCS": result.reconstruction}
fig, axes = plt.subplots(2, 3, figsize=(10, 3.8), layout="constrained")
for (top, bottom), (name, volume) in zip(axes.T, volumes.items(), strict=True):
    psnr = coslice.evaluate(volume, unit, lpips=False)["coronal"]["psnr"]
    print(f"{name:20s} coronal {psnr:.1f} dB")
    top.imshow(volume[:, 16].flip(0, 1), cmap="gray", vmin=0, vmax=0.9)
    top.set_title(name if name == "truth" else f"{name}: {psnr:.1f} dB")
    bottom.imshow((volume - unit)[:, 16].flip(0, 1), cmap="RdBu_r", vmin=-0.3, vmax=0.3)
for ax in axes.flat:
    ax.axis("off")
plt.show()
