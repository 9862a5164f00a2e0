"""Laws of a benchmark's outputs: they say what the cells say, and are whole or made again."""

from __future__ import annotations

import csv
import html
import io
import json
import math
import re
import shutil
import statistics
from dataclasses import replace
from xml.etree import ElementTree

import pytest
import torch
import yaml

from coslice.benchmark import (
    Figure,
    Store,
    finished_records,
    grid,
    keyed_cells,
    latex,
    markdown,
    metric_called,
    other_protocols,
    remeasured,
    table_of,
    tidy_csv,
)
from coslice.benchmark.definition import Drawings
from coslice.benchmark.rows import RowMethod
from coslice.cli.display import show_benchmark
from coslice.errors import CosliceError
from coslice.io.nifti import read_nifti
from coslice.methods import changed, find_method
from coslice.metrics import evaluate
from coslice.report import figures, publication
from coslice.report.figures import drawings
from small_benchmark import computed, finished, loaded, records_of, small_tree


@pytest.fixture(scope="module")
def published(tmp_path_factory, scan, tiny_prior):
    """A recipe of one seed that was run, and its output folder; not to be changed."""
    folder = tmp_path_factory.mktemp("published")
    path, out = folder / "ball.yaml", folder / "out"
    path.write_text(yaml.safe_dump(small_tree(scan, tiny_prior) | {"seeds": [0]}, sort_keys=False))
    return path, out, finished(path, out)


@pytest.fixture
def copied(published, tmp_path):
    """The same, to be changed."""
    path, out, said = published
    shutil.copytree(out, tmp_path / "out")
    shutil.copy(path, tmp_path)
    return tmp_path / "ball.yaml", tmp_path / "out", said.replace(str(out), str(tmp_path / "out"))


def test_the_second_run_computes_and_writes_nothing(published, coslice, monkeypatch):
    path, out, said = published
    before = {file: file.stat().st_mtime_ns for file in out.rglob("*") if file.is_file()}
    names = {str(file.relative_to(out / "ball")) for file in before if "ball" in file.parts}
    figures = {"axial-psnr-against-steps", "psnr-sdiff-against-step", "sdiff-gap-against-axial-psnr"}
    drawn = {f"figures/{name}.{kind}" for name in figures for kind in ("svg", "pdf")}
    drawn |= {f"figures/slices-few-axial.{kind}" for kind in ("png", "pdf")}
    assert names == {"table.csv", "table.md", "table.tex", "report.html", "stamp"} | drawn
    monkeypatch.setattr(grid, "run", None)
    assert coslice("benchmark", path, "--out", out) == (0, said, "")
    assert {file: file.stat().st_mtime_ns for file in out.rglob("*") if file.is_file()} == before


def test_other_words_in_a_recipe_are_other_outputs_of_the_same_cells(copied, coslice, monkeypatch):
    path, out, _ = copied
    path.write_text(path.read_text() + "\nabout: Told anew.\n")
    monkeypatch.setattr(grid, "run", None)
    code, anew, _ = coslice("benchmark", path, "--out", out)
    assert code == 0 and "Told anew." in anew and "Told anew." in (out / "ball" / "report.html").read_text()


def test_other_figures_are_drawn_and_an_interrupted_publication_leaves_no_mixture(copied, coslice, monkeypatch):
    path, out, said = copied
    plain, made = path.read_text(), {name: (out / "ball" / name).read_bytes() for name in ("table.csv", "report.html")}
    path.write_text(yaml.safe_dump(yaml.safe_load(plain) | {"figures": [{"x": "coronal.ssim", "y": "axial.psnr"}]}))
    monkeypatch.setattr(publication, "_page", None)
    with pytest.raises(TypeError):
        coslice("benchmark", path, "--out", out)
    assert (out / "ball" / "figures" / "axial-psnr-against-coronal-ssim.svg").is_file()
    monkeypatch.undo()
    path.write_text(plain)
    assert coslice("benchmark", path, "--out", out)[1] == said
    assert {name: (out / "ball" / name).read_bytes() for name in made} == made


@pytest.mark.parametrize("text", ["{", "null", "{}", "[]"])
def test_a_damaged_record_is_refused_by_name(copied, refused, text):
    path, out, _ = copied
    cell = next(iter(out.glob("cells/*.json")))
    cell.write_text(text)
    assert cell.name in refused("benchmark", path, "--out", out)


