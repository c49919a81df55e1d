"""What users pass as an array: real numbers, as they are; or an error with the line to write instead.

Where that line is an expression of x (or y), it works on the very object that was given.
"""

import math
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeGuard

import numpy as np

from ..contracts import Array, ArraySource, Samples, Shape

REAL = "fiub"  # NumPy's kinds of dtypes that hold real numbers


def check_array(value: Samples | None, what: str) -> ArraySource:
    """The value as something with shape, dtype and slices: an array as it is, anything else through np.asarray.

    what: what messages call it; its last word is the name that their expressions use. Raises TypeError where it is no array or
    does not hold real numbers, ValueError where it is empty, has masked entries or cannot become an array.
    """
    if value is None:
        raise ValueError(f"{what} is missing: expected an array of samples.")
    name = what.split()[-1]
    array: ArraySource
    if _is_array(value):
        array = value
    else:
        _refuse_others(value, what, name)
        try:
            array = np.asarray(value)
        except Exception as error:  # another library's array may raise anything
            raise ValueError(f"{what} cannot be made an array: {_unequal(value) or error}.") from error
    if not array.shape and np.dtype(array.dtype).kind not in REAL:
        raise TypeError(f"{what} must be an array of samples, received {value!r:.200}.")
    if np.dtype(array.dtype).kind not in REAL:
        raise TypeError(
            f"{what} must hold real numbers, received dtype {array.dtype}. {_in_numbers(array, value, name)}"
        )
    if not array.shape:
        raise ValueError(f"{what} must be an array of samples, received the single number {array!r}.")
    if array.shape[0] == 0:
        raise ValueError(f"{what} is empty: expected at least one sample, received shape {tuple(array.shape)}.")
    return array


def check_input(x: Samples | None, expected: Shape, model: str, what: str = "x") -> ArraySource:
    """x as an array of samples of the expected shape; (n,) is one of (n, 1). Raises ValueError, naming the fix, for another."""
    array = check_array(x, what)
    received = tuple(array.shape[1:])
    if received == expected:
        return array
    if (received, expected) == ((), (1,)) and isinstance(array, np.ndarray):
        return array[:, None]  # as in Keras: a row of numbers for a model of one
    shape = f"(n, {', '.join(map(str, expected))})" if expected else "(n,)"
    hint = _in_shape(tuple(array.shape), expected)
    if hint is not None and "{x}" in hint:
        hint = hint.format(x=_numpy(x, what.split()[-1]))
    raise ValueError(
        f"{model} expects {what} of shape {shape}, received {tuple(array.shape)}." + (f" {hint}" if hint else "")
    )


def whole(array: ArraySource) -> Array:
    """All of an array that may be on disk. Raises ValueError where that is not of the shape that it says."""
    read = np.asarray(array if _has_array(array) else array[:])
    if read.shape != tuple(array.shape):
        raise ValueError(
            f"an array says that it has shape {tuple(array.shape)}, but was read as one of shape {read.shape}."
        )
    return read


def has_numbers(value: object) -> bool:
    """Whether it knows how to become an array of NumPy's: a list, an array, or what offers its memory."""
    if isinstance(value, type):
        return False
    return isinstance(value, list | tuple | range | memoryview | np.generic) or any(
        hasattr(value, name) for name in ("shape", "__array__", "__array_interface__", "__buffer__")
    )


def _is_array(value: object) -> TypeGuard[ArraySource]:
    """Whether it has shape, slices, and a dtype that NumPy knows: another library's array may have a dtype of its own."""
    dtype = getattr(value, "dtype", None)
    if dtype is None or not hasattr(value, "shape") or not hasattr(value, "__getitem__"):
        return False
    # a subclass of NumPy's array, and a table's column, may take their indices differently
    if (
        hasattr(value, "iloc")
        or hasattr(value, "toarray")
        or (isinstance(value, np.ndarray) and type(value) is not np.ndarray)
    ):
        return False
    try:
        return np.dtype(dtype) is not None
    except TypeError:
        return False


