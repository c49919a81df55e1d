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


def average_update(average: Array, param: Array, momentum: float) -> None:
    """average ← μ · average + (1 − μ) · param."""
    average *= momentum
    average += (1 - momentum) * param


def adagrad_update(param: Array, grad: Array, accumulator: Array, learning_rate: float, epsilon: float) -> None:
    """a ← a + grad²; param ← param − η · grad / √(a + ε)."""
    accumulator += grad * grad
    param -= learning_rate * grad / np.sqrt(accumulator + epsilon)


def adadelta_update(
    param: Array,
    grad: Array,
    mean_square: Array,
    mean_square_step: Array,
    learning_rate: float,
    rho: float,
    epsilon: float,
) -> None:
    """v ← ρ · v + (1 − ρ) · grad²; δ = grad · √(u + ε) / √(v + ε); u ← ρ · u + (1 − ρ) · δ²; param ← param − η · δ."""
    mean_square *= rho
    mean_square += (1 - rho) * grad * grad
    step = grad * np.sqrt(mean_square_step + epsilon) / np.sqrt(mean_square + epsilon)
    mean_square_step *= rho
    mean_square_step += (1 - rho) * step * step
    param -= learning_rate * step


def adamax_update(
    param: Array,
    grad: Array,
    mean: Array,
    largest: Array,
    learning_rate: float,
    beta_1: float,
    beta_2: float,
    epsilon: float,
) -> None:
    """m ← m + (1 − β₁)(grad − m); u ← max(β₂ · u, |grad|); param ← param − η · m / (u + ε).

    learning_rate: η that already includes the correction 1 / (1 − β₁ᵗ).
    """
    mean += (1 - beta_1) * (grad - mean)
    np.maximum(beta_2 * largest, np.abs(grad), out=largest)
    param -= learning_rate * mean / (largest + epsilon)


def nadam_update(
    param: Array,
    grad: Array,
    mean: Array,
    mean_square: Array,
    learning_rate: float,
    corrections: tuple[float, float, float],
    beta_1: float,
    beta_2: float,
    epsilon: float,
) -> None:
    """m and v as in Adam; param ← param − η · (a · m + b · grad) / (√(c · v) + ε).

    corrections: a, b, c, which follow from the step.
    """
    of_mean, of_grad, of_square = corrections
    mean += (1 - beta_1) * (grad - mean)
    mean_square += (1 - beta_2) * (grad * grad - mean_square)
    param -= learning_rate * (of_mean * mean + of_grad * grad) / (np.sqrt(of_square * mean_square) + epsilon)
