"""A table says how many network evaluations its rows had, and a figure is drawn against them."""

from __future__ import annotations

import html
import json
import re
import shutil
from itertools import pairwise

import pytest
import yaml

from coslice.benchmark import Figure, Store, finished_records, keyed_cells, latex, load_benchmark, markdown, table_of
from coslice.methods import Method, published_evaluations
from coslice.metrics import QUANTITIES
from coslice.report import figures
from coslice.report.figures import drawings
from small_benchmark import computed, loaded, records_of, small_tree

YS = ["axial.psnr", "sdiff_gap", "seconds"]


@pytest.fixture(scope="module")
def made(scan, tiny_prior, tmp_path_factory):
    """A finished benchmark, not to be changed, whose rows have few steps, some with one evaluation more at the end."""
    rows = {
        "FDK": {"method": "fdk"},
        "DDS, 2": {"method": "dds", "noise": "independent"},
        "DDS, 5": {"method": "dds", "noise": "independent", "steps": 5},
        "DDS, 40": {"method": "dds", "noise": "independent", "steps": 40},
        "asked once more, 2": {"method": "dds", "noise": "iscs", "end": "denoised-estimate"},
        "asked once more, 3": {"method": "dds", "noise": "iscs", "end": "denoised-estimate", "steps": 3},
    }
    tree, folder = small_tree(scan, tiny_prior), tmp_path_factory.mktemp("made")
    own = {"methods": rows, "figures": [{"x": "evaluations", "y": YS}], "groups": {"few": tree["groups"]["few"]}}
    path = folder / "ball.yaml"
    path.write_text(yaml.safe_dump(tree | own | {"published": {}, "pictures": []}))
    benchmark, store = loaded(path), Store(folder / "out")
    computed(benchmark, store)
    return path, benchmark, store


COUNTS = {"FDK": 0, "DDS, 2": 2, "DDS, 5": 5, "DDS, 40": 40, "asked once more, 2": 3, "asked once more, 3": 4}


def test_a_record_holds_the_evaluations_and_one_without_them_has_those_of_its_method(made, tmp_path):
    _, benchmark, finished = made
    shutil.copytree(finished.folder, tmp_path / "out")
    store = Store(tmp_path / "out")
    for (_, row), records in records_of(benchmark, store).items():
        assert [record["evaluations"] for record in records] == [COUNTS[row]] * 2
    before = finished_records(benchmark, keyed_cells(benchmark), store)
    for path in store.folder.glob("cells/*.json"):  # as coslice wrote them before it counted
        record = json.loads(path.read_text())
        del record["evaluations"]
        path.write_text(json.dumps(record))
    assert finished_records(benchmark, keyed_cells(benchmark), store) == before


def test_a_figure_against_evaluations_has_those_of_the_records(made):
    """Not those of the settings, and in their order, which is not that of the rows here; a line for rows that differ in
    nothing but their steps."""
    _, benchmark, store = made
    records = finished_records(benchmark, keyed_cells(benchmark), store)
    means = {row: sum(one["metrics"]["axial"]["psnr"] for one in found) / 2 for (_, row), found in records.items()}
    (figure,) = benchmark.drawings.figures
    lines = figures._lines(figure, "axial.psnr", "few", benchmark, records)
    assert {label: line.xs for label, line in lines.items()} == {"DDS": [2, 5, 40], "DDS + ISCS": [3, 4]}
    assert lines["DDS"].ys == pytest.approx([means["DDS, 2"], means["DDS, 5"], means["DDS, 40"]])
    assert lines["DDS + ISCS"].ys == pytest.approx([means["asked once more, 2"], means["asked once more, 3"]])
    seconds = figures._lines(figure, "seconds", "few", benchmark, records)["DDS"].ys
    assert seconds == pytest.approx(
        [sum(one["seconds"] for one in records["few", row]) / 2 for row in ("DDS, 2", "DDS, 5", "DDS, 40")]
    )
    (drawing,) = drawings(benchmark, records)
    assert drawing.name == "axial-psnr-sdiff-gap-seconds-against-evaluations"
    words = re.findall(r">([^<>]+)</text>", drawing.svg.decode())
    assert words.count("network evaluations") == 3 and {"2", "3", "4", "5", "40", "seconds"} <= set(words)


def test_evaluations_stand_in_equal_distances_where_their_ratios_are_equal():
    lines = {"DDS": figures._Line([10, 100, 1000], [1.0, 2.0, 3.0], [0.0] * 3)}
    with figures.matplotlib.rc_context(figures.STYLE):
        axes = figures.Canvas().add_subplot()
        figures._panel(axes, Figure("evaluations", "axial.psnr"), "axial.psnr", lines, {"DDS": 0})
        places = [axes.transData.transform((x, 1.0))[0] for x in (10, 100, 1000)]
        assert [label.get_text() for label in axes.get_xticklabels()] == ["10", "100", "1000"]
    first, second = (b - a for a, b in pairwise(places))
    assert first == pytest.approx(second) and axes.get_yscale() == "linear"


