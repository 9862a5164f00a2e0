"""Which engine, how many workers, and how many threads of each: so that cores are neither idle nor fought for."""

from __future__ import annotations

import os
from dataclasses import dataclass
from importlib.util import find_spec

from coslice.engine.engine import Engine
from coslice.errors import CosliceError
from coslice.escapes import shown
from coslice.threads import usable_cores

__all__ = ["Chosen", "check_engine", "chosen_engine", "cores_here", "shared_out"]

_MOST = 10_000
"""Workers, and threads of each: beyond that no machine starts them, and asking for them is a slip."""
_USUAL_THREADS = 4
"""Of a worker, where nothing else is said: more help one scan less than another worker helps the cohort."""


@dataclass(frozen=True)
class Chosen:
    """An engine, ready to run.

    Attributes:
        engine: it.
        said: a sentence on what was chosen.
    """

    engine: Engine
    said: str


def cores_here() -> int:
    """The cores that this process may use; of a job of Slurm those that it was given."""
    cores = usable_cores()
    given = os.environ.get("SLURM_CPUS_PER_TASK", "")
    return max(1, min(cores, int(given))) if given.isdigit() and int(given) else cores


def shared_out(cores: int, jobs: int, workers: int | None = None, threads: int | None = None) -> tuple[int, int]:
    """Workers, and threads of each.

    Args:
        cores: that there are.
        jobs: that there are; no more workers are made, unless they are asked for.
        workers, threads: as asked for.
    """
    if workers is None:
        each = min(_USUAL_THREADS, cores) if threads is None else threads
        workers = max(1, min(jobs, cores // each))
    return workers, max(1, cores // workers) if threads is None else threads


def check_engine(
    name: str | None, address: str | None, workers: int | None, threads: int | None, device: str = "auto"
) -> str | None:
    """Refuse what no engine can be; arguments are those of `chosen_engine`.

    Returns:
        The address of the cluster, which RAY_ADDRESS may give; None where there is none.

    Raises:
        CosliceError: another name, a number below 1 or above 10,000, Ray is not installed, an address for "local", or
            a device that this machine, which is to work, does not have.
    """
    if name not in (None, "ray", "local"):
        raise CosliceError(f'engine: "{name}" was given, but ray or local is needed.')
    for what, number in (("workers", workers), ("threads", threads)):
        if number is not None and not 1 <= number <= _MOST:
            raise CosliceError(f"{what}: {shown(number)} was given, at least 1 and at most {_MOST:,} is needed.")
    if name == "local" and address is not None:
        raise CosliceError(f"--address {address} was given with --engine local, which has none; leave one of them out.")
    if name != "local" and address is None:
        address = os.environ.get("RAY_ADDRESS") or None  # as Ray's own programs do
    if find_spec("ray") is None and (name == "ray" or address is not None):
        raise CosliceError(
            'engine: Ray was asked for, but it is not installed; install it with pip install "coslice[cluster]", or '
            "use --engine local."
        )
    if address is None and device.startswith("cuda"):
        if not _gpus(device):  # asked without a context on it, which is the workers' to have
            raise CosliceError(f'device: "{device}" was given, but this machine has no such GPU; try cpu.')
    elif address is None:
        from coslice.devices import chosen_device

        chosen_device(device)
    return address


def chosen_engine(
    jobs: int,
    name: str | None = None,
    address: str | None = None,
    workers: int | None = None,
    threads: int | None = None,
    device: str = "auto",
) -> Chosen:
    """The engine for so many jobs.

    Without a name it is Ray where an address is given, also as RAY_ADDRESS, or where Ray is installed and more than
    one worker is to work; else the processes of this machine.

    Args:
        jobs: how many there are to do.
        name: "ray", "local" or None.
        address: of a Ray cluster, see `connected`.
        workers: at once; by default as many as there are GPUs, else one for every four cores.
        threads: of each; by default the cores that there are, shared out.
        device: "cpu" leaves GPUs alone; one of several, as in "cuda:1", is used alone.

    Raises:
        CosliceError: as of `check_engine`; Ray is not there.
    """
    address = check_engine(name, address, workers, threads, device)
    installed = find_spec("ray") is not None
    given = os.environ.get("OMP_NUM_THREADS", "")
    if threads is None and given.isdigit() and int(given):
        threads = int(given)
    cores, gpus = cores_here(), _gpus(device)
    if address is not None:
        return _of_cluster(jobs, address, workers, threads, device)
    if gpus:
        count, each = shared_out(cores, jobs, min(jobs, len(gpus)) if workers is None else workers, threads)
    else:
        count, each = shared_out(cores, jobs, workers, threads)
    many = count * each > cores
    crowd = "; they share cores, which fewer --workers or --threads would not" if many else ""
    what = f"{_number(count, 'worker')}, {_number(each, 'thread')} each, on {_number(cores, 'core')}"
    what += f" and {_number(len(gpus), 'GPU')}{crowd}." if gpus else f"{crowd}."
    if name == "ray" or (name is None and installed and count > 1):
        from coslice.engine.ray_cluster import RayEngine, connected

        connected(None, max(cores, count * each), len(gpus))
        share = min(1.0, len(gpus) / count) if gpus else 0.0
        return Chosen(RayEngine(count, each, share), f"Engine: a Ray of this machine, {what}")
    from coslice.engine.local import LocalEngine

    return Chosen(LocalEngine(count, each, gpus), f"Engine: processes of this machine, {what}")


def _of_cluster(jobs: int, address: str, workers: int | None, threads: int | None, device: str) -> Chosen:
    from coslice.engine.ray_cluster import RayEngine, connected

    cores, gpus, largest = connected(address, 0, 0)
    many, cards = max(1, int(cores)), 0 if device == "cpu" else int(gpus)
    if cards:
        count, each = shared_out(many, jobs, min(jobs, cards) if workers is None else workers, threads)
    else:
        count, each = shared_out(many, jobs, workers, threads)
    if threads is None:
        each = max(1, min(each, int(largest)))
    elif each > largest:
        raise CosliceError(
            f"threads: {threads} was given, but the largest machine of the cluster has {_number(int(largest), 'core')}."
        )
    share = min(1.0, cards / count) if cards else 0.0
    what = f"{_number(count, 'worker')}, {_number(each, 'thread')} each; it has {_number(many, 'core')}"
    what += f" and {_number(cards, 'GPU')}" if cards else ""
    return Chosen(RayEngine(count, each, share), f"Engine: the Ray cluster at {address}, {what}.")


def _gpus(device: str) -> tuple[str, ...]:
    """The GPUs to use, as CUDA_VISIBLE_DEVICES has them; none for a device that is not CUDA's."""
    if device != "auto" and not device.startswith("cuda"):
        return ()
    import torch

    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    seen = [word.strip() for word in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if word.strip()]
    names = seen if len(seen) == count else [str(number) for number in range(count)]
    if device.startswith("cuda:"):
        number = device.partition(":")[2]
        return (names[int(number)],) if number.isdigit() and int(number) < count else ()
    return tuple(names)


def _number(count: int, what: str) -> str:
    return f"{count} {what}" if count == 1 else f"{count} {what}s"
