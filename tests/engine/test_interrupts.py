"""Ctrl-C: it takes effect soon, but where nothing is half done; and what it leaves is a model to go on with."""

import gc
import inspect
import os
import random
import re
import signal
import subprocess
import sys
import threading
import time
import warnings
from types import SimpleNamespace

import numpy as np
import pytest
from support import assert_same

import minidl
from minidl import callbacks as c
from minidl.engine import blas, workers
from minidl.engine import interrupts as module
from minidl.engine.interrupts import Uninterrupted
from minidl.layers import Dense, Dropout, Layer
from minidl.optimizers import Adam

rng = np.random.default_rng(0)
X = rng.normal(size=(128, 6)).astype(np.float32)
Y = rng.integers(0, 3, 128)


def press(number=signal.SIGINT):
    """Ctrl-C, or another signal, from whichever thread."""
    signal.raise_signal(number)


def handlers():
    return [signal.getsignal(number) for number in module.POSTPONED]


@pytest.fixture(autouse=True)
def everything_is_given_back():
    """The handlers of signals, and BLAS's threads. No test library is called at a garbage collection meanwhile: what a signal's
    handler raises there is lost."""
    before, threads = handlers(), [library.num_threads for library in blas._blas()]
    callbacks = gc.callbacks.copy()
    gc.callbacks.clear()
    yield
    gc.callbacks.extend(callbacks)
    assert handlers() == before
    assert not Uninterrupted._inside
    assert not blas.SingleThreadedBlas._inside
    assert [library.num_threads for library in blas._blas()] == threads


class TimeIsUp(Exception):
    """What a handler of the user's raises."""


@pytest.fixture
def handled():
    """handled(number, error): that signal raises the error, until the test is over."""
    before = {}

    def handle(number, error):
        def handler(number, frame):
            raise error

        before.setdefault(number, signal.signal(number, handler))

    yield handle
    for number, handler in before.items():
        signal.signal(number, handler)


OTHER_SIGNALS = [
    pytest.param("SIGTERM", SystemExit, id="SIGTERM"),  # the end of a job that makes room for another
    pytest.param("SIGALRM", TimeIsUp, id="SIGALRM"),  # a limit on time
    pytest.param("SIGUSR1", TimeIsUp, id="SIGUSR1"),
]


@pytest.fixture(params=[pytest.param(("SIGINT", KeyboardInterrupt), id="SIGINT"), *(
    pytest.param(each.values, id=each.id) for each in OTHER_SIGNALS
)])  # fmt: skip
def stop(request, handled):
    """(a signal, what comes out of fit): Ctrl-C, and others with a handler that raises."""
    name, error = request.param
    if not hasattr(signal, name):
        pytest.skip(f"this system has no {name}")
    number = getattr(signal, name)
    if number != signal.SIGINT:
        handled(number, error)
    return number, error


@pytest.fixture(params=[1, 2])
def threads(request, threads_as_before):
    minidl.set_num_threads(request.param)


two_threads = pytest.mark.parametrize("threads", [2], indirect=True)


# ------------------------------------------------------------------------------------------------------- Uninterrupted


def interrupts(function, error=KeyboardInterrupt):
    """function() raises KeyboardInterrupt, or what the signal's handler raises; what it has put on the list that it is given."""
    done = []
    with pytest.raises(error):
        function(done.append)
    return done


def test_the_block_is_done_first():
    def block(done):
        with Uninterrupted() as block:
            done(block.asked)
            press()
            done(block.asked)
        done("too late")

    assert interrupts(block) == [False, True]


def test_without_a_signal_nothing_happens():
    with Uninterrupted() as block:
        pass
    assert not block.asked


def test_the_outer_one_of_two_blocks_counts():
    def blocks(done):
        with Uninterrupted():
            with Uninterrupted() as inner:
                press()
                done(inner.asked)  # False, so that nothing in it is left out
            done("rest of the outer block")

    assert interrupts(blocks) == [False, "rest of the outer block"]


def test_a_handler_of_the_users_is_called_at_the_end():
    calls = []
    before = signal.signal(signal.SIGINT, lambda number, frame: calls.append((number, frame.f_code.co_name)))
    try:
        with Uninterrupted() as block:
            press()
            press()
            assert not block.asked  # it raises nothing, so nothing may be left out
            assert calls == []
        assert calls == [(signal.SIGINT, "press")]
    finally:
        signal.signal(signal.SIGINT, before)


