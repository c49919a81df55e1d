"""The plan: the steps that a model really runs, where neighbouring layers that have one fused kernel became one step.

``Sequential.layers`` is what the user wrote; a plan is made from it and shares its parameters. A step has the layer's
contract with two more arguments: ``scratch``, arrays of the worker's that are used again for every batch (fresh ones would cost
a page fault for every 4 kB), and in backward ``grads``, arrays of the shard's for the gradients. What a step returns may lie in
there, so it is good until the same worker begins another shard. The dy that backward is given is nobody else's, and may be
overwritten; a cache never is, so backward may be called twice.
"""

import copy
import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from .. import losses
from ..layers import Activation, Conv2D, Dense, Dropout, Flatten, MaxPooling2D
from ..ops import kernels
from ..ops.geometry import Array, Pair, pad_images
from ..ops.kernels.convolution import col2im, im2col, tiles
from ..ops.kernels.elementwise import add_bias, dropout_mask, keep, relu_backward_into
from ..ops.kernels.fused import (
    ABREAST,
    conv_pool_backward,
    conv_pool_dkernel,
    conv_pool_dkernel_narrow,
    conv_pool_forward,
    narrow,
    whole_blocks,
)
from ..ops.random import RandomKey

Gradients = dict[str, Array]
NOT_NEEDED = np.empty(0)  # in the place of a dx that nobody will read
FEW_CHANNELS = 4  # grey or coloured images: too few for vectors along the channels


