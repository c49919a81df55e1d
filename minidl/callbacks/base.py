"""What a callback is: hooks with Keras's names, and a state that a backup can keep."""

from collections.abc import Callable, Sequence
from typing import Any, Protocol, TypeAlias, TypeVar

from ..contracts import Logs, Path, TrainedModel

State: TypeAlias = dict[str, Any]  # name → array, or whatever JSON can hold
Kind = TypeVar("Kind")


class Callback:
    """The base class: every hook does nothing; override those that you need.

    Attributes, set before the first hook: model, and params, a dictionary with "epochs", "steps" and "verbose". ``logs`` holds
    the loss and metrics: of the epoch so far at the end of a batch, of the whole epoch, with "val_…", at its end. Set
    ``self.model.stop_training = True`` to end the training after the current batch or epoch; validation and the remaining
    hooks still run.
    """

    model: TrainedModel = None  # type: ignore[assignment]  # no hook is called before it is set
    params: dict[str, int]
    accepts_nan = False  # whether a training with this callback goes on where a loss is not finite, to let it decide

    def get_state(self) -> State:
        """What this callback remembers of the training, for BackupAndRestore: name → array, or whatever JSON can hold.

        A callback that decides by what it has seen needs this method and set_state, or it begins anew where a training
        goes on after a kill. The arrays may hold floats or integers; of what JSON holds, a tuple comes back as a list, and a
        number that is a key as a text. ``fit`` raises TypeError where JSON cannot hold it.
        """
        return {}

    def set_state(self, state: State) -> None:
        """Take back what get_state returned: after on_train_begin, and where a training goes on in the middle of an epoch once
        more, after on_epoch_begin. The state comes from a file: raise ValueError, and change nothing, where it is not as
        expected."""

    def set_model(self, model: TrainedModel) -> None:
        """Called with the model, before all hooks."""
        self.model = model

    def set_params(self, params: dict[str, int]) -> None:
        """Called with the training's settings, before all hooks."""
        self.params = params

    def on_train_begin(self, logs: Logs | None = None) -> None:
        """``fit`` begins."""

    def on_train_end(self, logs: Logs | None = None) -> None:
        """``fit`` ends. logs: those of the last epoch."""

    def on_epoch_begin(self, epoch: int, logs: Logs | None = None) -> None:
        """An epoch begins; the first one is 0."""

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        """An epoch ends, its validation included."""

    def on_train_batch_begin(self, batch: int, logs: Logs | None = None) -> None:
        """A batch of ``fit`` begins; the first one of each epoch is 0."""
        self.on_batch_begin(batch, logs)

    def on_train_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        """A batch of ``fit`` has made its step."""
        self.on_batch_end(batch, logs)

    def on_batch_begin(self, batch: int, logs: Logs | None = None) -> None:
        """Another name of on_train_batch_begin, as in Keras."""

    def on_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        """Another name of on_train_batch_end, as in Keras."""

    def on_test_begin(self, logs: Logs | None = None) -> None:
        """``evaluate`` begins, or the validation within ``fit``."""

    def on_test_end(self, logs: Logs | None = None) -> None:
        """``evaluate`` or a validation ends."""

    def on_test_batch_begin(self, batch: int, logs: Logs | None = None) -> None:
        """A batch of ``evaluate`` or of a validation begins."""

    def on_test_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        """A batch of ``evaluate`` or of a validation ends."""

    def on_predict_begin(self, logs: Logs | None = None) -> None:
        """``predict`` begins."""

    def on_predict_end(self, logs: Logs | None = None) -> None:
        """``predict`` ends."""

    def on_predict_batch_begin(self, batch: int, logs: Logs | None = None) -> None:
        """A batch of ``predict`` begins."""

    def on_predict_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        """A batch of ``predict`` ends."""


class Resumable(Protocol):
    """A training, as a callback sees it that keeps all of it."""

    def save(self, path: Path) -> None:
        """Write the state of the training, of which it can go on, to this file."""

    def restore(self, path: Path) -> None:
        """Go on from the state in this file."""


class TrainingCallback(Callback):
    """A callback that is given the training itself. Its hooks come after those of all others, so that it finds what they have
    made of the moment."""

    training: Resumable | None = None  # set by fit


class CallbackList(Callback):
    """Several callbacks as one: every hook is passed on, in order."""

    def __init__(self, callbacks: Sequence[Callback], model: TrainedModel, params: dict[str, int]) -> None:
        self.callbacks = list(callbacks)
        for callback in self.callbacks:
            if not isinstance(callback, Callback):
                raise TypeError(f"callbacks must be a list of Callback objects, received {callback!r}.")
            callback.set_params(params)
            callback.set_model(model)


def _pass_on(hook: str) -> Callable[..., None]:
    counted = "epoch" in hook or "batch" in hook

    def call(self: CallbackList, *arguments: object) -> None:
        if len(arguments) == counted:
            arguments = (*arguments, {})  # logs are always given, so that a function may do without a default
        for callback in self.callbacks:
            getattr(callback, hook)(*arguments)

    return call


HOOKS = tuple(name for name in vars(Callback) if name.startswith("on_"))
for _hook in HOOKS:
    setattr(CallbackList, _hook, _pass_on(_hook))


def one_by_one(callbacks: Sequence[Callback] | Callback | None) -> list[Callback]:
    """A list of them, those of a CallbackList among them: each may have a state to keep."""
    given = [callbacks] if isinstance(callbacks, Callback) else list(callbacks or [])
    return [each for one in given for each in (one_by_one(one.callbacks) if type(one) is CallbackList else [one])]


class LambdaCallback(Callback):
    """A callback from functions: LambdaCallback(on_epoch_end=lambda epoch, logs: print(epoch, logs)).

    Takes any of Callback's hooks by name. Raises TypeError for another name.
    """

    def __init__(self, **hooks: Callable[..., None]) -> None:
        for name, function in hooks.items():
            if name not in HOOKS:
                raise TypeError(f"LambdaCallback has no hook {name!r}. There are: {', '.join(HOOKS)}.")
            setattr(self, name, function)


def taken(state: State, name: str, *kinds: type[Kind]) -> Kind:
    """state[name], where it is of that kind; the state comes from a file, which may hold anything."""
    value = state.get(name)
    if not isinstance(value, kinds) or (isinstance(value, bool) and bool not in kinds):
        expected = " or ".join(kind.__name__ for kind in kinds)
        raise ValueError(f"the callback's state {name!r} must be {expected}, received {value!r:.200}.")
    return value
