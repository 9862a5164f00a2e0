"""Put the tables of finished benchmarks into docs/results.md, between its marks.

    python scripts/results.py coslice-benchmark --date 2026-11-26 --machine "two cores of a server CPU"

Every folder NAME/table.md of the given one becomes a section, with the command that made it, the date and the machine.
Figures that the text shows are copied by hand.
"""

from __future__ import annotations

import argparse
import re
from pathlib import Path

from coslice.benchmark import shipped_benchmarks
from coslice.io.files import write_text

RESULTS = Path(__file__).parents[1] / "docs" / "results.md"
FIRST, LAST = "<!-- tables: scripts/results.py -->\n", "<!-- end of tables -->\n"


def section(table: str, name: str, date: str, machine: str) -> str:
    """A table's Markdown, one heading deeper, its command below the first."""
    deeper = re.sub(r"^#", "##", table.strip(), flags=re.MULTILINE)
    heading, rest = deeper.split("\n", 1)
    return f"{heading}\n\n    coslice benchmark {name}\n\n{date}, {machine}.\n{rest}\n"


def main() -> None:
    parser = argparse.ArgumentParser(description="Put the tables of finished benchmarks into docs/results.md.")
    parser.add_argument("folder", type=Path, help="what was given to coslice benchmark as --out")
    parser.add_argument("--date", required=True)
    parser.add_argument("--machine", required=True)
    options = parser.parse_args()
    tables = {name: options.folder / name / "table.md" for name in shipped_benchmarks()}
    sections = [
        section(path.read_text(encoding="utf-8"), name, options.date, options.machine)
        for name, path in tables.items()
        if path.is_file()
    ]
    text = RESULTS.read_text(encoding="utf-8")
    before, _, rest = text.partition(FIRST)
    _, _, after = rest.partition(LAST)
    write_text(RESULTS, before + FIRST + "\n" + "\n".join(sections) + "\n" + LAST + after)


if __name__ == "__main__":
    main()
