"""The threads: one pool for the whole process, which runs a batch's shards.

Shards in plain threads, with serial kernels that release the GIL, are faster than threads inside every kernel: two kinds of
thread pool (BLAS's and a kernel's) would spin against each other.
"""

import collections
import os
import queue
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import numpy as np

from ..checks import is_integer
from ..utils.forks import fork_safe
from ..utils.processors import available
from .blas import limit_this_thread
from .interrupts import Uninterrupted

Item = TypeVar("Item")
Result = TypeVar("Result")

PATIENCE = 1.0  # seconds

_num_threads: int | None = None
_pool: ThreadPoolExecutor | None = None


def get_num_threads() -> int:
    """The number of threads that a model may use.

    As set by set_num_threads; else by the environment variable MINIDL_NUM_THREADS; else the number of cores that this process
    may use, by its affinity and by a container's quota. Raises ValueError where the variable is not a positive integer.
    """
    if _num_threads is not None:
        return _num_threads
    text = os.environ.get("MINIDL_NUM_THREADS")
    if not text:
        return available()
    if not text.isascii() or not text.isdigit() or int(text) < 1:
        raise ValueError(f"the environment variable MINIDL_NUM_THREADS must be a positive integer, received {text!r}.")
    return int(text)


def set_num_threads(n: int) -> None:
    """Use n threads from now on, in all models of this process. The results do not depend on it, not even in the last bit.

    Raises ValueError where n is not a positive integer.
    """
    global _num_threads
    if not is_integer(n) or n < 1:
        raise ValueError(f"the number of threads must be a positive integer, received {n!r}.")
    with _lock:
        _num_threads = int(n)
        _drop_pool()


def share_cores(processes: int) -> None:
    """Use this process's share of the cores from now on, if nobody has said how many threads to use."""
    if _num_threads is None and not os.environ.get("MINIDL_NUM_THREADS") and get_num_threads() == os.cpu_count():
        set_num_threads(max(1, get_num_threads() // processes))


def run(function: Callable[[Item], Result], items: Sequence[Item]) -> list[Result]:
    """[function(item) for item in items], worked on by all threads at once.

    The calling thread works too, so a call from inside a worker cannot wait for itself, and a single item runs in the calling
    thread. It does all the work where no other thread can be had: at the end of the process, or at a limit of the system's.
    After an error in one item, or a Ctrl-C, the items that have not begun are dropped; the error is raised when all
    threads are done. A second Ctrl-C, later than PATIENCE after the first, does not wait for them.
    """
    helpers = 0 if len(items) == 1 else min(get_num_threads(), len(items)) - 1  # to count the threads asks the system
    if helpers < 1:
        return [function(item) for item in items]
    results: dict[int, Result] = {}
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

    def help() -> None:
        if _taken(places):
            try:
                work()
                ended.put(None)
            except BaseException as error:
                ended.put(error)

    # Where a thread cannot be started, the pool keeps the call all the same, and makes it when one of its threads is free; which
    # may be after the end. So a helper first takes a place, and at the end there are none.
    places = collections.deque([None] * helpers)
    ended: queue.SimpleQueue[BaseException | None] = queue.SimpleQueue()
    with Uninterrupted(PATIENCE) as interrupt:
        _ask(help, helpers)
        try:
            work()
        finally:
            started = helpers
            while _taken(places):
                started -= 1
            # they write into this call's arrays, so it must not return before they have ended, unless they may never end
            errors = [] if interrupt.broken_off else [ended.get() for _ in range(started)]
    for error in errors:
        if error is not None:
            try:
                raise error
            finally:
                del error, errors  # else this frame and the error would keep each other, and the arrays, alive
    return [results[position] for position in range(len(items))]


def quietly(job: Callable[[Item], Result]) -> Callable[[Item], Result]:
    """The same job without NumPy's warnings, whatever the user has it do, which is a setting of one thread alone: values that are
    not finite are searched for and reported separately."""

    def call(item: Item) -> Result:
        with np.errstate(all="ignore"):
            return job(item)

    return call


def _taken(places: collections.deque[None]) -> bool:
    """Take a place; False where there is none left. Safe with many threads."""
    try:
        places.pop()
    except IndexError:
        return False
    return True


def _ask(help: Callable[[], None], helpers: int) -> None:
    """Have the pool call ``help`` in so many threads, or in as many as there can be."""
    with _lock:  # otherwise set_num_threads in another thread could shut the pool down between the two lines
        pool = _get_pool()
        for _ in range(helpers):
            try:
                pool.submit(help)
            except RuntimeError:  # the process ends, or the system has no more threads for it
                return


def _get_pool() -> ThreadPoolExecutor:
    global _pool
    if _pool is None:
        _pool = ThreadPoolExecutor(
            max(1, get_num_threads() - 1), thread_name_prefix="minidl", initializer=limit_this_thread
        )
    return _pool


def _drop_pool() -> None:
    global _pool
    if _pool is not None:
        _pool.shutdown(wait=False)  # what was submitted is still completed
        _pool = None


def _forget_pool() -> None:
    """A forked child has one thread, the one that forked: waiting for its parent's other threads would hang forever."""
    global _pool
    _pool = None


_lock = fork_safe(after_in_child=_forget_pool)
