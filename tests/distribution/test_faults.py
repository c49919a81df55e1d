"""Whatever one rank does, nothing hangs: all end within seconds, one message names rank and cause, and no process is left."""

import os
import signal
import sys
import time
from pathlib import Path

import launch
import pytest

launch.skip_without_mpi()

SECONDS = 60  # for all of a run: to start Python three times takes most of it on a busy machine

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


def run(name):
    began = time.monotonic()
    found = launch.finish(launch.start(3, "faulty.py", name))
    assert time.monotonic() - began < SECONDS
    return found


@pytest.mark.parametrize("name", ENDS)
def test_one_message_and_no_orphan(name):
    code, output, errors = run(name)
    rank, cause = ENDS[name]
    assert code != 0
    assert "through" not in output
    assert f"rank {rank} of 3 ends all" in errors
    assert cause in errors
    assert errors.count("ends all:") == errors.count("Traceback (most recent call last)") == 1


def test_a_nan_names_its_rank():
    for name in ("loss_is_nan", "gradient_is_nan"):
        assert "It was found on rank 2." in run(name)[2]


def test_a_rank_that_is_killed():
    """The message is mpiexec's own."""
    code, output, errors = run("killed")
    assert code == signal.SIGKILL
    assert "EXIT CODE: 9" in output + errors


def test_what_all_catch_ends_nothing():
    assert run("interrupted_and_caught")[:2] == (0, "after 10 steps\nthrough\n")
    assert run("gradient_is_nan_and_accepted")[:2] == (
        0,
        "Batch 0: Invalid loss, terminating training\n{'loss': [nan]} 0\nthrough\n",
    )
    assert run("in_another_thread")[:2] == (
        0,
        "['fit must be called in the thread that called minidl.distribution.initialize().']\nthrough\n",
    )


@pytest.mark.parametrize(("name", "times"), [("waits_for_ctrl_c", 1), ("hangs", 2)])
def test_ctrl_c(name, times):
    process = launch.start(3, "faulty.py", name)
    for _ in range(3):
        process.stdout.readline()  # a rank begins
    time.sleep(1)
    for _ in range(times):
        os.kill(process.pid, signal.SIGINT)
        time.sleep(1.5)
    began = time.monotonic()
    code, _, errors = launch.finish(process)
    assert time.monotonic() - began < SECONDS / 2
    assert code != 0
    if times == 1:
        assert "KeyboardInterrupt: rank 0 was interrupted" in errors
        assert "fit was stopped in epoch" in errors
        assert errors.count("Traceback (most recent call last)") == 1


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
