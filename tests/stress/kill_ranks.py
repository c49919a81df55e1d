"""Kill one rank of a training over MPI at a random moment, resume on another number of ranks, and compare with one process.

    python tests/stress/kill_ranks.py --times 100

Every life of a training is an mpiexec with 1 to 8 ranks, of which one gets SIGKILL after a random time. Afterwards no process
may be left; how long that took is reported. The exit code is 1 where anything differs, or where a rank was left.
"""

import argparse
import hashlib
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

import minidl
from minidl import callbacks
from minidl.engine import runner
from minidl.layers import Dense, Dropout

RANKS = (1, 2, 3, 4, 8)


def live(folder: Path) -> None:
    """Train to the end, from the last backup if there is one."""
    runner.WORTH_A_THREAD = 1  # otherwise batches of so small a model are not cut
    minidl.distribution.initialize()
    (folder / f"pid-{minidl.distribution.rank()}").write_text(str(os.getpid()))
    rng = np.random.default_rng(0)
    x = rng.normal(size=(3000, 12)).astype(np.float32)
    y = (x[:, :3] + rng.normal(size=(3000, 3))).argmax(axis=1)
    model = minidl.Sequential([Dense(16, activation="relu"), Dropout(0.3), Dense(3, activation="softmax")], seed=3)
    model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
    history = model.fit(
        x,
        y,
        batch_size=700,
        epochs=8,
        validation_split=0.25,
        verbose=0,
        callbacks=[
            callbacks.BackupAndRestore(folder / "backup", save_freq=2),
            callbacks.ReduceLROnPlateau("val_accuracy", factor=0.7, patience=1),
            callbacks.CSVLogger(folder / "log.csv"),
            callbacks.LambdaCallback(on_train_batch_end=lambda batch, logs: time.sleep(0.02)),
        ],
    )
    if minidl.distribution.rank() == 0:
        model.save(folder / "model.safetensors")
        (folder / "history").write_text(repr(history.history))
        (folder / "through").touch()


def one_life(folder: Path, ranks: int, kill: random.Random | None) -> float | None:
    """Start or go on; kill a rank in time. Returns how long the others lived after it; None where the training ended."""
    for path in folder.glob("pid-*"):
        path.unlink()
    command = [str(mpiexec()), "-n", str(ranks), sys.executable, __file__, "--folder", str(folder)]
    environment = {**os.environ, "MINIDL_NUM_THREADS": "1"}
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=environment) as process:
        if kill is not None:
            while process.poll() is None and len(list(folder.glob("pid-*"))) < ranks:
                time.sleep(0.01)
            time.sleep(kill.uniform(0, 2.5))
            pids = [int(path.read_text() or 0) for path in folder.glob("pid-*")]
            if process.poll() is None:
                os.kill(kill.choice(pids), signal.SIGKILL)
                began = time.monotonic()
                output, _ = process.communicate()
                while any(alive(pid) for pid in pids):
                    if time.monotonic() - began > 60:
                        raise RuntimeError(f"after a kill on {ranks} ranks, some live on.")
                    time.sleep(0.01)
                if process.returncode == 0 and not (folder / "through").exists():
                    raise RuntimeError("mpiexec has not noticed a kill.")
                return time.monotonic() - began if process.returncode else None
        output, _ = process.communicate()
    if process.returncode:
        raise RuntimeError(f"a training failed:\n{output.decode()}")
    return None


def alive(pid: int) -> bool:
    """Whether a process runs; one that has ended, and for which nobody has waited yet, does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def mpiexec() -> str | None:
    """The one beside this Python, if there is one."""
    beside = Path(sys.executable).with_name("mpiexec")
    return str(beside) if beside.exists() else shutil.which("mpiexec")


def result(folder: Path) -> list[str]:
    """What came of a training."""
    names = ("model.safetensors", "history", "log.csv")
    return [hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in names]


def run(times: int, seed: int, report=print) -> int:
    """Kill so many times; returns how many trainings differed."""
    chance = random.Random(seed)
    kills = trainings = differing = 0
    slowest = 0.0
    with tempfile.TemporaryDirectory() as scratch:
        reference = Path(scratch, "reference")
        reference.mkdir()
        one_life(reference, 1, None)
        while kills < times:
            folder = Path(scratch, f"training {trainings}")
            folder.mkdir()
            trainings += 1
            numbers = []
            while not (folder / "through").exists():
                numbers.append(chance.choice(RANKS))
                lived = one_life(folder, numbers[-1], chance if kills < times and len(numbers) < 6 else None)
                if lived is not None:
                    kills, slowest = kills + 1, max(slowest, lived)
            if result(folder) != result(reference):
                differing += 1
                report(f"training {trainings} (seed {seed}), on {numbers} ranks one after the other, differs")
    report(
        f"{kills} kills in {trainings} trainings (seed {seed}); the others ended within {slowest:.1f} s; "
        f"trainings that differ: {differing}"
    )
    return differing


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--times", type=int, default=100, help="how many kills")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)  # of one life
    arguments = parser.parse_args()
    if arguments.folder is not None:
        live(arguments.folder)
    else:
        sys.exit(run(arguments.times, arguments.seed) > 0)


if __name__ == "__main__":
    main()
