"""What runs in place of one or more layers: a step has a layer's contract, but writes its gradients into given arrays.

    y, cache = step.forward(x, training, rng)
    dx = step.backward(dy, cache, grads, need_dx)      # grads: address → the array to write to

Nobody else uses the dy that backward is given, so it may be overwritten; a cache never is, so backward may be called twice. Each
class says with ``replaces`` how many of the next layers it can stand for; the first class in the table that can is chosen. A
fused step replaces only the library's own classes: a subclass may compute something else.
"""

from collections.abc import Iterator, Sequence
from typing import Any, ClassVar, TypeGuard, TypeVar

import numpy as np

from ..contracts import Array, Cache, Gradients, Pair, Shape, StackedLayer
from ..layers import Activation, Conv2D, Dense, Dropout, Flatten, Layer, MaxPooling2D, Rescaling, Residual, Stack
from ..layers.stack import runs_in_order
from ..ops import kernels
from ..ops.geometry import pad_images
from ..ops.kernels.convolution import col2im, im2col, tiles
from ..ops.kernels.elementwise import add_bias, dropout_mask, keep, relu_backward_into
from ..ops.kernels.fused import (
    conv_pool_backward,
    conv_pool_dkernel,
    conv_pool_dkernel_narrow,
    conv_pool_forward,
    narrow,
    whole_blocks,
)
from ..ops.random import RandomKey

NOT_NEEDED: Array = np.empty(0)  # stands for a dx that nobody will read
DRAWS_NOTHING = (Activation, Conv2D, Dense, Flatten, MaxPooling2D, Rescaling)  # the others cost a key a batch
FEW_CHANNELS = 4  # grey or coloured images: too few for vectors along the channels


def forward(steps: Sequence["LayerStep"], x: Array, training: bool, rng: RandomKey | None) -> tuple[Array, list[Cache]]:
    """Run the steps in order.  x (n, …) → y of the last one, and the cache of each."""
    caches = []
    for step in steps:
        x, cache = step.forward(x, training, None if rng is None else step.key(rng))
        caches.append(cache)
    return x, caches


def backward(
    steps: Sequence["LayerStep"], dy: Array, caches: Sequence[Cache], grads: Gradients, lowest: int, need_dx: bool
) -> Array:
    """Run them backward, down to the step ``lowest``.  dy → its dx; every parameter's gradient is written to ``grads``."""
    for i in range(len(steps) - 1, lowest - 1, -1):
        dy = steps[i].backward(dy, caches[i], grads, need_dx or i > lowest)
    return dy


class LayerStep:
    """Any layer, unchanged; what it returns is compared with what it promised.

    Arguments: layers: those that the step replaces. addresses: their addresses in the model. places: their paths in the stack
    whose steps these are, which determine their random numbers.
    """

    def __init__(
        self, layers: Sequence[StackedLayer], addresses: Sequence[str], places: Sequence[tuple[int, ...]]
    ) -> None:
        self.layers = list(layers)
        self.layer = layers[0]
        self.address = addresses[0]
        self.place = places[0]
        self.kernel, self.bias = f"{self.address}/kernel", f"{self.address}/bias"

    @classmethod
    def replaces(cls, layers: Sequence[StackedLayer]) -> int:
        """How many of these layers it can replace, from the first on; 0 for none."""
        return 1

    @property
    def draws(self) -> bool:
        """Whether it may draw random numbers: any layer may, except those in DRAWS_NOTHING."""
        return any(type(layer) not in DRAWS_NOTHING for layer in self.leaves())

    def leaves(self) -> list[StackedLayer]:
        """The layers that hold the parameters."""
        return self.layers

    def key(self, rng: RandomKey) -> RandomKey:
        """Its layer's key, from the key of the stack whose step it is."""
        for place in self.place:
            rng = rng.layer(place)
        return rng

    def forward(self, x: Array, training: bool, rng: RandomKey | None) -> tuple[Array, Cache]:
        y, cache = _pair(self.layer.forward(x, training=training, rng=rng), self.address, "forward", "(y, cache)")
        expected = (len(x), *(self.layer.output_shape or ()))
        if np.shape(y) != expected:
            raise ValueError(
                f"layer {self.address!r}: forward must return shape {expected}, as its build said, received {np.shape(y)}."
            )
        return np.ascontiguousarray(y, x.dtype), cache

    def backward(self, dy: Array, cache: Cache, grads: Gradients, need_dx: bool) -> Array:
        dx, own = _pair(self.layer.backward(dy, cache), self.address, "backward", "(dx, gradients by name)")
        if not isinstance(own, dict):
            raise TypeError(
                f"layer {self.address!r}: backward must return (dx, gradients by name), received {own!r} as the "
                "gradients. Without parameters that is {}."
            )
        expected = {name: value.shape for name, value in self.layer.params.items()}
        received = {name: np.shape(value) for name, value in own.items()}
        if received != expected:
            raise ValueError(
                f"layer {self.address!r}: backward must return a gradient of each parameter's shape, {expected}, "
                f"received {received}."
            )
        x_shape = (len(dy), *(self.layer.input_shape or ()))
        if np.shape(dx) != x_shape:
            raise ValueError(
                f"layer {self.address!r}: backward must return dx of shape {x_shape}, received {np.shape(dx)}."
            )
        for name, gradient in own.items():
            grads[f"{self.address}/{name}"][...] = gradient
        return np.array(dx, dy.dtype, order="C")  # a copy: it will be overwritten, and the layer may keep the original


