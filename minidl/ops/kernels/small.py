"""Dense layers for one or two samples, for which BLAS is not made: one call for all of it.

Called only by the engine's steps. The plain twins are ``dense_forward``, ``relu_forward`` and their backward operations. What
takes the time is to read the kernel, and to write its gradient: each row once for all samples.
"""

from ...contracts import Array
from .jit import jit

FEW = 2  # samples: BLAS rearranges the kernel first, which pays off only for more


@jit
def dense_forward(x: Array, kernel: Array, bias: Array, relu: bool, y: Array) -> None:
    """y (N, U) = x (N, D) · kernel (D, U) + bias (U,), and ReLU if requested."""
    zero = y.dtype.type(0)
    for n in range(y.shape[0]):
        for u in range(y.shape[1]):
            y[n, u] = bias[u]
    fours = x.shape[1] // 4 * 4
    for d in range(0, fours, 4):  # y is read and written once for four rows
        for n in range(y.shape[0]):
            a, b, c, e = x[n, d], x[n, d + 1], x[n, d + 2], x[n, d + 3]
            for u in range(y.shape[1]):
                value = y[n, u] + a * kernel[d, u] + b * kernel[d + 1, u]
                y[n, u] = value + c * kernel[d + 2, u] + e * kernel[d + 3, u]
    for d in range(fours, x.shape[1]):
        for n in range(y.shape[0]):
            value = x[n, d]
            for u in range(y.shape[1]):
                y[n, u] += value * kernel[d, u]
    if relu:
        for n in range(y.shape[0]):
            for u in range(y.shape[1]):
                value = y[n, u]
                y[n, u] = zero if value < zero else value  # written this way, NaN stays NaN


@jit
def dense_backward(
    dy: Array, x: Array, y: Array, kernel: Array, relu: bool, dkernel: Array, dbias: Array, dx: Array
) -> None:
    """dkernel (D, U), dbias (U,) and dx (N, D), if it is not empty, from dy (N, U), over which dz is written."""
    zero = dy.dtype.type(0)
    dbias[:] = 0
    for n in range(dy.shape[0]):
        for u in range(dy.shape[1]):
            value = dy[n, u]
            dy[n, u] = value if y[n, u] > zero or not relu else zero
            dbias[u] += dy[n, u]
    for d in range(x.shape[1]):
        for u in range(dy.shape[1]):
            dkernel[d, u] = x[0, d] * dy[0, u]
        for n in range(1, dy.shape[0]):
            value = x[n, d]
            for u in range(dy.shape[1]):
                dkernel[d, u] += value * dy[n, u]
    for d in range(dx.shape[1]):
        for n in range(dy.shape[0]):
            total = zero
            for u in range(dy.shape[1]):
                total += dy[n, u] * kernel[d, u]
            dx[n, d] = total
