"""One batch, as it runs: cut into shards, each a job for a thread; their gradients summed in order; one optimizer step.

The shards follow from the batch size alone, and their results are added in their order. So the same seed gives the same bits
with one thread or with many.
"""

import itertools
import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from ..metrics import Metric
from ..ops.geometry import Array
from ..ops.random import RandomKey
from ..optimizers import Optimizer
from .data import Data, Where, all_finite, sample_count
from .plan import Gradients, Plan, Workspace, layer_key
from .workers import get_num_threads, run

SHARD = 100  # samples: fewer make matrix products slow, more leave threads idle
PIECE = 64 * 1024  # parameters: an array with more of them is updated by several threads

NO_STEP = "Try a smaller learning rate, and inputs scaled to about [0, 1]. This batch made no step."


class Sums(NamedTuple):
    """What a batch, or an epoch, adds up to.

    loss: the weighted losses of all samples. samples: how many there were. metrics: (total, count) of each metric.
    """

    loss: float
    samples: int
    metrics: list[tuple[float, float]]

    def plus(self, other: "Sums") -> "Sums":
        """The sums of both."""
        metrics = [(a + c, b + d) for (a, b), (c, d) in zip(self.metrics, other.metrics, strict=True)]
        return Sums(self.loss + other.loss, self.samples + other.samples, metrics)


