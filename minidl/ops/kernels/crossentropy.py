"""The crossentropy of a softmax and its gradient, from the logits in one call: NumPy needs a dozen, longer than a small layer.

Called only by the engine. The plain twins are the losses of ``losses/crossentropy.py`` with from_logits=True. As there,
differences and sums are in float64.
"""

import math

import numpy as np

from ...contracts import Array
from .jit import jit


@jit
def softmax_crossentropy(z: Array, target: Array, scale: Array, dz: Array) -> float:
    """Σ_i scale_i · Σ_j t_ij · (log Σ_k e^{z_ik} − z_ij), and its gradient scale_i · ((Σ_j t_ij) · softmax(z_i) − t_i), in dz.

    z, target, dz (N, K) of one dtype, scale (N,) float64.
    """
    total = 0.0
    for i in range(z.shape[0]):
        most = z[i, 0]
        for j in range(z.shape[1]):
            most = z[i, j] if z[i, j] > most or z[i, j] != z[i, j] else most  # NaN stays NaN
        norm, mass, dot = 0.0, 0.0, 0.0
        for j in range(z.shape[1]):
            below = np.float64(z[i, j]) - np.float64(most)  # so no exponential overflows
            exponential = math.exp(below)
            norm += exponential
            mass += target[i, j]
            dot += target[i, j] * below if target[i, j] != 0 else 0.0  # the logit of another class may be −∞
            dz[i, j] = exponential
        for j in range(z.shape[1]):
            dz[i, j] = scale[i] * (mass / norm * dz[i, j] - target[i, j])
        total += scale[i] * (mass * math.log(norm) - dot)
    return total
