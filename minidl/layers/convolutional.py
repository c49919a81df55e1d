"""Convolution and its adjoint, and images made larger: padded or blown up. Images are (height, width, channels), as in Keras."""

from typing import Unpack

import numpy as np

from .. import initializers, regularizers
from ..checks import check_choice, check_frame, check_pair, check_positive
from ..contracts import Array, DType, Gradients, Initializer, Pair, Shape
from ..initializers import allocate
from ..ops.floats import floating
from ..ops.geometry import transposed_output, window_output
from ..ops.random import RandomKey
from ..regularizers import RegularizerLike
from .activation import activate, activate_backward, check_activation
from .base import Layer, LayerSettings
from .images import PADDINGS, check_images
from .pooling import MaxPooling2D

__all__ = [
    "Conv2D",
    "Conv2DTranspose",
    "MaxPooling2D",
    "UpSampling2D",
    "ZeroPadding2D",
]  # old tutorials look for the pool here


class Conv2D(Layer):
    """Filters that look at one small window after another, with the same weights everywhere.

    Forward:  z[n, i, j, f] = Σ_{a, b, c} x[n, i·SH + a, j·SW + b, c] · kernel[a, b, c, f] + bias[f], y = activation(z).
    Backward: dz = dy · activation′(z); dkernel[a, b, c, f] = Σ_{n, i, j} x[n, i·SH + a, j·SW + b, c] · dz[n, i, j, f];
              dx sums dz · kernel over every window that contains the pixel; dbias[f] = Σ_{n, i, j} dz[n, i, j, f].

    Arguments: kernel_size, strides: a pair (height, width), or an integer for both. padding: "valid" (windows inside the
    image only) or "same" (zeros around it, so that stride 1 keeps the size). kernel_regularizer: a penalty for large weights,
    which the model adds to the loss: see ``regularizers``.

    Input shape: (H, W, C). Output shape: (OH, OW, filters). Parameters: kernel (KH, KW, C, filters), bias (filters,).
    """

    def __init__(
        self,
        filters: int,
        kernel_size: int | Pair,
        strides: int | Pair = (1, 1),
        padding: str = "valid",
        *,
        activation: str | None = None,
        use_bias: bool = True,
        kernel_initializer: str | Initializer = "glorot_uniform",
        bias_initializer: str | Initializer = "zeros",
        kernel_regularizer: str | RegularizerLike | None = None,
        **common: Unpack[LayerSettings],
    ) -> None:
        super().__init__(**common)
        self.filters = check_positive(filters, f"{self} filters")
        self.kernel_size = check_pair(kernel_size, f"{self} kernel_size")
        self.strides = check_pair(strides, f"{self} strides")
        self.padding = check_choice(padding, PADDINGS, f"{self} padding")
        self.activation = check_activation(activation, f"{self} activation")
        self.use_bias = bool(use_bias)
        self.kernel_initializer = initializers.get(kernel_initializer)
        self.bias_initializer = initializers.get(bias_initializer)
        self.kernel_regularizer = regularizers.get(kernel_regularizer, f"{self} kernel_regularizer")

    def build(self, input_shape: Shape, rng: np.random.Generator, dtype: DType) -> Shape:
        check_images(self, input_shape, self.kernel_size, self.padding)
        shape = (*self.kernel_size, input_shape[2], self.filters)
        self.params = {"kernel": allocate(self.kernel_initializer, shape, rng, dtype)}
        if self.use_bias:
            self.params["bias"] = allocate(self.bias_initializer, (self.filters,), rng, dtype)
        rows = window_output(input_shape[0], self.kernel_size[0], self.strides[0], self.padding)[0]
        columns = window_output(input_shape[1], self.kernel_size[1], self.strides[1], self.padding)[0]
        return rows, columns, self.filters

    def forward(
        self, x: Array, *, training: bool = False, rng: RandomKey | None = None
    ) -> tuple[Array, tuple[Array, Array]]:
        x = floating(x)
        z = self.ops.conv2d_forward(x, self.params["kernel"], self.params.get("bias"), self.strides, self.padding)
        y, kept = activate(self.ops, self.activation, z)
        return y, (x, kept)

    def backward(self, dy: Array, cache: tuple[Array, Array]) -> tuple[Array, Gradients]:
        x, kept = cache
        dz = activate_backward(self.ops, self.activation, dy, kept)
        dx, dkernel, dbias = self.ops.conv2d_backward(dz, x, self.params["kernel"], self.strides, self.padding)
        return dx, {"kernel": dkernel, "bias": dbias} if self.use_bias else {"kernel": dkernel}


