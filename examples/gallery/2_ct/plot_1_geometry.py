"""
Geometry: orbit, rotation sense, field of view
==============================================

Where source and detector stand, which way the scanner turns, and what a shifted detector sees.
"""

import math

import matplotlib.pyplot as plt
import numpy as np

import coslice
from coslice.classical import fdk

# %%
# A cone beam in millimetres and radians. Seen from above (z towards you), the source of a view at angle beta stands
# at S (cos beta, sin beta) and turns counter-clockwise; columns u run along (-sin beta, cos beta).
scan = coslice.data.embedded_scan().slices(28, 36).resized(80)
grid, angles = scan.grid(), coslice.sparse_view(180)


def scanner(columns, shift=0.0, sense=1):
    """Pixels of 8 mm, the detector's centre `shift` mm along u from the axis."""
    turned = tuple(sense * angle for angle in angles)
    return coslice.ConeBeam(turned, (8, columns), (8.0, 8.0), (0.0, shift), source_axis=800.0, axis_detector=400.0)


# %%
# The circle that every view shows has the distance of the outermost ray from the axis as its radius. A detector that
# is shifted along u by nearly half its width (half-fan) sees one side in each view, and in a full turn a larger circle.
def radius(geometry):
    return geometry.source_axis * math.sin(math.atan(np.abs(geometry.u()).max() / geometry.source_detector))


geometries = {
    "wide": scanner(96),
    "narrow": scanner(48),
    "narrow, shifted": scanner(48, shift=168.0),
    "wide, turning the wrong way": scanner(96, sense=-1),
}
fig, axes = plt.subplots(1, 4, figsize=(12, 3.1), layout="constrained")
for ax, (name, geometry) in zip(axes, geometries.items(), strict=True):
    for view, colour in ((0, "C0"), (30, "C1"), (60, "C2")):
        source, towards = geometry.rays(view)
        for column in (0, -1):
            ends = np.stack((source[0, column], source[0, column] + towards[0, column]))
            ax.plot(*ends.T[:2], color=colour, linewidth=0.8)
        detector = source[0] + towards[0]
        ax.plot(*detector.T[:2], color=colour, linewidth=3)
        ax.annotate(f"view {view}", source[0, 0, :2], color=colour, fontsize=8, ha="center", va="bottom")
    ax.add_patch(plt.Circle((0, 0), radius(geometry), fill=False))
    ax.set(xlim=(-600, 1000), ylim=(-800, 800), aspect="equal", xticks=[], yticks=[])
    ax.set_title(f"{name}: {radius(geometry):.0f} mm", fontsize=9)
plt.show()

# %%
# The same projections of the chest, reconstructed by FDK. The narrow detector cuts the body off and everything is too
# bright; shifted it shows the whole, and FDK gives each ray its share of the lines that are measured twice. Where the
# rotation sense is wrong the patient is mirrored (see the vessel beside the heart), and doubled away from the axis.
unit = coslice.CT_WINDOW.to_unit(scan.data)
fig, axes = plt.subplots(1, 4, figsize=(12, 3.1), layout="constrained")
for ax, (name, geometry) in zip(axes, geometries.items(), strict=True):
    true = scanner(96) if "wrong" in name else geometry
    volume = fdk(coslice.Projector(true, grid).forward(unit), geometry, grid)
    psnr = float(coslice.metrics.psnr(volume[4:5], unit[4:5]))
    print(f"{name:28s} field of view of {radius(geometry):.0f} mm about the axis, FDK {psnr:.1f} dB")
    ax.imshow(volume[4].flip(0, 1), cmap="gray", vmin=0, vmax=0.6)
    ax.set_title(f"{name}: FDK, {psnr:.1f} dB", fontsize=9)
    ax.axis("off")
plt.show()
