"""The threads: every item once and in order, no deadlock, errors that reach the caller, and BLAS as it was afterwards."""

import math
import os
import queue
import subprocess
import sys
import textwrap
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from threadpoolctl import threadpool_info, threadpool_limits

from minidl import Sequential, get_num_threads, set_num_threads
from minidl.callbacks import LambdaCallback
from minidl.engine import blas as limit
from minidl.engine import workers
from minidl.engine.blas import SingleThreadedBlas
from minidl.engine.workers import run
from minidl.layers import Dense, Input, LayerNormalization
from minidl.models import load_model
from minidl.utils import processors

WAIT = 60  # seconds after which something that would hang counts as a failure


pytestmark = pytest.mark.usefixtures("threads_as_before")


def in_time(function):
    """What the function returns or raises; a failure where it takes for ever."""
    outcome = []

    def call():
        try:
            outcome.append((function(), None))
        except BaseException as error:
            outcome.append((None, error))

    thread = threading.Thread(target=call, daemon=True)
    thread.start()
    thread.join(WAIT)
    assert outcome, f"still running after {WAIT} seconds"
    result, error = outcome[0]
    if error is not None:
        raise error
    return result


# ------------------------------------------------------------------------------------------------------------------ run


@pytest.mark.parametrize("threads", [1, 2, 3, 8])
@pytest.mark.parametrize("count", [0, 1, 2, 7, 500])
def test_every_item_is_worked_on_once_and_the_results_are_in_order(threads, count):
    set_num_threads(threads)
    seen = []  # appending is atomic
    assert in_time(lambda: run(lambda item: (seen.append(item), item * item)[1], range(count))) == [
        item * item for item in range(count)
    ]
    assert sorted(seen) == list(range(count))


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_as_many_threads_work_at_once_as_were_asked_for(threads):
    set_num_threads(threads)
    together = threading.Barrier(threads)

    def work(item):
        together.wait(WAIT)  # passed only when all of them are in here at the same time
        return threading.get_ident()

    used = run(work, range(threads))
    assert len(set(used)) == threads
    assert threading.get_ident() in used  # the caller works too
    most = run(lambda item: threading.get_ident(), range(200))
    assert len(set(most)) <= threads


def test_one_item_runs_where_it_is():
    set_num_threads(3)
    assert run(lambda item: threading.get_ident(), ["only"]) == [threading.get_ident()]


@pytest.mark.parametrize(
    "error", [KeyError("here"), IndexError("here"), queue.Empty("here"), KeyboardInterrupt("here")], ids=repr
)
@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("bad", [0, 3, 19])
def test_an_error_reaches_the_caller_and_later_calls_work(threads, bad, error):
    set_num_threads(threads)

    def work(item):
        if item == bad:
            raise error
        return item

    with pytest.raises(type(error), match="here"):
        in_time(lambda: run(work, range(20)))
    assert in_time(lambda: run(lambda item: -item, range(20))) == [-item for item in range(20)]


def test_after_an_error_nobody_works_any_more_and_what_had_not_begun_is_left_out():
    set_num_threads(2)
    both, failed = threading.Barrier(2), threading.Event()
    begun, ended = [], []

    def work(item):
        begun.append(item)
        if item < 2:
            both.wait(WAIT)  # one thread has item 0, the other item 1
        if item == 0:
            failed.set()
            raise ZeroDivisionError
        failed.wait(WAIT)
        ended.append(item)

    with pytest.raises(ZeroDivisionError):
        in_time(lambda: run(work, range(1000)))
    assert begun.count(1) == 1
    assert set(begun) - {0} == set(ended)  # the caller got the error only after the other thread had ended
    assert len(begun) < 1000


def test_an_error_is_raised_only_when_the_other_threads_have_ended():
    """They write into the caller's arrays: it must not go on while they do."""
    set_num_threads(2)
    both, release, failed = threading.Barrier(2), threading.Event(), threading.Event()

    def call():
        caller = threading.get_ident()

        def work(item):
            both.wait(WAIT)
            if threading.get_ident() == caller:
                raise ZeroDivisionError
            release.wait(WAIT)

        try:
            run(work, range(2))
        except ZeroDivisionError:
            failed.set()

    thread = threading.Thread(target=call, daemon=True)
    thread.start()
    assert not failed.wait(0.2)  # the caller's item has failed long ago
    release.set()
    assert failed.wait(WAIT)
    thread.join(WAIT)


