"""The state of a model as arrays and counters: everything that training changes, to be saved and restored."""

import contextlib
from collections.abc import Callable, Iterator, Mapping
from typing import TypeGuard

import numpy as np

from . import ranks
from .checks import is_integer
from .configs import BUILDS
from .contracts import Array, ModelLike, Shape
from .layers import Stack
from .utils.arrays import copy_each

COUNTERS = ("epochs_trained", "steps_trained")  # of a model
SLOTS = "/optimizer/"  # prefix of a parameter's address: the state that the optimizer keeps for it


def get_state(model: ModelLike) -> tuple[dict[str, int], dict[str, Array]]:
    """(counters, arrays). The arrays are the model's own, not copies.

    A weight's name is "layer/parameter", the optimizer's state is "/optimizer/layer/parameter/slot": no layer has an empty name.
    """
    ranks.group.complete()
    counters = {name: getattr(model, name) for name in COUNTERS}
    arrays = dict(model.weights)
    if model.optimizer is not None:
        counters["iterations"] = model.optimizer.iterations
        if model.optimizer.swapped:
            counters["swapped"] = True
        for param in model.params:
            slots = model.optimizer.slots.get(param, {})
            arrays |= {f"{SLOTS}{param}/{slot}": value for slot, value in slots.items()}
    return counters, arrays


def set_state(model: ModelLike, counters: object, arrays: Mapping[str, Array]) -> None:
    """Copy the result of ``get_state`` into a model with the same layers and optimizer.

    Raises ValueError, and changes nothing, where anything is missing, unexpected, or not what this model needs.
    """
    optimizer = model.optimizer
    if not isinstance(counters, Mapping):
        raise ValueError(f"the counters must be given by name, found {counters!r}.")
    for name in (*COUNTERS, *(() if optimizer is None else ("iterations",))):
        if not is_count(counters.get(name)):
            raise ValueError(f"{name} must be an integer from 0 to 2⁶³ − 1, found {counters.get(name)!r}.")
    swapped = counters.get("swapped", False)
    if optimizer is not None and (not isinstance(swapped, bool) or swapped > optimizer.use_ema):
        raise ValueError(
            f"swapped must be true or false, and false where no averages are kept, found {swapped!r:.200}."
        )
    slot_names = () if optimizer is None else optimizer.every_slot
    slots = {
        param: {slot: np.empty_like(value) for slot in slot_names}
        for param, value in model.params.items()
        if any(f"{SLOTS}{param}/{slot}" in arrays for slot in slot_names)  # before its first step it has none
    }
    flat = {f"{SLOTS}{param}/{slot}": value for param, group in slots.items() for slot, value in group.items()}
    copy_by_name({**model.weights, **flat}, arrays, str(model))
    for name in COUNTERS:
        setattr(model, name, counters[name])
    if optimizer is not None:
        optimizer.iterations, optimizer.slots, optimizer.swapped = counters["iterations"], slots, swapped


def is_count(value: object) -> TypeGuard[int]:
    """Whether it can be a count of epochs or steps: an integer ≥ 0 within 64 bits."""
    return is_integer(value) and 0 <= value < 2**63


def copy_by_name(targets: Mapping[str, Array], arrays: Mapping[str, Array], owner: str) -> None:
    """Copy each array into the target of its name.

    Raises ValueError, and changes nothing, where they do not fit: lists what is missing, unexpected, or of another shape or type.
    """
    faults = [f"missing {name!r}, {value.shape}" for name, value in targets.items() if name not in arrays]
    faults += [f"unexpected {name!r}, {value.shape}" for name, value in arrays.items() if name not in targets]
    for name, target in targets.items():
        found = arrays.get(name, target)
        if found.shape != target.shape:
            faults.append(f"{name!r} has shape {found.shape}, expected {target.shape}")
        if target.dtype.kind == "f" and found.dtype.kind != "f":
            faults.append(f"{name!r} is {found.dtype}, expected floats")
    if faults:
        raise ValueError(f"it does not fit {owner}: {'; '.join(faults)}.")
    copy_each((target, arrays[name]) for name, target in targets.items())


@contextlib.contextmanager
def initialized_with(stack: Stack, arrays: Mapping[str, Array], ties: object) -> Iterator[None]:
    """Inside this block, ``kernel_initializer`` returns the array "layer/kernel", etc.: build allocates only what the file holds.

    A file may claim a layer of 2⁴⁰ units. Then its initializer is asked for an array of that shape, and raises ValueError.
    """
    before = [
        (address, layer, key, value)
        for address, layer in stack.leaves()
        if getattr(type(layer), "build", None) in BUILDS
        for key, value in vars(layer).items()
        if key.endswith("_initializer")
    ]

    def stored(address: str) -> Callable[..., Array]:
        def initializer(shape: Shape, *_: object) -> Array:
            if address not in arrays or arrays[address].shape != shape:
                found = f"one of {arrays[address].shape}" if address in arrays else "none"
                raise ValueError(
                    f"the settings ask for an array {address!r} of shape {shape}, and the file holds {found}."
                )
            return arrays[address]

        return initializer

    tied = ties if isinstance(ties, dict) else {}
    for address, layer, key, _ in before:
        own = f"{address}/{key.removesuffix('_initializer')}"
        setattr(layer, key, stored(tied.get(own, own)))
    try:
        with np.errstate(over="ignore"):
            yield
    finally:
        for _, layer, key, value in before:
            setattr(layer, key, value)
