"""What can be checked, a layer, a loss, a model or two functions, brought into one form; and how it is put back as it was."""

import copy
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..contracts import Array
from ..ops.random import RandomKey
from .behaviour import (
    CHANGES_CACHE,
    CHANGES_DY,
    STALE,
    again_or_error,
    behaviour,
    compare_form,
    compare_names,
    computed_in_float32,
    kept_copies,
    leaves_of,
    not_twice,
    pair,
    same,
    show_elsewhere,
)
from .report import Fault, Report

TOO_COARSE = "its rounding is larger than the differences to be judged"


@dataclass
class Subject:
    """What is under test, in one form: arrays to move, and what they do to a number.

    arrays: float64, by name, moved in place. evaluate: the outputs for the arrays as they are now. upstream: the weights
    that make one number of the outputs. gradients: the analytic ones, of that number. samples: in the batch. deep: it is made
    of several layers.
    """

    arrays: dict[str, Array]
    evaluate: Callable[[], Any]
    upstream: Array
    gradients: dict[str, Array]
    samples: int
    deep: bool = False


def subject_of(
    target: Any, arrays: tuple[Any, ...], training: bool, seed: int, rng: np.random.Generator, report: Report
) -> Subject:
    if isinstance(target, tuple) and len(target) == 2 and all(map(callable, target)):
        (x,) = _expect(arrays, "(value, gradient)", "x")
        return _of_functions(target, x, report)
    if hasattr(target, "loss_and_gradients") and len(arrays) != 1:
        x, y = _expect(arrays, "a model", "x", "y")
        return _of_model(target, x, y, training, report)
    if hasattr(target, "layers") and (hasattr(target, "loss_and_gradients") or not hasattr(target, "backward")):
        target = _Stack(target.layers, seed)
    if hasattr(target, "forward") and hasattr(target, "backward") and not isinstance(target, type):
        if len(arrays) == 2:
            return _of_loss(target, *arrays, report)
        (x,) = _expect(arrays, "a layer", "x")
        return _of_layer(target, x, training, seed, rng, report)
    raise TypeError(
        "gradcheck expects a layer or a loss (objects with forward and backward), a model (with loss_and_gradients), or a "
        f"pair of functions (value, gradient), received {target!r}."
    )


def _expect(arrays: tuple[Any, ...], target: str, *names: str) -> tuple[Any, ...]:
    if len(arrays) != len(names):
        raise ValueError(f"gradcheck of {target} expects {', '.join(names)}, received {len(arrays)} arrays.")
    return arrays


def _float64(value: Any, what: str, report: Report) -> Array:
    """A copy in float64; a note where it was a smaller float."""
    array = np.asarray(value)
    if array.dtype.kind not in "fiub":
        raise TypeError(f"{what} must hold real numbers, received dtype {array.dtype}.")
    if array.dtype.kind == "f" and array.dtype != np.float64:
        report.notes.append(f"{what} is {array.dtype}, and was checked as float64: {TOO_COARSE}.")
    array = np.array(array, np.float64, order="C")
    if not np.isfinite(array).all():
        raise ValueError(f"{what} must be finite, received NaN or infinity.")
    return array


def _number(value: Any, what: str) -> None:
    """A Fault where a loss or a function is not one number in float64, or not finite."""
    array = np.asarray(value)
    if array.shape or array.dtype.kind not in "fiu" or (array.dtype.kind == "f" and array.dtype.itemsize < 8):
        raise Fault(f"{what} must be one number in float64, received {array.dtype} of shape {array.shape}.")
    if not np.isfinite(array):
        raise Fault(f"{what} must be finite, received {array}.")


def _count(batch: Any, name: str, report: Report) -> int:
    """How many samples there are; a note where it is one."""
    if len(batch) == 1:
        report.notes.append(
            f"{name} is a batch of one: with two or more samples, it would also be checked how they are summed."
        )
    return len(batch)


