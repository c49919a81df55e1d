"""The user's data: checked once for what can be known at once, then handed out batch by batch, so that it may lie on disk."""

import math
from typing import Any

import numpy as np

from ..ops.geometry import Array
from .plan import Workspace

Shape = tuple[int, ...]
Where = Array | slice  # which samples: their indices, or a run of them


def sample_count(where: Where) -> int:
    """How many samples these are."""
    return where.stop - where.start if isinstance(where, slice) else len(where)


def check_array(value: Any, what: str) -> Any:
    """The value as something with shape, dtype and slices: an array as it is, anything else through np.asarray.

    Raises TypeError where it does not hold real numbers, ValueError where it is empty or no array at all.
    """
    if value is None:
        raise ValueError(f"{what} is missing: expected an array of samples.")
    if not (hasattr(value, "shape") and hasattr(value, "__getitem__") and _is_numpys(getattr(value, "dtype", None))):
        try:
            value = np.asarray(value)
        except ValueError as error:
            raise ValueError(f"{what} cannot be made an array: {error}.") from error
    if np.dtype(value.dtype).kind not in "fiub":
        raise TypeError(f"{what} must hold real numbers, received dtype {value.dtype}. Use {what}.astype('float32').")
    if not value.shape:
        raise ValueError(f"{what} must be an array of samples, received the single number {value!r}.")
    if value.shape[0] == 0:
        raise ValueError(f"{what} is empty: expected at least one sample, received shape {tuple(value.shape)}.")
    return value


def _is_numpys(dtype: Any) -> bool:
    """Whether NumPy knows this dtype; another library's array has its own and goes through np.asarray."""
    try:
        return dtype is not None and np.dtype(dtype) is not None
    except TypeError:
        return False


def check_input(x: Any, expected: Shape, model: str, what: str = "x") -> Any:
    """x as an array of samples of the expected shape; a ValueError that names the fix where it is not."""
    x = check_array(x, what)
    received = tuple(x.shape[1:])
    if received == expected:
        return x
    message = f"{model} expects {what} of shape {_batch(expected)}, received {tuple(x.shape)}."
    if (*received, 1) == expected:
        message += f" The channel axis is missing: use {what}[..., None]."
    elif len(expected) == 3 and received == (expected[1], expected[2], expected[0]):
        message += f" The model was made channels-first: use input_shape={received}."
    elif len(expected) == 3 and received == (expected[2], expected[0], expected[1]):
        message += f" The data looks channels-first: use np.moveaxis({what}, 1, -1)."
    elif tuple(x.shape) == expected:
        message += f" For a single sample use {what}[None]."
    elif np.prod(received) == np.prod(expected):
        message += f" Use {what}.reshape({', '.join(map(str, (-1, *expected)))})."
    raise ValueError(message)


def _batch(shape: Shape) -> str:
    return f"(n, {', '.join(map(str, shape))})" if shape else "(n,)"


def check_weights(sample_weight: Any, n: int) -> Array | None:
    """One finite weight ≥ 0 a sample, as float64 (n,)."""
    if sample_weight is None:
        return None
    weights = np.asarray(check_array(sample_weight, "sample_weight"), np.float64)
    if weights.shape == (n, 1):
        weights = weights[:, 0]
    if weights.shape != (n,):
        raise ValueError(f"sample_weight must have shape ({n},), one weight a sample, received {weights.shape}.")
    if not np.isfinite(weights).all() or (weights < 0).any():
        raise ValueError("sample_weight must be finite and not negative.")
    return weights


def class_weights(class_weight: dict[int, float], y: Array) -> Array:
    """The weight of each sample's class, (n,); a class that is not named weighs 1. y: (n,), (n, 1) or one-hot (n, K)."""
    if y.ndim > 2:
        raise ValueError(f"class_weight expects labels of shape (n,), (n, 1) or (n, classes), received {y.shape}.")
    classes = np.asarray(y).argmax(axis=1) if y.ndim == 2 and y.shape[1] > 1 else np.asarray(y).reshape(len(y))
    weights = np.ones(len(y))
    for label, weight in class_weight.items():
        if not math.isfinite(weight) or weight < 0:
            raise ValueError(f"class_weight must be finite and not negative, received {weight} for class {label}.")
        weights[classes == label] = weight
    return weights


def all_finite(array: Array) -> bool:
    """Whether a contiguous array holds neither NaN nor infinity."""
    # The square is the quick test, one pass that writes nothing; it can overflow where no number does.
    with np.errstate(all="ignore"):
        return bool(np.isfinite(np.vdot(array, array)) or np.isfinite(array).all())


class Data:
    """Samples, labels and weights of one ``fit``, ``evaluate`` or ``predict``.

    x: any array, or anything with shape, dtype and slices. y: as the loss prepared it, or None. weights: (n,) float64 or
    None. The arrays are not copied: a batch is read when it is needed. what: what messages call x.
    """

    def __init__(self, x: Any, y: Array | None = None, weights: Array | None = None, what: str = "x") -> None:
        self.x, self.y, self.weights, self.what = x, y, weights, what

    def __len__(self) -> int:
        return int(self.x.shape[0])

    def inputs(self, where: Where, dtype: np.dtype[Any], scratch: Workspace) -> Array:
        """These samples in the model's dtype, (n, …). Raises ValueError where one of them is not finite."""
        n = sample_count(where)
        x = scratch.array("x", (n, *self.x.shape[1:]), dtype)
        stored = self.x if isinstance(self.x, np.ndarray) else None
        if stored is not None and not isinstance(where, slice) and stored.flags.c_contiguous and stored.dtype.isnative:
            # in other layouts take would copy all samples first
            read = x if stored.dtype == dtype else scratch.array("read", x.shape, stored.dtype)
            # "clip" lets NumPy write to out directly; no index is out of range
            np.take(stored, where, axis=0, out=read, mode="clip")
        elif stored is not None or isinstance(where, slice):
            read = self.x[where]
        else:
            read = self._gather(where)
        if read is not x:
            with np.errstate(over="ignore"):  # what the model's dtype cannot hold becomes infinite, and is found below
                x[...] = read
        if np.dtype(self.x.dtype).kind == "f" and not all_finite(x):
            bad = int(np.flatnonzero(~np.isfinite(x).reshape(n, -1).all(axis=1))[0])
            sample = where.start + bad if isinstance(where, slice) else where[bad]
            raise ValueError(
                f"{self.what} holds NaN or infinity (as {dtype}), first found in sample {sample}. "
                "Remove or replace such samples."
            )
        return x

    def _gather(self, where: Array) -> Array:
        """These samples of an array-like, which may want indices that rise (h5py's do) or know no more than slices."""
        order = np.argsort(where)
        try:
            rising = np.asarray(self.x[where[order]])
        except (TypeError, IndexError):
            return np.concatenate([np.asarray(self.x[i : i + 1]) for i in where])
        return rising[np.argsort(order)]

    def labels(self, where: Where) -> tuple[Array, Array | None]:
        """(labels, weights or None) of these samples."""
        if self.y is None:
            raise ValueError("y is missing: expected a label for each sample.")
        return self.y[where], None if self.weights is None else self.weights[where]


def check_lengths(**arrays: Any) -> None:
    """Raise a ValueError where the arrays do not hold the same number of samples."""
    lengths = {name: array.shape[0] for name, array in arrays.items() if array is not None}
    if len(set(lengths.values())) > 1:
        parts = ", ".join(f"{name} has {length}" for name, length in lengths.items())
        raise ValueError(f"x and y must hold the same number of samples, received different ones: {parts}.")
