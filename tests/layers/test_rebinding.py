"""Layers of the user's are trained however they keep their parameters; where that cannot be, they are refused."""

import copy
import io
import pickle

import joblib
import numpy as np
import pytest
from support import assert_same

from minidl import Sequential
from minidl.layers import Dense, Layer
from minidl.layers.rebinding import rebind

RNG = np.random.default_rng(6)
X, Y = RNG.normal(size=(24, 4)).astype(np.float32), RNG.integers(3, size=24)
KERNEL = RNG.normal(size=(4, 4)).astype(np.float32)


class Product(Layer):
    """y = x · w. Each class below keeps w in its own way, and computes with what it has kept."""

    def build(self, input_shape, rng, dtype):
        self.keep(KERNEL.astype(dtype))
        return input_shape

    def keep(self, w):
        self.params = {"w": w}

    def kept(self):
        return self.params["w"]

    def forward(self, x, *, training=False, rng=None):
        return x @ self.kept(), x

    def backward(self, dy, x):
        return dy @ self.kept().T, {"w": x.T @ dy}


class Attribute(Product):
    def keep(self, w):
        self.w = w
        self.params = {"w": w}

    def kept(self):
        return self.w


class InAList(Product):
    def keep(self, w):
        self.arrays = [None, w]
        self.params = {"w": w}

    def kept(self):
        return self.arrays[1]


class Deep(Product):
    def keep(self, w):
        self.arrays = {"kernels": [[w]]}
        self.arrays["self"] = self.arrays  # and round in a circle
        self.params = {"w": w}

    def kept(self):
        return self.arrays["kernels"][0][0]


class Property(Product):
    """params as a property, made anew at each call; nothing can be put into it."""

    def __init__(self, **common):
        self.w = None
        super().__init__(**common)

    def keep(self, w):
        self.w = w

    def kept(self):
        return self.w

    @property
    def params(self):
        return {} if self.w is None else {"w": self.w}

    @params.setter
    def params(self, params):
        """It follows from w."""


class WithALayerInside(Product):
    def keep(self, w):
        self.inner = Dense(4, use_bias=False)
        self.inner.build((4,), np.random.default_rng(0), w.dtype)
        self.inner.set_weights([w])
        self.params = {"w": self.inner.params["kernel"]}

    def kept(self):
        return self.inner.params["kernel"]


class WithAModelInside(Product):
    def keep(self, w):
        self.model = Sequential([Dense(4, use_bias=False, input_shape=(4,))], dtype=w.dtype.name)
        self.model.set_weights([w])
        self.params = {"w": self.model.layers[0].params["kernel"]}

    def kept(self):
        return self.model.params["dense/kernel"]


class InAnotherDtype(Attribute):
    """Its arrays are float64 whatever the model's are, until the model has them."""

    def keep(self, w):
        super().keep(w.astype(np.float64))


class Alone:
    """The contract and nothing more: no class above, no ops, no state, no home, params as a property that cannot be set."""

    name = None
    input_shape = (4,)
    output_shape = None

    def __init__(self):
        self.w = None

    def build(self, input_shape, rng, dtype):
        self.w = KERNEL.astype(dtype)
        return input_shape

    @property
    def params(self):
        return {} if self.w is None else {"w": self.w}

    def kept(self):
        return self.w

    forward = Product.forward
    backward = Product.backward


WAYS = [Attribute, InAList, Deep, Property, WithALayerInside, WithAModelInside, InAnotherDtype, Alone]


def trained(layer, **settings):
    model = Sequential([layer, Dense(3, activation="softmax", name="head")], seed=0, **settings)
    model.build((4,)) if not model.built else None
    model.compile("adam", "sparse_categorical_crossentropy")
    fit(model)
    return model


def fit(model):
    model.fit(X, Y, batch_size=8, epochs=2, verbose=0)


@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.__name__)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_it_learns_what_the_plain_layer_learns(way, dtype):
    expected = trained(Product(), dtype=dtype)
    layer = way()
    model = trained(layer, dtype=dtype)
    assert_same(model.get_weights(), expected.get_weights())
    assert layer.kept() is layer.params["w"]
    assert_same(model.predict(X, verbose=0), expected.predict(X, verbose=0))


def joblibbed(thing):
    file = io.BytesIO()
    joblib.dump(thing, file)
    file.seek(0)
    return joblib.load(file)


