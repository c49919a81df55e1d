"""The mathematics of every layer in plain NumPy: a textbook to read, and the oracle that the fast kernels are tested against.

Each operation is a pair: ``*_forward`` computes y, ``*_backward`` takes dy = ∂loss/∂y and returns ∂loss/∂(each input).
All are pure: they return fresh arrays and change none of their arguments (the ``*_update`` rules of the optimizers at the
end, which exist to change a parameter, are the one exception). The result has the dtype of x.

Axis letters: N samples, H height, W width, C channels, F filters, KH and KW the window's height and width, SH and SW the
strides, OH and OW the output's height and width, D features of a sample, U units of a dense layer.
"""

import numpy as np

from ..contracts import Array, Pair
from .geometry import pad_images
from .random import RandomKey

# --------------------------------------------------------------------------------------------------------------- dense


def dense_forward(x: Array, kernel: Array, bias: Array | None) -> Array:
    """y = x · kernel + bias.  x (N, D), kernel (D, U), bias (U,) or None → y (N, U)."""
    y = x @ kernel
    return y if bias is None else y + bias


def dense_backward(dy: Array, x: Array, kernel: Array) -> tuple[Array, Array, Array]:
    """dx = dy · kernelᵀ, dkernel = xᵀ · dy, dbias = Σ_N dy.  dy (N, U) → dx (N, D), dkernel (D, U), dbias (U,)."""
    return dy @ kernel.T, x.T @ dy, dy.sum(axis=0)


# --------------------------------------------------------------------------------------------------------- convolution


def _windows(x: Array, window: Pair, strides: Pair) -> Array:
    """Every position of the window, as a view of x without copying.  x (N, H, W, C) → (N, OH, OW, KH, KW, C)."""
    view = np.lib.stride_tricks.sliding_window_view(x, window, axis=(1, 2))
    return np.moveaxis(view[:, :: strides[0], :: strides[1]], 3, 5)


def conv2d_forward(x: Array, kernel: Array, bias: Array | None, strides: Pair, padding: str) -> Array:
    """y[n, i, j, f] = Σ_{a, b, c} x[n, i·SH + a, j·SW + b, c] · kernel[a, b, c, f] + bias[f], x padded with zeros for "same".

    x (N, H, W, C), kernel (KH, KW, C, F), bias (F,) or None → y (N, OH, OW, F). (In deep learning, "convolution" means this
    cross-correlation: the kernel is not flipped.)
    """
    padded, _, _ = pad_images(x, kernel.shape[:2], strides, padding)
    y = np.tensordot(_windows(padded, kernel.shape[:2], strides), kernel, axes=3)
    return y if bias is None else y + bias


def conv2d_backward(dy: Array, x: Array, kernel: Array, strides: Pair, padding: str) -> tuple[Array, Array, Array]:
    """dkernel is a correlation of x with dy; dx adds dy · kernelᵀ back to where each window was read.

    dy (N, OH, OW, F) → dx (N, H, W, C), dkernel (KH, KW, C, F), dbias (F,).
    """
    height, width = kernel.shape[:2]
    padded, (rows, columns), (top, left) = pad_images(x, (height, width), strides, padding)
    windows = _windows(padded, (height, width), strides)
    dkernel = np.tensordot(windows, dy, axes=((0, 1, 2), (0, 1, 2)))
    dpadded = np.zeros_like(padded)
    for a in range(height):
        for b in range(width):
            places = dpadded[:, a : a + rows * strides[0] : strides[0], b : b + columns * strides[1] : strides[1]]
            places += dy @ kernel[a, b].T
    dx = dpadded[:, top : top + x.shape[1], left : left + x.shape[2]]
    return dx.copy(), dkernel, dy.sum(axis=(0, 1, 2))


# ------------------------------------------------------------------------------------------------------------- pooling


def zero_pad2d_forward(x: Array, rows: Pair, columns: Pair) -> Array:
    """A frame of zeros around each image.  x (N, H, W, C), rows (above, below), columns (left, right) → (N, H + …, W + …, C)."""
    return np.pad(x, ((0, 0), rows, columns, (0, 0)))


