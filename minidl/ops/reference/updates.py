"""The optimizers' rules. These change their first argument and the optimizer's state in place.

All are elementwise, so any piece of the arrays can be updated separately.
"""

import numpy as np

from ...contracts import Array


def sgd_update(param: Array, grad: Array, learning_rate: float) -> None:
    """param ← param − η · grad."""
    param -= learning_rate * grad


def momentum_update(
    param: Array, grad: Array, velocity: Array, learning_rate: float, momentum: float, nesterov: bool
) -> None:
    """velocity ← μ · velocity − η · grad; param ← param + velocity, or, with Nesterov, + μ · velocity − η · grad."""
    velocity *= momentum
    velocity -= learning_rate * grad
    param += momentum * velocity - learning_rate * grad if nesterov else velocity


def rmsprop_update(
    param: Array, grad: Array, mean_square: Array, learning_rate: float, rho: float, epsilon: float
) -> None:
    """v ← ρ · v + (1 − ρ) · grad²; param ← param − η · grad / √(v + ε)."""
    mean_square *= rho
    mean_square += (1 - rho) * grad * grad
    param -= learning_rate * grad / np.sqrt(mean_square + epsilon)


def adam_update(
    param: Array,
    grad: Array,
    mean: Array,
    mean_square: Array,
    learning_rate: float,
    beta_1: float,
    beta_2: float,
    epsilon: float,
) -> None:
    """m ← m + (1 − β₁)(grad − m); v ← v + (1 − β₂)(grad² − v); param ← param − η · m / (√v + ε).

    learning_rate: η that already includes Adam's bias correction √(1 − β₂ᵗ) / (1 − β₁ᵗ), so ε is added to the uncorrected √v
    (section 2 of Kingma and Ba 2015, last paragraph, and Keras).
    """
    mean += (1 - beta_1) * (grad - mean)
    mean_square += (1 - beta_2) * (grad * grad - mean_square)
    param -= learning_rate * mean / (np.sqrt(mean_square) + epsilon)
