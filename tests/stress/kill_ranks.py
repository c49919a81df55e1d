"""Kill one rank of a training over MPI at a random moment, resume on another number of ranks, and compare with one process.

    python tests/stress/kill_ranks.py --times 100 --count kills.json

Every life of a training is an mpiexec with 1 to 8 ranks, of which one gets SIGKILL after a random time. Afterwards no process
may be left; how long that took is reported, and how often a message named the rank. The exit code is 1 where anything differs, or
where a rank was left. --count: a file that has the numbers after every training; a second call goes on from there.
"""

import argparse
import hashlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

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


class Kill(NamedTuple):
    """lived: how many seconds the others lived on. named: whether a message named the rank."""

    lived: float
    named: bool


def one_life(folder: Path, ranks: int, chance: random.Random | None) -> Kill | None:
    """Start or go on; kill a rank in time. Returns None where the training ended."""
    for path in folder.glob("pid-*"):
        path.unlink()
    command = [str(mpiexec()), "-n", str(ranks), sys.executable, __file__, "--folder", str(folder)]
    environment = {**os.environ, "MINIDL_NUM_THREADS": "1"}
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=environment, text=True
    ) as process:
        if chance is not None:
            while process.poll() is None and len(list(folder.glob("pid-*"))) < ranks:
                time.sleep(0.01)
            time.sleep(chance.uniform(0, 2.5))
            pids = {int(path.name[4:]): int(path.read_text() or 0) for path in folder.glob("pid-*")}
            rank = chance.randrange(ranks)
            if process.poll() is None and pids.get(rank):
                os.kill(pids[rank], signal.SIGKILL)
                began = time.monotonic()
                output, _ = process.communicate()
                while any(alive(pid) for pid in pids.values()):
                    if time.monotonic() - began > 60:
                        raise RuntimeError(f"after a kill on {ranks} ranks, some live on.")
                    time.sleep(0.01)
                if process.returncode == 0 and not (folder / "through").exists():
                    raise RuntimeError("mpiexec has not noticed a kill.")
                lived = time.monotonic() - began
                return Kill(lived, f"rank {rank} of {ranks} has ended" in output) if process.returncode else None
        output, _ = process.communicate()
    if process.returncode:
        raise RuntimeError(f"a training failed:\n{output}")
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


def train(folder: Path, chance: random.Random) -> tuple[list[int], list[Kill]]:
    """A training to its end, with up to five kills: the numbers of ranks of its lives, and the kills."""
    numbers: list[int] = []
    kills: list[Kill] = []
    while not (folder / "through").exists():
        numbers.append(chance.choice(RANKS))
        kill = one_life(folder, numbers[-1], chance if len(numbers) < 6 else None)
        if kill is not None:
            kills.append(kill)
    return numbers, kills


def run(times: int, seed: int, count: Path | None) -> int:
    """Kill so many times in all; returns how many trainings differed."""
    total = {"kills": 0, "named": 0, "on several ranks": 0, "trainings": 0, "differing": 0, "slowest": 0.0}
    if count is not None and count.exists():
        total = json.loads(count.read_text())
    with tempfile.TemporaryDirectory() as scratch:
        reference = Path(scratch, "reference")
        reference.mkdir()
        one_life(reference, 1, None)
        while total["kills"] < times:
            total["trainings"] += 1
            folder = Path(scratch, f"training {total['trainings']}")
            folder.mkdir()
            numbers, kills = train(folder, random.Random(f"{seed} {total['trainings']}"))
            total["kills"] += len(kills)
            total["on several ranks"] += sum(ranks > 1 for ranks, _ in zip(numbers, kills, strict=False))
            total["named"] += sum(kill.named for kill in kills)
            total["slowest"] = max([total["slowest"], *(kill.lived for kill in kills)])
            if result(folder) != result(reference):
                total["differing"] += 1
                print(f"training {total['trainings']} (seed {seed}), on {numbers} ranks one after the other, differs")
            if count is not None:
                count.write_text(json.dumps(total))
    print(
        f"{total['kills']} kills in {total['trainings']} trainings (seed {seed}), {total['on several ranks']} of them on several "
        f"ranks, where a message named the rank {total['named']} times; the others ended within {total['slowest']:.1f} s; "
        f"trainings that differ: {total['differing']}"
    )
    return int(total["differing"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--times", type=int, default=100, help="how many kills")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--count", type=Path, help="the file that keeps the numbers")
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)  # of one life
    arguments = parser.parse_args()
    if arguments.folder is not None:
        live(arguments.folder)
    else:
        sys.exit(run(arguments.times, arguments.seed, arguments.count) > 0)


if __name__ == "__main__":
    main()
