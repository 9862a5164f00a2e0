"""What a GPU makes of the laws of the projector and of whole runs: the parts of `scripts/gpu_day.sh`.

    python benchmarks/gpu.py environment OUT       what there is
    python benchmarks/gpu.py laws OUT              the projector's laws on the device; the same bits twice; as the CPU
    python benchmarks/gpu.py runs OUT              SVCT, whole, with seconds of each part beside its floor
    python benchmarks/gpu.py summary OUT           summary.md and summary.json of what is in OUT so far

Nothing here reads a scan or asks a network: the object is a phantom, and beside the embedded prior stands a network
with random weights of the size of the published NCSN++ (61.4 M parameters). Every record is a line of OUT/records.jsonl
as soon as it is known.

Environment: DEVICE (auto), SIZE (256 pixels), SLICES ("64 300"), VIEWS (30), STEPS (30), NCSNPP (128, its width),
COMPILED (1; 0 leaves out the runs with compiled networks). On a CPU, TRITON_INTERPRET=1 makes Triton interpret its
kernels.

Floors: of the prior, floating-point operations over the rate of a product of matrices in its type, measured on the
device; of the projector, each volume and each projection moved once over the measured rate of a copy.
"""

from __future__ import annotations

import copy
import json
import os
import platform
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

import coslice
from coslice.devices import chosen_device, compiled, finish, images_at_once, multiplies_bfloat16
from coslice.geometry import Grid
from coslice.methods import changed, find_method
from coslice.metrics import evaluate
from coslice.networks import NCSNpp, NCSNppConfig
from coslice.plans import plan
from coslice.priors import SlicePrior
from coslice.priors.denoisers import VEDenoiser
from coslice.problems import SparseViewCT
from coslice.window import CT_WINDOW

ROOT = Path(__file__).parents[1]
DEVICE = chosen_device(os.environ.get("DEVICE", "auto"))
SIZE = int(os.environ.get("SIZE", "256"))
SLICES = [int(word) for word in os.environ.get("SLICES", "64 300").split()]
VIEWS = int(os.environ.get("VIEWS", "30"))
STEPS = int(os.environ.get("STEPS", "30"))
WIDTH = int(os.environ.get("NCSNPP", "128"))
COMPILED = os.environ.get("COMPILED", "1") != "0"
FEW = 3  # steps of runs that tell what a step of a large network costs


def main(part: str, out: Path) -> None:
    out.mkdir(parents=True, exist_ok=True)
    parts = {"environment": environment, "laws": laws, "runs": runs, "summary": summary}
    if part not in parts:
        raise SystemExit(f"gpu: {part} was given, but it is one of {', '.join(parts)}.")
    parts[part](out)


def keep(out: Path, part: str, name: str, **numbers: Any) -> None:
    """Add a record, on disk before this returns."""
    record = {"part": part, "name": name, **numbers}
    with (out / "records.jsonl").open("a") as file:
        file.write(json.dumps(record) + "\n")
        file.flush()
        os.fsync(file.fileno())
    print(json.dumps(record), flush=True)


def attempted(out: Path, part: str, name: str, work: Callable[[], dict[str, Any]]) -> None:
    """Keep what `work` gives, or why it gave nothing: the next one is tried in any case."""
    began = time.perf_counter()
    try:
        numbers = work()
    except Exception as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0][:300]
        numbers = {"failed": f"{type(error).__name__}: {reason}"}
    keep(out, part, name, **numbers, took=round(time.perf_counter() - began, 2))


def environment(out: Path) -> None:
    found: dict[str, Any] = {"python": platform.python_version(), "cores": os.cpu_count(), "device": str(DEVICE)}
    for name in ("torch", "triton", "numba", "numpy", "scipy"):
        try:
            found[name] = __import__(name).__version__
        except ImportError:
            found[name] = None
    if DEVICE.type == "cuda":
        properties = torch.cuda.get_device_properties(DEVICE)
        found |= {"gpu": properties.name, "memory_gib": round(properties.total_memory / 2**30, 1)}
        found |= {"capability": list(torch.cuda.get_device_capability(DEVICE)), "cuda": torch.version.cuda}
    keep(out, "environment", "machine", **found)
    for dtype in (torch.float32, torch.bfloat16):
        rate = _products(dtype)
        keep(out, "environment", f"products in {str(dtype).removeprefix('torch.')}", tflops=rate)
    keep(out, "environment", "copies", gb_per_s=_copies())


def _seconds(work: Callable[[], object], repeats: int = 5) -> float:
    """The least of some, after one that is not counted."""
    took = []
    for _ in range(repeats + 1):
        finish(DEVICE)
        began = time.perf_counter()
        work()
        finish(DEVICE)
        took.append(time.perf_counter() - began)
    return min(took[1:])


