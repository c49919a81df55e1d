"""Losses, by name, as classes and as functions."""

import copy
from typing import TypeAlias, get_args

from ..contracts import LossLike
from ..utils.lookup import by_name, spelled
from .base import Loss, LossFunction
from .crossentropy import CategoricalCrossentropy, KLDivergence, SparseCategoricalCrossentropy
from .entrywise import BinaryCrossentropy, Hinge, Huber, MeanAbsoluteError, MeanSquaredError

__all__ = [
    "BinaryCrossentropy",
    "CategoricalCrossentropy",
    "Hinge",
    "Huber",
    "KLDivergence",
    "Loss",
    "LossFunction",
    "MeanAbsoluteError",
    "MeanSquaredError",
    "SparseCategoricalCrossentropy",
    "binary_crossentropy",
    "categorical_crossentropy",
    "get",
    "hinge",
    "huber",
    "kl_divergence",
    "mean_absolute_error",
    "mean_squared_error",
    "on_logits",
    "sparse_categorical_crossentropy",
]

binary_crossentropy = LossFunction(BinaryCrossentropy)
categorical_crossentropy = LossFunction(CategoricalCrossentropy)
sparse_categorical_crossentropy = LossFunction(SparseCategoricalCrossentropy)
mean_squared_error = LossFunction(MeanSquaredError)
mean_absolute_error = LossFunction(MeanAbsoluteError)
huber = LossFunction(Huber)
hinge = LossFunction(Hinge)
kl_divergence = LossFunction(KLDivergence)

LOSSES: dict[str, type[Loss]] = {
    "binary_crossentropy": BinaryCrossentropy,
    "categorical_crossentropy": CategoricalCrossentropy,
    "sparse_categorical_crossentropy": SparseCategoricalCrossentropy,
    "mean_squared_error": MeanSquaredError,
    "mean_absolute_error": MeanAbsoluteError,
    "huber": Huber,
    "hinge": Hinge,
    "kl_divergence": KLDivergence,
    "bce": BinaryCrossentropy,
    "mse": MeanSquaredError,
    "mae": MeanAbsoluteError,
    "kld": KLDivergence,
}


def get(loss: str | LossLike | LossFunction | type[LossLike]) -> LossLike:
    """The loss of that name, function or class, or the object itself. Raises TypeError where it has no forward and backward."""
    if isinstance(loss, str):
        return by_name(LOSSES, spelled(LOSSES, loss), "loss")()
    if isinstance(loss, LossFunction):
        return loss.loss()
    if not (hasattr(loss, "forward") and hasattr(loss, "backward")):
        raise TypeError(f"a loss must be a name or an object with forward and backward, received {loss!r}.")
    return loss() if isinstance(loss, type) else loss  # a class with its defaults, as in Keras


Crossentropy: TypeAlias = CategoricalCrossentropy | SparseCategoricalCrossentropy | BinaryCrossentropy


def _crossentropy(loss: LossLike | None) -> Crossentropy | None:
    """The loss where it is exactly one of the library's crossentropies: a subclass may compute something else."""
    return loss if isinstance(loss, Crossentropy) and type(loss) in get_args(Crossentropy) else None


def activation_of(loss: LossLike | None) -> str | None:
    """The activation whose outputs a crossentropy takes, "softmax" or "sigmoid"; None for other losses."""
    found = _crossentropy(loss)
    return None if found is None else found.activation


def takes_logits(loss: LossLike | None) -> bool:
    """Whether it is a crossentropy that is computed from logits."""
    found = _crossentropy(loss)
    return found is not None and found.from_logits


def on_logits(loss: LossLike | None) -> LossLike | None:
    """The same crossentropy computed from the logits of its activation, in one stable formula; None for any other loss."""
    found = _crossentropy(loss)
    if found is None or found.from_logits:
        return None
    twin = copy.copy(found)
    twin.from_logits = True
    return twin
