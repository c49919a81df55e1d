"""The measuring process: one contestant, one model, one task. Its interpreter may have nothing but NumPy and the library.

``processes.run`` starts it and hands it a Job as JSON. It writes what it measured, as JSON too, to the file that the job names.
"""

import importlib
import importlib.metadata
import json
import math
import os
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from .contestants import CONTESTANTS
from .drawing import model_named
from .models import DIGIT, Rescaling, Shape, Unsupported
from .timing import median_seconds

WARM_UP = 10  # batches
EVALUATED_FIRST = 2_000  # images, as a warm-up of the evaluation
LATENCY_IMAGES = (1, 32, 1000)
TESTED = 10_000  # random samples, as many as there are digits
LEAST_PASSES = 3


class Job(NamedTuple):
    """What to measure.

    model: a name that ``drawing.model_named`` knows. task: a key of TASKS. data: the folder with the arrays of
    ``processes.write_data``; nothing is read from it for a model that takes no digits. samples: to train on. threads: of the
    library. epochs: how many to time, or the most to train. batch_size: samples; None is the model's own. images: "floats" in
    memory, or "bytes" that stay on disk and that the model rescales. target: the test accuracy at which time_to_accuracy stops.
    budget: the seconds that "pace" may train. cpus: the logical processors to keep to; without any, all.
    """

    contestant: str
    model: str
    task: str
    data: str
    samples: int
    threads: int
    epochs: int = 1
    batch_size: int | None = None
    images: str = "floats"
    seed: int = 1
    target: float = 1.0
    budget: float = 1.0
    cpus: tuple[int, ...] = ()


class Session:
    """A job under way: the imported adapter, the data and the model, and the moments (seconds since the process began)."""

    def __init__(self, job: Job, started: float) -> None:
        self.started = started
        self.job, contestant = job, CONTESTANTS[job.contestant]
        self.adapter = importlib.import_module(f"benchmarks.contestants.{contestant.adapter}")
        self.options = contestant.options
        self.imported = self.now()
        self.model = model_named(job.model)
        if job.images == "bytes":
            self.model = self.model._replace(layers=(Rescaling(1 / 255), *self.model.layers))
        self.batch_size = job.batch_size or self.model.batch_size
        begin = time.perf_counter()
        self.trainer = self.fresh_trainer(job.seed)
        self.build = time.perf_counter() - begin
        begin = time.perf_counter()
        self.x, self.y = self.trainer.prepare(*self.load("train", job.samples))
        self.loading = time.perf_counter() - begin

    def now(self) -> float:
        """Seconds since the process was asked for."""
        return time.time() - self.started

    def fresh_trainer(self, seed: int) -> Any:
        """An untrained model."""
        return self.adapter.Trainer(self.model, self.job.threads, seed, **self.options)

    def load(self, part: str, samples: int | None = None) -> tuple[Any, Any]:
        """(samples, labels) of "train" or "test". Bytes are mapped into memory, copied only where they are written to."""
        if self.model.shape != DIGIT:
            return random_data(self.model.shape, self.model.classes, samples or TESTED, part == "test")
        folder = Path(self.job.data)
        mapped = "c" if self.job.images == "bytes" else None
        x = np.load(folder / f"{part}_{self.job.images}.npy", mmap_mode="c")[:samples]
        if mapped is None:  # read with a file's own calls: pages of a mapping would count as memory
            x = np.fromfile(x.filename, x.dtype, x.size, offset=x.offset).reshape(x.shape)
        return x, np.load(folder / f"{part}_labels.npy")[:samples]

    def train(self, samples: int | None = None) -> float:
        """Seconds of one pass over the first samples."""
        begin = time.perf_counter()
        self.trainer.train(self.x[:samples], self.y[:samples], self.batch_size)
        return time.perf_counter() - begin

    def warm_up(self) -> None:
        """Some batches, and one as small as the last of an epoch: for a library that compiles, that is another shape."""
        rest = len(self.x) % self.batch_size
        self.train(min(WARM_UP * self.batch_size + rest, len(self.x)))

    def accuracy(self, x: Any, labels: Any) -> float:
        """The share of these images that is classified rightly."""
        return float((self.trainer.predict(x).argmax(axis=1) == labels).mean())


