"""
A benchmark of your own
=======================

How many views does a method need? A recipe of twenty lines asks, and its answer is a table that can be made again.
"""

import tempfile
from contextlib import nullcontext
from pathlib import Path

import matplotlib.pyplot as plt

from coslice.benchmark import Store, complete, keyed_cells, load_benchmark, markdown, table_of

# %%
# Groups are measurements, methods are rows, and every pair of them is a cell. ``coslice benchmark views.yaml`` runs
# the same file from the command line, shares the cells among processes, and writes a page with all volumes.
RECIPE = """
title: Few views
metrics: [axial.psnr, coronal.psnr, sdiff_gap]
seeds: [0]
scans: {chest: {file: "embedded:chest", slices: "28:35", size: 80}}
groups:
  8 views: {scan: chest, task: svct, views: 8}
  16 views: {scan: chest, task: svct, views: 16}
  32 views: {scan: chest, task: svct, views: 32}
methods:
  FDK: {method: fdk}
  ADMM-TV: {method: admm-tv, solution: {iterations: 10}}
  DDS: {method: dds, noise: independent}
  DDS+ISCS: {method: dds, noise: iscs}
settings:
  dds: {schedule: {steps: 6, sigma_max: 0.3}}
"""

# %%
# Finished cells are kept under a key of all that their numbers depend on. A second run, or one with another row,
# computes only what is missing.
with tempfile.TemporaryDirectory() as place:
    recipe = Path(place) / "views.yaml"
    recipe.write_text(RECIPE, encoding="utf-8")
    benchmark = load_benchmark(str(recipe))
    cells, store = keyed_cells(benchmark), Store(Path(place) / "cells")
    complete(benchmark, cells, store, "cpu", lambda cell: nullcontext(lambda phase, done, total: None))
    records = {}
    for cell, key in cells.items():
        records.setdefault((cell.group, cell.row), []).append(store.record(key))
table = table_of(benchmark, records)
print(markdown(table))

# %%
# What the table says: a method with a prior gets by with fewer views than total variation, and with far fewer than a
# formula. ISCS closes, at the same cost, most of the gap in SDiff, the difference between neighbouring slices, and
# gains PSNR, too.
fig, axes = plt.subplots(1, 2, figsize=(9, 3.4), layout="constrained")
views = [int(group.split()[0]) for group in table.groups]
for number, row in enumerate(next(iter(table.groups.values()))):
    entries = [rows[number].entries for rows in table.groups.values()]
    axes[0].plot(views, [entry[0].mean for entry in entries], "o-", label=row.title)
    axes[1].plot(views, [1000 * entry[2].mean for entry in entries], "o-")
axes[0].set(xlabel="views", ylabel="axial PSNR (dB)", xticks=views)
axes[1].set(xlabel="views", ylabel="gap in SDiff (1e-3 of the window)", xticks=views, yscale="log")
axes[0].legend(fontsize=8)
plt.show()
