"""Ways of writing that Keras users are used to: they work, or one message says what to write."""

import importlib
import math
import re

import numpy as np
import pytest

import minidl
from minidl import Sequential, load_model
from minidl.callbacks import LambdaCallback
from minidl.layers import Conv2D, Dense, Dropout, Flatten, MaxPooling2D
from minidl.models import model_from_json

X, Y = np.random.default_rng(0).random((20, 8, 8, 1)).astype(np.float32), np.arange(20) % 3


def cnn():
    model = Sequential(
        [
            Conv2D(2, 3, activation="relu", input_shape=(8, 8, 1)),
            MaxPooling2D(),
            Dropout(0.2),
            Flatten(),
            Dense(3, activation="softmax"),
        ],
        seed=0,
    )
    model.compile(loss="sparse_categorical_crossentropy", optimizer="adam", metrics=["accuracy"])
    return model


@pytest.mark.parametrize(
    ("module", "names"),
    [
        ("layers.core", ["Activation", "Dense", "Dropout", "Flatten", "Input"]),
        ("layers.convolutional", ["Conv2D", "MaxPooling2D", "ZeroPadding2D"]),
        ("layers.pooling", ["MaxPooling2D", "AveragePooling2D", "GlobalAveragePooling2D"]),
        ("layers.normalization", ["BatchNormalization", "LayerNormalization"]),
        ("utils.np_utils", ["to_categorical"]),
        ("utils", ["to_categorical", "set_random_seed", "PyDataset", "Sequence"]),
        ("models", ["Sequential", "load_model", "model_from_json"]),
        ("callbacks", ["EarlyStopping", "ModelCheckpoint"]),
        ("datasets", ["mnist"]),
    ],
)
def test_the_modules_of_older_tutorials(module, names):
    found = importlib.import_module(f"minidl.{module}")
    for name in names:
        assert hasattr(found, name)
        assert getattr(minidl.layers, name, getattr(found, name)) is getattr(found, name)


def test_arguments_by_position_are_in_keras_order():
    model = cnn()
    weights, names = np.linspace(0, 2, 20), []

    def batches():
        yield X[:5], Y[:5]
        yield X[5:], Y[5:]

    for hook in ("on_test_begin", "on_predict_begin"):
        names.append(LambdaCallback(**{hook: lambda logs, hook=hook: names.append(hook)}))
    found = model.evaluate(X, Y, 7, 0, weights, None, names[:2], True)
    assert found == model.evaluate(X, Y, verbose=0, batch_size=7, sample_weight=weights, return_dict=True)
    assert model.evaluate(batches(), None, None, 0, None, 1) == model.evaluate(X[:5], Y[:5], verbose=0)
    np.testing.assert_array_equal(model.predict(X, 7, 0, None, names[:2]), model.predict(X, batch_size=7, verbose=0))
    assert len(model.predict(batches(), None, 0, 1)) == 5
    assert names[2:] == ["on_test_begin", "on_predict_begin"]


@pytest.mark.parametrize(
    ("freq", "epochs"), [(1, [1, 2, 3, 4, 5]), (2, [2, 4]), (7, []), ([1, 4], [1, 4]), ((5,), [5])]
)
def test_a_validation_in_some_epochs_only(freq, epochs):
    """Its numbers are those that a validation in each epoch has there."""

    def trained(**settings):
        model = Sequential([Flatten(input_shape=(8, 8, 1)), Dense(3, activation="softmax")], seed=0)
        model.compile("sgd", "sparse_categorical_crossentropy")
        return model.fit(X, Y, epochs=5, validation_split=0.25, verbose=0, **settings)

    whole, some = trained(), trained(validation_freq=freq)
    assert some.history["loss"] == whole.history["loss"]
    assert some.history.get("val_loss", []) == [whole.history["val_loss"][epoch - 1] for epoch in epochs]
    for wrong in (0, 1.5, None, [0], "2"):
        with pytest.raises(ValueError, match="validation_freq must be a positive integer, received"):
            trained(validation_freq=wrong)


