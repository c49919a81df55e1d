"""What a target holds between calls: how it is restored, and which of its arrays share memory."""

from collections.abc import Callable, Collection, Iterator

import numpy as np

from ..contracts import Array, Named, Output, Target
from .nested import leaves_of, same


def remember(target: Target, moved: Collection[Array] = ()) -> Callable[[], None]:
    """A function that restores attributes of the target and its layers, and what arrays, lists and dictionaries in these hold.

    moved: arrays that it does not restore.
    """
    objects = list(layers_in(target))
    attributes = [(vars(owner), dict(vars(owner))) for owner in objects if hasattr(owner, "__dict__")]
    held = [value for _, values in attributes for value in values.values()]
    held += [getattr(owner, "params", None) for owner in objects]
    tables = [(value, dict(value)) for value in held if isinstance(value, dict)]
    rows = [(value, list(value)) for value in held if isinstance(value, list)]
    left = {id(array) for array in moved}
    leaves = [leaf for leaf in leaves_of(held, objects=False) if isinstance(leaf, np.ndarray) and id(leaf) not in left]
    arrays = [(leaf, leaf.copy()) for leaf in leaves]

    def restore() -> None:
        for now, before in (*attributes, *tables):
            now.clear()
            now.update(before)
        for row, parts in rows:
            row[:] = parts
        for array, values in arrays:
            if not same(array, values):
                array[...] = values

    return restore


def replace(target: Target, old: Output, new: Output) -> None:
    """Put the new array in the old one's place wherever the target, its layers, or their lists and dictionaries hold it."""
    for owner in layers_in(target):
        if hasattr(owner, "__dict__"):
            own: dict[str, Output] = owner.__dict__
            for holder in (own, *(value for value in own.values() if isinstance(value, dict | list))):
                entries = list(holder.items() if isinstance(holder, dict) else enumerate(holder))
                for key, value in entries:
                    if value is old:
                        holder[key] = new


def layers_in(target: Target) -> Iterator[Output]:
    """The target, the layers of a model, and layers in the attributes of a layer, however deep."""
    seen: set[int] = set()

    def walk(value: Output) -> Iterator[Output]:
        if isinstance(value, dict):
            value = list(value.values())
        if isinstance(value, tuple | list):
            for part in value:
                yield from walk(part)
        elif (value is target or hasattr(value, "forward")) and not isinstance(value, type) and id(value) not in seen:
            seen.add(id(value))
            yield value
            yield from walk(getattr(value, "__dict__", None))
            yield from walk(getattr(value, "layers", None))

    yield from walk(target)


def tied(arrays: dict[str, Array]) -> dict[str, tuple[str, bool]]:
    """For arrays with the same memory as an earlier one: name → (the earlier one's name, whether it is its transpose)."""
    first: dict[Output, str] = {}
    twins: dict[str, tuple[str, bool]] = {}
    for name, array in arrays.items():
        view = array.__array_interface__["data"][0], array.shape, array.strides
        turned = view[0], array.shape[::-1], array.strides[::-1]
        if array.size and view in first:
            twins[name] = first[view], False
        elif array.size and turned in first:
            twins[name] = first[turned], True
        else:
            first[view] = name
    return twins


def summed(gradients: Named, twins: dict[str, tuple[str, bool]]) -> Named:
    """The gradients, with those of the same memory added up under the first one's name."""
    total = {name: value for name, value in gradients.items() if name not in twins}
    for name, (other, turned) in twins.items():
        if name in gradients:
            value = np.asarray(gradients[name])
            value = value.T if turned else value
            total[other] = value if other not in total else np.asarray(total[other]) + value
    return total
