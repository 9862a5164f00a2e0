"""The ledger of time on the terminal."""

from __future__ import annotations

from collections.abc import Sequence

from coslice.cli.display import plain_table, say, show
from coslice.timing import HEADS, Ledger, Line

__all__ = ["show_ledger"]


def show_ledger(ledger: Ledger) -> None:
    """The machine, and a table of parts and of each whole run: seconds, spread, floor and ratio."""
    say(f"{ledger.machine}. {ledger.peak_words}".rstrip())
    for whole in ledger.whole:
        say("", whole.command, *whole.words.split("\n"))
        _show(whole.lines)
    if ledger.lines:
        count, side = ledger.size
        say("", f"Parts, {count} slices of {side} x {side} pixels")
        _show(ledger.lines)


def _show(lines: Sequence[Line]) -> None:
    table = plain_table()
    for number, head in enumerate(HEADS):
        table.add_column(head, justify="left" if number < 2 else "right", no_wrap=number > 0)
    group = ""
    for line in lines:
        if line.group != group:
            group = line.group
            table.add_row(group, style="bold")
        table.add_row(*line.cells)
    show(table)
