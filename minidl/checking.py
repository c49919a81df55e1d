"""gradcheck: numeric proof, or disproof, of any gradient: a layer's, a loss's, a model's or a plain function's.

A derivative is a limit of differences, so every analytic gradient can be held against (f(x + h) − f(x − h)) / 2h in float64. What
is checked is known by its contract alone; nothing has to be registered, and nothing of this library has to be used.
"""

import copy
import math
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from .ops.geometry import Array
from .ops.random import RandomKey

MIN_PROVED = 0.02  # the share of the judged entries of an array that must be proved; the rest may be kinks or too small
NOISE = 16 * np.finfo(np.float64).eps  # rounding of a difference, relative to what was subtracted
JUDGED = 30  # a slope is judged where it is so many times larger than what rounding can make


@dataclass
class Record:
    """What was found for one array.

    entries: how many numbers it holds. proved, kink, small, failed: how many of those tried agree; crossed a kink (the
    slopes on both sides differ, and the gradient is between them); are too small to judge; disagree. worst_relative and
    worst_absolute: the largest errors among those proved or failed; where, analytic, numeric: the entry with the worst one.
    """

    name: str
    entries: int
    proved: int = 0
    kink: int = 0
    small: int = 0
    failed: int = 0
    worst_relative: float = 0.0
    worst_absolute: float = 0.0
    where: tuple[int, ...] | None = None
    analytic: float = math.nan
    numeric: float = math.nan

    @property
    def passed(self) -> bool:
        """Nothing failed, and enough was proved."""
        tried = self.proved + self.kink + self.small
        return self.failed == 0 and self.proved >= max(1, MIN_PROVED * tried)


