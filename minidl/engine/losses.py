"""The crossentropy of a softmax as one compiled call, in place of the library's own: for a small network NumPy's takes longer
than all layers."""

import functools

import numpy as np

from ..contracts import Array, Cache, DType, LossLike
from ..losses import CategoricalCrossentropy, SparseCategoricalCrossentropy
from ..ops.kernels.crossentropy import softmax_crossentropy

MANY = 256  # classes, whose identity matrix is no longer small


@functools.cache
def identity(classes: int, dtype: DType) -> Array:
    """The one-hot rows of all classes, (K, K)."""
    return np.eye(classes, dtype=dtype)


class SoftmaxLoss:
    """One-hot labels, or any distributions. Plain twin: CategoricalCrossentropy(from_logits=True).

    Arguments: smoothing: the loss's label_smoothing.
    """

    def __init__(self, smoothing: float = 0.0) -> None:
        self.smoothing = smoothing

    def target(self, y_true: Array, y_pred: Array) -> Array:
        """Labels as the loss has prepared them → a distribution for each sample, (N, K), like the predictions."""
        # a copy, so that the kernel is compiled for one kind of array, whatever the user's are
        target = np.array(y_true, y_pred.dtype, order="C")
        return target * (1 - self.smoothing) + self.smoothing / target.shape[1] if self.smoothing else target

    def forward(
        self, y_true: Array, y_pred: Array, *, sample_weight: Array | None = None, n: int | None = None
    ) -> tuple[float, Cache]:
        """(Σ_i weight_i · loss_i / n, dy).  y_true as prepared, y_pred (N, K), sample_weight (N,)."""
        n = len(y_pred) if n is None else n
        if sample_weight is None:
            scale = np.empty(len(y_pred))
            scale.fill(1 / n)  # np.full takes twice as long
        else:
            scale = np.divide(sample_weight, n, dtype=np.float64)
        dy = np.empty_like(y_pred)
        return softmax_crossentropy(y_pred, self.target(y_true, y_pred), scale, dy), dy

    def backward(self, cache: Cache) -> Array:
        """dy (N, K), which forward has made."""
        dy: Array = cache
        return dy


class SparseSoftmaxLoss(SoftmaxLoss):
    """Integer labels. Plain twin: SparseCategoricalCrossentropy(from_logits=True)."""

    def target(self, y_true: Array, y_pred: Array) -> Array:
        classes = y_pred.shape[1]
        if classes <= MANY:
            return identity(classes, y_pred.dtype).take(y_true, axis=0)
        target = np.zeros(y_pred.shape, y_pred.dtype)
        target[np.arange(len(y_pred)), y_true] = 1
        return target


def compiled(loss: LossLike | None) -> LossLike | None:
    """The compiled twin of the library's loss where there is one, else the loss itself; a subclass may compute something else."""
    if type(loss) is SparseCategoricalCrossentropy and loss.from_logits:
        return SparseSoftmaxLoss()
    if type(loss) is CategoricalCrossentropy and loss.from_logits:
        return SoftmaxLoss(loss.label_smoothing)
    return loss
