"""Locks and forks: a forked child has one thread, and must not wait for a lock that another one held."""

import os
import threading
from collections.abc import Callable
from types import TracebackType
from typing import Protocol


class Lock(Protocol):
    """A lock: with acquire and release, or with ``with``."""

    def acquire(self) -> object:
        """Wait until the lock is free, and hold it."""

    def release(self) -> None:
        """Let others hold it."""

    def __enter__(self) -> object: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


def fork_safe(lock: Lock | None = None, after_in_child: Callable[[], None] | None = None) -> Lock:
    """The lock, a new RLock by default, made safe for forks: it is acquired before a fork and released in parent and child.

    So no other thread is in the middle of what the lock guards. after_in_child: called in the child before the release.
    """
    guard: Lock = threading.RLock() if lock is None else lock

    def in_child() -> None:
        if after_in_child is not None:
            after_in_child()
        guard.release()

    if hasattr(os, "register_at_fork"):  # not on Windows, which has no fork
        os.register_at_fork(before=guard.acquire, after_in_parent=guard.release, after_in_child=in_child)
    return guard
