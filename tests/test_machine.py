"""What is said of the machine, which processors are chosen, and that threads keep to them."""

import os
import threading

import pytest

from minidl import machine

needs_affinity = pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="the system cannot pin")


def with_processors(monkeypatch, siblings, clocks):
    """A machine with these processors: by number, which ones share its core, and its highest clock."""

    def read(path):
        number = int(path.removeprefix(f"{machine.CPUS}/cpu").split("/")[0])
        return siblings[number] if path.endswith("thread_siblings_list") else clocks.get(number, "")

    monkeypatch.setattr(machine, "_read", read)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(siblings), raising=False)


def test_two_threads_get_two_cores(monkeypatch):
    with_processors(monkeypatch, {0: "0-1", 1: "0-1", 2: "2-3", 3: "2-3"}, {})
    assert machine.processors(2) == (0, 2)
    assert machine.processors(3) == (0, 2, 1)
    assert machine.processors(9) == (0, 2, 1, 3)


def test_fast_cores_come_first(monkeypatch):
    with_processors(monkeypatch, {0: "0", 1: "1", 2: "2,3", 3: "2,3"}, {0: "2000", 1: "2000", 2: "5000", 3: "5000"})
    assert machine.processors(4) == (2, 0, 1, 3)


@needs_affinity
def test_all_threads_are_pinned_and_set_free():
    before, end, seen = os.sched_getaffinity(0), threading.Event(), []
    started, checked = threading.Event(), threading.Event()

    def other():
        started.set()
        checked.wait(10)
        seen.append(os.sched_getaffinity(0))
        end.wait(10)
        seen.append(os.sched_getaffinity(0))

    thread = threading.Thread(target=other)
    thread.start()
    started.wait(10)
    with machine.pinned(1) as kept:
        assert kept
        assert os.sched_getaffinity(0) == set(machine.processors(1))
        checked.set()
        while not seen:
            pass
    assert os.sched_getaffinity(0) == before
    end.set()
    thread.join(10)
    assert [len(processors) for processors in seen] == [1, len(before)]


def test_where_nothing_can_be_pinned_nothing_is(monkeypatch):
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    assert machine.processors(2) == ()
    with machine.pinned(2) as kept:
        assert not kept


def test_a_product_of_matrices_is_counted_in_full():
    done = machine.rates(lambda thread: 10.0 * (thread + 1), 2, 3)
    assert len(done) == 3
    assert all(rate > 0 for rate in done)
    assert all(rate > 0 for rate in machine.matmul_rates(64, 2, 2))


def test_the_processor_has_a_name():
    assert machine.processor()
    described = machine.describe()
    assert described["processor"] == machine.processor()
    assert described["cores"].startswith(f"{machine.thread_counts()[-1]} available")


def test_threads_double_up_to_all(monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(6)), raising=False)
    assert machine.thread_counts() == [1, 2, 4, 6]