def _refuse_others(value: object, what: str, name: str) -> None:
    """Raise an error, with the line to write, where np.asarray would fail, never end, or make something else of the value."""
    kind = type(value).__name__
    if isinstance(value, type):
        raise TypeError(f"{what} must be an array, received the class {value.__name__}: create an object of it.")
    if isinstance(value, str | bytes | os.PathLike):
        raise TypeError(
            f"{what} must be an array, received {value!r:.200}: read the file first, with np.load or np.genfromtxt, for one."
        )
    if hasattr(value, "toarray"):
        raise TypeError(f"{what} is a sparse {kind}, which the layers cannot compute with. Use {name}.toarray().")
    if isinstance(value, Mapping):
        some = ", ".join(map(repr, list(value)[:5]))
        raise TypeError(
            f"{what} is a {kind} with the entries {some}." + (f" Use {name}[{next(iter(value))!r}]." if some else "")
        )
    if isinstance(value, np.ma.MaskedArray) and np.ma.is_masked(value):
        raise ValueError(
            f"{what} has masked entries, and training would see what is behind the mask. Use {name}.filled(0), or another "
            "number."
        )
    if isinstance(value, list | tuple):
        _refuse_items(value, what, name)
    elif not has_numbers(value):
        if isinstance(value, Iterable) or (hasattr(value, "__getitem__") and hasattr(value, "__len__")):
            raise TypeError(f"{what} is a {kind}, and no array. Use {collected(value, name)}.")
        if callable(value):
            raise TypeError(f"{what} is the function {getattr(value, '__name__', kind)}, and no array. Use {name}().")


def _refuse_items(value: Sequence[object], what: str, name: str) -> None:
    """The same for what is in a list, looking at one item of each type."""
    for item in {type(item): item for item in value}.values():
        if isinstance(item, list | tuple):
            _refuse_items(item, what, name)
        elif isinstance(item, np.ma.MaskedArray) and any(np.ma.is_masked(each) for each in value):
            raise ValueError(f"{what} has masked entries. Use np.ma.stack({name}).filled(0), or another number.")
        elif hasattr(item, "toarray"):
            raise TypeError(
                f"{what} is a list of sparse arrays, which the layers cannot compute with. Use "
                f"np.stack([each.toarray() for each in {name}])."
            )
        elif hasattr(item, "__getitem__") and not has_numbers(item) and not isinstance(item, str | bytes | Mapping):
            raise TypeError(
                f"{what} is a list of objects of the type {type(item).__name__}, which are no arrays: make an array of each."
            )


def _unequal(value: object) -> str:
    """What is wrong with a list of samples of different shapes; "" for any other value."""
    try:
        shapes = [np.shape(sample) for sample in value]  # type: ignore[attr-defined]
    except Exception:  # it is no list, or a sample is irregular itself
        return ""
    other = next((i for i, shape in enumerate(shapes) if shape != shapes[0]), None)
    return "" if other is None else f"sample 0 has shape {shapes[0]}, and sample {other} has shape {shapes[other]}"


# ------------------------------------------------------------------------------------------------------- what to write


def _numpy(value: object, name: str) -> str:
    """An expression for the whole value as NumPy's array."""
    if type(value) is np.ndarray:
        return name
    return f"np.asarray({name})" if _has_array(value) else f"np.asarray({name}[:])"


def _has_array(value: object) -> bool:
    """Whether np.asarray makes an array of it as a whole; other arrays are read in slices."""
    return not _is_array(value) or any(hasattr(value, protocol) for protocol in ("__array__", "__array_interface__"))


def collected(value: object, name: str) -> str:
    """An expression for an array of what can be iterated over, or has ``__len__`` and ``__getitem__``, but is no array."""
    # without an __iter__, list would ask for items until an IndexError, which may never come
    return (
        f"np.array(list({name}))"
        if isinstance(value, Iterable)
        else f"np.array([{name}[i] for i in range(len({name}))])"
    )


