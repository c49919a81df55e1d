"""Running one batch: it is cut into shards, each a job for a thread, and their results are summed in a fixed tree.

Where a layer needs sums over the whole batch, the shards stop and wait for each other: see ``stages``.

The number of shards follows from the batch size and the model's work alone. So the same seed gives the same bits with one
thread or with many.
"""

import contextlib
import functools
import itertools
import math
from collections.abc import Sequence
from typing import NamedTuple, TypeAlias

import numpy as np

from .. import backprop, losses, ranks
from ..contracts import Array, Cache, DType, MetricLike, StackLike
from ..ops.random import RandomKey
from ..tracing import Recorder
from .data import Data, Where, all_finite, part, sample_count
from .penalties import Penalties
from .plan import Plan
from .stages import Abandoned, Measured, Stages, alone, summed
from .steps import is_measuring
from .tree import Tree
from .vector import Gradient, Layout, Range
from .workers import get_num_threads, quietly, run

SHARD = 100  # samples: with fewer, matrix products are slow; with more, threads are idle
MOST_SHARDS = 64  # the limit for large batches, where summing would take long
WORTH_A_THREAD = 2**23  # multiplications in forward; for fewer, waking a thread costs more than it saves

NO_STEP = "Try a smaller learning rate, and inputs scaled to about [0, 1]. This batch made no step."


class NotFinite(FloatingPointError):
    """A loss or a gradient is not finite."""


class Sums(NamedTuple):
    """The sums over a batch or an epoch.

    loss: the sum of the weighted losses. samples: how many there were. metrics: the sums of each metric.
    """

    loss: float
    samples: int
    metrics: list[Array]

    def plus(self, other: "Sums") -> "Sums":
        """The sums of both."""
        metrics = [own + others for own, others in zip(self.metrics, other.metrics, strict=True)]
        return Sums(self.loss + other.loss, self.samples + other.samples, metrics)


Evaluated: TypeAlias = Stages[Sums]  # made once: an annotation inside a method is evaluated each time


def work(stack: StackLike) -> int:
    """Roughly the multiplications of forward for one sample: each parameter is used once at every position of the output."""
    total = 0
    for _, layer in stack.leaves():
        shape = layer.output_shape or ()
        total += math.prod(shape[:-1]) * sum(value.size for value in layer.params.values()) + math.prod(shape)
    return total


