"""`coslice bench`: what each part of a run takes on this machine, and the least it could take."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated

import typer

from coslice.cli.options import Device, option

__all__ = ["bench"]

_WHOLE = "dds"
_MOST_THREADS, _MOST_RUNS = 10_000, 1000


def bench(
    out: Annotated[list[Path] | None, option("FILE.md or FILE.json for the table; may be repeated.")] = None,
    quick: Annotated[bool, typer.Option("--quick", help="A small volume, and little time for each part.")] = False,
    parts: Annotated[bool, typer.Option("--parts/--no-parts", help="Time the parts.")] = True,
    whole: Annotated[bool, typer.Option("--whole", help="Time whole runs, in processes of their own.")] = False,
    run: Annotated[
        list[str] | None, option(f'With --whole: METHOD and options of coslice reconstruct; repeatable.  ["{_WHOLE}"]')
    ] = None,
    runs: Annotated[int, option("With --whole: processes of each, whose medians are given.  [3]")] = 3,
    scan: Annotated[Path | None, option("With --whole: of what.  [the embedded chest, as large as the parts']")] = None,
    prior: Annotated[str, option("Of the parts: name or file of a prior of single slices of CT.  [ct]")] = "ct",
    threads: Annotated[int | None, option("Threads to work with.  [as many as torch takes]")] = None,
    device: Device = "auto",
) -> None:
    """Time the parts of a reconstruction on this machine, each beside its floor: what its own rates would allow."""
    import sys

    import torch

    from coslice.cli.display import Watch, say, warn
    from coslice.cli.ledger_table import show_ledger
    from coslice.data import embedded_file
    from coslice.devices import chosen_device, machine_words
    from coslice.errors import CosliceError
    from coslice.escapes import shown
    from coslice.io.plain_files import check_plain
    from coslice.timing import SIZES, Ledger, kept, prepared, starts, whole_runs

    for path in out or ():
        if path.suffix not in (".json", ".md"):
            raise CosliceError(f"--out {path} was given, but a name that ends in .json or .md is needed.")
        if path.exists() or not path.parent.is_dir():  # said now, and not after minutes
            check_plain(path if path.parent.is_dir() else path.parent, "give a file for the table, in a folder")
    for name, value, most in (("threads", threads, _MOST_THREADS), ("runs", runs, _MOST_RUNS)):
        if value is not None and not 1 <= value <= most:
            raise CosliceError(f"--{name} {shown(value)} was given, at least 1 and at most {most:,} is needed.")
    asked = [_words(text) for text in run or [_WHOLE]]
    if not whole and (run or scan is not None):
        raise CosliceError("--run or --scan was given without --whole, and parts have a volume of their own; add it.")
    if not (parts or whole):
        raise CosliceError("--no-parts was given without --whole, so nothing is left to time; add it.")
    if scan is not None and not scan.exists():
        raise CosliceError(f"--scan {scan} was given, but it does not exist; give a NIfTI file or a folder of DICOM.")
    if threads is not None:
        torch.set_num_threads(threads)
    place, size = chosen_device(device), SIZES["quick" if quick else "usual"]
    remark = _busy()
    if remark:
        warn(remark)
    lines, wholes, peaks = [], [], None
    with Watch() as watch, watch.task("bench", transient=True) as progress:

        def said(what: str) -> None:
            progress(what, 0, 1)

        if parts:
            said("this machine")
            bench = prepared(size, prior, place, 0.2 if quick else 2.0)
            peaks = bench.peaks
            lines = [*bench.lines(said)]
            said("starts of processes")
            lines += starts(3 if quick else 5)
        if whole:
            cut = [] if scan is not None else ["--slices", f"0:{min(64, size[0])}", "--size", str(size[1])]
            of = [str(embedded_file("chest") if scan is None else scan), *cut, "--device", str(place)]
            wholes = [whole_runs([*of, "--method", *words], runs, said) for words in asked]
    command = shlex.join(["coslice", *(Path(word).name if "/" in word else word for word in sys.argv[1:])])
    ledger = Ledger(command, machine_words(place), size, peaks, lines, wholes, remark)
    show_ledger(ledger)
    for path in out or ():
        kept(ledger, path)
        say(f"Written: {path}")


def _words(text: str) -> list[str]:
    """The words of one --run."""
    from coslice.errors import CosliceError
    from coslice.escapes import shown

    try:
        words = shlex.split(text)
    except ValueError:  # a quotation mark without its other one
        words = []
    if not words:
        raise CosliceError(f"--run {shown(text)} was given, but a method and options are needed, as in 'dds --fast'.")
    return words


def _busy() -> str:
    """Whether others work on this machine, in a sentence; "" where nothing says so."""
    import os

    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else 0.0
    return f"Others worked on this machine (load {load:.1f}): times are too long." if load >= 0.5 else ""