def test_every_form_of_the_table_says_evaluations_and_seconds(made, coslice):
    path, benchmark, store = made
    records = finished_records(benchmark, keyed_cells(benchmark), store)
    table = table_of(benchmark, records)
    shown = {row: str(count) for row, count in COUNTS.items()} | {"DDS, 2": "2 of 30", "DDS, 5": "5 of 30"}
    shown |= {row: f"{COUNTS[row]} of 30" for row in COUNTS if row.startswith("asked")}
    assert "where that is more" in table.legend
    lines = markdown(table).splitlines()
    assert any(line.endswith("| evaluations | seconds |") for line in lines)
    tex = latex(table).splitlines()
    code, said, _ = coslice("benchmark", path, "--out", store.folder)
    page = html.unescape((store.folder / "ball" / "report.html").read_text(encoding="utf-8"))
    assert code == 0 and "evaluations" in said and page.count(">evaluations</th>") == 1
    for row in table.groups["few"]:
        seconds = QUANTITIES["seconds"].text(row.seconds)
        assert row.counted == shown[row.title]
        (line,) = (line for line in lines if line.startswith(f"| {row.title} |"))
        assert line.endswith(f"| {row.counted} | {seconds} |")
        (line,) = (line for line in tex if line.startswith(f"{row.title} &"))
        assert line.endswith(rf"& {row.counted} & {seconds} \\")
        found = re.search(rf'<th scope="row">{re.escape(row.title)}</th>(.*?)</tr>', page, re.DOTALL)
        assert found and re.findall(r">([^<>]+)</td>", found[1])[-2:] == [row.counted, seconds]
        assert row.counted in said


def test_seconds_stand_once_where_a_recipe_asks_for_them(tree, saved, tmp_path):
    tree |= {"metrics": ["axial.psnr", "seconds"], "published": {}}
    benchmark, store = loaded(saved(tree)), Store(tmp_path / "out")
    computed(benchmark, store)
    table = table_of(benchmark, finished_records(benchmark, keyed_cells(benchmark), store))
    assert table.costs == ("evaluations",)
    assert "| axial PSNR ↑ | seconds | evaluations |" in markdown(table)


def test_the_shipped_curve_has_a_line_for_every_method_as_far_as_it_is_affordable():
    """Evaluations alone differ along a line, and nothing rounds them: methods in pairs have even numbers."""
    benchmark = load_benchmark("convergence-small")
    methods = ("TPDM", "TPDM-CG", "DiffusionMBIR", "DDS", "DDS+ISCS", "DiffusionBlend++", "WDDS", "WBlend")
    start, cone, noise = benchmark.rows.values()
    assert {row.rpartition(", ")[0] for row in start} == {row.rpartition(", ")[0] for row in cone} == set(methods)
    for rows in (start, cone, noise):
        lines: dict[str, set[int]] = {}
        for title, row in rows.items():
            name, _, count = title.rpartition(", ")
            assert isinstance(row.method, Method)
            assert row.method.evaluations == int(count.replace(",", ""))
            lines.setdefault(name, set()).add(row.method.evaluations)
        assert all(len(counts) > 1 for counts in lines.values())
    group = next(iter(benchmark.groups))
    drawn = figures.sweep(benchmark, group, "schedule.steps", list(start))
    assert len({label for label, _ in drawn.values()}) == len(methods)
    for rival in ("TPDM", "DiffusionMBIR"):
        row = start[f"{rival}, 1,000"].method
        assert published_evaluations(row) == 4000
    everyone = load_benchmark("convergence-scans", {"chest": "scan.nii.gz"})
    for rows in everyone.rows.values():
        assert {row.method.evaluations for row in rows.values()} == {10, 30, 100, 300, 1000, 2000}
        assert len(rows) == 6 * len(methods)


def test_a_method_looks_alike_in_every_panel_of_a_figure(made, monkeypatch):
    """Also where a panel lacks those before it: what a line is, the legend of another panel says."""
    (figure,) = made[1].drawings.figures
    canvases = []
    content = figures.content
    monkeypatch.setattr(figures, "content", lambda canvas, kind: canvases.append(canvas) or content(canvas, kind))

    def line(first):
        return figures._Line([1, 10], [first, first + 1.0], [0.0, 0.0])

    panels = {
        ("all", "axial.psnr"): {"DDS": line(30), "DDS + ISCS": line(31), "TPDM": line(20)},
        ("few", "axial.psnr"): {"TPDM": line(22), "DDS + ISCS": line(33)},
    }
    figures._drawn(figure, panels, {}, several=True)
    drawn = [
        {bars.get_label(): bars.lines[0].get_color() for bars in axes.containers} for axes in canvases[0].get_axes()
    ]
    assert len(set(drawn[0].values())) == 3 and drawn[1] == {name: drawn[0][name] for name in ("TPDM", "DDS + ISCS")}
