"""Laws of the viewer's payload: what a page holds is what was given, rounded; it fits, and holds nothing else."""

from __future__ import annotations

import importlib.machinery
import importlib.util
import json
import re
import sys
import zlib

import numpy as np
import pytest
import torch

from coslice.axes import AXES, PLANES
from coslice.errors import CosliceError
from coslice.metrics import PER_PLANE
from coslice.report.environment import source
from coslice.report.viewer import Scene, has_niivue, packed, viewer
from page_volumes import held_content, unpacked

SHAPE, SPACING, HU, MR = (5, 7, 9), (2.0, 1.0, 1.5), (-1000.0, 1600.0), (0.0, 812.5)


def noise(seed: int = 0, shape=SHAPE) -> torch.Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed))


def scene(**changes) -> Scene:
    volumes = {"Truth": noise(0), "FDK": noise(1), "DDS": noise(2)}
    return Scene(**({"title": "SVCT", "volumes": volumes, "spacing": SPACING, "window": HU} | changes))


def drawn(scenes: list[Scene], *budget: int) -> str:
    """The viewer, where there is one."""
    page = viewer(scenes, *budget)
    assert page is not None
    return page


def found(pattern: str, text: str) -> re.Match:
    """The first place of a pattern, which is there."""
    place = re.search(pattern, text)
    assert place is not None, pattern
    return place


def content(page: str) -> dict:
    """What the script of a page reads."""
    return json.loads(found(r'<script type="application/json" id="viewer-scenes">(.*?)</script>', page)[1])


