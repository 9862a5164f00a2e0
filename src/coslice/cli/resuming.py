"""`coslice reconstruct --resume DIR`: the command of an unfinished run, said again."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import typer

from coslice.errors import CosliceError

__all__ = ["resume_run"]

_COMMANDS = ("reconstruct", "demo")


def resume_run(context: typer.Context, folder: Path) -> None:
    """Go on with the run in a folder, by its own command, in the folder where that was said.

    Its results go where the run is, also when that was moved. A method out of a Python file is not run: who names a
    folder has not read that file.

    Args:
        context: of `coslice reconstruct`.
        folder: of the run.

    Raises:
        CosliceError: other options; no unfinished run; one of no command, of other commands, or of a method in a file.
    """
    from coslice.cli.display import say
    from coslice.methods.own import is_own
    from coslice.output.results_folder import kept_command
    from coslice.parallel import company

    for name in context.params:
        source = context.get_parameter_source(name)
        if name != "resume" and source is not None and source.name == "COMMANDLINE":
            raise CosliceError(
                f"--resume was given with {name.replace('_', '-')}, but the run in {folder} is as it was begun; leave "
                "the one or the other out."
            )
    ranks = company()
    command, out = ranks.from_first(kept_command(folder) if ranks.writes else None), folder.resolve()
    if command is None:
        say(f"The results in {folder} were complete before the run was killed, and are in their places.")
        return
    words, place = command
    parent = context.parent
    known = {} if parent is None else getattr(parent.command, "commands", {})
    if words[0] not in _COMMANDS or words[0] not in known:
        raise CosliceError(f"The run in {folder} was begun by coslice {words[0]}; say that again to go on with it.")
    os.chdir(place)
    with known[words[0]].make_context(words[0], words[1:], parent=parent) as again:
        if again.params.get("resume") is not None:
            raise CosliceError(f"The run in {folder} names no command but --resume; give the whole command.")
        method = again.params.get("method")
        if method is not None and is_own(method):
            raise CosliceError(
                f"The run in {folder} takes its method from {method}, which is a program; if you trust it, give the "
                "whole command."
            )
        again.params["out"] = out
        sys.argv[1:] = words  # what is kept of the run if it is stopped again
        again.command.invoke(again)
