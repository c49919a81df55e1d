"""Vectors: LANES float32 numbers that a kernel loads, compares, multiplies and adds (+, −) as one value.

LLVM vectorises simple loops by itself, but silently gives up where several sums should stay in registers at once, as in a
convolution. There the kernels are written in vectors, with the functions of this module. Without the compiler
(NUMBA_DISABLE_JIT=1) they work on NumPy arrays of LANES numbers.

Arrays are flat. Indices are not checked, and a negative one does not count from the end.
"""

import operator
from collections.abc import Sequence
from typing import TypeAlias

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.core.base import BaseContext
from numba.core.datamodel.manager import DataModelManager
from numba.core.registry import cpu_target
from numba.core.typing.templates import Signature
from numba.extending import lower_builtin, models, register_model, type_callable

from ...contracts import Array

# As many as a register holds: 16 with AVX-512, 8 with AVX2. Elsewhere LLVM uses several registers. The features are those of the
# processor that Numba compiles for, which its cache distinguishes, too.
FEATURES = cpu_target.target_context.codegen().magic_tuple()[2].split(",")
LANES = 16 if "+avx512f" in FEATURES else 8


def load(array: Array, start: int) -> Array:
    """array[start : start + LANES], float32."""
    return array[start : start + LANES].copy()


def store(array: Array, start: int, vector: Array) -> None:
    """array[start : start + LANES] = vector, float32 or uint8."""
    array[start : start + LANES] = vector


def copy(source: Array, first: int, target: Array, start: int, n: int) -> None:
    """target[start : start + n] = source[first : first + n], of the same dtype."""
    target[start : start + n] = source[first : first + n]


def fill(number: np.float32) -> Array:
    """The number in every lane."""
    return np.full(LANES, number, np.float32)


def multiply_add(a: Array, b: Array, total: Array) -> Array:
    """a · b + total, in one instruction where the processor has it."""
    return a * b + total


def beats(a: Array, b: Array) -> Array:
    """Lane by lane: whether a > b, where NaN counts as the largest number, and one NaN does not beat another."""
    return ~(a <= b) & (b == b)


def choose(condition: Array, yes: Array, no: Array) -> Array:
    """Lane by lane: yes where the condition holds, else no."""
    return np.where(condition, yes, no)


# ------------------------------------------------------------------------------------------------ their code, for Numba


class _Lanes(types.Type):
    """Numba's name for LANES values of one kind."""


VECTOR, CONDITION = _Lanes("Vector"), _Lanes("Condition")
FLOATS, BITS = ir.VectorType(ir.FloatType(), LANES), ir.VectorType(ir.IntType(1), LANES)
BYTES = ir.VectorType(ir.IntType(8), LANES)
Values: TypeAlias = Sequence[ir.Value]
CODE = {VECTOR: FLOATS, CONDITION: BITS}


@register_model(_Lanes)
class _Model(models.PrimitiveModel):
    def __init__(self, manager: DataModelManager, kind: _Lanes) -> None:
        super().__init__(manager, kind, CODE[kind])


type_callable(load)(lambda context: lambda array, start: VECTOR)
type_callable(store)(lambda context: lambda array, start, vector: types.none)
type_callable(copy)(lambda context: lambda source, first, target, start, n: types.none)
type_callable(fill)(lambda context: lambda number: VECTOR)
type_callable(multiply_add)(lambda context: lambda a, b, total: VECTOR)
type_callable(operator.add)(lambda context: lambda a, b: VECTOR if a == b == VECTOR else None)
type_callable(operator.sub)(lambda context: lambda a, b: VECTOR if a == b == VECTOR else None)
type_callable(beats)(lambda context: lambda a, b: CONDITION)
type_callable(choose)(lambda context: lambda condition, yes, no: VECTOR)


def _address(context: BaseContext, builder: ir.IRBuilder, signature: Signature, arguments: Values) -> ir.Value:
    """The address of array[index], the first two arguments."""
    data = context.make_array(signature.args[0])(context, builder, arguments[0]).data
    return builder.gep(data, [arguments[1]])


@lower_builtin(load, types.Array, types.Integer)
def _load(context: BaseContext, builder: ir.IRBuilder, signature: Signature, arguments: Values) -> ir.Value:
    address = _address(context, builder, signature, arguments)
    return builder.load(builder.bitcast(address, FLOATS.as_pointer()), align=4)  # the alignment of one number


@lower_builtin(store, types.Array, types.Integer, VECTOR)
def _store(context: BaseContext, builder: ir.IRBuilder, signature: Signature, arguments: Values) -> ir.Value:
    address, vector = _address(context, builder, signature, arguments), arguments[2]
    if signature.args[0].dtype == types.uint8:
        builder.store(builder.fptoui(vector, BYTES), builder.bitcast(address, BYTES.as_pointer()), align=1)
    else:
        builder.store(vector, builder.bitcast(address, FLOATS.as_pointer()), align=4)
    return context.get_dummy_value()


@lower_builtin(copy, types.Array, types.Integer, types.Array, types.Integer, types.Integer)
def _copy(context: BaseContext, builder: ir.IRBuilder, signature: Signature, arguments: Values) -> ir.Value:
    source = _address(context, builder, signature, arguments)
    target = context.make_array(signature.args[2])(context, builder, arguments[2]).data
    target = builder.gep(target, [arguments[3]])
    size = context.get_abi_sizeof(target.type.pointee)
    cgutils.raw_memcpy(builder, target, source, arguments[4], size)
    return context.get_dummy_value()


@lower_builtin(fill, types.float32)
def _fill(context: BaseContext, builder: ir.IRBuilder, signature: Signature, arguments: Values) -> ir.Value:
    return repeated(builder, arguments[0], LANES)


def repeated(builder: ir.IRBuilder, number: ir.Value, lanes: int) -> ir.Value:
    """A vector with the number in every lane."""
    nothing, lane = ir.VectorType(number.type, lanes)(ir.Undefined), ir.IntType(32)
    first = builder.insert_element(nothing, number, lane(0))
    return builder.shuffle_vector(first, nothing, ir.VectorType(lane, lanes)([0] * lanes))


@lower_builtin(multiply_add, VECTOR, VECTOR, VECTOR)
def _multiply_add(context: BaseContext, builder: ir.IRBuilder, signature: Signature, arguments: Values) -> ir.Value:
    return fma(builder, *arguments)


def fma(builder: ir.IRBuilder, a: ir.Value, b: ir.Value, total: ir.Value) -> ir.Value:
    """a · b + total, for the compiler to make one instruction of."""
    return builder.fadd(builder.fmul(a, b, flags=("contract",)), total, flags=("contract",))


@lower_builtin(operator.add, VECTOR, VECTOR)
def _add(context: BaseContext, builder: ir.IRBuilder, signature: Signature, arguments: Values) -> ir.Value:
    return builder.fadd(*arguments)


@lower_builtin(operator.sub, VECTOR, VECTOR)
def _subtract(context: BaseContext, builder: ir.IRBuilder, signature: Signature, arguments: Values) -> ir.Value:
    return builder.fsub(*arguments)


@lower_builtin(beats, VECTOR, VECTOR)
def _beats(context: BaseContext, builder: ir.IRBuilder, signature: Signature, arguments: Values) -> ir.Value:
    a, b = arguments
    return builder.and_(builder.fcmp_unordered(">", a, b), builder.fcmp_ordered("ord", b, b))


@lower_builtin(choose, CONDITION, VECTOR, VECTOR)
def _choose(context: BaseContext, builder: ir.IRBuilder, signature: Signature, arguments: Values) -> ir.Value:
    return builder.select(*arguments)
