"""Operators of others as ours: a deepinv `LinearPhysics`, a scipy or pylops `LinearOperator`.

    operator = coslice.interop.operator_from(physics, shape=(64, 128, 128))
    problem = coslice.LinearProblem(operator, y)          # or at once: coslice.interop.problem_from(physics, y, shape)
    result = coslice.run(problem, "dds", "ct")

All our methods need of an operator is A and its exact transpose. Where the two do not fit each other, a data step walks
away from the measurement without a word; so the pair is tried once, with random x and y,

    <A x, y> = <x, A^T y>,        relative to |A x| |y|,

also for y = A x, where a transpose that is scaled, shifted or mirrored shows most, and a pair that does not fit is
refused.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Callable, Sequence
from itertools import chain
from typing import Any

import numpy as np
import torch
from torch import Tensor

from coslice.errors import CosliceError
from coslice.noise import Key, standard_normal, standard_normals
from coslice.operators import Operator
from coslice.problems import LinearProblem
from coslice.window import Window

__all__ = ["LinearOperatorElsewhere", "PhysicsElsewhere", "operator_from", "problem_from"]

_LINEAR = 1e-3
"""Of |A x|: how far A of a sum may be from the sum of the A's. Whoever lets an inexact A^T through means no such A."""


class _Elsewhere(Operator):
    """A and A^T by somebody else's code, on float32, without a gradient of its own: A^T is that."""

    name: str
    size: str
    """|A x| of a random x, in digits: what tells two operators of one name apart in the record of a run."""

    def forward(self, volume: Tensor) -> Tensor:
        """A x, `domain` -> `codomain`, float32."""
        self._check(volume, self.domain, "a volume", " (z, y, x)")
        return self._forward(volume.detach()).detach()

    def adjoint(self, measurement: Tensor) -> Tensor:
        """A^T y, `codomain` -> `domain`, float32."""
        self._check(measurement, self.codomain, "a measurement", "")
        return self._adjoint(measurement.detach()).detach()

    @abstractmethod
    def _forward(self, volume: Tensor) -> Tensor: ...

    @abstractmethod
    def _adjoint(self, measurement: Tensor) -> Tensor: ...

    def __repr__(self) -> str:
        return f"operator_from({self.name}, {self.domain}), of size {self.size}"

    def _check(self, tensor: Tensor, shape: tuple[int, ...], what: str, axes: str) -> None:
        if tuple(tensor.shape) != shape:
            raise CosliceError(
                f"{self.name}: {what} of shape {tuple(tensor.shape)} was given, {shape}{axes} is needed."
            )


class PhysicsElsewhere(_Elsewhere):
    """A deepinv physics as an operator; made by `operator_from`.

    Attributes:
        physics: with `A` and `A_adjoint`.
        slicewise: whether it sees slices, a batch of them, (z, 1, y, x), and no volumes, (1, 1, z, y, x).
    """

    def __init__(self, physics: Any, shape: tuple[int, int, int], slicewise: bool) -> None:
        self.physics, self.slicewise, self.domain = physics, slicewise, shape
        self.name = type(physics).__name__
        self._type = _type_of(physics)
        measured = self._measured(torch.zeros(shape, device=_device_of(physics)))
        batch = shape[0] if slicewise else 1
        if measured.shape[0] != batch:
            raise CosliceError(
                f"operator_from: {self.name} measures {tuple(measured.shape)} of a batch of {batch}, but the first "
                "axis is to be that of the batch."
            )
        self._whole = tuple(measured.shape)
        # Without a batch of one; and without a channel of one, where an axis follows.
        rest = self._whole[1:]
        rest = rest[1:] if len(rest) > 1 and rest[0] == 1 else rest
        self.codomain = (shape[0], *rest) if slicewise else rest

    def _measured(self, volume: Tensor) -> Tensor:
        # Copies, on both sides: neither side's code may change what the other keeps.
        given = volume.to(self._type, copy=True)
        given = given[:, None] if self.slicewise else given[None, None]
        # With gradients where it takes some: an adjoint may be made by automatic differentiation.
        found = self.physics.A(given)
        if not isinstance(found, Tensor):
            raise CosliceError(
                f"operator_from: {self.name} measures {type(found).__name__}, but one tensor is needed; give one of "
                "the physics that it is made of."
            )
        if found.is_complex():
            raise CosliceError(
                f"operator_from: {self.name} measures complex numbers, real ones are needed; let it return "
                "torch.view_as_real of them."
            )
        return found

    def _forward(self, volume: Tensor) -> Tensor:
        return self._measured(volume).to(torch.float32, copy=True).reshape(self.codomain)

    def _adjoint(self, measurement: Tensor) -> Tensor:
        found = self.physics.A_adjoint(measurement.to(self._type, copy=True).reshape(self._whole))
        if found.numel() != math.prod(self.domain):
            raise CosliceError(
                f"operator_from: the adjoint of {self.name} gives {tuple(found.shape)}, but a volume of {self.domain} "
                "(z, y, x) is needed; correct the shape."
            )
        return found.to(torch.float32, copy=True).reshape(self.domain)


