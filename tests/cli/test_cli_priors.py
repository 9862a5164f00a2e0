"""`coslice priors`: the list, the cards, and published checkpoints made into priors of one's own."""

import json
import pickle
import re
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from coslice import load_prior
from coslice.errors import CosliceError
from coslice.io.nifti import read_nifti
from coslice.networks.guided_diffusion import GuidedUNet
from coslice.priors import import_prior, measure_prior, read_card, save_prior
from coslice.priors.blends import Blend
from coslice.priors.denoisers import VPDenoiser
from coslice.priors.measured_cards import measured_of
from coslice.priors.partitions import RandomPartitions
from laws import draw
from published import SMALL_PATCHES, blend_checkpoint, filled, reference


def close(ours, theirs):
    return float((ours - theirs).abs().max() / theirs.abs().max())


def test_the_list_names_what_is_embedded_and_what_is_mine(coslice, tmp_path, tiny_prior, monkeypatch):
    monkeypatch.setenv("COSLICE_PRIORS", str(tmp_path))
    shutil.copy(tiny_prior, tmp_path / "mine.safetensors")
    code, said, _ = coslice("priors")
    assert code == 0
    lines = {line.split()[0]: line for line in said.splitlines() if line.strip()}
    assert "(yours)" in lines["mine"] and "(yours)" not in lines["ct"]


def test_the_card_is_for_people_and_for_programs(coslice):
    code, said, _ = coslice("priors", "show", "ct")
    assert (code == 0 and "TCIA" in said) or "Cancer Imaging Archive" in said
    code, said, _ = coslice("priors", "show", "ct", "--json")
    assert code == 0 and json.loads(said) == read_card("ct")
    code, said, complaint = coslice("priors", "show", "nothing")
    assert code == 2 and not said and len(complaint.strip().splitlines()) == 1


def test_what_is_measured_is_what_the_library_measures_and_is_shown_by_the_card(coslice, scan, tiny_prior, tmp_path):
    """Without --write nothing is written; with it the card and the page beside it, and `show` says it all again."""
    mine = tmp_path / "mine.safetensors"
    shutil.copy(tiny_prior, mine)
    words = ("priors", "measure", mine, scan, "--slices", "2:10", "--most", "3", "--seed", "4")
    code, said, _ = coslice(*words, "--json")
    library = measure_prior(load_prior(mine), [read_nifti(scan)], (2, 10), 3, 4)
    assert code == 0 and [row["rmse"] for row in json.loads(said)["rows"]] == [row.rmse for row in library.rows]
    assert mine.read_bytes() == tiny_prior.read_bytes()
    mine.with_suffix(".md").write_text("# mine\n")
    code, said, _ = coslice(*words, "--write")
    assert code == 0 and "Written" in said and scan.name in said
    written = measured_of(read_card(mine))
    assert [row.rmse for row in written.rows] == [row.rmse for row in library.rows]  # pyright: ignore
    assert "| 1: 32 x 32 of 4 mm |" in mine.with_suffix(".md").read_text()
    code, shown, _ = coslice("priors", "show", mine)
    hu = library.rows[0].rmse_hu["0.1"]
    assert code == 0 and f"{hu:#.3g}".removesuffix(".") in shown and "not stated: licence, data licence" in shown


@pytest.mark.parametrize("words", [("ct", "SCAN", "--write"), ("ct-fbp-unet", "SCAN"), ("ct", "SCAN", "--slices", "9")])
def test_what_cannot_be_measured_or_written_is_one_sentence(coslice, scan, words):
    code, said, complaint = coslice("priors", "measure", *(scan if word == "SCAN" else word for word in words))
    assert code == 2 and not said and len(complaint.strip().splitlines()) == 1


@pytest.mark.parametrize(("name", "answer"), [("ncsnpp_tiny.pth", "score"), ("adm_tiny.pt", "out")])
def test_a_published_checkpoint_becomes_a_prior_of_ones_own(coslice, checkpoints, tmp_path, monkeypatch, name, answer):
    """The issue's own sentence: imported, listed, loaded by name, and its network says what it always said."""
    monkeypatch.setenv("COSLICE_PRIORS", str(tmp_path / "store"))
    stem = Path(name).stem
    stated = ("--plane", "zx", "--window", "mr", "--range", "0:1")
    code, said, _ = coslice("priors", "import", checkpoints / name, *stated, "--licence", "CC0")
    assert code == 0 and f"--prior {stem}" in said.replace("\n", "")
    io = reference(f"{stem}_io.npz")
    prior = load_prior(stem)
    level = io["sigma"] if answer == "score" else io["t"]
    assert close(prior.network(io["x"], level), io[answer]) < 1e-4
    assert (prior.window, prior.card["licence"]) == ("mr", "CC0")
    # The file itself, as it is, is the same prior.
    direct = load_prior(checkpoints / name, plane="zx", window="mr", input_range=(0, 1))
    assert (direct.plane, direct.window, prior.plane) == ("zx", "mr", "zx")
    assert torch.equal(direct(io["x"], 0.3), prior(io["x"], 0.3))
    assert stem in coslice("priors")[1]


