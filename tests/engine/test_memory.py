"""Memory that is kept while fit runs, and given back at its end."""

import resource
import sys

import numpy as np
import pytest

from minidl.engine import memory

BLOCK = 16 * 2**20  # bytes: more than glibc keeps of its own accord in a process that has freed nothing so large
PAGE = resource.getpagesize()


def faults(times):
    """Page faults of writing to a block that is freed each time; the first time does not count."""
    found = []
    for _ in range(times + 1):
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        np.empty(BLOCK // 8).fill(1)
        found.append(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
    return sum(found[1:])


@pytest.mark.skipif(sys.platform != "linux" or memory._libc() is None, reason="the C library is not glibc")
def test_memory_is_kept_inside_and_given_back_at_the_end():
    with memory.kept():
        assert faults(5) < BLOCK // PAGE // 10
    assert resource_size() + BLOCK // 2 < peak_inside()


def resource_size():
    """Bytes of this process in memory, now."""
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * PAGE


def peak_inside():
    """Bytes in memory inside, after a block has been freed there."""
    with memory.kept():
        np.empty(BLOCK // 8).fill(1)
        return resource_size()


def test_without_glibc_nothing_happens(monkeypatch):
    monkeypatch.setattr(memory, "_libc", lambda: None)
    with memory.kept():
        pass
