"""The layers that are not about images: Input, Dense, Flatten, Rescaling."""

import math
from typing import Unpack

import numpy as np

from .. import initializers
from ..checks import check_number, check_positive, check_shape
from ..contracts import Array, DType, Gradients, Initializer, Shape
from ..initializers import allocate
from ..ops.random import RandomKey
from .activation import Activation, activate, activate_backward, check_activation
from .base import Layer, LayerSettings
from .dropout import Dropout

__all__ = ["Activation", "Dense", "Dropout", "Flatten", "Input", "Rescaling"]  # two live in modules of their own


class Input(Layer):
    """Tells a model the shape of one sample, so that it is built before it sees data. Computes nothing.

    Arguments: shape: without the batch axis, e.g. (28, 28, 1).
    """

    def __init__(self, shape: Shape, *, name: str | None = None) -> None:
        super().__init__(name=name, input_shape=check_shape(shape, "Input shape"))


class Dense(Layer):
    """Every output is a weighted sum of all inputs.

    Forward:  z = x · kernel + bias, y = activation(z).
    Backward: dz = dy · activation′(z); dx = dz · kernelᵀ, dkernel = xᵀ · dz, dbias = Σ_N dz.

    Input shape: (D,). Output shape: (units,). Parameters: kernel (D, units), bias (units,).
    """

    no_settings = (*Layer.no_settings, "input_dim")

    def __init__(
        self,
        units: int,
        activation: str | None = None,
        use_bias: bool = True,
        kernel_initializer: str | Initializer = "glorot_uniform",
        bias_initializer: str | Initializer = "zeros",
        *,
        input_dim: int | None = None,
        **common: Unpack[LayerSettings],
    ) -> None:
        if input_dim is not None:
            if common.get("input_shape") is not None:
                raise ValueError(
                    f"Dense takes input_dim or input_shape, received both: {input_dim!r} and {common['input_shape']!r}."
                )
            common["input_shape"] = (input_dim,)
        super().__init__(**common)
        self.units = check_positive(units, f"{self} units")
        self.activation = check_activation(activation, f"{self} activation")
        self.use_bias = bool(use_bias)
        self.kernel_initializer = initializers.get(kernel_initializer)
        self.bias_initializer = initializers.get(bias_initializer)

    def build(self, input_shape: Shape, rng: np.random.Generator, dtype: DType) -> Shape:
        if len(input_shape) != 1:
            raise ValueError(
                f"{self} expects input (features,), received {input_shape}. Add Flatten() before it to turn each sample "
                f"into {math.prod(input_shape)} features."
            )
        self.params = {"kernel": allocate(self.kernel_initializer, (input_shape[0], self.units), rng, dtype)}
        if self.use_bias:
            self.params["bias"] = allocate(self.bias_initializer, (self.units,), rng, dtype)
        return (self.units,)

    def forward(
        self, x: Array, *, training: bool = False, rng: RandomKey | None = None
    ) -> tuple[Array, tuple[Array, Array]]:
        z = self.ops.dense_forward(x, self.params["kernel"], self.params.get("bias"))
        y = activate(self.ops, self.activation, z)
        return y, (x, y)

    def backward(self, dy: Array, cache: tuple[Array, Array]) -> tuple[Array, Gradients]:
        x, y = cache
        dz = activate_backward(self.ops, self.activation, dy, y)
        dx, dkernel, dbias = self.ops.dense_backward(dz, x, self.params["kernel"])
        return dx, {"kernel": dkernel, "bias": dbias} if self.use_bias else {"kernel": dkernel}


class Flatten(Layer):
    """Lay out each sample as one row.

    Forward:  y[n] = the entries of x[n], row by row. Backward: dx = dy in the shape of x.

    Input shape: any, e.g. (H, W, C). Output shape: (H · W · C,).
    """

    def build(self, input_shape: Shape, rng: np.random.Generator, dtype: DType) -> Shape:
        return (math.prod(input_shape),)

    def forward(
        self, x: Array, *, training: bool = False, rng: RandomKey | None = None
    ) -> tuple[Array, tuple[int, ...]]:
        return x.reshape(len(x), math.prod(x.shape[1:])).copy(), x.shape

    def backward(self, dy: Array, cache: tuple[int, ...]) -> tuple[Array, Gradients]:
        return dy.reshape(cache).copy(), {}


class Rescaling(Layer):
    """Bring the inputs to another range, e.g. Rescaling(1 / 255) for uint8 images.

    Forward:  y = x · scale + offset. Backward: dx = dy · scale.

    Input shape: any. Output shape: the same.
    """

    def __init__(self, scale: float, offset: float = 0.0, **common: Unpack[LayerSettings]) -> None:
        super().__init__(**common)
        self.scale = check_number(scale, f"{self} scale")
        self.offset = check_number(offset, f"{self} offset")

    def forward(self, x: Array, *, training: bool = False, rng: RandomKey | None = None) -> tuple[Array, None]:
        return x * self.scale + self.offset, None

    def backward(self, dy: Array, cache: None) -> tuple[Array, Gradients]:
        return dy * self.scale, {}
