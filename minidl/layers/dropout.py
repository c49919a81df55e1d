"""Noise in training: Dropout keeps units from relying on each other, SpatialDropout2D channels, and GaussianNoise keeps them
from relying on exact inputs."""

from typing import Unpack

import numpy as np

from ..checks import check_number
from ..contracts import Array, DType, Gradients, Shape
from ..ops.floats import floating
from ..ops.random import RandomKey
from .base import Layer, LayerSettings
from .images import check_batch, check_images


class Dropout(Layer):
    """In training, set each entry to 0 with probability ``rate`` and scale the others; otherwise do nothing.

    Forward:  y = x · mask / (1 − rate), mask = 1 with probability 1 − rate, else 0. Without training: y = x.
    Backward: dx = dy · mask / (1 − rate), with the same mask, which follows from ``rng`` alone.

    Input shape: any. Output shape: the same.
    """

    def __init__(self, rate: float, **common: Unpack[LayerSettings]) -> None:
        super().__init__(**common)
        self.rate = check_number(rate, f"{self} rate", 0, 1, "the share to drop")

    def forward(
        self, x: Array, *, training: bool = False, rng: RandomKey | None = None
    ) -> tuple[Array, RandomKey | None]:
        if not training or self.rate == 0:
            return floating(x).copy(), None
        if rng is None:
            raise ValueError(f"{self}: in training, forward needs rng=RandomKey(key, first_sample) to draw its mask.")
        return self._drop(x, rng), rng

    def backward(self, dy: Array, cache: RandomKey | None) -> tuple[Array, Gradients]:
        return (floating(dy).copy() if cache is None else self._drop(dy, cache)), {}

    def _drop(self, x: Array, rng: RandomKey) -> Array:
        """x · mask / (1 − rate), of x in forward and of dy in backward."""
        dropped: Array = self.ops.dropout(x, self.rate, rng)
        return dropped


class SpatialDropout2D(Dropout):
    """In training, set each channel of each image to 0 with probability ``rate`` and scale the others; otherwise do nothing.

    Neighbouring pixels of a channel tell nearly the same, so dropping some of them hides little (Tompson et al. 2015).

    Forward:  y = x · mask / (1 − rate), one number of the mask for each channel of a sample. Without training: y = x.
    Backward: dx = dy · mask / (1 − rate), with the same mask, which follows from ``rng`` alone.

    Input shape: (H, W, C). Output shape: the same.
    """

    def build(self, input_shape: Shape, rng: np.random.Generator, dtype: DType) -> Shape:
        check_images(self, input_shape, (1, 1), "valid")
        return input_shape

    def _drop(self, x: Array, rng: RandomKey) -> Array:
        check_batch(self, x)
        x = floating(x)
        dropped: Array = x * self.ops.dropout(np.ones((len(x), x.shape[-1]), x.dtype), self.rate, rng)[:, None, None]
        return dropped


class GaussianNoise(Layer):
    """In training, add a normal random number to each entry; otherwise do nothing.

    Forward:  y = x + stddev · noise, whose entries follow from ``rng`` alone, as a dropout's mask does. Without training: y = x.
    Backward: dx = dy.

    Input shape: any. Output shape: the same.
    """

    def __init__(self, stddev: float, **common: Unpack[LayerSettings]) -> None:
        super().__init__(**common)
        self.stddev = check_number(stddev, f"{self} stddev", 0)

    def forward(self, x: Array, *, training: bool = False, rng: RandomKey | None = None) -> tuple[Array, None]:
        if not training or self.stddev == 0:
            return floating(x).copy(), None
        if rng is None:
            raise ValueError(f"{self}: in training, forward needs rng=RandomKey(key, first_sample) to draw its noise.")
        return self.ops.gaussian_noise(x, self.stddev, rng), None

    def backward(self, dy: Array, cache: None) -> tuple[Array, Gradients]:
        return floating(dy).copy(), {}
