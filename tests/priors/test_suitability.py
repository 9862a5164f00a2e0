"""Scans unlike what a prior was trained on are remarked on, others are not; a window of another kind is refused."""

import numpy as np
import pytest
import torch

from coslice.data import embedded_file, embedded_scan
from coslice.errors import CosliceError
from coslice.io.nifti import read_nifti
from coslice.priors import (
    check_window_of_prior,
    embedded_priors,
    read_card,
    remarks_for_prior,
    remarks_on_brightness,
    stored_priors,
)
from coslice.priors.suitability import seen_by
from coslice.volume import Volume
from coslice.window import CT_WINDOW, Window, scan_window
from small_problems import prior

SEEN = {"plane": "yx", "pixel_mm": [1.0, 4.0], "slice_mm": [1.0, 5.0], "size": [64, 128]}


def volume(shape=(8, 64, 64), spacing=(2.0, 2.0, 2.0)) -> Volume:
    return Volume(torch.zeros(shape), np.diag([*spacing[::-1], 1.0]))


@pytest.mark.parametrize(
    ("scan", "said"),
    [
        (volume(), None),
        (volume(spacing=(1.0, 4.0, 1.0)), None),  # oblong pixels between the ends
        (volume(spacing=(2.0, 4.4, 4.4)), None),  # one that rounds to what was seen
        (volume(spacing=(2.0, 6.0, 6.0)), "pixels of 1 to 4 mm, and these are of 6 x 6"),
        (volume(spacing=(2.0, 2.0, 0.3)), "pixels of 1 to 4 mm, and these are of 2 x 0.3"),
        (volume(spacing=(9.0, 2.0, 2.0)), "slices 1 to 5 mm apart, and these are 9 mm apart"),
        (volume(spacing=(0.2, 2.0, 2.0)), "these are 0.2 mm apart"),
        (volume((8, 32, 64)), "images of 64 to 128 pixels a side, and these have 32 x 64"),
        (volume((8, 64, 512)), "these have 64 x 512"),
    ],
)
def test_what_was_not_seen_in_training_is_said_once(scan, said):
    remarks = remarks_for_prior(scan, prior(card={"seen": SEEN}))
    assert len(remarks) == (said is not None) and all(said in remark for remark in remarks)


def test_pixels_and_slices_are_those_of_the_priors_plane():
    """A coronal prior of the same training stacks along y."""
    coronal = prior("zx", card={"seen": {**SEEN, "plane": "zx"}})
    (remark,) = remarks_for_prior(volume((64, 8, 64), (2.0, 9.0, 2.0)), coronal)
    assert "slices 1 to 5 mm apart" in remark
    (remark,) = remarks_for_prior(volume((64, 64, 64)), prior("zx", card={"seen": SEEN}))
    assert "the plane yx, and is asked in zx" in remark


def test_a_card_of_training_says_what_the_views_made_of_the_scans():
    card = {
        "data": {"plane": "yx", "pixel_mm": [1.0, 2.0], "slice_mm": [3.0, 3.0], "size": [[200, 200], [256, 256]]},
        "recipe": {"views": [{"side": 128, "scale": [0.5, 0.5]}, {"side": 96, "scale": [1.0, 1.25]}]},
    }
    assert seen_by(card) == {"plane": "yx", "pixel_mm": [0.8, 4.0], "slice_mm": [3.0, 3.0], "size": [96, 128]}
    assert not seen_by({}) and not seen_by({"data": "20 series"})
    assert not remarks_for_prior(volume(spacing=(50.0, 50.0, 50.0)), prior())


def test_the_priors_that_come_along_say_what_they_have_seen_and_it_is_the_scan_that_comes_along():
    for name in embedded_priors():
        assert set(seen_by(read_card(name))) >= {"plane", "pixel_mm", "slice_mm", "size"}, name
    ct = prior(card=read_card("ct"))
    assert not remarks_for_prior(embedded_scan(), ct) and not remarks_for_prior(embedded_scan().slices(8, 56), ct)


CT = {"level": [0.37, 0.4076], "bright": [0.4523, 0.5462], "clipped": [0.0, 0.0021]}
MR = {"level": [0.6018, 0.6473], "bright": [0.82, 0.864]}
"""Of 20 chests and abdomens, and of 10 brains."""


def on_brightness(unit, seen=CT, plane="yx", window: Window | None = CT_WINDOW):
    return remarks_on_brightness(unit, "one", {"seen": {"intensity": seen}}, plane, window)


def chest(change=lambda hu: hu):
    hu = embedded_scan().slices(24, 40).data.clone()
    return CT_WINDOW.to_unit(change(hu))


