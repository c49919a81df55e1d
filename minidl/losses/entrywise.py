"""Losses that compare a prediction with its target entry by entry: errors of numbers, and of yes-or-no answers."""

import numpy as np

from ..checks import check_number
from ..contracts import Array
from .base import EPSILON, Loss, same_shape


class Entrywise(Loss):
    """The mean, over all entries of a sample, of a function of the entry and its target. A subclass defines ``entries``."""

    def prepare(self, y_true: Array, output_shape: tuple[int, ...]) -> Array:
        return same_shape(self.name, y_true, output_shape)

    def entries(self, y_true: Array, y_pred: Array) -> tuple[Array, Array]:
        """The loss of each entry, and its derivative with respect to that entry: both (N, …)."""
        raise NotImplementedError

    def losses_and_gradients(self, y_true: Array, y_pred: Array) -> tuple[Array, Array]:
        values, slopes = self.entries(y_true.astype(y_pred.dtype, copy=False), y_pred)
        losses = values.mean(axis=tuple(range(1, y_pred.ndim)), dtype=np.float64)
        return losses, (slopes / max(1, y_pred[0].size)).astype(y_pred.dtype, copy=False)


class MeanSquaredError(Entrywise):
    """The mean over all entries of (y_pred − y_true)²; its gradient is 2 · (y_pred − y_true) / (entries of a sample)."""

    name = "mean_squared_error"

    def entries(self, y_true: Array, y_pred: Array) -> tuple[Array, Array]:
        difference = y_pred - y_true
        # in float64, which holds the square and the double of any float32
        return np.square(difference, dtype=np.float64), 2 * difference.astype(np.float64, copy=False)


class MeanAbsoluteError(Entrywise):
    """The mean over all entries of |y_pred − y_true|; its gradient is ±1 / (entries of a sample), and 0 where they are equal."""

    name = "mean_absolute_error"

    def entries(self, y_true: Array, y_pred: Array) -> tuple[Array, Array]:
        difference = y_pred - y_true
        return np.abs(difference), np.sign(difference)


class Huber(Entrywise):
    """½ e² for errors e = y_pred − y_true up to delta, δ · (|e| − ½ δ) for larger ones: outliers pull no harder (Huber 1964).

    Its derivative is e, cut off at ±δ.
    """

    name = "huber"

    def __init__(self, delta: float = 1.0) -> None:
        self.delta = check_number(delta, "huber delta", 0)

    def entries(self, y_true: Array, y_pred: Array) -> tuple[Array, Array]:
        difference = y_pred - y_true
        slopes = np.clip(difference, -self.delta, self.delta)
        return slopes * (difference - slopes / 2), slopes


class Hinge(Entrywise):
    """max(0, 1 − t · y_pred) for a target t of −1 or 1: right by a margin of 1 costs nothing. Labels 0 and 1 mean −1 and 1.

    Its derivative is −t where t · y_pred < 1, else 0.
    """

    name = "hinge"

    def prepare(self, y_true: Array, output_shape: tuple[int, ...]) -> Array:
        y_true = same_shape(self.name, y_true, output_shape)
        lowest = y_true.min() if y_true.size else 0
        if not np.isin(y_true, (0, 1) if lowest == 0 else (-1, 1)).all():
            raise ValueError(f"hinge expects labels −1 and 1, or 0 and 1, received {lowest} … {y_true.max()}.")
        return y_true

    def entries(self, y_true: Array, y_pred: Array) -> tuple[Array, Array]:
        target = np.where(y_true > 0, 1, -1).astype(y_pred.dtype)
        missing = 1 - target * y_pred
        return np.maximum(missing, 0), np.where(missing > 0, -target, 0)


class BinaryCrossentropy(Entrywise):
    """−t · log p − (1 − t) · log(1 − p): each entry answers yes (t = 1) or no (t = 0), independently of the others.

    from_logits=False: y_pred are probabilities, clipped to [1e-7, 1 − 1e-7]. from_logits=True: p = sigmoid(z), and the loss is
    max(z, 0) − z · t + log(1 + e^−|z|), which no logit z can overflow; its derivative is p − t. label_smoothing s: the targets
    become t · (1 − s) + s / 2.
    """

    name = "binary_crossentropy"
    activation = "sigmoid"

    def __init__(self, from_logits: bool = False, label_smoothing: float = 0.0) -> None:
        self.from_logits = from_logits
        self.label_smoothing = check_number(label_smoothing, "label_smoothing", 0, 1)

    def prepare(self, y_true: Array, output_shape: tuple[int, ...]) -> Array:
        if output_shape == (1,) and y_true.ndim == 2 and y_true.shape[1] == 2:
            raise ValueError(
                f"binary_crossentropy expects labels of shape (n,) or (n, 1), the model's output, received shape "
                f"{y_true.shape}, which looks one-hot. Use np.asarray(y)[:, 1]; or end the model with "
                "Dense(2, activation='softmax') and use loss='categorical_crossentropy'."
            )
        if len(output_shape) == 1 and y_true.ndim == 1 and output_shape != (1,):
            raise ValueError(
                f"binary_crossentropy expects labels of shape (n, {output_shape[0]}), one for each of the model's outputs, "
                f"received shape {y_true.shape}. For one label 0 or 1 per sample end the model with "
                "Dense(1, activation='sigmoid'); for one of several classes use softmax and "
                "loss='sparse_categorical_crossentropy'."
            )
        y_true = same_shape(self.name, y_true, output_shape)
        if y_true.size and (y_true.min() < 0 or y_true.max() > 1):
            raise ValueError(
                f"binary_crossentropy expects targets from 0 to 1, received {y_true.min()} … {y_true.max()}. Scale them, e.g. "
                "images by 1 / 255; for labels −1 and 1 use (np.asarray(y) + 1) / 2; for more than two classes, "
                "loss='sparse_categorical_crossentropy'."
            )
        return y_true

    def entries(self, y_true: Array, y_pred: Array) -> tuple[Array, Array]:
        target = y_true * (1 - self.label_smoothing) + self.label_smoothing / 2
        if self.from_logits:
            small = np.exp(-np.abs(y_pred))
            p = np.where(y_pred >= 0, 1, small) / (1 + small)
            return np.maximum(y_pred, 0) - y_pred * target + np.log1p(small), p - target
        p = np.clip(y_pred, EPSILON, 1 - EPSILON)
        values = -target * np.log(p) - (1 - target) * np.log(1 - p)
        return values, np.where(p == y_pred, (p - target) / (p * (1 - p)), 0)
