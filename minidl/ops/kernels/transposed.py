"""The transposed convolution: the two matrix products of a convolution's backward, in the same tiles, the other way round."""

import numpy as np

from ...contracts import Array, Pair
from ..floats import floating, of_floats
from ..geometry import pad_images, transposed_output
from .convolution import col2im, im2col, tiles


@of_floats
def conv2d_transpose_forward(x: Array, kernel: Array, bias: Array | None, strides: Pair, padding: str) -> Array:
    """y (N, OH, OW, F): each pixel of x (N, H, W, C) puts kernel (KH, KW, F, C) · x down at its window; + bias (F,) or None."""
    window, filters, place = kernel.shape[:2], kernel.shape[2], x.shape[1:3]
    rows, columns = (transposed_output(place[i], window[i], strides[i], padding) for i in (0, 1))
    padded, _, (top, left) = pad_images(np.zeros((len(x), rows, columns, filters), x.dtype), window, strides, padding)
    matrix = kernel.reshape(-1, x.shape[3])
    for tile in tiles(len(x), place[0] * place[1] * len(matrix)):
        col2im(x[tile].reshape(-1, x.shape[3]) @ matrix.T, padded[tile], window, strides, place)
    y = np.ascontiguousarray(padded[:, top : top + rows, left : left + columns])
    if bias is not None:
        y += bias
    return y


@of_floats
def conv2d_transpose_backward(
    dy: Array, x: Array, kernel: Array, strides: Pair, padding: str
) -> tuple[Array, Array, Array]:
    """dy (N, OH, OW, F) → dx (N, H, W, C), dkernel (KH, KW, F, C), dbias (F,)."""
    x, window, place = floating(x), kernel.shape[:2], x.shape[1:3]
    padded, _, _ = pad_images(np.ascontiguousarray(dy), window, strides, padding)
    matrix = kernel.reshape(-1, x.shape[3])
    dx, dmatrix = np.empty(x.shape, dy.dtype), np.zeros_like(matrix)
    for tile in tiles(len(x), place[0] * place[1] * len(matrix)):
        rows = dx[tile].reshape(-1, x.shape[3])
        columns = im2col(padded[tile], window, strides, place, np.empty(len(rows) * len(matrix), dy.dtype))
        np.matmul(columns, matrix, out=rows)
        dmatrix += columns.T @ x[tile].reshape(-1, x.shape[3])
    return dx, dmatrix.reshape(kernel.shape), dy.sum(axis=(0, 1, 2))
