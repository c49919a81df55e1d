"""Metrics that are the mean of a number for each sample: accuracies, and losses."""

import math
from typing import ClassVar

import numpy as np

from .. import losses
from ..checks import check_number, check_positive
from ..contracts import Array
from .base import SampleMean, by_sample, like


class BinaryAccuracy(SampleMean):
    """The share of entries on the right side of the threshold: a prediction above it says 1, otherwise 0.

    y_pred (n, …), y_true of the same shape, or (n,) for (n, 1).
    """

    def __init__(self, name: str = "binary_accuracy", threshold: float = 0.5) -> None:
        super().__init__(name)
        self.threshold = check_number(threshold, f"{name} threshold")

    def each(self, y_true: Array, y_pred: Array) -> Array:
        right = (y_pred > self.threshold) == like(self.name, y_true, y_pred)
        return by_sample(right)


class CategoricalAccuracy(SampleMean):
    """How often the class with the largest prediction is the one with the largest label, for one-hot labels.

    y_true, y_pred (n, …, K). Of equal predictions the first counts.
    """

    def __init__(self, name: str = "categorical_accuracy") -> None:
        super().__init__(name)

    def each(self, y_true: Array, y_pred: Array) -> Array:
        if y_true.shape != y_pred.shape or y_pred.ndim < 2:
            raise ValueError(
                f"{self.name} expects labels of shape {y_pred.shape}, one-hot, received shape {y_true.shape}."
            )
        right = y_pred.argmax(axis=-1) == y_true.argmax(axis=-1)
        return by_sample(right)


class SparseCategoricalAccuracy(SampleMean):
    """How often the class with the largest prediction is the label, for integer labels.

    y_pred (n, …, K), y_true (n, …) or (n, …, 1). Of equal predictions the first counts.
    """

    def __init__(self, name: str = "sparse_categorical_accuracy") -> None:
        super().__init__(name)

    def each(self, y_true: Array, y_pred: Array) -> Array:
        right = y_pred.argmax(axis=-1) == classes(self.name, y_true, y_pred)
        return by_sample(right)


class TopKCategoricalAccuracy(SampleMean):
    """How often the class of a one-hot label is among the k largest predictions.  y_true, y_pred (n, K)."""

    def __init__(self, k: int = 5, name: str = "top_k_categorical_accuracy") -> None:
        super().__init__(name)
        self.k = check_positive(k, f"{name} k")

    def each(self, y_true: Array, y_pred: Array) -> Array:
        if y_true.shape != y_pred.shape or y_pred.ndim != 2:
            raise ValueError(f"{self.name} expects labels of shape (n, K), one-hot, received {y_true.shape}.")
        return among_top_k(y_true.argmax(axis=1), y_pred, self.k)


class SparseTopKCategoricalAccuracy(SampleMean):
    """How often an integer label is among the k largest predictions.  y_true (n,) or (n, 1), y_pred (n, K)."""

    def __init__(self, k: int = 5, name: str = "sparse_top_k_categorical_accuracy") -> None:
        super().__init__(name)
        self.k = check_positive(k, f"{name} k")

    def each(self, y_true: Array, y_pred: Array) -> Array:
        return among_top_k(classes(self.name, y_true, y_pred), y_pred, self.k)


class ChosenAccuracy(SampleMean):
    """What "accuracy" stands for: binary, sparse categorical or categorical accuracy, whichever fits the shapes, as in Keras.

    One output: binary. Labels without the axis of the classes: sparse. Otherwise categorical.
    """

    def __init__(self, name: str = "accuracy") -> None:
        super().__init__(name)

    def each(self, y_true: Array, y_pred: Array) -> Array:
        if y_pred.ndim < 2:
            raise ValueError(f"{self.name} expects predictions of shape (n, classes), received shape {y_pred.shape}.")
        if y_pred.shape[-1] == 1:
            return BinaryAccuracy(self.name).each(y_true, y_pred)
        if y_true.ndim < y_pred.ndim or y_true.shape[-1] == 1:
            return SparseCategoricalAccuracy(self.name).each(y_true, y_pred)
        return CategoricalAccuracy(self.name).each(y_true, y_pred)


def accuracy(y_true: Array, y_pred: Array) -> tuple[float, int]:
    """How many predictions are right, and how many there are: see ChosenAccuracy."""
    total, count = ChosenAccuracy().sums(y_true, y_pred).tolist()
    return total, int(count)


def classes(name: str, y_true: Array, y_pred: Array) -> Array:
    """Integer labels (n, …), without the axis of the classes. Raises ValueError where they do not fit the predictions."""
    if y_true.shape == (*y_pred.shape[:-1], 1):
        y_true = y_true[..., 0]
    if y_pred.ndim < 2 or y_true.shape != y_pred.shape[:-1]:
        raise ValueError(
            f"{name} expects integer labels of shape {y_pred.shape[:-1]} for predictions of shape {y_pred.shape}, received "
            f"shape {y_true.shape}."
        )
    return y_true


def among_top_k(labels: Array, y_pred: Array, k: int) -> Array:
    """Whether fewer than k predictions are larger than the label's.  labels (n,), y_pred (n, K) → (n,). NaN is never right, and
    counts as larger than any number."""
    own = np.take_along_axis(y_pred, labels.astype(np.intp)[:, None], axis=1)
    right: Array = (np.count_nonzero(~(y_pred <= own), axis=1) < k) & ~np.isnan(own[:, 0])
    return right


# ------------------------------------------------------------------------------------------------------ losses as metrics


class LossMetric(SampleMean):
    """The mean of a loss over the samples, without weights and penalties."""

    loss: ClassVar[type[losses.Loss]]

    def __init__(self, name: str | None = None) -> None:
        super().__init__(name or self.loss.name)

    def each(self, y_true: Array, y_pred: Array) -> Array:
        return losses.LossFunction(self.loss)(y_true, y_pred)


class MeanSquaredError(LossMetric):
    """The mean of (y_pred − y_true)²."""

    loss = losses.MeanSquaredError


class RootMeanSquaredError(LossMetric):
    """The square root of the mean of (y_pred − y_true)² over all samples: in the units of y."""

    loss = losses.MeanSquaredError

    def __init__(self, name: str = "root_mean_squared_error") -> None:
        super().__init__(name)

    def result(self, sums: Array) -> float:
        return math.sqrt(super().result(sums))


class MeanAbsoluteError(LossMetric):
    """The mean of |y_pred − y_true|."""

    loss = losses.MeanAbsoluteError


class BinaryCrossentropy(LossMetric):
    """The mean of the loss of this name."""

    loss = losses.BinaryCrossentropy


class CategoricalCrossentropy(LossMetric):
    """The mean of the loss of this name."""

    loss = losses.CategoricalCrossentropy


class SparseCategoricalCrossentropy(LossMetric):
    """The mean of the loss of this name."""

    loss = losses.SparseCategoricalCrossentropy


class KLDivergence(LossMetric):
    """The mean of the loss of this name."""

    loss = losses.KLDivergence


class Hinge(LossMetric):
    """The mean of the loss of this name."""

    loss = losses.Hinge


class Huber(LossMetric):
    """The mean of the loss of this name, with its delta of 1."""

    loss = losses.Huber
