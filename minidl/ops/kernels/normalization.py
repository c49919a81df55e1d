"""Batch normalization in as few passes over the data as there can be, with the ReLU and the 2×2 max-pool after it, if any."""

import numpy as np

from ...contracts import Array
from ..floats import floating, of_floats
from .jit import jit
from .loops import CUT


@jit
def sums_into(x: Array, sums: Array) -> None:
    """Σ x and Σ x² of each column.  x (M, C) → sums (2, C) float64, to which they are added."""
    for m in range(x.shape[0]):
        for c in range(x.shape[1]):
            value = np.float64(x[m, c])
            sums[0, c] += value
            sums[1, c] += value * value


@jit
def forward_into(x: Array, mean: Array, scale: Array, beta: Array, relu: bool, y: Array) -> None:
    """y = (x − mean) · scale + beta, and ReLU if requested.  x, y (M, C), the others (C,)."""
    zero = y.dtype.type(0)
    for m in range(x.shape[0]):
        for c in range(x.shape[1]):
            value = (x[m, c] - mean[c]) * scale[c] + beta[c]
            y[m, c] = zero if relu and value < zero else value  # written this way, NaN stays NaN


@jit
def backward_sums_into(dy: Array, x: Array, mean: Array, scale: Array, beta: Array, relu: bool, sums: Array) -> None:
    """Σ dz and Σ dz · (x − mean) of each column; dz is dy where the ReLU was not at 0.  dy, x (M, C) → sums (2, C) float64."""
    zero = dy.dtype.type(0)
    for m in range(x.shape[0]):
        for c in range(x.shape[1]):
            value, centred = dy[m, c], x[m, c] - mean[c]
            dz = np.float64(zero if relu and centred * scale[c] + beta[c] <= zero else value)
            sums[0, c] += dz
            sums[1, c] += dz * np.float64(centred)


@jit
def backward_into(
    dy: Array, x: Array, mean: Array, scale: Array, beta: Array, relu: bool, shift: Array, slope: Array, dx: Array
) -> None:
    """dx = scale · dz − shift − (x − mean) · slope, dz as above.  dy, x, dx (M, C), the others (C,). dx may be dy."""
    zero = dx.dtype.type(0)
    for m in range(x.shape[0]):
        for c in range(x.shape[1]):
            value, centred = dy[m, c], x[m, c] - mean[c]
            dz = zero if relu and centred * scale[c] + beta[c] <= zero else value
            dx[m, c] = dz * scale[c] - shift[c] - centred * slope[c]


