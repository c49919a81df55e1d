"""Hundreds of calls: neither memory nor threads pile up. tests/stress/soak.py does it for as long as one likes."""

import gc
import threading
import time
import tracemalloc

import numpy as np
import pytest

from minidl import Sequential, load_model, set_num_threads
from minidl.layers import Conv2D, Dense, Dropout, Flatten, MaxPooling2D

CALLS = 12
LOST = 200  # bytes a call: a dictionary, a History; a batch's arrays are many times that


@pytest.fixture(autouse=True)
def _two_threads(threads_as_before):
    set_num_threads(2)


X, Y = np.random.default_rng(0).random((32, 8, 8, 1)), np.arange(32) % 4


def cnn():
    layers = [
        Conv2D(4, (3, 3), activation="relu", input_shape=(8, 8, 1)),
        MaxPooling2D(),
        Dropout(0.2),
        Flatten(),
        Dense(4, activation="softmax"),
    ]
    model = Sequential(layers, seed=0)
    model.compile(loss="sparse_categorical_crossentropy", optimizer="adam", metrics=["accuracy"])
    return model


def fits(model, path):
    model.fit(X, Y, verbose=0, validation_data=(X[:3], Y[:3]))


def looks(model, path):
    model.predict(X, verbose=0)
    model.evaluate(X, Y, verbose=0)
    model.loss_and_gradients(X, Y, training=True)


def failures(model, path):
    """An error holds its frames, and they hold a batch's arrays; it is not to be held itself."""
    x = X.copy()
    x[31] = np.nan
    for call in (model.fit, model.evaluate, model.train_on_batch):
        with pytest.raises(ValueError, match="NaN"):
            call(x, Y, **({} if call == model.train_on_batch else {"verbose": 0}))


def files(model, path):
    model.save(path)
    load_model(path).fit(X, Y, verbose=0)


def new_models(model, path):
    cnn().fit(X, Y, verbose=0)


def new_threads(model, path):
    set_num_threads(3)
    model.fit(X, Y, verbose=0)
    set_num_threads(2)
    model.fit(X, Y, verbose=0)


@pytest.mark.parametrize("call", [fits, looks, failures, files, new_models, new_threads])
def test_memory_and_threads_stay_flat(call, tmp_path):
    model, path = cnn(), tmp_path / "model.safetensors"
    for _ in range(5):
        call(model, path)
    tracemalloc.start()
    try:
        sizes = []
        for _ in range(6):  # at first, what was allocated before the count began is replaced
            for _ in range(CALLS):
                call(model, path)
            gc.collect()
            sizes.append(tracemalloc.get_traced_memory()[0])
    finally:
        tracemalloc.stop()
    # The interpreter keeps memory of its own, now more, now less. What is lost in every call is lost in every run of calls.
    assert min(np.diff(sizes)) < CALLS * LOST
    deadline = time.monotonic() + 60
    while threading.active_count() > threads_of_others() + 1 and time.monotonic() < deadline:
        time.sleep(0.01)  # those of a pool that was dropped are about to end
    assert threading.active_count() == threads_of_others() + 1


def threads_of_others():
    """Those that are not the library's."""
    return sum(not thread.name.startswith("minidl") for thread in threading.enumerate())
