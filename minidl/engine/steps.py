"""What runs in place of one or more layers: a step has a layer's contract, but writes its gradients into given arrays.

    y, cache = step.forward(x, training, rng)
    dx = step.backward(dy, cache, grads, need_dx)      # grads: address → the array to write to

Nobody else uses the dy that backward is given, so it may be overwritten; a cache never is, so backward may be called twice. Each
class says with ``replaces`` how many of the next layers it can stand for; the first class in the table that can is chosen. A
fused step replaces only the library's own classes: a subclass may compute something else.

A StagedStep needs sums over the whole batch, or has steps inside that may: its forward and backward are generators, which stop
there, see ``stages``.
"""

from collections.abc import Iterator, Sequence
from typing import Any, ClassVar, TypeGuard, TypeVar

import numpy as np

from ..contracts import Array, Cache, Gradients, MeasuringLayer, StackedLayer
from ..layers import (
    Activation,
    BatchNormalization,
    Conv2D,
    Dense,
    Dropout,
    Flatten,
    Layer,
    MaxPooling2D,
    ReLU,
    Rescaling,
    Residual,
    Stack,
)
from ..layers.activation import activate, activate_backward
from ..layers.inside import is_frozen
from ..layers.stack import runs_in_order
from ..ops import kernels
from ..ops.kernels import direct, small
from ..ops.kernels import normalization as norm
from ..ops.kernels.elementwise import add_bias, bias_backward, relu_backward_into
from ..ops.kernels.noise import dropout_mask, keep
from ..ops.random import RandomKey
from ..utils.names import is_ours
from .stages import Part, Stages, alone

MOST_REPLACED = 4  # layers, by one step
NOT_NEEDED: Array = np.empty(0)  # stands for a dx that nobody will read
# for any other layer, a key has to be derived for each batch
DRAWS_NOTHING = (Activation, BatchNormalization, Conv2D, Dense, Flatten, MaxPooling2D, ReLU, Rescaling)


def forward(
    steps: Sequence["LayerStep"], x: Array, training: bool, rng: RandomKey | None
) -> Stages[tuple[Array, list[Cache]]]:
    """Run the steps in order.  x (n, …) → y of the last one, and the cache of each."""
    caches = []
    for step in steps:
        key = None if rng is None else step.key(rng)
        if isinstance(step, StagedStep):
            x, cache = yield from step.forward_in_stages(x, training, key)
        else:
            x, cache = step.forward(x, training, key)
        caches.append(cache)
    return x, caches


def backward(
    steps: Sequence["LayerStep"], dy: Array, caches: Sequence[Cache], grads: Gradients, lowest: int, need_dx: bool
) -> Stages[Array]:
    """Run them backward, down to the step ``lowest``.  dy → its dx; every parameter's gradient is written to ``grads``."""
    for i in range(len(steps) - 1, lowest - 1, -1):
        step = steps[i]
        if isinstance(step, StagedStep):
            dy = yield from step.backward_in_stages(dy, caches[i], grads, need_dx or i > lowest)
        else:
            dy = step.backward(dy, caches[i], grads, need_dx or i > lowest)
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
        hidden = hidden_in(self.layer) if training else []
        if hidden:
            raise ValueError(
                f"layer {self.address!r} has a forward of its own, and {hidden[0]} inside, which needs sums over the whole batch "
                "that only the model can make: put it outside, or give the layers one after the other, in Stack or Residual."
            )
        # A layer of the user's may write into its x, which may be the caller's data, or what the step before keeps.
        own = x if is_ours(type(self.layer)) else x.copy()
        return self.given(self.layer.forward(own, training=training, rng=rng), x)

    def given(self, returned: object, x: Array) -> tuple[Array, Cache]:
        """(y, cache) of what the layer's forward has returned."""
        y, cache = _pair(returned, self.address, "forward", "(y, cache)")
        expected = (len(x), *(self.layer.output_shape or ()))
        if np.shape(y) != expected:
            raise ValueError(
                f"layer {self.address!r}: forward must return shape {expected}, as its build said, received {np.shape(y)}."
            )
        return np.ascontiguousarray(y, x.dtype), cache

    def backward(self, dy: Array, cache: Cache, grads: Gradients, need_dx: bool) -> Array:
        return self.taken(self.layer.backward(dy, cache), dy, grads)

    def taken(self, returned: object, dy: Array, grads: Gradients) -> Array:
        """dx of what the layer's backward has returned, whose gradients are written to where they belong."""
        dx, own = _pair(returned, self.address, "backward", "(dx, gradients by name)")
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


