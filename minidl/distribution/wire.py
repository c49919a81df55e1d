"""Messages between the ranks, over MPI: who waits leaves the processor to others, and every byte that is sent is counted."""

import itertools
import pickle
import time
from collections.abc import Sequence
from typing import Any

import numpy as np
from mpi4py import MPI

from ..contracts import Array, DType

INLINE = 1024  # bytes: a longer message needs a second round
HEAD = 8  # bytes, for its length
EAGER = 2e-3  # seconds of looking for a message again and again: MPI moves the bytes only while somebody looks
PAUSE = 1e-4  # seconds between two looks after that, because another rank may need the processor


class Wire:
    """What the ranks send to each other. All of them have to call the same methods in the same order.

    Argument: comm: a communicator of mpi4py, for this object alone. Attributes: rank, size. sent: the bytes that this rank has
    sent to others; what goes to all counts once for each of them, since every algorithm has to deliver as many.
    """

    def __init__(self, comm: Any) -> None:
        self.comm = comm
        self.rank: int = comm.Get_rank()
        self.size: int = comm.Get_size()
        self.sent = 0

    def exchange(self, message: object) -> list[Any]:
        """The messages of all ranks, in order: whatever pickle can hold."""
        data = np.frombuffer(pickle.dumps(message), np.uint8)
        heads = np.zeros((self.size, INLINE), np.uint8)
        heads[self.rank, :HEAD].view(np.int64)[0] = data.size
        heads[self.rank, HEAD : HEAD + data.size] = data[: INLINE - HEAD]
        self.gather(heads, [INLINE] * self.size)
        lengths = heads[:, :HEAD].copy().view(np.int64)[:, 0].tolist()
        if max(lengths) <= INLINE - HEAD:
            return [pickle.loads(row[HEAD : HEAD + n].tobytes()) for row, n in zip(heads, lengths, strict=True)]
        places = list(itertools.accumulate(lengths, initial=0))
        whole = np.empty(places[-1], np.uint8)
        whole[places[self.rank] : places[self.rank + 1]] = data
        self.gather(whole, lengths)
        return [pickle.loads(whole[start:stop].tobytes()) for start, stop in itertools.pairwise(places)]

    def gather(self, array: Array, counts: Sequence[int]) -> None:
        """Fill a contiguous array with the ranks' parts of it, of so many entries each, in order; one's own is in its place."""
        self.sent += counts[self.rank] * (self.size - 1) * array.itemsize
        self._wait(self.comm.Iallgatherv(MPI.IN_PLACE, [array, list(counts)]))

    def deal(
        self, own: Array | None, counts: Sequence[int], givers: Sequence[bool], dtype: DType
    ) -> list[Array | None]:
        """Give each rank its slice of an array, and get one's own slice from every rank that gives: one for each rank.

        own: None where this rank gives nothing. counts: the entries of the slices, which follow each other in the array.
        """
        mine = counts[self.rank]
        given: list[Array | None] = [np.empty(mine, dtype) if gives else None for gives in givers]
        requests = [
            self.comm.Irecv(array, rank) for rank, array in enumerate(given) if array is not None and rank != self.rank
        ]
        if own is not None:
            parts = np.split(own, np.cumsum(counts)[:-1])
            requests += [self.comm.Isend(part, rank) for rank, part in enumerate(parts) if rank != self.rank]
            self.sent += (own.size - mine) * own.itemsize
            kept = given[self.rank]
            assert kept is not None
            kept[:] = parts[self.rank]
        for request in requests:
            self._wait(request)
        return given

    def _wait(self, request: Any) -> None:
        """Until it is done. MPI's own wait would keep a processor busy on which another rank may have to compute."""
        began = time.monotonic()
        while not request.Test():
            time.sleep(0 if time.monotonic() - began < EAGER else PAUSE)
