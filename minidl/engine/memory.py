"""Memory that a batch frees stays with the process for the next batch.

glibc returns large blocks to the system when they are freed, and the next batch pays for every page that it touches again: about as
long as computing on it takes.
"""

import contextlib
import ctypes
from collections.abc import Iterator

TRIM_THRESHOLD, MMAP_THRESHOLD = -1, -3  # of mallopt(3)
ALL = 2**30  # bytes


@contextlib.contextmanager
def kept() -> Iterator[None]:
    """Inside, freed memory is kept; at the end, what is free is returned to the system. Only where the C library is glibc."""
    try:
        libc = ctypes.CDLL(None)
        set_option, trim = libc.mallopt, libc.malloc_trim
    except (AttributeError, OSError, TypeError):  # another C library, or Windows
        yield
        return
    set_option(MMAP_THRESHOLD, ALL)
    set_option(TRIM_THRESHOLD, ALL)
    try:
        yield
    finally:
        trim(0)
