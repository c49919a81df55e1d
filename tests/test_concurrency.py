"""Threads of the user's, calls from inside a training, and processes that fork: results as of a call alone, and no deadlock.

What could hang, or end the process, runs in a process of its own, which ends itself in time.
"""

import copy
import multiprocessing
import os
import subprocess
import sys
import textwrap
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from minidl import Sequential, set_num_threads
from minidl.callbacks import LambdaCallback
from minidl.layers import Conv2D, Dense, Dropout, Flatten, Layer, MaxPooling2D

WAIT = 60  # seconds after which something that would hang counts as a failure


@pytest.fixture(autouse=True)
def _two_threads(threads_as_before):
    set_num_threads(2)


def samples(n):
    rng = np.random.default_rng(0)
    return rng.random((n, 10, 10, 1)), rng.integers(0, 4, n)


def cnn(seed=1):
    layers = [
        Conv2D(6, (3, 3), activation="relu", input_shape=(10, 10, 1)),
        MaxPooling2D(),
        Dropout(0.3),
        Flatten(),
        Dense(500, activation="relu"),  # 48,000 weights
        Dense(500, activation="relu"),  # 250,000: together more than the optimizer updates as one piece
        Dense(4, activation="softmax"),
    ]
    model = Sequential(layers, seed=seed)
    model.compile(loss="sparse_categorical_crossentropy", optimizer="adam", metrics=["accuracy"])
    return model


def bits(model):
    """All that a training leaves in a model."""
    slots = [value for each in model.optimizer.slots.values() for value in each.values()]
    return b"".join(array.tobytes() for array in [*model.get_weights(), *slots]), model.steps_trained


# -------------------------------------------------------------------------------------------------- the user's threads


def test_two_models_train_at_once_each_with_calls_of_its_own():
    """fit, evaluate, predict, train_on_batch and loss_and_gradients of two models, all mixed up in time."""
    x, y = samples(130)

    def work(seed):
        model, results = cnn(seed), []
        for _ in range(3):
            results.append(model.fit(x, y, batch_size=50, verbose=0, validation_split=0.2).history)
            results.append(model.evaluate(x, y, verbose=0))
            results.append(model.predict(x, verbose=0).tobytes())
            results.append(model.train_on_batch(x[:40], y[:40]))
            results.append(model.loss_and_gradients(x, y, training=True)[0])
        return results, bits(model)

    alone = [work(seed) for seed in range(2)]
    assert alone[0] != alone[1]
    with ThreadPoolExecutor(2) as pool:
        for _ in range(2):
            assert list(pool.map(work, range(2), timeout=WAIT)) == alone


def test_many_threads_use_one_model():
    model = cnn()
    x, y = samples(300)
    calls = [
        lambda: model.predict(x, verbose=0).tobytes(),
        lambda: model.predict(x[:7], verbose=0).tobytes(),
        lambda: model.evaluate(x, y, verbose=0),
        lambda: model.evaluate(x[100:], y[100:], batch_size=33, verbose=0),
    ]
    alone = [call() for call in calls]
    with ThreadPoolExecutor(8) as pool:
        together = [pool.submit(call) for _ in range(8) for call in calls]
        assert [future.result(WAIT) for future in together] == alone * 8


def test_the_first_thread_builds_the_model_and_the_others_wait():
    """A second build would give the model other arrays while the first thread is at work on its own."""
    begun, go_on, builds = threading.Event(), threading.Event(), []

    class Slow(Layer):
        def build(self, input_shape, rng, dtype):
            builds.append(threading.get_ident())
            begun.set()
            go_on.wait(1)
            return input_shape

        def forward(self, x, *, training=False, rng=None):
            return x, None

    model = Sequential([Dense(3), Slow(), Dense(2)], seed=0)
    x = np.ones((4, 5))
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(model.predict, x, verbose=0)
        assert begun.wait(WAIT)
        second = pool.submit(model.predict, x, verbose=0)
        with pytest.raises(TimeoutError):
            second.result(0.1)
        go_on.set()
        np.testing.assert_array_equal(first.result(WAIT), second.result(WAIT))
    assert len(builds) == 1


