"""The crossentropy of a softmax and its gradient, from the logits in one call: NumPy needs a dozen, longer than a small layer.

Called only by the engine. The plain twins are the losses of ``losses/crossentropy.py`` with from_logits=True. As there, differences
and sums are in float64.
"""

import math

import numpy as np

from ...contracts import Array
from .jit import jit


@jit
def sparse_crossentropy(z: Array, y_true: Array, scale: Array, dz: Array) -> float:
    """Σ_i scale_i · (log Σ_j e^{z_ij} − z_ik) with k = y_true_i; its gradient is written to dz (N, K).

    z (N, K), y_true (N,) integers, scale (N,) float64.
    """
    total = 0.0
    for i in range(z.shape[0]):
        most, norm = _exponentials(z[i], dz[i])
        for j in range(z.shape[1]):
            dz[i, j] *= scale[i] / norm
        k = y_true[i]
        dz[i, k] -= scale[i]
        total += scale[i] * (math.log(norm) - (np.float64(z[i, k]) - most))
    return total


@jit
def categorical_crossentropy(z: Array, y_true: Array, smoothing: float, scale: Array, dz: Array) -> float:
    """Σ_i scale_i · Σ_j t_ij · (log Σ_k e^{z_ik} − z_ij) with t = y_true · (1 − smoothing) + smoothing / K, and its gradient.

    y_true (N, K); the rest is as for ``sparse_crossentropy``.
    """
    total = 0.0
    for i in range(z.shape[0]):
        most, norm = _exponentials(z[i], dz[i])
        loss, mass = 0.0, 0.0
        for j in range(z.shape[1]):
            target = y_true[i, j] * (1 - smoothing) + smoothing / z.shape[1]
            loss += target * (math.log(norm) - (np.float64(z[i, j]) - most))
            mass += target
        for j in range(z.shape[1]):
            target = y_true[i, j] * (1 - smoothing) + smoothing / z.shape[1]
            dz[i, j] = (mass * dz[i, j] / norm - target) * scale[i]
        total += scale[i] * loss
    return total


@jit
def _exponentials(z, e):
    """The largest logit, to which all are relative so that no exponential overflows; and the sum of the exponentials, written to
    e.  z (K,), e (K,)."""
    most = z[0]
    for j in range(z.size):
        most = z[j] if z[j] > most or z[j] != z[j] else most  # NaN stays NaN
    norm = 0.0
    for j in range(z.size):
        exponential = math.exp(np.float64(z[j]) - np.float64(most))
        norm += exponential
        e[j] = exponential
    return np.float64(most), norm
