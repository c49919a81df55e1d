"""Copies of everything, by copy.deepcopy, pickle and joblib, here and in another process: training goes on to the same bits."""

import copy
import io
import multiprocessing
import pickle
from concurrent.futures import ProcessPoolExecutor

import joblib
import numpy as np
import pytest
from support import assert_same

from minidl import Sequential
from minidl.callbacks import (
    Callback,
    CSVLogger,
    EarlyStopping,
    History,
    LambdaCallback,
    LearningRateScheduler,
    ReduceLROnPlateau,
    TerminateOnNaN,
)
from minidl.initializers import Constant
from minidl.layers import Activation, Conv2D, Dense, Dropout, Flatten, Input, Layer, MaxPooling2D, Rescaling, Residual
from minidl.layers.stack import Stack
from minidl.losses import CategoricalCrossentropy, MeanSquaredError, SparseCategoricalCrossentropy
from minidl.optimizers import SGD, Adam, RMSprop

RNG = np.random.default_rng(12)
X, Y = RNG.normal(size=(32, 6, 6, 1)).astype(np.float32), RNG.integers(3, size=32)


def by_pickle(thing):
    return pickle.loads(pickle.dumps(thing))


def by_old_pickle(thing):
    return pickle.loads(pickle.dumps(thing, protocol=2))


def by_joblib(thing):
    file = io.BytesIO()
    joblib.dump(thing, file)
    file.seek(0)
    return joblib.load(file)


WAYS = [copy.deepcopy, by_pickle, by_old_pickle, by_joblib]
every_way = pytest.mark.parametrize("duplicate", WAYS, ids=lambda way: way.__name__)


class Kept(Layer):
    """A layer of the user's, with another name for its parameter, and an array of state under another name as well."""

    def build(self, input_shape, rng, dtype):
        self.gain = np.full(input_shape, 1.5, dtype)
        self.center = np.full(input_shape, 0.1, dtype)
        self.params = {"gain": self.gain}
        self.state = {"center": self.center}
        return input_shape

    def forward(self, x, *, training=False, rng=None):
        return (x - self.center) * self.gain, x

    def backward(self, dy, x):
        return dy * self.gain, {"gain": (dy * (x - self.center)).sum(axis=0)}


def made(optimizer="adam", **how):
    """A bit of everything: nested, residual, tied, frozen, dropout, a layer of the user's, a frozen stack."""
    model = Sequential(
        [
            Input((6, 6, 1)),
            Rescaling(0.5),
            Conv2D(3, 3, activation="relu", bias_initializer=Constant(0.1), trainable=False),
            MaxPooling2D(),
            Sequential([Flatten(), Dropout(0.2), Dense(4, activation="relu", name="a"), Kept()], name="s"),
            Residual([Dense(4, activation="tanh", name="b")], projection=Dense(4, name="p"), name="r"),
            Stack([Dense(4, name="c"), Activation("tanh")], trainable=False, name="t"),
            Dense(3, activation="softmax", name="head"),
        ],
        seed=1,
        **how,
    )
    model.layers[4].layers[0].params["kernel"] = model.layers[4].layers[1].params["kernel"]
    model.compile(optimizer, "sparse_categorical_crossentropy", metrics=["accuracy"])
    return model


def fit(model, **more):
    return model.fit(X, Y, batch_size=8, verbose=0, **more)


def whole(model):
    """All that training changes, in values."""
    optimizer = model.optimizer
    return {
        "weights": dict(model.weights),
        "slots": optimizer.slots,
        "counters": (model.epochs_trained, model.steps_trained, optimizer.iterations, model.seed),
        "rate": optimizer.learning_rate,
    }


