"""Vectors: LANES float32 numbers that a kernel loads, compares, multiplies and adds as one value.

LLVM vectorises simple loops by itself, but silently gives up where several sums should stay in registers at once, as in a
convolution. There the kernels are written in vectors, with the functions of this module. Without the compiler
(NUMBA_DISABLE_JIT=1) they work on NumPy arrays of LANES numbers.

Arrays are flat. Indices are not checked, and a negative one does not count from the end.
"""

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
HALF = LANES // 2

# LLVM's name of the instruction that takes lanes from anywhere in a register; without it, ``take`` goes lane by lane.
TAKE = {16: "llvm.x86.avx512.permvar.sf.512", 8: "llvm.x86.avx2.permps"}[LANES] if "+avx2" in FEATURES else None


def load(array: Array, start: int) -> Array:
    """array[start : start + LANES], float32 or uint8."""
    return array[start : start + LANES].astype(np.float32)


def store(array: Array, start: int, vector: Array) -> None:
    """array[start : start + LANES] = vector, float32 or uint8."""
    array[start : start + LANES] = vector


def copy(source: Array, first: int, target: Array, start: int, n: int) -> None:
    """target[start : start + n] = source[first : first + n], of the same dtype."""
    target[start : start + n] = source[first : first + n]


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
    """Lane by lane: whether a > b, where NaN counts as the largest number, and one NaN does not beat another."""
    return ~(a <= b) & (b == b)


def equal(a: Array, b: Array) -> Array:
    """Lane by lane: whether a = b."""
    return a == b


def pair(array: Array, first: int, second: int) -> Array:
    """array[first : first + HALF] followed by array[second : second + HALF], float32."""
    return np.concatenate([array[first : first + HALF], array[second : second + HALF]])


def places(array: Array, start: int) -> Array:
    """array[start : start + LANES], uint8, as lane numbers."""
    return array[start : start + LANES].astype(np.int32)


def after(place: Array, by: int) -> Array:
    """The lane numbers, increased by a constant."""
    return place + by


def take(vector: Array, place: Array) -> Array:
    """vector[place], lane by lane; lane numbers wrap around."""
    return vector[place % LANES]


def choose(condition: Array, yes: Array, no: Array) -> Array:
    """Lane by lane: yes where the condition holds, else no."""
    return np.where(condition, yes, no)


# ------------------------------------------------------------------------------------------------ their code, for Numba


class _Lanes(types.Type):
    """Numba's name for LANES values of one kind."""


VECTOR, CONDITION, PLACES = _Lanes("Vector"), _Lanes("Condition"), _Lanes("Places")
FLOATS, BITS = ir.VectorType(ir.FloatType(), LANES), ir.VectorType(ir.IntType(1), LANES)
BYTES, INTEGERS = ir.VectorType(ir.IntType(8), LANES), ir.VectorType(ir.IntType(32), LANES)
LANE = INTEGERS.element
Values: TypeAlias = Sequence[ir.Value]
CODE = {VECTOR: FLOATS, CONDITION: BITS, PLACES: INTEGERS}


@register_model(_Lanes)
class _Model(models.PrimitiveModel):
    def __init__(self, manager: DataModelManager, kind: _Lanes) -> None:
        super().__init__(manager, kind, CODE[kind])


type_callable(load)(lambda context: lambda array, start: VECTOR)
type_callable(store)(lambda context: lambda array, start, vector: types.none)
type_callable(copy)(lambda context: lambda source, first, target, start, n: types.none)
type_callable(spread)(lambda context: lambda array, index: VECTOR)
type_callable(fill)(lambda context: lambda number: VECTOR)
type_callable(multiply_add)(lambda context: lambda a, b, total: VECTOR)
type_callable(beats)(lambda context: lambda a, b: CONDITION)
type_callable(equal)(lambda context: lambda a, b: CONDITION)
type_callable(pair)(lambda context: lambda array, first, second: VECTOR)
type_callable(places)(lambda context: lambda array, start: PLACES)
type_callable(after)(lambda context: lambda place, by: PLACES)
type_callable(take)(lambda context: lambda vector, place: VECTOR)
type_callable(choose)(lambda context: lambda condition, yes, no: VECTOR)


