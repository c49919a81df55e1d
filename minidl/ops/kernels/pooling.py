"""Max-pooling: one pass that finds the maximum and records its place."""

import numpy as np

from ...contracts import Array, Pair
from ..floats import of_floats
from ..geometry import window_output
from .jit import jit


@jit
def _forward(x, y, index, height, width, stride_h, stride_w, top, left):
    """x (N, H, W, C), not padded → y, index (N, OH, OW, C). The channels are innermost, so they become vector lanes."""
    samples, rows, columns, channels = y.shape
    for n in range(samples):
        for i in range(rows):
            for j in range(columns):
                row, column = i * stride_h - top, j * stride_w - left
                begin = True  # at the window's first cell inside the image
                for a in range(max(0, -row), min(height, x.shape[1] - row)):
                    for b in range(max(0, -column), min(width, x.shape[2] - column)):
                        for c in range(channels):
                            value = x[n, row + a, column + b, c]
                            best = y[n, i, j, c]
                            # "not <=" rather than ">": a NaN wins, and then nothing else does.
                            wins = begin or (not value <= best and best == best)
                            y[n, i, j, c] = value if wins else best
                            index[n, i, j, c] = a * width + b if wins else index[n, i, j, c]
                        begin = False


@jit
def _backward(dy, index, dx, width, stride_h, stride_w, top, left):
    """dx (N, H, W, C) += dy where the maximum was; dx is not padded, and an index into the padding is ignored."""
    samples, rows, columns, channels = dy.shape
    for n in range(samples):
        for i in range(rows):
            for j in range(columns):
                for c in range(channels):
                    row = i * stride_h - top + index[n, i, j, c] // width
                    column = j * stride_w - left + index[n, i, j, c] % width
                    if 0 <= row < dx.shape[1] and 0 <= column < dx.shape[2]:
                        dx[n, row, column, c] += dy[n, i, j, c]


@of_floats
def max_pool2d_forward(x: Array, pool_size: Pair, strides: Pair, padding: str) -> tuple[Array, Array]:
    """y (N, OH, OW, C) = the largest value of each window of x (N, H, W, C); index, int32 = its place in the window."""
    rows, top, _ = window_output(x.shape[1], pool_size[0], strides[0], padding)
    columns, left, _ = window_output(x.shape[2], pool_size[1], strides[1], padding)
    y = np.empty((len(x), rows, columns, x.shape[3]), x.dtype)
    index = np.empty(y.shape, np.int32)
    _forward(np.ascontiguousarray(x), y, index, *pool_size, *strides, top, left)
    return y, index


@of_floats
def max_pool2d_backward(
    dy: Array, index: Array, x_shape: tuple[int, ...], pool_size: Pair, strides: Pair, padding: str
) -> Array:
    """The gradient goes to the one input that was the maximum.  dy, index (N, OH, OW, C) → dx (N, H, W, C)."""
    dx = np.zeros(x_shape, dy.dtype)
    top = window_output(x_shape[1], pool_size[0], strides[0], padding)[1]
    left = window_output(x_shape[2], pool_size[1], strides[1], padding)[1]
    _backward(np.ascontiguousarray(dy), np.ascontiguousarray(index), dx, pool_size[1], *strides, top, left)
    return dx
