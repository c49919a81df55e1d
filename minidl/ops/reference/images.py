"""Images made smaller or larger without weights: pooling, padding, upsampling."""

import math

import numpy as np

from ...contracts import Array, Pair
from ..floats import of_floats
from ..geometry import pad_images
from .convolution import windows


@of_floats
def zero_pad2d_forward(x: Array, rows: Pair, columns: Pair) -> Array:
    """A frame of zeros around each image.  x (N, H, W, C), rows (above, below), columns (left, right) → (N, H + …, W + …, C)."""
    return np.pad(x, ((0, 0), rows, columns, (0, 0)))


@of_floats
def zero_pad2d_backward(dy: Array, rows: Pair, columns: Pair) -> Array:
    """dx is dy without the frame, whose zeros are constants.  dy (N, H + …, W + …, C) → dx (N, H, W, C)."""
    (top, bottom), (left, right) = rows, columns
    return dy[:, top : dy.shape[1] - bottom, left : dy.shape[2] - right].copy()


@of_floats
def max_pool2d_forward(x: Array, pool_size: Pair, strides: Pair, padding: str) -> tuple[Array, Array]:
    """y = the largest value of each window; index = its place in the window, counted row by row.

    x (N, H, W, C) → y (N, OH, OW, C), index (N, OH, OW, C) int32. Of equal values the first wins. Padding is −∞, so it
    never wins; a NaN in the window does, so it is not hidden.
    """

    def cells(images: Array, outside: float) -> Array:
        """The cells of every window in a row: (N, OH, OW, KH·KW, C)."""
        found = windows(pad_images(images, pool_size, strides, padding, value=outside)[0], pool_size, strides)
        return found.reshape(*found.shape[:3], -1, images.shape[3])

    values, real = cells(x, -np.inf), cells(np.ones_like(x[:1]), 0) == 1
    y = values.max(axis=3)  # NaN if there is one
    wins = real & ((values == y[:, :, :, None]) | np.isnan(values))
    return y, wins.argmax(axis=3).astype(np.int32)


@of_floats
def max_pool2d_backward(
    dy: Array, index: Array, x_shape: tuple[int, ...], pool_size: Pair, strides: Pair, padding: str
) -> Array:
    """The gradient goes to the one input that was the maximum.  dy, index (N, OH, OW, C) → dx (N, H, W, C)."""
    empty = np.zeros(x_shape, dy.dtype)
    dpadded, (rows, columns), (top, left) = pad_images(empty, pool_size, strides, padding)
    for a in range(pool_size[0]):
        for b in range(pool_size[1]):
            places = dpadded[:, a : a + rows * strides[0] : strides[0], b : b + columns * strides[1] : strides[1]]
            places += np.where(index == a * pool_size[1] + b, dy, 0)
    return dpadded[:, top : top + x_shape[1], left : left + x_shape[2]].copy()


def _real_cells(x_shape: tuple[int, ...], pool_size: Pair, strides: Pair, padding: str) -> Array:
    """How many cells of each window lie inside the image.  (1, OH, OW, 1)."""
    ones, _, _ = pad_images(np.ones((1, *x_shape[1:3], 1), np.float32), pool_size, strides, padding)
    return windows(ones, pool_size, strides).sum(axis=(3, 4))


@of_floats
def avg_pool2d_forward(x: Array, pool_size: Pair, strides: Pair, padding: str) -> Array:
    """y = the mean of each window's cells; those of the padding do not count.  x (N, H, W, C) → y (N, OH, OW, C)."""
    cells = windows(pad_images(x, pool_size, strides, padding)[0], pool_size, strides)
    return cells.sum(axis=(3, 4)) / _real_cells(x.shape, pool_size, strides, padding).astype(x.dtype)


@of_floats
def avg_pool2d_backward(dy: Array, x_shape: tuple[int, ...], pool_size: Pair, strides: Pair, padding: str) -> Array:
    """Every cell of a window gets the same share of its dy.  dy (N, OH, OW, C) → dx (N, H, W, C)."""
    share = dy / _real_cells(x_shape, pool_size, strides, padding).astype(dy.dtype)
    dpadded, (rows, columns), (top, left) = pad_images(np.zeros(x_shape, dy.dtype), pool_size, strides, padding)
    for a in range(pool_size[0]):
        for b in range(pool_size[1]):
            dpadded[:, a : a + rows * strides[0] : strides[0], b : b + columns * strides[1] : strides[1]] += share
    return dpadded[:, top : top + x_shape[1], left : left + x_shape[2]].copy()


@of_floats
def global_avg_pool2d_forward(x: Array) -> Array:
    """y = the mean of each channel over the whole image.  x (N, H, W, C) → y (N, C)."""
    return x.mean(axis=(1, 2))


@of_floats
def global_avg_pool2d_backward(dy: Array, x_shape: tuple[int, ...]) -> Array:
    """Every pixel gets the same share of dy.  dy (N, C) → dx (N, H, W, C)."""
    return np.broadcast_to((dy / math.prod(x_shape[1:3]))[:, None, None, :], x_shape).copy()


@of_floats
def up_sample2d_forward(x: Array, size: Pair) -> Array:
    """Every pixel becomes a block of equal ones.  x (N, H, W, C), size (SH, SW) → y (N, H · SH, W · SW, C)."""
    return x.repeat(size[0], axis=1).repeat(size[1], axis=2)


@of_floats
def up_sample2d_backward(dy: Array, size: Pair) -> Array:
    """dx is the sum of dy over each block.  dy (N, H · SH, W · SW, C) → dx (N, H, W, C)."""
    n, rows, columns, channels = dy.shape
    return dy.reshape(n, rows // size[0], size[0], columns // size[1], size[1], channels).sum(axis=(2, 4))
