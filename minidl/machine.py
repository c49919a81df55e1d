"""The machine: what it is, what it could do at best, and how to keep a measurement on processors of its own.

For those who measure; nothing in the library needs it.
"""

import contextlib
import os
import platform
import subprocess
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import numpy as np
from threadpoolctl import threadpool_info

from . import __version__
from .contracts import Array
from .ops.kernels.jit import jit
from .utils.processors import available

STREAM = 16 * 2**20  # floats in an array of the bandwidth test: 64 MiB, far more than a cache
CPUS = "/sys/devices/system/cpu"


def describe() -> dict[str, str]:
    """The machine and the versions of what computes on it, as texts for a table."""
    available, blas = thread_counts()[-1], [found for found in threadpool_info() if found["user_api"] == "blas"]
    return {
        "processor": processor(),
        "cores": f"{available} available of {os.cpu_count()}",
        "memory": _memory(),
        "power": _power(),
        "frequency governor": _read(f"{CPUS}/cpu0/cpufreq/scaling_governor") or "not readable",
        "load average before": f"{os.getloadavg()[0]:.1f}" if hasattr(os, "getloadavg") else "not readable",
        "begun": f"{datetime.now(UTC):%Y-%m-%d}",
        "system": platform.platform(),
        "Python": platform.python_version(),
        "minidl": __version__,
        **{name: version(name) for name in ("numpy", "numba", "llvmlite", "threadpoolctl")},
        "BLAS": "; ".join(f"{b['internal_api']} {b['version']} {b.get('architecture', '')}".strip() for b in blas),
    }


def processor() -> str:
    """Its name, and where the system tells them its family and model: some names stand for several generations."""
    fields: dict[str, str] = {}
    for line in _read("/proc/cpuinfo").splitlines():
        key, _, value = line.partition(":")
        fields.setdefault(key.strip(), value.strip())  # those of the first processor
    name = fields.get("model name", "")
    if not name and platform.system() == "Darwin":
        command = ["sysctl", "-n", "machdep.cpu.brand_string"]
        name = subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()
    if not name:
        return platform.processor() or platform.machine()
    if "cpu family" in fields and "model" in fields:
        return f"{name}, family {fields['cpu family']}, model {fields['model']}"
    return name


def _memory() -> str:
    lines = [line for line in _read("/proc/meminfo").splitlines() if line.startswith("MemTotal")]
    return f"{int(lines[0].split()[1]) / 2**20:.0f} GiB" if lines else "not readable"


def _power() -> str:
    """A laptop on its battery computes slowly."""
    states = [_read(str(path)) for path in Path("/sys/class/power_supply").glob("*/online")]
    return ("mains" if "1" in states else "battery") if states else "not readable"


def _read(path: str) -> str:
    """The text of a file, or nothing where there is none."""
    try:
        return Path(path).read_text().strip()
    except OSError:
        return ""


def thread_counts() -> list[int]:
    """1, 2, 4, … and all processors that this process may use."""
    most = available()
    return sorted({2**power for power in range(most.bit_length())} | {most})


def processors(threads: int) -> tuple[int, ...]:
    """So many of the processors that this process may use, by number; without any where the system cannot say.

    Those with the highest clock come first, and of each core one before any core's second one: two threads on the two halves of
    a core are hardly faster than one.
    """
    if not hasattr(os, "sched_getaffinity"):
        return ()
    cores: dict[str, list[int]] = {}
    for number in sorted(os.sched_getaffinity(0)):
        siblings = _read(f"{CPUS}/cpu{number}/topology/thread_siblings_list") or str(number)
        cores.setdefault(siblings, []).append(number)

    def order(number: int) -> tuple[int, int, int]:
        half = next(group.index(number) for group in cores.values() if number in group)
        return half, -int(_read(f"{CPUS}/cpu{number}/cpufreq/cpuinfo_max_freq") or 0), number

    return tuple(sorted((number for group in cores.values() for number in group), key=order)[:threads])


@contextlib.contextmanager
def pinned(threads: int) -> Iterator[bool]:
    """``with pinned(2):`` every thread of this process keeps to two processors. Gives whether the system allows it."""
    chosen, tasks = processors(threads), Path("/proc/self/task")
    if not chosen or not tasks.exists():
        yield False
        return
    before = os.sched_getaffinity(0)
    try:
        _move_threads(tasks, set(chosen))
        yield True
    finally:
        _move_threads(tasks, before)


def _move_threads(tasks: Path, processors: set[int]) -> None:
    for task in tasks.iterdir():
        with contextlib.suppress(ProcessLookupError):  # it has ended meanwhile
            os.sched_setaffinity(int(task.name), processors)


def rates(work: Callable[[int], float], threads: int, repeats: int) -> list[float]:
    """How much all threads do a second, each time. work(thread) does one thread's part and returns how much that was."""
    found = []
    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(work, range(threads)))
        for _ in range(repeats):
            begin = time.perf_counter()
            amount = sum(pool.map(work, range(threads)))
            found.append(amount / (time.perf_counter() - begin))
    return found


def matmul_rates(size: int, threads: int, repeats: int) -> list[float]:
    """Floating-point operations a second of float32 products of this size, one at a time in each thread.

    A matrix product of two large matrices is the fastest arithmetic that a library can hope for. BLAS itself should have one
    thread meanwhile: that is how minidl runs.
    """
    rng = np.random.default_rng(1)
    operands = [rng.random((3, size, size), dtype=np.float32) for _ in range(threads)]
    often = max(1, (1024 // size) ** 3)  # small ones are over too soon to be timed alone

    def work(thread: int) -> float:
        a, b, out = operands[thread]
        for _ in range(often):
            np.matmul(a, b, out=out)
        return 2.0 * size**3 * often

    return rates(work, threads, repeats)


@jit
def _triad(a: Array, b: Array, c: Array, factor: np.float32) -> None:
    for i in range(a.size):
        a[i] = b[i] + factor * c[i]


def bandwidths(threads: int, repeats: int) -> dict[str, list[float]]:
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

    return {"copy": rates(copy, threads, repeats), "triad": rates(triad, threads, repeats)}
