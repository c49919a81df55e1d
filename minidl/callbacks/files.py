"""Callbacks that write files: the model, at its best or after every epoch, and one line of logs per epoch."""

import contextlib
import csv
import io
import os
import string
from collections.abc import Iterator
from typing import Literal

from .. import ranks, saving
from ..checks import check_count, check_flag, check_number, check_path, is_integer
from ..contracts import Logs, Path
from ..utils.terminal import printable
from .base import Callback, State, checked_entry
from .monitor import Monitor


def check_save_freq(value: object, owner: str) -> int | Literal["epoch"]:
    """The value, where it is "epoch" or a positive number of batches."""
    if value == "epoch" and isinstance(value, str):
        return "epoch"
    if not is_integer(value) or value < 1:
        raise ValueError(f"{owner} save_freq must be 'epoch' or a number of batches, received {value!r}.")
    return int(value)


def _check_template(path: str) -> None:
    """Raise ValueError where the path cannot be filled in, whatever the logs hold."""
    try:
        fields = [name for _, name, _, _ in string.Formatter().parse(path) if name is not None]
        if not all(name.isidentifier() for name in fields):
            raise ValueError("a pair of braces must hold a name")
        path.format(**{name: 1 if name in ("epoch", "batch") else 1.0 for name in fields})
    except (ValueError, LookupError, AttributeError) as error:
        raise ValueError(
            f"ModelCheckpoint filepath {path!r} cannot be filled in: {error}. Write names as in "
            "'{epoch:02d}-{val_loss:.2f}.safetensors'."
        ) from None


class ModelCheckpoint(Monitor):
    """Save the model at the end of every epoch, or only when ``monitor`` has become better.

    Arguments: filepath: may hold {epoch}, which counts from 1, {batch} where save_freq is a number, and any name in the logs,
    as in "{epoch:02d}-{val_loss:.2f}.safetensors"; missing folders are created. monitor, mode: what "better" means. verbose: 1
    prints what it does. save_best_only: skip models that are not better than all before. save_weights_only: write with
    model.save_weights instead of model.save. save_freq: "epoch", or a number of batches. initial_value_threshold: what the first
    model must be better than.

    A file is replaced completely or not at all; a process that is killed while it writes leaves a ".minidl-….tmp" beside it,
    which may be removed when no training writes there. The best value is kept from one ``fit`` to the next.
    """

    def __init__(
        self,
        filepath: Path,
        monitor: str = "val_loss",
        verbose: int = 0,
        save_best_only: bool = False,
        save_weights_only: bool = False,
        mode: str = "auto",
        save_freq: int | Literal["epoch"] = "epoch",
        initial_value_threshold: float | None = None,
    ) -> None:
        # where everything is saved, "better" need not be defined
        super().__init__(monitor, mode if save_best_only or mode != "auto" else "min")
        # all of this now, and not after the first epoch
        self.filepath = check_path(filepath, f"{self} filepath")
        saving.check_suffix(filepath, "the model")
        _check_template(self.filepath)
        self.verbose = check_count(verbose, f"{self} verbose")
        self.save_best_only = check_flag(save_best_only, f"{self} save_best_only")
        self.save_weights_only = check_flag(save_weights_only, f"{self} save_weights_only")
        self.save_freq = check_save_freq(save_freq, "ModelCheckpoint")
        threshold = initial_value_threshold
        self.best = None if threshold is None else check_number(threshold, f"{self} initial_value_threshold")
        self.batches_since = 0
        self.epoch = 0

    def on_epoch_begin(self, epoch: int, logs: Logs | None = None) -> None:
        self.epoch = epoch

    def on_train_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        if self.save_freq == "epoch":
            return
        self.batches_since += 1
        if self.batches_since >= self.save_freq:
            self.batches_since = 0
            self._save({"batch": batch + 1, **(logs or {})})

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        if self.save_freq == "epoch":
            self._save(logs or {})

    def _save(self, logs: Logs) -> None:
        names = {"epoch": self.epoch + 1, **logs}
        try:
            path = self.filepath.format(**names)
        except KeyError as error:
            raise ValueError(
                f"ModelCheckpoint filepath {self.filepath!r} names {error}. There are: {', '.join(map(printable, names))}."
            ) from None
        text = f"Epoch {self.epoch + 1}: "
        if self.save_best_only:
            current = self.watched(logs)
            if current is not None:
                best = "None" if self.best is None else f"{self.best:.5f}"
                if not self.improved(current, self.best):
                    if self.verbose:
                        ranks.say(f"{text}{self.monitor} did not improve from {best}")
                    return
                text += f"{self.monitor} improved from {best} to {current:.5f}, "
                self.best = current
        if self.verbose:
            ranks.say(f"{text}saving model to {path}")
        ranks.group.once(lambda: saving.make_folder(os.path.dirname(path) or ".", "ModelCheckpoint"))
        if self.save_weights_only:
            self.model.save_weights(path)
        else:
            self.model.save(path)

    def get_state(self) -> State:
        return {"best": self.best, "batches_since": self.batches_since, "epoch": self.epoch}

    def set_state(self, state: State) -> None:
        best = checked_entry(state, "best", float, int, type(None))
        batches, epoch = checked_entry(state, "batches_since", int), checked_entry(state, "epoch", int)
        self.best, self.batches_since, self.epoch = best, batches, epoch


