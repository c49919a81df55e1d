"""Residual: what its layers give, added to what they were given; held against numbers, the contract, and the plain formula."""

import numpy as np
import pytest
from support import assert_close, assert_same

from minidl import Sequential
from minidl.layers import Activation, Conv2D, Dense, Dropout, Flatten, Input, MaxPooling2D, Residual
from minidl.layers.stack import Stack
from minidl.testing import check_layer


@pytest.mark.parametrize(
    ("factory", "shapes"),
    [
        (lambda: Residual([Dense(3, activation="tanh"), Dense(4)]), [(4,)]),
        (lambda: Residual([Dense(3, activation="relu")], projection=Dense(3)), [(4,), (1,)]),
        (lambda: Residual([Conv2D(2, 3, padding="same", activation="tanh"), Conv2D(2, 2, padding="same")]), [(4, 3, 2)]),
        (lambda: Residual([Conv2D(3, 3, strides=2, padding="same")], projection=Conv2D(3, 1, strides=2)), [(5, 4, 2), (1, 1, 1)]),
        (lambda: Residual([Conv2D(2, 3)], projection=Stack([Conv2D(2, 2), Conv2D(2, 2)])), [(4, 3, 1)]),
        (lambda: Residual([Dropout(0.4), Dense(3)]), [(3,)]),
        (lambda: Residual([Residual([Dense(2, activation="tanh")]), Residual([Activation("tanh")])]), [(2,)]),
        (lambda: Residual([Activation("tanh")]), [(3, 2)]),
        (lambda: Residual([Dense(3)], projection=Residual([Dense(3)])), [(3,)]),
    ],
    ids=["dense", "projected", "images", "strides", "a stack projects", "dropout", "nested", "any rank", "residual projects"],
)  # fmt: skip
def test_it_keeps_the_contract(factory, shapes):
    check_layer(factory, shapes)


def with_weights(residual, shape, *weights):
    residual.build(shape, dtype=np.dtype(np.float64))
    residual.set_weights([np.array(w, np.float64) for w in weights])
    return residual


def test_by_hand():
    """f(x) = 3x + 1 at x = 2: y = 2 + 7, and with dy = 10, dx = 10 + 30, dkernel = 20, dbias = 10."""
    layer = with_weights(Residual([Dense(1)]), (1,), [[3.0]], [1.0])
    y, cache = layer.forward(np.array([[2.0]]))
    dx, gradients = layer.backward(np.array([[10.0]]), cache)
    assert (y.item(), dx.item()) == (9.0, 40.0)
    assert {name: g.tolist() for name, g in gradients.items()} == {"dense/kernel": [[20.0]], "dense/bias": [10.0]}


def test_with_a_projection_by_hand():
    """f(x) = 3x, projection 5x + 1, at x = 2: y = 6 + 11; with dy = 10: dx = 30 + 50, and both kernels' gradients are 20."""
    layer = with_weights(
        Residual([Dense(1, use_bias=False, name="f")], projection=Dense(1, name="p")), (1,), [[3.0]], [[5.0]], [1.0]
    )
    y, cache = layer.forward(np.array([[2.0]]))
    dx, gradients = layer.backward(np.array([[10.0]]), cache)
    assert (y.item(), dx.item()) == (17.0, 80.0)
    assert {name: g.tolist() for name, g in gradients.items()} == {
        "f/kernel": [[20.0]],
        "p/kernel": [[20.0]],
        "p/bias": [10.0],
    }
    assert list(layer.params) == list(gradients)
    assert layer.branches() == ([layer.layers[0]], layer.layers[1])


@pytest.mark.parametrize("way", [{}, {"fuse": False}, {"ops": "reference"}])
def test_in_a_model_it_is_the_formula(way):
    """A residual network in NumPy's words, forward and backward."""
    rng = np.random.default_rng(1)
    model = Sequential(
        [Input((4,)), Residual([Dense(3, activation="relu"), Dense(4)]), Residual([Dense(2)], projection=Dense(2))],
        dtype="float64",
        seed=1,
        **way,
    )
    model.set_weights([rng.normal(size=w.shape) for w in model.get_weights()])
    model.compile("sgd", "mse")
    a, b, c, d, e, f, p, q = model.get_weights()
    x, t = rng.normal(size=(20, 4)), rng.normal(size=(20, 2))
    h = np.maximum(x @ a + b, 0)
    u = x + h @ c + d
    y = u @ p + q + u @ e + f
    dy = 2 * (y - t) / t.size
    du = dy @ e.T + dy @ p.T
    dh = (du @ c.T) * (h > 0)
    expected = [x.T @ dh, dh.sum(0), h.T @ du, du.sum(0), u.T @ dy, dy.sum(0), u.T @ dy, dy.sum(0)]
    assert_close(model.predict(x, verbose=0), y)
    _, gradients = model.loss_and_gradients(x, t)
    for gradient, other in zip(gradients.values(), expected, strict=True):
        assert_close(gradient, other)
    found = model.trace(x, t)
    dx = du + dh @ a.T
    assert_close(found["residual"].dx, dx)
    assert_close(found["residual_1"].dx, du)


