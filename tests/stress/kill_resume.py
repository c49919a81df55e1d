"""Kill trainings at random moments, let them go on, and compare with one that was never killed: bit for bit.

    python tests/stress/kill_resume.py --times 100 --keep kills.json

Each life of a training is a process of its own. It is ended by SIGKILL, or by a SIGTERM for which it has a handler that raises
SystemExit, as programs have that clean up when a job's time is over. Either comes after a random time, or by the process's own
hand in the middle of a write: with half of the bytes written, before or after they are flushed to disk, before or after the file
gets its name. The tally says which hit where. The exit code is 1 where anything differs, or where a life that could clean up
has left a temporary file.

With --keep the kills are counted in that file, and the next run goes on from there, with other kills, until there are so many in
all.
"""

import argparse
import contextlib
import json
import multiprocessing
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parent.parent))

from counts import Counts

import minidl
from minidl import callbacks, saving
from minidl.layers import Dense, Dropout

EPOCHS, BATCH = 6, 8
TERMINATED = 128 + signal.SIGTERM  # the exit status that shells give it


class Mean(callbacks.Callback):
    """A callback of the user's, whose state is a number that only just stays the same, and an array."""

    def on_train_begin(self, logs=None):
        self.mean, self.last = 0.0, np.zeros(2)

    def on_train_batch_end(self, batch, logs=None):
        self.mean += 0.1 * (logs["loss"] - self.mean)
        self.last[:] = self.last[1], logs["loss"]

    def get_state(self):
        return {"mean": self.mean, "last": self.last}

    def set_state(self, state):
        self.mean, self.last = state["mean"], state["last"]


def live(folder: Path, save_freq: str, by: int, die_at: int, speaker: Connection) -> None:
    """Train to the end, or until this signal comes: at the latest in the die_at-th step of a write, where that is not 0."""
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(TERMINATED))
    if die_at:
        die_in_a_write(by, die_at, speaker)
    folder.mkdir(exist_ok=True)
    rng = np.random.default_rng(0)
    x = rng.normal(size=(100, 12)).astype(np.float32)
    y = (x[:, :3] + rng.normal(size=(100, 3))).argmax(axis=1)
    model = minidl.Sequential([Dense(16, activation="relu"), Dropout(0.3), Dense(3, activation="softmax")], seed=3)
    model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
    mean = Mean()
    speaker.send("begins")
    history = model.fit(
        x,
        y,
        batch_size=BATCH,
        epochs=EPOCHS,
        validation_split=0.25,
        verbose=0,
        callbacks=[
            callbacks.BackupAndRestore(
                folder / "backup", save_freq="epoch" if save_freq == "epoch" else int(save_freq)
            ),
            callbacks.LearningRateScheduler(lambda epoch, rate: rate * 0.97),
            callbacks.ReduceLROnPlateau("val_accuracy", factor=0.7, patience=1),
            callbacks.EarlyStopping(patience=2, restore_best_weights=True),
            callbacks.CSVLogger(folder / "log.csv"),
            callbacks.ModelCheckpoint(folder / "best" / "model.safetensors", save_best_only=True),
            mean,
            callbacks.LambdaCallback(
                # so that the times to be killed at spread over batches and validations, not over imports alone
                on_train_batch_end=lambda batch, logs: time.sleep(0.002),
                on_test_batch_end=lambda batch, logs: time.sleep(0.004),
            ),
        ],
    )
    result = {
        "weights": [value.tobytes().hex() for value in model.get_weights()],
        "history": {name: [value.hex() for value in values] for name, values in history.history.items()},
        "epochs": history.epoch,
        "counters": [model.epochs_trained, model.steps_trained, model.optimizer.iterations],
        "learning rate": model.optimizer.learning_rate.hex(),
        "own callback": [mean.mean.hex(), mean.last.tobytes().hex()],
        "log": (folder / "log.csv").read_bytes().decode(),
        "checkpoint": (folder / "best" / "model.safetensors").read_bytes().hex(),
        # beside ModelCheckpoint's file a writer that was killed leaves its temporary
        "files": sorted(
            str(path.relative_to(folder))
            for path in folder.rglob("*")
            if "result" not in path.parts and path.suffix != ".tmp"
        ),
    }
    (folder / "result").mkdir(exist_ok=True)
    saving.replace(folder / "result" / "result.json", json.dumps(result).encode())
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # it has ended