def _pair(returned: object, address: str, method: str, what: str) -> tuple[Any, Any]:
    """What a layer's method returned. Raises TypeError where it is not a pair."""
    if not isinstance(returned, tuple) or len(returned) != 2:
        raise TypeError(f"layer {address!r}: {method} must return {what}, received {type(returned).__name__}.")
    return returned


class ResidualStep(LayerStep):
    """Both branches of a Residual as steps of their own. Plain twin: Residual."""

    layer: Residual  # replaces() allows no other
    fuse: ClassVar[bool] = False

    def __init__(
        self, layers: Sequence[StackedLayer], addresses: Sequence[str], places: Sequence[tuple[int, ...]]
    ) -> None:
        super().__init__(layers, addresses, places)
        inner, projection = self.layer.branches()
        self.inner = steps_of(inner, self.fuse, f"{self.address}/")
        self.projection = (
            [] if projection is None else steps_of([projection], self.fuse, f"{self.address}/", len(inner))
        )

    @classmethod
    def replaces(cls, layers: Sequence[StackedLayer]) -> int:
        return int(type(layers[0]) is Residual)

    def leaves(self) -> list[StackedLayer]:
        return [layer for step in (*self.inner, *self.projection) for layer in step.leaves()]

    def forward(self, x: Array, training: bool, rng: RandomKey | None) -> tuple[Array, Cache]:
        y, caches = forward(self.inner, x, training, rng)
        skip, others = forward(self.projection, x, training, rng)
        return skip + y, (caches, others)

    def backward(self, dy: Array, cache: Cache, grads: Gradients, need_dx: bool) -> Array:
        caches, others = cache
        dx = backward(self.inner, dy.copy(), caches, grads, 0, need_dx)
        dskip = backward(self.projection, dy, others, grads, 0, need_dx)
        return dx + dskip if need_dx else NOT_NEEDED


class FusedResidualStep(ResidualStep):
    """The same, with fused steps inside."""

    fuse = True


Kind = TypeVar("Kind", bound=Layer)


def _fusable(layer: StackedLayer, kind: type[Kind]) -> TypeGuard[Kind]:
    """Whether the layer is exactly of this class, and computes with the kernels."""
    return type(layer) is kind and getattr(layer, "ops", None) is kernels


class FlattenStep(LayerStep):
    """Flatten without copies: nobody else holds the arrays between steps."""

    @classmethod
    def replaces(cls, layers: Sequence[StackedLayer]) -> int:
        return int(_fusable(layers[0], Flatten))

    def forward(self, x: Array, training: bool, rng: RandomKey | None) -> tuple[Array, Cache]:
        return x.reshape(len(x), -1), x.shape

    def backward(self, dy: Array, cache: Cache, grads: Gradients, need_dx: bool) -> Array:
        return dy.reshape(cache)


class DropoutStep(LayerStep):
    """Dropout that keeps its mask for backward, one byte per entry, and copies nothing outside training. Plain twin: Dropout."""

    layer: Dropout  # replaces() allows no other

    @classmethod
    def replaces(cls, layers: Sequence[StackedLayer]) -> int:
        return int(_fusable(layers[0], Dropout))

    def forward(self, x: Array, training: bool, rng: RandomKey | None) -> tuple[Array, Cache]:
        if not training or self.layer.rate == 0 or rng is None:
            return x, None
        y, kept = x.copy(), np.empty(x.shape, np.bool_)
        dropout_mask(kept, self.layer.rate, rng)
        keep(y, kept, self.layer.rate)
        return y, kept

    def backward(self, dy: Array, cache: Cache, grads: Gradients, need_dx: bool) -> Array:
        if cache is not None:
            keep(dy, cache, self.layer.rate)
        return dy


