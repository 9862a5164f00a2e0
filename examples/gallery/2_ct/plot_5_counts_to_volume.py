"""
From raw counts to a volume
===========================

Photon counts with open-beam and dark frames, dead pixels and a detector that stands aside: the whole way.
"""

import matplotlib.pyplot as plt

import coslice
from coslice.io.geometry_files import ScannerFile
from coslice.io.recordings import Recording
from coslice.problems import Stated, from_projections
from coslice.xray import XrayScanner, simulate_counts

# %%
# A scanner that is not ideal measures the chest: gains differ, some pixels are dead, and the detector stands 7 mm
# further along u than the geometry says. Nothing of this is told to the reconstruction. With your own data,
# ``coslice.io.recordings.read_recording`` and ``coslice.io.geometry_files.read_geometry`` stand in for this cell.
# (Six rows are lower than the slab of slices: a ray through the faces where it was cut out of the patient would measure
# an object that ends there.)
scan = coslice.data.embedded_scan().thickened(4).slices(4, 12).resized(80)
geometry = coslice.ConeBeam(
    coslice.sparse_view(45), detector=(6, 132), pixel=(7.0, 7.0), source_axis=1100.0, axis_detector=700.0
)
scanner = XrayScanner(photons=50_000, gain=0.05, dead=0.003, axis_offset=7.0, oversample=1)
exposure = simulate_counts(scan, geometry, scanner, seed=0)
recording = Recording(exposure.counts, exposure.flats, exposure.darks, logged=False)
print("counts from", exposure.counts.min(), "to", exposure.counts.max(), "in", *exposure.counts.shape)

# %%
# ``from_projections`` makes a study of it: line integrals -ln((counts - dark) / (flat - dark)), dead pixels mended,
# the axis of rotation looked for, HU by the attenuation of water. What it found or did is in ``remarks``.
scanner_file = ScannerFile(geometry, grid=scan.grid())
studies = {}
for name, axis in (("as the geometry says", None), ("found", "find")):
    stated = Stated(values="counts", axis=axis, water=exposure.water)
    studies[name] = from_projections(recording, scanner_file, stated)
for remark in studies["found"].remarks:
    print("-", remark)

# %%
# A problem of a real measurement is a problem like any other. Everything bright is doubled while the axis is wrong, and
# no method can mend that. With the axis found FDK is noisy and full of streaks, as it is from so few views, and DDS
# with ISCS is several decibels better.
dds = coslice.methods.fast_form(coslice.methods.DDS)
truth = coslice.CT_WINDOW.to_unit(scan.data)
pictures = {"truth": truth}
for name, study in studies.items():
    pictures[f"FDK, axis {name}"] = study.problem.initial()
pictures["DDS + ISCS, axis found"] = coslice.run(studies["found"].problem, dds, seed=0).reconstruction
fig, axes = plt.subplots(1, 4, figsize=(12, 3.5), layout="constrained")
for ax, (name, volume) in zip(axes, pictures.items(), strict=True):
    psnr = coslice.metrics.psnr(volume, truth).mean().item()
    ax.imshow(volume[4].flip(0, 1), cmap="gray", vmin=0.05, vmax=0.55)
    ax.set_title(name if name == "truth" else f"{name}: {psnr:.1f} dB", fontsize=10)
    ax.axis("off")
    print(f"{name:32s} {psnr:5.1f} dB")
plt.show()
