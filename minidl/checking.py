"""gradcheck: numeric proof, or disproof, of any gradient: a layer's, a loss's, a model's or a plain function's.

A derivative is a limit of differences, so every analytic gradient can be held against (f(x + h) − f(x − h)) / 2h in float64. What
is checked is known by its contract alone; nothing has to be registered, and nothing of this library has to be used.
"""

import contextlib
import copy
import math
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import combinations, pairwise
from typing import Any

import numpy as np

from .ops.geometry import Array
from .ops.random import RandomKey

MIN_PROVED = 0.05  # the share of the tried entries of an array that must be proved; the rest may be kinks or too small
NOISE = 16 * float(np.finfo(np.float64).eps)  # rounding of a difference, relative to what was subtracted
PRECISE = 1e-3  # a slope that differences determine no better than this, relative to itself, is too small to judge
FACTORS = [10.0**power for power in range(4, -7, -1)]  # the other steps, as multiples of the first one, that are tried
TOO_COARSE = "its rounding is larger than the differences to be judged"


@dataclass
class Record:
    """What was found for one array.

    entries: how many numbers it holds. proved, kink, small, failed: how many of those tried agree; are at a kink (the slopes
    on both sides differ, and the gradient is between them); are too small to judge; disagree. zero: how many of the small
    ones do nothing at all and have the gradient 0, as what a pool passes over. worst_relative and worst_absolute: the largest
    errors among those judged; where, analytic, numeric: the entry with the worst one ((k,) is the k-th direction).
    """

    name: str
    entries: int
    proved: int = 0
    kink: int = 0
    small: int = 0
    failed: int = 0
    zero: int = 0
    worst_relative: float = 0.0
    worst_absolute: float = 0.0
    where: tuple[int, ...] | None = None
    analytic: float = math.nan
    numeric: float = math.nan

    @property
    def passed(self) -> bool:
        """Nothing failed, and enough was proved."""
        if self.entries == 0:
            return True
        return self.failed == 0 and self.proved >= max(1, MIN_PROVED * (self.tried - self.zero))

    @property
    def tried(self) -> int:
        """How many entries, or directions, were tried."""
        return self.proved + self.kink + self.small + self.failed

    def count(self, verdict: str, where: tuple[int, ...], analytic: float, numeric: float) -> None:
        """Add one entry's verdict: "proved", "kink", "small", "failed" or "zero"."""
        if verdict == "zero":
            self.zero += 1
            verdict = "small"
        first_failure = verdict == "failed" and self.failed == 0
        setattr(self, verdict, getattr(self, verdict) + 1)
        if (verdict == "proved" and self.failed) or verdict in ("kink", "small"):
            return  # what is right is not shown any more where something is wrong
        if first_failure:
            self.where, self.worst_relative, self.worst_absolute = None, 0.0, 0.0
        error = abs(analytic - numeric)
        relative = error / max(abs(analytic), abs(numeric), np.finfo(np.float64).tiny)
        self.worst_absolute = max(self.worst_absolute, error)
        # Of entries that are equally wrong, as by a factor, the first one is shown: rounding shall not decide.
        if self.where is None or round(relative, 6) > round(self.worst_relative, 6):
            self.where, self.analytic, self.numeric = where, analytic, numeric
        self.worst_relative = max(self.worst_relative, relative)