@pytest.mark.parametrize("threads", [2, 3])
def test_a_call_from_inside_a_worker_does_not_wait_for_itself(threads):
    set_num_threads(threads)

    def outer(item):
        return run(lambda inner: run(lambda innermost: innermost + inner, range(3)), range(item, item + 4))

    expected = [[[k + j for k in range(3)] for j in range(i, i + 4)] for i in range(6)]
    assert in_time(lambda: run(outer, range(6))) == expected


def test_a_call_while_all_threads_are_busy_is_worked_on_by_its_caller():
    set_num_threads(2)
    release, busy = threading.Event(), threading.Barrier(3)

    def block(item):
        busy.wait(WAIT)
        release.wait(WAIT)

    blocked = threading.Thread(target=run, args=(block, range(2)), daemon=True)
    blocked.start()
    busy.wait(WAIT)  # the pool's only thread and the thread above are inside block
    try:
        assert in_time(lambda: run(lambda item: item + 1, range(10))) == list(range(1, 11))
    finally:
        release.set()
        blocked.join(WAIT)


def test_the_number_may_change_while_another_thread_works():
    """Between finding the pool and giving it work, nobody else may end it."""
    set_num_threads(2)
    done, errors = threading.Event(), []

    def work():
        while not done.is_set():
            try:
                assert run(lambda item: -item, range(6)) == [0, -1, -2, -3, -4, -5]
            except BaseException as error:
                errors.append(error)
                return

    threads = [threading.Thread(target=work, daemon=True) for _ in range(3)]
    for thread in threads:
        thread.start()
    for i in range(500):
        set_num_threads(2 + i % 3)
    done.set()
    for thread in threads:
        thread.join(WAIT)
        assert not thread.is_alive()
    assert not errors


def test_a_callback_may_use_the_model_that_is_being_trained():
    set_num_threads(2)
    model = Sequential([Dense(3, input_dim=4)])
    model.compile(loss="mse")
    x, y = np.ones((200, 4)), np.zeros((200, 3))
    seen = []
    look = LambdaCallback(on_train_batch_end=lambda batch, logs: seen.append(model.predict(x, verbose=0)))
    in_time(lambda: model.fit(x, y, batch_size=100, epochs=2, callbacks=[look], verbose=0))
    assert len({part.tobytes() for part in seen}) == 4


# ------------------------------------------------------------------------------------------------- how many threads


def test_set_num_threads_is_what_get_num_threads_says():
    for n in (3, 1, 2):
        set_num_threads(n)
        assert get_num_threads() == n


@pytest.mark.parametrize("bad", [0, -1, 1.5, 2.0, "2", None, True], ids=repr)
def test_a_bad_number_of_threads_is_refused(bad):
    set_num_threads(2)
    with pytest.raises(ValueError, match=f"the number of threads must be a positive integer, received {bad!r}"):
        set_num_threads(bad)
    assert get_num_threads() == 2


@pytest.fixture
def _unset(monkeypatch):
    """As in a process in which nobody has called set_num_threads."""
    monkeypatch.setattr(workers, "_num_threads", None)


@pytest.mark.usefixtures("_unset")
def test_the_environment_sets_the_number(monkeypatch):
    monkeypatch.setenv("MINIDL_NUM_THREADS", "5")
    assert get_num_threads() == 5
    set_num_threads(2)
    assert get_num_threads() == 2  # a call has the last word


@pytest.mark.usefixtures("_unset")
@pytest.mark.parametrize("text", [None, ""])
def test_the_default_is_the_cores_of_this_process(monkeypatch, text):
    monkeypatch.delenv("MINIDL_NUM_THREADS", raising=False)
    monkeypatch.setattr(processors, "quota", lambda proc, cgroups: math.inf)
    if text is not None:
        monkeypatch.setenv("MINIDL_NUM_THREADS", text)
    if hasattr(os, "sched_getaffinity"):
        assert get_num_threads() == len(os.sched_getaffinity(0))
        monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {3, 5, 8, 9})
        assert get_num_threads() == 4
        monkeypatch.delattr(os, "sched_getaffinity")
    monkeypatch.setattr(os, "cpu_count", lambda: 7)
    assert get_num_threads() == 7
    monkeypatch.setattr(os, "cpu_count", lambda: None)
    assert get_num_threads() == 1


