"""Laws of benchmarks: a cell is its recipe, is computed once, and the table says what the cells say."""

from __future__ import annotations

import csv
import html
import io
import json
import math
import os
import re
import shutil
import signal
import statistics
import subprocess
import sys
import threading
import time
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import pytest
import torch
import yaml

from coslice.benchmark import (
    Store,
    complete,
    grid,
    keyed_cells,
    latex,
    load_benchmark,
    markdown,
    metric_called,
    table_of,
    tidy_csv,
)
from coslice.benchmark.shape import Figure
from coslice.cli.display import show_benchmark
from coslice.io.nifti import read_nifti
from coslice.metrics import evaluate
from coslice.recipe import Recipe
from coslice.report import benchmark as publication
from coslice.report import figures
from coslice.report.figures import drawings
from coslice.volume import Volume

QUICK = {"steps": 2, "cg_iterations": 2}


def small_tree(scan, tiny_prior):
    """A recipe of two groups, four rows and two seeds, small enough to be run in no time."""
    return {
        "title": "A ball",
        "source": "Nobody, 2026, Table 1",
        "metrics": ["axial.psnr", "coronal.ssim", "axial.psnr.std", "sdiff_gap"],
        "seeds": [0, 1],
        "scans": {"ball": {"file": str(scan)}},
        "priors": {"ct.slices": str(tiny_prior)},
        "groups": {"few": {"scan": "ball", "views": 4}, "many": {"scan": "ball", "views": 9}},
        "methods": {
            "FDK": {"method": "fdk"},
            "Cubic": {"method": "cubic"},
            "DDS": {"method": "dds", "noise": "independent"},
            "DDS+ISCS": {"method": "dds", "noise": "iscs"},
            "DDS+ISCS, longer": {"method": "dds", "noise": "iscs", "steps": 3, "groups": ["few"]},
        },
        "settings": {"*": dict(QUICK)},
        "figures": [
            {"x": "steps", "y": "axial.psnr"},
            {"x": "step", "y": ["psnr", "sdiff"]},
            {"x": "axial.psnr", "y": "sdiff_gap"},
        ],
        "published": {"few": {"DDS": [30.0, 0.9, None, [0.01, 0.002]], "FDK": [None, None, None, None]}},
    }


@pytest.fixture
def tree(scan, tiny_prior):
    return small_tree(scan, tiny_prior)


@pytest.fixture
def saved(tmp_path):
    """Write a recipe: saved(tree) -> its path."""

    def write(tree, name="ball"):
        path = tmp_path / f"{name}.yaml"
        path.write_text(yaml.safe_dump(tree, sort_keys=False))
        return path

    return write


def loaded(path, **named):
    return load_benchmark(str(path), **named)


def computed(benchmark, store):
    """Complete a grid; titles of what was computed, in order."""
    done = []

    @contextmanager
    def working(cell):
        yield lambda phase, done, total: None
        done.append((cell.group, cell.row, cell.seed))

    complete(benchmark, keyed_cells(benchmark), store, "cpu", working)
    return done


def records_of(benchmark, store):
    found = {}
    for cell, key in keyed_cells(benchmark).items():
        found.setdefault((cell.group, cell.row), []).append(store.record(key))
    return found


def test_the_grid_is_every_row_of_every_group_it_is_for_with_every_seed(tree, saved):
    cells = loaded(saved(tree)).cells()
    rows = [("few", "FDK"), ("few", "DDS"), ("few", "DDS+ISCS"), ("few", "DDS+ISCS, longer")]
    rows += [("many", "FDK"), ("many", "DDS"), ("many", "DDS+ISCS")]  # cubic is for thick slices
    assert sorted((cell.group, cell.row, cell.seed) for cell in cells) == sorted(
        (*row, s) for row in rows for s in (0, 1)
    )
    assert all(cell.recipe.seed == cell.seed for cell in cells)
    steps = {cell.row: cell.recipe.steps for cell in cells}
    assert steps["DDS"] == 2 and steps["DDS+ISCS, longer"] == 3 and steps["FDK"] is None


