"""minidl: neural networks from scratch, every layer with its forward and its backward in the open, fast on a CPU."""

from . import callbacks, datasets, initializers, layers, losses, metrics, models, optimizers, utils
from .engine.workers import get_num_threads, set_num_threads
from .models import Sequential
from .ops.random import RandomKey

__version__ = "0.1.0"

__all__ = [
    "RandomKey",
    "Sequential",
    "callbacks",
    "datasets",
    "get_num_threads",
    "initializers",
    "layers",
    "losses",
    "metrics",
    "models",
    "optimizers",
    "set_num_threads",
    "utils",
]