@every_way
@pytest.mark.parametrize("optimizer", [Adam(0.01, weight_decay=0.1), SGD(0.1, momentum=0.9), RMSprop(clipnorm=1.0)])
def test_a_model_goes_on_to_the_same_bits(duplicate, optimizer):
    """Copied before the first step, after some, and once more; the original does not notice."""
    model, alone = made(copy.deepcopy(optimizer)), made(copy.deepcopy(optimizer))
    copies = [duplicate(model)]
    fit(model)
    copies.append(duplicate(model))
    copies.append(duplicate(copies[-1]))
    fit(model)
    fit(alone)
    fit(alone)
    assert_same(whole(model), whole(alone))
    fit(copies[0])
    for other in copies:
        before = whole(copy.deepcopy(model))
        fit(other)
        assert_same(whole(other), whole(model))
        assert_same(whole(model), before)
        assert list(other.ties()) == list(model.ties()) == ["r/p/kernel"]
        assert [id(layer) in other.frozen() for _, layer in other.leaves()].count(True) == 3
        assert other.optimizer is not model.optimizer
        assert other.layers[3].layers[3].gain is other.params["s/kept/gain"]
        assert other.layers[3].layers[3].center is other.state["s/kept/center"]
        assert_same(other.predict(X, verbose=0), model.predict(X, verbose=0))


@every_way
def test_models_that_wait(duplicate):
    """Not built, not compiled, or with a list of layers that was changed and that no call has seen yet."""
    unbuilt = Sequential([Flatten(), Dense(3, activation="softmax")], seed=3)
    other = duplicate(unbuilt)
    for model in (unbuilt, other):
        model.compile("sgd", "sparse_categorical_crossentropy")
        fit(model)
    assert_same(other.get_weights(), unbuilt.get_weights())
    changed = made()
    fit(changed)
    changed.layers.pop()
    changed.layers.append(Dense(3, activation="softmax", name="new"))
    other = duplicate(changed)
    fit(changed)
    fit(other)
    assert_same(whole(other), whole(changed))
    assert "new/kernel" in other.params


@every_way
def test_a_view_that_is_copied_is_a_model(duplicate):
    model = made()
    other = duplicate(Sequential(model.layers[:4]))
    before = model.get_weights()
    other.compile("sgd", "mse")
    other.fit(X, np.ones((32, 4)), verbose=0)
    assert_same(model.get_weights(), before)
    fit(model)


LAYERS = {
    "dense": lambda: Dense(3, activation="relu", kernel_initializer="he_normal"),
    "dropout": lambda: Dropout(0.5),
    "stack": lambda: Stack([Dense(3), Dropout(0.5)]),
    "residual": lambda: Residual([Dense(3)], projection=Dense(3)),
    "sequential": lambda: Sequential([Dense(3), Dense(2)]),
    "user's": Kept,
}


@every_way
@pytest.mark.parametrize("make", LAYERS.values(), ids=LAYERS)
def test_layers(duplicate, make):
    """Out of a model, they are free: built layers keep their weights in a model of their own."""
    loose = duplicate(make())
    assert loose.home is None
    model = Sequential([Input((3,)), make(), Dense(2)])
    layer = model.layers[0]
    other = duplicate(layer)
    x = RNG.normal(size=(5, 3)).astype(np.float32)
    assert other.home is None
    assert other.ops is layer.ops
    assert_same(other.get_weights(), layer.get_weights())
    assert_same(other.forward(x)[0], layer.forward(x)[0])
    assert not any(np.shares_memory(a, b) for a in other.params.values() for b in layer.params.values())
    new = Sequential([other, Dense(2)])
    new.compile("sgd", "mse")
    new.fit(x, np.ones((5, 2)), verbose=0)
    model.compile("sgd", "mse")
    model.fit(x, np.ones((5, 2)), verbose=0)


@every_way
@pytest.mark.parametrize(
    "optimizer", [SGD(0.1, momentum=0.9), RMSprop(), Adam(0.01, clipnorm=1.0)], ids=lambda o: type(o).__name__
)
def test_an_optimizer_goes_on_in_a_twin(duplicate, optimizer):
    model = made(copy.deepcopy(optimizer))
    fit(model)
    other = duplicate(model.optimizer)
    assert other.home is None
    assert_same(other.slots, model.optimizer.slots)
    twin = made(other)
    twin.set_weights(model.get_weights())
    twin.epochs_trained, twin.steps_trained = model.epochs_trained, model.steps_trained
    fit(model)
    fit(twin)
    assert_same(whole(twin), whole(model))


def halve(epoch, rate):
    return rate / 2


