"""A training in a thread: one network, or several side by side on the same batches, watched while they learn."""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from ..contracts import Array
from .reader import Reader

BATCH = 50  # digits per step
EVERY = 0.2  # seconds between two looks at what runs
MOSTLY = 4  # times as long as a look takes; so most of the time is for training, on a busy machine, too
TRIED = 1000  # test digits that are read at each look


@dataclass
class Curve:
    """How one network learns. points: (step, loss of the batches since the last point, share of test digits that are read right).
    ended: why it could not go on; empty as long as it can."""

    name: str
    reader: Reader
    points: list[tuple[int, float, float]] = field(default_factory=list)
    ended: str = ""
    losses: list[float] = field(default_factory=list)

    def step(self, images: Array, digits: Array) -> None:
        """One training step. A loss that is not finite ends it."""
        if self.ended:
            return
        try:
            loss, _ = self.reader.model.train_on_batch(self.reader.inputs(images), self.reader.labels(digits))
            self.losses.append(float(loss))
        except FloatingPointError as error:
            self.ended = str(error)

    def note(self, step: int, images: Array, digits: Array) -> None:
        """Add a point."""
        if self.losses:
            self.points.append((step, float(np.mean(self.losses)), self.reader.accuracy(images, digits)))
            self.losses.clear()


class Run(threading.Thread):
    """Trains every reader on the same batches.

    curves: one for each. done, total: steps. look: called in this thread every now and then, after the first step, and at the
    end, when ``over`` is true. error: what a layer raised; that ends the run.
    """

    def __init__(
        self,
        curves: list[Curve],
        train: tuple[Array, Array],
        test: tuple[Array, Array],
        epochs: int,
        look: Callable[["Run"], None],
    ) -> None:
        super().__init__(name="minidl lab", daemon=True)
        self.curves, self.look = curves, look
        self._train, self._test = train, (test[0][:TRIED], test[1][:TRIED])
        self._epochs = epochs
        self._stop_asked = threading.Event()
        self.done, self.total = 0, epochs * -(-len(train[0]) // BATCH)
        self.error = ""
        self.over = False

    def run(self) -> None:
        try:
            self._run()
        except Exception as error:  # in a thread nobody else would see it
            self.error = f"{type(error).__name__}: {error}"
        self.over = True
        self.look(self)

    def stop(self) -> None:
        """Ask it to end after the current step."""
        self._stop_asked.set()

    def _run(self) -> None:
        images, digits = self._train
        next_look = 0.0
        for epoch in range(self._epochs):
            order = np.random.default_rng(epoch).permutation(len(images))
            for first in range(0, len(order), BATCH):
                if self._stop_asked.is_set() or all(curve.ended for curve in self.curves):
                    return self._note()
                batch = order[first : first + BATCH]
                for curve in self.curves:
                    curve.step(images[batch], digits[batch])
                self.done += 1
                if (begun := time.monotonic()) >= next_look:
                    self._note()
                    self.look(self)
                    took = time.monotonic() - begun
                    next_look = begun + max(EVERY, MOSTLY * took)
        return self._note()

    def _note(self) -> None:
        for curve in self.curves:
            curve.note(self.done, *self._test)