@pytest.mark.usefixtures("_unset")
@pytest.mark.parametrize("text", ["0", "-2", "two", "1.5", "²"])
def test_a_bad_environment_is_refused_where_threads_are_needed(monkeypatch, text):
    monkeypatch.setenv("MINIDL_NUM_THREADS", text)
    message = f"the environment variable MINIDL_NUM_THREADS must be a positive integer, received '{text}'"
    with pytest.raises(ValueError, match=message):
        get_num_threads()
    model = Sequential([Dense(1, input_dim=1)])
    with pytest.raises(ValueError, match=message):
        model.predict(np.ones((3, 1)), verbose=0)
    monkeypatch.setenv("MINIDL_NUM_THREADS", "2")
    assert model.predict(np.ones((3, 1)), verbose=0).shape == (3, 1)


# ----------------------------------------------------------------------------------------------------- no more threads


@pytest.fixture
def most_threads(monkeypatch):
    """most_threads(n): the system lets n more threads start, and then no more, as below a limit on a user's processes."""
    start, allowed = threading.Thread.start, [0]

    def limited(thread):
        if not allowed[0]:
            raise RuntimeError("can't start new thread")
        allowed[0] -= 1
        start(thread)

    def limit(n):
        workers._drop_pool()
        allowed[0] = n
        monkeypatch.setattr(threading.Thread, "start", limited)

    return limit


@pytest.mark.parametrize("most", [0, 1, 2])
def test_the_threads_that_there_are_do_the_work_where_no_more_can_be_started(most_threads, most):
    set_num_threads(4)
    most_threads(most)
    seen, together = set(), threading.Barrier(most + 1)

    def work(item):
        if item <= most:  # each thread that there can be has one of these
            seen.add(threading.get_ident())
            together.wait(WAIT)
        return item

    for _ in range(2):
        assert run(work, range(50)) == list(range(50))
    assert len(seen) == most + 1


def test_a_thread_that_comes_late_to_the_work_is_waited_for(most_threads):
    """Where no thread can be started, the pool keeps the work, and a thread that another call has kept busy takes it up later."""
    set_num_threads(3)
    most_threads(2)  # this test's own, and one of the pool's
    busy, release, begun = threading.Event(), threading.Event(), threading.Event()

    def mine():
        return not threading.current_thread().name.startswith("minidl")

    def first(item):
        busy.wait(WAIT) if mine() else (busy.set(), release.wait(WAIT))

    def second(item):
        release.set()
        if mine():
            begun.wait(WAIT)
        else:
            begun.set()
            time.sleep(0.05)  # the calling thread does all the rest meanwhile
        return item

    other = threading.Thread(target=run, args=(first, range(2)), daemon=True)
    other.start()
    assert busy.wait(WAIT)
    assert run(second, range(20)) == list(range(20))
    assert begun.is_set()
    other.join(WAIT)


def test_a_limit_on_threads_changes_no_bit(most_threads):
    x = np.random.default_rng(0).random((130, 6))

    def batches():
        for start in range(0, 120, 40):
            yield x[start : start + 40], x[start : start + 40, :2]

    def trained():
        model = Sequential([Dense(50, "relu", input_dim=6), Dense(2)], seed=1)
        model.compile("adam", "mse")
        for source in ((x, x[:, :2]), (batches(),)):
            model.fit(*source, verbose=0)
        return [value.tobytes() for value in model.get_weights()]

    set_num_threads(4)
    expected = trained()
    for most in (1, 0):
        most_threads(most)
        assert trained() == expected


END = """
import atexit, sys, threading, time
from concurrent.futures import ThreadPoolExecutor, thread
import numpy as np
from minidl import Sequential, set_num_threads
from minidl.engine import runner
from minidl.layers import Dense

runner.WORTH_A_THREAD = 1  # as in conftest.py
set_num_threads(3)
x = np.random.default_rng(0).random((130, 6))

def job():
    while not thread._shutdown:  # the end of the script, but not yet of the process
        time.sleep(0.001)
    train()

def train():
    model = Sequential([Dense(50, "relu", input_dim=6), Dense(2)], seed=1)
    model.compile("adam", "mse")
    model.fit(x, x[:, :2], verbose=0)
    model.fit(((x[i : i + 40], x[i : i + 40, :2]) for i in range(0, 120, 40)), verbose=0)
    model.save(sys.argv[1])

class Trains:
    def __del__(self):
        train()

"""


