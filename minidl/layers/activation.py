"""Activations: the nonlinear functions, as layers and as the ``activation=`` of other layers."""

import math
from typing import Unpack

from ..checks import check_number
from ..contracts import Array, Gradients, Operations
from ..ops.floats import floating
from ..ops.random import RandomKey
from ..utils.lookup import by_name
from .base import Layer, LayerSettings

# Each name stands for the operations <name>_forward(x) → y and <name>_backward(dy, kept) → dx; linear needs none. What backward
# has to be given is y, or x where that does not follow from y.
OF_Y = (
    *("linear", "relu", "leaky_relu", "relu6", "elu", "selu", "softplus"),
    *("sigmoid", "hard_sigmoid", "tanh", "softmax", "log_softmax"),
)
OF_X = ("silu", "gelu")
ACTIVATIONS = {name: name for name in (*OF_Y, *OF_X)}
ALIASES = {"swish": "silu"}


def check_activation(activation: str | None, what: str) -> str:
    """The activation's name; None means "linear"."""
    if activation is None:
        return "linear"
    if not isinstance(activation, str):
        raise TypeError(
            f"{what} must be the name of an activation or None, received {activation!r}. "
            "For a function of your own, write a layer with its forward and backward."
        )
    return by_name(ACTIVATIONS | ALIASES, activation, "activation")


def activate(ops: Operations, activation: str, x: Array) -> tuple[Array, Array]:
    """(y, kept): y = activation(x), and what backward will need of the two."""
    if activation == "linear":
        return x, x
    y = getattr(ops, f"{activation}_forward")(x)
    return y, x if activation in OF_X else y


def activate_backward(ops: Operations, activation: str, dy: Array, kept: Array) -> Array:
    """dx from dy and from what ``activate`` kept."""
    return dy if activation == "linear" else getattr(ops, f"{activation}_backward")(dy, kept)


class Activation(Layer):
    """y = activation(x), entry by entry; softmax over the last axis.

    Forward:  y = activation(x); see the operation of that name.
    Backward: dx = dy · activation′(x), written in terms of y where that is possible.

    Input shape: any. Output shape: the same.
    """

    def __init__(self, activation: str | None, **common: Unpack[LayerSettings]) -> None:
        super().__init__(**common)
        self.activation = check_activation(activation, f"{self} activation")

    def forward(self, x: Array, *, training: bool = False, rng: RandomKey | None = None) -> tuple[Array, Array]:
        y, kept = activate(self.ops, self.activation, floating(x))
        return (y.copy() if self.activation == "linear" else y), kept

    def backward(self, dy: Array, cache: Array) -> tuple[Array, Gradients]:
        if self.activation == "linear":
            return dy.copy(), {}
        return activate_backward(self.ops, self.activation, dy, cache), {}


class Softmax(Activation):
    """Activation("softmax") under its own name: y_i = e^{x_i} / Σ_j e^{x_j} over the last axis.

    Forward and backward: see the operation softmax. Input shape: any. Output shape: the same.
    """

    no_settings = (*Activation.no_settings, "activation")

    def __init__(self, axis: int = -1, **common: Unpack[LayerSettings]) -> None:
        super().__init__("softmax", **common)
        if axis != -1:
            raise ValueError(f"{self} axis must be -1, the last one, received {axis!r}.")
        self.axis = axis


class LeakyReLU(Layer):
    """Let a part of what is negative through.

    Forward:  y = x where x > 0, else negative_slope · x. Backward: dx = dy where y > 0, else negative_slope · dy.

    Input shape: any. Output shape: the same.
    """

    def __init__(self, negative_slope: float = 0.3, **common: Unpack[LayerSettings]) -> None:
        super().__init__(**common)
        self.negative_slope = check_number(negative_slope, f"{self} negative_slope", 0)

    def forward(self, x: Array, *, training: bool = False, rng: RandomKey | None = None) -> tuple[Array, Array]:
        y = self.ops.leaky_relu_forward(x, self.negative_slope)
        return y, y

    def backward(self, dy: Array, cache: Array) -> tuple[Array, Gradients]:
        return self.ops.leaky_relu_backward(dy, cache, self.negative_slope), {}


class ReLU(Layer):
    """A ReLU with everything that Keras's can be given.

    Forward:  y = x where x > threshold, else negative_slope · (x − threshold); and nowhere above max_value.
    Backward: dx = dy where x > threshold, but 0 where x reaches max_value too; else negative_slope · dy.

    Input shape: any. Output shape: the same.
    """

    def __init__(
        self,
        max_value: float | None = None,
        negative_slope: float = 0.0,
        threshold: float = 0.0,
        **common: Unpack[LayerSettings],
    ) -> None:
        super().__init__(**common)
        self.max_value = None if max_value is None else check_number(max_value, f"{self} max_value", 0)
        self.negative_slope = check_number(negative_slope, f"{self} negative_slope", 0)
        self.threshold = check_number(threshold, f"{self} threshold", 0)

    def _settings(self) -> tuple[float, float, float]:
        return math.inf if self.max_value is None else self.max_value, self.negative_slope, self.threshold

    def forward(self, x: Array, *, training: bool = False, rng: RandomKey | None = None) -> tuple[Array, Array]:
        x = floating(x)
        return self.ops.clipped_relu_forward(x, *self._settings()), x

    def backward(self, dy: Array, cache: Array) -> tuple[Array, Gradients]:
        return self.ops.clipped_relu_backward(dy, cache, *self._settings()), {}
