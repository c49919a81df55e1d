"""The contract of every layer: nothing is hidden between forward and backward."""

from collections.abc import Sequence
from typing import Any, ClassVar, TypedDict

import numpy as np
import numpy.typing as npt

from ..checks import check_name, check_shape
from ..contracts import Array, Cache, Config, DType, Gradients, Operations, Shape, StackLike
from ..home import Home
from ..initializers import name_of
from ..ops import OPERATIONS, kernels, set_name
from ..ops.random import RandomKey
from ..utils.arrays import copy_each
from ..utils.names import Strict
from ..utils.settings import settings


class LayerSettings(TypedDict, total=False):
    """The keyword arguments that every layer accepts."""

    name: str | None
    input_shape: Shape | None
    trainable: bool


class Layer(Strict):
    """A layer: its settings, its parameters, a forward and a backward.

    A layer remembers no activations. Forward returns what backward will need as ``cache``, so a learner can look at it, many
    threads can use one layer at once, and backward cannot run without its forward. Write your own like this::

        class Scale(Layer):
            def build(self, input_shape, rng, dtype):
                self.params = {"factor": np.ones(input_shape, dtype)}
                return input_shape

            def forward(self, x, *, training=False, rng=None):
                return x * self.params["factor"], x

            def backward(self, dy, cache):
                x = cache
                return dy * self.params["factor"], {"factor": (dy * x).sum(axis=0)}

    and add it to a model like any other layer.

    Arguments: name: how the model addresses it (chosen by the model if omitted). input_shape: the shape of one sample,
    without the batch axis; only a model's first layer needs it, and only to be built before it sees data. trainable: False
    freezes it: no training step changes its parameters. It may be set at any time, and takes effect at the model's next call.

    Attributes: params: name → array, allocated by build; what gradients change. state: name → array, what training changes
    and gradients do not. ops: the set of operations to call, set by the model. output_shape: the shape of one sample of the
    output, set by the model. home: a reference to the stack that it is in, None outside of models.
    """

    no_settings: ClassVar[tuple[str, ...]] = ("input_shape", "trainable")  # arguments that get_config leaves out

    def __init__(self, *, name: str | None = None, input_shape: Shape | None = None, trainable: bool = True) -> None:
        self.name = None if name is None else check_name(name)
        self.input_shape = None if input_shape is None else check_shape(input_shape, f"{self} input_shape")
        self.output_shape: Shape | None = None
        self.trainable = bool(trainable)
        self.home: Home[StackLike] | None = None
        self.params: dict[str, Array] = {}
        self.state: dict[str, Array] = {}
        self.ops: Operations = kernels

    def __str__(self) -> str:
        return f"{type(self).__name__} {self.name!r}" if self.name else type(self).__name__

    def build(self, input_shape: Shape, rng: np.random.Generator, dtype: DType) -> Shape:
        """Allocate the parameters for samples of this shape, and return the output's shape, both without the batch axis.

        Raises ValueError where the layer cannot work on such samples. A layer that has no parameters and keeps the shape need
        not define it.
        """
        return input_shape

    def forward(self, x: Array, *, training: bool = False, rng: RandomKey | None = None) -> tuple[Array, Cache]:
        """x (N, *input_shape) → y (N, *output_shape), and the cache: exactly what backward will need, nothing else."""
        raise NotImplementedError(
            f"{type(self).__name__} must define forward(x, *, training=False, rng=None) → (y, cache)"
        )

    def backward(self, dy: Array, cache: Cache) -> tuple[Array, Gradients]:
        """dy (N, *output_shape) → dx (N, *input_shape), and {parameter's name: its gradient}.

        Changes neither dy nor the cache, and may be called twice.
        """
        raise NotImplementedError(f"{type(self).__name__} must define backward(dy, cache) → (dx, gradients by name)")

    def __call__(self, *inputs: object, **options: object) -> Any:
        """Raises TypeError: layers are called by models, or by hand with ``forward``."""
        raise TypeError(
            f"{self} cannot be called: minidl has no graphs, so put layers into Sequential([…]) in their order, or into "
            "Residual([…]) where an input is added to an output. By hand, once it is built: y, cache = layer.forward(x)."
        )

    def get_config(self) -> Config:
        """The arguments that recreate this layer, by name, as its attributes hold them; without the shape of its input.

        A layer that keeps an argument under another name, or as something that JSON cannot hold, must override this. Whether the
        layer is trainable is not included: files record that for every layer, whatever its arguments are.
        """
        found = settings(self, without=self.no_settings)
        return {key: name_of(value) for key, value in found.items()}

    def __getstate__(self) -> dict[str, object]:
        """What copy and pickle store: all attributes, but the name of the operations instead of their module.

        Attributes that are another name of a parameter or of state are listed, because joblib would make two arrays of one.
        """
        names = {id(value): name for name, value in (*self.params.items(), *self.state.items())}
        aliases = {key: names[id(value)] for key, value in vars(self).items() if id(value) in names}
        return {**vars(self), "ops": set_name(self.ops), "_aliases": aliases}

    def __setstate__(self, state: dict[str, Any]) -> None:
        state = dict(state)
        aliases = state.pop("_aliases")
        vars(self).update(state, ops=OPERATIONS[state["ops"]])
        for key, name in aliases.items():
            setattr(self, key, self.params[name] if name in self.params else self.state[name])

    def get_weights(self) -> list[Array]:
        """Copies of the parameters, in the order of ``params``, then of the state."""
        return [value.copy() for value in {**self.params, **self.state}.values()]

    def set_weights(self, weights: Sequence[npt.ArrayLike]) -> None:
        """Copy the arrays into the parameters and the state, in the order of ``get_weights``.

        Raises ValueError, and changes nothing, where their number or a shape differs.
        """
        copy_weights([*self.params.items(), *self.state.items()], weights, str(self))

    def count_params(self) -> int:
        """The number of entries in the layer's parameters and state."""
        return sum(value.size for value in {**self.params, **self.state}.values())


def copy_weights(targets: list[tuple[str, Array]], weights: Sequence[npt.ArrayLike], owner: str) -> None:
    """Copy the arrays into the targets (address, array), in order.

    Raises ValueError, and changes nothing, where one does not fit.
    """
    sources = [np.asarray(weight) for weight in weights]
    if len(sources) != len(targets):
        names = ", ".join(name for name, _ in targets)
        raise ValueError(f"{owner} has {len(targets)} weight arrays ({names}), received {len(sources)}.")
    for (name, target), source in zip(targets, sources, strict=True):
        if source.shape != target.shape:
            raise ValueError(f"{owner}: the weight {name!r} has shape {target.shape}, received {source.shape}.")
        if source.dtype.kind not in "fiub":
            raise ValueError(f"{owner}: the weight {name!r} is {target.dtype}, received {source.dtype}.")
    copy_each((target, source) for (_, target), source in zip(targets, sources, strict=True))
