"""The shipped recipes: every table of both papers, in an edition that runs anywhere and in the published one."""

from __future__ import annotations

import pytest

from coslice.benchmark import keyed_cells, load_benchmark, outline, shipped_benchmarks
from coslice.benchmark.definition import PRIORS, prior_key
from coslice.benchmark.recipe_content import Needed
from coslice.benchmark.recipe_file import read_recipe
from coslice.methods import KINDS, METHODS, Direct, Method, changed, find_method, setting_lines
from coslice.priors import load_prior

CT = ["FDK", "ADMM-TV, published", "DDNM", "DDNM+ISCS", "DDS", "DDS+TV", "DDS+ISCS"]
MR = ["Cubic", "ADMM-TV", *CT[2:]]
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
    "figure2": {"SVCT": CT},
    "figure3": {"MRI SR": MR},
    "figure4": {"SVCT": ["BCS", "ISCS"]},
    "figure5": {"SVCT": ["DDS", "DDS+TV", "DDS+ISCS"]},
    "figure7": {"SVCT": CT},
    "figure8": {"LACT": CT},
    "figure9": {"MRI SR": MR},
    "blend-table1": VIEWS,
    "blend-table2": {"AAPM": BLEND, "LIDC": BLEND},
    "blend-table3": 3,
    "blend-table4": 3,
    "blend-table5": {"AAPM, 8 views": NFE},
    "blend-table6": 6,
    "blend-table8": VIEWS,
    "blend-table9": VIEWS,
    "blend-table10": VIEWS,
    "blend-figure2": {"AAPM, 4 views": BLEND},
    "blend-figure3": {f"LIDC, {views} views": BLEND for views in (8, 6, 4)},
    "blend-figure6": {"LIDC": BLEND},
    "blend-figure7": {"AAPM, 8 views": ["Fixed partition", "Adjacency", "Adjacency + cross"]},
}
OURS = ("ours", "views", "noise", "pitch", "parallel", "convergence")


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
    names |= {f"{name}-{edition}" for name in OURS for edition in ("small", "scans")}
    names |= {f"dm4ct-{edition}" for edition in ("small", "paper")}
    names |= {f"{name}-{edition}" for name in ("lesions", "figure6") for edition in ("small", "scan", "paper")}
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
            assert "figure" in name or benchmark.published_of(group, row) is not None, (group, row)
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
    if "figure" not in name:
        for group, rows in benchmark.rows.items():
            assert any(benchmark.published_of(group, row) for row in rows), group
    published = published_edition(name)
    for group, rows in benchmark.rows.items():
        kind = benchmark.groups[group].kind
        assert all(kind in (row.method.kinds or KINDS) for row in rows.values())
    assert {row.method.name for rows in benchmark.rows.values() for row in rows.values()} == {
        row.method.name for rows in published.rows.values() for row in rows.values()
    }


def cells_of(name):
    return set(keyed_cells(load_benchmark(f"{name}-small")).values())


@pytest.mark.parametrize(
    ("figure", "table"),
    [("figure2", "table1"), ("figure3", "table1"), ("figure4", "table2"), ("figure7", "figure2"), ("figure8", "table1")]
    + [("figure9", "figure3"), ("figure6", "lesions"), ("blend-figure2", "blend-table1")]
    + [("blend-figure3", "blend-table1"), ("blend-figure6", "blend-table2"), ("blend-figure7", "blend-table4")],
)
def test_figures_of_slices_cost_no_cell_beyond_those_of_their_table(figure, table):
    assert cells_of(figure) <= cells_of(table) and load_benchmark(f"{figure}-small").drawings.pictures


def test_lesions_are_in_pairs_of_groups_and_those_without_are_of_table_1():
    benchmark = load_benchmark("lesions-small")
    assert benchmark.partners == {"1 mm, lesions": "1 mm", "5 mm, lesions": "5 mm"}
    keys = {(cell.group, cell.row): key for cell, key in keyed_cells(benchmark).items()}
    assert {keys["1 mm", row] for row in ("FDK", "ADMM-TV", "DDS+TV", "DDS", "DDS+ISCS")} <= cells_of("table1")


