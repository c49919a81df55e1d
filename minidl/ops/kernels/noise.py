"""Dropout, compiled: its masks are the same hash as in the reference, step by step."""

from collections.abc import Sequence

import numpy as np
from llvmlite import ir
from numba import types
from numba.core.base import BaseContext
from numba.core.typing.templates import Signature
from numba.extending import lower_builtin, type_callable

from ...contracts import Array
from ..floats import of_floats
from ..random import RandomKey
from .jit import jit

GOLDEN, FIRST, SECOND = np.uint32(0x9E3779B9), np.uint32(0x7FEB352D), np.uint32(0x846CA68B)


def mix32(counter: np.uint32, low: np.uint32, high: np.uint32) -> np.uint32:
    """32 random bits, a hash of the number of an entry and the 64 bits of its sample. Wraps at 2^32.

    Numba computes with 32-bit numbers in 64 bits, of which a vector holds half as many, and for which AVX2 has no product. So
    the code is written in LLVM's own language; this is its definition, and its replacement without the compiler.
    """
    with np.errstate(over="ignore"):
        bits = counter * GOLDEN + low
        bits = (bits ^ (bits >> np.uint32(16))) * FIRST
        bits = ((bits + high) ^ (bits >> np.uint32(15))) * SECOND
        return bits ^ (bits >> np.uint32(16))


type_callable(mix32)(lambda context: lambda counter, low, high: types.uint32)


@lower_builtin(mix32, types.uint32, types.uint32, types.uint32)
def _mix32(
    context: BaseContext, builder: ir.IRBuilder, signature: Signature, arguments: Sequence[ir.Value]
) -> ir.Value:
    counter, low, high = arguments
    number = ir.IntType(32)

    def shifted(bits: ir.Value, by: int) -> ir.Value:
        return builder.lshr(bits, number(by))

    bits = builder.add(builder.mul(counter, number(int(GOLDEN))), low)
    bits = builder.mul(builder.xor(bits, shifted(bits, 16)), number(int(FIRST)))
    bits = builder.mul(builder.xor(builder.add(bits, high), shifted(bits, 15)), number(int(SECOND)))
    return builder.xor(bits, shifted(bits, 16))


@jit
def _mix64(state):
    state += np.uint64(0x9E3779B97F4A7C15)
    state = (state ^ (state >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    state = (state ^ (state >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return state ^ (state >> np.uint64(31))


@jit
def _mask(kept, threshold, key, first_sample):
    """kept (N, D), bool: which entries stay."""
    base = _mix64(key)
    for n in range(kept.shape[0]):
        state = _mix64(base + np.uint64(first_sample + n))
        low = np.uint32(state & np.uint64(0xFFFFFFFF))
        high = np.uint32(state >> np.uint64(32))
        for d in range(kept.shape[1]):
            kept[n, d] = mix32(np.uint32(d), low, high) >= threshold


@jit
def _keep(x, kept, scale, y):
    """y = x · scale where kept, else 0; all flat."""
    zero = x.dtype.type(0)
    for i in range(x.size):
        y[i] = x[i] * scale if kept[i] else zero


@of_floats
def dropout(x: Array, rate: float, rng: RandomKey) -> Array:
    """Each entry becomes 0 with probability rate and is divided by 1 − rate otherwise; forward and backward alike."""
    y, kept = np.empty(x.shape, x.dtype), np.empty(x.shape, np.bool_)
    dropout_mask(kept, rate, rng)
    keep(np.ascontiguousarray(x), kept, rate, y)
    return y


def dropout_mask(kept: Array, rate: float, rng: RandomKey) -> None:
    """Write to kept, bool (N, …), which entries stay."""
    _mask(kept.reshape(len(kept), -1), np.uint32(rate * 2**32), np.uint64(rng.key % 2**64), rng.first_sample)


def keep(x: Array, kept: Array, rate: float, y: Array) -> None:
    """y, which may be x, = x / (1 − rate) where kept, else 0; all of the same shape, contiguous."""
    _keep(x.reshape(-1), kept.reshape(-1), x.dtype.type(1 / (1 - rate)), y.reshape(-1))
