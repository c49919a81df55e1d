"""Faults found without differences: what backward changes, keeps, forgets, or returns in the wrong form."""

import contextlib
import copy
import sys
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np

from ..contracts import Array, Cache, Named, Output
from .hints import of_degree
from .nested import in_a_row, kept_copies, like, parts_of, same, several
from .report import Fault, Report
from .subjects import Settings
from .upstream import draw_upstreams, upstream_for_small

CHANGES_DY = "backward changes its argument dy: it must work on a copy."
CHANGES_X = "forward changes its x: it must work on a copy."
CHANGES_CACHE = "backward changes its cache: it may be called twice, so it must work on copies."
CHANGES_PARAMETERS = "forward or backward changes the parameters: that is the optimizer's part."
STALE = (
    "backward gives a different result when the layer has seen other data in between: all that it uses must be in its cache, "
    "and nothing that forward leaves in self."
)
REUSES_GRADIENT = "backward writes into a gradient that it returned before: it must return fresh arrays each time."
RANDOM = (
    "forward gives a different result when called twice with the same x and rng: all its random numbers must "
    "follow from rng. (What differs by rounding alone passes with nondet_tol=1e-12.)"
)
# Powers of two: multiplying by them is exact in floating point. The large one reveals clipping above a threshold, the
# negative one a mask made from dy, and 0 a division by the size of dy.
FACTORS_OF_DY = ((2.0, "twice"), (1024.0, "1024 times"), (-1.0, "minus"), (0.0, "0 times"))


@dataclass
class Operator:
    """A layer, or the two functions of one, in one form.

    arrays: what is moved, by name. inputs: forward's arguments, by name; arrays among them are moved there. loose: names
    whose gradients are ignored. forward: (inputs by name, key) → (y, cache), or (…, training), for another mode than usual.
    backward: (dy, cache) → gradients by name. codes: forward's code objects, to recognise calls of it inside backward.
    """

    arrays: dict[str, Array]
    inputs: Named
    loose: set[str]
    forward: Callable[..., tuple[Output, Output]]
    backward: Callable[[Output, Output], Named]
    codes: list[Any] = field(default_factory=list)

    def gradients(self, dy: Output, cache: Cache) -> dict[str, Array]:
        """backward's gradients as arrays, without the loose ones."""
        return {name: np.asarray(value) for name, value in self.backward(dy, cache).items() if name not in self.loose}

    def evaluate(self, inputs: Named, key: int) -> Array:
        return in_a_row(self.forward(copy.deepcopy(inputs), key)[0])


@dataclass
class Behaviour:
    """What was observed: the upstreams with their gradients, and how to get those of another one. form: the shape of y."""

    upstreams: list[Array]
    gradients: list[dict[str, Array]]
    form: tuple[int, ...]
    backward: Callable[[Array], dict[str, Array]]
    rescue: Callable[[], tuple[Array, dict[str, Array]] | None]


def behaviour(operator: Operator, settings: Settings, report: Report) -> Behaviour:
    """The gradients for one or two dys; every fault found without differences is added to the report's problems."""
    arrays, inputs, problems, seed = operator.arrays, operator.inputs, report.problems, settings.seed
    params = {name: array for name, array in arrays.items() if name not in inputs}
    given, before = copy.deepcopy(inputs), copy.deepcopy(params)

    def alike(a: Output, b: Output) -> bool:
        return same(a, b, settings.nondet_tol)

    y, cache = operator.forward(given, seed)
    outputs, forms = in_a_row(y), [part.dtype for part in parts_of(y)]
    if other := [form for form in forms if form != np.float64]:
        problems.append(f"forward returns {other[0]} for float64: it must keep the dtype of x.")
    elif not np.isfinite(outputs).all():
        raise Fault("forward returns NaN or infinity.")
    elif computed_in_float32(lambda moved: operator.evaluate({**inputs, **moved}, seed), floats_of(inputs, arrays)):
        problems.append("forward computes in float32: it must keep the dtype of x.")
    problems += [CHANGES_X.replace("its x", f"its argument {name}") for name in changed(given, inputs)]
    upstreams = _upstreams(y, outputs.size, settings)
    dy = like(upstreams[0], y)
    given, (kept, leaves) = copy.deepcopy(dy), kept_copies(cache)
    returned = _first_backward(operator, given, cache, report)
    gradients = {name: value.copy() for name, value in returned.items()}
    if not same(given, dy):
        problems.append(CHANGES_DY)
    if not same(cache, leaves):
        problems.append(CHANGES_CACHE)
        cache = kept
    if not same(params, before):
        raise Fault(CHANGES_PARAMETERS)
    problems += compare_names(gradients, arrays)
    for name in arrays.keys() & gradients.keys():
        problems += compare_form(name, gradients[name], arrays[name])

    def backward(row: Array) -> dict[str, Array]:
        """The gradients for another dy, after a new forward, because this cache may be spoilt."""
        fresh = operator.forward(copy.deepcopy(inputs), seed)[1]
        return {name: value.copy() for name, value in operator.gradients(like(row, y), fresh).items()}

    again = again_or_error(lambda: operator.gradients(like(upstreams[0], y), cache))
    if not alike(gradients, again):
        problems.append(not_twice(again, "dy and cache"))
    if not alike(outputs, operator.evaluate(inputs, seed)):
        raise Fault(RANDOM)
    found = [gradients, *(backward(row) for row in upstreams[1:])]
    if not problems:
        problems += _linear(backward, upstreams, found, report)
    if not problems and not same(returned, gradients):
        problems.append(REUSES_GRADIENT)
    for show in [] if problems else _other_calls(operator, settings.training):
        show_elsewhere(show)
        if not alike(gradients, again_or_error(lambda: operator.gradients(like(upstreams[0], y), cache))):
            problems.append(STALE)
        if not same(outputs, in_a_row(y)):
            problems.append(
                "forward writes into the y that it returned before: it must return a fresh array each time."
            )
        if problems:
            break

    def rescue() -> tuple[Array, dict[str, Array]] | None:
        row = None if problems or settings.dy is not None else upstream_for_small(outputs, seed)
        with np.errstate(all="ignore"):
            return None if row is None else (row, backward(row))

    return Behaviour(upstreams, found, np.shape(y) if not several(y) else (outputs.size,), backward, rescue)


