"""What is fuzzed: readers of files from strangers, real files to begin with, and what must hold whatever is done to them.

A target is a reader that may raise its documented errors and nothing else; opens, writes and imports nothing but the file it was
given; and takes no more memory than the file's size justifies. To add one, add it to TARGETS.
"""

import contextlib
import copy
import functools
import gzip
import importlib.util
import io
import json
import math
import os
import random
import struct
import sys
import tempfile
import time
import tracemalloc
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from rich.console import Console
from rich.table import Table

sys.path.insert(0, os.path.dirname(__file__))

import folders
import lab
from mutations import Bytewise, change_json, change_model_file

import minidl
from minidl import Sequential, benchmark, resuming, saving, state
from minidl.callbacks import EarlyStopping, History, LambdaCallback, ReduceLROnPlateau
from minidl.datasets import read_idx
from minidl.engine.batches import Cut
from minidl.layers import Activation, Conv2D, Dense, Dropout, Flatten, Layer, MaxPooling2D, Rescaling
from minidl.optimizers import SGD
from minidl.training import Stepper, Training

WATCHED = ("open", "import", "exec", "compile", "os.", "shutil.", "subprocess.", "socket.", "ctypes.")
FLOATS = {"F16": "<f2", "F32": "<f4", "F64": "<f8"}
CORPUS = Path(__file__).parent / "corpus"  # a folder for each target, of inputs that reach different code
HARMLESS = ("os.listdir", "os.scandir")
# JSON's small objects take up to about 60 times their text; an array is there twice, in the file's form and in the model.
MEMORY_PER_BYTE = 100
SECONDS = 5.0  # of the processor's time: a file of these sizes takes milliseconds


class Target(NamedTuple):
    """seeds: () → whole files. odd: () → files that are refused. mutate: (content, rng, bytewise) → content, a little different;
    None: bytewise.

    prepare: (path) → None, what is done before the reader is watched. read: (path) → what the file holds, or one of errors. use:
    that thing must be fit for use, too.

    memory: bytes that the reader may take whatever the file's size. folders: where it may open, write and remove files, beside
    the file, or anywhere. work: other events that belong to what it does.
    """

    seeds: Callable[[], list[bytes]]
    read: Callable[[Path], Any]
    use: Callable[[Any], None] = lambda thing: None
    errors: tuple[type[Exception], ...] = (ValueError, OSError)
    mutate: Callable[[bytes, random.Random, Bytewise], bytes] | None = None
    memory: int = 1 << 20
    folders: tuple[str, ...] = ()
    work: tuple[str, ...] = ()
    odd: Callable[[], list[bytes]] = list
    prepare: Callable[[Path], None] = lambda path: None


# ------------------------------------------------------------------------------------------------------------- the models


class Twice(Layer):
    """A custom layer, without parameters."""

    def __init__(self, times=2.0, **options):
        super().__init__(**options)
        self.times = float(times)

    def forward(self, x, *, training=False, rng=None):
        return x * self.times, None

    def backward(self, dy, cache):
        return dy * self.times, {}


def schedule(step):
    return 0.1 / (1 + step)


CUSTOM_OBJECTS = {"Twice": Twice, "schedule": schedule}


def mlp():
    """4 features → 3 classes, trained for a step with Adam."""
    model = Sequential([Dense(6, activation="relu", input_dim=4), Dropout(0.5), Dense(3, activation="softmax")], seed=1)
    model.compile("adam", "sparse_categorical_crossentropy", ["accuracy"])
    model.train_on_batch(np.ones((4, 4)), np.array([0, 1, 2, 0]))
    return model


def cnn():
    """Every layer, a custom one too, and a function as learning rate; float64."""
    layers = [
        Rescaling(0.5, input_shape=(8, 8, 1)),
        Conv2D(2, (3, 3), activation="relu"),
        MaxPooling2D(),
        Conv2D(2, 2, strides=2, padding="same", use_bias=False),
        MaxPooling2D(2, 1, "same"),
        Activation("tanh"),
        Twice(),
        Flatten(),
        Dense(2),
    ]
    model = Sequential(layers, seed=1, dtype="float64")
    model.compile(SGD(schedule, momentum=0.5), "mse")
    model.train_on_batch(np.ones((1, 8, 8, 1)), np.ones((1, 2)))
    return model


def saved(write: Callable[[Path], None]) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "file"
        write(path)
        return path.read_bytes()


# ------------------------------------------------------------------------------------------------------------ the targets


def idx_files() -> list[bytes]:
    images = struct.pack(">BBBB3i", 0, 0, 8, 3, 2, 3, 3) + bytes(range(18))
    floats = struct.pack(">BBBB1i3d", 0, 0, 14, 1, 3, 1.0, 2.0, 3.0)
    return [images, floats, gzip.compress(images), gzip.compress(images[:9]) + gzip.compress(images[9:])]


