"""The plan: the steps of a model and its loss, which every shard goes through.

``Sequential.layers`` is what the user wrote; the plan is what runs. It shares the layers' parameters.
"""

import copy
from collections.abc import Callable, Collection, Iterable, Sequence
from typing import Any

from .. import losses
from ..contracts import Array, Cache, Gradients, LossLike, StackedLayer
from ..layers import Activation, Conv2D, Conv2DTranspose, Dense, Dropout, Softmax, Stack
from ..layers.inside import SIZES
from ..layers.stack import runs_in_order
from ..ops import kernels
from ..ops.random import RandomKey
from . import steps
from .losses import compiled
from .stages import Stages

ENDS = (Activation, Conv2D, Conv2DTranspose, Dense, Softmax)  # the library's layers that have an activation
# What decides which steps there are, or is copied; whatever else a step asks its layer for whenever it runs.
DECIDING = ("ops", "activation", "max_value", "negative_slope", "threshold", *SIZES)
COPIED = ("from_logits", "label_smoothing")  # of a crossentropy


class Plan:
    """What one shard goes through.

    Arguments: layers: built, in order. loss: the compiled loss, or None if only to predict. fuse: whether to use the fused
    steps where the layers run on the kernels; otherwise every layer is its own step.

    Attributes: draws: whether a step may draw random numbers, and so needs a key.
    """

    def __init__(self, layers: Sequence[StackedLayer], loss: LossLike | None, fuse: bool) -> None:
        layers, self.loss, self._activation = on_logits(layers, loss)
        self.steps = steps.steps_of(layers, fuse)
        if fuse and getattr(layers[-1], "ops", None) is kernels:
            self.loss = compiled(self.loss)
        self.draws = any(step.draws for step in self.steps)

    def forward(self, x: Array, training: bool, rng: RandomKey | None) -> Stages[tuple[Array, list[Cache]]]:
        """x (n, …) → the last step's y, and each step's cache. rng: the batch's key. It may stop, see ``stages``."""
        return steps.forward(self.steps, x, training, rng)

    def backward(self, dy: Array, caches: list[Cache], grads: Gradients, lowest: int = 0) -> Stages[Array]:
        """dy of the last step → the gradients, written to the arrays in grads, by address. dy may be overwritten. It may stop.

        lowest: the first step whose gradients are wanted.
        """
        return steps.backward(self.steps, dy, caches, grads, lowest, need_dx=False)

    def lowest_trained(self, frozen: Collection[int]) -> int:
        """The first step with parameters that are not frozen (ids of layers); the number of steps where there is none."""
        for i, step in enumerate(self.steps):
            if any(layer.params and id(layer) not in frozen for layer in step.leaves()):
                return i
        return len(self.steps)

    def predictions(self, y: Array) -> Array:
        """What the user's last layer would have returned."""
        return y if self._activation is None else self._activation(y)


def settings(layers: Iterable[StackedLayer], loss: LossLike | None, fuse: bool) -> tuple[object, ...]:
    """What a plan depends on beside which layers and which loss it has: if any of it changes, another plan is needed.

    Classes of the user's own are never replaced nor copied, so nothing depends on theirs, which may be anything.
    """
    own = [layer for layer in layers if type(layer) in (*steps.DRAWS_NOTHING, Dropout, *ENDS)]
    copied = COPIED if losses.activation_of(loss) else ()
    return (
        fuse,
        *(getattr(loss, name, None) for name in copied),
        *(getattr(layer, name, None) for layer in own for name in DECIDING),
    )


def on_logits(
    layers: Sequence[StackedLayer], loss: LossLike | None
) -> tuple[list[StackedLayer], LossLike | None, Callable[[Array], Array] | None]:
    """(layers, loss, activation or None): a softmax or sigmoid before its crossentropy becomes one computation on the logits.

    The last layer is replaced by a twin without the activation that shares its parameters, and the loss by its form on logits.
    Separately, the two lose all precision where the activation has rounded to 0 or 1.
    """
    last, logits_loss = layers[-1], losses.on_logits(loss)
    if logits_loss is not None and isinstance(last, Stack) and runs_in_order(last):
        inner, changed, activation = on_logits(last.layers, loss)
        if activation is not None:
            stack = copy.copy(last)
            stack.layers = inner
            return [*layers[:-1], stack], changed, activation
    elif logits_loss is not None and activation_of(last) == losses.activation_of(loss):
        twin: Any = copy.copy(last)
        twin.activation = "linear"
        return [*layers[:-1], twin], logits_loss, getattr(twin.ops, f"{losses.activation_of(loss)}_forward")
    return list(layers), loss, None


def activation_of(layer: StackedLayer) -> str | None:
    """The name of the activation that one of the library's layers ends in; None where that is not known."""
    return layer.activation if type(layer) in ENDS and isinstance(layer, ENDS) else None


def doubt(layers: Sequence[StackedLayer], loss: LossLike | None) -> str | None:
    """What to say of a crossentropy of probabilities after a layer that gives none, or of one of logits after one that gives
    probabilities; None where they fit, or where nothing is known of the last layer."""
    last, wanted = layers[-1], losses.activation_of(loss)
    if isinstance(last, Stack):
        return doubt(last.layers, loss) if last.layers and runs_in_order(last) else None
    found = activation_of(last)
    if found == "softmax" and (last.output_shape == (1,) or getattr(last, "units", None) == 1):
        return (
            f"{last} ends in softmax over a single number, which is always 1: use activation='sigmoid', or more units."
        )
    if wanted is None or found is None:
        return None
    gives = "probabilities" if found in ("softmax", "sigmoid", "hard_sigmoid") else "no probabilities"
    name, logits = type(loss).__name__, losses.takes_logits(loss)
    if logits and gives == "probabilities":
        return f"{last} ends in {found}, which gives probabilities, and {name}(from_logits=True) takes logits: leave out one."
    if not logits and gives == "no probabilities":
        return (
            f"{last} ends in {found}, which gives no probabilities, and {name} takes them: use activation='{wanted}', or "
            f"loss={name}(from_logits=True) and no activation."
        )
    return None
