"""What is frozen does not move: not by a gradient, not by weight decay, not by momentum; however and whenever it was frozen."""

import copy
import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support import assert_same

from minidl import Sequential, gradcheck, load_model, set_num_threads
from minidl.callbacks import LambdaCallback
from minidl.layers import Conv2D, Dense, Dropout, Flatten, MaxPooling2D, Residual
from minidl.layers.stack import Stack
from minidl.optimizers import SGD, Adam

RNG = np.random.default_rng(8)
X, Y = RNG.normal(size=(32, 6, 6, 1)).astype(np.float32), RNG.integers(3, size=32)
OPTIMIZERS = {
    "sgd": lambda: SGD(0.1),
    "momentum and decay": lambda: SGD(0.1, momentum=0.9, weight_decay=0.1),
    "adam, decay, clipped": lambda: Adam(0.01, weight_decay=0.1, clipnorm=0.1),
}


def made(optimizer="adam", freeze=(), **how):
    """freeze: the addresses of layers that are made frozen."""

    def at(address):
        return {"name": address.rpartition("/")[2], "trainable": address not in freeze}

    model = Sequential(
        [
            Conv2D(3, 3, activation="relu", input_shape=(6, 6, 1), **at("conv")),
            MaxPooling2D(name="pool"),
            Stack(
                [Flatten(), Dropout(0.2), Dense(5, activation="relu", **at("s/a")), Dense(4, **at("s/b"))], **at("s")
            ),
            Residual([Dense(4, activation="tanh", **at("r/c"))], projection=Dense(4, **at("r/p")), **at("r")),
            Dense(3, activation="softmax", **at("head")),
        ],
        seed=1,
        **how,
    )
    return compiled(model, optimizer)


def compiled(model, optimizer="adam"):
    model.compile(optimizer, "sparse_categorical_crossentropy")
    return model


LAYERS = ["conv", "s/a", "s/b", "r/c", "r/p", "head"]
INSIDE = {"s": ["s/a", "s/b"], "r": ["r/c", "r/p"], "": LAYERS}


def find(model, address):
    for name in address.split("/") if address else ():
        model = model.get_layer(name)
    return model


def fit(model, **more):
    return model.fit(X, Y, batch_size=8, epochs=2, verbose=0, **more)


def snapshot(model):
    """The weights and the optimizer's state, by address."""
    slots = {name: {slot: v.copy() for slot, v in own.items()} for name, own in model.optimizer.slots.items()}
    return {name: value.copy() for name, value in model.params.items()}, slots


def moved(model, before):
    """The addresses of the layers of which anything moved; of the others nothing did, not even the optimizer's state."""
    weights, slots = before
    found = set()
    for name, value in model.params.items():
        old = slots.get(name) or {slot: np.zeros_like(v) for slot, v in model.optimizer.slots[name].items()}
        if not np.array_equal(value, weights[name]):
            found.add(name.rpartition("/")[0])
        else:
            assert_same(model.optimizer.slots[name], old)
    return found


def open_layers(frozen):
    shut = {inside for address in frozen for inside in INSIDE.get(address, [address])}
    return {address for address in LAYERS if address not in shut}


FREEZES = [["conv"], ["head"], ["s"], ["r"], ["conv", "s", "r"], ["s/b", "r/p"], ["conv", "s/a"], LAYERS, [""]]


@pytest.mark.parametrize("frozen", FREEZES, ids=",".join)
@pytest.mark.parametrize("when", ["constructor", "before compile", "after compile", "after a fit"])
def test_what_is_frozen_does_not_move(frozen, when):
    optimizer = OPTIMIZERS["momentum and decay"]
    model = made(optimizer(), freeze=frozen if when == "constructor" and frozen != [""] else ())
    if when == "after a fit":
        fit(model)
    if when != "constructor" or frozen == [""]:
        for address in frozen:
            find(model, address).trainable = False
    if when == "before compile":
        compiled(model, optimizer())
    before = snapshot(model)
    steps = model.optimizer.iterations
    fit(model)
    assert moved(model, before) == open_layers(frozen)
    assert model.optimizer.iterations == steps + 8
    before = snapshot(model)
    for address in frozen:
        find(model, address).trainable = True
    fit(model)
    assert moved(model, before) == set(LAYERS)


def test_the_whole_model_by_its_constructor():
    model = Sequential([Dense(2, input_shape=(3,)), Dense(1)], trainable=False)
    model.add(Dense(1))
    model.compile("sgd", "mse")
    before = model.get_weights()
    model.fit(np.ones((4, 3)), np.ones(4), verbose=0)
    assert_same(model.get_weights(), before)
    model.trainable = True
    assert [layer.trainable for layer in model.layers] == [True] * 3


@pytest.mark.parametrize("way", [{}, {"fuse": False}, {"ops": "reference"}], ids=str)
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@settings(max_examples=4)
@given(frozen=st.sets(st.sampled_from(LAYERS)))
def test_the_others_move_as_they_would(optimizer, way, frozen):
    """One step: the optimizer alone, given the gradients of what is open, makes the same one."""
    model, alone = made(OPTIMIZERS[optimizer](), dtype="float64", **way), OPTIMIZERS[optimizer]()
    for address in frozen:
        find(model, address).trainable = False
    for _ in range(3):
        params = {n: v.copy() for n, v in model.params.items() if n.rpartition("/")[0] not in frozen}
        _, gradients = model.loss_and_gradients(X, Y, training=True)
        assert list(gradients) == list(model.params)  # of what is frozen, too
        alone.step(params, {name: gradients[name] for name in params})
        model.train_on_batch(X, Y)
        for name, value in params.items():
            np.testing.assert_allclose(model.params[name], value, rtol=1e-11, atol=1e-13)


