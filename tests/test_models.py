"""Sequential: building, naming, training and looking inside, held against Keras's rules and computations by hand."""

import re
import signal

import numpy as np
import pytest

from minidl import Sequential, initializers
from minidl.callbacks import Callback, LambdaCallback
from minidl.layers import Activation, Conv2D, Dense, Dropout, Flatten, Input, Layer, MaxPooling2D, Rescaling
from minidl.losses import CategoricalCrossentropy
from minidl.optimizers import SGD, Adam, RMSprop
from minidl.utils import to_categorical

# -------------------------------------------------------------------------------------------------- models and data


def mlp(**options):
    """12 features → 5 classes, with dropout."""
    layers = [Dense(16, activation="relu", input_dim=12), Dropout(0.25), Dense(5, activation="softmax")]
    return compiled(Sequential(layers, **{"seed": 3, **options}))


def cnn(**options):
    """The tutorial's CNN on 12×12 images with 4 classes."""
    layers = [
        Conv2D(32, (5, 5), input_shape=(12, 12, 1), activation="relu"),
        MaxPooling2D(),
        Dropout(0.2),
        Flatten(),
        Dense(8, activation="relu"),
        Dense(4, activation="softmax"),
    ]
    return compiled(Sequential(layers, **{"seed": 3, **options}))


def large_cnn(**options):
    """The tutorial's larger CNN on 18×18 images with 4 classes."""
    layers = [
        Conv2D(30, (5, 5), input_shape=(18, 18, 1), activation="relu"),
        MaxPooling2D(),
        Conv2D(15, (3, 3), activation="relu"),
        MaxPooling2D(),
        Dropout(0.2),
        Flatten(),
        Dense(12, activation="relu"),
        Dense(7, activation="relu"),
        Dense(4, activation="softmax"),
    ]
    return compiled(Sequential(layers, **{"seed": 3, **options}))


def odd_cnn(**options):
    """What the fused steps leave out or treat apart: same padding, strides, other pools, no bias, other activations."""
    layers = [
        Conv2D(3, 3, padding="same", use_bias=False, input_shape=(11, 9, 2), activation="relu"),
        MaxPooling2D((3, 2)),
        Conv2D(4, (2, 3), strides=(1, 2), activation="tanh"),
        Conv2D(5, 1),
        MaxPooling2D(2, strides=1, padding="same"),
        Activation("leaky_relu"),
        Flatten(),
        Dense(6, use_bias=False, activation="sigmoid"),
        Dense(4),
        Activation("softmax"),
    ]
    return compiled(Sequential(layers, **{"seed": 3, **options}))


def compiled(model):
    model.compile(loss="sparse_categorical_crossentropy", optimizer="adam", metrics=["accuracy"])
    return model


def samples(model, n, seed=0):
    """Random inputs and integer labels for this model, float64."""
    rng = np.random.default_rng(seed)
    return rng.random((n, *model.input_shape)), rng.integers(0, model.output_shape[0], n)


def softmax(z):
    e = np.exp(z - z.max(axis=1, keepdims=True))
    return e / e.sum(axis=1, keepdims=True)


def linear(**options):
    """y = x · w, one number, with squared error: small enough to train by hand."""
    model = Sequential([Dense(1, use_bias=False, input_dim=1)], dtype="float64", seed=0)
    model.compile(**{"loss": "mse", "optimizer": SGD(0.1), **options})
    return model


def assert_same_weights(one, other, rtol=0.0, atol=0.0):
    assert len(one.get_weights()) == len(other.get_weights()) > 0
    for address, a, b in zip(one.params, one.get_weights(), other.get_weights(), strict=True):
        np.testing.assert_allclose(a, b, rtol=rtol, atol=atol, err_msg=address)


@pytest.fixture
def _plain_console(monkeypatch):
    """No colours, and a line of the usual length, whatever the environment asks for."""
    monkeypatch.delenv("FORCE_COLOR", raising=False)
    monkeypatch.setenv("COLUMNS", "80")


class Spy(Callback):
    """Which labels the loss and the metrics saw, in order: give ``metric`` to compile and the spy to fit.

    A batch of fewer than 16 samples is one shard, so it is seen in one piece.
    """

    def __init__(self):
        self.training, self.validation, self.testing = [], [], False

    def metric(self, y_true, y_pred):
        if self.testing:
            self.validation[-1] += y_true.reshape(-1).tolist()
        else:
            self.training[-1] += y_true.reshape(-1).tolist()
        return 0.0, len(y_true)

    def on_epoch_begin(self, epoch, logs=None):
        self.training.append([])

    def on_test_begin(self, logs=None):
        self.testing = True
        self.validation.append([])

    def on_test_end(self, logs=None):
        self.testing = False


# ------------------------------------------------------------------------------------------------ building and naming


def test_layers_are_named_after_their_type_and_numbered_per_model():
    def names():
        model = Sequential([Conv2D(2, 2, input_shape=(9, 9, 1)), MaxPooling2D(), Conv2D(2, 2), MaxPooling2D()])
        for layer in (Flatten(), Dense(2), Dense(2), Dropout(0.5), Dense(2)):
            model.add(layer)
        return [layer.name for layer in model.layers]

    expected = ["conv2d", "max_pooling2d", "conv2d_1", "max_pooling2d_1", "flatten", "dense", "dense_1", "dropout"]
    assert names() == [*expected, "dense_2"]
    assert names() == [*expected, "dense_2"]  # a second model begins anew


def test_a_given_name_is_kept_and_left_out_by_the_numbering():
    model = Sequential([Dense(2, name="dense_1", input_dim=3), Dense(2), Dense(2), Dense(2, name="out")])
    names = [layer.name for layer in model.layers]
    assert names[0] == "dense_1"
    assert names[3] == "out"
    assert len(set(names)) == 4
    assert all(re.fullmatch(r"dense(_\d+)?", name) for name in names[:3])


def test_a_users_class_is_numbered_in_snake_case():
    class ScaleBy2D(Layer):
        def forward(self, x, *, training=False, rng=None):
            return x, None

        def backward(self, dy, cache):
            return dy, {}

    model = Sequential([ScaleBy2D(input_shape=(2,)), ScaleBy2D()])
    assert [layer.name for layer in model.layers] == ["scale_by2d", "scale_by2d_1"]


@pytest.mark.parametrize(
    "first",
    [
        [Input((6,)), Dense(4)],
        [Input(6), Dense(4)],
        [Dense(4, input_shape=(6,))],
        [Dense(4, input_dim=6)],
        [Dropout(0.5, input_shape=[6]), Dense(4)],
    ],
    ids=["Input", "Input(int)", "input_shape", "input_dim", "on dropout"],
)
def test_a_model_that_knows_its_input_is_built_at_add(first):
    model = Sequential(first)
    assert model.built
    assert model.input_shape == (6,)
    assert model.output_shape == (4,)
    assert {address: value.shape for address, value in model.params.items()} == {
        "dense/kernel": (6, 4),
        "dense/bias": (4,),
    }
    assert model.count_params() == 28
    model.add(Dense(3))
    assert model.params["dense_1/kernel"].shape == (4, 3)