def brain(window=None, change=lambda values: values):
    data = change(read_nifti(embedded_file("brain")).data.clone())
    return (scan_window("mr", data) if window is None else window).to_unit(data)


def filled(value, rows, columns, slices=slice(None)):
    def change(data):
        data[slices, rows, columns] = value
        return data

    return change


@pytest.mark.parametrize(
    ("unit", "seen", "plane"),
    [
        (chest(), CT, "yx"),
        (chest(), CT, "zx"),
        (chest()[:, 32:96, 32:96], CT, "yx"),
        (torch.nn.functional.pad(chest(), (40,) * 4), CT, "yx"),
        (chest(lambda hu: hu + 60 * torch.randn(hu.shape, generator=torch.Generator().manual_seed(0))), CT, "yx"),
        (chest(filled(400.0, slice(40, 60), slice(50, 70))), CT, "yx"),  # vessels with contrast medium
        (brain(), MR, "zx"),
        (brain(), MR, "yx"),
        (torch.nn.functional.pad(brain(), (30,) * 6), MR, "zx"),
    ],
)
def test_nothing_is_said_of_scans_as_bright_as_those_seen(unit, seen, plane):
    assert on_brightness(unit, seen, plane) == ()


HOT = filled(8000.0, slice(60, 75), slice(60, 75), slice(10, 14))


@pytest.mark.parametrize(
    ("unit", "seen", "said"),
    [
        (chest(lambda hu: hu + 1024), CT, "body lies at -38 to 60 HU (here 8"),
        (chest(lambda hu: (hu + 1000) / 2 - 1000), CT, "(here -5"),
        (chest(lambda hu: (hu + 1000) * 1.3 - 1000), CT, "(here 30"),
        (chest(filled(1000.0, slice(40, 70), slice(50, 80))), CT, "hundredth begins at 176 to 420 HU (here 1000)"),
        (chest(filled(8000.0, slice(60, 68), slice(60, 68))), CT, "at most 0.21 % of a slice lie beyond the window"),
        (brain(change=HOT), MR, "body lies at 0.602 to 0.647 of the window (here 0.0"),
        (brain(Window(0, 4000, "")), MR, "(here 0.1"),
        (brain(Window(0, 300, "")), MR, "(here 0.9"),
        (0 * brain(), MR, "(here 0)"),
    ],
)  # fmt: skip
def test_one_sentence_is_said_of_scans_that_are_darker_or_brighter(unit, seen, said):
    (remark,) = on_brightness(unit, seen, "yx", CT_WINDOW if seen is CT else None)
    assert said in remark and remark.startswith("Prior one was trained on scans ")


def test_a_card_that_says_nothing_of_brightness_is_asked_nothing():
    assert remarks_on_brightness(0 * chest(), "one", {"seen": SEEN}, "yx") == ()
    assert on_brightness(0 * chest(), {"clipped": [0.0, 0.01]}) == ()
    assert remarks_on_brightness(0 * chest(), "one", {"data": {"plane": "yx", "intensity": CT}}, "yx") != ()


@pytest.mark.parametrize("told", [False, True])
def test_a_window_is_the_priors_or_the_prior_is_told(told):
    ct, mr, own = prior(name="one"), prior("zx", window="mr"), prior(window="-200:300")
    assert check_window_of_prior(CT_WINDOW, ct, told) == ()
    assert check_window_of_prior(Window(-1000, 1600, ""), ct, told) == ()
    assert check_window_of_prior(Window(-3, 9, ""), mr, told) == ()
    assert check_window_of_prior(Window(-200, 300, ""), own, told) == ()
    for window, chosen in ((Window(0, 0.05, ""), ct), (Window(-160, 240, ""), ct), (CT_WINDOW, own)):
        if told:
            (remark,) = check_window_of_prior(window, chosen, told)
            assert f"{window.low:g} to {window.high:g}" in remark
        else:
            with pytest.raises(CosliceError, match="--values any"):
                check_window_of_prior(window, chosen, told)


@pytest.mark.parametrize("store", ["nowhere", "forbidden", "no home"])
def test_without_a_store_that_can_be_read_there_are_no_priors_in_it(tmp_path, monkeypatch, store):
    monkeypatch.delenv("COSLICE_PRIORS", raising=False)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    if store == "no home":
        monkeypatch.setattr("os.path.expanduser", lambda path: path)
    elif store == "forbidden":
        monkeypatch.setattr(
            "coslice.priors.places.Path.is_dir", lambda path: (_ for _ in ()).throw(PermissionError(13, "denied"))
        )
    else:
        monkeypatch.setenv("HOME", "/proc/none")
    assert stored_priors() == {}