@pytest.mark.parametrize("held_out", [{"validation_split": 0.5}, {"validation_data": (X[:10], Y[:10])}])
@pytest.mark.parametrize(("size", "batches"), [(None, 4), (4, 3), (10, 1)])
def test_the_batches_of_a_validation(held_out, size, batches):
    """Ten samples, in batches of three as in training, or of their own size."""
    seen = []
    count = LambdaCallback(on_test_batch_end=lambda batch, logs: seen.append(batch))
    cnn().fit(X, Y, batch_size=3, verbose=0, validation_batch_size=size, callbacks=[count], **held_out)
    assert seen == list(range(batches))
    with pytest.raises(ValueError, match="batch_size must be a positive integer, received 0"):
        cnn().fit(X, Y, validation_batch_size=0, verbose=0, **held_out)


def test_one_batch_is_evaluated_as_a_whole():
    """A function that is a metric sees all of it, and the model stays as it was."""
    model = cnn()
    seen = []
    model.compile("sgd", model.loss, ["accuracy", lambda y_true, y_pred: seen.append(len(y_pred)) or 0.0])
    before = model.get_weights()
    x, y = np.tile(X, (50, 1, 1, 1)), np.tile(Y, 50)
    weights = np.arange(1000) % 3
    for more in ({}, {"sample_weight": weights}):
        loss, accuracy, _ = model.test_on_batch(x, y, **more)
        assert seen[-1] == 1000
        expected = model.evaluate(x, y, verbose=0, **more)
        assert [loss, accuracy] == pytest.approx(expected[:2], rel=1e-6)
    assert model.test_on_batch(x, y, weights, True)["loss"] == loss
    for value, old in zip(model.get_weights(), before, strict=True):
        np.testing.assert_array_equal(value, old)


def test_pop_takes_the_layer_on_top():
    model = cnn()
    flat = Sequential(model.layers[:-1]).predict(X, verbose=0)
    head = model.layers[-1]
    assert model.pop() is head
    np.testing.assert_array_equal(model.predict(X, verbose=0), flat)
    model.add(Dense(5, activation="softmax"))
    model.fit(X, Y, verbose=0)
    assert model.predict(X, verbose=0).shape == (20, 5)
    with pytest.raises(ValueError, match=r"^model 'sequential' has no layer to take away\.$"):
        Sequential().pop()


def test_summary_gives_its_lines_to_a_function(capsys):
    lines = []
    model = cnn()
    model.summary(print_fn=lines.append)
    assert capsys.readouterr().out == ""
    model.summary()
    assert capsys.readouterr().out == "".join(f"{line}\n" for line in lines)
    assert lines[0].strip() == 'Model: "sequential"'
    assert lines[-3:] == [
        " Total params: 77 (308.00 B)",
        " Trainable params: 77 (308.00 B)",
        " Non-trainable params: 0 (0.00 B)",
    ]


def test_every_layer_knows_the_shape_of_its_output():
    model = cnn()
    shapes = [layer.output_shape for layer in model.layers]
    assert shapes == [(6, 6, 2), (3, 3, 2), (3, 3, 2), (18,), (3,)]
    assert model.output_shape == (3,)
    for i, shape in enumerate(shapes):
        view = Sequential(model.layers[: i + 1])
        assert view.predict(X, verbose=0).shape == (20, *shape)


def test_the_output_of_a_layer_in_the_middle():
    model = cnn()
    model.fit(X, Y, verbose=0)
    features = Sequential(model.layers[:-1])
    y = features.predict(X, verbose=0)
    kernel, bias = model.layers[-1].get_weights()
    logits = y @ kernel + bias
    expected = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(model.predict(X, verbose=0), expected, rtol=1e-5)
    before = y.copy()
    model.fit(X, Y, epochs=3, verbose=0)  # a view: it shows what the model has learnt since
    assert not np.array_equal(features.predict(X, verbose=0), before)


@pytest.mark.parametrize("wrong", [["x"], "x", [("x", 1)], {1: Dense}, 3])
def test_custom_objects_that_are_none_are_not_blamed_on_the_file(tmp_path, wrong):
    model = cnn()
    model.save(tmp_path / "model.safetensors")
    text = re.escape(f"custom_objects must be a dictionary, name → class or function, received {wrong!r}.")
    for call in (
        lambda: load_model(tmp_path / "model.safetensors", custom_objects=wrong),
        lambda: Sequential.from_config(model.get_config(), custom_objects=wrong),
        lambda: model_from_json(model.to_json(), custom_objects=wrong),
    ):
        with pytest.raises(TypeError, match=f"^{text}$"):
            call()
    assert load_model(tmp_path / "model.safetensors", custom_objects={}).count_params() == 77


