"""Where pages come from: the templates, and pictures as addresses that need no file."""

from __future__ import annotations

import base64
from functools import lru_cache

from jinja2 import Environment, PackageLoader, StrictUndefined, Template
from markupsafe import Markup

__all__ = ["source", "template", "uri"]

_LOADER = PackageLoader("coslice.report")


@lru_cache(maxsize=1)
def _environment() -> Environment:
    return Environment(loader=_LOADER, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)


def template(name: str) -> Template:
    """A template, such as "page.html"; all extend "base.html", which has the style and the macros."""
    return _environment().get_template(name)


def source(name: str) -> Markup:
    """The text of a file beside the templates, to be put into a page as it is."""
    return Markup(_LOADER.get_source(_environment(), name)[0])


def uri(kind: str, content: bytes) -> str:
    """An address that is its own content, for a picture of MIME type `kind`."""
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"
