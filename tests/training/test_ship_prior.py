"""What comes along: the weights of a run, rounded and packed, and its card."""

import runpy
from pathlib import Path

import pytest
import torch
import yaml

from coslice.io.weight_levels import levels_of
from coslice.networks.edm import EDMDenoiser
from coslice.networks.unet import UNet, UNetConfig
from coslice.priors import SlicePrior, load_prior, save_prior
from small_pairs import packed_phantoms

SCRIPT = Path(__file__).parents[2] / "scripts" / "ship_prior.py"


@pytest.mark.usefixtures("one_thread")
def test_a_shipped_prior_is_that_of_the_run_with_convolutions_of_eight_bits(tmp_path, monkeypatch):
    torch.manual_seed(0)
    network = UNet(UNetConfig(channels=16, multipliers=(1, 2), blocks=1))
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter)
    source, target, entries = tmp_path / "prior.safetensors", tmp_path / "mine.safetensors", tmp_path / "card.yaml"
    card = {"name": "run", "credit": "them", "data": {"plane": "yx", "slice_mm": [5.0, 5.0], "pixel_mm": [8.0, 9.0]}}
    prior = SlicePrior(EDMDenoiser(network, 0.2, 0.3), network.stride, (0.002, 20.0), name="run", card=card)
    save_prior(source, prior, torch.bfloat16)
    entries.write_text(yaml.safe_dump({"title": "Phantoms", "data_licence": "none"}))
    (tmp_path / "scans").mkdir()
    pack = packed_phantoms(tmp_path / "scans", tmp_path / "pack")
    words = [str(SCRIPT), str(source), str(target), "--card", str(entries), "--pack", str(pack), "--held-out", "scan2"]
    monkeypatch.setattr("sys.argv", words)
    runpy.run_path(str(SCRIPT), run_name="__main__")
    before, after = (load_prior(path).network.state_dict() for path in (source, target))
    for name, weights in before.items():
        if weights.ndim == 4:
            stored = after[name].bfloat16().contiguous()
            assert levels_of(stored) is not None or stored[:1].numel() < 16
            # Half a level of 127 to the largest of the channel, and what bfloat16 rounds.
            top = weights.abs().amax((1, 2, 3), keepdim=True)
            assert bool(((after[name] - weights).abs() <= top / 254 + weights.abs() / 256).all())
        else:
            assert torch.equal(after[name], weights)
    shipped = load_prior(target).card
    assert (shipped["name"], shipped["title"], shipped["data_licence"]) == ("mine", "Phantoms", "none")
    assert set(shipped["seen"]["intensity"]) == {"level", "bright", "clipped"} and "credit" not in shipped
    assert target.stat().st_size < source.stat().st_size
