"""What this machine could do at best: matrix products and memory bandwidth, and how far from it everybody's epoch is.

    python -m benchmarks.limits         # after benchmarks.race, to compare its epochs with the limit

A matrix product of two large float32 matrices is the fastest arithmetic that a library can hope for. With several threads each
has a product of its own, and BLAS itself has one thread: that is how minidl runs.
"""

import os
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from rich.console import Console
from threadpoolctl import threadpool_limits

from minidl.ops.kernels.jit import jit

from .contestants import CONTESTANTS
from .flops import cost_table, training_flops
from .models import MODELS
from .results import Part, Results, main, parser
from .summary import ranking
from .tables import Table, approximate, number

SIZES = (256, 512, 1024, 2048)  # of the matrices
REPEATS = 5
STREAM = 16 * 2**20  # floats in an array of the bandwidth test: 64 MiB, far more than a cache


def best_rate(work: Callable[[int], float], threads: int, repeats: int) -> float:
    """The best of some repeats. work(thread) does one thread's part and returns how much it did; the result is that a second."""
    best = 0.0
    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(work, range(threads)))
        for _ in range(repeats):
            begin = time.perf_counter()
            amount = sum(pool.map(work, range(threads)))
            best = max(best, amount / (time.perf_counter() - begin))
    return best


def matmul_rate(size: int, threads: int, repeats: int) -> float:
    """Floating-point operations a second of float32 products of this size, one at a time in each thread."""
    rng = np.random.default_rng(1)
    operands = [rng.random((3, size, size), dtype=np.float32) for _ in range(threads)]
    often = max(1, (1024 // size) ** 3)  # small ones are over too soon to be timed alone

    def work(thread: int) -> float:
        a, b, out = operands[thread]
        for _ in range(often):
            np.matmul(a, b, out=out)
        return 2.0 * size**3 * often

    return best_rate(work, threads, repeats)


@jit
def _triad(a, b, c, factor):
    for i in range(a.size):
        a[i] = b[i] + factor * c[i]


def bandwidth(threads: int, repeats: int) -> dict[str, float]:
    """Bytes a second, read and written together: copy (b → a) and triad (a = b + s · c)."""
    arrays = [np.ones((3, STREAM // threads), np.float32) for _ in range(threads)]
    factor = np.float32(0.5)

    def copy(thread: int) -> float:
        a, b, _ = arrays[thread]
        np.copyto(a, b)
        return 2.0 * a.nbytes

    def triad(thread: int) -> float:
        a, b, c = arrays[thread]
        _triad(a, b, c, factor)
        return 3.0 * a.nbytes

    return {"copy": best_rate(copy, threads, repeats), "triad": best_rate(triad, threads, repeats)}


def thread_counts() -> list[int]:
    """1, 2, 4, … and all cores that this process may use."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return sorted({2**power for power in range(cores.bit_length())} | {cores})


def measure(results: Results, settings: dict[str, Any], console: Console) -> None:
    """Fill the part "limits": a record a number of threads."""
    results.begin("limits", settings)
    sizes, repeats = (SIZES[:2], 2) if settings["quick"] else (SIZES, REPEATS)
    with threadpool_limits(1):
        for threads in sorted({*thread_counts(), settings["threads"]}):
            matmul = {str(size): matmul_rate(size, threads, repeats) for size in sizes}
            results.add("limits", {"threads": threads, "matmul": matmul} | bandwidth(threads, repeats))
            console.print(f"{threads} threads: {number(max(matmul.values()) / 1e9)} GFLOP/s")


def peak(part: dict[str, Any], threads: int) -> float | None:
    """FLOP/s of the best matrix product with so many threads; None where it was not measured."""
    return next((max(r["matmul"].values()) for r in part["records"] if r["threads"] == threads), None)


def limit_table(part: dict[str, Any]) -> Table:
    """What the machine can do."""
    sizes = list(part["records"][0]["matmul"])
    rows = [
        (
            str(record["threads"]),
            *(number(record["matmul"][size] / 1e9) for size in sizes),
            number(record["copy"] / 1e9),
            number(record["triad"] / 1e9),
        )
        for record in part["records"]
    ]
    one, most = part["records"][0], part["records"][-1]
    if len(part["records"]) > 1:
        gains = [number(most["matmul"][size] / one["matmul"][size]) for size in sizes]
        rows.append(("gain", *gains, *(number(most[kind] / one[kind]) for kind in ("copy", "triad"))))
    header = ("threads", *(f"matmul {size}, GFLOP/s" for size in sizes), "copy, GB/s", "triad, GB/s")
    return Table("The machine at its best", header, rows)


def distance_table(limits: dict[str, Any], race: dict[str, Any]) -> Table:
    """Each contestant's epoch as a multiple of the time that its multiply-adds take at the peak of the matrix product."""
    settings = race["settings"]
    rate = peak(limits, settings["threads"])
    models = settings["models"]
    least = {name: training_flops(MODELS[name]) * settings["samples"] / rate if rate else None for name in models}
    rows = [("the limit, s an epoch", *(number(least[name]) for name in models))]
    for contestant in settings["contestants"]:
        cells = []
        for name in models:
            found, limit = dict(ranking(race, name))[contestant], least[name]
            known = "problem" not in found and limit
            cells.append(approximate(number(found["epoch"] / limit), found["scaled"]) if known else "–")
        rows.append((f"{CONTESTANTS[contestant].title}, times the limit", *cells))
    header = ("", *(MODELS[name].title for name in models))
    return Table(f"Epochs against the limit of {settings['threads']} threads", header, rows)


def tables(parts: dict[str, Any]) -> list[Table]:
    """The machine, the models, and, after a race, the contestants."""
    found = [limit_table(parts["limits"]), *map(cost_table, MODELS.values())]
    return [*found, distance_table(parts["limits"], parts["race"])] if "race" in parts else found


PART = Part("limits", parser(__doc__), {}, measure, tables)

if __name__ == "__main__":
    main(PART)
