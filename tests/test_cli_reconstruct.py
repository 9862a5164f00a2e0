"""`coslice reconstruct`: what it leaves behind, where it puts it, that seeds decide, and what it refuses."""

import json

import nibabel
import numpy as np
import pytest
import torch

from coslice.io.nifti import read_nifti, write_nifti


@pytest.fixture
def svct(scan, tiny_prior):
    """Arguments of a CT reconstruction that takes a second."""
    return ["reconstruct", scan, "--prior", tiny_prior, "--steps", 3, "--views", 8]


@pytest.fixture
def zsr(head, tiny_coronal_prior):
    """The same for super-resolution."""
    return ["reconstruct", head, "--task", "zsr", "--prior", tiny_coronal_prior, "--steps", 3]


@pytest.fixture
def thick_scan(head, tmp_path):
    """A real scan with 4 slices of 4 mm, as far as the command can know."""
    thin = read_nifti(head)
    path = tmp_path / "thick.nii.gz"
    write_nifti(thin.with_thick_slices(thin.data.unflatten(0, (4, 4)).mean(1), 4), path)
    return path


def test_a_reconstruction_leaves_everything_promised(coslice, svct, scan, tmp_path):
    out = tmp_path / "out"
    code, said, _ = coslice(*svct, "--slices", "2:14", "--out", out)
    assert code == 0 and "DDS + ISCS" in said
    assert sorted(p.name for p in out.iterdir()) == [
        "comparison.png",
        "initial.nii.gz",
        "metrics.json",
        "reconstruction.nii.gz",
        "report.html",
        "run.json",
        "truth.nii.gz",
    ]
    original = nibabel.load(scan)
    for name in ("reconstruction", "initial", "truth"):
        image = nibabel.load(out / f"{name}.nii.gz")
        assert nibabel.aff2axcodes(image.affine) == nibabel.aff2axcodes(original.affine)
        np.testing.assert_allclose(image.affine @ (0, 0, 0, 1), original.affine @ (0, 0, 2, 1), atol=1e-4)
        assert image.shape == (32, 32, 12)
    np.testing.assert_array_equal(nibabel.load(out / "truth.nii.gz").get_fdata(), original.get_fdata()[:, :, 2:14])
    metrics = json.loads((out / "metrics.json").read_text())
    assert set(metrics) == {"reconstruction", "initial"}
    for values in metrics.values():
        assert set(values) == {"axial", "coronal", "sagittal", "sdiff", "sdiff_truth", "sdiff_delta", "sdiff_gap"}
        assert set(values["axial"]) == {"psnr", "ssim", "lpips"}
    run = json.loads((out / "run.json").read_text())
    assert run["study"]["views"] == 8 and run["study"]["slices"] == [2, 14]
    assert run["recipes"]["reconstruction"]["noise"] == "iscs"
    assert [step["step"] for step in run["trajectory"]["reconstruction"]] == [0, 1, 2]
    assert {"initial", "preparation", "prior", "fidelity", "renoising"} <= set(run["seconds"]["reconstruction"])
    assert "patient" not in json.dumps(run).lower()


def test_super_resolution_with_a_remainder_says_so_and_keeps_the_grid(coslice, zsr, head, tmp_path):
    """16 slices are 3 thick ones and a rest of 1, to which 4 are reflected."""
    out = tmp_path / "out"
    code, said, error = coslice(*zsr, "--out", out)
    assert code == 0, error
    assert "16 slices are no multiple of 5" in said and "4 are reflected" in said
    original = nibabel.load(head)
    for name in ("reconstruction", "initial", "truth"):
        image = nibabel.load(out / f"{name}.nii.gz")
        np.testing.assert_allclose(image.affine, original.affine, atol=1e-5)
        assert image.shape == original.shape
    thick, truth = read_nifti(out / "measurement.nii.gz"), read_nifti(head)
    assert thick.shape == (4, 24, 20) and thick.spacing == pytest.approx((5.0, 1.5, 1.5))
    np.testing.assert_allclose(thick.affine @ (0, 0, -0.5, 1), truth.affine @ (0, 0, -0.5, 1), atol=1e-5)
    np.testing.assert_allclose(thick.affine @ (0, 0, 2.5, 1), truth.affine @ (0, 0, 14.5, 1), atol=1e-5)
    # The window's upper end clips the brightest thousandth of the voxels.
    np.testing.assert_allclose(thick.data[1].numpy(), truth.data[5:10].mean(0).numpy(), atol=1.0)
    code, said, _ = coslice(*zsr, "--slices", "1:16", "--out", tmp_path / "whole")
    assert code == 0 and "no multiple" not in said


