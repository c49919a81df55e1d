"""Train, evaluate, predict, fail, save and load for hours on end, and print memory, threads and open files as time goes by.

    python tests/stress/soak.py --fits 100000 --keep soak.json

Most calls are fits of one step. Ends with status 1 where there is more of anything at the end than after the first fifth of
the fits: memory by more than 8 MB, threads or files by any. With --keep the fits are counted in that file, and the next run goes
on from there, in a new process, until there are so many in all.
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

sys.path.insert(0, str(Path(__file__).parent.parent))

from counts import Counts

from minidl import Sequential, load_model, set_num_threads
from minidl.engine import runner
from minidl.layers import Conv2D, Dense, Dropout, Flatten, MaxPooling2D

MEGABYTE = 2**20
FITS = 20  # of a cycle
LINE = 5000  # fits between two lines at most, so that a run that is stopped has said something


def make(seed: int) -> Sequential:
    layers = [
        Conv2D(8, (3, 3), activation="relu", input_shape=(8, 8, 1)),
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


def cycle(model: Sequential, x: np.ndarray, y: np.ndarray, rng: np.random.Generator) -> None:
    """Fits of one step, and what else is done with a model; the last fit fails, because one sample is not a number."""
    for _ in range(FITS):
        n = int(rng.integers(1, len(x) + 1))
        model.fit(x[:n], y[:n], verbose=0)
    model.evaluate(x, y, verbose=0)
    model.predict(x, verbose=0)
    bad = x.copy()
    bad[-1] = np.nan
    with contextlib.suppress(ValueError):
        model.fit(bad, y, verbose=0)


def changed(model: Sequential, path: Path, x: np.ndarray, y: np.ndarray, cycles: int) -> Sequential:
    """The model saved and loaded, on another number of threads, and while one trains in a thread of the user's; or a new one."""
    if cycles % 100 == 0:
        return make(cycles)
    model.save(path)
    model = load_model(path)
    set_num_threads(1 + cycles // 10 % 3)
    other = threading.Thread(target=make(1).fit, args=(x, y), kwargs={"verbose": 0})
    other.start()
    model.fit(x, y, verbose=0)
    other.join()
    return model


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--fits", type=int, default=50_000, help="how many in all (default: 50000)")
    parser.add_argument(
        "--keep", type=Path, metavar="FILE", help="go on from the counts in this file, and keep them there"
    )
    options = parser.parse_args()
    runner.WORTH_A_THREAD = 1  # batches of this model are small, and cut all the same: it is about the threads, too
    counts = Counts(options.keep)
    total = -(-(options.fits - counts["fits"]) // FITS)
    if total <= 0:
        sys.exit(f"{counts['fits']} fits have been made already: ask for more with --fits.")
    rng = np.random.default_rng(counts["fits"])
    x, y = rng.random((32, 8, 8, 1), np.float32), rng.integers(0, 10, 32)
    model, cycles, lines, start = make(0), 0, [], time.monotonic()
    every = min(total / 10, LINE / FITS)  # cycles between two lines
    print(f"{'seconds':>8} {'fits':>8} {'MB':>8} {'threads':>8} {'files':>6}")
    with tempfile.TemporaryDirectory() as folder:
        while cycles <= total:
            if cycles >= len(lines) * every:
                set_num_threads(2)
                model.fit(x, y, verbose=0)
                time.sleep(0.5)  # for threads that are about to end
                lines.append(now())
                size, threads, files = lines[-1]
                print(
                    f"{time.monotonic() - start:8.0f} {counts['fits']:8} {size:8.1f} {threads:8} {files:6}", flush=True
                )
            cycle(model, x, y, rng)
            cycles += 1
            counts["fits"] += FITS
            if cycles % 10 == 0:
                model = changed(model, Path(folder) / "model.safetensors", x, y, cycles)
                counts.keep()
    settled, last = lines[len(lines) // 5], lines[-1]
    grown = last[0] > settled[0] + 8 or last[1] > settled[1] or last[2] > settled[2]
    counts["runs"] += 1
    counts["runs in which something grew"] += grown
    counts.keep()
    print("something grows" if grown else "nothing grows")
    sys.exit(grown)


if __name__ == "__main__":
    main()
