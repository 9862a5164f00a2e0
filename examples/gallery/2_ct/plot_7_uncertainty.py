"""
Uncertainty: samples and intervals
==================================

Several samples disagree where the measurement leaves room. How much is that disagreement worth as an error bar?
"""

from dataclasses import replace

import matplotlib.pyplot as plt

import coslice
from coslice.output import conditions_of
from coslice.uncertainty import Calibration, Case, body_mask, coverage

# %%
# Four samples with seeds 0 to 3. The reconstruction is their mean, and ``deviation`` their standard deviation.
scan = coslice.data.embedded_scan().thickened(4).slices(4, 12).resized(80)
study = coslice.simulate(scan, coslice.SparseViewCT(views=15))
dds = coslice.methods.changed(coslice.methods.DDS, {"schedule": {"steps": 10, "sigma_max": 0.2}})
plan = coslice.plan(study.problem, replace(dds, samples=4), "ct", seed=0)
result = coslice.run(plan)
error = (result.reconstruction - study.unit).abs()

# %%
# An interval of 1.64 deviations should hold the truth of 90 % of the voxels, if samples erred as they differ. They
# share the errors of their prior, so it holds fewer. It is counted in the body: air outside is always right.
lower, upper = slice(0, 4), slice(4, 8)
body = body_mask(study.unit)
naive = coverage(study.unit[upper], result.reconstruction[upper], 1.64 * result.deviation[upper], body[upper]).body

# %%
# A calibration learns how much to widen it where the truth is known: here on the lower half of the stack, and it is
# judged on the upper half. (For more than a gallery take other patients: slices of one are alike.)
case = Case(study.unit[lower], result.reconstruction[lower], result.deviation[lower], body[lower])
calibration = Calibration.fit([case], conditions_of(plan))
half_width = calibration.half_width(result.deviation, level=90)
held = coverage(study.unit[upper], result.reconstruction[upper], half_width[upper], body[upper]).body
print(f"deviations alone: {100 * naive:.0f} % of the truth in what should hold 90 %")
print(f"calibrated (a {calibration.a:.2f}, b {calibration.b:.4f}): {100 * held:.0f} %")

# %%
# The interval is wide where the error is, at vessels and ribs and in the heart, and narrow in the air outside.
panels = {
    "truth": (study.unit, "gray", 0.05, 0.55),
    "mean of 4 samples": (result.reconstruction, "gray", 0.05, 0.55),
    "absolute error": (error, "magma", 0, 0.06),
    f"1.64 deviations: hold {100 * naive:.0f} %": (1.64 * result.deviation, "magma", 0, 0.06),
    f"calibrated: holds {100 * held:.0f} %": (half_width, "magma", 0, 0.06),
}
fig, axes = plt.subplots(1, 5, figsize=(12, 2.7), layout="constrained")
for ax, (name, (volume, colours, low, high)) in zip(axes, panels.items(), strict=True):
    shown = ax.imshow(volume[5].flip(0, 1), cmap=colours, vmin=low, vmax=high)
    ax.set_title(name, fontsize=9)
    ax.axis("off")
fig.colorbar(shown, ax=axes, label="of the window (1 is 2600 HU)", shrink=0.8)
plt.show()
