"""Callbacks: code of yours that runs at certain moments of a training, with Keras's names for the moments; and ready ones."""

from .backup import BackupAndRestore
from .base import HOOKS, Callback, CallbackList, LambdaCallback, Logs, State
from .files import CSVLogger, ModelCheckpoint
from .history import History
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
    "ReduceLROnPlateau",
    "State",
    "TerminateOnNaN",
]
