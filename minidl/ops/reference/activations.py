"""Activations. Most derivatives are written in terms of y; where one y has two x of different slopes, in terms of x."""

import math

import numpy as np

from ...contracts import Array
from ..floats import floating, of_floats

LEAKY_RELU_SLOPE = 0.2  # Keras's negative_slope


@of_floats
def relu_forward(x: Array) -> Array:
    """y = max(x, 0). NaN stays NaN."""
    return np.maximum(x, 0)


@of_floats
def relu_backward(dy: Array, y: Array) -> Array:
    """dx = dy where y > 0, else 0 (so the slope at 0 is taken as 0)."""
    return np.where(y > 0, dy, 0)


@of_floats
def leaky_relu_forward(x: Array, slope: float = LEAKY_RELU_SLOPE) -> Array:
    """y = x where x > 0, else slope · x; as an activation, the slope is 0.2."""
    return np.where(x > 0, x, slope * x)


@of_floats
def leaky_relu_backward(dy: Array, y: Array, slope: float = LEAKY_RELU_SLOPE) -> Array:
    """dx = dy where y > 0, else slope · dy (y > 0 exactly where x > 0, because the slope is positive)."""
    return np.where(y > 0, dy, slope * dy)


@of_floats
def sigmoid_forward(x: Array) -> Array:
    """y = 1 / (1 + e^−x), computed from e^−|x| ≤ 1, so that no exponential overflows."""
    small = np.exp(-np.abs(x))
    return np.where(x >= 0, 1 / (1 + small), small / (1 + small))


@of_floats
def sigmoid_backward(dy: Array, y: Array) -> Array:
    """dx = dy · y · (1 − y)."""
    return dy * y * (1 - y)


@of_floats
def tanh_forward(x: Array) -> Array:
    """y = tanh x."""
    return np.tanh(x)


@of_floats
def tanh_backward(dy: Array, y: Array) -> Array:
    """dx = dy · (1 − y²)."""
    return dy * (1 - y * y)


@of_floats
def softmax_forward(x: Array) -> Array:
    """y_i = e^{x_i} / Σ_j e^{x_j} over the last axis; the maximum is subtracted first, which only prevents overflow."""
    with np.errstate(over="ignore"):  # an overflow becomes −∞, whose exponential is 0, as it should be
        exponentials = np.exp(x - x.max(axis=-1, keepdims=True))
    return exponentials / exponentials.sum(axis=-1, keepdims=True)


@of_floats
def softmax_backward(dy: Array, y: Array) -> Array:
    """dx_i = y_i · (dy_i − Σ_j dy_j y_j), the product of dy with the Jacobian diag(y) − y yᵀ."""
    return y * (dy - (dy * y).sum(axis=-1, keepdims=True))


@of_floats
def log_softmax_forward(x: Array) -> Array:
    """y_i = log softmax(x)_i = x_i − log Σ_j e^{x_j} over the last axis; the maximum is subtracted first, as above."""
    shifted = x - x.max(axis=-1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))


@of_floats
def log_softmax_backward(dy: Array, y: Array) -> Array:
    """dx_i = dy_i − e^{y_i} · Σ_j dy_j: e^y is the softmax."""
    return dy - np.exp(y) * dy.sum(axis=-1, keepdims=True)


@of_floats
def elu_forward(x: Array) -> Array:
    """y = x where x > 0, else e^x − 1.  Clevert et al. 2016."""
    return np.where(x > 0, x, np.expm1(np.minimum(x, 0)))


@of_floats
def elu_backward(dy: Array, y: Array) -> Array:
    """dx = dy where y > 0, else dy · e^x = dy · (y + 1)."""
    return np.where(y > 0, dy, dy * (y + 1))


# Klambauer et al. 2017: with these, mean 0 and variance 1 are kept from layer to layer.
SELU_SCALE, SELU_ALPHA = 1.0507009873554805, 1.6732632423543772


@of_floats
def selu_forward(x: Array) -> Array:
    """y = s · x where x > 0, else s · α · (e^x − 1)."""
    return SELU_SCALE * np.where(x > 0, x, SELU_ALPHA * np.expm1(np.minimum(x, 0)))


@of_floats
def selu_backward(dy: Array, y: Array) -> Array:
    """dx = dy · s where y > 0, else dy · s · α · e^x = dy · (y + s · α)."""
    return dy * np.where(y > 0, SELU_SCALE, y + SELU_SCALE * SELU_ALPHA)


@of_floats
def softplus_forward(x: Array) -> Array:
    """y = log(1 + e^x), as max(x, 0) + log(1 + e^−|x|), so that no exponential overflows."""
    return np.maximum(x, 0) + np.log1p(np.exp(-np.abs(x)))


@of_floats
def softplus_backward(dy: Array, y: Array) -> Array:
    """dx = dy · sigmoid(x) = dy · (1 − e^−y)."""
    return dy * -np.expm1(-y)


@of_floats
def relu6_forward(x: Array) -> Array:
    """y = x, cut off at 0 and 6."""
    return np.clip(x, 0, 6)


@of_floats
def relu6_backward(dy: Array, y: Array) -> Array:
    """dx = dy where 0 < y < 6, else 0."""
    return np.where((y > 0) & (y < 6), dy, 0)


@of_floats
def hard_sigmoid_forward(x: Array) -> Array:
    """y = x / 6 + 1/2, cut off at 0 and 1: a sigmoid of three straight lines."""
    return np.clip(x / 6 + 0.5, 0, 1)


@of_floats
def hard_sigmoid_backward(dy: Array, y: Array) -> Array:
    """dx = dy / 6 where 0 < y < 1, else 0."""
    return np.where((y > 0) & (y < 1), dy / 6, 0)


@of_floats
def silu_forward(x: Array) -> Array:
    """y = x · sigmoid(x), also called swish.  Ramachandran et al. 2017."""
    return x * sigmoid_forward(x)


@of_floats
def silu_backward(dy: Array, x: Array) -> Array:
    """dx = dy · (s + x · s · (1 − s)), s = sigmoid(x)."""
    x = floating(x)
    s = sigmoid_forward(x)
    return dy * (s + x * s * (1 - s))


def _normal_below(x: Array) -> Array:
    """Φ(x): the share of a standard normal distribution that is below x."""
    return np.vectorize(lambda value: math.erfc(-value / math.sqrt(2)) / 2, otypes=[x.dtype])(x)


@of_floats
def gelu_forward(x: Array) -> Array:
    """y = x · Φ(x): x times the probability that a normal number is below it.  Hendrycks and Gimpel 2016."""
    return x * _normal_below(x)


@of_floats
def gelu_backward(dy: Array, x: Array) -> Array:
    """dx = dy · (Φ(x) + x · φ(x)), φ(x) = e^(−x²/2) / √(2π), the density."""
    x = floating(x)
    density = np.exp(-x * x / 2) / math.sqrt(2 * math.pi)
    return dy * (_normal_below(x) + x * density)


@of_floats
def clipped_relu_forward(x: Array, max_value: float, slope: float, threshold: float) -> Array:
    """y = x where x > threshold, else slope · (x − threshold); and nowhere above max_value, which may be infinite."""
    return np.minimum(np.where(x > threshold, x, slope * (x - threshold)), x.dtype.type(max_value))


@of_floats
def clipped_relu_backward(dy: Array, x: Array, max_value: float, slope: float, threshold: float) -> Array:
    """dx = dy where threshold < x < max_value, and 0 above both; slope · dy from the threshold down, where y is at most 0."""
    return np.where(x > threshold, np.where(x < max_value, dy, 0), slope * dy)
