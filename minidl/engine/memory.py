"""Memory that a batch frees stays with the process for the next batch.

glibc returns large blocks to the system when they are freed. The next batch would get its memory page by page, each with a
fault, which may take longer than to compute what is written there.
"""

import contextlib
import ctypes
from collections.abc import Iterator

TRIM_THRESHOLD, MMAP_THRESHOLD = -1, -3  # the options of mallopt(3)
KEPT = 2**30  # bytes
USUAL = 2**25  # the largest value that glibc chooses by itself, as a program frees larger and larger blocks


@contextlib.contextmanager
def kept() -> Iterator[None]:
    """Inside, freed memory is kept; at the end, what is free goes back to the system. Does nothing without glibc."""
    try:
        libc = ctypes.CDLL(None)
        set_option, trim = libc.mallopt, libc.malloc_trim
    except (AttributeError, OSError, TypeError):  # another C library, or Windows, which has no library of this kind
        yield
        return
    set_option(MMAP_THRESHOLD, KEPT)
    set_option(TRIM_THRESHOLD, KEPT)
    try:
        yield
    finally:
        set_option(MMAP_THRESHOLD, USUAL)
        set_option(TRIM_THRESHOLD, 2 * USUAL)
        trim(0)
