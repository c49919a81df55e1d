"""Shared types: arrays and shapes, and, as protocols, what the parts expect of each other.

Axis letters, in every module: N samples, H height, W width, C channels, F filters, D features of a sample, U units of a dense
layer, KH and KW a window's height and width, SH and SW its strides, OH and OW the output's height and width.
"""

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from .home import Home
    from .ops.random import RandomKey
    from .optimizers import Optimizer

Array: TypeAlias = npt.NDArray[Any]
DType: TypeAlias = np.dtype[Any]
Shape: TypeAlias = tuple[int, ...]
Pair: TypeAlias = tuple[int, int]
Path: TypeAlias = str | os.PathLike[str]
Gradients: TypeAlias = dict[str, Array]  # by the parameter's name or address
Logs: TypeAlias = dict[str, Any]  # name → float; a callback may add anything
Config: TypeAlias = dict[str, Any]  # settings by name: the arguments of a class
JSON: TypeAlias = "bool | int | float | str | Sequence[JSON] | Mapping[str, JSON] | None"  # what JSON can hold
Cache: TypeAlias = Any  # what forward keeps for backward: each layer and loss has its own kind
Target: TypeAlias = Any  # what gradcheck is given to check: an object or a function of anybody's, known by what it has
Output: TypeAlias = Any  # what such a target takes or returns: an array, several of them, or what it should not be
Named: TypeAlias = dict[str, Any]  # the same by name
Initializer: TypeAlias = Callable[[Shape, np.random.Generator, DType], Array]
MetricFunction: TypeAlias = Callable[
    [Array, Array], Any
]  # (y_true, y_pred) → a number, one a sample, or (total, count)
CustomObjects: TypeAlias = Mapping[str, Any]  # name → the user's class or function


class ArraySource(Protocol):
    """Samples that need not be in memory, such as an h5py or Zarr dataset: the parts of an array that the library needs."""

    @property
    def shape(self) -> Shape:
        """(N, …)."""

    @property
    def dtype(self) -> DType:
        """The dtype of the entries."""

    def __getitem__(self, where: Any, /) -> npt.ArrayLike:
        """The samples of a slice or, if supported, of an array of increasing indices."""


Samples: TypeAlias = ArraySource | npt.ArrayLike  # what a user may pass as data: (N, …), also as nested lists
ClassWeight: TypeAlias = Mapping[int, float] | Sequence[float] | str | npt.NDArray[Any]  # by class, or "balanced"


class LayerLike(Protocol):
    """What your own layer must have; a subclass of ``layers.Layer``, which explains it all, has it already.

    Other attributes that the library reads have defaults where they are missing: state {}, trainable True.
    """

    @property
    def params(self) -> dict[str, Array]:
        """name → array, what gradients change; an attribute or a property."""

    def build(self, input_shape: Shape, rng: np.random.Generator, dtype: DType) -> Shape:
        """Allocate the parameters; returns the output's shape."""

    def forward(self, x: Array, *, training: bool = False, rng: "RandomKey | None" = None) -> tuple[Array, Cache]:
        """x → (y, cache)."""

    def backward(self, dy: Array, cache: Cache) -> tuple[Array, Gradients]:
        """dy → (dx, gradients by name)."""


class StackedLayer(LayerLike, Protocol):
    """A layer in a stack, which sets all of these attributes but the last two; those may be missing."""

    params: dict[str, Array]  # replaced by views into the model's vector
    name: str | None
    input_shape: Shape | None  # of one sample, like output_shape; None before it is built
    output_shape: Shape | None
    home: "Home[StackLike] | None"
    trainable: bool  # a layer without it is trained
    ops: "Operations"  # a layer without it calls none


