"""Runs programs by mpiexec, for the tests; without mpi4py, which the extra "mpi" brings, they are skipped."""

import os
import shutil
import subprocess
import sys
import time
import uuid
from pathlib import Path

import pytest

MARK = "MINIDL_TEST_MARK"  # in the environment of all ranks of a run, so that orphans are found
LIMIT = 600  # seconds for a run that should end by itself


def skip_without_mpi():
    """To be called by a module of tests that runs ranks."""
    pytest.importorskip("mpi4py", reason="mpi4py is missing: pip install '.[mpi]'")
    if mpiexec() is None:
        pytest.skip("mpiexec is missing: pip install '.[mpi]'", allow_module_level=True)


def mpiexec():
    """The mpiexec that belongs to this Python's MPI: the one beside it, if there is one."""
    beside = Path(sys.executable).with_name("mpiexec")
    return str(beside) if beside.exists() else shutil.which("mpiexec")


def start(ranks, program, *arguments, threads=1, **environment):
    """mpiexec with so many ranks of a program of this folder, as a process whose output is text."""
    mark = uuid.uuid4().hex
    process = subprocess.Popen(
        [mpiexec(), "-n", str(ranks), sys.executable, str(Path(__file__).parent / program), *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "MINIDL_NUM_THREADS": str(threads), MARK: mark, **environment},
    )
    process.mark = mark
    return process


def finish(process):
    """(exit code, output, errors) of a run. Afterwards none of its processes is left."""
    try:
        output, errors = process.communicate(timeout=LIMIT)
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()
        raise
    deadline = time.monotonic() + 5
    while (orphans := with_mark(process.mark)) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not orphans
    return process.returncode, output, errors


def with_mark(mark):
    """The processes that live with this mark in their environment."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            zombie = (folder / "stat").read_text().rpartition(")")[2].split()[0] == "Z"
            if not zombie and mark.encode() in (folder / "environ").read_bytes():
                found.append(int(folder.name))
        except OSError:  # it has just ended
            continue
    return found