def read_model(path: Path) -> Sequential:
    return minidl.load_model(path, CUSTOM_OBJECTS)


def use_model(model: Sequential) -> None:
    """Forward and backward, fused and by layer: the kernels check no index of their own."""
    shape = model.input_shape
    windows = [math.prod(layer.pool_size) for layer in model.layers if hasattr(layer, "pool_size")]
    if max(math.prod(shape), *windows, 0) > 4096:  # the reference goes through every cell of a window, padding too
        return
    x = np.ones((1, *shape), model.dtype)
    with np.errstate(all="ignore"):
        model.predict(x, verbose=0)
        for layer in model.layers:
            x, cache = layer.forward(x)
            layer.backward(x, cache)


@functools.cache
def weights_of() -> Sequential:
    return mlp()


def read_weights(path: Path) -> Path:
    """Load into a model; one that refuses has changed nothing."""
    model = weights_of()
    before = model.get_weights()
    try:
        model.load_weights(path)
    except ValueError:
        assert all(np.array_equal(a, b, equal_nan=True) for a, b in zip(before, model.get_weights(), strict=True))
        raise
    return path


def compare_weights(path: Path) -> None:
    """The model has what the file's bytes say, taken apart here."""
    content = path.read_bytes()
    size = int.from_bytes(content[:8], "little")
    header, body = json.loads(content[8 : 8 + size]), content[8 + size :]
    for name, param in weights_of().params.items():
        start, end = header[name]["data_offsets"]
        stored = np.frombuffer(body[start:end], FLOATS[header[name]["dtype"]])
        with np.errstate(over="ignore"):
            expected = stored.reshape(header[name]["shape"]).astype(param.dtype)
        np.testing.assert_array_equal(param, expected, strict=True)


def training():
    """A fit that has not begun: 2 epochs of 3 batches, with callbacks that have a state."""
    return training_of(mlp())


def training_of(model):
    own = [EarlyStopping("loss", restore_best_weights=True), ReduceLROnPlateau("loss"), History()]
    data, _ = model._data(np.ones((6, 4)), np.array([0, 1, 2, 0, 1, 2]))
    return Training(Stepper(model, model._engine), Cut(data, 2), None, True, (0, 2), own, 0)


def backups() -> list[bytes]:
    """In the middle of an epoch, and between two."""
    found = []
    for hook in ("on_train_batch_end", "on_epoch_end"):
        stopped = training()

        def keep(number, logs, stopped=stopped):
            if number == 1:
                found.append(saved(lambda path: saving.write(path, "backup", *resuming.get_state(stopped))))

        stopped.hooks.callbacks.append(LambdaCallback(**{hook: keep}))
        stopped.run()
    return found


@functools.cache
def trained() -> tuple[Sequential, Any]:
    """A model, and its state, which is put back before each file: to make a model takes much longer."""
    model = mlp()
    return model, copy.deepcopy(state.get_state(model))


def read_backup(path: Path) -> Training:
    """What BackupAndRestore does at the beginning of a fit; a file that is refused has changed nothing in the model."""
    model, before = trained()
    state.set_state(model, *before)
    model.seed, model.optimizer.learning_rate, model.stop_training = 1, 0.001, False
    fresh = training_of(model)
    try:
        resuming.restore(fresh, path)
    except ValueError:
        counters, arrays = state.get_state(model)
        assert (counters, model.seed, model.optimizer.learning_rate) == (before[0], 1, 0.001)
        assert not model.stop_training
        assert arrays.keys() == before[1].keys()
        assert all(np.array_equal(array, before[1][name]) for name, array in arrays.items())
        raise
    return fresh


def go_on(restored: Training) -> None:
    """Train to the end, however far that is."""
    with contextlib.suppress(FloatingPointError), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the learning rate may be 1e300
        restored.run()


def results() -> list[bytes]:
    """Of python -m minidl.benchmark, for two numbers of threads; the numbers are made up."""
    records = [{"network": "CNN", "threads": n, "flops": 100, "rates": [4.0, 5.0, 6.0]} for n in (1, 2)]
    limits = [
        {"threads": n, "pinned": True, "matmul": {"8": [9e9, 1e10]}, "copy": [1e9], "triad": [2e9]} for n in (1, 2)
    ]
    machine = {"processor": "an abacus", "cores": "1 available of 1", "minidl": "0"}
    whole = {"format": 1, "machine": machine, "settings": {"rounds": 3}, "limits": limits, "records": records}
    return [json.dumps(whole).encode()]