def zero_pad2d_backward(dy: Array, rows: Pair, columns: Pair) -> Array:
    """dx is dy without the frame, whose zeros are constants.  dy (N, H + …, W + …, C) → dx (N, H, W, C)."""
    (top, bottom), (left, right) = rows, columns
    return dy[:, top : dy.shape[1] - bottom, left : dy.shape[2] - right].copy()


def max_pool2d_forward(x: Array, pool_size: Pair, strides: Pair, padding: str) -> tuple[Array, Array]:
    """y = the largest value of each window; index = its place in the window, counted row by row.

    x (N, H, W, C) → y (N, OH, OW, C), index (N, OH, OW, C) int32. Of equal values the first wins. Padding is −∞, so it
    never wins; a NaN in the window does, so it is not hidden.
    """

    def cells(images: Array, outside: float) -> Array:
        """The cells of every window in a row: (N, OH, OW, KH·KW, C)."""
        windows = _windows(pad_images(images, pool_size, strides, padding, value=outside)[0], pool_size, strides)
        return windows.reshape(*windows.shape[:3], -1, images.shape[3])

    values, real = cells(x, -np.inf), cells(np.ones_like(x[:1]), 0) == 1
    y = values.max(axis=3)  # NaN if there is one
    wins = real & ((values == y[:, :, :, None]) | np.isnan(values))
    return y, wins.argmax(axis=3).astype(np.int32)


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


# --------------------------------------------------------------------------------------------------------- activations
# Each derivative is written in terms of y, the output, so that only y has to be kept.

LEAKY_RELU_SLOPE = 0.2  # Keras's negative_slope


def relu_forward(x: Array) -> Array:
    """y = max(x, 0). NaN stays NaN."""
    return np.maximum(x, 0)


def relu_backward(dy: Array, y: Array) -> Array:
    """dx = dy where y > 0, else 0 (so the slope at 0 is taken as 0)."""
    return np.where(y > 0, dy, 0)


def leaky_relu_forward(x: Array) -> Array:
    """y = x where x > 0, else 0.2 · x."""
    return np.where(x > 0, x, LEAKY_RELU_SLOPE * x)


def leaky_relu_backward(dy: Array, y: Array) -> Array:
    """dx = dy where y > 0, else 0.2 · dy (y > 0 exactly where x > 0, because the slope is positive)."""
    return np.where(y > 0, dy, LEAKY_RELU_SLOPE * dy)


def sigmoid_forward(x: Array) -> Array:
    """y = 1 / (1 + e^−x), computed from e^−|x| ≤ 1, so that no exponential overflows."""
    small = np.exp(-np.abs(x))
    return np.where(x >= 0, 1 / (1 + small), small / (1 + small))


def sigmoid_backward(dy: Array, y: Array) -> Array:
    """dx = dy · y · (1 − y)."""
    return dy * y * (1 - y)


def tanh_forward(x: Array) -> Array:
    """y = tanh x."""
    return np.tanh(x)


def tanh_backward(dy: Array, y: Array) -> Array:
    """dx = dy · (1 − y²)."""
    return dy * (1 - y * y)


def softmax_forward(x: Array) -> Array:
    """y_i = e^{x_i} / Σ_j e^{x_j} over the last axis; the maximum is subtracted first, which only prevents overflow."""
    with np.errstate(over="ignore"):  # an overflow becomes −∞, whose exponential is 0, as it should be
        exponentials = np.exp(x - x.max(axis=-1, keepdims=True))
    return exponentials / exponentials.sum(axis=-1, keepdims=True)


def softmax_backward(dy: Array, y: Array) -> Array:
    """dx_i = y_i · (dy_i − Σ_j dy_j y_j), the product of dy with the Jacobian diag(y) − y yᵀ."""
    return y * (dy - (dy * y).sum(axis=-1, keepdims=True))


# ------------------------------------------------------------------------------------------------------------- dropout


