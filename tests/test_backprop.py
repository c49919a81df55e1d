"""The page of the chain rule, held against loops by hand, differences, and numbers worked out on paper."""

from itertools import pairwise

import numpy as np
import pytest
from support import assert_close, assert_gradient, assert_same, copied, numeric_gradient, well_separated

from minidl import Sequential, backprop
from minidl.layers import Activation, Conv2D, Dense, Dropout, Flatten, Layer, MaxPooling2D, Rescaling, Residual
from minidl.layers.stack import Stack
from minidl.losses import CategoricalCrossentropy, MeanSquaredError
from minidl.ops.random import RandomKey

RNG = np.random.default_rng(3)


class Times(Layer):
    """y = factor · x, with one number as its parameter: small enough to follow by hand."""

    def __init__(self, factor, name=None):
        super().__init__(name=name)
        self.params = {"factor": np.array([float(factor)])}

    def forward(self, x, *, training=False, rng=None):
        return x * self.params["factor"], x

    def backward(self, dy, cache):
        return dy * self.params["factor"], {"factor": np.array([(dy * cache).sum()])}


class Square(Layer):
    """y = x²."""

    def forward(self, x, *, training=False, rng=None):
        return x * x, x

    def backward(self, dy, cache):
        return 2 * cache * dy, {}


def built(layers, shape):
    """The layers as a stack has built them, in float64."""
    stack = Stack(layers)
    stack.build(shape, np.random.default_rng(4), np.dtype(np.float64))
    for value in stack.params.values():
        value += np.random.default_rng(5).normal(size=value.shape) / 8  # biases of zero hide mistakes
    return stack


# -------------------------------------------------------------------------------------------- numbers worked out on paper


def test_a_chain_by_hand():
    """x = 2 → 3x = 6 → x² = 36 → 5x = 180.  dy = 1 → 5 → 2·6·5 = 60 → 180; factors: 36 and 2·60 = 120."""
    layers = [Times(3), Square(), Times(5, name="last")]
    x = np.array([[2.0]])
    y, caches = backprop.forward(layers, x)
    assert y.tolist() == [[180.0]]
    assert [cache.tolist() for cache in caches] == [[[2.0]], [[6.0]], [[36.0]]]
    dx, gradients = backprop.backward(layers, np.array([[1.0]]), caches)
    assert dx.tolist() == [[180.0]]  # the slope of 45x² at 2
    assert {address: value.tolist() for address, value in gradients.items()} == {
        "last/factor": [36.0],
        "layers[0]/factor": [120.0],
    }


def test_a_layer_that_stands_at_two_places():
    """y = f²x, so ∂y/∂f = 2fx = 2 · 3 · 2."""
    layer = Times(3, name="twice")
    y, caches = backprop.forward([layer, layer], np.array([[2.0]]))
    dx, gradients = backprop.backward([layer, layer], np.array([[1.0]]), caches)
    assert (y.item(), dx.item(), gradients["twice/factor"].item(), len(gradients)) == (18.0, 9.0, 12.0, 1)


def test_a_trace_by_hand():
    """The chain above, with the loss (y − 178)² of one number: 4, and its slope 2(180 − 178) = 4."""
    found = backprop.trace([Times(3), Square(), Times(5)], MeanSquaredError(), np.array([[2.0]]), np.array([[178.0]]))
    assert (found.loss, found.y_pred.item(), found.dy.item()) == (4.0, 180.0, 4.0)
    assert [(r.name, r.kind) for r in found] == [
        ("layers[0]", "Times"),
        ("layers[1]", "Square"),
        ("layers[2]", "Times"),
    ]
    numbers = [tuple(a.item() for a in (r.x, r.y, r.cache, r.dy, r.dx)) for r in found]
    assert numbers == [(2.0, 6.0, 2.0, 240.0, 720.0), (6.0, 36.0, 6.0, 20.0, 240.0), (36.0, 180.0, 36.0, 4.0, 20.0)]
    assert {address: g.item() for address, g in found.gradients.items()} == {
        "layers[0]/factor": 480.0,
        "layers[2]/factor": 144.0,
    }
    assert found["layers[1]"].gradients == {}
    assert len(found) == 3
    with pytest.raises(
        KeyError, match=r"no layer 'dense' was traced. There are: layers\[0\], layers\[1\], layers\[2\]"
    ):
        found["dense"]


