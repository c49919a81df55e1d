"""Sums of products that stay in registers, in three shapes; every convolution is made of them.

LLVM does not keep many sums in registers by itself, so the code of these three is written in its own language, with as many
sums as the processor has registers for. Without the compiler (NUMBA_DISABLE_JIT=1) they are the Python functions that define
them.

Arrays are flat. Starts and offsets count numbers; they are not checked.
"""

import inspect
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.core.base import BaseContext
from numba.core.typing.templates import Signature
from numba.extending import lower_builtin, type_callable

from .vector import FEATURES, fma, repeated

# (rows, vectors, lanes) of the blocks, the widest first: as many sums as there are registers for. A block of one vector loads
# nearly as many numbers as one of two, for half as many products; it is for the last lanes.
SIZES = [(12, 2, 16), (12, 1, 16)] if "+avx512f" in FEATURES else [(6, 2, 8), (6, 1, 8)]
WIDTHS = tuple(vectors * lanes for _, vectors, lanes in SIZES)
ROWS = SIZES[0][0]  # of every block
SPAN, SPAN_LANES = 6, 8  # vectors of a window that gather and scatter keep in registers; many windows have short rows
SLACK = 32  # numbers behind an array that may be read and written; no block is wider

PLACE, NUMBER = ir.IntType(64), ir.FloatType()
EIGHT = ir.VectorType(NUMBER, SPAN_LANES)


def make_block(rows: int, vectors: int, lanes: int) -> Callable[..., None]:
    """The block of these many rows, each of these many vectors of these many lanes."""
    width = vectors * lanes

    def block(a, a_at, row, terms, first, count, b, b_at, start, start_at, add, floor, c, c_at, c_from):
        """c[c_at[p] + c_from …] = start[start_at …] + Σ a[a_at[p] + terms[t]] · b[b_at + (t − first) · width …], but at least
        ``floor``, for the rows p from ``row`` on. With ``add``, c itself is what the sum starts from.

        The sum goes over the ``count`` terms t from ``first`` on. b, c and start are taken ``width`` numbers at a time.
        """
        for p in range(row, row + rows):
            to = c_at[p] + c_from
            sums = (c[to : to + width] if add else start[start_at : start_at + width]).copy()
            for t in range(count):
                at = b_at + t * width
                sums += a[a_at[p] + terms[first + t]] * b[at : at + width]
            c[to : to + width] = np.where(sums < floor, floor, sums)

    def code(builder: ir.IRBuilder, arguments: Sequence[ir.Value]) -> None:
        a, a_at, row, terms, first, count, b, b_at, start, start_at, add, floor, c, c_at, c_from = arguments
        kind = ir.VectorType(NUMBER, lanes)
        a_rows, c_rows = _rows(builder, a, PLACE(0), a_at, row, rows), _rows(builder, c, c_from, c_at, row, rows)
        start, terms, b = builder.gep(start, [start_at]), builder.gep(terms, [first]), builder.gep(b, [b_at])
        sums = [[cgutils.alloca_once(builder, kind) for _ in range(vectors)] for _ in range(rows)]
        for p in range(rows):
            begin = builder.select(add, c_rows[p], start)
            for v in range(vectors):
                builder.store(_load(builder, begin, v, kind), sums[p][v])

        def term(t: ir.Value) -> None:
            place, numbers = builder.load(builder.gep(terms, [t])), builder.gep(b, [builder.mul(t, PLACE(width))])
            values = [_load(builder, numbers, v, kind) for v in range(vectors)]
            for p in range(rows):
                number = repeated(builder, builder.load(builder.gep(a_rows[p], [place])), kind.count)
                for v in range(vectors):
                    builder.store(fma(builder, number, values[v], builder.load(sums[p][v])), sums[p][v])

        _loop(builder, count, term)
        least = repeated(builder, floor, kind.count)
        for p in range(rows):
            for v in range(vectors):
                total = builder.load(sums[p][v])
                total = builder.select(builder.fcmp_ordered("<", total, least), least, total)  # NaN stays NaN
                _store(builder, total, c_rows[p], v)

    _register(block, code)
    return block


def gather(x, at, values, first, count, offsets, span, c, start):
    """c[start + t · SPAN_LANES …] += Σ values[e] · x[at[e] + offsets[span + t] …], for SPAN vectors t, and the entries e from
    ``first`` on."""
    for t in range(SPAN):
        for e in range(first, first + count):
            place = at[e] + offsets[span + t]
            c[start + t * SPAN_LANES : start + (t + 1) * SPAN_LANES] += values[e] * x[place : place + SPAN_LANES]


def scatter(x, at, values, first, count, offsets, span, c, start):
    """x[at[e] + offsets[span + t] …] += values[e] · c[start + t · SPAN_LANES …]: the transpose of ``gather``."""
    for e in range(first, first + count):
        for t in range(SPAN):
            place = at[e] + offsets[span + t]
            x[place : place + SPAN_LANES] += values[e] * c[start + t * SPAN_LANES : start + (t + 1) * SPAN_LANES]


