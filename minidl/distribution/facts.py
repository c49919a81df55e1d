"""What has to be the same on all ranks, by name: of the programs and their machines, of a model, of its data."""

import hashlib
import platform
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import llvmlite.binding
import numba
import numpy as np
from threadpoolctl import threadpool_info

from .. import __version__
from ..contracts import Array, ModelLike
from ..engine.batches import Cut, Stream
from ..engine.data import Data
from ..resuming import described

Facts = Mapping[str, object]


def of_process() -> dict[str, object]:
    """Of the program, the versions and the processor: other kernels or another BLAS would give other bits."""
    program = Path(getattr(sys.modules["__main__"], "__file__", None) or "")
    blas = sorted({f"{b['internal_api']} {b['version']} {b.get('architecture')}" for b in threadpool_info()})
    return {
        "the program": digest([np.frombuffer(program.read_bytes(), np.uint8)]) if program.is_file() else program.name,
        "the version of minidl": __version__,
        "the version of Python": platform.python_version(),
        "the version of numpy": np.__version__,
        "the version of numba": numba.__version__,
        "the processor": llvmlite.binding.get_host_cpu_name(),
        "its instructions": digest(
            [np.frombuffer(llvmlite.binding.get_host_cpu_features().flatten().encode(), np.uint8)]
        ),
        "the libraries of products": blas,
    }


def of_model(model: ModelLike) -> dict[str, object]:
    """Of its settings, and hashes of its arrays."""
    optimizer = model.optimizer
    frozen = model.frozen()
    return {
        "the model's seed": model.seed,
        "the layers": [described(layer) for layer in model.layers],
        "the frozen layers": [address for address, layer in model.leaves() if id(layer) in frozen],
        "dtype": model.dtype.name,
        "ops": model.ops.__name__,
        "fuse": model.fuse,
        "the loss": described(model.loss),
        "the metrics": [name for name, _ in model.metrics],
        "the optimizer": described(optimizer),
        "the steps trained": (model.epochs_trained, model.steps_trained, optimizer and optimizer.iterations),
        "the weights (by hash)": digest(model.weights.values()),
    }


def of_state(model: ModelLike) -> dict[str, object]:
    """A hash of the optimizer's state, which has to be gathered."""
    slots = {} if model.optimizer is None else model.optimizer.slots
    return {
        "the optimizer's state (by hash)": digest(slots[name][slot] for name in sorted(slots) for slot in slots[name])
    }


def of_data(every: Sequence[object]) -> dict[str, object]:
    """Of the samples: what is known of them without reading them, and hashes of the labels."""
    facts: dict[str, object] = {}
    for what, given in zip(("the samples", "the validation samples"), every, strict=False):
        data = given.data if isinstance(given, Cut) else given
        if isinstance(given, Cut):
            facts["batch_size" if what == "the samples" else "the batch_size of the validation"] = given.size
        if isinstance(given, Stream):
            facts[f"the number of batches of {what}"] = (given.count, given.steps)
        if isinstance(data, Data):
            facts[f"the number of {what}"] = len(data)
            facts[f"the shape and dtype of {what}"] = (tuple(data.x.shape[1:]), str(data.x.dtype))
            facts[f"the labels or weights of {what} (by hash)"] = of_labels(data)
    return facts


def of_labels(data: object) -> str:
    """A hash of the labels and weights, which are in memory; of the samples where there are no labels and these are."""
    if not isinstance(data, Data):
        return ""
    arrays = [data.y, data.weights]
    if data.y is None and type(data.x) is np.ndarray:
        arrays = [data.x]
    return digest(array[data.start : data.stop] for array in arrays if array is not None)


def digest(arrays: Iterable[Array]) -> str:
    """A hash of arrays."""
    found = hashlib.blake2b(digest_size=8)
    for array in arrays:
        found.update(np.ascontiguousarray(array).data)
    return found.hexdigest()


def difference(every: Sequence[Facts]) -> str | None:
    """The first fact that is not the same on all ranks, in words; None where all are the same."""
    for name, first in every[0].items():
        for rank, facts in enumerate(every):
            if facts.get(name) != first:
                return f"{name}: rank 0 has {first!r:.200}, and rank {rank} has {facts.get(name)!r:.200}."
    return None
