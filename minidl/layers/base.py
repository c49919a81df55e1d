"""The contract that every layer keeps: nothing is hidden between forward and backward."""

import math
from typing import Any

import numpy as np

from ..initializers import name_of
from ..ops import kernels
from ..ops.geometry import Array
from ..ops.random import RandomKey
from ..utils.arrays import copy_each
from ..utils.integers import is_integer
from ..utils.settings import settings

Shape = tuple[int, ...]


class Layer:
    """A layer: its settings, its parameters, a forward and a backward.

    A layer remembers no activations. What backward will need, forward returns as ``cache``, so a learner can look at it, many
    threads can use one layer at once, and a backward without its forward cannot be written. Write your own like this::

        class Scale(Layer):
            def build(self, input_shape, rng, dtype):
                self.params = {"factor": np.ones(input_shape, dtype)}
                return input_shape

            def forward(self, x, *, training=False, rng=None):
                return x * self.params["factor"], x

            def backward(self, dy, cache):
                x = cache
                return dy * self.params["factor"], {"factor": (dy * x).sum(axis=0)}

    and add it to a model like any other layer.

    Arguments: name: how the model addresses it (given by the model where omitted). input_shape: the shape of one sample,
    without the batch axis; only a model's first layer needs it, and only to be built before it sees data.

    Attributes: params: name → array, allocated by build. ops: the set of operations to call, set by the model.
    output_shape: the shape of one sample of the output, set by the model. in_model: whether it belongs to a model already.
    """

    def __init__(self, *, name: str | None = None, input_shape: Shape | None = None) -> None:
        self.name = None if name is None else check_name(name)
        self.input_shape = None if input_shape is None else check_shape(input_shape, f"{self} input_shape")
        self.output_shape: Shape | None = None
        self.in_model = False
        self.params: dict[str, Array] = {}
        self.ops: Any = kernels

    def __str__(self) -> str:
        return f"{type(self).__name__} {self.name!r}" if self.name else type(self).__name__

    def build(self, input_shape: Shape, rng: np.random.Generator, dtype: np.dtype[Any]) -> Shape:
        """Allocate the parameters for samples of this shape, and return the output's shape, both without the batch axis.

        Raises ValueError where the layer cannot work on such samples. A layer without parameters that keeps the shape need
        not have its own.
        """
        return input_shape

    def forward(self, x: Array, *, training: bool = False, rng: RandomKey | None = None) -> tuple[Array, Any]:
        """x (N, *input_shape) → y (N, *output_shape), and the cache: exactly what backward will need, nothing else."""
        raise NotImplementedError(
            f"{type(self).__name__} must define forward(x, *, training=False, rng=None) → (y, cache)"
        )

    def backward(self, dy: Array, cache: Any) -> tuple[Array, dict[str, Array]]:
        """dy (N, *output_shape) → dx (N, *input_shape), and {parameter's name: its gradient}.

        Changes neither dy nor the cache, and may be called twice.
        """
        raise NotImplementedError(f"{type(self).__name__} must define backward(dy, cache) → (dx, gradients by name)")

    def get_config(self) -> dict[str, Any]:
        """The arguments that make this layer again, by name, as its attributes hold them; without the shape of its input.

        A layer that keeps an argument under another name, or as something that JSON cannot hold, needs its own.
        """
        return {key: name_of(value) for key, value in settings(self, without=("input_shape", "input_dim")).items()}

    def get_weights(self) -> list[Array]:
        """Copies of the parameters, in the order of ``params``."""
        return [value.copy() for value in self.params.values()]

    def set_weights(self, weights: list[Array]) -> None:
        """Copy the arrays into the parameters, in the order of ``params``.

        Raises ValueError, and changes nothing, where their number or a shape differs.
        """
        copy_weights(list(self.params.items()), weights, str(self))

    def count_params(self) -> int:
        """How many numbers the layer learns."""
        return sum(value.size for value in self.params.values())


def copy_weights(targets: list[tuple[str, Array]], weights: list[Array], owner: str) -> None:
    """Copy the arrays into the targets (address, array), in order; where anything does not fit, change nothing."""
    sources = [np.asarray(weight) for weight in weights]
    if len(sources) != len(targets):
        names = ", ".join(name for name, _ in targets)
        raise ValueError(f"{owner} has {len(targets)} weight arrays ({names}), received {len(sources)}.")
    for (name, target), source in zip(targets, sources, strict=True):
        if source.shape != target.shape:
            raise ValueError(f"{owner}: the weight {name!r} has shape {target.shape}, received {source.shape}.")
        if source.dtype.kind not in "fiub":
            raise ValueError(f"{owner}: the weight {name!r} is {target.dtype}, received {source.dtype}.")
    copy_each((target, source) for (_, target), source in zip(targets, sources, strict=True))


# ------------------------------------------------------------------------- checks of arguments, shared by the layers


def check_name(name: object) -> str:
    """The name of a layer: a text without the "/" that addresses its parameters."""
    if not isinstance(name, str) or not name or "/" in name:
        raise ValueError(f"a layer's name must be a text without '/', received {name!r}.")
    return name


def check_positive(value: object, what: str) -> int:
    """The value as an int; a ValueError that names ``what`` where it is not a positive integer."""
    if not is_integer(value) or value <= 0:
        raise ValueError(f"{what} must be a positive integer, received {value!r}.")
    return int(value)


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
    # the product last: of huge numbers it would take long
    if len(shape) > 63 or max(shape, default=1) >= 2**63 or math.prod(shape) >= 2**63:
        raise ValueError(f"{what} must be one that NumPy can hold: 63 axes, less than 2⁶³ numbers, received {value!r}.")
    return shape


def check_pair(value: object, what: str) -> tuple[int, int]:
    """A window or stride: a positive integer for both axes, or a pair (height, width)."""
    pair = tuple(value) if isinstance(value, tuple | list) else (value, value)
    if len(pair) != 2 or not all(is_integer(size) and size > 0 for size in pair):
        raise ValueError(f"{what} must be a positive integer or a pair of them, received {value!r}.")
    if int(pair[0]) * int(pair[1]) >= 2**31:  # the place in a pool's window is kept as an int32
        raise ValueError(f"{what} must be less than 2³¹ cells in all, received {value!r}.")
    return int(pair[0]), int(pair[1])


def check_choice(value: object, choices: tuple[str, ...], what: str) -> str:
    """The value, where it is one of the choices."""
    if not isinstance(value, str) or value.lower() not in choices:
        raise ValueError(f"{what} must be {' or '.join(map(repr, choices))}, received {value!r}.")
    return value.lower()