class LinearOperatorElsewhere(_Elsewhere):
    """A `LinearOperator` of scipy or pylops as an operator; made by `operator_from`. It works on the CPU.

    Attributes:
        matrix: with `matvec` and `rmatvec`.
    """

    def __init__(self, matrix: Any, shape: tuple[int, int, int]) -> None:
        self.matrix, self.domain = matrix, shape
        self.codomain = tuple(int(n) for n in getattr(matrix, "dimsd", (matrix.shape[0],)))
        self.name = type(matrix).__name__
        self._type = np.dtype(np.float32 if matrix.dtype is None else matrix.dtype)
        if self._type.kind == "c":
            raise CosliceError(
                f"operator_from: {self.name} is of {self._type}, but real numbers are needed; let it return real and "
                "imaginary part one after the other."
            )
        self._type = np.dtype(np.float64 if self._type == np.float64 else np.float32)

    def remark(self, device: torch.device) -> str:
        if device.type == "cpu":
            return ""
        return f"The network works on {device}, but {self.name} on the CPU: it is of numpy."

    def _forward(self, volume: Tensor) -> Tensor:
        return self._on_vector(self.matrix.matvec, volume, self.codomain)

    def _adjoint(self, measurement: Tensor) -> Tensor:
        return self._on_vector(self.matrix.rmatvec, measurement, self.domain)

    def _on_vector(self, one: Callable[[np.ndarray], Any], tensor: Tensor, shape: tuple[int, ...]) -> Tensor:
        # Copies, on both sides: neither side's code may change what the other keeps.
        found = np.asarray(one(np.array(tensor.cpu().numpy(), dtype=self._type, order="C").reshape(-1)))
        return torch.from_numpy(np.array(found, dtype=np.float32).reshape(shape)).to(tensor.device)


def operator_from(
    thing: Any, shape: Sequence[int] | None = None, slicewise: bool = False, tolerance: float = 1e-4
) -> Operator:
    """A `coslice.Operator` that computes with somebody else's A and A^T.

    Args:
        thing: a deepinv `LinearPhysics` (its noise is left out), or a `LinearOperator` of scipy or pylops.
        shape: (z, y, x) of the volume. None where it says so itself: pylops' `dims`, a physics' `img_size`, if of three
            axes, after a channel of one.
        slicewise: a physics of 2D images, which measures every slice (y, x) of the volume alike.
        tolerance: largest mismatch of A and A^T, see `coslice.interop.operators_from_elsewhere`. Exact pairs in float32
            have about 1e-6. A pair that is known not to be one, as those of some projectors are, can be let through;
            conjugate gradients do not converge with it.

    Returns:
        The operator. Its codomain is the measurement of one volume without axes of the batch, and of a channel where
        that is one: (views, rows, columns), say; (z, ...) of slices. `coslice.interop.problem_from` brings y to it.

    Raises:
        CosliceError: something else; a shape that is missing or does not fit; an A that is not linear, or whose A^T is
            none; complex numbers.
    """
    wanted = _shape("operator_from", thing, shape)
    try:
        found = _made(thing, wanted, slicewise)
        _try(found, tolerance)
    except CosliceError:
        raise
    except (RuntimeError, ValueError, TypeError, IndexError) as error:
        seen = (wanted[0], 1, *wanted[1:]) if slicewise else (1, 1, *wanted)
        advice = (
            "rmatvec is needed beside matvec"
            if hasattr(thing, "matvec")
            else f"it saw {seen}; give the shape that it was made for, and slicewise=True for a physics of 2D images"
        )
        raise CosliceError(
            f"operator_from: {type(thing).__name__} could not be tried: {error or type(error).__name__}; {advice}."
        ) from error
    return found


