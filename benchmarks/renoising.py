"""What noise that ties slices costs: seconds and memory of re-noising a volume, strategy beside strategy.

    python benchmarks/renoising.py [--size 64 256 256] [--repeats 9]

Seconds are medians over repeats in which the strategies take turns, so that a busy moment hits all alike.
Memory is by how much the peak of a fresh process grows while it re-noises a volume it already holds.
"""

from __future__ import annotations

import argparse
import multiprocessing
import resource
import statistics
import time

import torch

from coslice.correlated_noise import Anchors, Matern, OrnsteinUhlenbeck
from coslice.mixed_noise import Mixed
from coslice.noise import Identical, Independent, Key, Slerp, Strategy

STRATEGIES = (Independent(), Identical(), Slerp(), OrnsteinUhlenbeck(), Matern(), Anchors(), Mixed())
NOISES: dict[str, Strategy] = {strategy.kind: strategy for strategy in STRATEGIES}


def renoise(volume: torch.Tensor, name: str, step: int) -> float:
    began = time.perf_counter()
    NOISES[name].add_(volume, 0.1, Key(0, step))
    return time.perf_counter() - began


def memory(size: tuple[int, int, int], name: str) -> float:
    """Growth of this process's peak memory, MB."""
    volume = torch.ones(size)
    renoise(volume[:1, :32, :32], name, 0)  # what a first call loads is not what a call holds
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    renoise(volume, name, 1)
    return (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--size", type=int, nargs=3, default=(64, 256, 256), metavar=("Z", "Y", "X"))
    parser.add_argument("--repeats", type=int, default=9)
    options = parser.parse_args()
    volume = torch.ones(*options.size)
    seconds: dict[str, list[float]] = {name: [] for name in NOISES}
    for step in range(options.repeats + 1):
        for name, values in seconds.items():
            spent = renoise(volume, name, step)
            if step:
                values.append(spent)
    medians = {name: statistics.median(values) for name, values in seconds.items()}
    size = " x ".join(map(str, options.size))
    print(f"re-noising {size} ({volume.nbytes / 1e6:.1f} MB), {torch.get_num_threads()} threads")
    print(f"{'noise':<14}{'seconds':>10}{'ratio':>8}{'fastest':>10}{'memory, MB':>13}")
    fresh = multiprocessing.get_context("spawn")
    for name, median in medians.items():
        with fresh.Pool(1) as process:
            held = process.apply(memory, (tuple(options.size), name))
        ratio = median / medians["independent"]
        print(f"{name:<14}{median:>10.4f}{ratio:>8.2f}{min(seconds[name]):>10.4f}{held:>13.1f}")


if __name__ == "__main__":
    main()
