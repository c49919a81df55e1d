"""A stack: layers in order, and a layer itself, so that stacks can be nested."""

import re
from collections.abc import Iterator, Sequence
from typing import Any, Unpack

import numpy as np
import numpy.typing as npt

from .. import backprop
from ..checks import check_name, check_shape
from ..contracts import Array, Cache, DType, Gradients, LayerLike, Operations, Shape, StackedLayer, StackLike
from ..home import Home
from ..ops import OPERATIONS, set_name
from ..ops.random import RandomKey
from ..utils.lookup import by_name
from ..utils.seeds import draw_seed
from .base import Layer, LayerSettings, copy_weights
from .core import Input
from .inside import (
    PARTS,
    build_layer,
    home,
    is_built,
    is_layer,
    memory,
    owner,
    settle,
)
from .rebinding import rebind


class Stack(Layer):
    """Layers in order: the output of each is the input of the next.

    Its parameters and its state are those of its layers, by address, "layer/parameter"; setting ``trainable`` or ``ops`` sets
    it on all layers within.
    """

    def __init__(self, layers: Sequence[LayerLike] = (), **common: Unpack[LayerSettings]) -> None:
        self.layers: list[StackedLayer] = []
        super().__init__(**common)
        if not isinstance(layers, Sequence):
            raise TypeError(f"{self} layers must be a list of layers, received {layers!r}.")
        for layer in layers:
            self.add(layer)
        if not self.trainable:
            self.trainable = False  # on all layers within

    def forward(self, x: Array, *, training: bool = False, rng: RandomKey | None = None) -> tuple[Array, Cache]:
        """x (N, *input_shape) → y (N, *output_shape), and the layers' caches."""
        return backprop.forward(self.layers, x, training=training, rng=rng)

    def backward(self, dy: Array, cache: Cache) -> tuple[Array, Gradients]:
        """dy (N, *output_shape) → dx (N, *input_shape), and the gradients by address, added up for tied parameters."""
        dx, gradients = backprop.backward(self.layers, dy, cache)
        return dx, self.add_tied(gradients)

    def add_tied(self, gradients: Gradients) -> Gradients:
        """The same gradients in the order of ``params``, with one for each array, however many layers share it."""
        for address, first in self.ties().items():
            if address in gradients:  # a stack inside has not added it already
                gradients[first] = gradients[first] + gradients.pop(address)
        return {address: gradients[address] for address in self.params if address in gradients} | gradients

    def build(
        self, input_shape: Sequence[int | None], rng: np.random.Generator | None = None, dtype: DType | None = None
    ) -> Shape:
        """Allocate the weights of all layers that have none yet, for samples of this shape; returns the output's shape.

        input_shape: without the batch axis; a leading None, Keras's batch axis, is dropped. rng: each layer gets
        its own generator from it. dtype: None means float32. Raises ValueError where a layer does not fit; the stack is
        then unchanged.
        """
        given = tuple(input_shape) if isinstance(input_shape, Sequence) else input_shape
        first = check_shape(given[1:] if given and given[0] is None else given, f"{self} input_shape")
        if not self.layers:
            raise ValueError(f"{self} has no layers: add some first.")
        before = [
            (layer, layer.params, getattr(layer, "input_shape", None), getattr(layer, "output_shape", None))
            for _, layer in self.leaves()
        ]
        try:
            shape = self._build_layers(first, self._generators(rng), np.dtype(np.float32) if dtype is None else dtype)
        except Exception:
            for layer, params, promised, output in before:
                layer.params, layer.input_shape, layer.output_shape = params, promised, output
            raise
        self.input_shape = first
        return shape

    def _build_layers(self, shape: Shape, generators: Sequence[np.random.Generator], dtype: DType) -> Shape:
        for layer, rng in zip(self.layers, generators, strict=True):
            shape = build_layer(layer, shape, rng, dtype)
        return shape

    def _generators(self, rng: np.random.Generator | None) -> Sequence[np.random.Generator]:
        """One for each layer; it depends on the layer's place, not on how much others draw."""
        return (np.random.default_rng(draw_seed()) if rng is None else rng).spawn(len(self.layers))

    @property
    def built(self) -> bool:
        """Whether the weights are allocated."""
        return bool(self.layers) and all(is_built(layer) for layer in self.layers)

    @property
    def output_shape(self) -> Shape | None:
        """The shape of one sample of the output; None before the stack is built."""
        return self.layers[-1].output_shape if self.layers else None

    @output_shape.setter
    def output_shape(self, shape: Shape | None) -> None:
        """Ignored: the shape follows from the layers."""

    def add(self, layer: LayerLike) -> None:
        """Put a layer on top: one of the library's, a stack, or any object with params, build, forward and backward.

        A layer that is built keeps its weights. Raises TypeError for anything else, ValueError where it does not fit the
        layers below or its name is in use; the stack is then unchanged.
        """
        new = self._checked(layer)
        if isinstance(new, Input):
            self.input_shape = new.input_shape
            return
        self._place(new)

    def _checked(self, layer: LayerLike) -> StackedLayer:
        """The layer, where it can stand in this stack; what is said of its name and its shape comes later."""
        if not is_layer(layer):
            missing = [part for part in PARTS if not hasattr(layer, part)]
            raise TypeError(
                f"{self} add expects a layer, an object with params, build, forward and backward, received {layer!r}"
                + (", a class: create the layer with (…)." if isinstance(layer, type) else f", without {missing[0]}.")
            )
        if not hasattr(layer, "__dict__"):
            raise TypeError(
                f"{self} add expects a layer that it can give a name, a home and more, received {layer!r}, whose class has "
                "__slots__: leave them out."
            )
        if isinstance(layer, Input) and (self.layers or self.input_shape):
            raise ValueError(f"{self}: Input must come first and once, received it after {len(self.layers)} layers.")
        if layer is self or (isinstance(layer, Stack) and any(inner is self for inner in layer.stacks())):
            raise ValueError(f"{self} cannot hold itself.")
        if any(layer is other for other in self.layers):
            raise ValueError(f"{self} already holds the layer {layer.name!r}: create a new one to add it twice.")
        if not is_built(layer) and home(layer) not in (None, self):
            raise ValueError(f"the layer {layer.name!r} belongs to another model: create a new one for {self}.")
        return layer

    def _place(self, layer: StackedLayer) -> None:
        """Give the layer its name and its home, and build it where that can be done."""
        free = home(layer) is None and owner(layer) is not self
        given = layer.given_name if isinstance(layer, Stack) and free else getattr(layer, "name", None)
        name = check_name(given) if given else self._numbered(layer)
        if any(name == other.name for other in self.layers):
            raise ValueError(f"{self} already has a layer named {name!r}: every layer needs a name of its own.")
        promised = getattr(layer, "input_shape", None)
        shape = self._next_input_shape() if self.layers else self.input_shape or promised
        if promised is not None and shape is not None and tuple(promised) != tuple(shape):
            raise ValueError(f"layer {name!r}: input_shape={promised} contradicts what comes before it, {shape}.")
        before = getattr(layer, "name", None)
        layer.name = name
        if free and hasattr(layer, "ops"):
            layer.ops = self.ops
        if not is_built(layer):
            layer.output_shape = None
        if shape is not None:
            try:
                self._build_next(layer, shape)
            except Exception:
                layer.name = before
                raise
        if not self.layers and shape is not None:
            self.input_shape = shape
        if free:
            settle(layer, self)
        self.layers.append(layer)

    def add_again(self) -> None:
        """After a list of layers was changed by hand: check that all layers fit together, and add the new ones.

        Raises what ``add`` does; the list is then unchanged.
        """
        layers, shape = list(self.layers), self.input_shape
        self.layers.clear()
        self.input_shape = None if layers and is_built(layers[0]) else shape
        try:
            for layer in layers:
                if isinstance(layer, Stack):
                    layer.add_again()
                Stack.add(self, layer)
        except Exception:
            self.layers[:], self.input_shape = layers, shape
            raise

    def _next_input_shape(self) -> Shape | None:
        """The shape of one sample, as the next layer to be added will see it; None where that is not known yet."""
        return self.output_shape

    def _build_next(self, layer: StackedLayer, shape: Shape) -> None:
        """Build the layer that is about to be added, or check that a built one fits; a plain stack leaves both to ``build``."""

    @property
    def given_name(self) -> str | None:
        """The name to keep when added to a stack: the user's; None where the library would choose one."""
        return self.name

    def _numbered(self, layer: LayerLike) -> str:
        """max_pooling2d, max_pooling2d_1, max_pooling2d_2, …"""
        base = re.sub("(?<=.)([A-Z][a-z]|(?<=[a-z])[A-Z])", r"_\1", type(layer).__name__).lower()
        names = {other.name for other in self.layers}
        count = sum(type(other) is type(layer) for other in self.layers)
        while (name := f"{base}_{count}" if count else base) in names:
            count += 1
        return name

    def leaves(self, above: str = "") -> Iterator[tuple[str, StackedLayer]]:
        """(address, layer) of every layer within, however deep, except the stacks themselves."""
        for layer in self.layers:
            if isinstance(layer, Stack):
                yield from layer.leaves(f"{above}{layer.name}/")
            else:
                yield f"{above}{layer.name}", layer

    def stacks(self) -> Iterator["Stack"]:
        """This stack, and every one within it."""
        yield self
        for layer in self.layers:
            if isinstance(layer, Stack):
                yield from layer.stacks()

    def get_layer(self, name: str | None = None, index: int | None = None) -> Any:
        """The layer of that name, or at that index. Raises ValueError where there is none."""
        if (name is None) == (index is None):
            raise ValueError("get_layer expects either a name or an index.")
        if index is not None:
            if not -len(self.layers) <= index < len(self.layers):
                raise ValueError(f"{self} has {len(self.layers)} layers, received index {index}.")
            return self.layers[index]
        return by_name({str(layer.name): layer for layer in self.layers}, str(name), f"layer in {self}")

    @property
    def params(self) -> dict[str, Array]:
        """All parameters by address, "layer/parameter": the arrays themselves, not copies. A tied one comes once."""
        ties = self.ties()
        return {address: value for address, value in self._every("params") if address not in ties}

    @params.setter
    def params(self, params: dict[str, Array]) -> None:
        tied = {address: params[first] for address, first in self.ties().items() if first in params}
        self._hand_out("params", {**params, **tied})

    @property
    def state(self) -> dict[str, Array]:
        """Everything that training changes and gradients do not, by address: the arrays themselves."""
        return dict(self._every("state"))

    @state.setter
    def state(self, state: dict[str, Array]) -> None:
        self._hand_out("state", state)

    def _hand_out(self, kind: str, arrays: dict[str, Array]) -> None:
        for layer in self.layers:
            start = f"{layer.name}/"
            own = {name.removeprefix(start): value for name, value in arrays.items() if name.startswith(start)}
            if own:
                setattr(layer, kind, {**getattr(layer, kind), **own})

    def _every(self, *kinds: str) -> Iterator[tuple[str, Array]]:
        """(address, array), layer by layer, and for each layer kind by kind."""
        for address, layer in self.leaves():
            for kind in kinds:
                for name, value in (getattr(layer, kind, None) or {}).items():
                    yield f"{address}/{name}", value

    def ties(self) -> dict[str, str]:
        """Tied parameters, which are the same memory: the address of each but the first → the first's address."""
        first: dict[object, str] = {}
        found = {address: first.setdefault(memory(value), address) for address, value in self._every("params")}
        return {address: one for address, one in found.items() if address != one}

    @property
    def weights(self) -> dict[str, Array]:
        """Parameters and state by address, layer by layer: a layer's parameters, and then its state. A tied one comes
        once."""
        ties = self.ties()
        return {address: value for address, value in self._every("params", "state") if address not in ties}

    def get_weights(self) -> list[Array]:
        """Copies of all weights, layer by layer: a layer's parameters, and then its state."""
        return [value.copy() for value in self.weights.values()]

    def set_weights(self, weights: Sequence[npt.ArrayLike]) -> None:
        """Copy the arrays into the weights, in the order of get_weights.

        Raises ValueError, and changes nothing, where they do not fit.
        """
        copy_weights(list(self.weights.items()), list(weights), str(self))

    def count_params(self) -> int:
        """The number of entries in its weights."""
        return sum(value.size for value in self.weights.values())

    @property
    def trainable(self) -> bool:
        """False freezes all layers within. Setting it sets it on each of them."""
        return self._trainable

    @trainable.setter
    def trainable(self, trainable: bool) -> None:
        self._trainable = bool(trainable)
        for layer in self.layers:
            layer.trainable = self._trainable

    def frozen(self) -> set[int]:
        """The ids of the layers within that no training step changes: they, or a stack that they are in, are frozen."""
        if not self.trainable:
            return {id(layer) for _, layer in self.leaves()}
        found = set()
        for layer in self.layers:
            if isinstance(layer, Stack):
                found |= layer.frozen()
            elif not getattr(layer, "trainable", True):  # a layer without the attribute is trained
                found.add(id(layer))
        return found

    @property
    def ops(self) -> Operations:
        """The set of operations that the layers call."""
        return self._ops

    @ops.setter
    def ops(self, ops: Operations) -> None:
        self._ops = ops
        for layer in self.layers:
            if hasattr(layer, "ops"):  # others do not call any
                layer.ops = ops

    def tie(self, ties: object) -> None:
        """Tie parameters. ties: address → the address of the parameter whose array it is to share, as ``ties()`` returns it.

        Raises ValueError where there are no such parameters, or where their shapes differ.
        """
        holders = {f"{address}/{name}": (layer, name) for address, layer in self.leaves() for name in layer.params}
        if not isinstance(ties, dict) or not all(one in holders and first in holders for one, first in ties.items()):
            raise ValueError(f"ties must be given as two addresses of parameters of {self} each, found {ties!r}.")
        for address, first in ties.items():
            (layer, name), (other, its) = holders[address], holders[first]
            if layer.params[name].shape != other.params[its].shape:
                raise ValueError(f"the parameters {address!r} and {first!r} cannot be tied: their shapes differ.")
            rebind(layer, name, other.params[its])

    def __getstate__(self) -> dict[str, object]:
        # the ties, because not every pickler recognises two references to one array
        return {**vars(self), "_ops": set_name(self._ops), "_tied": self.ties()}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Called by copy and pickle. A deep copy owns its layers; a shallow one leaves them to the original."""
        ties = state.pop("_tied")
        vars(self).update(state, _ops=OPERATIONS[state["_ops"]])
        if all(owner(layer) is None for layer in self.layers):
            self.tie(ties)
            for layer in self.layers:
                layer.home = Home(self)


def runs_in_order(stack: StackLike) -> bool:
    """Whether it only runs its layers in order: a Residual does more, and a user's class may."""
    return all(getattr(type(stack), method) is getattr(Stack, method) for method in ("forward", "backward"))