def test_a_cell_is_known_by_what_its_numbers_depend_on_and_by_nothing_else(tree, saved, scan, tmp_path):
    def keys(change):
        return list(keyed_cells(loaded(saved(change(json.loads(json.dumps(tree)))))).values())

    def changed(path, value):
        def change(tree):
            at = tree
            for key in path[:-1]:
                at = at.setdefault(key, {})
            at[path[-1]] = value
            return tree

        return change

    plain = keys(lambda tree: tree)
    assert len(set(plain)) == len(plain) - 2  # FDK draws nothing: its two seeds are one cell, in each group
    copy = tmp_path / "elsewhere.nii.gz"
    copy.write_bytes(scan.read_bytes())
    usual = changed(("methods", "DDS", "eta"), 1.0)  # what DDS has anyhow
    assert keys(usual) == plain
    words = [(("title",), "Other words"), (("published",), {}), (("metrics",), ["sdiff"]), (("figures",), [])]
    for path, value in [*words, (("scans", "ball", "file"), str(copy)), (("source",), "Somebody")]:
        changes = changed(path, value)
        assert keys(lambda tree, changes=changes: changes(tree) | {"published": {}}) == plain, path
    dds = [i for i, cell in enumerate(loaded(saved(tree)).cells()) if cell.row == "DDS"]
    for path, value in [
        (("settings", "dds", "eta"), 0.5),
        (("settings", "*", "temperature"), 0.9),
        (("groups", "few", "settings"), {"dds": {"sigma_max": 1.0}}),
        (("groups", "few", "photons"), 1e5),
        (("scans", "ball", "slices"), "0:15"),
        (("scans", "ball", "size"), 16),
        (("methods", "DDS", "start_noise"), "iscs"),
        (("priors", "ct.slices"), "ct"),
    ]:
        other = keys(changed(path, value))
        assert other[dds[0]] != plain[dds[0]], path


def test_a_configuration_beside_a_published_checkpoint_is_part_of_a_cell(tree, saved, tmp_path):
    checkpoint = tmp_path / "adm_tiny.pt"
    shutil.copy(Path(__file__).parent / "data" / "checkpoints" / "adm_tiny.pt", checkpoint)
    path = saved(tree | {"priors": {"ct.slices": str(checkpoint)}})
    alone = keyed_cells(loaded(path))
    (tmp_path / "adm_tiny_config.json").write_text('{"num_heads": 2}')
    together = keyed_cells(loaded(path))
    assert {cell.row for cell in alone if alone[cell] != together[cell]} == {"DDS", "DDS+ISCS", "DDS+ISCS, longer"}


def test_cells_of_several_samples_share_none(tree, saved):
    row = {"method": "dds", "samples": 3}
    cells = loaded(saved(tree | {"methods": {"DDS": row}, "published": {}}), seeds=(0, 1, 2)).cells()
    few = [cell for cell in cells if cell.group == "few"]
    drawn = [cell.recipe.seed + sample for cell in few for sample in range(cell.recipe.samples)]
    assert sorted(drawn) == list(range(9)) and [cell.seed for cell in few] == [0, 1, 2]


def test_each_cell_is_computed_once_and_more_seeds_only_add(tree, saved, tmp_path, monkeypatch):
    store = Store(tmp_path / "out")
    first = loaded(saved(tree), seeds=(0,))
    done = computed(first, store)
    assert len(done) == len(set(done)) == 7
    before = {path.name: path.read_bytes() for path in (tmp_path / "out" / "cells").iterdir()}
    more = computed(loaded(saved(tree)), store)
    assert {seed for *_, seed in more} == {1} and len(more) == 5  # no second FDK
    assert all((tmp_path / "out" / "cells" / name).read_bytes() == held for name, held in before.items())
    monkeypatch.setattr(grid, "run", None)
    assert computed(loaded(saved(tree)), store) == []


def test_a_cell_is_what_coslice_reconstruct_gives(tree, saved, tmp_path, scan, tiny_prior, coslice):
    store = Store(tmp_path / "store")
    benchmark = loaded(saved(tree), seeds=(1,))
    computed(benchmark, store)
    key = next(key for cell, key in keyed_cells(benchmark).items() if cell.row == "DDS+ISCS")
    options = ("--views", 4, "--steps", 2, "--cg-iterations", 2, "--seed", 1, "--prior", tiny_prior)
    code, _, error = coslice("reconstruct", scan, "--out", tmp_path / "out", *options)
    assert code == 0, error
    assert json.loads((tmp_path / "out" / "metrics.json").read_text())["reconstruction"] == store.record(key)["metrics"]
    ours, theirs = read_nifti(store.volume(key)), read_nifti(tmp_path / "out" / "reconstruction.nii.gz")
    assert torch.equal(ours.data, theirs.data) and (ours.affine == theirs.affine).all()