def test_the_page_has_every_number_figure_and_word_of_the_table(published):
    path, out, _ = published
    benchmark = loaded(path)
    table = table_of(benchmark, records_of(benchmark, Store(out)))
    page = html.unescape((out / "ball" / "report.html").read_text(encoding="utf-8"))
    for rows in table.groups.values():
        for row in rows:
            cells = "".join(
                rf"\s*<td[^>]*>(?:<b>)?{re.escape(entry.text(metric))}(?:</b>)?</td>"
                for metric, entry in zip(table.metrics, row.entries, strict=True)
            )
            assert re.search(rf'<th scope="row">{re.escape(row.title)}</th>{cells}', page), row.title
    assert page.count('<tr class="published">') == 1 and "<i>30.00</i>" in page
    assert page.count('<figure class="wide">') == len(benchmark.drawings.figures) + len(benchmark.drawings.pictures)
    assert ">coslice benchmark ball.yaml<" in page and table.legend in page
    for drawing in (out / "ball" / "figures").glob("*.svg"):
        assert ElementTree.parse(drawing).getroot().tag.endswith("svg")


def test_no_place_of_this_machine_is_in_the_outputs(published, scan, tiny_prior):
    _, out, _ = published
    for file in (out / "ball").rglob("*"):
        if file.is_file():
            content = file.read_bytes()
            for secret in (str(out.parent), scan.name, str(scan.parent), tiny_prior.name, str(tiny_prior.parent)):
                assert secret.encode() not in content, (file, secret)


@pytest.fixture(scope="module")
def made(scan, tiny_prior, tmp_path_factory):
    """A finished benchmark and its records; not to be changed."""
    folder = tmp_path_factory.mktemp("made")
    path = folder / "ball.yaml"
    path.write_text(yaml.safe_dump(small_tree(scan, tiny_prior), sort_keys=False))
    benchmark, store = loaded(path), Store(folder / "out")
    computed(benchmark, store)
    return benchmark, store, records_of(benchmark, store)


def test_a_record_holds_the_metrics_of_its_volume(made):
    benchmark, store, _ = made
    cell, key = next((c, k) for c, k in keyed_cells(benchmark).items() if c.row == "DDS")
    truth, window = grid.truth_of(benchmark, benchmark.groups[cell.group])
    measured = evaluate(window.to_unit(read_nifti(store.volume(key)).data), window.to_unit(truth.data))
    for plane in ("axial", "coronal", "sagittal"):
        assert store.record(key)["metrics"][plane]["psnr"] == pytest.approx(measured[plane]["psnr"], abs=1e-4)
    assert store.record(key)["metrics"]["sdiff"] == pytest.approx(measured["sdiff"], rel=1e-4)


def test_another_protocol_is_measured_from_the_finished_volumes_and_said_everywhere(copied, coslice, monkeypatch):
    path, out, said = copied
    before = {file.name: file.read_bytes() for file in out.glob("cells/*")}
    monkeypatch.setattr(grid, "run", None)
    code, anew, error = coslice("benchmark", path, "--out", out, "--protocol", "iscs")
    assert code == 0, error
    assert "Protocol iscs" in anew and "Protocol unit" in said and "Protocol unit" not in anew
    assert {name: (out / "cells" / name).read_bytes() for name in before} == before
    folder = out / "ball.iscs"
    page = html.unescape((folder / "report.html").read_text(encoding="utf-8"))
    for text in (page, *((folder / f"table.{kind}").read_text(encoding="utf-8") for kind in ("md", "tex"))):
        assert "Protocol iscs: data range max - min of each truth" in text
    assert page.count("Protocol unit") >= 2 and "--protocol iscs<" in page and "protocol: iscs" in page
    rows = list(csv.DictReader(io.StringIO((folder / "table.csv").read_text(encoding="utf-8"))))
    assert {(row["origin"], row["protocol"]) for row in rows} == {("measured", "iscs"), ("published", "")}
    benchmark = loaded(path)
    cell, key = next((c, k) for c, k in keyed_cells(benchmark).items() if (c.group, c.row) == ("few", "DDS"))
    truth, window = grid.truth_of(benchmark, benchmark.groups[cell.group])
    ours, theirs = (window.to_unit(v.data).double().numpy() for v in (read_nifti(Store(out).volume(key)), truth))
    width = theirs.max() - theirs.min()
    slices = [
        10 * math.log10(width**2 / ((a - b) ** 2).mean())
        for a, b in zip(ours, theirs, strict=True)
        if b.max() > b.min()
    ]
    (row,) = [r for r in rows if (r["group"], r["method"], r["metric"]) == ("few", "DDS", "axial.psnr") and r["seed"]]
    assert float(row["value"]) == pytest.approx(statistics.fmean(slices), abs=1e-4)
    figure = "figures/axial-psnr-against-steps.svg"
    assert (folder / figure).read_bytes() == (out / "ball" / figure).read_bytes()
    path.write_text(path.read_text() + "\nprotocol: iscs\n")
    assert loaded(path).outputs == "ball.iscs" and loaded(path, protocol="unit").outputs == "ball"