def die_in_a_write(by: int, count: int, speaker: Connection) -> None:
    """Let the count-th step of a write be this process's last. A write has five: see the names."""
    done = 0

    def step(name: str) -> None:
        nonlocal done
        done += 1
        if done == count:
            speaker.send(name)
            os.kill(os.getpid(), by)

    class Torn:
        def __init__(self, file):
            self.file = file

        def __getattr__(self, name):
            return getattr(self.file, name)

        def __enter__(self):
            self.file.__enter__()
            return self

        def __exit__(self, *error):
            return self.file.__exit__(*error)

        def write(self, data):
            self.file.write(data[: len(data) // 2])
            self.file.flush()
            step("with half of the bytes written")
            self.file.write(data[len(data) // 2 :])

    real_open, real_fsync, real_replace = open, os.fsync, os.replace

    def torn_open(path, mode="r", *arguments, **named):
        file = real_open(path, mode, *arguments, **named)
        return Torn(file) if "x" in mode else file

    def fsync(descriptor):
        step("before the bytes are flushed")
        real_fsync(descriptor)
        step("after the bytes are flushed")

    def replace(source, target):
        step("before the file gets its name")
        real_replace(source, target)
        step("after the file got its name")

    saving.open, os.fsync, os.replace = torn_open, fsync, replace


def one_life(
    folder: Path, save_freq: str, by: int = signal.SIGKILL, seconds: float | None = None, die_at: int = 0
) -> str:
    """Start or go on; send the signal after so many seconds. Returns "" where the training ended, otherwise when it died.

    The process is a fork of this one, which spares it the imports and the loading of kernels.
    """
    before = temporaries(folder)
    listener, speaker = multiprocessing.Pipe(duplex=False)
    process = multiprocessing.get_context("fork").Process(target=live, args=(folder, save_freq, by, die_at, speaker))
    process.start()
    speaker.close()
    died = "at a random time"
    with contextlib.suppress(EOFError):
        listener.recv()  # it begins
        if seconds is not None:
            process.join(seconds)
            if process.is_alive():
                os.kill(process.pid, by)
        died = listener.recv()
    process.join()
    if process.exitcode not in (0, -by, TERMINATED):
        raise RuntimeError(f"a training failed, with {process.exitcode}")
    left = temporaries(folder) - before
    if process.exitcode == TERMINATED and left:
        raise RuntimeError(f"a training that was terminated {died} has left {left}")
    return died if process.exitcode else ""


def temporaries(folder: Path) -> set[Path]:
    """The files that a write has not finished."""
    return set(folder.rglob("*.tmp"))


def run(times: int, seed: int, counts: Counts, report=print) -> int:
    """Kill until there were so many kills; a training goes on until it ends, after up to four. Returns how many differed."""
    with tempfile.TemporaryDirectory() as scratch:
        _, speaker = multiprocessing.Pipe(duplex=False)
        live(Path(scratch, "first"), "epoch", signal.SIGKILL, 0, speaker)  # loads the kernels
        began = time.perf_counter()
        live(Path(scratch, "reference"), "epoch", signal.SIGKILL, 0, speaker)
        length = time.perf_counter() - began
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        expected = result_of(Path(scratch, "reference"))
        while kills(counts) < times:
            number = counts["trainings"]
            chance = random.Random(f"{seed} {number}")
            folder, save_freq = Path(scratch, f"training {number}"), chance.choice(["epoch", "1", "3", "7"])
            hits = Counts()
            for _ in range(chance.randint(1, min(4, times - kills(counts)))):
                by = chance.choice([signal.SIGKILL, signal.SIGTERM])
                how = (
                    {"seconds": chance.uniform(0, length)}
                    if chance.random() < 0.5
                    else {"die_at": chance.randint(1, 60)}
                )
                died = one_life(folder, save_freq, by, **how)
                if not died:
                    break
                hits[f"{by.name} {died}"] += 1
            while one_life(folder, save_freq):
                pass
            result = result_of(folder)
            different = [name for name, value in expected.items() if result[name] != value]
            if different:
                report(f"training {number} (seed {seed}, save_freq {save_freq}) differs in: {', '.join(different)}")
            else:
                shutil.rmtree(folder)
            counts.update(hits, trainings=1, differing=bool(different))
            counts.keep()
    for name, count in sorted(counts.items()):
        if name.startswith("SIG"):
            report(f"{count:5} {name}")
    report(
        f"{kills(counts)} kills in {counts['trainings']} trainings (seed {seed}); that differ: {counts['differing']}"
    )
    return counts["differing"]


def kills(counts: Counts) -> int:
    return sum(count for name, count in counts.items() if name.startswith("SIG"))


def result_of(folder: Path) -> dict[str, object]:
    """What came of a training."""
    return json.loads((folder / "result" / "result.json").read_text())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--times", type=int, default=100, help="how many kills in all (default: 100)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--keep", type=Path, metavar="FILE", help="go on from the counts in this file, and keep them there"
    )
    arguments = parser.parse_args()
    sys.exit(run(arguments.times, arguments.seed, Counts(arguments.keep)) > 0)


if __name__ == "__main__":
    main()
