"""The folder of BackupAndRestore, as somebody may have left it: a list of what was done to it, and the fit that finds it so.

    [["put", "backup/backup.safetensors", "middle"], ["cut", "backup/backup.safetensors", 100], ["pipe", "log.csv"], …]

The fit ends with the numbers of one that was never interrupted, or raises a documented error and leaves the model as it was. What
is not the training's own stays as it is.
"""

import contextlib
import functools
import json
import os
import random
import shutil
import stat
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from mutations import Bytewise, change_json

from minidl import Sequential, callbacks, saving
from minidl.layers import Dense, Dropout

BACKUP = "backup/backup.safetensors"
UNFINISHED = "backup/.minidl-0123456789abcdef.tmp"
PLACES = (BACKUP, UNFINISHED, "backup", "backup/notes.txt", "log.csv", "best.safetensors", "other", "other/notes.txt")
LINKED = (
    "backup",
    "log.csv",
    "best.safetensors",
    "other",
)  # where these are links, the user has led the training elsewhere
OTHERS = ("backup/notes.txt", "other", "other/notes.txt")  # what the training must leave alone
X, Y = np.random.default_rng(1).normal(size=(6, 4)), np.array([0, 1, 2, 0, 1, 2])


class Stops(Exception):
    """In the place of a kill."""


def made(units: int = 5) -> Sequential:
    model = Sequential(
        [Dense(units, activation="relu", input_dim=4), Dropout(0.5), Dense(3, activation="softmax")], seed=1
    )
    model.compile("adam", "sparse_categorical_crossentropy", ["accuracy"])
    return model


def fit(model: Sequential, scene: Path, after: int | None = None) -> int:
    """Two epochs of three batches; killed after so many. Returns how many were made, which an error has as its ``batches``."""
    batches: list[int] = []

    def count(batch: int, logs: Any) -> None:
        batches.append(batch)
        if len(batches) == after:
            raise Stops

    own = [
        callbacks.BackupAndRestore(scene / "backup", save_freq=2),
        callbacks.EarlyStopping("loss", restore_best_weights=True),
        callbacks.CSVLogger(scene / "log.csv"),
        callbacks.ModelCheckpoint(scene / "best.safetensors", "loss", save_best_only=True),
        callbacks.LambdaCallback(on_train_batch_end=count),
    ]
    try:
        model.fit(X, Y, batch_size=2, epochs=2, verbose=0, callbacks=own)
    except Exception as error:
        error.batches = len(batches)  # type: ignore[attr-defined]
        raise
    return len(batches)


@functools.cache
def contents() -> dict[str, bytes]:
    """What may be put in a place, by name. log-…: what CSVLogger had written then."""
    found = {"empty": b"", "text": b"some text", "zeros": bytes(300)}
    for name, units, after in (("first", 5, 1), ("middle", 5, 3), ("late", 5, 5), ("another", 6, 3)):
        with tempfile.TemporaryDirectory() as folder:
            with contextlib.suppress(Stops):
                fit(made(units), Path(folder), after)
            found[name] = Path(folder, BACKUP).read_bytes()
            found[f"log-{name}"] = Path(folder, "log.csv").read_bytes()
    with tempfile.TemporaryDirectory() as folder:
        model, path = made(), Path(folder, "file")
        model.save(path)
        found["model"] = path.read_bytes()
        content, arrays = saving.read(path, "model")
        saving.write(path, "backup", content | {"version": saving.VERSION + 1}, arrays)
        found["newer"] = path.read_bytes()
    return found


@functools.cache
def expected() -> list[bytes]:
    """The weights of a fit that was never interrupted."""
    with tempfile.TemporaryDirectory() as folder:
        model = made()
        fit(model, Path(folder))
    return [array.tobytes() for array in model.get_weights()]


def scenes() -> list[bytes]:
    """Folders as kills leave them, and one of each kind of what is no file."""
    expected()
    resumed = [
        [
            ["put", BACKUP, name],
            ["put", "log.csv", f"log-{name}"],
            ["put", UNFINISHED, "zeros"],
            ["put", "backup/notes.txt", "text"],
        ]
        for name in ("first", "middle", "late")
    ]
    fresh: list[Any] = [[], [["folder", "backup"]], [["put", UNFINISHED, "middle"], ["put", "other/notes.txt", "text"]]]
    return [json.dumps(scene).encode() for scene in (*resumed, *fresh)]


def odd_scenes() -> list[bytes]:
    """Scenes to begin with that are refused."""
    odd: list[Any] = [
        *(
            [["put", BACKUP, name], ["put", "log.csv", "log-middle"]]
            for name in ("another", "model", "newer", "empty", "text")
        ),
        *([["put", BACKUP, "middle"], ["put", "log.csv", "log-middle"], ["cut", BACKUP, n]] for n in (7, 900, 2000)),
        *([[kind, BACKUP, "other/notes.txt"]] for kind in ("folder", "pipe", "socket", "link")),
        *([[kind, "backup", "other"]] for kind in ("pipe", "link", "put")),
        [
            ["put", "other/notes.txt", "middle"],
            ["link", UNFINISHED, "other/notes.txt"],
            ["link", BACKUP, "other/notes.txt"],
        ],
    ]
    return [json.dumps(scene).encode() for scene in odd]