class CSVLogger(Callback):
    """Write one line per epoch: its number, from 0, and its logs; the first line has the names, in alphabetical order.

    Arguments: filename: the file. separator: between two entries. append: True appends to an existing file, False replaces it.
    Missing values become NA; without validation the columns for it are there all the same, as in Keras.

    Every line is on disk when its epoch has ended. Where another program empties or removes the file meanwhile, it gets a new
    header; a last line that was cut short, by a full disk for one, is ended before the first is appended. Raises OSError where
    the file cannot be written.
    """

    def __init__(self, filename: Path, separator: str = ",", append: bool = False) -> None:
        self.filename = check_path(filename, "CSVLogger filename")
        if not isinstance(separator, str) or len(separator) != 1 or separator in '\r\n"':
            raise ValueError(
                f"CSVLogger separator must be one character, and no quote or end of line, received {separator!r}."
            )
        self.separator = separator
        self.append = check_flag(append, "CSVLogger append")
        self.length = 0  # valid bytes of the file; any that follow belong to epochs that are trained again
        self.names: list[str] | None = None

    def on_train_begin(self, logs: Logs | None = None) -> None:
        size = ranks.group.once(self._open)  # raises now if the file cannot be written
        self.length = size if self.append else 0
        self.names = None

    def _open(self) -> int:
        """Make the file where there is none, and end its last line; the bytes that it holds."""
        with self._naming_the_file(), open(self.filename, "ab") as file:
            size = os.path.getsize(self.filename)
            if self.append and size > 0 and not self._special() and self._last_byte() not in b"\r\n":
                size += file.write(b"\r\n")
        return size

    @contextlib.contextmanager
    def _naming_the_file(self) -> Iterator[None]:
        """An OSError, such as that of a full disk, may name neither the callback nor the file."""
        try:
            yield
        except OSError as error:
            what = f"CSVLogger cannot write: {error.strerror or error}"
            raise OSError(error.errno, what, self.filename) from error

    def _last_byte(self) -> bytes:
        """Nothing, where the file may only be written."""
        with contextlib.suppress(PermissionError), open(self.filename, "rb") as file:
            file.seek(-1, os.SEEK_END)
            return file.read()
        return b""

    def on_epoch_begin(self, epoch: int, logs: Logs | None = None) -> None:
        self.length = ranks.group.once(lambda: self._write(""))

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        logs = logs or {}
        text = io.StringIO()
        writer = csv.writer(text, delimiter=self.separator)
        if self.names is None:
            self.names = sorted(logs)
            if not any(name.startswith("val_") for name in self.names):
                self.names += [f"val_{name}" for name in self.names]
        if ranks.group.once(self._valid) == 0:
            writer.writerow(["epoch", *self.names])
        writer.writerow([epoch, *(logs.get(name, "NA") for name in self.names)])
        self.length = ranks.group.once(lambda: self._write(text.getvalue()))

    def _special(self) -> bool:
        """Whether it is no file that has a length, but /dev/null, a terminal or a pipe."""
        return os.path.exists(self.filename) and not os.path.isfile(self.filename)

    def _valid(self) -> int:
        """How many bytes of the file are valid; fewer than there were where another program has emptied or removed it."""
        if self._special():
            return self.length
        return min(self.length, os.path.getsize(self.filename) if os.path.exists(self.filename) else 0)

    def _write(self, text: str) -> int:
        """Write the text after the valid bytes; how many are valid then."""
        data = text.encode()
        with self._naming_the_file():
            length = self._valid()
            with open(self.filename, "ab") as file:
                if not self._special():
                    file.truncate(length)
                file.write(data)
                file.flush()
                if not self._special():
                    os.fsync(file.fileno())
        return length + len(data)

    def get_state(self) -> State:
        return {"length": self.length, "names": self.names}

    def set_state(self, state: State) -> None:
        length, names = checked_entry(state, "length", int), checked_entry(state, "names", list, type(None))
        size = length if self._special() else ranks.group.once(lambda: os.path.getsize(self.filename))
        if not 0 <= length <= size:
            raise ValueError(
                f"CSVLogger: '{self.filename}' holds {size} bytes, but {length} were written before the training was "
                "interrupted. Put the old file back."
            )
        if names is not None and not all(isinstance(name, str) for name in names):
            raise ValueError(f"CSVLogger: the names of the columns must be strings, received {names!r:.200}.")
        self.length, self.names = length, names