@dataclass
class Report:
    """The result of gradcheck. ``print(report)`` shows it as a table.

    target: what was checked. records: one for each array. problems: faults other than wrong slopes, in words. hints:
    likely mistakes, by array.
    """

    target: str
    records: list[Record] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    hints: dict[str, str] = field(default_factory=dict)

    @property
    def passed(self) -> bool:
        """True where every array was proved and no other fault was found."""
        return not self.problems and bool(self.records) and all(record.passed for record in self.records)

    def __str__(self) -> str:
        from rich.console import Console
        from rich.table import Table

        columns = (
            "array",
            "entries",
            "proved",
            "kink",
            "small",
            "failed",
            "worst relative",
            "at",
            "analytic",
            "numeric",
        )
        table = Table(*columns, title=f"gradcheck {self.target}: {'passed' if self.passed else 'FAILED'}")
        for r in self.records:
            counts = (str(count) for count in (r.entries, r.proved, r.kink, r.small, r.failed))
            worst = (
                ()
                if r.where is None
                else (f"{r.worst_relative:.1e}", str(r.where), f"{r.analytic:.6g}", f"{r.numeric:.6g}")
            )
            table.add_row(r.name, *counts, *worst)
        console = Console(width=120, highlight=False, no_color=True)
        with console.capture() as capture:
            console.print(table)
        return capture.get() + "\n".join(self.explanations())

    def explanations(self) -> list[str]:
        """A line for every fault: what it is, and the likely mistake."""
        lines = list(self.problems)
        for r in self.records:
            if r.failed:
                lines.append(
                    f"{r.name}{list(r.where or ())}: the gradient says {r.analytic:.6g}, the slope is {r.numeric:.6g} "
                    f"({r.failed} of {r.failed + r.proved + r.kink + r.small} entries are wrong)."
                )
            elif not r.passed:
                lines.append(
                    f"{r.name}: only {r.proved} entries could be proved ({r.small} are too small, {r.kink} at a kink). "
                    "Choose other inputs, e.g. random ones that are not all 0 or equal."
                )
            if r.name in self.hints:
                lines.append(f"{r.name}: {self.hints[r.name]}")
        return lines


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
        a loss, y_true, y_pred     an object with forward(y_true, y_pred) → (value, cache), backward(cache) → dy.
        a model, x, y              an object with params and loss_and_gradients(x, y, training=…) → (loss, gradients by
                                   address), made with dtype="float64". The gradients of all parameters are checked.
        (value, gradient), x       two functions of x; value(x) is a number, gradient(x) has the shape of x.

    eps: the step h is eps · max(1, |x|). rtol: the largest relative error that counts as agreement, beside what rounding
    explains. mode: "entries" tries every number, or max_entries of each array, chosen at random; "direction" tries
    ``directions`` random directions through each array instead, which covers all of its numbers in a few evaluations.
    training: passed to the layer or model; its randomness is frozen, because every call gets the same rng. seed: of dy, and of
    what is chosen.

    Everything is put back as it was. Layers are also tried for other faults: a backward that changes dy, its cache or the
    parameters, that is not the same twice or not proportional to dy, or gradients of wrong name, shape or dtype.

    Raises TypeError for a target that is none of these or is not float64, ValueError for arrays that do not fit it.
    """
    if mode not in ("entries", "direction"):
        raise ValueError(f"mode must be 'entries' or 'direction', received {mode!r}.")
    rng = np.random.default_rng(seed)
    subject = _subject(target, arrays, training, seed, rng)
    report = Report(subject.name, problems=subject.problems)
    try:
        if not report.problems:
            _check_arrays(subject, report, eps, rtol, mode, max_entries, directions, rng)
    finally:
        subject.restore()
    return report


def assert_gradients(target: Any, *arrays: Any, **settings: Any) -> None:
    """gradcheck, and a GradientError (an AssertionError) with the worst entry and the likely mistake where it fails."""
    report = gradcheck(target, *arrays, **settings)
    if not report.passed:
        raise GradientError(report)


# --------------------------------------------------------------------------------------------------- what can be checked


@dataclass
class _Subject:
    """What is under test, in one form: arrays to move, and what they do to a number.

    arrays: float64, by name, moved in place. evaluate: the outputs for the arrays as they are now. upstream: the weights
    that make one number of the outputs. gradients: the analytic ones, of that number. restore: undoes everything.
    """

    name: str
    arrays: dict[str, Array]
    evaluate: Callable[[], Array]
    upstream: Array
    gradients: dict[str, Array]
    problems: list[str]
    restore: Callable[[], None] = lambda: None
    samples: int = 1


def _subject(target: Any, arrays: tuple[Any, ...], training: bool, seed: int, rng: np.random.Generator) -> _Subject:
    if isinstance(target, tuple) and len(target) == 2 and all(map(callable, target)):
        return _of_functions(target, *_expect(arrays, "(value, gradient)", "x"))
    if hasattr(target, "loss_and_gradients"):
        x, y = _expect(arrays, "a model", "x", "y")
        return _of_model(target, x, y, training)
    if hasattr(target, "forward") and hasattr(target, "backward"):
        if len(arrays) == 2:
            return _of_loss(target, *arrays)
        (x,) = _expect(arrays, "a layer", "x")
        return _of_layer(target, x, training, seed, rng)
    raise TypeError(
        "gradcheck expects a layer or a loss (objects with forward and backward), a model (with loss_and_gradients), or a "
        f"pair of functions (value, gradient), received {target!r}."
    )


def _expect(arrays: tuple[Any, ...], target: str, *names: str) -> tuple[Any, ...]:
    if len(arrays) != len(names):
        raise ValueError(f"gradcheck of {target} expects {', '.join(names)}, received {len(arrays)} arrays.")
    return arrays


def _float64(value: Any, what: str) -> Array:
    """A copy in float64."""
    array = np.asarray(value)
    if array.dtype.kind not in "fiub":
        raise TypeError(f"{what} must hold real numbers, received dtype {array.dtype}.")
    return np.array(array, np.float64, order="C")


def _of_functions(functions: tuple[Any, Any], x: Any) -> _Subject:
    value, gradient = functions
    x = _float64(x, "x")
    analytic = np.asarray(gradient(x.copy()))
    problems = _compare_form("x", analytic, x)
    name = getattr(value, "__name__", "function")
    return _Subject(
        name, {"x": x}, lambda: np.asarray(value(x.copy()), np.float64), np.ones(()), {"x": analytic}, problems
    )


def _of_loss(loss: Any, y_true: Any, y_pred: Any) -> _Subject:
    y_true, y_pred = np.asarray(y_true), _float64(y_pred, "y_pred")

    def evaluate() -> Array:
        return np.asarray(loss.forward(y_true, y_pred.copy())[0], np.float64)

    _, cache = loss.forward(y_true, y_pred.copy())
    before = copy.deepcopy(cache)
    gradient = np.asarray(loss.backward(cache))
    problems = _compare_form("y_pred", gradient, y_pred)
    if not _same(before, cache):
        problems.append("backward changes its cache: it may be called twice, so it must work on copies.")
    elif not problems and not _same(gradient, loss.backward(cache)):
        problems.append("backward gives another answer when it is called twice with the same cache.")
    name = type(loss).__name__
    return _Subject(
        name, {"y_pred": y_pred}, evaluate, np.ones(()), {"y_pred": gradient}, problems, samples=len(y_pred)
    )


def _of_model(model: Any, x: Any, y: Any, training: bool) -> _Subject:
    params = model.params
    for address, value in params.items():
        if value.dtype != np.float64:
            raise TypeError(
                f"gradcheck needs float64, received {address} in {value.dtype}, whose rounding is larger than the "
                "differences to be judged. Make the model with Sequential(…, dtype='float64') and copy the weights with "
                "set_weights(model.get_weights())."
            )
    before = {address: value.copy() for address, value in params.items()}

    def evaluate() -> Array:
        return np.asarray(model.loss_and_gradients(x, y, training=training)[0])

    def restore() -> None:
        for address, value in params.items():
            value[...] = before[address]

    _, gradients = model.loss_and_gradients(x, y, training=training)
    problems = _compare_names(gradients, params)
    for address in params.keys() & gradients.keys():
        problems += _compare_form(address, gradients[address], params[address])
    name = getattr(model, "name", type(model).__name__)
    return _Subject(name, dict(params), evaluate, np.ones(()), gradients, problems, restore, samples=len(x))


def _of_layer(layer: Any, x: Any, training: bool, seed: int, rng: np.random.Generator) -> _Subject:
    x = _float64(x, "x")
    kept = getattr(layer, "params", None)
    output_shape = getattr(layer, "output_shape", None)
    if not kept and hasattr(layer, "build") and output_shape is None:
        layer.build(x.shape[1:], np.random.default_rng(seed), np.dtype(np.float64))
    built = dict(getattr(layer, "params", None) or {})
    # The layer works on these copies while it is checked, so its own arrays are not touched.
    params = {name: _float64(value, f"the parameter {name!r}") for name, value in built.items()}

    def restore() -> None:
        if kept is not None:
            layer.params = kept

    if hasattr(layer, "params"):
        layer.params = params
    key = RandomKey(seed, 0)

    def forward() -> tuple[Array, Any]:
        y, cache = layer.forward(x.copy(), training=training, rng=key)
        return y, cache

    try:
        y, cache = forward()
        dy = rng.normal(size=y.shape)
        gradients, problems = _behaviour(layer, x, params, forward, y, cache, dy)
    except BaseException:
        restore()
        raise
    name = getattr(layer, "name", None) or type(layer).__name__
    return _Subject(name, {"x": x, **params}, lambda: forward()[0], dy, gradients, problems, restore, samples=len(x))


def _behaviour(
    layer: Any,
    x: Array,
    params: dict[str, Array],
    forward: Callable[[], tuple[Array, Any]],
    y: Array,
    cache: Any,
    dy: Array,
) -> tuple[dict[str, Array], list[str]]:
    """The layer's gradients, and every fault that shows without a difference."""
    problems = []
    if np.asarray(y).dtype != np.float64:
        problems.append(f"forward returns {np.asarray(y).dtype} for float64: it must keep the dtype of x.")
    if not _same(y, forward()[0]):
        problems.append("forward gives another answer when it is called twice with the same x and rng.")
    cache_before, params_before, dy_before = copy.deepcopy(cache), copy.deepcopy(params), dy.copy()
    dx, grads = layer.backward(dy, cache)
    gradients = copy.deepcopy({"x": np.asarray(dx), **{name: np.asarray(value) for name, value in grads.items()}})
    if not _same(dy, dy_before):
        problems.append("backward changes its argument dy: it must work on a copy.")
        dy[...] = dy_before
    if not _same(cache, cache_before):
        problems.append("backward changes its cache: it may be called twice, so it must work on copies.")
        cache = cache_before
    if not _same(params, params_before):
        problems.append("forward or backward changes the parameters: that is the optimizer's part.")
    problems += _compare_names(grads, params)
    for name, moved in {"x": x, **params}.items():
        if name in gradients:
            problems += _compare_form(name, gradients[name], moved)
    for name, array in (("x", x), *params.items()):
        if name in gradients and gradients[name].shape == (len(x), *array.shape) and name != "x":
            problems.append(f"{name}: the gradient was not summed over the batch: it needs .sum(axis=0).")
    if problems:
        return gradients, problems
    again_dx, again = layer.backward(dy, cache)
    if not _same(gradients, {"x": again_dx, **again}):
        problems.append("backward gives another answer when it is called twice with the same dy and cache.")
    twice_dx, twice = layer.backward(2 * dy, cache)
    for name, value in {"x": twice_dx, **twice}.items():
        # Twice dy is exact in floating point, and so must be twice the gradient, but for sums in another order.
        if not np.allclose(
            value, 2 * gradients[name], rtol=1e-9, atol=1e-12 * (1 + np.abs(gradients[name]).max(initial=0))
        ):
            problems.append(f"{name}: twice the dy does not give twice the gradient: backward must be linear in dy.")
    return gradients, problems


