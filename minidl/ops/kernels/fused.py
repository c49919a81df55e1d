"""Bias, ReLU and max-pooling in one pass, on a tile of a convolution's output that is still in the cache.

Called by the engine's plan only. The plain twin of ``bias_relu_pool`` is: add the bias, ``relu_forward``,
``max_pool2d_forward``; that of ``unpool`` is ``max_pool2d_backward``, then ``relu_backward``. Windows do not overlap (the
strides are the pool size) and nothing is padded.

In the inner loops the filters are the vector lanes, and every branch is a choice between two values, so that they become
vector code.
"""

from .jit import jit


@jit
def bias_relu_pool(z, bias, relu, y, index, height, width):
    """y = max-pool of relu(z + bias), index = where in the window.  z (n, H, W, F); bias (F,); y, index (n, OH, OW, F).

    Adding the bias and cutting at 0 keep the order of numbers, so the ReLU may follow the maximum.
    """
    samples, rows, columns, filters = y.shape
    zero = y.dtype.type(0)
    for n in range(samples):
        for i in range(rows):
            for j in range(columns):
                best, place = y[n, i, j], index[n, i, j]
                first = z[n, i * height, j * width]
                for f in range(filters):
                    best[f] = first[f] + bias[f]
                    place[f] = 0
                for tap in range(1, height * width):
                    other = z[n, i * height + tap // width, j * width + tap % width]
                    for f in range(filters):
                        value = other[f] + bias[f]
                        wins = not value <= best[f] and best[f] == best[f]  # a NaN wins, and then stays
                        place[f] = tap if wins else place[f]
                        best[f] = value if wins else best[f]
                if relu:
                    for f in range(filters):
                        best[f] = zero if best[f] < zero else best[f]


@jit
def unpool(dy, y, index, relu, dz, height, width):
    """dz (n, H, W, F) = dy where the maximum was and the ReLU let it through, 0 elsewhere.  dy, y, index (n, OH, OW, F)."""
    samples, rows, columns, filters = dy.shape
    zero = dz.dtype.type(0)
    dz[:, rows * height :] = zero  # what no window covers
    dz[:, :, columns * width :] = zero
    through = dy[0, 0, 0].copy()
    for n in range(samples):
        for i in range(rows):
            for j in range(columns):
                gradient, best, place = dy[n, i, j], y[n, i, j], index[n, i, j]
                for f in range(filters):
                    through[f] = gradient[f] if not relu or best[f] > zero else zero
                for tap in range(height * width):
                    target = dz[n, i * height + tap // width, j * width + tap % width]
                    for f in range(filters):
                        target[f] = through[f] if place[f] == tap else zero
