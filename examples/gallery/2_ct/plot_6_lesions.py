"""
Is a lesion kept?
=================

Known nodules are put into a scan. What a reconstruction makes of them is the difference that they make to it.
"""

import matplotlib.pyplot as plt

import coslice
from coslice.lesions import LUNG, insert, respond, spread_lesions

# %%
# Nodules of 10 mm in the lung, at places that are homogeneous enough, drawn from a seed: solid ones of +600 HU and
# ground glass of +300 HU.
scan = coslice.data.embedded_scan().thickened(3).slices(6, 14).resized(96)
lesions = spread_lesions(scan, diameters=[10.0], tissues=[LUNG], each=1, seed=0)
present = insert(scan, lesions)

# %%
# The scan with lesions and the scan without are measured and reconstructed alike, with the same seed. What differs
# between the two reconstructions is the response to the lesions alone.
dds = coslice.methods.changed(coslice.methods.DDS, {"schedule": {"steps": 10, "sigma_max": 0.2}})
task = coslice.SparseViewCT(views=30)
methods = {"FDK": coslice.find_method("fdk"), "DDS + ISCS": dds}
reconstructed = {}
for name, method in methods.items():
    pair = []
    for volume in (present, scan):
        study = coslice.simulate(volume, task)
        unit = coslice.run(study.problem, method, seed=0).reconstruction
        pair.append(scan.with_data(study.window.from_unit(unit)))
    reconstructed[name] = pair

# %%
# Recovery is the contrast that was found over the true one: 1 is perfect, and what is lost was taken for noise or
# blurred. CNR divides it by the error about the lesion: what can be told from streaks.
for name, (with_them, without) in reconstructed.items():
    for lesion in lesions:
        found = respond(lesion, with_them, without, scan)
        print(
            f"{name:10s} {lesion.contrast:+.0f} HU in slice {lesion.centre[0]}: recovery {found.recovery:.2f}, "
            f"CNR {found.cnr:.1f}, width along z {found.width_z or float('nan'):.2f} of the lesion's"
        )

# %%
# About the first nodule: the reconstructions, and below them what the lesions changed. Where nothing was put in nothing
# should change. FDK answers with a weaker nodule and streaks; the prior keeps more of it, and changes little elsewhere.
z, y, x = lesions[0].centre
fig, axes = plt.subplots(2, 3, figsize=(9, 6), layout="constrained")
columns = {"truth": (present, scan), **reconstructed}
for (top, bottom), (name, (with_them, without)) in zip(axes.T, columns.items(), strict=True):
    part = (z, slice(y - 15, y + 16), slice(x - 15, x + 16))
    top.imshow(with_them.data[part].flip(0, 1), cmap="gray", vmin=-1000, vmax=300)
    shown = bottom.imshow((with_them.data - without.data)[part].flip(0, 1), cmap="RdBu_r", vmin=-400, vmax=400)
    top.set_title(f"{name}: recovery {respond(lesions[0], with_them, without, scan).recovery:.2f}")
    for ax in (top, bottom):
        ax.add_patch(plt.Circle((15, 15), 4, fill=False, color="C1"))
        ax.axis("off")
fig.colorbar(shown, ax=axes[1, :], label="response (HU)", shrink=0.9)
plt.show()