@dataclass
class Report:
    """The result of gradcheck. ``print(report)`` shows it as a table.

    target: what was checked. records: one for each array. problems: faults other than wrong slopes, in words. hints:
    likely mistakes, by array. notes: what is good to know and no fault. mode: "entries" or "direction".
    """

    target: str
    records: list[Record] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    hints: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    mode: str = "entries"

    @property
    def passed(self) -> bool:
        """True where every array was proved and no other fault was found."""
        proved = sum(record.proved for record in self.records)
        return not self.problems and proved > 0 and all(record.passed for record in self.records)

    def __str__(self) -> str:
        from rich.console import Console
        from rich.table import Table

        counted = ("entries", "proved", "kink", "small", "failed")
        table = Table(title=f"gradcheck {self.target}: {'passed' if self.passed else 'FAILED'}")
        for column in ("array", *counted, "relative", "absolute", "worst at", "analytic", "numeric"):
            table.add_column(column, no_wrap=True)
        for r in self.records:
            counts = (str(getattr(r, column)) for column in counted)
            errors = (f"{r.worst_relative:.1e}", f"{r.worst_absolute:.1e}") if r.where is not None else ()
            worst = (str(list(r.where or ())), f"{r.analytic:.6g}", f"{r.numeric:.6g}") if r.failed else ()
            table.add_row(r.name, *counts, *errors, *worst)
        console = Console(width=120, highlight=False, no_color=True)
        with console.capture() as capture:
            console.print(table)
        return "\n".join([capture.get().rstrip("\n"), *self.explanations(), *self.notes])

    def explanations(self) -> list[str]:
        """A line for every fault: what it is, and the likely mistake."""
        lines = list(self.problems)
        if not lines and not any(record.entries for record in self.records):
            lines.append("There is no number to be checked.")
        for r in self.records:
            if r.failed:
                lines.append(
                    f"{r.name}{self._place(r)}: the gradient says {r.analytic:.6g}, the slope is {r.numeric:.6g} "
                    f"({r.failed} of {r.tried} {'entries' if self.mode == 'entries' else 'directions'} are wrong)."
                )
            elif not r.passed:
                lines.append(
                    f"{r.name}: only {r.proved} entries could be proved ({r.small} are too small, {r.kink} at a kink). "
                    "Choose other inputs, e.g. random ones that are not all 0 or equal."
                )
            if r.name in self.hints:
                lines.append(f"{r.name}: {self.hints[r.name]}")
        return lines

    def _place(self, record: Record) -> str:
        where = list(record.where or ())
        return str(where) if self.mode == "entries" else f" direction {where[0]}"


class GradientError(AssertionError):
    """A gradient was found wrong; ``report`` holds what was found."""

    def __init__(self, report: Report) -> None:
        super().__init__(f"gradcheck {report.target} failed.\n" + "\n".join(report.explanations()))
        self.report = report


def gradcheck(
    target: Any,
    *arrays: Any,
    eps: float = 1e-6,
    rtol: float = 1e-5,
    mode: str = "entries",
    max_entries: int | None = None,
    directions: int = 8,
    training: bool = True,
    seed: int = 0,
) -> Report:
    """Hold analytic gradients against central differences in float64.

    target and arrays, one of:
        a layer, x                 an object with forward(x, *, training, rng) → (y, cache), backward(dy, cache) → (dx, grads)
                                   and params; where it has no params yet but a build, that is called in float64. The
                                   gradients of the input and of every parameter are checked, with a random dy.
        a model, x                 an object with layers, each of which is one as above: checked as one layer.
        a loss, y_true, y_pred     an object with forward(y_true, y_pred) → (value, cache), backward(cache) → dy.
        a model, x, y              an object with params and loss_and_gradients(x, y, training=…) → (loss, gradients by
                                   address), made with dtype="float64". The gradients of all parameters are checked.
        (value, gradient), x       two functions of x; value(x) is a number, gradient(x) has the shape of x.

    eps: the first step h is eps · max(1, |x|); where one step does not settle it, shorter and longer ones are tried. rtol: the
    largest relative error that counts as agreement, beside what rounding explains. mode: "entries" tries every number, or
    max_entries of each array, chosen at random; "direction" tries ``directions`` random directions through each array
    instead, which covers all of its numbers in a few evaluations. training: passed to the layer or model; its randomness is
    frozen, because every call gets the same rng. seed: of dy, and of what is chosen.

    Everything is put back as it was. Layers are also tried for other faults: a backward that changes dy, its cache or the
    parameters, that is not the same twice or not proportional to dy, that depends on what else the layer has seen, or
    gradients of wrong name, shape or dtype.

    Raises TypeError for a target that is none of these, or a model that is not float64; ValueError for arrays or settings
    that do not fit.
    """
    if mode not in ("entries", "direction"):
        raise ValueError(f"mode must be 'entries' or 'direction', received {mode!r}.")
    for value, what in ((max_entries, "max_entries"), (directions, "directions")):
        if value is not None and value < 1:
            raise ValueError(f"{what} must be at least 1, received {value!r}.")
    for number, what in ((eps, "eps"), (rtol, "rtol")):
        if not number > 0:
            raise ValueError(f"{what} must be above 0, received {number!r}.")
    rng = np.random.default_rng(seed)
    report = Report(getattr(target, "name", None) or type(target).__name__, mode=mode)
    restore, progress = _remember(target), _Progress(report)
    try:
        subject = _subject(target, arrays, training, seed, rng, report)
        _check_arrays(subject, report, eps, rtol, max_entries, directions, rng, progress)
    except _Fault as fault:
        report.problems.append(str(fault))
    finally:
        restore()
        progress.close()
    return report