def read_results(path: Path) -> list[Table]:
    """What --compare does with the user's own file and somebody else's."""
    own, found = json.loads(results()[0]), benchmark.load(str(path))
    return [benchmark.comparison(own, found), benchmark.comparison(found, own)]


def compare_results(tables: list[Table]) -> None:
    """They are printed, and a terminal is given nothing that it would obey."""
    screen = io.StringIO()
    console = Console(file=screen, markup=False, highlight=False, width=140)
    for table in tables:
        console.print(table)
    assert screen.getvalue().replace("\n", "").isprintable()


# --------------------------------------------------------------------------------------------------------------- the check


class Watch:
    """Notes what a reader opens, writes, imports or runs beside its own file."""

    def __init__(self) -> None:
        self.own: str | None = None
        self.folders: tuple[str, ...] = ()
        self.work: tuple[str, ...] = ()
        self.found: list[str] = []
        sys.addaudithook(self._hook)

    def _hook(self, event: str, arguments: tuple[Any, ...]) -> None:
        if self.own is None or not event.startswith(WATCHED) or event in HARMLESS or event in self.work:
            return
        if event == "open" and str(arguments[0]) == self.own and arguments[1] in ("r", "rb"):
            return
        if event.startswith(("open", "os.", "shutil.")) and self.folders:
            paths = [
                each for each in arguments[: 1 if event == "open" else 2] if isinstance(each, str | bytes | os.PathLike)
            ]
            if all(os.fsdecode(each).startswith(self.folders) for each in paths):  # none: it is a file that is open
                return
        self.found.append(f"{event} {arguments}"[:300])


WATCH = Watch()


def check(target: Target, content: bytes, path: Path, measured: bool = True) -> Exception | None:
    """Read the content as a file at path; the error it was refused with. Raises where a promise is broken.

    measured: whether the memory is, too, which takes four times as long.
    """
    path.write_bytes(content)
    target.prepare(path)
    thing = refused = None
    with warnings.catch_warnings(record=True) as said:  # shown, they would open a file: the source, to quote it
        warnings.simplefilter("always")
        began = time.process_time()
        if measured:
            tracemalloc.start()
        WATCH.found, WATCH.own = [], str(path)
        WATCH.work, WATCH.folders = target.work, tuple(str(path.parent / each) for each in target.folders)
        try:
            thing = target.read(path)
        except target.errors as error:
            refused = error
        finally:
            WATCH.own = None
            peak = tracemalloc.get_traced_memory()[1]  # 0 where it is not measured
            tracemalloc.stop()
    seconds = time.process_time() - began
    if seconds > SECONDS:
        raise RuntimeError(f"a file kept its reader busy for {seconds:.1f} s")
    much = max(len(str(each)) for each in (refused, *(warning.message for warning in said)))
    if much > 3000:
        raise RuntimeError(f"a file made its reader say much: {much} characters")
    if WATCH.found:
        raise RuntimeError(f"a file made its reader do this: {WATCH.found}")
    allowed = target.memory + MEMORY_PER_BYTE * len(content)
    if peak > allowed:
        raise RuntimeError(f"{len(content)} bytes made their reader take {peak}, more than {allowed} ({refused!r})")
    if refused is None:
        target.use(thing)
    return refused


# ------------------------------------------------------------------------------------------------------------ the targets


TARGETS = {
    "read_idx": Target(idx_files, read_idx),
    "load_model": Target(
        lambda: [saved(mlp().save), saved(cnn().save)], read_model, use_model, mutate=change_model_file
    ),
    "load_weights": Target(
        lambda: [saved(mlp().save_weights), saved(mlp().save)], read_weights, compare_weights, mutate=change_model_file
    ),
    "backup": Target(backups, read_backup, go_on, mutate=change_model_file),
    "backup_folder": Target(
        folders.scenes,
        folders.resume,
        mutate=folders.change_scene,
        memory=8 << 20,
        folders=("scene",),
        odd=folders.odd_scenes,
        prepare=folders.prepare,
    ),
    "benchmark": Target(results, read_results, compare_results, mutate=change_json),
}


if importlib.util.find_spec("starlette") is not None:  # the extra "lab"
    TARGETS["lab"] = Target(
        lab.requests,
        lab.ask,
        mutate=lab.change_request,
        memory=64 << 20,
        folders=(os.path.dirname(minidl.__file__),),
        work=("ctypes.cdata", "compile"),  # BLAS is limited in a training; the rules are formulas of the library
    )


def mutated(target: Target, content: bytes, rng: random.Random, bytewise: Bytewise) -> bytes:
    """The content a little different, in the way of this target."""
    return bytewise(content) if target.mutate is None else target.mutate(content, rng, bytewise)