def test_a_signal_that_is_ignored_stays_ignored():
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with Uninterrupted():
            press()
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)


def test_other_threads_are_left_alone():
    """They are never interrupted, and may not set handlers."""
    seen, handler = [], signal.getsignal(signal.SIGINT)

    def work():
        with Uninterrupted() as block:
            seen.append((block.asked, Uninterrupted._inside, signal.getsignal(signal.SIGINT) is handler))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [(False, None, True)]


def child(function):
    """The exit status of a forked process that calls the function: 0 where that returns."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # Python warns of any fork beside threads
        process = os.fork()
    if process == 0:
        status = 1
        try:
            function()
            status = 0
        finally:
            os._exit(status)
    return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])


needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")


@needs_fork
def test_a_child_of_another_thread_is_interrupted_at_once():
    """The block is one of the parent's main thread, and nobody in the child would ever leave it."""
    statuses = []

    def pressed():
        with pytest.raises(KeyboardInterrupt):
            press()
        test_the_block_is_done_first()

    def block(done):
        with Uninterrupted():
            thread = threading.Thread(target=lambda: statuses.append(child(pressed)))
            thread.start()
            thread.join()
            press()
            done("rest of the parent's block")

    assert interrupts(block) == ["rest of the parent's block"]
    assert statuses == [0]


@needs_fork
def test_a_child_of_the_same_thread_is_in_the_block_too():
    with Uninterrupted():
        assert child(press) == 0


SUBINTERPRETER = """
import _xxsubinterpreters as interpreters
interpreters.run_string(interpreters.create(), '''
import importlib.util
spec = importlib.util.spec_from_file_location("interrupts", {path!r})
interrupts = importlib.util.module_from_spec(spec)
spec.loader.exec_module(interrupts)
with interrupts.Uninterrupted() as block:
    pass
assert not block._inside
''')
"""


def test_a_subinterpreter_which_gets_no_signals_is_left_alone():
    pytest.importorskip("_xxsubinterpreters", reason="this Python calls the module by another name")
    script = SUBINTERPRETER.format(
        path=inspect.getfile(Uninterrupted)
    )  # in a process where it leaves no trace in others
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_any_signal_with_a_handler_that_raises_waits_for_the_end(stop):
    number, error = stop

    def block(done):
        with Uninterrupted():
            press(number)
            done("rest of the block")
        done("too late")

    assert interrupts(block, error) == ["rest of the block"]


@pytest.mark.skipif(not hasattr(signal, "SIGHUP"), reason="this system has fewer signals")
def test_of_several_signals_every_handler_is_called_in_their_order(handled):
    calls = []

    def block(done):
        with Uninterrupted() as block:
            press(signal.SIGTERM)
            press(signal.SIGHUP)
            press(signal.SIGHUP)  # one is as good as two
            done(block.asked)
            press(signal.SIGINT)
            done(block.asked)
            done(list(calls))

    handled(signal.SIGTERM, SystemExit)
    handled(signal.SIGHUP, TimeIsUp)
    signal.signal(signal.SIGHUP, lambda number, frame: calls.append(number))
    assert interrupts(block) == [False, True, []]
    assert calls == [signal.SIGHUP]


@pytest.mark.skipif(not hasattr(signal, "SIGHUP"), reason="this system has fewer signals")
@pytest.mark.parametrize("after", [False, True], ids=["before it is set", "after it"])
@pytest.mark.parametrize("error", [SystemExit, ValueError])
def test_a_signal_while_the_handlers_are_changed(monkeypatch, handled, error, after):
    """The block is entered or not, its end is reached or not, and each time the handlers are the user's again."""
    names = ["SIGHUP", "SIGUSR1", "SIGTERM"]
    for name in names:
        handled(getattr(signal, name), error)
    before, real = handlers(), module._signal.signal
    for name in names:
        for moment in range(1, 9):  # of four handlers that are replaced and put back
            count = [0]

            def change(number, handler, count=count, moment=moment, name=name):
                count[0] += 1
                if after:
                    real(number, handler)
                if count[0] == moment:
                    press(getattr(signal, name))
                if not after:
                    real(number, handler)

            double = SimpleNamespace(signal=change, getsignal=signal.getsignal)
            monkeypatch.setattr(module, "_signal", double)
            with pytest.raises(error), Uninterrupted():
                pass
            monkeypatch.undo()
            assert handlers() == before
            assert Uninterrupted._inside is None


