"""The commands, and what becomes of errors. What the commands do is elsewhere; here they are put together."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from coslice.cli.benchmark import benchmark
from coslice.cli.display import show_table, warn
from coslice.cli.priors import priors
from coslice.cli.reconstruct import demo, reconstruct
from coslice.cli.train import train
from coslice.errors import CosliceError
from coslice.io.nifti import read_nifti
from coslice.metrics import evaluate as evaluate_metrics
from coslice.volume import Volume, check_window, scan_window

__all__ = ["main"]

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Reconstruct 3D medical images with diffusion priors trained on 2D slices.",
)
app.command()(demo)
app.command()(reconstruct)
app.command()(train)
app.command()(benchmark)
app.add_typer(priors, name="priors")


def main() -> None:
    """Entry point of the `coslice` command: bad input is one sentence and exit code 2."""
    try:
        app()
    except CosliceError as error:
        warn(str(error))
        sys.exit(2)
    except KeyboardInterrupt:
        warn("Interrupted; nothing was written.")
        sys.exit(130)


@app.command()
def evaluate(
    reconstruction: Annotated[Path, typer.Argument(help="NIfTI.")],
    truth: Annotated[Path, typer.Argument(help="NIfTI on the same grid, in the same units.")],
    window: Annotated[str, typer.Option(help="What is 0 and 1: ct, mr (as the truth has it) or LOW:HIGH.")] = "ct",
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
) -> None:
    """Measure RECONSTRUCTION against TRUTH: PSNR, SSIM, LPIPS per plane, and slice differences."""
    check_window(window)
    ours, theirs = read_nifti(reconstruction), read_nifti(truth)
    if ours.shape != theirs.shape or not np.allclose(ours.affine, theirs.affine, atol=1e-3):
        raise CosliceError(
            f"evaluate: {reconstruction.name} is {ours!r} and {truth.name} is {theirs!r}, with origins at "
            f"{_origin(ours)} and {_origin(theirs)} mm, but they must be on the same grid; cut or resample one of them."
        )
    seen = scan_window(window, theirs.data)
    metrics = evaluate_metrics(seen.to_unit(ours.data), seen.to_unit(theirs.data))
    if as_json:
        sys.stdout.write(json.dumps(metrics, indent=2, allow_nan=False) + "\n")
    else:
        show_table({reconstruction.name: metrics})


def _origin(volume: Volume) -> str:
    return "(" + ", ".join(f"{value:g}" for value in volume.affine[:3, 3]) + ")"
