"""Callbacks that end a training: when it no longer improves, and when its loss is not finite."""

import math

import numpy as np

from .. import ranks
from ..checks import check_count, check_flag, check_number
from ..contracts import Array, Logs
from .base import Callback, State, checked_entry
from .monitor import Monitor


class EarlyStopping(Monitor):
    """End the training when ``monitor`` has not improved for ``patience`` epochs.

    Arguments: monitor: a name in the epoch's logs. min_delta: only a change by more than this is an improvement. patience:
    how many epochs without one end the training. verbose: 1 prints what it does. mode: "min", "max" or "auto". baseline: if
    given, only values better than this restart the count. restore_best_weights: whether the model gets the weights of its best
    epoch back at the end of the training. start_from_epoch: epochs before this one are ignored.

    As in Keras, the training never ends with its first epoch, and a name that the logs do not have gives a warning.
    """

    def __init__(
        self,
        monitor: str = "val_loss",
        min_delta: float = 0.0,
        patience: int = 0,
        verbose: int = 0,
        mode: str = "auto",
        baseline: float | None = None,
        restore_best_weights: bool = False,
        start_from_epoch: int = 0,
    ) -> None:
        super().__init__(monitor, mode, min_delta)
        self.patience = check_count(patience, f"{self} patience")
        self.verbose = check_count(verbose, f"{self} verbose")
        self.baseline = None if baseline is None else check_number(baseline, f"{self} baseline")
        self.restore_best_weights = check_flag(restore_best_weights, f"{self} restore_best_weights")
        self.start_from_epoch = check_count(start_from_epoch, f"{self} start_from_epoch")
        self._begin()

    def _begin(self) -> None:
        self.wait = 0
        self.stopped_epoch = 0
        self.best = None
        self.best_epoch = 0
        self.best_weights: list[Array] | None = None

    def on_train_begin(self, logs: Logs | None = None) -> None:
        self._begin()

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        current = self.watched(logs)
        if current is None or epoch < self.start_from_epoch:
            return
        if self.restore_best_weights and self.best_weights is None:
            self._keep(epoch)
        self.wait += 1
        if self.improved(current, self.best):
            self.best = current
            self._keep(epoch)
            if self.baseline is None or self.improved(current, self.baseline):
                self.wait = 0
        elif self.wait >= self.patience and epoch > 0:
            self.stopped_epoch = epoch
            self.model.stop_training = True

    def _keep(self, epoch: int) -> None:
        self.best_epoch = epoch
        if self.restore_best_weights:
            self.best_weights = self.model.get_weights()

    def on_train_end(self, logs: Logs | None = None) -> None:
        if self.stopped_epoch > 0 and self.verbose:
            ranks.say(f"Epoch {self.stopped_epoch + 1}: early stopping")
        if self.best_weights is not None:
            if self.verbose:
                ranks.say(f"Restoring model weights from the end of the best epoch: {self.best_epoch + 1}.")
            self.model.set_weights(self.best_weights)

    def get_state(self) -> State:
        state = {name: getattr(self, name) for name in ("wait", "stopped_epoch", "best", "best_epoch")}
        return state | {f"best_weights/{i}": value for i, value in enumerate(self.best_weights or [])}

    def set_state(self, state: State) -> None:
        numbers = {name: checked_entry(state, name, int) for name in ("wait", "stopped_epoch", "best_epoch")}
        best = checked_entry(state, "best", float, type(None))
        kept = [state[f"best_weights/{i}"] for i in range(len(state)) if f"best_weights/{i}" in state]
        expected = [value.shape for value in self.model.weights.values()]
        if kept and (not self.restore_best_weights or [np.shape(value) for value in kept] != expected):
            raise ValueError("EarlyStopping's best weights are not of this model's shapes.")
        self.best, self.best_weights = best, kept or None
        for name, number in numbers.items():
            setattr(self, name, number)


class TerminateOnNaN(Callback):
    """End the training quietly when a loss is NaN or infinite, where ``fit`` would raise FloatingPointError without it.

    Arguments: raise_error: True raises RuntimeError instead. The batch makes no step, so the model keeps the weights from before
    it; the epoch's loss in the history is NaN. The epoch's validation and the remaining hooks still run.
    """

    accepts_nan = True

    def __init__(self, raise_error: bool = False) -> None:
        self.raise_error = check_flag(raise_error, "TerminateOnNaN raise_error")

    def on_train_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        loss = (logs or {}).get("loss", 0.0)
        if math.isfinite(loss):
            return
        if self.raise_error:
            raise RuntimeError(f"batch {batch}: the loss is {loss}. This batch made no step.")
        ranks.say(f"Batch {batch}: Invalid loss, terminating training")
        self.model.stop_training = True
