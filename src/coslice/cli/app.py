"""The commands, and what becomes of errors. What the commands do is elsewhere; here they are put together."""

from __future__ import annotations

import os
import sys
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from coslice.cli.arguments import check_arguments
from coslice.cli.bench import bench
from coslice.cli.benchmark import benchmark
from coslice.cli.cohort import cohort
from coslice.cli.evaluate import evaluate
from coslice.cli.failures import sentence_of_failure
from coslice.cli.inspect import inspect
from coslice.cli.priors import priors
from coslice.cli.reconstruct import demo, reconstruct
from coslice.cli.renamed import sentence_of
from coslice.cli.selection import list_methods
from coslice.cli.streams import lasting_streams
from coslice.cli.terminal import adapt_streams
from coslice.cli.torchrun import over_ranks, refuse_ranks, said_by_first
from coslice.cli.train import train
from coslice.errors import CosliceError, SaidElsewhere
from coslice.stop_signals import EXITS, Stopped

__all__ = ["main"]

# Some versions of typer stand on click, others carry their own copy: this is its class either way.
_USAGE: type[Exception] = typer.BadParameter.__mro__[2]

_UNHEARD = 141
"""Whoever read the standard output has gone: what a shell shows of a program that the system ended for that."""


class _Commands(TyperGroup):
    """All commands; typer would end one that is interrupted without a word."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            raise Stopped("SIGINT", "Interrupted.") from None


app = typer.Typer(
    cls=_Commands,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Reconstruct 3D medical images with diffusion priors trained on 2D slices.",
)
app.command()(demo)
app.command()(over_ranks(reconstruct))
app.command()(cohort)
app.command()(inspect)
app.command()(evaluate)
app.command("methods")(list_methods)
app.command()(train)
app.command()(benchmark)
app.command()(bench)
app.add_typer(priors, name="priors")


def _say_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        typer.echo(f"coslice {version('coslice')}")
        raise typer.Exit


@app.callback()
def _options(
    context: typer.Context,
    version: Annotated[
        bool, typer.Option("--version", callback=_say_version, is_eager=True, help="Print the version and stop.")
    ] = False,
) -> None:
    refuse_ranks(context.invoked_subcommand)


def main() -> None:
    """Entry point of the `coslice` command.

    What the user or the machine can change is one sentence and exit code 2; docs/reliability.md has all codes.
    """
    adapt_streams()
    with lasting_streams() as (stdout, _):
        code = _outcome()
        stdout.flush()
        if code == 0 and stdout.unheard:
            code = _UNHEARD
        elif code == 0 and stdout.refusal is not None:
            reason = (stdout.refusal.strerror or str(stdout.refusal)).lower()
            warn = "The standard output cannot be written to: {}; only words were lost, and files are complete."
            code = _failed(warn.format(reason), 2)
    sys.exit(code)


def _outcome() -> int:
    """Run the command; its exit code."""
    try:
        os.getcwd()
    except OSError:
        return _failed("The current folder is no more, or cannot be entered; change to another one first.", 2)
    try:
        check_arguments(sys.argv[1:])
    except CosliceError as error:
        return 2 if said_by_first() else _failed(str(error), 2)
    try:
        code = app(prog_name="coslice", standalone_mode=False)
        return code if isinstance(code, int) else 0
    except SaidElsewhere:
        return 2
    except CosliceError as error:
        return _failed(str(error), 2)
    except _USAGE as error:
        sentence = "" if said_by_first() else sentence_of(error)
        return _failed(sentence, 2) if sentence else 2  # `coslice` alone has shown its help
    except Stopped as stopped:
        return _failed(str(stopped), EXITS[stopped.signal])
    except (KeyboardInterrupt, typer.Abort):
        return _failed("Interrupted.", EXITS["SIGINT"])
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else 0 if end.code is None else 1
    except Exception as error:
        sentence = sentence_of_failure(error)
        if sentence is None:
            raise
        return _failed(sentence, 2)


def _failed(sentence: str, code: int) -> int:
    try:
        from coslice.cli.display import warn

        warn(sentence)
    except Exception:  # what it stands on is heavy, and may be just what does not fit in here
        sys.stderr.write(f"coslice: {sentence}\n")
    return code
