"""`python -m coslice.training`: what `coslice train` does, on a machine that has little more than torch.

No scan can be read there, so DATA is a pack, and settings come as a YAML file or as KEY=VALUE pairs.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from coslice.errors import CosliceError, SaidElsewhere
from coslice.escapes import visible
from coslice.stop_signals import EXITS
from coslice.training.learning.afterwards import average_run, parse_widths
from coslice.training.learning.journal import Listener, record_line
from coslice.training.learning.run_folder import run_settings_of
from coslice.training.learning.training_run import Pace, train
from coslice.tree import assignments, overlay, read_tree


class _Lines(Listener):
    def note(self, text: str) -> None:
        sys.stderr.write(visible(text, lines=True) + "\n")

    def record(self, record: dict[str, Any]) -> None:
        self.note(record_line(record))


def main() -> None:
    """Train; bad input is one sentence and exit code 2."""
    parser = argparse.ArgumentParser(prog="python -m coslice.training", description=__doc__)
    parser.add_argument("data", type=Path, help="folder of a pack")
    parser.add_argument("--out", type=Path, required=True, help="folder of the run; if it holds one, the run goes on")
    parser.add_argument("--config", type=Path, help="YAML of a run")
    parser.add_argument("--set", nargs="*", default=[], metavar="KEY=VALUE", help="as in optimiser.name=muon")
    parser.add_argument("--minutes", type=float, help="stop after so many; the same command goes on")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--compile", action="store_true", help="spend a minute to make steps faster")
    parser.add_argument("--log-every", type=int, default=Pace.log, help="images between lines of the log")
    parser.add_argument("--validate-every", type=int, default=Pace.validate, help="images between validations")
    parser.add_argument("--save-every", type=float, default=Pace.save, help="seconds between checkpoints")
    parser.add_argument(
        "--average", metavar="WIDTH,WIDTH", help="train no more; choose the width of the averaged weights"
    )
    chosen = parser.parse_args()
    try:
        if chosen.average:
            average_run(
                chosen.out, [chosen.data], parse_widths(chosen.average), device=chosen.device, listener=_Lines()
            )
            return
        tree = overlay(read_tree(chosen.config, "train") if chosen.config else {}, assignments(chosen.set))
        settings = run_settings_of(chosen.out, [chosen.data], tree)
        pace = Pace(chosen.log_every, chosen.validate_every, chosen.save_every)
        outcome = train(
            settings, [chosen.data], chosen.out, chosen.device, chosen.minutes, chosen.compile, pace, _Lines()
        )
    except SaidElsewhere:
        sys.exit(2)
    except CosliceError as error:
        sys.stderr.write(f"coslice: {visible(str(error))}\n")
        sys.exit(2)
    sys.exit(EXITS.get(outcome.reason, 0))


if __name__ == "__main__":
    main()
