"""The rules of the losses: the loss of a batch, that of a sample, and the gradient that the backward pass begins with."""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from .. import losses
from ..contracts import Array, DType, LossLike
from ..losses.base import EPSILON
from ..tracing import Trace
from .activations import exponentials
from .rules import Factor, Part, Rule
from .values import Sheet, axes, source


def loss_only(sheet: Sheet, trace: Trace) -> None:
    """What is known of any loss: its value and its gradient."""
    sheet.put("loss", np.array(trace.loss))
    sheet.put("loss:dy", trace.dy)
    sheet.put("loss:y_pred", trace.y_pred)


class Entry(NamedTuple):
    """A loss entry by entry: the loss as a function of the prediction y and the target t, and its slope."""

    formula: str
    function: str
    slope: str
    slope_function: str
    gives: str  # the fragment of the source that returns both


def _mean_squared_error(loss: Any, dtype: DType) -> Entry:
    return Entry("v = (y − t)²", "(y - t) * (y - t)", "slope = 2 · (y − t)", "2 * (y - t)", "2 * difference")


def _mean_absolute_error(loss: Any, dtype: DType) -> Entry:
    return Entry("v = |y − t|", "abs(y - t)", "slope = the sign of y − t", "sign(y - t)", "np.sign")


def _huber(loss: Any, dtype: DType) -> Entry:
    cut = f"min(max(y - t, -{loss.delta!r}), {loss.delta!r})"
    return Entry(
        f"v = e² / 2 for e = y − t up to {loss.delta}, and a straight line from there on",
        f"({cut}) * (y - t - ({cut}) / 2)",
        f"slope = e = y − t, cut off at ±{loss.delta}",
        cut,
        "slopes * (difference",
    )


def _hinge(loss: Any, dtype: DType) -> Entry:
    return Entry(
        "v = max(0, 1 − t · y)",
        "max(1 - t * y, 0)",
        "slope = −t where t · y < 1, else 0",
        "where(1 - t * y > 0, -t, 0)",
        "np.maximum(missing",
    )


def _binary_crossentropy(loss: Any, dtype: DType) -> Entry:
    if loss.from_logits:
        sigmoid = "where(y >= 0, 1, exp(-abs(y))) / (1 + exp(-abs(y)))"
        return Entry(
            "v = max(z, 0) − z · t + log(1 + e^−|z|): the crossentropy of p = sigmoid(z) with t",
            "max(y, 0) - y * t + log1p(exp(-abs(y)))",
            "slope = p − t, p = sigmoid(z)",
            f"{sigmoid} - t",
            "p - target",
        )
    p = _clipped("y", dtype)
    inside = "(p - t) / (p * (1 - p))".replace("p", f"({p})")
    return Entry(
        "v = −t · log p − (1 − t) · log(1 − p)",
        f"-t * log({p}) - (1 - t) * log(1 - {p})",
        "slope = (p − t) / (p · (1 − p)); 0 where p was cut off",
        f"where(abs(y - {p}) > 0, 0, {inside})",
        "return values",
    )


ENTRIES: dict[type, Callable[[Any, DType], Entry]] = {
    losses.MeanSquaredError: _mean_squared_error,
    losses.MeanAbsoluteError: _mean_absolute_error,
    losses.Huber: _huber,
    losses.Hinge: _hinge,
    losses.BinaryCrossentropy: _binary_crossentropy,
}


def entrywise(sheet: Sheet, trace: Trace) -> None:
    loss: Any = trace.run.loss
    loss_only(sheet, trace)
    y_pred, shape = trace.y_pred, trace.y_pred.shape
    target = _targets(loss, trace).reshape(shape).astype(np.float64)
    if isinstance(loss, losses.Hinge):
        target = np.where(target > 0, 1.0, -1.0)
    if isinstance(loss, losses.BinaryCrossentropy):
        target = target * (1 - loss.label_smoothing) + loss.label_smoothing / 2
    sheet.put("loss:t", target)
    entry, names = ENTRIES[type(loss)](loss, y_pred.dtype), axes(shape)
    line = source(type(loss).entries, entry.gives)
    arguments = {"y": Factor("loss:y_pred"), "t": Factor("loss:t")}
    sheet.make("loss:v", shape, Rule(entry.formula, line, names, function=entry.function, arguments=arguments))
    slope = Rule(entry.slope, line, names, function=entry.slope_function, arguments=arguments)
    sheet.make("loss:slope", shape, slope)
    size, samples = max(1, y_pred[0].size), len(y_pred)
    every = Part((Factor("loss:v", names),), dict(zip(names[1:], shape[1:], strict=True)), 1 / size)
    _of_samples(sheet, trace, Rule(f"the mean of v over the {size} entries of the sample", line, ("n",), (every,)))
    sheet.rules["loss:dy"] = Rule(
        f"dy = slope / {samples * size}: the entries of all samples",
        source(losses.Loss.backward, "dy"),
        parts=(Part((Factor("loss:slope"),), scale=1 / (samples * size)),),
    )


