"""The layers of a model as one layer."""

from typing import Any

from ..ops.geometry import Array
from ..ops.random import RandomKey
from .behaviour import CHANGES_DY
from .nested import same
from .report import Fault


class Stack:
    """Parameters are addressed as "layer/parameter", by the layer's name or place."""

    def __init__(self, layers: list[Any]) -> None:
        self.layers = layers
        self.names = [getattr(layer, "name", None) or f"layers[{position}]" for position, layer in enumerate(layers)]

    @property
    def params(self) -> dict[str, Array]:
        parts = zip(self.names, self.layers, strict=True)
        return {f"{own}/{name}": value for own, layer in parts for name, value in (layer.params or {}).items()}

    def forward(self, x: Array, *, training: bool, rng: RandomKey) -> tuple[Array, list[Any]]:
        caches = []
        for position, layer in enumerate(self.layers):
            key = RandomKey(rng.key + position, rng.first_sample)
            x, cache = layer.forward(x, training=training, rng=key)
            caches.append(cache)
        return x, caches

    def backward(self, dy: Array, cache: list[Any]) -> tuple[Array, dict[str, Array]]:
        gradients: dict[str, Array] = {}
        for layer, own, part in zip(reversed(self.layers), reversed(self.names), reversed(cache), strict=True):
            given, kept = dy, dy.copy()
            dy, grads = layer.backward(given, part)
            if not same(given, kept):
                raise Fault(f"{own}: {CHANGES_DY}")
            for name, value in grads.items():  # the same layer may stand in two places: its gradients are added up
                address = f"{own}/{name}"
                gradients[address] = gradients[address] + value if address in gradients else value
        return dy, gradients
