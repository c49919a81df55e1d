"""Callbacks that set the learning rate: by a schedule, or when the training makes no progress."""

import inspect
from collections.abc import Callable
from typing import TYPE_CHECKING

from .. import ranks
from ..checks import check_count, check_number
from ..contracts import Logs
from .base import Callback, State, checked_entry
from .monitor import Monitor

if TYPE_CHECKING:
    from ..optimizers import Optimizer


class LearningRateScheduler(Callback):
    """Set the learning rate at the beginning of every epoch, to schedule(epoch, learning rate so far).

    Arguments: schedule: a function of the epoch, which counts from 0, and the current rate, or of the epoch alone. verbose: 1
    prints what it does. The history gets each epoch's "learning_rate".
    """

    def __init__(self, schedule: Callable[..., float], verbose: int = 0) -> None:
        if not callable(schedule) or isinstance(schedule, type):
            raise TypeError(f"LearningRateScheduler schedule must be a function of the epoch, received {schedule!r}.")
        self.schedule = schedule
        self.verbose = check_count(verbose, "LearningRateScheduler verbose")
        self.takes_rate = _takes_two(schedule)

    def on_epoch_begin(self, epoch: int, logs: Logs | None = None) -> None:
        before = _rate(self)
        rate = self.schedule(epoch, before) if self.takes_rate else self.schedule(epoch)
        if callable(rate):
            raise TypeError(f"LearningRateScheduler schedule must return a number, received {rate!r}.")
        _optimizer(self).learning_rate = rate
        if self.verbose:
            ranks.say(f"Epoch {epoch + 1}: LearningRateScheduler setting learning rate to {rate}.")

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        if logs is not None:
            logs["learning_rate"] = _rate(self)


class ReduceLROnPlateau(Monitor):
    """Multiply the learning rate by ``factor`` when ``monitor`` has not improved for ``patience`` epochs.

    Arguments: monitor: a name in the epoch's logs. factor: below 1. patience: how many epochs without an improvement lead
    to a reduction. verbose: 1 prints what it does. mode: "min", "max" or "auto". min_delta: only a change by more than this is
    an improvement. cooldown: how many epochs after a reduction are not counted. min_lr: the rate never goes below this.

    The history gets each epoch's "learning_rate". A name that the logs do not have gives a warning, as in Keras.
    """

    def __init__(
        self,
        monitor: str = "val_loss",
        factor: float = 0.1,
        patience: int = 10,
        verbose: int = 0,
        mode: str = "auto",
        min_delta: float = 1e-4,
        cooldown: int = 0,
        min_lr: float = 0.0,
    ) -> None:
        super().__init__(monitor, mode, min_delta)
        self.factor = check_number(factor, f"{self} factor", 0, 1)
        self.patience = check_count(patience, f"{self} patience")
        self.verbose = check_count(verbose, f"{self} verbose")
        self.cooldown = check_count(cooldown, f"{self} cooldown")
        self.min_lr = check_number(min_lr, f"{self} min_lr", 0)
        self._begin()

    def _begin(self) -> None:
        self.best = None
        self.wait = 0
        self.cooldown_counter = 0

    def on_train_begin(self, logs: Logs | None = None) -> None:
        self._begin()
        _rate(self)  # raises now, not after an epoch, if the rate cannot be set

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        rate = _rate(self)
        if logs is not None:
            logs["learning_rate"] = rate
        current = self.watched(logs)
        if current is None:
            return
        if self.cooldown_counter > 0:
            self.cooldown_counter -= 1
            self.wait = 0
        if self.improved(current, self.best):
            self.best = current
            self.wait = 0
        elif self.cooldown_counter == 0:
            self.wait += 1
            if self.wait >= self.patience and rate > self.min_lr:
                self.cooldown_counter = self.cooldown
                self.wait = 0
                lower = _optimizer(self).learning_rate = max(rate * self.factor, self.min_lr)
                if self.verbose:
                    ranks.say(f"Epoch {epoch + 1}: ReduceLROnPlateau reducing learning rate to {lower}.")

    def get_state(self) -> State:
        return {name: getattr(self, name) for name in ("best", "wait", "cooldown_counter")}

    def set_state(self, state: State) -> None:
        numbers = {name: checked_entry(state, name, int) for name in ("wait", "cooldown_counter")}
        self.best = checked_entry(state, "best", float, type(None))
        for name, number in numbers.items():
            setattr(self, name, number)


def _optimizer(callback: Callback) -> "Optimizer":
    assert callback.model.optimizer is not None  # a model that trains is compiled
    return callback.model.optimizer


def _rate(callback: Callback) -> float:
    """The learning rate. Raises TypeError where it is a function of the step, and so cannot be set."""
    rate = _optimizer(callback).learning_rate
    if callable(rate):
        raise TypeError(
            f"{type(callback).__name__} sets the learning rate, but this optimizer's is a function of the step: "
            "use one of the two."
        )
    return float(rate)


def _takes_two(schedule: Callable[..., float]) -> bool:
    """Whether schedule(epoch, rate) can be called; assumed where there is no signature to read."""
    try:
        inspect.signature(schedule).bind(0, 0.0)
    except TypeError:
        return False
    except ValueError:
        return True
    return True