def assert_gradients(target: Any, *arrays: Any, **settings: Any) -> None:
    """gradcheck, and a GradientError (an AssertionError) with the worst entry and the likely mistake where it fails."""
    report = gradcheck(target, *arrays, **settings)
    if not report.passed:
        raise GradientError(report)


class _Fault(Exception):
    """What is under test breaks its contract so that nothing more can be checked; the text is a problem of the report."""


# --------------------------------------------------------------------------------------------------- what can be checked


@dataclass
class _Subject:
    """What is under test, in one form: arrays to move, and what they do to a number.

    arrays: float64, by name, moved in place. evaluate: the outputs for the arrays as they are now. upstream: the weights
    that make one number of the outputs. gradients: the analytic ones, of that number. samples: in the batch.
    """

    arrays: dict[str, Array]
    evaluate: Callable[[], Any]
    upstream: Array
    gradients: dict[str, Array]
    samples: int


def _subject(
    target: Any, arrays: tuple[Any, ...], training: bool, seed: int, rng: np.random.Generator, report: Report
) -> _Subject:
    if isinstance(target, tuple) and len(target) == 2 and all(map(callable, target)):
        (x,) = _expect(arrays, "(value, gradient)", "x")
        return _of_functions(target, x, report)
    if hasattr(target, "loss_and_gradients") and len(arrays) != 1:
        x, y = _expect(arrays, "a model", "x", "y")
        return _of_model(target, x, y, training, report)
    if hasattr(target, "layers") and not hasattr(target, "backward"):
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
    """A _Fault where a loss or a function is not one number in float64."""
    array = np.asarray(value)
    if array.shape or array.dtype.kind not in "fiu" or (array.dtype.kind == "f" and array.dtype.itemsize < 8):
        raise _Fault(f"{what} must be one number in float64, received {array.dtype} of shape {array.shape}.")


def _of_functions(functions: tuple[Any, Any], x: Any, report: Report) -> _Subject:
    value, gradient = functions
    report.target = getattr(value, "__name__", "function")
    x = _float64(x, "x", report)
    given = x.copy()
    _number(value(given), "value(x)")
    if _computed_in_float32(np.asarray(value(given)), x):
        report.problems.append("value computes in float32: it must keep the dtype of x.")
    analytic = np.array(gradient(given))
    if not _same(given, x):
        report.problems.append("value or gradient changes its argument x: it must work on a copy.")
    if not _same(analytic, np.asarray(gradient(x.copy()))):
        report.problems.append("gradient gives another answer when it is called twice with the same x.")
    report.problems += _compare_form("x", analytic, x)
    return _Subject({"x": x}, lambda: value(x.copy()), np.ones(()), {"x": analytic}, len(x) if x.ndim else 1)


def _of_loss(loss: Any, y_true: Any, y_pred: Any, report: Report) -> _Subject:
    y_true, y_pred = np.asarray(y_true), _float64(y_pred, "y_pred", report)

    def forward() -> tuple[Any, Any]:
        return _pair(loss.forward(y_true, y_pred.copy()), "forward must return (value, cache)")

    given = copy.deepcopy((y_true, y_pred))
    value, cache = _pair(loss.forward(*given), "forward must return (value, cache)")
    _number(value, "the loss")
    if not _same(given, (y_true, y_pred)):
        report.problems.append("forward changes its arguments: it must work on copies.")
    kept, leaves = _kept(cache)
    gradient = np.array(loss.backward(cache))
    if not _same(leaves, cache):
        report.problems.append(_CHANGES_CACHE)
        cache = kept
    report.problems += _compare_form("y_pred", gradient, y_pred)
    again = _again(lambda: np.asarray(loss.backward(cache)))
    if not _same(gradient, again):
        report.problems.append(_not_twice(again, "cache"))
    _elsewhere(lambda: loss.forward(np.flip(y_true, 0), np.flip(y_pred, 0) * 0.75))
    if not report.problems and not _same(gradient, _again(lambda: np.asarray(loss.backward(cache)))):
        report.problems.append(_STALE)
    return _Subject({"y_pred": y_pred}, lambda: forward()[0], np.ones(()), {"y_pred": gradient}, len(y_pred))


