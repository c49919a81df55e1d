"""Residual: layers whose input is added to their output, so that they only have to learn the difference."""

from collections.abc import Sequence
from typing import Unpack

import numpy as np

from .. import backprop
from ..contracts import Array, Cache, Config, DType, Gradients, LayerLike, Shape, StackedLayer
from ..ops.floats import floating
from ..ops.random import RandomKey
from .base import LayerSettings
from .inside import build_layer, owner
from .stack import Stack


class Residual(Stack):
    """y = x + f(x), where f is the layers in order, or y = projection(x) + f(x), if f changes the shape (He et al. 2016).

    Forward:  y = projection(x) + f(x); without a projection, y = x + f(x).
    Backward: dy goes into both branches, and what comes out of them adds up to dx; without a projection, dx = dy + the dx of f.

    Arguments: layers: the layers of f. projection: a layer that brings x to the shape of f(x), e.g. Conv2D(64, 1, strides=2).

    Input shape: that of f. Output shape: that of f. The attribute ``layers`` holds the layers of f, and then the projection.
    """

    def __init__(
        self, layers: Sequence[LayerLike], projection: LayerLike | None = None, **common: Unpack[LayerSettings]
    ) -> None:
        self.projected = False
        self._count: int | None = None  # the number of layers; None while they are being added
        super().__init__(layers, **common)
        if not self.layers:
            raise ValueError(f"{self} needs layers, e.g. Residual([Dense(64, activation='relu'), Dense(64)]).")
        if projection is not None:
            self.projected = True
            self.add(projection)
        self._count = len(self.layers)

    def branches(self) -> tuple[list[StackedLayer], StackedLayer | None]:
        """The layers of f, and the projection or None."""
        if len(self.layers) != self._count:
            raise self._fixed()
        return (self.layers[:-1], self.layers[-1]) if self.projected else (self.layers, None)

    def _fixed(self) -> ValueError:
        return ValueError(f"{self} cannot gain or lose layers once it is made: make a new one.")

    def forward(self, x: Array, *, training: bool = False, rng: RandomKey | None = None) -> tuple[Array, Cache]:
        x = floating(x)
        layers, projection = self.branches()
        y, caches = backprop.forward(layers, x, training=training, rng=rng)
        if projection is None:
            return x + y, (caches, None)
        skip, cache = projection.forward(x, training=training, rng=None if rng is None else rng.layer(len(layers)))
        return skip + y, (caches, cache)

    def backward(self, dy: Array, cache: Cache) -> tuple[Array, Gradients]:
        dy = floating(dy)
        (layers, projection), (caches, skip) = self.branches(), cache
        dx, gradients = backprop.backward(layers, dy, caches)
        if projection is None:
            return dx + dy, self.add_tied(gradients)
        dskip, own = projection.backward(dy, skip)
        gradients |= {f"{projection.name}/{name}": value for name, value in own.items()}
        return dx + dskip, self.add_tied(gradients)

    def get_config(self) -> Config:
        layers, projection = self.branches()
        return {"layers": layers, "projection": projection, "name": self.name}

    def add(self, layer: LayerLike) -> None:
        if self._count is not None:
            raise self._fixed()
        super().add(layer)

    def add_again(self) -> None:
        layers, projection = self.branches()
        if any(owner(layer) is not self for layer in self.layers):
            raise self._fixed()
        for layer in (*layers, projection):
            if isinstance(layer, Stack):
                layer.add_again()

    def _next_input_shape(self) -> Shape | None:
        return self.input_shape if self.projected else self.output_shape

    def _build_layers(self, shape: Shape, generators: Sequence[np.random.Generator], dtype: DType) -> Shape:
        layers, projection = self.branches()
        output = skip = shape
        for layer, rng in zip(layers, generators, strict=False):
            output = build_layer(layer, output, rng, dtype)
        if projection is not None:
            skip = build_layer(projection, shape, generators[-1], dtype)
        if skip != output:
            given = f"the projection turns that into {skip}" if projection is not None else _projection(shape, output)
            raise ValueError(f"{self}: its layers turn {shape} into {output}, which cannot be added to x; {given}.")
        return output


def _projection(shape: Shape, output: Shape) -> str:
    """The advice for an x and f(x) that differ in shape."""
    if len(shape) == len(output) == 1:
        return f"use projection=Dense({output[0]})"
    if len(shape) == len(output) == 3:
        strides = tuple(-(-before // after) for before, after in zip(shape[:2], output[:2], strict=True))
        if tuple((size - 1) // stride + 1 for size, stride in zip(shape[:2], strides, strict=True)) == output[:2]:
            return f"use projection=Conv2D({output[2]}, 1, strides={strides})"
    return f"use padding='same' in the layers, or give a projection, a layer that turns {shape} into {output}"