def test_a_model_without_an_input_shape_is_built_by_its_first_data():
    layers = [Flatten(), Dense(4, activation="relu"), Dense(3, activation="softmax")]
    model = compiled(Sequential(layers, seed=5))
    assert not model.built
    assert model.get_weights() == []
    assert model.output_shape is None
    x = np.random.default_rng(0).random((7, 2, 3))
    late = model.predict(x, verbose=0)
    assert model.built
    assert model.input_shape == (2, 3)
    early = Sequential(
        [Flatten(input_shape=(2, 3)), Dense(4, activation="relu"), Dense(3, activation="softmax")], seed=5
    )
    np.testing.assert_array_equal(late, early.predict(x, verbose=0))  # the weights do not depend on when they were made

    by_fit = compiled(Sequential([Flatten(), Dense(3, activation="softmax")]))
    by_fit.fit(x, np.zeros(7, int), verbose=0)
    assert by_fit.input_shape == (2, 3)
    by_hand = Sequential([Flatten(), Dense(3)])
    by_hand.build((2, 3))
    assert by_hand.params["dense/kernel"].shape == (6, 3)
    with pytest.raises(ValueError, match=r"model 'sequential' is already built, for input_shape=\(2, 3\)"):
        by_hand.build((2, 3))


@pytest.mark.parametrize("shape", [(2, 3), [2, 3], (None, 2, 3)], ids=["tuple", "list", "Keras's None"])
def test_build_takes_the_shape_of_a_sample(shape):
    model = Sequential([Flatten(), Dense(3)])
    model.build(shape)
    assert model.input_shape == (2, 3)
    assert model.params["dense/kernel"].shape == (6, 3)


@pytest.mark.parametrize("shape", [(None, None, 3), (0, 3), (2.0, 3)])
def test_build_refuses_what_is_no_shape(shape):
    model = Sequential([Flatten(), Dense(3)])
    with pytest.raises(ValueError, match="model 'sequential' input_shape must be a tuple of positive integers"):
        model.build(shape)
    assert not model.built


def test_a_build_that_fails_leaves_the_model_to_be_built_by_other_data():
    model = Sequential([Dense(4), Dense(2)])
    with pytest.raises(ValueError, match=r"Dense 'dense' expects input \(features,\), received \(2, 3\)"):
        model.predict(np.ones((5, 2, 3)), verbose=0)
    assert not model.built
    assert model.predict(np.ones((5, 3)), verbose=0).shape == (5, 2)
    images = Sequential([Conv2D(2, 2), Conv2D(2, 5), Flatten()])
    with pytest.raises(ValueError, match=r"Conv2D 'conv2d_1' expects .* at least 5×5, received \(3, 3, 2\)"):
        images.predict(np.ones((5, 4, 4, 1)), verbose=0)
    assert images.get_weights() == []  # nor is the first layer, which fitted, half built
    assert images.predict(np.ones((5, 7, 7, 3)), verbose=0).shape == (5, 2 * 2 * 2)


def test_a_layer_that_did_not_fit_may_go_into_another_model():
    layer = Conv2D(2, 5)
    with pytest.raises(ValueError, match="Conv2D 'conv2d' expects"):
        Sequential([Input((4, 4, 1)), layer])
    model = Sequential([Conv2D(2, 2, input_shape=(8, 8, 1)), layer])
    assert layer.name == "conv2d_1"
    assert model.output_shape == (3, 3, 2)


def test_layer_i_of_a_seed_starts_with_the_same_weights_in_every_model():
    assert_same_weights(mlp(seed=7), mlp(seed=7))
    assert not np.array_equal(mlp(seed=7).get_weights()[0], mlp(seed=8).get_weights()[0])
    drawn = mlp(seed=None)
    assert_same_weights(drawn, mlp(seed=drawn.seed))
    assert mlp(seed=None).seed != drawn.seed
    two = Sequential([Dense(9, input_dim=9), Dense(9)], seed=1)
    assert not np.array_equal(*two.get_weights()[::2])  # two layers of one shape do not start alike


def test_get_layer_finds_by_name_and_by_index():
    model = mlp()
    assert model.get_layer("dropout") is model.layers[1]
    assert model.get_layer(index=-1) is model.layers[2]
    assert model.get_layer(name="dense_1") is model.layers[2]
    with pytest.raises(ValueError, match=r"unknown layer in model 'sequential' 'dens'. Did you mean 'dense'"):
        model.get_layer("dens")
    with pytest.raises(ValueError, match="model 'sequential' has 3 layers, received index 3"):
        model.get_layer(index=3)
    with pytest.raises(ValueError, match="either a name or an index"):
        model.get_layer()
    with pytest.raises(ValueError, match="either a name or an index"):
        model.get_layer("dense", 0)


def test_get_weights_are_copies_in_the_order_of_the_layers():
    model = mlp()
    weights = model.get_weights()
    assert [weight.shape for weight in weights] == [(12, 16), (16,), (16, 5), (5,)]
    assert list(model.params) == ["dense/kernel", "dense/bias", "dense_1/kernel", "dense_1/bias"]
    weights[0][:] = 7
    assert not (model.params["dense/kernel"] == 7).any()


def test_set_weights_makes_two_models_one():
    one, other = mlp(seed=1), mlp(seed=2)
    x, y = samples(one, 20)
    one.fit(x, y, epochs=2, verbose=0)
    other.set_weights(one.get_weights())
    np.testing.assert_array_equal(one.predict(x, verbose=0), other.predict(x, verbose=0))
    other.set_weights([weight.astype(np.float64).tolist() for weight in one.get_weights()])  # lists, another dtype
    assert other.params["dense/kernel"].dtype == np.float32
    assert_same_weights(one, other)


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (lambda w: w[:-1], "model 'sequential' has 4 weight arrays (dense/kernel, dense/bias, dense_1/kernel, "
                           "dense_1/bias), received 3."),
        (lambda w: [*w[:3], w[3][:-1]], "model 'sequential': the weight 'dense_1/bias' has shape (5,), received (4,)."),
        (lambda w: [w[0].T, *w[1:]], "model 'sequential': the weight 'dense/kernel' has shape (12, 16), received (16, 12)."),
        (lambda w: [*w[:3], np.array(list("abcde"))], "the weight 'dense_1/bias' is float32, received <U1."),
    ],
    ids=["too few", "last too short", "first transposed", "text"],
)  # fmt: skip
def test_set_weights_that_do_not_fit_change_nothing(change, text):
    model = mlp()
    before = model.get_weights()
    with pytest.raises(ValueError, match=re.escape(text)):
        model.set_weights(change([weight + 1 for weight in before]))
    for old, now in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(old, now)


def test_set_weights_too_large_for_the_precision_are_infinite():
    model = Sequential([Dense(1, input_dim=1)], seed=1)
    model.set_weights([[[1e300]], [2.0]])
    assert [weight.item() for weight in model.get_weights()] == [np.inf, 2.0]


class Pressing(np.ndarray):
    """An array that is written to just when Ctrl-C comes."""

    def __setitem__(self, where, value):
        signal.raise_signal(signal.SIGINT)
        super().__setitem__(where, value)


def test_ctrl_c_leaves_all_weights_or_none(tmp_path):
    model, other = Sequential([Dense(2, input_dim=3)], seed=1), Sequential([Dense(2, input_dim=3)], seed=2)
    kernel = model.layers[0].params["kernel"]
    model.layers[0].params["kernel"] = kernel.view(Pressing)
    other.save_weights(tmp_path / "weights")
    for take in (
        lambda: model.set_weights([weight + 1 for weight in other.get_weights()]),
        lambda: model.load_weights(tmp_path / "weights"),
    ):
        kernel[...] = model.layers[0].params["bias"][...] = 7
        with pytest.raises(KeyboardInterrupt):
            take()
        assert all((weight != 7).all() for weight in model.params.values())