def test_a_thick_scan_comes_out_thin_over_the_same_patient(coslice, zsr, thick_scan, head, tmp_path):
    out = tmp_path / "out"
    arguments = ["reconstruct", thick_scan, *zsr[2:]]
    code, said, error = coslice(*arguments, "--from-measurement", "--factor", 4, "--out", out)
    assert code == 0, error
    assert "4 mm to 1 mm" in said and "PSNR" not in said
    assert not (out / "truth.nii.gz").exists() and not (out / "metrics.json").exists()
    original, image = nibabel.load(head), nibabel.load(out / "reconstruction.nii.gz")
    assert image.shape == original.shape
    np.testing.assert_allclose(image.affine, original.affine, atol=1e-5)
    # Four thin voxels fill a thick one and have its mean, where nothing was clipped at the ends of the window.
    thin, thick = (read_nifti(path).data for path in (out / "reconstruction.nii.gz", thick_scan))
    groups = thin.unflatten(0, (4, 4))
    inside = (groups.amin(1) > 0) & (groups.amax(1) < groups.max())
    torch.testing.assert_close(groups.mean(1)[inside], thick[inside], rtol=1e-4, atol=0)
    assert inside.float().mean() > 0.2
    # To cubes, where nothing is said: slices of 4 mm, pixels of 1.5.
    code, _, error = coslice(*arguments, "--from-measurement", "--out", tmp_path / "cubes")
    assert code == 0, error
    assert read_nifti(tmp_path / "cubes" / "reconstruction.nii.gz").shape == (12, 24, 20)


@pytest.mark.parametrize("task", ["svct", "zsr"])
def test_evaluate_repeats_the_numbers_of_the_run(coslice, request, tmp_path, task):
    out = tmp_path / "out"
    assert coslice(*request.getfixturevalue(task), "--out", out)[0] == 0
    files = [out / "reconstruction.nii.gz", out / "truth.nii.gz"]
    code, said, _ = coslice("evaluate", *files, "--json", *([] if task == "svct" else ["--window", "mr"]))
    assert code == 0
    again, first = json.loads(said), json.loads((out / "metrics.json").read_text())["reconstruction"]
    for plane in ("axial", "coronal", "sagittal"):
        for name in ("psnr", "ssim"):
            assert again[plane][name] == pytest.approx(first[plane][name], rel=1e-4)
    assert again["sdiff_gap"] == pytest.approx(first["sdiff_gap"], abs=1e-6)


def test_same_seed_same_result_whatever_the_threads(coslice, svct, tmp_path):
    threads = torch.get_num_threads()
    volumes = {}
    try:
        for name, count, seed in (("a", 1, 5), ("b", 2, 5), ("c", 2, 6)):
            torch.set_num_threads(count)
            options = ["--slices", "4:12", "--size", 16, "--measurement-noise", 0.01, "--seed", seed]
            assert coslice(*svct, *options, "--out", tmp_path / name)[0] == 0
            volumes[name] = read_nifti(tmp_path / name / "reconstruction.nii.gz").data
    finally:
        torch.set_num_threads(threads)
    assert torch.equal(volumes["a"], volumes["b"])
    assert not torch.equal(volumes["a"], volumes["c"])


def finishes(coslice, arguments, out, title):
    code, said, error = coslice(*arguments, "--out", out)
    assert code == 0, error
    assert title in said
    assert np.isfinite(nibabel.load(out / "reconstruction.nii.gz").get_fdata()).all()
    return json.loads((out / "run.json").read_text())


@pytest.mark.parametrize(
    ("options", "title"),
    [
        (["--method", "dps", "--guidance", 0.5, "--noise", "independent", "--eta", 0.5], "DPS"),
        (["--method", "diffusion-mbir", "--steps", 1, "--noise", "identical", "--start-noise", "iscs"], "BCS"),
        (["--start-from", "noise", "--anchor-angle", 60, "--gamma", 5], "DDS + ISCS"),
        (["--thickness", 4, "--photons", 1e5, "--electronic-noise", 10], "DDS + ISCS"),
    ],
)
def test_methods_noises_and_preparations_of_ct(coslice, svct, tmp_path, options, title):
    finishes(coslice, [*svct, "--size", 16, *options], tmp_path / "out", title)


@pytest.mark.parametrize(
    ("options", "title"),
    [
        (["--method", "fdk", "--task", "lact", "--angle", 90], "FDK"),
        (["--method", "sirt", "--sirt-iterations", 5], "SIRT"),
    ],
)
def test_classical_methods_of_ct(coslice, scan, tmp_path, options, title):
    finishes(coslice, ["reconstruct", scan, "--views", 8, "--size", 16, *options], tmp_path / "out", title)


def test_cubic_interpolation_needs_no_prior(coslice, head, tmp_path):
    arguments = ["reconstruct", head, "--task", "zsr", "--method", "cubic", "--factor", 2]
    finishes(coslice, arguments, tmp_path / "out", "Cubic")


