"""Kill trainings at random moments, let them go on, and compare with one that was never killed: bit for bit.

    python tests/stress/kill_resume.py --times 100

Each life of a training is a process of its own. It is killed with SIGKILL, after a random time or by its own hand in the
middle of a write: with half of the bytes written, before or after they are flushed to disk, before or after the file gets its
name. The tally says where the kills hit. The exit code is 1 where anything differs.
"""

import argparse
import collections
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

import minidl
from minidl import callbacks, saving
from minidl.layers import Dense, Dropout

EPOCHS, BATCH = 6, 8


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


def live(folder: Path, save_freq: str, die_at: int) -> None:
    """Train to the end, or until the die_at-th step of a write."""
    if die_at:
        die_in_a_write(die_at)
    rng = np.random.default_rng(0)
    x = rng.normal(size=(100, 12)).astype(np.float32)
    y = (x[:, :3] + rng.normal(size=(100, 3))).argmax(axis=1)
    model = minidl.Sequential([Dense(16, activation="relu"), Dropout(0.3), Dense(3, activation="softmax")], seed=3)
    model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
    mean = Mean()
    print("begins", flush=True)
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


def die_in_a_write(count: int) -> None:
    """Let the count-th step of a write be this process's last. A write has five: see the names."""
    done = 0

    def step(name: str) -> None:
        nonlocal done
        done += 1
        if done == count:
            print(f"dies {name}", flush=True)
            os.kill(os.getpid(), signal.SIGKILL)

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


def one_life(folder: Path, save_freq: str, seconds: float | None = None, die_at: int = 0) -> str:
    """Start or go on; kill after so many seconds. Returns "" where the training ended, otherwise how it died."""
    command = [sys.executable, __file__, "--folder", str(folder), "--save-freq", save_freq, "--die-at", str(die_at)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        if seconds is not None:
            process.stdout.readline()  # it begins
            time.sleep(seconds)
            process.kill()
        output, errors = process.communicate()
    if process.returncode == -signal.SIGKILL:
        if seconds is not None:
            return "at a random time"
        return output.splitlines()[-1].removeprefix("dies ")
    if process.returncode:
        raise RuntimeError(f"a training failed:\n{errors}")
    return ""


def run(times: int, seed: int, report=print) -> int:
    """Kill so many times; a training goes on until it ends, after up to four kills. Returns how many trainings differed."""
    chance = random.Random(seed)
    hits: collections.Counter[str] = collections.Counter()
    differing = trainings = 0
    with tempfile.TemporaryDirectory() as scratch:
        reference = Path(scratch, "reference")
        reference.mkdir()
        began = time.perf_counter()
        one_life(reference, "epoch")
        expected = json.loads((reference / "result" / "result.json").read_text())
        length = 0.7 * (time.perf_counter() - began)
        while hits.total() < times:
            folder = Path(scratch, f"training {trainings}")
            folder.mkdir()
            trainings += 1
            save_freq = chance.choice(["epoch", "1", "3", "7"])
            for _ in range(chance.randint(1, min(4, times - hits.total()))):
                if chance.random() < 0.5:
                    died = one_life(folder, save_freq, seconds=chance.uniform(0, length))
                else:
                    died = one_life(folder, save_freq, die_at=chance.randint(1, 60))
                if not died:
                    break
                hits[died] += 1
            while one_life(folder, save_freq):
                pass
            result = json.loads((folder / "result" / "result.json").read_text())
            different = [name for name, value in expected.items() if result[name] != value]
            if different:
                differing += 1
                report(f"training {trainings} (seed {seed}, save_freq {save_freq}) differs in: {', '.join(different)}")
    for name, count in sorted(hits.items()):
        report(f"{count:5} killed {name}")
    report(f"{hits.total()} kills in {trainings} trainings (seed {seed}); trainings that differ: {differing}")
    return differing


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--times", type=int, default=100, help="how many kills")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)  # of one life
    parser.add_argument("--save-freq", help=argparse.SUPPRESS)
    parser.add_argument("--die-at", type=int, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.folder is not None:
        live(arguments.folder, arguments.save_freq, arguments.die_at)
    else:
        sys.exit(run(arguments.times, arguments.seed) > 0)


if __name__ == "__main__":
    main()
