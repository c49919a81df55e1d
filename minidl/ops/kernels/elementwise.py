"""Elementwise kernels: one pass over the data where NumPy would need several."""

import math

import numpy as np

from ...contracts import Array
from ..floats import floating, of_floats
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
        # loaded in any case: a load that depends on a condition would keep the loop from becoming vector code
        value = dy[i]
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