def test_processes_share_a_grid_and_compute_no_cell_twice(tree, saved, tmp_path, monkeypatch):
    """Three at once, each a thread of its own here: what matters is who holds which lock."""
    benchmark = loaded(saved(tree))
    cells = keyed_cells(benchmark)
    done, lock = [], threading.Lock()

    def slowly(self, cell, progress):
        time.sleep(0.02)
        with lock:
            done.append(cells[cell])
        return {"metrics": {}}, Volume(torch.zeros(2, 2, 2))

    monkeypatch.setattr(grid._Workshop, "computed", slowly)
    monkeypatch.setattr(grid._Workshop, "check", lambda self, cells: None)
    monkeypatch.setattr(grid, "_POLL", 0.01)
    stores = [Store(tmp_path / "out") for _ in range(3)]
    workers = [
        threading.Thread(target=complete, args=(benchmark, cells, store, "cpu", lambda cell: nullcontext()))
        for store in stores
    ]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert sorted(done) == sorted(set(cells.values()))
    assert all(map(stores[0].has, cells.values()))


def test_a_cell_is_claimed_by_one_and_freed_at_the_end(tmp_path):
    ours, theirs = Store(tmp_path / "out"), Store(tmp_path / "out")
    ours.prepare()
    with ours.claimed("a") as mine:
        assert mine
        with theirs.claimed("a") as also, theirs.claimed("b") as other:
            assert not also and other
    with theirs.claimed("a") as mine:
        assert mine


def test_what_a_kill_leaves_is_gone_with_the_next_claim_and_half_a_cell_is_none(tree, saved, tmp_path):
    benchmark, store = loaded(saved(tree), seeds=(0,)), Store(tmp_path / "out")
    computed(benchmark, store)
    key = next(iter(keyed_cells(benchmark).values()))
    store.volume(key).unlink()
    left = tmp_path / "out" / "locks" / f"{key}.unfinished"
    left.mkdir()
    (left / "volume.nii.gz").write_bytes(b"half")
    assert not store.has(key) and len(computed(benchmark, store)) == 1
    assert store.has(key) and not left.exists()


def command(path, out):
    """The command line in a process of its own."""
    return [sys.executable, "-m", "coslice", "benchmark", str(path), "--out", str(out), "--device", "cpu"]


def finished(path, out):
    return subprocess.run(command(path, out), capture_output=True, text=True, check=True).stdout