def test_a_generator_may_wait_for_another_models_thread():
    """Its first batch builds the model that it is for; meanwhile the other one predicts, as an actor does."""
    actor = Sequential([Dense(3, input_dim=4)], seed=1)
    x = np.random.default_rng(0).normal(size=(6, 4))

    def batches():
        with ThreadPoolExecutor(1) as pool:
            while True:
                yield x, pool.submit(actor.predict, x, verbose=0).result(WAIT)

    model = Sequential([Dense(3)], seed=2)
    model.compile("sgd", "mse")
    model.fit(batches(), steps_per_epoch=2, verbose=0)
    assert model.steps_trained == 2


@pytest.mark.parametrize("call", ["fit", "train_on_batch"])
def test_a_second_thread_cannot_train_the_model_as_well(call):
    """The steps of both would be mixed up in the same arrays; the first goes on as if alone."""
    x, y = samples(120)
    model, alone = cnn(), cnn()
    errors, copies = [], []

    def train_too():
        try:
            getattr(model, call)(x, y, **{"verbose": 0} if call == "fit" else {})
        except RuntimeError as error:
            errors.append(str(error))
        model.predict(x, verbose=0)  # which changes nothing
        copied = copy.deepcopy(model)
        copied.fit(x, y, verbose=0)
        copies.append(copied.steps_trained)

    def meanwhile(batch, logs):
        thread = threading.Thread(target=train_too)
        thread.start()
        thread.join(WAIT)

    settings = {"batch_size": 50, "epochs": 2, "verbose": 0}
    model.fit(x, y, callbacks=[LambdaCallback(on_train_batch_end=meanwhile)], **settings)
    alone.fit(x, y, **settings)
    said = (
        "another thread is training model 'sequential': wait until it has done, or train a copy, copy.deepcopy(model)."
    )
    assert errors == [said] * 6
    assert copies == [steps + 4 for steps in range(1, 7)]
    assert bits(model) == bits(alone)
    with ThreadPoolExecutor(1) as pool:  # any thread may, one after the other, after an error too
        with pytest.raises(ValueError, match="x is empty"):
            model.fit(x[:0], y[:0], verbose=0)
        with pytest.raises(ZeroDivisionError):
            model.fit(x, y, verbose=0, callbacks=[LambdaCallback(on_train_batch_end=lambda batch, logs: 1 / 0)])
        pool.submit(getattr(model, call), x, y).result(WAIT)


# ------------------------------------------------------------------------------------------ calls from inside a training


def test_a_training_inside_the_callback_of_another_models_training():
    x, y = samples(120)

    def trained(model, callbacks=()):
        history = model.fit(x, y, batch_size=50, epochs=2, verbose=0, validation_split=0.2, callbacks=[*callbacks])
        return bits(model), history.history

    alone = trained(cnn(1))
    inner = [trained(cnn(2))] * 2
    found, second = [], []

    def each_epoch(epoch, logs):
        found.append(trained(cnn(2)))

    def each_batch(batch, logs):
        second.append(cnn(3).fit(x, y, verbose=0).history)

    callbacks = [LambdaCallback(on_epoch_begin=each_epoch, on_train_batch_end=each_batch)]
    assert trained(cnn(1), callbacks) == alone
    assert found == inner
    assert second == [cnn(3).fit(x, y, verbose=0).history] * 4


def test_looking_at_the_model_in_training_changes_nothing_in_it():
    x, y = samples(120)
    watched, alone = cnn(), cnn()

    def look(*_):
        watched.evaluate(x, y, verbose=0)
        watched.predict(x[:33], verbose=0)
        watched.loss_and_gradients(x, y, training=True)
        watched.set_weights(watched.get_weights())

    hooks = dict.fromkeys(["on_train_batch_begin", "on_train_batch_end", "on_epoch_begin", "on_epoch_end"], look)
    settings = {"batch_size": 50, "epochs": 2, "verbose": 0, "validation_split": 0.2}
    history = watched.fit(x, y, callbacks=[LambdaCallback(**hooks, on_test_batch_end=look)], **settings)
    assert history.history == alone.fit(x, y, **settings).history
    assert bits(watched) == bits(alone)


