"""The papers' tables, regenerated: recipes, the grid of reconstructions they ask for, and what is printed of it."""

from coslice.benchmark.formats import latex, markdown, tidy_csv
from coslice.benchmark.grid import complete, keyed_cells, truth_of
from coslice.benchmark.metric import Metric, metric_called
from coslice.benchmark.recipe import Benchmark, Cell, load_benchmark
from coslice.benchmark.shape import shipped_benchmarks
from coslice.benchmark.store import Store
from coslice.benchmark.table import Entry, Row, Table, table_of

__all__ = [
    "Benchmark",
    "Cell",
    "Entry",
    "Metric",
    "Row",
    "Store",
    "Table",
    "complete",
    "keyed_cells",
    "latex",
    "load_benchmark",
    "markdown",
    "metric_called",
    "shipped_benchmarks",
    "table_of",
    "tidy_csv",
    "truth_of",
]
