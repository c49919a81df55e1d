"""All parameters of a model in one vector, of which layers hold named views; so are gradients and the optimizer's state."""

from collections.abc import Collection, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from .. import ranks
from ..contracts import Array, DType, Shape, StackedLayer, StackLike
from ..layers.rebinding import rebind
from ..optimizers import Optimizer
from ..optimizers.base import AVERAGE

Range = tuple[int, int]  # (start, stop) in a vector


class Place(NamedTuple):
    """Where a parameter is in the vector. owners: the ids of the layers that have it; several if it is tied."""

    start: int
    stop: int
    shape: Shape
    owners: tuple[int, ...]


class Layout:
    """The places of all parameters of a stack, in order, by address. A tied one has one place and several addresses.

    Raises ValueError where two parameters overlap without being the same array.
    """

    def __init__(self, stack: StackLike) -> None:
        self.ties = stack.ties()
        self.places: dict[str, Place] = {}
        self.size = 0
        owners: dict[str, list[int]] = {}
        for address, layer in stack.leaves():
            for name in layer.params:
                own = f"{address}/{name}"
                owners.setdefault(self.ties.get(own, own), []).append(id(layer))
        params = stack.params
        _check_apart(params)
        for address, value in params.items():
            self.places[address] = Place(self.size, self.size + value.size, value.shape, tuple(owners[address]))
            self.size += value.size

    def views(self, vector: Array) -> dict[str, Array]:
        """The parts of a vector by address, in the parameters' shapes."""
        return {
            address: vector[place.start : place.stop].reshape(place.shape) for address, place in self.places.items()
        }

    def ranges(self, frozen: Collection[int]) -> list[Range]:
        """The ranges that a training step changes: all but the parameters of these layers."""
        found: list[Range] = []
        for place in self.places.values():
            if not any(owner in frozen for owner in place.owners):
                if found and found[-1][1] == place.start:
                    found[-1] = (found[-1][0], place.stop)
                else:
                    found.append((place.start, place.stop))
        return found


def _check_apart(params: Mapping[str, Array]) -> None:
    """Raise ValueError where two of the arrays overlap."""
    reaching: list[tuple[int, str]] = []  # (end, address) of earlier arrays that reach this far
    for start, end, address in sorted((*_bounds(value), address) for address, value in params.items() if value.size):
        reaching = [(stop, other) for stop, other in reaching if start < stop]
        for _, other in reaching:
            if np.shares_memory(params[other], params[address]):
                raise ValueError(
                    f"the parameters {other!r} and {address!r} share memory, but are not the same array, as when one is a part "
                    "or a transpose of the other. To tie them, give both layers the very same array, and transpose it in "
                    "forward: x @ self.params['kernel'].T; otherwise give one of them a .copy()."
                )
        reaching.append((end, address))


def _bounds(array: Array) -> tuple[int, int]:
    """The memory addresses of its first byte and of the byte after its last."""
    start = array.__array_interface__["data"][0]
    spans = [(size - 1) * stride for size, stride in zip(array.shape, array.strides, strict=True)]
    return start + sum(min(span, 0) for span in spans), start + sum(max(span, 0) for span in spans) + array.itemsize


