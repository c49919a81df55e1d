"""SwapEMAWeights: evaluate with the averages of the parameters, and train on with the parameters themselves."""

from typing import TYPE_CHECKING

from ..checks import check_flag
from ..contracts import Array, Logs, ModelLike
from .base import Callback

if TYPE_CHECKING:
    from ..optimizers import Optimizer


def held(model: ModelLike) -> dict[str, Array]:
    """The parameters of frozen layers, by address."""
    frozen, ties = model.frozen(), model.ties()
    found = {f"{at}/{name}" for at, layer in model.leaves() if id(layer) in frozen for name in layer.params}
    found |= {ties[address] for address in found if address in ties}
    return {address: value for address, value in model.params.items() if address in found}


def trained(model: ModelLike) -> dict[str, Array]:
    """The parameters that training changes, by address: all but those of frozen layers."""
    frozen = held(model)
    return {address: value for address, value in model.params.items() if address not in frozen}


class SwapEMAWeights(Callback):
    """During every evaluation and prediction, give the model the averages of its parameters: those of an optimizer with
    use_ema=True.

    So the validation in the history is of the averages, which ``fit`` ends by giving to the model: before the callbacks'
    on_train_end, where EarlyStopping(restore_best_weights=True) puts back the weights of its best epoch. Those are the averages
    of that epoch with swap_on_epoch=True, and this callback before it in the list.

    Arguments: swap_on_epoch: whether the averages also stay from the end of each epoch to the beginning of the next one, for
    other callbacks to use: put ModelCheckpoint after this one in the list.
    """

    def __init__(self, swap_on_epoch: bool = False) -> None:
        self.swap_on_epoch = check_flag(swap_on_epoch, "SwapEMAWeights swap_on_epoch")

    def on_train_begin(self, logs: Logs | None = None) -> None:
        self._optimizer()  # raises now, not after an epoch

    def on_epoch_begin(self, epoch: int, logs: Logs | None = None) -> None:
        self._show_averages(False)

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        self._show_averages(self.swap_on_epoch)

    def on_test_begin(self, logs: Logs | None = None) -> None:
        self._before = self._optimizer().swapped
        self._show_averages(True)

    def on_test_end(self, logs: Logs | None = None) -> None:
        self._show_averages(self._before)

    on_predict_begin, on_predict_end = on_test_begin, on_test_end

    def _show_averages(self, shown: bool) -> None:
        optimizer = self._optimizer()
        if optimizer.swapped != shown:
            optimizer.swap_averages(trained(self.model))

    def _optimizer(self) -> "Optimizer":
        optimizer = self.model.optimizer
        if optimizer is None or not optimizer.use_ema:
            name = "Adam" if optimizer is None else type(optimizer).__name__
            raise ValueError(
                "SwapEMAWeights swaps the averages that an optimizer keeps, and this one keeps none: compile with "
                f"optimizer={name}(use_ema=True)."
            )
        return optimizer
