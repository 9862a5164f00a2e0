"""`python -m coslice.training SCANS... --out DIR`: train the CT prior, or go on where DIR stopped."""

from __future__ import annotations

import argparse
from pathlib import Path

from coslice.training.loop import Recipe, Trainer
from coslice.training.slices import SlicePool

CT_WINDOW = (-1000.0, 1600.0)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m coslice.training", description=__doc__)
    parser.add_argument("scans", nargs="+", type=Path, help="NIfTI scans in HU, 256x256 slices")
    parser.add_argument("--out", type=Path, required=True, help="folder of the run, resumed when it exists")
    parser.add_argument("--images", type=int, default=200_000, help="length of the run in images")
    parser.add_argument("--decay", type=float, default=0.25, help="last part of the run over which the rate falls")
    parser.add_argument("--quantum", type=float, default=8.0, help="step in HU the scans were rounded to")
    parser.add_argument("--compile", action="store_true", help="fuse small operations with torch.compile")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    recipe = Recipe(decay_from=int(options.images * (1 - options.decay)), decay_to=options.images)
    pool = SlicePool(options.scans, CT_WINDOW, options.quantum)
    trainer = Trainer(pool, recipe, options.out, compiled=options.compile)
    print(f"{len(pool)} slices; starting at {trainer.images} of {recipe.decay_to} images", flush=True)
    for record in trainer.run():
        print(record, flush=True)


if __name__ == "__main__":
    main()