@pytest.mark.parametrize("loss", ["sparse_categorical_crossentropy", "categorical_crossentropy"])
def test_relu_under_a_crossentropy_is_told_to_end_in_softmax(loss):
    model = Sequential([Dense(3, activation="relu", kernel_initializer="zeros", input_dim=4)])
    with pytest.warns(UserWarning, match="ends in relu, which gives no probabilities"):
        model.compile(loss=loss, optimizer="sgd")
    y = Y if loss.startswith("sparse") else np.eye(3)[Y]
    with pytest.raises(FloatingPointError, match=r"It needs probabilities: end the model with activation='softmax'"):
        model.fit(np.ones((20, 4)), y, verbose=0)


def test_a_pool_behind_a_convolution_on_a_one_row_image():
    model = Sequential([Conv2D(32, (1, 3), input_shape=(1, 28, 1))])
    with pytest.raises(ValueError, match="otherwise make the window smaller, or use padding='same'"):
        model.add(MaxPooling2D())
    model.add(MaxPooling2D((1, 2)))
    assert model.output_shape == (1, 13, 32)


def test_calling_what_keras_calls():
    """A model and a loss give numbers; a layer says what to do instead, and so does a name that is not here."""
    model = Sequential([Dense(3, "softmax", input_shape=(4,))], seed=1)
    x = np.random.default_rng(0).normal(size=(5, 4)).astype(np.float32)
    np.testing.assert_array_equal(model(x), model.predict_on_batch(x))
    np.testing.assert_array_equal(model(x, training=False), model.predict_on_batch(x))
    with pytest.raises(TypeError, match="can only be called to predict"):
        model(x, training=True)
    probabilities = np.array([[0.5, 0.25, 0.25], [0.125, 0.5, 0.375]])
    loss = minidl.losses.SparseCategoricalCrossentropy()
    assert loss([0, 1], probabilities) == pytest.approx(math.log(2))
    assert loss([0, 0], probabilities, sample_weight=[1, 0]) == pytest.approx(math.log(2) / 2)  # over the batch of two
    assert minidl.losses.MeanSquaredError()([1.0, 2.0], [[2.0], [4.0]]) == 2.5
    with pytest.raises(TypeError, match=r"Dense cannot be called: minidl has no graphs, so put layers into Sequential"):
        Dense(64)(minidl.Input(shape=(784,)))
    for module, name, text in (
        (minidl, "Model", "no graphs"),
        (minidl.layers, "Concatenate", "Residual"),
        (minidl.datasets, "fashion_mnist", "load_idx_folder"),
        (minidl.callbacks, "TensorBoard", "CSVLogger"),
        (minidl.layers, "Danse", "has no attribute 'Danse'"),
    ):
        with pytest.raises(AttributeError, match=text):
            getattr(module, name)


def test_a_row_of_numbers_for_a_model_of_one():
    """The first script of many courses: y = 2x − 1."""
    model = Sequential([Dense(units=1, input_shape=[1])], seed=1)
    model.compile(optimizer="sgd", loss="mean_squared_error")
    model.fit(
        np.array([-1.0, 0.0, 1.0, 2.0, 3.0, 4.0]), np.array([-3.0, -1.0, 1.0, 3.0, 5.0, 7.0]), epochs=500, verbose=0
    )
    assert model.predict(np.array([10.0]), verbose=0) == pytest.approx(19, abs=0.1)
    np.testing.assert_array_equal(model.predict([10.0], verbose=0), model.predict([[10.0]], verbose=0))


def test_softmax_over_a_single_number_is_warned_of():
    for layer, loss in (
        (Dense(1, activation="softmax", input_shape=(4,)), "binary_crossentropy"),
        (Dense(1, "softmax"), "mse"),
    ):
        with pytest.warns(
            UserWarning, match="softmax over a single number, which is always 1: use activation='sigmoid'"
        ):
            Sequential([layer]).compile("adam", loss)
