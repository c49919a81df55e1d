"""Equality up to rounding, of two computations of the same numbers, and the same numbers in other memory layouts."""

from collections.abc import Callable

import numpy as np

from ..contracts import Array, Output

# How much two computations of the same numbers may differ, relative to the largest: a few dozen roundings.
TOLERANCES = {np.dtype(np.float32): 2e-5, np.dtype(np.float64): 1e-12}


def assert_close(actual: Output, expected: Output, what: str = "the arrays") -> None:
    """Assert equal shapes, and equality up to rounding in the coarser of the two dtypes."""
    actual, expected = np.asarray(actual), np.asarray(expected)
    if actual.shape != expected.shape:
        raise AssertionError(f"{what}: shape {actual.shape}, expected {expected.shape}.")
    tolerance = max(TOLERANCES[array.dtype] for array in (actual, expected))
    limit = tolerance * np.abs(expected).max(initial=0.0)
    error = np.abs(np.subtract(actual, expected, dtype=np.float64))
    if not (error <= limit).all():  # NaN is not
        worst = np.unravel_index(int(error.argmax()), error.shape)
        place = [int(i) for i in worst]
        raise AssertionError(f"{what}{place}: {actual[worst]:.9g}, expected {expected[worst]:.9g} ± {limit:.1e}.")


def differences(actual: dict[str, Array], expected: dict[str, Array], what: str) -> list[str]:
    """One line for each array that is not close."""
    faults = []
    for name in expected:
        try:
            assert_close(actual[name], expected[name], name)
        except AssertionError as error:
            faults.append(f"{name} differs {what}: {error}")
    return faults


def _with_gaps(array: Array) -> Array:
    wide = np.repeat(array, 2, axis=-1)
    wide[..., 1::2] = np.nan
    return wide[..., ::2]


# The same numbers in another memory layout: what it is → a view of them.
LAYOUTS: dict[str, Callable[[Array], Array]] = {
    "with gaps in memory": _with_gaps,
    "in Fortran's order": lambda array: array.copy(order="F"),
    "stored backwards": lambda array: array[..., ::-1].copy()[..., ::-1],
}