def test_no_layers_at_all():
    x = np.ones((2, 3))
    y, caches = backprop.forward([], x)
    dx, gradients = backprop.backward([], x, caches)
    assert (y is x, dx is x, caches, gradients) == (True, True, [], {})


# ------------------------------------------------------------------------------------------------------ against differences


def image_layers():
    return [
        Conv2D(3, 2, activation="tanh", name="conv"),
        MaxPooling2D(),
        Residual([Conv2D(2, 3, padding="same", activation="tanh")], projection=Conv2D(2, 1), name="res"),
        Flatten(),
        Sequential([Dense(4, activation="tanh"), Residual([Dense(4, activation="tanh"), Dense(4)])], name="head"),
    ]


def test_every_gradient_of_a_nested_network():
    stack = built(image_layers(), (5, 7, 2))
    x = well_separated(RNG, (2, 5, 7, 2), 1 / 64)
    y, caches = backprop.forward(stack.layers, x)
    dy = RNG.normal(size=y.shape)
    kept = copied([x, dy])
    dx, gradients = backprop.backward(stack.layers, dy, caches)
    assert sorted(gradients) == sorted(stack.params)

    def outputs():
        return backprop.forward(stack.layers, x)[0]

    assert_gradient(dx, numeric_gradient(outputs, x, dy))
    for address, param in stack.params.items():
        assert_gradient(gradients[address], numeric_gradient(outputs, param, dy))
    again = backprop.backward(stack.layers, dy, caches)
    assert_same(again, (dx, gradients))  # twice is the same
    assert_same(copied([x, dy]), kept)  # and nothing was overwritten


def test_the_loop_by_hand():
    """The same layers called one by one, in their own words; dropout drawn by each layer's own key."""
    layers = built([Dense(6, activation="relu"), Dropout(0.4), Dense(5), Dropout(0.3), Activation("tanh")], (4,)).layers
    x, key = RNG.normal(size=(8, 4)), RandomKey(11, 0)
    ys, caches = [x], []
    for place, layer in enumerate(layers):
        y, cache = layer.forward(ys[-1], training=True, rng=key.layer(place))
        ys.append(y)
        caches.append(cache)
    y, ours = backprop.forward(layers, x, training=True, rng=key)
    assert_same(y, ys[-1])
    dy = RNG.normal(size=y.shape)
    dx, gradients = backprop.backward(layers, dy, ours)
    expected = {}
    for place in (4, 3, 2, 1, 0):
        dy, own = layers[place].backward(dy, caches[place])
        expected |= {f"{layers[place].name}/{name}": value for name, value in own.items()}
    assert_same(dx, dy)
    assert_same(gradients, expected)
    quiet, _ = backprop.forward(layers, x, rng=key)
    assert not np.array_equal(quiet, y)  # training is what turns dropout on


def test_keys_of_layers():
    """What each layer is given: its own key, made of the place; and none without one."""
    seen = []

    class Spy(Layer):
        def forward(self, x, *, training=False, rng=None):
            seen.append((training, rng))
            return x, None

    key = RandomKey(5, 3)
    backprop.forward([Spy(), Spy()], np.ones((1, 1)), training=True, rng=key)
    backprop.forward([Spy()], np.ones((1, 1)))
    assert seen == [(True, key.layer(0)), (True, key.layer(1)), (False, None)]
    assert seen[0][1].key == 5  # the first layer of a model draws from the batch's key itself
    assert {rng.first_sample for _, rng in seen[:2]} == {3}


# ----------------------------------------------------------------------------------------------------------- model.trace


