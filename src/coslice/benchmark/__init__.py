"""The papers' tables, regenerated: recipes, the grid of reconstructions they ask for, and what is printed of it."""

from coslice.benchmark.cell_keys import NUMERICS, Keyed, keyed_cells
from coslice.benchmark.definition import Benchmark, Cell, load_benchmark
from coslice.benchmark.engine_cells import BenchmarkCall, complete_on
from coslice.benchmark.fitting import Fitting
from coslice.benchmark.formats import latex, markdown, tidy_csv
from coslice.benchmark.grid import check_lesions, complete, truth_of
from coslice.benchmark.lesion_numbers import lesion_boxes, lesion_numbers, number_key
from coslice.benchmark.metric import Metric, metric_called
from coslice.benchmark.other_protocols import finished_records, remeasured
from coslice.benchmark.outline import first_reconstruction, outline, sweep
from coslice.benchmark.recipe_content import COUNTED, Figure
from coslice.benchmark.recipe_file import shipped_benchmarks
from coslice.benchmark.rows import TRUTH
from coslice.benchmark.slice_figure import SliceFigure
from coslice.benchmark.store import Store, digest_of
from coslice.benchmark.table import Entry, Records, Row, Table, entry_of, table_of

__all__ = [
    "COUNTED",
    "NUMERICS",
    "TRUTH",
    "Benchmark",
    "BenchmarkCall",
    "Cell",
    "Entry",
    "Figure",
    "Fitting",
    "Keyed",
    "Metric",
    "Records",
    "Row",
    "SliceFigure",
    "Store",
    "Table",
    "check_lesions",
    "complete",
    "complete_on",
    "digest_of",
    "entry_of",
    "finished_records",
    "first_reconstruction",
    "keyed_cells",
    "latex",
    "lesion_boxes",
    "lesion_numbers",
    "load_benchmark",
    "markdown",
    "metric_called",
    "number_key",
    "outline",
    "remeasured",
    "shipped_benchmarks",
    "sweep",
    "table_of",
    "tidy_csv",
    "truth_of",
]
