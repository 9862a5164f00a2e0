"""Laws of grids: a cell is its recipe, is computed once, and whatever was killed goes on."""

from __future__ import annotations

import json
import shutil
import threading
import time
from contextlib import nullcontext
from functools import partial

import pytest
import torch

from coslice.benchmark import (
    Store,
    complete,
    grid,
    keyed_cells,
)
from coslice.benchmark.definition import setting_of
from coslice.io.nifti import read_nifti
from coslice.output import Keeper
from coslice.volume import Volume
from small_benchmark import computed, kept, killed, loaded, sampling, without


def test_the_grid_is_every_row_of_every_group_it_is_for_with_every_seed(tree, saved):
    cells = loaded(saved(tree)).cells()
    rows = [("few", "FDK"), ("few", "DDS"), ("few", "DDS+ISCS"), ("few", "DDS+ISCS, longer")]
    rows += [("many", "FDK"), ("many", "DDS"), ("many", "DDS+ISCS")]  # cubic is for thick slices
    assert sorted((cell.group, cell.row, cell.seed) for cell in cells) == sorted(
        (*row, s) for row in rows for s in (0, 1)
    )
    assert all(cell.first_seed == cell.seed for cell in cells)
    steps = {cell.row: setting_of(cell.method, "schedule.steps") for cell in cells}
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
    usual = changed(("methods", "DDS", "renoising"), {"eta": 1.0})  # what DDS has anyhow
    assert keys(usual) == plain
    words = [(("title",), "Other words"), (("published",), {}), (("metrics",), ["sdiff"]), (("figures",), [])]
    for path, value in [*words, (("scans", "ball", "file"), str(copy)), (("source",), "Somebody")]:
        changes = changed(path, value)
        assert keys(lambda tree, changes=changes: changes(tree) | {"published": {}}) == plain, path
    dds = [i for i, cell in enumerate(loaded(saved(tree)).cells()) if cell.row == "DDS"]
    for path, value in [
        (("settings", "dds", "renoising"), {"eta": 0.5}),
        (("settings", "*", "renoising"), {"temperature": 0.9}),
        (("groups", "few", "settings"), {"dds": {"schedule": {"sigma_max": 1.0}}}),
        (("groups", "few", "photons"), 1e5),
        (("scans", "ball", "slices"), "0:15"),
        (("scans", "ball", "size"), 16),
        (("methods", "DDS", "start"), {"noise": "iscs"}),
        (("methods", "DDS", "lpips"), True),
        (("priors", "ct.slices"), "ct"),
    ]:
        other = keys(changed(path, value))
        assert other[dds[0]] != plain[dds[0]], path


def test_a_configuration_beside_a_published_checkpoint_is_part_of_a_cell(tree, saved, checkpoints, tmp_path):
    checkpoint = tmp_path / "adm_tiny.pt"
    shutil.copy(checkpoints / "adm_tiny.pt", checkpoint)
    path = saved(tree | {"priors": {"ct.slices": str(checkpoint)}})
    alone = keyed_cells(loaded(path))
    (tmp_path / "adm_tiny_config.json").write_text('{"num_heads": 2}')
    together = keyed_cells(loaded(path))
    assert {cell.row for cell in alone if alone[cell] != together[cell]} == {"DDS", "DDS+ISCS", "DDS+ISCS, longer"}


def test_cells_of_several_samples_share_none(tree, saved):
    row = {"method": "dds", "samples": 3}
    benchmark = loaded(saved(tree | {"methods": {"DDS": row}, "published": {}}), seeds=(0, 1, 2))
    few = [cell for cell in benchmark.cells() if cell.group == "few"]
    assert all(sampling(benchmark, "few", cell.row).samples == 3 for cell in few)
    drawn = [cell.first_seed + sample for cell in few for sample in range(3)]
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
    options = ("--method", "dds", "--views", 4, "--steps", 2, "--set", "data.iterations=2", "--seed", 1)
    code, _, error = coslice("reconstruct", scan, "--out", tmp_path / "out", *options, "--prior", tiny_prior)
    assert code == 0, error
    assert json.loads((tmp_path / "out" / "metrics.json").read_text())["reconstruction"] == kept(store, key)["metrics"]
    ours, theirs = read_nifti(store.volume(key)), read_nifti(tmp_path / "out" / "reconstruction.nii.gz")
    assert torch.equal(ours.data, theirs.data) and (ours.affine == theirs.affine).all()


