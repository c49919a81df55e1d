"""Optimizer updates as kernels: parameter, gradient and state are read and written in one pass.

The rules are those of ``ops.reference``; the arrays may have any shape but must be contiguous, because they are changed in place.
"""

import numpy as np

from ...contracts import Array
from .jit import jit


@jit
def _sgd(param, grad, learning_rate):
    rate = param.dtype.type(learning_rate)
    for i in range(param.size):
        param[i] -= rate * grad[i]


@jit
def _momentum(param, grad, velocity, learning_rate, momentum, nesterov):
    rate, kept = param.dtype.type(learning_rate), param.dtype.type(momentum)
    for i in range(param.size):
        move = rate * grad[i]
        velocity[i] = kept * velocity[i] - move
        param[i] += kept * velocity[i] - move if nesterov else velocity[i]


@jit
def _rmsprop(param, grad, mean_square, learning_rate, rho, epsilon):
    rate, kept = param.dtype.type(learning_rate), param.dtype.type(rho)
    new, least = param.dtype.type(1 - rho), param.dtype.type(epsilon)
    for i in range(param.size):
        mean_square[i] = kept * mean_square[i] + new * grad[i] * grad[i]
        param[i] -= rate * grad[i] / np.sqrt(mean_square[i] + least)


@jit
def _adam(param, grad, mean, mean_square, learning_rate, beta_1, beta_2, epsilon):
    rate, least = param.dtype.type(learning_rate), param.dtype.type(epsilon)
    rate_1, rate_2 = param.dtype.type(1 - beta_1), param.dtype.type(1 - beta_2)
    for i in range(param.size):
        mean[i] += rate_1 * (grad[i] - mean[i])
        mean_square[i] += rate_2 * (grad[i] * grad[i] - mean_square[i])
        param[i] -= rate * mean[i] / (np.sqrt(mean_square[i]) + least)


def sgd_update(param: Array, grad: Array, learning_rate: float) -> None:
    """param ← param − η · grad."""
    _sgd(_flat(param), grad.reshape(-1), float(learning_rate))


def momentum_update(
    param: Array, grad: Array, velocity: Array, learning_rate: float, momentum: float, nesterov: bool
) -> None:
    """velocity ← μ · velocity − η · grad; param ← param + velocity, or, with Nesterov, + μ · velocity − η · grad."""
    _momentum(_flat(param), grad.reshape(-1), _flat(velocity), float(learning_rate), float(momentum), nesterov)


def rmsprop_update(
    param: Array, grad: Array, mean_square: Array, learning_rate: float, rho: float, epsilon: float
) -> None:
    """v ← ρ · v + (1 − ρ) · grad²; param ← param − η · grad / √(v + ε)."""
    _rmsprop(_flat(param), grad.reshape(-1), _flat(mean_square), float(learning_rate), float(rho), float(epsilon))


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
    """m ← m + (1 − β₁)(grad − m); v ← v + (1 − β₂)(grad² − v); param ← param − η · m / (√v + ε)."""
    slots = _flat(mean), _flat(mean_square)
    _adam(_flat(param), grad.reshape(-1), *slots, float(learning_rate), float(beta_1), float(beta_2), float(epsilon))


def _flat(array: Array) -> Array:
    """A flat view. A copy would silently lose the update, so an array without a flat view is an error."""
    if not array.flags.c_contiguous:
        raise ValueError(
            f"an optimizer changes its arrays in place and needs them C-contiguous, received shape {array.shape} with "
            f"strides {array.strides}. Pass np.ascontiguousarray(...)."
        )
    return array.reshape(-1)
