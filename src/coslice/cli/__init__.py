"""The command line: `coslice demo`, `coslice reconstruct`, `coslice evaluate`."""

from coslice.cli.app import main

__all__ = ["main"]