def killed(path, out, cells):
    """Start, and kill -9 as soon as so many cells are there."""
    process = subprocess.Popen(command(path, out), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while process.poll() is None and len(list(out.glob("cells/*.json"))) < cells:
        time.sleep(0.005)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()


def without(place, out):
    return place.replace(str(out), "OUT")


def test_a_killed_benchmark_goes_on_and_prints_the_same_table(tree, saved, tmp_path, coslice):
    del tree["groups"]["many"], tree["figures"]
    path = saved(tree)
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    killed(path, cut, 3)
    kept = {file: (file.read_bytes(), file.stat().st_mtime_ns) for file in cut.glob("cells/*.json")}
    assert 3 <= len(kept) < len(set(keyed_cells(loaded(path)).values()))
    resumed, again, uncut = (coslice("benchmark", path, "--out", out)[1] for out in (cut, cut, whole))
    assert all((file.read_bytes(), file.stat().st_mtime_ns) == held for file, held in kept.items())
    assert without(resumed, cut) == without(again, cut) == without(uncut, whole)
    for name in ("table.md", "table.tex"):
        assert (cut / "ball" / name).read_bytes() == (whole / "ball" / name).read_bytes()


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
    assert page.count('<figure class="wide">') == len(benchmark.figures)
    assert f">{benchmark.command}<" in page and table.legend in page
    for drawing in (out / "ball" / "figures").glob("*.svg"):
        assert ElementTree.parse(drawing).getroot().tag.endswith("svg")


def test_no_place_of_this_machine_is_in_the_outputs(published, scan, tiny_prior):
    _, out, _ = published
    for file in (out / "ball").rglob("*"):
        if file.is_file():
            content = file.read_bytes()
            for secret in (str(out.parent), scan.name, str(scan.parent), tiny_prior.name, str(tiny_prior.parent)):
                assert secret.encode() not in content, (file, secret)


def test_like_takes_what_is_not_said(tree, saved):
    base = json.loads(json.dumps(tree)) | {"editions": {"one": {"seeds": [7], "about": "One."}, "two": {"seeds": [8]}}}
    saved(base, "base")
    assert loaded(f"{saved({'like': 'base', 'title': 'Mine'}, 'a')}:one").seeds == (7,)
    own = loaded(f"{saved({'like': 'base', 'seeds': [1], 'metrics': ['sdiff']}, 'b')}:one")
    assert own.seeds == (1,) and own.about == "One." and own.title == tree["title"]
    assert own.published == {} and [metric.name for metric in own.metrics] == ["sdiff"]  # of other columns
    edition = {"like": "base", "editions": {"one": {"seeds": [2]}, "new": {"about": "New."}}}
    assert loaded(f"{saved(edition, 'c')}:one").seeds == (2,) and loaded(f"{saved(edition, 'c')}:two").seeds == (8,)
    assert loaded(f"{saved(edition, 'c')}:new").about == "New."


def test_a_path_is_a_path_whatever_is_beside_it(tree, saved, tmp_path):
    saved(tree, "mine")
    assert loaded(saved(tree, "mine-small")).name == "mine-small"


def test_a_plan_says_what_is_done_and_makes_nothing(tree, saved, tmp_path, coslice):
    path, out = saved(tree), tmp_path / "out"
    code, said, _ = coslice("benchmark", path, "--out", out, "--plan")
    assert code == 0 and said.count("to do") == 14 and "0 of 12 cells are done." in said and not out.exists()
    computed(loaded(path, seeds=(0,)), Store(out))
    _, said, _ = coslice("benchmark", path, "--out", out, "--plan")
    assert "7 of 12 cells are done." in said


@pytest.fixture
def made(tree, saved, tmp_path):
    """A finished benchmark and its records."""
    benchmark = loaded(saved(tree))
    store = Store(tmp_path / "made")
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
            bold = {metric.text(row.entries[i].mean) for row in rows if row.entries[i].best}
            if not metric.better:
                assert not bold
                continue
            printed = [float(metric.text(row.entries[i].mean)) for row in rows]
            assert bold == {metric.text((max if metric.better > 0 else min)(printed))}
    (published,) = [row.published for rows in table.groups.values() for row in rows if row.published]
    assert [entry.mean for entry in published] == [30.0, 0.9, None, 0.01] and published[3].deviation == 0.002
    assert not any(entry.best for entry in published)


def test_the_csv_is_tidy_and_has_every_number(made):
    benchmark, _, records = made
    rows = list(csv.DictReader(io.StringIO(tidy_csv(benchmark, records))))
    measured = {(r["group"], r["method"], int(r["seed"]), r["metric"]): r for r in rows if r["origin"] == "measured"}
    assert len(measured) == len(benchmark.cells()) * (len(benchmark.metrics) + 1)
    for cell in benchmark.cells():
        record = records[cell.group, cell.row][benchmark.seeds.index(cell.seed)]
        for metric in benchmark.metrics:
            assert float(measured[cell.group, cell.row, cell.seed, metric.name]["value"]) == metric.of(record)
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
    rows = {"a": {"eta": 0.5}, "b": {}, "c": {"eta": 0.25}, "$d_{": {"eta": 0.5, "start_noise": "iscs"}}
    rows = {row: Recipe("dds", "independent", steps=2, cg_iterations=2, **given) for row, given in rows.items()}
    figure = Figure("eta", "axial.psnr")
    swept = replace(benchmark, rows={"few": rows}, groups={"few": benchmark.groups["few"]}, figures=(figure,))
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
        first, last = map(int, re.fullmatch(r".*, slices (\d+) to (\d+) of 16", scene.title).groups())
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
    assert all(len(re.findall(r"(?<!\\)\|", line)) == len(table.metrics) + 2 for line in lines)
    body = tex[tex.index("Method") : tex.index(r"\bottomrule")]
    assert all(line.count(" & ") == len(table.metrics) for line in body.splitlines() if " & " in line)
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


@pytest.mark.parametrize(
    ("path", "value", "told"),
    [
        (("metrics",), ["axial.fsim"], "axial.fsim"),
        (("metrics",), [], "asks for nothing"),
        (("groups",), {}, "neither a group"),
        (("methods",), {"Cubic": {"method": "cubic"}}, "neither a group"),
        (("editions",), ["small"], "editions"),
        (("editions",), {"small": 3}, "small of ball.yaml"),
        (("editions",), {"small": {}}, "name one"),
        (("like",), "another", "another.yaml"),
        (("like",), "ball", "like itself"),
        (("methods", "DDS", "method"), "ddx", "ddx"),
        (("methods", "DDS", "stepz"), 3, "stepz"),
        (("methods", "DDS", "steps"), 0, "row DDS of few"),
        (("methods", "DDS", "sirt_iterations"), 3, "would not read it"),
        (("methods", "DDS", "groups"), ["fewer"], "fewer"),
        (("groups", "few", "scan"), "cube", "cube"),
        (("groups", "few", "task"), "mri", "mri"),
        (("groups", "few", "factor"), 3, "factor"),
        (("groups", "few", "published"), "AAPM", "AAPM"),
        (("scans", "ball", "size"), -1, "size"),
        (("scans", "ball", "slices"), "all", "slices"),
        (("priors", "ct.volumes"), "ct", "ct.volumes"),
        (("settings", "dsd"), {}, "dsd"),
        (("seeds",), [], "seeds"),
        (("seeds",), [1, 1], "only once"),
        (("published", "few", "DDS"), [1.0], "4 metrics"),
        (("figures",), [{"x": "steps", "y": "psnr"}], "psnr"),
        (("figures",), [{"x": "step", "y": "axial.psnr"}], "each step"),
        (("figures",), [{"x": "weather", "y": "axial.psnr"}], "weather"),
        (("titel",), "A table", "titel"),
        (("methods", "DDS", "method"), ["dds"], "row DDS"),
        (("methods", "DDS", "groups"), 3, "groups of row DDS"),
        (("methods", "DDS", "groups"), None, "groups of row DDS"),
        (("methods", "DDS", "groups"), [["few"]], "groups of row DDS"),
        (("methods", "DDS", "seed"), 3, "leave it out"),
        (("methods", "Truth"), {"method": "dds"}, "another title"),
        (("settings", "*", "method"), "fdk", "leave it out"),
        (("published", "few", "DSS"), [1.0, 1.0, 1.0, 1.0], "DSS"),
        (("published", "fewer"), {}, "fewer"),
        (("editions",), {1: {}}, "editions"),
        (("like",), "sub/other", "sub/other"),
        (("scans", "ball", "thickness"), math.inf, "thickness"),
        (("scans", "ball", "file"), "a\x00b", "cannot be read"),
        (("groups", "few", "fwhm_mm"), math.inf, "fwhm"),
        (("figures",), [{"x": "noise", "y": "axial.psnr"}], "noise"),
    ],
)
def test_a_mistake_in_a_recipe_is_one_sentence_before_any_work(tree, saved, tmp_path, refused, path, value, told):
    at = tree
    for key in path[:-1]:
        at = at[key]
    at[path[-1]] = value
    assert told in refused("benchmark", saved(tree), "--out", tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (("nothing",), "table1-small"),
        (("none.yaml",), "none.yaml"),
        (("table1-paper",), "--scan chest=FILE"),
        (("table1-huge",), "huge"),
        (("ball.yaml", "--seeds", 0), "--seeds"),
        (("ball.yaml", "--scan", "ball"), "NAME=FILE"),
        (("ball.yaml", "--scan", "cube=a.nii"), "cube"),
        (("ball.yaml", "--scan", "ball=missing.nii"), "missing.nii"),
        (("ball.yaml", "--prior", "ct.slices=missing.pth"), "missing.pth"),
        (("ball.yaml", "--prior", "ct.slices=mr"), "window"),
        (("ball.yaml", "--device", "abacus"), "abacus"),
        (("ball.yaml", "--out", "full"), "not empty"),
        (("cells.yaml",), "rename it"),
        (("twice.yaml",), "twice"),
    ],
)
def test_bad_options_are_one_sentence_and_leave_nothing(tree, saved, tmp_path, refused, monkeypatch, options, told):
    saved(tree)
    saved(tree, "cells")
    twice = saved(tree, "twice")
    twice.write_text(twice.read_text() + "title: Again\n")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.tex").write_text("")
    before = sorted(tmp_path.rglob("*"))
    assert told in refused("benchmark", *options)
    assert sorted(tmp_path.rglob("*")) == before