def test_a_training_inside_a_callback_of_the_models_own_training():
    """The steps are made in the order of the calls, as train_on_batch makes them."""
    x, y = samples(90)
    model, by_hand = cnn(), cnn()

    def more(batch, logs):
        model.fit(x[:35], y[:35], batch_size=20, shuffle=False, verbose=0)

    history = model.fit(
        x, y, batch_size=60, shuffle=False, verbose=0, callbacks=[LambdaCallback(on_train_batch_end=more)]
    )
    losses = []
    for first, last in [(0, 60), (60, 90)]:
        losses.append(by_hand.train_on_batch(x[first:last], y[first:last])[0])
        for start, stop in [(0, 20), (20, 35)]:
            by_hand.train_on_batch(x[start:stop], y[start:stop])
    assert bits(model) == bits(by_hand)
    assert history.history["loss"] == [pytest.approx((60 * losses[0] + 30 * losses[1]) / 90, rel=1e-12)]


def test_the_number_of_threads_may_change_in_the_middle_of_a_training():
    x, y = samples(120)
    settings = {"batch_size": 50, "epochs": 3, "verbose": 0}
    alone, changed = cnn(), cnn()
    alone.fit(x, y, **settings)
    numbers = iter([1, 3, 4, 2, 1, 2, 3, 1, 4])
    change = LambdaCallback(on_train_batch_begin=lambda batch, logs: set_num_threads(next(numbers)))
    done = threading.Event()

    def disturb():
        while not done.wait(0.001):
            set_num_threads(1 + np.random.default_rng().integers(4))

    disturber = threading.Thread(target=disturb, daemon=True)
    disturber.start()
    changed.fit(x, y, callbacks=[change], **settings)
    done.set()
    disturber.join(WAIT)
    assert bits(changed) == bits(alone)


# ----------------------------------------------------------------------------------------------------------------- fork

SETUP = """
    import os, signal, sys, threading, time, warnings
    import numpy as np
    try:
        import scipy.linalg  # it brings a BLAS of its own; Numba would load it later, after the first count
    except ImportError:
        pass
    from minidl import Sequential, set_num_threads
    from minidl.engine import runner
    from minidl.layers import Conv2D, Dense, Flatten, MaxPooling2D
    from threadpoolctl import threadpool_info

    runner.WORTH_A_THREAD = 1  # as in conftest.py
    warnings.simplefilter("ignore", DeprecationWarning)  # Python warns of any fork beside threads
    set_num_threads(2)

    def make():
        layers = [Conv2D(4, (3, 3), activation="relu", input_shape=(8, 8, 1)), MaxPooling2D(), Flatten(), Dense(4, "softmax")]
        model = Sequential(layers, seed=1)
        model.compile(loss="sparse_categorical_crossentropy")
        return model

    rng = np.random.default_rng(0)
    x, y = rng.random((130, 8, 8, 1)), rng.integers(0, 4, 130)

    def trained():
        model = make()
        model.fit(x, y, verbose=0)
        return b"".join(value.tobytes() for value in [*model.get_weights(), model.predict(x, verbose=0)])
"""
needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")