def _other_calls(operator: Operator, training: bool) -> Iterator[Callable[[], Output]]:
    """Forwards that leave something else in self: of other numbers, signs, ids, and fewer samples, and in evaluation mode."""
    inputs = operator.inputs
    arrays = {name: value for name, value in inputs.items() if isinstance(value, np.ndarray) and value.ndim}
    floats = {name: value for name, value in arrays.items() if value.dtype.kind == "f"}
    samples = len(next(iter(arrays.values()), ()))
    for other in (
        {name: np.flip(value) * 0.75 for name, value in floats.items()},
        {name: np.flip(value) * -0.75 for name, value in floats.items()},
        {name: np.flip(value) for name, value in arrays.items() if name not in floats},
        {name: value[:1] for name, value in arrays.items() if len(value) == samples},
    ):
        if other:
            yield partial(operator.forward, copy.deepcopy({**inputs, **other}), 12345)
    # the other way round, running statistics change, which a backward in evaluation mode may read from self
    if training:
        yield partial(operator.forward, copy.deepcopy(inputs), 12345, False)


def _upstreams(y: Output, size: int, settings: Settings) -> list[Array]:
    if settings.dy is None:
        return draw_upstreams(size, settings.seed, settings.training)
    shapes, wanted = ([part.shape for part in parts_of(value)] for value in (settings.dy, y))
    if shapes != wanted:
        raise ValueError(
            f"dy must have the shape of y, {wanted[0] if len(wanted) == 1 else wanted}, received {shapes}."
        )
    dy = in_a_row(settings.dy)
    if not np.isfinite(dy).all():
        raise ValueError("dy must be finite, received NaN or infinity.")
    return [dy]


def _first_backward(operator: Operator, dy: Output, cache: Cache, report: Report) -> dict[str, Array]:
    """The gradients, as returned; the report notes whether forward was called."""
    calls, many = 0, max([2, *(array.size for array in operator.arrays.values())])
    profiler = sys.getprofile()

    def count(frame: Any, event: str, _: Any) -> None:
        nonlocal calls
        calls += event == "call" and frame.f_code in operator.codes

    try:
        if profiler is None and operator.codes:
            sys.setprofile(count)
        gradients = operator.gradients(dy, cache)
    except ValueError as error:
        shapes = ", ".join(f"{name} {array.shape}" for name, array in operator.arrays.items())
        given = " and ".join(str(part.shape) for part in parts_of(dy))
        turned = " Is a .T missing, or too much?" if "matmul" in str(error) or "align" in str(error) else ""
        raise Fault(f"backward fails: {error}.{turned} The shapes are: dy {given}, {shapes}.") from error
    finally:
        if profiler is None:
            sys.setprofile(None)
    if calls >= many:
        report.notes.append(
            f"backward calls forward {calls:,} times: it takes differences itself, so it is a numeric gradient."
        )
    elif calls:
        report.notes.append(f"backward calls forward ({calls}): what it needs should be in the cache.")
    report.forwards_in_backward = calls
    return gradients


