"""Metrics, by name, as classes and as functions."""

from typing import Any, TypeGuard

from .. import losses
from ..contracts import MetricFunction, MetricLike
from ..losses import (
    binary_crossentropy,
    categorical_crossentropy,
    hinge,
    huber,
    kl_divergence,
    mean_absolute_error,
    mean_squared_error,
    sparse_categorical_crossentropy,
)
from ..utils.lookup import by_name, spelled
from . import means
from .base import EachSample, Function, Metric, SampleMean
from .counts import AUC, F1Score, Precision, Recall
from .means import (
    BinaryAccuracy,
    BinaryCrossentropy,
    CategoricalAccuracy,
    CategoricalCrossentropy,
    ChosenAccuracy,
    Hinge,
    KLDivergence,
    MeanAbsoluteError,
    MeanSquaredError,
    RootMeanSquaredError,
    SparseCategoricalAccuracy,
    SparseCategoricalCrossentropy,
    SparseTopKCategoricalAccuracy,
    TopKCategoricalAccuracy,
    accuracy,
)

__all__ = [
    "AUC",
    "BinaryAccuracy",
    "BinaryCrossentropy",
    "CategoricalAccuracy",
    "CategoricalCrossentropy",
    "ChosenAccuracy",
    "F1Score",
    "Function",
    "Hinge",
    "KLDivergence",
    "MeanAbsoluteError",
    "MeanSquaredError",
    "Metric",
    "Precision",
    "Recall",
    "RootMeanSquaredError",
    "SampleMean",
    "SparseCategoricalAccuracy",
    "SparseCategoricalCrossentropy",
    "SparseTopKCategoricalAccuracy",
    "TopKCategoricalAccuracy",
    "accuracy",
    "binary_accuracy",
    "binary_crossentropy",
    "categorical_accuracy",
    "categorical_crossentropy",
    "get",
    "hinge",
    "huber",
    "kl_divergence",
    "mean_absolute_error",
    "mean_squared_error",
    "sparse_categorical_accuracy",
    "sparse_categorical_crossentropy",
    "sparse_top_k_categorical_accuracy",
    "top_k_categorical_accuracy",
]

binary_accuracy = EachSample(BinaryAccuracy, "binary_accuracy")
categorical_accuracy = EachSample(CategoricalAccuracy, "categorical_accuracy")
sparse_categorical_accuracy = EachSample(SparseCategoricalAccuracy, "sparse_categorical_accuracy")
top_k_categorical_accuracy = EachSample(TopKCategoricalAccuracy, "top_k_categorical_accuracy")
sparse_top_k_categorical_accuracy = EachSample(SparseTopKCategoricalAccuracy, "sparse_top_k_categorical_accuracy")

METRICS: dict[str, Any] = {  # name → class, which takes the name
    "accuracy": ChosenAccuracy,
    "acc": ChosenAccuracy,
    "binary_accuracy": BinaryAccuracy,
    "categorical_accuracy": CategoricalAccuracy,
    "sparse_categorical_accuracy": SparseCategoricalAccuracy,
    "top_k_categorical_accuracy": TopKCategoricalAccuracy,
    "sparse_top_k_categorical_accuracy": SparseTopKCategoricalAccuracy,
    "precision": Precision,
    "recall": Recall,
    "f1_score": F1Score,
    "auc": AUC,
    "mean_squared_error": MeanSquaredError,
    "mse": MeanSquaredError,
    "root_mean_squared_error": RootMeanSquaredError,
    "rmse": RootMeanSquaredError,
    "mean_absolute_error": MeanAbsoluteError,
    "mae": MeanAbsoluteError,
    "binary_crossentropy": BinaryCrossentropy,
    "bce": BinaryCrossentropy,
    "categorical_crossentropy": CategoricalCrossentropy,
    "sparse_categorical_crossentropy": SparseCategoricalCrossentropy,
    "kl_divergence": KLDivergence,
    "kld": KLDivergence,
    "hinge": Hinge,
    "huber": means.Huber,
}


def get(metric: str | MetricLike | MetricFunction | type[Metric]) -> tuple[str, MetricLike]:
    """(name to show, metric), given by name, as a metric or its class, or as a function (y_true, y_pred): see Function."""
    if isinstance(metric, str):
        # in the logs it is called as it was asked for, "AUC" or "auc", as in Keras
        return metric, by_name(METRICS, spelled(METRICS, metric), "metric")(name=metric)
    if isinstance(metric, EachSample | losses.LossFunction):
        return get(metric.__name__)
    found: Any = metric
    if isinstance(found, type) and issubclass(found, Metric):
        found = found()  # type: ignore[call-arg]
    if not _is_metric(found):
        if not callable(found) or isinstance(found, losses.Loss):
            raise TypeError(
                "a metric must be a name, a Metric, or a function (y_true, y_pred) → a number, a number for each sample or "
                f"(total, count), received {metric!r}."
            )
        found = Function(found)
    return found.name, found


def _is_metric(thing: object) -> TypeGuard[MetricLike]:
    return hasattr(thing, "sums") and hasattr(thing, "result") and not isinstance(thing, type)
