"""Activations: the nonlinear functions, as layers and as the ``activation=`` of other layers."""

from typing import Unpack

from ..contracts import Array, Gradients, Operations
from ..ops.random import RandomKey
from ..utils.lookup import by_name
from .base import Layer, LayerSettings

# Each name stands for the operations <name>_forward(x) → y and <name>_backward(dy, y) → dx; linear needs none.
ACTIVATIONS = {name: name for name in ("linear", "relu", "leaky_relu", "sigmoid", "tanh", "softmax")}


def check_activation(activation: str | None, what: str) -> str:
    """The activation's name; None means "linear"."""
    if activation is None:
        return "linear"
    if not isinstance(activation, str):
        raise TypeError(
            f"{what} must be the name of an activation or None, received {activation!r}. "
            "For a function of your own, write a layer with its forward and backward."
        )
    return by_name(ACTIVATIONS, activation, "activation")


def activate(ops: Operations, activation: str, x: Array) -> Array:
    """y = activation(x)."""
    return x if activation == "linear" else getattr(ops, f"{activation}_forward")(x)


def activate_backward(ops: Operations, activation: str, dy: Array, y: Array) -> Array:
    """dx from dy and from y, the activation's output."""
    return dy if activation == "linear" else getattr(ops, f"{activation}_backward")(dy, y)


class Activation(Layer):
    """y = activation(x), entry by entry; softmax over the last axis.

    Forward:  y = activation(x); see the operation of that name.
    Backward: dx = dy · activation′(x), written in terms of y.

    Input shape: any. Output shape: the same.
    """

    def __init__(self, activation: str | None, **common: Unpack[LayerSettings]) -> None:
        super().__init__(**common)
        self.activation = check_activation(activation, f"{self} activation")

    def forward(self, x: Array, *, training: bool = False, rng: RandomKey | None = None) -> tuple[Array, Array]:
        y = x.copy() if self.activation == "linear" else activate(self.ops, self.activation, x)
        return y, y

    def backward(self, dy: Array, cache: Array) -> tuple[Array, Gradients]:
        if self.activation == "linear":
            return dy.copy(), {}
        return activate_backward(self.ops, self.activation, dy, cache), {}
