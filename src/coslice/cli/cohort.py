"""`coslice cohort`: its options."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from coslice.cli.options import Device, option

__all__ = ["cohort"]

_WORKERS = "Workers"


def cohort(
    manifest: Annotated[
        Path,
        typer.Argument(
            help="CSV with a row a scan: scan, its place; name, of its folder; any option of coslice reconstruct; "
            "set.PATH; #WORDS, a note."
        ),
    ],
    out: Annotated[Path, typer.Option(help="Folder for the results; what is done there is not done again.")],
    recipe: Annotated[
        Path | None, option("YAML: options of coslice reconstruct for all scans, and settings in set.")
    ] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Do again what another recipe made, or of another scan.")
    ] = False,
    plan: Annotated[bool, typer.Option("--plan", help="Check everything, say what is to do, stop.")] = False,
    table: Annotated[bool, typer.Option("--table", help="Write tables and page of what is there, stop.")] = False,
    engine: Annotated[
        str | None, option("ray, or local: processes of this machine.  [ray, where it helps]", _WORKERS)
    ] = None,
    address: Annotated[str | None, option("Of a Ray cluster: HOST:PORT, or auto.", _WORKERS)] = None,
    workers: Annotated[int | None, option("Scans at once.  [one a GPU, else one for 4 cores]", _WORKERS)] = None,
    threads: Annotated[int | None, option("Of each worker.  [the cores, shared out]", _WORKERS)] = None,
    retries: Annotated[int, option("After a worker was killed or had no memory.  [2]", _WORKERS)] = 2,
    share: Annotated[
        str | None, option("K/N: of N commands in one folder this is number K, from 0; for job arrays.", _WORKERS)
    ] = None,
    device: Device = "auto",
) -> None:
    """Reconstruct every scan of MANIFEST by one recipe, on many workers; a table and a page of all of them.

    Start it again, and it does what lacks. A scan that cannot be reconstructed is named, and the others are done.
    """
    from coslice.cli.cohort_run import Cohorting, run_cohort

    wished = Cohorting(manifest, recipe, out, share, overwrite, plan, table, device)
    code = run_cohort(wished, engine, address, workers, threads, retries)
    if code:
        raise typer.Exit(code)
