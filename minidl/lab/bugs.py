"""Bugs to put into a layer on purpose. Each is a subclass whose backward is wrong; a network learns in spite of most of them."""

import inspect
import textwrap
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, cast

import numpy as np

from .. import configs
from ..checking import Report, gradcheck
from ..contracts import Array, Gradients
from ..layers import Activation, Conv2D, Dense, Layer, MaxPooling2D, ReLU
from ..layers.activation import activate_backward
from ..models import Sequential
from ..ops.geometry import pad_images
from ..ops.reference.convolution import windows

# ------------------------------------------------------------------------------------------------------------- the bugs


class ActivationWithoutMask(Activation):
    def backward(self, dy: Array, cache: Array) -> tuple[Array, Gradients]:
        return dy.copy(), {}  # right: dy where the ReLU let x through, else 0


class ReLUWithoutMask(ReLU):
    def backward(self, dy: Array, cache: Array) -> tuple[Array, Gradients]:
        return dy.copy(), {}  # right: dy where the ReLU let x through, else 0


class DenseWithoutMask(Dense):
    def backward(self, dy: Array, cache: tuple[Array, Array]) -> tuple[Array, Gradients]:
        x, y = cache
        return super().backward(dy, (x, np.ones_like(y)))  # right: y, so that dy becomes 0 where y is 0


class Conv2DWithoutMask(Conv2D):
    def backward(self, dy: Array, cache: tuple[Array, Array]) -> tuple[Array, Gradients]:
        x, y = cache
        return super().backward(dy, (x, np.ones_like(y)))  # right: y, so that dy becomes 0 where y is 0


class PoolTiesAllWin(MaxPooling2D):
    def forward(self, x: Array, **how: Any) -> tuple[Array, Any]:
        y, (index, shape) = super().forward(x, **how)
        return y, (index, (x, y, shape))

    def backward(self, dy: Array, cache: Any) -> tuple[Array, Gradients]:
        _, (x, y, _) = cache
        (rows, columns), (down, right) = y.shape[1:3], self.strides
        dx = np.zeros_like(x)
        for a, b in np.ndindex(self.pool_size):
            cell = np.s_[:, a : a + (rows - 1) * down + 1 : down, b : b + (columns - 1) * right + 1 : right]
            dx[cell] += np.where(x[cell] == y, dy, 0)  # right: only the first of those that are equal
        return dx, {}


class Conv2DOverwrites(Conv2D):
    def backward(self, dy: Array, cache: tuple[Array, Array]) -> tuple[Array, Gradients]:
        x, kept = cache
        dx, gradients = super().backward(dy, cache)
        dz = activate_backward(self.ops, self.activation, dy, kept)
        padded, _, _ = pad_images(x, self.kernel_size, self.strides, self.padding)
        patches = windows(padded, self.kernel_size, self.strides)
        # A loop over all windows with "=" leaves what the last one gave; right: "+=", their sum.
        gradients["kernel"] = np.tensordot(patches[:, -1, -1], dz[:, -1, -1], axes=(0, 0))
        return dx, gradients


class Conv2DStops(Conv2D):
    def backward(self, dy: Array, cache: tuple[Array, Array]) -> tuple[Array, Gradients]:
        dx, gradients = super().backward(dy, cache)
        return np.zeros_like(dx), gradients  # right: dx


class DenseReshapes(Dense):
    def backward(self, dy: Array, cache: tuple[Array, Array]) -> tuple[Array, Gradients]:
        _, kept = cache
        _, gradients = super().backward(dy, cache)
        dz, kernel = activate_backward(self.ops, self.activation, dy, kept), self.params["kernel"]
        return dz @ kernel.reshape(kernel.shape[::-1]), gradients  # right: dz @ kernel.T


class DenseBiasOfOne(Dense):
    def backward(self, dy: Array, cache: tuple[Array, Array]) -> tuple[Array, Gradients]:
        _, kept = cache
        dx, gradients = super().backward(dy, cache)
        dz = activate_backward(self.ops, self.activation, dy, kept)
        return dx, {**gradients, "bias": dz[-1].copy()}  # right: dz.sum(axis=0)


class Conv2DBiasOfOne(Conv2D):
    def backward(self, dy: Array, cache: tuple[Array, Array]) -> tuple[Array, Gradients]:
        _, kept = cache
        dx, gradients = super().backward(dy, cache)
        dz = activate_backward(self.ops, self.activation, dy, kept)
        return dx, {**gradients, "bias": dz[-1, -1, -1].copy()}  # right: dz.sum(axis=(0, 1, 2))


# ------------------------------------------------------------------------------------------------------------ the table


@dataclass(frozen=True)
class Bug:
    """A kind of bug. title, says: what is wrong, in a few words and in a sentence. classes: the layer's class → the faulty one.
    fits: whether a layer of such a class can have it. blind: a mode of gradcheck that does not see it, to show beside the one
    that does; mode: that one."""

    title: str
    says: str
    classes: dict[type[Layer], type[Layer]]
    fits: Callable[[Any], bool] = lambda layer: True
    mode: str = "entries"
    blind: str | None = None


