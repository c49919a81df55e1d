"""Max-pooling: one pass that finds the maximum and remembers its place."""

import numpy as np

from ..geometry import Array, Pair, pad_images, window_output
from .jit import jit


@jit
def _forward(x, y, index, height, width, stride_h, stride_w):
    """x (N, H, W, C), padded → y, index (N, OH, OW, C). The channels are innermost, so they become vector lanes."""
    samples, rows, columns, channels = y.shape
    for n in range(samples):
        for i in range(rows):
            for j in range(columns):
                for c in range(channels):
                    y[n, i, j, c] = x[n, i * stride_h, j * stride_w, c]
                    index[n, i, j, c] = 0
                for tap in range(1, height * width):
                    a, b = tap // width, tap % width
                    for c in range(channels):
                        value = x[n, i * stride_h + a, j * stride_w + b, c]
                        best = y[n, i, j, c]
                        # "not <=" rather than ">": a NaN wins, and once it has, nothing else does.
                        if not value <= best and best == best:
                            y[n, i, j, c] = value
                            index[n, i, j, c] = tap


@jit
def _backward(dy, index, dx, width, stride_h, stride_w, top, left):
    """dx (N, H, W, C) += dy where the maximum was; dx is not padded."""
    samples, rows, columns, channels = dy.shape
    for n in range(samples):
        for i in range(rows):
            for j in range(columns):
                for c in range(channels):
                    tap = index[n, i, j, c]
                    dx[n, i * stride_h + tap // width - top, j * stride_w + tap % width - left, c] += dy[n, i, j, c]


def max_pool2d_forward(x: Array, pool_size: Pair, strides: Pair, padding: str) -> tuple[Array, Array]:
    """y (N, OH, OW, C) = the largest value of each window of x (N, H, W, C); index, int32 = where in the window it stands."""
    padded, (rows, columns), _ = pad_images(x, pool_size, strides, padding, value=-np.inf)
    y = np.empty((len(x), rows, columns, x.shape[3]), x.dtype)
    index = np.empty(y.shape, np.int32)
    _forward(np.ascontiguousarray(padded), y, index, *pool_size, *strides)
    return y, index


def max_pool2d_backward(
    dy: Array, index: Array, x_shape: tuple[int, ...], pool_size: Pair, strides: Pair, padding: str
) -> Array:
    """The gradient goes to the one input that was the maximum.  dy, index (N, OH, OW, C) → dx (N, H, W, C)."""
    dx = np.zeros(x_shape, dy.dtype)
    top = window_output(x_shape[1], pool_size[0], strides[0], padding)[1]
    left = window_output(x_shape[2], pool_size[1], strides[1], padding)[1]
    _backward(np.ascontiguousarray(dy), np.ascontiguousarray(index), dx, pool_size[1], *strides, top, left)
    return dx
