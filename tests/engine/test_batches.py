"""Batches that the user's code makes: the numbers of arrays, one ahead in a thread that ends, and errors that name the batch."""

import os
import random
import re
import signal
import threading
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minidl import Sequential
from minidl.callbacks import BackupAndRestore, EarlyStopping, LambdaCallback
from minidl.engine.batches import is_stream, one_ahead
from minidl.layers import Dense, Flatten
from minidl.utils import PyDataset

N, SIZE = 60, 10
RNG = np.random.default_rng(0)
X, Y = RNG.random((N, 4)).astype(np.float32), RNG.integers(0, 3, N)
WEIGHTS = RNG.random(N)


def mlp(seed=1, **options):
    model = Sequential([Dense(8, activation="relu", input_dim=4), Dense(3, activation="softmax")], seed=seed, **options)
    model.compile(loss="sparse_categorical_crossentropy", optimizer="adam", metrics=["accuracy"])
    return model


def bits(model):
    return [weight.tobytes() for weight in model.get_weights()]


def batch(i, size=SIZE):
    where = slice(i * size, (i + 1) * size)
    return X[where], Y[where]


def batches(count=N // SIZE):
    yield from (batch(i) for i in range(count))


def forever():
    while True:
        yield from batches()


class ByNumber:
    """Batches by their number, and no more than Python's two methods."""

    def __init__(self):
        self.made = []

    def __len__(self):
        return N // SIZE

    def __getitem__(self, i):
        self.made.append(i)
        return batch(i)


class Anew:
    """As a DataLoader: iterated over anew in each epoch."""

    def __iter__(self):
        return batches()


class SameArrays:
    """Writes every batch into the same arrays, as generators do that save memory."""

    def __iter__(self):
        x, y = np.empty((SIZE, 4), np.float32), np.empty(SIZE, int)
        for i in range(N // SIZE):
            x[...], y[...] = batch(i)
            yield x, y
        x[...], y[...] = np.nan, -1


@pytest.fixture(autouse=True)
def _no_thread_is_left():
    yield
    assert [thread.name for thread in threading.enumerate() if thread.name.startswith("minidl-data")] == []


SOURCES = {
    "generator": lambda epochs: (forever(), N // SIZE),
    "finite generator": lambda epochs: ((pair for _ in range(epochs) for pair in batches()), N // SIZE),
    "zip": lambda epochs: (zip(X.reshape(6, SIZE, 4), Y.reshape(6, SIZE), strict=True), None),
    "iterable": lambda epochs: (Anew(), None),
    "same arrays": lambda epochs: (SameArrays(), None),
    "by number": lambda epochs: (ByNumber(), None),
}


@pytest.mark.parametrize("name", SOURCES)
def test_a_stream_trains_to_the_bits_of_arrays(name):
    epochs = 1 if name == "zip" else 3
    expected, model = mlp(), mlp()
    told = expected.fit(X, Y, batch_size=SIZE, epochs=epochs, shuffle=False, validation_data=(X, Y), verbose=0)
    source, steps = SOURCES[name](epochs)
    held_out, held_out_steps = SOURCES[name](epochs)
    history = model.fit(
        source,
        steps_per_epoch=steps,
        epochs=epochs,
        shuffle=False,
        validation_data=held_out,
        validation_steps=held_out_steps,
        verbose=0,
    )
    assert bits(model) == bits(expected)
    assert list(history.history) == list(told.history)
    for key, values in told.history.items():
        np.testing.assert_allclose(history.history[key], values, rtol=1e-12)
    source, steps = SOURCES[name](1)
    result = model.evaluate(source, steps=steps, verbose=0, return_dict=True)
    assert result == pytest.approx(model.evaluate(X, Y, verbose=0, return_dict=True))
    source, steps = SOURCES[name](1)
    np.testing.assert_allclose(model.predict(source, steps=steps, verbose=0), model.predict(X, verbose=0), rtol=1e-6)


def test_batches_by_number_are_shuffled_as_the_seed_says():
    source = ByNumber()
    mlp().fit(source, epochs=3, verbose=0)
    epochs = [source.made[i : i + 6] for i in range(0, 18, 6)]
    assert all(sorted(epoch) == list(range(6)) for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) == 3
    again = ByNumber()
    mlp().fit(again, epochs=3, verbose=0)
    assert again.made == source.made


def test_steps_per_epoch_takes_some_of_the_batches():
    source = ByNumber()
    model = mlp()
    assert model.fit(source, steps_per_epoch=2, epochs=3, verbose=0).params["steps"] == 2
    assert len(source.made) == 6
    assert model.optimizer.iterations == 6


def test_nothing_is_taken_beyond_what_the_fit_needs():
    source = forever()
    mlp().fit(source, steps_per_epoch=4, epochs=2, verbose=0)
    x, y = next(source)  # the ninth: the third of the second round
    np.testing.assert_array_equal((x[0, 0], y[0]), (batch(2)[0][0, 0], batch(2)[1][0]))


def test_weights_of_samples_and_classes():
    expected, model = mlp(), mlp()
    weights = {0: 1.0, 2: 5.0}
    expected.fit(X, Y, batch_size=SIZE, shuffle=False, sample_weight=WEIGHTS, class_weight=weights, verbose=0)
    model.fit(((*batch(i), WEIGHTS[i * SIZE : (i + 1) * SIZE]) for i in range(6)), class_weight=weights, verbose=0)
    assert bits(model) == bits(expected)


def test_a_model_without_a_shape_is_built_from_the_first_batch():
    for source in (batches(), ByNumber(), Anew()):
        model = Sequential([Dense(3, activation="softmax")], seed=0)
        model.compile(loss="sparse_categorical_crossentropy", optimizer="adam")
        assert model.fit(source, shuffle=False, verbose=0).epoch == [0]
        assert model.optimizer.iterations == 6
        twin = Sequential([Dense(3, activation="softmax")], seed=0)
        twin.compile(loss="sparse_categorical_crossentropy", optimizer="adam")
        twin.fit(X, Y, batch_size=SIZE, shuffle=False, verbose=0)
        assert bits(model) == bits(twin)


def test_batches_to_validate_on_beside_arrays_to_train_on():
    expected, model = mlp(), mlp()
    told = expected.fit(X, Y, batch_size=7, validation_data=(X[:30], Y[:30]), verbose=0)
    found = model.fit(X, Y, batch_size=7, validation_data=batches(3), verbose=0)
    assert found.history["val_loss"] == pytest.approx(told.history["val_loss"])
    assert bits(model) == bits(expected)
    model.fit(batches(), validation_data=(X, Y), verbose=0)


def test_before_compile_and_after_a_change_by_hand():
    model = Sequential([Dense(3, activation="softmax", input_dim=4)])
    for call in (model.fit, model.evaluate):
        with pytest.raises(RuntimeError, match="must be compiled first"):
            call(batches())
    assert model.predict(batches(), verbose=0).shape == (N, 3)  # needs no loss
    with pytest.raises(ValueError, match="has no layers: add some first"):
        Sequential().predict(batches())
    model = mlp()
    model.layers[-1] = Dense(3, activation="softmax", name="other")
    model.fit(batches(), verbose=0)
    assert [layer.name for layer in model.layers] == ["dense", "other"]
    assert model.layers[-1].params["kernel"].shape == (8, 3)


def test_what_gives_each_batch_once_is_enough_for_the_one_epoch_that_is_left():
    model = mlp()
    model.fit(batches(), initial_epoch=4, epochs=5, verbose=0)
    assert model.epochs_trained == 1


def test_the_hooks_of_a_data_set():
    told = []

    class Data(PyDataset):
        def __init__(self, **options):
            super().__init__(**options)

        def __len__(self):
            return 2

        def __getitem__(self, i):
            told.append(i)
            return batch(i)

        def on_epoch_begin(self):
            told.append("begin")

        def on_epoch_end(self):
            told.append("end")

    mlp().fit(Data(workers=2, use_multiprocessing=False), epochs=2, shuffle=False, verbose=0)
    assert told == ["begin", 0, 1, "end", "begin", 0, 1, "end"]


def test_a_data_set_that_lacks_a_method():
    class Data(PyDataset):
        def __len__(self):
            return 2

    with pytest.raises(NotImplementedError, match="Data must define __getitem__"):
        mlp().fit(Data(), verbose=0)


# -------------------------------------------------------------------------------------------------- one ahead, in a thread


def test_one_batch_is_made_ahead_and_no_more():
    made, seen = [], []

    def source():
        for i in range(5):
            made.append((i, threading.current_thread().name.split("_")[0]))
            yield i + 1

    for item in one_ahead(source()):
        time.sleep(0.02)
        seen.append((item, len(made)))
    assert seen == [(1, 2), (2, 3), (3, 4), (4, 5), (5, 5)]
    assert {name for _, name in made} == {"minidl-data"}


def test_making_and_training_overlap():
    def slow():
        for i in range(6):
            time.sleep(0.05)
            yield batch(i)

    model = mlp()
    wait = LambdaCallback(on_train_batch_end=lambda batch, logs: time.sleep(0.05))
    model.fit(batches(), callbacks=[wait], verbose=0)
    started = time.perf_counter()
    model.fit(slow(), callbacks=[wait], verbose=0)
    assert time.perf_counter() - started < 0.55  # one after the other, it would be 0.6 and more


def test_early_stopping_ends_the_thread():
    def stop(batch, logs):
        model.stop_training = batch == 1

    model = mlp()
    model.fit(forever(), steps_per_epoch=100, epochs=9, callbacks=[LambdaCallback(on_train_batch_end=stop)], verbose=0)
    assert model.optimizer.iterations == 2
    model.fit(forever(), steps_per_epoch=2, epochs=50, callbacks=[EarlyStopping("loss", min_delta=9.0)], verbose=0)
    assert model.optimizer.iterations < 10


def test_an_error_of_the_training_ends_the_thread():
    def fail(batch, logs):
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        mlp().fit(forever(), steps_per_epoch=9, callbacks=[LambdaCallback(on_train_batch_end=fail)], verbose=0)


@pytest.mark.skipif(os.name != "posix", reason="signals to a thread")
@pytest.mark.parametrize("where", ["making", "training"])
def test_ctrl_c_ends_the_thread(where):
    def interrupt():
        signal.raise_signal(signal.SIGINT)

    def source():
        for i in range(100):
            if where == "making" and i == 2:
                signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)
                time.sleep(0.05)
            yield batch(i % 6)

    hooks = [LambdaCallback(on_train_batch_end=lambda batch, logs: interrupt() if batch == 1 else None)]
    model = mlp()
    with pytest.raises(KeyboardInterrupt) as caught:
        model.fit(source(), callbacks=hooks if where == "training" else None, verbose=0)
    assert re.search("fit was stopped in epoch 1 of 1, after . batches", caught.value.__notes__[0])
    assert model.fit(batches(), verbose=0).epoch == [0]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
def test_a_child_that_is_forked_in_the_middle_says_so_and_does_not_wait():
    def fork(number, logs):
        if number == 1:
            children.append(os.fork())

    children = []
    model = mlp()
    try:
        model.fit(forever(), steps_per_epoch=4, callbacks=[LambdaCallback(on_train_batch_end=fork)], verbose=0)
    except RuntimeError as error:
        if children == [0]:  # the child; it must not go on with the tests
            os._exit(42 if "forked in the middle of a pass" in str(error) else 1)
        raise
    if children == [0]:
        os._exit(2)
    _, status = os.waitpid(children[0], 0)
    assert os.waitstatus_to_exitcode(status) == 42
    assert model.optimizer.iterations == 4


# ---------------------------------------------------------------------------------------------------- what goes wrong


def test_an_error_in_the_users_code_is_raised_as_it_is_with_the_batch():
    def broken():
        yield batch(0)
        yield batch(1)
        raise OSError("the disk is gone")

    model = mlp()
    with pytest.raises(OSError, match="the disk is gone") as caught:
        model.fit(broken(), verbose=0)
    assert caught.value.__notes__ == ["This was batch 3 of x, from generator."]
    assert model.optimizer.iterations == 2
    with pytest.raises(OSError, match="the disk is gone"):
        model.fit(batches(), validation_data=broken(), verbose=0)


def test_a_generator_that_ends_early_ends_the_training_with_a_warning():
    model = mlp()
    with pytest.warns(UserWarning, match=r"^x, a generator, ended after 1 of 5 batches\.$"):
        history = model.fit(batches(6), steps_per_epoch=5, epochs=9, validation_data=(X, Y), verbose=0)
    assert history.epoch == [0, 1]
    assert model.optimizer.iterations == 6
    model = mlp()
    with pytest.warns(UserWarning, match=r"^x, a generator, ended after 0 of 3 batches\.$"):
        assert model.fit(batches(6), steps_per_epoch=3, epochs=9, verbose=0).epoch == [0, 1]
    with pytest.warns(UserWarning, match=r"^validation_data, a generator, ended after 2 of 4 batches\.$"):
        model.fit(X, Y, epochs=2, validation_data=batches(6), validation_steps=4, verbose=0)


def test_a_generator_that_ends_late_is_left_where_it_is():
    source = batches(6)
    mlp().fit(source, steps_per_epoch=2, epochs=2, verbose=0)
    assert len(list(source)) == 2


@pytest.mark.parametrize(
    ("call", "error", "text"),
    [
        (lambda m: m.fit(batches(), epochs=2), ValueError, "x, a generator, gives each batch once, and there are 2 epochs: "
         "pass steps_per_epoch, the number of batches in each. Or write a class with __len__ and __getitem__, which can make a "
         "batch again."),
        (lambda m: m.fit(X, Y, epochs=2, validation_data=batches()), ValueError, "validation_data, a generator, gives each "
         "batch once, and there are 2 epochs: pass validation_steps, the number of batches in each. Or write a class"),
        (lambda m: m.fit(iter([])), ValueError, "x, a list_iterator, gave no batch."),
        (lambda m: m.evaluate(iter([])), ValueError, "x, a list_iterator, gave no batch."),
        (lambda m: m.predict(iter([])), ValueError, "x, a list_iterator, gave no batch."),
        (lambda m: m.fit(ByNumber(), steps_per_epoch=7), ValueError, "x, a ByNumber, has 6 batches, and a pass needs 7."),
        (lambda m: m.fit(batches(), batch_size=3), ValueError, "x is a generator, which makes the batches: leave batch_size "
         "out, and let it make them of 3 samples."),
        (lambda m: m.fit(batches(), sample_weight=WEIGHTS), ValueError, "x is a generator, which gives the weights, too, in "
         "batches (x, y, sample_weight): leave sample_weight out."),
        (lambda m: m.fit(batches(), validation_split=0.1), ValueError, "x is a generator, of which no part can be held out: "
         "pass validation_data instead of validation_split."),
        (lambda m: m.fit(batches(), class_weight="balanced"), ValueError, "x is a generator, and class_weight='balanced' "
         "needs all labels at once: pass class → weight."),
        (lambda m: m.fit(batches(), steps_per_epoch=0), ValueError, "the number of steps must be a positive integer, "
         "received 0."),
        (lambda m: m.fit(X, Y, steps_per_epoch=3), ValueError, "steps are for generators and the like: arrays are cut by "
         "batch_size. Leave them out."),
        (lambda m: m.fit((x for x, _ in batches())), ValueError, "batch 1 of x has no labels: expected (x, y) or "
         "(x, y, sample_weight)."),
        (lambda m: m.fit(iter([(X, Y, WEIGHTS, 3)])), ValueError, "batch 1 of x must be (x, y) or (x, y, sample_weight), "
         "received tuple of 4."),
        (lambda m: m.fit(iter([{"x": X, "y": Y}])), TypeError, "batch 1 of x is a dict with the entries 'x', 'y'. "
         "Use x['x']."),
        (lambda m: m.fit(iter([(X, Y[:9])])), ValueError, "x and y must hold the same number of samples, received different "
         "ones: x has 60, y has 9."),
        (lambda m: m.fit(iter([None])), ValueError, "batch 1 of x is missing: expected an array of samples."),
        (lambda m: m.fit(iter([(X, None)])), ValueError, "batch 1 of x has no labels: expected (x, y)"),
        (lambda m: m.fit(zip(X, Y, strict=True)), ValueError, "model 'sequential' expects batch 1 of x of shape (n, 4), "
         "received (4,). For a single sample use x[None]."),
        (lambda m: m.fit(iter([(X, Y), (X[:, :3], Y)])), ValueError, "model 'sequential' expects batch 2 of x of shape "
         "(n, 4), received (60, 3)."),
        (lambda m: m.fit(iter([(X, Y), (X * np.nan, Y)])), ValueError, "batch 2 of x holds NaN or infinity (as float32), "
         "first found in sample 0. Remove or replace such samples."),
        (lambda m: m.fit(iter([(X, Y + 1)])), ValueError, "sparse_categorical_crossentropy expects labels 0 … 2"),
        (lambda m: m.fit(batches(), callbacks=[BackupAndRestore("backup")]), TypeError, "BackupAndRestore cannot resume from "
         "the middle of a generator: give fit arrays, or an object with __len__ and __getitem__."),
        (lambda m: m.fit(X, Y, validation_data=batches(), callbacks=[BackupAndRestore("backup")]), TypeError,
         "BackupAndRestore cannot resume with a generator as validation_data: give fit arrays, or an object with __len__ and "
         "__getitem__."),
        (lambda m: m.fit(batches, verbose=0), TypeError, "x is the function batches, and no array. Use x()."),
        (lambda m: m.fit(ByNumber, verbose=0), TypeError, "x must be an array, received the class ByNumber: create an object "
         "of it."),
        (lambda m: m.fit(batches(), Y), TypeError, "x is a generator, and y was given, too. If x makes batches (x, y), "
         "leave y out; otherwise use np.array(list(x))."),
        (lambda m: m.fit(ByNumber(), Y), TypeError, "x is a ByNumber, and y was given, too. If x makes batches (x, y), leave "
         "y out; otherwise use np.array([x[i] for i in range(len(x))])."),
        (lambda m: m.train_on_batch(batches()), TypeError, "x is a generator, and no array. Use np.array(list(x))."),
        (lambda m: m.fit(batches, steps_per_epoch=3), TypeError, "x is the function batches, and no array. Use x()."),
    ],
)  # fmt: skip
def test_wrong_streams(call, error, text):
    model = mlp()
    with pytest.raises(error, match="^" + re.escape(text)):
        call(model)
    assert np.isfinite(model.fit(batches(), verbose=0).history["loss"][0])


def test_the_length_zero():
    class Empty(ByNumber):
        def __len__(self):
            return 0

    with pytest.raises(ValueError, match=r"^x, a Empty, has 0 batches, and a pass needs 1\.$"):
        mlp().fit(Empty())


def test_a_training_on_batches_by_number_resumes_to_the_same_bits(tmp_path):
    expected = mlp()
    expected.fit(ByNumber(), epochs=3, verbose=0)
    stop = LambdaCallback(on_train_batch_end=lambda batch, logs: 1 / (model.optimizer.iterations - 10))
    model = mlp()
    with pytest.raises(ZeroDivisionError):
        model.fit(ByNumber(), epochs=3, verbose=0, callbacks=[BackupAndRestore(tmp_path, save_freq=1), stop])
    model = mlp(seed=5)
    source = ByNumber()
    history = model.fit(source, epochs=3, verbose=0, callbacks=[BackupAndRestore(tmp_path, save_freq=1)])
    assert len(source.made) == 18 - 9  # nine steps were backed up
    assert bits(model) == bits(expected)
    assert history.epoch == [0, 1, 2]


@given(seed=st.integers(0, 10**6))
@settings(max_examples=20)
def test_streams_drawn_at_random_end_in_a_history_or_in_one_error(seed):
    """Any order of good and bad batches: the good ones before the first bad one have made their steps, and no thread is left."""
    rng = random.Random(seed)
    bad = [
        None,
        (X, None),
        {},
        "text",
        (X[:, :2], Y),
        (X, Y[:1]),
        (X, Y, Y, Y),
        3,
        (X.astype(str), Y + 0.5),
        [],
        ([], []),
    ]
    items = [batch(i % 6) if rng.random() < 0.8 else rng.choice(bad) for i in range(rng.randint(1, 8))]
    good = next((i for i, item in enumerate(items) if not is_batch(item)), len(items))
    model = mlp()
    if good == len(items):
        assert model.fit(iter(items), verbose=0).epoch == [0]
    else:
        with pytest.raises((ValueError, TypeError)) as caught:
            model.fit(iter(items), verbose=0)
        assert f"batch {good + 1} of x" in str([str(caught.value), *caught.value.__notes__])
    assert model.optimizer.iterations == good


def is_batch(item):
    return isinstance(item, tuple) and len(item) == 2 and np.shape(item[0]) == (SIZE, 4)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (batches(), True), (zip(), True), (map(abs, []), True), (ByNumber(), True), (Anew(), True), (iter([]), True),
        (X, False), ([[1.0]], False), ((1.0,), False), ("text", False), (b"x", False), ({}, False), (set(), False),
        (range(3), False), (None, False), (3, False), (ByNumber, False), (np.float32(1), False), (memoryview(b"x"), False),
    ],
    ids=lambda value: type(value).__name__,
)  # fmt: skip
def test_what_is_a_stream(value, expected):
    assert is_stream(value) == expected


def test_the_shape_of_images_is_mended_as_the_hint_says():
    images = np.zeros((4, 8, 8))
    model = Sequential([Flatten(input_shape=(8, 8, 1)), Dense(3, activation="softmax")])
    model.compile(loss="sparse_categorical_crossentropy", optimizer="adam")
    with pytest.raises(
        ValueError, match=re.escape("batch 1 of x of shape (n, 8, 8, 1), received (4, 8, 8). The channel axis")
    ):
        model.fit(iter([(images, [0, 1, 2, 0])]))


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (Sequential.evaluate, "there are no samples to evaluate: the data gave no batch."),
        (Sequential.predict, "there are no samples to predict for: the data gave no batch."),
    ],
)
def test_a_pass_of_fewer_batches_than_it_should_have_and_not_one(call, text):
    """That they are fewer is a warning; of none, there is no mean, and nothing to return."""

    class Spent:
        def __iter__(self):
            return iter(())

    with (
        pytest.warns(UserWarning, match="x, a Spent, ended after 0 of 2 batches"),
        pytest.raises(ValueError, match=re.escape(text)),
    ):
        call(mlp(), Spent(), steps=2, verbose=0)