def _compare_names(gradients: dict[str, Any], params: dict[str, Array]) -> list[str]:
    problems = [f"{name}: the gradient is missing." for name in params if name not in gradients]
    problems += [f"{name}: a gradient of something that is no parameter." for name in gradients if name not in params]
    return problems


def _compare_form(name: str, gradient: Array, array: Array) -> list[str]:
    if gradient.shape != array.shape:
        return [f"{name}: the gradient has shape {gradient.shape}, expected {array.shape}."]
    if gradient.dtype != np.float64:
        return [f"{name}: the gradient is {gradient.dtype}, expected float64, as what it was computed from."]
    if not np.isfinite(gradient).all():
        return [f"{name}: the gradient holds NaN or infinity."]
    return []


def _same(a: Any, b: Any) -> bool:
    """Equal to the bit, through tuples, lists and dictionaries; things that hold no numbers count as equal."""
    if isinstance(a, dict):
        return isinstance(b, dict) and a.keys() == b.keys() and all(_same(a[key], b[key]) for key in a)
    if isinstance(a, tuple | list):
        return isinstance(b, tuple | list) and len(a) == len(b) and all(map(_same, a, b))
    if isinstance(a, np.ndarray | np.number | int | float):
        return np.array_equal(np.asarray(a), np.asarray(b), equal_nan=np.asarray(a).dtype.kind == "f")
    return True


