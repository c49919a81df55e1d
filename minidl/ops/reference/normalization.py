"""Normalization: numbers brought to mean 0 and variance 1."""

import numpy as np

from ...contracts import Array
from ..floats import of_floats


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
