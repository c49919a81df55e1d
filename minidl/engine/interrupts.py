"""Ctrl-C: postponed until nothing is half done."""

import _signal  # type: ignore[import-not-found]  # the C module under signal, without its enums, which cost microseconds
import math
import os
import signal
import threading
import time
from collections.abc import Callable
from types import FrameType, TracebackType
from typing import ClassVar

SIGINT = int(signal.SIGINT)


class Uninterrupted:
    """``with Uninterrupted():`` a Ctrl-C within the block takes effect at its end.

    Only Python's main thread is ever interrupted; in others, in a subinterpreter, and inside another such block, this one does
    nothing. At the end the previous signal handler is restored and called: Python's own raises KeyboardInterrupt, a user's
    does whatever it does. A process that another thread forks meanwhile has the previous handler at once.

    Arguments: patience: in seconds. A Ctrl-C that comes more than this after a first one interrupts the block after all,
    because what runs in it may never end.

    Attributes: asked: whether a KeyboardInterrupt is waiting for the end of the block, which should therefore end soon.
    """

    _inside: ClassVar[bool] = False  # the main thread is in such a block; no other thread reads or writes it

    def __init__(self, patience: float = math.inf) -> None:
        self.patience = patience
        self.asked = False
        self._came: tuple[float, int, FrameType | None] | None = None
        self._before: Callable[[int, FrameType | None], object] | None = None
        self._thread = threading.get_ident()

    def __enter__(self) -> "Uninterrupted":
        if threading.current_thread() is threading.main_thread() and not Uninterrupted._inside:
            before = _signal.getsignal(SIGINT)
            if callable(before):  # otherwise the signal is ignored, ends the process, or was not set by Python
                self._before = before
                try:
                    _signal.signal(SIGINT, self._wait)
                    Uninterrupted._inside = True
                except ValueError:  # a subinterpreter, which has a main thread of its own, but gets no signals
                    self._before = None
        return self

    def _wait(self, number: int, frame: FrameType | None) -> None:
        if self._came is None:
            self._came = (time.monotonic(), number, frame)
            self.asked = self._before is signal.default_int_handler
        elif self._before is not None and time.monotonic() - self._came[0] > self.patience:
            self._before(number, frame)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._before is None:
            return
        self.patience = math.inf
        Uninterrupted._inside = False
        _signal.signal(SIGINT, self._before)
        came, self._came = self._came, None
        if came is not None:
            self._before(*came[1:])


def _after_fork() -> None:
    """A forked child has one thread, the one that forked: nothing else would end the block of its parent's main thread."""
    block = getattr(_signal.getsignal(SIGINT), "__self__", None)
    if isinstance(block, Uninterrupted) and block._thread != threading.get_ident():
        Uninterrupted._inside = False
        _signal.signal(SIGINT, block._before)


if hasattr(os, "register_at_fork"):  # not on Windows, which has no fork
    os.register_at_fork(after_in_child=_after_fork)