@pytest.mark.usefixtures("_plain_console")
def test_summary_shows_keras_columns_and_totals(capsys):
    model = Sequential(
        [
            Conv2D(32, (5, 5), input_shape=(28, 28, 1), activation="relu"),
            MaxPooling2D(),
            Dropout(0.2),
            Flatten(),
            Dense(128, activation="relu"),
            Dense(10, activation="softmax"),
        ]
    )
    model.summary()
    text = capsys.readouterr().out
    lines = [line.rstrip() for line in text.splitlines()]
    assert lines[0] == 'Model: "sequential"'
    cells = [[cell.strip() for cell in re.split("[│┃]", line)[1:-1]] for line in lines if line[:1] in ("│", "┃")]
    assert cells == [
        ["Layer (type)", "Output Shape", "Param #"],
        ["conv2d (Conv2D)", "(None, 24, 24, 32)", "832"],
        ["max_pooling2d (MaxPooling2D)", "(None, 12, 12, 32)", "0"],
        ["dropout (Dropout)", "(None, 12, 12, 32)", "0"],
        ["flatten (Flatten)", "(None, 4608)", "0"],
        ["dense (Dense)", "(None, 128)", "589,952"],
        ["dense_1 (Dense)", "(None, 10)", "1,290"],
    ]
    assert lines[-3:] == [
        " Total params: 592,074 (2.26 MB)",
        " Trainable params: 592,074 (2.26 MB)",
        " Non-trainable params: 0 (0.00 B)",
    ]
    assert "\x1b" not in text


@pytest.mark.usefixtures("_plain_console")
def test_summary_counts_the_bytes_of_the_dtype(capsys):
    Sequential([Dense(34, input_dim=9, name="thing")], name="mine", dtype="float64").summary()
    text = capsys.readouterr().out
    assert 'Model: "mine"' in text
    assert "thing (Dense)" in text
    assert " Total params: 340 (2.66 KB)" in text  # 340 · 8 / 1024
    with pytest.raises(ValueError, match="model 'sequential' is not built: give its first layer an input_shape"):
        Sequential([Dense(3)]).summary()


# --------------------------------------------------------------------------------------------- predict and evaluate


def test_predict_is_the_formula():
    model = mlp(dtype="float64")
    x, _ = samples(model, 23)
    w1, b1, w2, b2 = model.get_weights()
    b1, b2 = b1 + 0.1, b2 - 0.2
    model.set_weights([w1, b1, w2, b2])
    expected = softmax(np.maximum(x @ w1 + b1, 0) @ w2 + b2)  # no dropout outside training
    np.testing.assert_allclose(model.predict(x, verbose=0), expected, rtol=1e-12)
    uncompiled = Sequential(
        [Dense(16, activation="relu", input_dim=12), Dropout(0.25), Dense(5, activation="softmax")], dtype="float64"
    )
    uncompiled.set_weights(model.get_weights())
    np.testing.assert_allclose(uncompiled.predict(x, batch_size=4, verbose=0), expected, rtol=1e-12)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_model_computes_in_its_dtype_and_nowhere_else(dtype):
    model = cnn(dtype=dtype)
    x, y = samples(model, 20)
    model.fit(x, y, verbose=0)
    assert model.predict(x, verbose=0).dtype == dtype
    assert {weight.dtype.name for weight in model.get_weights()} == {dtype}
    assert {grad.dtype.name for grad in model.loss_and_gradients(x, y)[1].values()} == {dtype}
    assert {slot.dtype.name for slots in model.optimizer.slots.values() for slot in slots.values()} == {dtype}


def test_evaluate_is_the_mean_over_all_samples():
    model = mlp(dtype="float64")
    x, y = samples(model, 37)
    p = model.predict(x, verbose=0)
    losses, right = -np.log(p[np.arange(37), y]), p.argmax(axis=1) == y
    for batch_size in (None, 1, 10, 36, 37, 1000):
        found = model.evaluate(x, y, batch_size=batch_size, verbose=0)
        assert found == pytest.approx([losses.mean(), right.mean()], rel=1e-12)
    weights = np.arange(37) / 10
    found = model.evaluate(x, y, sample_weight=weights, batch_size=8, verbose=0)
    # as Keras: the weighted sum over the number of samples; metrics are not weighted
    assert found == pytest.approx([(weights * losses).sum() / 37, right.mean()], rel=1e-12)


def test_evaluate_returns_a_list_a_number_or_a_dictionary():
    model = mlp()
    x, y = samples(model, 9)
    values = model.evaluate(x, y, verbose=0)
    assert isinstance(values, list)
    assert model.evaluate(x, y, verbose=0, return_dict=True) == {"accuracy": values[1], "loss": values[0]}
    assert list(model.evaluate(x, y, verbose=0, return_dict=True)) == ["accuracy", "loss"]
    model.compile(loss="sparse_categorical_crossentropy")
    assert model.evaluate(x, y, verbose=0) == values[0]
    assert isinstance(model.evaluate(x, y, verbose=0), float)


def test_metrics_may_be_functions_of_the_users():
    def top2(y_true, y_pred):
        return float((np.argsort(y_pred)[:, -2:] == y_true[:, None]).sum()), len(y_true)

    model = mlp()
    model.compile(loss="sparse_categorical_crossentropy", metrics=["acc", top2])
    x, y = samples(model, 50)
    p = model.predict(x, verbose=0)
    _, accuracy, best2 = model.evaluate(x, y, verbose=0)
    assert accuracy == (p.argmax(axis=1) == y).mean()
    assert best2 == np.mean([y[i] in np.argsort(p[i])[-2:] for i in range(50)])
    history = model.fit(x, y, validation_split=0.2, verbose=0)
    assert list(history.history) == ["acc", "loss", "top2", "val_acc", "val_loss", "val_top2"]


def test_metrics_see_the_predictions_and_the_labels():
    def yield_of(y_true, y_pred):
        return float(y_pred[np.arange(len(y_true)), y_true].sum()), len(y_true)

    model = mlp(dtype="float64")
    model.compile(loss="sparse_categorical_crossentropy", metrics=[yield_of])
    x, y = samples(model, 50)
    p = model.predict(x, verbose=0)  # probabilities, although the loss is computed on logits
    assert model.evaluate(x, y, verbose=0)[1] == pytest.approx(p[np.arange(50), y].mean(), rel=1e-12)
    history = model.fit(x, y, validation_split=0.2, verbose=0)
    assert list(history.history) == ["loss", "val_loss", "val_yield_of", "yield_of"]  # all in one alphabet


def test_one_hot_and_integer_labels_train_alike():
    one, other = mlp(dtype="float64"), mlp(dtype="float64")
    other.compile(loss="categorical_crossentropy", optimizer="adam", metrics=["accuracy"])
    x, y = samples(one, 40)
    h1 = one.fit(x, y[:, None], epochs=2, verbose=0)  # integers as a column, too
    h2 = other.fit(x, to_categorical(y, 5), epochs=2, verbose=0)
    assert_same_weights(one, other, rtol=1e-9, atol=1e-12)
    assert h1.history["accuracy"] == h2.history["accuracy"]