def _made(thing: Any, wanted: tuple[int, int, int], slicewise: bool) -> _Elsewhere:
    if hasattr(thing, "A") and hasattr(thing, "A_adjoint"):
        return PhysicsElsewhere(thing, wanted, slicewise)
    if not (hasattr(thing, "matvec") and hasattr(thing, "rmatvec")):
        raise CosliceError(
            f"operator_from: {type(thing).__name__} was given, but a deepinv LinearPhysics (A, A_adjoint) or a "
            "LinearOperator of scipy or pylops (matvec, rmatvec) is needed."
        )
    if slicewise:
        raise CosliceError("operator_from: slicewise was said of a LinearOperator, but it is for a physics.")
    if thing.shape[1] != math.prod(wanted):
        raise CosliceError(
            f"operator_from: {type(thing).__name__} has {thing.shape[1]} columns, but a volume of {wanted} (z, y, x) "
            f"has {math.prod(wanted)} voxels."
        )
    return LinearOperatorElsewhere(thing, wanted)


def problem_from(
    thing: Any,
    y: Any,
    shape: Sequence[int] | None = None,
    *,
    noise: float | None = None,
    spacing: tuple[float, float, float] = (1.0, 1.0, 1.0),
    window: Window | None = None,
    slicewise: bool = False,
    tolerance: float = 1e-4,
) -> LinearProblem:
    """A measurement by somebody else's operator, for `coslice.run` with any of our methods.

    Args:
        thing, shape, slicewise, tolerance: see `operator_from`.
        y: what was measured, a tensor or an array, in one axis or in those of the
            operator, with or without a batch of one and a channel of one.
        noise: standard deviation of the noise in y, in its units; None takes that of a physics' `GaussianNoise`, and 0
            of any other.
        spacing: (dz, dy, dx) of the voxels, mm.
        window: what y measured: None is a volume in the unit window, 0 to 1, as priors see it. With a window, y is of a
            volume in the window's unit, HU for one, and is brought to the unit window: (y - A low)/(high - low).

    Raises:
        CosliceError: as `operator_from`; a y that does not fit the operator.
    """
    operator = operator_from(thing, shape, slicewise, tolerance)
    try:
        measured = torch.as_tensor(y if isinstance(y, Tensor) else np.array(y, dtype=_native(y))).detach()
    except (TypeError, ValueError) as error:
        raise CosliceError(f"problem_from: y is a {type(y).__name__}, but a tensor or numbers are needed.") from error
    given, needed = ([n for n in shape if n != 1] for shape in (measured.shape, operator.codomain))
    if measured.is_complex() or given not in (needed, [math.prod(needed)]):
        raise CosliceError(
            f"problem_from: y of shape {tuple(measured.shape)} and type {measured.dtype} was given, but "
            f"{operator.codomain} real numbers are needed: what {type(thing).__name__} measures of a volume of "
            f"{operator.domain} (z, y, x)."
        )
    measured = measured.float().reshape(operator.codomain)
    deviation = _noise_of(thing) if noise is None else noise
    if window is not None:
        low = operator.forward(torch.full(operator.domain, window.low, device=measured.device))
        measured, deviation = (measured - low) / window.width, deviation / window.width
    return LinearProblem(operator, measured, deviation, spacing)


