"""Metrics: values to watch, which training does not use.

A metric is a function ``metric(y_true, y_pred)`` → (total, count), sums over the given samples, so that the parts of an epoch
add up; the value shown is total / count.
"""

import numpy as np

from .contracts import Array, Metric
from .utils.lookup import by_name


def accuracy(y_true: Array, y_pred: Array) -> tuple[float, int]:
    """How many predictions are right, and how many there are.

    y_pred (N, K): the largest entry is the predicted class; y_true is one-hot (N, K), or integers (N,) or (N, 1).
    y_pred (N, 1): above 0.5 means class 1, otherwise class 0; y_true (N,) or (N, 1) is 0 or 1.
    Raises ValueError for other shapes.
    """
    if y_pred.ndim != 2:
        raise ValueError(f"accuracy expects predictions of shape (n, classes), received shape {y_pred.shape}.")
    classes = y_pred.shape[1]
    predicted = y_pred[:, 0] > 0.5 if classes == 1 else y_pred.argmax(axis=1)
    if y_true.shape in ((len(y_pred),), (len(y_pred), 1)):
        truth = y_true.reshape(-1)
    elif y_true.shape == y_pred.shape:
        truth = y_true.argmax(axis=1)
    else:
        raise ValueError(
            f"accuracy expects labels of shape ({len(y_pred)},), ({len(y_pred)}, 1) or {y_pred.shape}, received shape "
            f"{y_true.shape}."
        )
    return float(np.count_nonzero(predicted == truth)), len(y_pred)


METRICS: dict[str, Metric] = {"accuracy": accuracy, "acc": accuracy}


def get(metric: str | Metric) -> tuple[str, Metric]:
    """(name to show, function) of a metric given by name or as a function."""
    if isinstance(metric, str):
        return metric, by_name(METRICS, metric, "metric")
    if not callable(metric):
        raise TypeError(
            f"a metric must be a name or a function (y_true, y_pred) → (total, count), received {metric!r}."
        )
    return getattr(metric, "__name__", type(metric).__name__), metric
