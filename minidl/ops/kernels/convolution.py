"""Convolution as im2col and a matrix product, in tiles that stay in the processor's L2 cache.

im2col lays out the window of each output pixel as one row; the convolution is then rows · kernel, which BLAS computes fastest
if the rows come from the cache and not from memory. So only a few images at a time are laid out, multiplied and dropped.
"""

from collections.abc import Iterator

import numpy as np

from ...contracts import Array, Pair
from ..floats import floating, of_floats
from ..geometry import pad_images
from .jit import jit

# Floats of a tile's columns: 1 MB in float32, half of the L2 cache of most current server cores.
TILE_FLOATS = 256 * 1024


@jit
def _im2col(x, columns, height, width, stride_h, stride_w):
    """x (n, H, W, C), padded → columns (n, OH, OW, KH, KW · C). A row of a window is contiguous in x, and copied as a whole."""
    samples, rows, cols = columns.shape[:3]
    run, skip = width * x.shape[3], stride_w * x.shape[3]
    for n in range(samples):
        for i in range(rows):
            for j in range(cols):
                for a in range(height):
                    source, target = x[n, i * stride_h + a].reshape(-1), columns[n, i, j, a]
                    for k in range(run):
                        target[k] = source[j * skip + k]


@jit
def _im2col_one_channel(x, columns, height, width, stride_h, stride_w):
    """x (n, H, W, 1), padded → columns (KH, KW, n, OH, OW): with one channel the long contiguous runs are along the pixels."""
    samples, rows, cols = columns.shape[2:]
    for a in range(height):
        for b in range(width):
            for n in range(samples):
                for i in range(rows):
                    source, target = x[n, i * stride_h + a, :, 0], columns[a, b, n, i]
                    for j in range(cols):
                        target[j] = source[b + j * stride_w]


@jit
def _col2im(dcolumns, dx, shape, output, window, strides):
    """The transpose of im2col, on flat arrays: views in the inner loops would cost more than the sums.

    dx, of this shape (n, H, W, C), += dcolumns (n, OH, OW, KH, KW · C), each row at the window it came from.
    """
    samples, h, w, c = shape
    run = window[1] * c
    source = 0
    for n in range(samples):
        for i in range(output[0]):
            for j in range(output[1]):
                for a in range(window[0]):
                    target = ((n * h + i * strides[0] + a) * w + j * strides[1]) * c
                    for k in range(run):
                        dx[target + k] += dcolumns[source + k]
                    source += run


def im2col(x: Array, window: Pair, strides: Pair, output: Pair, room: Array) -> Array:
    """Every window of x (n, H, W, C), padded, as a row: a matrix (n · OH · OW, KH · KW · C). room: a flat array to hold it."""
    n, channels = len(x), x.shape[3]
    if channels == 1:
        _im2col_one_channel(x, room.reshape(*window, n, *output), *window, *strides)
        return room.reshape(window[0] * window[1], -1).T
    _im2col(x, room.reshape(n, *output, window[0], window[1] * channels), *window, *strides)
    return room.reshape(-1, window[0] * window[1] * channels)


def tiles(samples: int, floats_per_sample: int) -> Iterator[slice]:
    """Cut the batch into slices of as many images as fit into a tile, at least one."""
    step = max(1, TILE_FLOATS // floats_per_sample)
    for start in range(0, samples, step):
        yield slice(start, min(start + step, samples))


@of_floats
def conv2d_forward(x: Array, kernel: Array, bias: Array | None, strides: Pair, padding: str) -> Array:
    """y (N, OH, OW, F) = x (N, H, W, C) convolved with kernel (KH, KW, C, F), + bias (F,) or None."""
    window, filters = kernel.shape[:2], kernel.shape[3]
    x, output, _ = pad_images(np.ascontiguousarray(x), window, strides, padding)
    matrix = kernel.reshape(-1, filters)
    y = np.empty((len(x), *output, filters), x.dtype)
    for tile in tiles(len(x), output[0] * output[1] * len(matrix)):
        z = y[tile].reshape(-1, filters)
        columns = im2col(x[tile], window, strides, output, np.empty(len(z) * len(matrix), x.dtype))
        np.matmul(columns, matrix, out=z)
    if bias is not None:
        y += bias
    return y


@of_floats
def conv2d_backward(dy: Array, x: Array, kernel: Array, strides: Pair, padding: str) -> tuple[Array, Array, Array]:
    """dy (N, OH, OW, F) → dx (N, H, W, C), dkernel (KH, KW, C, F), dbias (F,)."""
    x, window, filters = floating(x), kernel.shape[:2], kernel.shape[3]
    padded, output, (top, left) = pad_images(np.ascontiguousarray(x), window, strides, padding)
    matrix = kernel.reshape(-1, filters)
    dmatrix, dpadded = np.zeros_like(matrix), np.zeros_like(padded)
    for tile in tiles(len(x), output[0] * output[1] * len(matrix)):
        dz = dy[tile].reshape(-1, filters)
        columns = im2col(padded[tile], window, strides, output, np.empty(len(dz) * len(matrix), x.dtype))
        dmatrix += columns.T @ dz
        col2im(dz @ matrix.T, dpadded[tile], window, strides, output)
    dx = dpadded[:, top : top + x.shape[1], left : left + x.shape[2]]
    return np.ascontiguousarray(dx), dmatrix.reshape(kernel.shape), dy.sum(axis=(0, 1, 2))


def col2im(dcolumns: Array, dx: Array, window: Pair, strides: Pair, output: Pair) -> None:
    """dx (n, H, W, C), padded, += the rows dcolumns (n · OH · OW, KH · KW · C), each added to the window it came from."""
    _col2im(dcolumns.reshape(-1), dx.reshape(-1), dx.shape, output, window, strides)
