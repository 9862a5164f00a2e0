"""What a row of the glossary is called, and where a link to it leads."""

from __future__ import annotations

import re

__all__ = ["slug", "terms_of"]


def slug(term: str) -> str:
    """The target of a term, made as a code host makes those of headings."""
    return re.sub(r"[^\w\- ]", "", term).strip().lower().replace(" ", "-")


def terms_of(cell: str) -> list[str]:
    """The terms of a first cell: "denoiser, prior" is two, what stands in brackets is another word for the first."""
    words = re.sub(r"\(([^)]*)\)", r", \1", cell).split(",")
    return [word.strip() for word in words if word.strip()]
