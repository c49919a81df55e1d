"""Replacing a parameter's array, under every name by which the layer knows it.

A model keeps its parameters in one vector, of which its layers hold views. A layer that went on using the array that it made
itself, such as ``self.w`` beside ``self.params``, would never learn.
"""

from typing import Any

from ..contracts import Array, LayerLike, StackedLayer
from .base import Layer


def rebind(layer: StackedLayer, name: str, array: Array) -> None:
    """Make this array the layer's parameter of that name.

    The old one is replaced wherever the layer holds it: in ``params``, as an attribute, in lists and dictionaries, and in layers
    inside it. Raises TypeError where ``params`` still returns another array.
    """
    old = layer.params[name]
    if old is array:
        return
    _replace(layer, old, array, set())
    if layer.params.get(name) is not array and _settable(layer):
        layer.params = {**layer.params, name: array}
    if layer.params.get(name) is not array:
        raise TypeError(
            f"layer {layer.name!r}: the model cannot put an array of its own in the place of params[{name!r}]. Keep it in "
            "self.params, or as an attribute that params reads."
        )


def _settable(layer: LayerLike) -> bool:
    """Whether params can be assigned to: it is not a property, or one with a setter."""
    found = getattr(type(layer), "params", None)
    return not isinstance(found, property) or found.fset is not None


def _replace(holder: object, old: Array, new: Array, seen: set[int]) -> None:
    """Replace the old array in a layer, list or dictionary, and in those that it holds."""
    if id(holder) in seen:
        return
    seen.add(id(holder))
    entries: list[tuple[Any, object]]
    if isinstance(holder, list):
        entries = list(enumerate(holder))
    else:
        entries = list((holder if isinstance(holder, dict) else vars(holder)).items())
    for key, value in entries:
        if isinstance(value, list | dict | Layer):
            _replace(value, old, new, seen)
        elif value is not old:
            continue
        elif isinstance(holder, list | dict):
            holder[key] = new
        else:
            setattr(holder, key, new)
