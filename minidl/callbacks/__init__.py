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
