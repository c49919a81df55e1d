"""Callbacks: your code, called at certain moments of a training, with Keras's names for them; and ready-made ones."""

from ..contracts import Logs
from .averages import SwapEMAWeights
from .backup import BackupAndRestore
from .base import HOOKS, Callback, CallbackList, LambdaCallback, State, one_by_one
from .files import CSVLogger, ModelCheckpoint
from .history import History
from .progress import Progress, check_verbose
from .rates import LearningRateScheduler, ReduceLROnPlateau
from .stopping import EarlyStopping, TerminateOnNaN

ABSENT = {
    "TensorBoard": "minidl has no TensorBoard: CSVLogger('log.csv') writes the numbers of each epoch to a file.",
    "ProgbarLogger": "minidl has no ProgbarLogger: fit shows a bar by itself, and a line for each epoch with verbose=2.",
}


def __getattr__(name: str) -> None:
    """What to use for a name of Keras's that is not here."""
    raise AttributeError(ABSENT.get(name, f"module {__name__!r} has no attribute {name!r}"))


__all__ = [
    "HOOKS",
    "BackupAndRestore",
    "CSVLogger",
    "Callback",
    "CallbackList",
    "EarlyStopping",
    "History",
    "LambdaCallback",
    "LearningRateScheduler",
    "Logs",
    "ModelCheckpoint",
    "Progress",
    "ReduceLROnPlateau",
    "State",
    "SwapEMAWeights",
    "TerminateOnNaN",
    "check_verbose",
    "one_by_one",
]
