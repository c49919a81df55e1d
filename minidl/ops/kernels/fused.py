"""Bias, ReLU and max-pooling in one pass, on a tile of a convolution's output that is still in the cache.

Called by the engine's plan only. The plain twin of ``bias_relu_pool`` is: add the bias, ``relu_forward``,
``max_pool2d_forward``; that of ``unpool`` is ``max_pool2d_backward``, then ``relu_backward``. Windows do not overlap (the
strides are the pool size) and nothing is padded.

In the inner loops the filters are the vector lanes, and every branch is a choice between two values, so that they become
vector code.
"""

import numpy as np

from ..geometry import Array
from .jit import jit

LANES = 16  # float32 in a vector register of AVX-512; a multiple of every smaller one


def pad_filters(array: Array) -> Array:
    """Add zero filters, the last axis, up to a full vector: odd widths slow BLAS down and leave loops scalar tails."""
    missing = -array.shape[-1] % LANES
    if not missing:
        return array
    return np.concatenate([array, np.zeros((*array.shape[:-1], missing), array.dtype)], axis=-1)


@jit
def bias_relu_pool(z, bias, relu, y, index, height, width):
    """y = max-pool of relu(z + bias), index = where in the window.  y, index (n, OH, OW, F).

    z (n, H, W, G) and bias (G,) may have more filters than y, G ≥ F; the surplus is left out. Adding the bias and cutting at
    0 keep the order of numbers, so the ReLU may follow the maximum.
    """
    samples, rows, columns, filters = y.shape
    zero = y.dtype.type(0)
    best, place = np.empty(z.shape[3], y.dtype), np.empty(z.shape[3], index.dtype)
    for n in range(samples):
        for i in range(rows):
            for j in range(columns):
                first = z[n, i * height, j * width]
                for f in range(z.shape[3]):
                    best[f] = first[f] + bias[f]
                    place[f] = 0
                for tap in range(1, height * width):
                    other = z[n, i * height + tap // width, j * width + tap % width]
                    for f in range(z.shape[3]):
                        value = other[f] + bias[f]
                        wins = not value <= best[f] and best[f] == best[f]  # a NaN wins, and then stays
                        place[f] = tap if wins else place[f]
                        best[f] = value if wins else best[f]
                for f in range(filters):
                    y[n, i, j, f] = zero if relu and best[f] < zero else best[f]
                    index[n, i, j, f] = place[f]


@jit
def unpool(dy, y, index, relu, dz, height, width):
    """dz = dy where the maximum was and the ReLU let it through, 0 elsewhere.  dy, y, index (n, OH, OW, F).

    dz (n, H, W, G) may have more filters, G ≥ F; their gradient is 0.
    """
    samples, rows, columns, filters = dy.shape
    zero = dz.dtype.type(0)
    dz[:, rows * height :] = zero  # what no window covers
    dz[:, :, columns * width :] = zero
    through, place = np.zeros(dz.shape[3], dz.dtype), np.zeros(dz.shape[3], index.dtype)
    for n in range(samples):
        for i in range(rows):
            for j in range(columns):
                for f in range(filters):
                    through[f] = dy[n, i, j, f] if not relu or y[n, i, j, f] > zero else zero
                    place[f] = index[n, i, j, f]
                for tap in range(height * width):
                    target = dz[n, i * height + tap // width, j * width + tap % width]
                    for f in range(dz.shape[3]):
                        target[f] = through[f] if place[f] == tap else zero
