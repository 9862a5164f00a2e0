"""Draw docs/images/demo.jpg from the folder that `coslice demo` leaves.

    python scripts/demo_picture.py demo-output docs/images/demo.jpg

Truth, FDK, DDS, DDS + ISCS and WBlend, an axial slice above a coronal one, with the display window of the ISCS paper.
"""

from __future__ import annotations

import sys
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import torch

import coslice

COLUMNS = {
    "truth": "truth",
    "initial": "FDK, 30 views",
    "dds-independent": "DDS",
    "dds-iscs": "DDS + ISCS",
    "wblend": "WBlend (ours)",
}
BLACK, WHITE = -480, 820


def main(folder: Path, picture: Path) -> None:
    volumes = {title: coslice.read_nifti(folder / f"{name}.nii.gz") for name, title in COLUMNS.items()}
    truth = next(iter(volumes.values()))
    (dz, dy, _), (z, y, _) = truth.spacing, truth.shape
    rows, columns = (torch.nonzero((truth.data[z // 2] > BLACK).any(axis)).flatten() for axis in (1, 0))
    top, bottom, left, right = (int(n) for n in (rows[0], rows[-1] + 1, columns[0], columns[-1] + 1))
    middle = (left + right) // 2
    narrow = slice(middle - (right - left) // 4, middle + (right - left) // 4)  # enlarged, to see single slices
    heights = (bottom - top) / (right - left), z * dz / (2 * (right - left) // 4 * dy)
    figure, axes = plt.subplots(
        2,
        len(volumes),
        figsize=(13, 13 / len(volumes) * sum(heights) + 0.4),
        gridspec_kw={"height_ratios": heights, "hspace": 0.02, "wspace": 0.02},
    )
    for column, (title, volume) in zip(axes.T, volumes.items(), strict=True):
        # Arrays are RAS: the patient's front goes up, the patient's right to the left, the head up.
        axial = volume.data[z // 2, top:bottom, left:right].flip(0, 1)
        coronal = volume.data[:, y // 2, narrow].flip(0, 1)
        for ax, (image, aspect) in zip(column, ((axial, 1.0), (coronal, dz / dy)), strict=True):
            ax.imshow(image.numpy(), cmap="gray", vmin=BLACK, vmax=WHITE, aspect=aspect, interpolation="lanczos")
            ax.set_axis_off()
        column[0].set_title(title, fontsize=12)
    figure.savefig(picture, dpi=100, bbox_inches="tight", pad_inches=0.05, pil_kwargs={"quality": 88})


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
