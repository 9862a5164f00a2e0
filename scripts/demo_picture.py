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
    dz, dy, _ = next(iter(volumes.values())).spacing
    figure, axes = plt.subplots(
        2, len(volumes), figsize=(13, 4.2), gridspec_kw={"height_ratios": [1, 0.38], "hspace": 0.02, "wspace": 0.02}
    )
    for column, (title, volume) in zip(axes.T, volumes.items(), strict=True):
        z, y, _ = volume.shape
        images = (volume.data[z // 2], 1.0), (volume.data[:, y // 2].flip(0), dz / dy)
        for ax, (image, aspect) in zip(column, images, strict=True):
            ax.imshow(image.numpy()[:, ::-1], cmap="gray", vmin=BLACK, vmax=WHITE, aspect=aspect)
            ax.set_axis_off()
        column[0].set_title(title, fontsize=12)
    figure.savefig(picture, dpi=100, bbox_inches="tight", pad_inches=0.05, pil_kwargs={"quality": 88})


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