# ------------------------------------------------------------------------------------------------------ the differences


def _check_arrays(
    subject: _Subject,
    report: Report,
    eps: float,
    rtol: float,
    mode: str,
    max_entries: int | None,
    directions: int,
    rng: np.random.Generator,
) -> None:
    """Fill the report, a record for each array."""
    middle = subject.evaluate()
    started, shown = time.monotonic(), False
    for name, array in subject.arrays.items():
        record = Record(name, array.size)
        report.records.append(record)
        gradient = subject.gradients[name]
        if array.size == 0:
            continue
        slopes: dict[tuple[int, ...], float] = {}
        moves = _entries(array, max_entries, rng) if mode == "entries" else _directions(array, directions, rng)
        for done, (where, direction) in enumerate(moves):
            analytic = float(gradient[where]) if direction is None else float((gradient * direction).sum())
            slopes[where] = _judge(subject, array, where, direction, analytic, middle, eps, rtol, record)
            if time.monotonic() - started > 2 and done % 16 == 0 and sys.stderr.isatty():
                shown = True
                print(f"\rgradcheck {subject.name}: {name}, {done} tried ", end="", file=sys.stderr, flush=True)
        if record.failed and mode == "entries":
            hint = _hint(gradient, slopes, subject.samples)
            if hint:
                report.hints[name] = hint
    if shown:
        print("\r\033[K", end="", file=sys.stderr, flush=True)


def _entries(array: Array, max_entries: int | None, rng: np.random.Generator) -> Iterator[tuple[tuple[int, ...], None]]:
    """Every index of the array, or so many of them, chosen at random."""
    chosen = np.arange(array.size)
    if max_entries is not None and max_entries < array.size:
        chosen = np.sort(rng.choice(array.size, max_entries, replace=False))
    for flat in chosen:
        yield tuple(int(i) for i in np.unravel_index(flat, array.shape)), None


def _directions(array: Array, directions: int, rng: np.random.Generator) -> Iterator[tuple[tuple[int, ...], Array]]:
    """Random directions of length 1; the "index" is the direction's number."""
    for number in range(directions):
        direction = rng.normal(size=array.shape)
        yield (number,), direction / np.linalg.norm(direction)


def _judge(
    subject: _Subject,
    array: Array,
    where: tuple[int, ...],
    direction: Array | None,
    analytic: float,
    middle: Array,
    eps: float,
    rtol: float,
    record: Record,
) -> float:
    """Compare one slope, count it in the record, and return it."""
    step = eps * max(1.0, abs(float(array[where])) if direction is None else float(np.abs(array).max()))
    after, before = _moved(subject, array, where, direction, step), _moved(subject, array, where, direction, -step)
    numeric = float((subject.upstream * (after - before)).sum()) / (2 * step)
    # What rounding alone can make of the difference: of the outputs that changed, and of one whose change was rounded away.
    weighted = np.abs(subject.upstream * middle)
    noise = NOISE * float(weighted[after != before].sum() + weighted.max(initial=0.0) / 8) / step
    error = abs(analytic - numeric)
    largest = max(abs(analytic), abs(numeric))
    relative = error / largest if largest else 0.0
    if largest <= JUDGED * noise:
        record.small += 1
        return numeric
    agrees = error <= rtol * largest + noise
    if not agrees and _kink(subject, array, where, direction, analytic, middle, step, after, before, rtol):
        record.kink += 1
        return numeric
    if agrees:
        record.proved += 1
    else:
        record.failed += 1
    if relative > record.worst_relative or record.where is None:
        record.worst_relative, record.where = relative, where
        record.analytic, record.numeric = analytic, numeric
    record.worst_absolute = max(record.worst_absolute, error)
    return numeric