def test_processes_share_a_grid_and_compute_no_cell_twice(tree, saved, tmp_path, monkeypatch):
    """Three at once, each a thread of its own here: what matters is who holds which lock."""
    benchmark = loaded(saved(tree))
    cells = keyed_cells(benchmark)
    done, lock = [], threading.Lock()

    def slowly(self, cell, progress, state):
        time.sleep(0.02)
        with lock:
            done.append(cells[cell])
        return {"metrics": {}}, Volume(torch.zeros(2, 2, 2))

    monkeypatch.setattr(grid.Workshop, "computed", slowly)
    monkeypatch.setattr(grid.Workshop, "check", lambda self, cells: ())
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


def test_a_cell_is_taken_by_one_and_freed_at_the_end(tmp_path):
    ours, theirs = Store(tmp_path / "out"), Store(tmp_path / "out")
    ours.prepare()
    with ours.taken("a") as mine:
        assert mine
        with theirs.taken("a") as also, theirs.taken("b") as other:
            assert not also and other
    with theirs.taken("a") as mine:
        assert mine


def test_what_a_kill_leaves_is_gone_when_the_cell_is_next_taken_and_half_a_cell_is_none(tree, saved, tmp_path):
    benchmark, store = loaded(saved(tree), seeds=(0,)), Store(tmp_path / "out")
    computed(benchmark, store)
    key = next(iter(keyed_cells(benchmark).values()))
    store.volume(key).unlink()
    left = tmp_path / "out" / "locks" / f"{key}.unfinished"
    left.mkdir()
    (left / "volume.nii.gz").write_bytes(b"half")
    assert not store.has(key) and len(computed(benchmark, store)) == 1
    assert store.has(key) and not left.exists()


class Killed(Exception):
    """As if the process had been."""


def test_a_cell_that_is_killed_goes_on_where_it_stood_to_the_same_numbers(tree, saved, tmp_path, monkeypatch):
    benchmark = loaded(saved(tree), seeds=(0,))
    cell, key = next((c, k) for c, k in keyed_cells(benchmark).items() if c.row == "DDS+ISCS, longer")
    whole, cut, strange = (Store(tmp_path / name) for name in ("whole", "cut", "strange"))
    monkeypatch.setattr(grid, "Keeper", partial(Keeper, every=0))
    steps = []

    def heard(phase, done, total):
        steps.append(done) if phase == "sampling" else None

    def killed(phase, done, total):
        if (phase, done) == ("sampling", 3):
            raise Killed

    def put(store, progress):
        store.prepare()
        with store.taken(key):
            grid.Workshop(benchmark, "cpu").put(store, key, cell, progress)

    put(whole, heard)
    with pytest.raises(Killed):
        put(cut, killed)
    assert cut.state(key).is_file() and not cut.has(key)
    shutil.copytree(tmp_path / "cut", tmp_path / "strange", dirs_exist_ok=True)
    put(cut, heard)
    monkeypatch.setattr("coslice.identities.version_of", lambda name: "0")  # what was kept is another version's
    put(strange, heard)
    assert steps == [0, 1, 2, 3, 2, 3, 0, 1, 2, 3]
    first, *others = (kept(store, key) for store in (whole, cut, strange))
    assert all(one["metrics"] == first["metrics"] and one["curves"] == first["curves"] for one in others)
    assert [one.get("resumed") for one in (first, *others)] == [None, 1, None]
    assert not any(store.state(key).exists() for store in (whole, cut, strange))


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
        assert without((cut / "ball" / name).read_text(), cut) == without((whole / "ball" / name).read_text(), whole)


def test_a_plan_says_what_is_done_and_makes_nothing(tree, saved, tmp_path, coslice):
    path, out = saved(tree), tmp_path / "out"
    code, said, _ = coslice("benchmark", path, "--out", out, "--plan")
    assert code == 0 and said.count("to do") == 14 and "0 of 12 cells are done." in said and not out.exists()
    computed(loaded(path, seeds=(0,)), Store(out))
    _, said, _ = coslice("benchmark", path, "--out", out, "--plan")
    assert "7 of 12 cells are done." in said
