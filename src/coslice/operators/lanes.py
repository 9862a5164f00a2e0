"""Resampling between a voxel column and the detector rows that see it, 16 at once with AVX-512, 8 with AVX2.

Row j lies at z = a + b j, in voxels. Compilers leave both directions scalar, or emit gathers, which are slow. Yet, of
a register with n lanes,

* n neighbouring rows look at voxels that lie within 2 n of one another (b up to 1.9): two registers hold them, and
  a permutation of the two finds what all n rows need;
* the transpose is the same the other way round: voxel k is seen by the rows j with |a + b j - k| < 1, by at most
  `candidates(b)` of them, and those of n voxels lie within 2 n rows (b from 0.6 up).

Both compute z by one fused multiply-add of the same float32 numbers, so that one is the transpose of the other to
rounding. A row or a voxel gets the same sums in the same order in a lane of either register. numba has no word for a
permutation, so these two loops are written in LLVM's language.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

__all__ = [
    "MARGIN",
    "PITCHES",
    "WIDTH",
    "add_rows",
    "add_voxels_of_2",
    "add_voxels_of_3",
    "add_voxels_of_4",
    "available",
]


@cache
def _features() -> frozenset[str]:
    """Names of what numba compiles for here, such as "avx2"."""
    from numba.core.registry import cpu_target

    target: Any = cpu_target.target_context
    *_, features = target.codegen().magic_tuple()  # what kernels on disk are kept by, too
    return frozenset(name[1:] for name in features.split(",") if name.startswith("+"))


def available() -> bool:
    """Whether numba compiles for a CPU with AVX-512, or with AVX2 and fused multiply-adds, here."""
    return "avx512f" in _features() or {"avx2", "fma"} <= _features()


WIDTH = 16 if "avx512f" in _features() else 8
"""Rows, or voxels, at once."""
MARGIN = 2 * WIDTH
"""Zeros that `add_voxels` needs before and behind the rows."""
PITCHES = (0.6, 1.9)
"""Row pitches b, in voxels, that two registers are enough for."""

_INT, _FLOAT = ir.IntType(32), ir.FloatType()
_INTS, _FLOATS = ir.VectorType(_INT, WIDTH), ir.VectorType(_FLOAT, WIDTH)
_KIND = f"v{WIDTH}f32"
_LOG2 = WIDTH.bit_length() - 1


class _Code:
    """What both loops are written with: one method for an instruction on all lanes."""

    def __init__(self, context: Any, builder: ir.IRBuilder) -> None:
        self.context, self.builder = context, builder
        self.lane = ir.Constant(_INTS, list(range(WIDTH)))
        self.zero = ir.Constant(_FLOATS, [0.0] * WIDTH)

    def call(self, name: str, result: ir.Type, *arguments: Any) -> Any:
        kind = ir.FunctionType(result, [argument.type for argument in arguments])
        return self.builder.call(cgutils.get_or_insert_function(self.builder.module, kind, name), arguments)

    def all(self, value: Any) -> Any:
        kind = ir.VectorType(value.type, WIDTH)
        first = self.builder.insert_element(ir.Constant(kind, ir.Undefined), value, ir.Constant(_INT, 0))
        return self.builder.shuffle_vector(first, first, ir.Constant(_INTS, [0] * WIDTH))

    def number(self, value: float) -> Any:
        return ir.Constant(_FLOATS, [value] * WIDTH)

    def index(self, value: Any) -> Any:
        """An int64 as an int32 in all lanes."""
        return self.all(self.builder.trunc(value, _INT))

    def fma(self, a: Any, b: Any, c: Any) -> Any:
        return self.call(f"llvm.fma.{_KIND}", _FLOATS, a, b, c)

    def pick(self, low: Any, index: Any, high: Any) -> Any:
        """Of the numbers in two registers the ones at `index`."""
        if WIDTH == 16:
            return self.call("llvm.x86.avx512.vpermi2var.ps.512", _FLOATS, low, index, high)
        # AVX2 permutes one register, by the lower bits of the index.
        one, other = (self.call("llvm.x86.avx2.permps", _FLOATS, half, index) for half in (low, high))
        return self.builder.select(self.below(index, ir.Constant(_INTS, [WIDTH] * WIDTH)), one, other)

    def least(self, a: Any, b: Any) -> Any:
        return self.builder.select(self.builder.fcmp_ordered("<", a, b), a, b)

    def most(self, a: Any, b: Any) -> Any:
        return self.builder.select(self.builder.fcmp_ordered(">", a, b), a, b)

    def below(self, index: Any, count: Any) -> Any:
        """Which lanes have 0 <= index < count."""
        return self.builder.icmp_unsigned("<", index, count)

    def place(self, array: Any, kind: Any, offset: Any) -> Any:
        data = self.context.make_array(kind)(self.context, self.builder, array).data
        return self.builder.bitcast(self.builder.gep(data, [offset]), _FLOATS.as_pointer())

    def load(self, place: Any, mask: Any | None = None) -> Any:
        if mask is None:
            return self.builder.load(place, align=4)
        return self.call(f"llvm.masked.load.{_KIND}.p0", _FLOATS, place, ir.Constant(_INT, 4), mask, self.zero)

    def store(self, value: Any, place: Any, mask: Any | None = None) -> None:
        if mask is None:
            self.builder.store(value, place, align=4)
        else:
            self.call(f"llvm.masked.store.{_KIND}.p0", ir.VoidType(), value, place, ir.Constant(_INT, 4), mask)

    def prefetch(self, place: Any) -> None:
        byte = self.builder.bitcast(place, ir.IntType(8).as_pointer())
        self.call("llvm.prefetch.p0", ir.VoidType(), byte, *(ir.Constant(_INT, n) for n in (0, 3, 1)))

    @contextmanager
    def blocks(self, first: Any, last: Any) -> Iterator[tuple[Any, Any]]:
        """A loop over blocks of `WIDTH` from one to another, both included: the first lane, and all as float32."""
        builder, kind = self.builder, first.type
        start, stop = (builder.mul(block, ir.Constant(kind, WIDTH)) for block in (first, last))
        numbers = builder.sitofp(builder.add(self.index(start), self.lane), _FLOATS)
        before, loop, after = builder.block, builder.append_basic_block(), builder.append_basic_block()
        builder.cbranch(builder.icmp_signed("<=", first, last), loop, after)
        builder.position_at_end(loop)
        at, lanes = builder.phi(kind), builder.phi(_FLOATS)
        yield at, lanes
        following = builder.add(at, ir.Constant(kind, WIDTH))
        more = builder.icmp_signed("<=", following, stop)
        for phi, initial, later in ((at, start, following), (lanes, numbers, builder.fadd(lanes, self.number(WIDTH)))):
            phi.add_incoming(initial, before)
            phi.add_incoming(later, builder.block)
        builder.cbranch(more, loop, after)
        builder.position_at_end(after)


@intrinsic  # type: ignore[misc]
def add_rows(typingctx, sums, at, volume, near, far, near_weight, far_weight, a, b, count, first, last, ahead):
    """Add (near_weight volume[near + z] + far_weight volume[far + z]) at z = a + b j to sums[at + j].

    Linear between voxels, 0 beyond 0 <= z < count. Rows j of the blocks of `WIDTH` from `first` to `last`. What the
    rays will need next, about `ahead` and as far from it as `far` from `near`, is asked for from memory.
    """
    whole, single = types.int64, types.float32
    signature = types.void(
        sums, whole, volume, whole, whole, single, single, single, single, whole, whole, whole, whole
    )

    def emit(context, builder, signature, arguments):
        sums, at, volume, near, far, near_weight, far_weight, a, b, count, first, last, ahead = arguments
        code = _Code(context, builder)
        w0, w1, a, b, many = (*map(code.all, (near_weight, far_weight, a, b)), code.index(count))
        none = ir.Constant(count.type, 0)
        room = builder.sub(count, ir.Constant(count.type, 2 * WIDTH - 1))
        room = builder.select(builder.icmp_signed(">", room, none), room, none)
        with code.blocks(first, last) as (j, row):
            z = code.fma(b, row, a)
            floor = code.call(f"llvm.floor.{_KIND}", _FLOATS, z)
            fraction, voxel = builder.fsub(z, floor), builder.fptosi(floor, _INTS)
            bottom = builder.extract_element(voxel, ir.Constant(_INT, 0))
            below = builder.sub(voxel, code.all(bottom))
            above = builder.add(below, ir.Constant(_INTS, [1] * WIDTH))
            start = builder.sext(bottom, at.type)
            for column in (ahead, builder.add(ahead, builder.sub(far, near))):
                code.prefetch(code.place(volume, signature.args[2], builder.add(column, start)))

            def mixed(half, mask):
                offset = builder.add(start, ir.Constant(at.type, half))
                one, other = (
                    code.load(code.place(volume, signature.args[2], builder.add(column, offset)), mask)
                    for column in (near, far)
                )
                return code.fma(w1, other, builder.fmul(w0, one))

            inside = builder.icmp_unsigned("<", start, room)
            with builder.if_else(inside) as (then, otherwise):
                with then:
                    low, high = (mixed(half, None) for half in (0, WIDTH))
                    left = builder.block
                with otherwise:
                    seen = builder.add(code.all(bottom), code.lane)
                    low_, high_ = (
                        mixed(half, code.below(builder.add(seen, code.all(ir.Constant(_INT, half))), many))
                        for half in (0, WIDTH)
                    )
                    right = builder.block
            held = []
            for one, other in ((low, low_), (high, high_)):
                phi = builder.phi(_FLOATS)
                phi.add_incoming(one, left)
                phi.add_incoming(other, right)
                held.append(phi)
            here, there = code.pick(held[0], below, held[1]), code.pick(held[0], above, held[1])
            place = code.place(sums, signature.args[0], builder.add(at, j))
            total = builder.fadd(code.load(place), here)
            code.store(code.fma(fraction, builder.fsub(there, here), total), place)
        return context.get_dummy_value()

    return signature, emit


def _add_voxels(candidates: int) -> Any:
    @intrinsic  # type: ignore[misc]
    def add_voxels(
        typingctx, out, near, far, near_weight, far_weight, rows, at, a, b, inverse, start, count, first, last
    ):
        whole, single = types.int64, types.float32
        signature = types.void(
            out, whole, whole, single, single, rows, whole, single, single, single, single, whole, whole, whole
        )

        def emit(context, builder, signature, arguments):
            out, near, far, near_weight, far_weight, rows, at, a, b, inverse, start, count, first, last = arguments
            code = _Code(context, builder)
            w0, w1, a, b, inverse, start = map(code.all, (near_weight, far_weight, a, b, inverse, start))
            many = code.index(count)
            one = ir.Constant(_INTS, [1] * WIDTH)

            def body(k, z, masked):
                row = code.call(f"llvm.ceil.{_KIND}", _FLOATS, code.fma(z, inverse, start))
                number = builder.fptosi(row, _INTS)
                lowest = builder.extract_element(number, ir.Constant(_INT, 0))
                index = builder.sub(number, code.all(lowest))
                held = [
                    code.load(
                        code.place(
                            rows,
                            signature.args[5],
                            builder.add(builder.add(at, builder.sext(lowest, at.type)), ir.Constant(at.type, half)),
                        )
                    )
                    for half in (0, WIDTH)
                ]
                away = builder.sub(far, near)
                for column in (builder.add(far, away), builder.sub(near, away)):  # where the next rays will add
                    code.prefetch(code.place(out, signature.args[0], builder.add(column, k)))
                total = None
                for candidate in range(candidates):
                    if candidate:
                        row, index = builder.fadd(row, code.number(1.0)), builder.add(index, one)
                    seen = code.fma(b, row, a)
                    below = builder.fsub(seen, builder.fsub(z, code.number(1.0)))
                    above = builder.fsub(builder.fadd(z, code.number(1.0)), seen)
                    if candidate == candidates - 1:
                        weight = above
                    elif candidate == 0 and candidates == 3:
                        weight = below
                    else:
                        weight = code.least(below, above)
                    weight = code.most(weight, code.zero)
                    value = code.pick(held[0], index, held[1])
                    total = builder.fmul(weight, value) if total is None else code.fma(weight, value, total)
                mask = code.below(builder.fptosi(z, _INTS), many) if masked else None
                for column, share in ((near, w0), (far, w1)):
                    place = code.place(out, signature.args[0], builder.add(column, k))
                    code.store(code.fma(share, total, code.load(place, mask)), place, mask)

            whole_blocks = builder.ashr(count, ir.Constant(count.type, _LOG2))
            whole_last = builder.sub(whole_blocks, ir.Constant(count.type, 1))
            inside = builder.icmp_signed("<=", last, whole_last)
            with code.blocks(first, builder.select(inside, last, whole_last)) as (k, z):
                body(k, z, masked=False)
            with code.blocks(
                builder.select(inside, ir.Constant(last.type, 1), last),
                builder.select(inside, ir.Constant(last.type, 0), last),
            ) as (k, z):
                body(k, z, masked=True)
            return context.get_dummy_value()

        return signature, emit

    return add_voxels


add_voxels_of_2, add_voxels_of_3, add_voxels_of_4 = _add_voxels(2), _add_voxels(3), _add_voxels(4)