@every_way
def test_callbacks_and_history(duplicate, tmp_path):
    """What a callback has learned goes with it; what it has left behind is not shared."""
    model = made()
    hooks = [
        EarlyStopping("loss", patience=5, restore_best_weights=True),
        ReduceLROnPlateau("loss", patience=1, min_delta=100),
        LearningRateScheduler(halve),
        TerminateOnNaN(),
        CSVLogger(tmp_path / "log.csv"),
        Callback(),
        LambdaCallback(on_epoch_end=print_nothing),
    ]
    history = fit(model, epochs=3, callbacks=hooks)
    for hook in hooks:
        other = duplicate(hook)
        assert type(other) is type(hook)
        assert_same(other.get_state(), hook.get_state())
        assert other.model is not model
        assert_same(other.model.get_weights(), model.get_weights())
    kept = duplicate(history)
    assert isinstance(kept, History)
    assert (kept.history, kept.epoch, kept.params) == (history.history, history.epoch, history.params)
    assert duplicate(model).history.history == history.history
    before = copy.deepcopy(history.history)
    fit(model, epochs=4, initial_epoch=3, callbacks=[duplicate(hook) for hook in hooks])
    assert history.history == before


def print_nothing(epoch, logs):
    """For LambdaCallback: a lambda could not be pickled."""


@every_way
@pytest.mark.parametrize("loss", [CategoricalCrossentropy(), SparseCategoricalCrossentropy(True), MeanSquaredError()])
def test_losses_initializers_and_traces(duplicate, loss):
    assert vars(duplicate(loss)) == vars(loss)
    assert duplicate(Constant(0.5))((2,), None, np.dtype(np.float32)).tolist() == [0.5, 0.5]
    trace = made().trace(X, Y)
    other = duplicate(trace)
    assert str(other) == str(trace)
    assert_same(other.gradients, trace.gradients)


def test_a_copy_in_the_middle_of_a_fit():
    model, copies = made(), []

    class Copy(Callback):
        def on_epoch_end(self, epoch, logs=None):
            copies.append((copy.deepcopy(self.model), by_pickle(self.model)))

    fit(model, epochs=3, callbacks=[Copy()])
    for epoch, pair in enumerate(copies, 1):
        for other in pair:
            fit(other, epochs=3, initial_epoch=epoch) if epoch < 3 else None
            assert_same(whole(other), whole(model))


def test_a_shallow_copy_shares_its_layers_and_leaves_them_at_home():
    model = made()
    other = copy.copy(model)
    assert all(one is two for one, two in zip(other.layers, model.layers, strict=True))
    assert_same(other.predict(X, verbose=0), model.predict(X, verbose=0))
    fit(model)
    assert_same(other.predict(X, verbose=0), model.predict(X, verbose=0))
    with pytest.raises(ValueError, match="can only predict"):
        fit(other)


# ------------------------------------------------------------------------------------------------------ another process


def train_there(thing):
    """In the other process: one more epoch, and all of it back."""
    if isinstance(thing, Sequential):
        fit(thing)
        return thing
    if isinstance(thing, Layer):
        return thing.forward(np.ones((2, 3), np.float32))[0]
    return thing


def test_a_process_pool():
    """Started anew ("spawn"), so that nothing is inherited; it returns trained models, which go on here."""
    model = made(Adam(0.01))
    history = fit(model)
    layer = Sequential([Input((3,)), Residual([Dense(3)])]).layers[0]
    things = [model, Sequential(model.layers), history, model.optimizer, layer]
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        trained, view, history_back, optimizer, y = pool.map(train_there_unless_view, things)
    assert history_back.history == history.history
    assert_same(optimizer.slots, model.optimizer.slots)
    np.testing.assert_allclose(y, layer.forward(np.ones((2, 3), np.float32))[0], rtol=1e-6)
    assert_same(view.predict(X, verbose=0), model.predict(X, verbose=0))
    for _ in range(2):
        fit(model)
    fit(trained)
    assert_same(whole(trained), whole(model))


def train_there_unless_view(thing):
    return thing if isinstance(thing, Sequential) and thing.optimizer is None else train_there(thing)
