"""The shipped recipes: every table of both papers, in an edition that runs anywhere and in the published one."""

from __future__ import annotations

import pytest

from coslice.benchmark import load_benchmark, outline, shipped_benchmarks
from coslice.benchmark.definition import PRIORS, prior_key
from coslice.benchmark.recipe_content import Needed
from coslice.benchmark.recipe_file import read_recipe
from coslice.methods import KINDS, METHODS, Direct, Method, changed, find_method, setting_lines
from coslice.priors import load_prior

CT = ["FDK", "ADMM-TV", "DDNM", "DDNM+ISCS", "DDS", "DDS+TV", "DDS+ISCS"]
MR = ["Cubic", *CT[1:]]
THREE_D = ["DDS", "DDS+ISCS", "TPDM", "DiffusionBlend"]
BLEND = ["FBP", "FBP-UNet", "DiffusionMBIR", "TPDM", "DDS 2D", "DDS", "DiffusionBlend", "DiffusionBlend++"]
VIEWS = {f"{data}, {views} views": BLEND for data in ("AAPM", "LIDC") for views in (8, 6, 4)}
NFE = [f"{method}, {nfe} NFE" for method in ("DDS", "DiffusionBlend++") for nfe in (50, 100, 200, 334)]
# The rows of every table, by group, as the papers have them.
PAPERS = {
    "table1": {"SVCT": CT, "LACT": CT, "MRI SR": MR},
    "table2": {"SVCT": ["BCS", "ISCS"]},
    "table3": {"SVCT": CT, "LACT": CT, "MRI SR": MR},
    "table4": {"L506 (1mm)": THREE_D, "L221 (5mm)": THREE_D},
    "table5": {"L506 (1mm)": THREE_D, "L221 (5mm)": THREE_D},
    "table6": 2,
    "table7": 11,
    "table8": 6,
    "table9": {thickness: ["DDS", "DDS+ISCS"] for thickness in ("3mm", "5mm", "7.5mm")},
    "figure5": {"SVCT": ["DDS", "DDS+TV", "DDS+ISCS"]},
    "blend-table1": VIEWS,
    "blend-table2": {"AAPM": BLEND, "LIDC": BLEND},
    "blend-table3": 3,
    "blend-table4": 3,
    "blend-table5": {"AAPM, 8 views": NFE},
    "blend-table6": 6,
    "blend-table8": VIEWS,
    "blend-table9": VIEWS,
    "blend-table10": VIEWS,
}


def published_edition(name):
    """A paper edition, all that the user must name being named."""
    content = read_recipe(f"{name}-paper").content
    scans = {key: "scan.nii.gz" for key, scan in content.scans.items() if scan.file is None}
    priors = {key: "prior.pth" for key, value in content.priors.items() if isinstance(value, Needed)}
    return load_benchmark(f"{name}-paper", scans, priors)


def settings(row):
    """All of a row's method by path."""
    return {line.path: line.value for line in setting_lines(row.method)}


def test_every_table_is_shipped_in_both_editions_and_listed(coslice):
    names = {f"{name}-{edition}" for name in PAPERS for edition in ("small", "paper")}
    names |= {"ours-small", "ours-scans"}
    assert set(shipped_benchmarks()) == names
    code, said, _ = coslice("benchmark")
    assert code == 0 and names <= set(said.split())


def test_one_command_puts_ours_beside_the_published_methods_on_two_tasks_and_three_scans():
    scans: dict[str, str] = dict.fromkeys(("first", "second", "third"), "scan.nii.gz")
    benchmark = load_benchmark("ours-scans", scans)
    measured = {(group.scan, group.beam or "cone") for group in benchmark.groups.values()}
    assert measured == {(scan, beam) for scan in scans for beam in ("cone", "parallel")}


@pytest.mark.parametrize("name", PAPERS)
def test_the_published_edition_has_every_row_of_the_paper_and_its_numbers(name):
    benchmark, wanted = published_edition(name), PAPERS[name]
    if isinstance(wanted, int):
        (rows,) = benchmark.published.values()
        assert len(rows) == wanted
        wanted = {group: list(rows) for group, rows in benchmark.published.items()}
    for group, rows in wanted.items():
        for row in rows:
            assert row in benchmark.rows[group], (group, row)
            assert name == "figure5" or benchmark.published_of(group, row) is not None, (group, row)
    for group, rows in benchmark.published.items():
        assert set(rows) <= set(benchmark.rows[group]), "a number that no row shows"
        for row, values in rows.items():
            for metric, value in zip(benchmark.metrics, values, strict=True):
                mean = value[0] if isinstance(value, tuple) else value
                if mean is None:
                    assert row == "TPDM", "only TPDM lacks numbers"
                elif metric.title in ("SSIM", "LPIPS", "SSIM std"):
                    assert 0 < mean < 1
                elif metric.title == "PSNR":
                    assert 2 < mean < 45


