"""Tied parameters: two layers with the very same array have one parameter, and its gradient is the sum of both."""

import copy
import pickle

import numpy as np
import pytest
from support import assert_gradient, assert_same, numeric_gradient

from minidl import Sequential, load_model, saving, set_num_threads
from minidl.layers import Dense, Layer, Residual
from minidl.optimizers import SGD, Adam

RNG = np.random.default_rng(9)
X, Y = RNG.normal(size=(40, 4)), RNG.integers(3, size=40)


class Transposed(Layer):
    """The way back of a tied autoencoder: y = x · kernelᵀ, with the kernel of another layer."""

    def __init__(self, other, **common):
        super().__init__(**common)
        self.other = other

    def build(self, input_shape, rng, dtype):
        self.params = {"kernel": self.other.params["kernel"]}
        return (self.params["kernel"].shape[0],)

    def forward(self, x, *, training=False, rng=None):
        return x @ self.params["kernel"].T, x

    def backward(self, dy, cache):
        return dy @ self.params["kernel"], {"kernel": dy.T @ cache}


def tied(optimizer="sgd", dtype="float64", inside=lambda layers: layers, **settings):
    """Three of four hidden layers have one kernel; the one in between has its own."""
    hidden = [Dense(4, activation="tanh", name=f"d{i}") for i in range(4)]
    model = Sequential([*inside(hidden), Dense(3, activation="softmax", name="head")], seed=1, dtype=dtype, **settings)
    model.build((4,))
    for i in (1, 3):
        hidden[i].params["kernel"] = hidden[0].params["kernel"]
    model.compile(optimizer, "sparse_categorical_crossentropy", metrics=["accuracy"])
    return model


NESTED = {
    "flat": lambda layers: layers,
    "in stacks": lambda layers: [Sequential(layers[:2]), Sequential([Sequential(layers[2:])])],
    "in a residual": lambda layers: [layers[0], Residual(layers[1:3], projection=layers[3])],
    "all in a residual": lambda layers: [Residual(layers)],
    "two in one stack": lambda layers: [layers[0], Residual([layers[1], Residual([layers[2], layers[3]])])],
}
nested = pytest.mark.parametrize("inside", NESTED.values(), ids=NESTED)


def fit(model, **settings):
    return model.fit(X, Y, batch_size=20, verbose=0, **settings)


def kernels(model):
    return [value for _, layer in model.leaves() for name, value in layer.params.items() if name == "kernel"]


@nested
def test_one_parameter_with_the_sum_of_the_gradients(inside):
    """Held against differences: the loss as a function of the one array."""
    model = tied(inside=inside)
    assert len(model.params) == 2 + 4 + 2  # two kernels, four biases, and the head
    assert sum(name.endswith("kernel") for name in model.params) == 3
    assert sum(w.size for w in model.get_weights()) == 2 * 16 + 4 * 4 + 4 * 3 + 3 == model.count_params()
    value, gradients = model.loss_and_gradients(X, Y)
    assert list(gradients) == list(model.params)
    for name, param in model.params.items():
        expected = numeric_gradient(lambda: model.evaluate(X, Y, verbose=0)[0], param)
        assert_gradient(gradients[name], expected)
    assert value == pytest.approx(model.evaluate(X, Y, verbose=0)[0])
    traced = model.trace(X, Y).gradients
    y, cache = model.forward(X)
    _, alone = model.backward(np.ones_like(y), cache)
    assert set(traced) == set(alone) == set(gradients)
    for name, gradient in traced.items():
        np.testing.assert_allclose(gradient, gradients[name], rtol=1e-11, atol=1e-13)


def test_a_step_by_hand():
    """x·w·w with x = 2, w = 3 and the target 20: y = 18, loss 4, ∂y/∂w = 2·x·w = 12, ∂loss/∂w = 2(18 − 20) · 12 = −48."""
    one, two = (Dense(1, use_bias=False, input_shape=(1,) if i == 0 else None) for i in range(2))
    model = Sequential([one, two], dtype="float64")
    model.set_weights([[[3.0]], [[3.0]]])
    two.params["kernel"] = one.params["kernel"]
    model.compile(SGD(0.5), "mse")
    value, gradients = model.loss_and_gradients([[2.0]], [[20.0]])
    assert (value, {name: g.item() for name, g in gradients.items()}) == (4.0, {"dense/kernel": -48.0})
    model.train_on_batch([[2.0]], [[20.0]])
    assert [w.tolist() for w in model.get_weights()] == [[[27.0]]]
    assert one.params["kernel"] is two.params["kernel"]
    assert list(model.optimizer.slots) == ["dense/kernel"]


