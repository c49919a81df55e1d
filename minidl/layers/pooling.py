"""Pooling: images made smaller by keeping one number of each window, or of each whole image."""

from typing import Unpack

import numpy as np

from ..checks import check_choice, check_pair
from ..contracts import Array, DType, Gradients, Pair, Shape
from ..ops.geometry import window_output
from ..ops.random import RandomKey
from .base import Layer, LayerSettings
from .images import PADDINGS, check_images


class Pooling2D(Layer):
    """What the pools with a sliding window share: their settings and shapes."""

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
        check_images(self, input_shape, self.pool_size, self.padding)
        rows = window_output(input_shape[0], self.pool_size[0], self.strides[0], self.padding)[0]
        columns = window_output(input_shape[1], self.pool_size[1], self.strides[1], self.padding)[0]
        return rows, columns, input_shape[2]


class MaxPooling2D(Pooling2D):
    """Keep the largest value of each window, channel by channel.

    Forward:  y[n, i, j, c] = max_{a, b} x[n, i·SH + a, j·SW + b, c]; index = where the maximum is.
    Backward: dy goes to that place alone; of equal values the first in the window wins. Overlaps add up.

    Arguments: pool_size, strides: a pair (height, width), or an integer for both; strides=None means pool_size. padding:
    "valid" or "same"; padded cells never win.

    Input shape: (H, W, C). Output shape: (OH, OW, C).
    """

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


class AveragePooling2D(Pooling2D):
    """The mean of each window, channel by channel.

    Forward:  y[n, i, j, c] = mean_{a, b} x[n, i·SH + a, j·SW + b, c].
    Backward: every cell of a window gets the same share of its dy. Overlaps add up.

    Arguments: pool_size, strides: a pair (height, width), or an integer for both; strides=None means pool_size. padding:
    "valid" or "same"; padded cells do not count.

    Input shape: (H, W, C). Output shape: (OH, OW, C).
    """

    def forward(
        self, x: Array, *, training: bool = False, rng: RandomKey | None = None
    ) -> tuple[Array, tuple[int, ...]]:
        return self.ops.avg_pool2d_forward(x, self.pool_size, self.strides, self.padding), x.shape

    def backward(self, dy: Array, cache: tuple[int, ...]) -> tuple[Array, Gradients]:
        return self.ops.avg_pool2d_backward(dy, cache, self.pool_size, self.strides, self.padding), {}


class GlobalPooling2D(Layer):
    """What the pools over whole images share: their settings and shapes."""

    def __init__(self, keepdims: bool = False, **common: Unpack[LayerSettings]) -> None:
        super().__init__(**common)
        self.keepdims = bool(keepdims)

    def build(self, input_shape: Shape, rng: np.random.Generator, dtype: DType) -> Shape:
        check_images(self, input_shape, (1, 1), "valid")
        return (1, 1, input_shape[2]) if self.keepdims else input_shape[2:]

    def _shaped(self, y: Array) -> Array:
        """y as (N, C), or (N, 1, 1, C) with keepdims."""
        return y.reshape(len(y), 1, 1, -1) if self.keepdims else y.reshape(len(y), -1)


class GlobalAveragePooling2D(GlobalPooling2D):
    """The mean of each channel over the whole image.

    Forward:  y[n, c] = mean_{i, j} x[n, i, j, c]. Backward: every pixel gets the same share of dy.

    Input shape: (H, W, C). Output shape: (C,), or (1, 1, C) with keepdims=True.
    """

    def forward(
        self, x: Array, *, training: bool = False, rng: RandomKey | None = None
    ) -> tuple[Array, tuple[int, ...]]:
        return self._shaped(self.ops.global_avg_pool2d_forward(x)), x.shape

    def backward(self, dy: Array, cache: tuple[int, ...]) -> tuple[Array, Gradients]:
        return self.ops.global_avg_pool2d_backward(dy.reshape(len(dy), -1), cache), {}


class GlobalMaxPooling2D(GlobalPooling2D):
    """The largest value of each channel in the whole image: a MaxPooling2D whose window is the image.

    Forward:  y[n, c] = max_{i, j} x[n, i, j, c]. Backward: dy goes to that place alone; of equal values to the first.

    Input shape: (H, W, C). Output shape: (C,), or (1, 1, C) with keepdims=True.
    """

    def forward(
        self, x: Array, *, training: bool = False, rng: RandomKey | None = None
    ) -> tuple[Array, tuple[Array, tuple[int, ...]]]:
        y, index = self.ops.max_pool2d_forward(x, x.shape[1:3], x.shape[1:3], "valid")
        return self._shaped(y), (index, x.shape)

    def backward(self, dy: Array, cache: tuple[Array, tuple[int, ...]]) -> tuple[Array, Gradients]:
        index, x_shape = cache
        size = x_shape[1:3]
        return self.ops.max_pool2d_backward(dy.reshape(index.shape), index, x_shape, size, size, "valid"), {}
