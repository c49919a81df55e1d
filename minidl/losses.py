"""Losses: one number that says how wrong the predictions are, and its gradient.

The contract: ``forward(y_true, y_pred, *, sample_weight=None, n=None)`` → (value, cache) and ``backward(cache)`` → dy. The
value is Σ_i weight_i · loss_i / n. n is the number of samples of the whole batch, so that the values and gradients of a
batch's shards add up to those of the batch; it defaults to the number of samples given.
"""

import copy

import numpy as np

from .contracts import Array, Cache, Config, LossLike
from .utils.lookup import by_name
from .utils.settings import settings

EPSILON = 1e-7  # Keras's: probabilities are kept this far from 0 and 1 before the logarithm


class Loss:
    """The base class. Your own loss defines ``losses_and_gradients``, or, without this class, forward and backward."""

    def prepare(self, y_true: Array, output_shape: tuple[int, ...]) -> Array:
        """Check all labels once, before training, and return them in the form that forward takes.

        y_true: (N, …) as the user gave it. output_shape: the shape of one prediction. Raises ValueError where the two do
        not fit. Prepared labels may be passed again, and are returned unchanged.
        """
        return y_true

    def get_config(self) -> Config:
        """The arguments that recreate this loss, by name."""
        return settings(self)

    def losses_and_gradients(self, y_true: Array, y_pred: Array) -> tuple[Array, Array]:
        """The loss of each sample, (N,), and its gradient with respect to that sample's prediction, (N, …)."""
        raise NotImplementedError

    def forward(
        self, y_true: Array, y_pred: Array, *, sample_weight: Array | None = None, n: int | None = None
    ) -> tuple[float, Cache]:
        """(Σ_i weight_i · loss_i / n, cache).  y_true as prepared, y_pred (N, …), sample_weight (N,)."""
        losses, gradients = self.losses_and_gradients(self.prepare(y_true, y_pred.shape[1:]), y_pred)
        n = len(y_pred) if n is None else n
        weights = np.ones(len(y_pred)) if sample_weight is None else np.asarray(sample_weight, np.float64)
        return float(weights @ losses.astype(np.float64)) / n, (gradients, weights / n)

    def backward(self, cache: Cache) -> Array:
        """dy (N, …), in the dtype of the predictions."""
        gradients, scale = cache
        dy: Array = gradients * scale.astype(gradients.dtype).reshape(-1, *[1] * (gradients.ndim - 1))
        return dy


class CategoricalCrossentropy(Loss):
    """−Σ_k t_k · log p_k, for one-hot labels t (N, K), or any distribution over the K classes.

    from_logits=False: y_pred (N, K) are probabilities; they are divided by their sum, then clipped to [1e-7, 1 − 1e-7], as
    Keras does. from_logits=True: p = softmax(y_pred), and the loss is Σ_k t_k · (log Σ_j e^{z_j} − z_k), which no logits
    can overflow; its gradient is (Σ_k t_k) · p − t.
    """

    def __init__(self, from_logits: bool = False) -> None:
        self.from_logits = from_logits

    def prepare(self, y_true: Array, output_shape: tuple[int, ...]) -> Array:
        _check_classes("categorical_crossentropy", output_shape)
        if y_true.ndim == 1 or (y_true.shape[1:] == (1,) and output_shape != (1,)):
            raise ValueError(
                f"categorical_crossentropy expects one-hot labels of shape (n, {output_shape[0]}), received shape "
                f"{y_true.shape}, which looks like integer labels. Use loss='sparse_categorical_crossentropy', or "
                "to_categorical(y)."
            )
        if y_true.shape[1:] != output_shape:
            raise ValueError(
                f"categorical_crossentropy expects one-hot labels of shape (n, {output_shape[0]}), the model's output, "
                f"received shape {y_true.shape}."
            )
        return y_true

    def losses_and_gradients(self, y_true: Array, y_pred: Array) -> tuple[Array, Array]:
        target = y_true.astype(y_pred.dtype, copy=False)
        if self.from_logits:
            log_p = _log_softmax(y_pred)
            total = target.sum(axis=1, keepdims=True)
            return -(target * log_p).sum(axis=1), (total * np.exp(log_p) - target).astype(y_pred.dtype, copy=False)
        p, inside, norm = _normalize(y_pred)
        dp = np.where(inside, -target / p, 0)
        return -(target * np.log(p)).sum(axis=1), (dp - (dp * p).sum(axis=1, keepdims=True)) / norm


