"""Laws of the widget: every canvas holds its volume, all move together, and a window is chosen for all."""

from __future__ import annotations

import nibabel
import numpy as np
import pytest
import torch

import coslice
from coslice.errors import CosliceError
from coslice.report.showing import showing
from elsewhere import library


def volume(seed: int) -> coslice.Volume:
    hu = torch.rand((6, 8, 10), generator=torch.Generator().manual_seed(seed)) * 1400 - 1000
    return coslice.Volume(hu, np.diag([1.5, 1.0, 2.0, 1.0]))


def test_canvases_hold_the_volumes_move_together_and_share_a_window():
    library("ipyniivue")
    given = {"before": volume(0), "after": volume(1)}
    choice, row = showing(given, unit="HU", form="widget").widget().children
    assert [column.children[0].value for column in row.children] == [*given]
    canvases = [column.children[1] for column in row.children]
    for canvas, one in zip(canvases, given.values(), strict=True):
        read = nibabel.Nifti1Image.from_bytes(canvas.volumes[0].data)
        np.testing.assert_allclose(read.get_fdata().transpose(2, 1, 0), one.data, atol=2e-4)
        assert read.header.get_zooms() == pytest.approx((1.5, 1.0, 2.0))
        assert canvas.other_nv == [other for other in canvases if other is not canvas] and canvas.sync_opts["crosshair"]
        assert (canvas.volumes[0].cal_min, canvas.volumes[0].cal_max) == (-480, 820)
    choice.value = "lung"
    assert [(c.volumes[0].cal_min, c.volumes[0].cal_max) for c in canvases] == [(-1350, 150)] * 2


def test_without_the_package_the_sentence_says_what_installs_it(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "ipyniivue", None)
    with pytest.raises(CosliceError, match=r'pip install "coslice\[viewer\]"'):
        showing(volume(0), unit="HU", form="widget").widget()
