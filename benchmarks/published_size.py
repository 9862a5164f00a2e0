"""What published checkpoints take, at their published size: file, import, evaluation, reconstruction, a small table.

    python benchmarks/published_size.py                             # three networks; minutes of one core, 6 GB
    python benchmarks/published_size.py --networks ncsnpp --json out.json --table out.md
    python benchmarks/published_size.py --only-evaluations          # leaves out reconstructions and the small table
    python benchmarks/published_size.py --tiny --size 32            # tries the script itself

The files are written here as their authors' code writes them, names, shapes and parts beside the weights, with random
numbers for weights: what they take is what the real ones take, and what comes out is worth nothing. Each command is
what a user types, in a process of its own: `coslice priors import`, `coslice reconstruct` with one evaluation for each
slice, and `coslice benchmark` with the recipe of docs/checkpoints.md. Between them one process loads the prior and
asks it for single images, in the weights' own type and in 8-bit integers.

Seconds are those of the processor, which other work on the machine hardly changes, and of one core, since an image is
one thread's. Private memory is what a process holds beside pages of files, which the system takes back when it needs
them. Hours of Table 1 are extrapolated.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import platform
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from coslice.data import embedded_file
from coslice.networks import GuidedUNet, GuidedUNetConfig, NCSNpp, NCSNppConfig
from coslice.priors import load_prior
from coslice.priors.slices import EIGHT_BITS_FROM
from coslice.schedule import Geometric

PAGE = Path(__file__).parents[1] / "docs" / "checkpoints.md"
FREQUENCIES = "all_modules.0.W"
TABLE_1 = {"SVCT, 256 x 256 x 300": (300, 30), "LACT, 256 x 256 x 300": (300, 30), "MRI SR, 256 x 256 x 256": (256, 20)}
"""Groups of Table 1 of the ISCS paper: images of a volume, evaluations of the network."""
ROWS = 5
"""Of each group that ask the network."""


@dataclass(frozen=True)
class Kind:
    """A kind of published file.

    Attributes:
        title: for the table.
        file: its name.
        published, tiny: shape of the network, and of a small one of the kind.
        write: (network, path): as the authors' code saves it.
        images: options of `coslice priors import`.
        method: options of `coslice reconstruct`.
        together: slices that one evaluation answers for.
    """

    title: str
    file: str
    published: NCSNppConfig | GuidedUNetConfig
    tiny: NCSNppConfig | GuidedUNetConfig
    write: Callable[[nn.Module, Path], None]
    images: tuple[str, ...]
    method: str = "dds"
    together: int = 1

    def network(self, tiny: bool) -> nn.Module:
        """With random weights."""
        config = self.tiny if tiny else self.published
        return drawn(NCSNpp(config) if isinstance(config, NCSNppConfig) else GuidedUNet(config))


@dataclass(frozen=True)
class Taken:
    """What a process took.

    Attributes:
        seconds, processor: wall seconds, and those of the processor.
        peak_mb, private_mb: the most memory it held, and of that what is its own; None where the system says neither.
    """

    seconds: float
    processor: float
    peak_mb: float | None
    private_mb: float | None


def drawn(network: nn.Module, seed: int = 0) -> nn.Module:
    """`network` with random weights of a size that keeps what goes through it of the size of 1."""
    generator = torch.Generator().manual_seed(seed)
    for name, parameter in network.named_parameters():
        if not name.endswith(FREQUENCIES):  # drawn already, and never trained
            scale = 0.3 if parameter.ndim < 2 else 1 / math.sqrt(parameter[0].numel())
            parameter.data = torch.randn(parameter.shape, generator=generator) * scale
    return network.eval().requires_grad_(False)


def write_score_sde(network: nn.Module, path: Path) -> None:
    """What score_sde saves: Adam's two moments, the trained weights by name, their averages without names."""
    state = network.state_dict()
    trained = [name for name, _ in network.named_parameters() if name != FREQUENCIES]
    moments = {
        number: {"step": torch.tensor(7.0), "exp_avg": state[name] * 1e-3, "exp_avg_sq": state[name] ** 2}
        for number, name in enumerate(trained)
    }
    groups = [{"lr": 2e-4, "betas": (0.9, 0.999), "eps": 1e-8, "params": list(range(len(trained)))}]
    # Of the size of their averages, but no multiple of them, as training leaves them.
    model = {f"module.{name}": state[name].roll(1) if name in trained else state[name] for name in state}
    average = {"decay": 0.999, "num_updates": 7, "shadow_params": [state[name] for name in trained]}
    optimizer = {"state": moments, "param_groups": groups}
    torch.save({"optimizer": optimizer, "model": model, "ema": average, "step": 7}, path)