def hidden_in(layer: StackedLayer) -> list[StackedLayer]:
    """The layers in a stack that need sums over the whole batch in training; a frozen one needs none."""
    leaves = [each for _, each in layer.leaves()] if isinstance(layer, Stack) else []
    return [each for each in leaves if is_measuring(each) and not is_frozen(each)]


def is_measuring(layer: object) -> TypeGuard[MeasuringLayer]:
    """Whether it is a layer that needs sums over the whole batch."""
    return hasattr(layer, "measure_backward")


class StagedStep(LayerStep):
    """A step that may stop for a sum over the whole batch; called as others are, it has been given all of it."""

    def forward_in_stages(self, x: Array, training: bool, rng: RandomKey | None) -> Stages[tuple[Array, Cache]]:
        """As forward."""
        raise NotImplementedError

    def backward_in_stages(self, dy: Array, cache: Cache, grads: Gradients, need_dx: bool) -> Stages[Array]:
        """As backward."""
        raise NotImplementedError

    def forward(self, x: Array, training: bool, rng: RandomKey | None) -> tuple[Array, Cache]:
        return alone(self.forward_in_stages(x, training, rng))[0]

    def backward(self, dy: Array, cache: Cache, grads: Gradients, need_dx: bool) -> Array:
        return alone(self.backward_in_stages(dy, cache, grads, need_dx))[0]


class MeasuredStep(StagedStep):
    """Any layer that needs sums over the whole batch, in training and while it is not frozen."""

    layer: MeasuringLayer  # replaces() allows no other

    @classmethod
    def replaces(cls, layers: Sequence[StackedLayer]) -> int:
        return int(is_measuring(layers[0]))

    def forward_in_stages(self, x: Array, training: bool, rng: RandomKey | None) -> Stages[tuple[Array, Cache]]:
        layer, total = self.layer, None
        if training and not is_frozen(layer):
            total = yield Part(layer.measure(x), layer)
        y, cache = self.given(layer.forward(x, training=total is not None, rng=rng, sums=total), x)
        return y, (cache, total is not None)

    def backward_in_stages(self, dy: Array, cache: Cache, grads: Gradients, need_dx: bool) -> Stages[Array]:
        own, measured = cache
        total = (yield Part(self.layer.measure_backward(dy, own))) if measured else None
        return self.taken(self.layer.backward(dy, own, sums=total), dy, grads)


class ResidualStep(StagedStep):
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

    def forward_in_stages(self, x: Array, training: bool, rng: RandomKey | None) -> Stages[tuple[Array, Cache]]:
        y, caches = yield from forward(self.inner, x, training, rng)
        skip, others = yield from forward(self.projection, x, training, rng)
        return skip + y, (caches, others)

    def backward_in_stages(self, dy: Array, cache: Cache, grads: Gradients, need_dx: bool) -> Stages[Array]:
        caches, others = cache
        dx = yield from backward(self.inner, dy.copy(), caches, grads, 0, need_dx)
        dskip = yield from backward(self.projection, dy, others, grads, 0, need_dx)
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


class NormStep(MeasuredStep):
    """BatchNormalization and the ReLU after it together: in training, in two passes forward and two backward. Plain twin:
    BatchNormalization, Activation.

    Whether the ReLU was at 0 is computed again from x, which is kept in any case.
    """

    layer: BatchNormalization  # replaces() allows no other

    @classmethod
    def replaces(cls, layers: Sequence[StackedLayer]) -> int:
        return _with_relu(layers, BatchNormalization)

    def forward_in_stages(self, x: Array, training: bool, rng: RandomKey | None) -> Stages[tuple[Array, Cache]]:
        layer, total = self.layer, None
        if training and not is_frozen(layer):
            total = yield Part(layer.measure(x), layer)
        mean, inverse, count = layer.statistics(x.dtype, total)
        scale, beta = (
            norm.scale_of(inverse, layer.params.get("gamma")),
            norm.shift_of(inverse, layer.params.get("beta")),
        )
        y, kept = self.normalized(x, mean, scale, beta)
        return y, (x, kept, mean, inverse, count, scale)

    def backward_in_stages(self, dy: Array, cache: Cache, grads: Gradients, need_dx: bool) -> Stages[Array]:
        x, kept, mean, inverse, count, scale = cache
        own = np.zeros((2, x.shape[-1]))
        self.add_sums(dy, x, kept, mean, scale, own)
        own[1] *= inverse
        for name, gradient in (("beta", own[0]), ("gamma", own[1])):
            if name in self.layer.params:
                grads[f"{self.address}/{name}"][...] = gradient
        if not need_dx:
            return NOT_NEEDED
        total = (yield Part(own)) / count if count else np.zeros_like(own)
        shift, slope = norm.slopes_of(scale, inverse, *total)
        return self.dx(dy, x, kept, mean, scale, shift, slope)

    def normalized(self, x: Array, mean: Array, scale: Array, beta: Array) -> tuple[Array, Array]:
        """y, and what the next two methods need beside x."""
        y = np.empty_like(x)
        norm.forward_into(norm.rows(x), mean, scale, beta, _has_relu(self.layers), norm.rows(y))
        return y, beta

    def add_sums(self, dy: Array, x: Array, kept: Array, mean: Array, scale: Array, sums: Array) -> None:
        """Add Σ dz and Σ dz · (x − mean) of each channel, where dz is the gradient in front of the ReLU.  sums (2, C)"""
        norm.backward_sums_into(norm.rows(dy), norm.rows(x), mean, scale, kept, _has_relu(self.layers), sums)

    def dx(self, dy: Array, x: Array, kept: Array, mean: Array, scale: Array, shift: Array, slope: Array) -> Array:
        """scale · dz − shift − (x − mean) · slope, written over dy."""
        flat = norm.rows(dy)
        norm.backward_into(flat, norm.rows(x), mean, scale, kept, _has_relu(self.layers), shift, slope, flat)
        return dy


