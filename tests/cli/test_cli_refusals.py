"""What `coslice reconstruct` refuses: in one sentence, with exit code 2, before a folder is made."""

from typing import Any

import pytest
from typer.main import get_command

from coslice.cli.app import app
from coslice.cli.renamed import FORMER_OPTIONS
from coslice.methods import KINDS, methods_for, setting_lines


def test_priors_that_do_not_fit_the_method_are_refused_in_one_sentence(
    refused, scan, tiny_prior, saved_patch_prior, saved_second_prior, tiny_coronal_prior, tmp_path
):
    for method, prior, second, words in (
        ("dds-2d", saved_patch_prior, None, "patches of 3 slices"),
        ("diffusionblend", tiny_prior, None, "denoises single slices"),
        ("diffusionblend++", tiny_prior, None, "coslice train SCANS --slices 3"),
        ("diffusionblend++", saved_patch_prior, tiny_prior, "leave it out"),
        ("dds", tiny_prior, saved_second_prior, "leave it out"),
        ("fdk", tiny_prior, None, "leave it out"),
        ("tpdm", tiny_prior, tiny_prior, "both of plane yx"),
        ("tpdm-cg", tiny_prior, saved_patch_prior, "patches of 3 slices"),
        ("tpdm", tiny_prior, tiny_coronal_prior, "which sees the window of MR"),
    ):
        options = ["--method", method, "--prior", prior] + ([] if second is None else ["--auxiliary-prior", second])
        said = refused("reconstruct", scan, *options, "--views", 8, "--out", tmp_path / "out")
        assert words in said, said
        assert not (tmp_path / "out").exists()


def test_fbp_unet_knows_the_tasks_it_was_trained_for(coslice, refused, scan, tmp_path):
    command = ["reconstruct", scan, "--method", "fbp-unet", "--slices", "2:13"]
    said = refused(*command, "--views", 7, "--out", tmp_path / "out")
    assert "svct-cone-7" in said and "svct-cone-30" in said and "coslice train" in said
    assert not (tmp_path / "out").exists()
    code, _, error = coslice(*command, "--out", tmp_path / "out")
    assert code == 0, error
    assert "FBP-UNet" in (tmp_path / "out" / "report.html").read_text("utf-8")
    assert "no noise" in refused(*command[:2], "--prior", "ct-fbp-unet", "--out", tmp_path / "other")


def test_where_no_prior_comes_with_coslice_one_must_be_named(refused, head, tiny_coronal_prior, tmp_path):
    zsr = ["reconstruct", head, "--task", "zsr", "--out", tmp_path / "out"]
    assert "no prior was given, and none of patches comes" in refused(*zsr, "--method", "diffusionblend++")
    said = refused(*zsr, "--method", "tpdm", "--prior", tiny_coronal_prior)
    assert "no auxiliary prior was given, and none of planes comes" in said


def settings(*texts):
    return [word for text in texts for word in ("--set", text)]