def _of_model(model: Any, x: Any, y: Any, training: bool, report: Report) -> _Subject:
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
    report.problems += _compare_names(gradients, params)
    for address in params.keys() & gradients.keys():
        report.problems += _compare_form(address, gradients[address], params[address])
    if not _same(gradients, model.loss_and_gradients(x, y, training=training)[1]):
        report.problems.append("loss_and_gradients gives another answer when it is called twice.")
    return _Subject(
        dict(params),
        lambda: model.loss_and_gradients(x, y, training=training)[0],
        np.ones(()),
        gradients,
        len(x),
    )


def _of_layer(layer: Any, x: Any, training: bool, seed: int, rng: np.random.Generator, report: Report) -> _Subject:
    x = _float64(x, "x", report)
    if x.ndim == 0:
        raise ValueError(f"x must have a batch axis, with a sample in each place, received the number {x}.")
    if isinstance(layer, _Stack):
        layer.prepare(x, training, report)
        params = layer.params
    else:
        params = _prepare(layer, x.shape[1:], seed, report)
    if len(x) == 1:
        report.notes.append(
            "x is a batch of one: with two or more samples, it would also be checked how they are summed."
        )

    def forward(x: Array, key: int = seed) -> tuple[Any, Any]:
        return _pair(layer.forward(x, training=training, rng=RandomKey(key, 0)), "forward must return (y, cache)")

    name = "x" if "x" not in params else "input"
    arrays = {name: x, **params}
    dy, gradients = _behaviour(layer, name, arrays, forward, rng, report)
    return _Subject(arrays, lambda: forward(x.copy())[0], dy, gradients, len(x))


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
            if not _same(given, kept):
                raise _Fault(f"{own}: {_CHANGES_DY}")
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


def _remember(target: Any) -> Callable[[], None]:
    """What puts everything back: the attributes of the target and of the layers in it, and what arrays and dictionaries hold."""
    objects = list(_layers(target))
    attributes = [(vars(owner), dict(vars(owner))) for owner in objects if hasattr(owner, "__dict__")]
    held = [value for _, values in attributes for value in values.values()]
    held += [getattr(owner, "params", None) for owner in objects]
    tables = [(value, dict(value)) for value in held if isinstance(value, dict)]
    arrays = [(leaf, leaf.copy()) for leaf in _leaves(held, objects=False) if isinstance(leaf, np.ndarray)]

    def restore() -> None:
        for now, before in (*attributes, *tables):
            now.clear()
            now.update(before)
        for array, values in arrays:
            if not _same(array, values):
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


# ------------------------------------------------------------------------------------------- faults other than the slopes

_CHANGES_DY = "backward changes its argument dy: it must work on a copy."
_CHANGES_CACHE = "backward changes its cache: it may be called twice, so it must work on copies."
_STALE = (
    "backward gives another answer when the layer has seen other data in between: all that it uses must be in its cache, "
    "and nothing that forward leaves in self."
)
# Powers of two: multiplying by them is exact in floating point. The large one is for what is clipped from a threshold on.
FACTORS_OF_DY = ((2.0, "twice"), (1024.0, "1024 times"))


