"""What a callback is: hooks with Keras's names, and a state that a backup can store."""

from collections.abc import Callable, Sequence
from typing import Any, Protocol, TypeAlias, TypeVar

from ..contracts import Logs, Path, TrainedModel
from ..utils.names import Strict, advice

State: TypeAlias = dict[str, Any]  # name → array, or whatever JSON can hold
Kind = TypeVar("Kind")


class Callback(Strict):
    """The base class: every hook does nothing; override those that you need.

    Attributes, set before the first hook: model, and params, a dictionary with "epochs", "steps" and "verbose". ``logs`` holds
    the loss and metrics: of the epoch so far at the end of a batch, of the whole epoch, with "val_…", at its end. Set
    ``self.model.stop_training = True`` to end the training after the current batch or epoch; validation and the remaining
    hooks still run.
    """

    model: TrainedModel = None  # type: ignore[assignment]  # set before any hook is called
    params: dict[str, int | None] = {}  # noqa: RUF012 (it is replaced, not changed)
    accepts_nan = False  # whether this callback decides what to do about a loss that is not finite, instead of an error

    def get_state(self) -> State:
        """What this callback remembers of the training, for BackupAndRestore: name → array, or anything that JSON can hold.

        A callback whose decisions depend on what it has seen needs this method and set_state, or it starts afresh when a
        training is resumed. Arrays may hold floats or integers. Through JSON, a tuple comes back as a list, and a number used
        as a key as a string. ``fit`` raises TypeError where JSON cannot hold it.
        """
        return {}

    def set_state(self, state: State) -> None:
        """Restore what get_state returned. Called after on_train_begin, and, where a training resumes in the middle of an epoch,
        again after on_epoch_begin. The state comes from a file: raise ValueError, and change nothing, where it is not as
        expected."""

    def set_model(self, model: TrainedModel) -> None:
        """Called with the model, before all hooks."""
        self.model = model

    def set_params(self, params: dict[str, int | None]) -> None:
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
        """An alias of on_train_batch_begin, as in Keras."""

    def on_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        """An alias of on_train_batch_end, as in Keras."""

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
    """A training, as seen by a callback that saves all of it."""

    def save(self, path: Path) -> None:
        """Write the state of the training to this file, so that it can be resumed."""

    def restore(self, path: Path) -> None:
        """Resume from the state in this file."""


class TrainingCallback(Callback):
    """A callback that is given the training itself. Its hooks run after those of all other callbacks, so that it sees their
    final state."""

    training: Resumable | None = None  # set by fit


class CallbackList(Callback):
    """Several callbacks as one: every hook is passed on, in order."""

    def __init__(self, callbacks: Sequence[Callback], model: TrainedModel, params: dict[str, int | None]) -> None:
        self.callbacks = list(callbacks)
        for callback in self.callbacks:
            callback.set_params(params)
            callback.set_model(model)


def _pass_on(hook: str) -> Callable[..., None]:
    counted = "epoch" in hook or "batch" in hook

    def call(self: CallbackList, *arguments: object) -> None:
        if len(arguments) == counted:
            arguments = (*arguments, {})  # logs are always passed, so that a hook needs no default for them
        for callback in self.callbacks:
            getattr(callback, hook)(*arguments)

    return call


HOOKS = tuple(name for name in vars(Callback) if name.startswith("on_"))
for _hook in HOOKS:
    setattr(CallbackList, _hook, _pass_on(_hook))


def one_by_one(callbacks: Sequence[Callback] | Callback | None) -> list[Callback]:
    """A flat list of them, with each CallbackList replaced by its callbacks: each may have a state."""
    given = [callbacks] if isinstance(callbacks, Callback) else callbacks or []
    if not isinstance(given, list | tuple):
        raise TypeError(f"callbacks must be a list of Callback objects, received {callbacks!r}.")
    for one in given:
        if not isinstance(one, Callback):
            hint = "."
            if isinstance(one, type):
                hint = f", a class: create an object, {one.__name__}(…)."
            elif callable(one):
                hint = ", a function: use LambdaCallback(on_epoch_end=…)."
            raise TypeError(f"callbacks must be a list of Callback objects, received {one!r}{hint}")
    return [each for one in given for each in (one_by_one(one.callbacks) if type(one) is CallbackList else [one])]


def follows_batches(callback: Callback) -> bool:
    """Whether it has a hook of its own for the batches of ``fit``."""
    hooks = ("on_train_batch_begin", "on_train_batch_end", "on_batch_begin", "on_batch_end")
    return any(getattr(getattr(callback, hook), "__func__", None) is not getattr(Callback, hook) for hook in hooks)


class LambdaCallback(Callback):
    """A callback from functions: LambdaCallback(on_epoch_end=lambda epoch, logs: print(epoch, logs)).

    Accepts any of Callback's hooks by name. Raises TypeError for another name.
    """

    def __init__(self, **hooks: Callable[..., object] | None) -> None:
        for name, function in hooks.items():
            if name not in HOOKS:
                raise TypeError(f"LambdaCallback has no hook {name!r}. {advice(name, HOOKS)}")
            if function is not None and not callable(function):
                raise TypeError(f"LambdaCallback {name} must be a function, received {function!r}.")
            if function is not None:
                setattr(self, name, function)


def checked_entry(state: State, name: str, *kinds: type[Kind]) -> Kind:
    """state[name], checked to be of one of these types, because a file may hold anything. Raises ValueError where it is not."""
    value = state.get(name)
    if not isinstance(value, kinds) or (isinstance(value, bool) and bool not in kinds):
        expected = " or ".join(kind.__name__ for kind in kinds)
        raise ValueError(f"the callback's state {name!r} must be {expected}, received {value!r:.200}.")
    return value
