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
    protocol: Annotated[
        str, option("How it is measured: unit, iscs, tpdm, diffusionblend, dm4ct or dm4ct-rocks.  [unit]")
    ] = "unit",
    values: Annotated[
        list[str] | None,
        option("What the numbers are: hu, hu+1024, 0:1=-1000:1600, mu/cm:0.193, any; twice: of each.  [found]"),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
) -> None:
    """Measure RECONSTRUCTION against TRUTH: PSNR, SSIM, LPIPS per plane, and slice differences."""
    from dataclasses import asdict

    import numpy as np

    from coslice.cli.display import say, show_table, warn
    from coslice.cli.terminal import print_json
    from coslice.errors import CosliceError
    from coslice.metrics import evaluate as evaluate_metrics
    from coslice.metrics import protocol_called
    from coslice.values import comparable, parse_values
    from coslice.window import check_window

    check_window(window)
    chosen = protocol_called(protocol)
    said = [parse_values(text) for text in values or ()]
    if len(said) > 2:
        raise CosliceError(
            f"--values was given {len(said)} times; once is for both files, twice first for the reconstruction."
        )
    ours, theirs = _read(reconstruction), _read(truth)
    if ours.shape != theirs.shape or not np.allclose(ours.affine, theirs.affine, atol=1e-3):
        raise CosliceError(
            f"evaluate: {reconstruction.name} is {ours!r} and {truth.name} is {theirs!r}, with origins at "
            f"{_origin(ours)} and {_origin(theirs)} mm, but they must be on the same grid; cut or resample one of them."
        )
    compared = comparable(ours, theirs, window, said or None)
    seen = compared.window
    unit = seen.to_unit(compared.truth.data)
    metrics = evaluate_metrics(
        seen.to_unit(compared.reconstruction.data, clip=chosen.outside != "counted"), unit, protocol=chosen
    )
    data_range = chosen.data_range(unit)
    ends = {
        "reconstruction": _ends(compared.reconstruction),
        "truth": _ends(compared.truth),
    }
    for remark in compared.remarks:
        warn(remark)
    if as_json:
        taken = {"protocol": chosen.name, "data_range": data_range, "window": asdict(seen), "values": ends}
        print_json(metrics | taken | {"remarks": list(compared.remarks)})
        return
    show_table({reconstruction.name: metrics}, chosen.name)
    of = f" {seen.unit}".rstrip()
    say(f"Window: {seen.low:g} to {seen.high:g}{of}")
    most = "at most " if chosen.range_of_slice else ""
    say(f"{chosen.sentence} The data range is {most}{data_range * seen.width:g}{of}".rstrip(".") + ".")
    say("Values: " + ", ".join(f"{who} {low:.6g} to {high:.6g}{of}" for who, (low, high) in ends.items()))


def _ends(volume: Volume) -> tuple[float, float]:
    low, high = volume.data.aminmax()
    return float(low), float(high)


def _read(path: Path) -> Volume:
    """The volume in a file, or in a folder of one DICOM series."""
    if path.is_dir():
        from coslice.io.dicom import read_dicom

        return read_dicom(path)
    from coslice.io.nifti import read_nifti

    return read_nifti(path)


def _origin(volume: Volume) -> str:
    return "(" + ", ".join(f"{value:g}" for value in volume.affine[:3, 3]) + ")"
