"""Integers are taken as floats: a picture's uint8 would otherwise wrap around in the first subtraction."""

import functools
from collections.abc import Callable
from typing import Concatenate, ParamSpec, TypeVar

import numpy as np

from ..contracts import Array

P = ParamSpec("P")
Result = TypeVar("Result")


def floating(x: Array) -> Array:
    """Integers and booleans as float32, which models compute in; an array of floats as it is, not a copy."""
    return x if x.dtype.kind == "f" else x.astype(np.float32)


def of_floats(operation: Callable[Concatenate[Array, P], Result]) -> Callable[Concatenate[Array, P], Result]:
    """The operation, with its first argument, x or dy, taken as floats."""

    @functools.wraps(operation)
    def call(x: Array, /, *args: P.args, **kwargs: P.kwargs) -> Result:
        return operation(floating(x), *args, **kwargs)

    return call
