"""The parts of a reconstruction, each timed alone, with its floor."""

from __future__ import annotations

import copy
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields, replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from coslice.correlated_noise import Matern
from coslice.data import embedded_scan
from coslice.io.dicom import write_dicom
from coslice.io.nifti import read_nifti, write_nifti
from coslice.methods import ConjugateGradients, WeightedGradients, find_method
from coslice.metrics import Watcher, evaluate, lpips, per_slice
from coslice.noise import Independent, Key, Reading, Slerp
from coslice.output import Measured, write_results
from coslice.plans import plan
from coslice.priors import SlicePrior, load_prior
from coslice.problems import Study, simulate
from coslice.report.run_page import write_run_page
from coslice.runs import Result
from coslice.timing.floors import counted, perceived, projection
from coslice.timing.ledger import Line
from coslice.timing.peaks import PRECISIONS, Peaks, convolutions_of, measured_peaks
from coslice.timing.stopwatch import timed
from coslice.volume import Volume

__all__ = ["SIZES", "Bench", "prepared"]

SIZES = {"usual": (64, 256), "quick": (16, 128)}
"""Slices, and pixels of a side."""

_ITERATIONS = 5  # of conjugate gradients in a data step
_SIGMA = 0.1
_SLICES = 8  # of LPIPS
_CG_VOLUMES = 9  # that an iteration reads and writes: four vectors, two of them twice, in as few passes as there can be


class _Piece(NamedTuple):
    """Work to be timed: `operations` and `moved` bytes are of the whole call, seconds are given for one of `per`."""

    group: str
    name: str
    work: Callable[[], object]
    unit: str = "volume"
    per: float = 1.0
    operations: float = 0.0
    moved: float = 0.0
    rate: str = "arithmetic"
    floored: bool = True


@dataclass(frozen=True)
class Bench:
    """What the parts work on.

    Attributes:
        study: sparse-view CT of the embedded scan, resized and repeated along z.
        prior: of CT.
        device: where they work.
        seconds: to spend on each part.
        peaks: of this machine.
    """

    study: Study
    prior: SlicePrior
    device: torch.device
    seconds: float
    peaks: Peaks

    def lines(self, said: Callable[[str], None] = lambda name: None) -> Iterator[Line]:
        """Time one part after the other.

        Args:
            said: called with the name of a part before it is timed.
        """
        with tempfile.TemporaryDirectory() as folder:
            for pieces in (self._priors, self._projections, self._noises, self._metrics):
                for piece in pieces():
                    said(piece.name)
                    yield self._line(piece)
            for piece in self._files(Path(folder)):
                said(piece.name)
                yield self._line(piece)

    def _line(self, piece: _Piece) -> Line:
        taken = timed(piece.work, self.device, self.seconds, piece.per)
        least = self.peaks.floor(piece.operations, piece.moved, piece.rate) / piece.per if piece.floored else None
        return Line(piece.group, piece.name, piece.unit, taken, least)

    def _priors(self) -> Iterator[_Piece]:
        side = self.study.volume.shape[1]
        count = 2 * torch.get_num_threads() if self.device.type == "cpu" else 16
        for pixels in dict.fromkeys((128, side)):
            images = torch.rand(count, pixels, pixels, device=self.device)
            one, sigma = images[:1, None], torch.full((1,), _SIGMA, device=self.device)
            operations = count * counted(lambda one=one, sigma=sigma: self.prior.denoiser(one, sigma))
            for precision, prior in _in_each(self.prior, self.peaks).items():
                name = f"{prior.name}, {pixels} x {pixels}, {precision}"
                yield _Piece("prior", name, partial(prior, images, _SIGMA), "slice", count, operations, rate=precision)

    def _projections(self) -> Iterator[_Piece]:
        problem = self.study.problem
        operator, y, x = problem.operator, problem.measurement, self._unit
        alone, views = projection(operator), len(y)
        yield _Piece("projector", f"A, {views} views", partial(operator.forward, x), "volume", 1, *alone)
        yield _Piece("projector", f"A^T, {views} views", partial(operator.adjoint, y), "volume", 1, *alone)
        both = 2 * alone[0], 2 * 4.0 * x.numel()  # what lies between is a measurement, which may stay in a cache
        yield _Piece("projector", "A^T A", partial(operator.normal, x), "volume", 1, *both)
        for part in (ConjugateGradients(iterations=_ITERATIONS), WeightedGradients(iterations=_ITERATIONS)):
            step = part.build(problem, "z")
            # The residual it begins with takes one A^T A more than it has iterations.
            operations, moved = ((_ITERATIONS + 1) * one for one in both)
            moved += _ITERATIONS * _CG_VOLUMES * 4.0 * x.numel()
            name = f"data step {part.kind}, {_ITERATIONS} iterations"
            yield _Piece(
                "projector", name, partial(step, self._other, _SIGMA), "iteration", _ITERATIONS, operations, moved
            )
        yield _Piece("projector", "simulated measurement", partial(_measured_again, self.study), floored=False)
        yield _Piece("projector", "first reconstruction (FDK)", problem.initial, "volume", 1, *alone)

    def _noises(self) -> Iterator[_Piece]:
        volume = torch.zeros_like(self._unit)
        for strategy in (Slerp(), Independent(), Matern()):
            noise = strategy.laid_out(Reading("z"), self.study.volume.spacing)
            work = partial(noise.add_, volume, 1.0, Key(0))
            yield _Piece("noise", strategy.kind, work, "volume", 1, moved=2 * 4.0 * volume.numel())

    def _metrics(self) -> Iterator[_Piece]:
        truth, other = self._unit, self._other
        read = 2 * 4.0 * truth.numel()
        yield _Piece("metrics", "PSNR and SSIM, 3 planes", partial(per_slice, other, truth, False), moved=3 * read)
        yield _Piece("metrics", "PSNR and SDiff of a step", partial(Watcher(truth).record, 0, 0.1, other), moved=read)
        pair = other[:_SLICES] * 2 - 1, truth[:_SLICES] * 2 - 1
        operations = len(pair[0]) * perceived(*truth.shape[1:])
        yield _Piece("metrics", "LPIPS", partial(lpips, *pair), "slice", len(pair[0]), operations, rate="float32")

    def _files(self, folder: Path) -> Iterator[_Piece]:
        scan, bytes_ = self.study.volume, 4.0 * self._unit.numel()
        for name in ("volume.nii.gz", "volume.nii"):
            path = folder / name
            yield _Piece("files", f"write {name[6:]}", partial(write_nifti, scan, path), moved=2 * bytes_)
            yield _Piece("files", f"read {name[6:]}", partial(read_nifti, path), moved=2 * bytes_)
        words = {"description": "bench", "derivation": "timed by coslice bench", "overwrite": True}
        series = partial(write_dicom, scan, folder / "dicom", **words)
        yield _Piece("files", "write DICOM", series, "series", 1, moved=1.5 * bytes_)
        written, page = _output(self.study, self._other.cpu(), folder)
        yield _Piece("files", "write results (3 NIfTI, 2 JSON)", written, "run", 1, moved=6 * bytes_)
        yield _Piece("files", "write page and picture", page, "run", 1, moved=3 * bytes_)

    @property
    def _unit(self) -> Tensor:
        assert self.study.unit is not None  # it is simulated
        return self.study.unit

    @property
    def _other(self) -> Tensor:
        """A volume that is not quite the truth."""
        return (0.9 * self._unit + 0.05).contiguous()


