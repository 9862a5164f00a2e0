"""The command line: `coslice demo`, `coslice reconstruct`, `coslice evaluate`."""

import sys

try:
    from coslice.cli.app import main
except KeyboardInterrupt:  # Ctrl-C in the first second, when there is nobody yet to hear it
    sys.stderr.write("coslice: Interrupted.\n")
    raise SystemExit(130) from None

__all__ = ["main"]