def traced(**settings):
    model = Sequential(
        [
            Rescaling(0.5, input_shape=(5, 7, 2)),
            *image_layers(),
            Dropout(0.5),
            Dense(3, activation="softmax"),
        ],
        seed=2,
        dtype="float64",
        **settings,
    )
    model.compile("sgd", "categorical_crossentropy")
    return model


X, Y = RNG.normal(size=(6, 5, 7, 2)), np.eye(3)[RNG.integers(3, size=6)]
NAMES = [
    "rescaling",
    "conv",
    "max_pooling2d",
    "res",
    "res/conv2d",
    "res/conv2d_1",
    "flatten",
    "head",
    "head/dense",
    "head/residual",
    "head/residual/dense",
    "head/residual/dense_1",
    "dropout",
    "dense",
]


@pytest.mark.parametrize("training", [False, True])
def test_a_trace_of_a_model_is_whole(training):
    model = traced()
    before = model.get_weights(), vars(model.layers[3]).copy(), list(model.layers)
    found = model.trace(X, Y, training=training)
    assert [record.name for record in found] == NAMES
    value, gradients = model.loss_and_gradients(X, Y, training=training)
    assert found.loss == pytest.approx(value, rel=1e-12)
    assert set(found.gradients) == set(gradients)
    for name, gradient in gradients.items():
        assert_close(found.gradients[name], gradient)
        layer, _, param = name.rpartition("/")
        assert_close(found[layer].gradients[param], gradient)
    for record in found:  # each is what its layer says for itself
        layer = model
        for name in record.name.split("/"):
            layer = layer.get_layer(name)
        if record.name in ("dropout", "dense"):  # the mask, and the logits, are told below
            continue
        y, cache = layer.forward(record.x)
        assert_close(record.y, y)
        dx, own = layer.backward(record.dy, cache)
        assert_close(record.dx, dx)
        for name, gradient in own.items():
            assert_close(record.gradients[name], gradient)
    top = [record for record in found if "/" not in record.name]
    for one, other in pairwise(top):
        assert one.y is other.x
        assert one.dy is other.dx
    dropped = found["dropout"]
    assert (dropped.y == 0).any() == training
    assert_same(dropped.y == 0, dropped.dx == 0) if training else assert_same(dropped.x, dropped.y)
    assert_same(model.get_weights(), before[0])
    assert vars(model.layers[3]).keys() == before[1].keys()
    assert all(one is other for one, other in zip(model.layers, before[2], strict=True))


def test_a_softmax_at_the_end_is_one_with_its_loss():
    """∂loss/∂logits = (softmax − label) / N."""
    model = traced()
    found = model.trace(X, Y)
    logits = found["dense"].y
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    assert_close(model.predict(X, verbose=0), probabilities)
    assert_close(found["dense"].dy, (probabilities - Y) / len(X))
    assert_same(found.y_pred, logits)
    assert found.notes == [
        "The softmax and the loss are one computation: the last layer's y and dy are those of the logits."
    ]
    assert model.layers[-1].activation == "softmax"


def test_a_residual_in_a_trace():
    """Its y is the sum of both branches, its dx, too."""
    found = traced().trace(X, Y)
    res, inner, skip = found["res"], found["res/conv2d"], found["res/conv2d_1"]
    assert_close(res.y, inner.y + skip.y)
    assert_close(res.dx, inner.dx + skip.dx)
    assert_same([inner.dy, skip.dy], [res.dy] * 2)
    plain, last = found["head/residual"], found["head/residual/dense_1"]
    assert_close(plain.y, plain.x + last.y)
    assert_close(plain.dx, plain.dy + found["head/residual/dense"].dx)


def test_a_frozen_layer_has_its_gradients_in_a_trace():
    model, free = traced(), traced()
    model.layers[1].trainable = model.layers[3].trainable = False
    assert_same(model.trace(X, Y).gradients, free.trace(X, Y).gradients)


