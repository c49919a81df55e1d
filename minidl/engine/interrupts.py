"""Ctrl-C, and other signals whose handlers may raise: postponed until nothing is half done."""

import _signal  # type: ignore[import-not-found]  # the C module under signal, without its enums, which cost microseconds
import math
import os
import signal
import threading
import time
from collections.abc import Callable
from types import FrameType, TracebackType
from typing import ClassVar

# Not what tells a program of a fault of its own, nor what cannot be handled; nor the real-time signals, of which there are many.
OTHERS = {
    "SIGABRT",
    "SIGBUS",
    "SIGFPE",
    "SIGILL",
    "SIGSEGV",
    "SIGSYS",
    "SIGTRAP",
    "SIGKILL",
    "SIGSTOP",
    "SIGRTMIN",
    "SIGRTMAX",
}
POSTPONED = [int(n) for n in signal.valid_signals() if isinstance(n, signal.Signals) and n.name not in OTHERS]


class Uninterrupted:
    """``with Uninterrupted():`` a Ctrl-C within the block takes effect at its end, and so does any other signal that has a
    handler of the user's in Python, such as the SIGTERM that announces the end of a job.

    Only Python's main thread is ever interrupted; in others, in a subinterpreter, and inside another such block, this one does
    nothing. At the end the previous signal handlers are restored, and those are called whose signals came: Python's own raises
    KeyboardInterrupt, a user's does whatever it does. A process that another thread forks meanwhile has the previous handlers
    at once.

    Arguments: patience: in seconds. A signal that comes more than this after the first of its kind interrupts the block after
    all, because what runs in it may never end.

    Attributes: asked: whether a KeyboardInterrupt is waiting for the end of the block, which should therefore end soon.
    broken_off: whether a handler has raised before the end, because its signal came after the patience was over.
    """

    _inside: ClassVar["Uninterrupted | None"] = None  # the main thread's block; no other thread changes it

    def __init__(self, patience: float = math.inf) -> None:
        self.patience = patience
        self.asked = self.broken_off = False
        self._came: dict[int, tuple[float, FrameType | None]] = {}  # the first of each, in the order in which they came
        self._before: dict[int, Callable[[int, FrameType | None], object]] = {}
        self._over = False
        self._thread = threading.get_ident()

    def __enter__(self) -> "Uninterrupted":
        if threading.current_thread() is threading.main_thread() and Uninterrupted._inside is None:
            Uninterrupted._inside = self
            try:
                for number in POSTPONED:
                    before = _signal.getsignal(number)
                    if callable(before):  # otherwise it is ignored, ends the process, or was not set by Python
                        self._before[number] = before
                        _signal.signal(number, self._wait)
            except BaseException:
                try:
                    self._end()
                except ValueError:  # in a subinterpreter, which has a main thread of its own, but gets no signals
                    self._before.clear()
                else:  # a handler has raised, before its signal was postponed
                    self._deliver()
                    raise
        return self

    def _wait(self, number: int, frame: FrameType | None) -> None:
        before = self._before[number]
        if self._over:  # where it could not be put back
            before(number, frame)
        elif number not in self._came:
            self._came[number] = (time.monotonic(), frame)
            self.asked = self.asked or before is signal.default_int_handler
        elif time.monotonic() - self._came[number][0] > self.patience:
            try:
                before(number, frame)
            except BaseException:
                self.broken_off = True
                self._leave()  # here, because this may be an instruction of __exit__, before anything is put back
                raise

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._leave()

    def _leave(self) -> None:
        if Uninterrupted._inside is self:
            try:
                self._end()
                self._deliver()
            finally:
                self._deliver()  # what is left where a further signal has broken into these two

    def _end(self) -> None:
        """Put the handlers back, although one that is back already may raise."""
        try:
            Uninterrupted._inside = None
            self._over = True
            self._put_back()
        except BaseException:
            self._put_back()
            raise

    def _put_back(self) -> None:
        for number, before in self._before.items():
            _signal.signal(number, before)

    def _deliver(self) -> None:
        """Call the handlers of the signals that came: every one, although the others may raise."""
        if self._came:
            number = next(iter(self._came))
            _, frame = self._came.pop(number)
            try:
                self._before[number](number, frame)
            finally:
                self._deliver()


def _after_fork() -> None:
    """A forked child has one thread, the one that forked: nothing else would end the block of its parent's main thread."""
    block = Uninterrupted._inside
    if block is not None and block._thread != threading.get_ident():
        block._end()


if hasattr(os, "register_at_fork"):  # not on Windows, which has no fork
    os.register_at_fork(after_in_child=_after_fork)