def random_data(shape: Shape, classes: int, samples: int, seed: int) -> tuple[Any, Any]:
    """Numbers in [0, 1) as float32, and labels that can be learnt: the largest of some fixed weighted sums of each sample."""
    x = np.random.default_rng(seed).random((samples, *shape), dtype=np.float32)
    weights = np.random.default_rng(2).normal(size=(math.prod(shape), classes)).astype(np.float32)
    scores = [(part.reshape(len(part), -1) - 0.5) @ weights for part in np.array_split(x, -(-samples // 1000))]
    return x, np.concatenate(scores).argmax(axis=1).astype(np.int64)


def peak_memory() -> int:
    """The most memory that this process has had so far, in bytes."""
    try:  # Linux lets a child inherit its parent's ru_maxrss, but not this
        lines = Path("/proc/self/status").read_text().splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM"))
    except (FileNotFoundError, StopIteration):
        import resource  # which Windows does not have

        unit = 1 if sys.platform == "darwin" else 1024
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def own_memory() -> int | None:
    """The memory of this process in bytes, now, without the pages of mapped files; None where the system does not say."""
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except FileNotFoundError:
        return None
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("RssAnon")), None)


def start(session: Session) -> dict[str, Any]:
    """From the start of the process to the end of the first step."""
    first_step = session.train(session.batch_size)
    return {
        "startup": session.imported,
        "build": session.build,
        "first_step": first_step,
        # the data is loaded in between, which says nothing of a library
        "start_to_first_step": session.now() - session.loading,
    }


def race(session: Session) -> dict[str, Any]:
    """Everything of a warm start: its first epoch, then a whole epoch, evaluation, latency, memory and accuracy."""
    before = peak_memory()
    measured = start(session)
    session.warm_up()
    epochs = [session.train()]
    measured["start_to_first_epoch"] = session.now() - session.loading
    epochs += [session.train() for _ in range(session.job.epochs - 1)]
    measured |= {"epoch": statistics.median(epochs), "fit_memory": peak_memory() - before}
    x, labels = session.load("test")
    x, _ = session.trainer.prepare(x, labels)
    session.accuracy(x[:EVALUATED_FIRST], labels[:EVALUATED_FIRST])
    begin = time.perf_counter()
    measured["accuracy"] = session.accuracy(x, labels)
    measured["evaluation"] = time.perf_counter() - begin
    measured["latency"] = {str(n): latency(session.trainer, x[:n]) for n in LATENCY_IMAGES}
    return measured | {"peak_memory": peak_memory()}


def latency(trainer: Any, x: Any) -> float:
    """Seconds of one prediction for these images."""
    return median_seconds(lambda: trainer.predict(x))


def epoch(session: Session) -> dict[str, Any]:
    """An epoch after a warm-up, and the memory that it takes."""
    before = peak_memory()
    session.warm_up()
    seconds = statistics.median(session.train() for _ in range(session.job.epochs))
    peak = peak_memory()
    return {"epoch": seconds, "fit_memory": peak - before, "peak_memory": peak, "own_memory": own_memory()}


def pace(session: Session) -> dict[str, Any]:
    """Seconds a sample: the median of passes over all samples until the budget is spent, at least three."""
    session.warm_up()
    seconds = [session.train()]
    while len(seconds) < LEAST_PASSES or sum(seconds) < session.job.budget:
        seconds.append(session.train())
    return {"seconds": statistics.median(seconds) / len(session.x)}


def time_to_accuracy(session: Session) -> dict[str, Any]:
    """Seconds of training and test accuracy after each quarter of an epoch, until the target or the last epoch.

    The warm-up is another model's, so the one that is timed starts untrained. Shuffling the data into quarters and the
    evaluations are not counted.
    """
    session.warm_up()
    session.trainer = session.fresh_trainer(session.job.seed)
    test, labels = session.load("test")
    test, _ = session.trainer.prepare(test, labels)
    rng = np.random.default_rng(session.job.seed)
    seconds, curve, x, y = 0.0, [], session.x, session.y
    for _ in range(session.job.epochs):
        for part in np.array_split(rng.permutation(len(x)), 4):
            session.x, session.y = x[part], y[part]
            seconds += session.train()
            curve.append((seconds, session.accuracy(test, labels)))
            if curve[-1][1] >= session.job.target:
                return {"curve": curve}
    return {"curve": curve}


def accuracy(session: Session) -> dict[str, Any]:
    """The test accuracy after all epochs."""
    for _ in range(session.job.epochs):
        session.train()
    x, labels = session.load("test")
    x, _ = session.trainer.prepare(x, labels)
    return {"accuracy": session.accuracy(x, labels)}


TASKS: dict[str, Callable[[Session], dict[str, Any]]] = {
    "start": start,
    "race": race,
    "epoch": epoch,
    "pace": pace,
    "time_to_accuracy": time_to_accuracy,
    "accuracy": accuracy,
}


def version(package: str) -> str:
    """As the package itself says, or else its metadata."""
    found = getattr(sys.modules[package], "__version__", None)
    return str(found or importlib.metadata.version(package))


def main() -> None:
    job, started, result = Job(**json.loads(sys.argv[1])), float(sys.argv[2]), Path(sys.argv[3])
    if job.cpus and hasattr(os, "sched_setaffinity"):  # the one limit that every library keeps to
        os.sched_setaffinity(0, job.cpus)
    try:
        measured = TASKS[job.task](Session(job, started))
    except Unsupported as error:
        measured = {"problem": str(error)}
    packages = ("numpy", *CONTESTANTS[job.contestant].packages)
    result.write_text(json.dumps({**measured, "versions": {package: version(package) for package in packages}}))


if __name__ == "__main__":
    main()
