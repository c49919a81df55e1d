"""The threads: one pool for the whole process, which runs a batch's shards, and BLAS kept single-threaded inside it.

Shards in plain threads, each with serial kernels that release the interpreter's lock, beat threads inside every kernel: two
kinds of thread pool (BLAS's and a kernel's) would spin against each other.
"""

import collections
import os
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from functools import cache
from types import TracebackType
from typing import Any, ClassVar, TypeVar

from threadpoolctl import ThreadpoolController

from ..utils.integers import is_integer
from .interrupts import Uninterrupted

Item = TypeVar("Item")
Result = TypeVar("Result")

PATIENCE = 1.0  # seconds

_lock = threading.RLock()
_num_threads: int | None = None
_pool: ThreadPoolExecutor | None = None


def get_num_threads() -> int:
    """How many threads a model may use.

    What set_num_threads said; else the environment variable MINIDL_NUM_THREADS; else the number of cores that this process
    may use. Raises ValueError where the variable is not a positive integer.
    """
    if _num_threads is not None:
        return _num_threads
    text = os.environ.get("MINIDL_NUM_THREADS")
    if not text:
        return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    if not text.isascii() or not text.isdigit() or int(text) < 1:
        raise ValueError(f"the environment variable MINIDL_NUM_THREADS must be a positive integer, received {text!r}.")
    return int(text)


def set_num_threads(n: int) -> None:
    """Use n threads from now on, in all models of this process. The results do not depend on it, not in one bit.

    Raises ValueError where n is not a positive integer.
    """
    global _num_threads
    if not is_integer(n) or n < 1:
        raise ValueError(f"the number of threads must be a positive integer, received {n!r}.")
    with _lock:
        _num_threads = int(n)
        _drop_pool()


def run(function: Callable[[Item], Result], items: Sequence[Item]) -> list[Result]:
    """[function(item) for item in items], worked on by all threads at once.

    The calling thread works too, so a call from inside a worker cannot wait for itself, and a single item runs where it is.
    After an error in one item, or a Ctrl-C, the items that have not begun are left out; the error is raised when all threads
    are done. A second Ctrl-C, later than PATIENCE after the first, does not wait for them.
    """
    helpers = min(get_num_threads(), len(items)) - 1
    if helpers < 1:
        return [function(item) for item in items]
    results: list[Any] = [None] * len(items)
    todo = collections.deque(range(len(items)))  # its popleft is safe with many threads

    def work() -> None:
        while not interrupt.asked:
            try:
                position = todo.popleft()
            except IndexError:
                return
            try:
                results[position] = function(items[position])
            except BaseException:
                todo.clear()
                raise

    with Uninterrupted(PATIENCE) as interrupt:
        with _lock:  # or else set_num_threads in another thread could end the pool between the two
            pool = _get_pool()
            futures = [pool.submit(work) for _ in range(helpers)]
        try:
            work()
        finally:
            started = [future for future in futures if not future.cancel()]
            wait(started)  # they write into arrays of this call: nobody may go on before they have ended
    for future in started:
        future.result()
    return results


def _get_pool() -> ThreadPoolExecutor:
    global _pool
    if _pool is None:
        _pool = ThreadPoolExecutor(
            max(1, get_num_threads() - 1), thread_name_prefix="minidl", initializer=_limit_blas_of_this_thread
        )
    return _pool


def _drop_pool() -> None:
    global _pool
    if _pool is not None:
        _pool.shutdown(wait=False)  # what was submitted is still worked off
        _pool = None


def _after_fork() -> None:
    """A forked child has one thread, the one that forked: to wait for its parent's others would hang for ever."""
    global _pool
    _pool = None
    inside = [thread for thread in SingleThreadedBlas._inside if thread == threading.get_ident()]
    if SingleThreadedBlas._inside and not inside:
        _set_blas_threads(SingleThreadedBlas._before)
    SingleThreadedBlas._inside = inside
    _lock.release()


if hasattr(os, "register_at_fork"):  # not on Windows, which has no fork
    # With the lock, so that no other thread is half-way through a change.
    os.register_at_fork(before=_lock.acquire, after_in_parent=_lock.release, after_in_child=_after_fork)


@cache
def _blas() -> list[Any]:
    """The BLAS libraries of this process. Looking for them takes long, so it is done once."""
    return list(ThreadpoolController().select(user_api="blas").lib_controllers)


def _set_blas_threads(counts: list[int]) -> None:
    """Set the number of threads of each library, from whichever thread we are in."""
    for library, count in zip(_blas(), counts, strict=True):
        # threadpoolctl 3.8 and newer let one thread at a time set them, and ignore all others without a word. Our blocks are
        # counted, so they know what they do.
        release = getattr(library, "clear_controlling_thread", lambda force: None)
        release(force=True)
        library.set_num_threads(count)
        release(force=True)


def _limit_blas_of_this_thread() -> None:
    """An OpenBLAS on top of OpenMP has a limit for each thread, so a worker sets its own, once and for all."""
    for library in _blas():
        if getattr(library, "threading_layer", None) == "openmp":
            library.set_num_threads(1)


class SingleThreadedBlas:
    """``with SingleThreadedBlas():`` BLAS uses one thread, in the whole process.

    The limit is global, so two overlapping blocks would each restore what they found, and leave it wrong: the blocks are
    counted, and only the last to end restores.
    """

    _inside: ClassVar[list[int]] = []  # the threads that are in a block, once for each block
    _before: ClassVar[list[int]] = []
    _counted = False  # whether this block is among them

    def __enter__(self) -> None:
        try:
            with Uninterrupted(), _lock:
                if not SingleThreadedBlas._inside:
                    SingleThreadedBlas._before = [library.num_threads for library in _blas()]
                    _set_blas_threads([1] * len(_blas()))
                SingleThreadedBlas._inside.append(threading.get_ident())
                self._counted = True
        except BaseException:  # Ctrl-C: the block will not be entered, so nothing else would leave it
            self._end()
            raise

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end()

    def _end(self) -> None:
        with Uninterrupted(), _lock:
            if self._counted:
                self._counted = False
                SingleThreadedBlas._inside.remove(threading.get_ident())
                if not SingleThreadedBlas._inside:
                    _set_blas_threads(SingleThreadedBlas._before)