class Workspace:
    """Arrays by name that are used again: what they hold is undefined when they are handed out.

    Large ones are cut out of blocks for which NumPy asks the system for huge pages: a processor keeps far more memory in sight in
    them than in small ones.
    """

    LARGE = 2**20  # bytes; smaller ones would leave most of a huge page unused
    BLOCK = 8 * 2**20  # bytes; NumPy asks from 4 MiB on
    ALIGNMENT = 64  # bytes: a line of the cache, or a vector

    def __init__(self) -> None:
        self._buffers: dict[Any, Array] = {}
        self._rest = np.empty(0, np.uint8)  # of the newest block

    def array(self, key: Any, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Array:
        """An array of this shape, in the memory that the key had before if that is large enough."""
        size = math.prod(shape)
        buffer = self._buffers.get(key)
        if buffer is None or buffer.size < size or buffer.dtype != dtype:
            buffer = self._buffers[key] = self._allocate(size * dtype.itemsize).view(dtype)
        return buffer[:size].reshape(shape)

    def _allocate(self, size: int) -> Array:
        """So many bytes."""
        if size < self.LARGE:
            return np.empty(size, np.uint8)
        room = size + self.ALIGNMENT
        if room > self._rest.size:
            self._rest = np.empty(max(room, self.BLOCK), np.uint8)
        start = -self._rest.ctypes.data % self.ALIGNMENT
        found, self._rest = self._rest[start : start + size], self._rest[start + size :]
        return found


class LayerStep:
    """Any layer, as it is; what it returns is held against what it promised.

    layer: built. position: its place in the model, from which its random numbers follow.
    """

    def __init__(self, layer: Any, position: int) -> None:
        self.layer = layer
        self.position = position

    def forward(self, x: Array, training: bool, rng: RandomKey | None, scratch: Workspace) -> tuple[Array, Any]:
        y, cache = _pair(self.layer.forward(x, training=training, rng=rng), self.layer, "forward", "(y, cache)")
        if np.shape(y) != (len(x), *self.layer.output_shape):
            raise ValueError(
                f"layer {self.layer.name!r}: forward must return shape {(len(x), *self.layer.output_shape)}, as its build "
                f"said, received {np.shape(y)}."
            )
        return np.ascontiguousarray(y, x.dtype), cache

    def backward(
        self, dy: Array, cache: Any, scratch: Workspace, grads: Workspace, need_dx: bool
    ) -> tuple[Array, Gradients]:
        dx, gradients = _pair(self.layer.backward(dy, cache), self.layer, "backward", "(dx, gradients by name)")
        if not isinstance(gradients, dict):
            raise TypeError(
                f"layer {self.layer.name!r}: backward must return (dx, gradients by name), received {gradients!r} as the "
                "gradients. Without parameters that is {}."
            )
        expected = {name: value.shape for name, value in self.layer.params.items()}
        received = {name: np.shape(value) for name, value in gradients.items()}
        if received != expected:
            raise ValueError(
                f"layer {self.layer.name!r}: backward must return a gradient of each parameter's shape, {expected}, "
                f"received {received}."
            )
        if np.shape(dx) != (len(dy), *self.layer.input_shape):
            raise ValueError(
                f"layer {self.layer.name!r}: backward must return dx of shape {(len(dy), *self.layer.input_shape)}, "
                f"received {np.shape(dx)}."
            )
        # copies, because the engine changes them in place, and the layer may have returned arrays that it keeps
        own = {name: np.array(gradients[name], value.dtype) for name, value in self.layer.params.items()}
        return np.array(dx, dy.dtype, order="C"), own


def _pair(returned: Any, layer: Any, method: str, what: str) -> tuple[Any, Any]:
    """What a layer's method returned, where it is a pair."""
    if not isinstance(returned, tuple) or len(returned) != 2:
        raise TypeError(f"layer {layer.name!r}: {method} must return {what}, received {type(returned).__name__}.")
    return returned


class FlattenStep(LayerStep):
    """Flatten without its copies: inside the plan nobody else holds the arrays."""

    def forward(self, x: Array, training: bool, rng: RandomKey | None, scratch: Workspace) -> tuple[Array, Any]:
        return x.reshape(len(x), -1), x.shape

    def backward(
        self, dy: Array, cache: Any, scratch: Workspace, grads: Workspace, need_dx: bool
    ) -> tuple[Array, Gradients]:
        return dy.reshape(cache), {}


class DropoutStep(LayerStep):
    """Dropout that keeps its mask for backward, as a byte an entry, and copies nothing outside training. Plain twin: Dropout.

    in_place: its input is in the memory of a step that does not remember it, so it may be overwritten.
    """

    def __init__(self, layer: Any, position: int, in_place: bool) -> None:
        super().__init__(layer, position)
        self.in_place = in_place

    def forward(self, x: Array, training: bool, rng: RandomKey | None, scratch: Workspace) -> tuple[Array, Any]:
        if not training or self.layer.rate == 0 or rng is None:
            return x, None
        y = x if self.in_place else scratch.array((self, "y"), x.shape, x.dtype)
        y[...] = x
        kept = scratch.array((self, "kept"), x.shape, np.dtype(np.bool_))
        dropout_mask(kept, self.layer.rate, rng)
        keep(y, kept, self.layer.rate)
        return y, kept

    def backward(
        self, dy: Array, cache: Any, scratch: Workspace, grads: Workspace, need_dx: bool
    ) -> tuple[Array, Gradients]:
        if cache is not None:
            keep(dy, cache, self.layer.rate)
        return dy, {}


class DenseStep(LayerStep):
    """Dense with its bias and ReLU in one pass. Plain twin: Dense."""

    def forward(self, x: Array, training: bool, rng: RandomKey | None, scratch: Workspace) -> tuple[Array, Any]:
        layer = self.layer
        y = scratch.array((self, "y"), (len(x), layer.units), x.dtype)
        np.matmul(x, layer.params["kernel"], out=y)
        if layer.use_bias or layer.activation == "relu":
            add_bias(y, _bias(layer, layer.units), layer.activation == "relu")
        return y, (x, y)

    def backward(
        self, dy: Array, cache: Any, scratch: Workspace, grads: Workspace, need_dx: bool
    ) -> tuple[Array, Gradients]:
        layer, (x, y) = self.layer, cache
        if layer.activation == "relu":
            dz = scratch.array((self, "dz"), dy.shape, dy.dtype)
            relu_backward_into(dy.reshape(-1), y.reshape(-1), dz.reshape(-1))
        else:
            dz = dy
        kernel = layer.params["kernel"]
        gradients = {"kernel": grads.array((self, "kernel"), kernel.shape, kernel.dtype)}
        np.matmul(x.T, dz, out=gradients["kernel"])
        if layer.use_bias:
            gradients["bias"] = dz.sum(axis=0)
        if not need_dx:
            return NOT_NEEDED, gradients
        dx = scratch.array((self, "dx"), x.shape, x.dtype)
        return np.matmul(dz, kernel.T, out=dx), gradients


class ConvStep(LayerStep):
    """Conv2D with its bias and ReLU in one pass after each tile's matrix product. Plain twin: Conv2D."""

    def forward(self, x: Array, training: bool, rng: RandomKey | None, scratch: Workspace) -> tuple[Array, Any]:
        layer, matrix = self.layer, self._matrix()
        x, output, offset = pad_images(x, layer.kernel_size, layer.strides, layer.padding)
        y = scratch.array((self, "y"), (len(x), *output, layer.filters), x.dtype)
        for tile in tiles(len(x), output[0] * output[1] * len(matrix)):
            z = y[tile].reshape(-1, layer.filters)
            np.matmul(self._columns(x[tile], output, scratch), matrix, out=z)
            add_bias(z, _bias(layer, layer.filters), layer.activation == "relu")
        return y, (x, y, output, offset)

    def backward(
        self, dy: Array, cache: Any, scratch: Workspace, grads: Workspace, need_dx: bool
    ) -> tuple[Array, Gradients]:
        layer, matrix, (x, y, output, offset) = self.layer, self._matrix(), cache
        if layer.activation == "relu":
            dz = scratch.array((self, "dz"), dy.shape, dy.dtype)
            relu_backward_into(dy.reshape(-1), y.reshape(-1), dz.reshape(-1))
        else:
            dz = dy
        dmatrix = np.zeros_like(matrix)
        dx = scratch.array((self, "dx"), x.shape, x.dtype) if need_dx else NOT_NEEDED
        dx[:] = 0
        for tile in tiles(len(x), output[0] * output[1] * len(matrix)):
            columns, rows = self._columns(x[tile], output, scratch), dz[tile].reshape(-1, layer.filters)
            dmatrix += columns.T @ rows
            if need_dx:
                dcolumns = scratch.array((self, "dcolumns"), columns.shape, x.dtype)
                col2im(np.matmul(rows, matrix.T, out=dcolumns), dx[tile], layer.kernel_size, layer.strides, output)
        gradients = {"kernel": dmatrix.reshape(layer.params["kernel"].shape)}
        if layer.use_bias:
            gradients["bias"] = dz.sum(axis=(0, 1, 2))
        return _inner(dx, offset, layer.input_shape) if need_dx else dx, gradients

    def _matrix(self) -> Array:
        """The kernel as a matrix (KH · KW · C, F)."""
        matrix: Array = self.layer.params["kernel"].reshape(-1, self.layer.filters)
        return matrix

    def _columns(self, images: Array, output: Pair, scratch: Workspace) -> Array:
        """Every window of some images as a row, (n · OH · OW, KH · KW · C)."""
        height, width = self.layer.kernel_size
        room = scratch.array(
            (self, "columns"), (len(images) * output[0] * output[1] * height * width * images.shape[3],), images.dtype
        )
        return im2col(images, self.layer.kernel_size, self.layer.strides, output, room)


class ConvPoolStep(LayerStep):
    """Conv2D with its bias and ReLU, and the 2×2 MaxPooling2D after it, in one pass. Plain twin: the two layers."""

    def forward(self, x: Array, training: bool, rng: RandomKey | None, scratch: Workspace) -> tuple[Array, Any]:
        layer, (height, width) = self.layer, self.layer.kernel_size
        x, output, offset = pad_images(x, layer.kernel_size, layer.strides, layer.padding)
        kernel = whole_blocks(layer.params["kernel"].reshape(height, width * x.shape[3], layer.filters))
        bias = whole_blocks(_bias(layer, layer.filters))
        pooled = (len(x), output[0] // 2, output[1] // 2)
        y = scratch.array((self, "y"), (*pooled, layer.filters), x.dtype)
        index = scratch.array((self, "index"), (*pooled, len(bias)), np.dtype(np.uint8))
        conv_pool_forward(x, kernel, bias, layer.activation == "relu", y, index)
        return y, (x, index, offset)

    def backward(
        self, dy: Array, cache: Any, scratch: Workspace, grads: Workspace, need_dx: bool
    ) -> tuple[Array, Gradients]:
        layer, (height, width), (x, index, offset) = self.layer, self.layer.kernel_size, cache
        kernel, run, filters = layer.params["kernel"], width * x.shape[3], layer.filters
        dx = NOT_NEEDED
        if need_dx or x.shape[3] > FEW_CHANNELS:
            by_filter = np.ascontiguousarray(np.moveaxis(kernel, 3, 0)).reshape(filters, height, run)
            dby_filter, dbias = np.zeros_like(by_filter), np.zeros(filters, dy.dtype)
            dx = scratch.array((self, "dx"), x.shape, x.dtype)
            dx[:] = 0
            conv_pool_backward(dy, index, x, by_filter, dx, dby_filter, dbias)
            dx = _inner(dx, offset, layer.input_shape)
            dkernel = np.moveaxis(dby_filter.reshape(filters, height, width, -1), 0, 3)
        else:
            dmatrix, dbias = np.zeros((height, run, index.shape[3]), dy.dtype), np.zeros(index.shape[3], dy.dtype)
            by_lanes = conv_pool_dkernel_narrow if narrow(width, x.shape[3]) else conv_pool_dkernel
            by_lanes(dy, index, x, dmatrix, dbias)
            dkernel = dmatrix[:, :, :filters].reshape(kernel.shape)
        gradients = {"kernel": np.ascontiguousarray(dkernel)}
        if layer.use_bias:
            gradients["bias"] = dbias[:filters]
        return dx, gradients


def _bias(layer: Any, size: int) -> Array:
    """The layer's bias, or zeros where it has none."""
    kernel = layer.params["kernel"]
    return layer.params["bias"] if layer.use_bias else np.zeros(size, kernel.dtype)


def _inner(padded: Array, offset: Pair, shape: tuple[int, ...]) -> Array:
    """What is left of padded images without their padding, contiguous."""
    (top, left), (height, width) = offset, shape[:2]
    return np.ascontiguousarray(padded[:, top : top + height, left : left + width])


class Plan:
    """What one shard goes through.

    Arguments: layers: built, in order. loss: the compiled loss, or None for prediction alone. fuse: use the fused steps
    where the layers run on the kernels; otherwise every layer is a step of its own.

    A softmax that meets a crossentropy at the end becomes one stable computation on the logits, fused or not: the steps end
    at the logits, ``loss`` is the crossentropy of logits, and ``predictions`` puts the softmax back.
    """

    def __init__(self, layers: Sequence[Any], loss: Any, fuse: bool) -> None:
        self.loss = loss
        self.softmax: Any = None
        layers = list(layers)
        logits_loss = losses.on_logits(loss)
        if logits_loss is not None and getattr(layers[-1], "activation", None) == "softmax":
            last = layers[-1]
            if type(last) in (Activation, Dense):
                self.loss, self.softmax = logits_loss, last.ops.softmax_forward
                linear = copy.copy(last)  # shares its parameters
                linear.activation = "linear"
                layers[-1] = linear
        self.steps = _steps(layers, fuse)
        self.first_trained = next((i for i, step in enumerate(self.steps) if step.layer.params), len(self.steps))

    def forward(self, x: Array, training: bool, rng: RandomKey | None, scratch: Workspace) -> tuple[Array, list[Any]]:
        """x (n, …) → the last step's y, and each step's cache. rng: the batch's key; each layer gets one of its own."""
        caches = []
        for step in self.steps:
            own = None if rng is None else RandomKey(layer_key(rng.key, step.position), rng.first_sample)
            x, cache = step.forward(x, training, own, scratch)
            caches.append(cache)
        return x, caches

    def backward(self, dy: Array, caches: list[Any], scratch: Workspace, grads: Workspace) -> Gradients:
        """dy of the last step → the gradients by address, "layer/parameter". Stops where nothing more is to be trained.

        dy may be overwritten.
        """
        gradients: Gradients = {}
        for i in range(len(self.steps) - 1, self.first_trained - 1, -1):
            step = self.steps[i]
            dy, own = step.backward(dy, caches[i], scratch, grads, i > self.first_trained)
            for name, gradient in own.items():
                gradients[f"{step.layer.name}/{name}"] = gradient
        return gradients

    def predictions(self, y: Array) -> Array:
        """What the user's last layer would have given."""
        return y if self.softmax is None else self.softmax(y)


def layer_key(batch_key: int, position: int) -> int:
    """The key of the layer at this position: as far from its neighbours' as 64 bits allow."""
    return (batch_key + position * 0x9E3779B97F4A7C15) % 2**64


def _steps(layers: Sequence[Any], fuse: bool) -> list[LayerStep]:
    """One step a layer, or fused ones where a layer is exactly one of ours (a subclass may compute something else)."""
    steps: list[LayerStep] = []
    position = 0
    while position < len(layers):
        layer = layers[position]
        follower = layers[position + 1] if position + 1 < len(layers) else None
        fused = fuse and getattr(layer, "ops", None) is kernels
        simple = getattr(layer, "activation", None) in ("linear", "relu")
        if fused and type(layer) is Dense and simple:
            steps.append(DenseStep(layer, position))
        elif fused and type(layer) is Conv2D and simple and _fits_kernel(layer, follower):
            steps.append(ConvPoolStep(layer, position))
            position += 1
        elif fused and type(layer) is Conv2D and simple:
            steps.append(ConvStep(layer, position))
        elif fused and type(layer) is Flatten:
            steps.append(FlattenStep(layer, position))
        elif fused and type(layer) is Dropout:
            before = next((step for step in reversed(steps) if type(step) is not FlattenStep), None)
            steps.append(DropoutStep(layer, position, in_place=type(before) is ConvPoolStep))
        else:
            steps.append(LayerStep(layer, position))
        position += 1
    return steps


def _fits_kernel(layer: Conv2D, follower: Any) -> bool:
    """Whether there is a kernel for this convolution and what comes after it: the usual case, 2×2 pooling in float32."""
    return (
        type(follower) is MaxPooling2D
        and follower.pool_size == follower.strides == (2, 2)
        and follower.padding == "valid"
        and layer.strides == (1, 1)
        and layer.params["kernel"].dtype == np.float32
        and follower.output_shape is not None
        and follower.output_shape[1] >= ABREAST
    )
