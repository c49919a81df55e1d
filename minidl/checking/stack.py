"""The layers of a model as one layer, which says of an inner layer by name what it returns, or does, that it must not."""

from .. import backprop
from ..contracts import Array, Cache, Gradients, Output, Target
from ..ops.random import RandomKey
from .behaviour import CHANGES_DY, CHANGES_X
from .calls import keywords_of, pair, params_of, with_names
from .nested import same
from .report import Fault


class Stack:
    """Parameters are addressed as "layer/parameter", by the layer's name or place."""

    def __init__(self, layers: list[Output]) -> None:
        self.layers = layers
        self.watched: list[Output] = [
            Watched(layer, backprop.name_of(layer, place)) for place, layer in enumerate(layers)
        ]

    @property
    def params(self) -> dict[str, Array]:
        return {f"{one.name}/{name}": value for one in self.watched for name, value in params_of(one.layer).items()}

    def forward(self, x: Array, *, training: bool, rng: RandomKey) -> tuple[Array, list[Cache]]:
        return backprop.forward(self.watched, x, training=training, rng=rng)

    def backward(self, dy: Array, cache: list[Cache]) -> tuple[Array, Gradients]:
        return backprop.backward(self.watched, dy, cache)


class Watched:
    """A layer that must change neither its x nor its dy, called with those keywords that it accepts."""

    def __init__(self, layer: Target, name: str) -> None:
        if not (hasattr(layer, "forward") and hasattr(layer, "backward")):
            raise TypeError(f"the layers of a model must have forward and backward, received {layer!r} as {name}.")
        self.layer, self.name, self.keywords = layer, name, keywords_of(layer.forward)

    def forward(self, x: Array, *, training: bool, rng: RandomKey) -> tuple[Array, Cache]:
        options = {"training": training, "rng": rng}
        before = x.copy()
        y = self.layer.forward(x, **{name: options[name] for name in self.keywords})
        if not same(x, before):
            raise Fault(f"{self.name}: {CHANGES_X}")
        return pair(y, f"{self.name}: forward must return (y, cache)")

    def backward(self, dy: Array, cache: Cache) -> tuple[Array, Gradients]:
        before = dy.copy()
        returned = self.layer.backward(dy, cache)
        if not same(dy, before):
            raise Fault(f"{self.name}: {CHANGES_DY}")
        return with_names(returned, f"{self.name}: backward must return (dx, {{name: gradient}})")