@jit
def forward_pooled_into(x: Array, mean: Array, scale: Array, beta: Array, relu: bool, y: Array, index: Array) -> None:
    """y, index (N, H / 2, W / 2, C) = the largest of each four of what ``forward_into`` makes of x (N, H, W, C), and its place.

    The place is row · 2 + column, or CUT where the ReLU was at 0. Ties go to the first, a NaN wins, as in max_pool2d_forward.
    """
    zero = y.dtype.type(0)
    samples, height, width, channels = y.shape
    for n in range(samples):
        for i in range(height):
            for j in range(width):
                for c in range(channels):
                    best = (x[n, 2 * i, 2 * j, c] - mean[c]) * scale[c] + beta[c]
                    place = np.uint8(0)
                    for k in range(1, 4):
                        value = (x[n, 2 * i + k // 2, 2 * j + k % 2, c] - mean[c]) * scale[c] + beta[c]
                        wins = not value <= best and best == best
                        best, place = value if wins else best, np.uint8(k) if wins else place
                    cut = relu and best <= zero
                    y[n, i, j, c] = zero if cut else best
                    index[n, i, j, c] = np.uint8(CUT) if cut else place


@jit
def backward_pooled_sums_into(dy: Array, index: Array, x: Array, mean: Array, sums: Array) -> None:
    """``backward_sums_into`` behind ``forward_pooled_into``: of each four, only the largest has a dz."""
    samples, height, width, channels = dy.shape
    for n in range(samples):
        for i in range(height):
            for j in range(width):
                for c in range(channels):
                    place, largest = index[n, i, j, c], x[n, 2 * i, 2 * j, c]
                    for k in range(1, 4):
                        value = x[n, 2 * i + k // 2, 2 * j + k % 2, c]
                        largest = value if place == k else largest
                    dz = np.float64(dy[n, i, j, c] if place != CUT else dy.dtype.type(0))
                    sums[0, c] += dz
                    sums[1, c] += dz * np.float64(largest - mean[c])


@jit
def backward_pooled_into(
    dy: Array, index: Array, x: Array, mean: Array, scale: Array, shift: Array, slope: Array, dx: Array
) -> None:
    """``backward_into`` behind ``forward_pooled_into``.  dy, index (N, H / 2, W / 2, C) → dx (N, H, W, C)"""
    zero = dx.dtype.type(0)
    _, height, width, channels = x.shape
    for n in range(len(x)):
        for i in range(height):
            for j in range(width):
                if i // 2 < dy.shape[1] and j // 2 < dy.shape[2]:
                    own = i % 2 * 2 + j % 2
                    for c in range(channels):
                        dz = dy[n, i // 2, j // 2, c] if index[n, i // 2, j // 2, c] == own else zero
                        dx[n, i, j, c] = dz * scale[c] - shift[c] - (x[n, i, j, c] - mean[c]) * slope[c]
                else:  # in no window of the pool
                    for c in range(channels):
                        dx[n, i, j, c] = -shift[c] - (x[n, i, j, c] - mean[c]) * slope[c]


def rows(x: Array) -> Array:
    """x (…, C) as (M, C), contiguous."""
    return np.ascontiguousarray(x).reshape(-1, x.shape[-1])


@of_floats
def batch_norm_sums(x: Array) -> Array:
    """See the reference."""
    flat, sums = rows(x), np.zeros((3, x.shape[-1]))
    sums[0] = len(flat)
    sums_into(flat, sums[1:])
    return sums


@of_floats
def batch_norm_forward(x: Array, mean: Array, inverse: Array, gamma: Array | None, beta: Array | None) -> Array:
    """See the reference."""
    flat = rows(x)
    y = np.empty_like(flat)
    forward_into(flat, mean, scale_of(inverse, gamma), shift_of(inverse, beta), False, y)
    return y.reshape(x.shape)


@of_floats
def batch_norm_backward_sums(dy: Array, x: Array, mean: Array, inverse: Array) -> Array:
    """See the reference."""
    sums = np.zeros((2, x.shape[-1]))
    backward_sums_into(rows(dy), rows(floating(x)), mean, inverse, mean, False, sums)
    sums[1] *= inverse
    return sums


@of_floats
def batch_norm_backward(
    dy: Array, x: Array, mean: Array, inverse: Array, gamma: Array | None, of_mean: Array, of_variance: Array
) -> Array:
    """See the reference."""
    flat, scale = rows(dy), scale_of(inverse, gamma)
    dx = np.empty_like(flat)
    shift, slope = slopes_of(scale, inverse, of_mean, of_variance)
    backward_into(flat, rows(floating(x)), mean, scale, mean, False, shift, slope, dx)
    return dx.reshape(x.shape)


def scale_of(inverse: Array, gamma: Array | None) -> Array:
    """gamma / √(σ² + ε), (C,)."""
    return inverse if gamma is None else gamma * inverse


def shift_of(like: Array, beta: Array | None) -> Array:
    """beta, or zeros, (C,)."""
    return np.zeros_like(like) if beta is None else beta


def slopes_of(scale: Array, inverse: Array, of_mean: Array, of_variance: Array) -> tuple[Array, Array]:
    """What backward subtracts: the same from every entry, and in proportion to x − μ.  Each (C,), in the dtype of scale."""
    return (scale * of_mean).astype(scale.dtype), (scale * inverse * of_variance).astype(scale.dtype)
