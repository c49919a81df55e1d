"""What a loss is: one number that says how wrong the predictions are, and its gradient.

The contract: ``forward(y_true, y_pred, *, sample_weight=None, n=None)`` → (value, cache) and ``backward(cache)`` → dy. The
value is Σ_i weight_i · loss_i / n. n is the number of samples of the whole batch, so that the values and gradients of a
batch's shards add up to those of the batch; it defaults to the number of samples given.
"""

from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from ..contracts import Array, Cache, Config
from ..ops.floats import floating
from ..utils.settings import settings

EPSILON = 1e-7  # Keras's: probabilities are kept this far from 0 and 1 before the logarithm


class Loss:
    """The base class. Your own loss defines ``losses_and_gradients``, or, without this class, forward and backward."""

    name: ClassVar[str] = "loss"  # what messages call it

    def prepare(self, y_true: Array, output_shape: tuple[int, ...]) -> Array:
        """Check all labels once, before training, and return them in the form that forward takes.

        y_true: (N, …) as the user gave it, but (N, 1) for (N,) where a prediction has the shape (1,). output_shape: the shape of
        one prediction. Raises ValueError where the two do not fit. Prepared labels may be passed again, and are returned
        unchanged.
        """
        return y_true

    def get_config(self) -> Config:
        """The arguments that recreate this loss, by name."""
        return settings(self)

    def losses_and_gradients(self, y_true: Array, y_pred: Array) -> tuple[Array, Array]:
        """The loss of each sample, (N,), and its gradient with respect to that sample's prediction, (N, …)."""
        raise NotImplementedError(
            f"{type(self).__name__} must define losses_and_gradients(y_true, y_pred) → (the loss of each sample, and its "
            "gradient for that sample's prediction): there is no autograd, so Keras's call(y_true, y_pred) is not enough."
        )

    def __call__(
        self, y_true: npt.ArrayLike, y_pred: npt.ArrayLike, sample_weight: npt.ArrayLike | None = None
    ) -> float:
        """As in Keras, the value alone: the mean of the samples' losses.  y_true as ``fit`` takes it, y_pred (N, …)."""
        predicted = np.asarray(y_pred)
        labels = self.prepare(np.asarray(y_true), predicted.shape[1:])
        weights = None if sample_weight is None else np.asarray(sample_weight)
        return self.forward(labels, predicted, sample_weight=weights)[0]

    def forward(
        self, y_true: Array, y_pred: Array, *, sample_weight: Array | None = None, n: int | None = None
    ) -> tuple[float, Cache]:
        """(Σ_i weight_i · loss_i / n, cache).  y_true as prepared, y_pred (N, …), sample_weight (N,)."""
        y_pred = floating(y_pred)
        losses, gradients = self.losses_and_gradients(self.prepare(y_true, y_pred.shape[1:]), y_pred)
        n = len(y_pred) if n is None else n
        weights = np.ones(len(y_pred)) if sample_weight is None else np.asarray(sample_weight, np.float64)
        return float(weights @ losses.astype(np.float64)) / n, (gradients, weights / n)

    def backward(self, cache: Cache) -> Array:
        """dy (N, …), in the dtype of the predictions."""
        gradients, scale = cache
        dy: Array = gradients * scale.astype(gradients.dtype).reshape(-1, *[1] * (gradients.ndim - 1))
        return dy


class LossFunction:
    """A loss as a function (y_true, y_pred, **settings) → the loss of each sample, (N,), as Keras has it beside the class.

    ``compile`` takes it for the loss of its class, with the defaults. settings: the arguments of the class.
    """

    def __init__(self, loss: type[Loss]) -> None:
        self.loss = loss
        self.__name__ = loss.name

    def __call__(self, y_true: npt.ArrayLike, y_pred: npt.ArrayLike, **settings: Any) -> Array:
        loss, predicted = self.loss(**settings), np.asarray(y_pred)
        predicted = predicted if predicted.dtype.kind == "f" else predicted.astype(np.float64)
        return loss.losses_and_gradients(loss.prepare(np.asarray(y_true), predicted.shape[1:]), predicted)[0]

    def __repr__(self) -> str:
        return f"<loss function {self.__name__}>"


def same_shape(name: str, y_true: Array, output_shape: tuple[int, ...]) -> Array:
    """The targets in the shape of the predictions. Raises ValueError where nothing but broadcasting would make them fit."""
    if output_shape == (1,) and y_true.ndim == 1:
        y_true = y_true[:, None]
    if y_true.shape[1:] != output_shape:
        raise ValueError(
            f"{name} expects targets of shape {('n', *output_shape)}, the model's output, received shape "
            f"{y_true.shape}.".replace("'n'", "n")
        )
    return y_true