# ------------------------------------------------------------------------------------------------------- one step


def test_a_step_is_weights_minus_rate_times_gradient():
    rng = np.random.default_rng(1)
    x, y, weights = rng.random((6, 4)), rng.integers(0, 3, 6), rng.random(6)
    by_class = {0: 2.0, 2: 0.5}

    def stepped(**options):
        model = Sequential([Dense(3, activation="softmax", input_dim=4)], seed=0, dtype="float64")
        model.compile(loss="sparse_categorical_crossentropy", optimizer=SGD(0.3), metrics=["accuracy"])
        before = model.get_weights()
        return before, model.train_on_batch(x, y, **options), model.get_weights()

    for options, w in (
        ({}, np.ones(6)),
        ({"sample_weight": weights}, weights),
        ({"class_weight": by_class}, np.array([by_class.get(label, 1.0) for label in y])),
        ({"sample_weight": weights, "class_weight": by_class}, weights * [by_class.get(label, 1.0) for label in y]),
    ):
        (kernel, bias), (loss, accuracy), (new_kernel, new_bias) = stepped(**options)
        p = softmax(x @ kernel + bias)
        dz = w[:, None] * (p - np.eye(3)[y]) / 6
        np.testing.assert_allclose(new_kernel, kernel - 0.3 * x.T @ dz, rtol=1e-12)
        np.testing.assert_allclose(new_bias, bias - 0.3 * dz.sum(axis=0), rtol=1e-12)
        assert loss == pytest.approx((w * -np.log(p[np.arange(6), y])).sum() / 6, rel=1e-12)  # before the step
        assert accuracy == (p.argmax(axis=1) == y).mean()


@pytest.mark.parametrize("n", [1, 2, 40])
def test_predict_on_batch_predicts_what_predict_does(n):
    model = cnn()
    x, _ = samples(model, n)
    np.testing.assert_array_equal(model.predict_on_batch(x), model.predict(x, batch_size=n, verbose=0))
    np.testing.assert_array_equal(model.predict_on_batch(x.tolist()), model.predict_on_batch(x))
    with pytest.raises(ValueError, match="expects x of shape"):
        model.predict_on_batch(x[0])


def test_predict_on_batch_needs_no_compile():
    model = Sequential([Dense(1, use_bias=False, input_shape=(2,))])
    model.set_weights([np.array([[3.0], [5.0]])])
    assert model.predict_on_batch([[1, 2]]) == 13


def test_train_on_batch_returns_what_evaluate_does():
    model = linear(metrics=None)
    model.set_weights([np.array([[3.0]])])
    assert model.train_on_batch([[1.0]], [[1.0]]) == 4.0  # (3 − 1)²
    assert model.train_on_batch([[1.0]], [[1.0]], return_dict=True) == {
        "loss": pytest.approx(1.6**2)
    }  # w = 3 − 0.1 · 4


def test_fit_is_a_loop_of_train_on_batch():
    one, other = cnn(), cnn()
    x, y = samples(one, 26)
    history = one.fit(x, y, batch_size=8, epochs=2, shuffle=False, verbose=0)
    for epoch in range(2):
        parts = [other.train_on_batch(x[i : i + 8], y[i : i + 8]) for i in range(0, 26, 8)]
        loss, accuracy = np.average(parts, axis=0, weights=[8, 8, 8, 2])  # the last batch counts for its two samples
        assert history.history["loss"][epoch] == pytest.approx(loss, rel=1e-12)
        assert history.history["accuracy"][epoch] == pytest.approx(accuracy, rel=1e-12)
    assert_same_weights(one, other)


# ---------------------------------------------------------------------------------------------- the arguments of fit


def test_a_batch_has_32_samples_unless_told_otherwise():
    model = linear()
    x = np.zeros((65, 1))
    steps = []
    count = LambdaCallback(on_train_batch_end=lambda batch, logs: steps.append(batch))
    history = model.fit(x, x, verbose=0, callbacks=[count])
    assert steps == [0, 1, 2]
    assert model.optimizer.iterations == 3
    assert history.params == {"epochs": 1, "steps": 3, "verbose": 0}
    assert model.fit(x, x, batch_size=65, verbose=0).params["steps"] == 1
    assert model.fit(x, x, batch_size=np.int64(64), verbose=0).params["steps"] == 2


def test_validation_split_takes_the_last_samples_before_shuffling():
    spy = Spy()
    model = linear(metrics=[spy.metric])
    x = np.arange(20.0)[:, None] / 20
    model.fit(x, x * 20, validation_split=0.25, batch_size=6, epochs=3, callbacks=[spy], verbose=0)
    assert spy.validation == [[15, 16, 17, 18, 19]] * 3
    assert all(sorted(epoch) == list(range(15)) for epoch in spy.training)
    assert len({tuple(epoch) for epoch in spy.training}) == 3  # every epoch in another order
    assert tuple(range(15)) not in map(tuple, spy.training)


@pytest.mark.parametrize(("share", "held_out"), [(0.1, 1), (0.15, 2), (np.float32(0.5), 5), (0.99, None)])
def test_the_split_is_cut_where_keras_cuts_it(share, held_out):
    model = linear()
    x = np.zeros((10, 1))
    if held_out is None:
        with pytest.raises(ValueError, match=r"validation_split=0.99 of 10 samples leaves none to train on"):
            model.fit(x, x, validation_split=share, verbose=0)
    else:
        spy = Spy()
        model.compile(loss="mse", metrics=[spy.metric])
        model.fit(x, x, validation_split=share, callbacks=spy, verbose=0)  # one callback need not be in a list
        assert len(spy.validation[0]) == held_out


def test_the_split_takes_the_sample_weights_along():
    model = linear(optimizer=SGD(0.0))
    model.set_weights([np.array([[0.0]])])
    x, y, weight = np.zeros((4, 1)), np.ones((4, 1)), [1.0, 2.0, 3.0, 10.0]
    history = model.fit(x, y, sample_weight=weight, validation_split=0.25, verbose=0)
    assert history.history == {"loss": [2.0], "val_loss": [10.0]}  # each squared error is 1


def test_validation_data_is_evaluated_after_every_epoch():
    model = mlp()
    x, y = samples(model, 30)
    xv, yv = samples(model, 17, seed=1)
    weights = np.linspace(0, 2, 17)
    history = model.fit(x, y, epochs=3, validation_data=(xv, yv, weights), validation_split=0.5, verbose=0)
    last = model.evaluate(xv, yv, sample_weight=weights, verbose=0)
    assert [history.history["val_loss"][-1], history.history["val_accuracy"][-1]] == pytest.approx(last, rel=1e-12)
    assert model.optimizer.iterations == 3  # 30 samples an epoch: validation_data overrides the split
    assert len(set(history.history["val_loss"])) == 3
    unweighted = model.fit(x, y, validation_data=[xv, yv], verbose=0)
    assert unweighted.history["val_loss"] == [pytest.approx(model.evaluate(xv, yv, verbose=0)[0], rel=1e-12)]


def test_validation_changes_nothing_in_the_training():
    one, other = cnn(), cnn()
    x, y = samples(one, 24)
    one.fit(x, y, epochs=2, validation_data=samples(one, 9, seed=1), verbose=0)
    other.fit(x, y, epochs=2, verbose=0)
    assert_same_weights(one, other)