def output(script, folder, **environment):
    """What the script prints, in a process of its own."""
    path = folder / "script.py"
    path.write_text(textwrap.dedent(SETUP) + textwrap.dedent(script), "utf-8")
    done = subprocess.run(
        [sys.executable, path],
        capture_output=True,
        text=True,
        timeout=2 * WAIT,
        env={**os.environ, **environment},
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


@needs_fork
def test_a_fork_while_another_thread_trains(tmp_path):
    """The child trains the same, also the model that was in training, and has BLAS's threads back."""
    script = """
        expected, other = trained(), make()
        threads = [pool["num_threads"] for pool in threadpool_info()]
        done = threading.Event()

        def train():
            while not done.is_set():
                other.fit(x, y, batch_size=20, verbose=0)

        thread = threading.Thread(target=train)
        thread.start()
        results = []
        for i in range(15):
            time.sleep(0.002 * (i % 5))
            child = os.fork()
            if child == 0:
                signal.alarm(30)
                other.fit(x, y, verbose=0)
                same = trained() == expected
                os._exit(0 if same and [pool["num_threads"] for pool in threadpool_info()] == threads else 1)
            results.append(os.waitpid(child, 0)[1])
        done.set()
        thread.join()
        print(*results, trained() == expected)
    """
    assert output(script, tmp_path) == ["0"] * 15 + ["True"]


@needs_fork
def test_a_fork_inside_a_training(tmp_path):
    """The child goes on with the training that its parent was in, and BLAS stays limited until that has ended."""
    script = """
        from minidl.callbacks import LambdaCallback
        model, children = make(), []
        threads = [pool["num_threads"] for pool in threadpool_info()]

        def fork(batch, logs):
            if batch == 2:
                children.append(os.fork())
                signal.alarm(50)
            assert {pool["num_threads"] for pool in threadpool_info()} == {1}

        model.fit(x, y, verbose=0, callbacks=[LambdaCallback(on_train_batch_end=fork)])
        assert [pool["num_threads"] for pool in threadpool_info()] == threads
        weights = hash(b"".join(value.tobytes() for value in model.get_weights()))
        if children[0]:
            assert os.waitpid(children[0], 0)[1] == 0
        print(weights, flush=True)
        if not children[0]:
            os._exit(0)
    """
    theirs, ours = output(script, tmp_path, PYTHONHASHSEED="0")
    assert theirs == ours


@needs_fork
def test_a_fork_while_another_thread_compiles(tmp_path):
    """The child must not wait for the lock of a compiler that is at work in its parent alone."""
    script = """
        from numba.core.compiler_lock import global_compiler_lock

        def make():  # of few kernels: each is compiled by both processes
            model = Sequential([Flatten(input_shape=(8, 8, 1)), Dense(8, "relu"), Dense(4, "softmax")], seed=1)
            model.compile("sgd", "sparse_categorical_crossentropy")
            return model

        thread = threading.Thread(target=trained)
        thread.start()
        while global_compiler_lock._lock.acquire(blocking=False):
            global_compiler_lock._lock.release()
        child = os.fork()
        if child == 0:
            signal.alarm(50)
            print(hash(trained()), flush=True)
            os._exit(0)
        status = os.waitpid(child, 0)[1]
        thread.join()
        print(hash(trained()), status)
    """
    theirs, ours, status = output(script, tmp_path, PYTHONHASHSEED="0", NUMBA_CACHE_DIR=str(tmp_path / "empty"))
    assert (theirs, status) == (ours, "0")


@needs_fork
def test_a_fork_while_another_thread_builds_a_model(tmp_path):
    script = """
        from minidl.layers import Layer
        begun = threading.Event()

        class Slow(Layer):
            def build(self, input_shape, rng, dtype):
                begun.set()
                time.sleep(0.2)
                return input_shape

            def forward(self, x, *, training=False, rng=None):
                return x, None

        def predict():
            return Sequential([Slow(), Dense(2)], seed=0).predict(np.ones((3, 4)), verbose=0).tobytes()

        expected = predict()
        begun.clear()
        thread = threading.Thread(target=predict)
        thread.start()
        begun.wait()
        child = os.fork()
        if child == 0:
            signal.alarm(50)
            os._exit(0 if predict() == expected else 1)
        print(os.waitpid(child, 0)[1])
        thread.join()
    """
    assert output(script, tmp_path) == ["0"]


@pytest.mark.parametrize("method", ["fork", "forkserver", "spawn"])
def test_processes_of_every_kind(tmp_path, method):
    """Made after the import, and after a training; several at a time; a pool's too."""
    script = f"""
        import multiprocessing

        def work(pipe):
            signal.alarm(50)
            pipe.send(trained())
            pipe.close()

        def from_pool(seed):
            return trained()

        if __name__ == "__main__":
            context = multiprocessing.get_context({method!r})

            def children(count):
                receivers, senders = zip(*(context.Pipe(duplex=False) for _ in range(count)))
                processes = [context.Process(target=work, args=(sender,)) for sender in senders]
                for process, sender in zip(processes, senders):
                    process.start()
                    sender.close()
                results = [receiver.recv() for receiver in receivers]
                for process in processes:
                    process.join()
                    assert process.exitcode == 0, process.exitcode
                return results

            before = children(1)
            expected = trained()
            after = children(2)
            with context.Pool(1) as pool:
                pooled = pool.map(from_pool, range(2))
            print(*(result == expected for result in before + after + pooled))
    """
    if method not in multiprocessing.get_all_start_methods():
        pytest.skip(f"this system has no {method}")
    assert output(script, tmp_path) == ["True"] * 5


# ------------------------------------------------------------------------------------- where else a model trains and predicts


def test_in_asyncio(tmp_path):
    """Trainings and predictions in threads that a loop waits for; and Ctrl-C, which asyncio handles itself."""
    script = """
        import asyncio

        expected = trained()
        model = make()
        model.fit(x, y, verbose=0)
        predicted = model.predict(x, verbose=0)

        async def many():
            jobs = [asyncio.to_thread(trained) for _ in range(3)]
            jobs += [asyncio.to_thread(model.predict, x, verbose=0) for _ in range(5)]
            *models, a, b, c, d, e = await asyncio.gather(*jobs)
            return all(each == expected for each in models) and all((each == predicted).all() for each in (a, b, c, d, e))

        print(asyncio.run(many()))

        async def interrupted():
            begin.set()
            model.fit(x, y, epochs=10**6, verbose=0)

        def press_twice():  # asyncio takes the first as a wish to be granted when the coroutine next waits for something
            begin.wait()
            for _ in range(2):
                time.sleep(0.3)
                os.kill(os.getpid(), signal.SIGINT)

        begin = threading.Event()
        press = threading.Thread(target=press_twice)
        press.start()
        try:
            asyncio.run(interrupted())
        except KeyboardInterrupt:
            print("interrupted")
        press.join()
        before = model.steps_trained
        model.fit(x, y, verbose=0)
        print(model.steps_trained - before)
    """
    expected = ["True", "interrupted", "5"]
    if os.name == "posix":
        assert output(script, tmp_path) == expected


@pytest.mark.parametrize("backend", ["loky", "threading", "multiprocessing"])
def test_in_joblib(tmp_path, backend):
    """Its workers are threads, or processes, also of a kind of its own; a grid search of scikit-learn's runs in them."""
    pytest.importorskip("joblib")
    script = f"""
        from joblib import Parallel, delayed

        def own():
            runner.WORTH_A_THREAD = 1  # loky's processes have not run this script
            return trained()

        def shared(model, part):
            return model.predict(part, verbose=0)

        if __name__ == "__main__":
            expected = trained()
            with Parallel(n_jobs=2, backend={backend!r}) as parallel:
                print(*(each == expected for each in parallel(delayed(own)() for _ in range(3))))
                model = make()
                model.fit(x, y, verbose=0)
                found = parallel(delayed(shared)(model, part) for part in (x[:65], x[65:]))  # the model is pickled
                print(np.allclose(np.concatenate(found), model.predict(x, verbose=0), rtol=1e-5, atol=1e-6))
    """
    assert output(script, tmp_path) == ["True"] * 4


@pytest.mark.skipif(os.name != "posix", reason="signals between processes")
def test_in_dask(tmp_path):
    """In the threads of a worker; Ctrl-C ends the program while one of them trains, and no process is left behind."""
    pytest.importorskip("distributed", reason="Dask's workers are not installed: pip install distributed")
    script = f"""
        from pathlib import Path
        from dask.distributed import Client, LocalCluster
        from minidl.callbacks import LambdaCallback

        BEGUN = Path({str(tmp_path / "begun")!r})

        def own():
            runner.WORTH_A_THREAD = 1  # the worker may not have run this script
            return trained()

        def predicted(model):
            return model.predict(x, verbose=0).tobytes()

        def endless():
            begun = LambdaCallback(on_epoch_begin=lambda epoch, logs: BEGUN.touch())
            make().fit(x, y, epochs=10**6, verbose=0, callbacks=[begun])

        def press(worker):  # a terminal tells all of its processes
            while not BEGUN.exists():
                time.sleep(0.01)
            for process in (worker, os.getpid()):
                os.kill(process, signal.SIGINT)

        if __name__ == "__main__":
            expected, model = trained(), make()
            model.fit(x, y, verbose=0)
            cluster = LocalCluster(
                n_workers=1, threads_per_worker=3, dashboard_address=None, local_directory={str(tmp_path)!r}
            )
            try:
                with cluster, Client(cluster) as client:
                    print(*(each.result() == expected for each in [client.submit(own, pure=False) for _ in range(2)]))
                    one = client.scatter(model)  # the worker's threads share it
                    found = [client.submit(predicted, one, pure=False) for _ in range(6)]
                    print(all(each.result() == predicted(model) for each in found))
                    worker = client.submit(os.getpid).result()
                    threading.Thread(target=press, args=(worker,)).start()
                    client.submit(endless).result()
            except KeyboardInterrupt:
                print("interrupted")
            try:
                os.kill(worker, 0)
            except ProcessLookupError:
                print("gone")
            print(trained() == expected)
    """
    assert output(script, tmp_path) == ["True", "True", "True", "interrupted", "gone", "True"]


def test_in_a_web_server(tmp_path):
    """Each request is a thread; a training in another one goes on meanwhile, and the server ends while it does."""
    script = """
        import http.server, io, urllib.request
        from concurrent.futures import ThreadPoolExecutor

        model, other = make(), make()
        model.fit(x, y, verbose=0)
        predicted = model.predict(x, verbose=0)
        stop = threading.Event()

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self):
                rows = np.load(io.BytesIO(self.rfile.read(int(self.headers["Content-Length"]))))
                answer = model.predict(rows, verbose=0).tobytes()
                self.send_response(200)
                self.end_headers()
                self.wfile.write(answer)

            def log_message(self, *_):
                pass

        def train():
            while not stop.is_set():
                other.fit(x, y, batch_size=20, verbose=0)

        def ask(_):
            body = io.BytesIO()
            np.save(body, x)
            request = urllib.request.Request(f"http://127.0.0.1:{server.server_port}", body.getvalue())
            opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
            return opener.open(request, timeout=50).read() == predicted.tobytes()

        with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
            threads = [threading.Thread(target=each) for each in (server.serve_forever, train)]
            for thread in threads:
                thread.start()
            with ThreadPoolExecutor(4) as clients:
                print(all(clients.map(ask, range(12))))
            server.shutdown()
            stop.set()
            for thread in threads:
                thread.join()
        print(other.steps_trained > 0)
    """
    assert output(script, tmp_path) == ["True", "True"]


def test_in_a_notebook(tmp_path):
    """Cells are run in one process and thread; a cell that is interrupted, or fails, leaves a model to go on with."""
    pytest.importorskip("IPython")
    script = """
        from IPython.core.interactiveshell import InteractiveShell

        shell = InteractiveShell.instance(user_ns=globals())
        shell.run_cell("model = make(); model.fit(x, y, verbose=0)")
        timer = threading.Timer(0.2, lambda: os.kill(os.getpid(), signal.SIGINT))
        timer.start()
        found = shell.run_cell("model.fit(x, y, epochs=10**6, verbose=0)", silent=True)
        print("KeyboardInterrupt" if isinstance(found.error_in_exec, KeyboardInterrupt) else repr(found.error_in_exec))
        shell.run_cell("steps = model.steps_trained; model.fit(x, y, verbose=0); print(model.steps_trained - steps)")
    """
    assert "KeyboardInterrupt" in output(script, tmp_path)[-2:]


@pytest.mark.skipif(os.name != "posix", reason="signals between processes")
@pytest.mark.parametrize("method", ["fork", "forkserver", "spawn"])
def test_a_worker_that_is_told_to_end_ends(tmp_path, method):
    """In the middle of a training: at once by a SIGTERM, after a whole step by a Ctrl-C; and its parent goes on."""
    script = f"""
        import multiprocessing

        def work(pipe):
            model = make()
            from minidl.callbacks import LambdaCallback
            begun = LambdaCallback(on_epoch_begin=lambda epoch, logs: pipe.send("begun") if epoch == 1 else None)
            try:
                model.fit(x, y, epochs=10**6, verbose=0, callbacks=[begun])
            except KeyboardInterrupt:
                pipe.send(sum(int(value) for value in [model.steps_trained == model.optimizer.iterations]))

        if __name__ == "__main__":
            context = multiprocessing.get_context({method!r})
            expected = trained()
            for number in (signal.SIGTERM, signal.SIGINT):
                ours, theirs = context.Pipe()
                process = context.Process(target=work, args=(theirs,))
                process.start()
                assert ours.recv() == "begun"
                os.kill(process.pid, number)
                process.join({WAIT})
                print(process.exitcode, *([ours.recv()] if number == signal.SIGINT else []))
            print(trained() == expected)
    """
    if method not in multiprocessing.get_all_start_methods():
        pytest.skip(f"this system has no {method}")
    assert output(script, tmp_path) == ["-15", "0", "1", "True"]