def shards(n: int, sample_work: int) -> list[tuple[int, int]]:
    """Cut n samples into runs (start, stop), as equal as can be.

    At least two from 16 samples on, and none above SHARD samples; but no more than MOST_SHARDS, and not so many that one
    would have less work than is worth a thread.
    """
    wanted = max(-(-n // SHARD), 2 if n >= 16 else 1)
    count = max(1, min(wanted, MOST_SHARDS, n * sample_work // WORTH_A_THREAD))
    edges = [n * i // count for i in range(count + 1)]
    return list(itertools.pairwise(edges))


class Runner:
    """Runs batches through a plan.

    Arguments: stack: the model's layers, built. plan: their steps and loss. metrics: those to watch. dtype: the model's.
    """

    def __init__(self, stack: StackLike, plan: Plan, metrics: Sequence[MetricLike], dtype: DType) -> None:
        get_num_threads()  # an error now where it is badly set, and not from the first batch that is worth two threads
        self.stack, self.plan, self.metrics, self.dtype = stack, plan, metrics, dtype
        self.layout = Layout(stack)
        self.work = work(stack)
        self.penalties = Penalties(stack)
        self._free: list[Gradient] = []  # for reuse; append and pop are atomic
        self._whole = any(metric.whole for metric in metrics)
        self._cuts: dict[int, list[tuple[int, int]]] = {}

    def predict(self, data: Data, where: Where, out: Array) -> None:
        """Write the predictions for these samples, (n, …), to out."""

        def job(shard: tuple[int, int]) -> None:
            start, stop = shard
            (y, _), _ = alone(self.plan.forward(data.inputs(part(where, start, stop), self.dtype), False, None))
            out[start:stop] = self.plan.predictions(y)

        cuts = self._shards(data, where)
        with ranks.group.meeting():
            run(quietly(job), [cuts[i] for i in ranks.group.own(len(cuts))])
        ranks.group.rows(out, cuts)

    def evaluate(self, data: Data, where: Where) -> Sums:
        """Loss and metrics of these samples."""
        cuts = self._shards(data, where)

        def job(i: int) -> Evaluated:
            sums, _, _ = yield from self._forward(data, where, cuts[i], None, seen)
            return sums

        seen = self._room(sample_count(where))
        roots, _ = summed(job, len(cuts), Sums.plus)
        return self._complete(functools.reduce(Sums.plus, roots), data, where, seen, cuts)

    def gradients(
        self, data: Data, where: Where, key: int | None, lowest: int, ranges: Sequence[Range]
    ) -> tuple[Sums, list[Gradient], Measured]:
        """The sums of these samples, the gradient of their loss, one or two to be added, and what layers measured of them. Among
        several processes, each gets the part of the gradient that it has to step.

        key: the batch's, from which dropout's masks follow; None turns the training mode off. lowest: the first step whose
        gradients are wanted. ranges: the parts of the vector that are wanted. Pass the gradients to ``release`` when they are no
        longer needed.

        Raises NotFinite where the loss or a gradient is not finite, naming the first layer whose output is not, or the parameter.
        """
        cuts = self._shards(data, where)

        def add(left: Gradient, right: Gradient) -> Gradient:
            for start, stop in ranges:
                left.vector[start:stop] += right.vector[start:stop]
            self.release([right])
            return left

        def job(i: int) -> Evaluated:
            sums, loss_cache, caches = yield from self._forward(data, where, cuts[i], key, seen)
            if math.isfinite(sums.loss):  # otherwise there will be no step
                with contextlib.suppress(Abandoned):
                    tree.put(i, (yield from self._backward(loss_cache, caches, lowest, ranges)))
            return sums

        seen = self._room(sample_count(where))
        tree: Tree[Gradient] = Tree(len(cuts), add)
        roots, measured = summed(job, len(cuts), Sums.plus)
        sums = functools.reduce(Sums.plus, roots)
        if not math.isfinite(sums.loss):
            raise NotFinite(self._explain(sums.loss, data, where, cuts, key))
        gradients = ranks.group.scatter(tree, ranges, self._blank, self.release)
        self.penalties.add_gradients(gradients[0].named, self.layout.ties)
        return self._complete(sums, data, where, seen, cuts), gradients, measured

    def measure(self, data: Data, where: Where, key: int) -> Measured:
        """What layers measure of these samples in training. key: as for ``gradients``."""
        cuts = self._shards(data, where)

        def job(i: int) -> Stages[None]:
            start, stop = cuts[i]
            x = data.inputs(part(where, start, stop), self.dtype)
            yield from self.plan.forward(x, True, RandomKey(key, start))

        return summed(job, len(cuts), lambda left, right: None)[1]

    def _blank(self) -> Gradient:
        """A gradient of any content."""
        try:
            return self._free.pop()
        except IndexError:
            return Gradient(self.layout, self.dtype)

    def release(self, gradients: Sequence[Gradient]) -> None:
        """Let their arrays be reused: fresh ones would cost a page fault per 4 kB."""
        self._free.extend(gradients)

    def _shards(self, data: Data, where: Where) -> list[tuple[int, int]]:
        ranks.group.check(data)
        n = sample_count(where)
        if n not in self._cuts:
            self._cuts[n] = shards(n, self.work)
        return self._cuts[n]

    def _room(self, n: int) -> Array | None:
        """An array for the predictions for n samples, where a metric has to see all of them at once."""
        return np.empty((n, *(self.stack.output_shape or ())), self.dtype) if self._whole else None

    def _complete(
        self, sums: Sums, data: Data, where: Where, seen: Array | None, cuts: Sequence[tuple[int, int]]
    ) -> Sums:
        """The sums of a batch's shards, with the penalties, and with the metrics that see all of its predictions at once."""
        if self.penalties.found:
            sums = sums._replace(loss=sums.loss + self.penalties.value() * sums.samples)
        if seen is None:
            return sums
        ranks.group.rows(seen, cuts)
        y_true, of_shards = data.labels(where)[0], iter(sums.metrics)
        with np.errstate(all="ignore"):
            found = [metric.sums(y_true, seen) if metric.whole else next(of_shards) for metric in self.metrics]
        return sums._replace(metrics=found)

    def _forward(
        self, data: Data, where: Where, shard: tuple[int, int], key: int | None, seen: Array | None
    ) -> Stages[tuple[Sums, Cache, list[Cache]]]:
        """One shard through the plan and the loss: its sums, and the caches of the loss and of the steps.

        seen: the predictions for the whole batch, where they are wanted; the shard's are written to their place.
        """
        start, stop = shard
        n, own = sample_count(where), part(where, start, stop)
        x = data.inputs(own, self.dtype)
        y_true, weights = data.labels(own)
        rng = RandomKey(key, start) if key is not None and self.plan.draws else None
        y, caches = yield from self.plan.forward(x, key is not None, rng)
        assert self.plan.loss is not None
        value, cache = self.plan.loss.forward(y_true, y, sample_weight=weights, n=n)
        predicted = self.plan.predictions(y) if self.metrics else y
        metrics = [metric.sums(y_true, predicted) for metric in self.metrics if not metric.whole]
        if seen is not None:
            seen[start:stop] = predicted
        return Sums(float(value) * n, stop - start, metrics), cache, caches

    def _backward(
        self, loss_cache: Cache, caches: list[Cache], lowest: int, ranges: Sequence[Range]
    ) -> Stages[Gradient]:
        """One shard's gradient. Raises NotFinite, naming the parameter, where it is not finite."""
        gradient = self._blank()
        assert self.plan.loss is not None
        dy = np.array(self.plan.loss.backward(loss_cache), self.dtype, order="C")  # a copy: a loss may keep its own
        yield from self.plan.backward(dy, caches, gradient.named, lowest)
        gradient.add_tied()
        if not all(all_finite(gradient.vector[start:stop]) for start, stop in ranges):
            bad = next(address for address, value in gradient.named.items() if not np.isfinite(value).all())
            raise NotFinite(f"the gradient of {bad!r} is not finite. {NO_STEP}")
        return gradient

    def _explain(self, loss: float, data: Data, where: Where, cuts: list[tuple[int, int]], key: int | None) -> str:
        """The message for a loss that is not finite: run the batch again, layer by layer, up to the first output that is not."""
        found: list[tuple[int, str]] = []
        if any(is_measuring(layer) for _, layer in self.stack.leaves()):
            cuts = [(0, sample_count(where))]  # outside of the plan, such a layer has to be given the whole batch
        for start, stop in cuts:
            layers = [Recorder(layer, backprop.name_of(layer, i)) for i, layer in enumerate(self.stack.layers)]
            rng = None if key is None else RandomKey(key, start)
            with np.errstate(all="ignore"):
                backprop.forward(
                    layers, data.inputs(part(where, start, stop), self.dtype), training=key is not None, rng=rng
                )
            outputs = [output for layer in layers for output in layer.outputs()]
            found += [(i, name) for i, (name, y) in enumerate(outputs) if not np.isfinite(y).all()][:1]
        if not found:
            hint, wanted = NO_STEP, losses.activation_of(self.plan.loss)
            if wanted is not None and not losses.takes_logits(self.plan.loss):
                hint = f"It needs probabilities: end the model with activation={wanted!r}. This batch made no step."
            return f"the loss is {loss}, although every layer's output is finite. {hint}"
        return f"the loss is {loss}; the first layer whose output is not finite is {min(found)[1]!r}. {NO_STEP}"
