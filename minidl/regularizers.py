"""Regularizers: a penalty for large weights, which is added to the loss, and its gradient.

Other than weight decay, which an optimizer applies beside the gradient, a penalty is part of what is minimized and reported.
"""

from typing import Protocol

import numpy as np

from .checks import check_number
from .contracts import Array, Config
from .utils.lookup import by_name, spelled
from .utils.settings import settings


class RegularizerLike(Protocol):
    """What your own regularizer must have; to be saved, also get_config."""

    def __call__(self, weights: Array, /) -> float:
        """The penalty of these weights."""

    def gradient(self, weights: Array, /) -> Array:
        """Its gradient, in the shape and dtype of the weights."""


class L1L2:
    """l1 · Σ |w| + l2 · Σ w²; its gradient is l1 · sign(w) + 2 · l2 · w.

    The first drives weights to exactly 0 (Tibshirani 1996), the second keeps them small.
    """

    def __init__(self, l1: float = 0.0, l2: float = 0.0) -> None:
        self.l1 = check_number(l1, "l1", 0)
        self.l2 = check_number(l2, "l2", 0)

    def __call__(self, weights: Array) -> float:
        wide = np.asarray(weights, np.float64)
        return float(self.l1 * np.abs(wide).sum() + self.l2 * np.square(wide).sum())

    def gradient(self, weights: Array) -> Array:
        """l1 · sign(w) + 2 · l2 · w, in the shape and dtype of the weights; at 0 the slope of |w| is taken as 0."""
        slopes: Array = self.l1 * np.sign(weights) + 2 * self.l2 * weights
        return slopes

    def get_config(self) -> Config:
        """The arguments that recreate it, by name."""
        return settings(self)


class L1(L1L2):
    """l1 · Σ |w|."""

    def __init__(self, l1: float = 0.01) -> None:
        super().__init__(l1=l1)


class L2(L1L2):
    """l2 · Σ w²."""

    def __init__(self, l2: float = 0.01) -> None:
        super().__init__(l2=l2)


l1, l2, l1_l2 = L1, L2, L1L2  # Keras has both spellings

REGULARIZERS: dict[str, type[L1] | type[L2]] = {"l1": L1, "l2": L2}


def get(regularizer: "str | RegularizerLike | type[RegularizerLike] | None", what: str) -> "RegularizerLike | None":
    """The regularizer of that name or class, or the object itself. what: what messages call it.

    Raises TypeError where it cannot be called, or has no gradient.
    """
    if isinstance(regularizer, str):
        return by_name(REGULARIZERS, spelled(REGULARIZERS, regularizer), "regularizer")()
    if regularizer is None or (callable(regularizer) and hasattr(regularizer, "gradient")):
        return regularizer() if isinstance(regularizer, type) else regularizer  # a class with its defaults, as in Keras
    raise TypeError(
        f"{what} must be a name, an object like regularizers.L2(0.01), or one of your own with __call__(weights) → penalty and "
        f"gradient(weights) → array, received {regularizer!r}."
    )