def size(page: str) -> int:
    return sum(4 * -(-len(content) // 3) for name, content in held_content(page)[1].items() if name != "viewer-niivue")


@pytest.mark.parametrize(("window", "unit"), [(HU, "HU"), (MR, "a.u.")])
def test_volumes_come_back_to_within_half_a_quantum(window, unit):
    given = scene(window=window, unit=unit)
    (read,), payload = held_content(drawn([given]))
    assert read["shape"] == list(SHAPE)
    assert read["spacing"] == list(SPACING)
    assert read["quantum"] == (1.0 if unit == "HU" else 812.5 / 4096)
    for entry, (name, volume) in zip(read["volumes"], given.volumes.items(), strict=True):
        assert entry["name"] == name
        value = read["low"] + read["quantum"] * unpacked(payload[entry["id"]], SHAPE)
        wanted = window[0] + volume.double().numpy() * (window[1] - window[0])
        np.testing.assert_allclose(value, wanted, rtol=0, atol=0.5001 * read["quantum"])


def test_values_far_out_of_the_window_and_jumps_from_end_to_end_survive():
    volume = torch.tensor([0.0, 12.0, -12.0, 1.0, 40.0]).reshape(5, 1, 1)
    got = unpacked(packed(volume, HU, 1.0), volume.shape).ravel()
    np.testing.assert_array_equal(got, [0, 31200, -31200, 2600, 32767])


def test_the_quantum_is_the_finest_of_the_page_that_fits_the_budget():
    scenes = [
        scene(title=title, volumes={"Truth": noise(seed), "FDK": noise(9)}) for title, seed in (("a", 1), ("b", 2))
    ]
    finest = size(drawn(scenes))
    quanta = []
    for budget in (finest, finest - 1, round(0.8 * finest)):
        page = drawn(scenes, budget)
        read, _ = held_content(page)
        assert size(page) <= budget
        assert len({one["quantum"] for one in read}) == 1, "one quantum for all"
        assert [len(one["volumes"]) for one in read] == [2, 2]
        assert f"kept to {read[0]['quantum']:g} HU" in page
        quanta.append(read[0]["quantum"])
    assert quanta[0] == 1
    assert quanta[0] < quanta[1] <= quanta[2]


def test_what_does_not_fit_even_coarsely_is_left_out_from_the_end_and_said():
    shape = (8, 32, 32)
    given = scene(volumes={name: noise(i, shape) for i, name in enumerate(("Truth", "FDK", "DDS", "DDNM"))})
    budget = 2 * 4 * len(packed(noise(0, shape), HU, 32.0)) // 3 + 200
    page = drawn([given], budget)
    (read,), payload = held_content(page)
    assert [entry["name"] for entry in read["volumes"]] == ["Truth", "FDK"]
    assert set(payload) == {entry["id"] for entry in read["volumes"]} | {"viewer-niivue"}
    assert size(page) <= budget
    assert "not shown: DDS, DDNM" in page
    assert "too large" in drawn([given], 1)


def test_three_noisy_volumes_of_the_usual_size_fit_finely():
    shape = (64, 256, 256)
    noisy = torch.linspace(0.1, 0.9, 256).expand(shape) + 25 / 2600 * torch.randn(shape)  # 25 HU in every voxel
    assert 3 * len(packed(noisy, HU, 2.0)) * 4 / 3 < 24_000_000


def test_the_same_scenes_give_the_same_bytes():
    assert drawn([scene()]) == drawn([scene()])


def test_our_part_of_the_viewer_reaches_for_nothing():
    for name in ("viewer.js", "volumes.js", "viewer.css", "viewer.html"):
        text = source(name)
        assert not re.search(r"https?:|\bfetch\(|XMLHttpRequest|WebSocket|@import|url\(|\bsrc=|<link", text), name


def test_niivue_is_taken_from_its_package_as_it_stands_with_its_licence():
    page = drawn([scene()])
    package = importlib.util.find_spec("ipyniivue")
    assert package is not None and package.submodule_search_locations
    with open(f"{package.submodule_search_locations[0]}/static/widget.js", "rb") as file:
        assert zlib.decompress(held_content(page)[1]["viewer-niivue"]) == file.read()
    assert "NiiVue: Copyright (c) 2021, Niivue" in page
    assert "Redistributions in binary form" in page


def test_without_the_package_there_is_no_viewer(monkeypatch):
    assert has_niivue()
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert viewer([scene()]) is None
    assert not has_niivue()


def test_a_package_without_its_script_is_as_none(monkeypatch, tmp_path):
    spec = importlib.machinery.ModuleSpec("ipyniivue", None, is_package=True)
    spec.submodule_search_locations = [str(tmp_path)]
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: spec)
    assert viewer([scene()]) is None


def test_the_package_is_read_and_never_imported(monkeypatch):
    monkeypatch.delitem(sys.modules, "ipyniivue", raising=False)  # a widget's test may have come first
    drawn([scene()])
    assert "ipyniivue" not in sys.modules, "which would bring all of Jupyter along"


def test_the_script_reads_its_axes_and_planes_from_the_page():
    read = content(drawn([scene()]))
    assert read["axes"] == AXES
    assert list(read["planes"]) == list(PLANES)
    for name, plane in PLANES.items():
        assert read["planes"][name] == {"along": plane.along, "down": plane.rows, "across": plane.columns}
    for name in ("viewer.js", "volumes.js"):
        assert not re.search("PSNR|SSIM|LPIPS|SDiff|toFixed\\(3", source(name)), "numbers come as they are printed"


def test_the_first_range_of_values_is_what_the_pictures_show():
    assert scene().presets[0] | {"name": ""} == {"name": "", "low": -480.0, "high": 820.0}
    narrow = scene(window=(-160.0, 240.0)).presets
    assert (narrow[0]["low"], narrow[0]["high"]) == (-160.0, 240.0)
    mr = scene(window=MR, unit="a.u.").presets
    assert (mr[0]["low"], mr[0]["high"]) == MR
    lung = {one["name"]: one for one in scene().presets}["lung"]
    assert (lung["low"], lung["high"]) == (-1350.0, 150.0)


@pytest.mark.parametrize(("window", "unit"), [(HU, "HU"), (MR, "a.u.")])
def test_layers_are_in_the_page_and_their_values_are_the_volumes_(window, unit):
    layers = {"interval of 90 %": 0.1 * noise(5), "deviation": 0.02 * noise(6)}
    (read,), payload = held_content(drawn([scene(window=window, unit=unit, layers=layers)]))
    span = window[1] - window[0]
    assert [entry["name"] for entry in read["layers"]] == list(layers)
    for entry, layer in zip(read["layers"], layers.values(), strict=True):
        assert entry["quantum"] == read["quantum"] / 4
        value = entry["quantum"] * unpacked(payload[entry["id"]], SHAPE)
        np.testing.assert_allclose(value, layer.double().numpy() * span, rtol=0, atol=0.5001 * entry["quantum"])
        assert 0.5 * float(layer.max()) * span < entry["limit"] < 5 * float(layer.max()) * span
    (bare,), without = held_content(drawn([scene(window=window, unit=unit)]))
    assert bare["layers"] == [] and set(payload) - set(without) == {entry["id"] for entry in read["layers"]}


def test_a_layer_hides_more_the_larger_it_is_and_an_error_always():
    colours = content(drawn([scene()]))["colours"]
    assert set(colours["errors"]["A"]) == {255}
    assert colours["layers"]["A"][0] == 0 and colours["layers"]["A"] == sorted(colours["layers"]["A"])
    assert colours["layers"]["R"] == colours["errors"]["R"]


def test_layers_that_leave_no_room_for_the_volumes_are_left_out_and_said():
    shape = (8, 32, 32)
    given = scene(
        volumes={name: noise(i, shape) for i, name in enumerate(("Truth", "DDS"))},
        layers={"deviation": noise(7, shape)},
    )
    whole = size(drawn([given]))
    assert size(drawn([given], whole)) <= whole
    budget = round(0.7 * whole)
    page = drawn([given], budget)
    assert size(page) <= budget
    assert held_content(page)[0][0]["layers"] == [] and "not shown: deviation" in page


def test_only_a_known_truth_has_a_scale_of_errors():
    assert held_content(drawn([scene()]))[0][0]["limit"] > 0
    unknown = held_content(drawn([scene(known=False)]))[0][0]
    assert (unknown["known"], unknown["limit"]) == (False, 0)


def test_numbers_stand_beside_their_volume_and_missing_ones_are_not():
    numbers = {"DDS": {"axial": {"psnr": 31.234, "ssim": 0.91234, "lpips": None}, "sdiff": 0.1}}
    (read,), _ = held_content(drawn([scene(numbers=numbers)]))
    said = {entry["name"]: entry["metrics"] for entry in read["volumes"]}
    nothing = {"axial": [], "coronal": [], "sagittal": []}
    assert said["DDS"] == nothing | {"axial": ["PSNR 31.23 dB", "SSIM 0.912"]}
    assert said["Truth"] == said["FDK"] == nothing
    full = {quantity.name: 1 / 3 for quantity in PER_PLANE}
    (read,), _ = held_content(drawn([scene(numbers={"FDK": {"coronal": full}})]))
    wanted = [f"{quantity.title} {quantity.with_unit(1 / 3)}" for quantity in PER_PLANE]
    assert read["volumes"][1]["metrics"]["coronal"] == wanted


def test_names_cannot_break_out():
    nasty = "</script><b>&\"'"
    page = drawn([scene(title=nasty, volumes={nasty: noise()}), scene()])
    assert nasty not in page
    assert held_content(page)[0][0]["volumes"][0]["name"] == nasty


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"volumes": {}}, ["no volume"]),
        ({"volumes": {"A": noise(), "B": noise(shape=(5, 7, 8))}}, ["(5, 7, 9)", "(5, 7, 8)"]),
        ({"volumes": {"A": noise() * float("nan")}}, ["A", "not finite"]),
        ({"window": (3.0, 3.0)}, ["window", "low < high"]),
        ({"spacing": (1.0, -1.0, 1.0)}, ["spacing", "positive"]),
        ({"layers": {"spread": noise(shape=(5, 7, 8))}}, ["spread", "(5, 7, 9)", "(5, 7, 8)"]),
        ({"layers": {"spread": -noise()}}, ["spread", "below 0"]),
    ],
)
def test_bad_scenes_are_refused_in_a_sentence(change, words):
    with pytest.raises(CosliceError) as caught:
        scene(**change)
    assert all(word in str(caught.value) for word in words)


def test_no_scene_is_refused():
    with pytest.raises(CosliceError, match="no scene"):
        viewer([])