def _of_functions(functions: tuple[Any, Any], x: Any, report: Report) -> Subject:
    value, gradient = functions
    report.target = getattr(value, "__name__", "function")
    x = _float64(x, "x", report)
    given = x.copy()
    _number(value(given), "value(x)")
    if computed_in_float32(value, x):
        report.problems.append("value computes in float32: it must keep the dtype of x.")
    analytic = np.array(gradient(given))
    if not same(given, x):
        report.problems.append("value or gradient changes its argument x: it must work on a copy.")
    if not same(analytic, np.asarray(gradient(x.copy()))):
        report.problems.append("gradient gives another answer when it is called twice with the same x.")
    report.problems += compare_form("x", analytic, x)
    return Subject({"x": x}, lambda: value(x.copy()), np.ones(()), {"x": analytic}, len(x) if x.ndim else 1)


def _of_loss(loss: Any, y_true: Any, y_pred: Any, report: Report) -> Subject:
    y_true, y_pred = np.asarray(y_true), _float64(y_pred, "y_pred", report)

    def forward() -> tuple[Any, Any]:
        return pair(loss.forward(y_true, y_pred.copy()), "forward must return (value, cache)")

    given = copy.deepcopy((y_true, y_pred))
    value, cache = pair(loss.forward(*given), "forward must return (value, cache)")
    _number(value, "the loss")
    if not same(given, (y_true, y_pred)):
        report.problems.append("forward changes its arguments: it must work on copies.")
    kept, leaves = kept_copies(cache)
    gradient = np.array(loss.backward(cache))
    if not same(leaves, cache):
        report.problems.append(CHANGES_CACHE)
        cache = kept
    report.problems += compare_form("y_pred", gradient, y_pred)
    again = again_or_error(lambda: np.asarray(loss.backward(cache)))
    if not same(gradient, again):
        report.problems.append(not_twice(again, "cache"))
    show_elsewhere(lambda: loss.forward(np.flip(y_true, 0), np.flip(y_pred, 0) * 0.75))
    if not report.problems and not same(gradient, again_or_error(lambda: np.asarray(loss.backward(cache)))):
        report.problems.append(STALE)
    return Subject(
        {"y_pred": y_pred}, lambda: forward()[0], np.ones(()), {"y_pred": gradient}, _count(y_pred, "y_pred", report)
    )


def _of_model(model: Any, x: Any, y: Any, training: bool, report: Report) -> Subject:
    if getattr(model, "loss", model) is None:
        raise ValueError(
            "gradcheck of a model with x, y needs the loss: compile it first, or leave y out, and the model is checked "
            "as one layer, from its input to its output."
        )
    _, gradients = model.loss_and_gradients(x, y, training=training)
    params = model.params
    for address, value in params.items():
        if value.dtype != np.float64:
            raise TypeError(
                f"gradcheck needs float64, received {address} in {value.dtype}: {TOO_COARSE}. Make the model with "
                "Sequential(…, dtype='float64') and copy the weights with set_weights(model.get_weights())."
            )

    gradients = {address: np.array(gradient) for address, gradient in gradients.items()}
    report.problems += compare_names(gradients, params)
    for address in params.keys() & gradients.keys():
        report.problems += compare_form(address, gradients[address], params[address])
    if not same(gradients, model.loss_and_gradients(x, y, training=training)[1]):
        report.problems.append("loss_and_gradients gives another answer when it is called twice.")
    return Subject(
        dict(params),
        lambda: model.loss_and_gradients(x, y, training=training)[0],
        np.ones(()),
        gradients,
        _count(x, "x", report),
        deep=True,
    )


def _of_layer(layer: Any, x: Any, training: bool, seed: int, rng: np.random.Generator, report: Report) -> Subject:
    x = _float64(x, "x", report)
    if x.ndim == 0:
        raise ValueError(f"x must have a batch axis, with a sample in each place, received the number {x}.")
    if isinstance(layer, _Stack):
        layer.prepare(x, training, report)
        params = layer.params
    else:
        params = _prepare(layer, x.shape[1:], seed, report)

    def forward(x: Array, key: int = seed) -> tuple[Any, Any]:
        return pair(layer.forward(x, training=training, rng=RandomKey(key, 0)), "forward must return (y, cache)")

    name = "x" if "x" not in params else "input"
    arrays = {name: x, **params}
    dy, gradients = behaviour(layer, name, arrays, forward, rng, report)
    return Subject(
        arrays, lambda: forward(x.copy())[0], dy, gradients, _count(x, "x", report), deep=len(list(_layers(layer))) > 1
    )


