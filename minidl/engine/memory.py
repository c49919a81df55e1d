"""Memory that a batch frees stays with the process for the next batch.

glibc returns large blocks to the system when they are freed. The next batch would get its memory page by page, each with a
fault, which may take longer than to compute what is written there.
"""

import contextlib
import ctypes
import functools
from collections.abc import Iterator

from ..utils.forks import fork_safe
from .interrupts import Uninterrupted

TRIM_THRESHOLD, MMAP_THRESHOLD = -1, -3  # the options of mallopt(3)
KEPT = 2**30  # bytes
USUAL = 2**25  # the largest value that glibc chooses by itself, as a program frees larger and larger blocks

_blocks = 0  # those that are active; the limits are those of the whole process
_lock = fork_safe()


@functools.cache
def _libc() -> ctypes.CDLL | None:
    """The C library of this process if it is glibc."""
    try:
        libc = ctypes.CDLL(None)
        return libc if hasattr(libc, "mallopt") and hasattr(libc, "malloc_trim") else None
    except (OSError, TypeError):  # Windows, which has no library of this kind
        return None


@contextlib.contextmanager
def kept() -> Iterator[None]:
    """Inside, freed memory is kept; at the end of the last such block, what is free goes back to the system. Does nothing without
    glibc."""
    global _blocks
    libc, counted = _libc(), False
    try:
        with Uninterrupted(), _lock:
            _blocks += 1
            counted = True
            if _blocks == 1 and libc is not None:
                if not libc.mallopt(MMAP_THRESHOLD, KEPT):  # older ones refuse more than they would choose themselves
                    libc.mallopt(MMAP_THRESHOLD, USUAL)
                libc.mallopt(TRIM_THRESHOLD, KEPT)
        yield
    finally:
        with Uninterrupted(), _lock:
            _blocks -= counted
            if _blocks == 0 and libc is not None:
                libc.mallopt(MMAP_THRESHOLD, USUAL)
                libc.mallopt(TRIM_THRESHOLD, 2 * USUAL)
                libc.malloc_trim(0)