def _behaviour(
    layer: Any,
    name: str,
    arrays: dict[str, Array],
    forward: Callable[..., tuple[Any, Any]],
    rng: np.random.Generator,
    report: Report,
) -> tuple[Array, dict[str, Array]]:
    """dy, and the layer's gradients, by name as the arrays; every fault that shows without a difference."""
    x, problems = arrays[name], report.problems
    params = {other: array for other, array in arrays.items() if other != name}
    given, before = x.copy(), copy.deepcopy(params)

    def backward(dy: Array, cache: Any) -> dict[str, Array]:
        dx, grads = _pair(layer.backward(dy, cache), "backward must return (dx, {name: gradient})")
        if not isinstance(grads, dict):
            raise _Fault(
                f"backward must return (dx, {{name: gradient}}), received a {type(grads).__name__} for the latter."
            )
        return {key: np.asarray(value) for key, value in {name: dx, **grads}.items()}

    y, cache = forward(given)
    outputs = np.array(y)
    if outputs.dtype != np.float64:
        problems.append(f"forward returns {outputs.dtype} for float64: it must keep the dtype of x.")
    elif not np.isfinite(outputs).all():
        raise _Fault("forward returns NaN or infinity.")
    elif _computed_in_float32(outputs, *arrays.values()):
        problems.append("forward computes in float32: it must keep the dtype of x.")
    if not _same(given, x):
        problems.append("forward changes its argument x: it must work on a copy.")
    dy = rng.normal(size=outputs.shape)
    given, (kept, leaves) = dy.copy(), _kept(cache)
    gradients = {key: value.copy() for key, value in backward(given, cache).items()}
    if not _same(given, dy):
        problems.append(_CHANGES_DY)
    if not _same(cache, leaves):
        problems.append(_CHANGES_CACHE)
        cache = kept
    if not _same(params, before):
        raise _Fault("forward or backward changes the parameters: that is the optimizer's part.")
    problems += _compare_names(gradients, arrays)
    for key in arrays.keys() & gradients.keys():
        problems += _compare_form(key, gradients[key], arrays[key])

    again = _again(lambda: backward(dy.copy(), cache))
    if not _same(gradients, again):
        problems.append(_not_twice(again, "dy and cache"))
    elif not problems:
        for factor, times in FACTORS_OF_DY:
            scaled = backward(factor * dy, cache)
            wrong = [key for key in arrays if not _proportional(scaled[key], factor * gradients[key])]
            if wrong:
                problems += [
                    f"{key}: {times} the dy does not give {times} the gradient: backward must be linear in dy."
                    for key in wrong
                ]
                break
    if not _same(outputs, np.asarray(forward(x.copy())[0])):
        raise _Fault(
            "forward gives another answer when it is called twice with the same x and rng: all its random numbers must "
            "follow from rng."
        )
    if not problems:
        _elsewhere(lambda: forward(np.flip(x) * 0.75, 12345))
        if not _same(gradients, _again(lambda: backward(dy.copy(), cache))):
            problems.append(_STALE)
        if not _same(outputs, np.asarray(y)):
            problems.append(
                "forward writes into the y that it returned before: it must return a fresh array each time."
            )
    return dy, gradients


def _pair(value: Any, must: str) -> tuple[Any, Any]:
    if not isinstance(value, tuple) or len(value) != 2:
        raise _Fault(f"{must}, received {type(value).__name__}.")
    return value


def _kept(cache: Any) -> tuple[Any, list[Any]]:
    """Copies of the cache, and of the arrays in it; the cache itself where something in it refuses to be copied."""
    leaves = copy.deepcopy(list(_leaves(cache)))
    try:
        return copy.deepcopy(cache), leaves
    except Exception:
        return cache, leaves


def _again(call: Callable[[], Any]) -> Any:
    """What the call gives; a text, equal to no gradient, where it fails only this time."""
    try:
        return call()
    except Exception as error:
        return f"{type(error).__name__}: {error}"


def _not_twice(again: Any, what: str) -> str:
    if isinstance(again, str):
        return f"backward fails when it is called twice with the same {what}: {again}"
    return f"backward gives another answer when it is called twice with the same {what}."


def _elsewhere(call: Callable[[], Any]) -> None:
    """Show other data, which may be none that the target can work on."""
    with np.errstate(all="ignore"), contextlib.suppress(Exception):
        call()


def _proportional(value: Array, expected: Array) -> bool:
    """Equal, but for sums that were rounded in another order."""
    return np.allclose(value, expected, rtol=1e-9, atol=1e-12 * np.abs(expected).max(initial=0))


def _computed_in_float32(outputs: Array, *inputs: Array) -> bool:
    """Whether the outputs are fractions that float32 has, too, though not all of the inputs are such numbers."""

    def fits(array: Array) -> bool:
        with np.errstate(over="ignore"):
            return bool((array == array.astype(np.float32)).all())

    return fits(outputs) and bool((outputs != np.rint(outputs)).any()) and not all(map(fits, inputs))


def _compare_names(gradients: dict[str, Any], arrays: dict[str, Array]) -> list[str]:
    problems = [f"{name}: the gradient is missing." for name in arrays if name not in gradients]
    problems += [f"{name}: a gradient of something that is no parameter." for name in gradients if name not in arrays]
    return problems


def _compare_form(name: str, gradient: Array, array: Array) -> list[str]:
    if gradient.dtype.kind not in "fiubc":
        return [f"{name}: the gradient must be an array of numbers, received {gradient!r}."]
    if gradient.shape != array.shape:
        extra = gradient.ndim - array.ndim
        problem = f"{name}: the gradient has shape {gradient.shape}, expected {array.shape}."
        if extra > 0 and gradient.shape[extra:] == array.shape and set(gradient.shape[:extra]) != {1}:
            axis = "0" if extra == 1 else str(tuple(range(extra)))
            problem += f" It was not summed over the batch: it needs .sum(axis={axis})."
        elif gradient.shape == array.shape[::-1]:
            problem += " Is it transposed?"
        elif gradient.size == array.size:
            problem += " The numbers may be right: reshape it."
        return [problem]
    if gradient.dtype != np.float64:
        return [f"{name}: the gradient is {gradient.dtype}, expected float64, as what it was computed from."]
    if not np.isfinite(gradient).all():
        return [f"{name}: the gradient holds NaN or infinity."]
    return []


