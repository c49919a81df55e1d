"""Training on several machines, over MPI: the same bits on any number of ranks as on one.

    mpiexec -n 4 python train.py

The program calls ``minidl.distribution.initialize()`` first; ``fit``, ``evaluate`` and ``predict`` are then called as ever, by
all ranks. It needs the extra: pip install 'minidl[mpi]'. Nothing else in the library imports this package.
"""

import os
from typing import Any

import numpy as np

from .. import ranks
from ..engine import workers
from ..utils import seeds

LAUNCHERS = ("PMI_SIZE", "OMPI_COMM_WORLD_SIZE", "MPI_LOCALNRANKS")  # where they say how many ranks they have started


def initialize() -> None:
    """Join the ranks that mpiexec has started. Without mpiexec, or with one rank, do nothing.

    To be called before the first model is made. From then on each rank computes its part of every batch of ``fit``,
    ``evaluate`` and ``predict``, and returns the whole result.
    Rank 0 alone prints and writes files. Seeds that are drawn are rank 0's. Where the number of threads was not set, the ranks
    of a machine share its cores. An error that no rank catches ends all of them.

    Raises ImportError where mpiexec has started several ranks and mpi4py is missing, and RuntimeError where the ranks' programs,
    versions or processors differ, or where mpi4py belongs to another MPI than mpiexec.
    """
    if ranks.group.size > 1:
        return
    launched = max([1, *(int(text) for name in LAUNCHERS if (text := os.environ.get(name, "")).isdigit())])
    try:
        from mpi4py import MPI
    except (ImportError, RuntimeError) as error:  # the latter where there is no MPI library
        if launched == 1:
            return
        raise ImportError(
            f"mpiexec has started {launched} ranks, which need mpi4py: pip install 'minidl[mpi]'."
        ) from error
    if MPI.COMM_WORLD.Get_size() == 1:
        if launched > 1:
            other = MPI.Get_library_version().split(",")[0]
            raise RuntimeError(
                f"mpiexec has started {launched} ranks, but mpi4py uses another MPI ({other!r:.60}), in which this rank is "
                "alone. Use the mpiexec of that MPI; after pip install 'minidl[mpi]' it is the one beside python."
            )
        return
    _join(MPI)


def rank() -> int:
    """The number of this process, from 0; 0 where it is the only one."""
    return ranks.group.rank


def size() -> int:
    """How many processes train together; 1 before ``initialize``."""
    return ranks.group.size


def _join(MPI: Any) -> None:
    from . import facts
    from .group import SAME_PROGRAM, Ranks
    from .wire import Wire

    group = Ranks(Wire(MPI.COMM_WORLD.Dup()))
    group.faults.watch()
    group.faults.compare("initialize", facts.of_process(), SAME_PROGRAM)
    seeds.share(group.faults.exchange("initialize", int(np.random.SeedSequence().generate_state(1)[0]))[0])
    local = MPI.COMM_WORLD.Split_type(MPI.COMM_TYPE_SHARED)
    workers.share_cores(local.Get_size())
    local.Free()
    ranks.group = group