@pytest.mark.parametrize(
    ("options", "title"),
    [
        (["--method", "ddnm"], "DDNM + ISCS"),
        (["--spacing", 1.5, "--pad", 24, "--fwhm", 6, "--samples", 2], "DDS + ISCS"),
        (["--measurement-noise", 0.02, "--renoising", "ddim", "--method", "dds-tv"], "ISCS"),
    ],
)
def test_methods_noises_and_preparations_of_super_resolution(coslice, zsr, tmp_path, options, title):
    finishes(coslice, [*zsr, *options], tmp_path / "out", title)


def test_the_record_holds_what_was_chosen_and_what_was_left_to_the_method(coslice, zsr, tmp_path):
    options = ["--method", "dds-tv", "--factor", 2, "--fwhm", 3, "--samples", 2, "--seed", 7, "--size", 16]
    run = finishes(coslice, [*zsr, *options], tmp_path / "out", "ISCS")
    assert {"task": "zsr", "factor": 2, "fwhm_mm": 3.0, "size": 16, "noise_seed": 7}.items() <= run["study"].items()
    assert {"samples": 2, "steps": 3, "eta": None, "seed": 7}.items() <= run["recipes"]["reconstruction"].items()
    assert run["methods"]["reconstruction"]["eta"] is not None
    assert [prior["name"] for prior in run["priors"]] == ["coronal"]
    assert len(run["trajectory"]["reconstruction"]) == 3


@pytest.fixture
def options_for(tiny_prior, saved_patch_prior, saved_second_prior):
    """The priors of a method, on the command line, of axial CT."""

    def options(method):
        if method.startswith("diffusionblend"):
            return ["--method", method, "--prior", saved_patch_prior]
        second = ["--auxiliary-prior", saved_second_prior] if method.startswith("tpdm") else []
        return ["--method", method, "--prior", tiny_prior, *second]

    return options


@pytest.mark.parametrize(
    ("method", "title", "own"),
    [
        ("dds-2d", "DDS 2D + ISCS", []),
        ("dds-3d", "DDS 3D (TV) + ISCS", ["--tv-weight", 0.1, "--schedule", "karras"]),
        ("diffusionblend", "DiffusionBlend + ISCS", ["--noise", "iscs", "--ends", "repeat"]),
        (
            "diffusionblend++",
            "DiffusionBlend++",
            ["--cross-every", 0, "--partition", "fixed"],
        ),
        (
            "diffusionblend++",
            "DiffusionBlend++ + ISCS, mean of 2",
            ["--noise", "iscs", "--samples", 2, "--patch-noise", "slices"],
        ),
        ("tpdm", "TPDM", ["--guidance", 0.3]),
        ("tpdm-cg", "TPDM-CG + BCS", ["--noise", "identical", "--auxiliary-every", 3]),
    ],
)
def test_methods_that_see_more_than_a_slice(coslice, scan, options_for, tmp_path, method, title, own):
    arguments = ["reconstruct", scan, *options_for(method), "--steps", 3, "--views", 8, "--size", 16, *own]
    record = finishes(coslice, [*arguments, "--slices", "2:13"], tmp_path / "out", "Report:")
    assert title in (tmp_path / "out" / "report.html").read_text()
    names = {"diffusionblend": ["patches"], "tpdm": ["tiny", "second"]}
    expected = next((names[key] for key in names if method.startswith(key)), ["tiny"])
    assert [prior["name"] for prior in record["priors"]] == expected
    recipe, chosen = record["recipes"]["reconstruction"], record["methods"]["reconstruction"]
    for option, value in zip(own[::2], own[1::2], strict=True):
        name = option[2:].replace("-", "_")
        assert recipe[name] == value and chosen.get(name, value) == value


@pytest.mark.parametrize("method", ["diffusionblend++", "tpdm"])
def test_same_seed_same_result_of_patches_and_of_planes(coslice, scan, options_for, tmp_path, method):
    arguments = ["reconstruct", scan, *options_for(method), "--steps", 3, "--views", 8, "--size", 16]
    volumes = {}
    for name, seed in (("a", 5), ("b", 5), ("c", 6)):
        out = tmp_path / name
        assert coslice(*arguments, "--slices", "2:10", "--seed", seed, "--out", out)[0] == 0
        volumes[name] = read_nifti(out / "reconstruction.nii.gz").data
    assert torch.equal(volumes["a"], volumes["b"]) and not torch.equal(volumes["a"], volumes["c"])


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
        ("tpdm", tiny_prior, tiny_coronal_prior, "of window ct and"),
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
    finishes(coslice, command, tmp_path / "out", "Report:")
    assert "FBP-UNet" in (tmp_path / "out" / "report.html").read_text()
    assert "no noise" in refused(*command[:2], "--prior", "ct-fbp-unet", "--out", tmp_path / "other")


