"""The commands, and what becomes of errors. What the commands do is elsewhere; here they are put together."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from coslice.cli.bench import bench
from coslice.cli.benchmark import benchmark
from coslice.cli.evaluate import evaluate
from coslice.cli.inspect import inspect
from coslice.cli.priors import priors
from coslice.cli.reconstruct import demo, reconstruct
from coslice.cli.renamed import sentence_of
from coslice.cli.selection import list_methods
from coslice.cli.terminal import adapt_streams
from coslice.cli.torchrun import over_ranks, refuse_ranks
from coslice.cli.train import train
from coslice.errors import CosliceError, SaidElsewhere
from coslice.stop_signals import EXITS, Stopped

__all__ = ["main"]

# Some versions of typer stand on click, others carry their own copy: this is its class either way.
_USAGE: type[Exception] = typer.BadParameter.__mro__[2]

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Reconstruct 3D medical images with diffusion priors trained on 2D slices.",
)
app.command()(demo)
app.command()(over_ranks(reconstruct))
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
    """Entry point of the `coslice` command: bad input is one sentence and exit code 2."""
    adapt_streams()
    code: object = None
    try:
        code = app(prog_name="coslice", standalone_mode=False)
    except SaidElsewhere:
        sys.exit(2)
    except CosliceError as error:
        _fail(str(error), 2)
    except _USAGE as error:
        sentence = sentence_of(error)
        if not sentence:  # `coslice` alone has shown its help
            sys.exit(2)
        _fail(sentence, 2)
    except Stopped as stopped:
        _fail(str(stopped), EXITS[stopped.signal])
    except (KeyboardInterrupt, typer.Abort):
        _fail("Interrupted.", EXITS["SIGINT"])
    sys.exit(code if isinstance(code, int) else 0)


def _fail(sentence: str, code: int) -> None:
    from coslice.cli.display import warn

    warn(sentence)
    sys.exit(code)