REFUSED_OF_ANY_SCAN = [
    (["--task", "pet"], "tasks are svct"),
    (["--method", "magic"], "methods are wblend"),
    (["--noise", "pink"], "noise is 'pink', but it is one of independent"),
    (settings("start.noise=pink"), "start.noise is 'pink', but it is one of independent"),
    (settings("renoising=magic"), "one of share"),
    (settings("start.volume=middle"), "initial"),
    (["--prior", "mr-of-mars"], "neither an embedded prior"),
    (["--device", "toaster"], "toaster"),
    (["--slices", "5:5"], "16 slices"),
    (["--slices", "10:17"], "16 slices"),
    (["--slices", "-3:4"], "16 slices"),
    (["--slices", "ten"], "FIRST:LAST"),
    (["--size", 6], "at least 7"),
    (["--slices", "4:10"], "6 x "),
    (["--size", 0], "positive number"),
    (["--spacing", 0], "positive number"),
    (["--spacing", "inf"], "positive number"),
    (["--thickness", 0.5], "one slice"),
    (["--thickness", 1000], "all of them"),
    (["--pad", 8], "not below"),
    (["--steps", 0], "steps 0 was given"),
    (["--samples", 0], "samples: 0"),
    (settings("renoising.eta=1.5"), "eta 1.5"),
    (settings("schedule.sigma_min=0"), "sigma_min 0"),
    (settings("schedule.sigma_max=100"), "trained for"),
    (settings("schedule.sigma_max=0.0001", "schedule.sigma_min=0.0001"), "trained for"),
    (settings("data.iterations=0"), "at least 1"),
    (["--method", "ddnm", *settings("data.sirt_iterations=0")], "at least 1"),
    (settings("data.sirt_iterations=5"), "data has no setting of that name"),
    (["--method", "sirt"], "leave it out"),
    (["--spacing", 0.001], "voxels would come"),
    (["--method", "dds", *settings("data.gamma=-1")], "above 0"),
    (["--method", "ddnm", *settings("data.gamma=1")], "it has rounds, sirt_iterations"),
    (["--method", "dps", *settings("data.step=-1")], "at least 0"),
    (["--method", "dds-tv", *settings("data.penalty=0")], "above 0"),
    (["--method", "dds-tv", *settings("data.weight=-1")], "at least 0"),
    (["--method", "diffpir", *settings("data.weight=0")], "above 0"),
    (["--method", "diffusion-mbir", *settings("renoising=ddim")], "corrector"),
    (settings("schedule=cosine"), "one of geometric"),
    (["--method", "diffusionblend++", *settings("prior.partition=odd")], "random or fixed"),
    (["--method", "diffusionblend++", *settings("prior.cross_every=-1")], "cross_every -1"),
    (["--method", "tpdm", *settings("prior.auxiliary_every=1")], "auxiliary_every 1"),
    (settings("prior.ends=repeat"), "it has arithmetic"),
    (settings("noise.angle=180"), "between 0 and 180"),
    (["--noise", "independent", *settings("noise.angle=40")], "noise has no setting of that name"),
    (settings("iterations"), "NAME=VALUE is needed"),
    (settings("cg_iterations=5"), "did you mean data.iterations?"),
    (settings("data.iterations=5", "data.iterations=6"), "given twice"),
    (settings("data={iterations: 5}", "data.gamma=2"), "as a whole and in parts"),
    (["--electronic-noise", 5], "without photons"),
    (["--measurement-noise", 0.1, "--photons", 1e5], "choose one"),
    (["--measurement-noise", 0], "positive number"),
    (["--photons", 0], "0 photons"),
]
REFUSED_OF_CT = [
    (["--factor", 5], "factor 5"),
    (["--fwhm", 5], "fwhm 5"),
    (["--from-measurement"], "choose --task zsr"),
    (["--method", "cubic"], "not for this task"),
    (["--views", 0], "views 0"),
    (["--views", -4], "views -4"),
    (["--angle", 90], "angle 90 was given, but it belongs to lact"),
    (["--task", "lact", "--angle", 0], "0 degrees"),
]
REFUSED_OF_ZSR = [
    (["--views", 30], "views 30"),
    (["--angle", 90], "angle 90"),
    (["--beam", "cone"], "beam cone"),
    (["--photons", 1e5], "photons"),
    (["--method", "fdk"], "not for this task"),
    (["--factor", 1], "factor 1"),
    (["--factor", 0], "factor 0"),
    (["--factor", 17], "16 slices were given"),
    (["--fwhm", 0], "fwhm_mm 0 mm"),
    (["--fwhm", -1], "fwhm_mm -1 mm"),
    (["--fwhm", 1e6], "at most 10"),
    (["--from-measurement"], "nothing to gain"),
    (["--from-measurement", "--measurement-noise", 0.1], "has its own"),
    (["--from-measurement", "--thickness", 3], "thickness: it was given for a real measurement"),
    (["--from-measurement", "--pad", 64], "pad: it was given for a real measurement"),
    (["--from-measurement", "--factor", 2, "--size", 2], "size: 2 was given"),
    (["--from-measurement", "--factor", 2, "--slices", "3:4"], "at least 4 x 4"),
]