class Parameters:
    """The vector of a stack's parameters. From here on the layers' ``params`` are views into it.

    Raises what Layout does.
    """

    def __init__(self, stack: StackLike, dtype: DType) -> None:
        self.layout = Layout(stack)
        self.vector = np.zeros(self.layout.size, dtype)
        self._tied = {*self.layout.ties, *self.layout.ties.values()}
        self._views: list[tuple[StackedLayer, dict[str, tuple[str, Array]]]] = []  # layer → name → (address, view)
        views = self.layout.views(self.vector)
        for address, layer in stack.leaves():
            own = {name: f"{address}/{name}" for name in layer.params}
            self._views.append((layer, {name: (at, views[self.layout.ties.get(at, at)]) for name, at in own.items()}))
        for layer, held in self._views:
            for name, (_, view) in held.items():
                _put(layer, name, view)

    def hold(self) -> bool:
        """Copy back arrays that layers hold instead of their views, e.g. because a layer has replaced its params. False where
        names, shapes or ties have changed."""
        for layer, held in self._views:
            params = layer.params
            if params.keys() != held.keys():
                return False
            for name, (address, view) in held.items():
                if params[name] is not view:
                    if not self._stands_alone(address, params[name], view.shape):
                        return False
                    _put(layer, name, view)
        return True

    def _stands_alone(self, address: str, value: Array, shape: Shape) -> bool:
        """Whether the array at this address only changes a parameter's values, and neither makes nor breaks a tie."""
        return np.shape(value) == shape and address not in self._tied and not np.may_share_memory(value, self.vector)


def _put(layer: StackedLayer, name: str, view: Array) -> None:
    """Copy a parameter into the view, and give the layer the view instead."""
    view[...] = layer.params[name]
    rebind(layer, name, view)


class Gradient:
    """One gradient of all parameters: a vector, and its parts by address. The further addresses of a tied parameter have arrays
    of their own, which ``add_tied`` adds to the first one's."""

    def __init__(self, layout: Layout, dtype: DType) -> None:
        self.vector = np.zeros(layout.size, dtype)
        self.named = layout.views(self.vector)
        self._ties = layout.ties
        self.named |= {address: np.zeros_like(self.named[first]) for address, first in layout.ties.items()}

    def add_tied(self) -> None:
        """Add up the gradients of each tied parameter."""
        for address, first in self._ties.items():
            self.named[first] += self.named[address]


class Slots:
    """The optimizer's state, one vector per slot name; ``optimizer.slots`` holds views into them.

    Existing state for a parameter of the same name and shape is kept. ranges: what is about to be trained. Of several processes,
    each begins only its part of them, and leaves the rest untouched, so that it takes no memory: ``gather`` fills it in.
    """

    def __init__(self, optimizer: Optimizer, parameters: Parameters, ranges: Sequence[Range]) -> None:
        layout, params = parameters.layout, parameters.vector
        self.vectors = {slot: np.zeros(layout.size, params.dtype) for slot in optimizer.every_slot}
        edges = [0, *(edge for each in ranges for edge in each), layout.size]
        frozen = zip(edges[::2], edges[1::2], strict=True)
        for start, stop in (*frozen, *ranks.group.part(ranges)):
            for slot, vector in self.vectors.items():
                if slot == AVERAGE:
                    vector[start:stop] = params[start:stop]
                elif first := optimizer.initial(slot):
                    vector[start:stop] = first
        by_slot = {slot: layout.views(vector) for slot, vector in self.vectors.items()}
        self.views = {address: {slot: by_slot[slot][address] for slot in by_slot} for address in layout.places}
        for address, own in self.views.items():
            for slot, view in own.items():
                value = optimizer.slots.get(address, {}).get(slot)
                if value is not None and value.shape == view.shape:
                    view[...] = value
        optimizer.slots = self.views

    def hold(self, optimizer: Optimizer) -> bool:
        """Whether the optimizer still uses this state."""
        return optimizer.slots is self.views and optimizer.every_slot == tuple(self.vectors)


def followed(
    slots: Mapping[str, dict[str, Array]],
    before: Sequence[tuple[str, StackedLayer]],
    now: Sequence[tuple[str, StackedLayer]],
) -> dict[str, dict[str, Array]]:
    """The optimizer's state after a change of the layers: it goes with its layer to the layer's new address, and a layer that was
    not there before has none, even at the address of one that is gone.

    before, now: (address, layer) of all layers.
    """
    addresses = {id(layer): address for address, layer in now}
    return {
        f"{addresses[id(layer)]}/{name}": slots[f"{address}/{name}"]
        for address, layer in before
        if id(layer) in addresses
        for name in layer.params
        if f"{address}/{name}" in slots
    }