def test_without_shuffle_the_samples_come_in_order():
    spy = Spy()
    model = linear(metrics=[spy.metric])
    x = np.arange(25.0)[:, None]
    model.fit(x / 25, x, batch_size=7, epochs=2, shuffle=False, callbacks=[spy], verbose=0)
    assert spy.training == [list(range(25))] * 2


def test_shuffling_follows_from_the_seed_and_two_fits_do_not_repeat_it():
    def orders(seed):
        spy = Spy()
        model = Sequential([Dense(1, input_dim=1)], seed=seed)
        model.compile(loss="mse", metrics=[spy.metric])
        x = np.arange(25.0)[:, None]
        for _ in range(2):
            model.fit(x / 25, x, batch_size=10, epochs=2, callbacks=[spy], verbose=0)
        return spy.training

    assert all(sorted(order) == list(range(25)) for order in orders(1))
    assert len({tuple(order) for order in orders(1)}) == 4
    assert orders(1) == orders(1)
    assert orders(1) != orders(2)


def test_two_fits_of_one_epoch_are_one_fit_of_two():
    one, other = cnn(), cnn()
    x, y = samples(one, 40)
    history = one.fit(x, y, epochs=2, verbose=0)
    first = other.fit(x, y, epochs=1, verbose=0)
    second = other.fit(x, y, epochs=2, initial_epoch=1, verbose=0)
    assert_same_weights(one, other)
    assert history.history["loss"] == first.history["loss"] + second.history["loss"]
    assert (first.epoch, second.epoch) == ([0], [1])


def test_initial_epoch_is_where_the_counting_starts():
    model = linear()
    seen = []
    count = LambdaCallback(on_epoch_begin=lambda epoch, logs=None: seen.append(epoch))
    history = model.fit(np.ones((3, 1)), np.ones((3, 1)), epochs=5, initial_epoch=2, callbacks=[count], verbose=0)
    assert history.epoch == seen == [2, 3, 4]
    assert model.optimizer.iterations == 3
    assert history.params["epochs"] == 5
    assert model.fit(np.ones((3, 1)), np.ones((3, 1)), epochs=2, initial_epoch=2, verbose=0).history == {}


@pytest.mark.parametrize("n", [11, 40], ids=["one shard", "several shards"])
@pytest.mark.parametrize("labels", [lambda y: y, lambda y: y[:, None], lambda y: to_categorical(y, 5)])
def test_class_weight_is_the_sample_weight_of_the_class(labels, n):
    by_class = {0: 3.0, 3: 0.25, 4: 0.0}
    one, other = mlp(), mlp()
    x, y = samples(one, n)
    if labels(y).ndim == 2 and labels(y).shape[1] == 5:
        for model in (one, other):
            model.compile(loss="categorical_crossentropy", optimizer="adam")
    weights = np.array([by_class.get(int(label), 1.0) for label in y])
    h1 = one.fit(x, labels(y), class_weight=by_class, epochs=2, verbose=0)
    h2 = other.fit(x, labels(y), sample_weight=weights, epochs=2, verbose=0)
    assert_same_weights(one, other)
    assert h1.history == h2.history


def test_a_sample_of_weight_0_is_as_if_its_label_did_not_matter():
    one, other = mlp(), mlp()
    x, y = samples(one, 20)
    weights = np.ones(20)
    weights[[2, 11]] = 0
    wrong = y.copy()
    wrong[[2, 11]] = (y[[2, 11]] + 1) % 5
    one.fit(x, y, sample_weight=weights, verbose=0)
    other.fit(x, wrong, sample_weight=weights[:, None], verbose=0)
    assert_same_weights(one, other)


def test_history_has_its_names_in_alphabetical_order():
    model = mlp()
    x, y = samples(model, 12)
    history = model.fit(x, y, epochs=2, validation_split=0.25, verbose=0)
    assert list(history.history) == ["accuracy", "loss", "val_accuracy", "val_loss"]
    assert [len(values) for values in history.history.values()] == [2, 2, 2, 2]
    assert all(type(value) is float for values in history.history.values() for value in values)
    assert history.epoch == [0, 1]


def test_fit_takes_lists_and_leaves_its_arrays_alone():
    model = mlp()
    x, y = samples(model, 12)
    kept = x.copy(), y.copy()
    x.flags.writeable = y.flags.writeable = False
    model.fit(x, y, sample_weight=np.ones(12), verbose=0)
    model.fit(x.tolist(), y.tolist(), sample_weight=[1] * 12, validation_split=0.5, verbose=0)
    np.testing.assert_array_equal(x, kept[0])
    np.testing.assert_array_equal(y, kept[1])


# ------------------------------------------------------------------------------------------------- the learning rate


def test_the_learning_rate_may_be_a_function_of_the_step():
    # x = 1, y = 0: the gradient is 2w, so a step multiplies w by 1 − 2 · rate
    asked = []

    def rate(step):
        asked.append(step)
        return 0.1 / (1 + step)

    model = linear(optimizer=SGD(rate))
    model.set_weights([np.array([[1.0]])])
    model.fit([[1.0], [1.0], [1.0]], [[0.0]] * 3, batch_size=1, epochs=2, verbose=0)
    assert asked == [0, 1, 2, 3, 4, 5]  # steps of the model's life, not of the epoch
    assert model.get_weights()[0].item() == pytest.approx(np.prod([1 - 0.2 / (1 + k) for k in range(6)]), rel=1e-12)


def test_the_learning_rate_may_be_set_between_epochs():
    model = linear()
    model.set_weights([np.array([[1.0]])])

    def after(epoch, logs):
        model.optimizer.learning_rate /= 10

    model.fit([[1.0]], [[0.0]], epochs=3, callbacks=[LambdaCallback(on_epoch_end=after)], verbose=0)
    assert model.get_weights()[0].item() == pytest.approx(0.8 * 0.98 * 0.998, rel=1e-12)
    model.optimizer.learning_rate = 0.25
    model.fit([[1.0]], [[0.0]], verbose=0)
    assert model.get_weights()[0].item() == pytest.approx(0.8 * 0.98 * 0.998 * 0.5, rel=1e-12)


# ----------------------------------------------------------------------------------------------------------- compile


def test_compile_defaults_to_rmsprop_and_can_be_called_again():
    model = mlp()
    x, y = samples(model, 16)
    model.fit(x, y, verbose=0)
    weights = model.get_weights()
    model.compile(loss=CategoricalCrossentropy())
    assert type(model.optimizer) is RMSprop
    for old, now in zip(weights, model.get_weights(), strict=True):
        np.testing.assert_array_equal(old, now)
    model.fit(x, to_categorical(y, 5), verbose=0)  # the new loss, not the old one


def test_an_optimizer_belongs_to_one_model():
    shared = Adam()
    one = mlp()
    one.compile(loss="mse", optimizer=shared)
    one.fit(np.ones((2, 12)), np.ones((2, 5)), verbose=0)
    one.compile(loss="mse", optimizer=shared)  # the same model may keep it
    other = mlp()
    with pytest.raises(ValueError, match="this optimizer holds the state of another model: create a new one"):
        other.compile(loss="mse", optimizer=shared)


# ------------------------------------------------------------------------------------------------- loss_and_gradients