def test_numbers_of_another_protocol_are_kept_and_made_again_where_they_are_of_something_else(copied, monkeypatch):
    path, out, _ = copied
    benchmark, store = loaded(path, protocol="tpdm"), Store(out)
    cells = {cell: key for cell, key in keyed_cells(benchmark).items() if cell.group == "few"}
    before = finished_records(benchmark, cells, store)
    found = remeasured(benchmark, cells, store, before)
    kept = sorted(out.glob("cells/*.tpdm.json"))
    assert len(kept) == len(set(cells.values()))
    whole = [file.read_bytes() for file in kept]
    kept[0].write_text("{")
    kept[1].write_text(kept[1].read_text().replace('"one_stack": true', '"one_stack": false'))
    damaged = json.loads(kept[2].read_text())
    damaged["metrics"]["axial"] = {"psnr": "many"}
    kept[2].write_text(json.dumps(damaged))
    assert remeasured(benchmark, cells, store, before) == found
    assert [file.read_bytes() for file in kept] == whole
    monkeypatch.setattr(other_protocols, "evaluate", None)
    assert remeasured(benchmark, cells, store, before) == found
    store.prepare()
    key = kept[0].name.partition(".")[0]
    with store.taken(key):
        record = store.record(key)
        assert record is not None
        store.put(key, record, read_nifti(store.volume(key)))
    assert not kept[0].exists() and kept[1].exists()
    with pytest.raises(CosliceError, match="unit, iscs, tpdm, diffusionblend, dm4ct, dm4ct-rocks"):
        loaded(path, protocol="paper")


def test_a_table_has_means_and_deviations_over_seeds(made):
    benchmark, _, records = made
    table = table_of(benchmark, records)
    for group, rows in table.groups.items():
        for row in rows:
            for metric, entry in zip(benchmark.metrics, row.entries, strict=True):
                values = [metric.of(record) for record in records[group, row.title]]
                assert entry.mean == pytest.approx(statistics.fmean(values))
                assert entry.deviation == pytest.approx(statistics.stdev(values))
    one = metric_called("axial.psnr.std")
    record = records["few", "DDS"][0]
    slices = record["curves"]["axial"]["psnr"]
    mean = record["metrics"]["axial"]["psnr"]
    assert one.of(record) == pytest.approx(math.sqrt(statistics.fmean((value - mean) ** 2 for value in slices)))


def test_the_best_of_a_column_is_bold_as_printed_and_never_a_published_number(made):
    benchmark, _, records = made
    table = table_of(benchmark, records)
    for rows in table.groups.values():
        for i, metric in enumerate(table.metrics):
            texts = {row.title: row.entries[i].text(metric).split(" ± ")[0] for row in rows}
            bold = {texts[row.title] for row in rows if row.entries[i].best}
            if not metric.better:
                assert not bold
                continue
            printed = [float(text) for text in texts.values()]
            assert bold == {metric.text((max if metric.better > 0 else min)(printed))}
    (published,) = [row.published for rows in table.groups.values() for row in rows if row.published]
    assert [entry.mean for entry in published] == [30.0, 0.9, None, 0.01] and published[3].deviation == 0.002
    assert not any(entry.best for entry in published)


def test_the_csv_is_tidy_and_has_every_number(made):
    benchmark, _, records = made
    rows = list(csv.DictReader(io.StringIO(tidy_csv(benchmark, records))))
    measured = {(r["group"], r["method"], int(r["seed"]), r["metric"]): r for r in rows if r["origin"] == "measured"}
    assert len(measured) == len(benchmark.cells()) * (len(benchmark.metrics) + 2)
    for cell in benchmark.cells():
        record = records[cell.group, cell.row][benchmark.seeds.index(cell.seed)]
        for metric in benchmark.metrics:
            assert float(measured[cell.group, cell.row, cell.seed, metric.name]["value"]) == metric.of(record)
        for name in ("seconds", "evaluations"):
            assert float(measured[cell.group, cell.row, cell.seed, name]["value"]) == record[name]
    published = [r for r in rows if r["origin"] == "published"]
    assert {(r["method"], r["metric"], r["value"], r["deviation"]) for r in published} == {
        ("DDS", "axial.psnr", "30.0", ""),
        ("DDS", "coronal.ssim", "0.9", ""),
        ("DDS", "sdiff_gap", "0.01", "0.002"),
    }