def _leaves(value: Any, *, objects: bool = True) -> Iterator[Any]:
    """All arrays, numbers and texts inside tuples, lists, dictionaries and objects, in order."""
    seen: set[int] = set()

    def walk(value: Any) -> Iterator[Any]:
        if isinstance(value, np.ndarray | np.generic | int | float | complex | str):
            yield value
        elif id(value) not in seen:
            seen.add(id(value))
            if isinstance(value, dict):
                value = list(value.items())
            elif objects and not isinstance(value, type) and not callable(value) and hasattr(value, "__dict__"):
                value = list(vars(value).items())
            for part in value if isinstance(value, tuple | list) else ():
                yield from walk(part)

    yield from walk(value)


def _same(a: Any, b: Any) -> bool:
    """Equal to the bit, as far as arrays, numbers and texts go."""

    def equal(a: Any, b: Any) -> bool:
        a, b = np.asarray(a), np.asarray(b)
        return a.dtype.kind == b.dtype.kind and np.array_equal(a, b, equal_nan=a.dtype.kind in "fc")

    ours, others = list(_leaves(a)), list(_leaves(b))
    return len(ours) == len(others) and all(map(equal, ours, others))


# ------------------------------------------------------------------------------------------------------ the differences


@dataclass
class _Slope:
    """What one pair of differences says: the slope, how far rounding may be off, and the slopes to either side.

    All of them are NaN, which agrees with nothing, where the function is not finite at one of the two places.

    low, high: the bounds of what a gradient may be where outputs have kinks: of each output the smaller, or the larger, of
    its two slopes. They are wider than (left, right) where upstream weighs some outputs positive and some negative.
    """

    numeric: float
    noise: float
    right: float
    left: float
    low: float
    high: float
    changed: bool

    @property
    def jump(self) -> float:
        return abs(self.right - self.left)


@dataclass
class _Line:
    """A line through one of the arrays: along one entry, or along a direction. where: that entry, or the direction's number."""

    subject: _Subject
    middle: Array
    array: Array
    gradient: Array
    where: tuple[int, ...]
    direction: Array | None = None

    @property
    def analytic(self) -> float:
        """The slope along the line, as the gradient has it."""
        if self.direction is None:
            return float(self.gradient[self.where])
        return float((self.gradient * self.direction).sum())

    def length(self) -> float:
        """How far a step of 1 may go: as far as the numbers are large.

        Along a direction of length 1 the step is spread over all n entries, and may be longer; by the root of √n, halfway
        between moving each entry as far as if it were alone, and moving all of them together no farther than one.
        """
        if self.direction is None:
            return max(1.0, abs(float(self.array[self.where])))
        return max(1.0, float(np.abs(self.array).max())) * math.sqrt(math.sqrt(self.array.size))

    def moved(self, step: float) -> tuple[float, Array]:
        """How far the array was moved, as it was rounded, and the outputs there; the array is put back to the bit."""
        index = self.where if self.direction is None else ...
        kept = self.array[index].copy()
        self.array[index] = kept + step * (1.0 if self.direction is None else self.direction)
        try:
            if self.direction is None:
                step = float(self.array[index] - kept)
            with np.errstate(all="ignore"):  # a step may lead out of where the function is defined
                return step, np.array(self.subject.evaluate(), np.float64)
        finally:
            self.array[index] = kept

    def slope(self, step: float) -> _Slope:
        """Central and one-sided differences."""
        (ahead, after), (back, before) = self.moved(step), self.moved(-step)
        upstream, changed = self.subject.upstream, (after != before) | (after != self.middle)
        if not (np.isfinite(after).all() and np.isfinite(before).all()):
            return _Slope(math.nan, math.nan, math.nan, math.nan, math.nan, math.nan, True)
        with np.errstate(all="ignore"):

            def between(low: Array, high: Array, distance: float) -> float:
                return float((upstream * (high - low)).sum()) / distance if distance else math.nan

            # What rounding can make of it: in the outputs that changed, and in one whose change was rounded away.
            weighted = np.abs(upstream * self.middle)
            noise = NOISE * float(weighted[changed].sum() + weighted.max(initial=0.0) / 8) / step
            numeric = between(before, after, ahead - back)
            right, left = between(self.middle, after, ahead), between(before, self.middle, -back)
            sides = upstream * (after - self.middle) / ahead, upstream * (self.middle - before) / -back
            low, high = float(np.minimum(*sides).sum()), float(np.maximum(*sides).sum())
        return _Slope(numeric, noise, right, left, low, high, bool(changed.any()))


