"""docs/our-parts-elsewhere.md, run from top to bottom, gives what it says."""

from __future__ import annotations

import warnings

import numpy as np
import torch

from coslice.classical import cgls
from elsewhere import library
from laws import relative
from shown_pages import ROOT, python_blocks, run_shown


def test_the_page_is_a_program_and_does_what_it_says(tmp_path, monkeypatch):
    for name in ("deepinv", "pylops", "SimpleITK", "torchio"):
        library(name)
    monkeypatch.chdir(tmp_path)
    first, *blocks = python_blocks(ROOT / "docs" / "our-parts-elsewhere.md")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the libraries
        said = run_shown(first)
        problem, truth = said["study"].problem, said["study"].unit
        said = run_shown("\n\n".join(blocks), **said)
    operator, y = problem.operator, problem.measurement
    gradient = operator.adjoint(operator.forward(said["volumes"].detach()[1]) - y)
    assert relative(said["volumes"].grad[1], gradient) <= 1e-5
    # A longer step along -A^T(A x - y) brings x nearer to the truth, or the derivative says that it does not.
    x, step = problem.initial(), 1e-5
    errors = []
    for length in (step - 2e-6, step + 2e-6):
        z = x.clone()
        for _ in range(3):
            z = z - length * operator.adjoint(operator.forward(z) - y)
        errors.append(float((z.double() - truth).square().mean()))
    assert np.isclose(float(said["step"].grad), (errors[1] - errors[0]) / 4e-6, rtol=0.02)
    expected = cgls(operator, y, 10)
    for name in ("by_scipy", "by_pylops"):
        assert relative(torch.from_numpy(said[name]).float(), expected) <= 1e-3
    assert relative(said["in_hu"].data, _hu(cgls(operator, y, 20))) <= 1e-2
    assert said["slices"].codomain == said["theirs"].codomain == truth.shape
    assert float((said["result"].reconstruction - said["study"].unit).abs().mean()) < 0.1
    error = library("SimpleITK").ReadImage("error.nii.gz")
    assert np.allclose(error.GetSpacing()[::-1], said["scan"].spacing, atol=1e-5)
    assert np.array_equal(said["volume"].affine, said["scan"].affine)


def _hu(unit: torch.Tensor) -> torch.Tensor:
    return unit * 2600 - 1000