def shards(n: int) -> list[tuple[int, int]]:
    """Cut n samples into (first, last + 1), as equal as can be: at least two for 16 samples or more, none above SHARD."""
    count = max(-(-n // SHARD), 2 if n >= 16 else 1)
    edges = [n * i // count for i in range(count + 1)]
    return list(itertools.pairwise(edges))


def _part(where: Where, first: int, last: int) -> Where:
    """Samples first … last − 1 of those."""
    return slice(where.start + first, where.start + last) if isinstance(where, slice) else where[first:last]


def _check_finite(gradients: Gradients) -> None:
    for name, gradient in gradients.items():
        if not all_finite(gradient):
            raise FloatingPointError(f"the gradient of {name!r} is not finite. {NO_STEP}")


class Runner:
    """Runs batches through a plan. Keeps the workers' arrays, so that a batch needs no fresh ones.

    Arguments: plan: the model's steps and loss. layers: the model's, to name the one at fault. metrics: functions of
    (y_true, y_pred). dtype: the model's.
    """

    def __init__(self, plan: Plan, layers: Sequence[Any], metrics: Sequence[Metric], dtype: np.dtype[Any]) -> None:
        self.plan = plan
        self.layers = layers
        self.metrics = metrics
        self.dtype = dtype
        # append and pop are atomic; a queue's lock could be held for ever in a forked child
        self._idle: list[Workspace] = []
        self._gradients: list[Workspace] = []

    def predict(self, data: Data, where: slice, out: Array) -> None:
        """Write the predictions for these samples, (n, …), to out."""

        def job(shard: tuple[int, int]) -> None:
            first, last = shard
            scratch = self._borrow()
            x = data.inputs(slice(where.start + first, where.start + last), self.dtype, scratch)
            y, _ = self.plan.forward(x, False, None, scratch)
            out[first:last] = self.plan.predictions(y)
            self._idle.append(scratch)

        run(job, shards(sample_count(where)))

    def evaluate(self, data: Data, where: slice) -> Sums:
        """Loss and metrics of these samples."""
        return self._add(run(lambda shard: self._shard(data, where, shard, None), shards(sample_count(where))))

    def gradients(self, data: Data, where: Where, key: int | None) -> tuple[Sums, list[Gradients]]:
        """The sums of these samples, and each shard's gradients by address, which add up to the batch's.

        key: the batch's, from which dropout's masks follow; None turns the training mode off.

        Raises FloatingPointError, with the first layer whose output is not finite, where the loss is not.
        """
        parts = shards(sample_count(where))
        while len(self._gradients) < len(parts):
            self._gradients.append(Workspace())
        try:
            results = run(
                lambda i: self._shard(data, where, parts[i], (key, self._gradients[i])),
                range(len(parts)),
            )
        except KeyboardInterrupt:  # by force, perhaps: then a thread may still be writing into them
            self._gradients = []
            raise
        sums = self._add(results)
        if not math.isfinite(sums.loss):
            raise FloatingPointError(self._explain(sums.loss, data, where, parts, key))
        return sums, [gradients for _, gradients in results]

    def step(self, gradients: list[Gradients], params: dict[str, Array], optimizer: Optimizer, ops: Any) -> None:
        """Sum the shards' gradients in their order and let the optimizer step.

        A large parameter is cut into a piece for each thread. Every number is updated on its own, so the bits do not depend on
        the pieces. For small parameters alone no other thread is woken: that would cost more than it saves.
        """
        for name, param in params.items():
            if not param.flags.c_contiguous:
                raise ValueError(
                    f"{name} is changed in place and must be C-contiguous, received strides {param.strides}. "
                    "Use np.ascontiguousarray(…)."
                )
        optimizer.build(params)
        flat = {name: [np.ravel(part[name]) for part in gradients] for name in params}
        threads = get_num_threads()
        pieces = [
            (name, slice(param.size * i // count, param.size * (i + 1) // count))
            for name, param in params.items()
            for count in [threads if param.size > PIECE else 1]
            for i in range(count)
        ]

        def add(piece: tuple[str, slice]) -> None:
            name, where = piece
            for other in flat[name][1:]:
                flat[name][0][where] += other[where]

        def update(piece: tuple[str, slice]) -> None:
            name, where = piece
            slots = {slot: value.reshape(-1)[where] for slot, value in optimizer.slots[name].items()}
            optimizer.update(params[name].reshape(-1)[where], flat[name][0][where], slots, rate, ops)

        def add_and_update(piece: tuple[str, slice]) -> None:
            add(piece)
            update(piece)

        def each(work: Callable[[tuple[str, slice]], None]) -> None:
            if len(pieces) > len(params):
                run(work, pieces)
            else:
                for piece in pieces:
                    work(piece)

        if optimizer.clipnorm is None:
            rate = optimizer.prepare({})
            each(add_and_update)
        else:  # the norm of a gradient is known only when all of it is summed
            each(add)
            rate = optimizer.prepare({name: parts[0] for name, parts in flat.items()})
            each(update)

    def _shard(
        self,
        data: Data,
        where: Where,
        shard: tuple[int, int],
        backward: tuple[int | None, Workspace] | None,
    ) -> tuple[Sums, Gradients]:
        """One shard forward, and backward where there is a (key, workspace for gradients)."""
        first, last = shard
        scratch = self._borrow()
        n, part = sample_count(where), _part(where, first, last)
        x = data.inputs(part, self.dtype, scratch)
        y_true, weights = data.labels(part)
        rng = None if backward is None or backward[0] is None else RandomKey(backward[0], first)
        gradients: Gradients = {}
        with np.errstate(all="ignore"):  # what is not finite is looked for, and reported with its layer
            y, caches = self.plan.forward(x, rng is not None, rng, scratch)
            value, cache = self.plan.loss.forward(y_true, y, sample_weight=weights, n=n)
            predicted = self.plan.predictions(y) if self.metrics else y
            found = [metric(y_true, predicted) for metric in self.metrics]
            # Python's numbers, because a backup gives back no others: NumPy's would be rounded in another way
            sums = Sums(float(value) * n, last - first, [(float(total), float(count)) for total, count in found])
            if backward is not None and math.isfinite(value):
                dy = np.array(self.plan.loss.backward(cache), y.dtype, order="C")  # a copy: a loss may keep its own
                gradients = self.plan.backward(dy, caches, scratch, backward[1])
                _check_finite(gradients)
        self._idle.append(scratch)
        return sums, gradients

    def _borrow(self) -> Workspace:
        """A workspace that no other thread uses."""
        try:
            return self._idle.pop()
        except IndexError:
            return Workspace()

    @staticmethod
    def _add(results: list[tuple[Sums, Gradients]]) -> Sums:
        total = results[0][0]
        for sums, _ in results[1:]:
            total = total.plus(sums)
        return total

    def _explain(self, loss: float, data: Data, where: Where, parts: list[tuple[int, int]], key: int | None) -> str:
        """Go through the batch once more, layer by layer, to the first output that is not finite."""
        found = len(self.layers)
        for first, last in parts:
            scratch = Workspace()
            y = data.inputs(_part(where, first, last), self.dtype, scratch)
            for position, layer in enumerate(self.layers):
                rng = None if key is None else RandomKey(layer_key(key, position), first)
                with np.errstate(all="ignore"):
                    y, _ = layer.forward(y, training=key is not None, rng=rng)
                if not np.isfinite(y).all():
                    found = min(found, position)
                    break
        if found == len(self.layers):
            return f"the loss is {loss}, although every layer's output is finite. {NO_STEP}"
        name = self.layers[found].name
        return f"the loss is {loss}; the first layer whose output is not finite is {name!r}. {NO_STEP}"
