"""The layers of a model as one layer, which reports an inner layer that changes its dy."""

from .. import backprop
from ..contracts import Array, Cache, Gradients, Output, Target
from ..ops.random import RandomKey
from .behaviour import CHANGES_DY
from .nested import same
from .report import Fault


class Stack:
    """Parameters are addressed as "layer/parameter", by the layer's name or place."""

    def __init__(self, layers: list[Output]) -> None:
        self.layers = layers

    @property
    def params(self) -> dict[str, Array]:
        return {
            f"{backprop.name_of(layer, place)}/{name}": value
            for place, layer in enumerate(self.layers)
            for name, value in (layer.params or {}).items()
        }

    def forward(self, x: Array, *, training: bool, rng: RandomKey) -> tuple[Array, list[Cache]]:
        return backprop.forward(self.layers, x, training=training, rng=rng)

    def backward(self, dy: Array, cache: list[Cache]) -> tuple[Array, Gradients]:
        watched = [Watched(layer, backprop.name_of(layer, place)) for place, layer in enumerate(self.layers)]
        return backprop.backward(watched, dy, cache)


class Watched:
    """A layer whose backward must not change its dy."""

    def __init__(self, layer: Target, name: str) -> None:
        self.layer, self.name = layer, name

    def __getattr__(self, name: str) -> Output:
        return getattr(self.layer, name)

    def backward(self, dy: Array, cache: Cache) -> tuple[Array, Gradients]:
        before = dy.copy()
        returned = self.layer.backward(dy, cache)
        if not same(dy, before):
            raise Fault(f"{self.name}: {CHANGES_DY}")
        dx, gradients = returned
        return dx, gradients