def _judge(line: _Line, eps: float, rtol: float) -> tuple[str, float]:
    """The verdict, "proved", "failed", "kink", "small" or "zero", and the slope found.

    Most are proved at the first step. Where that one does not do, because the function is steep, or bends, or rounding is
    in the way, the steps from long to short are tried until two neighbours agree on the slope.
    """
    analytic, step = line.analytic, eps * line.length()
    first = line.slope(step)
    if analytic == 0 and not first.changed:
        return "zero", 0.0
    scale = max(abs(analytic), abs(first.numeric))
    if max(abs(analytic - first.numeric), first.noise) <= rtol * scale and first.jump <= PRECISE * scale:
        return "proved", first.numeric

    tried: list[_Slope] = []
    best, best_error, dissent, last_gap = None, PRECISE, 0, math.inf
    for factor in FACTORS:
        slope = line.slope(step * factor)
        if tried and tried[-1].changed and not slope.changed:
            if analytic == 0:
                return "zero", 0.0
            break  # so short a step is rounded away, and the shorter ones as well
        tried.append(slope)
        if len(tried) < 2:
            continue
        scale = max(abs(analytic), abs(slope.numeric))
        gap = abs(slope.numeric - tried[-2].numeric)
        if gap > 50 * last_gap + slope.noise:  # rounding that is underestimated makes it 10 times larger
            best, best_error, dissent = None, PRECISE, 0  # they part, as beside a pole: that they agreed was chance
        last_gap = gap
        error = (gap + slope.noise) / scale if scale else math.inf
        if error <= max(best_error, rtol):  # false for NaN
            best, best_error = (slope, tried[-2]), error
        dissent = dissent + 1 if error <= rtol and abs(analytic - slope.numeric) > 2 * rtol * scale else 0
        if error <= rtol and dissent != 1:
            break  # two neighbours are enough where they agree with the gradient; to disprove it takes three
    if best is None:
        kink = any(_bends(near, far) and _between(analytic, near, far, rtol) for far, near in pairwise(tried))
        return "kink" if kink else "small", first.numeric
    near, far = best
    scale = max(abs(analytic), abs(near.numeric))
    agrees = abs(analytic - near.numeric) <= (rtol + best_error) * scale
    if _bends(near, far) and (near.jump > PRECISE * scale if agrees else _between(analytic, near, far, rtol)):
        return "kink", near.numeric
    return "proved" if agrees else "failed", near.numeric


def _bends(near: _Slope, far: _Slope) -> bool:
    """Whether the slopes to the right and to the left stay apart as the step gets shorter.

    Where a function is smooth, they differ by the curvature times the step, so with a tenth of the step by a tenth.
    """
    return near.jump > 0.5 * far.jump and near.jump > 8 * near.noise


def _between(analytic: float, near: _Slope, far: _Slope, rtol: float) -> bool:
    """Whether the gradient is one of the slopes at a kink: of each output, between that to the right and to the left."""
    low, high = min(near.low, far.low), max(near.high, far.high)
    slack = 100 * rtol * max(abs(low), abs(high)) + near.noise
    return low - slack <= analytic <= high + slack


def _check_arrays(
    subject: _Subject,
    report: Report,
    eps: float,
    rtol: float,
    max_entries: int | None,
    directions: int,
    rng: np.random.Generator,
    progress: "_Progress",
) -> None:
    """Fill the report, a record for each array whose gradient has the form of the array."""
    middle = np.array(subject.evaluate(), np.float64)
    for name, array in subject.arrays.items():
        gradient = subject.gradients.get(name)
        if gradient is None or _compare_form(name, gradient, array):
            continue
        record = Record(name, array.size)
        report.records.append(record)
        judged: list[tuple[tuple[int, ...], float, float]] = []
        by_entry = report.mode == "entries"
        tries = _entries(array, max_entries, rng) if by_entry else _directions(array, directions, rng)
        total = min(array.size, max_entries or array.size) if by_entry else directions
        for number, (where, direction) in enumerate(tries, 1):
            line = _Line(subject, middle, array, gradient, where, direction)
            verdict, numeric = _judge(line, eps, rtol)
            record.count(verdict, where, line.analytic, numeric)
            if verdict in ("proved", "failed"):
                judged.append((where, line.analytic, numeric))
            progress.show(f"{name}, {number:,} of {total:,}")
        if record.failed:
            with np.errstate(all="ignore"):  # numbers of any size
                hint = _hint(gradient if by_entry else np.zeros(0), judged, subject.samples)
            if hint:
                report.hints[name] = hint