def test_imports_that_are_refused(coslice, checkpoints, tmp_path):
    class Bomb:
        def __reduce__(self):
            return Path.touch, (tmp_path / "exploded",)

    bomb, junk, written = tmp_path / "bomb.pt", tmp_path / "junk.pt", tmp_path / "out.safetensors"
    bomb.write_bytes(pickle.dumps({"model": Bomb()}))
    torch.save({"model": Bomb()}, tmp_path / "zipped.pt")
    junk.write_bytes(b"not a checkpoint")
    source = torch.load(checkpoints / "adm_tiny.pt", weights_only=True)
    first = next(iter(source))
    torch.save({("renamed" if key == first else key): value for key, value in source.items()}, tmp_path / "wrong.pt")
    shutil.copy(checkpoints / "adm_tiny_config.json", tmp_path / "wrong_config.json")
    written.write_bytes(b"mine")
    for arguments, reason in (
        ((bomb,), "refused"),
        ((tmp_path / "zipped.pt",), "refused"),
        ((junk,), "damaged"),
        ((tmp_path / "wrong.pt",), f'no "{first}"'),
        ((tmp_path / "absent.pt",), "not there"),
        ((checkpoints / "adm_tiny.pt", "--format", "ncsnpp"), "guided-diffusion"),
        ((checkpoints / "adm_tiny.pt", "--format", "onnx"), "auto, ncsnpp, guided-diffusion"),
        ((checkpoints / "adm_tiny.pt", "--plane", "yy"), "two different axes"),
        ((checkpoints / "adm_tiny.pt", "--window", "hu"), "ct, mr, or LOW:HIGH"),
    ):
        code, said, complaint = coslice("priors", "import", *arguments, "--out", tmp_path / "new.safetensors")
        assert (code, said) == (2, ""), (arguments, said)
        assert len(complaint.strip().splitlines()) == 1, complaint
        assert re.search(reason, complaint), complaint
        assert not (tmp_path / "new.safetensors").exists()
    assert not (tmp_path / "exploded").exists()
    code, _, complaint = coslice("priors", "import", checkpoints / "adm_tiny.pt", "--out", written)
    assert code == 2 and "--overwrite" in complaint and written.read_bytes() == b"mine"
    code, _, complaint = coslice("priors", "import", checkpoints / "adm_tiny.pt", "--out", tmp_path / "new.pt")
    assert code == 2 and ".safetensors" in complaint


def asked(prior, step, volume, sigma=0.3):
    return Blend(prior, len(volume), 1.0, RandomPartitions(3, 1)).at(step)(volume, sigma)


@pytest.mark.parametrize(
    ("options", "classes"), [([], (1, 3)), (["--classes", "3,0"], (3, 0)), (["--classes", "2,2"], (2, 2))]
)
def test_a_checkpoint_of_three_slices_becomes_a_prior_of_patches(coslice, tmp_path, monkeypatch, options, classes):
    """DiffusionBlend's: its network knows patches by their class, as in its released code unless others are given."""
    monkeypatch.setenv("COSLICE_PRIORS", str(tmp_path / "store"))
    network = blend_checkpoint(tmp_path / "blend.pt")
    code, said, error = coslice("priors", "import", tmp_path / "blend.pt", *options)
    assert code == 0, error
    note = f"Neighbouring slices are of class {classes[0]}, jumping ones of {classes[1]}, as"
    assert note in " ".join(said.split())
    prior = replace(load_prior("blend"), arithmetic="float")
    assert (prior.channels, prior.classes) == (3, classes)
    assert isinstance(prior.denoiser, VPDenoiser)
    assert read_card("blend")["classes"] == list(classes)
    # The first step is of jumping slices, the second of neighbours: eps of the published network at that class.
    volume, sigma = draw((9, 8, 8)).mul(0.3).add(0.5), 0.3
    for step, label in ((0, classes[1]), (1, classes[0])):
        denoised = asked(prior, step, volume, sigma)
        patch = RandomPartitions(3, 1)(step, 9).patches[1]
        v_t = (2 * volume[list(patch.slices)][None] - 1) / (1 + 4 * sigma**2) ** 0.5
        eps = network(v_t, prior.denoiser.step(torch.tensor([sigma])), torch.tensor([label]))[0, :3]
        for place in patch.own:
            i = patch.slices[place]
            torch.testing.assert_close(denoised[i], volume[i] - sigma * eps[place], rtol=1e-4, atol=1e-4)
    # The file as it is, is the same prior by the published classes.
    direct = replace(load_prior(tmp_path / "blend.pt"), arithmetic="float")
    assert direct.classes == (1, 3) and read_card(tmp_path / "blend.pt")["classes"] == [1, 3]
    assert all(torch.equal(asked(direct, k, volume), asked(prior, k, volume)) == (classes == (1, 3)) for k in (0, 1))