# ------------------------------------------------------------------------------------------------ their code, for Numba


def _gather(builder: ir.IRBuilder, arguments: Sequence[ir.Value]) -> None:
    x, at, values, first, count, offsets, span, c, start = arguments
    windows, c = _rows(builder, x, PLACE(0), offsets, span, SPAN), builder.gep(c, [start])
    sums = [cgutils.alloca_once_value(builder, _load(builder, c, t, EIGHT)) for t in range(SPAN)]

    def entry(place: ir.Value, value: ir.Value) -> None:
        for window, total in zip(windows, sums, strict=True):
            numbers = _load(builder, builder.gep(window, [place]), 0, EIGHT)
            builder.store(fma(builder, value, numbers, builder.load(total)), total)

    _entries(builder, at, values, first, count, entry)
    for t in range(SPAN):
        _store(builder, builder.load(sums[t]), c, t)


def _scatter(builder: ir.IRBuilder, arguments: Sequence[ir.Value]) -> None:
    x, at, values, first, count, offsets, span, c, start = arguments
    windows, c = _rows(builder, x, PLACE(0), offsets, span, SPAN), builder.gep(c, [start])
    weights = [_load(builder, c, t, EIGHT) for t in range(SPAN)]

    def entry(place: ir.Value, value: ir.Value) -> None:
        for window, weight in zip(windows, weights, strict=True):
            target = builder.gep(window, [place])
            _store(builder, fma(builder, value, weight, _load(builder, target, 0, EIGHT)), target, 0)

    _entries(builder, at, values, first, count, entry)


def _entries(
    builder: ir.IRBuilder,
    at: ir.Value,
    values: ir.Value,
    first: ir.Value,
    count: ir.Value,
    entry: Callable[[ir.Value, ir.Value], None],
) -> None:
    """``entry(place, value in every lane)`` for each."""
    at, values = builder.gep(at, [first]), builder.gep(values, [first])

    def body(e: ir.Value) -> None:
        entry(
            builder.load(builder.gep(at, [e])), repeated(builder, builder.load(builder.gep(values, [e])), EIGHT.count)
        )

    _loop(builder, count, body)


def _loop(builder: ir.IRBuilder, count: ir.Value, body: Callable[[ir.Value], None]) -> None:
    """body(0), …, body(count − 1)"""
    before, inside, after = builder.block, builder.append_basic_block(), builder.append_basic_block()
    builder.cbranch(builder.icmp_signed(">", count, PLACE(0)), inside, after)
    builder.position_at_end(inside)
    i = builder.phi(PLACE)
    body(i)
    following = builder.add(i, PLACE(1))
    i.add_incoming(PLACE(0), before)
    i.add_incoming(following, builder.block)
    builder.cbranch(builder.icmp_signed("<", following, count), inside, after)
    builder.position_at_end(after)


def _rows(
    builder: ir.IRBuilder, array: ir.Value, start: ir.Value, at: ir.Value, first: ir.Value, count: int
) -> list[ir.Value]:
    """The addresses of array[start + at[first + i]]."""
    origin, at = builder.gep(array, [start]), builder.gep(at, [first])
    return [builder.gep(origin, [builder.load(builder.gep(at, [PLACE(i)]))]) for i in range(count)]


def _load(builder: ir.IRBuilder, address: ir.Value, v: int, kind: ir.VectorType) -> ir.Value:
    """The vector number v from an address on."""
    address = builder.gep(address, [PLACE(v * kind.count)])
    return builder.load(builder.bitcast(address, kind.as_pointer()), align=4)  # the alignment of one number


def _store(builder: ir.IRBuilder, value: ir.Value, address: ir.Value, v: int) -> None:
    address = builder.gep(address, [PLACE(v * value.type.count)])
    builder.store(value, builder.bitcast(address, value.type.as_pointer()), align=4)


def _register(function: Callable[..., None], code: Callable[[ir.IRBuilder, Sequence[ir.Value]], None]) -> None:
    """Let Numba write this code where a kernel calls the function. Arrays are passed as the address of their first number."""

    def lower(context: BaseContext, builder: ir.IRBuilder, signature: Signature, arguments: Sequence[ir.Value]) -> Any:
        code(
            builder,
            [
                context.make_array(kind)(context, builder, value).data if isinstance(kind, types.Array) else value
                for kind, value in zip(signature.args, arguments, strict=True)
            ],
        )
        return context.get_dummy_value()

    def typer(*arguments: types.Type) -> types.Type:
        return types.none

    typer.pysig = inspect.signature(function)  # type: ignore[attr-defined]
    type_callable(function)(lambda context: typer)
    lower_builtin(function, types.VarArg(types.Any))(lower)


_register(gather, _gather)
_register(scatter, _scatter)
