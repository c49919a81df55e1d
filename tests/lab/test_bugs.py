"""The lab's bugs: each is found by gradcheck, leaves forward as it is, and can be taken out again."""

import inspect

import numpy as np
import pytest

from minidl import Sequential
from minidl.lab import bugs
from minidl.layers import Activation, Conv2D, Dense, Flatten, Input, MaxPooling2D, ReLU, Rescaling, Residual

SETTINGS = {
    Activation: [{"activation": "relu"}],
    ReLU: [{}],
    Dense: [{"units": 4, "activation": "relu"}, {"units": 7, "activation": "relu", "kernel_regularizer": "l2"}],
    Conv2D: [
        {"filters": 3, "kernel_size": 5, "activation": "relu"},
        {"filters": 2, "kernel_size": (2, 3), "strides": (2, 1), "padding": "same", "activation": "relu"},
    ],
    MaxPooling2D: [{}, {"pool_size": 3, "strides": 2}, {"pool_size": (1, 2)}],
}
CASES = [
    (name, right, settings) for name, bug in bugs.BUGS.items() for right in bug.classes for settings in SETTINGS[right]
]


@pytest.mark.parametrize(("name", "right", "settings"), CASES)
def test_gradcheck_finds_it_and_nothing_in_the_right_layer(name, right, settings):
    bug = bugs.BUGS[name]
    faulty = bug.classes[right]
    assert not bugs.check(faulty(**settings), bug.mode).passed
    assert bugs.check(right(**settings), bug.mode).passed
    if bug.blind is not None:
        assert bugs.check(faulty(**settings), bug.blind).passed


def network():
    branch = [Conv2D(3, 1, activation="relu"), Conv2D(3, 1), ReLU()]
    layers = [
        *(Input((8, 9, 1)), Rescaling(0.5), Conv2D(3, 3, activation="relu"), Residual(branch, projection=Conv2D(3, 1))),
        *(MaxPooling2D(), Flatten(), Dense(5), Activation("relu"), Dense(4, activation="softmax", trainable=False)),
    ]
    model = Sequential(layers, seed=0)
    model.compile("sgd", "sparse_categorical_crossentropy")
    return model


def compiled(model):
    model.compile("sgd", "sparse_categorical_crossentropy")
    return model


BLIND = {("conv-stops", "conv2d")}  # below it there are no parameters: all gradients are right


def test_every_bug_has_a_place_in_a_network_and_can_be_taken_out_again():
    """Also inside a stack. Forward stays as it is, up to rounding; backward is another one until the right layer is back."""
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(6, 8, 9, 1)), rng.integers(0, 4, 6)
    model = network()
    (loss, gradients), predicted, found = model.loss_and_gradients(x, y), model.predict(x, verbose=0), set()
    for name, address in bugs.places(model):
        right = dict(model.leaves())[address]
        faulty = compiled(bugs.with_layer(model, address, type(bugs.faulty_twin(right, name))))
        assert type(dict(faulty.leaves())[address]) is bugs.BUGS[name].classes[type(right)]
        assert list(bugs.places(faulty)) == list(bugs.places(model))  # everything is offered as before
        np.testing.assert_allclose(faulty.predict(x, verbose=0), predicted, rtol=1e-5)
        _, wrong = faulty.loss_and_gradients(x, y)
        differs = any(not np.allclose(wrong[at], gradients[at], rtol=1e-3, atol=1e-6) for at in gradients)
        assert differs == ((name, address) not in BLIND), (name, address)
        healed = compiled(bugs.with_layer(faulty, address, type(right)))
        again = healed.loss_and_gradients(x, y)
        assert again[0] == loss
        assert all(np.array_equal(again[1][at], gradients[at]) for at in gradients)
        assert [layer.trainable for _, layer in healed.leaves()] == [layer.trainable for _, layer in model.leaves()]
        found.add((name, address))
    assert {name for name, _ in found} == set(bugs.BUGS)
    assert {("relu-without-mask", "residual/re_lu"), ("conv-equals", "residual/conv2d")} <= found
    assert ("conv-equals", "residual/conv2d_2") in found  # its projection


def test_tied_parameters_stay_tied():
    model = Sequential([Input((4,)), Dense(4), Dense(4), Dense(3, activation="softmax")], seed=0)
    model.tie({"dense_1/kernel": "dense/kernel"})
    faulty = bugs.with_layer(model, "dense_1", bugs.DenseReshapes)
    assert faulty.ties() == model.ties() == {"dense_1/kernel": "dense/kernel"}


def test_ties_by_hand():
    """Four equal pixels: each of them gets the 3 that is one's share."""
    layer = bugs.PoolTiesAllWin()
    y, cache = layer.forward(np.ones((1, 2, 2, 1)))
    assert layer.backward(np.full_like(y, 3.0), cache)[0].ravel().tolist() == [3, 3, 3, 3]


def test_overwriting_by_hand():
    """Two windows of one pixel: x = 2, 5, dz = 10, 7. The sum is 20 + 35; the last one alone is 35."""
    layer = bugs.Conv2DOverwrites(1, 1)
    layer.build((1, 2, 1), np.random.default_rng(0), np.dtype(np.float64))
    _, cache = layer.forward(np.array([2.0, 5.0]).reshape(1, 1, 2, 1))
    _, gradients = layer.backward(np.array([10.0, 7.0]).reshape(1, 1, 2, 1), cache)
    assert gradients["kernel"].ravel().tolist() == [35]
    assert gradients["bias"].tolist() == [17]


def test_the_code_is_shown_with_what_would_be_right():
    for cls in bugs.FAULTY.values():
        assert "ight: " in inspect.getsource(cls)
    assert bugs.code(bugs.Conv2DStops(1, 1)).startswith("class Conv2DStops(Conv2D):")


def test_no_two_faulty_classes_have_one_name_and_each_has_one_parent():
    assert sum(len(bug.classes) for bug in bugs.BUGS.values()) == len(bugs.FAULTY)
    for bug in bugs.BUGS.values():
        for right, faulty in bug.classes.items():
            assert faulty.__bases__ == (right,)
            assert bugs.right_class(object.__new__(faulty)) is right
