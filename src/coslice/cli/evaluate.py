"""`coslice evaluate`: the published metrics of one file against another."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from coslice.cli.options import option

if TYPE_CHECKING:
    from coslice.volume import Volume

__all__ = ["evaluate"]


def evaluate(
    reconstruction: Annotated[Path, typer.Argument(help="NIfTI, or a folder of one DICOM series.")],
    truth: Annotated[Path, typer.Argument(help="Likewise, on the same grid and in the same units.")],
    window: Annotated[str, option("What is 0 and 1: ct, mr (as the truth has it) or LOW:HIGH.  [ct]")] = "ct",
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
) -> None:
    """Measure RECONSTRUCTION against TRUTH: PSNR, SSIM, LPIPS per plane, and slice differences."""
    from dataclasses import asdict

    import numpy as np

    from coslice.cli.display import say, show_table, warn
    from coslice.cli.terminal import print_json
    from coslice.errors import CosliceError
    from coslice.metrics import evaluate as evaluate_metrics
    from coslice.values import comparable
    from coslice.window import check_window

    check_window(window)
    ours, theirs = _read(reconstruction), _read(truth)
    if ours.shape != theirs.shape or not np.allclose(ours.affine, theirs.affine, atol=1e-3):
        raise CosliceError(
            f"evaluate: {reconstruction.name} is {ours!r} and {truth.name} is {theirs!r}, with origins at "
            f"{_origin(ours)} and {_origin(theirs)} mm, but they must be on the same grid; cut or resample one of them."
        )
    seen, remarks = comparable(ours, theirs, window)
    metrics = evaluate_metrics(seen.to_unit(ours.data), seen.to_unit(theirs.data))
    for remark in remarks:
        warn(remark)
    if as_json:
        print_json(metrics | {"window": asdict(seen), "remarks": list(remarks)})
    else:
        show_table({reconstruction.name: metrics})
        say(f"Window: {seen.low:g} to {seen.high:g} {seen.unit}".rstrip())


def _read(path: Path) -> Volume:
    """The volume in a file, or in a folder of one DICOM series."""
    if path.is_dir():
        from coslice.io.dicom import read_dicom

        return read_dicom(path)
    from coslice.io.nifti import read_nifti

    return read_nifti(path)


def _origin(volume: Volume) -> str:
    return "(" + ", ".join(f"{value:g}" for value in volume.affine[:3, 3]) + ")"
