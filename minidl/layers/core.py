"""The layers that are not about images: Input, Dense, Flatten, Reshape, Rescaling."""

import math
from collections.abc import Sequence
from typing import Unpack

import numpy as np

from .. import initializers, regularizers
from ..checks import check_number, check_positive, check_shape, is_integer
from ..contracts import Array, DType, Gradients, Initializer, Shape
from ..initializers import allocate
from ..ops.floats import floating
from ..ops.random import RandomKey
from ..regularizers import RegularizerLike
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

    kernel_regularizer: a penalty for large weights, which the model adds to the loss: see ``regularizers``.

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
        kernel_regularizer: str | RegularizerLike | None = None,
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
        self.kernel_regularizer = regularizers.get(kernel_regularizer, f"{self} kernel_regularizer")

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
        x = floating(x)
        z = self.ops.dense_forward(x, self.params["kernel"], self.params.get("bias"))
        y, kept = activate(self.ops, self.activation, z)
        return y, (x, kept)

    def backward(self, dy: Array, cache: tuple[Array, Array]) -> tuple[Array, Gradients]:
        x, kept = cache
        dz = activate_backward(self.ops, self.activation, dy, kept)
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
        return floating(x).reshape(len(x), math.prod(x.shape[1:])).copy(), x.shape

    def backward(self, dy: Array, cache: tuple[int, ...]) -> tuple[Array, Gradients]:
        return floating(dy).reshape(cache).copy(), {}


class Reshape(Layer):
    """Bring the entries of each sample, in their order, into another shape.

    Forward:  y[n] = x[n] in the target shape. Backward: dx = dy in the shape of x.

    Arguments: target_shape: without the batch axis; one size may be −1, and follows from the others.

    Input shape: any. Output shape: the target shape.
    """

    def __init__(self, target_shape: Sequence[int], **common: Unpack[LayerSettings]) -> None:
        super().__init__(**common)
        sizes = tuple(target_shape) if isinstance(target_shape, tuple | list) else (target_shape,)
        checked = check_shape(
            [1 if is_integer(size) and size == -1 else size for size in sizes], f"{self} target_shape"
        )
        if sizes.count(-1) > 1:
            raise ValueError(f"{self} target_shape may leave one size open with -1, received {target_shape!r}.")
        self.target_shape = tuple(-1 if size == -1 else own for size, own in zip(sizes, checked, strict=True))

    def build(self, input_shape: Shape, rng: np.random.Generator, dtype: DType) -> Shape:
        given, known = math.prod(input_shape), math.prod(size for size in self.target_shape if size != -1)
        if given % known if -1 in self.target_shape else given != known:
            raise ValueError(f"{self}: samples of shape {input_shape} cannot take the shape {self.target_shape}.")
        return tuple(given // known if size == -1 else size for size in self.target_shape)

    def forward(
        self, x: Array, *, training: bool = False, rng: RandomKey | None = None
    ) -> tuple[Array, tuple[int, ...]]:
        return floating(x).reshape(len(x), *self.target_shape).copy(), x.shape

    def backward(self, dy: Array, cache: tuple[int, ...]) -> tuple[Array, Gradients]:
        return floating(dy).reshape(cache).copy(), {}


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
        return floating(x) * self.scale + self.offset, None

    def backward(self, dy: Array, cache: None) -> tuple[Array, Gradients]:
        return floating(dy) * self.scale, {}
