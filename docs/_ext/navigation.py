"""Which page stands where. A page that is in no list fails the build; one that is not written yet is left out."""

from __future__ import annotations

from pathlib import Path

__all__ = ["CARDS", "NAVIGATION", "SHOWN", "listed"]

NAVIGATION = {
    "Get started": ["quick-start", "your-own-scan", "questions", "migration"],
    "User guide": [
        *("mr-super-resolution", "priors", "checkpoints", "own-method", "own-noise"),
        *("uncertainty", "lesions", "benchmarks", "many-machines", "many-processes", "reliability"),
        *("notebooks", "other-samplers", "foreign-priors", "our-parts-elsewhere"),
    ],
    "Gallery": ["gallery/index"],
    "Reference": ["reference", "command-line", "glossary"],
    "Background": ["how-iscs-works", "theory", "weighted", "as-published", "protocols", "design"],
    "Results": ["results", "tables/index", "whole-scans", "dm4ct", "performance"],
    "Project": ["changes", "contributing", "citing"],
}
"""Pages by the heading they stand under beside every page, in the order in which they are read."""

CARDS = {
    "quick-start": ("Quick start", "From nothing to a reconstruction in five minutes."),
    "your-own-scan": ("Your own scan", "DICOM, NIfTI or raw projections in, a report and volumes out."),
    "gallery/index": ("Gallery", "Short scripts with the pictures they make."),
    "how-iscs-works": ("How it works", "Why slices disagree, and what ties them."),
    "reference": ("Python reference", "Every part with its shapes, units and errors."),
    "command-line": ("Command line", "Every command with its options."),
    "results": ("Results", "What was measured, and with which command."),
    "migration": (
        "Migration",
        "From the code of ISCS, DDS, DiffusionMBIR, TPDM or DiffusionBlend; from TIGRE, ASTRA, RTK, deepinv or MONAI.",
    ),
}
"""Where the first page leads."""

SHOWN = {"changes": "CHANGELOG.md", "contributing": "CONTRIBUTING.md"}
"""Pages that show a file from outside of docs/."""


def listed(docs: Path, pages: list[str]) -> list[str]:
    """Those of the pages that are written, or made by the build."""
    made = {"gallery/index": docs.parent / "examples" / "gallery"}
    return [page for page in pages if made.get(page, docs / f"{page}.md").exists()]