def test_published_editions_have_the_published_settings():
    """ISCS section 4.1, A.3: 30 evaluations from 5 to 0.01, 10 CG iterations; MR 20 and 1. DiffusionBlend A.5."""
    table1 = published_edition("table1")
    for group, steps, iterations in (("SVCT", 30, 10), ("LACT", 30, 10), ("MRI SR", 20, 1)):
        found = settings(table1.rows[group]["DDS+ISCS"])
        assert [found[f"schedule.{name}"] for name in ("steps", "sigma_max", "sigma_min")] == [steps, 5, 0.01]
        assert (found["data.iterations"], found["data.rounds"]) == (iterations, 0)
        assert (found["renoising.eta"], found["renoising.temperature"]) == (1, 1)
        assert (found["noise"], found["schedule"]) == ("iscs", "geometric")
    published = {"weight": 3, "penalty": 50, "iterations": 30, "cg_iterations": 20, "scale": "voxels", "axes": "yx"}
    for group in ("SVCT", "LACT"):
        found = settings(table1.rows[group]["ADMM-TV, published"])
        assert published.items() <= {path.removeprefix("solution."): value for path, value in found.items()}.items()
        assert (found["solution.isotropic"], found["solution.periodic"]) == (False, True)
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
    assert settings(blend.rows["LIDC, 8 views"]["DiffusionMBIR"])["schedule.steps"] == 4000
    for edition, group, ratio in ((blend, "LIDC, 8 views", 2), (published_edition("table4"), "L506 (1mm)", 2.7)):
        found = settings(edition.rows[group]["TPDM"])
        assert (found["schedule.steps"], found["schedule.sigma_max"]) == (4000, 378)
        assert (found["renoising"], found["renoising.carried"]) == ("predictor-corrector", "mean")
        assert (found["data"], found["data.step"], found["data.planes"]) == ("update-guidance", 0.5, "primary")
        assert (found["prior.auxiliary_every"], found["start.volume"]) == (ratio, "noise")
    assert [len(published_edition(name).seeds) for name in ("table2", "table8")] == [5, 10]


@pytest.mark.parametrize("edition", ["small", "paper"])
def test_rows_end_as_the_published_code_does(edition):
    """ISCS's DDS for CT calls its network once more, its DDNM gives the last image and starts from SIRT; for thick
    slices both end with their data step. DiffusionMBIR ends with a step of Kaczmarz. DDS and DiffusionBlend put no
    noise back before t = 0, in the published editions."""

    def rows(name):
        benchmark = load_benchmark(f"{name}-small") if edition == "small" else published_edition(name)
        for group, found in benchmark.rows.items():
            for row in found.values():
                if not isinstance(row.method, Direct):
                    yield benchmark.groups[group].kind, row.method.name, settings(row)

    for name in (*(f"table{n}" for n in range(1, 10)), "figure5"):
        for kind, method, found in rows(name):
            expected = {"dds": "denoised-estimate", "dds-tv": "denoised-estimate", "ddnm": "denoised"}.get(method)
            assert found["end"] == ("estimate" if kind == "zsr" or expected is None else expected)
            if method == "ddnm":
                start = [found.get(f"start.solution{name}") for name in ("", ".iterations")]
                assert start == (["sirt", found["data.sirt_iterations"]] if kind == "ct" else [None, None])
    for name in (f"blend-table{n}" for n in (1, 2, 3, 4, 5, 6, 8, 9, 10)):
        for _, method, found in rows(name):
            assert found["end"] == ("kaczmarz" if method == "diffusion-mbir" else "estimate")
            last = edition == "paper" and method in ("dds-2d", "dds-3d", "diffusionblend", "diffusionblend++")
            assert found["renoising.quiet"] == last


@pytest.mark.parametrize("name", PAPERS)
def test_published_networks_know_the_noise_levels_of_published_editions(checkpoints, name):
    """VE: NCSN++, 0.01 to 378; VP: guided diffusion, all of its 1000 steps, in the range that it saw. What a recipe
    asks for says which."""
    ranges = {}
    files = {"VE": checkpoints / "ncsnpp_tiny.pth", "VP": checkpoints / "adm_tiny.pt"}
    content = read_recipe(f"{name}-paper").content
    needed = {key: value for key, value in content.priors.items() if isinstance(value, Needed)}
    benchmark = published_edition(name)
    for group, rows in benchmark.rows.items():
        kind = benchmark.groups[group].kind
        for method in (row.method for row in rows.values()):
            if isinstance(method, Direct):
                continue
            first, levels = prior_key(needed, benchmark.groups[group], method), method.schedule
            for key in [first] + [f"{kind}.planes.auxiliary"] * (method.need == "planes"):
                (family,) = (family for family in files if family in needed[key].needs)
                saw = needed[key].shown.input_range
                if (family, saw) not in ranges:
                    ranges[family, saw] = load_prior(files[family], plane="yx", window="ct", input_range=saw)
                ranges[family, saw].check((64, 64, 64), levels.sigma_max, levels.sigma_min)


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
