"""BLAS, kept single-threaded while our own threads work: two kinds of threads would spin against each other."""

import threading
from functools import cache
from types import TracebackType
from typing import ClassVar

from threadpoolctl import LibController, ThreadpoolController

from ..utils.forks import fork_safe
from .interrupts import Uninterrupted


@cache
def _blas() -> list[LibController]:
    """The BLAS libraries of this process. Looking for them takes long, so it is done once."""
    return list(ThreadpoolController().select(user_api="blas").lib_controllers)


def _set_blas_threads(counts: list[int]) -> None:
    """Set the number of threads of each library, from any thread."""
    for library, count in zip(_blas(), counts, strict=True):
        # threadpoolctl 3.8 and newer let one thread at a time set them, and silently ignore the others. Our blocks are
        # counted, so overriding that is safe.
        release = getattr(library, "clear_controlling_thread", lambda force: None)
        release(force=True)
        library.set_num_threads(count)
        release(force=True)


def limit_this_thread() -> None:
    """An OpenBLAS on top of OpenMP has a limit for each thread, so each worker sets its own, once."""
    for library in _blas():
        if getattr(library, "threading_layer", None) == "openmp":
            library.set_num_threads(1)


class SingleThreadedBlas:
    """``with SingleThreadedBlas():`` BLAS uses one thread, in the whole process.

    The limit is global, so two overlapping blocks would each restore what they found, and leave it wrong: the blocks are
    counted, and only the last to end restores.
    """

    _inside: ClassVar[list[int]] = []  # the thread of each block that is active
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
        except BaseException:  # Ctrl-C: the block is not entered, so __exit__ would not be called
            self._end()
            raise

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self._end()
        except BaseException:  # Ctrl-C, before it was postponed
            self._end()
            raise

    def _end(self) -> None:
        with Uninterrupted(), _lock:
            if self._counted:
                self._counted = False
                SingleThreadedBlas._inside.remove(threading.get_ident())
                if not SingleThreadedBlas._inside:
                    _set_blas_threads(SingleThreadedBlas._before)


def _only_this_thread() -> None:
    """A forked child has one thread, the one that forked: nothing else would end the blocks of its parent's other threads."""
    inside = [thread for thread in SingleThreadedBlas._inside if thread == threading.get_ident()]
    if SingleThreadedBlas._inside and not inside:
        _set_blas_threads(SingleThreadedBlas._before)
    SingleThreadedBlas._inside = inside


_lock = fork_safe(after_in_child=_only_this_thread)
