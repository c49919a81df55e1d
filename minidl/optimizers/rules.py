"""The optimizers: how a gradient becomes a step. Names, defaults and formulas are Keras's."""

import math
from typing import Unpack

import numpy as np

from ..checks import check_number
from ..contracts import Array, Operations
from .base import LearningRate, Optimizer, OptimizerSettings, SettingsWithoutDecay


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
        **common: Unpack[OptimizerSettings],
    ) -> None:
        super().__init__(learning_rate, **common)
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
        **common: Unpack[OptimizerSettings],
    ) -> None:
        super().__init__(learning_rate, **common)
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
        **common: Unpack[OptimizerSettings],
    ) -> None:
        super().__init__(learning_rate, **common)
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


class AdamW(Adam):
    """Adam with weight decay, 0.004 where nothing else is said (Loshchilov and Hutter 2019): see ``Optimizer``."""

    def __init__(
        self,
        learning_rate: LearningRate = 0.001,
        weight_decay: float | None = 0.004,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-7,
        **common: Unpack[SettingsWithoutDecay],
    ) -> None:
        super().__init__(learning_rate, beta_1, beta_2, epsilon, weight_decay=weight_decay, **common)


class Adagrad(Optimizer):
    """Divide each step by the root of all squared gradients so far (Duchi et al. 2011).

    a ← a + grad², which begins at initial_accumulator_value; param ← param − η · grad / √(a + ε).
    """

    slot_names = ("accumulator",)

    def __init__(
        self,
        learning_rate: LearningRate = 0.001,
        initial_accumulator_value: float = 0.1,
        epsilon: float = 1e-7,
        **common: Unpack[OptimizerSettings],
    ) -> None:
        super().__init__(learning_rate, **common)
        self.initial_accumulator_value = check_number(initial_accumulator_value, "initial_accumulator_value", 0)
        self.epsilon = check_number(epsilon, "epsilon", 0)

    def initial(self, slot: str) -> float:
        return self.initial_accumulator_value

    def apply_gradient(
        self, param: Array, grad: Array, slots: dict[str, Array], learning_rate: float, ops: Operations
    ) -> None:
        ops.adagrad_update(param, grad, slots["accumulator"], learning_rate, self.epsilon)


class Adadelta(Optimizer):
    """Steps in the parameter's own units: the running size of its changes over that of its gradients (Zeiler 2012).

    v ← ρ · v + (1 − ρ) · grad²; δ = grad · √(u + ε) / √(v + ε); u ← ρ · u + (1 − ρ) · δ²; param ← param − η · δ.
    """

    slot_names = ("mean_square", "mean_square_step")

    def __init__(
        self,
        learning_rate: LearningRate = 0.001,
        rho: float = 0.95,
        epsilon: float = 1e-7,
        **common: Unpack[OptimizerSettings],
    ) -> None:
        super().__init__(learning_rate, **common)
        self.rho = check_number(rho, "rho", 0, 1)
        self.epsilon = check_number(epsilon, "epsilon", 0)

    def apply_gradient(
        self, param: Array, grad: Array, slots: dict[str, Array], learning_rate: float, ops: Operations
    ) -> None:
        ops.adadelta_update(
            param, grad, slots["mean_square"], slots["mean_square_step"], learning_rate, self.rho, self.epsilon
        )


class Adamax(Adam):
    """Adam with the largest recent gradient in place of the root of their mean square (Kingma and Ba 2015, section 7.1).

    m ← m + (1 − β₁)(grad − m); u ← max(β₂ · u, |grad|); param ← param − η / (1 − β₁ᵗ) · m / (u + ε).
    """

    slot_names = ("mean", "largest")

    def apply_gradient(
        self, param: Array, grad: Array, slots: dict[str, Array], learning_rate: float, ops: Operations
    ) -> None:
        rate = learning_rate / (1 - self.beta_1**self.iterations)
        ops.adamax_update(param, grad, slots["mean"], slots["largest"], rate, self.beta_1, self.beta_2, self.epsilon)


# Dozat's schedule: Π_{i ≤ t} (1 − ½ · 0.96^i). From the 1000th factor on, each is 1 in float64.
DAMPING = np.cumprod(1 - 0.5 * 0.96 ** np.arange(1, 1001))


class Nadam(Adam):
    """Adam with Nesterov's look ahead (Dozat 2016), whose momentum μ_t = β₁ · (1 − ½ · 0.96ᵗ) grows from step to step.

    m and v as in Adam; m̂ = μ_{t+1} · m / (1 − Π_{i ≤ t+1} μ_i) + (1 − μ_t) · grad / (1 − Π_{i ≤ t} μ_i); v̂ = v / (1 − β₂ᵗ);
    param ← param − η · m̂ / (√v̂ + ε).
    """

    def apply_gradient(
        self, param: Array, grad: Array, slots: dict[str, Array], learning_rate: float, ops: Operations
    ) -> None:
        t = self.iterations
        now, after = (self.beta_1 * (1 - 0.5 * 0.96**step) for step in (t, t + 1))
        product = self.beta_1**t * float(DAMPING[min(t, len(DAMPING)) - 1])
        ops.nadam_update(
            param,
            grad,
            slots["mean"],
            slots["mean_square"],
            learning_rate,
            (after / (1 - product * after), (1 - now) / (1 - product), 1 / (1 - self.beta_2**t)),
            self.beta_1,
            self.beta_2,
            self.epsilon,
        )
