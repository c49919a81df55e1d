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

from ..contracts import Array, Cache, Gradients, StackedLayer
from ..layers import Activation, Conv2D, Dense, Dropout, Flatten, Layer, MaxPooling2D, ReLU, Rescaling, Residual, Stack
from ..layers.activation import activate, activate_backward
from ..layers.stack import runs_in_order
from ..ops import kernels
from ..ops.kernels import direct, small
from ..ops.kernels.elementwise import add_bias, bias_backward, dropout_mask, keep, relu_backward_into
from ..ops.random import RandomKey

MOST_REPLACED = 3  # layers, by one step
NOT_NEEDED: Array = np.empty(0)  # stands for a dx that nobody will read
DRAWS_NOTHING = (Activation, Conv2D, Dense, Flatten, MaxPooling2D, ReLU, Rescaling)  # the others cost a key a batch


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


def _with_relu(layers: Sequence[StackedLayer], kind: type[Dense] | type[Conv2D]) -> int:
    """How many layers are a layer of this kind and its ReLU, which may be a layer of its own; 0 if another activation follows."""
    layer = layers[0]
    if not _fusable(layer, kind) or layer.activation not in ("linear", "relu"):
        return 0
    follows = len(layers) > 1 and (_fusable(layers[1], Activation) or _fusable(layers[1], ReLU))
    return 2 if follows and layer.activation == "linear" and _has_relu(layers[1:2]) else 1


def _has_relu(layers: Sequence[StackedLayer]) -> bool:
    """Whether one of these layers, which a step replaces, is a plain ReLU or ends in one."""
    return any(
        (layer.max_value, layer.negative_slope, layer.threshold) == (None, 0, 0)
        if isinstance(layer, ReLU)
        else getattr(layer, "activation", None) == "relu"
        for layer in layers
    )


def _bias(layer: Dense | Conv2D, size: int) -> Array:
    """The layer's bias, or zeros where it has none."""
    return layer.params["bias"] if layer.use_bias else np.zeros(size, layer.params["kernel"].dtype)


class DenseStep(LayerStep):
    """Dense with its bias and ReLU in one pass, or followed by another activation. Plain twin: Dense, Activation."""

    layer: Dense  # replaces() allows no other

    def __init__(
        self, layers: Sequence[StackedLayer], addresses: Sequence[str], places: Sequence[tuple[int, ...]]
    ) -> None:
        super().__init__(layers, addresses, places)
        self.relu = _has_relu(layers)

    @classmethod
    def replaces(cls, layers: Sequence[StackedLayer]) -> int:
        return max(1, _with_relu(layers, Dense)) if _fusable(layers[0], Dense) else 0

    def forward(self, x: Array, training: bool, rng: RandomKey | None) -> tuple[Array, Cache]:
        layer, relu = self.layer, self.relu
        kernel = layer.params["kernel"]
        if len(x) <= small.FEW:
            y = np.empty((len(x), layer.units), x.dtype)
            small.dense_forward(x, kernel, _bias(layer, layer.units), relu, y)
        else:
            y = x @ kernel
            if layer.use_bias or relu:
                add_bias(y, _bias(layer, layer.units), relu)
        y, kept = (y, y) if relu else activate(layer.ops, layer.activation, y)
        return y, (x, kept)

    def backward(self, dy: Array, cache: Cache, grads: Gradients, need_dx: bool) -> Array:
        layer, relu, (x, kept) = self.layer, self.relu, cache
        kernel, dkernel = layer.params["kernel"], grads[self.kernel]
        if not relu:
            dy = activate_backward(layer.ops, layer.activation, dy, kept)
        y = kept if relu else dy
        dbias = grads[self.bias] if layer.use_bias else np.empty(layer.units, dy.dtype)
        if len(x) <= small.FEW:
            dx = np.empty((len(x), kernel.shape[0] if need_dx else 0), dy.dtype)
            small.dense_backward(dy, x, y, kernel, relu, dkernel, dbias, dx)
            return dx if need_dx else NOT_NEEDED
        if layer.use_bias or relu:
            bias_backward(dy, y, relu, dbias)
        np.matmul(x.T, dy, out=dkernel)
        return dy @ kernel.T if need_dx else NOT_NEEDED