@pytest.mark.parametrize("make", [mlp, cnn, large_cnn, odd_cnn])
@pytest.mark.parametrize("training", [False, True], ids=["", "dropout on"])
def test_gradients_are_those_of_central_differences(make, training):
    model = make(dtype="float64")
    rng = np.random.default_rng(5)
    model.set_weights([weight + 0.02 * rng.normal(size=weight.shape) for weight in model.get_weights()])
    x, y = samples(model, 17)
    weights = rng.random(17)
    _, gradients = model.loss_and_gradients(x, y, weights, training=training)
    assert list(gradients) == list(model.params)

    def loss():
        return model.loss_and_gradients(x, y, weights, training=training)[0]

    eps = 1e-6
    for address, param in model.params.items():
        assert gradients[address].shape == param.shape
        flat, gradient = param.reshape(-1), gradients[address].reshape(-1)
        picked = {int(np.abs(gradient).argmax()), *rng.integers(0, param.size, 3).tolist()}
        for i in picked:
            kept = flat[i]
            flat[i] = kept + eps
            above = loss()
            flat[i] = kept - eps
            below = loss()
            flat[i] = kept
            assert gradient[i] == pytest.approx((above - below) / (2 * eps), rel=1e-5, abs=1e-8), (address, i)
        assert np.abs(gradient).max() > 1e-6, address  # something was compared


def test_parameters_are_addressed_by_layer_and_name():
    x, y = samples(cnn(), 4)
    loss, gradients = cnn().loss_and_gradients(x, y)
    assert isinstance(loss, float)
    assert list(gradients) == [
        "conv2d/kernel", "conv2d/bias", "dense/kernel", "dense/bias", "dense_1/kernel", "dense_1/bias",
    ]  # fmt: skip
    assert loss == pytest.approx(cnn().evaluate(x, y, verbose=0)[0], rel=1e-6)


@pytest.mark.parametrize("training", [False, True])
def test_looking_at_the_gradients_changes_nothing(training):
    looked, other = cnn(), cnn()
    x, y = samples(looked, 40)
    for model in (looked, other):
        model.fit(x, y, verbose=0)
    weights = looked.get_weights()
    slots = {name: {k: v.copy() for k, v in slot.items()} for name, slot in looked.optimizer.slots.items()}
    one = looked.loss_and_gradients(x, y, training=training)
    for gradient in one[1].values():
        gradient[:] = 99  # the caller's to change
    looked.loss_and_gradients(x[:3], y[:3], training=training)
    for old, now in zip(weights, looked.get_weights(), strict=True):
        np.testing.assert_array_equal(old, now)
    for name, slot in slots.items():
        for key, value in slot.items():
            np.testing.assert_array_equal(value, looked.optimizer.slots[name][key])
    assert looked.optimizer.iterations == other.optimizer.iterations
    looked.fit(x, y, epochs=2, verbose=0)
    other.fit(x, y, epochs=2, verbose=0)
    assert_same_weights(looked, other)


def test_gradients_stay_what_they_were_when_the_model_goes_on():
    model = cnn()
    x, y = samples(model, 40)
    _, gradients = model.loss_and_gradients(x, y)
    kept = {name: gradient.copy() for name, gradient in gradients.items()}
    model.fit(x, y, verbose=0)
    model.loss_and_gradients(x[:5], y[:5])
    for name, gradient in gradients.items():
        np.testing.assert_array_equal(gradient, kept[name])


@pytest.mark.parametrize("n", [9, 40], ids=["one shard", "several shards"])
def test_gradients_in_training_are_those_of_the_next_step(n):
    model = cnn(dtype="float64")
    model.compile(loss="sparse_categorical_crossentropy", optimizer=SGD(0.5))
    x, y = samples(model, n)
    before = {name: value.copy() for name, value in model.params.items()}
    loss, gradients = model.loss_and_gradients(x, y, training=True)
    assert model.train_on_batch(x, y) == pytest.approx(loss, rel=1e-12)
    for name, value in model.params.items():
        np.testing.assert_allclose(value, before[name] - 0.5 * gradients[name], rtol=1e-12, atol=1e-15)
    assert loss != pytest.approx(model.loss_and_gradients(x, y)[0])


# -------------------------------------------------------------------------------------------------- a layer of the user


class MyDense(Layer):
    """The user's own dense layer with ReLU, on top of Layer."""

    def __init__(self, units, **options):
        super().__init__(**options)
        self.units = units

    def build(self, input_shape, rng, dtype):
        self.params = {
            "kernel": initializers.glorot_uniform((input_shape[0], self.units), rng, dtype),
            "bias": np.zeros(self.units, dtype),
        }
        return (self.units,)

    def forward(self, x, *, training=False, rng=None):
        y = np.maximum(x @ self.params["kernel"] + self.params["bias"], 0)
        return y, (x, y)

    def backward(self, dy, cache):
        x, y = cache
        dz = dy * (y > 0)
        return dz @ self.params["kernel"].T, {"kernel": x.T @ dz, "bias": dz.sum(axis=0)}


class PlainDense:
    """The same as a class that knows nothing of the library but the contract."""

    def __init__(self, units):
        self.units, self.params = units, {}

    build, forward, backward = MyDense.build, MyDense.forward, MyDense.backward


@pytest.mark.parametrize("make", [MyDense, PlainDense])
@pytest.mark.parametrize("deferred", [False, True], ids=["", "deferred"])
def test_a_layer_of_the_users_trains_like_the_shipped_one(make, deferred):
    def trained(layer):
        model = Sequential(seed=4, dtype="float64")
        if not deferred:
            model.add(Input((6,)))
        for part in (layer(9), Dropout(0.3), layer(7), Dense(3, activation="softmax")):
            model.add(part)
        compiled(model)
        rng = np.random.default_rng(0)
        model.fit(rng.random((50, 6)), rng.integers(0, 3, 50), batch_size=20, epochs=3, verbose=0)
        return model

    own, shipped = trained(make), trained(lambda units: Dense(units, activation="relu"))
    assert own.layers[0].name == ("my_dense" if make is MyDense else "plain_dense")
    assert own.layers[2].name.endswith("_1")
    for a, b in zip(own.get_weights(), shipped.get_weights(), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-12)


class Scale:
    """y = 2 · x, or whatever a test makes of it."""

    def __init__(self, **parts):
        self.params = {}
        for name, function in parts.items():
            setattr(self, name, function)

    def build(self, input_shape, rng, dtype):
        self.params = {"factor": np.full(input_shape, 2.0, dtype)}
        return input_shape

    def forward(self, x, *, training=False, rng=None):
        return x * self.params["factor"], x

    def backward(self, dy, cache):
        return dy * self.params["factor"], {"factor": (dy * cache).sum(axis=0)}


