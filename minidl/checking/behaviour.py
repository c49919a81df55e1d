"""Faults that show without a difference: what backward changes, keeps, forgets, or returns in the wrong form."""

import contextlib
import copy
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from ..contracts import Array
from .report import Fault, Report

CHANGES_DY = "backward changes its argument dy: it must work on a copy."
CHANGES_CACHE = "backward changes its cache: it may be called twice, so it must work on copies."
STALE = (
    "backward gives another answer when the layer has seen other data in between: all that it uses must be in its cache, "
    "and nothing that forward leaves in self."
)
# Powers of two: multiplying by them is exact in floating point. The large one is for what is clipped from a threshold on.
FACTORS_OF_DY = ((2.0, "twice"), (1024.0, "1024 times"))


def behaviour(
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
        dx, grads = pair(layer.backward(dy, cache), "backward must return (dx, {name: gradient})")
        if not isinstance(grads, dict):
            raise Fault(
                f"backward must return (dx, {{name: gradient}}), received a {type(grads).__name__} for the latter."
            )
        return {key: np.asarray(value) for key, value in {name: dx, **grads}.items()}

    y, cache = forward(given)
    outputs = np.array(y)
    if outputs.dtype != np.float64:
        problems.append(f"forward returns {outputs.dtype} for float64: it must keep the dtype of x.")
    elif not np.isfinite(outputs).all():
        raise Fault("forward returns NaN or infinity.")
    elif computed_in_float32(lambda x: forward(x)[0], x):
        problems.append("forward computes in float32: it must keep the dtype of x.")
    if not same(given, x):
        problems.append("forward changes its argument x: it must work on a copy.")
    dy = rng.normal(size=outputs.shape)
    given, (kept, leaves) = dy.copy(), kept_copies(cache)
    gradients = {key: value.copy() for key, value in backward(given, cache).items()}
    if not same(given, dy):
        problems.append(CHANGES_DY)
    if not same(cache, leaves):
        problems.append(CHANGES_CACHE)
        cache = kept
    if not same(params, before):
        raise Fault("forward or backward changes the parameters: that is the optimizer's part.")
    problems += compare_names(gradients, arrays)
    for key in arrays.keys() & gradients.keys():
        problems += compare_form(key, gradients[key], arrays[key])

    again = again_or_error(lambda: backward(dy.copy(), cache))
    if not same(gradients, again):
        problems.append(not_twice(again, "dy and cache"))
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
    if not same(outputs, np.asarray(forward(x.copy())[0])):
        raise Fault(
            "forward gives another answer when it is called twice with the same x and rng: all its random numbers must "
            "follow from rng."
        )
    if not problems:
        show_elsewhere(lambda: forward(np.flip(x) * 0.75, 12345))
        if not same(gradients, again_or_error(lambda: backward(dy.copy(), cache))):
            problems.append(STALE)
        if not same(outputs, np.asarray(y)):
            problems.append(
                "forward writes into the y that it returned before: it must return a fresh array each time."
            )
    return dy, gradients


def pair(value: Any, must: str) -> tuple[Any, Any]:
    if not isinstance(value, tuple) or len(value) != 2:
        raise Fault(f"{must}, received {type(value).__name__}.")
    return value


def kept_copies(cache: Any) -> tuple[Any, list[Any]]:
    """Copies of the cache, and of the arrays in it; the cache itself where something in it refuses to be copied."""
    leaves = copy.deepcopy(list(leaves_of(cache)))
    try:
        return copy.deepcopy(cache), leaves
    except Exception:
        return cache, leaves


def again_or_error(call: Callable[[], Any]) -> Any:
    """What the call gives; a text, equal to no gradient, where it fails only this time."""
    try:
        return call()
    except Exception as error:
        return f"{type(error).__name__}: {error}"


def not_twice(again: Any, what: str) -> str:
    if isinstance(again, str):
        return f"backward fails when it is called twice with the same {what}: {again}"
    return f"backward gives another answer when it is called twice with the same {what}."


def show_elsewhere(call: Callable[[], Any]) -> None:
    """Show other data, which may be none that the target can work on."""
    with np.errstate(all="ignore"), contextlib.suppress(Exception):
        call()


def _proportional(value: Array, expected: Array) -> bool:
    """Equal, but for sums that were rounded in another order."""
    return np.allclose(value, expected, rtol=1e-9, atol=1e-12 * np.abs(expected).max(initial=0))


def computed_in_float32(function: Callable[[Array], Any], x: Array) -> bool:
    """Whether all outputs are numbers that float32 has, too, and stay such when x moves a little, to numbers that it has not."""

    def fits(array: Array) -> bool:
        with np.errstate(over="ignore"):
            return bool((array == array.astype(np.float32)).all())

    outputs = np.asarray(function(x.copy()))
    if not fits(outputs):
        return False
    with np.errstate(all="ignore"):
        moved = np.asarray(function(x * (1 + np.random.default_rng(0).random(x.shape) / 1024)))
    changed = moved[moved != outputs]
    return fits(changed) and bool((changed != np.rint(changed)).any())


def compare_names(gradients: dict[str, Any], arrays: dict[str, Array]) -> list[str]:
    problems = [f"{name}: the gradient is missing." for name in arrays if name not in gradients]
    problems += [f"{name}: a gradient of something that is no parameter." for name in gradients if name not in arrays]
    return problems


def compare_form(name: str, gradient: Array, array: Array) -> list[str]:
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


def leaves_of(value: Any, *, objects: bool = True) -> Iterator[Any]:
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


def same(a: Any, b: Any) -> bool:
    """Equal to the bit, as far as arrays, numbers and texts go."""

    def equal(a: Any, b: Any) -> bool:
        a, b = np.asarray(a), np.asarray(b)
        return a.dtype.kind == b.dtype.kind and np.array_equal(a, b, equal_nan=a.dtype.kind in "fc")

    ours, others = list(leaves_of(a)), list(leaves_of(b))
    return len(ours) == len(others) and all(map(equal, ours, others))
