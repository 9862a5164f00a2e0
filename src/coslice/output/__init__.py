"""A folder of results: the volumes of a run, its metrics, and the record that says how to run it again.

And what is kept of a run until it has ended, so that it can be killed at any moment.
"""

from coslice.output.intervals import Interval, conditions_of, find_intervals
from coslice.output.keeping import Keeper, run_kept
from coslice.output.record import peak_memory_mb, run_record
from coslice.output.results import Measured, measure, titles, write_results
from coslice.output.results_folder import ResultsFolder, open_results

__all__ = [
    "Interval",
    "Keeper",
    "Measured",
    "ResultsFolder",
    "conditions_of",
    "find_intervals",
    "measure",
    "open_results",
    "peak_memory_mb",
    "run_kept",
    "run_record",
    "titles",
    "write_results",
]