def _simple(layer: Dense | Conv2D) -> bool:
    return layer.activation in ("linear", "relu")


def _relu_backward(layer: Dense | Conv2D, dy: Array, y: Array) -> Array:
    """dz, written over dy."""
    if layer.activation == "relu":
        flat = dy.reshape(-1)
        relu_backward_into(flat, y.reshape(-1), flat)
    return dy


def _bias(layer: Dense | Conv2D, size: int) -> Array:
    """The layer's bias, or zeros where it has none."""
    return layer.params["bias"] if layer.use_bias else np.zeros(size, layer.params["kernel"].dtype)


class DenseStep(LayerStep):
    """Dense with its bias and ReLU in one pass. Plain twin: Dense."""

    layer: Dense  # replaces() allows no other

    @classmethod
    def replaces(cls, layers: Sequence[StackedLayer]) -> int:
        return int(_fusable(layers[0], Dense) and _simple(layers[0]))

    def forward(self, x: Array, training: bool, rng: RandomKey | None) -> tuple[Array, Cache]:
        layer = self.layer
        y = x @ layer.params["kernel"]
        if layer.use_bias or layer.activation == "relu":
            add_bias(y, _bias(layer, layer.units), layer.activation == "relu")
        return y, (x, y)

    def backward(self, dy: Array, cache: Cache, grads: Gradients, need_dx: bool) -> Array:
        layer, (x, y) = self.layer, cache
        dz = _relu_backward(layer, dy, y)
        np.matmul(x.T, dz, out=grads[self.kernel])
        if layer.use_bias:
            dz.sum(axis=0, out=grads[self.bias])
        return dz @ layer.params["kernel"].T if need_dx else NOT_NEEDED


class ConvStep(LayerStep):
    """Conv2D with its bias and ReLU in one pass after each tile's matrix product. Plain twin: Conv2D."""

    layer: Conv2D  # replaces() allows no other

    @classmethod
    def replaces(cls, layers: Sequence[StackedLayer]) -> int:
        return int(_fusable(layers[0], Conv2D) and _simple(layers[0]))

    def forward(self, x: Array, training: bool, rng: RandomKey | None) -> tuple[Array, Cache]:
        layer, matrix = self.layer, self._matrix()
        x, output, offset = pad_images(x, layer.kernel_size, layer.strides, layer.padding)
        y = np.empty((len(x), *output, layer.filters), x.dtype)
        for tile in tiles(len(x), output[0] * output[1] * len(matrix)):
            z = y[tile].reshape(-1, layer.filters)
            np.matmul(self._columns(x[tile], output), matrix, out=z)
            add_bias(z, _bias(layer, layer.filters), layer.activation == "relu")
        return y, (x, y, output, offset)

    def backward(self, dy: Array, cache: Cache, grads: Gradients, need_dx: bool) -> Array:
        layer, matrix, (x, y, output, offset) = self.layer, self._matrix(), cache
        dz = _relu_backward(layer, dy, y)
        dmatrix = grads[self.kernel].reshape(matrix.shape)
        dmatrix[:] = 0
        dx = np.zeros_like(x) if need_dx else NOT_NEEDED
        for tile in tiles(len(x), output[0] * output[1] * len(matrix)):
            columns, rows = self._columns(x[tile], output), dz[tile].reshape(-1, layer.filters)
            dmatrix += columns.T @ rows
            if need_dx:
                col2im(rows @ matrix.T, dx[tile], layer.kernel_size, layer.strides, output)
        if layer.use_bias:
            dz.sum(axis=(0, 1, 2), out=grads[self.bias])
        return _inner(dx, offset, layer.input_shape or ()) if need_dx else dx

    def _matrix(self) -> Array:
        """The kernel as a matrix (KH · KW · C, F)."""
        return self.layer.params["kernel"].reshape(-1, self.layer.filters)

    def _columns(self, images: Array, output: Pair) -> Array:
        """Every window of some images as a row, (n · OH · OW, KH · KW · C)."""
        height, width = self.layer.kernel_size
        room = np.empty(len(images) * output[0] * output[1] * height * width * images.shape[3], images.dtype)
        return im2col(images, self.layer.kernel_size, self.layer.strides, output, room)