@pytest.mark.parametrize(("patience", "expected"), [(-1, ["first"]), (3600, ["first", "second"])])
def test_a_second_one_breaks_in_but_not_too_soon(patience, expected):
    def block(done):
        with Uninterrupted(patience):
            press()
            done("first")
            press()
            done("second")

    assert interrupts(block) == expected


def pressed_at(moment, number):
    """A function for sys.settrace: the signal comes at this instruction of the module. Its ``seen`` counts them, its ``function``
    tells whose it was."""

    def trace(frame, event, argument):
        if frame.f_code.co_filename != module.__file__:
            return None
        frame.f_trace_opcodes = True
        if event == "opcode":
            trace.seen += 1
            if trace.seen == moment:
                trace.function = frame.f_code.co_name
                press(number)
        return trace

    trace.seen, trace.function = 0, None
    return trace


@pytest.mark.parametrize("pending", [False, True], ids=["alone", "with another signal that waits"])
def test_a_second_one_at_any_instruction_of_the_end(handled, pending):
    """Whichever it is, the handlers are the user's again; and those that waited have been called, unless it came between two of
    these calls, when everything is back to normal."""
    calls, before = [], handlers()
    number, other = signal.SIGINT, signal.SIGTERM
    handled(other, SystemExit)
    signal.signal(other, lambda number, frame: calls.append(number))
    before = handlers()
    moment, reached, usual = 0, True, sys.gettrace()
    while reached:
        moment += 1
        trace = pressed_at(moment, number)
        try:
            with Uninterrupted(-1):
                press(number)
                if pending:
                    press(other)
                sys.settrace(trace)
        except KeyboardInterrupt:
            pass
        else:
            pytest.fail("the first one was lost")
        finally:
            sys.settrace(usual)
        reached = trace.seen >= moment
        assert handlers() == before, moment
        assert Uninterrupted._inside is None, moment
        if pending and trace.function != "_deliver":
            assert calls, moment
        calls.clear()
    assert moment > 50


@pytest.mark.skipif(not hasattr(signal, "SIGHUP"), reason="this system has fewer signals")
def test_no_signal_is_lost_where_the_block_is_not_entered(monkeypatch, handled):
    """One came when it was postponed already; then the handler of another, which was not yet, raises."""
    calls, real = [], module._signal.signal
    first, second = sorted((signal.SIGHUP, signal.SIGTERM), key=module.POSTPONED.index)
    handled(first, SystemExit)
    handled(second, TimeIsUp)
    signal.signal(first, lambda number, frame: calls.append(number))

    def change(number, handler):
        if number == second and not calls:
            press(first)
            assert not calls
            calls.append("came")
            press(second)
        real(number, handler)

    monkeypatch.setattr(module, "_signal", SimpleNamespace(signal=change, getsignal=signal.getsignal))
    with pytest.raises(TimeIsUp), Uninterrupted():
        pass
    assert calls == ["came", first]


# -------------------------------------------------------------------------------------------------- the pieces of a run


@two_threads
def test_a_second_one_does_not_wait_for_what_never_ends(threads, monkeypatch):
    """Both threads hang, this one too: the first is postponed, the second is not, and leaves the other thread behind."""
    monkeypatch.setattr(workers, "PATIENCE", -1.0)
    release, other = threading.Event(), threading.Event()

    def job(item):
        if threading.current_thread() is threading.main_thread():
            other.wait(10)
            press()
            press()
        else:
            other.set()
            release.wait(30)

    began = time.monotonic()
    try:
        with pytest.raises(KeyboardInterrupt):
            workers.run(job, range(2))
        assert time.monotonic() - began < 10
    finally:
        release.set()


@two_threads
def test_no_thread_works_on_after_an_interrupt(threads):
    """The items that have begun are done, the others left out."""
    begun, ended = [], []
    second = threading.Event()

    def job(item):
        begun.append(item)
        if threading.current_thread() is not threading.main_thread():
            press()
            second.set()
            time.sleep(0.05)  # the main thread could be gone by now
        else:
            second.wait(10)
        ended.append(item)

    with pytest.raises(KeyboardInterrupt):
        workers.run(job, range(50))
    assert sorted(begun) == sorted(ended)
    assert len(begun) <= 4


