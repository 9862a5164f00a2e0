"""Cards that travel name no scan and no place, whichever version wrote them."""

import json
import re

import pytest
from safetensors.torch import save_file

from coslice.networks.unet import UNet
from coslice.priors import embedded_priors, load_prior, read_card, save_prior
from coslice.priors.storage import described_prior
from coslice.priors.travelling_cards import named_card, place_name, recipe_without_names, unnamed, without_names

OLD = {
    "name": "mine",
    "validated_on": ["SMITH_JOHN", "DOE_JANE"],
    "recipe": {
        "init": "/home/smith/runs/first/prior.safetensors",
        "seed": 0,
        "data": {"validation": ["SMITH_JOHN", "DOE_JANE"], "subjects": "/home/smith/list.csv", "plane": "yx"},
    },
}


def test_an_older_card_has_counts_for_names_and_last_parts_for_paths():
    card = without_names(OLD)
    assert card["validated_on"] == {"scans": 2} and card["name"] == "mine"
    assert card["recipe"]["init"] == "first" and card["recipe"]["seed"] == 0
    data = card["recipe"]["data"]
    assert data == {"validation": ["held-out-1", "held-out-2"], "subjects": "list.csv", "plane": "yx"}
    assert not re.search("smith|doe", json.dumps(card), re.IGNORECASE)
    assert OLD["validated_on"] == ["SMITH_JOHN", "DOE_JANE"]  # what was given is as it was
    assert without_names(card) == card and without_names({}) == {}


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("ct", "ct"),
        ("hf:someone/thing/prior.safetensors", "hf:someone/thing/prior.safetensors"),
        ("/home/smith/net.pth", "net.pth"),
        ("C:\\smith\\run7\\prior.safetensors", "run7"),
        ("../prior.safetensors", "prior.safetensors"),
    ],
)
def test_of_a_place_the_last_part_is_left(text, left):
    assert place_name(text) == left


def test_a_file_of_before_is_read_and_written_again_without_names(tmp_path, tiny_prior):
    """Whatever its metadata hold: they are stripped where they are read, so nothing behind knows them."""
    prior = load_prior(tiny_prior)
    old = {**described_prior(prior), "window": prior.window, "plane": prior.plane, "card": OLD}
    path = tmp_path / "SMITH_JOHN.safetensors"
    assert isinstance(prior.network, UNet)
    weights = {key: value.contiguous() for key, value in prior.network.state_dict().items()}
    save_file(weights, path, {"coslice": json.dumps(old)})
    for card in (read_card(path), load_prior(path).card):
        assert not re.search("smith|doe", json.dumps(card), re.IGNORECASE)
    # Sentences call it as its card does, and never by where it lies.
    assert load_prior(path).name == "mine" and load_prior("ct").name == "ct"
    save_prior(tmp_path / "again.safetensors", load_prior(path))
    assert b"SMITH" not in (tmp_path / "again.safetensors").read_bytes()


@pytest.mark.parametrize("name", sorted(embedded_priors()))
def test_the_priors_that_come_along_name_no_scan(name):
    card = read_card(name)
    assert isinstance(card["validated_on"], dict)
    assert not re.search(r"qinl[a-z]+\d|sub-\d", json.dumps(card))


def test_an_imported_checkpoint_is_known_by_its_content_unless_its_name_is_a_published_one(tmp_path):
    for name in ("SMITH_JOHN.pth", "SMITH_checkpoint_95.pth"):
        (tmp_path / name).write_bytes(b"weights")
    mine, known = (named_card(tmp_path / name, "ncsnpp") for name in ("SMITH_JOHN.pth", "SMITH_checkpoint_95.pth"))
    assert re.fullmatch(r"ncsnpp-[0-9a-f]{8}", mine["name"]) and mine["name"].endswith(mine["sha256"])
    assert known["name"] == "checkpoint_95" and known["title"] == "ncsnpp, imported from checkpoint_95"
    (tmp_path / "SMITH_JOHN_config.json").write_text("{}")
    notes = ("plane yx was taken from the name SMITH_JOHN.pth", "read from SMITH_JOHN_config.json")
    assert unnamed(notes, tmp_path / "SMITH_JOHN.pth") == [
        "plane yx was taken from the name CHECKPOINT.pth",
        "read from CONFIG.json",
    ]
    assert "SMITH" not in json.dumps([mine, known])


def test_whose_prior_made_rollouts_is_said_without_its_place():
    rollout = {"tasks": ["zsr-5"], "priors": ["/home/doe/john/prior.safetensors", "mr"]}
    assert recipe_without_names({"rollouts": [rollout]})["rollouts"] == [{**rollout, "priors": ["john", "mr"]}]
