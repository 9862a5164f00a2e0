"""Many jobs on many workers: processes of this machine, or those of a Ray cluster; a worker that dies loses no job."""

from coslice.engine.choice import Chosen, check_engine, chosen_engine
from coslice.engine.engine import Engine, Heard
from coslice.engine.job import Context, Finished, Job
from coslice.engine.retries import Queue

__all__ = ["Chosen", "Context", "Engine", "Finished", "Heard", "Job", "Queue", "check_engine", "chosen_engine"]
