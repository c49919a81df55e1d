"""Vectors: LANES float32 numbers that a kernel loads, compares, multiplies and adds as one value.

LLVM makes vector code of simple loops by itself, but gives up without a word where several sums are to stay in registers at a
time, as in a convolution. There the kernels say it outright, with the functions of this module. Without the compiler
(NUMBA_DISABLE_JIT=1) they work on NumPy arrays of LANES numbers.

Arrays are flat. Nothing checks that an index is inside, and a negative one does not count from the end.
"""

from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.core.registry import cpu_target
from numba.extending import lower_builtin, models, register_model, type_callable

from ..geometry import Array

# As many as a register holds: 16 with AVX-512, 8 with AVX2. Elsewhere LLVM takes several registers. The processor is the one
# that Numba compiles for, and keeps compiled kernels apart by.
LANES = 16 if "+avx512f" in cpu_target.target_context.codegen().magic_tuple()[2] else 8


def load(array: Array, start: int) -> Array:
    """array[start : start + LANES], float32 or uint8."""
    return array[start : start + LANES].astype(np.float32)


def store(array: Array, start: int, vector: Array) -> None:
    """array[start : start + LANES] = vector, float32 or uint8."""
    array[start : start + LANES] = vector


def spread(array: Array, index: int) -> Array:
    """array[index] in every lane."""
    return array[index : index + 1].repeat(LANES)


def fill(number: np.float32) -> Array:
    """The number in every lane."""
    return np.full(LANES, number, np.float32)


def multiply_add(a: Array, b: Array, total: Array) -> Array:
    """a · b + total, in one instruction where the processor has it."""
    return a * b + total


def beats(a: Array, b: Array) -> Array:
    """Lane by lane: whether a > b, where NaN counts as the largest number, and the first NaN is not beaten."""
    return ~(a <= b) & (b == b)


def equal(a: Array, b: Array) -> Array:
    """Lane by lane: whether a = b."""
    return a == b


def choose(condition: Array, yes: Array, no: Array) -> Array:
    """Lane by lane: yes where the condition holds, else no."""
    return np.where(condition, yes, no)


# ------------------------------------------------------------------------------------------------ their code, for Numba


class _Lanes(types.Type):
    """Numba's name for LANES values of one kind."""


VECTOR, CONDITION = _Lanes("Vector"), _Lanes("Condition")
FLOATS, BITS = ir.VectorType(ir.FloatType(), LANES), ir.VectorType(ir.IntType(1), LANES)
BYTES, INTEGERS = ir.VectorType(ir.IntType(8), LANES), ir.VectorType(ir.IntType(32), LANES)


@register_model(_Lanes)
class _Model(models.PrimitiveModel):
    def __init__(self, manager: Any, kind: _Lanes) -> None:
        super().__init__(manager, kind, FLOATS if kind == VECTOR else BITS)


type_callable(load)(lambda context: lambda array, start: VECTOR)
type_callable(store)(lambda context: lambda array, start, vector: types.none)
type_callable(spread)(lambda context: lambda array, index: VECTOR)
type_callable(fill)(lambda context: lambda number: VECTOR)
type_callable(multiply_add)(lambda context: lambda a, b, total: VECTOR)
type_callable(beats)(lambda context: lambda a, b: CONDITION)
type_callable(equal)(lambda context: lambda a, b: CONDITION)
type_callable(choose)(lambda context: lambda condition, yes, no: VECTOR)


def _address(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
    """Of the number that the first two arguments, an array and an index, stand for."""
    data = context.make_array(signature.args[0])(context, builder, arguments[0]).data
    return builder.gep(data, [arguments[1]])


@lower_builtin(load, types.Array, types.Integer)
def _load(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
    address = _address(context, builder, signature, arguments)
    if signature.args[0].dtype == types.uint8:
        return builder.uitofp(builder.load(builder.bitcast(address, BYTES.as_pointer()), align=1), FLOATS)
    return builder.load(builder.bitcast(address, FLOATS.as_pointer()), align=4)  # that of one number


@lower_builtin(store, types.Array, types.Integer, VECTOR)
def _store(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
    address, vector = _address(context, builder, signature, arguments), arguments[2]
    if signature.args[0].dtype == types.uint8:
        builder.store(builder.fptoui(vector, BYTES), builder.bitcast(address, BYTES.as_pointer()), align=1)
    else:
        builder.store(vector, builder.bitcast(address, FLOATS.as_pointer()), align=4)
    return context.get_dummy_value()


@lower_builtin(spread, types.Array, types.Integer)
def _spread(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
    return _repeat(builder, builder.load(_address(context, builder, signature, arguments)))


@lower_builtin(fill, types.float32)
def _fill(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
    return _repeat(builder, arguments[0])


def _repeat(builder: Any, number: Any) -> Any:
    nothing = ir.Constant(FLOATS, ir.Undefined)
    first = builder.insert_element(nothing, number, ir.Constant(ir.IntType(32), 0))
    return builder.shuffle_vector(first, nothing, ir.Constant(INTEGERS, [0] * LANES))


@lower_builtin(multiply_add, VECTOR, VECTOR, VECTOR)
def _multiply_add(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
    a, b, total = arguments
    return builder.fadd(builder.fmul(a, b, flags=("contract",)), total, flags=("contract",))


@lower_builtin(beats, VECTOR, VECTOR)
def _beats(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
    a, b = arguments
    return builder.and_(builder.fcmp_unordered(">", a, b), builder.fcmp_ordered("ord", b, b))


@lower_builtin(equal, VECTOR, VECTOR)
def _equal(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
    return builder.fcmp_ordered("==", *arguments)


@lower_builtin(choose, CONDITION, VECTOR, VECTOR)
def _choose(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
    return builder.select(*arguments)
