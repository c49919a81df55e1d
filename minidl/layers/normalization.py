"""Normalization: layers that bring what passes through to mean 0 and variance 1."""

from typing import Unpack

import numpy as np

from .. import initializers
from ..checks import check_number
from ..contracts import Array, DType, Gradients, Initializer, Shape
from ..initializers import allocate
from ..ops.random import RandomKey
from .base import Layer, LayerSettings


class LayerNormalization(Layer):
    """Bring each sample to mean 0 and variance 1 over its last axis, then scale and shift it by learned numbers (Ba et al. 2016).

    Forward:  y = gamma · x̂ + beta, x̂ = (x − μ) / √(σ² + ε), with mean μ and variance σ² over the last axis.
    Backward: dx̂ = dy · gamma, dx = (dx̂ − mean dx̂ − x̂ · mean(dx̂ · x̂)) / √(σ² + ε); dgamma = Σ dy · x̂, dbeta = Σ dy.

    Arguments: axis: −1, the only one. center, scale: whether there is a beta, and a gamma.

    Input shape: any (…, D). Output shape: the same. Parameters: gamma (D,), beta (D,).
    """

    def __init__(
        self,
        axis: int = -1,
        epsilon: float = 1e-3,
        center: bool = True,
        scale: bool = True,
        beta_initializer: str | Initializer = "zeros",
        gamma_initializer: str | Initializer = "ones",
        **common: Unpack[LayerSettings],
    ) -> None:
        super().__init__(**common)
        if axis != -1:
            raise ValueError(f"{self} axis must be -1, the last one, received {axis!r}.")
        self.axis = axis
        self.epsilon = check_number(epsilon, f"{self} epsilon", 0)
        self.center, self.scale = bool(center), bool(scale)
        self.beta_initializer = initializers.get(beta_initializer)
        self.gamma_initializer = initializers.get(gamma_initializer)

    def build(self, input_shape: Shape, rng: np.random.Generator, dtype: DType) -> Shape:
        wanted = {"gamma": self.scale, "beta": self.center}
        starts = {"gamma": self.gamma_initializer, "beta": self.beta_initializer}
        self.params = {name: allocate(starts[name], input_shape[-1:], rng, dtype) for name in wanted if wanted[name]}
        return input_shape

    def forward(
        self, x: Array, *, training: bool = False, rng: RandomKey | None = None
    ) -> tuple[Array, tuple[Array, Array]]:
        gamma, beta = self.params.get("gamma"), self.params.get("beta")
        y, normalized, inverse = self.ops.layer_norm_forward(x, gamma, beta, self.epsilon)
        return y, (normalized, inverse)

    def backward(self, dy: Array, cache: tuple[Array, Array]) -> tuple[Array, Gradients]:
        dx, dgamma, dbeta = self.ops.layer_norm_backward(dy, *cache, self.params.get("gamma"))
        found = {"gamma": dgamma, "beta": dbeta}
        return dx, {name: found[name] for name in self.params}
