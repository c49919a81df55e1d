"""What a model runs on: made when first needed, and again when the model's layers have changed."""

import contextlib
import os
import threading
from collections.abc import Iterator, Sequence

from ..contracts import Array, ModelLike, StackedLayer, StackLike
from ..layers.inside import check_sizes, home, outermost, owner, settle, state_of
from ..layers.stack import runs_in_order
from ..utils.names import is_ours
from .plan import Plan, settings
from .runner import Runner
from .vector import Parameters, Range, Slots


class Engine:
    """The runner of a model, the vector of its parameters, and its optimizer's state. It belongs to one model and is never
    copied: a copy of the model gets its own."""

    def __init__(self) -> None:
        self._seen: tuple[object, ...] = ()
        self._kept: list[object] = []  # what was seen, so that no other object has the same id
        self._runner: Runner | None = None
        self.parameters: Parameters | None = None
        self._slots: Slots | None = None
        self._process, self._trains = os.getpid(), threading.RLock()
        self.frozen: set[int] | None = None  # the ids of the frozen layers, while the model is being trained

    @contextlib.contextmanager
    def trained_by_this_thread(self, model: ModelLike) -> Iterator[None]:
        """Inside, no other thread trains the model: the steps of two would be mixed up in the same arrays. Callbacks may. What is
        frozen stays frozen, and nothing else does.

        Raises RuntimeError where another thread trains it.
        """
        if self._process != os.getpid():  # a forked child has none of its parent's other threads
            self._process, self._trains = os.getpid(), threading.RLock()
        lock, held, before = self._trains, False, self.frozen
        try:
            held = lock.acquire(blocking=False)
            if not held:
                raise RuntimeError(
                    f"another thread is training {model}: wait until it has done, or train a copy, copy.deepcopy(model)."
                )
            self.frozen = model.frozen()
            yield
        finally:
            if held:
                self.frozen = before
                lock.release()

    def runner(self, model: ModelLike) -> Runner:
        """The model's runner. Its steps share the layers' parameters and follow their settings.

        Raises TypeError where the model's class overrides forward or backward, and ValueError where a layer has other sizes than
        it was built with.
        """
        leaves = [(address, layer, {**layer.params, **_trusted_state(layer)}) for address, layer in model.leaves()]
        seen = (
            id(model.loss),
            model.input_shape,
            *settings((layer for _, layer, _ in leaves), model.loss, model.fuse),
            *((address, id(layer)) for address, layer, _ in leaves),
            *(
                (name, id(value), getattr(value, "shape", None))
                for _, _, arrays in leaves
                for name, value in arrays.items()
            ),
            *(id(getattr(layer, f"{name}_regularizer", None)) for _, layer, arrays in leaves for name in arrays),
        )
        if self._runner is None or seen != self._seen:
            if not runs_in_order(model):
                raise TypeError(
                    f"{model} has a forward or a backward of its own, which only a model around it would call: put it into "
                    "one, Sequential([…])."
                )
            if model.layers and model.input_shape != getattr(model.layers[0], "input_shape", None):
                raise ValueError(
                    f"{model} was built for samples of shape {model.layers[0].input_shape}, and its input_shape is now "
                    f"{model.input_shape}: make a new model for other samples."
                )
            for address, layer, _ in leaves:
                check_sizes(layer, address)
            plan = Plan(model.layers, model.loss, model.fuse)
            self._runner = Runner(model, plan, [metric for _, metric in model.metrics], model.dtype)
            self._seen, self._kept = seen, [model.loss, leaves]
        return self._runner

    def forget(self) -> None:
        """Drop everything, because the layers, the loss or the metrics have changed. The optimizer keeps its state."""
        self._runner = self.parameters = self._slots = None

    def gather(self, model: ModelLike) -> Parameters | None:
        """Move the parameters into one vector, if all layers are built and are this model's own."""
        if not model.built or outermost(model) is not model or any(foreign(model)):
            return None
        return self._parameters(model)

    def train(self, model: ModelLike) -> Parameters:
        """The parameters, for training steps to change. Raises ValueError where this model does not own all layers."""
        check_owner(model)
        return self._parameters(model)

    def _parameters(self, model: ModelLike) -> Parameters:
        if self.parameters is None or not self.parameters.hold():
            self.parameters, self._slots, self._runner = Parameters(model, model.dtype), None, None
        return self.parameters

    def slots(self, model: ModelLike, ranges: Sequence[Range]) -> Slots:
        """The state of the model's optimizer. ranges: what is about to be trained."""
        assert self.parameters is not None
        assert model.optimizer is not None
        if self._slots is None or not self._slots.hold(model.optimizer):
            self._slots = Slots(model.optimizer, self.parameters, ranges)
        return self._slots


def _trusted_state(layer: StackedLayer) -> dict[str, Array]:
    """The state of one of our layers, whose sizes the kernels trust; a layer of the user's may replace its own at each step."""
    state = state_of(layer)
    return state if state and is_ours(type(layer)) else {}


def check_owner(model: ModelLike) -> None:
    """Raise ValueError, with advice, where another model trains some of this one's layers."""
    for stack in model.stacks():
        for layer in stack.layers:
            if home(layer) is None:  # the model that it came from is gone, or no longer lists it
                settle(layer, stack)
    around = outermost(model)
    if around is not model and getattr(around, "optimizer", None) is not None:
        raise ValueError(f"{model} is a part of {around}, which trains its layers: call {around.name}.fit instead.")
    copy = "To train this one on its own, take a copy: copy.deepcopy(model)."
    if is_view(model):
        raise ValueError(
            f"{model} has nothing but layers of {outermost(model.layers[0])}, and can only predict. {copy}"
        )
    for layer in foreign(model):
        raise ValueError(
            f"{model} can only predict: its layer {layer.name!r} now belongs to {outermost(layer)}, which trains it. {copy}"
        )


def foreign(model: StackLike) -> Iterator[StackedLayer]:
    """The layers within that belong to another stack than the one that lists them."""
    for stack in model.stacks():
        for layer in stack.layers:
            if owner(layer) is not stack:
                yield layer


def is_view(model: ModelLike) -> bool:
    """Whether all of its layers belong to other models."""
    return bool(model.layers) and all(home(layer) not in (None, model) for layer in model.layers)