@pytest.mark.usefixtures("threads_as_before")
@pytest.mark.parametrize("frozen", [["conv"], ["s/b", "r/p"]], ids=",".join)
def test_the_same_bits_on_any_number_of_threads(frozen):
    found = []
    for threads in (1, 2, 3):
        set_num_threads(threads)
        model = made(freeze=frozen)
        fit(model)
        found.append(model.get_weights())
    assert_same(found[0], found[1])
    assert_same(found[0], found[2])


def test_it_counts_from_the_next_call_on():
    """Not in the middle of a fit; and by then without another compile."""
    model, untouched = made(), made()
    freeze = LambdaCallback(on_epoch_end=lambda epoch, logs: setattr(model, "trainable", False))
    fit(model, callbacks=[freeze])
    fit(untouched)
    assert_same(model.get_weights(), untouched.get_weights())
    before = snapshot(model)
    model.train_on_batch(X, Y)
    assert moved(model, before) == set()
    model.layers[0].trainable = True  # the model itself is still frozen, as in Keras
    model.train_on_batch(X, Y)
    assert moved(model, before) == set()
    model.trainable = True
    model.train_on_batch(X, Y)
    assert moved(model, before) == set(LAYERS)


def test_gradients_are_still_there():
    model, free = made(dtype="float64"), made(dtype="float64")
    model.layers[0].trainable = model.layers[2].trainable = False
    assert_same(model.loss_and_gradients(X, Y), free.loss_and_gradients(X, Y))
    report = gradcheck(model, X[:4].astype(np.float64), Y[:4], mode="direction")
    assert report.passed, str(report)


def test_nothing_is_computed_below_the_lowest_trained_layer(monkeypatch):
    model = made(freeze=["conv", "s/a"], fuse=False)
    seen = []
    for _, layer in model.leaves():
        backward = type(layer).backward
        monkeypatch.setattr(
            type(layer),
            "backward",
            lambda self, dy, cache, real=backward: (seen.append(self.name), real(self, dy, cache))[1],
        )
    model.train_on_batch(X[:4], Y[:4])
    assert "conv" not in seen
    assert "a" not in seen
    assert "b" in seen


def test_what_is_frozen_may_hold_anything():
    """A gradient that nobody wants is not looked at: a frozen layer above a dead one need not be finite backwards."""
    model = Sequential([Dense(2, input_shape=(2,)), Dense(2, name="huge"), Dense(1)], dtype="float32")
    model.set_weights([np.zeros((2, 2)), np.zeros(2), np.full((2, 2), 1e30), np.zeros(2), np.zeros((2, 1)), np.ones(1)])
    model.compile(SGD(0.1), "mse")
    model.layers[0].trainable = model.layers[1].trainable = False
    model.fit(np.ones((4, 2)), np.zeros(4), verbose=0)


@pytest.mark.parametrize("frozen", FREEZES, ids=",".join)
def test_the_summary_counts_both(frozen, capsys):
    model = made()
    for address in frozen:
        find(model, address).trainable = False
    trained = sum(v.size for n, v in model.params.items() if n.rpartition("/")[0] in open_layers(frozen))
    capsys.readouterr()
    model.summary()
    total, open_, shut = (
        int(re.search(rf"^ {what} params: ([\d,]+) \(", text, re.MULTILINE)[1].replace(",", ""))
        for text in [capsys.readouterr().out]
        for what in ("Total", "Trainable", "Non-trainable")
    )
    assert (total, open_, shut) == (model.count_params(), trained, total - trained)


def test_keras_rules_of_order(tmp_path):
    """Freezing changes no order of the weights; files and copies stay frozen and thaw alike."""
    model, free = made(freeze=["conv", "s/b", "r"]), made()
    assert list(model.weights) == list(free.weights)
    assert_same(model.get_weights(), free.get_weights())
    fit(model)
    model.save(tmp_path / "m.safetensors")
    for other in (load_model(tmp_path / "m.safetensors"), copy.deepcopy(model)):
        twin = copy.deepcopy(model)
        frozen = [address for address, layer in other.leaves() if id(layer) in other.frozen()]
        assert frozen == ["conv", "s/b", "r/c", "r/p"]
        assert (other.get_layer("s").trainable, other.get_layer("r").trainable) == (True, False)
        for each in (other, twin):
            fit(each)
            each.trainable = True
            fit(each)
        assert_same(other.get_weights(), twin.get_weights())


def test_a_layer_without_the_switch_is_trained():
    class Bare:
        name = None
        input_shape = (3,)
        output_shape = None

        def __init__(self):
            self.params = {}

        def build(self, input_shape, rng, dtype):
            self.params = {"b": np.zeros(input_shape, dtype)}
            return input_shape

        def forward(self, x, *, training=False, rng=None):
            return x + self.params["b"], None

        def backward(self, dy, cache):
            return dy.copy(), {"b": dy.sum(axis=0)}

    model = Sequential([Bare()])
    model.compile("sgd", "mse")
    x, y = np.ones((4, 3)), np.zeros((4, 3))
    model.fit(x, y, verbose=0)
    assert (model.params["bare/b"] < 0).all()
    before = model.get_weights()
    model.trainable = False
    model.fit(x, y, verbose=0)
    assert_same(model.get_weights(), before)


@pytest.mark.parametrize("kind", [Sequential, Stack, Residual])
def test_a_stack_that_is_made_frozen_freezes_what_it_is_made_of(kind):
    assert [layer.trainable for layer in kind([Dense(2), Dense(2)], trainable=False).layers] == [False, False]