def _linear(
    backward: Callable[[Array], dict[str, Array]], rows: list[Array], found: list[dict[str, Array]], report: Report
) -> list[str]:
    """Add a problem for each array whose gradient is not linear in dy: not proportional, or not additive."""
    first, must = found[0], "backward must be linear in dy"
    for factor, times in FACTORS_OF_DY:
        with np.errstate(all="ignore"):
            scaled = backward(factor * rows[0])
        wrong = [name for name in first if not proportional(scaled[name], factor * first[name], first[name])]
        if wrong and factor == 0:  # it is linear for every other dy
            return [f"{name}: where dy is 0, the gradient is not: {must}." for name in wrong]
        if wrong:
            with np.errstate(all="ignore"):
                hints = of_degree(backward(2 * rows[0]), {name: first[name] for name in wrong}, backward(-rows[0]))
            report.hints.update(hints)
            return [f"{name}: {times} the dy does not give {times} the gradient: {must}." for name in wrong]
    if len(rows) < 2:
        return []
    both = backward(rows[0] + rows[1])
    parts = {name: np.maximum(*(np.abs(one[name]) for one in found)) for name in first}
    # What is left of dy where it cancels out, as in a softmax of 0 and 1.
    rounding = 1e-10 * max(
        [float(np.abs(rows).max(initial=0.0)), *(float(part.max(initial=0.0)) for part in parts.values())]
    )
    return [
        f"{name}: the gradients of two dys do not add up to the gradient of their sum: {must}."
        for name in first
        if not proportional(both[name], first[name] + found[1][name], parts[name], rounding)
    ]


def proportional(value: Array, expected: Array, parts: Array, rounding: float = 1e-300) -> bool:
    """Equal, apart from the rounding of sums in another order, and of numbers close to the smallest that float64 holds."""
    limit = rounding + 1e-12 * max(np.abs(expected).max(initial=0), np.abs(parts).max(initial=0))
    return value.shape == expected.shape and np.allclose(value, expected, rtol=1e-9, atol=limit)


def floats_of(inputs: Named, arrays: dict[str, Array]) -> dict[str, Array]:
    """The inputs that are moved."""
    return {name: value for name, value in inputs.items() if name in arrays}


def changed(given: Named, inputs: Named) -> list[str]:
    """The names of the arrays that have changed."""
    return [name for name, value in inputs.items() if isinstance(value, np.ndarray) and not same(given[name], value)]


def again_or_error(call: Callable[[], Output]) -> Output:
    """The call's result; where it fails this time, a string, which equals no gradient."""
    try:
        return call()
    except Exception as error:
        return f"{type(error).__name__}: {error}"


def not_twice(again: Output, what: str) -> str:
    if isinstance(again, str):
        return f"backward fails when it is called twice with the same {what}: {again}"
    return f"backward gives a different result when called twice with the same {what}."


def show_elsewhere(call: Callable[[], Output]) -> None:
    """Show the target other data, which it may not be able to work on."""
    with np.errstate(all="ignore"), warnings.catch_warnings(), contextlib.suppress(Exception):
        warnings.simplefilter("ignore")
        call()


def computed_in_float32(function: Callable[[dict[str, Array]], Array], inputs: dict[str, Array]) -> bool:
    """Whether all outputs are numbers that float32 has, too, and stay such when the inputs move a little, to numbers that it has
    not."""

    def fits(array: Array) -> bool:
        with np.errstate(over="ignore"):
            return bool((array == array.astype(np.float32)).all())

    outputs = function(inputs)
    if not fits(outputs):
        return False
    rng = np.random.default_rng(0)
    with np.errstate(all="ignore"):
        moved = function({name: x * (1 + rng.random(x.shape) / 1024) for name, x in inputs.items()})
    changed = moved[moved != outputs]
    return fits(changed) and bool((changed != np.rint(changed)).any())


def compare_names(gradients: Named, arrays: dict[str, Array]) -> list[str]:
    problems = [f"{name}: the gradient is missing." for name in arrays if name not in gradients]
    problems += [
        f"{name}: a gradient of something that is not a parameter." for name in gradients if name not in arrays
    ]
    return problems


def compare_form(name: str, gradient: Array, array: Array) -> list[str]:
    if gradient.dtype.kind not in "fiubc":
        return [f"{name}: the gradient must be an array of numbers, received {gradient!r}."]
    if gradient.shape != array.shape:
        return [f"{name}: the gradient has shape {gradient.shape}, expected {array.shape}.{_of_shape(gradient, array)}"]
    if gradient.dtype != np.float64:
        return [f"{name}: the gradient is {gradient.dtype}, expected float64, as what it was computed from."]
    if not np.isfinite(gradient).all():
        return [f"{name}: the gradient holds NaN or infinity."]
    return []


def _of_shape(gradient: Array, array: Array) -> str:
    """What may have caused a wrong shape."""
    extra = gradient.ndim - array.ndim
    if extra > 0 and gradient.shape[extra:] == array.shape and set(gradient.shape[:extra]) != {1}:
        axis = "0" if extra == 1 else str(tuple(range(extra)))
        return f" It was not summed over the batch: it needs .sum(axis={axis})."
    if gradient.shape == array.shape[::-1]:
        return " Is it transposed?"
    if gradient.size == array.size:
        return " The numbers may be right: reshape it."
    if gradient.ndim < array.ndim:
        return (
            " It was summed over too much: sum over the axes that the array does not have, as a bias by .sum(axis=0)."
        )
    return ""
