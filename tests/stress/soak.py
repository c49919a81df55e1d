"""Train, evaluate, predict, fail, save and load for minutes on end, and print memory, threads and open files as time goes by.

    python tests/stress/soak.py --minutes 10

Most calls are fits of one step. Ends with status 1 where there is more of anything at the end than after the first fifth of
the time: memory by more than 8 MB, threads or files by any.
"""

import argparse
import contextlib
import gc
import os
import sys
import tempfile
import threading
import time
from pathlib import Path

import numpy as np

from minidl import Sequential, load_model, set_num_threads
from minidl.engine import runner
from minidl.layers import Conv2D, Dense, Dropout, Flatten, MaxPooling2D

MEGABYTE = 2**20


def make(seed: int) -> Sequential:
    layers = [
        Conv2D(8, (3, 3), activation="relu", input_shape=(14, 14, 1)),
        MaxPooling2D(),
        Dropout(0.2),
        Flatten(),
        Dense(32, activation="relu"),
        Dense(10, activation="softmax"),
    ]
    model = Sequential(layers, seed=seed)
    model.compile(loss="sparse_categorical_crossentropy", optimizer="adam", metrics=["accuracy"])
    return model


def memory() -> float:
    """MB that are in RAM."""
    pages = int(Path("/proc/self/statm").read_text("ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / MEGABYTE


def now() -> tuple[float, int, int]:
    """Memory in MB, the system's threads, open files."""
    gc.collect()
    return memory(), len(os.listdir("/proc/self/task")), len(os.listdir("/proc/self/fd"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=10)
    options = parser.parse_args()
    runner.WORTH_A_THREAD = 1  # batches of this model are small, and cut all the same: it is about the threads, too
    rng = np.random.default_rng(0)
    x, y = rng.random((64, 14, 14, 1), np.float32), rng.integers(0, 10, 64)
    bad = x.copy()
    bad[63] = np.nan
    model, fits, cycle, lines = make(0), 0, 0, []
    start, end = time.monotonic(), time.monotonic() + 60 * options.minutes
    print(f"{'seconds':>8} {'fits':>8} {'MB':>8} {'threads':>8} {'files':>6}")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.safetensors"
        while time.monotonic() < end:
            cycle += 1
            for _ in range(20):
                n = int(rng.integers(1, 65))
                model.fit(x[:n], y[:n], batch_size=64, verbose=0)
                fits += 1
            model.evaluate(x, y, verbose=0)
            model.predict(x, verbose=0)
            with contextlib.suppress(ValueError):
                model.fit(bad, y, verbose=0)
            if cycle % 10 == 0:
                model.save(path)
                model = load_model(path)
                set_num_threads(1 + cycle // 10 % 3)
                threading.Thread(target=make(1).fit, args=(x, y), kwargs={"verbose": 0}).start()
                model.fit(x, y, verbose=0)
            if cycle % 100 == 0:
                model = make(cycle)
            if time.monotonic() - start >= len(lines) * 6 * options.minutes:  # eleven lines
                set_num_threads(2)
                model.fit(x, y, verbose=0)
                time.sleep(0.5)  # for threads that are about to end
                lines.append(now())
                print(
                    f"{time.monotonic() - start:8.0f} {fits:8} {lines[-1][0]:8.1f} {lines[-1][1]:8} {lines[-1][2]:6}",
                    flush=True,
                )
    settled, last = lines[2], lines[-1]
    grown = last[0] > settled[0] + 8 or last[1] > settled[1] or last[2] > settled[2]
    print("something grows" if grown else "nothing grows")
    sys.exit(grown)


if __name__ == "__main__":
    main()
