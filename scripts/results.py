"""Pages of tables from finished benchmarks: docs/tables/NAME.md for each recipe, and docs/tables/index.md.

    python scripts/results.py coslice-benchmark --date 2026-11-30 --machine "two cores of a server CPU"

Every folder NAME/table.md of the given one becomes a page, with the command that made it, the date and the machine.
Figures that other pages show are copied by hand.
"""

from __future__ import annotations

import argparse
import re
from pathlib import Path

from coslice.benchmark import shipped_benchmarks
from coslice.io.files import write_text

PAGES = Path(__file__).parents[1] / "docs" / "tables"


def page(table: str, name: str, date: str, machine: str, options: str) -> str:
    """A table's Markdown, one heading higher, its command below the first."""
    higher = re.sub(r"^##", "#", table.strip(), flags=re.MULTILINE)
    heading, rest = higher.split("\n", 1)
    command = f"coslice benchmark {name}{options}"
    return f"{heading}\n\n    {command}\n\n{date}, {machine}. [All tables](index.md)\n{rest.rstrip()}\n"


def title_of(text: str) -> str:
    """The heading of a page."""
    return text.split("\n", 1)[0].removeprefix("# ")


def main() -> None:
    parser = argparse.ArgumentParser(description="Pages of tables from finished benchmarks, in docs/tables.")
    parser.add_argument("folder", type=Path, help="what was given to coslice benchmark as --out")
    parser.add_argument("--date", required=True)
    parser.add_argument("--machine", required=True)
    parser.add_argument("--options", default="", help='what the commands had besides, as in "--protocol iscs"')
    chosen = parser.parse_args()
    PAGES.mkdir(exist_ok=True)
    options = f" {chosen.options}" if chosen.options else ""
    for name in shipped_benchmarks():
        source = chosen.folder / name / "table.md"
        if source.is_file():
            text = page(source.read_text(encoding="utf-8"), name, chosen.date, chosen.machine, options)
            write_text(PAGES / f"{name}.md", text)
    pages = sorted(path for path in PAGES.glob("*.md") if path.name != "index.md")
    lines = [f"- [{path.stem}]({path.name}): {title_of(path.read_text(encoding='utf-8'))}" for path in pages]
    told = "What they show is told in [the results](../results.md)."
    write_text(PAGES / "index.md", "\n".join(["# Tables", "", told, "", *lines, ""]))


if __name__ == "__main__":
    main()
