"""Passes over samples that leave the parameters unchanged: evaluate, predict, a gradient, a trace, statistics."""

import contextlib
from collections.abc import Callable, Iterator, Sequence

import numpy as np

from . import backprop, ranks
from .callbacks import Callback, CallbackList, Progress, check_verbose, one_by_one
from .contracts import Array, Logs, MeasuringLayer, MetricLike, ModelLike, Shape, TrainedModel
from .engine.batches import Batches
from .engine.blas import SingleThreadedBlas
from .engine.data import Data, sample_count
from .engine.penalties import Penalties
from .engine.plan import on_logits
from .engine.runner import Runner, Sums
from .engine.stages import Measured
from .ops.random import RandomKey
from .tracing import Trace

Metrics = Sequence[tuple[str, MetricLike]]


def evaluate(runner: Runner, batches: Batches, metrics: Metrics, hooks: CallbackList) -> Logs:
    """The mean loss and metrics of all samples. Raises ValueError where there are none."""
    hooks.on_test_begin()
    total: Sums | None = None
    with contextlib.closing(batches.one_pass()) as every:
        for batch, (data, where) in enumerate(every):
            hooks.on_test_batch_begin(batch)
            sums = runner.evaluate(data, where)
            total = sums if total is None else total.plus(sums)
            hooks.on_test_batch_end(batch, means(metrics, total))
    if total is None:
        raise ValueError("there are no samples to evaluate: the data gave no batch.")
    logs = means(metrics, total)
    hooks.on_test_end(logs)
    return logs


def predict(runner: Runner, batches: Batches, hooks: CallbackList, shape: Shape) -> Array:
    """The predictions for all samples, (n, *shape). Raises ValueError where there are none."""
    hooks.on_predict_begin()
    found: list[Array] = []
    whole = np.empty((batches.count or 0, *shape), runner.dtype) if batches.size else None  # where n is known
    with contextlib.closing(batches.one_pass()) as every:
        for batch, (data, where) in enumerate(every):
            hooks.on_predict_batch_begin(batch)
            y = np.empty((sample_count(where), *shape), runner.dtype) if whole is None else whole[where]
            runner.predict(data, where, y)
            found.append(y)
            hooks.on_predict_batch_end(batch)
    if not found:
        raise ValueError("there are no samples to predict for: the data gave no batch.")
    hooks.on_predict_end()
    return np.concatenate(found) if whole is None else whole


def measure(runner: Runner, batches: Batches, order: Array | None, key: Callable[[int], int]) -> Measured:
    """What layers measure of all samples in training: a batch's sums, added up over the batches. key: (batch) → its key."""
    found: dict[int, tuple[MeasuringLayer, Array]] = {}
    with contextlib.closing(batches.one_pass(order)) as every:
        for batch, (data, where) in enumerate(every):
            for layer, sums in runner.measure(data, where, key(batch)):
                found[id(layer)] = layer, sums + found[id(layer)][1] if id(layer) in found else sums
    return list(found.values())


def whole_gradient(runner: Runner, data: Data, key: int | None) -> tuple[float, dict[str, Array]]:
    """The mean loss of all samples as one batch, and its gradient for every parameter by address."""
    everything = [(0, runner.layout.size)]
    lowest = runner.plan.lowest_trained(frozen=())
    sums, (gradient, *others), _ = runner.gradients(data, slice(0, len(data)), key, lowest, everything)
    for other in others:
        gradient.vector += other.vector
    runner.release(others)
    ranks.group.gather(gradient.vector, everything)
    return sums.loss / sums.samples, {address: gradient.named[address] for address in runner.layout.places}


def trace(model: ModelLike, data: Data, key: int | None) -> Trace:
    """A trace of all samples through the layers that training runs, see Sequential.trace."""
    samples = slice(0, len(data))
    x, (y, _) = data.inputs(samples, model.dtype), data.labels(samples)
    layers, loss, activation = on_logits(model.layers, model.loss)
    assert loss is not None
    rng = None if key is None else RandomKey(key, 0)
    with np.errstate(all="ignore"):  # as in a training step
        found = backprop.trace(layers, loss, x, y, training=key is not None, rng=rng)
    found.gradients, found.ties = model.add_tied(found.gradients), model.ties()
    penalties = Penalties(model)
    if penalties.found:
        found.penalty = penalties.value()
        found.loss += found.penalty
        found.penalties = {address: np.zeros_like(value) for address, value in found.gradients.items()}
        penalties.add_gradients(found.penalties, found.ties)
        found.gradients = {address: value + found.penalties[address] for address, value in found.gradients.items()}
        found.notes.append(
            "The loss and the gradients by address include the regularizers' penalties; those by layer do not."
        )
    if activation is not None:
        name = activation.__name__.removesuffix("_forward")
        found.notes.append(
            f"The {name} and the loss are one computation: the last layer's y and dy are those of the logits."
        )
    return found


@contextlib.contextmanager
def watched(
    what: str,
    model: TrainedModel,
    batches: Batches,
    verbose: int | str,
    callbacks: Sequence[Callback] | Callback | None,
    limit: contextlib.AbstractContextManager[None] | None = None,
) -> Iterator[CallbackList]:
    """The hooks of one evaluate or predict, including the progress bar.

    what: the name of the call. limit: the one on BLAS, by default that to one thread.
    """
    verbose, steps = check_verbose(verbose), batches.steps
    shown = [Progress(verbose, steps)] if verbose else []
    hooks = CallbackList([*shown, *one_by_one(callbacks)], model, {"steps": steps, "verbose": verbose})
    try:
        with ranks.group.together(what, model, [batches]), limit or SingleThreadedBlas():
            yield hooks
    finally:
        for progress in shown:
            progress.close()


def means(metrics: Metrics, sums: Sums | None) -> Logs:
    """The means that the sums give, names in alphabetical order."""
    if sums is None:
        return {}
    logs = {name: metric.result(own) for (name, metric), own in zip(metrics, sums.metrics, strict=True)}
    return dict(sorted({"loss": sums.loss / sums.samples, **logs}.items()))