@pytest.mark.parametrize(
    ("parts", "text"),
    [
        ({"forward": lambda x, training=False, rng=None: (x[:, :2], x)},
         "layer 'scale': forward must return shape (5, 3), as its build said, received (5, 2)."),
        ({"backward": lambda dy, cache: (dy, {})},
         "layer 'scale': backward must return a gradient of each parameter's shape, {'factor': (3,)}, received {}."),
        ({"backward": lambda dy, cache: (dy, {"factor": dy})},
         "layer 'scale': backward must return a gradient of each parameter's shape, {'factor': (3,)}, "
         "received {'factor': (5, 3)}."),
        ({"backward": lambda dy, cache: (dy, {"factr": dy.sum(axis=0)})}, "received {'factr': (3,)}."),
        ({"backward": lambda dy, cache: (dy[:, :1], {"factor": dy.sum(axis=0)})},
         "layer 'scale': backward must return dx of shape (5, 3), received (5, 1)."),
        ({"backward": lambda dy, cache: (dy[:1], {"factor": dy.sum(axis=0)})},
         "layer 'scale': backward must return dx of shape (5, 3), received (1, 3)."),
    ],
    ids=["forward's shape", "no gradients", "gradient's shape", "gradient's name", "dx's shape", "dx's samples"],
)  # fmt: skip
def test_a_layer_that_breaks_its_promise_is_named(parts, text):
    model = Sequential([Dense(3, input_dim=4), Scale(**parts), Dense(3)])
    model.compile(loss="mse")
    with pytest.raises(ValueError, match=re.escape(text)):
        model.train_on_batch(np.ones((5, 4)), np.ones((5, 3)))


@pytest.mark.parametrize(
    ("parts", "text"),
    [
        ({"forward": lambda x, training=False, rng=None: x}, "forward must return (y, cache), received ndarray."),
        ({"forward": lambda x, training=False, rng=None: None}, "forward must return (y, cache), received NoneType."),
        ({"backward": lambda dy, cache: dy}, "backward must return (dx, gradients by name), received ndarray."),
        ({"backward": lambda dy, cache: (dy, None)},
         "backward must return (dx, gradients by name), received None as the gradients. Without parameters that is {}."),
    ],
    ids=["no cache", "nothing", "no gradients", "None"],
)  # fmt: skip
@pytest.mark.parametrize("n", [2, 5])  # an array of two samples could pass for a pair
def test_a_layer_that_returns_something_else_is_named(parts, text, n):
    model = Sequential([Dense(3, input_dim=4), Scale(**parts), Dense(3)])
    model.compile(loss="mse")
    with pytest.raises(TypeError, match=re.escape(f"layer 'scale': {text}")):
        model.train_on_batch(np.ones((n, 4)), np.ones((n, 3)))


@pytest.mark.parametrize(
    "change",
    [
        lambda gradient: gradient.astype(np.float64),
        lambda gradient: gradient.tolist(),
        lambda gradient: np.repeat(gradient, 2)[::2],
    ],
    ids=["another dtype", "list", "not contiguous"],
)
@pytest.mark.parametrize("n", [5, 40], ids=["one shard", "two shards"])
def test_a_layers_gradients_may_come_in_any_form(change, n):
    def backward(dy, cache):
        return (dy * 2).tolist(), {"factor": change((dy * cache).sum(axis=0))}

    def trained(**parts):
        model = Sequential([Dense(3, input_dim=4), Scale(**parts)], seed=0)
        model.compile(loss="mse", optimizer="adam")
        rng = np.random.default_rng(0)
        x, y = rng.random((n, 4)), rng.random((n, 3))
        gradients = model.loss_and_gradients(x, y)[1]
        model.train_on_batch(x, y)
        assert {gradient.dtype.name for gradient in gradients.values()} == {"float32"}
        return model

    assert_same_weights(trained(backward=backward), trained())


def test_a_layer_may_return_an_array_that_it_keeps():
    """An L2 penalty by hand: the gradient is the parameter itself, which the sum over the shards must not change."""
    model = Sequential(seed=0, dtype="float64")
    layer = Scale(backward=lambda dy, cache: (dy, {"factor": layer.params["factor"]}), input_shape=(3,))
    model.add(layer)
    model.compile(loss="mse", optimizer=SGD(0.25))
    x = np.ones((40, 3))
    np.testing.assert_array_equal(model.loss_and_gradients(x, x)[1]["scale/factor"], 4)  # 2 from each of two shards
    np.testing.assert_array_equal(layer.params["factor"], 2)
    model.train_on_batch(x, x)
    np.testing.assert_array_equal(layer.params["factor"], 1)


@pytest.mark.parametrize("output", [None, (3, 0), (None, 3), "3"])
def test_a_build_that_returns_no_shape_is_named(output):
    layer = Scale(build=lambda input_shape, rng, dtype: output)
    model = Sequential([Dense(3, input_dim=4)])
    text = (
        "layer 'scale': what build returns must be a tuple of positive integers, the shape of one sample without the "
    )
    with pytest.raises(ValueError, match=re.escape(text) + ".*" + re.escape(f"received {output!r}")):
        model.add(layer)
    assert len(model.layers) == 1
    model.add(Dense(2))
    assert model.output_shape == (2,)


# ------------------------------------------------------------------------------------ two sets of operations, two plans


@pytest.mark.parametrize("make", [mlp, cnn, large_cnn, odd_cnn])
def test_the_reference_trains_to_the_same_weights(make):
    kernels, reference = make(dtype="float64"), make(dtype="float64", ops="reference")
    x, y = samples(kernels, 45)
    h1 = kernels.fit(x, y, batch_size=20, epochs=2, verbose=0)
    h2 = reference.fit(x, y, batch_size=20, epochs=2, verbose=0)
    assert_same_weights(kernels, reference, rtol=1e-7, atol=1e-10)
    np.testing.assert_allclose(h1.history["loss"], h2.history["loss"], rtol=1e-10)
    np.testing.assert_allclose(kernels.predict(x, verbose=0), reference.predict(x, verbose=0), rtol=1e-8)


@pytest.mark.parametrize("n", [1, 13, 45])
@pytest.mark.parametrize("make", [mlp, cnn, large_cnn, odd_cnn])
def test_fused_is_unfused_in_outputs_and_all_gradients(make, n):
    fused, plain = make(dtype="float64"), make(dtype="float64", fuse=False)
    rng = np.random.default_rng(7)
    weights = [weight + 0.05 * rng.normal(size=weight.shape) for weight in fused.get_weights()]
    for model in (fused, plain):
        model.set_weights(weights)
    x, y = samples(fused, n)
    np.testing.assert_allclose(fused.predict(x, verbose=0), plain.predict(x, verbose=0), rtol=1e-11)
    for training in (False, True):
        loss, gradients = fused.loss_and_gradients(x, y, training=training)
        expected_loss, expected = plain.loss_and_gradients(x, y, training=training)
        assert loss == pytest.approx(expected_loss, rel=1e-12)
        assert list(gradients) == list(expected)
        for address, gradient in gradients.items():
            np.testing.assert_allclose(gradient, expected[address], rtol=1e-9, atol=1e-13, err_msg=address)


def test_a_subclass_computes_what_it_says_and_not_what_its_parent_would():
    class Doubled(Dense):
        def forward(self, x, *, training=False, rng=None):
            y, cache = super().forward(x, training=training, rng=rng)
            return 2 * y, cache

    x = np.random.default_rng(0).random((5, 3))
    one, two = (Sequential([layer(4, input_dim=3)], seed=0, dtype="float64") for layer in (Dense, Doubled))
    np.testing.assert_allclose(two.predict(x, verbose=0), 2 * one.predict(x, verbose=0), rtol=1e-12)


# -------------------------------------------------------------------------------------------------------------- numbers


