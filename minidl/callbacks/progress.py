"""What ``fit``, ``evaluate`` and ``predict`` show while they run: a live bar on a terminal, plain lines elsewhere."""

import sys
import time
from typing import TYPE_CHECKING

from .. import ranks
from ..contracts import Logs
from ..utils.terminal import is_terminal, printable
from .base import Callback

if TYPE_CHECKING:
    from rich.progress import Progress as Bar
    from rich.progress import TaskID


def check_verbose(verbose: object) -> int:
    """0, 1 or 2; "auto" means 1. Always 0 where another process shows the progress."""
    if isinstance(verbose, str) and verbose == "auto":
        verbose = 1
    if verbose not in (0, 1, 2):
        raise ValueError(f"verbose must be 'auto', 0 (silent), 1 (a bar) or 2 (a line an epoch), received {verbose!r}.")
    return int(verbose) if ranks.group.rank == 0 else 0


def format_logs(logs: Logs) -> str:
    """- accuracy: 0.9764 - loss: 0.0780: four decimals, scientific at or below 1e-3, as Keras."""
    return "".join(
        f" - {printable(name)}: {value:.4f}" if abs(value) > 1e-3 else f" - {printable(name)}: {value:.4e}"
        for name, value in logs.items()
    )


def format_time(seconds: float) -> str:
    """A step's duration in a suitable unit: 29ms, 3s, 250us."""
    if seconds >= 1:
        return f"{seconds:.0f}s"
    return f"{seconds * 1e3:.0f}ms" if seconds >= 1e-3 else f"{seconds * 1e6:.0f}us"


class Progress(Callback):
    """Shows the progress of one call.

    Arguments: verbose: 1 on a terminal: a bar with ETA, loss and metrics, which becomes Keras's line when the epoch is over. 2:
    that line alone. In both, "Epoch 1/10" is in the line above; 1 elsewhere puts it in front, so that a log file gets one
    line per epoch. steps: how many batches an epoch has, None where it is not known. total: the number of epochs, None outside
    ``fit``.
    """

    def __init__(self, verbose: int, steps: int | None, total: int | None = None) -> None:
        self.verbose = verbose
        self.steps = steps
        self.total = total
        self.in_fit = total is not None
        self.live = verbose == 1 and is_terminal(sys.stdout)
        self.head = ""
        self.done = 0
        self.started = 0.0
        self.bar: Bar | None = None
        self.task: TaskID | None = None
        self.logs: Logs = {}

    def on_epoch_begin(self, epoch: int, logs: Logs | None = None) -> None:
        title = f"Epoch {epoch + 1}/{self.total}"
        if self.verbose == 1 and not self.live:
            self.head = f"{title} - "
        else:
            _print(title)
        self._begin()

    def on_train_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        self._advance(batch, logs)

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        self._end(logs)

    def on_test_begin(self, logs: Logs | None = None) -> None:
        if not self.in_fit:
            self._begin()

    def on_test_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        if not self.in_fit:
            self._advance(batch, logs)

    def on_test_end(self, logs: Logs | None = None) -> None:
        if not self.in_fit:
            self._end(logs)

    def on_predict_begin(self, logs: Logs | None = None) -> None:
        self._begin()

    def on_predict_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        self._advance(batch, logs)

    def on_predict_end(self, logs: Logs | None = None) -> None:
        self._end(logs)

    def on_train_end(self, logs: Logs | None = None) -> None:
        self.close()

    def close(self) -> None:
        """Release the terminal, whatever has happened."""
        if self.bar is not None:
            self.bar.stop()
            self.bar = None

    def _begin(self) -> None:
        self.started = time.perf_counter()
        if self.live:
            from rich.errors import LiveError

            self.bar = _make_bar()
            self.task = self.bar.add_task("", total=self.steps, logs="")
            try:
                self.bar.start()
            except LiveError:  # another bar is running, e.g. that of a fit whose callback called us: show none
                self.bar = None

    def _advance(self, batch: int, logs: Logs | None) -> None:
        self.done = batch + 1
        if self.bar is not None and self.task is not None:
            self.bar.update(self.task, completed=self.done, logs=format_logs(logs or {}))

    def _end(self, logs: Logs | None) -> None:
        self.close()
        seconds = time.perf_counter() - self.started
        step = format_time(seconds / max(1, self.done))
        line = f"{self.done}/{self.steps or self.done} - {seconds:.0f}s - {step}/step{format_logs(logs or {})}"
        _print(self.head + line)


def _print(line: str) -> None:
    """At once, where the output can be flushed: what a program has put in place of stdout may have no more than a write."""
    print(line, flush=hasattr(sys.stdout, "flush"))


def _make_bar() -> "Bar":
    # imported here: loading rich takes longer than training a small model
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    return Progress(
        MofNCompleteColumn(),
        BarColumn(bar_width=20),
        TimeRemainingColumn(compact=True),
        TextColumn("{task.fields[logs]}", markup=False),
        transient=True,
    )
