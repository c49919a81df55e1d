"""Optimizers: how a gradient becomes a step. Names, defaults and formulas are Keras's.

An optimizer knows parameters by name, as arrays; it knows nothing of layers or models. ``step`` does everything and can be
used alone; ``prepare`` and ``update`` are its two halves, so that an engine can update pieces of the arrays in parallel.
"""

import math
import warnings
from collections.abc import Callable

import numpy as np

from .checks import check_number
from .contracts import Array, Config, Operations
from .home import Home
from .ops import reference
from .utils.lookup import by_name
from .utils.names import Strict
from .utils.settings import settings

LearningRate = float | Callable[[int], float]


class Optimizer(Strict):
    """What all optimizers share: the learning rate, weight decay, clipping, and the state by parameter name.

    Arguments: learning_rate: a number, or a function of the step (0, 1, 2, …) that returns one; it may be set between
    epochs. weight_decay: param ← param − η · weight_decay · param before each step, for all parameters (Loshchilov and
    Hutter 2019). clipnorm: each parameter's gradient is scaled down to at most this Euclidean norm.

    Attributes: iterations: the number of steps made. slots: parameter name → {slot name → array}, the state.
    """

    slot_names: tuple[str, ...] = ()

    def __init__(
        self, learning_rate: LearningRate, weight_decay: float | None = None, clipnorm: float | None = None
    ) -> None:
        self.learning_rate = learning_rate
        self.weight_decay = None if weight_decay is None else check_number(weight_decay, "weight_decay", 0)
        self.clipnorm = None if clipnorm is None else check_number(clipnorm, "clipnorm", 0)
        if self.clipnorm == 0:
            raise ValueError("clipnorm must be above 0; None turns clipping off.")
        self.iterations = 0
        self.home: Home[object] | None = None  # the model whose parameters the state belongs to
        self.slots: dict[str, dict[str, Array]] = {}

    @property
    def learning_rate(self) -> LearningRate:
        """The number, or the function of the step."""
        return self._learning_rate

    @learning_rate.setter
    def learning_rate(self, value: LearningRate) -> None:
        self._learning_rate = value if callable(value) else check_number(value, "learning_rate", 0)

    @property
    def lr(self) -> LearningRate:
        """What older versions of Keras call learning_rate; using it gives a warning."""
        _warn_of_lr()
        return self.learning_rate

    @lr.setter
    def lr(self, value: LearningRate) -> None:
        _warn_of_lr()
        self.learning_rate = value

    def get_config(self) -> Config:
        """The arguments that recreate this optimizer, by name, without its state."""
        return settings(self)

    def current_learning_rate(self) -> float:
        """η of the next step, as a float."""
        rate = self._learning_rate
        return check_number(rate(self.iterations), "learning_rate(step)", 0) if callable(rate) else float(rate)

    def build(self, params: dict[str, Array]) -> None:
        """Create the state for these parameters, all zeros; existing state stays."""
        for name, param in params.items():
            kept = self.slots.get(name)
            if kept is None or any(kept[slot].shape != param.shape for slot in self.slot_names):
                self.slots[name] = {slot: np.zeros(param.shape, param.dtype) for slot in self.slot_names}

    def step(self, params: dict[str, Array], grads: dict[str, Array]) -> None:
        """One step: change every parameter, in place, against its gradient.

        grads: the same names and shapes as params; with clipnorm they are clipped in place.
        """
        self.build(params)
        rate = self.prepare(grads)
        for name, param in params.items():
            self.update(param, grads[name], self.slots[name], rate, reference)

    def prepare(self, grads: dict[str, Array]) -> float:
        """Begin a step: count it, clip the gradients in place, return the η to pass to ``update``."""
        rate = self.current_learning_rate()
        if self.clipnorm is not None:
            for grad in grads.values():
                norm = math.sqrt(_sum_of_squares(grad.reshape(-1)))
                if norm > self.clipnorm:
                    grad *= self.clipnorm / norm
        self.iterations += 1
        return rate

    def update(self, param: Array, grad: Array, slots: dict[str, Array], learning_rate: float, ops: Operations) -> None:
        """Change a parameter and its state in place, or the same piece of each, since every rule is elementwise."""
        if self.weight_decay:
            param *= 1 - learning_rate * self.weight_decay
        self.apply_gradient(param, grad, slots, learning_rate, ops)

    def apply_gradient(
        self, param: Array, grad: Array, slots: dict[str, Array], learning_rate: float, ops: Operations
    ) -> None:
        """The optimizer's own rule."""
        raise NotImplementedError