def crossentropy(sheet: Sheet, trace: Trace) -> None:
    """From logits: p = softmax(z), loss = −Σ t · log p, dz = (p · Σ t − t) / N. From probabilities: their sum and clip."""
    loss: Any = trace.run.loss
    loss_only(sheet, trace)
    samples, classes = trace.y_pred.shape
    target = _targets(loss, trace)
    if isinstance(loss, losses.SparseCategoricalCrossentropy):
        target = np.eye(classes)[target]
    elif loss.label_smoothing:
        target = target * (1 - loss.label_smoothing) + loss.label_smoothing / classes
    sheet.put("loss:t", target.astype(np.float64))
    (_from_logits if loss.from_logits else _from_probabilities)(sheet, trace, samples, classes)


def _from_logits(sheet: Sheet, trace: Trace, samples: int, classes: int) -> None:
    shape, names, row, over = (samples, classes), ("n", "k"), ("n",), {"k": classes}
    line = source(_gradients_of(trace), "log_p = ")
    exponentials(sheet, "loss:", "loss:y_pred")
    z, m, s = Factor("loss:y_pred", ("n", "i")), Factor("loss:m", row), Factor("loss:s", row)
    # the exponentials call the axes of a matrix n and i
    of_row = {"z": z, "m": m, "s": s}
    formula = "log p = z − m − log s, s = Σ_k e^(z[k] − m)"
    sheet.make("loss:log_p", shape, Rule(formula, line, ("n", "i"), function="z - m - log(s)", arguments=of_row))
    sheet.make("loss:p", shape, Rule("p = e^(log p)", line, function="exp(y)", arguments={"y": Factor("loss:log_p")}))
    t = Factor("loss:t", names)
    log_loss = Part((t, Factor("loss:log_p", names)), over, -1)
    _of_samples(sheet, trace, Rule("the loss of a sample = −Σ_k t[k] · log p[k]", line, row, (log_loss,)))
    predicted = Part((Factor("loss:p", names), Factor("loss:t", ("n", "r"))), {"r": classes}, 1 / samples)
    sheet.rules["loss:dy"] = Rule(
        f"dz[n, k] = (p[n, k] · Σ_r t[n, r] − t[n, k]) / {samples}: p − t, over the number of samples",
        source(_gradients_of(trace), "gradients"),
        names,
        (predicted, Part((t,), scale=-1 / samples)),
    )


def _from_probabilities(sheet: Sheet, trace: Trace, samples: int, classes: int) -> None:
    shape, names, row, over = (samples, classes), ("n", "k"), ("n",), {"k": classes}
    line = source(_gradients_of(trace), "dp = ")
    y, t = Factor("loss:y_pred", names), Factor("loss:t", names)
    sheet.make("loss:norm", (samples,), Rule("norm = Σ_k y[k]", axes=row, parts=(Part((y,), over),)))
    share = {"y": y, "s": Factor("loss:norm", row)}
    sheet.make("loss:q", shape, Rule("q = y / norm", axes=names, function="y / s", arguments=share))
    clip = _clipped("q", trace.y_pred.dtype)
    q = {"q": Factor("loss:q")}
    sheet.make("loss:p", shape, Rule("p = q, kept off 0 and 1", function=clip, arguments=q))
    log_p = Rule("log p", line, function="log(p)", arguments={"p": Factor("loss:p")})
    sheet.make("loss:log_p", shape, log_p)
    rule = Rule(
        "dp = −t / p, and 0 where p was cut off",
        line,
        function="where(abs(p - q) > 0, 0, -t / p)",
        arguments={"p": Factor("loss:p"), "q": Factor("loss:q"), "t": Factor("loss:t")},
    )
    sheet.make("loss:dp", shape, rule)
    rule = Rule("1 / norm", function="1 / s", arguments={"s": Factor("loss:norm")})
    sheet.make("loss:inverse", (samples,), rule)
    log_loss = Part((t, Factor("loss:log_p", names)), over, -1)
    _of_samples(sheet, trace, Rule("the loss of a sample = −Σ_k t[k] · log p[k]", line, row, (log_loss,)))
    inverse, others = Factor("loss:inverse", row), ("n", "r")
    own = Part((Factor("loss:dp", names), inverse), scale=1 / samples)
    rest = Part((Factor("loss:dp", others), Factor("loss:p", others), inverse), {"r": classes}, scale=-1 / samples)
    sheet.rules["loss:dy"] = Rule(
        f"dy[n, k] = (dp[n, k] − Σ_r dp[n, r] · p[n, r]) / norm[n] / {samples}: through the division by the sum",
        source(_gradients_of(trace), "return"),
        names,
        (own, rest),
    )


