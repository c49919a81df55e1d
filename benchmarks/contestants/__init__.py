"""Who takes part. Each module here is an adapter: it makes a library's model of our description and trains it as its users do.

An adapter has one class, Trainer, with

    Trainer(model, threads, seed, **options)
    prepare(x, y)               the data as the library's users hold it, which may be x and y themselves
    train(x, y, batch_size)     one pass over these samples in random order, a step of Adam for each batch
    predict(x)                  the probabilities, an array (n, classes)

and ends train and predict only when all work is done. An adapter imports its library and, of the repository, the models alone.
It raises Unsupported for a model that its library cannot train.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, NamedTuple


class Contestant(NamedTuple):
    """One row of the race.

    title: as tables show it. adapter: the module here. packages: what it imports. environment: of benchmarks/environments.
    options: for its Trainer. environ: environment variables of its process. sample: it is so slow that it trains on this
    many samples alone; its times are then scaled up, and marked.
    """

    title: str
    adapter: str
    packages: tuple[str, ...]
    environment: str
    options: Mapping[str, Any] = MappingProxyType({})
    environ: Mapping[str, str] = MappingProxyType({})
    sample: int | None = None


CONTESTANTS = {
    "minidl": Contestant("minidl", "minidl", ("minidl",), "minidl"),
    "torch": Contestant("PyTorch", "torch", ("torch",), "torch"),
    "torch_channels_last": Contestant(
        "PyTorch, channels last", "torch", ("torch",), "torch", options={"channels_last": True}
    ),
    "torch_compiled": Contestant(
        "PyTorch, step compiled",
        "torch",
        ("torch",),
        "torch",
        options={"channels_last": True, "compiled": True},
        sample=12_000,
    ),
    "tensorflow": Contestant(
        "Keras on TensorFlow",
        "keras",
        ("keras", "tensorflow"),
        "tensorflow",
        environ={"KERAS_BACKEND": "tensorflow"},
    ),
    "jax": Contestant("Keras on JAX", "keras", ("keras", "jax"), "jax", environ={"KERAS_BACKEND": "jax"}),
    "plain_jax": Contestant("JAX, jitted step", "plain_jax", ("jax",), "jax", sample=12_000),
    "tinygrad": Contestant("tinygrad", "tinygrad", ("tinygrad",), "tinygrad", environ={"DEV": "CPU"}, sample=2_000),
    "mlx": Contestant("MLX on the CPU", "mlx", ("mlx",), "mlx", sample=2_000),
    "numpy": Contestant("plain NumPy", "plain_numpy", ("numpy",), "minidl"),
    "sklearn": Contestant("scikit-learn", "sklearn", ("sklearn",), "sklearn"),
    "reference": Contestant(
        "minidl, reference", "minidl", ("minidl",), "minidl", options={"ops": "reference"}, sample=2_000
    ),
    "neuralnetlib": Contestant("neuralnetlib", "neuralnetlib", ("neuralnetlib",), "neuralnetlib", sample=1_000),
}
BASELINE = "torch_channels_last"  # where minidl is measured beside a single other
BASELINES = ("torch", "torch_channels_last", "torch_compiled")  # what ratios are to: the fastest of these
