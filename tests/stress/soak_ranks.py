"""Train, evaluate, predict, fail and save on several ranks for minutes on end; print the memory, threads and files of each.

    mpiexec -n 8 python tests/stress/soak_ranks.py --minutes 10

Most calls are fits of a few steps. Ends with status 1 where any rank has more of anything at the end than after the first fifth
of the time: memory by more than 8 MB, threads or files by any.
"""

import argparse
import contextlib
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from mpi4py import MPI
from soak import make, now

import minidl
from minidl import callbacks
from minidl.engine import runner


def fail(batch: int, logs: object) -> None:
    if minidl.distribution.rank() == minidl.distribution.size() - 1:
        raise LookupError("as planned")


def cycle(model: minidl.Sequential, folder: Path, rng: np.random.Generator) -> int:
    """Everything once; returns the number of fits."""
    x, y = rng.random((64, 14, 14, 1), np.float32), rng.integers(0, 10, 64)
    for _ in range(10):
        n = int(rng.integers(1, 65))
        model.fit(x[:n], y[:n], batch_size=32, verbose=0)
    model.evaluate(x, y, verbose=0)
    model.predict(x, verbose=0)
    with contextlib.suppress(LookupError):
        model.fit(x, y, verbose=0, callbacks=[callbacks.LambdaCallback(on_train_batch_end=fail)])
    model.fit(x, y, verbose=0, callbacks=[callbacks.ModelCheckpoint(folder / "model.safetensors")])
    return 12


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=10)
    options = parser.parse_args()
    runner.WORTH_A_THREAD = 1  # batches of this model are small, and cut all the same
    minidl.distribution.initialize()
    comm, rng, fits, lines = MPI.COMM_WORLD, np.random.default_rng(0), 0, []
    minidl.set_num_threads(2)
    model = make(0)
    start = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        while len(lines) < 11:
            fits += cycle(model, Path(folder), rng)
            seconds = comm.bcast(time.monotonic() - start)
            if seconds >= len(lines) * 6 * options.minutes:
                lines.append(comm.allgather(now()))
                if comm.rank == 0:
                    memory, threads, files = zip(*lines[-1], strict=True)
                    print(f"{seconds:6.0f} s {fits:7} fits; MB: {' '.join(f'{each:.1f}' for each in memory)};", end=" ")
                    print(f"threads: {threads}; files: {files}", flush=True)
    grown = any(
        last[0] > settled[0] + 8 or last[1] > settled[1] or last[2] > settled[2]
        for settled, last in zip(lines[2], lines[-1], strict=True)
    )
    if comm.rank == 0:
        print("something grows" if grown else "nothing grows")
    sys.exit(grown)


if __name__ == "__main__":
    main()
