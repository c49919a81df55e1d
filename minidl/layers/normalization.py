"""Normalization: layers that bring what passes through to mean 0 and variance 1."""

from typing import NamedTuple, Unpack

import numpy as np

from .. import initializers, regularizers
from ..checks import check_number
from ..contracts import Array, DType, Gradients, Initializer, Shape
from ..initializers import allocate
from ..ops.floats import floating
from ..ops.random import RandomKey
from ..regularizers import RegularizerLike
from .base import Layer, LayerSettings
from .inside import is_frozen


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


class NormCache(NamedTuple):
    """What batch normalization keeps: x, μ and 1 / √(σ² + ε), and m, the number of entries that these were taken over; 0 where
    they are moving averages."""

    x: Array
    mean: Array
    inverse: Array
    m: float


class BatchNormalization(Layer):
    """Bring each channel to mean 0 and variance 1 over the batch, then scale and shift it by learned numbers
    (Ioffe and Szegedy 2015).

    Forward:  y = gamma · x̂ + beta, x̂ = (x − μ) / √(σ² + ε), with mean μ and variance σ² of the channel: in training over the m
    entries of the whole batch, otherwise, and while the layer is frozen, their moving averages.
    Backward: dx = gamma / √(σ² + ε) · (dy − mean dy − x̂ · mean(dy · x̂)); dgamma = Σ dy · x̂, dbeta = Σ dy.

    Why. Write s for √(σ² + ε) and dx̂ for dy · gamma. In one channel, x_i has three paths to the loss: through x̂_i itself; through
    μ = Σ x / m, which is in every x̂; and through σ² = Σ (x − μ)² / m, which is in every x̂, too::

        ∂x̂_j/∂x_i  =  [i = j] / s  −  (∂μ/∂x_i) / s  −  (x_j − μ) / s² · (∂s/∂x_i)
        ∂μ/∂x_i    =  1 / m
        ∂s/∂x_i    =  (∂σ²/∂x_i) / 2s  =  (x_i − μ) / (m · s)  =  x̂_i / m        (what σ² owes to μ is Σ (x − μ) = 0)
        dx_i       =  Σ_j dx̂_j · ∂x̂_j/∂x_i  =  (dx̂_i  −  Σ_j dx̂_j / m  −  x̂_i · Σ_j dx̂_j · x̂_j / m) / s

    gamma is the same for the whole channel, and so stands before it all. What is left of the sums are two means over the batch.
    With moving averages there is only the first path. In small steps: docs/book/layers/batch-normalization.md.

    The moments and both means are of the whole batch, so a shard of it cannot compute them. ``measure`` and
    ``measure_backward`` give sums that add up over shards, and forward and backward take the total as ``sums``; without it, what
    they are given is the whole batch. ``learn`` moves the averages: moving ← momentum · moving + (1 − momentum) · measured.
    Forward changes nothing.

    Arguments: axis: −1, the only one. center, scale: whether there is a beta, and a gamma.

    Input shape: any (…, C). Output shape: the same. Parameters: gamma (C,), beta (C,). State: moving_mean (C,),
    moving_variance (C,).
    """

    def __init__(
        self,
        axis: int = -1,
        momentum: float = 0.99,
        epsilon: float = 1e-3,
        center: bool = True,
        scale: bool = True,
        beta_initializer: str | Initializer = "zeros",
        gamma_initializer: str | Initializer = "ones",
        moving_mean_initializer: str | Initializer = "zeros",
        moving_variance_initializer: str | Initializer = "ones",
        beta_regularizer: str | RegularizerLike | None = None,
        gamma_regularizer: str | RegularizerLike | None = None,
        **common: Unpack[LayerSettings],
    ) -> None:
        super().__init__(**common)
        if axis != -1:
            raise ValueError(f"{self} axis must be -1, the channels, received {axis!r}.")
        self.axis = axis
        self.momentum = check_number(momentum, f"{self} momentum", 0, 1, "the share to keep")
        self.epsilon = check_number(epsilon, f"{self} epsilon", 0)
        self.center, self.scale = bool(center), bool(scale)
        self.beta_initializer = initializers.get(beta_initializer)
        self.gamma_initializer = initializers.get(gamma_initializer)
        self.moving_mean_initializer = initializers.get(moving_mean_initializer)
        self.moving_variance_initializer = initializers.get(moving_variance_initializer)
        self.beta_regularizer = regularizers.get(beta_regularizer, f"{self} beta_regularizer")
        self.gamma_regularizer = regularizers.get(gamma_regularizer, f"{self} gamma_regularizer")

    def build(self, input_shape: Shape, rng: np.random.Generator, dtype: DType) -> Shape:
        wanted = {"gamma": self.scale, "beta": self.center}
        starts = {"gamma": self.gamma_initializer, "beta": self.beta_initializer}
        channels = input_shape[-1:]
        self.params = {name: allocate(starts[name], channels, rng, dtype) for name in wanted if wanted[name]}
        self.state = {
            "moving_mean": allocate(self.moving_mean_initializer, channels, rng, dtype),
            "moving_variance": allocate(self.moving_variance_initializer, channels, rng, dtype),
        }
        return input_shape

    def measure(self, x: Array) -> Array:
        """x (N, …, C) → for each channel the number of entries, Σ x and Σ x²: (3, C) in float64."""
        sums: Array = self.ops.batch_norm_sums(x)
        return sums

    def forward(
        self, x: Array, *, training: bool = False, rng: RandomKey | None = None, sums: Array | None = None
    ) -> tuple[Array, NormCache]:
        x = floating(x)
        if training and sums is None and not is_frozen(self):
            sums = self.measure(x)
        mean, inverse, m = self.statistics(x.dtype, sums)
        y = self.ops.batch_norm_forward(x, mean, inverse, self.params.get("gamma"), self.params.get("beta"))
        return y, NormCache(x, mean, inverse, m)

    def statistics(self, dtype: DType, sums: Array | None) -> tuple[Array, Array, float]:
        """μ and 1 / √(σ² + ε), (C,), and m: from the sums of a batch, or the moving averages, with m = 0."""
        count, mean, variance = 0.0, self.state["moving_mean"], self.state["moving_variance"]
        if sums is not None:
            count, mean, variance = moments(sums)
        return mean.astype(dtype), (1 / np.sqrt(variance + self.epsilon)).astype(dtype), count

    def measure_backward(self, dy: Array, cache: NormCache) -> Array:
        """dy (N, …, C) → for each channel Σ dy and Σ dy · x̂: (2, C) in float64."""
        sums: Array = self.ops.batch_norm_backward_sums(dy, cache.x, cache.mean, cache.inverse)
        return sums

    def backward(self, dy: Array, cache: NormCache, *, sums: Array | None = None) -> tuple[Array, Gradients]:
        x, mean, inverse, m = cache
        own = self.measure_backward(dy, cache)
        total = own if sums is None else sums
        of_mean, of_variance = (total / m if m else 0 * total).astype(x.dtype)  # 0: moving averages do not depend on x
        dx = self.ops.batch_norm_backward(dy, x, mean, inverse, self.params.get("gamma"), of_mean, of_variance)
        dbeta, dgamma = own.astype(x.dtype)
        found = {"gamma": dgamma, "beta": dbeta}
        return dx, {name: found[name] for name in self.params}

    def learn(self, sums: Array, *, momentum: float | None = None) -> None:
        """Move the averages towards what was measured of a batch.

        sums: those of ``measure``. momentum: the share of the old averages that is kept; None means the layer's own.
        """
        keep = self.momentum if momentum is None else momentum
        _, mean, variance = moments(sums)
        for name, measured in (("moving_mean", mean), ("moving_variance", variance)):
            kept = keep * self.state[name].astype(np.float64) if keep else 0  # 0 · NaN is not 0
            self.state[name][...] = kept + (1 - keep) * measured


def moments(sums: Array) -> tuple[float, Array, Array]:
    """m, μ and σ² from what ``BatchNormalization.measure`` gives.  The variance is that of these entries, divided by m."""
    (count, *_), first, second = sums
    mean = first / count
    return float(count), mean, np.maximum(second / count - mean * mean, 0)  # a constant's may round to less than 0
