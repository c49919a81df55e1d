"""What a stack knows of a layer that stands in it: whether it is one, whether it is built, what it holds, and where it stands."""

import copy
from typing import Any, TypeGuard

import numpy as np
import numpy.typing as npt

from ..checks import check_shape
from ..contracts import Array, DType, LayerLike, Shape, StackedLayer, StackLike
from ..home import Home
from ..utils.names import is_ours
from .rebinding import rebind

PARTS = ("params", "build", "forward", "backward")  # of a layer; everything else is optional, or set by the stack


def is_layer(thing: object) -> TypeGuard[StackedLayer]:
    """Whether it can be in a stack: an object, not a class, that has all parts of a layer."""
    return not isinstance(thing, type) and all(hasattr(thing, part) for part in PARTS)


def is_stack(layer: LayerLike) -> TypeGuard[StackLike]:
    """Whether it is a stack: a layer that consists of layers, which it builds, names and addresses."""
    return hasattr(layer, "leaves")


def build_layer(layer: StackedLayer, shape: Shape, rng: np.random.Generator, dtype: DType) -> Shape:
    """Build a layer for samples of this shape, unless it is built already; returns the shape of its output.

    Parameters that it already has, because the user built it or set them, keep their values. Raises ValueError where a built
    layer has another input shape or dtype.
    """
    if is_stack(layer):
        return layer.build(shape, rng, dtype)
    if is_built(layer):
        if tuple(layer.input_shape or ()) != tuple(shape):
            raise ValueError(
                f"layer {layer.name!r} is built for input_shape={layer.input_shape}, and what comes before it gives {shape}."
            )
        others = {value.dtype for value in layer.params.values()} - {dtype}
        if others:
            raise ValueError(
                f"layer {layer.name!r} is built in {others.pop()}, and its model computes in {dtype}: make the model with "
                f"dtype='{layer_dtype(layer)}', or a new layer, and copy the weights with set_weights(layer.get_weights())."
            )
        return layer.output_shape or ()
    before = dict(layer.params)
    output = check_shape(layer.build(shape, rng, dtype), f"layer {layer.name!r}: what build returns")
    params = {name: conforming(value, dtype) for name, value in layer.params.items()}
    for name, value in params.items():
        if name in before and before[name] is not layer.params[name] and np.shape(before[name]) == value.shape:
            value[...] = before[name]
    both = params.keys() & state_of(layer).keys()
    if both:
        raise ValueError(
            f"layer {layer.name!r}: {both.pop()!r} is the name of a parameter and of an array of its state."
        )
    for name, value in params.items():
        rebind(layer, name, value)
    layer.input_shape, layer.output_shape = shape, output
    if is_ours(type(layer)):
        vars(layer)["_built"] = _sizes(layer)
    return output


# Settings of the library's layers that decide on the shape of an array.
SIZES = ("units", "filters", "kernel_size", "strides", "padding", "pool_size", "use_bias")


def _sizes(layer: LayerLike) -> dict[str, object]:
    """What decides how many numbers the layer reads and writes, by name."""
    found = {name: getattr(layer, name) for name in (*SIZES, "input_shape", "output_shape") if hasattr(layer, name)}
    found |= {f"params[{name!r}]": np.shape(value) for name, value in layer.params.items()}
    return found | {f"state[{name!r}]": np.shape(value) for name, value in state_of(layer).items()}


def check_sizes(layer: LayerLike, address: str) -> None:
    """Raise ValueError where one of the library's layers no longer has the sizes that it was built with, which the kernels trust.

    A setting that was changed and changes no size is followed.
    """
    built = vars(layer).get("_built")
    if built is None:  # a user's layer, which has checks of its own
        return
    now = _sizes(layer)
    if now == built:
        return
    twin: Any = copy.copy(layer)
    twin.params, twin.state = {}, {}
    for name in vars(twin):
        if name.endswith("_initializer"):
            setattr(twin, name, lambda shape, rng, dtype: np.zeros(shape, dtype))
    twin.output_shape = twin.build(built["input_shape"], np.random.default_rng(0), np.dtype(np.float32))
    would = _sizes(twin)
    for name in {**built, **now}:
        sized = "[" in name or name.endswith("_shape")
        if sized and not built.get(name) == now.get(name) == would.get(name):
            changed = next((setting for setting in built if built[setting] != now.get(setting)), name)
            advice = "make a new layer, and put it in this one's place"
            if "[" in changed:
                advice = f"write new values into the array, layer.{changed}[...] = values, or {advice}"
            raise ValueError(
                f"layer {address!r} was built with {changed} {built.get(changed)}, and now it is {now.get(changed)}: {advice}."
            )


def conforming(value: npt.ArrayLike, dtype: DType) -> Array:
    """The array as the engine needs it, to change it in place: of the model's dtype, contiguous, writable.

    A view of the right dtype is left as it is: the model has to find out whether it is a part of another parameter.
    """
    if isinstance(value, np.ndarray) and value.base is not None and value.dtype == dtype:
        return value
    return np.require(value, dtype, ["C", "W"])


def is_built(layer: LayerLike) -> bool:
    """Whether a stack has built the layer, and so knows both of its shapes; of a stack, whether all its layers are built."""
    if is_stack(layer):
        return layer.built
    return None not in (getattr(layer, "input_shape", None), getattr(layer, "output_shape", None))


def state_of(layer: LayerLike) -> dict[str, Array]:
    """The layer's state; {} where it has none."""
    return getattr(layer, "state", None) or {}


def memory(array: Array) -> object:
    """A key that is equal for two arrays with the same memory, shape and strides."""
    return (array.__array_interface__["data"][0], array.shape, array.strides) if array.size else id(array)


def home(layer: LayerLike) -> StackLike | None:
    """The stack that the layer is in; None where it is in none."""
    above = owner(layer)
    return above if above is not None and any(layer is each for each in above.layers) else None


def owner(layer: LayerLike) -> StackLike | None:
    """The stack that the layer was last added to; it may have left that stack's list of layers since."""
    place = getattr(layer, "home", None)
    return None if place is None else place.owner


def settle(layer: StackedLayer, stack: StackLike) -> None:
    """Make the stack the layer's home, which decides on its operations."""
    layer.home = Home(stack)
    if hasattr(layer, "ops"):  # others do not call any
        layer.ops = stack.ops


def outermost(layer: StackedLayer) -> StackedLayer:
    """The outermost of the stacks that the layer is in; the layer itself where it is in none."""
    while (above := home(layer)) is not None:
        layer = above
    return layer


def is_frozen(layer: StackedLayer) -> bool:
    """Whether no training step changes the layer: it, or a stack that it is in, is frozen."""
    around = outermost(layer)
    return id(layer) in around.frozen() if is_stack(around) else not getattr(layer, "trainable", True)


def layer_dtype(layer: LayerLike) -> DType | None:
    """The dtype of the layer's parameters; None where it has none."""
    return next((value.dtype for value in layer.params.values()), None)
