"""Arrays inside tuples, lists, dictionaries and objects: listed, compared bit for bit, and restored."""

import copy
from collections.abc import Iterator

import numpy as np

from ..contracts import Array, Cache, Named, Output


def leaves_of(value: Output, *, objects: bool = True) -> Iterator[Output]:
    """All arrays, numbers and strings inside tuples, lists, dictionaries and objects, in order."""
    seen: set[int] = set()

    def walk(value: Output) -> Iterator[Output]:
        if isinstance(value, np.ndarray | np.generic | int | float | complex | str):
            yield value
        elif id(value) not in seen:
            seen.add(id(value))
            plain = isinstance(value, dict | tuple | list | type) or callable(value)
            if objects and not plain and hasattr(value, "__dict__"):  # plain ones may have one, too
                value = vars(value)
            if isinstance(value, dict):
                # Not items(): the id of a pair that is made here may be that of another pair later on.
                value = [part for pair in value.items() for part in pair]
            for part in value if isinstance(value, tuple | list) else ():
                yield from walk(part)

    yield from walk(value)


def same(a: Output, b: Output, tolerance: float = 0.0) -> bool:
    """Whether arrays, numbers and strings are equal: bit for bit, or within tolerance, relative to the largest finite number."""

    def equal(a: Output, b: Output) -> bool:
        a, b = np.asarray(a), np.asarray(b)
        if a.dtype.kind != b.dtype.kind or a.shape != b.shape:
            return False
        if tolerance and a.dtype.kind in "fc":
            limit = tolerance * float(np.abs(b[np.isfinite(b)]).max(initial=0.0))
            return bool(np.allclose(a, b, rtol=0.0, atol=limit, equal_nan=True))
        return np.array_equal(a, b, equal_nan=a.dtype.kind in "fc")

    ours, others = list(leaves_of(a)), list(leaves_of(b))
    return len(ours) == len(others) and all(map(equal, ours, others))


def kept_copies(cache: Cache) -> tuple[Output, list[Output]]:
    """Copies of the cache, and of the arrays in it; the cache itself where something in it refuses to be copied."""
    leaves = copy.deepcopy(list(leaves_of(cache)))
    try:
        return copy.deepcopy(cache), leaves
    except Exception:
        return cache, leaves


def several(value: Output) -> bool:
    """Whether this is several arrays, not one written as a list of numbers."""
    if isinstance(value, dict | tuple):
        return True
    return isinstance(value, list) and any(isinstance(part, np.ndarray) for part in value)


def spread(name: str, value: Output) -> dict[str, Output]:
    """The parts of a dictionary, list or tuple that has arrays in it, however deep, as name[key]; anything else as it is."""
    parts = list(
        value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, tuple | list) else ()
    )
    if not any(isinstance(leaf, np.ndarray) for leaf in leaves_of([part for _, part in parts])):
        return {name: value}
    return {label: one for key, part in parts for label, one in spread(f"{name}[{key!r}]", part).items()}


def all_spread(values: Named) -> Named:
    """Each of these, spread."""
    return {label: part for name, value in values.items() for label, part in spread(name, value).items()}


def gathered(name: str, pattern: Output, parts: dict[str, Output]) -> Output:
    """The dictionary, list or tuple that ``spread`` has made these parts of. pattern: what it was."""
    if name in parts:
        return parts[name]
    if isinstance(pattern, dict):
        return {key: gathered(f"{name}[{key!r}]", value, parts) for key, value in pattern.items()}
    values = [gathered(f"{name}[{key!r}]", value, parts) for key, value in enumerate(pattern)]
    return type(pattern)(*values) if hasattr(pattern, "_fields") else type(pattern)(values)


def parts_of(value: Output) -> list[Array]:
    """The arrays of an output: one, or several in a tuple, list or dictionary."""
    if not several(value):
        return [np.asarray(value)]
    return [part for each in (value.values() if isinstance(value, dict) else value) for part in parts_of(each)]


def in_a_row(value: Output) -> Array:
    """All numbers of an output as one float64 array with one axis; a copy."""
    return np.concatenate([np.array(part, np.float64).reshape(-1) for part in parts_of(value)])


def like(row: Array, pattern: Output) -> Output:
    """The row's numbers in the form of the pattern, an output: arrays of the same shapes, nested in the same way."""
    numbers = iter(np.split(row, np.cumsum([part.size for part in parts_of(pattern)])[:-1]))

    def shaped(value: Output) -> Output:
        if not several(value):
            return next(numbers).reshape(np.shape(value)).copy()
        if isinstance(value, dict):
            return {name: shaped(part) for name, part in value.items()}
        parts = [shaped(part) for part in value]
        return type(value)(*parts) if hasattr(value, "_fields") else type(value)(parts)

    return shaped(pattern)
