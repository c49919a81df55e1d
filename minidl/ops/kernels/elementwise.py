"""Elementwise kernels: one pass over the data where NumPy would need several."""

import math

import numpy as np

from ...contracts import Array
from ..floats import floating, of_floats
from ..random import RandomKey
from .jit import jit


@jit
def add_bias(y: Array, bias: Array, relu: bool) -> None:
    """In place: y += bias, and ReLU if requested.  y (N, U), bias (U,)."""
    zero = y.dtype.type(0)
    for n in range(y.shape[0]):
        for u in range(y.shape[1]):
            value = y[n, u] + bias[u]
            y[n, u] = zero if relu and value < zero else value  # written this way, NaN stays NaN


@jit
def bias_backward(dy: Array, y: Array, relu: bool, dbias: Array) -> None:
    """Backward of ``add_bias``: dz, written over dy (N, U), and dbias (U,), its sum."""
    zero = dy.dtype.type(0)
    for u in range(dy.shape[1]):
        dbias[u] = zero
    for n in range(dy.shape[0]):
        for u in range(dy.shape[1]):
            value = dy[n, u]
            value = value if y[n, u] > zero or not relu else zero
            dy[n, u] = value
            dbias[u] += value


@jit
def relu_backward_into(dy: Array, y: Array, dx: Array) -> None:
    """dx = dy where y > 0, else 0; all flat and of equal length. dx may be dy."""
    zero = dx.dtype.type(0)
    for i in range(dy.size):
        value = dy[
            i
        ]  # loaded in any case: a load that depends on a condition would keep the loop from becoming vector code
        dx[i] = value if y[i] > zero else zero


@of_floats
def relu_backward(dy: Array, y: Array) -> Array:
    """dx = dy where y > 0, else 0 (so the slope at 0 is taken as 0)."""
    dx = np.empty(dy.shape, dy.dtype)
    relu_backward_into(dy.reshape(-1), y.reshape(-1), dx.reshape(-1))
    return dx


@jit
def _gelu(x, y):
    """y = x · Φ(x), see the reference; both flat."""
    for i in range(x.size):
        y[i] = x[i] * math.erfc(-x[i] * math.sqrt(0.5)) / 2


@jit
def _gelu_slope(dy, x, dx):
    """dx = dy · (Φ(x) + x · φ(x)); all flat."""
    for i in range(x.size):
        density = math.exp(-x[i] * x[i] / 2) * math.sqrt(0.5 / math.pi)
        dx[i] = dy[i] * (math.erfc(-x[i] * math.sqrt(0.5)) / 2 + x[i] * density)


@of_floats
def gelu_forward(x: Array) -> Array:
    """y = x · Φ(x): x times the probability that a normal number is below it."""
    y = np.empty(x.shape, x.dtype)
    _gelu(x.reshape(-1), y.reshape(-1))
    return y


@of_floats
def gelu_backward(dy: Array, x: Array) -> Array:
    """dx = dy · (Φ(x) + x · φ(x)), φ the density of the normal distribution."""
    dx = np.empty(dy.shape, dy.dtype)
    _gelu_slope(dy.reshape(-1), floating(x).reshape(-1), dx.reshape(-1))
    return dx


@jit
def _mix64(state):
    state += np.uint64(0x9E3779B97F4A7C15)
    state = (state ^ (state >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    state = (state ^ (state >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return state ^ (state >> np.uint64(31))


@jit
def _mask(kept, threshold, key, first_sample):
    """kept (N, D), bool: which entries stay. The same hash as in the reference, step by step."""
    golden = np.uint32(0x9E3779B9)
    base = _mix64(key)
    for n in range(kept.shape[0]):
        state = _mix64(base + np.uint64(first_sample + n))
        low = np.uint32(state & np.uint64(0xFFFFFFFF))
        high = np.uint32(state >> np.uint64(32))
        for d in range(kept.shape[1]):
            bits = np.uint32(np.uint32(d) * golden + low)
            bits = np.uint32((bits ^ (bits >> np.uint32(16))) * np.uint32(0x7FEB352D))
            bits = np.uint32((np.uint32(bits + high) ^ (bits >> np.uint32(15))) * np.uint32(0x846CA68B))
            bits = np.uint32(bits ^ (bits >> np.uint32(16)))
            kept[n, d] = bits >= threshold


@jit
def _keep(x, kept, scale):
    """In place: x = x · scale where kept, else 0; both flat."""
    zero = x.dtype.type(0)
    for i in range(x.size):
        x[i] = x[i] * scale if kept[i] else zero


@of_floats
def dropout(x: Array, rate: float, rng: RandomKey) -> Array:
    """Each entry becomes 0 with probability rate and is divided by 1 − rate otherwise; forward and backward alike."""
    y, kept = np.array(x, order="C"), np.empty(x.shape, np.bool_)
    dropout_mask(kept, rate, rng)
    keep(y, kept, rate)
    return y


def dropout_mask(kept: Array, rate: float, rng: RandomKey) -> None:
    """Write to kept, bool (N, …), which entries stay."""
    _mask(kept.reshape(len(kept), -1), np.uint32(rate * 2**32), np.uint64(rng.key % 2**64), rng.first_sample)


def keep(x: Array, kept: Array, rate: float) -> None:
    """In place: x / (1 − rate) where kept, else 0; both of the same shape, contiguous."""
    _keep(x.reshape(-1), kept.reshape(-1), x.dtype.type(1 / (1 - rate)))