def test_a_published_prior_of_patches_reconstructs(coslice, refused, scan, tmp_path):
    blend_checkpoint(tmp_path / "blend.pt")
    volumes = {}
    for name, options in (("near", []), ("other", ["--classes", "0,2"])):
        imported, out = tmp_path / f"{name}.safetensors", tmp_path / name
        assert coslice("priors", "import", tmp_path / "blend.pt", "--out", imported, *options)[0] == 0
        arguments = ["reconstruct", scan, "--method", "diffusionblend++", "--prior", imported, "--steps", 2]
        arguments += ["--views", 8, "--size", 8, "--slices", "3:13", "--set", "schedule.sigma_min=0.02"]
        code, _, error = coslice(*arguments, "--out", out)
        assert code == 0, error
        volumes[name] = (out / "reconstruction.nii.gz").read_bytes()
    assert volumes["near"] != volumes["other"]
    assert "patches of 3 slices" in refused(
        "reconstruct", scan, "--prior", tmp_path / "blend.pt", "--out", tmp_path / "d"
    )


def test_classes_of_other_networks_stay_with_whoever_asks(tmp_path):
    """One channel with classes, as before; three channels without; and two classes, of which nobody knows the sense."""
    for changes, notes in (({"image_channels": 1}, 0), ({"classes": 0}, 0), ({"classes": 2}, 1)):
        config = replace(SMALL_PATCHES, **changes)
        network = blend_checkpoint(tmp_path / "other.pt", config)
        prior = load_prior(tmp_path / "other.pt", plane="yx", window="ct", input_range=(-1, 1))
        prior = replace(prior, arithmetic="float")
        assert prior.classes is None and prior.channels == config.image_channels
        assert isinstance(prior.denoiser, VPDenoiser)
        assert sum("jumping" in note for note in prior.card["notes"]) == notes
        save_prior(tmp_path / "other.safetensors", prior)
        again = replace(load_prior(tmp_path / "other.safetensors"), arithmetic="float")
        assert again.classes is None and "classes" not in read_card(tmp_path / "other.safetensors")
        x, label = draw((2, config.image_channels, 8, 8)), torch.tensor([1, 0]) if config.classes else None
        assert torch.equal(again(x, 0.3, label), prior(x, 0.3, label))
        labels = () if label is None else (label,)
        v_t = (2 * x - 1) / (1 + 4 * 0.3**2) ** 0.5
        eps = network(v_t, prior.denoiser.step(torch.tensor([0.3, 0.3])), *labels)[:, : config.image_channels]
        torch.testing.assert_close(prior(x, 0.3, label), x - 0.3 * eps, rtol=1e-4, atol=1e-4)


def test_classes_that_cannot_be_are_refused(coslice, tmp_path):
    blend_checkpoint(tmp_path / "blend.pt")
    torch.save(filled(GuidedUNet(replace(SMALL_PATCHES, classes=0))).state_dict(), tmp_path / "none.pt")
    for name, classes, reason in (
        ("blend", "1", "two whole numbers"),
        ("blend", "near,far", "two whole numbers"),
        ("blend", "1,2,3", "two whole numbers"),
        ("blend", "1,4", "two of 0 to 3"),
        ("blend", "-1,3", "two of 0 to 3"),
        ("none", "1,3", "no classes"),
    ):
        out = tmp_path / "new.safetensors"
        code, _, complaint = coslice("priors", "import", tmp_path / f"{name}.pt", f"--classes={classes}", "--out", out)
        assert code == 2 and reason in complaint and len(complaint.strip().splitlines()) == 1, complaint
        assert not out.exists()
    prior = import_prior(tmp_path / "blend.pt")
    save_prior(tmp_path / "wrong.safetensors", replace(prior, classes=(1, 9)))
    with pytest.raises(CosliceError, match="two of 0 to 3"):
        load_prior(tmp_path / "wrong.safetensors")