def write_guided(network: nn.Module, path: Path) -> None:
    """What guided diffusion saves: the averaged weights by name."""
    torch.save(network.state_dict(), path)


def write_blend(network: nn.Module, path: Path) -> None:
    """What DiffusionBlend's training saves."""
    torch.save({"state_dict": network.state_dict(), "iterations": 7}, path)


_TINY = {"channels": 32, "multipliers": (1, 2), "attention": (1,), "head_channels": 64}
_CT = ("--plane", "yx", "--window", "ct")
KINDS = {
    "ncsnpp": Kind(
        "NCSN++ of ISCS, DiffusionMBIR, TPDM", "checkpoint_70.pth", NCSNppConfig(),
        NCSNppConfig(channels=16, multipliers=(1, 2), blocks=1), write_score_sde, _CT,
    ),
    "guided": Kind(
        "guided diffusion of DDS", "AAPM256_1M.pt", GuidedUNetConfig(), GuidedUNetConfig(**_TINY), write_guided,
        (*_CT, "--range", "0:1"),
    ),
    "blend": Kind(
        "guided diffusion of DiffusionBlend, 3 slices", "LIDC_triplane3D_finetune_cond.ckpt",
        GuidedUNetConfig(image_channels=3, classes=4), GuidedUNetConfig(image_channels=3, classes=4, **_TINY),
        write_blend, (*_CT, "--range", "-1:1", "--classes", "1,3"), "diffusionblend++", 3,
    ),
}  # fmt: skip