@pytest.mark.parametrize(
    ("task", "options", "words"),
    [
        *(("svct", *case) for case in REFUSED_OF_ANY_SCAN + REFUSED_OF_CT),
        *(("zsr", *case) for case in REFUSED_OF_ANY_SCAN[3:] + REFUSED_OF_ZSR),
    ],
)
def test_bad_options_are_refused_in_one_sentence(refused, request, tmp_path, task, options, words):
    out = tmp_path / "out"
    said = refused(*request.getfixturevalue(task), *options, "--out", out)
    assert words in said
    assert not out.exists()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (None, "there is no file"),
        ("MINE = 3", "MINE in that file is no method"),
        ("OTHER = 3", "MINE in that file is no method"),
        ("import nothing_of_the_kind", "cannot be run (ModuleNotFoundError"),
    ],
)
def test_a_file_without_a_method_is_refused(refused, svct, tmp_path, text, words):
    path = tmp_path / f"own_{len(text or '')}.py"
    if text is not None:
        path.write_text(text)
    said = refused(*svct, "--method", f"{path}:MINE", "--out", tmp_path / "out")
    assert words in said and not (tmp_path / "out").exists()


FORMER = """
    anchor-angle auxiliary-every cg-iterations cross-every data-weight ends eta gamma guidance partition patch-noise
    renoising rounds schedule sigma-max sigma-min sirt-iterations start-from start-noise temperature tv-penalty
    tv-weight
"""


@pytest.mark.parametrize("option", [f"--{name}" for name in FORMER.split()])
def test_a_former_option_is_answered_with_its_new_form(refused, scan, option, tmp_path):
    """Whichever way it is written; and the new form names a setting that there is."""
    for words in ([option, 5], [f"{option}=5"]):
        said = refused("reconstruct", scan, *words, "--out", tmp_path / "out")
        assert f"the option {option} is now --set " in said
    known = {line.path for kind in KINDS for method in methods_for(kind).values() for line in setting_lines(method)}
    new = FORMER_OPTIONS["reconstruct"][option].replace("(of ", "").replace(")", "")
    paths = [word.partition("=")[0].rstrip(":") for word in new.split() if "." in word or "=" in word]
    assert paths and all(path in known for path in paths), paths


def test_the_attenuation_of_air_is_now_said_with_that_of_water(refused, scan, tmp_path):
    assert "the option --air is now --water WATER:AIR" in refused("reconstruct", scan, "--air", 0, "--out", tmp_path)


def test_the_former_options_are_no_options_and_no_other_ones_are():
    commands: Any = get_command(app)
    options = {text for item in commands.commands["reconstruct"].params for text in item.opts}
    assert set(FORMER_OPTIONS["reconstruct"]) == {"--air", *(f"--{name}" for name in FORMER.split())}
    assert not options & set(FORMER_OPTIONS["reconstruct"]) and len(options) <= 55 + 1  # and the scan itself


def test_words_that_no_command_takes_are_answered_with_where_to_look(refused, scan, tmp_path):
    assert "Missing argument 'scan'; see coslice reconstruct --help." in refused("reconstruct", "--out", tmp_path)
    assert "see coslice reconstruct --help" in refused("reconstruct", scan, "--steps", "many", "--out", tmp_path)
    assert "Did you mean 'reconstruct'?" in refused("reconstrcut", scan)


def test_an_unknown_option_is_answered_with_the_nearest(refused, scan, tmp_path):
    said = refused("reconstruct", scan, "--slice", "2:9", "--out", tmp_path / "out")
    assert "reconstruct: there is no option --slice; did you mean --slices?" in said
    assert "see coslice evaluate --help" in refused("evaluate", scan, scan, "--quarrel", "5")