class SparseCategoricalCrossentropy(Loss):
    """−log p_k, for integer labels k, (N,) or (N, 1), in 0 … K − 1. Otherwise as CategoricalCrossentropy."""

    def __init__(self, from_logits: bool = False) -> None:
        self.from_logits = from_logits

    def prepare(self, y_true: Array, output_shape: tuple[int, ...]) -> Array:
        _check_classes("sparse_categorical_crossentropy", output_shape)
        if y_true.ndim == 2 and y_true.shape[1] == 1:
            y_true = y_true[:, 0]
        if y_true.ndim != 1:
            raise ValueError(
                f"sparse_categorical_crossentropy expects integer labels of shape (n,) or (n, 1), received shape "
                f"{y_true.shape}"
                + (
                    ", which looks one-hot. Use loss='categorical_crossentropy', or y.argmax(axis=-1)."
                    if y_true.shape[1:] == output_shape
                    else "."
                )
            )
        if y_true.dtype.kind == "f" and not (y_true == np.floor(y_true)).all():
            raise ValueError("sparse_categorical_crossentropy expects integer labels, received fractions.")
        if len(y_true) and (y_true.min() < 0 or y_true.max() >= output_shape[0]):
            raise ValueError(
                f"sparse_categorical_crossentropy expects labels 0 … {output_shape[0] - 1}, one for each of the model's "
                f"{output_shape[0]} outputs, received labels {y_true.min()} … {y_true.max()}."
            )
        return y_true.astype(np.intp, copy=False)

    def losses_and_gradients(self, y_true: Array, y_pred: Array) -> tuple[Array, Array]:
        rows = np.arange(len(y_pred))
        if self.from_logits:
            log_p = _log_softmax(y_pred)
            gradients = np.exp(log_p)
            gradients[rows, y_true] -= 1
            return -log_p[rows, y_true], gradients.astype(y_pred.dtype, copy=False)
        p, inside, norm = _normalize(y_pred)
        dp = np.zeros_like(p)
        dp[rows, y_true] = np.where(inside[rows, y_true], -1 / p[rows, y_true], 0)
        return -np.log(p[rows, y_true]), (dp - (dp * p).sum(axis=1, keepdims=True)) / norm


class MeanSquaredError(Loss):
    """The mean over all entries of (y_pred − y_true)²; its gradient is 2 · (y_pred − y_true) / (entries of a sample)."""

    def prepare(self, y_true: Array, output_shape: tuple[int, ...]) -> Array:
        if output_shape == (1,) and y_true.ndim == 1:
            y_true = y_true[:, None]
        if y_true.shape[1:] != output_shape:
            raise ValueError(
                f"mean_squared_error expects targets of shape {('n', *output_shape)}, the model's output, received "
                f"shape {y_true.shape}.".replace("'n'", "n")
            )
        return y_true

    def losses_and_gradients(self, y_true: Array, y_pred: Array) -> tuple[Array, Array]:
        difference = y_pred - y_true.astype(y_pred.dtype, copy=False)
        axes = tuple(range(1, y_pred.ndim))
        # in float64, which holds the square of any float32
        losses = np.square(difference, dtype=np.float64).mean(axis=axes)
        return losses, difference / (max(1, difference[0].size) / 2)


LOSSES: dict[str, type[Loss]] = {
    "categorical_crossentropy": CategoricalCrossentropy,
    "sparse_categorical_crossentropy": SparseCategoricalCrossentropy,
    "mean_squared_error": MeanSquaredError,
    "mse": MeanSquaredError,
}


def get(loss: str | LossLike) -> LossLike:
    """The loss of that name, or the object itself. Raises TypeError where it has no forward and backward."""
    if isinstance(loss, str):
        return by_name(LOSSES, loss, "loss")()
    if isinstance(loss, type) or not (hasattr(loss, "forward") and hasattr(loss, "backward")):
        raise TypeError(f"a loss must be a name or an object with forward and backward, received {loss!r}.")
    return loss


def on_logits(loss: LossLike | None) -> LossLike | None:
    """The same crossentropy computed from the softmax's logits, in one stable formula; None for a loss without such a form."""
    if (type(loss) is CategoricalCrossentropy or type(loss) is SparseCategoricalCrossentropy) and not loss.from_logits:
        twin = copy.copy(loss)
        twin.from_logits = True
        return twin
    return None


def _check_classes(name: str, output_shape: tuple[int, ...]) -> None:
    if len(output_shape) != 1:
        raise ValueError(
            f"{name} expects a model whose output is (classes,), received output shape {output_shape}. "
            "End the model with Flatten() and Dense(classes)."
        )


def _log_softmax(z: Array) -> Array:
    """log softmax(z) = z − max − log Σ e^(z − max): the largest exponent is 0, so no exponential overflows and no log sees 0.

    In float64, which holds the difference of any two float32 numbers.
    """
    z = z.astype(np.float64, copy=False)
    shifted = z - z.max(axis=1, keepdims=True)
    log_p: Array = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    return log_p


def _normalize(y_pred: Array) -> tuple[Array, Array, Array]:
    """(p, inside, norm): y_pred / its sum norm (N, 1), clipped, (N, K); inside (N, K): where the clip changed nothing."""
    norm = y_pred.sum(axis=1, keepdims=True)
    q = y_pred / norm
    p = np.clip(q, EPSILON, 1 - EPSILON)
    return p, p == q, norm