def _entries(array: Array, max_entries: int | None, rng: np.random.Generator) -> Iterator[tuple[tuple[int, ...], None]]:
    """Every index of the array, or so many of them, chosen at random."""
    chosen = np.arange(array.size)
    if max_entries is not None and max_entries < array.size:
        chosen = np.sort(rng.choice(array.size, max_entries, replace=False))
    for flat in chosen:
        yield tuple(int(i) for i in np.unravel_index(flat, array.shape)), None


def _directions(array: Array, directions: int, rng: np.random.Generator) -> Iterator[tuple[tuple[int, ...], Array]]:
    """Random directions of length 1; the "index" is the direction's number."""
    for number in range(directions if array.size else 0):
        direction = rng.normal(size=array.shape)
        yield (number,), direction / np.linalg.norm(direction)


class _Progress:
    """A line on the terminal that says how far it is, where it takes longer than two seconds."""

    def __init__(self, report: Report) -> None:
        self.report = report
        self.next = time.monotonic() + 2
        self.shown = False

    def show(self, text: str) -> None:
        if time.monotonic() > self.next and sys.stderr is not None and sys.stderr.isatty():
            self.next = time.monotonic() + 0.2
            self.shown = True
            print(f"\r\033[Kgradcheck {self.report.target}: {text}", end="", file=sys.stderr, flush=True)

    def close(self) -> None:
        if self.shown:
            print("\r\033[K", end="", file=sys.stderr, flush=True)


# ------------------------------------------------------------------------------------------------------------- the hints


def _hint(gradient: Array, judged: list[tuple[tuple[int, ...], float, float]], samples: int) -> str:
    """The likely mistake behind a wrong gradient, or an empty text. judged: (where, analytic, numeric)."""
    a, n = np.array([analytic for _, analytic, _ in judged]), np.array([numeric for *_, numeric in judged])
    scale = np.abs(n).max(initial=0.0)
    if scale <= 1e-9 * np.abs(a).max():
        return "moving it does not change the output, so its gradient is 0: does forward use it, and read it from self.params?"

    def alike(x: Array, y: Array) -> bool:
        return bool(np.allclose(x, y, rtol=1e-3, atol=1e-6 * scale))

    square = "a factor of 2, as of a square's derivative"
    mean = "the number of samples: mean or sum over the batch"
    if samples == 2:
        square = mean = f"{mean}, or {square}"
    for factor, words in (
        (0.0, "it is 0 everywhere: was the gradient computed, and passed on?"),
        (-1.0, "the sign is wrong."),
        (2.0, f"it is twice too large: {square}?"),
        (0.5, f"it is half as large as it should be: {square}?"),
        (float(samples), f"it is {samples} times too large, {mean}?"),
        (1 / samples, f"it is {samples} times too small, {mean}?"),
    ):
        if alike(a, factor * n):
            return words

    ratio = float(a @ n / (n @ n))
    if len(a) > 1 and np.allclose(a, ratio * n, rtol=min(1e-3, abs(ratio - 1) / 10), atol=1e-9 * scale):
        return f"it is {ratio:.6g} times what it should be, everywhere: a constant factor is missing or too much."
    for one, other in combinations(range(gradient.ndim), 2):
        if gradient.shape[one] == gradient.shape[other]:
            swapped = np.swapaxes(gradient, one, other)
            if alike(np.array([swapped[where] for where, *_ in judged]), n):
                return f"it is transposed: its axes {one} and {other} are swapped."
    zero = np.abs(n) <= 1e-9 * scale
    if zero.any() and (np.abs(a[zero]) > 1e-6 * scale).any():
        if alike(a[~zero], n[~zero]):
            return "it lets through what should be 0: is a mask (of a ReLU, a pool or a dropout) not applied?"
        return "it is not 0 where it should be: is a mask (of a ReLU, a pool or a dropout) missing or misplaced?"
    return ""
