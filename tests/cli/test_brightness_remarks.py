"""A scan far brighter or darker than what its prior was trained on: one sentence, wherever results are looked at."""

import html
import json
import shutil

import numpy as np
import pytest
import torch

from coslice.geometry import ConeBeam, Grid, sparse_view
from coslice.io.geometry_files import write_geometry
from coslice.io.nifti import read_nifti, write_nifti
from coslice.operators import Projector
from coslice.priors import update_card
from coslice.problems import SliceSuperResolution, SparseViewCT, from_thick_slices, simulate

WORDS = "whose body lies at"
QUICK = ("--method", "dds", "--steps", "1", "--set", "data.iterations=2")


@pytest.fixture(params=[True, False], ids=["unlike", "alike"])
def prior(request, tiny_prior, tmp_path):
    """A prior's file, and whether scans of a body in air are unlike what its card says that it has seen."""
    path = tmp_path / "mine.safetensors"
    shutil.copy(tiny_prior, path)
    update_card(path, {"seen": {"intensity": {"level": [0.8, 0.9] if request.param else [0.3, 0.5]}}})
    return path, request.param


def check(ran, out, unlike):
    code, said, error = ran
    assert code == 0, error
    remarks = [one for one in json.loads((out / "run.json").read_text())["remarks"] if WORDS in one]
    assert len(remarks) == unlike and all(remark in said.replace("\n", " ") for remark in remarks)
    assert (WORDS in html.unescape((out / "report.html").read_text())) == unlike


def test_of_a_scan_it_is_said_before_the_work(coslice, scan, prior, tmp_path):
    path, unlike = prior
    out = tmp_path / "out"
    check(coslice("reconstruct", scan, "--views", "4", "--prior", path, *QUICK, "--out", out), out, unlike)


def test_of_projections_it_is_said_of_what_was_reconstructed(coslice, prior, tmp_path):
    path, unlike = prior
    grid = Grid((8, 24, 24), (2.0, 2.0, 2.0))
    _, y, x = np.meshgrid(*(grid.axis(name) for name in "zyx"), indexing="ij")
    rod = torch.from_numpy(0.02 * (x**2 + y**2 < 300)).float()
    geometry = ConeBeam(sparse_view(30), (10, 40), (4.0, 4.0), source_axis=300.0, axis_detector=300.0)
    np.save(tmp_path / "lines.npy", Projector(geometry, grid).forward(rod).numpy())
    write_geometry(geometry, tmp_path / "g.json", grid)
    told = ("--geometry", tmp_path / "g.json", "--values", "lines", "--water", 0.02, "--prior", path)
    out = tmp_path / "out"
    check(coslice("reconstruct", tmp_path / "lines.npy", *told, *QUICK, "--out", out), out, unlike)


def test_an_inspection_says_it_too(coslice, scan, tmp_path, tiny_prior, monkeypatch):
    """Of the usual prior, whose card says nothing of it yet or silences it: so its card is another here."""
    from coslice.cli.descriptions import of_scans

    card = of_scans.read_card
    monkeypatch.setattr(of_scans, "read_card", lambda name: card(name) | {"seen": {"intensity": {"level": [0.8, 0.9]}}})
    code, said, error = coslice("inspect", scan)
    assert code == 0 and WORDS in said.replace("\n", " "), error


def test_what_is_known_before_a_reconstruction(scan, tmp_path):
    volume = read_nifti(scan)
    study = simulate(volume, SparseViewCT(views=4))
    assert study.known is study.unit
    thick = simulate(volume, SliceSuperResolution(4), study.window).thick
    assert thick is not None
    write_nifti(thick, tmp_path / "thick.nii.gz")
    measured = from_thick_slices(read_nifti(tmp_path / "thick.nii.gz"), study.window, 4, axis="z", modality="CT")
    assert measured.known is not None
    assert torch.equal(measured.known, study.window.to_unit(read_nifti(tmp_path / "thick.nii.gz").data))