def test_every_number_is_printed_however_narrow_the_terminal(made, capsys):
    benchmark, _, records = made
    planes = [f"{plane}.{name}" for plane in ("axial", "coronal", "sagittal") for name in ("psnr", "ssim", "psnr.std")]
    table = table_of(replace(benchmark, metrics=tuple(map(metric_called, planes)), published={}), records)
    show_benchmark(table)
    said = capsys.readouterr().out
    for group, rows in table.groups.items():
        assert group in said
        for row in rows:
            assert row.title.split()[0] in said
            for metric, entry in zip(table.metrics, row.entries, strict=True):
                assert all(re.sub(r"^0\.", ".", number) in said for number in entry.text(metric).split(" ± "))
    assert "…" not in said


def test_a_sweep_has_the_rows_that_leave_a_setting_to_the_method_and_a_line_for_what_else_differs(made):
    benchmark, _, records = made
    dds = changed(find_method("dds"), {"noise": "independent", "schedule": {"steps": 2}, "data": {"iterations": 2}})
    half, quarter = {"renoising": {"eta": 0.5}}, {"renoising": {"eta": 0.25}}
    rows = {"a": half, "b": {}, "c": quarter, "$d_{": half | {"start": {"noise": "iscs"}}}
    rows = {row: RowMethod(changed(dds, given)) for row, given in rows.items()}
    figure = Figure("renoising.eta", "axial.psnr")
    swept = replace(
        benchmark, rows={"few": rows}, groups={"few": benchmark.groups["few"]}, drawings=Drawings((figure,), ())
    )
    found = {("few", row): records["few", "DDS"] for row in rows}
    lines = figures._lines(figure, "axial.psnr", "few", swept, found)
    assert {label: line.xs for label, line in lines.items()} == {"DDS": [0.5, 1.0, 0.25], "$d_{": [0.5]}
    assert len(drawings(swept, found)) == 1  # a title that is half a formula is drawn as it stands


def test_of_too_many_voxels_a_page_has_the_middle_slices(made, monkeypatch):
    benchmark, store, records = made
    cells = keyed_cells(benchmark)
    whole = publication._scenes(benchmark, cells, store, records)
    assert [scene.title for scene in whole] == ["few", "many"]
    assert list(whole[0].volumes) == ["Truth", "FDK", "DDS", "DDS+ISCS", "DDS+ISCS, longer"]
    monkeypatch.setattr(publication, "_MOST_VOXELS", sum(v.numel() for s in whole for v in s.volumes.values()) // 4)
    for scene, full in zip(publication._scenes(benchmark, cells, store, records), whole, strict=True):
        named = re.fullmatch(r".*, slices (\d+) to (\d+) of 16", scene.title)
        assert named is not None
        first, last = map(int, named.groups())
        assert 0 < last - first < 8
        for name, volume in scene.volumes.items():
            assert torch.equal(volume, full.volumes[name][first - 1 : last])
    without = replace(benchmark, rows={group: {"DDS": rows["DDS"]} for group, rows in benchmark.rows.items()})
    cells = {cell: key for cell, key in cells.items() if cell.row == "DDS"}
    assert list(publication._scenes(without, cells, store, records)[0].volumes) == ["Truth", "FDK", "DDS"]


def test_markdown_and_latex_say_what_the_table_says(made):
    benchmark, _, records = made
    table = table_of(benchmark, records)
    text, tex = markdown(table), latex(table)
    lines = [line for line in text.splitlines() if line.startswith("|")]
    assert all(len(re.findall(r"(?<!\\)\|", line)) == len(table.metrics) + 4 for line in lines)
    body = tex[tex.index("Method") : tex.index(r"\bottomrule")]
    assert all(line.count(" & ") == len(table.metrics) + 2 for line in body.splitlines() if " & " in line)
    for rows in table.groups.values():
        for row in rows:
            for metric, entry in zip(table.metrics, row.entries, strict=True):
                printed = entry.text(metric)
                assert (f"**{printed}**" in text) if entry.best else (f"| {printed} |" in text)
                assert printed.replace("±", r"$\pm$") in tex
    assert text.count("*published*") == tex.count(r"\textit{published}") == 1
    assert "**30.00**" not in text and "*30.00*" in text and r"\textit{30.00}" in tex
    special = replace(benchmark, rows={"few": {"[$a_b & 5 %°": benchmark.rows["few"]["DDS"]}}, published={})
    special = replace(special, about="two\nlines")
    tex = latex(table_of(special, {("few", "[$a_b & 5 %°"): records["few", "DDS"]}))
    assert r"{}[\$a\_b \& 5 \%$^\circ$ & " in tex and "% two lines\n" in tex and r"$|\Delta|$ $\downarrow$" in tex
