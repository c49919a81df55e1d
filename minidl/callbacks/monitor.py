"""What callbacks share that watch one value of each epoch and ask whether it has improved."""

import warnings

from ..checks import check_number
from ..contracts import Logs
from ..utils.lookup import spelled
from ..utils.terminal import printable
from .base import Callback

# Whether a better one of the library's metrics is larger or smaller; a test holds the table to the metrics.
DIRECTIONS = {
    **dict.fromkeys(["loss", "mean_squared_error", "mse", "root_mean_squared_error", "rmse"], "min"),
    **dict.fromkeys(["mean_absolute_error", "mae", "binary_crossentropy", "bce", "categorical_crossentropy"], "min"),
    **dict.fromkeys(["sparse_categorical_crossentropy", "kl_divergence", "kld", "hinge", "huber"], "min"),
    **dict.fromkeys(
        ["accuracy", "acc", "binary_accuracy", "categorical_accuracy", "sparse_categorical_accuracy"], "max"
    ),
    **dict.fromkeys(["top_k_categorical_accuracy", "sparse_top_k_categorical_accuracy"], "max"),
    **dict.fromkeys(["precision", "recall", "f1_score", "auc"], "max"),
}


class Monitor(Callback):
    """A callback that watches ``monitor``, a name in an epoch's logs.

    mode: "min", "max", or "auto", which knows the loss and the library's metrics. min_delta: only a change by more than this is
    an improvement. Raises ValueError for another mode, or where "auto" does not know the name.
    """

    def __init__(self, monitor: str, mode: str, min_delta: float = 0.0) -> None:
        if not isinstance(monitor, str) or not monitor:
            raise ValueError(f"{self} monitor must be a name in the logs, such as 'val_loss', received {monitor!r}.")
        if not isinstance(mode, str) or mode not in ("auto", "min", "max"):
            raise ValueError(f"{self} mode must be 'auto', 'min' or 'max', received {mode!r}.")
        if mode == "auto":
            known = DIRECTIONS.get(spelled(DIRECTIONS, monitor.removeprefix("val_")))
            if known is None:
                raise ValueError(
                    f"{self} cannot know whether {monitor!r} should become larger or smaller: pass mode='max' or "
                    "mode='min'."
                )
            mode = known
        self.monitor = monitor
        self.mode = mode
        self.min_delta = abs(check_number(min_delta, f"{self} min_delta"))
        self.best: float | None = None

    def __str__(self) -> str:
        return type(self).__name__

    def improved(self, value: float, reference: float | None) -> bool:
        """Whether the value is better than the reference; True where that is None."""
        if reference is None:
            return True
        if self.mode == "max":
            return value - self.min_delta > reference
        return value + self.min_delta < reference

    def watched(self, logs: Logs | None) -> float | None:
        """The watched value; where the logs do not have it, None, with a warning."""
        logs = logs or {}
        if self.monitor not in logs:
            there_are = ", ".join(map(printable, logs))
            warnings.warn(
                f"{self} watches {self.monitor!r}, which this training does not have. There are: {there_are}.",
                stacklevel=2,
            )
            return None
        return float(logs[self.monitor])