class MeasuringLayer(StackedLayer, Protocol):
    """A layer that in training needs sums over the whole batch, such as batch normalization: it has four things more.

    The engine cuts a batch into shards, and each of them meets this layer in three steps: its part of the sums, the parts' total,
    and forward with that total; backward likewise. Without ``sums``, forward and backward are given the whole batch, and measure
    for themselves: so the layer is an ordinary one wherever nothing is cut. A frozen layer, trainable=False, is not measured.
    """

    def measure(self, x: Array) -> Array:
        """x → sums in float64 that add up over the shards of a batch."""

    def forward(
        self, x: Array, *, training: bool = False, rng: "RandomKey | None" = None, sums: Array | None = None
    ) -> tuple[Array, Cache]:
        """x → (y, cache). sums: the whole batch's, as ``measure`` gives them."""

    def measure_backward(self, dy: Array, cache: Cache) -> Array:
        """dy → sums in float64 that add up over the shards of a batch."""

    def backward(self, dy: Array, cache: Cache, *, sums: Array | None = None) -> tuple[Array, Gradients]:
        """dy → (dx, gradients by name: this shard's share). sums: the whole batch's, as ``measure_backward`` gives them."""

    def learn(self, sums: Array, *, momentum: float | None = None) -> None:
        """Take a batch's sums into the state, as part of a training step.

        momentum: the share of the old state that is kept; None leaves it to the layer.
        """


class StackLike(StackedLayer, Protocol):
    """A layer that consists of layers: ``layers.Stack``, as the engine sees it."""

    layers: list[StackedLayer]

    @property
    def built(self) -> bool:
        """Whether the weights are allocated."""

    @property
    def weights(self) -> dict[str, Array]:
        """Parameters and state by address."""

    def leaves(self) -> Iterator[tuple[str, StackedLayer]]:
        """(address, layer) of every layer within that is not a stack."""

    def stacks(self) -> "Iterator[StackLike]":
        """This stack, and every one within it."""

    def ties(self) -> dict[str, str]:
        """A parameter's address → the address of the parameter whose array it shares."""

    def add_tied(self, gradients: Gradients) -> Gradients:
        """The gradients by address, one for each array, added up for tied parameters."""

    def frozen(self) -> set[int]:
        """The ids of the layers that training does not change."""


class ModelLike(StackLike, Protocol):
    """A stack that can be trained: ``Sequential``, as the engine and the files see it."""

    seed: int
    dtype: DType
    fuse: bool
    optimizer: "Optimizer | None"  # None before compile, like the loss
    loss: "LossLike | None"
    metrics: "list[tuple[str, MetricLike]]"
    epochs_trained: int
    steps_trained: int
    stop_training: bool


class TrainedModel(ModelLike, Protocol):
    """A model in training: ``Sequential``, as the loop of ``fit`` and the callbacks see it."""

    def evaluate(
        self, x: Samples, y: Samples, batch_size: int | None = None, verbose: int | str = "auto"
    ) -> float | list[float] | Logs:
        """The loss, or [loss, metric, …]."""

    def predict(self, x: Samples, batch_size: int | None = None, verbose: int | str = "auto") -> Array:
        """The predictions, (N, *output_shape)."""

    def get_weights(self) -> list[Array]:
        """Copies of all weights."""

    def set_weights(self, weights: Sequence[npt.ArrayLike]) -> None:
        """Copy the arrays into the weights."""

    def save(self, filepath: Path) -> None:
        """Write the whole model to a file."""

    def save_weights(self, filepath: Path) -> None:
        """Write the weights alone to a file."""


class LossLike(Protocol):
    """What a model can be trained on: the contract of ``losses.Loss``."""

    def forward(
        self, y_true: Array, y_pred: Array, *, sample_weight: Array | None = None, n: int | None = None
    ) -> tuple[float, Cache]:
        """The weighted sum of the samples' losses, divided by n; and the cache."""

    def backward(self, cache: Cache) -> Array:
        """dy, the gradient of forward's value with respect to y_pred."""


class MetricLike(Protocol):
    """What a model can be watched by: the contract of ``metrics.Metric``, which explains it."""

    name: str
    whole: bool

    def empty(self, output_shape: Shape) -> Array:
        """The sums of no samples."""

    def sums(self, y_true: Array, y_pred: Array) -> Array:
        """Sums over samples, which add up over shards and batches."""

    def result(self, sums: Array) -> float:
        """The metric's value, from the sums of all samples."""


class Operations(Protocol):
    """A set of operations; ``ops.reference`` shows which ones."""

    __name__: str

    def __getattr__(self, name: str) -> Callable[..., Any]:
        """The operation of that name."""
