"""Metrics made of counts of right and wrong yes-or-no answers: precision, recall, their harmonic mean, and areas under curves."""

import numpy as np

from ..checks import check_choice, check_number, is_integer
from ..contracts import Array, Shape
from .base import Metric, like

AVERAGES = ("micro", "macro", "weighted")


def share(part: Array, whole: Array) -> Array:
    """part / whole, and 0 where the whole is 0, as in Keras."""
    return np.divide(part, whole, out=np.zeros(np.shape(whole)), where=whole > 0)


class Precision(Metric):
    """Of the entries that are predicted positive, above the threshold, the share that is. Sums: (true positives, predicted)."""

    def __init__(self, thresholds: float | None = None, name: str = "precision") -> None:
        super().__init__(name)
        self.thresholds = None if thresholds is None else check_number(thresholds, f"{name} thresholds", 0)

    def sums(self, y_true: Array, y_pred: Array) -> Array:
        predicted = y_pred > (0.5 if self.thresholds is None else self.thresholds)
        true = like(self.name, y_true, y_pred) > 0
        return np.array([np.count_nonzero(predicted & true), np.count_nonzero(self.among(predicted, true))], np.float64)

    def among(self, predicted: Array, true: Array) -> Array:
        """The entries of which the true positives are a share."""
        return predicted

    def result(self, sums: Array) -> float:
        return float(share(sums[0], sums[1]))


class Recall(Precision):
    """Of the entries that are positive, the share that is predicted so. Sums: (true positives, positives)."""

    def __init__(self, thresholds: float | None = None, name: str = "recall") -> None:
        super().__init__(thresholds, name)

    def among(self, predicted: Array, true: Array) -> Array:
        return true


class F1Score(Metric):
    """The harmonic mean of precision and recall, 2 · TP / (predicted + positives), for each class, and then averaged.

    average: "micro" counts all classes together, "macro" is the mean over the classes, "weighted" the mean weighted by their
    positives; None is for a single output. threshold: a prediction above it is positive; None means that of each sample the class
    with the largest prediction is positive (of a single output, above 0.5). Sums (3, K): true positives, predicted, positives.
    """

    def __init__(self, average: str | None = None, threshold: float | None = None, name: str = "f1_score") -> None:
        super().__init__(name)
        self.average = None if average is None else check_choice(average, AVERAGES, f"{name} average")
        self.threshold = None if threshold is None else check_number(threshold, f"{name} threshold", 0)

    def empty(self, output_shape: Shape) -> Array:
        return np.zeros((3, *output_shape[-1:]))

    def sums(self, y_true: Array, y_pred: Array) -> Array:
        if y_pred.ndim != 2 or (self.average is None and y_pred.shape[1] > 1):
            raise ValueError(
                f"{self.name} of predictions of shape {y_pred.shape} is a number for each class: choose how to average them, "
                "F1Score(average='macro'), 'micro' or 'weighted'."
            )
        if self.threshold is None and y_pred.shape[1] > 1:
            predicted = y_pred.argmax(axis=1)[:, None] == np.arange(y_pred.shape[1])
        else:
            predicted = y_pred > (0.5 if self.threshold is None else self.threshold)
        true = like(self.name, y_true, y_pred) > 0
        return np.array([(predicted & true).sum(axis=0), predicted.sum(axis=0), true.sum(axis=0)], np.float64)

    def result(self, sums: Array) -> float:
        if self.average == "micro":
            sums = sums.sum(axis=1, keepdims=True)
        scores = share(2 * sums[0], sums[1] + sums[2])
        weights = sums[2] if self.average == "weighted" else np.ones(len(scores))
        return float(share(scores @ weights, weights.sum()))


class AUC(Metric):
    """The area under a curve that a threshold draws as it goes from 0 to 1, by the trapezoids between num_thresholds points.

    curve: "ROC", recall over the share of negatives that are taken for positives: how often a positive is predicted higher than a
    negative. Or "PR", precision over recall, between the points as Davis and Goadrich 2006. y_pred (n, …) are probabilities;
    several outputs count as so many answers. Sums (2, num_thresholds): true and false positives above each threshold.
    """

    def __init__(self, num_thresholds: int = 200, curve: str = "ROC", name: str = "auc") -> None:
        super().__init__(name)
        if not is_integer(num_thresholds) or num_thresholds < 2:
            raise ValueError(f"{name} num_thresholds must be an integer above 1, received {num_thresholds!r}.")
        if curve not in ("ROC", "PR"):
            raise ValueError(f"{name} curve must be 'ROC' or 'PR', received {curve!r}.")
        self.num_thresholds, self.curve = int(num_thresholds), curve

    def empty(self, output_shape: Shape) -> Array:
        return np.zeros((2, self.num_thresholds))

    def sums(self, y_true: Array, y_pred: Array) -> Array:
        if y_pred.size and not (y_pred.min() >= 0 and y_pred.max() <= 1 + 1e-6):
            raise ValueError(
                f"{self.name} expects probabilities from 0 to 1, received {y_pred.min()} … {y_pred.max()}."
            )
        thresholds = np.linspace(0, 1, self.num_thresholds)
        thresholds[[0, -1]] += [-1e-7, 1e-7]  # below and above all predictions
        below = np.searchsorted(thresholds, y_pred.reshape(-1))  # how many thresholds are below each prediction
        true = like(self.name, y_true, y_pred).reshape(-1) > 0
        counts = [np.bincount(below[chosen], minlength=self.num_thresholds + 1) for chosen in (true, ~true)]
        return np.cumsum(np.array(counts, np.float64)[:, ::-1], axis=1)[:, -2::-1]

    def result(self, sums: Array) -> float:
        true, false = sums
        if self.curve == "ROC":
            recall, fallout = share(true, np.full_like(true, true[0])), share(false, np.full_like(false, false[0]))
            return float(((fallout[:-1] - fallout[1:]) * (recall[:-1] + recall[1:])).sum() / 2)
        above = true + false
        slope = share(
            true[:-1] - true[1:], above[:-1] - above[1:]
        )  # true positives are linear in positives between points
        ratio = np.where(above[1:] > 0, share(above[:-1], above[1:]), 1)
        offset = true[1:] - slope * above[1:]
        areas = slope * (true[:-1] - true[1:] + offset * np.log(ratio))
        return float(share(areas.sum(), true[0]))
