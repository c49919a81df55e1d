"""Checks of arguments: each returns the value in the form that the library uses, or raises ValueError."""

import errno
import math
import os
import stat
from typing import TypeGuard

import numpy as np

from .contracts import Pair, Shape


def is_integer(value: object) -> TypeGuard[int]:
    """True for 3 and np.int64(3), not for True or 3.0."""
    return isinstance(value, int | np.integer) and not isinstance(value, bool)


def is_number(value: object) -> TypeGuard[float]:
    """True for Python's and NumPy's integers and floats, not for True or an array."""
    return isinstance(value, int | float | np.number) and not isinstance(value, bool)


def check_number(value: object, what: str, low: float = -math.inf, below: float = math.inf, note: str = "") -> float:
    """The value as a float, where it is a number in [low, below), which leaves out NaN and infinity.

    note: what the number means, for the message.
    """
    if not is_number(value) or not (low <= value < below) or value == -math.inf:
        bounds = f"a number in [{low}, {'∞' if below == math.inf else below})"
        allowed = "a finite number" if low == -math.inf else bounds
        raise ValueError(f"{what} must be {allowed}{note and ', ' + note}, received {value!r}.")
    return float(value)


def check_range(value: object, what: str, low: float, high: float, from_zero: bool = False) -> tuple[float, float]:
    """(lower, upper), where random numbers are drawn from; both within [low, high]. One number f stands for (−|f|, |f|).

    from_zero: f stands for (0, |f|) instead.
    """
    pair = tuple(value) if isinstance(value, tuple | list) else (value,)
    if len(pair) not in (1, 2) or not all(is_number(end) and low <= end <= high for end in pair):
        raise ValueError(
            f"{what} must be a number in [{low:g}, {high:g}], or a pair of them, (lower, upper), received {value!r}."
        )
    if len(pair) == 1:
        return 0.0 if from_zero else -abs(float(pair[0])), abs(float(pair[0]))
    lower, upper = sorted(map(float, pair))
    return lower, upper


def check_positive(value: object, what: str) -> int:
    """The value as an int, where it is a positive integer."""
    if not is_integer(value) or value <= 0:
        raise ValueError(f"{what} must be a positive integer, received {value!r}.")
    return int(value)


def check_count(value: object, what: str) -> int:
    """The value as an int, where it is an integer ≥ 0."""
    if not is_integer(value) or value < 0:
        raise ValueError(f"{what} must be an integer ≥ 0, received {value!r}.")
    return int(value)


def check_flag(value: object, what: str) -> bool:
    """The value as a bool, where it is True or False, or 1 or 0."""
    if not isinstance(value, bool | int | np.bool_ | np.integer) or value not in (0, 1):
        raise ValueError(f"{what} must be True or False, received {value!r}.")
    return bool(value)


def check_path(value: object, what: str) -> str:
    """The value as a string, where it is the path of something: a string, or an object such as pathlib's."""
    path = os.fspath(value) if isinstance(value, str | os.PathLike) else None
    if not isinstance(path, str):
        raise TypeError(f"{what} must be a path, a string or a pathlib.Path, received {value!r}.")
    if not path:
        raise ValueError(f"{what} must be the path of a file or folder, received an empty one.")
    return path


def check_file(path: object, what: str) -> None:
    """Raise TypeError where it is no path, such as the number of an open file, and OSError where what is there is no file: one
    would wait forever for a pipe to be written to, or for a device to end."""
    if not isinstance(path, str | bytes | os.PathLike):
        raise TypeError(f"{what} must be a path, a string or a pathlib.Path, received {path!r:.200}.")
    mode = os.stat(path).st_mode
    if not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):  # opening a folder has an error of its own
        raise OSError(errno.EINVAL, "it is a device, a pipe or a socket, and no file", os.fsdecode(path))


def check_name(name: object) -> str:
    """A valid layer name: a string without the "/" that addresses its parameters."""
    if not isinstance(name, str) or not name or "/" in name:
        raise ValueError(f"a layer's name must be a string without '/', received {name!r}.")
    return name


def check_shape(value: object, what: str) -> Shape:
    """The value as a tuple of positive integers; a bare integer n counts as (n,)."""
    if is_integer(value):
        value = (value,)
    if not isinstance(value, tuple | list) or not all(is_integer(size) and size > 0 for size in value):
        raise ValueError(
            f"{what} must be a tuple of positive integers, the shape of one sample without the batch axis, "
            f"received {value!r}."
        )
    shape = tuple(int(size) for size in value)
    # the product comes last: it would be slow for huge numbers
    if len(shape) > 63 or max(shape, default=1) >= 2**63 or math.prod(shape) >= 2**63:
        raise ValueError(f"{what} must be one that NumPy can hold: 63 axes, less than 2⁶³ numbers, received {value!r}.")
    return shape


def check_pair(value: object, what: str) -> Pair:
    """A window or stride: a positive integer for both axes, or a pair (height, width)."""
    pair = tuple(value) if isinstance(value, tuple | list) else (value, value)
    if len(pair) != 2 or not all(is_integer(size) and size > 0 for size in pair):
        raise ValueError(f"{what} must be a positive integer or a pair of them, received {value!r}.")
    if int(pair[0]) * int(pair[1]) >= 2**31:  # max-pooling stores the place in the window as an int32
        raise ValueError(f"{what} must be less than 2³¹ cells in all, received {value!r}.")
    return int(pair[0]), int(pair[1])


def check_frame(value: object, what: str) -> tuple[Pair, Pair]:
    """Cells around an image: an integer for all sides, a pair (height, width), or ((top, bottom), (left, right))."""
    sides = tuple(value) if isinstance(value, tuple | list) else (value, value)
    frame = [tuple(side) if isinstance(side, tuple | list) else (side, side) for side in sides]
    cells = [size for side in frame for size in side if is_integer(size) and size >= 0]
    if [len(side) for side in frame] != [2, 2] or len(cells) != 4:
        raise ValueError(
            f"{what} must be an integer ≥ 0, a pair of them, or ((top, bottom), (left, right)), received {value!r}."
        )
    top, bottom, left, right = map(int, cells)
    return (top, bottom), (left, right)


def check_choice(value: object, choices: tuple[str, ...], what: str) -> str:
    """The value in lower case, where that is one of the choices."""
    if not isinstance(value, str) or value.lower() not in choices:
        raise ValueError(f"{what} must be {' or '.join(map(repr, choices))}, received {value!r}.")
    return value.lower()
