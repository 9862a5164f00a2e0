"""Configurations beside published files, and files that are refused."""

import json
import os
import pickle
import shutil

import pytest
import torch
import yaml

from coslice.errors import CosliceError
from coslice.networks import NETWORKS, GuidedUNet, GuidedUNetConfig, NCSNpp, NCSNppConfig
from coslice.priors.denoisers import Betas
from coslice.priors.published import read_published
from published import SMALL_GUIDED, SMALL_NCSNPP, filled, published_layout


def guided_file(folder, config=SMALL_GUIDED, name="model.pt"):
    torch.save(filled(GuidedUNet(config)).state_dict(), folder / name)
    return folder / name


PUBLISHED_WORDS = {
    "type": "openai",
    "num_channels": 32,
    "channel_mult": "1,2",
    "num_res_blocks": 1,
    "image_size": 32,
    "attention_resolutions": "16",
    "num_heads": 4,
    "num_head_channels": -1,
    "in_channels": 1,
    "out_channels": 1,
    "use_scale_shift_norm": True,
    "resblock_updown": "true",
    "class_cond": False,
    "num_classes": 1000,
    "learn_sigma": False,
}


@pytest.mark.parametrize("name", ["model_config.json", "model.json", "model.yaml", "config.json", "config.yaml"])
def test_a_configuration_beside_the_file_is_found(name, tmp_path):
    nested = {"data": {"image_size": 32}, "model": PUBLISHED_WORDS, "diffusion": {"num_diffusion_timesteps": 500}}
    text = json.dumps(PUBLISHED_WORDS) if name.endswith("json") else yaml.safe_dump(nested)
    (tmp_path / name).write_text(text)
    given = read_published(guided_file(tmp_path))
    assert isinstance(given.config, GuidedUNetConfig)
    assert given.config.head_channels is None and given.config.heads == 4 and given.image_size == 32
    assert any(name in note for note in given.notes)
    if name.endswith("yaml"):
        assert isinstance(given.betas, Betas) and (given.betas.count, given.betas.last) == (500, 0.04)


def test_what_nobody_tells_is_assumed_and_noted(tmp_path):
    narrow = GuidedUNetConfig(channels=32, multipliers=(1,), attention=(), head_channels=None)
    notes = read_published(guided_file(tmp_path, narrow)).notes
    assert any("4 heads" in note for note in notes)
    assert any("legacy order" in note for note in notes) and any("linear betas" in note for note in notes)
    wide = GuidedUNetConfig(channels=64, multipliers=(1,), attention=())
    given = read_published(guided_file(tmp_path, wide))
    assert isinstance(given.config, GuidedUNetConfig)
    assert given.config.head_channels == 64 and any("64 channels a head" in note for note in given.notes)
    state = NCSNpp(SMALL_NCSNPP).state_dict()
    del state["sigmas"]
    torch.save(state, tmp_path / "plain.pth")
    given = read_published(tmp_path / "plain.pth")
    assert any("EMA" in note for note in given.notes) and any("noise levels" in note for note in given.notes)
    assert given.sigma_range == (0.01, 378.0)


@pytest.mark.parametrize(
    ("word", "value"),
    [
        ("num_channels", 64),
        ("channel_mult", "1,2,2"),
        ("channel_mult", [1, 3]),
        ("num_res_blocks", 2),
        ("attention_resolutions", "32"),
        ("in_channels", 3),
        ("out_channels", 2),
        ("use_scale_shift_norm", False),
        ("resblock_updown", False),
        ("class_cond", True),
        ("learn_sigma", True),
    ],
)
def test_a_configuration_against_the_weights_is_refused(word, value, tmp_path):
    config = {**PUBLISHED_WORDS, "conv_resample": True, word: value}
    with pytest.raises(
        CosliceError, match=rf"config says (conv_resample|num_classes|{word}) .* model.pt .* is"
    ) as refused:
        read_published(guided_file(tmp_path), config=config)
    assert str(refused.value).count(". ") == 0


def test_score_sdes_sections_are_read(tmp_path):
    config = NCSNppConfig(channels=8, multipliers=(1, 2), blocks=1, attention=(1,), skip_rescale=False, fir=False)
    published_layout(filled(NCSNpp(config)), tmp_path / "c.pth")
    words = {
        "data": {"image_size": 16, "num_channels": 1, "centered": False},
        "model": {
            "name": "ncsnpp",
            "nf": 8,
            "ch_mult": [1, 2],
            "num_res_blocks": 1,
            "attn_resolutions": [8],
            "fir": False,
            "skip_rescale": False,
            "scale_by_sigma": True,
            "sigma_max": 378,
            "resblock_type": "biggan",
        },
    }
    given = read_published(tmp_path / "c.pth", config=words)
    assert given.config == config and given.image_size == 16 and given.notes == ()
    for section, word, value in (
        ("model", "sigma_max", 50),
        ("model", "attn_resolutions", [16]),
        ("model", "nf", 16),
        ("data", "num_channels", 3),
        ("model", "progressive_input", "none"),
    ):
        wrong = {**words, section: {**words[section], word: value}}
        with pytest.raises(CosliceError, match=f"config says {word}"):
            read_published(tmp_path / "c.pth", config=wrong)


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ({"num_heads": "many"}, "num_heads 'many'"),
        ({"class_cond": "perhaps"}, "class_cond 'perhaps'"),
        ({"attention_resolutions": "a,b"}, "attention_resolutions 'a,b'"),
        ({"num_head_channels": 48}, "48 channels a head"),
        ({"noise_schedule": "cosine"}, "cosine"),
        ({"predict_xstart": True}, "predict_xstart"),
        ({"image_size": 0}, "image_size 0 was given, but a whole number above 0"),
        ({"diffusion_steps": 0}, "diffusion_steps 0"),
        ({"beta_start": 0}, "betas lie between 0 and 1"),
        ([1, 2], "maps names to values"),
        (None, "holds nothing"),
    ],
)
def test_configurations_that_make_no_sense_are_refused(config, said, tmp_path):
    (tmp_path / "given.json").write_text(json.dumps(config))
    with pytest.raises(CosliceError, match=said):
        read_published(guided_file(tmp_path), config=tmp_path / "given.json")
    (tmp_path / "given.json").write_text("{")
    with pytest.raises(CosliceError, match="cannot be read as a configuration"):
        read_published(guided_file(tmp_path), config=tmp_path / "given.json")
    with pytest.raises(CosliceError, match="no such file"):
        read_published(guided_file(tmp_path), config=tmp_path / "absent.json")


