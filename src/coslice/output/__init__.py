"""A folder of results: the volumes of a run, its metrics, and the record that says how to run it again."""

from coslice.output.intervals import Interval, conditions_of, find_intervals
from coslice.output.record import peak_memory_mb, run_record
from coslice.output.results import Measured, measure, titles, write_results

__all__ = [
    "Interval",
    "Measured",
    "conditions_of",
    "find_intervals",
    "measure",
    "peak_memory_mb",
    "run_record",
    "titles",
    "write_results",
]