@pytest.mark.parametrize("way", [Attribute, Property, Alone], ids=lambda way: way.__name__)
@pytest.mark.parametrize("duplicate", [copy.deepcopy, lambda thing: pickle.loads(pickle.dumps(thing)), joblibbed])
def test_copies_go_on_alike(way, duplicate):
    model = trained(way())
    other = duplicate(model)
    fit(other)
    fit(model)
    assert_same(other.get_weights(), model.get_weights())
    assert other.layers[0].kept() is other.layers[0].params["w"]
    assert_same(other.predict(X, verbose=0), model.predict(X, verbose=0))


def test_what_cannot_be_replaced_is_refused():
    """Otherwise it would compute with an array that is never trained."""

    class Hidden(Alone):
        @property
        def params(self):
            return {} if self.w is None else {"w": self.w[0]}

        def build(self, input_shape, rng, dtype):
            self.w = (KERNEL.astype(dtype),)
            return input_shape

    text = (
        "layer 'hidden': the model cannot put an array of its own in the place of params['w']. Keep it in self.params, or as "
        "an attribute that params reads."
    )
    with pytest.raises(TypeError, match="layer 'hidden'") as caught:
        trained(Hidden())
    assert str(caught.value) == text


def test_a_layer_without_room_for_attributes_is_refused():
    class Tight:
        __slots__ = ("input_shape", "name", "output_shape", "params")
        build = Product.build
        forward = Product.forward
        backward = Product.backward

    layer = Tight()
    layer.params = {}
    with pytest.raises(TypeError, match="whose class has __slots__: leave them out"):
        Sequential([layer])


class Factors(Layer):
    """y = x · all of its factors."""

    def build(self, input_shape, rng, dtype):
        self.params = {"a": np.full(input_shape, 1.5, dtype)}
        return input_shape

    def forward(self, x, *, training=False, rng=None):
        return x * np.prod(list(self.params.values()), axis=0), x

    def backward(self, dy, x):
        whole = np.prod(list(self.params.values()), axis=0)
        return dy * whole, {name: (dy * x * whole / value).sum(axis=0) for name, value in self.params.items()}


def test_parameters_that_come_and_go():
    """New names are trained from the next call on, and names that are gone are no longer there."""
    model = trained(Factors())
    layer = model.layers[0]
    layer.params["b"] = np.full(4, 2.0, np.float32)
    assert list(model.loss_and_gradients(X, Y)[1]) == ["factors/a", "factors/b", "head/kernel", "head/bias"]
    before = layer.params["b"].copy()
    fit(model)
    assert (layer.params["b"] != before).all()
    layer.params = {"b": layer.params["b"]}
    fit(model)
    assert list(model.params) == list(model.optimizer.slots) == ["factors/b", "head/kernel", "head/bias"]


def test_a_layer_that_sets_its_params_anew_in_forward():
    class Restless(Product):
        def forward(self, x, *, training=False, rng=None):
            self.params = {"w": self.params["w"].copy()}
            return super().forward(x)

    model, expected = trained(Restless()), trained(Product())
    assert_same(model.get_weights(), expected.get_weights())


def test_an_attribute_that_is_called_layers_is_no_stack():
    class Deep(Product):
        def __init__(self):
            super().__init__()
            self.layers = 3

    model = trained(Deep())
    assert [record.name for record in model.trace(X, Y)] == ["deep", "head"]


def test_rebind_leaves_other_arrays_alone():
    layer = Attribute()
    layer.build((4,), None, np.dtype(np.float32))
    layer.other = layer.w.copy()
    kept, new = layer.other, np.zeros((4, 4), np.float32)
    rebind(layer, "w", new)
    assert layer.w is layer.params["w"] is new
    assert layer.other is kept
    rebind(layer, "w", new)
    assert layer.w is new


def test_a_layer_that_says_its_output_shape_before_it_is_built():
    class Plain:
        name = input_shape = None
        output_shape = (3,)
        params = {}  # noqa: RUF012 (as a user may write it)

        def build(self, input_shape, rng, dtype):
            return input_shape

        def forward(self, x, *, training=False, rng=None):
            return x.copy(), None

        def backward(self, dy, cache):
            return dy.copy(), {}

    model = Sequential([Plain(), Dense(2)])
    assert model.predict(np.ones((4, 3)), verbose=0).shape == (4, 2)
    assert model.layers[0].input_shape == (3,)
