"""Whatever one rank does, nothing hangs: all end, one message names rank and cause, and no process is left.

The programs wait rather than compute, so several run at once; a test takes what comes of its own.
"""

import os
import re
import signal
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import launch
import pytest

launch.skip_without_mpi()

AT_ONCE = 4  # programs of three ranks

# program → who prints, and what
ENDS = {
    "raises": (1, "LookupError: the disk is gone"),
    "raises_outside": (1, "LookupError: the disk is gone"),
    "all_raise": (0, "LookupError: the disk is gone"),
    "leaves_early": (1, "SystemExit: 3"),
    "ends_early": (0, "rank 0 has come to fit, and rank 1 to the end of the program"),
    "interrupted": (1, "rank 1 was interrupted\nfit was stopped in epoch 3 of 20, after 1 of 3 batches"),
    "loss_is_nan": (0, "the first layer whose output is not finite is 'nan_on_some_samples'"),
    "gradient_is_nan": (0, "in epoch 1, batch 1: the gradient of 'huge_gradient/factor' is not finite"),
    "sample_is_nan": (2, "x holds NaN or infinity (as float32), first found in sample 299"),
    "other_length": (0, "the ranks differ in the number of the samples: rank 0 has 300, and rank 1 has 299"),
    "other_labels": (0, "the ranks differ in the labels or weights of the samples (by hash)"),
    "other_seed": (0, "the ranks differ in the model's seed: rank 0 has 0, and rank 1 has 1"),
    "other_weights": (0, "the ranks differ in the weights (by hash)"),
    "other_batch_size": (0, "the ranks differ in batch_size: rank 0 has 100, and rank 1 has 50"),
    "other_batches": (0, "the ranks were given different batches"),
    "evaluates_alone": (0, "rank 0 has come to evaluate, and rank 1 to the end of the program"),
    "evaluates_alone_within_fit": (0, "rank 0 has come to a batch in fit, and rank 1 to evaluate"),
    "saves_alone_within_fit": (0, "rank 0 has come to a batch in fit, and rank 1 to save"),
    "stops_alone": (0, "rank 0 has come to a batch in fit, and rank 1 to the end of an epoch of fit"),
    "stops_alone_after_an_epoch": (0, "the ranks differ in model.stop_training: rank 0 has False, and rank 1 has True"),
    "changes_its_rate_alone": (0, "the end of an epoch of fit: the ranks differ in the optimizer"),
    "changes_its_weights_alone": (0, "the end of an epoch of fit: the ranks differ in the weights (by hash)"),
    "another_call": (0, "rank 0 has come to evaluate, and rank 2 to predict"),
    "a_schedule_fails_in_one_rank": (1, "LookupError: the disk is gone"),
}


ENDS_NOTHING = {
    "interrupted_and_caught": "after 10 steps\nthrough\n",
    "gradient_is_nan_and_accepted": "Batch 0: Invalid loss, terminating training\n{'loss': [nan]} 0\nthrough\n",
    "in_another_thread": "['fit must be called in the thread that called minidl.distribution.initialize().']\nthrough\n",
}

GONE = {  # program → the rank that is gone, and the signal of which mpiexec may speak
    "killed": (1, signal.SIGKILL),
    "leaves_without_a_word": (1, None),
    "crashes_while_others_compute": (1, signal.SIGSEGV),
    "rank_0_is_killed": (0, signal.SIGKILL),
}


@pytest.fixture(scope="module")
def run():
    """name → (exit code, output, errors)."""
    with ThreadPoolExecutor(AT_ONCE) as pool:
        found = {
            name: pool.submit(lambda name: launch.finish(launch.start(3, "faulty.py", name)), name)
            for name in (*ENDS, *ENDS_NOTHING, *GONE)
        }
        yield lambda name: found[name].result()


@pytest.mark.parametrize("name", ENDS)
def test_one_message_and_no_orphan(name, run):
    code, output, errors = run(name)
    rank, cause = ENDS[name]
    assert code != 0
    assert "through" not in output
    assert (
        re.search(r"rank (\d) of 3 ends all", errors)[1] == str(rank) or name == "all_raise"
    )  # there, the first one does
    assert cause in errors
    assert errors.count("ends all:") == errors.count("Traceback (most recent call last)") == 1


@pytest.mark.parametrize("name", ["loss_is_nan", "gradient_is_nan"])
def test_a_nan_names_its_rank(name, run):
    assert "It was found on rank 2." in run(name)[2]


@pytest.mark.parametrize("name", ENDS_NOTHING)
def test_what_all_catch_ends_nothing(name, run):
    assert run(name)[:2] == (0, ENDS_NOTHING[name])


@pytest.mark.parametrize("name", GONE)
def test_a_rank_that_is_gone(name, run):
    """The others name it, unless mpiexec has ended them before: on a busy machine they get further tries.

    After os._exit(0), mpiexec may also be first to end them and report success: see docs/distribution.md.
    """
    rank, number = GONE[name]
    found = run(name)
    for _ in range(12):
        code, output, errors = found
        assert "through" not in output
        assert code != 0 or number is None
        named = f"rank {rank} of 3 has ended without a word" in errors
        if code != 0 and (named or (number is not None and f"EXIT CODE: {int(number)}" in output + errors)):
            break
        found = launch.finish(launch.start(3, "faulty.py", name))
    else:
        raise AssertionError(errors)


def test_ctrl_c():
    process = launch.start(3, "faulty.py", "waits_for_ctrl_c")
    for _ in range(3):
        process.stdout.readline()  # a rank begins
    os.kill(process.pid, signal.SIGINT)
    code, _, errors = launch.finish(process)
    assert code != 0
    assert re.search(r"KeyboardInterrupt: rank \d was interrupted", errors)
    assert "fit was stopped in epoch" in errors
    assert errors.count("Traceback (most recent call last)") == 1


def test_a_second_ctrl_c_waits_for_nobody():
    """The exit code is mpiexec's own affair."""
    process = launch.start(3, "faulty.py", "hangs")
    process.stdout.readline()
    while process.poll() is None:
        os.kill(process.pid, signal.SIGINT)
        time.sleep(1.5)
    assert "through" not in launch.finish(process)[1]


def test_different_programs(tmp_path):
    other = tmp_path / "faulty.py"
    other.write_text(Path(launch.__file__).with_name("faulty.py").read_text() + "# changed\n")
    process = launch.start(2, "faulty.py", "waits_for_ctrl_c", ":", "-n", 1, sys.executable, other, "waits_for_ctrl_c")
    code, _, errors = launch.finish(process)
    assert code != 0
    assert "rank 0 of 3 ends all" in errors
    assert "RuntimeError: initialize: the ranks differ in the program: rank 0 has" in errors
    assert errors.count("Traceback (most recent call last)") == 1


def test_mpiexec_is_killed():
    process = launch.start(3, "faulty.py", "waits_for_ctrl_c")
    for _ in range(3):
        process.stdout.readline()
    process.kill()
    launch.finish(process)