def test_what_is_below_a_residual_is_trained():
    """dx comes from both branches also where the first branch alone would block it."""
    model = Sequential([Dense(3, input_shape=(2,)), Residual([Activation("relu"), Dense(3)]), Dense(1)], seed=0)
    model.compile("sgd", "mse")
    model.params["residual/dense/kernel"][...] = 0
    before = model.get_weights()
    model.fit(np.ones((4, 2)), np.ones(4), verbose=0)
    assert not np.array_equal(before[0], model.get_weights()[0])


def test_the_projection_draws_its_own_numbers():
    model = Sequential([Residual([Dropout(0.5)], projection=Dropout(0.5))], dtype="float64", seed=0)
    model.build((200,))
    model.compile("sgd", "mse")
    found = model.trace(np.ones((1, 200)), np.ones((1, 200)), training=True)
    assert set(np.unique(found["residual"].y)) == {0.0, 2.0, 4.0}  # neither, one, or both kept it
    _, gradients = model.loss_and_gradients(np.ones((1, 200)), np.ones((1, 200)), training=True)
    assert gradients == {}


@pytest.mark.parametrize(
    ("make", "shape", "end"),
    [
        (lambda: Residual([Dense(3)]), (4,), "into (3,), which cannot be added to x; use projection=Dense(3)."),
        (
            lambda: Residual([Conv2D(5, 3, padding="same")]),
            (4, 4, 1),
            "into (4, 4, 5), which cannot be added to x; use projection=Conv2D(5, 1, strides=(1, 1)).",
        ),
        (
            lambda: Residual([Conv2D(5, 3, strides=(2, 3), padding="same")]),
            (7, 9, 1),
            "into (4, 3, 5), which cannot be added to x; use projection=Conv2D(5, 1, strides=(2, 3)).",
        ),
        (
            lambda: Residual([Conv2D(1, 3)]),
            (8, 8, 1),
            "into (6, 6, 1), which cannot be added to x; use padding='same' in the layers, or give a projection, a layer that "
            "turns (8, 8, 1) into (6, 6, 1).",
        ),
        (
            lambda: Residual([Flatten(), Dense(2)]),
            (2, 2, 1),
            "into (2,), which cannot be added to x; use padding='same' in the layers, or give a projection, a layer that turns "
            "(2, 2, 1) into (2,).",
        ),
        (
            lambda: Residual([Dense(3)], projection=Dense(2)),
            (4,),
            "into (3,), which cannot be added to x; the projection turns that into (2,).",
        ),
    ],
)
def test_shapes_that_differ_are_refused_with_the_line_to_write(make, shape, end):
    layer = make()
    with pytest.raises(ValueError, match="cannot be added") as caught:
        layer.build(shape)
    assert str(caught.value) == f"Residual: its layers turn {shape} {end}"
    assert not layer.built


def test_the_line_to_write_works():
    for shape in [(4,), (7, 9, 1), (8, 8, 2), (5, 6, 1)]:
        layers = (lambda: [Dense(3)]) if len(shape) == 1 else (lambda: [Conv2D(5, 3, strides=(2, 3), padding="same")])
        with pytest.raises(ValueError, match="use projection=") as caught:
            Residual(layers()).build(shape)
        line = str(caught.value).partition("use projection=")[2].rstrip(".")
        projection = eval(line, {"Dense": Dense, "Conv2D": Conv2D})
        assert Residual(layers(), projection=projection).build(shape) == projection.output_shape


@pytest.mark.parametrize(
    ("call", "error", "text"),
    [
        (lambda: Residual([]), ValueError, "Residual needs layers, e.g. Residual([Dense(64, activation='relu'), Dense(64)])."),
        (lambda: Residual(Dense(3)), TypeError, "Residual layers must be a list of layers, received"),
        (lambda: Residual([Dense(3)], projection=Dense), TypeError, "a class: create the layer with (…)."),
        (lambda: Residual([Dense(3)], projection="linear"), TypeError, "received 'linear', without params."),
        (lambda: Residual([Dense(3)], depth=2), TypeError, "Residual.__init__() got an unexpected keyword argument 'depth'"),
    ],
)  # fmt: skip
def test_errors(call, error, text):
    with pytest.raises(error) as caught:
        call()
    assert text in str(caught.value)


def test_adding_to_it_is_refused():
    layer = Residual([Dense(3)])
    with pytest.raises(ValueError, match="cannot gain or lose layers once it is made: make a new one"):
        layer.add(Dense(3))
    assert len(layer.layers) == 1
    assert layer.build((3,)) == (3,)


def test_its_config():
    layer = Residual([Dense(4, name="a"), MaxPooling2D()], projection=Dense(4, name="p"), name="r")
    config = layer.get_config()
    assert list(config) == ["layers", "projection", "name"]
    assert [each.name for each in config["layers"]] == ["a", "max_pooling2d"]
    assert config["projection"].name == "p"
    model = Sequential(
        [
            Input((3,)),
            Residual([Dense(3)]),
            Residual([Dense(2, name="a")], projection=Dense(2, name="p"), trainable=False),
        ]
    )
    other = Sequential.from_config(model.get_config())
    assert list(other.params) == list(model.params) == [
        f"{at}/{name}" for at in ("residual/dense", "residual_1/a", "residual_1/p") for name in ("kernel", "bias")
    ]  # fmt: skip
    assert [layer.trainable for _, layer in other.leaves()] == [True, False, False]
    other.set_weights(model.get_weights())
    x = np.ones((2, 3), np.float32)
    assert_same(other.predict(x, verbose=0), model.predict(x, verbose=0))
