"""The layers of images: Conv2D, MaxPooling2D and ZeroPadding2D. Images are (height, width, channels), as in Keras."""

from typing import Unpack

import numpy as np

from .. import initializers
from ..checks import check_choice, check_frame, check_pair, check_positive
from ..contracts import Array, DType, Gradients, Initializer, Pair, Shape
from ..initializers import allocate
from ..ops.geometry import window_output
from ..ops.random import RandomKey
from .activation import activate, activate_backward, check_activation
from .base import Layer, LayerSettings

PADDINGS = ("valid", "same")


def _check_images(layer: Layer, input_shape: Shape, window: Pair, padding: str) -> None:
    """Raise a ValueError that names the fix where the layer's window cannot slide over such samples."""
    height, width = window if padding == "valid" else (1, 1)
    expects = f"{layer} expects input (height, width, channels)"
    if len(input_shape) == 2:
        raise ValueError(
            f"{expects}, received {input_shape}. The channel axis is missing: use input_shape={(*input_shape, 1)} "
            "and give the data as np.expand_dims(x, -1)."
        )
    if len(input_shape) != 3:
        raise ValueError(f"{expects}, received {input_shape}.")
    if input_shape[0] < height or input_shape[1] < width:
        message = f"{expects} at least {height}×{width}, received {input_shape}."
        channels, rows, columns = input_shape  # if the data is channels-first
        if channels <= 4 and rows >= height and columns >= width:
            message += f" If the images are channels-first, use input_shape={(rows, columns, channels)}; otherwise make"
            message += " the window smaller, or use padding='same'."
        else:
            message += " Make the window smaller, or use padding='same'."
        raise ValueError(message)


class Conv2D(Layer):
    """Filters that look at one small window after another, with the same weights everywhere.

    Forward:  z[n, i, j, f] = Σ_{a, b, c} x[n, i·SH + a, j·SW + b, c] · kernel[a, b, c, f] + bias[f], y = activation(z).
    Backward: dz = dy · activation′(z); dkernel[a, b, c, f] = Σ_{n, i, j} x[n, i·SH + a, j·SW + b, c] · dz[n, i, j, f];
              dx sums dz · kernel over every window that contains the pixel; dbias[f] = Σ_{n, i, j} dz[n, i, j, f].

    Arguments: kernel_size, strides: a pair (height, width), or an integer for both. padding: "valid" (windows inside the
    image only) or "same" (zeros around it, so that stride 1 keeps the size).

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

    def build(self, input_shape: Shape, rng: np.random.Generator, dtype: DType) -> Shape:
        _check_images(self, input_shape, self.kernel_size, self.padding)
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
        z = self.ops.conv2d_forward(x, self.params["kernel"], self.params.get("bias"), self.strides, self.padding)
        y = activate(self.ops, self.activation, z)
        return y, (x, y)

    def backward(self, dy: Array, cache: tuple[Array, Array]) -> tuple[Array, Gradients]:
        x, y = cache
        dz = activate_backward(self.ops, self.activation, dy, y)
        dx, dkernel, dbias = self.ops.conv2d_backward(dz, x, self.params["kernel"], self.strides, self.padding)
        return dx, {"kernel": dkernel, "bias": dbias} if self.use_bias else {"kernel": dkernel}


class MaxPooling2D(Layer):
    """Keep the largest value of each window, channel by channel.

    Forward:  y[n, i, j, c] = max_{a, b} x[n, i·SH + a, j·SW + b, c]; index = where the maximum is.
    Backward: dy goes to that place alone; of equal values the first in the window wins. Overlaps add up.

    Arguments: pool_size, strides: a pair (height, width), or an integer for both; strides=None means pool_size. padding:
    "valid" or "same"; padded cells never win.

    Input shape: (H, W, C). Output shape: (OH, OW, C).
    """

    def __init__(
        self,
        pool_size: int | Pair = (2, 2),
        strides: int | Pair | None = None,
        padding: str = "valid",
        **common: Unpack[LayerSettings],
    ) -> None:
        super().__init__(**common)
        self.pool_size = check_pair(pool_size, f"{self} pool_size")
        self.strides = self.pool_size if strides is None else check_pair(strides, f"{self} strides")
        self.padding = check_choice(padding, PADDINGS, f"{self} padding")

    def build(self, input_shape: Shape, rng: np.random.Generator, dtype: DType) -> Shape:
        _check_images(self, input_shape, self.pool_size, self.padding)
        rows = window_output(input_shape[0], self.pool_size[0], self.strides[0], self.padding)[0]
        columns = window_output(input_shape[1], self.pool_size[1], self.strides[1], self.padding)[0]
        return rows, columns, input_shape[2]

    def forward(
        self,
        x: Array,
        *,
        training: bool = False,
        rng: RandomKey | None = None,
    ) -> tuple[Array, tuple[Array, tuple[int, ...]]]:
        y, index = self.ops.max_pool2d_forward(x, self.pool_size, self.strides, self.padding)
        return y, (index, x.shape)

    def backward(self, dy: Array, cache: tuple[Array, tuple[int, ...]]) -> tuple[Array, Gradients]:
        index, x_shape = cache
        dx = self.ops.max_pool2d_backward(dy, index, x_shape, self.pool_size, self.strides, self.padding)
        return dx, {}


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
        _check_images(self, input_shape, (1, 1), "valid")
        (top, bottom), (left, right) = self.padding
        return top + input_shape[0] + bottom, left + input_shape[1] + right, input_shape[2]

    def forward(self, x: Array, *, training: bool = False, rng: RandomKey | None = None) -> tuple[Array, None]:
        return self.ops.zero_pad2d_forward(x, *self.padding), None

    def backward(self, dy: Array, cache: None) -> tuple[Array, Gradients]:
        return self.ops.zero_pad2d_backward(dy, *self.padding), {}