def save_changed(source, path, change):
    state = dict(source)
    change(state)
    torch.save(state, path)
    return path


@pytest.mark.parametrize("family", ["ncsnpp", "guided-diffusion"])
def test_every_parameter_is_accounted_for_by_name(family, tmp_path):
    config = SMALL_NCSNPP if family == "ncsnpp" else SMALL_GUIDED
    state = NETWORKS[family][1](config).state_dict()
    for name in list(state)[1 :: len(state) // 8]:
        path = save_changed(state, tmp_path / "x.pt", lambda s, name=name: s.pop(name))
        with pytest.raises(CosliceError) as refused:
            read_published(path)
        assert name in str(refused.value)
    name = "all_modules.5.Conv_0.weight" if family == "ncsnpp" else "middle_block.0.in_layers.2.weight"
    path = save_changed(state, tmp_path / "x.pt", lambda s: s.update({"stranger": torch.zeros(2)}))
    with pytest.raises(CosliceError, match="1 unexpected: stranger"):
        read_published(path)
    path = save_changed(state, tmp_path / "x.pt", lambda s: s.update({name + "s": s.pop(name)}))
    with pytest.raises(CosliceError, match=f"1 missing: {name}; 1 unexpected: {name}s"):
        read_published(path)
    path = save_changed(state, tmp_path / "x.pt", lambda s: s.update({name: s[name][:, :, :2]}))
    with pytest.raises(CosliceError, match=f"1 of another shape: {name}"):
        read_published(path)
    path = save_changed(state, tmp_path / "x.pt", lambda s: s.update({name: s[name] * float("nan")}))
    with pytest.raises(CosliceError, match="not finite"):
        read_published(path)


def test_averages_that_do_not_belong_are_refused(tmp_path):
    published_layout(NCSNpp(SMALL_NCSNPP), tmp_path / "c.pth")
    content = torch.load(tmp_path / "c.pth", weights_only=True)
    shadow = content["ema"]["shadow_params"]
    for changed, said in ((shadow[:-1], "averaged"), ([shadow[1], shadow[0], *shadow[2:]], "do not belong together")):
        torch.save({**content, "ema": {**content["ema"], "shadow_params": changed}}, tmp_path / "d.pth")
        with pytest.raises(CosliceError, match=said):
            read_published(tmp_path / "d.pth")


class Evil:
    def __init__(self, trace):
        self.trace = trace

    def __reduce__(self):
        return os.mkdir, (str(self.trace),)


@pytest.mark.parametrize("protocol", [None, 2, 4])
def test_a_pickle_that_would_run_code_is_refused_and_does_not_run(protocol, tmp_path):
    trace, path = tmp_path / "was-here", tmp_path / "evil.pth"
    content = {"model": {"all_modules.0.W": torch.zeros(2)}, "ema": Evil(trace)}
    if protocol is None:
        torch.save(content, path)
    else:
        path.write_bytes(pickle.dumps(Evil(trace), protocol=protocol))
    with pytest.raises(CosliceError, match="run code"):
        read_published(path)
    assert not trace.exists()


def test_damaged_files_are_refused_in_a_sentence(checkpoints, tmp_path):
    whole = (checkpoints / "ncsnpp_tiny.pth").read_bytes()
    for content in (b"", b"not a checkpoint", whole[: len(whole) // 2], whole[:100], b"\x10" + b"\0" * 7 + b"{oops"):
        (tmp_path / "bad.pth").write_bytes(content)
        with pytest.raises(CosliceError, match=r"bad\.pth cannot be read"):
            read_published(tmp_path / "bad.pth")
    with pytest.raises(CosliceError, match="a folder"):
        read_published(tmp_path)
    with pytest.raises(CosliceError, match="not there"):
        read_published(tmp_path / "absent.pth")
    for content in ({"step": 3}, [1, 2], {"model": {}}):
        torch.save(content, tmp_path / "odd.pth")
        with pytest.raises(CosliceError, match="no weights"):
            read_published(tmp_path / "odd.pth")
    torch.save({"layer.weight": torch.zeros(3)}, tmp_path / "odd.pth")
    with pytest.raises(CosliceError, match="named neither"):
        read_published(tmp_path / "odd.pth")


def test_another_format_is_refused(checkpoints, tmp_path):
    shutil.copy(checkpoints / "adm_tiny.pt", tmp_path / "adm.pt")
    with pytest.raises(CosliceError, match=r'"ncsnpp".*"guided-diffusion"'):
        read_published(tmp_path / "adm.pt", format="ncsnpp")
    with pytest.raises(CosliceError, match="one of auto"):
        read_published(tmp_path / "adm.pt", format="onnx")
    with pytest.raises(CosliceError, match="one of"):
        NCSNppConfig.from_dict({"progressive": "sideways"})
    with pytest.raises(CosliceError, match="positive and falling"):
        NCSNppConfig.from_dict({"sigma_min": 400})
