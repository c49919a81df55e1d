"""Reading images at other places: one pass over the places, where NumPy gathers the pixels of each corner in turn.

The blur of an elastic distortion goes down the columns and then along the rows, where the reference multiplies by matrices.
"""

import math

import numpy as np

from ...contracts import Array
from ..floats import of_floats
from .jit import jit

MODES = ("constant", "nearest", "reflect", "wrap")
CONSTANT, NEAREST, REFLECT = range(3)
OUTSIDE = -1  # the index of a pixel that is the fill value


@jit
def _filled(index, length, mode):
    """The index of the pixel that stands for this one, which may lie outside the image."""
    if 0 <= index < length:
        return index
    if mode == CONSTANT:
        return OUTSIDE
    if mode == NEAREST:
        return 0 if index < 0 else length - 1
    if mode == REFLECT:
        folded = index % (2 * length)
        return min(folded, 2 * length - 1 - folded)
    return index % length


@jit
def _pixel(x, n, row, column, channel, fill):
    return fill if row == OUTSIDE or column == OUTSIDE else x[n, np.uint64(row), np.uint64(column), channel]


@jit
def _forward(x, places, bilinear, mode, fill, y):
    """y (N, H, W, C) from x of the same shape, and places (N, 2, H, W)."""
    samples, height, width, channels = x.shape
    one = x.dtype.type(1)
    for n in range(samples):
        for i in range(height):
            for j in range(width):
                row, column = places[n, 0, i, j], places[n, 1, i, j]
                if not bilinear:
                    r0, c0 = (
                        _filled(np.int32(np.floor(row + 0.5)), height, mode),
                        _filled(np.int32(np.floor(column + 0.5)), width, mode),
                    )
                    for k in range(channels):
                        y[n, i, j, k] = _pixel(x, n, r0, c0, k, fill)
                    continue
                first, start = np.floor(row), np.floor(column)
                top, left = np.int32(first), np.int32(start)
                down, right = x.dtype.type(row - first), x.dtype.type(column - start)
                # without a sign, an index is not tested for being counted from the end
                r, c, step = np.uint64(top), np.uint64(left), np.uint64(1)
                if top >= 0 and top + 1 < height and left >= 0 and left + 1 < width:
                    for k in range(channels):
                        above = (one - right) * x[n, r, c, k] + right * x[n, r, c + step, k]
                        below = (one - right) * x[n, r + step, c, k] + right * x[n, r + step, c + step, k]
                        y[n, i, j, k] = (one - down) * above + down * below
                    continue
                r0, r1 = _filled(top, height, mode), _filled(top + 1, height, mode)
                c0, c1 = _filled(left, width, mode), _filled(left + 1, width, mode)
                for k in range(channels):
                    above = (one - right) * _pixel(x, n, r0, c0, k, fill) + right * _pixel(x, n, r0, c1, k, fill)
                    below = (one - right) * _pixel(x, n, r1, c0, k, fill) + right * _pixel(x, n, r1, c1, k, fill)
                    y[n, i, j, k] = (one - down) * above + down * below


@jit
def _backward(dy, places, bilinear, mode, dx):
    """dx, full of zeros: every dy is added to the pixels that its y was made of."""
    samples, height, width, channels = dy.shape
    corners = 2 if bilinear else 1
    for n in range(samples):
        for i in range(height):
            for j in range(width):
                row, column = places[n, 0, i, j], places[n, 1, i, j]
                if not bilinear:
                    row, column = math.floor(row + 0.5), math.floor(column + 0.5)
                top, left = math.floor(row), math.floor(column)
                for a in range(corners):
                    down = dy.dtype.type(row - top if a else 1 - (row - top))
                    r = _filled(top + a, height, mode)
                    for b in range(corners):
                        share = down * dy.dtype.type(column - left if b else 1 - (column - left))
                        c = _filled(left + b, width, mode)
                        if r == OUTSIDE or c == OUTSIDE:
                            continue
                        for k in range(channels):
                            dx[n, r, c, k] += share * dy[n, i, j, k]


@jit
def _elastic(noise: Array, alpha: Array, sigma: Array, places: Array) -> None:
    """places (N, 2, H, W) = each pixel's own, moved by α · σ · blurred noise."""
    samples, _, height, width = noise.shape
    for n in range(samples):
        reach = int(6 * sigma[n]) // 2
        weights = np.exp(-0.5 * (np.arange(reach + 1) / max(sigma[n], 1e-6)) ** 2)
        weights /= 2 * weights.sum() - weights[0]
        line = np.zeros(width + 2 * reach)  # with zeros on both sides
        for k in range(2):
            for i in range(height):
                line[reach : reach + width] = 0
                for row in range(max(0, i - reach), min(height, i + reach + 1)):
                    weight = weights[abs(row - i)]
                    for j in range(width):
                        line[reach + j] += weight * noise[n, k, row, j]
                for j in range(width):
                    places[n, k, i, j] = i if k == 0 else j
                for d in range(2 * reach + 1):
                    weight = weights[abs(d - reach)] * alpha[n] * sigma[n]
                    for j in range(width):
                        places[n, k, i, j] += weight * line[j + d]


def elastic_places(noise: Array, strength: Array) -> Array:
    """See the reference."""
    places = np.empty(noise.shape)
    height, width = noise.shape[2:]
    _elastic(noise, 0.1 * max(height, width) * strength, 0.05 * min(height, width) * strength, places)
    return places


@of_floats
def resample_forward(x: Array, places: Array, interpolation: str, fill_mode: str, fill_value: float) -> Array:
    """y[n, i, j] = x[n] at places[n, :, i, j], from its nearest pixel or the four around it."""
    y = np.empty(x.shape, x.dtype)
    _forward(x, places, interpolation == "bilinear", MODES.index(fill_mode), x.dtype.type(fill_value), y)
    return y


@of_floats
def resample_backward(dy: Array, places: Array, interpolation: str, fill_mode: str) -> Array:
    """dx: every dy goes back to the pixels that its y was made of, with the same weights."""
    dx = np.zeros(dy.shape, dy.dtype)
    _backward(dy, places, interpolation == "bilinear", MODES.index(fill_mode), dx)
    return dx
