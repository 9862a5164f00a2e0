"""Figures against a number of the groups: views, photons, the height of detector rows."""

from __future__ import annotations

import math
import re
from dataclasses import replace

import pytest

from coslice.benchmark import Figure, keyed_cells, load_benchmark
from coslice.benchmark.recipe_content import Group
from coslice.errors import CosliceError
from coslice.report import figures
from coslice.report.figures import drawings


def numbers(benchmark):
    """Records whose PSNR is that many views, or thousands of photons, plus the number of the row."""
    found = {}
    for group, rows in benchmark.rows.items():
        for i, row in enumerate(rows):
            value = 20 + i + len(found)
            plane = {"psnr": value, "ssim": 0.5, "lpips": None}
            metrics = {"axial": plane, "coronal": plane, "sagittal": plane, "sdiff_gap": 0.001 * value}
            found[group, row] = [{"metrics": metrics, "seconds": 1.0}]
    return found


def test_a_line_is_a_row_over_the_groups_in_the_order_of_their_numbers():
    benchmark = load_benchmark("views-small")
    turned = replace(benchmark, groups=dict(reversed(benchmark.groups.items())))
    records = numbers(benchmark)
    (title, members), *others = figures._families(benchmark.drawings.figures[0], turned).items()
    assert (title, others) == ("", []) and list(members.values()) == [4, 8, 15, 30, 60, 100]
    lines = figures._lines_over_groups("axial.psnr", members, turned, records)
    assert list(lines) == list(benchmark.rows["4 views"])
    assert lines["DDS"].xs == [4, 8, 15, 30, 60, 100]
    expected = [records[f"{views} views", "DDS"][0]["metrics"]["axial"]["psnr"] for views in (4, 8, 15, 30, 60, 100)]
    assert lines["DDS"].ys == expected
    (drawing,) = drawings(benchmark, records)
    assert drawing.name == "axial-psnr-axial-lpips-sdiff-gap-against-task-views"
    assert {"4", "15", "100"} <= set(re.findall(r">([^<>]+)</text>", drawing.svg.decode()))


def test_no_noise_is_drawn_one_step_beyond_the_most_photons():
    benchmark = load_benchmark("noise-small")
    members = figures._families(benchmark.drawings.figures[0], benchmark)[""]
    assert list(members.values()) == [1e4, 1e5, 1e6, math.inf]
    (drawing,) = drawings(benchmark, numbers(benchmark))
    words = re.findall(r">([^<>]+)</text>", drawing.svg.decode())
    assert {"1e4", "1e5", "1e6", "no noise", "photons per detector pixel"} <= set(words)


def test_what_else_differs_has_a_panel_of_its_own():
    groups = {
        "a": Group("chest", views=8),
        "b": Group("chest", rows=1.0, views=30),
        "c": Group("chest", beam="cone"),  # 30 views and rows of 2 slices, as published
        "d": Group("chest", views=8, rows=1.0),
        "e": Group("head", "zsr"),
    }
    benchmark = replace(load_benchmark("pitch-small"), groups=groups)
    by_views = figures._families(Figure("task.views", "axial.psnr"), benchmark)
    assert list(by_views.values()) == [{"a": 8, "c": 30}, {"d": 8, "b": 30}]
    by_rows = figures._families(Figure("task.rows", "axial.psnr"), benchmark)
    assert list(by_rows.values()) == [{"d": 1, "a": 2}, {"b": 1, "c": 2}]
    assert list(by_rows) == ["views 8", "views 30"]


def test_a_figure_against_what_groups_have_not_is_refused(tmp_path):
    with pytest.raises(CosliceError, match=r"task\.weather was given, but numbers of groups are task\.views"):
        Figure("task.weather", "axial.psnr")
    path = tmp_path / "one.yaml"
    path.write_text(
        "{title: One, metrics: [sdiff], scans: {chest: {file: 'embedded:chest'}}, groups: {a: {scan: chest}},"
        " methods: {FDK: {method: fdk}}, figures: [{x: task.views, y: sdiff}]}"
    )
    with pytest.raises(CosliceError, match=r"against task\.views, but no two groups differ"):
        load_benchmark(str(path))


def test_published_rows_are_those_that_nobody_asked_for():
    """Cells of rows of 2 slices are those of all recipes before there were others."""
    benchmark = load_benchmark("pitch-small")
    plain = replace(benchmark, groups={title: replace(group, rows=None) for title, group in benchmark.groups.items()})
    same = {
        cell.group
        for (cell, key), other in zip(keyed_cells(benchmark).items(), keyed_cells(plain).values(), strict=True)
        if key == other
    }
    assert same == {"rows of 2 slices"}