@pytest.mark.parametrize(
    "last_line",
    [
        "ThreadPoolExecutor(1).submit(job)",
        "threading.Thread(target=job).start()",
        "atexit.register(train)",
        "atexit.register(list, [Trains()])",
    ],
)
def test_a_training_that_outlives_the_script(tmp_path, last_line):
    """Python starts no threads any more, and ThreadPoolExecutor takes no work; what is left does all of it."""
    path = tmp_path / "model.safetensors"
    done = subprocess.run(
        [sys.executable, "-c", END + last_line, path], capture_output=True, text=True, timeout=2 * WAIT, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    there = load_model(path)
    assert there.steps_trained == 5 + 3
    here = tmp_path / "here.safetensors"
    subprocess.run([sys.executable, "-c", END + "train()", here], timeout=2 * WAIT, check=True)
    assert path.read_bytes() == here.read_bytes()


# ---------------------------------------------------------------------------------------------------- BLAS's own threads


def blas_threads():
    return [pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"]


@pytest.fixture
def blas():
    """BLAS set to two threads; the numbers to find again afterwards."""
    if not blas_threads():
        pytest.skip("NumPy's BLAS has no threads that can be controlled here")
    with threadpool_limits(2, user_api="blas"):
        if set(blas_threads()) != {2}:
            pytest.skip("NumPy's BLAS was built for one thread")
        yield [2] * len(blas_threads())


def test_blas_has_one_thread_inside_and_its_own_number_afterwards(blas):
    one = [1] * len(blas)
    with SingleThreadedBlas():
        assert blas_threads() == one
        with SingleThreadedBlas():
            assert blas_threads() == one
        assert blas_threads() == one  # still inside the outer block
    assert blas_threads() == blas
    with pytest.raises(ZeroDivisionError), SingleThreadedBlas():
        raise ZeroDivisionError
    assert blas_threads() == blas


@pytest.mark.parametrize("order", ["abAB", "abBA", "baAB", "abABab" + "AB"])
def test_overlapping_blocks_of_two_threads_leave_blas_as_it_was(blas, order):
    """a, b: a thread begins; A, B: it ends. Each of two plain limits would restore what the other had set."""
    blocks = {"a": SingleThreadedBlas(), "b": SingleThreadedBlas()}
    inside = 0
    with ThreadPoolExecutor(1) as a, ThreadPoolExecutor(1) as b:
        for event in order:
            thread, block = {"a": a, "b": b}[event.lower()], blocks[event.lower()]
            if event.islower():
                thread.submit(block.__enter__).result(WAIT)
                inside += 1
            else:
                thread.submit(block.__exit__, None, None, None).result(WAIT)
                inside -= 1
            assert blas_threads() == ([1] * len(blas) if inside else blas)
    with SingleThreadedBlas():  # a later block begins anew
        assert blas_threads() == [1] * len(blas)
    assert blas_threads() == blas


def test_a_block_works_in_any_thread(blas):
    def inside():
        with SingleThreadedBlas():
            return blas_threads()

    with ThreadPoolExecutor(1) as other:
        assert inside() == [1] * len(blas)
        assert other.submit(inside).result(WAIT) == [1] * len(blas)
        assert blas_threads() == blas
        assert inside() == [1] * len(blas)
        assert blas_threads() == blas


@pytest.mark.parametrize(
    ("layers", "samples", "limited"),
    [
        ([Dense(3, activation="relu"), Dense(2, activation="softmax")], 1, False),
        ([Dense(3, activation="relu"), Dense(2, activation="softmax")], 2, False),
        ([Dense(3, activation="relu"), Dense(2, activation="softmax")], 3, True),
        ([Dense(3), LayerNormalization()], 1, True),  # of other layers, nothing is known
    ],
)
def test_predicting_limits_blas_where_it_is_called(blas, layers, samples, limited):
    seen = []
    watch = LambdaCallback(on_predict_batch_begin=lambda batch, logs: seen.append(blas_threads()))
    model = Sequential([Input((4,)), *layers], seed=0)
    found = model.predict(np.ones((samples, 4)), verbose=0, callbacks=[watch])
    assert seen == [[1] * len(blas) if limited else blas]
    assert blas_threads() == blas
    np.testing.assert_allclose(found, model.predict(np.ones((9, 4)), verbose=0)[:samples], rtol=1e-5)


def test_training_limits_blas_only_while_it_runs(blas):
    model = Sequential([Dense(3, input_dim=4)])
    model.compile(loss="mse")
    x, y = np.ones((40, 4)), np.zeros((40, 3))
    inside = []
    look = LambdaCallback(
        on_train_batch_end=lambda batch, logs: inside.append(blas_threads()),
        on_test_batch_end=lambda batch, logs: inside.append(blas_threads()),
        on_predict_batch_end=lambda batch, logs: inside.append(blas_threads()),
    )
    model.fit(x, y, callbacks=[look], verbose=0)
    model.evaluate(x, y, callbacks=[look], verbose=0)
    model.predict(x, callbacks=[look], verbose=0)
    assert inside == [[1] * len(blas)] * 4
    assert blas_threads() == blas
    x[3] = np.nan
    for call in (model.fit, model.evaluate, model.train_on_batch, model.loss_and_gradients):
        with pytest.raises(ValueError, match="NaN"):
            call(x, y)
        assert blas_threads() == blas


# ----------------------------------------------------------------------------------------------------------------- fork


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_a_forked_child_makes_its_own_threads():
    """In a process of its own, which ends itself where the child hangs."""
    script = """
        import os, signal, threading, warnings
        import numpy as np
        from minidl import Sequential, set_num_threads
        from minidl.engine import runner
        from minidl.engine.workers import run
        from minidl.layers import Dense

        runner.WORTH_A_THREAD = 1  # as in conftest.py
        warnings.simplefilter("ignore", DeprecationWarning)  # Python warns of any fork beside threads
        signal.alarm(50)
        set_num_threads(2)
        model = Sequential([Dense(64, activation="relu", input_dim=64), Dense(4, activation="softmax")], seed=0)
        model.compile(loss="sparse_categorical_crossentropy")
        rng = np.random.default_rng(0)
        x, y = rng.random((300, 64)), rng.integers(0, 4, 300)
        model.fit(x, y, verbose=0)
        before = model.predict(x, verbose=0).tobytes()

        def both_threads_work():
            together = threading.Barrier(2)
            run(lambda item: together.wait(30), range(2))  # breaks where one of them does not come

        both_threads_work()
        read, write = os.pipe()
        child = os.fork()
        if child == 0:
            signal.alarm(40)
            same = model.predict(x, verbose=0).tobytes() == before
            model.fit(x, y, verbose=0)
            both_threads_work()
            os.write(write, model.predict(x, verbose=0).tobytes() if same else b"other numbers")
            os._exit(0)
        os.close(write)
        with os.fdopen(read, "rb") as pipe:
            theirs = pipe.read()
        status = os.waitpid(child, 0)[1]
        model.fit(x, y, verbose=0)  # the parent's threads are still there
        ours = model.predict(x, verbose=0).tobytes()
        print(status, theirs == ours, theirs != before)
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)], capture_output=True, text=True, timeout=2 * WAIT, check=False
    )
    assert done.stdout.split() == ["0", "True", "True"], done.stderr


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
@pytest.mark.parametrize("own", [False, True], ids=["another thread's block", "the block of the thread that forks"])
def test_a_forked_child_has_one_thread_for_blas_only_where_it_can_end_the_block(blas, own):
    """The child has none of its parent's other threads, and nobody in it would ever end their blocks."""
    block = SingleThreadedBlas()
    with ThreadPoolExecutor(1) as other:
        call = (lambda function, *args: function(*args)) if own else (lambda *args: other.submit(*args).result(WAIT))
        call(block.__enter__)
        try:
            child = os.fork()
            if child == 0:
                try:
                    os._exit(100 + sum(blas_threads()))
                finally:
                    os._exit(1)
            status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
            assert blas_threads() == [1] * len(blas)  # the parent is still inside
        finally:
            call(block.__exit__, None, None, None)
    assert status == 100 + (len(blas) if own else sum(blas))
    assert blas_threads() == blas


def test_ctrl_c_as_the_block_ends(monkeypatch, blas):
    """In the instructions before it is postponed."""

    class Pressed(limit.Uninterrupted):
        presses = 1

        def __enter__(self):
            if Pressed.presses:
                Pressed.presses = 0
                raise KeyboardInterrupt
            return super().__enter__()

    with pytest.raises(KeyboardInterrupt), SingleThreadedBlas():
        monkeypatch.setattr(limit, "Uninterrupted", Pressed)
    assert not SingleThreadedBlas._inside
    assert blas_threads() == blas
