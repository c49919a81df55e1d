"""The slope of the loss along one number, measured: the network runs in float64, with that number a little larger and smaller."""

import copy
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np

from .. import backprop
from ..contracts import Array, Cache, Gradients, LayerLike
from ..layers.rebinding import rebind
from ..ops import reference
from ..tracing import Trace

STEPS = [10.0**power for power in range(-2, -8, -1)]  # relative to the number, or to its array


class Slope(NamedTuple):
    """By central differences. value: the slope. left, right: those on both sides, which differ at a kink. rounding: of these."""

    value: float
    left: float
    right: float
    rounding: float

    @property
    def kink(self) -> bool:
        """Whether the loss bends at this very number, so that there is no one slope."""
        return abs(self.left - self.right) > 0.01 * max(abs(self.left), abs(self.right)) + 100 * self.rounding


def slope(trace: Trace, address: str, index: tuple[int, ...]) -> Slope | None:
    """∂loss/∂(the number at this place), or None where the address is not that of a gradient.

    address: "layer:dx", "layer:dy", "layer:dkernel" or "layer/kernel"; index: of the number in that array.
    """
    found = _nudge(trace, address, index)
    if found is None:
        return None
    loss, size = found
    middle = loss(0.0)
    tried: list[Slope] = []
    for step in STEPS:
        above, below = loss(step * size), loss(-step * size)
        width, rounding = step * size, float(np.spacing(abs(middle))) / (step * size)
        tried.append(Slope((above - below) / (2 * width), (middle - below) / width, (above - middle) / width, rounding))
    # rounding grows with shorter steps, curvature with longer ones: where two neighbours agree best, neither matters
    gaps = [abs(longer.value - shorter.value) for longer, shorter in pairwise(tried)]
    best = int(np.argmin(gaps))
    # a curve has other slopes on its two sides, too, the less so the shorter the step: this is what a step of 0 would give
    left, right = ((10 * tried[best + 1][side] - tried[best][side]) / 9 for side in (1, 2))
    return tried[best + 1]._replace(left=left, right=right)


class _Nudged:
    """A layer that adds ``change`` to one number of its x or of its y."""

    def __init__(self, layer: LayerLike, what: str, index: tuple[int, ...]) -> None:
        self._layer, self._what, self._index, self.change = layer, what, index, 0.0
        self.params, self.name = layer.params, getattr(layer, "name", None)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._layer, name)

    def forward(self, x: Array, **how: Any) -> tuple[Array, Cache]:
        y, cache = self._layer.forward(self._moved(x, "x"), **how)
        return self._moved(y, "y"), cache

    def backward(self, dy: Array, cache: Cache) -> tuple[Array, Gradients]:
        return self._layer.backward(dy, cache)

    def _moved(self, array: Array, what: str) -> Array:
        if what != self._what or not self.change:
            return array
        array = array.astype(np.float64)
        array[self._index] += self.change
        return array


def _nudge(trace: Trace, address: str, index: tuple[int, ...]) -> tuple[Callable[[float], float], float] | None:
    """The loss as a function of a change of that number, and the size of what is there."""
    name, colon, what = address.rpartition(":")
    if address == "loss:dy":  # that of the last layer
        name = next(record.name for record in reversed(trace.layers) if "/" not in record.name)
    if colon and what in ("dx", "dy"):
        return _nudge_activation(trace, name, what[1:], index)
    layer, parameter = (name, what[1:]) if colon else address.rpartition("/")[::2]
    return _nudge_parameter(trace, f"{layer}/{parameter}", index, whole=not colon)


def _nudge_activation(
    trace: Trace, name: str, what: str, index: tuple[int, ...]
) -> tuple[Callable[[float], float], float]:
    """Of a layer's x or y."""
    layers = _as_traced(trace)
    place, siblings = _find(layers, name)
    siblings[place] = nudged = _Nudged(siblings[place], what, index)

    def with_change(change: float) -> float:
        nudged.change = change
        return _loss(trace, layers)

    return with_change, _size(getattr(trace[name], what), index)


def _nudge_parameter(
    trace: Trace, address: str, index: tuple[int, ...], whole: bool
) -> tuple[Callable[[float], float], float] | None:
    """Of a parameter. whole: wherever it is used, with its penalty, and not at this address alone."""
    places = [address]
    if whole:
        first = trace.ties.get(address, address)
        places = [first, *(other for other, one in trace.ties.items() if one == first)]
    elif address in {*trace.ties, *trace.ties.values()}:
        return None  # one use of a tied parameter cannot be moved alone
    traced = {record.name for record in trace.layers}
    if any(one.rpartition("/")[0] not in traced for one in places):
        return None
    layers = _as_traced(trace)
    arrays = {id(array): array for array in (_parameter(layers, one) for one in places)}.values()
    before = {id(array): array.copy() for array in arrays}

    def with_change(change: float) -> float:
        for array in arrays:
            array[...] = before[id(array)]
            array[index] += change
        return _loss(trace, layers) + (_penalty(trace, layers) if whole else 0.0)

    return with_change, _size(next(iter(arrays)), index)


def _as_traced(trace: Trace) -> list[LayerLike]:
    """Copies of the layers, with the parameters that they had, in float64, and on the reference operations."""
    layers, placed = copy.deepcopy(trace.run.layers), set()
    for record in trace.layers:
        place, siblings = _find(layers, record.name)
        layer: Any = siblings[place]
        if hasattr(layer, "ops"):
            layer.ops = reference
        for name, value in record.params.items():
            if id(layer.params[name]) not in placed:  # a layer around it may have the same array
                rebind(layer, name, value.astype(np.float64))
                placed.add(id(layer.params[name]))
        for name, value in record.state.items():
            layer.state[name] = value.astype(np.float64)
    return layers


def _find(layers: Sequence[LayerLike], address: str) -> tuple[int, list[LayerLike]]:
    """Where the layer of this address stands, and the list in which it does."""
    siblings: Any = layers
    *stacks, last = address.split("/")
    for name in stacks:
        siblings = next(layer for i, layer in enumerate(siblings) if backprop.name_of(layer, i) == name).layers
    return next(i for i, layer in enumerate(siblings) if backprop.name_of(layer, i) == last), siblings


def _parameter(layers: Sequence[LayerLike], address: str) -> Array:
    layer, _, name = address.rpartition("/")
    place, siblings = _find(layers, layer)
    return siblings[place].params[name]


def _loss(trace: Trace, layers: Sequence[LayerLike]) -> float:
    run = trace.run
    x = run.x.astype(np.float64) if run.x.dtype.kind in "fiub" else run.x
    y_pred, _ = backprop.forward(layers, x, training=run.training, rng=run.rng)
    return float(run.loss.forward(run.y, y_pred)[0])


def _penalty(trace: Trace, layers: Sequence[LayerLike]) -> float:
    """What the regularizers of the parameters that are penalized add to the loss."""
    total = 0.0
    for address, part in trace.penalties.items():
        if part.any():
            layer, _, name = address.rpartition("/")
            place, siblings = _find(layers, layer)
            total += getattr(siblings[place], f"{name}_regularizer")(siblings[place].params[name])
    return total


def _size(values: Array, index: tuple[int, ...]) -> float:
    """How large the steps should be: as the number, or as the others of its array."""
    own, others = abs(float(values[index])), float(np.sqrt(np.mean(np.square(values, dtype=np.float64))))
    return max(own, others, 1e-3)
