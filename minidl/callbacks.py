"""Callbacks: code of yours that runs at certain moments of a training, with Keras's names for the moments."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Logs = dict[str, float]


class Callback:
    """The base class: every hook does nothing; override those that you need.

    Attributes, set before the first hook: model, and params, a dictionary with "epochs", "steps" and "verbose". ``logs`` holds
    the loss and metrics: of the epoch so far at the end of a batch, of the whole epoch, with "val_…", at its end. Set
    ``self.model.stop_training = True`` to end the training after the current batch or epoch; validation and the remaining
    hooks still run.
    """

    model: Any = None
    params: dict[str, Any]

    def set_model(self, model: Any) -> None:
        """Called with the model, before all hooks."""
        self.model = model

    def set_params(self, params: dict[str, Any]) -> None:
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


class CallbackList(Callback):
    """Several callbacks as one: every hook is passed on, in order."""

    def __init__(self, callbacks: Sequence[Callback], model: Any, params: dict[str, Any]) -> None:
        self.callbacks = list(callbacks)
        for callback in self.callbacks:
            if not isinstance(callback, Callback):
                raise TypeError(f"callbacks must be a list of Callback objects, received {callback!r}.")
            callback.set_params(params)
            callback.set_model(model)


def _pass_on(hook: str) -> Callable[..., None]:
    counted = "epoch" in hook or "batch" in hook

    def call(self: CallbackList, *arguments: Any) -> None:
        if len(arguments) == counted:
            arguments = (*arguments, {})  # logs are always given, so that a function may do without a default
        for callback in self.callbacks:
            getattr(callback, hook)(*arguments)

    return call


HOOKS = tuple(name for name in vars(Callback) if name.startswith("on_"))
for _hook in HOOKS:
    setattr(CallbackList, _hook, _pass_on(_hook))


class LambdaCallback(Callback):
    """A callback from functions: LambdaCallback(on_epoch_end=lambda epoch, logs: print(epoch, logs)).

    Takes any of Callback's hooks by name. Raises TypeError for another name.
    """

    def __init__(self, **hooks: Callable[..., None]) -> None:
        for name, function in hooks.items():
            if name not in HOOKS:
                raise TypeError(f"LambdaCallback has no hook {name!r}. There are: {', '.join(HOOKS)}.")
            setattr(self, name, function)


class History(Callback):
    """What ``fit`` returns: the loss and metrics of every epoch.

    Attributes: history: name → list, one number an epoch, names in alphabetical order. epoch: the epochs' numbers. params:
    the training's settings.
    """

    def __init__(self) -> None:
        self.history: dict[str, list[float]] = {}
        self.epoch: list[int] = []

    def on_train_begin(self, logs: Logs | None = None) -> None:
        self.history, self.epoch = {}, []

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        self.epoch.append(epoch)
        for name, value in sorted((logs or {}).items()):
            self.history.setdefault(name, []).append(value)

    def plot(self, path: Any = None) -> "Figure":
        """Draw a panel for the loss and each metric, training and validation in one; write it to ``path`` where given.

        Returns matplotlib's Figure. Raises ImportError where matplotlib is missing, ValueError before the first epoch.
        """
        if not self.epoch:
            raise ValueError("there is nothing to plot yet: fit has not finished an epoch.")
        try:
            import matplotlib.pyplot as plt
            from matplotlib.ticker import MaxNLocator
        except ImportError as error:
            raise ImportError("History.plot needs matplotlib: pip install 'minidl[plot]'.") from error

        names = sorted((name for name in self.history if not name.startswith("val_")), key=lambda name: name != "loss")
        figure, axes = plt.subplots(1, len(names), figsize=(5 * len(names), 3.6), squeeze=False, layout="constrained")
        epochs = [epoch + 1 for epoch in self.epoch]
        for axis, name in zip(axes[0], names, strict=True):
            axis.plot(epochs, self.history[name], marker="o", markersize=3, label="training")
            if f"val_{name}" in self.history:
                axis.plot(epochs, self.history[f"val_{name}"], marker="o", markersize=3, label="validation")
            axis.set(title=name, xlabel="epoch")
            axis.xaxis.set_major_locator(MaxNLocator(integer=True))
            axis.grid(alpha=0.3)
            axis.legend()
        if path is not None:
            figure.savefig(path, dpi=120)
            plt.close(figure)  # pyplot would keep it, and warn when there are many
        return figure