@nested
@pytest.mark.parametrize(
    "optimizer", [lambda: Adam(0.01, weight_decay=0.1), lambda: SGD(0.1, momentum=0.9, clipnorm=0.1)]
)
def test_updated_once(inside, optimizer):
    """The optimizer alone, given the one array and the summed gradient, makes the same steps."""
    model = tied(optimizer(), inside=inside)
    params, alone = {name: value.copy() for name, value in model.params.items()}, optimizer()
    for _ in range(3):
        _, gradients = model.loss_and_gradients(X, Y)
        model.train_on_batch(X, Y)
        alone.step(params, gradients)
        for name, value in params.items():
            np.testing.assert_allclose(model.params[name], value, rtol=1e-12, atol=1e-14)
    shared = kernels(model)
    assert shared[0] is shared[1] is shared[3] is not shared[2]


@pytest.mark.usefixtures("threads_as_before")
@nested
def test_the_same_bits_on_any_number_of_threads(inside):
    found = []
    for threads in (1, 2, 3):
        set_num_threads(threads)
        model = tied("adam", "float32", inside)
        fit(model, epochs=2)
        found.append(model.get_weights())
    assert_same(found[0], found[1])
    assert_same(found[0], found[2])


@nested
def test_fused_or_not(inside):
    models = [tied("sgd", "float64", inside, **way) for way in ({}, {"fuse": False}, {"ops": "reference"})]
    for model in models:
        fit(model)
    for model in models[1:]:
        for one, other in zip(models[0].get_weights(), model.get_weights(), strict=True):
            np.testing.assert_allclose(one, other, rtol=1e-12)


@nested
def test_copies_pickles_and_files_keep_them(inside, tmp_path):
    model = tied("adam", "float32", inside)
    fit(model)
    model.save(tmp_path / "model.safetensors")
    model.save_weights(tmp_path / "weights.safetensors")
    others = [
        copy.deepcopy(model),
        pickle.loads(pickle.dumps(model)),
        load_model(tmp_path / "model.safetensors"),
    ]
    fit(model)
    for other in others:
        shared = kernels(other)
        assert shared[0] is shared[1] is shared[3] is not shared[2]
        fit(other)
        assert_same(other.get_weights(), model.get_weights())
        assert other.ties() == model.ties()
    fresh = tied("adam", "float32", inside)
    fresh.load_weights(tmp_path / "weights.safetensors")
    shared = kernels(fresh)
    assert shared[0] is shared[1] is shared[3]
    assert_same(fresh.predict(X, verbose=0), load_model(tmp_path / "model.safetensors").predict(X, verbose=0))


def test_a_file_of_tied_weights_fits_a_model_where_they_are_not(tmp_path):
    model = tied(dtype="float32")
    model.save_weights(tmp_path / "weights.safetensors")
    loose = Sequential.from_config(model.get_config())
    assert loose.ties() == {}
    loose.load_weights(tmp_path / "weights.safetensors")
    assert_same(loose.predict(X, verbose=0), model.predict(X, verbose=0))


# ----------------------------------------------------------------------------------------------- tied and untied later


@pytest.mark.parametrize("kept", [False, True], ids=["in place", "a new dictionary"])
def test_tied_after_it_was_trained(kept):
    model = Sequential([Dense(4, input_shape=(4,)), Dense(4), Dense(3, activation="softmax")], seed=0, dtype="float64")
    model.compile("adam", "sparse_categorical_crossentropy")
    fit(model)
    one, two, _ = model.layers
    if kept:
        two.params = {**two.params, "kernel": one.params["kernel"]}
    else:
        two.params["kernel"] = one.params["kernel"]
    assert list(model.loss_and_gradients(X, Y)[1]) == [
        "dense/kernel",
        "dense/bias",
        "dense_1/bias",
        *list(model.params)[-2:],
    ]
    fit(model)
    assert one.params["kernel"] is two.params["kernel"]
    two.params["kernel"] = one.params["kernel"].copy()  # and apart again
    before = one.params["kernel"].copy()
    fit(model)
    assert list(model.optimizer.slots) == list(model.params)
    assert len(model.params) == 6
    assert not np.array_equal(one.params["kernel"], two.params["kernel"])
    assert not np.array_equal(one.params["kernel"], before)


