"""What all optimizers share: the learning rate, weight decay, clipping, averages of the parameters, and the state.

An optimizer knows parameters by name, as arrays; it knows nothing of layers or models. ``step`` does everything and can be
used alone; ``prepare`` and ``update`` are its two halves, so that an engine can update pieces of the arrays in parallel.
"""

import math
import warnings
from collections.abc import Callable, Mapping
from typing import TypedDict

import numpy as np

from .. import ranks
from ..checks import check_flag, check_number, check_positive
from ..contracts import Array, Config, Operations
from ..home import Home
from ..ops import reference
from ..utils.names import Strict
from ..utils.settings import settings

LearningRate = float | Callable[[int], float]


AVERAGE = "average"  # the part of the state that use_ema adds


class SettingsWithoutDecay(TypedDict, total=False):
    """The keyword arguments that keep gradients small, of which one may be chosen, and those of the averages."""

    clipnorm: float | None
    clipvalue: float | None
    global_clipnorm: float | None
    use_ema: bool
    ema_momentum: float
    ema_overwrite_frequency: int | None


class OptimizerSettings(SettingsWithoutDecay, total=False):
    """The keyword arguments that every optimizer accepts."""

    weight_decay: float | None


class Optimizer(Strict):
    """What all optimizers share: the learning rate, weight decay, clipping, and the state by parameter name.

    Arguments: learning_rate: a number, or a function of the step (0, 1, 2, …) that returns one; it may be set between
    epochs. weight_decay: param ← param − η · weight_decay · param before each step, for all parameters (Loshchilov and
    Hutter 2019). One of three ways to keep gradients small may be chosen: clipnorm: each parameter's gradient is scaled down to
    at most this Euclidean norm. global_clipnorm: all gradients are scaled down together, so that the norm of them all is at most
    this. clipvalue: each entry is cut off at ± this.

    use_ema: whether to keep an average of each parameter over the steps (Polyak and Juditsky 1992), which often predicts better
    than the last step's values: average ← ema_momentum · average + (1 − ema_momentum) · param after each step, from the first
    step's param on. ``fit`` ends by giving the parameters their averages. ema_overwrite_frequency: do so after every so many
    steps as well. The averages are of parameters alone, not of a layer's state. Those of a frozen layer are its parameters.
    Weights that are set by hand, by set_weights or load_weights, do not change the averages, as in Keras: the next training goes
    on from both, and ends near the old averages unless it is long. To begin the averages there, compile with a new optimizer.

    Attributes: iterations: the number of steps made. slots: parameter name → {slot name → array}, the state. swapped: whether
    the averages stand in the parameters' place, and these in theirs, as SwapEMAWeights has it for a while.
    """

    slot_names: tuple[str, ...] = ()
    clipnorm: float | None
    clipvalue: float | None
    global_clipnorm: float | None

    def __init__(
        self,
        learning_rate: LearningRate,
        weight_decay: float | None = None,
        clipnorm: float | None = None,
        clipvalue: float | None = None,
        global_clipnorm: float | None = None,
        use_ema: bool = False,
        ema_momentum: float = 0.99,
        ema_overwrite_frequency: int | None = None,
    ) -> None:
        self.learning_rate = learning_rate
        self.weight_decay = None if weight_decay is None else check_number(weight_decay, "weight_decay", 0)
        clips = {"clipnorm": clipnorm, "clipvalue": clipvalue, "global_clipnorm": global_clipnorm}
        for name, value in clips.items():
            setattr(self, name, None if value is None else check_number(value, name, 0))
            if value == 0:
                raise ValueError(f"{name} must be above 0; None turns clipping off.")
        chosen = [name for name, value in clips.items() if value is not None]
        if len(chosen) > 1:
            raise ValueError(f"{' and '.join(chosen)} cannot be combined: choose one.")
        self.use_ema = check_flag(use_ema, "use_ema")
        self.ema_momentum = check_number(ema_momentum, "ema_momentum", 0, 1)
        self.ema_overwrite_frequency = (
            None
            if ema_overwrite_frequency is None
            else check_positive(ema_overwrite_frequency, "ema_overwrite_frequency")
        )
        self.swapped = False
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
        """The arguments that recreate this optimizer, by name, without its state; of the averages' only where there are any."""
        return settings(self, without=() if self.use_ema else ("use_ema", "ema_momentum", "ema_overwrite_frequency"))

    @property
    def clips_norms(self) -> bool:
        """Whether ``prepare`` has to be given all gradients."""
        return self.clipnorm is not None or self.global_clipnorm is not None

    @property
    def every_slot(self) -> tuple[str, ...]:
        """The names of the parts of the state: the rule's own ones, and the averages."""
        return (*self.slot_names, AVERAGE) if self.use_ema else self.slot_names

    def initial(self, slot: str) -> float:
        """What all entries of this part of the rule's state are at the beginning."""
        return 0.0

    def current_learning_rate(self) -> float:
        """η of the next step, as a float."""
        rate = self._learning_rate
        return check_number(rate(self.iterations), "learning_rate(step)", 0) if callable(rate) else float(rate)

    def build(self, params: dict[str, Array]) -> None:
        """Create the state for these parameters; existing state stays."""
        for name, param in params.items():
            kept = self.slots.get(name)
            if kept is None or any(kept[slot].shape != param.shape for slot in self.every_slot):
                self.slots[name] = {
                    slot: param.copy() if slot == AVERAGE else np.full(param.shape, self.initial(slot), param.dtype)
                    for slot in self.every_slot
                }

    def step(self, params: dict[str, Array], grads: dict[str, Array]) -> None:
        """One step: change every parameter, in place, against its gradient.

        grads: the same names and shapes as params; they may be clipped in place.
        """
        self.build(params)
        rate = self.prepare(grads)
        for name, param in params.items():
            self.update(param, grads[name], self.slots[name], rate, reference)

    def prepare(self, grads: dict[str, Array], squares: Mapping[str, float] | None = None) -> float:
        """Begin a step: count it, clip the gradients in place, return the η to pass to ``update``.

        squares: Σ grad² of each gradient, where the caller knows them already.
        """
        rate = self.current_learning_rate()
        if self.clips_norms:
            if squares is None:
                squares = {name: _sum_of_squares(grad.reshape(-1)) for name, grad in grads.items()}
            most = self.clipnorm or self.global_clipnorm or math.inf
            for name, grad in grads.items():
                norm = math.sqrt(squares[name] if self.clipnorm else sum(squares.values()))
                if norm > most:
                    grad *= most / norm
        self.iterations += 1
        return rate

    def update(self, param: Array, grad: Array, slots: dict[str, Array], learning_rate: float, ops: Operations) -> None:
        """Change a parameter and its state in place, or the same piece of each, since every rule is elementwise.

        With clipvalue the gradient is changed, too.
        """
        if self.clipvalue:
            np.clip(grad, -self.clipvalue, self.clipvalue, out=grad)
        if self.weight_decay:
            param *= 1 - learning_rate * self.weight_decay
        self.apply_gradient(param, grad, slots, learning_rate, ops)
        if self.use_ema:
            ops.average_update(slots[AVERAGE], param, 0.0 if self.iterations == 1 else self.ema_momentum)
            if self.ema_overwrite_frequency and self.iterations % self.ema_overwrite_frequency == 0:
                param[...] = slots[AVERAGE]

    def swap_averages(self, params: dict[str, Array]) -> None:
        """Exchange these parameters and their averages, as far as there are any."""
        ranks.group.complete()
        for name in params.keys() & self.slots.keys():
            average = self.slots[name][AVERAGE]
            params[name][...], average[...] = average.copy(), params[name].copy()
        self.swapped = not self.swapped

    def restart_averages(self, params: dict[str, Array]) -> None:
        """Let the averages of these parameters begin where they are now."""
        for name in params.keys() & self.slots.keys():
            self.slots[name][AVERAGE][...] = params[name]

    def keep_averages(self, params: dict[str, Array]) -> None:
        """Give these parameters their averages, for good."""
        ranks.group.complete()
        for name in params.keys() & self.slots.keys():
            average = self.slots[name][AVERAGE]
            if self.swapped:
                average[...] = params[name]
            else:
                params[name][...] = average
        self.swapped = False

    def apply_gradient(
        self, param: Array, grad: Array, slots: dict[str, Array], learning_rate: float, ops: Operations
    ) -> None:
        """The optimizer's own rule."""
        raise NotImplementedError


BLOCK = 2**16  # entries


def _sum_of_squares(vector: Array) -> float:
    """Σ vector² in float64, because the squares may overflow float32; over blocks of fixed size, added in a fixed binary tree.

    So its bits do not depend on who computes which blocks. An odd block goes to the left half.
    """
    blocks = -(-vector.size // BLOCK)
    if blocks > 1:
        middle = -(-blocks // 2) * BLOCK
        return _sum_of_squares(vector[:middle]) + _sum_of_squares(vector[middle:])
    return block_of_squares(vector)


def block_of_squares(vector: Array) -> float:
    """Σ vector² in float64, in one piece."""
    wide = vector.astype(np.float64, copy=False)
    return float(wide @ wide)


def _warn_of_lr() -> None:
    warnings.warn("optimizer.lr is called optimizer.learning_rate now.", stacklevel=3)