class ConvPoolStep(LayerStep):
    """Conv2D with its bias and ReLU, and the 2×2 MaxPooling2D after it, in one pass. Plain twin: the two layers."""

    layer: Conv2D  # replaces() allows no other

    @classmethod
    def replaces(cls, layers: Sequence[StackedLayer]) -> int:
        """Two in the usual case: 2×2 pooling in float32; otherwise 0."""
        if len(layers) < 2:
            return 0
        conv, pool = layers[:2]
        fits = (
            _fusable(conv, Conv2D)
            and _fusable(pool, MaxPooling2D)
            and _simple(conv)
            and conv.strides == (1, 1)
            and conv.params["kernel"].dtype == np.float32
            and pool.pool_size == pool.strides == (2, 2)
            and pool.padding == "valid"
        )
        return 2 if fits else 0

    def forward(self, x: Array, training: bool, rng: RandomKey | None) -> tuple[Array, Cache]:
        layer, (height, width) = self.layer, self.layer.kernel_size
        x, output, offset = pad_images(x, layer.kernel_size, layer.strides, layer.padding)
        kernel = whole_blocks(layer.params["kernel"].reshape(height, width * x.shape[3], layer.filters))
        bias = whole_blocks(_bias(layer, layer.filters))
        pooled = (len(x), output[0] // 2, output[1] // 2)
        y = np.empty((*pooled, layer.filters), x.dtype)
        index = np.empty((*pooled, len(bias)), np.uint8)
        conv_pool_forward(x, kernel, bias, layer.activation == "relu", y, index)
        return y, (x, index, offset)

    def backward(self, dy: Array, cache: Cache, grads: Gradients, need_dx: bool) -> Array:
        layer, (height, width), (x, index, offset) = self.layer, self.layer.kernel_size, cache
        kernel, run, filters = layer.params["kernel"], width * x.shape[3], layer.filters
        dx = NOT_NEEDED
        if need_dx or x.shape[3] > FEW_CHANNELS:
            by_filter = np.ascontiguousarray(np.moveaxis(kernel, 3, 0)).reshape(filters, height, run)
            dby_filter, dbias = np.zeros_like(by_filter), np.zeros(filters, dy.dtype)
            dx = np.zeros_like(x)
            conv_pool_backward(dy, index, x, by_filter, dx, dby_filter, dbias)
            dx = _inner(dx, offset, layer.input_shape or ())
            dkernel: Array = np.moveaxis(dby_filter.reshape(filters, height, width, -1), 0, 3)
        else:
            dmatrix, dbias = np.zeros((height, run, index.shape[3]), dy.dtype), np.zeros(index.shape[3], dy.dtype)
            by_lanes = conv_pool_dkernel_narrow if narrow(width, x.shape[3]) else conv_pool_dkernel
            by_lanes(dy, index, x, dmatrix, dbias)
            dkernel = dmatrix[:, :, :filters].reshape(kernel.shape)
        grads[self.kernel][...] = dkernel
        if layer.use_bias:
            grads[self.bias][...] = dbias[:filters]
        return dx


def _inner(padded: Array, offset: Pair, shape: Shape) -> Array:
    """Padded images without their padding, contiguous."""
    (top, left), (height, width) = offset, shape[:2]
    return np.ascontiguousarray(padded[:, top : top + height, left : left + width])


PLAIN: tuple[type[LayerStep], ...] = (ResidualStep, LayerStep)
FUSED: tuple[type[LayerStep], ...] = (
    ConvPoolStep,
    ConvStep,
    DenseStep,
    FlattenStep,
    DropoutStep,
    FusedResidualStep,
    LayerStep,
)


def steps_of(layers: Sequence[StackedLayer], fuse: bool, address: str = "", start: int = 0) -> list[LayerStep]:
    """The steps that run these layers, fused where possible.

    address: the prefix of the layers' addresses. start: the place of the first layer.
    """
    flat = list(_flattened(layers, address, start, ()))
    steps: list[LayerStep] = []
    position = 0
    while position < len(flat):
        following = [layer for layer, _, _ in flat[position : position + 2]]
        kind = next(kind for kind in (FUSED if fuse else PLAIN) if kind.replaces(following))
        replaced = flat[position : position + kind.replaces(following)]
        steps.append(kind(*map(list, zip(*replaced, strict=True))))
        position += len(replaced)
    return steps


def _flattened(
    layers: Sequence[StackedLayer], address: str, start: int, above: tuple[int, ...]
) -> Iterator[tuple[StackedLayer, str, tuple[int, ...]]]:
    """(layer, address, path of places) of each; a stack that only runs its layers in order is replaced by them."""
    for place, layer in enumerate(layers, start):
        own = f"{address}{layer.name}"
        if isinstance(layer, Stack) and runs_in_order(layer):
            yield from _flattened(layer.layers, f"{own}/", 0, (*above, place))
        else:
            yield layer, own, (*above, place)