def test_bytes_behind_rescaling_equal_scaled_floats():
    rng = np.random.default_rng(0)
    images, y = rng.integers(0, 256, (50, 12, 12, 1), np.uint8), rng.integers(0, 4, 50)

    def trained(x, *first):
        options = {} if first else {"input_shape": (12, 12, 1)}
        layers = [*first, Conv2D(4, 5, activation="relu", **options), MaxPooling2D(), Flatten(), Dense(4, "softmax")]
        model = compiled(Sequential(layers, dtype="float64"))
        start = np.random.default_rng(1)  # the weights' seed depends on a layer's position, which differs here
        model.set_weights([start.normal(0, 0.1, weight.shape) for weight in model.get_weights()])
        model.fit(x, y, batch_size=20, epochs=2, shuffle=False, verbose=0)
        return model.get_weights()

    rescaled = trained(images, Rescaling(1 / 255, input_shape=(12, 12, 1)))
    for a, b in zip(rescaled, trained(images / 255), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("scale", [1.0, 1e4, 1e30])
@pytest.mark.parametrize("apart", [False, True], ids=["Dense(softmax)", "Activation(softmax)"])
@pytest.mark.parametrize("sparse", [False, True], ids=["one-hot", "sparse"])
def test_crossentropy_of_huge_logits_is_exact(scale, apart, sparse):
    last = [Dense(3, input_dim=3), Activation("softmax")] if apart else [Dense(3, activation="softmax", input_dim=3)]
    model = Sequential(last)
    name = "sparse_categorical_crossentropy" if sparse else "categorical_crossentropy"
    model.compile(loss=name, optimizer="sgd", metrics=["accuracy"])
    model.set_weights([np.eye(3) * scale, np.zeros(3)])
    x, y = np.array([[1.0, -1.0, 0.0], [0.0, 1.0, -1.0]]), np.array([0, 0])  # logits: x · scale
    log_p = x * scale - (scale + np.log(np.exp(x * scale - scale).sum(axis=1, keepdims=True)))
    labels = y if sparse else np.eye(3)[y]
    loss, gradients = model.loss_and_gradients(x, labels)
    assert loss == pytest.approx(-log_p[:, 0].mean(), rel=1e-6)  # scale / 2 for the large ones
    np.testing.assert_allclose(
        gradients["dense/bias"], (np.exp(log_p) - np.eye(3)[y]).mean(axis=0), rtol=1e-5, atol=1e-7
    )
    np.testing.assert_allclose(model.predict(x, verbose=0), np.exp(log_p), rtol=1e-5, atol=1e-7)
    assert model.evaluate(x, labels, verbose=0) == [pytest.approx(loss, rel=1e-6), 0.5]


def test_a_model_that_learns():
    """Two clouds far apart: every optimizer ends with no error and a small loss."""
    rng = np.random.default_rng(0)
    y = rng.integers(0, 2, 200)
    x = rng.normal(0, 0.3, (200, 4)) + y[:, None]
    for optimizer in (SGD(0.1, momentum=0.9), RMSprop(0.01), Adam(0.01)):
        model = Sequential([Dense(8, activation="tanh", input_dim=4), Dense(2, activation="softmax")], seed=0)
        model.compile(loss="sparse_categorical_crossentropy", optimizer=optimizer, metrics=["accuracy"])
        history = model.fit(x, y, epochs=15, verbose=0)
        assert history.history["loss"][-1] < 0.1 < 0.5 < history.history["loss"][0]
        assert model.evaluate(x, y, verbose=0)[1] >= 0.99


# ------------------------------------------------------------------------------------------------- ownership and lifetime


class Columns(Layer):
    """y = x · w, with a w that lies in memory column by column, as np.linalg.qr or a transposed copy gives it."""

    def build(self, input_shape, rng, dtype):
        self.params = {"w": np.asfortranarray(rng.normal(size=(input_shape[0], 3)))}
        return (3,)

    def forward(self, x, *, training=False, rng=None):
        return x @ self.params["w"], x

    def backward(self, dy, cache):
        return dy @ self.params["w"].T, {"w": cache.T @ dy}


@pytest.mark.parametrize("ops", ["kernels", "reference"])
def test_parameters_in_any_memory_order_and_dtype_are_trained(ops):
    """An update of a copy would be lost without a word."""
    model = Sequential([Columns(input_shape=(4,))], seed=3, ops=ops)
    model.compile(SGD(0.1), "mse")
    x, y = np.random.default_rng(0).normal(size=(6, 4)), np.zeros((6, 3))
    (before,) = model.get_weights()
    _, gradients = model.loss_and_gradients(x, y)
    model.train_on_batch(x, y)
    assert model.params["columns/w"].dtype == np.float32
    np.testing.assert_allclose(model.get_weights()[0], before - 0.1 * gradients["columns/w"], rtol=1e-5, atol=1e-7)
    brought = model.layers[0].params["w"] = np.asfortranarray(2.0 * model.layers[0].params["w"])
    before, (_, gradients) = brought.copy(), model.loss_and_gradients(x, y)
    model.train_on_batch(x, y)
    np.testing.assert_allclose(model.get_weights()[0], before - 0.1 * gradients["columns/w"], rtol=1e-5, atol=1e-7)
    assert model.layers[0].params["w"] is model.params["columns/w"]


def test_a_second_compile_does_not_repeat_the_dropout_masks():
    class Keys(Layer):
        seen = ()

        def forward(self, x, *, training=False, rng=None):
            self.seen = (*self.seen, rng)
            return x.copy(), None

        def backward(self, dy, cache):
            return dy.copy(), {}

    model = Sequential([Keys(input_shape=(4,)), Dense(2)], seed=3)
    for _ in range(3):
        model.compile("adam", "mse")
        model.train_on_batch(np.ones((2, 4)), np.ones((2, 2)))
    keys = {rng.key for rng in model.layers[0].seen}
    assert len(keys) == len(model.layers[0].seen) == 3


def test_a_layer_or_an_optimizer_belongs_to_one_model_also_before_it_is_built():
    layer, optimizer = Dense(3), Adam()
    first = Sequential([layer])
    first.compile(optimizer, "mse")
    with pytest.raises(ValueError, match="the layer 'dense' belongs to another model"):
        Sequential([layer])
    with pytest.raises(ValueError, match="this optimizer holds the state of another model"):
        Sequential([Dense(3)]).compile(optimizer, "mse")
    first.compile(optimizer, "mse")  # its own, again


def test_a_failed_build_leaves_the_parameters_that_a_layer_brought():
    class Brought(Layer):
        def __init__(self):
            super().__init__()
            self.params = {"gain": np.ones(1)}

    model = Sequential([Brought(), Conv2D(2, 5)])
    with pytest.raises(ValueError, match="at least 5×5"):
        model.build((3, 3, 1))
    assert model.layers[0].params["gain"] == 1
    assert model.layers[0].input_shape is None


def test_contradictory_shapes_are_refused():
    with pytest.raises(ValueError, match=r"input_shape=\(14, 14, 1\) contradicts what comes before it, \(28, 28, 1\)"):
        Sequential([Input((28, 28, 1)), Conv2D(2, 3, input_shape=(14, 14, 1))])


def test_metrics_of_one_name_are_refused():
    model = Sequential([Dense(3)])
    with pytest.raises(ValueError, match="every metric needs a name of its own"):
        model.compile("sgd", "mse", metrics=[lambda y, p: (1.0, 1), lambda y, p: (2.0, 1)])


def test_layers_must_be_a_list_and_names_texts():
    with pytest.raises(TypeError, match="layers must be a list of layers"):
        Sequential(Dense(3))
    with pytest.raises(TypeError, match="a set of operations must be given by its name, received None"):
        Sequential(ops=None)