def _relu_backward(dy: Array, y: Array) -> Array:
    """dz, written over dy."""
    flat = dy.reshape(-1)
    relu_backward_into(flat, y.reshape(-1), flat)
    return dy


class ConvStep(LayerStep):
    """Conv2D in float32, with its bias and ReLU or followed by another activation. Plain twin: Conv2D, Activation."""

    layer: Conv2D  # replaces() allows no other

    @classmethod
    def replaces(cls, layers: Sequence[StackedLayer]) -> int:
        layer = layers[0]
        if not _fusable(layer, Conv2D) or layer.params["kernel"].dtype != np.float32:
            return 0
        return max(1, _with_relu(layers, Conv2D))

    def forward(self, x: Array, training: bool, rng: RandomKey | None) -> tuple[Array, Cache]:
        layer, relu = self.layer, _has_relu(self.layers)
        y = direct.forward(x, layer.params["kernel"], _bias(layer, layer.filters), layer.strides, layer.padding, relu)
        y, kept = (y, y) if relu else activate(layer.ops, layer.activation, y)
        return y, (x, kept)

    def backward(self, dy: Array, cache: Cache, grads: Gradients, need_dx: bool) -> Array:
        layer, (x, kept) = self.layer, cache
        relu = _has_relu(self.layers)
        dz = _relu_backward(dy, kept) if relu else activate_backward(layer.ops, layer.activation, dy, kept)
        dx, dkernel, dbias = direct.backward(dz, x, layer.params["kernel"], layer.strides, layer.padding, need_dx)
        grads[self.kernel][...] = dkernel
        if layer.use_bias:
            grads[self.bias][...] = dbias
        return dx if need_dx else NOT_NEEDED


class ConvPoolStep(LayerStep):
    """A ConvStep and the 2×2 MaxPooling2D after it, whose input is never kept. Plain twin: the layers."""

    layer: Conv2D  # replaces() allows no other

    @classmethod
    def replaces(cls, layers: Sequence[StackedLayer]) -> int:
        convolution = ConvStep.replaces(layers) and _with_relu(layers, Conv2D)
        if not convolution or len(layers) == convolution:
            return 0
        pool = layers[convolution]
        fits = _fusable(pool, MaxPooling2D) and pool.pool_size == pool.strides == (2, 2) and pool.padding == "valid"
        return convolution + 1 if fits else 0

    def forward(self, x: Array, training: bool, rng: RandomKey | None) -> tuple[Array, Cache]:
        layer, relu = self.layer, _has_relu(self.layers)
        bias = _bias(layer, layer.filters)
        y, index = direct.forward_pooled(x, layer.params["kernel"], bias, layer.strides, layer.padding, relu)
        return y, (x, index)

    def backward(self, dy: Array, cache: Cache, grads: Gradients, need_dx: bool) -> Array:
        layer, (x, index) = self.layer, cache
        kernel = layer.params["kernel"]
        dx, dkernel, dbias = direct.backward_pooled(dy, index, x, kernel, layer.strides, layer.padding, need_dx)
        grads[self.kernel][...] = dkernel
        if layer.use_bias:
            grads[self.bias][...] = dbias
        return dx if need_dx else NOT_NEEDED


WITHOUT_BLAS = (ConvPoolStep, ConvStep, FlattenStep, DropoutStep)  # and DenseStep for few samples


def may_call_blas(steps: Sequence[LayerStep], n: int) -> bool:
    """Whether one of them may call BLAS for n samples."""
    return any(
        not isinstance(step, WITHOUT_BLAS) and not (isinstance(step, DenseStep) and n <= small.FEW) for step in steps
    )


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
        following = [layer for layer, _, _ in flat[position : position + MOST_REPLACED]]
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
