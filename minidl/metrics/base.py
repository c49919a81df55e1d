"""What a metric is: a value to watch, which training does not use.

A metric turns samples into sums, an array that adds up over the shards of a batch and the batches of an epoch, and the sums of
all of them into its result. So its value does not depend on how the samples were divided.
"""

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from ..contracts import Array, Config, MetricFunction, Shape
from ..utils.settings import settings


class Metric:
    """The base class. Your own metric defines ``sums`` and ``result``, and ``empty`` where its sums are not two numbers.

    Arguments: name: the name in the logs. Attributes: whole: True if it must be given whole batches, and no shards of them.
    """

    whole = False

    def __init__(self, name: str) -> None:
        self.name = name

    def empty(self, output_shape: Shape) -> Array:
        """The sums of no samples. output_shape: that of one prediction."""
        return np.zeros(2)

    def sums(self, y_true: Array, y_pred: Array) -> Array:
        """Sums over these samples, float64.  y_true: labels as the loss has prepared them, y_pred (n, *output_shape)."""
        raise NotImplementedError(_missing(self))

    def result(self, sums: Array) -> float:
        """The metric's value, from the sums of all samples."""
        raise NotImplementedError(_missing(self))

    def get_config(self) -> Config:
        """The arguments that recreate this metric, by name."""
        return settings(self)


def _missing(metric: Metric) -> str:
    return (
        f"{type(metric).__name__} must define sums(y_true, y_pred) → an array that adds up over batches, and result(sums) → a "
        "number: Keras's update_state and result() keep what is seen in the metric itself. A function of (y_true, y_pred) is a "
        "metric, too."
    )


class SampleMean(Metric):
    """The mean of a number for each sample, given by ``each``. Its sums are (total, count)."""

    def each(self, y_true: Array, y_pred: Array) -> Array:
        """The number of each sample, (n,)."""
        raise NotImplementedError

    def sums(self, y_true: Array, y_pred: Array) -> Array:
        return np.array([self.each(y_true, y_pred).sum(dtype=np.float64), len(y_pred)])

    def result(self, sums: Array) -> float:
        total, count = sums.tolist()
        return total / count if count else float("nan")


class EachSample:
    """A metric as a function (y_true, y_pred, **settings) → the number of each sample, (n,), as Keras has it beside the class."""

    def __init__(self, metric: type[SampleMean], name: str) -> None:
        self.metric = metric
        self.__name__ = name

    def __call__(self, y_true: npt.ArrayLike, y_pred: npt.ArrayLike, **settings: Any) -> Array:
        return self.metric(**settings).each(np.asarray(y_true), np.asarray(y_pred))

    def __repr__(self) -> str:
        return f"<metric function {self.__name__}>"


class Function(SampleMean):
    """A function (y_true, y_pred) of the user's, which returns a number for the batch, one for each sample, or (total, count).

    It sees whole batches. A number counts as often as its batch has samples, so that a last batch of few samples weighs little.
    """

    whole = True

    def __init__(self, function: MetricFunction) -> None:
        super().__init__(getattr(function, "__name__", type(function).__name__))
        self.function = function

    def sums(self, y_true: Array, y_pred: Array) -> Array:
        n = len(y_pred)
        if y_true.ndim == 1 and y_pred.shape == (n, 1):
            y_true = y_true[:, None]  # as Keras, or (n,) against (n, 1) would become (n, n)
        found = self.function(y_true, y_pred)
        try:
            if isinstance(found, tuple):
                total, count = found
                return np.array([float(total), float(count)])
            values = np.asarray(found)
        except (TypeError, ValueError):
            raise self._unknown(repr(found)[:200], n) from None
        if values.dtype.kind not in "fiub":
            raise self._unknown(repr(found)[:200], n)
        if values.shape == ():
            return np.array([float(values) * n, n])
        if len(values) != n:
            raise self._unknown(f"an array of shape {values.shape}", n)
        return np.array([by_sample(values).sum(dtype=np.float64), n])

    def _unknown(self, received: str, n: int) -> TypeError:
        return TypeError(
            f"the metric {self.name!r} must return a number, a number for each of the {n} samples, or (total, count), received "
            f"{received}."
        )


def by_sample(values: Array) -> Array:
    """The mean of each sample's numbers.  (n, …) → (n,)."""
    if values.ndim == 1:  # as below, which takes as long as a small layer
        return values if values.dtype.kind == "f" else values.astype(np.float64)
    means: Array = values.reshape(len(values), math.prod(values.shape[1:])).mean(axis=1)
    return means


def like(name: str, y_true: Array, y_pred: Array) -> Array:
    """The labels in the shape of the predictions: a row as a column; classes (n,) or (n, 1) as one-hot rows.

    name: the metric's. Raises ValueError where they do not fit.
    """
    if y_true.shape == y_pred.shape:
        return y_true
    if y_pred.ndim != 2 or y_true.shape not in ((len(y_pred),), (len(y_pred), 1)):
        raise ValueError(
            f"{name} expects labels of shape {y_pred.shape}, that of the predictions, received {y_true.shape}."
        )
    column = y_true.reshape(-1, 1)
    return column if y_pred.shape[1] == 1 else column == np.arange(y_pred.shape[1])