GOLDEN = np.uint32(0x9E3779B9)  # 2^32 over the golden ratio; odd, so its multiples visit all 2^32 values


def dropout(x: Array, rate: float, rng: RandomKey) -> Array:
    """Each entry becomes 0 with probability rate and is divided by 1 − rate otherwise, so that its mean is unchanged.

    x (N, …) → y (N, …). Multiplying by a mask is its own transpose, so this one function is both forward (on x) and backward
    (on dy, with the same rng). Srivastava et al. 2014, "Dropout: a simple way to prevent neural networks from overfitting".

    The mask is a hash, not a stream: entry d of sample n depends on (key, first_sample + n, d) and on nothing else. It is the
    same however a batch is cut into shards, in whatever order the threads run, and whenever it is computed again.
    """
    features = x.reshape(len(x), -1)
    sample = np.arange(rng.first_sample, rng.first_sample + len(x), dtype=np.uint64)
    state = _mix64(_mix64(np.array([rng.key % 2**64], np.uint64)) + sample)  # (N,): 64 random bits a sample
    low, high = state.astype(np.uint32)[:, None], (state >> np.uint64(32)).astype(np.uint32)[:, None]
    counter = np.arange(features.shape[1], dtype=np.uint32) * GOLDEN
    bits = _mix32(counter + low, high)
    scale = x.dtype.type(1 / (1 - rate))
    return np.where(bits >= np.uint32(rate * 2**32), features * scale, 0).reshape(x.shape)


def _mix64(z: Array) -> Array:
    """The output function of SplitMix64 (Steele, Lea, Flood 2014): every input bit reaches every output bit. Wraps at 2^64."""
    z = z + np.uint64(0x9E3779B97F4A7C15)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


def _mix32(z: Array, high: Array) -> Array:
    """A 32-bit mixer with the constants of C. Wellons's lowbias32; ``high`` enters halfway. Wraps at 2^32."""
    z = (z ^ (z >> np.uint32(16))) * np.uint32(0x7FEB352D)
    z = ((z + high) ^ (z >> np.uint32(15))) * np.uint32(0x846CA68B)
    return z ^ (z >> np.uint32(16))


# ---------------------------------------------------------------------------------------------------- optimizer updates
# These change their first argument and the optimizer's state in place. All are elementwise, so any piece of the arrays can be
# updated separately.


def sgd_update(param: Array, grad: Array, learning_rate: float) -> None:
    """param ← param − η · grad."""
    param -= learning_rate * grad


def momentum_update(
    param: Array, grad: Array, velocity: Array, learning_rate: float, momentum: float, nesterov: bool
) -> None:
    """velocity ← μ · velocity − η · grad; param ← param + velocity, or, with Nesterov, + μ · velocity − η · grad."""
    velocity *= momentum
    velocity -= learning_rate * grad
    param += momentum * velocity - learning_rate * grad if nesterov else velocity


def rmsprop_update(
    param: Array, grad: Array, mean_square: Array, learning_rate: float, rho: float, epsilon: float
) -> None:
    """v ← ρ · v + (1 − ρ) · grad²; param ← param − η · grad / √(v + ε)."""
    mean_square *= rho
    mean_square += (1 - rho) * grad * grad
    param -= learning_rate * grad / np.sqrt(mean_square + epsilon)


def adam_update(
    param: Array,
    grad: Array,
    mean: Array,
    mean_square: Array,
    learning_rate: float,
    beta_1: float,
    beta_2: float,
    epsilon: float,
) -> None:
    """m ← m + (1 − β₁)(grad − m); v ← v + (1 − β₂)(grad² − v); param ← param − η · m / (√v + ε).

    learning_rate: η that already includes Adam's bias correction √(1 − β₂ᵗ) / (1 − β₁ᵗ), so ε is added to the uncorrected √v
    (section 2 of Kingma and Ba 2015, last paragraph, and Keras).
    """
    mean += (1 - beta_1) * (grad - mean)
    mean_square += (1 - beta_2) * (grad * grad - mean_square)
    param -= learning_rate * mean / (np.sqrt(mean_square) + epsilon)
