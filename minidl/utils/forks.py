"""Locks and forks: a forked child has one thread, and must not wait for a lock that another one held."""

import os
import threading
from collections.abc import Callable
from typing import Any


def fork_safe(lock: Any = None, after_in_child: Callable[[], None] | None = None) -> Any:
    """The lock, a new RLock where none is given: it is taken before a fork, and released on both sides.

    So no other thread is half-way through what the lock guards. after_in_child: called in the child before the release.
    """
    guard = threading.RLock() if lock is None else lock

    def in_child() -> None:
        if after_in_child is not None:
            after_in_child()
        guard.release()

    if hasattr(os, "register_at_fork"):  # not on Windows, which has no fork
        os.register_at_fork(before=guard.acquire, after_in_parent=guard.release, after_in_child=in_child)
    return guard
