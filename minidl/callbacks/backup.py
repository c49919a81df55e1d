"""BackupAndRestore: a training that was killed continues where it stopped when the same program runs again."""

import contextlib
import os
from typing import Literal

from .. import ranks, saving
from ..checks import check_flag, check_path
from ..contracts import Logs, Path
from .base import TrainingCallback
from .files import check_save_freq

FILE = "backup.safetensors"


class BackupAndRestore(TrainingCallback):
    """Keep the whole state of the training in a folder; where ``fit`` finds a backup there, it resumes from it.

    Run the same program again after a kill, a power cut or a Ctrl-C: the weights and the history end up the same, bit for bit, as
    if it had never been stopped. A backup holds the weights, the optimizer's state and learning rate, the seed and the counters
    from which shuffles and dropout follow, the place in the epoch and its sums, the history, and the state of the other
    callbacks (for your own, see Callback.get_state).

    Arguments: backup_dir: a folder for this fit alone; it is created if missing. save_freq: "epoch", or a number of batches;
    the first backup is made before the first batch. delete_checkpoint: whether the backup is removed when the training has
    ended.

    The program has to build the same model and to call ``fit`` in the same way, with the same samples; only ``epochs`` may
    differ, though not be fewer than have begun. A training that a callback stopped stays ended. The backup replaces the new
    model's weights, seed and learning rate. Where the settings differ, or the file is damaged, fit raises ValueError and leaves
    the model unchanged. Where a training resumes in the middle of an epoch, the callbacks' on_train_begin and on_epoch_begin are
    called once more, and then each gets its state back.
    """

    def __init__(
        self, backup_dir: Path, save_freq: int | Literal["epoch"] = "epoch", delete_checkpoint: bool = True
    ) -> None:
        self.backup_dir = check_path(backup_dir, "BackupAndRestore backup_dir")
        self.save_freq = check_save_freq(save_freq, "BackupAndRestore")
        self.delete_checkpoint = check_flag(delete_checkpoint, "BackupAndRestore delete_checkpoint")
        self.path = os.path.join(self.backup_dir, FILE)

    def on_train_begin(self, logs: Logs | None = None) -> None:
        assert self.training is not None
        if ranks.group.once(self._find):
            self.training.restore(self.path)
        else:
            self._save()

    def on_train_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        if self.save_freq != "epoch" and self.model.steps_trained % self.save_freq == 0:
            self._save()

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        if self.save_freq == "epoch":
            self._save()

    def on_train_end(self, logs: Logs | None = None) -> None:
        if self.delete_checkpoint:
            ranks.group.once(self._remove)

    def _find(self) -> bool:
        """Tidy the folder up; whether a backup is in it."""
        if os.path.isdir(self.backup_dir):
            saving.remove_temporaries(self.backup_dir)
        return os.path.lexists(self.path)

    def _remove(self) -> None:
        with contextlib.suppress(FileNotFoundError):
            os.remove(self.path)
        with contextlib.suppress(OSError):  # the folder holds other files
            os.rmdir(self.backup_dir)

    def _save(self) -> None:
        assert self.training is not None
        ranks.group.once(lambda: saving.make_folder(self.backup_dir, "BackupAndRestore"))
        self.training.save(self.path)