def _native(y: Any) -> np.dtype:
    """The type of numbers in the order of bytes of this machine, which torch needs."""
    return np.asarray(y).dtype.newbyteorder("=")


def _try(operator: _Elsewhere, tolerance: float) -> None:
    """Refuse an A that is not linear, and an A^T that is not its transpose; keep the size of A.

    Raises:
        CosliceError: with the measured mismatch.
    """
    device = _device_of(operator.physics) if isinstance(operator, PhysicsElsewhere) else torch.device("cpu")
    key = Key(0, stream="adjoint")
    x, other = standard_normals(key, (0, 1), operator.domain, device)
    y = standard_normal(key, 2, operator.codomain, device)
    image = operator.forward(x)
    size = _norm(image)
    if not math.isfinite(size):
        raise CosliceError(f"operator_from: {operator.name} gives NaN or infinity for a random volume.")
    operator.size = f"{size:.4g}"
    told = _norm(operator.forward(2.5 * x - 0.5 * other) - 2.5 * image + 0.5 * operator.forward(other))
    told = max(told, _norm(operator.forward(torch.zeros_like(x))))
    if told > _LINEAR * size:
        raise CosliceError(
            f"operator_from: {operator.name} is not linear: A of a sum of two random volumes is off the sum of their A "
            f"by {told / size if size else math.inf:.2g} of its size, or A of 0 is not 0, and at most {_LINEAR:g} is "
            "rounding; leave out what is added to A x, and what is drawn anew at every call."
        )
    mismatch = max(_mismatch(operator, *pair) for pair in ((x, image, y), (x, image, image)))
    if not mismatch <= tolerance:
        raise CosliceError(
            f"operator_from: the adjoint of {operator.name} is not the transpose of its A: <A x, y> and <x, A^T y> of "
            f"random x and y differ by {mismatch:.2g} of |A x| |y|, and at most {tolerance:g} is rounding; correct it, "
            "or let automatic differentiation make it."
        )


def _mismatch(operator: Operator, x: Tensor, image: Tensor, y: Tensor) -> float:
    """|<A x, y> - <x, A^T y>| / (|A x| |y|), of A x = `image`, in float64."""
    apart = abs(float((image.double() * y).sum()) - float((x.double() * operator.adjoint(y)).sum()))
    scale = _norm(image) * _norm(y)
    return apart / scale if scale else apart


def _norm(tensor: Tensor) -> float:
    return float(tensor.double().norm())


def _shape(who: str, thing: Any, given: Sequence[int] | None) -> tuple[int, int, int]:
    said = given
    if said is None:
        size = getattr(thing, "img_size", None)
        said = getattr(thing, "dims", None) if size is None else size[1:] if size[0] == 1 else None
    if said is None or len(said) != 3 or not all(int(n) == n >= 1 for n in said):
        what = (
            f"the shape {tuple(given)} was given" if given is not None else f"{type(thing).__name__} does not say one"
        )
        raise CosliceError(f"{who}: {what}, but the shape (z, y, x) of a volume is needed, as in shape=(64, 128, 128).")
    z, y, x = (int(n) for n in said)
    return z, y, x


def _noise_of(physics: Any) -> float:
    """Of a `GaussianNoise` with one number."""
    model = getattr(physics, "noise_model", None)
    sigma = getattr(model, "sigma", None) if type(model).__name__ == "GaussianNoise" else None
    return float(sigma) if sigma is not None and torch.as_tensor(sigma).numel() == 1 else 0.0


def _held(physics: Any) -> list[Tensor]:
    """Parameters and buffers; a single number says nothing of the arithmetic."""
    if not isinstance(physics, torch.nn.Module):
        return []
    return [one for one in chain(physics.parameters(), physics.buffers()) if one.is_floating_point() and one.ndim]


def _type_of(physics: Any) -> torch.dtype:
    return torch.float64 if any(one.dtype == torch.float64 for one in _held(physics)) else torch.float32


def _device_of(physics: Any) -> torch.device:
    held = _held(physics)
    return held[0].device if held else torch.device("cpu")
