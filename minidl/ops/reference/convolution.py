"""Convolution, and its adjoint, the transposed convolution: each one's forward is the other's way from dy to dx."""

import numpy as np

from ...contracts import Array, Pair
from ..floats import floating, of_floats
from ..geometry import pad_images, transposed_output


def windows(x: Array, window: Pair, strides: Pair) -> Array:
    """Every position of the window, as a view of x without copying.  x (N, H, W, C) → (N, OH, OW, KH, KW, C)."""
    view = np.lib.stride_tricks.sliding_window_view(x, window, axis=(1, 2))
    return np.moveaxis(view[:, :: strides[0], :: strides[1]], 3, 5)


@of_floats
def conv2d_forward(x: Array, kernel: Array, bias: Array | None, strides: Pair, padding: str) -> Array:
    """y[n, i, j, f] = Σ_{a, b, c} x[n, i·SH + a, j·SW + b, c] · kernel[a, b, c, f] + bias[f], x padded with zeros for "same".

    x (N, H, W, C), kernel (KH, KW, C, F), bias (F,) or None → y (N, OH, OW, F). (In deep learning, "convolution" means this
    cross-correlation: the kernel is not flipped.)
    """
    padded, _, _ = pad_images(x, kernel.shape[:2], strides, padding)
    y = np.tensordot(windows(padded, kernel.shape[:2], strides), kernel, axes=3)
    return y if bias is None else y + bias


@of_floats
def conv2d_backward(dy: Array, x: Array, kernel: Array, strides: Pair, padding: str) -> tuple[Array, Array, Array]:
    """dkernel is a correlation of x with dy; dx adds dy · kernelᵀ back to where each window was read.

    dy (N, OH, OW, F) → dx (N, H, W, C), dkernel (KH, KW, C, F), dbias (F,).
    """
    x = floating(x)
    height, width = kernel.shape[:2]
    padded, (rows, columns), (top, left) = pad_images(x, (height, width), strides, padding)
    dkernel = np.tensordot(windows(padded, (height, width), strides), dy, axes=((0, 1, 2), (0, 1, 2)))
    dpadded = np.zeros_like(padded)
    for a in range(height):
        for b in range(width):
            places = dpadded[:, a : a + rows * strides[0] : strides[0], b : b + columns * strides[1] : strides[1]]
            places += dy @ kernel[a, b].T
    dx = dpadded[:, top : top + x.shape[1], left : left + x.shape[2]]
    return dx.copy(), dkernel, dy.sum(axis=(0, 1, 2))


@of_floats
def conv2d_transpose_forward(x: Array, kernel: Array, bias: Array | None, strides: Pair, padding: str) -> Array:
    """Each pixel of x puts kernel · x down at the window that a convolution would have read it from; overlaps add up.

    x (N, H, W, C), kernel (KH, KW, F, C), bias (F,) or None → y (N, OH, OW, F). It is ``conv2d_backward`` from dy to dx: that of
    the convolution with this kernel, which makes C channels of F.
    """
    rows, columns = (transposed_output(x.shape[i + 1], kernel.shape[i], strides[i], padding) for i in (0, 1))
    y, _, _ = conv2d_backward(x, np.zeros((len(x), rows, columns, kernel.shape[2]), x.dtype), kernel, strides, padding)
    return y if bias is None else y + bias


@of_floats
def conv2d_transpose_backward(
    dy: Array, x: Array, kernel: Array, strides: Pair, padding: str
) -> tuple[Array, Array, Array]:
    """dx is the convolution of dy; dkernel is that convolution's, with dy as its images and x as what comes back from above.

    dy (N, OH, OW, F) → dx (N, H, W, C), dkernel (KH, KW, F, C), dbias (F,).
    """
    _, dkernel, _ = conv2d_backward(x, dy, kernel, strides, padding)
    return conv2d_forward(dy, kernel, None, strides, padding), dkernel, dy.sum(axis=(0, 1, 2))
