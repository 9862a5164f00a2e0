"""The recipe of DM4CT measures what DM4CT measures."""

import math
import re
from dataclasses import replace

import pytest

from coslice.benchmark import load_benchmark
from coslice.benchmark.cell_keys import keyed_cells
from coslice.benchmark.recipe_content import Group, Needed
from coslice.benchmark.recipe_file import read_recipe
from coslice.errors import CosliceError
from coslice.methods import METHODS, setting_lines
from coslice.problems import LimitedAngleCT, SparseViewCT, TransmissionNoise

# Configurations i to v of Shi et al., ICLR 2026, as their code and its README have them.
CONFIGURATIONS = {
    "40 views": SparseViewCT("parallel", 40),
    "20 views, noise": SparseViewCT("parallel", 20, noise=TransmissionNoise(1e4, transmission=0.5)),
    "80 views, more noise": SparseViewCT("parallel", 80, noise=TransmissionNoise(5e3, transmission=0.5)),
    "80 views, noise and rings": SparseViewCT(
        "parallel", 80, noise=TransmissionNoise(1e4, transmission=0.5, bad_pixels=0.05, bad_pixel_sd=0.25)
    ),
    "40 views of 135 degrees": LimitedAngleCT("parallel", 40, 135.0),
}
THEIRS, OURS = ("FBP", "SIRT", "ADMM-TV", "DPS", "DDS"), ("DDS + ISCS", "WDDS + ISCS", "WBlend")


def edition(name):
    content = read_recipe(f"dm4ct-{name}").content
    scans = {key: "scan.nii.gz" for key, scan in content.scans.items() if scan.file is None}
    priors = {key: "prior.pth" for key, value in content.priors.items() if isinstance(value, Needed)}
    return load_benchmark(f"dm4ct-{name}", scans, priors)


@pytest.mark.parametrize("name", ["small", "paper"])
def test_its_groups_are_the_five_configurations_and_its_rows_what_both_have_and_ours(name):
    benchmark = edition(name)
    assert {title: group.measurement(0) for title, group in benchmark.groups.items()} == CONFIGURATIONS
    for group, rows in benchmark.rows.items():
        assert set(THEIRS + OURS) <= set(rows)
        assert ("DDS + ISCS, trust" in rows) == (CONFIGURATIONS[group].noise is not None)
        assert "cgls" in {row.method.name for row in rows.values()} <= set(METHODS)
    assert not benchmark.published, "numbers of other scans and networks stand nowhere beside ours"


def test_the_limited_angle_is_forty_views_of_three_quarters_of_half_a_turn():
    angles = CONFIGURATIONS["40 views of 135 degrees"].angles
    assert len(angles) == 40 and max(angles) - min(angles) < math.radians(135) <= max(angles) + angles[1] - angles[0]


def test_the_small_edition_has_eight_embedded_slices_and_the_paper_edition_the_published_sampling():
    small, paper = edition("small"), edition("paper")
    ((scan,), (cells,)) = small.scans.values(), {len(small.cells())}
    assert scan.embedded and scan.slices == "28:36" and not small.priors and cells == 5 * 11 + 3
    assert (small.protocol.name, paper.protocol.name) == ("unit", "dm4ct")
    for row, steps, eta in (("DPS", 1000, 1), ("DDS", 100, 0.85)):
        found = {line.path: line.value for line in setting_lines(paper.rows["40 views"][row].method)}
        assert [found[f"schedule.{name}"] for name in ("steps", "sigma_max", "sigma_min")] == [steps, 78.7, 0.00501]
        assert (found["renoising"], found["renoising.eta"], found["start.volume"]) == ("ddim", eta, "noise")
    assert found["data.iterations"] == 5


def test_a_group_may_name_the_intensities_that_are_0_and_1_and_its_cells_are_others(tree, saved):
    few = tree["groups"]["few"]
    usual, wide = (
        keyed_cells(load_benchmark(str(saved(tree | {"groups": {"few": few | more}}, name))))
        for name, more in (("usual", {}), ("wide", {"intensities": "-1024:3071"}))
    )
    assert not set(usual.values()) & set(wide.values())
    group = Group("chest", intensities="-1024:3071")
    assert (group.window, replace(group, intensities=None).window) == ("-1024:3071", "ct")
    with pytest.raises(CosliceError, match="LOW:HIGH"):
        Group("chest", intensities="wide")


def test_the_recipe_with_their_window_on_the_page_is_one(request, tmp_path):
    page = (request.config.rootpath / "docs" / "dm4ct.md").read_text(encoding="utf-8")
    (block,) = re.findall(r"```yaml\n(.*?)```", page, re.DOTALL)
    (tmp_path / "lodo.yaml").write_text(block)
    named = ({"chest": "scan.nii.gz"}, {"ct.slices": "prior.pth"})
    benchmark = load_benchmark(f"{tmp_path / 'lodo.yaml'}:paper", *named)
    assert benchmark.protocol.name == "dm4ct" and not benchmark.published
    for title, group in benchmark.groups.items():
        assert group.window == "-1024:3071" and group.measurement(0) == CONFIGURATIONS[title]
        assert benchmark.rows[title]["DPS"] == edition("paper").rows[title]["DPS"]


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"transmission": 0.5}, "transmission 0.5 was given without photons"),
        ({"photons": 1e4, "bad_pixels": 0.05}, "without a transmission"),
        ({"photons": 1e4, "transmission": 0.5, "bad_pixels": 0.05}, "give both or neither"),
    ],
)
def test_half_a_noise_is_refused(given, words):
    with pytest.raises(CosliceError, match=words):
        Group("chest", beam="parallel", views=8, **given).measurement(0)