def divergence(sheet: Sheet, trace: Trace) -> None:
    loss_only(sheet, trace)
    shape, samples = trace.y_pred.shape, len(trace.y_pred)
    names, rows = axes(shape), math.prod(shape[1:-1])
    line = source(losses.KLDivergence.losses_and_gradients, "return")
    sheet.put("loss:t", np.clip(_targets(trace.run.loss, trace).astype(np.float64), EPSILON, 1))
    clip = f"min(max(y, {EPSILON!r}), 1)"
    y, t = Factor("loss:y_pred"), Factor("loss:t")
    sheet.make("loss:p", shape, Rule("p = y, kept off 0", line, function=clip, arguments={"y": y}))
    of = {"t": t, "p": Factor("loss:p")}
    sheet.make("loss:v", shape, Rule("v = t · log(t / p)", line, function="t * log(t / p)", arguments=of))
    every = Part((Factor("loss:v", names),), dict(zip(names[1:], shape[1:], strict=True)), 1 / rows)
    _of_samples(sheet, trace, Rule("the loss of a sample = Σ_k v[k]", line, ("n",), (every,)))
    slope = Rule(
        "slope = −t / p, and 0 where p was cut off",
        line,
        function="where(abs(p - y) > 0, 0, -t / p)",
        arguments=of | {"y": y},
    )
    sheet.make("loss:slope", shape, slope)
    part = Part((Factor("loss:slope"),), scale=1 / rows / samples)
    sheet.rules["loss:dy"] = Rule(f"dy = slope / {rows * samples}", line, parts=(part,))


LOSSES: dict[type, Callable[[Sheet, Trace], None]] = {
    **dict.fromkeys(ENTRIES, entrywise),
    losses.CategoricalCrossentropy: crossentropy,
    losses.SparseCategoricalCrossentropy: crossentropy,
    losses.KLDivergence: divergence,
}


def _gradients_of(trace: Trace) -> Callable[..., Any]:
    """The method of the loss that computes the losses and their gradients."""
    loss: Any = type(trace.run.loss)
    method: Callable[..., Any] = loss.losses_and_gradients
    return method


def _clipped(name: str, dtype: DType) -> str:
    """The expression for a probability kept off 0 and 1, by the bounds as they are in this dtype."""
    low, high = (float(dtype.type(bound)) for bound in (EPSILON, 1 - EPSILON))
    return f"min(max({name}, {low!r}), {high!r})"


def _targets(loss: LossLike, trace: Trace) -> Array:
    prepared: Array = loss.prepare(trace.run.y, trace.y_pred.shape[1:])  # type: ignore[attr-defined]
    return prepared


def _of_samples(sheet: Sheet, trace: Trace, rule: Rule) -> None:
    """The loss of each sample, and that of the batch: their mean, and the regularizers' penalties."""
    samples = len(trace.y_pred)
    sheet.make("loss:losses", (samples,), rule)
    part = Part((Factor("loss:losses", ("n",)),), {"n": samples}, 1 / samples)
    formula, parts = f"loss = Σ_n loss[n] / {samples}", [part]
    if trace.penalty:
        sheet.put("loss:penalty", np.array(trace.penalty))
        parts.append(Part((Factor("loss:penalty", ()),)))
        formula += " + the regularizers' penalties"
    sheet.rules["loss"] = Rule(formula, source(losses.Loss.forward, "return"), (), tuple(parts))
