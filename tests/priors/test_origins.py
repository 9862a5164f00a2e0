"""What a published network was shown: read, recognised aloud, or asked for."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch
import yaml

from coslice.errors import CosliceError
from coslice.networks import GuidedUNet, GuidedUNetConfig, NCSNpp, NCSNppConfig
from coslice.networks.configuration import Settings
from coslice.priors import import_prior, load_prior, read_card, remarks_for_prior, save_prior
from coslice.priors.denoisers import CENTRED, RAW
from coslice.priors.origins import PUBLISHED_FILES, UNKNOWN, Shown, origin_of
from coslice.volume import Volume
from coslice.window import CT_WINDOW, same_window, scan_window
from laws import draw, relative
from published import SMALL_GUIDED, SMALL_NCSNPP, SMALL_PATCHES, blend_checkpoint, filled

ISCS_MR = {"data": {"dataset": "BMR", "centered": False, "num_channels": 1}, "model": {"nf": 8, "ch_mult": [1, 2]}}


def origin(name, config, words=(), stated=UNKNOWN, otherwise=UNKNOWN, tmp="somewhere"):
    family = "ncsnpp" if isinstance(config, NCSNppConfig) else "guided-diffusion"
    return origin_of(Path(tmp) / name, family, config, Settings(dict(words), "config.yaml"), stated, otherwise)


@pytest.mark.parametrize(
    ("folder", "name", "config", "expected"),
    [
        ("vp", "AAPM256_1M.pt", SMALL_GUIDED, Shown("yx", "ct", RAW)),
        ("vp", "AAPM256_1M.pth", SMALL_GUIDED, Shown("yx", "ct", RAW)),
        ("ve", "checkpoint_185.pth", SMALL_NCSNPP, Shown("yx", "ct", RAW)),
        ("ve", "checkpoint_95.pth", SMALL_NCSNPP, Shown("zx", "mr", RAW)),
        ("ve", "checkpoint_70.pth", SMALL_NCSNPP, Shown("yx", "ct", RAW)),
        ("BMR_ZSR_256_YZ", "checkpoint.pth", SMALL_NCSNPP, Shown("zx", "mr", RAW)),
        ("BMR_ZSR_256_XY", "checkpoint.pth", SMALL_NCSNPP, Shown("yx", "mr", RAW)),
        ("c", "LIDC_triplane3D_finetunelarge_4232024_iter62099_cond.ckpt", SMALL_PATCHES, Shown("yx", "ct", CENTRED)),
        ("ve", "checkpoint_7.pth", SMALL_NCSNPP, Shown(None, None, RAW)),
        ("ve", "checkpoint_1850.pth", SMALL_NCSNPP, Shown(None, None, RAW)),
        ("ve", "brain_coronal.pth", SMALL_NCSNPP, Shown("zx", None, RAW)),
        ("ve", "lidc-sagittal.pth", SMALL_NCSNPP, Shown("zy", "ct", RAW)),
        ("ve", "direct.pth", SMALL_NCSNPP, Shown(None, None, RAW)),  # no ct in it
        ("c", "model.pt", SMALL_PATCHES, Shown("yx", "ct", CENTRED)),  # three slices and four classes: DiffusionBlend's
        ("c", "model.pt", GuidedUNetConfig(), Shown("yx", "ct", RAW)),  # DDS's, by all of its shape
        ("c", "model.pt", SMALL_GUIDED, UNKNOWN),
    ],
)
def test_published_files_are_recognised_and_that_is_said(folder, name, config, expected):
    found, said = origin(name, config, tmp=folder)
    assert found == expected
    for field, value in expected.known.items():
        spoken = f"{value[0]:g}:{value[1]:g}" if field == "input_range" else str(value)
        assert any(spoken in sentence for sentence in said), (field, said)


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ({"data": {"dataset": "AAPM"}}, ("yx", "ct", None)),
        ({"data": {"dataset": "BMR_ZSR", "root": "../BMR_ZSR_YZ"}}, ("zx", "mr", None)),
        ({"data": {"dataset": "BMR_ZSR", "root": "../BMR_ZSR_XY"}}, ("yx", "mr", None)),
        ({"data": {"dataset": "fastmri_knee"}}, ("zx", "mr", None)),
        ({"centered": False, "plane": "Coronal", "modality": "MR"}, ("zx", "mr", RAW)),
        ({"data": {"centered": True, "axis": "x"}, "window": [-160, 240]}, ("zy", "-160:240", CENTRED)),
        ({"rescaled": True, "orientation": "axial"}, ("yx", None, CENTRED)),
        ({"input_range": "0:2", "window": "ct"}, (None, "ct", (0.0, 2.0))),
        (
            {"data": {"dataset": "AAPM"}, "model": {"plane": "zx"}},
            ("zx", "ct", None),
        ),  # a word of its own first
    ],
)
def test_a_configuration_says_it_flat_or_in_sections(words, expected):
    found, _ = origin("model.pt", SMALL_GUIDED, words)
    assert found == Shown(*expected)


def test_statements_come_first_and_what_contradicts_them_is_said():
    found, said = origin("model.pt", SMALL_GUIDED, {"centered": False}, stated=Shown("zx", "mr", CENTRED))
    assert found == Shown("zx", "mr", CENTRED)
    assert len(said) == 1 and "centered False" in said[0] and "stated" in said[0]
    # What a recipe asks for is the last word, and never against a name.
    found, said = origin("checkpoint_95.pth", SMALL_NCSNPP, otherwise=Shown("yx", "ct"))
    assert (found.plane, found.window) == ("zx", "mr")
    found, said = origin("mine.pth", SMALL_NCSNPP, otherwise=Shown("zx", "mr"))
    assert (found.plane, found.window) == ("zx", "mr") and any("to be used for" in sentence for sentence in said)


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        ({"centered": "perhaps"}, "centered 'perhaps' was given, but true or false is needed"),
        ({"plane": "upwards"}, "plane 'upwards' was given, but yx, zx or zy"),
        ({"centered": True, "data": {"centered": False}}, "centered True and data.centered False, which do not agree"),
        ({"input_range": "1:0"}, "input_range '1:0'"),
        ({"centered": True, "input_range": [0, 1]}, "do not agree"),
    ],
)
def test_configurations_that_say_no_such_thing_are_refused(words, reason):
    with pytest.raises(CosliceError, match=reason):
        origin("model.pt", SMALL_GUIDED, words)


def test_what_is_stated_against_the_name_of_a_published_file_is_taken_and_said():
    found, said = origin("checkpoint_95.pth", SMALL_NCSNPP, stated=Shown("yx", "ct"))
    assert (found.plane, found.window) == ("yx", "ct")
    assert [sentence.split(",")[0] for sentence in said[1:]] == ["The name of the file"] * 2
    assert "fastMRI's knees" in said[1] and "plane yx" in said[1] and "window ct" in said[2]
    assert len(origin("checkpoint_95.pth", SMALL_NCSNPP, stated=Shown("zx", "0:1"))[1]) == 2
    assert len(origin("checkpoint_95.pth", SMALL_NCSNPP, stated=Shown("zx", "mr"))[1]) == 1


def test_images_of_complex_numbers_are_refused(tmp_path):
    assert any(file.refusal for file in PUBLISHED_FILES)
    with pytest.raises(CosliceError, match="real and the imaginary"):
        origin("fastmri_knee_320_complex_1m.pt", SMALL_GUIDED)
    with pytest.raises(CosliceError, match="is_complex"):
        written(tmp_path, SMALL_NCSNPP, {"is_complex": True})


def written(folder: Path, config: Any, words: dict[str, Any], name: str = "model.pt", **stated: Any):
    kind: Any = NCSNpp if isinstance(config, NCSNppConfig) else GuidedUNet
    network = filled(kind(config))
    torch.save(network.state_dict(), folder / name)
    (folder / f"{name.split('.')[0]}_config.json").write_text(json.dumps(words))
    return import_prior(folder / name, **{"plane": "yx", "window": "ct", **stated})


def test_guided_diffusion_that_is_not_centred_is_asked_for_the_image_itself(tmp_path):
    """Against the published update: D = x - sigma eps(x sqrt(abar), t) at sigma = sqrt((1 - abar)/abar)."""
    prior = written(tmp_path, SMALL_GUIDED, {"centered": False, "num_head_channels": 16})
    save_prior(tmp_path / "saved.safetensors", prior)
    again, network = load_prior(tmp_path / "saved.safetensors"), filled(GuidedUNet(SMALL_GUIDED))
    assert again.sigma_range == pytest.approx((0.0100005, 157.407), rel=1e-4)
    again.check_sigmas(0.5, 0.01)  # the usual last level
    card = read_card(tmp_path / "saved.safetensors")
    assert (card["input_range"], card["plane"], card["along"], card["window"]) == ([0.0, 1.0], "yx", "z", "ct")
    betas = torch.linspace(1e-4, 2e-2, 1000, dtype=torch.float64)
    for t in (3, 400, 900):
        abar = float((1 - betas[: t + 1]).prod())
        sigma, x = ((1 - abar) / abar) ** 0.5, 0.5 + draw((2, 1, 8, 8))
        expected = x - sigma * network(abar**0.5 * x, torch.full((2,), float(t)))
        for one in (prior, again):
            assert relative(replace(one, arithmetic="float")(x, sigma), expected) <= 5e-4  # t goes through ln(sigma)


def test_ncsnpp_of_centred_data_is_given_them_and_does_not_centre_again(tmp_path):
    """score_sde with centered: true: v = 2 x - 1 goes in as it is, with twice the noise of x."""
    shape = NCSNppConfig(channels=8, multipliers=(1, 2), blocks=1, centred=True)
    prior = written(tmp_path, SMALL_NCSNPP, {"data": {"centered": True}})
    network, x, sigma = NCSNpp(shape), draw((2, 1, 8, 8)), torch.tensor([0.3, 2.0])
    network.load_state_dict(torch.load(tmp_path / "model.pt", weights_only=True))
    network.eval().requires_grad_(False)
    expected = x + 2 * sigma[:, None, None, None] ** 2 * network(2 * x - 1, 2 * sigma)
    assert prior.sigma_range == (0.005, 189.0)
    assert relative(replace(prior, arithmetic="float")(x, sigma), expected) <= 1e-5
    save_prior(tmp_path / "saved.safetensors", prior)
    again = replace(load_prior(tmp_path / "saved.safetensors"), arithmetic="float")
    assert relative(again(x, sigma), expected) <= 1e-5
    with pytest.raises(CosliceError, match="0:1 or -1:1"):
        written(tmp_path, SMALL_NCSNPP, {}, input_range=(0, 2))


def test_files_before_ranges_were_stored_are_what_they_were(tmp_path):
    prior = written(tmp_path, SMALL_GUIDED, {"centered": True})
    save_prior(tmp_path / "new.safetensors", prior)
    with safetensors.safe_open(tmp_path / "new.safetensors", framework="pt") as file:
        described = json.loads(file.metadata()["coslice"])
        weights = {name: file.get_tensor(name) for name in file.keys()}
    del described["denoiser"]["input_range"]
    safetensors.torch.save_file(weights, tmp_path / "old.safetensors", {"coslice": json.dumps(described)})
    x = draw((1, 1, 8, 8))
    old, new = (load_prior(tmp_path / f"{name}.safetensors") for name in ("old", "new"))
    assert torch.equal(old(x, 0.3), new(x, 0.3)) and relative(old(x, 0.3), prior(x, 0.3)) <= 1e-5


@pytest.mark.parametrize(
    ("config", "words", "said"),
    [
        (SMALL_GUIDED, {"clip_denoised": True}, "clip_denoised True"),
        (SMALL_GUIDED, {"use_spacecode": True}, "use_spacecode True"),
        (SMALL_GUIDED, {"image_size": 32, "model": {"image_size": 64}}, "model.image_size 64"),
        (SMALL_NCSNPP, {"model": {"is_multi": True}}, "is_multi True"),
        (SMALL_NCSNPP, {"unet_config": {"nf": 8}}, "section unet_config"),
    ],
)
def test_entries_that_are_not_used_are_named(config, words, said, tmp_path):
    prior = written(tmp_path, config, words, input_range=(0, 1))
    assert any(said in note and "not used" in note for note in prior.card["notes"]), prior.card["notes"]


@pytest.mark.parametrize(
    ("config", "words", "reason"),
    [
        (SMALL_NCSNPP, {"training": {"sde": "vpsde"}}, "vpsde"),
        (SMALL_NCSNPP, {"model": {"nonlinearity": "relu"}}, "relu"),
        (SMALL_NCSNPP, {"model": {"conditional": False}}, "conditional False"),
        (SMALL_GUIDED, {"logit_transform": True}, "logit_transform"),
        (SMALL_GUIDED, {"rescale_timesteps": True, "diffusion_steps": 500}, "rescale_timesteps"),
    ],
)
def test_entries_that_change_what_the_network_is_are_refused(config, words, reason, tmp_path):
    with pytest.raises(CosliceError, match=reason):
        written(tmp_path, config, words, input_range=(0, 1))


def test_a_coronal_mr_network_has_the_right_card_and_a_configuration_of_iscs_is_silent(tmp_path):
    torch.save(filled(NCSNpp(SMALL_NCSNPP)).state_dict(), tmp_path / "model.pth")
    (tmp_path / "model.yaml").write_text(yaml.safe_dump(ISCS_MR))
    card = read_card(tmp_path / "model.pth")
    assert (card["plane"], card["along"], card["window"], card["input_range"]) == ("zx", "y", "mr", [0.0, 1.0])
    assert not any("not used" in note for note in card["notes"])
    assert any("data set" in remark and "plane zx and window mr" in remark for remark in card["remarks"])


def test_what_nothing_says_is_asked_for_in_one_sentence(coslice, refused, scan, tmp_path):
    path = tmp_path / "model.pt"
    torch.save(filled(GuidedUNet(SMALL_GUIDED)).state_dict(), path)
    for arguments in (("priors", "import", path, "--out", tmp_path / "x.safetensors"), ("priors", "show", path)):
        said = refused(*arguments)
        assert "coslice priors import model.pt --plane yx --window ct --range 0:1" in said
    said = refused("reconstruct", scan, "--prior", path, "--method", "dds", "--out", tmp_path / "out")
    assert "--range 0:1" in said and not (tmp_path / "out").exists()
    said = refused("priors", "import", path, "--plane", "zx", "--range", "0:1", "--out", tmp_path / "x.safetensors")
    assert said.endswith("coslice priors import model.pt --window ct.") and not (tmp_path / "x.safetensors").exists()
    assert "LOW:HIGH" in refused("priors", "import", path, "--range", "centred")
    with pytest.raises(CosliceError, match="has the plane yx, but plane zx"):
        load_prior("ct", plane="zx")


def test_what_was_inferred_is_a_remark_on_every_run_and_of_an_imported_prior_is_not(tmp_path):
    blend_checkpoint(tmp_path / "blend.pt")
    volume = Volume(torch.zeros(4, 8, 8), np.eye(4))
    direct = load_prior(tmp_path / "blend.pt")
    (remark,) = remarks_for_prior(volume, direct)
    assert "plane yx, window ct and input range -1:1" in remark and "DiffusionBlend" in remark
    save_prior(tmp_path / "mine.safetensors", import_prior(tmp_path / "blend.pt"))
    assert remarks_for_prior(volume, load_prior(tmp_path / "mine.safetensors")) == ()


def test_windows_are_compared_by_their_values():
    assert same_window("ct", "-1000:1600") and same_window("-1000:1600.0", "ct") and same_window("mr", "mr")
    assert not same_window("ct", "-1024:1600") and not same_window("mr", "0:1") and not same_window("ct", "mr")
    assert scan_window("-1000:1600", torch.zeros(1)) == CT_WINDOW