def _products(dtype: torch.dtype) -> float:
    side = 8192 if DEVICE.type == "cuda" else 512
    a = torch.randn(side, side, device=DEVICE).to(dtype)
    return round(2 * side**3 / _seconds(lambda: a @ a) / 1e12, 4)


def _copies() -> float:
    a = torch.empty((2**30 if DEVICE.type == "cuda" else 2**24) // 4, device=DEVICE)
    b = torch.empty_like(a)
    return round(2 * 4 * a.numel() / _seconds(lambda: b.copy_(a)) / 1e9, 1)


def laws(out: Path) -> None:
    """The tests of the projector, on the device; then what only a device can tell."""
    sys.path.insert(0, str(ROOT / "tests"))
    import pytest

    class There:
        def pytest_configure(self, config: Any) -> None:
            import laws

            laws.DEVICE = str(DEVICE)

    def tested() -> dict[str, Any]:
        files = [str(ROOT / "tests" / "operators" / name) for name in ("test_joseph_triton.py", "test_projector.py")]
        chosen = "kernels_of_the_cpu or neither_the_run or (test_laws and not numba)"
        # The fixtures of other tests read scans, which few machines for computing can.
        words = ["-q", "--noconftest", "-p", "no:cacheprovider", "-o", "filterwarnings=", "-m", "slow or not slow"]
        with (out / "laws.txt").open("w") as file:
            before, sys.stdout = sys.stdout, file
            try:
                code = pytest.main([*words, "-k", chosen, "--rootdir", str(ROOT), *files], plugins=[There()])
            finally:
                sys.stdout = before
        return {"exit": int(code), "said": (out / "laws.txt").read_text().strip().splitlines()[-1]}

    attempted(out, "laws", "tests of the projector", tested)
    attempted(out, "laws", "the same bits twice, and as the CPU", _agreement)


def _agreement() -> dict[str, Any]:
    size, slices, steps = min(SIZE, 128), min(SLICES[0], 32), min(STEPS, 10)
    truth, volumes = phantom(slices, size), []
    places = (DEVICE, DEVICE, torch.device("cpu"))
    for place in places:
        given = coslice.load_prior("ct", place)
        volumes.append(_run(truth.to(place), given, steps)[0].reconstruction.cpu())
    decibels = [_psnr(volume, truth) for volume in volumes]
    return {
        "same_bits": bool(torch.equal(volumes[0], volumes[1])),
        "psnr": decibels[0],
        "psnr_cpu": decibels[2],
        "difference_db": max(abs(decibels[0][plane] - decibels[2][plane]) for plane in decibels[0]),
    }


def phantom(slices: int, size: int) -> Tensor:
    """A trunk in the unit window, (slices, size, size): soft tissue, lungs, bones, vessels that wind along z."""
    z, y, x = torch.meshgrid(*(torch.linspace(-1, 1, n) for n in (slices, size, size)), indexing="ij")

    def ellipse(cx: float | Tensor, cy: float | Tensor, rx: float, ry: float) -> Tensor:
        return (((x - cx) / rx) ** 2 + ((y - cy) / ry) ** 2) < 1

    volume = torch.where(ellipse(0.0, 0.0, 0.85, 0.62), 0.40, 0.0)
    for side in (-1, 1):
        volume[ellipse(0.4 * side, -0.05, 0.30, 0.42)] = 0.08
    volume[ellipse(0.0, 0.40, 0.12, 0.11)] = 0.62
    volume[ellipse(0.05 * torch.sin(3 * z), -0.1, 0.17, 0.2)] = 0.41
    for number in range(24):
        phase, out_by = 0.9 * number, 0.12 + 0.012 * number
        across = (0.4 if number % 2 else -0.4) + out_by * torch.cos(2 * z + phase)
        volume[ellipse(across, -0.05 + 1.2 * out_by * torch.sin(2 * z + phase), 0.012, 0.012)] = 0.40
    return volume.clamp(0, 1)


def _problem(truth: Tensor):
    spacing = (1.0, 256 / truth.shape[1], 256 / truth.shape[2])
    return SparseViewCT(views=VIEWS).problem(truth, Grid(tuple(truth.shape), spacing), CT_WINDOW)  # pyright: ignore


def _run(truth: Tensor, prior: SlicePrior, steps: int):
    """A result, the seconds it took, and how often A and A^T were applied."""
    method = changed(find_method("dds", "ct"), {"noise": "iscs", "schedule": {"steps": steps}})
    problem, calls = _problem(truth), {"forward": 0, "adjoint": 0, "gram": 0}
    operator: Any = problem.operator
    for name in calls:
        _count(operator, name, calls)
    planned = plan(problem, method, prior)
    finish(DEVICE)
    began = time.perf_counter()
    result = coslice.run(planned)
    finish(DEVICE)
    return result, time.perf_counter() - began, {**calls, "remarks": list(planned.remarks)}


def _count(operator: Any, name: str, calls: dict[str, int]) -> None:
    own = getattr(operator, name)

    def counted(*given: Any, **named: Any) -> Tensor:
        calls[name] += 1
        return own(*given, **named)

    setattr(operator, name, counted)


def _psnr(volume: Tensor, truth: Tensor) -> dict[str, float]:
    numbers = evaluate(volume, truth, lpips=False)
    return {plane: round(numbers[plane]["psnr"], 3) for plane in ("axial", "coronal", "sagittal")}


def ncsnpp() -> SlicePrior:
    """A prior of the published size, whose network has random weights."""
    torch.manual_seed(0)
    network = NCSNpp(NCSNppConfig(channels=WIDTH))
    denoiser = VEDenoiser(network, (0.01, 378.0))
    return SlicePrior(denoiser, network.config.stride, denoiser.sigma_range, name="ncsnpp-random")


def runs(out: Path) -> None:
    """In order of value; a part that fails or is cut off leaves those before it."""
    attempted(out, "runs", "A and its transpose", lambda: _operators(SLICES[-1]))
    first, last = SLICES[0], SLICES[-1]
    small = torch.bfloat16 if multiplies_bfloat16(DEVICE) else torch.float32

    def embedded() -> SlicePrior:
        return coslice.load_prior("ct", DEVICE)

    def large(dtype: torch.dtype) -> SlicePrior:
        prior = ncsnpp()
        prior.denoiser.to(DEVICE, dtype).to(memory_format=torch.channels_last)  # pyright: ignore
        prior.denoiser.eval().requires_grad_(False)
        return prior

    few = min(STEPS, FEW)
    wanted: list[tuple[str, Callable[[], SlicePrior], int, int, bool]] = [
        ("embedded", embedded, first, STEPS, False),
        ("embedded", embedded, last, STEPS, False),
        ("NCSN++", lambda: large(small), first, few, False),
        ("embedded, compiled", embedded, first, STEPS, True),
        ("embedded, compiled", embedded, last, STEPS, True),
        ("NCSN++, compiled", lambda: large(small), first, few, True),
        ("NCSN++", lambda: large(small), last, few, False),
        ("NCSN++ in float32", lambda: large(torch.float32), first, few, False),
    ]
    for name, made, slices, steps, fused in wanted:
        if COMPILED or not fused:
            attempted(out, "runs", f"{name}, {slices} slices", partial(_whole, made, slices, steps, fused))


def _operators(slices: int) -> dict[str, Any]:
    truth = phantom(slices, SIZE).to(DEVICE)
    problem = _problem(truth)
    x = problem.operator.adjoint(problem.measurement)  # in the order of the kernels
    y = problem.operator.forward(x)
    return {
        "shape": list(truth.shape),
        "forward_s": _seconds(lambda: problem.operator.forward(x)),
        "adjoint_s": _seconds(lambda: problem.operator.adjoint(y)),
        "bytes": 4 * (x.numel() + y.numel()),
        "remark": problem.operator.remark(DEVICE),
    }


def _whole(made: Callable[[], SlicePrior], slices: int, steps: int, fused: bool) -> dict[str, Any]:
    prior = made()
    truth = phantom(slices, SIZE).to(DEVICE)
    image = torch.rand(1, 1, SIZE, SIZE, device=DEVICE)
    prior = replace(prior, batch=images_at_once(DEVICE, lambda: prior(image, 0.1)))
    several = image.expand(prior.batch, -1, -1, -1)
    began = time.perf_counter()
    remark = compiled(prior.network, lambda: prior(several, 0.1)) if fused else ""
    warm_up = time.perf_counter() - began
    # Once in short, so that no kernel is compiled and no library is set up within the seconds.
    _run(truth, prior, 2)
    result, seconds, calls = _run(truth, prior, steps)
    return {
        "slices": slices,
        "size": SIZE,
        "steps": steps,
        "seconds": round(seconds, 3),
        "parts": {name: round(spent, 4) for name, spent in result.seconds.items()},
        "calls": calls,
        "flop_per_slice": _operations(prior),
        "dtype": str(getattr(prior.denoiser, "dtype", torch.float32)).removeprefix("torch."),
        "batch": prior.batch,
        "compiling_s": round(warm_up, 1) if fused else 0.0,
        "remark": remark,
        "psnr": _psnr(result.reconstruction.cpu(), truth.cpu()),
        "bytes": 4 * (truth.numel() + int(torch.tensor(_problem(truth).measurement.shape).prod())),
    }


def _operations(prior: SlicePrior) -> int:
    """Floating-point operations of a slice, those of matrix products and convolutions."""
    network = copy.deepcopy(prior.network).to("meta")
    dtype = next(network.parameters()).dtype
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        network(torch.empty(1, 1, SIZE, SIZE, device="meta", dtype=dtype), torch.empty(1, device="meta"))
    return counter.get_total_flops()


def summary(out: Path) -> None:
    """What is known so far, of every part; cut lines at the end of a file are left out."""
    records = []
    for line in (out / "records.jsonl").read_text().splitlines() if (out / "records.jsonl").exists() else []:
        try:
            records.append(json.loads(line))
        except json.JSONDecodeError:
            continue
    known = {record["name"]: record for record in records}
    rates = {name: known[name]["tflops"] for name in known if name.startswith("products in ")}
    copies = known.get("copies", {}).get("gb_per_s")
    for record in records:
        _beside_floors(record, rates, copies)
    trained = _trained(out)
    (out / "summary.json").write_text(json.dumps({"records": records, "training": trained}, indent=1) + "\n")
    lines = ["# A day with a GPU", "", *_machine(known), ""]
    lines += [f"- {r['name']}: {_said(r)}" for r in records if r["part"] == "laws"]
    lines += ["", "| run | steps | seconds | prior | its floor | data step | its floor | compiling |", "|" + "---|" * 8]
    for record in records:
        if record["part"] == "runs" and "parts" in record:
            parts = record["parts"]
            cells = [record["name"], record["steps"], record["seconds"], parts.get("prior"), record.get("prior_floor")]
            cells += [parts.get("fidelity"), record.get("data_floor"), record["compiling_s"]]
            lines.append("| " + " | ".join("-" if cell is None else str(cell) for cell in cells) + " |")
    lines += [""] + [f"- {r['name']}: {_said(r)}" for r in records if r["part"] == "runs" and "parts" not in r]
    lines += [f"- Training: {trained['said']}"]
    (out / "summary.md").write_text("\n".join(lines) + "\n")


def _beside_floors(record: dict[str, Any], rates: dict[str, float], copies: float | None) -> None:
    if "parts" not in record:
        if copies and "bytes" in record:
            record["floor_s"] = float(f"{record['bytes'] / copies / 1e9:.3g}")
        return
    rate = rates.get(f"products in {record['dtype']}")
    if rate:
        work = record["flop_per_slice"] * record["slices"] * record["steps"]
        record["prior_floor"] = float(f"{work / rate / 1e12:.3g}")
    if copies:
        calls = record["calls"]
        # A^T A is counted as its two parts as well, unless it is one step of its own.
        alone = calls["forward"] + calls["adjoint"]
        applied = alone if alone >= 2 * calls["gram"] else alone + 2 * calls["gram"]
        record["data_floor"] = float(f"{applied * record['bytes'] / copies / 1e9:.3g}")


def _machine(known: dict[str, Any]) -> list[str]:
    machine = known.get("machine")
    if machine is None:
        return ["Nothing is known of the machine."]
    rates = ", ".join(f"{name} {known[name]['tflops']} TFLOP/s" for name in known if name.startswith("products in "))
    copies = f", copies {known['copies']['gb_per_s']} GB/s" if "copies" in known else ""
    versions = ", ".join(f"{name} {machine[name]}" for name in ("python", "torch", "triton", "numba"))
    return [f"{machine.get('gpu', machine['device'])}; {versions}; {rates}{copies}."]


def _said(record: dict[str, Any]) -> str:
    return ", ".join(f"{key} {value}" for key, value in record.items() if key not in ("part", "name"))


def _trained(out: Path) -> dict[str, Any]:
    """What became of the training, or of several, each in its folder."""
    several = {note.parent.name: _trained_in(note.parent) for note in sorted(out.glob("*/training.txt"))}
    if not several:
        return _trained_in(out)
    return {"said": "; ".join(f"{name}: {one['said']}" for name, one in several.items()), "runs": several}


def _trained_in(out: Path) -> dict[str, Any]:
    journal = out / "training" / "log.jsonl"
    note = out / "training.txt"
    if not journal.exists():
        return {"said": note.read_text().strip().splitlines()[-1] if note.exists() else "none"}
    last = journal.read_text().strip().splitlines()[-1:]
    return {"said": last[0] if last else "begun", "files": sorted(p.name for p in journal.parent.iterdir())}


if __name__ == "__main__":
    if len(sys.argv) != 3:
        raise SystemExit(__doc__)
    main(sys.argv[1], Path(sys.argv[2]))
