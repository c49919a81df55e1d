"""The crossentropy of a softmax as one compiled call, in place of the library's own: for a small network NumPy's takes longer
than all layers."""

import numpy as np

from ..contracts import Array, Cache, LossLike
from ..losses import CategoricalCrossentropy, SparseCategoricalCrossentropy
from ..ops.kernels.crossentropy import categorical_crossentropy, sparse_crossentropy


class SparseLoss:
    """Integer labels, as the loss has prepared them. Plain twin: SparseCategoricalCrossentropy(from_logits=True)."""

    def forward(
        self, y_true: Array, y_pred: Array, *, sample_weight: Array | None = None, n: int | None = None
    ) -> tuple[float, Cache]:
        dy = np.empty_like(y_pred)
        # copies, so that a kernel is compiled for one kind of array, whatever the user's are
        return sparse_crossentropy(y_pred, np.array(y_true, np.intp), _scale(len(dy), sample_weight, n), dy), dy

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
        target, dy = np.array(y_true, y_pred.dtype, order="C"), np.empty_like(y_pred)
        return categorical_crossentropy(y_pred, target, self.smoothing, _scale(len(dy), sample_weight, n), dy), dy


def _scale(samples: int, sample_weight: Array | None, n: int | None) -> Array:
    """What each sample's loss is multiplied by: its weight / n."""
    n = samples if n is None else n
    return np.full(samples, 1 / n) if sample_weight is None else np.divide(sample_weight, n, dtype=np.float64)


def compiled(loss: LossLike | None) -> LossLike | None:
    """The compiled twin of the library's loss where there is one, else the loss itself; a subclass may compute something else."""
    if type(loss) is SparseCategoricalCrossentropy and loss.from_logits:
        return SparseLoss()
    if type(loss) is CategoricalCrossentropy and loss.from_logits:
        return CategoricalLoss(float(loss.label_smoothing))
    return loss