def main() -> None:
    """Measure, print the tables, and write them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--networks", nargs="+", choices=list(KINDS), default=list(KINDS), help="which [all]")
    parser.add_argument("--size", type=int, default=256, help="pixels of a side, of the embedded chest [256]")
    parser.add_argument("--slices", type=int, default=9, help="of it, at least 7 [9]")
    parser.add_argument("--threads", type=int, default=1, help="of every process [1]")
    parser.add_argument("--tiny", action="store_true", help="small networks of the same kinds, to try the script")
    parser.add_argument("--only-evaluations", action="store_true", help="no coslice reconstruct and no benchmark")
    parser.add_argument("--folder", type=Path, help="where the files go and stay [a temporary folder, 4 GB a network]")
    parser.add_argument("--json", type=Path, help="file to write all numbers to")
    parser.add_argument("--table", type=Path, help="Markdown file to write the tables to")
    parser.add_argument("--write", nargs=2, metavar=("NAME", "FILE"), help="only write the checkpoint of one network")
    parser.add_argument("--ask", metavar="FILE", help="only ask an imported prior for single images")
    chosen = parser.parse_args()
    if chosen.write:
        name, file = chosen.write
        KINDS[name].write(KINDS[name].network(chosen.tiny), Path(file))
        return
    if chosen.ask:
        print(json.dumps(asked(chosen.ask, chosen.size)))
        return
    if not 7 <= chosen.slices <= 40:
        parser.error(f"--slices {chosen.slices} was given, but from 7 to 40 are needed")
    with tempfile.TemporaryDirectory() as temporary:
        folder = chosen.folder or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        found: dict[str, Any] = {"machine": machine(chosen.threads), "size": chosen.size, "slices": chosen.slices}
        found["networks"] = {}
        for name in chosen.networks:
            found["networks"][name] = network(KINDS[name], name, chosen, folder)
            keep(found, chosen)
        if not chosen.only_evaluations and "ncsnpp" in chosen.networks:
            found["table"] = small_table(folder / KINDS["ncsnpp"].file, folder, chosen.threads)
    keep(found, chosen)
    print("\n".join(tables(found)))


def keep(found: dict[str, Any], chosen: argparse.Namespace) -> None:
    """Write what is known so far: the next network takes minutes."""
    found["machine"]["load_after"] = load()
    if chosen.json:
        chosen.json.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
    if chosen.table:
        chosen.table.write_text("\n".join(tables(found)) + "\n", encoding="utf-8")


def load() -> float | None:
    """Processes that want a core, on average of the last 15 minutes; None where the system does not say."""
    return round(os.getloadavg()[2], 1) if hasattr(os, "getloadavg") else None


def machine(threads: int) -> dict[str, Any]:
    """What it is, and how busy with other work before this began."""
    system = f"{platform.system()} {platform.machine()}"
    return {"system": system, "cores": os.cpu_count(), "threads": threads, "load_before": load()}


def network(kind: Kind, name: str, chosen: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """One kind of file from the beginning to the end."""
    file, prior = folder / kind.file, folder / f"{name}.safetensors"
    said(f"{kind.title}: the file")
    # In a process of its own, and not with this one's memory: a child begins with what its parent holds.
    tiny = ["--tiny"] if chosen.tiny else []
    script = [sys.executable, __file__]
    measured([*script, "--write", name, str(file), *tiny], chosen.threads)
    said("import")
    words = ["priors", "import", str(file), *kind.images, "--out", str(prior), "--overwrite"]
    imported, card = measured(coslice(*words), chosen.threads)
    parameters = re.search(r"^parameters: ([\d,]+)$", card, re.MULTILINE)
    assert parameters is not None
    found = {
        "title": kind.title,
        "parameters": int(parameters[1].replace(",", "")),
        "together": kind.together,
        "file_gb": file.stat().st_size / 1e9,
        "imported_gb": prior.stat().st_size / 1e9,
        "import": asdict(imported),
    }
    said("single images")
    taken, numbers = measured([*script, "--ask", str(prior), "--size", str(chosen.size)], 1)
    found |= {"evaluations": json.loads(numbers), "asking": asdict(taken)}
    if chosen.only_evaluations:
        return found
    said("reconstruct")
    first, out = 32 - chosen.slices // 2, folder / name
    words = ["reconstruct", str(embedded_file("chest")), "--size", str(chosen.size), "--prior", str(prior)]
    words += ["--slices", f"{first}:{first + chosen.slices}", "--method", kind.method, "--steps", "1"]
    taken, _ = measured(coslice(*words, "--out", str(out), "--overwrite"), chosen.threads)
    record = json.loads((out / "run.json").read_text(encoding="utf-8"))
    phases = {"phases": record["seconds"]["reconstruction"], "arithmetic": record["arithmetic"]["reconstruction"]}
    return found | {"reconstruct": asdict(taken) | phases}


def asked(file: str, size: int) -> dict[str, float]:
    """Processor seconds of loading a prior, of the first image in integers, for which weights are packed, and of one
    more; and of one in the weights' own type."""
    began = time.process_time()
    prior = load_prior(file)
    found = {"load": time.process_time() - began}
    image = torch.rand((1, prior.channels, size, size), generator=torch.Generator().manual_seed(0))
    label = None if prior.classes is None else torch.tensor(prior.classes[:1])
    for name, arithmetic in (("int8_first", "int8"), ("int8", "int8"), ("float", "float")):
        began = time.process_time()
        if not bool(replace(prior, arithmetic=arithmetic)(image, 0.3, label).isfinite().all()):
            sys.exit(f"{file}: its answer is no number, so this measures nothing")
        found[name] = time.process_time() - began
    return found


