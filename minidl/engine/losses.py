"""The crossentropy of a softmax as one compiled call, in place of the library's own: on a small network NumPy's takes longer
than all layers."""

import numpy as np

from ..contracts import Array, Cache, LossLike
from ..losses import CategoricalCrossentropy, SparseCategoricalCrossentropy
from ..ops.kernels.crossentropy import categorical_crossentropy, sparse_crossentropy

ALL_ONE: Array = np.empty(0)  # stands for weights where there are none


class SparseLoss:
    """Integer labels, as the loss prepared them. Plain twin: SparseCategoricalCrossentropy(from_logits=True)."""

    def forward(
        self, y_true: Array, y_pred: Array, *, sample_weight: Array | None = None, n: int | None = None
    ) -> tuple[float, Cache]:
        n, weights = _divisor_and_weights(y_pred, sample_weight, n)
        dy = np.empty_like(y_pred)
        return sparse_crossentropy(y_pred, np.array(y_true, np.intp), weights, n, dy) / n, dy

    def backward(self, cache: Cache) -> Array:
        dy: Array = cache
        return dy


class CategoricalLoss(SparseLoss):
    """One-hot labels, or any distributions. Plain twin: CategoricalCrossentropy(from_logits=True).

    Argument: smoothing: the loss's label_smoothing.
    """

    def __init__(self, smoothing: float) -> None:
        self.smoothing = smoothing

    def forward(
        self, y_true: Array, y_pred: Array, *, sample_weight: Array | None = None, n: int | None = None
    ) -> tuple[float, Cache]:
        n, weights = _divisor_and_weights(y_pred, sample_weight, n)
        target, dy = np.array(y_true, y_pred.dtype, order="C"), np.empty_like(y_pred)
        return categorical_crossentropy(y_pred, target, self.smoothing, weights, n, dy) / n, dy


def _divisor_and_weights(y_pred: Array, sample_weight: Array | None, n: int | None) -> tuple[int, Array]:
    return len(y_pred) if n is None else n, ALL_ONE if sample_weight is None else np.array(sample_weight, np.float64)


def compiled(loss: LossLike | None) -> LossLike | None:
    """The compiled twin of the library's loss where there is one, else the loss itself; a subclass may compute something else."""
    if type(loss) is SparseCategoricalCrossentropy and loss.from_logits:
        return SparseLoss()
    if type(loss) is CategoricalCrossentropy and loss.from_logits:
        return CategoricalLoss(float(loss.label_smoothing))
    return loss