def test_the_table():
    model = Sequential([Dense(2, activation="relu", input_shape=(2,), name="first"), Dense(1)], dtype="float64")
    model.set_weights([[[1.0, -1.0], [1.0, -1.0]], [0.0, 0.0], [[3.0], [4.0]], [0.0]])
    model.compile("sgd", "mse")
    text = str(model.trace([[1.0, 2.0], [2.0, 2.0]], [[9.0], [10.0]]))
    lines = text.splitlines()
    assert lines[0].strip() == "loss 2"  # (0² + 2²) / 2
    cells = [[cell.strip() for cell in line.strip("│").split("│")] for line in lines if line.startswith("│")]
    # y = [[3, 0], [4, 0]]; dy of the last layer is (9 − 9, 12 − 10) · 2 / 2 = (0, 2); the ReLU lets 3 · 2 = 6 pass, so that
    # dkernel = xᵀ · [[0, 0], [6, 0]] = [[12, 0], [12, 0]], of the norm 12√2
    assert cells == [
        ["first (Dense)", "y", "2×2", "1.75", "5", "50%"],
        ["", "dy", "2×2", "3.5", "10", "50%"],
        ["", "dkernel", "2×2", "6", "17", "50%"],
        ["", "dbias", "2", "3", "6", "50%"],
        ["dense_1 (Dense)", "y", "2×1", "10.5", "15", "0%"],
        ["", "dy", "2×1", "1", "2", "50%"],
        ["", "dkernel", "2×1", "4", "8", "50%"],
        ["", "dbias", "1", "2", "2", "0%"],
    ]
    assert "\x1b" not in text
    assert max(map(len, lines)) <= 100


def test_a_trace_of_a_loss_alone():
    """backprop.trace takes any loss, and a softmax that stands before it stays one."""
    layers = built([Dense(3, activation="softmax")], (4,)).layers
    x, y = RNG.normal(size=(5, 4)), np.eye(3)[RNG.integers(3, size=5)]
    found = backprop.trace(layers, CategoricalCrossentropy(), x, y)
    assert_close(found.y_pred.sum(axis=1), np.ones(5))
    assert_close(found.loss, -np.log((found.y_pred * y).sum(axis=1)).mean())
    param = layers[0].params["kernel"]

    def loss():
        return CategoricalCrossentropy().forward(y, layers[0].forward(x)[0])[0]

    assert_gradient(found.gradients["dense/kernel"], numeric_gradient(loss, param))


def test_a_trace_that_overflows_shows_it_and_warns_of_nothing():
    model = Sequential([Dense(2, input_shape=(3,), kernel_initializer="ones")])
    model.compile(loss="mse", optimizer="sgd")
    found = model.trace(np.full((1, 3), 3e38, np.float32), np.zeros((1, 2)))
    assert found.loss == np.inf


class Doubles(Layer):
    """Writes into its x and its dy, as people do who have not read that they must not."""

    def forward(self, x, *, training=False, rng=None):
        x *= 2
        return x, None

    def backward(self, dy, cache):
        dy *= 2
        return dy, {}


class Copies(Layer):
    def forward(self, x, *, training=False, rng=None):
        return 2 * x, None

    def backward(self, dy, cache):
        return 2 * dy, {}


def test_a_layer_that_overwrites_what_it_is_given_harms_nobody():
    """Not the caller's samples, not what the layer below keeps for its backward, and not the other branch of a Residual."""
    x, y = (np.random.default_rng(seed).normal(size=(40, 3)) for seed in (0, 1))
    results = []
    for kind in (Doubles, Copies):
        model = Sequential(
            [kind(), Dense(3, "tanh"), Residual([kind()]), Dense(3, "sigmoid"), kind()], seed=1, dtype="float64"
        )
        model.compile("sgd", "mse")
        own = x.copy()
        model.build((3,))
        found = [model.loss_and_gradients(own, y), model.trace(own, y).gradients, model.predict(own, verbose=0)]
        found += [model.evaluate(own, y, verbose=0), model.fit(own, y, shuffle=False, verbose=0).history["loss"]]
        results.append([*found, model.get_weights()])
        np.testing.assert_array_equal(own, x)
    for one, other in zip(*results, strict=True):
        assert_same(one, other)
    for address, gradient in results[0][1].items():
        assert_close(gradient, results[0][0][1][address])
