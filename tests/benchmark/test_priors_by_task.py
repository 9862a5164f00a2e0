"""A network for each task: a recipe and a command name one for the groups that are measured so."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from coslice.benchmark import Store, keyed_cells
from coslice.io.nifti import read_nifti
from coslice.priors import load_prior, save_prior
from small_benchmark import computed, loaded

FEW, MANY = "svct-parallel-4", "svct-parallel-9"


@pytest.fixture
def networks(tiny_prior, tmp_path):
    """Files of networks that know one task each, of other s, so that their answers differ; and one that knows both."""
    files = {}
    for name, tasks in {"few": {FEW: 0.05}, "many": {MANY: 0.4}, "both": {FEW: 0.2, MANY: 0.2}}.items():
        files[name] = tmp_path / f"{name}.safetensors"
        save_prior(files[name], replace(load_prior(tiny_prior), card={"name": name, "tasks": tasks}))
    return files


@pytest.fixture
def recipe(tree, saved):
    """Two groups of few and many views, measured by a parallel beam, with FBP-UNet and DDS: recipe(priors) -> path."""

    def write(priors, name="ball"):
        groups = {name: {**group, "beam": "parallel"} for name, group in tree["groups"].items()}
        methods = {"FBP-UNet": {"method": "fbp-unet"}, "DDS": {"method": "dds"}}
        named = {**tree["priors"], **{key: str(file) for key, file in priors.items()}}
        own = {"seeds": [0], "figures": [], "pictures": [], "published": {}}
        return saved(tree | own | {"groups": groups, "methods": methods, "priors": named}, name)

    return write


def volumes(benchmark, folder):
    """The reconstructions of FBP-UNet by group."""
    store = Store(folder)
    computed(benchmark, store)
    cells = keyed_cells(benchmark).items()
    return {cell.group: read_nifti(store.volume(key)).data for cell, key in cells if cell.row == "FBP-UNet"}


@pytest.mark.parametrize("key", ["fbp-unet", "ct.supervised"])
def test_every_group_is_made_with_the_network_of_its_task(key, recipe, networks, coslice, scan, tmp_path):
    """As the command `reconstruct` makes it with that file."""
    path = recipe({f"{key}.{FEW}": networks["few"], f"{key}.{MANY}": networks["many"]})
    benchmark = loaded(path)
    used = {cell.group: cell.priors for cell in benchmark.cells() if cell.row == "FBP-UNet"}
    assert used == {name: (str(networks[name]),) for name in ("few", "many")}
    for group, volume in volumes(benchmark, tmp_path / "out").items():
        views, out = benchmark.groups[group].views, tmp_path / group
        measured = ["--task", "svct", "--beam", "parallel", "--views", views]
        method = ["--method", "fbp-unet", "--prior", networks[group]]
        assert coslice("reconstruct", scan, *measured, *method, "--values", "hu", "--out", out)[0] == 0
        assert torch.allclose(read_nifti(out / "reconstruction.nii.gz").data, volume, atol=1e-2)


def test_the_more_special_name_comes_first_and_the_rest_is_the_others(recipe, networks):
    """The network of a task before that of all; those of the command before those of the recipe; DDS has its own."""
    path = recipe({"ct.supervised": networks["both"], f"fbp-unet.{FEW}": networks["few"]})
    for given, few, many in (
        ({}, "few", "both"),
        ({f"ct.supervised.{MANY}": str(networks["many"])}, "few", "many"),
        ({f"fbp-unet.{FEW}": str(networks["both"])}, "both", "both"),
        ({"fbp-unet": str(networks["both"])}, "few", "both"),
    ):
        cells = loaded(path, priors=given).cells()
        used = {cell.group: cell.priors for cell in cells if cell.row == "FBP-UNet"}
        assert used == {"few": (str(networks[few]),), "many": (str(networks[many]),)}, given
        assert all(str(networks["both"]) not in cell.priors for cell in cells if cell.row == "DDS")


def test_a_cell_is_known_by_its_network_and_not_by_the_name_it_was_given_under(recipe, networks):
    def keys(priors):
        return {(cell.group, cell.row): key for cell, key in keyed_cells(loaded(recipe(priors))).items()}

    both, one = keys({"ct.supervised": networks["both"]}), keys({f"fbp-unet.{FEW}": networks["both"]})
    assert one["few", "FBP-UNet"] == both["few", "FBP-UNet"]
    other = keys({"ct.supervised": networks["both"], f"fbp-unet.{FEW}": networks["few"]})
    assert {place for place in both if both[place] != other[place]} == {("few", "FBP-UNet")}


def test_a_method_that_samples_takes_a_prior_of_its_own_for_a_task_too(recipe, networks, tiny_prior, tmp_path):
    own = tmp_path / "own.safetensors"
    save_prior(own, replace(load_prior(tiny_prior), card={"name": "own"}))
    benchmark = loaded(recipe({"ct.supervised": networks["both"], f"dds.{MANY}": own}))
    used = {cell.group: cell.priors for cell in benchmark.cells() if cell.row == "DDS"}
    assert used == {"few": (str(tiny_prior),), "many": (str(own),)}


def test_networks_that_do_not_fit_are_refused_before_anything_is_computed(recipe, networks, refused, tmp_path):
    path = recipe({f"fbp-unet.{FEW}": networks["many"], f"fbp-unet.{MANY}": networks["many"]})
    for plan in ([], ["--plan"]):
        said = refused("benchmark", path, "--out", tmp_path / "out", *plan)
        assert f"was given for the task {FEW}, but it knows {MANY}" in said and f"--task {FEW}" in said
    assert not (tmp_path / "out").exists()
    said = refused("benchmark", recipe({"fbp-unet.svct-parallel-5": networks["many"]}), "--plan")
    assert "fbp-unet.svct-parallel-5" in said and said.endswith(f"{FEW}, {MANY}.")


def test_a_prior_that_must_be_named_may_be_named_for_each_task(tree, saved, networks, refused, coslice):
    groups = {name: {**group, "beam": "parallel"} for name, group in tree["groups"].items()}
    methods = {"FBP-UNet": {"method": "fbp-unet"}}
    own = {"groups": groups, "methods": methods, "figures": [], "pictures": [], "published": {}, "seeds": [0]}
    path = saved(tree | own | {"priors": {"ct.supervised": {"needs": "a network", "plane": "yx", "window": "ct"}}})
    few, many = (["--prior", f"fbp-unet.{task}={networks[name]}"] for task, name in ((FEW, "few"), (MANY, "many")))
    assert coslice("benchmark", path, "--plan", *few, *many)[0] == 0
    assert "prior ct.supervised=FILE (a network)" in refused("benchmark", path, "--plan", *few)
