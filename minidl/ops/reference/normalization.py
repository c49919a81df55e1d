"""Normalization: numbers brought to mean 0 and variance 1."""

import numpy as np

from ...contracts import Array
from ..floats import floating, of_floats


@of_floats
def layer_norm_forward(x: Array, gamma: Array | None, beta: Array | None, epsilon: float) -> tuple[Array, Array, Array]:
    """y = gamma · x̂ + beta, x̂ = (x − μ) / √(σ² + ε), with mean μ and variance σ² over the last axis.  Ba et al. 2016.

    x (…, D), gamma and beta (D,) or None → y, x̂ (…, D), 1 / √(σ² + ε) (…, 1).
    """
    centred = x - x.mean(axis=-1, keepdims=True)
    inverse = 1 / np.sqrt((centred * centred).mean(axis=-1, keepdims=True) + epsilon)
    y = normalized = centred * inverse
    y = y * gamma if gamma is not None else y.copy()
    return y if beta is None else y + beta, normalized, inverse


@of_floats
def layer_norm_backward(
    dy: Array, normalized: Array, inverse: Array, gamma: Array | None
) -> tuple[Array, Array, Array]:
    """dx = (dx̂ − mean dx̂ − x̂ · mean(dx̂ · x̂)) / √(σ² + ε), dx̂ = dy · gamma: the part of dx̂ that neither shifts nor scales x.

    dy (…, D) → dx (…, D), dgamma = Σ dy · x̂ (D,), dbeta = Σ dy (D,).
    """
    others = tuple(range(dy.ndim - 1))
    dnormalized = dy if gamma is None else dy * gamma
    along = (dnormalized * normalized).mean(axis=-1, keepdims=True)
    dx = (dnormalized - dnormalized.mean(axis=-1, keepdims=True) - normalized * along) * inverse
    return dx, (dy * normalized).sum(axis=others), dy.sum(axis=others)


@of_floats
def batch_norm_sums(x: Array) -> Array:
    """What batch normalization has to know of a batch: for each channel the number of entries, Σ x and Σ x².

    x (…, C) → (3, C), in float64, because in σ² = Σ x² / m − μ² the digits of x that μ and x have in common cancel out. Sums over
    the parts of a batch add up to those of the whole.
    """
    rows = x.reshape(-1, x.shape[-1]).astype(np.float64)
    return np.stack([np.full(rows.shape[1], float(len(rows))), rows.sum(axis=0), (rows * rows).sum(axis=0)])


@of_floats
def batch_norm_forward(x: Array, mean: Array, inverse: Array, gamma: Array | None, beta: Array | None) -> Array:
    """y = gamma · x̂ + beta, x̂ = (x − μ) · inverse.  Ioffe and Szegedy 2015.

    x (…, C); of each channel (C,): mean = μ, inverse = 1 / √(σ² + ε), gamma and beta, which may be None → y (…, C).
    """
    y = (x - mean) * inverse
    y = y if gamma is None else y * gamma
    return y if beta is None else y + beta


@of_floats
def batch_norm_backward_sums(dy: Array, x: Array, mean: Array, inverse: Array) -> Array:
    """What backward has to know of a batch: Σ dy and Σ dy · x̂, which are dbeta and dgamma.

    dy, x (…, C), mean and inverse (C,) as in forward → (2, C) in float64.
    """
    normalized = (floating(x) - mean) * inverse
    others = tuple(range(dy.ndim - 1))
    return np.stack([dy.sum(axis=others, dtype=np.float64), (dy * normalized).sum(axis=others, dtype=np.float64)])


@of_floats
def batch_norm_backward(
    dy: Array, x: Array, mean: Array, inverse: Array, gamma: Array | None, of_mean: Array, of_variance: Array
) -> Array:
    """dx = gamma · inverse · (dy − mean dy − x̂ · mean(dy · x̂)): direct, through μ, and through σ².

    dy, x (…, C); of each channel (C,): mean, inverse and gamma as in forward, of_mean = mean dy and of_variance = mean(dy · x̂)
    over the whole batch, or 0 where μ and σ² do not depend on x → dx (…, C).
    """
    normalized = (floating(x) - mean) * inverse
    dx = (dy - of_mean - normalized * of_variance) * inverse
    return dx if gamma is None else dx * gamma
