"""Pages of tables from finished benchmarks: docs/tables/NAME.md for each recipe, and docs/tables/index.md.

    python scripts/results.py coslice-benchmark --date 2026-11-30 --machine "two cores of a server CPU" \\
        --priors "ct of 123,000 images"

Every NAME/table.md in the given folder becomes a page, with the command that made it, date, machine and priors;
NAME.iscs, of another protocol, one of its own.
Figures that other pages show are copied by hand.
"""

from __future__ import annotations

import argparse
import re
from pathlib import Path

from coslice.benchmark import shipped_benchmarks
from coslice.io.files import write_text

PAGES = Path(__file__).parents[1] / "docs" / "tables"


def page(table: str, folder: str, made: str) -> str:
    """A table's Markdown, one heading higher, its command below the first, and when and with what it was `made`."""
    higher = re.sub(r"^##", "#", table.strip(), flags=re.MULTILINE)
    heading, rest = higher.split("\n", 1)
    name, _, protocol = folder.partition(".")
    command = f"coslice benchmark {name}" + (f" --protocol {protocol}" if protocol else "")
    return f"{heading}\n\n    {command}\n\n{made}. [All tables](index.md)\n{rest.rstrip()}\n"


def title_of(text: str) -> str:
    """The heading of a page."""
    return text.split("\n", 1)[0].removeprefix("# ")


def main() -> None:
    parser = argparse.ArgumentParser(description="Pages of tables from finished benchmarks, in docs/tables.")
    parser.add_argument("folder", type=Path, help="what was given to coslice benchmark as --out")
    parser.add_argument("--date", required=True)
    parser.add_argument("--machine", required=True)
    parser.add_argument("--priors", required=True, help="which version of the embedded priors")
    chosen = parser.parse_args()
    PAGES.mkdir(exist_ok=True)
    for name in shipped_benchmarks():
        for source in (chosen.folder / name / "table.md", *chosen.folder.glob(f"{name}.*/table.md")):
            if source.is_file():
                folder = source.parent.name
                made = f"{chosen.date}, {chosen.machine}; priors: {chosen.priors}"
                text = page(source.read_text(encoding="utf-8"), folder, made)
                write_text(PAGES / f"{folder}.md", text)
    pages = sorted(path for path in PAGES.glob("*.md") if path.name != "index.md")
    lines = [f"- [{path.stem}]({path.name}): {title_of(path.read_text(encoding='utf-8'))}" for path in pages]
    told = "What they show is told in [the results](../results.md)."
    write_text(PAGES / "index.md", "\n".join(["# Tables", "", told, "", *lines, ""]))


if __name__ == "__main__":
    main()
