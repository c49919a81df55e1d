"""Memory that a batch frees stays with the process for the next batch.

glibc returns large blocks to the system when they are freed. The next batch would get its memory page by page, each with a
fault, which may take longer than to compute what is written there.
"""

import contextlib
import ctypes
import functools
from collections.abc import Iterator

TRIM_THRESHOLD, MMAP_THRESHOLD = -1, -3  # the options of mallopt(3)
KEPT = 2**30  # bytes
USUAL = 2**25  # the largest value that glibc chooses by itself, as a program frees larger and larger blocks


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
    """Inside, freed memory is kept; at the end, what is free goes back to the system. Does nothing without glibc."""
    libc = _libc()
    if libc is None:
        yield
        return
    libc.mallopt(MMAP_THRESHOLD, KEPT)
    libc.mallopt(TRIM_THRESHOLD, KEPT)
    try:
        yield
    finally:
        libc.mallopt(MMAP_THRESHOLD, USUAL)
        libc.mallopt(TRIM_THRESHOLD, 2 * USUAL)
        libc.malloc_trim(0)