BUGS = {
    "relu-without-mask": Bug(
        "ReLU without its mask",
        "Its backward passes dy on as it is, so what a ReLU has switched off is blamed all the same.",
        {
            Activation: ActivationWithoutMask,
            ReLU: ReLUWithoutMask,
            Conv2D: Conv2DWithoutMask,
            Dense: DenseWithoutMask,
        },
        lambda layer: isinstance(layer, ReLU) or layer.activation == "relu",
    ),
    "pool-ties-all-win": Bug(
        "Pool where ties all win",
        "Where several pixels of a window share the maximum, each of them gets the whole gradient.",
        {MaxPooling2D: PoolTiesAllWin},
        lambda layer: layer.padding == "valid",
        mode="ties",
        blind="entries",
    ),
    "conv-equals": Bug(
        "“=” for “+=” in the kernel's gradient",
        "A weight is used in every window, so its gradient is the sum over all of them. Here the last one overwrites the rest.",
        {Conv2D: Conv2DOverwrites},
    ),
    "conv-stops": Bug(
        "Convolution that passes nothing on",
        "Its dx is all zeros: what lies below never learns, and the blame does not reach the picture.",
        {Conv2D: Conv2DStops},
    ),
    "dense-reshapes": Bug(
        "Reshape for a transpose",
        "The shapes were made to fit with reshape instead of .T, so dx holds the right weights at the wrong places.",
        {Dense: DenseReshapes},
        lambda layer: min(layer.params["kernel"].shape) > 1,
    ),
    "bias-of-one": Bug(
        "Bias without its sum",
        "The bias is used for every sample, and in every place; its gradient is that of the last one alone.",
        {Dense: DenseBiasOfOne, Conv2D: Conv2DBiasOfOne},
        lambda layer: layer.use_bias,
    ),
}


FAULTY: dict[str, type[Layer]] = {cls.__name__: cls for bug in BUGS.values() for cls in bug.classes.values()}


def right_class(layer: object) -> type:
    """The layer's class; of a faulty layer the one that its own was derived from."""
    return type(layer).__bases__[0] if type(layer) in FAULTY.values() else type(layer)


def places(model: Sequential) -> Iterator[tuple[str, str]]:
    """(bug, address of a layer) for every bug that the model can have, whether it has one or not."""
    for bug, about in BUGS.items():
        for address, layer in model.leaves():
            if right_class(layer) in about.classes and about.fits(layer):
                yield bug, address


def faulty_twin(layer: Any, bug: str) -> Layer:
    """A layer with the same settings and the bug, not built yet."""
    return BUGS[bug].classes[type(layer)](**layer.get_config())


def right_twin(layer: Any) -> Layer:
    """A layer with the same settings and without the bug, not built yet."""
    return cast(Layer, right_class(layer)(**layer.get_config()))


def with_layer(model: Sequential, address: str, cls: type) -> Sequential:
    """A copy of a model, not compiled, in which one layer is of another class, with the same settings and weights."""
    config = model.get_config()
    entry = _entry(config["layers"], address.split("/"))
    for key in ("class_name", configs.CUSTOM):
        entry.pop(key, None)
    entry[configs.CUSTOM if cls.__name__ in FAULTY else "class_name"] = cls.__name__
    changed = Sequential.from_config(config, FAULTY)
    changed.tie(model.ties())
    changed.set_weights(model.get_weights())
    return changed


def _entry(entries: list[Any], path: list[str]) -> dict[str, Any]:
    """What a config says of the layer at a path."""
    entry = next(each for each in entries if each["config"]["name"] == path[0])
    if len(path) == 1:
        return cast(dict[str, Any], entry)
    inside = [*entry["config"]["layers"], entry["config"].get("projection")]
    return _entry([each for each in inside if each is not None], path[1:])


# ----------------------------------------------------------------------------------------------------------- the verdict


def check(layer: Any, mode: str) -> Report:
    """gradcheck of a layer that is not built, on small random samples that fit it; for ties on samples of one colour."""
    shape = _small(layer)
    x = np.ones(shape) if mode == "ties" else np.random.default_rng(0).normal(size=shape)
    return gradcheck(layer, x, mode=mode)


def _small(layer: Any) -> tuple[int, ...]:
    """Two samples, not square, so that no two axes can be confused; for windows, a few places of them."""
    if isinstance(layer, Dense):
        return 2, 5
    window = getattr(layer, "kernel_size", getattr(layer, "pool_size", None))
    if window is None:
        return 2, 3, 4
    return 2, window[0] + layer.strides[0], window[1] + 2 * layer.strides[1], 2


def code(layer: Layer) -> str:
    """The source of a faulty layer."""
    return textwrap.dedent(inspect.getsource(type(layer))).rstrip()
