"""The chain rule on one page.

A network is a list of layers. Forward, each layer turns its x into y and returns a cache, exactly what its backward will need.
Backward, each layer turns dy = ∂loss/∂y into dx = ∂loss/∂x, which is the dy of the layer before it, and returns the gradients
of its own parameters on the way. That is all of backpropagation; the rest of this library makes it fast, checks it, or shows it.
"""

from collections.abc import Sequence

from .contracts import Array, Cache, Gradients, LayerLike, LossLike
from .ops.random import RandomKey
from .tracing import Recorder, Run, Trace


def forward(
    layers: Sequence[LayerLike], x: Array, *, training: bool = False, rng: RandomKey | None = None
) -> tuple[Array, list[Cache]]:
    """Run the layers in order.  x (N, …) → y (N, …) of the last layer, and the cache of each."""
    caches = []
    for place, layer in enumerate(layers):
        x, cache = layer.forward(x, training=training, rng=None if rng is None else rng.layer(place))
        caches.append(cache)
    return x, caches


def backward(layers: Sequence[LayerLike], dy: Array, caches: Sequence[Cache]) -> tuple[Array, Gradients]:
    """Run them backward, from the last to the first.  dy = ∂loss/∂y → dx = ∂loss/∂x, and ∂loss/∂parameter by address.

    An address is "layer/parameter". Gradients with the same address add up, as when a layer is used at two places.
    """
    gradients: Gradients = {}
    for place in reversed(range(len(layers))):
        dy, own = layers[place].backward(dy, caches[place])
        for name, gradient in own.items():
            address = f"{name_of(layers[place], place)}/{name}"
            gradients[address] = gradients[address] + gradient if address in gradients else gradient
    return dy, gradients


def trace(
    layers: Sequence[LayerLike],
    loss: LossLike,
    x: Array,
    y: Array,
    *,
    training: bool = False,
    rng: RandomKey | None = None,
) -> Trace:
    """Forward, loss and backward, with everything kept: each layer's x, y, cache, dy, dx and gradients.

    x (N, …), y: labels in the form that the loss expects. The layers inside a layer that has ``layers`` are recorded as well.
    """
    recorders = [Recorder(layer, name_of(layer, place)) for place, layer in enumerate(layers)]
    y_pred, caches = forward(recorders, x, training=training, rng=rng)
    value, cache = loss.forward(y, y_pred)
    dy = loss.backward(cache)
    _, gradients = backward(recorders, dy, caches)
    records = [record for recorder in recorders for record in recorder.records()]
    return Trace(value, y_pred, dy, records, gradients, Run(list(layers), loss, x, y, training, rng))


def name_of(layer: LayerLike, place: int) -> str:
    """The layer's part of an address: its name, or else its place."""
    return getattr(layer, "name", None) or f"layers[{place}]"
