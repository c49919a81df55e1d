"""What all tests share: quick, seeded Hypothesis runs that need no network and leave no files; and threads given back."""

import contextlib
import os
import signal

import pytest
from hypothesis import HealthCheck, settings

with contextlib.suppress(ImportError):  # it brings a BLAS of its own; Numba would load it later, after the first count
    import scipy.linalg  # noqa: F401

from minidl import set_num_threads
from minidl.engine import runner, workers

settings.register_profile(
    "minidl",
    max_examples=25,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("minidl")

# Models of tests are tiny: their batches are cut into shards all the same, or else nothing would ever meet in the threads. It
# stands here, and not in a fixture, because what a module makes only once is made before that.
RULE = runner.WORTH_A_THREAD
runner.WORTH_A_THREAD = 1


@pytest.fixture
def _cut_as_users_see_it(monkeypatch):
    """Batches of tiny models stay whole."""
    monkeypatch.setattr(runner, "WORTH_A_THREAD", RULE)


# Started in the background by a script, a process ignores Ctrl-C, and so do its children: the tests of it would wait for ever.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


if "PYTEST_XDIST_WORKER" in os.environ:  # there is one for each core; a test about threads says how many it wants
    os.environ.setdefault("MINIDL_NUM_THREADS", "1")


@pytest.fixture
def threads_as_before():
    """However many threads the test asks for, there is no pool after it, and nobody has called set_num_threads."""
    yield
    set_num_threads(1)  # ends the pool
    workers._num_threads = None