def _address(context: BaseContext, builder: ir.IRBuilder, signature: Signature, arguments: Values) -> ir.Value:
    """The address of array[index], the first two arguments."""
    data = context.make_array(signature.args[0])(context, builder, arguments[0]).data
    return builder.gep(data, [arguments[1]])


@lower_builtin(load, types.Array, types.Integer)
def _load(context: BaseContext, builder: ir.IRBuilder, signature: Signature, arguments: Values) -> ir.Value:
    address = _address(context, builder, signature, arguments)
    if signature.args[0].dtype == types.uint8:
        return builder.uitofp(builder.load(builder.bitcast(address, BYTES.as_pointer()), align=1), FLOATS)
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


@lower_builtin(spread, types.Array, types.Integer)
def _spread(context: BaseContext, builder: ir.IRBuilder, signature: Signature, arguments: Values) -> ir.Value:
    return _repeat(builder, builder.load(_address(context, builder, signature, arguments)))


@lower_builtin(fill, types.float32)
def _fill(context: BaseContext, builder: ir.IRBuilder, signature: Signature, arguments: Values) -> ir.Value:
    return _repeat(builder, arguments[0])


def _repeat(builder: ir.IRBuilder, number: ir.Value) -> ir.Value:
    nothing = ir.VectorType(number.type, LANES)(ir.Undefined)
    first = builder.insert_element(nothing, number, LANE(0))
    return builder.shuffle_vector(first, nothing, INTEGERS([0] * LANES))


@lower_builtin(pair, types.Array, types.Integer, types.Integer)
def _pair(context: BaseContext, builder: ir.IRBuilder, signature: Signature, arguments: Values) -> ir.Value:
    array, *starts = arguments
    half = ir.VectorType(ir.FloatType(), HALF).as_pointer()
    addresses = [_address(context, builder, signature, (array, start)) for start in starts]
    halves = [builder.load(builder.bitcast(address, half), align=4) for address in addresses]
    return builder.shuffle_vector(*halves, INTEGERS(list(range(LANES))))


@lower_builtin(places, types.Array, types.Integer)
def _places(context: BaseContext, builder: ir.IRBuilder, signature: Signature, arguments: Values) -> ir.Value:
    address = _address(context, builder, signature, arguments)
    return builder.zext(builder.load(builder.bitcast(address, BYTES.as_pointer()), align=1), INTEGERS)


@lower_builtin(after, PLACES, types.Integer)
def _after(context: BaseContext, builder: ir.IRBuilder, signature: Signature, arguments: Values) -> ir.Value:
    place, by = arguments
    return builder.add(place, _repeat(builder, builder.trunc(by, LANE)))


@lower_builtin(take, VECTOR, PLACES)
def _take(context: BaseContext, builder: ir.IRBuilder, signature: Signature, arguments: Values) -> ir.Value:
    if TAKE:
        kind = ir.FunctionType(FLOATS, [FLOATS, INTEGERS])
        return builder.call(cgutils.get_or_insert_function(builder.module, kind, TAKE), arguments)
    vector, place = arguments
    result = FLOATS(ir.Undefined)
    for lane in map(LANE, range(LANES)):
        source = builder.and_(builder.extract_element(place, lane), LANE(LANES - 1))
        result = builder.insert_element(result, builder.extract_element(vector, source), lane)
    return result


@lower_builtin(multiply_add, VECTOR, VECTOR, VECTOR)
def _multiply_add(context: BaseContext, builder: ir.IRBuilder, signature: Signature, arguments: Values) -> ir.Value:
    a, b, total = arguments
    return builder.fadd(builder.fmul(a, b, flags=("contract",)), total, flags=("contract",))


@lower_builtin(beats, VECTOR, VECTOR)
def _beats(context: BaseContext, builder: ir.IRBuilder, signature: Signature, arguments: Values) -> ir.Value:
    a, b = arguments
    return builder.and_(builder.fcmp_unordered(">", a, b), builder.fcmp_ordered("ord", b, b))


@lower_builtin(equal, VECTOR, VECTOR)
def _equal(context: BaseContext, builder: ir.IRBuilder, signature: Signature, arguments: Values) -> ir.Value:
    return builder.fcmp_ordered("==", *arguments)


@lower_builtin(choose, CONDITION, VECTOR, VECTOR)
def _choose(context: BaseContext, builder: ir.IRBuilder, signature: Signature, arguments: Values) -> ir.Value:
    return builder.select(*arguments)
