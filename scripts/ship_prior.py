"""A prior that comes along, from the file of a finished run: rounded, packed, its card completed.

    python scripts/ship_prior.py RUN/prior.safetensors src/coslice/data/priors/NAME.safetensors --card NAME.yaml \
        --pack RUN/slices --held-out SCAN

NAME.yaml holds entries of the card that no run knows: title, version, licence, data_licence, data_credit, not_for,
training. Then measure it, on the same scans for every version of the prior:

    coslice priors measure src/coslice/data/priors/NAME.safetensors SCAN... --write

Weights of convolutions are rounded to 8 bits, levels of a step for each output channel
(`coslice.io.weight_levels`), and stay bfloat16.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch

from coslice.io.documents import read_yaml
from coslice.io.weight_levels import on_levels
from coslice.priors import load_prior, save_prior
from coslice.training.collection.pack import open_pack
from coslice.training.collection.pack_brightness import write_intensity


def main() -> None:
    parser = argparse.ArgumentParser(description="Make a prior that comes along.")
    parser.add_argument("source", type=Path, help="prior.safetensors of a run")
    parser.add_argument("target", type=Path)
    parser.add_argument("--card", type=Path, required=True, help="YAML of entries")
    parser.add_argument("--pack", type=Path, required=True, help="the slices it was trained on")
    parser.add_argument("--held-out", nargs="*", default=[], help="scans of the pack that it was not trained on")
    chosen = parser.parse_args()
    pack, known = open_pack(chosen.pack), read_yaml(chosen.card)
    if set(chosen.held_out) - set(pack.names) or not isinstance(known, dict):
        parser.error("--held-out must name scans of the pack, and --card a file of entries")
    prior = load_prior(chosen.source)
    network = prior.network.to(torch.bfloat16)  # pyright: ignore[reportCallIssue, reportArgumentType]
    with torch.no_grad():
        for parameter in network.parameters():
            if parameter.ndim == 4:
                parameter.copy_(on_levels(parameter.contiguous()))
    prior.card.update(known, name=chosen.target.stem)
    prior.card.pop("credit", None)
    save_prior(chosen.target, prior, torch.bfloat16, packed=True)
    write_intensity(chosen.target, pack, tuple(name for name in pack.names if name not in chosen.held_out))


if __name__ == "__main__":
    main()