class Conv2DTranspose(Conv2D):
    """The adjoint of Conv2D, to make images larger: its forward is a Conv2D's way from dy to dx, its backward that one's forward.

    Forward:  z = Σ over every pixel of x of kernel · pixel, put down at the window that a Conv2D would have read it from; + bias,
              y = activation(z).
    Backward: dz = dy · activation′(z); dx = the convolution of dz with kernel; dkernel[a, b, f, c] =
              Σ_{n, i, j} dz[n, i·SH + a, j·SW + b, f] · x[n, i, j, c]; dbias[f] = Σ_{n, i, j} dz[n, i, j, f].

    Arguments: those of Conv2D. With "same", strides s make the image s times as large.

    Input shape: (H, W, C). Output shape: (OH, OW, filters). Parameters: kernel (KH, KW, filters, C), bias (filters,).
    """

    def build(self, input_shape: Shape, rng: np.random.Generator, dtype: DType) -> Shape:
        check_images(self, input_shape, (1, 1), "valid")
        shape = (*self.kernel_size, self.filters, input_shape[2])
        self.params = {"kernel": allocate(self.kernel_initializer, shape, rng, dtype)}
        if self.use_bias:
            self.params["bias"] = allocate(self.bias_initializer, (self.filters,), rng, dtype)
        rows = transposed_output(input_shape[0], self.kernel_size[0], self.strides[0], self.padding)
        columns = transposed_output(input_shape[1], self.kernel_size[1], self.strides[1], self.padding)
        return rows, columns, self.filters

    def forward(
        self, x: Array, *, training: bool = False, rng: RandomKey | None = None
    ) -> tuple[Array, tuple[Array, Array]]:
        x, kernel, bias = floating(x), self.params["kernel"], self.params.get("bias")
        z = self.ops.conv2d_transpose_forward(x, kernel, bias, self.strides, self.padding)
        y, kept = activate(self.ops, self.activation, z)
        return y, (x, kept)

    def backward(self, dy: Array, cache: tuple[Array, Array]) -> tuple[Array, Gradients]:
        x, kept = cache
        dz = activate_backward(self.ops, self.activation, dy, kept)
        dx, dkernel, dbias = self.ops.conv2d_transpose_backward(
            dz, x, self.params["kernel"], self.strides, self.padding
        )
        return dx, {"kernel": dkernel, "bias": dbias} if self.use_bias else {"kernel": dkernel}


class ZeroPadding2D(Layer):
    """Put a frame of zeros around each image.

    Forward:  y[n, top + i, left + j, c] = x[n, i, j, c], and 0 in the frame.
    Backward: dx[n, i, j, c] = dy[n, top + i, left + j, c].

    Arguments: padding: how many rows above and below, and how many columns left and right: ((top, bottom), (left, right)), or a
    pair (height, width) for equal sides, or an integer for all four.

    Input shape: (H, W, C). Output shape: (top + H + bottom, left + W + right, C).
    """

    def __init__(self, padding: int | Pair | tuple[Pair, Pair] = (1, 1), **common: Unpack[LayerSettings]) -> None:
        super().__init__(**common)
        self.padding = check_frame(padding, f"{self} padding")

    def build(self, input_shape: Shape, rng: np.random.Generator, dtype: DType) -> Shape:
        check_images(self, input_shape, (1, 1), "valid")
        (top, bottom), (left, right) = self.padding
        return top + input_shape[0] + bottom, left + input_shape[1] + right, input_shape[2]

    def forward(self, x: Array, *, training: bool = False, rng: RandomKey | None = None) -> tuple[Array, None]:
        return self.ops.zero_pad2d_forward(x, *self.padding), None

    def backward(self, dy: Array, cache: None) -> tuple[Array, Gradients]:
        return self.ops.zero_pad2d_backward(dy, *self.padding), {}


class UpSampling2D(Layer):
    """Make every pixel a block of equal ones.

    Forward:  y[n, i, j, c] = x[n, ⌊i / SH⌋, ⌊j / SW⌋, c]. Backward: dx is the sum of dy over each block.

    Arguments: size: a pair (height, width), or an integer for both. interpolation: "nearest", the only one.

    Input shape: (H, W, C). Output shape: (H · SH, W · SW, C).
    """

    def __init__(
        self, size: int | Pair = (2, 2), interpolation: str = "nearest", **common: Unpack[LayerSettings]
    ) -> None:
        super().__init__(**common)
        self.size = check_pair(size, f"{self} size")
        self.interpolation = check_choice(interpolation, ("nearest",), f"{self} interpolation")

    def build(self, input_shape: Shape, rng: np.random.Generator, dtype: DType) -> Shape:
        check_images(self, input_shape, (1, 1), "valid")
        return input_shape[0] * self.size[0], input_shape[1] * self.size[1], input_shape[2]

    def forward(self, x: Array, *, training: bool = False, rng: RandomKey | None = None) -> tuple[Array, None]:
        return self.ops.up_sample2d_forward(x, self.size), None

    def backward(self, dy: Array, cache: None) -> tuple[Array, Gradients]:
        return self.ops.up_sample2d_backward(dy, self.size), {}
