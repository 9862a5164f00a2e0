"""`coslice priors`: the list, the cards, and published checkpoints made into priors of one's own."""

import json
import pickle
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from coslice import load_prior
from coslice.priors import read_card

FIXTURES = Path(__file__).parent / "data" / "checkpoints"


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
    code, told, _ = coslice("priors", "show", "ct", "--json")
    assert code == 0 and json.loads(told) == read_card("ct")
    code, said, complaint = coslice("priors", "show", "nothing")
    assert code == 2 and not said and len(complaint.strip().splitlines()) == 1


@pytest.mark.parametrize(("name", "answer"), [("ncsnpp_tiny.pth", "score"), ("adm_tiny.pt", "out")])
def test_a_published_checkpoint_becomes_a_prior_of_ones_own(coslice, tmp_path, monkeypatch, name, answer):
    """The issue's own sentence: imported, listed, loaded by name, and its network says what it always said."""
    monkeypatch.setenv("COSLICE_PRIORS", str(tmp_path / "store"))
    stem = Path(name).stem
    code, said, _ = coslice("priors", "import", FIXTURES / name, "--window", "mr", "--licence", "CC0")
    assert code == 0 and f"--prior {stem}" in said.replace("\n", "")
    io = {key: torch.from_numpy(value) for key, value in np.load(FIXTURES / f"{stem}_io.npz").items()}
    prior = load_prior(stem)
    level = io["sigma"] if answer == "score" else io["t"]
    assert close(prior.network(io["x"], level), io[answer]) < 1e-4
    assert (prior.window, prior.card["licence"]) == ("mr", "CC0")
    # The file itself, as it is, is the same prior.
    direct = load_prior(FIXTURES / name)
    assert torch.equal(direct(io["x"], 0.3), prior(io["x"], 0.3))
    assert stem in coslice("priors")[1]


def test_imports_that_are_refused(coslice, tmp_path):
    class Bomb:
        def __reduce__(self):
            return Path.touch, (tmp_path / "exploded",)

    bomb, junk, written = tmp_path / "bomb.pt", tmp_path / "junk.pt", tmp_path / "out.safetensors"
    bomb.write_bytes(pickle.dumps({"model": Bomb()}))
    torch.save({"model": Bomb()}, tmp_path / "zipped.pt")
    junk.write_bytes(b"not a checkpoint")
    source = torch.load(FIXTURES / "adm_tiny.pt", weights_only=True)
    first = next(iter(source))
    torch.save({("renamed" if key == first else key): value for key, value in source.items()}, tmp_path / "wrong.pt")
    shutil.copy(FIXTURES / "adm_tiny_config.json", tmp_path / "wrong_config.json")
    written.write_bytes(b"mine")
    for arguments, told in (
        ((bomb,), "refused"),
        ((tmp_path / "zipped.pt",), "refused"),
        ((junk,), "damaged"),
        ((tmp_path / "wrong.pt",), f'no "{first}"'),
        ((tmp_path / "absent.pt",), "not there"),
        ((FIXTURES / "adm_tiny.pt", "--format", "ncsnpp"), "guided-diffusion"),
        ((FIXTURES / "adm_tiny.pt", "--format", "onnx"), "auto, ncsnpp, guided-diffusion"),
        ((FIXTURES / "adm_tiny.pt", "--plane", "yy"), "two different axes"),
        ((FIXTURES / "adm_tiny.pt", "--window", "hu"), "ct, mr, or LOW:HIGH"),
    ):
        code, said, complaint = coslice("priors", "import", *arguments, "--out", tmp_path / "new.safetensors")
        assert (code, said) == (2, ""), (arguments, said)
        assert len(complaint.strip().splitlines()) == 1, complaint
        assert re.search(told, complaint), complaint
        assert not (tmp_path / "new.safetensors").exists()
    assert not (tmp_path / "exploded").exists()
    code, _, complaint = coslice("priors", "import", FIXTURES / "adm_tiny.pt", "--out", written)
    assert code == 2 and "--overwrite" in complaint and written.read_bytes() == b"mine"
    code, _, complaint = coslice("priors", "import", FIXTURES / "adm_tiny.pt", "--out", tmp_path / "new.pt")
    assert code == 2 and ".safetensors" in complaint
