"""Where matplotlib keeps its list of fonts: settled before it is imported, since it asks then.

It is the first import of this room. Without a home, matplotlib makes a folder for every process, in the current one if
need be, and says so at length; without any place it cannot be imported.
"""

from __future__ import annotations

import os

from coslice.private_folders import keep_privately

__all__ = ["DRAWING_PLACE"]

_USUAL = (("XDG_CONFIG_HOME", "~/.config"), ("XDG_CACHE_HOME", "~/.cache"))

keep_privately("MPLCONFIGDIR", "matplotlib", *(f"{os.environ.get(name) or usual}/matplotlib" for name, usual in _USUAL))

DRAWING_PLACE = os.environ.get("MPLCONFIGDIR")
"""The folder that was settled; None where the usual ones will do."""