def _moved(subject: _Subject, array: Array, where: tuple[int, ...], direction: Array | None, step: float) -> Array:
    """The outputs with the array moved by step, at one entry or along a direction; the array is put back to the bit."""
    if direction is None:
        kept = array[where]
        array[where] = kept + step
        try:
            return subject.evaluate()
        finally:
            array[where] = kept
    before = array.copy()
    array += step * direction
    try:
        return subject.evaluate()
    finally:
        array[...] = before


def _kink(
    subject: _Subject,
    array: Array,
    where: tuple[int, ...],
    direction: Array | None,
    analytic: float,
    middle: Array,
    step: float,
    after: Array,
    before: Array,
    rtol: float,
) -> bool:
    """Whether the function bends sharply within the step, and the gradient is one of its slopes there.

    Where a function is smooth, its slopes to the right and to the left differ by the curvature times the step, so with
    a tenth of the step by a tenth. At a kink the difference stays; of a kink a little aside it vanishes at once. The gradient
    at a kink may be any number between the two slopes; outside of them it is wrong.
    """

    def slope(outputs: Array, h: float) -> float:
        return float((subject.upstream * (outputs - middle)).sum()) / h

    right, left = slope(after, step), slope(before, -step)
    small = step / 10
    near_right = slope(_moved(subject, array, where, direction, small), small)
    near_left = slope(_moved(subject, array, where, direction, -small), -small)
    scale = max(abs(right), abs(left), abs(near_right), abs(near_left), abs(analytic))
    jump, near_jump = abs(right - left), abs(near_right - near_left)
    smooth = near_jump < 0.3 * jump and near_jump > 0.03 * jump
    if jump <= 10 * rtol * scale or smooth:
        return False
    slack = 100 * rtol * scale
    return (
        min(right, left, near_right, near_left) - slack <= analytic <= max(right, left, near_right, near_left) + slack
    )


def _hint(gradient: Array, slopes: dict[tuple[int, ...], float], samples: int) -> str:
    """The likely mistake behind a wrong gradient, or an empty text."""
    places = list(slopes)
    a = np.array([float(gradient[where]) for where in places])
    n = np.array(list(slopes.values()))
    scale = np.abs(n).max(initial=0.0)
    if scale == 0:
        return "it should be 0 everywhere."

    def alike(x: Array, y: Array) -> bool:
        return bool(np.allclose(x, y, rtol=1e-3, atol=1e-6 * scale))

    if alike(a, np.zeros_like(a)):
        return "it is 0 everywhere: was the gradient computed, and passed on?"
    if alike(a, -n):
        return "the sign is wrong."
    for factor, words in (
        (2.0, "it is twice too large: a factor of 2, as of a square's derivative."),
        (0.5, "it is half as large as it should be: a factor of 2, as of a square's derivative."),
        (float(samples), f"it is {samples} times too large, the number of samples: mean or sum over the batch?"),
        (1 / samples, f"it is {samples} times too small, the number of samples: mean or sum over the batch?"),
    ):
        if alike(a, factor * n):
            return words
    if gradient.ndim >= 2 and gradient.shape[-1] == gradient.shape[-2]:
        swapped = np.swapaxes(gradient, -1, -2)
        if alike(np.array([float(swapped[where]) for where in places]), n):
            return "it is transposed."
    zero = np.abs(n) <= 1e-9 * scale
    if zero.any() and (np.abs(a[zero]) > 1e-6 * scale).any():
        if alike(a[~zero], n[~zero]):
            return "it lets through what should be 0: is a mask (of a ReLU, a pool or a dropout) not applied?"
        return "it is not 0 where it should be: is a mask (of a ReLU, a pool or a dropout) missing or misplaced?"
    ratio = a[~zero] / n[~zero]
    if len(ratio) > 1 and alike(ratio, np.full_like(ratio, ratio[0])):
        return f"it is {ratio[0]:.4g} times what it should be, everywhere: a constant factor is missing or too much."
    return ""