def test_a_tied_autoencoder_as_the_error_says():
    encoder = Dense(2, activation="tanh", use_bias=False, input_shape=(4,))
    model = Sequential([encoder, Transposed(encoder)], dtype="float64", seed=2)
    model.compile(SGD(0.1), "mse")
    assert list(model.params) == ["dense/kernel"]
    gradient = model.loss_and_gradients(X, X)[1]["dense/kernel"]
    assert_gradient(gradient, numeric_gradient(lambda: model.evaluate(X, X, verbose=0), encoder.params["kernel"]))
    history = fit_to_itself(model)
    assert history[-1] < history[0]


def fit_to_itself(model):
    return model.fit(X, X, batch_size=20, epochs=5, verbose=0).history["loss"]


def test_frozen_if_any_of_its_owners_is():
    for frozen in (0, 1, 3):
        model = tied(SGD(0.1, weight_decay=0.1))
        model.layers[frozen].trainable = False
        before = {name: value.copy() for name, value in model.params.items()}
        fit(model)
        same = {name for name, value in model.params.items() if np.array_equal(value, before[name])}
        assert same == {"d0/kernel", f"d{frozen}/bias"}


# ---------------------------------------------------------------------------------------------------- any other overlap


@pytest.mark.parametrize(
    "overlap",
    [lambda kernel: kernel.T, lambda kernel: kernel[::-1], lambda kernel: kernel[:, ::-1]],
    ids=["transposed", "upside down", "mirrored"],
)
def test_any_other_overlap_is_refused_with_what_to_write(overlap):
    model = Sequential([Dense(4, input_shape=(4,)), Dense(4)])
    one, two = model.layers
    two.params["kernel"] = overlap(one.params["kernel"])
    text = (
        "the parameters 'dense/kernel' and 'dense_1/kernel' share memory, but are not the same array, as when one is a part or "
        "a transpose of the other. To tie them, give both layers the very same array, and transpose it in forward: "
        "x @ self.params['kernel'].T; otherwise give one of them a .copy()."
    )
    with pytest.raises(ValueError, match="share memory") as caught:
        model.compile("sgd", "mse")
    assert sorted(str(caught.value).split("'")[1:4:2]) == ["dense/kernel", "dense_1/kernel"]
    assert str(caught.value).partition(" share")[2] == text.partition(" share")[2]
    two.params["kernel"] = two.params["kernel"].copy()  # as the error says
    model.compile("sgd", "mse")


def test_a_part_of_another_parameter():
    class Part(Layer):
        def __init__(self, other):
            super().__init__()
            self.other = other

        def build(self, input_shape, rng, dtype):
            self.params = {"bias": self.other.params["kernel"][0]}
            return input_shape

        def forward(self, x, *, training=False, rng=None):
            return x + self.params["bias"], None

        def backward(self, dy, cache):
            return dy.copy(), {"bias": dy.sum(axis=0)}

    dense = Dense(4, input_shape=(4,))
    with pytest.raises(ValueError, match="share memory"):
        Sequential([dense, Part(dense)])


@pytest.mark.parametrize("ties", [{"d0/kernel": []}, {"d0/kernel": None}, ["d0/kernel"]])
def test_ties_of_a_file_of_weights_that_are_no_addresses(ties, tmp_path):
    path, model = tmp_path / "weights.safetensors", tied()
    before = model.get_weights()
    saving.write(path, "weights", {"ties": ties}, {name: value + 1 for name, value in model.weights.items()})
    with pytest.raises(
        ValueError, match=r"weights.safetensors' is damaged: its ties must be two addresses each, found "
    ):
        model.load_weights(path)
    assert_same(model.get_weights(), before)


def test_ties_that_a_file_may_not_claim():
    model = tied()
    for ties in ({"d0/kernel": "d9/kernel"}, {"nothing": "d0/kernel"}, ["d0/kernel"], {"d0/bias": "d0/kernel"}):
        before = {name: id(value) for name, value in model.params.items()}
        with pytest.raises(ValueError, match=r"tie"):
            model.tie(ties)
        assert {name: id(value) for name, value in model.params.items()} == before