def prepared(size: tuple[int, int], prior: str, device: torch.device, seconds: float) -> Bench:
    """Make the problem, load the prior and measure the machine.

    Args:
        size: slices, and pixels of a side.
        prior: name or file of a prior of single slices of CT.
        device: where to work.
        seconds: to spend on each part.
    """
    count, side = size
    scan = embedded_scan().resized(side)
    again = -(-count // len(scan.data))
    study = simulate(Volume(scan.data.repeat(again, 1, 1)[:count], scan.affine), device=str(device))
    loaded = load_prior(prior, device)
    loaded.check_single()
    one, sigma = torch.rand(1, 1, side, side, device=device), torch.full((1,), _SIGMA, device=device)
    layers = convolutions_of(loaded.network, lambda: _asked(loaded, one, sigma))
    return Bench(study, loaded, device, seconds, measured_peaks(device, layers, seconds))


@torch.no_grad()
def _asked(prior: SlicePrior, image: Tensor, sigma: Tensor) -> Tensor:
    return prior.denoiser(image, sigma)


def _in_each(prior: SlicePrior, peaks: Peaks) -> dict[str, SlicePrior]:
    """The prior in each precision that the machine has."""
    chooses = "arithmetic" in {item.name for item in fields(prior)}
    found = {}
    for precision in PRECISIONS:
        if precision not in peaks.convolutions or (precision == "int8" and not chooses):
            continue
        dtype = torch.bfloat16 if "bfloat16" in peaks.convolutions and precision != "float32" else torch.float32
        changes: dict[str, Any] = {"denoiser": copy.deepcopy(prior.denoiser).to(dtype)}
        if chooses:
            changes["arithmetic"] = "int8" if precision == "int8" else "float"
        found[precision] = replace(prior, **changes)
    return found


def _measured_again(study: Study) -> object:
    assert study.task is not None and study.unit is not None
    return study.task.problem(study.unit, study.volume.grid(), study.window)


def _output(study: Study, volume: Tensor, folder: Path) -> tuple[Callable[[], object], Callable[[], object]]:
    """What writes the files of a run, and what writes its page."""
    planned = plan(study.problem, find_method("cgls", study.problem.kind))
    steps = [{"step": step, "sigma": 0.1, "psnr": 30.0 + step, "sdiff": 0.01, "lpips": None} for step in range(30)]
    result = Result(volume, volume.clone(), [dict(step) for step in steps], {"prior": 1.0, "fidelity": 1.0})
    plans, results = {"reconstruction": planned}, {"reconstruction": result}
    truth = study.truth.data if study.unit is None and study.truth is not None else study.unit
    assert truth is not None
    curves = per_slice(volume, truth.cpu(), lpips=False)
    numbers = evaluate(volume, truth.cpu(), curves=curves)
    stems = ("initial", "reconstruction")
    measured = Measured(dict.fromkeys(stems, numbers), dict.fromkeys(stems, curves))
    record = write_results(folder, study, plans, results, measured)
    return (
        partial(write_results, folder, study, plans, results, measured),
        partial(write_run_page, folder, study, plans, results, measured, record),
    )
