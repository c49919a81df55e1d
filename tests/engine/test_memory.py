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


class Library:
    """A C library that writes down what it is told. largest: of the thresholds that it takes."""

    def __init__(self, largest):
        self.largest, self.limits, self.trimmed = largest, {}, 0

    def mallopt(self, option, value):
        if option == memory.MMAP_THRESHOLD and value > self.largest:
            return 0
        self.limits[option] = value
        return 1

    def malloc_trim(self, pad):
        self.trimmed += 1


@pytest.fixture(params=[2**31, 2**25], ids=["now", "before 2.35"])
def library(request, monkeypatch):
    library = Library(request.param)
    monkeypatch.setattr(memory, "_libc", lambda: library)
    return library


def test_where_so_large_a_threshold_is_refused_the_largest_is_set(library):
    """glibc chooses its threshold no more, once it was told of one of the two; it must not stay at its first 128 kB."""
    with memory.kept():
        assert library.limits[memory.MMAP_THRESHOLD] == min(2**30, library.largest)
        assert library.limits[memory.TRIM_THRESHOLD] == 2**30
    assert library.limits == {memory.MMAP_THRESHOLD: 2**25, memory.TRIM_THRESHOLD: 2**26}


def test_the_last_of_several_blocks_gives_memory_back(library):
    """As where a callback trains another model, or another thread does."""
    outer = memory.kept()
    with outer:
        with memory.kept():
            pass
        assert library.limits[memory.TRIM_THRESHOLD] == 2**30
        assert library.trimmed == 0
    assert library.trimmed == 1
    with pytest.raises(KeyError), memory.kept():
        raise KeyError
    assert library.trimmed == 2
    assert memory._blocks == 0
