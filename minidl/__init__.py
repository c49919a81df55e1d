"""minidl: neural networks from scratch, every layer with its forward and its backward in the open, fast on a CPU."""

from typing import TYPE_CHECKING

from . import (
    backprop,
    callbacks,
    checking,
    datasets,
    initializers,
    layers,
    losses,
    metrics,
    models,
    optimizers,
    regularizers,
    utils,
)
from .checking import GradientError, assert_gradients, gradcheck
from .engine.workers import get_num_threads, set_num_threads
from .layers import Input
from .models import Sequential, load_model
from .ops.random import RandomKey

if TYPE_CHECKING:
    from . import distribution

ABSENT = {
    "Model": "minidl has no Model, because it has no graphs: put layers into Sequential([…]) in their order, and into "
    "layers.Residual([…]) where an input is added to an output.",
    "activations": "minidl has no module activations: give an activation by its name, as in Dense(64, activation='relu').",
    "backend": "minidl has no backend to choose: its arrays are NumPy's, and set_random_seed is in utils.",
}

__version__ = "0.1.0"

__all__ = [
    "GradientError",
    "Input",
    "RandomKey",
    "Sequential",
    "assert_gradients",
    "backprop",
    "callbacks",
    "checking",
    "datasets",
    "distribution",
    "get_num_threads",
    "gradcheck",
    "initializers",
    "layers",
    "load_model",
    "losses",
    "metrics",
    "models",
    "optimizers",
    "regularizers",
    "set_num_threads",
    "utils",
]


def __getattr__(name: str) -> object:
    """``minidl.distribution``, imported when it is first used; and what to use for a name of Keras's that is not here."""
    if name == "distribution":
        import minidl.distribution as module

        return module
    raise AttributeError(ABSENT.get(name, f"module {__name__!r} has no attribute {name!r}"))
