"""Losses of one class out of several: how far a distribution over K classes is from the true one."""

import numpy as np

from ..checks import check_number
from ..contracts import Array
from .base import EPSILON, Loss, same_shape


class CategoricalCrossentropy(Loss):
    """−Σ_k t_k · log p_k, for one-hot labels t (N, K), or any distribution over the K classes.

    from_logits=False: y_pred (N, K) are probabilities; they are divided by their sum, then clipped to [1e-7, 1 − 1e-7], as
    Keras does. from_logits=True: p = softmax(y_pred), and the loss is Σ_k t_k · (log Σ_j e^{z_j} − z_k), which no logits
    can overflow; its gradient is (Σ_k t_k) · p − t. label_smoothing s: the labels become t · (1 − s) + s / K.
    """

    name = "categorical_crossentropy"
    activation = "softmax"

    def __init__(self, from_logits: bool = False, label_smoothing: float = 0.0) -> None:
        self.from_logits = from_logits
        self.label_smoothing = check_number(label_smoothing, "label_smoothing", 0, 1)

    def prepare(self, y_true: Array, output_shape: tuple[int, ...]) -> Array:
        _check_classes(self.name, output_shape)
        if y_true.ndim == 1 or y_true.shape[1:] == (1,):
            raise ValueError(
                f"categorical_crossentropy expects one-hot labels of shape (n, {output_shape[0]}), received shape "
                f"{y_true.shape}, which looks like integer labels. Use loss='sparse_categorical_crossentropy', or "
                f"to_categorical(y, {output_shape[0]})."
            )
        if y_true.shape[1:] != output_shape:
            raise ValueError(
                f"categorical_crossentropy expects one-hot labels of shape (n, {output_shape[0]}), the model's output, "
                f"received shape {y_true.shape}."
            )
        return y_true

    def losses_and_gradients(self, y_true: Array, y_pred: Array) -> tuple[Array, Array]:
        target = y_true.astype(y_pred.dtype, copy=False)
        if self.label_smoothing:
            target = target * (1 - self.label_smoothing) + self.label_smoothing / target.shape[1]
        if self.from_logits:
            log_p = _log_softmax(y_pred)
            total = target.sum(axis=1, keepdims=True)
            return -(target * log_p).sum(axis=1), (total * np.exp(log_p) - target).astype(y_pred.dtype, copy=False)
        p, inside, norm = _normalize(y_pred)
        dp = np.where(inside, -target / p, 0)
        return -(target * np.log(p)).sum(axis=1), (dp - (dp * p).sum(axis=1, keepdims=True)) / norm


class SparseCategoricalCrossentropy(Loss):
    """−log p_k, for integer labels k, (N,) or (N, 1), in 0 … K − 1. Otherwise as CategoricalCrossentropy without
    label_smoothing."""

    name = "sparse_categorical_crossentropy"
    activation = "softmax"

    def __init__(self, from_logits: bool = False) -> None:
        self.from_logits = from_logits

    def prepare(self, y_true: Array, output_shape: tuple[int, ...]) -> Array:
        _check_classes(self.name, output_shape)
        if y_true.ndim == 2 and y_true.shape[1] == 1:
            y_true = y_true[:, 0]
        if y_true.ndim != 1:
            raise ValueError(
                f"sparse_categorical_crossentropy expects integer labels of shape (n,) or (n, 1), received shape "
                f"{y_true.shape}"
                + (
                    ", which looks one-hot. Use loss='categorical_crossentropy', or np.argmax(y, axis=-1)."
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


class KLDivergence(Loss):
    """Σ_k t_k · log(t_k / p_k) over the last axis, both clipped to [1e-7, 1]: the crossentropy without the entropy of t.

    Over further axes, the mean. Its derivative is −t_k / p_k, and 0 where p_k is clipped.
    """

    name = "kl_divergence"

    def prepare(self, y_true: Array, output_shape: tuple[int, ...]) -> Array:
        return same_shape(self.name, y_true, output_shape)

    def losses_and_gradients(self, y_true: Array, y_pred: Array) -> tuple[Array, Array]:
        target = np.clip(y_true.astype(y_pred.dtype, copy=False), EPSILON, 1)
        p = np.clip(y_pred, EPSILON, 1)
        sums = (target * np.log(target / p)).reshape(len(p), -1, p.shape[-1]).sum(axis=2)
        return sums.mean(axis=1), np.where(p == y_pred, -target / p, 0) / sums.shape[1]


def _check_classes(name: str, output_shape: tuple[int, ...]) -> None:
    if len(output_shape) != 1:
        raise ValueError(
            f"{name} expects a model whose output is (classes,), received output shape {output_shape}. "
            "End the model with Flatten() and Dense(classes)."
        )
    if output_shape == (1,):
        raise ValueError(
            f"{name} expects a model with an output for each class, received output shape (1,): the only class has the "
            "probability 1, and there is nothing to learn. For two classes end the model with Dense(2, activation='softmax'); "
            "or with Dense(1, activation='sigmoid'), and use loss='binary_crossentropy'."
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