@two_threads
def test_nothing_is_left_out_where_the_users_handler_raises_nothing(threads):
    before = signal.signal(signal.SIGINT, lambda number, frame: None)
    try:
        assert workers.run(lambda item: (press(), item)[1], range(20)) == list(range(20))
    finally:
        signal.signal(signal.SIGINT, before)


@pytest.mark.parametrize("call", [1, 2])
def test_blas_gets_its_threads_back_where_the_limit_itself_is_interrupted(monkeypatch, call):
    """At its beginning, where the block is then not entered, and at its end."""
    real, calls = blas._set_blas_threads, []

    def set_threads(counts):
        real(counts)
        calls.append(counts)
        if len(calls) == call:
            press()

    monkeypatch.setattr(blas, "_set_blas_threads", set_threads)
    before = [library.num_threads for library in blas._blas()]

    def block(done):
        with blas.SingleThreadedBlas():
            done("entered")

    assert interrupts(block) == ["entered"] * (call - 1)
    assert calls == [[1] * len(before), before]


# --------------------------------------------------------------------------------------------------------- trainings


class Presser:
    """Ctrl-C, or another signal, at the count-th call, whichever of its users that comes from, in whichever thread."""

    def __init__(self, count, number=signal.SIGINT):
        self.count, self.number = count, number
        self.lock = threading.Lock()

    def __call__(self, *_):
        with self.lock:
            self.count -= 1
            now = self.count == 0
        if now:
            press(self.number)


class Pressing(Layer):
    """Passes everything on, and counts how many are at work in it."""

    def __init__(self, presser):
        super().__init__()
        self.presser = presser
        self.begun, self.ended = [], []

    def forward(self, x, *, training=False, rng=None):
        return self.through(x), None

    def backward(self, dy, cache):
        return self.through(dy), {}

    def through(self, array):
        self.begun.append(1)
        try:
            self.presser()
            return array.copy()
        finally:
            self.ended.append(1)

    @property
    def working(self):
        return len(self.begun) - len(self.ended)