def test_where_no_prior_comes_with_coslice_one_must_be_named(refused, head, tiny_coronal_prior, tmp_path):
    zsr = ["reconstruct", head, "--task", "zsr", "--out", tmp_path / "out"]
    assert "name one with --prior" in refused(*zsr, "--method", "diffusionblend++")
    assert "name one with --auxiliary-prior" in refused(*zsr, "--method", "tpdm", "--prior", tiny_coronal_prior)


REFUSED_OF_ANY_SCAN = [
    (["--task", "pet"], "tasks are svct"),
    (["--method", "magic"], "methods are dds"),
    (["--noise", "pink"], "strategies are independent"),
    (["--start-noise", "pink"], "strategies are independent"),
    (["--renoising", "magic"], "choices are share"),
    (["--start-from", "middle"], "initial"),
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
    (["--steps", 0], "0 steps"),
    (["--samples", 0], "samples: 0"),
    (["--eta", 1.5], "eta 1.5"),
    (["--sigma-min", 0], "sigma_min"),
    (["--sigma-max", 100], "trained for"),
    (["--sigma-max", 0.0001, "--sigma-min", 0.0001], "trained for"),
    (["--cg-iterations", 0], "at least 1"),
    (["--method", "ddnm", "--sirt-iterations", 0], "at least 1"),
    (["--sirt-iterations", 5], "leave it out"),
    (["--method", "sirt"], "leave it out"),
    (["--spacing", 0.001], "voxels would come"),
    (["--gamma", -1], "positive"),
    (["--method", "ddnm", "--gamma", 1], "leave it out"),
    (["--method", "dps", "--guidance", -1], "from 0 up"),
    (["--method", "dds-tv", "--tv-penalty", 0], "positive"),
    (["--method", "dds-tv", "--tv-weight", -1], "from 0 up"),
    (["--method", "diffpir", "--data-weight", 0], "positive"),
    (["--method", "diffusion-mbir", "--renoising", "ddim"], "corrector"),
    (["--schedule", "cosine"], "choices are geometric, vp, karras"),
    (["--method", "diffusionblend++", "--partition", "odd"], "choices are random, fixed"),
    (["--method", "diffusionblend++", "--cross-every", -1], "cross_every: -1"),
    (["--method", "tpdm", "--auxiliary-every", 1], "auxiliary_every: 1"),
    (["--ends", "repeat"], "leave it out"),
    (["--anchor-angle", 180], "between 0 and 180"),
    (["--electronic-noise", 5], "without --photons"),
    (["--measurement-noise", 0.1, "--photons", 1e5], "choose one"),
    (["--measurement-noise", 0], "positive number"),
    (["--photons", 0], "0 photons"),
]
REFUSED_OF_CT = [
    (["--factor", 5], "--factor 5"),
    (["--fwhm", 5], "--fwhm 5"),
    (["--from-measurement"], "choose --task zsr"),
    (["--method", "cubic"], "not for this task"),
    (["--views", 0], "0 views"),
    (["--views", -4], "-4 views"),
    (["--angle", 90], "leave --angle out"),
    (["--task", "lact", "--angle", 0], "0 degrees"),
]
REFUSED_OF_ZSR = [
    (["--views", 30], "--views 30"),
    (["--angle", 90], "--angle 90"),
    (["--photons", 1e5], "--photons"),
    (["--method", "fdk"], "not for this task"),
    (["--factor", 1], "factor of 1"),
    (["--factor", 0], "factor of 0"),
    (["--factor", 17], "16 slices were given"),
    (["--fwhm", 0], "FWHM of 0"),
    (["--fwhm", -1], "FWHM of -1"),
    (["--fwhm", 1e6], "at most 10"),
    (["--from-measurement"], "nothing to gain"),
    (["--from-measurement", "--measurement-noise", 0.1], "has its own"),
    (["--from-measurement", "--thickness", 3], "--thickness"),
    (["--from-measurement", "--pad", 64], "--pad"),
    (["--from-measurement", "--factor", 2, "--size", 2], "at least 4 x 4"),
    (["--from-measurement", "--factor", 2, "--slices", "3:4"], "at least 4 x 4"),
]


@pytest.mark.parametrize(
    ("task", "options", "words"),
    [
        *(("svct", *case) for case in REFUSED_OF_ANY_SCAN + REFUSED_OF_CT),
        *(("zsr", *case) for case in REFUSED_OF_ANY_SCAN[4:] + REFUSED_OF_ZSR),
    ],
)
def test_bad_options_are_refused_in_one_sentence(refused, request, tmp_path, task, options, words):
    out = tmp_path / "out"
    said = refused(*request.getfixturevalue(task), *options, "--out", out)
    assert words in said
    assert not out.exists()
