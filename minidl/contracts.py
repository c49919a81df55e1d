"""The types that all parts share: arrays and shapes, and what one part expects of another, as protocols.

Axis letters, in every module: N samples, H height, W width, C channels, F filters, D features of a sample, U units of a dense
layer, KH and KW a window's height and width, SH and SW its strides, OH and OW the output's height and width.
"""

import os
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from .ops.random import RandomKey

Array: TypeAlias = npt.NDArray[Any]
DType: TypeAlias = np.dtype[Any]
Shape: TypeAlias = tuple[int, ...]
Pair: TypeAlias = tuple[int, int]
Path: TypeAlias = str | os.PathLike[str]
Gradients: TypeAlias = dict[str, Array]  # by the parameter's name or address
Logs: TypeAlias = dict[str, Any]  # name → float; a callback may add what it likes
Config: TypeAlias = dict[str, Any]  # settings by name, as JSON can hold them
Cache: TypeAlias = Any  # what forward keeps for backward: each layer and loss has its own form of it
Initializer: TypeAlias = Callable[[Shape, np.random.Generator, DType], Array]
Metric: TypeAlias = Callable[[Array, Array], tuple[float, int]]  # (y_true, y_pred) → (total, count)
CustomObjects: TypeAlias = Mapping[str, Any]  # name → the user's class or function


class LayerLike(Protocol):
    """What can stand in a model: the contract of ``layers.Layer``, whose subclass a layer need not be.

    What else the library reads of a layer has a default where it is missing: state {}, trainable True.
    """

    name: str | None
    ops: "Operations"
    input_shape: Shape | None
    output_shape: Shape | None

    @property
    def params(self) -> dict[str, Array]:
        """name → array, what gradients change."""

    def build(self, input_shape: Shape, rng: np.random.Generator, dtype: DType) -> Shape:
        """Allocate the parameters; returns the output's shape."""

    def forward(self, x: Array, *, training: bool = False, rng: "RandomKey | None" = None) -> tuple[Array, Cache]:
        """x → (y, cache)."""

    def backward(self, dy: Array, cache: Cache) -> tuple[Array, Gradients]:
        """dy → (dx, gradients by name)."""


class LossLike(Protocol):
    """What a model can be trained on: the contract of ``losses.Loss``."""

    def forward(
        self, y_true: Array, y_pred: Array, *, sample_weight: Array | None = None, n: int | None = None
    ) -> tuple[float, Cache]:
        """The weighted sum of the samples' losses, divided by n; and the cache."""

    def backward(self, cache: Cache) -> Array:
        """dy, the gradient of forward's value with respect to y_pred."""


class Operations(Protocol):
    """A set of operations; ``ops.reference`` shows which there are."""

    __name__: str

    def __getattr__(self, name: str) -> Callable[..., Any]:
        """The operation of that name."""
