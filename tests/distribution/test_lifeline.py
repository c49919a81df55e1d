"""The connections that break when a rank ends, between two threads that play the ranks."""

import socket
import threading
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import launch
import pytest

launch.skip_without_mpi()

from minidl.distribution import lifeline  # noqa: E402  (it needs mpi4py)


class Wire:
    """Exchanges between two threads. A stranger, who does not know the token, is the first to call rank 0."""

    def __init__(self, rank, said, barrier):
        self.rank, self.size, self._said, self._barrier = rank, 2, said, barrier
        self.strangers = []

    def exchange(self, message):
        if self.rank == 0 and isinstance(message, tuple):
            self.strangers.append(socket.create_connection(("localhost", message[1])))
            self.strangers[0].sendall(bytes(20))
        self._said[self.rank] = message
        self._barrier.wait(10)
        found = list(self._said)
        self._barrier.wait(10)
        return found


@pytest.fixture
def ended(monkeypatch):
    """What was printed, and the exit codes with which all were ended."""
    found = SimpleNamespace(printed=[], codes=[], event=threading.Event())

    def abort(code):
        found.codes.append(code)
        found.event.set()

    world = SimpleNamespace(Abort=abort)
    monkeypatch.setattr(lifeline, "MPI", SimpleNamespace(Get_processor_name=lambda: "here", COMM_WORLD=world))
    monkeypatch.setattr(lifeline, "os", SimpleNamespace(write=lambda file, text: found.printed.append(text.decode())))
    return found


@pytest.fixture
def pair(ended):
    said, barrier = [None, None], threading.Barrier(2)
    wires = [Wire(rank, said, barrier) for rank in range(2)]
    with ThreadPoolExecutor(2) as pool:
        found = list(pool.map(lifeline.Lifeline, wires))
    yield found
    for each in (*found[0]._lines, *found[1]._lines, *wires[0].strangers):
        each.close()


def test_a_broken_line_is_a_rank_that_is_gone(pair, ended):
    assert [list(each._lines.values()) for each in pair] == [[1], [0]]  # the stranger is none of them
    pair[1].over.set()  # a rank that is gone prints nothing
    for line in pair[1]._lines:
        line.shutdown(socket.SHUT_RDWR)
    assert ended.event.wait(10)
    assert [text[:43] for text in ended.printed] == ["rank 1 of 2 has ended without a word, which"]
    assert ended.codes == [1]


def test_after_a_goodbye_nobody_is_missed(pair, ended):
    assert pair[1].goodbye()
    assert pair[0].over.wait(10)
    assert not pair[0].goodbye()  # it was not the first
    for line in pair[1]._lines:
        line.shutdown(socket.SHUT_RDWR)
    assert not ended.event.wait(0.3)
    assert ended.printed == []