def _in_numbers(array: ArraySource, value: object, name: str) -> str:
    """How to make real numbers of an array of something else: the first of some ways that works on its entries."""
    own = _numpy(value, name)
    entries = whole(array)
    missing = [i for i, entry in enumerate(entries) if entries.dtype.kind == "O" and _is_missing(entry)]
    if missing:
        return f"Entries are missing, first in sample {missing[0]}: remove or replace such samples."
    ways: list[tuple[str, Callable[[Array], Array]]] = [
        (f"{own}.astype('float32')", lambda a: a.astype(np.float32)),
        (f"np.stack({own})", lambda a: np.stack(list(a))),
        (f"np.array({own}.tolist())", lambda a: np.array(a.tolist())),
    ]
    if entries.dtype.kind == "c":
        ways = [(f"np.real({own})", lambda a: a.real)]
    if name == "y":
        ways.append((f"np.unique({own}, return_inverse=True)[1]", lambda a: np.unique(a, return_inverse=True)[1]))
    for text, way in ways:
        try:
            numbers = way(entries)
        except Exception:  # it does not work on these entries
            continue
        if numbers.dtype.kind in REAL and len(numbers) == len(entries):
            return f"Use {text}."
    return (
        "Turn text and categories into numbers first."
        if entries.dtype.kind in "OSU"
        else "Turn them into numbers first."
    )


def _is_missing(entry: Any) -> bool:
    """Whether it is None, NaN or what pandas has instead; or an array that holds such an entry."""
    if isinstance(entry, np.ndarray):
        return entry.dtype.kind == "O" and any(map(_is_missing, entry.flat))
    return (
        entry is None or type(entry).__name__ in ("NAType", "NaTType") or (isinstance(entry, float) and entry != entry)
    )


def _in_shape(shape: Shape, expected: Shape) -> str | None:
    """How to bring data {x} of this shape into (n, *expected); None where there is no obvious way."""
    received = shape[1:]
    images = len(expected) == 3
    if (*received, 1) == expected:
        return f"The {'channel' if images else 'last'} axis is missing: use {{x}}[..., None]."
    if shape == expected:
        return "For a single sample use {x}[None]."
    if (*shape, 1) == expected:
        return "For a single sample without its last axis use {x}[None, ..., None]."
    if images and received == (expected[1], expected[2], expected[0]):
        return f"The model was made channels-first: use input_shape={received}."
    if images and received == (expected[2], expected[0], expected[1]):
        return "The data looks channels-first: use np.moveaxis({x}, 1, -1)."
    if images and shape == (expected[2], expected[0], expected[1]):
        return "This looks like a single image, channels-first: use np.moveaxis({x}, 0, -1)[None]."
    colors = "{x}[..., :3]" if shape[-1] == 4 else "{x}"  # the fourth channel is the opacity
    if images and expected[2] == 1 and len(received) == 3 and received[:2] == expected[:2]:
        return f"For shades of gray use {colors}.mean(axis=-1, keepdims=True)."
    if images and expected[2] == 1 and len(received) == 3 and received[1:] == expected[:2]:
        return "For shades of gray use {x}.mean(axis=1)[..., None]."
    if images and expected[2] == 1 and len(shape) == 3 and shape[:2] == expected[:2]:
        return f"For a single image in shades of gray use {colors}.mean(axis=-1, keepdims=True)[None]."
    if images and received == (*expected[:2], 1):
        return f"Use np.repeat({{x}}, {expected[2]}, axis=-1)."
    if images and received == expected[:2]:
        return f"Use np.stack([{{x}}] * {expected[2]}, axis=-1)."
    if shape[0] == 1 and shape[2:] == expected:
        return "Use {x}[0]."
    if math.prod(received) == math.prod(expected):
        return f"Use {{x}}.reshape({', '.join(map(str, (-1, *expected)))})."
    if math.prod(shape) == math.prod(expected):
        return f"For a single sample use {{x}}.reshape({', '.join(map(str, (1, *expected)))})."
    return None