class SGD(Optimizer):
    """Plain gradient descent, or with momentum (Polyak 1964), or Nesterov's (Sutskever et al. 2013).

    momentum 0: param ← param − η · grad. Otherwise velocity ← μ · velocity − η · grad, and param ← param + velocity, or
    with nesterov=True param ← param + μ · velocity − η · grad.
    """

    def __init__(
        self,
        learning_rate: LearningRate = 0.01,
        momentum: float = 0.0,
        nesterov: bool = False,
        *,
        weight_decay: float | None = None,
        clipnorm: float | None = None,
    ) -> None:
        super().__init__(learning_rate, weight_decay, clipnorm)
        self.momentum = check_number(momentum, "momentum", 0, 1)
        self.nesterov = bool(nesterov)
        self.slot_names = ("velocity",) if self.momentum else ()

    def apply_gradient(
        self, param: Array, grad: Array, slots: dict[str, Array], learning_rate: float, ops: Operations
    ) -> None:
        if self.momentum:
            ops.momentum_update(param, grad, slots["velocity"], learning_rate, self.momentum, self.nesterov)
        else:
            ops.sgd_update(param, grad, learning_rate)


class RMSprop(Optimizer):
    """Divide each step by the running size of its gradient (Hinton, lecture 6e, 2012).

    v ← ρ · v + (1 − ρ) · grad²; param ← param − η · grad / √(v + ε).
    """

    slot_names = ("mean_square",)

    def __init__(
        self,
        learning_rate: LearningRate = 0.001,
        rho: float = 0.9,
        *,
        epsilon: float = 1e-7,
        weight_decay: float | None = None,
        clipnorm: float | None = None,
    ) -> None:
        super().__init__(learning_rate, weight_decay, clipnorm)
        self.rho = check_number(rho, "rho", 0, 1)
        self.epsilon = check_number(epsilon, "epsilon", 0)

    def apply_gradient(
        self, param: Array, grad: Array, slots: dict[str, Array], learning_rate: float, ops: Operations
    ) -> None:
        ops.rmsprop_update(param, grad, slots["mean_square"], learning_rate, self.rho, self.epsilon)


class Adam(Optimizer):
    """Momentum and RMSprop together, both corrected for having started at zero (Kingma and Ba 2015).

    m ← m + (1 − β₁)(grad − m); v ← v + (1 − β₂)(grad² − v);
    param ← param − η · √(1 − β₂ᵗ) / (1 − β₁ᵗ) · m / (√v + ε), with t = 1 at the first step.
    """

    slot_names = ("mean", "mean_square")

    def __init__(
        self,
        learning_rate: LearningRate = 0.001,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-7,
        *,
        weight_decay: float | None = None,
        clipnorm: float | None = None,
    ) -> None:
        super().__init__(learning_rate, weight_decay, clipnorm)
        self.beta_1 = check_number(beta_1, "beta_1", 0, 1)
        self.beta_2 = check_number(beta_2, "beta_2", 0, 1)
        self.epsilon = check_number(epsilon, "epsilon", 0)

    def apply_gradient(
        self, param: Array, grad: Array, slots: dict[str, Array], learning_rate: float, ops: Operations
    ) -> None:
        correction = math.sqrt(1 - self.beta_2**self.iterations) / (1 - self.beta_1**self.iterations)
        ops.adam_update(
            param,
            grad,
            slots["mean"],
            slots["mean_square"],
            learning_rate * correction,
            self.beta_1,
            self.beta_2,
            self.epsilon,
        )


OPTIMIZERS: dict[str, type[SGD] | type[RMSprop] | type[Adam]] = {"sgd": SGD, "rmsprop": RMSprop, "adam": Adam}


def get(optimizer: str | Optimizer) -> Optimizer:
    """A new optimizer of that name with its defaults, or the object itself."""
    if isinstance(optimizer, str):
        return by_name(OPTIMIZERS, optimizer.lower(), "optimizer")()
    if not isinstance(optimizer, Optimizer):
        raise TypeError(
            f"an optimizer must be a name or an Optimizer, e.g. Adam(learning_rate=0.001), received {optimizer!r}."
        )
    return optimizer


def _warn_of_lr() -> None:
    warnings.warn("optimizer.lr is called optimizer.learning_rate now.", stacklevel=3)


BLOCK = 2**16  # entries


def _sum_of_squares(vector: Array) -> float:
    """Σ vector² in float64, because the squares may overflow float32; over blocks of fixed size, added in a fixed binary tree.

    So its bits do not depend on who computes which blocks. An odd block goes to the left half.
    """
    blocks = -(-vector.size // BLOCK)
    if blocks > 1:
        middle = -(-blocks // 2) * BLOCK
        return _sum_of_squares(vector[:middle]) + _sum_of_squares(vector[middle:])
    wide = vector.astype(np.float64, copy=False)
    return float(wide @ wide)