class NormPoolStep(NormStep):
    """A NormStep and the 2×2 MaxPooling2D after it, whose input is never kept. Plain twin: the layers."""

    @classmethod
    def replaces(cls, layers: Sequence[StackedLayer]) -> int:
        normalization = NormStep.replaces(layers)
        return normalization + 1 if normalization and _pools(layers[normalization:]) else 0

    def normalized(self, x: Array, mean: Array, scale: Array, beta: Array) -> tuple[Array, Array]:
        n, height, width, channels = x.shape
        y = np.empty((n, height // 2, width // 2, channels), x.dtype)
        index = np.empty(y.shape, np.uint8)
        norm.forward_pooled_into(x, mean, scale, beta, _has_relu(self.layers), y, index)
        return y, index

    def add_sums(self, dy: Array, x: Array, kept: Array, mean: Array, scale: Array, sums: Array) -> None:
        norm.backward_pooled_sums_into(dy, kept, x, mean, sums)

    def dx(self, dy: Array, x: Array, kept: Array, mean: Array, scale: Array, shift: Array, slope: Array) -> Array:
        dx = np.empty_like(x)
        norm.backward_pooled_into(dy, kept, x, mean, scale, shift, slope, dx)
        return dx


class DropoutStep(LayerStep):
    """Dropout that keeps its mask for backward, one byte per entry, and copies nothing outside training. Plain twin: Dropout."""

    layer: Dropout  # replaces() allows no other

    @classmethod
    def replaces(cls, layers: Sequence[StackedLayer]) -> int:
        return int(_fusable(layers[0], Dropout))

    def forward(self, x: Array, training: bool, rng: RandomKey | None) -> tuple[Array, Cache]:
        if not training or self.layer.rate == 0 or rng is None:
            return x, None
        y, kept = np.empty(x.shape, x.dtype), np.empty(x.shape, np.bool_)
        dropout_mask(kept, self.layer.rate, rng)
        keep(np.ascontiguousarray(x), kept, self.layer.rate, y)
        return y, kept

    def backward(self, dy: Array, cache: Cache, grads: Gradients, need_dx: bool) -> Array:
        if cache is not None:
            keep(dy, cache, self.layer.rate, dy)
        return dy


def _with_relu(layers: Sequence[StackedLayer], kind: type[Dense] | type[Conv2D] | type[BatchNormalization]) -> int:
    """How many layers are a layer of this kind and its ReLU, which may be a layer of its own; 0 if another activation follows."""
    layer = layers[0]
    activation = getattr(layer, "activation", "linear")
    if not _fusable(layer, kind) or activation not in ("linear", "relu"):
        return 0
    follows = len(layers) > 1 and (_fusable(layers[1], Activation) or _fusable(layers[1], ReLU))
    return 2 if follows and activation == "linear" and _has_relu(layers[1:2]) else 1


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


def _pools(layers: Sequence[StackedLayer]) -> bool:
    """Whether the first of these layers is a 2×2 max-pool without padding."""
    pool = layers[0] if layers else None
    return (
        pool is not None
        and _fusable(pool, MaxPooling2D)
        and pool.pool_size == pool.strides == (2, 2)
        and pool.padding == "valid"
    )


class ConvPoolStep(LayerStep):
    """A ConvStep and the 2×2 MaxPooling2D after it, whose input is never kept. Plain twin: the layers."""

    layer: Conv2D  # replaces() allows no other

    @classmethod
    def replaces(cls, layers: Sequence[StackedLayer]) -> int:
        convolution = ConvStep.replaces(layers) and _with_relu(layers, Conv2D)
        if not convolution or len(layers) == convolution:
            return 0
        return convolution + 1 if _pools(layers[convolution:]) else 0

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


class ConvNormStep(StagedStep):
    """Conv2D in float32, its BatchNormalization, and the ReLU and 2×2 MaxPooling2D after them. Plain twin: the layers.

    With moving averages the normalization is one factor and one shift for each filter, so that it folds into the convolution:
    scale · (x ∗ kernel + bias − μ) + beta = x ∗ (scale · kernel) + (scale · (bias − μ) + beta). The moments of a batch are known
    only when all of it is convolved: with those, the steps of these layers run one after the other.
    """

    layer: Conv2D  # replaces() allows no other

    def __init__(
        self, layers: Sequence[StackedLayer], addresses: Sequence[str], places: Sequence[tuple[int, ...]]
    ) -> None:
        super().__init__(layers, addresses, places)
        assert isinstance(layers[1], BatchNormalization)
        self.norm, self.above = layers[1], f"{addresses[1]}/"
        self.relu, self.pooled = _has_relu(layers), isinstance(layers[-1], MaxPooling2D)
        above = NormPoolStep if self.pooled else NormStep
        self.steps = [
            ConvStep(layers[:1], addresses[:1], places[:1]),
            above(layers[1:], addresses[1:], places[1:]),
        ]

    @classmethod
    def replaces(cls, layers: Sequence[StackedLayer]) -> int:
        layer = layers[0]
        if not _fusable(layer, Conv2D) or not ConvStep.replaces(layers[:1]) or layer.activation != "linear":
            return 0
        normalization = NormStep.replaces(layers[1:]) if len(layers) > 1 else 0
        return normalization and 1 + normalization + _pools(layers[1 + normalization :])

    def forward_in_stages(self, x: Array, training: bool, rng: RandomKey | None) -> Stages[tuple[Array, Cache]]:
        if training and not is_frozen(self.norm):
            return (yield from forward(self.steps, x, training, None))
        layer = self.layer
        mean, inverse, _ = self.norm.statistics(x.dtype, None)
        scale = norm.scale_of(inverse, self.norm.params.get("gamma"))
        kernel = layer.params["kernel"] * scale
        bias = (_bias(layer, layer.filters) - mean) * scale + norm.shift_of(scale, self.norm.params.get("beta"))
        how = kernel, bias, layer.strides, layer.padding, self.relu
        if self.pooled:
            y, kept = direct.forward_pooled(x, *how)
        else:
            y = kept = direct.forward(x, *how)
        return y, (x, kept, kernel, scale, mean, inverse)

    def backward_in_stages(self, dy: Array, cache: Cache, grads: Gradients, need_dx: bool) -> Stages[Array]:
        if isinstance(cache, list):
            return (yield from backward(self.steps, dy, cache, grads, 0, need_dx))
        layer, (x, kept, kernel, scale, mean, inverse) = self.layer, cache
        how = kernel, layer.strides, layer.padding, need_dx
        if self.pooled:
            dx, dfolded, dshift = direct.backward_pooled(dy, kept, x, *how)
        else:
            dx, dfolded, dshift = direct.backward(_relu_backward(dy, kept) if self.relu else dy, x, *how)
        dscale = (dfolded * layer.params["kernel"]).sum(axis=(0, 1, 2)) + dshift * (_bias(layer, layer.filters) - mean)
        found = {self.kernel: dfolded * scale, self.bias: dshift * scale}
        found |= {f"{self.above}gamma": dscale * inverse, f"{self.above}beta": dshift}
        for address, gradient in found.items():
            if address in grads:
                grads[address][...] = gradient
        return dx if need_dx else NOT_NEEDED


WITHOUT_BLAS = (
    ConvNormStep,
    ConvPoolStep,
    ConvStep,
    NormStep,
    FlattenStep,
    DropoutStep,
)  # and DenseStep for few samples


def may_call_blas(steps: Sequence[LayerStep], n: int) -> bool:
    """Whether one of them may call BLAS for n samples."""
    return any(
        not isinstance(step, WITHOUT_BLAS) and not (isinstance(step, DenseStep) and n <= small.FEW) for step in steps
    )


PLAIN: tuple[type[LayerStep], ...] = (ResidualStep, MeasuredStep, LayerStep)
FUSED: tuple[type[LayerStep], ...] = (
    ConvNormStep,
    ConvPoolStep,
    ConvStep,
    DenseStep,
    FlattenStep,
    DropoutStep,
    NormPoolStep,
    NormStep,
    FusedResidualStep,
    MeasuredStep,
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