class PressingAdam(Adam):
    """Presses in the middle of an update, which is that of all parameters at once."""

    presser = staticmethod(lambda: None)

    def apply_gradient(self, param, grad, slots, learning_rate, ops):
        quarter = -(-param.size // 4)
        for start in range(0, param.size, quarter):
            part = slice(start, start + quarter)
            of_it = {name: value[part] for name, value in slots.items()}
            super().apply_gradient(param[part], grad[part], of_it, learning_rate, ops)
            self.presser()


def build(presser=lambda: None):
    optimizer = PressingAdam(0.01)
    layers = [Dense(8, activation="relu", input_dim=6), Pressing(presser), Dropout(0.2), Dense(3, activation="softmax")]
    model = minidl.Sequential(layers, seed=1)
    model.compile(optimizer, "sparse_categorical_crossentropy", metrics=["accuracy"])
    return model


def states(model):
    """The model's state after every step, the first one before all."""
    found = [state(model)]
    look = c.LambdaCallback(on_train_batch_end=lambda batch, logs: found.append(state(model)))
    model.fit(X, Y, batch_size=32, epochs=3, validation_data=(X, Y), callbacks=look, verbose=0)
    return found


def state(model):
    slots = {name: {s: v.copy() for s, v in group.items()} for name, group in model.optimizer.slots.items()}
    return [model.get_weights(), model.optimizer.iterations, model.steps_trained, slots]


EXPECTED = states(build())


def check(model):
    """It is as after a whole number of steps, and trains on as a model does that was stopped there by a callback."""
    steps = model.steps_trained
    now = state(model)
    if steps == 0:
        now[3] = {}  # the state of an optimizer that has made no step is all zeros, made or not
    assert_same(now, EXPECTED[steps])
    assert model.layers[1].working == 0
    model.layers[1].presser = model.optimizer.presser = lambda: None
    other = build()

    def stop(batch, logs):
        other.stop_training = other.steps_trained == steps

    if steps:
        other.fit(X, Y, batch_size=32, epochs=3, callbacks=c.LambdaCallback(on_train_batch_end=stop), verbose=0)
    other.epochs_trained = model.epochs_trained
    for each in (model, other):
        each.fit(X, Y, batch_size=32, verbose=0)
    assert_same(state(model), state(other))


def interrupted(model, more=(), error=KeyboardInterrupt):
    """Whether this error came out of fit."""
    try:
        model.fit(X, Y, batch_size=32, epochs=3, validation_data=(X, Y), callbacks=more, verbose=0)
    except error:
        return True
    return False


@pytest.mark.parametrize("place", ["layer", "optimizer", "callback"])
def test_a_stop_finishes_no_half_step(place, threads, stop):
    number, error = stop
    chance = np.random.default_rng(7)
    for count in chance.integers(1, 40, size=12 if number == signal.SIGINT else 4):
        presser = Presser(int(count), number)
        model = build(presser if place == "layer" else lambda: None)
        if place == "optimizer":
            model.optimizer.presser = presser
        hooks = c.LambdaCallback(**dict.fromkeys(c.HOOKS, presser)) if place == "callback" else c.LambdaCallback()
        assert interrupted(model, hooks, error)
        check(model)


@two_threads
def test_a_stop_at_any_time(threads, stop):
    """Signals from outside, at random times; what is interrupted is a whole fit, its beginning and its end included."""
    number, error = stop
    chance = random.Random(3)
    began = time.perf_counter()
    interrupted(build())
    length = time.perf_counter() - began
    came = 0
    for _ in range(60 if number == signal.SIGINT else 20):
        model = build()
        timer = threading.Timer(chance.uniform(0, 1.2 * length), lambda: os.kill(os.getpid(), number))
        try:
            timer.start()
            came += interrupted(model, error=error)
            timer.join()
            time.sleep(0.001)  # where fit was the faster one, the interrupt comes here
        except error:
            pass
        assert not blas.SingleThreadedBlas._inside
        check(model)
    assert came


def test_the_interrupt_says_where_it_stopped_and_the_history_is_there():
    model = build()

    def at(epoch, batch):
        return c.LambdaCallback(
            on_train_batch_end=lambda b, logs: press() if (model.epochs_trained, b) == (epoch, batch) else None
        )

    with pytest.raises(KeyboardInterrupt) as caught:
        model.fit(X, Y, batch_size=32, epochs=3, callbacks=at(1, 2), verbose=0)
    assert caught.value.__notes__ == [
        "fit was stopped in epoch 2 of 3, after 3 of 4 batches. model 'sequential' is as step 7 of its life has left "
        "it; model.history holds the epochs that are done."
    ]
    assert model.history.epoch == [0]
    assert list(model.history.history) == ["accuracy", "loss"]
    end = c.LambdaCallback(on_train_end=lambda logs: press())
    with pytest.raises(KeyboardInterrupt) as caught:
        model.fit(X, Y, batch_size=32, callbacks=end, verbose=0)
    assert caught.value.__notes__[0].startswith("fit was stopped after its last epoch. ")


def test_evaluate_and_predict_are_interrupted_too(threads):
    for count in (1, 2, 3):
        presser = Presser(count)
        model = build(presser)
        before = state(model)
        with pytest.raises(KeyboardInterrupt):
            model.evaluate(X, Y, batch_size=32, verbose=0)
        presser.count = count
        with pytest.raises(KeyboardInterrupt):
            model.predict(X, batch_size=32, verbose=0)
        presser.count = count
        assert_same(state(model), before)
        assert model.layers[1].working == 0


PROGRAM = """
import numpy as np, minidl
from minidl.layers import Dense
model = minidl.Sequential([Dense(8, activation="relu", input_dim=6), Dense(3, activation="softmax")], seed=1)
model.compile("adam", "sparse_categorical_crossentropy")
begins = minidl.callbacks.LambdaCallback(on_epoch_begin=lambda epoch, logs: epoch == 1 and print("begins", flush=True))
model.fit(np.ones((2000, 6)), np.zeros(2000), epochs=10**6, verbose=0, callbacks=begins)
"""


@pytest.mark.skipif(os.name != "posix", reason="signals between processes")
def test_ctrl_c_in_a_program():
    with subprocess.Popen(
        [sys.executable, "-c", PROGRAM], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout.readline() == "begins\n"
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=60)
    assert process.returncode == -signal.SIGINT
    *_, kind, note = errors.strip().splitlines()
    assert kind == "KeyboardInterrupt"
    assert re.match(
        r"fit was stopped in epoch \d+ of 1000000, after \d+ of 63 batches\. model 'sequential' is as", note
    )