@pytest.mark.parametrize("name", PAPERS)
def test_the_small_edition_needs_nothing_and_shows_published_numbers_beside_its_rows(name):
    benchmark = load_benchmark(f"{name}-small")
    assert benchmark.about and benchmark.cells()
    for scan in benchmark.scans.values():
        assert str(scan.file).startswith("embedded:")
    assert not benchmark.priors, "the embedded ones"
    if name != "figure5":
        for group, rows in benchmark.rows.items():
            assert any(benchmark.published_of(group, row) for row in rows), group
    published = published_edition(name)
    for group, rows in benchmark.rows.items():
        kind = benchmark.groups[group].kind
        assert all(kind in (row.method.kinds or KINDS) for row in rows.values())
    assert {row.method.name for rows in benchmark.rows.values() for row in rows.values()} == {
        row.method.name for rows in published.rows.values() for row in rows.values()
    }


def test_published_editions_have_the_published_settings():
    """ISCS section 4.1, A.3: 30 evaluations from 5 to 0.01, 10 CG iterations; MR 20 and 1. DiffusionBlend A.5."""
    table1 = published_edition("table1")
    for group, steps, iterations in (("SVCT", 30, 10), ("LACT", 30, 10), ("MRI SR", 20, 1)):
        found = settings(table1.rows[group]["DDS+ISCS"])
        assert [found[f"schedule.{name}"] for name in ("steps", "sigma_max", "sigma_min")] == [steps, 5, 0.01]
        assert (found["data.iterations"], found["data.rounds"]) == (iterations, 0)
        assert (found["renoising.eta"], found["renoising.temperature"]) == (1, 1)
        assert (found["noise"], found["schedule"]) == ("iscs", "geometric")
    blend = published_edition("blend-table1")
    # DDS's network saw images in [0, 1]: its first noise level is sqrt((1 - abar) / abar) = 157.4, not half of it.
    for row, highest in (("DDS", 157.4), ("DiffusionBlend++", 78.7)):
        levels = blend.rows["AAPM, 8 views"][row].method
        assert isinstance(levels, Method) and levels.schedule.sigma_max == highest
    for row, steps in (("DiffusionBlend++", 200), ("DiffusionBlend", 200), ("DDS", 100), ("DDS 2D", 100)):
        found = settings(blend.rows["LIDC, 8 views"][row])
        assert (found["schedule.steps"], found["renoising.eta"]) == (steps, 0.85)
        assert (found["data.iterations"], found["schedule"]) == (5, "vp")
        assert (found["start.volume"], found["renoising.temperature"]) == ("noise", 1)
    for row in ("DiffusionMBIR", "TPDM"):
        assert settings(blend.rows["LIDC, 8 views"][row])["schedule.steps"] == 2000
    assert [len(published_edition(name).seeds) for name in ("table2", "table8")] == [5, 10]


@pytest.mark.parametrize("name", PAPERS)
def test_published_networks_know_the_noise_levels_of_published_editions(checkpoints, name):
    """VE: NCSN++, 0.01 to 378; VP: guided diffusion, all of its 1000 steps, in the range that it saw. What a recipe
    asks for says which."""
    files = {"VE": checkpoints / "ncsnpp_tiny.pth", "VP": checkpoints / "adm_tiny.pt"}
    content = read_recipe(f"{name}-paper").content
    needed = {key: value for key, value in content.priors.items() if isinstance(value, Needed)}
    benchmark = published_edition(name)
    for group, rows in benchmark.rows.items():
        kind = benchmark.groups[group].kind
        for method in (row.method for row in rows.values()):
            if isinstance(method, Direct):
                continue
            first, levels = prior_key(needed, kind, method), method.schedule
            for key in [first] + [f"{kind}.planes.auxiliary"] * (method.need == "planes"):
                (family,) = (family for family in files if family in needed[key].needs)
                saw = needed[key].shown.input_range
                prior = load_prior(files[family], plane="yx", window="ct", input_range=saw)
                prior.check((64, 64, 64), levels.sigma_max, levels.sigma_min)


@pytest.mark.parametrize("name", PAPERS)
def test_what_a_page_says_of_a_row_is_the_row(name):
    for benchmark in (published_edition(name), load_benchmark(f"{name}-small")):
        for group, rows in outline(benchmark)["rows"].items():
            for row, said in rows.items():
                chosen = benchmark.rows[group][row]
                assert said.pop("lpips", False) == chosen.lpips
                usual = find_method(said.pop("method"), benchmark.groups[group].kind)
                assert changed(usual, said) == chosen.method


def test_priors_are_named_for_what_methods_need():
    methods = [method for method in METHODS.values() if method.need]
    needed = {f"{kind}.{method.need}" for method in methods for kind in method.kinds or KINDS}
    assert needed | {f"{name}.auxiliary" for name in needed if name.endswith(("planes", "relay"))} == set(PRIORS)