def small_table(file: Path, folder: Path, threads: int) -> dict[str, Any]:
    """The recipe of the page, with one file under the names of both of its priors, which say what their images were."""
    said("coslice benchmark")
    coronal = folder / "BMR_ZSR_256_YZ" / "checkpoint.pth"
    coronal.parent.mkdir(exist_ok=True)
    coronal.unlink(missing_ok=True)
    coronal.hardlink_to(file)
    found = re.search(r"```yaml\n(like: table1\n.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    assert found is not None
    (folder / "small.yaml").write_text(found[1], encoding="utf-8")
    words = ["benchmark", f"{folder / 'small.yaml'}:paper", "--out", str(folder / "benchmark")]
    for scan in ("chest", "brain"):
        words += ["--scan", f"{scan}={embedded_file(scan)}"]
    for prior, weights in (("ct.slices", file), ("zsr.slices", coronal)):
        words += ["--prior", f"{prior}={weights}"]
    return asdict(measured(coslice(*words), threads)[0])


def coslice(*words: str) -> list[str]:
    """The command."""
    return [sys.executable, "-m", "coslice", *words]


def measured(command: Sequence[str], threads: int) -> tuple[Taken, str]:
    """Run a command to its end and look at it all the time: what it took, and printed. End this script if it fails."""
    peak = private = 0.0
    before, began = os.times(), time.perf_counter()
    environment = os.environ | {"OMP_NUM_THREADS": str(threads), "COLUMNS": "500"}
    with tempfile.TemporaryFile("w+") as printed, tempfile.TemporaryFile("w+") as heard:
        process = subprocess.Popen(command, stdout=printed, stderr=heard, env=environment)
        while process.poll() is None:
            now, own = memory(process.pid)
            peak, private = max(peak, now), max(private, own)
            time.sleep(0.02)
        seconds, after = time.perf_counter() - began, os.times()
        if process.returncode:
            heard.seek(0)
            sys.exit(f"{' '.join(command[1:5])} ... failed: {heard.read().strip()[-500:]}")
        printed.seek(0)
        text = printed.read()
    processor = after.children_user + after.children_system - before.children_user - before.children_system
    return Taken(seconds, processor, peak or None, private or None), text


def memory(process: int) -> tuple[float, float]:
    """The most that a process has held, and what is its own now, in MB; zeros where the system does not say."""
    try:
        status = Path(f"/proc/{process}/status").read_text(encoding="ascii")
        numbers = [re.search(rf"{word}:\s+(\d+) kB", status) for word in ("VmHWM", "RssAnon")]
    except OSError:
        return 0.0, 0.0
    most, own = (0.0 if number is None else int(number[1]) / 1024 for number in numbers)
    return most, own


def said(what: str) -> None:
    print(what, file=sys.stderr, flush=True)


def hours(found: dict[str, Any], images: int, evaluations: int, arithmetic: str) -> float:
    """Of the network alone, extrapolated: a volume of so many images, with the published levels, 5 to 0.01."""
    each = found["evaluations"]
    levels = Geometric(evaluations, 5.0, 0.01).sigmas()[:-1]
    rounded = 0 if arithmetic == "float" else sum(level >= EIGHT_BITS_FROM for level in levels)
    calls = math.ceil(images / found["together"])
    return calls * (rounded * each["int8"] + (len(levels) - rounded) * each["float"]) / 3600


def tables(found: dict[str, Any]) -> list[str]:
    """Markdown: what was measured, then what is extrapolated."""
    size, host = found["size"], found["machine"]
    lines = [
        f"{found['slices']} slices of {size} x {size}, {host['threads']} thread(s) on {host['cores']} cores; processes "
        f"that wanted a core: {host['load_before']} before, {host['load_after']} at the end",
        "",
        "| network | parameters | file, imported | import | load | float32 | integers | reconstruct |",
        "|---|---:|---|---|---:|---:|---:|---|",
    ]
    for one in found["networks"].values():
        each, taken, run = one["evaluations"], one["import"], one.get("reconstruct", {})
        loaded = each["load"] + each["int8_first"] - each["int8"]
        lines.append(
            f"| {one['title']} | {one['parameters'] / 1e6:.1f} M | {one['file_gb']:.2f}, {one['imported_gb']:.2f} GB | "
            f"{taken['processor']:.0f} s; {gigabytes(taken['peak_mb'])}, own {gigabytes(taken['private_mb'])} | "
            f"{loaded:.1f} s | {each['float']:.1f} s | {each['int8']:.1f} s | "
            f"{gigabytes(run.get('peak_mb'))}, own {gigabytes(run.get('private_mb'))} |"
        )
    if "table" in found:
        taken = found["table"]
        lines += ["", f"Small table: {taken['processor'] / 60:.1f} minutes, {gigabytes(taken['peak_mb'])}."]
    lines += ["", "Extrapolated, hours of the network alone on one such core:", "", "| | float32 | auto |"]
    lines += ["|---|---:|---:|"]
    if "ncsnpp" in found["networks"]:
        one = found["networks"]["ncsnpp"]
        groups = {
            name: [ROWS * hours(one, *group, how) for how in ("float", "auto")] for name, group in TABLE_1.items()
        }
        groups["Table 1"] = [sum(column) for column in zip(*groups.values(), strict=True)]
        lines += [f"| {name}, {ROWS} rows | {each[0]:.0f} | {each[1]:.0f} |" for name, each in groups.items()]
    for one in found["networks"].values():
        each = [hours(one, 300, 30, how) for how in ("float", "auto")]
        lines.append(f"| {one['title']}: 300 slices, 30 evaluations | {each[0]:.1f} | {each[1]:.1f} |")
    return lines


def gigabytes(mb: float | None) -> str:
    return "-" if mb is None else f"{mb / 1024:.1f} GB"


if __name__ == "__main__":
    main()
