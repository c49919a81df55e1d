"""A stack is a layer: it keeps the contract, however it is nested, and computes what its layers compute one by one."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support import assert_close, assert_same, well_separated

from minidl import Sequential, gradcheck, load_model
from minidl.callbacks import BackupAndRestore, Callback
from minidl.layers import Activation, Conv2D, Dense, Dropout, Flatten, Input, Layer, MaxPooling2D, Residual
from minidl.layers.stack import Stack
from minidl.ops.random import FORWARD, RandomKey, derive_key
from minidl.testing import check_layer

# ------------------------------------------------------------------------------------------------------------ the contract


@pytest.mark.parametrize(
    ("factory", "shapes"),
    [
        (lambda: Stack([Dense(3, activation="tanh"), Dropout(0.3), Dense(2)]), [(4,), (1,)]),
        (lambda: Sequential([Dense(3, activation="relu"), Dense(2)]), [(3,)]),
        (lambda: Stack([Conv2D(2, 2, activation="relu"), MaxPooling2D(), Flatten(), Stack([Dense(3)])]), [(3, 5, 2)]),
        (lambda: Stack([Stack([Stack([Dense(2)])])]), [(2,)]),
        (lambda: Stack([Flatten()]), [(2, 3)]),
    ],
    ids=["dense", "sequential", "images", "deep", "no parameters"],
)
def test_it_keeps_the_contract(factory, shapes):
    check_layer(factory, shapes)


# ------------------------------------------------------------------------------------------------------ random nestings


@st.composite
def networks(draw, depth=3):
    """(make, shape): a list of layers, nested at random, for samples of this shape; a Residual where the shape allows it."""
    images = draw(st.booleans())
    shape = (
        (draw(st.integers(3, 6)), draw(st.integers(3, 6)), draw(st.integers(1, 3)))
        if images
        else (draw(st.integers(2, 5)),)
    )
    plan, _ = draw(layers_for(shape, depth))
    return (lambda: [make() for make in plan]), shape


@st.composite
def layers_for(draw, shape, depth):
    """([make a layer, …], the output's shape)."""
    plan = []
    for _ in range(draw(st.integers(1, 3))):
        make, shape = draw(layer_for(shape, depth))
        plan.append(make)
    return plan, shape


@st.composite
def layer_for(draw, shape, depth):
    activation = draw(st.sampled_from(["tanh", "relu", "linear"]))
    kinds = ["activation", "dropout", *(["stack", "sequential", "residual", "projected"] if depth else [])]
    kinds += ["conv", "pool", "flatten"] if len(shape) == 3 else ["dense", "dense"]
    kind = draw(st.sampled_from(kinds))
    if kind == "dense":
        units = draw(st.integers(1, 4))
        return (lambda: Dense(units, activation=activation)), (units,)
    if kind == "conv":
        filters = draw(st.integers(1, 3))
        return (lambda: Conv2D(filters, 3, padding="same", activation=activation)), (*shape[:2], filters)
    if kind == "pool":
        if min(shape[:2]) < 2:
            return Flatten, (int(np.prod(shape)),)
        return MaxPooling2D, (shape[0] // 2, shape[1] // 2, shape[2])
    if kind == "flatten":
        return Flatten, (int(np.prod(shape)),)
    if kind == "activation":
        return (lambda: Activation("tanh")), shape
    if kind == "dropout":
        return (lambda: Dropout(0.3)), shape
    plan, output = draw(layers_for(shape, depth - 1))
    if kind in ("stack", "sequential"):
        cls = Stack if kind == "stack" else Sequential
        return (lambda: cls([make() for make in plan])), output
    if output == shape and kind == "residual":
        return (lambda: Residual([make() for make in plan])), output
    projection = (lambda: Stack([Flatten(), Dense(output[0])])) if len(output) == 1 else None
    if projection is None and len(shape) == len(output) == 3 and shape[:2] == output[:2]:
        projection = lambda: Conv2D(output[2], 1)  # noqa: E731
    if projection is None:
        return (lambda: Stack([make() for make in plan])), output
    return (lambda: Residual([make() for make in plan], projection=projection())), output


def model_of(make, shape, **how):
    """Noise on every parameter, the same in all, because biases of zero hide mistakes."""
    model = Sequential([Input(shape), *make(), Flatten(), Dense(2, name="last")], seed=3, **how)
    noise = np.random.default_rng(7)
    model.set_weights([w + noise.normal(size=w.shape) / 8 for w in model.get_weights()])
    model.compile("sgd", "mse")
    return model


def by_hand(layers, x, training, key):
    """y of the layers, called one by one in the words of their contract, down to the leaves."""
    for place, layer in enumerate(layers):
        own = key.layer(place)
        if isinstance(layer, Residual):
            inner, projection = layer.branches()
            skip = x if projection is None else by_hand_of_one(projection, x, training, own.layer(len(inner)))
            x = skip + by_hand(inner, x, training, own)
        else:
            x = by_hand_of_one(layer, x, training, own)
    return x


def by_hand_of_one(layer, x, training, key):
    if isinstance(layer, Stack):
        return by_hand(layer.layers, x, training, key)
    return layer.forward(x, training=training, rng=key)[0]


@settings(max_examples=15)
@given(network=networks(), training=st.booleans())
def test_fused_is_unfused_is_reference_is_by_hand(network, training):
    make, shape = network
    rng = np.random.default_rng(1)
    x = well_separated(rng, (5, *shape), 1 / 256)
    y = rng.normal(size=(5, 2))
    ways = [{}, {"fuse": False}, {"ops": "reference"}, {"ops": "reference", "fuse": False}]
    models = [model_of(make, shape, dtype="float64", **way) for way in ways]
    results = [model.loss_and_gradients(x, y, training=training) for model in models]
    for value, gradients in results[1:]:
        np.testing.assert_allclose(value, results[0][0], rtol=1e-12)
        assert list(gradients) == list(results[0][1]) == list(models[0].params)
        for name, gradient in gradients.items():
            np.testing.assert_allclose(gradient, results[0][1][name], rtol=1e-10, atol=1e-12)
    model = models[1]
    assert_close(model.predict(x, verbose=0), by_hand(model.layers, x, False, RandomKey(0, 0)))
    expected, _ = model.forward(x)
    assert_close(model.predict(x, verbose=0), expected)
    trace = model.trace(x, y, training=training)
    assert trace.loss == pytest.approx(results[0][0], rel=1e-12)
    if training:
        key = RandomKey(derive_key(model.seed, FORWARD, 0), 0)
        assert_close(trace.y_pred, by_hand(model.layers, x, True, key))


@settings(max_examples=4)
@given(network=networks())
def test_gradcheck(network):
    make, shape = network
    model = model_of(make, shape, dtype="float64")
    rng = np.random.default_rng(2)
    report = gradcheck(model, rng.normal(size=(3, *shape)), rng.normal(size=(3, 2)), mode="direction")
    assert not report.problems
    assert not any(record.failed for record in report.records), str(report)


@settings(max_examples=6)
@given(network=networks())
def test_shapes_names_and_files(network, tmp_path_factory):
    make, shape = network
    model = model_of(make, shape)
    x = np.random.default_rng(4).normal(size=(4, *shape)).astype(np.float32)
    model.fit(x, np.ones((4, 2)), batch_size=2, verbose=0)
    z = x
    for layer in model.layers:
        assert layer.input_shape == z.shape[1:]
        z, _ = layer.forward(z)
        assert layer.output_shape == z.shape[1:]
    for stack in model.stacks():
        names = [layer.name for layer in stack.layers]
        assert len(set(names)) == len(names)
    for address, value in model.params.items():  # an address is the way to the parameter
        *path, param = address.split("/")
        layer = model
        for name in path:
            layer = layer.get_layer(name)
        assert layer.params[param] is value
    path = tmp_path_factory.mktemp("files") / "model.safetensors"
    model.save(path)
    other = load_model(path)
    assert list(other.params) == list(model.params)
    model.fit(x, np.ones((4, 2)), batch_size=2, verbose=0)
    other.fit(x, np.ones((4, 2)), batch_size=2, verbose=0)
    assert_same(other.get_weights(), model.get_weights())
    fresh = Sequential.from_config(model.get_config())
    assert fresh.to_json() == model.to_json()
    assert [(name, w.shape) for name, w in fresh.params.items()] == [
        (name, w.shape) for name, w in model.params.items()
    ]


# ------------------------------------------------------------------------------------------------------------- the keys


def test_keys_by_path_never_collide():
    """Every path of up to four places, some of them far: under one batch's key no two get the same."""
    places = [*range(8), 999]
    for batch in (0, 2**64 - 1, derive_key(3, FORWARD, 0)):
        keys = {}
        for depth in range(1, 5):
            for path in itertools.product(places, repeat=depth):
                key = RandomKey(batch, 0)
                for place in path:
                    key = key.layer(place)
                assert 0 <= key.key < 2**64
                assert keys.setdefault(key.key, path) == path
        assert len(keys) == 9 + 9**2 + 9**3 + 9**4


def test_layer_1_in_the_stack_at_place_1_is_not_layer_2():
    """A sum of places along the path would give both the same mask."""
    x = np.ones((1, 64))
    model = Sequential([Dropout(0.5), Stack([Dropout(0.5), Dropout(0.5)]), Dropout(0.5)], dtype="float64")
    model.build((64,))
    model.compile("sgd", "mse")
    masks = {}
    for record in model.trace(x, x, training=True):
        if record.kind == "Dropout":
            masks[record.name] = np.where(record.x != 0, record.y != 0, False), record.x != 0
    pairs = list(itertools.combinations(masks.values(), 2))
    assert len(pairs) == 6
    for (one, seen), (other, also) in pairs:
        both = seen & also
        assert not np.array_equal(one[both], other[both])


def test_the_weights_of_places_never_collide():
    stack = lambda: Stack([Dense(3), Stack([Dense(3), Dense(3)])])  # noqa: E731
    model = Sequential([Dense(3), stack(), stack(), Dense(3), Residual([Dense(3), Dense(3)])], seed=0)
    model.build((3,))
    kernels = [value for name, value in model.params.items() if name.endswith("kernel")]
    assert len(kernels) == 10
    for one, other in itertools.combinations(kernels, 2):
        assert not np.array_equal(one, other)


def test_the_outermost_seed_decides():
    """What is built as a part of a model has weights by that model's seed, whatever its own is."""

    def make(inner_seed, seed):
        model = Sequential([Sequential([Dense(3), Dropout(0.5)], seed=inner_seed), Dense(2)], seed=seed)
        model.build((4,))
        model.compile("sgd", "mse")
        model.fit(np.ones((8, 4)), np.ones((8, 2)), batch_size=4, verbose=0)
        return model.get_weights()

    assert_same(make(1, 7), make(2, 7))
    assert not np.array_equal(make(1, 7)[0], make(1, 8)[0])


def test_settings_of_the_outermost_reach_all_layers():
    inner = Sequential([Dense(3), Residual([Dense(3)])], ops="kernels", dtype="float32")
    model = Sequential([Input((4,)), inner, Dense(2)], ops="reference", dtype="float64")
    assert {layer.ops.__name__ for _, layer in model.leaves()} == {"minidl.ops.reference"}
    assert {value.dtype.name for value in model.params.values()} == {"float64"}
    assert inner.dtype == np.float64


# ------------------------------------------------------------------------------------------------- names, and what is in it


def test_names():
    model = Sequential(
        [
            Sequential([Dense(2), Dense(2)]),
            Sequential([Dense(2)]),
            Residual([Dense(2), Activation("relu")]),
            Stack([Dense(2)]),
        ]
    )
    model.build((2,))
    assert [name for name in model.params if name.endswith("kernel")] == [
        "sequential/dense/kernel",
        "sequential/dense_1/kernel",
        "sequential_1/dense/kernel",
        "residual/dense/kernel",
        "stack/dense/kernel",
    ]
    assert model.get_layer("residual").get_layer("activation").name == "activation"
    assert model.get_layer(index=1).get_layer(index=0).units == 2


class Counted(Layer):
    """A layer with a state: how often it was asked is not kept, but the array is."""

    def build(self, input_shape, rng, dtype):
        self.params = {"scale": np.ones(input_shape, dtype), "shift": np.zeros(input_shape, dtype)}
        self.state = {"mean": np.full(input_shape, 0.5, dtype), "seen": np.zeros((), np.int64)}
        return input_shape

    def forward(self, x, *, training=False, rng=None):
        return (x - self.state["mean"]) * self.params["scale"] + self.params["shift"], x

    def backward(self, dy, x):
        return dy * self.params["scale"], {"scale": (dy * (x - self.state["mean"])).sum(0), "shift": dy.sum(0)}


def test_weights_go_layer_by_layer_params_then_state(tmp_path, capsys):
    model = Sequential([Sequential([Dense(2, name="d"), Counted(name="c")], name="s"), Counted(name="c")], seed=0)
    model.build((3,))
    model.compile("sgd", "mse")
    order = [
        "s/d/kernel",
        "s/d/bias",
        *(f"{at}/{name}" for at in ("s/c", "c") for name in ("scale", "shift", "mean", "seen")),
    ]
    assert list(model.weights) == order
    assert list(model.params) == [name for name in order if name.rpartition("/")[2] not in ("mean", "seen")]
    assert list(model.state) == ["s/c/mean", "s/c/seen", "c/mean", "c/seen"]
    assert model.count_params() == 6 + 2 + 2 * (2 + 2 + 2 + 1)
    model.layers[0].layers[1].state["mean"][...] = [1.0, 2.0]
    model.layers[1].state["seen"][...] = 7
    x, y = np.ones((4, 3)), np.zeros((4, 2))
    before = {name: value.copy() for name, value in model.state.items()}
    model.fit(x, y, verbose=0)
    assert_same(model.state, before)  # no gradient, no decay
    model.save(tmp_path / "m.safetensors")
    other = load_model(tmp_path / "m.safetensors", custom_objects={"Counted": Counted})
    assert_same(other.get_weights(), model.get_weights())
    other.set_weights(model.get_weights())
    assert other.layers[1].state["seen"] == 7
    model.fit(x, y, verbose=0)
    other.fit(x, y, verbose=0)
    assert_same(other.get_weights(), model.get_weights())
    capsys.readouterr()
    model.summary()
    text = capsys.readouterr().out
    assert "Total params: 22 (" in text
    assert "Trainable params: 16 (" in text
    assert "Non-trainable params: 6 (" in text


# --------------------------------------------------------------------------------------------------------------- errors


def twice():
    layer = Dense(2)
    return Stack([layer, layer])


def itself():
    stack = Stack([Dense(2)])
    Stack([stack])
    stack.add(stack)


def deep_in_itself():
    inner = Stack([Dense(2)])
    outer = Stack([Stack([inner])])
    inner.add(outer)


@pytest.mark.parametrize(
    ("call", "error", "text"),
    [
        (twice, ValueError, "Stack already holds the layer 'dense': create a new one to add it twice."),
        (itself, ValueError, "Stack 'stack' cannot hold itself."),
        (deep_in_itself, ValueError, "Stack 'stack' cannot hold itself."),
        (lambda: Stack(Dense(2)), TypeError, None),
        (lambda: Stack([Dense]), TypeError, "a class: create the layer with (…)."),
        (lambda: Stack([Dense(2, name="a"), Dense(2, name="a")]), ValueError, "already has a layer named 'a'"),
        (lambda: Stack([Dense(2), Input((3,))]), ValueError, "Input must come first and once, received it after 1 layers."),
        (lambda: Stack().build((3,)), ValueError, "Stack has no layers: add some first."),
        (lambda: Stack([Dense(2)]).build((0,)), ValueError, "input_shape must be a tuple of positive integers"),
        (lambda: Stack([Stack([Dense(2)]), Conv2D(2, 3)]).build((3,)), ValueError, "Conv2D 'conv2d' expects input"),
        (lambda: Stack([Dense(2)], width=3), TypeError, "Stack.__init__() got an unexpected keyword argument 'width'"),
        (lambda: Sequential([Sequential([])]).build((3,)), ValueError, "has no layers: add some first."),
        (lambda: Stack([Input((4,)), Stack([Dense(2)], input_shape=(3,))]), ValueError, "contradicts what comes before"),
    ],
)  # fmt: skip
def test_errors(call, error, text):
    with pytest.raises(error) as caught:
        call()
    if text is None:
        assert str(caught.value).startswith(
            "Stack layers must be a list of layers, received <minidl.layers.core.Dense object"
        )
    else:
        assert text in str(caught.value)


def test_after_a_failed_build_it_is_as_it_was():
    stack = Stack([Stack([Dense(2), Dense(3)]), Conv2D(2, 3)])
    with pytest.raises(ValueError, match="Conv2D"):
        stack.build((4,))
    assert not stack.built
    assert stack.params == {}
    stack.layers[1] = Dense(5)
    stack.layers[1].name = "dense"
    assert stack.build((7,)) == (5,)  # another shape than before
    model = Sequential([Stack([Dense(2)])])
    with pytest.raises(ValueError, match="Dense"):
        model.build((4, 4, 1))
    assert model.build((4,)) == (2,)


def test_nan_in_a_nested_layer_is_named_with_its_path():
    model = Sequential([Sequential([Dense(2, name="fine"), Residual([Dense(2, name="bad")])], name="s"), Dense(1)])
    model.build((2,))
    model.compile("sgd", "mse")
    model.params["s/residual/bad/kernel"][...] = np.inf
    with pytest.raises(FloatingPointError, match="the first layer whose output is not finite is 's/residual/bad'"):
        model.fit(np.ones((4, 2)), np.ones(4), verbose=0)


class Stop(Callback):
    """Ends the program, as a kill would, after so many batches."""

    def __init__(self, batches):
        self.batches = batches

    def on_train_batch_end(self, batch, logs=None):
        self.batches -= 1
        if self.batches == 0:
            raise SystemExit


def test_a_training_goes_on_although_the_inner_models_are_made_anew(tmp_path):
    """Their own seeds are drawn, and differ each time; they decide nothing."""
    x, y = np.random.default_rng(0).normal(size=(12, 4)), np.ones((12, 2))

    def fit(*more, seed=1):
        inner = Sequential([Dense(3), Dropout(0.3), Sequential([Dense(3)])])
        model = Sequential([Input((4,)), inner, Residual([Sequential([Dense(3)])]), Dense(2)], seed=seed)
        model.compile("adam", "mse")
        model.fit(x, y, batch_size=4, epochs=3, verbose=0, callbacks=list(more))
        return model

    def backup():
        return BackupAndRestore(tmp_path, save_freq=1)

    with pytest.raises(SystemExit):
        fit(backup(), Stop(5))
    assert_same(fit(backup()).get_weights(), fit().get_weights())
    with pytest.raises(SystemExit):
        fit(backup(), Stop(5))
    other = Sequential([Input((4,)), Sequential([Dense(3), Dropout(0.5), Sequential([Dense(3)])]), Dense(2)])
    other.compile("adam", "mse")
    with pytest.raises(ValueError, match="it is of another training: layers"):
        other.fit(x, y, batch_size=4, epochs=3, verbose=0, callbacks=[backup()])