class _Stack:
    """The layers of a model as one layer; parameters are addressed as "layer/parameter", by the layer's name or place."""

    def __init__(self, layers: list[Any], seed: int) -> None:
        self.layers = layers
        self.names = [getattr(layer, "name", None) or f"layers[{position}]" for position, layer in enumerate(layers)]
        self.seed = seed
        self.params: dict[str, Array] = {}

    def forward(self, x: Array, *, training: bool, rng: RandomKey) -> tuple[Array, list[Any]]:
        caches = []
        for position, layer in enumerate(self.layers):
            key = RandomKey(rng.key + position, rng.first_sample)
            x, cache = layer.forward(x, training=training, rng=key)
            caches.append(cache)
        return x, caches

    def backward(self, dy: Array, cache: list[Any]) -> tuple[Array, dict[str, Array]]:
        gradients = {}
        for layer, own, part in zip(reversed(self.layers), reversed(self.names), reversed(cache), strict=True):
            given, kept = dy, dy.copy()
            dy, grads = layer.backward(given, part)
            if not same(given, kept):
                raise Fault(f"{own}: {CHANGES_DY}")
            gradients.update({f"{own}/{name}": value for name, value in grads.items()})
        return dy, gradients

    def prepare(self, x: Array, training: bool, report: Report) -> None:
        """Build the layers that are not built yet, which needs the shapes that forward gives, and collect the parameters."""
        for layer, own in zip(self.layers, self.names, strict=True):
            params = _prepare(layer, x.shape[1:], self.seed, report)
            self.params.update({f"{own}/{name}": value for name, value in params.items()})
            x = layer.forward(x, training=training, rng=RandomKey(self.seed, 0))[0]


def _prepare(layer: Any, shape: tuple[int, ...], seed: int, report: Report) -> dict[str, Array]:
    """The layer's parameters, in float64: it is built where it needs it, and gets others where its own cannot be moved."""
    if not _params(layer) and hasattr(layer, "build") and getattr(layer, "output_shape", None) is None:
        layer.build(shape, np.random.default_rng(seed), np.dtype(np.float64))
    params = _params(layer)
    # Arrays of float64 are moved where they are: the layer may know them by another name, too.
    movable = (
        isinstance(value, np.ndarray) and value.dtype == np.float64 and value.flags.writeable
        for value in params.values()
    )
    if not all(movable):
        params = {name: _float64(value, f"the parameter {name!r}", report) for name, value in params.items()}
        try:
            layer.params = params
        except AttributeError as error:
            raise TypeError(f"gradcheck needs parameters in float64: build {layer!r} in float64 ({error}).") from error
    return dict(params)


def _params(layer: Any) -> dict[str, Any]:
    params = getattr(layer, "params", None)
    if params is not None and not isinstance(params, dict):
        raise TypeError(
            f"the params of a layer must be a dictionary {{name: array}}, received a {type(params).__name__} in {layer!r}."
        )
    return params or {}


def remember(target: Any) -> Callable[[], None]:
    """What puts everything back: the attributes of the target and of the layers in it, and what arrays and dictionaries hold."""
    objects = list(_layers(target))
    attributes = [(vars(owner), dict(vars(owner))) for owner in objects if hasattr(owner, "__dict__")]
    held = [value for _, values in attributes for value in values.values()]
    held += [getattr(owner, "params", None) for owner in objects]
    tables = [(value, dict(value)) for value in held if isinstance(value, dict)]
    arrays = [(leaf, leaf.copy()) for leaf in leaves_of(held, objects=False) if isinstance(leaf, np.ndarray)]

    def restore() -> None:
        for now, before in (*attributes, *tables):
            now.clear()
            now.update(before)
        for array, values in arrays:
            if not same(array, values):
                array[...] = values

    return restore


def _layers(target: Any) -> Iterator[Any]:
    """The target, the layers of a model, and those that a layer made of others has in its attributes, however deep."""
    seen: set[int] = set()

    def walk(value: Any) -> Iterator[Any]:
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