def steps_of(path: Path) -> list[list[Any]]:
    """What was done to the folder, as the file says; whatever is not understood is not done."""
    try:
        steps = json.loads(path.read_bytes())
    except (ValueError, RecursionError):
        return []
    return [step for step in steps if isinstance(step, list) and step] if isinstance(steps, list) else []


def prepare(path: Path) -> None:
    """Do it to a new folder beside the file."""
    scene = path.with_name("scene")
    shutil.rmtree(scene, ignore_errors=True)
    scene.mkdir()
    for step in steps_of(path):
        with contextlib.suppress(OSError):  # what is in the way stays there
            do(scene, *step)


def resume(path: Path) -> int:
    """Fit with the folder as it was left. The batches that were made."""
    scene, steps = path.with_name("scene"), steps_of(path)
    if (scene / "log.csv").is_fifo():  # that the user named this pipe is an order to wait for a reader
        raise ValueError("nobody reads the log.")
    model, before = made(), {name: seen(scene / name) for name in OTHERS}
    initial = [array.tobytes() for array in model.get_weights()]
    odd = None if kind(scene / BACKUP) == 0 or stat.S_ISREG(kind(scene / BACKUP)) else seen(scene / BACKUP)
    error: Any = None
    try:
        batches = fit(model, scene)
    except (ValueError, OSError) as raised:
        error, batches = raised, raised.batches  # type: ignore[union-attr]
    weights = [array.tobytes() for array in model.get_weights()]
    if error is None and weights != expected() and not any(step[:1] == ["flip"] for step in steps):
        raise RuntimeError("a fit ended with other numbers than one that was never interrupted")
    if error is not None and batches == 0:
        rate = model.optimizer.learning_rate  # type: ignore[union-attr]
        if (weights, model.seed, model.steps_trained, model.epochs_trained, rate) != (initial, 1, 0, 0, 0.001):
            raise RuntimeError(f"a fit was refused with a model that is half restored: {error}")
    linked = any(stat.S_ISLNK(kind(scene / name)) for name in LINKED)
    if (not linked and before != {name: seen(scene / name) for name in OTHERS}) or (
        odd is not None and error and odd != seen(scene / BACKUP)
    ):
        raise RuntimeError("a fit has changed what is not its own")
    if error is not None:
        raise error
    return batches


def kind(path: Path) -> int:
    """Its mode, 0 where there is nothing; a link is a link."""
    try:
        return path.lstat().st_mode
    except OSError:
        return 0


def seen(path: Path) -> object:
    """What is there: its kind, and what it holds."""
    mode = kind(path)
    if stat.S_ISREG(mode):
        return mode, path.read_bytes()
    if stat.S_ISLNK(mode):
        return mode, os.readlink(path)
    return (mode, sorted(os.listdir(path))) if stat.S_ISDIR(mode) else mode


def do(scene: Path, what: object = None, name: object = None, value: object = None, *more: object) -> None:
    """One step of a scene."""
    if name not in PLACES:
        return
    path = scene / str(name)
    whole = value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**20 else 0
    if what in ("put", "folder", "pipe", "socket", "link"):
        path.parent.mkdir(parents=True, exist_ok=True)
    if what == "put":
        path.write_bytes(contents().get(str(value), b"x")) if not stat.S_ISFIFO(kind(path)) else None
    elif what == "folder":
        path.mkdir()
    elif what == "pipe":
        os.mkfifo(path)
    elif what == "socket":
        os.mknod(path, stat.S_IFSOCK | 0o600)
    elif what == "link" and value in PLACES:
        path.symlink_to(scene / str(value))
    elif what == "move" and value in PLACES:
        path.rename(scene / str(value))
    elif what == "remove":
        shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
    elif what == "cut" and path.is_file():
        os.truncate(path, min(whole, path.stat().st_size))
    elif what == "longer" and path.is_file():
        path.write_bytes(path.read_bytes() + bytes(whole % 4096))
    elif what == "flip" and path.is_file():
        content = bytearray(path.read_bytes())
        if content:
            content[whole % len(content)] ^= 1 << (whole // len(content)) % 8
        path.write_bytes(content)


def change_scene(content: bytes, rng: random.Random, bytewise: Bytewise) -> bytes:
    """One step more, in the place of another, or taken away."""
    try:
        steps = json.loads(content)
        place, what = rng.randrange(len(steps) + 1), rng.random()
        if what > 0.9 or len(steps) > 12:
            return change_json(content, rng, bytewise)
        name = rng.choice(PLACES[:1] * 4 + PLACES)
        step = rng.choice(
            (
                ["put", name, rng.choice(sorted(contents()))],
                *([kind, name, rng.choice(PLACES)] for kind in ("folder", "pipe", "socket", "link", "move", "remove")),
                *([kind, name, rng.randrange(8000)] for kind in ("cut", "longer", "flip")),
            )
        )
        steps[place : place + rng.choice((0, 0, 1))] = [step] if what < 0.75 else []
        return json.dumps(steps).encode()
    except (ValueError, TypeError, AttributeError, RecursionError):
        return change_json(content, rng, bytewise)
