"""History: what fit returns, the loss and metrics of every epoch, and their curves."""

from typing import TYPE_CHECKING

from ..contracts import Logs, Path
from ..utils import html
from .base import Callback, State, checked_entry

if TYPE_CHECKING:
    from matplotlib.figure import Figure


class History(Callback):
    """What ``fit`` returns: the loss and metrics of every epoch.

    Attributes: history: name → list with one number per epoch, names in alphabetical order. epoch: the epochs' numbers. epochs:
    name → the epochs of its numbers: a callback may log something in some epochs only. params: the training's settings.
    """

    def __init__(self) -> None:
        self.history: dict[str, list[float]] = {}
        self.epoch: list[int] = []
        self.epochs: dict[str, list[int]] = {}

    def on_train_begin(self, logs: Logs | None = None) -> None:
        self.history, self.epoch, self.epochs = {}, [], {}

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        self.epoch.append(epoch)
        for name, value in sorted((logs or {}).items()):
            self.history.setdefault(name, []).append(value)
            self.epochs.setdefault(name, []).append(epoch)

    def get_state(self) -> State:
        return {"epoch": self.epoch, "history": self.history, "epochs": self.epochs}

    def set_state(self, state: State) -> None:
        epoch, history = checked_entry(state, "epoch", list), checked_entry(state, "history", dict)
        # 0.1.0 did not note them
        epochs = checked_entry({"epochs": dict.fromkeys(history, epoch), **state}, "epochs", dict)
        lists = [epoch, *history.values(), *epochs.values()]
        if not all(isinstance(each, list) for each in lists) or not all(
            isinstance(number, int) for each in (epoch, *epochs.values()) for number in each
        ):
            raise ValueError("the history's state must be a list of epochs, and a list of numbers a name.")
        if {name: len(each) for name, each in epochs.items()} != {name: len(each) for name, each in history.items()}:
            raise ValueError("the history's state must have an epoch for each number.")
        self.epoch, self.history, self.epochs = epoch, history, epochs

    def _repr_html_(self) -> str:
        """The epochs as a table, for a notebook."""
        # users put numbers of their own into the history
        columns = [
            dict(zip(self.epochs.get(name, self.epoch), values, strict=False)) for name, values in self.history.items()
        ]
        rows = [
            [str(epoch + 1), *(f"{column[epoch]:.4g}" if epoch in column else "" for column in columns)]
            for epoch in self.epoch
        ]
        return html.table("History", [["epoch", *self.history], *rows])

    def plot(self, path: Path | None = None) -> "Figure":
        """Draw a panel for the loss and for each metric, with training and validation; write it to ``path`` if given.

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
        for axis, name in zip(axes[0], names, strict=True):
            for each, label in ((name, "training"), (f"val_{name}", "validation")):
                if each in self.history:
                    epochs = [epoch + 1 for epoch in self.epochs.get(each, self.epoch)]
                    axis.plot(epochs, self.history[each], marker="o", markersize=3, label=label)
            axis.set(title=name, xlabel="epoch")
            axis.xaxis.set_major_locator(MaxNLocator(integer=True))
            axis.grid(alpha=0.3)
            axis.legend()
        if path is not None:
            figure.savefig(path, dpi=120)
            plt.close(figure)  # pyplot would keep it open, and warn when there are many
        return figure
