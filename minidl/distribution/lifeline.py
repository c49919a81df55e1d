"""A connection of each rank to rank 0. It breaks when a process ends, however it ends, and the other one says which rank it was.

MPI does not tell: it waits for a rank that is gone. mpiexec ends the others, but its message names no rank, and after
``os._exit(0)`` MPICH's says nothing and reports success. It does so within milliseconds: on a busy machine it may be first.
"""

import contextlib
import os
import secrets
import selectors
import socket
import threading
import time

from mpi4py import MPI

from .wire import Wire

PATIENCE = 2.0  # seconds to wait for a connection; where a firewall forbids it, a rank goes unwatched
GOODBYE = b"."  # whoever ends in order, or ends all, sends it first


class Lifeline:
    """To be made by all ranks at once."""

    def __init__(self, wire: Wire) -> None:
        self._wire = wire
        self._lines: dict[socket.socket, int] = {}  # to which rank
        self.over = threading.Event()  # somebody ends in order, or ends all
        self._connect()
        threading.Thread(target=self._watch, name="minidl-lifeline", daemon=True).start()

    def goodbye(self) -> bool:
        """From now on no end of a rank is worth a message. Whether this rank is the first to say so, as far as it knows."""
        first = not self.over.is_set()
        self.over.set()
        for line in self._lines:
            with contextlib.suppress(OSError):  # that one is gone already
                line.send(GOODBYE)
        return first

    def _connect(self) -> None:
        """Connect all others to rank 0. Where that fails, neither end has a line."""
        wire, host = self._wire, MPI.Get_processor_name()
        with socket.create_server(("", 0), backlog=wire.size) if wire.rank == 0 else socket.socket() as server:
            port = server.getsockname()[1] if wire.rank == 0 else 0
            host_of_0, port, token = wire.exchange((host, port, secrets.token_bytes(16)))[0]
            if wire.rank > 0:
                with contextlib.suppress(OSError):
                    address = "localhost" if host == host_of_0 else host_of_0
                    line = socket.create_connection((address, port), timeout=PATIENCE)
                    line.sendall(token + wire.rank.to_bytes(4, "big"))
                    self._lines[line] = 0
            expected = sum(wire.exchange(len(self._lines)))
            if wire.rank == 0:
                self._accept(server, token, expected)
            accepted = wire.exchange([*self._lines.values()])[0]
            if wire.rank > 0 and wire.rank not in accepted:
                self._lines = {}

    def _accept(self, server: socket.socket, token: bytes, expected: int) -> None:
        """Take so many connections, of those who know the token."""
        server.settimeout(PATIENCE)
        deadline = time.monotonic() + PATIENCE
        while len(self._lines) < expected and time.monotonic() < deadline:
            with contextlib.suppress(OSError):
                line, _ = server.accept()
                line.settimeout(PATIENCE)
                known = line.recv(len(token) + 4)
                if known[:-4] == token:
                    self._lines[line] = int.from_bytes(known[-4:], "big")
                else:
                    line.close()

    def _watch(self) -> None:
        with selectors.DefaultSelector() as selector:
            for line in self._lines:
                selector.register(line, selectors.EVENT_READ, data=line)
            while self._lines and not self.over.is_set():
                for key, _ in selector.select():
                    self._read(key.data)

    def _read(self, line: socket.socket) -> None:
        """What has come on a line: a goodbye, which rank 0 passes on, or its end."""
        said = b""
        with contextlib.suppress(OSError):
            said = line.recv(1)
        if self.over.is_set():
            return
        if not said:
            if self._wire.rank > 1:  # all of these have lost rank 0: rank 1 says so
                time.sleep(PATIENCE)
            os.write(2, self.message(self._lines[line], self._wire.size).encode())
        self.goodbye()
        if not said:
            MPI.COMM_WORLD.Abort(1)  # at once: mpiexec is about to end this rank, too, and would perhaps report success

    @staticmethod
    def message(rank: int, size: int) -> str:
        """What to print when a rank is gone."""
        return (
            f"rank {rank} of {size} has ended without a word, which ends all: it was killed (where memory is short, the system "
            "does that: see dmesg), it crashed in compiled code, or it has called os._exit. Its exit code or signal may follow.\n"
        )
