"""Optimizers, and schedules for their learning rates."""

from ..utils.lookup import by_name
from . import schedules
from .base import LearningRate, Optimizer
from .rules import SGD, Adadelta, Adagrad, Adam, Adamax, AdamW, Nadam, RMSprop

__all__ = [
    "SGD",
    "Adadelta",
    "Adagrad",
    "Adam",
    "AdamW",
    "Adamax",
    "LearningRate",
    "Nadam",
    "Optimizer",
    "RMSprop",
    "get",
    "schedules",
]

OPTIMIZERS: dict[str, type[Optimizer]] = {
    "sgd": SGD,
    "rmsprop": RMSprop,
    "adam": Adam,
    "adamw": AdamW,
    "adagrad": Adagrad,
    "adadelta": Adadelta,
    "adamax": Adamax,
    "nadam": Nadam,
}


def get(optimizer: str | Optimizer) -> Optimizer:
    """A new optimizer of that name with its defaults, or the object itself."""
    if isinstance(optimizer, str):
        made: Optimizer = by_name(OPTIMIZERS, optimizer.lower(), "optimizer")()  # type: ignore[call-arg]
        return made
    if not isinstance(optimizer, Optimizer):
        raise TypeError(
            f"an optimizer must be a name or an Optimizer, e.g. Adam(learning_rate=0.001), received {optimizer!r}."
        )
    return optimizer
