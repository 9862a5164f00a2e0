"""Pages that the build makes: where they are, and what stands of them on the page they hang from."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

__all__ = ["Made", "write_pages"]


@dataclass(frozen=True)
class Made:
    """What hangs from a page.

    Attributes:
        table: Markdown that the page shows at its end.
        pages: that are listed below it, as the page names them.
    """

    table: str
    pages: list[str]


def write_pages(folder: Path, texts: dict[str, str], suffix: str = ".rst") -> None:
    """The texts as files of a folder, and nothing else; what has not changed is left alone, and not read again."""
    folder.mkdir(exist_ok=True)
    for old in folder.glob(f"*{suffix}"):
        if old.stem not in texts:
            old.unlink()
    for name, text in texts.items():
        path = folder / f"{name}{suffix}"
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            path.write_text(text, encoding="utf-8")
