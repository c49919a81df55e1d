"""Runs a measurement in a process of its own: the right interpreter, the same threads for everybody, and caches that are ours."""

import json
import os
import re
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from minidl.datasets import mnist
from minidl.machine import processors

from .contestants import CONTESTANTS
from .environments import interpreter_for
from .worker import Job

ROOT = Path(__file__).parent.parent
TIMEOUT = 1800  # seconds for one process; a contestant that hangs is not to hold up the others


@contextmanager
def data_folder() -> Iterator[Path]:
    """A temporary folder with MNIST as plain .npy files, for processes that cannot import minidl."""
    with tempfile.TemporaryDirectory(prefix="minidl-benchmarks-") as folder:
        write_data(Path(folder))
        yield Path(folder)


def write_data(folder: Path) -> None:
    """{train,test}_{floats,bytes,labels}.npy: images (n, 28, 28, 1), as float32 in [0, 1] and as uint8; labels int64."""
    for part, (x, y) in zip(("train", "test"), mnist.load_data(), strict=True):
        np.save(folder / f"{part}_bytes.npy", x[..., None])
        np.save(folder / f"{part}_floats.npy", x[..., None].astype(np.float32) / 255)
        np.save(folder / f"{part}_labels.npy", y.astype(np.int64))


def environ(job: Job, caches: Path) -> dict[str, str]:
    """The environment variables of a measuring process; caches: where it keeps compiled code."""
    threads = str(job.threads)
    # These two change OpenBLAS for NumPy alone, and would not be fair to those who bring a BLAS of their own.
    kept = {name: value for name, value in os.environ.items() if name not in ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE")}
    limits = (
        "OMP_NUM_THREADS",
        "OPENBLAS_NUM_THREADS",
        "MKL_NUM_THREADS",
        "MINIDL_NUM_THREADS",
        "VECLIB_MAXIMUM_THREADS",
    )
    folders = ("NUMBA_CACHE_DIR", "TORCHINDUCTOR_CACHE_DIR", "TRITON_CACHE_DIR", "KERAS_HOME")
    return (
        kept
        | dict.fromkeys(limits, threads)
        | {name: str(caches / name.lower()) for name in folders}
        | {"TF_CPP_MIN_LOG_LEVEL": "3", "PYTHONWARNINGS": "ignore", "PYTHONPATH": str(ROOT)}
        | dict(CONTESTANTS[job.contestant].environ)
    )


def run(job: Job, caches: Path, timeout: float = TIMEOUT) -> dict[str, Any]:
    """What the job measured; or {"problem": why not}, in one line. timeout: seconds."""
    contestant = CONTESTANTS[job.contestant]
    job = job._replace(cpus=processors(job.threads))
    interpreter = interpreter_for(contestant.environment, contestant.packages)
    if interpreter is None:
        return {"problem": f"not installed: python -m benchmarks.install {contestant.environment}"}
    with tempfile.TemporaryDirectory(prefix="minidl-benchmarks-") as folder:
        result = Path(folder) / "result.json"
        command = [interpreter, "-m", "benchmarks.worker", json.dumps(job._asdict()), str(time.time()), str(result)]
        try:
            done = subprocess.run(
                command, cwd=ROOT, env=environ(job, caches), capture_output=True, text=True, timeout=timeout
            )
        except subprocess.TimeoutExpired:
            return {"problem": f"did not finish within {timeout:g} s"}
        if done.returncode or not result.exists():
            lines = [line.strip() for line in done.stderr.splitlines() if line.strip()]
            errors = [line for line in lines if re.match(r"[\w.]+(Error|Exception|Interrupt|Exit)\b", line)]
            said = (errors or lines or ["no message"])[-1]  # behind its error, a library may give advice
            return {"problem": f"{_ending(done.returncode)}: {said}"}
        return dict(json.loads(result.read_text()))


def _ending(status: int) -> str:
    """How a process ended: on POSIX a negative status is the signal that killed it, e.g. SIGSEGV."""
    known = -status in signal.valid_signals() if status < 0 else False
    return f"crashed with {signal.Signals(-status).name}" if known else f"ended with status {status}"
