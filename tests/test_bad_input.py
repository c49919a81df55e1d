"""What users get wrong, each with one error that says who, what was expected, what was received and what to do.

After every one of them the model is as it was, and works.
"""

import re
import traceback
from contextlib import contextmanager

import numpy as np
import pytest

from minidl import Sequential, losses, optimizers, set_num_threads
from minidl.callbacks import LambdaCallback, TerminateOnNaN
from minidl.layers import Activation, Conv2D, Dense, Dropout, Flatten, Input, Layer, MaxPooling2D
from minidl.optimizers import SGD
from minidl.utils import to_categorical

NOT_POSITIVE_INTEGERS = [0, -1, 2.5, 3.0, "3", True, float("nan")]


def mlp(loss="sparse_categorical_crossentropy"):
    model = Sequential([Dense(6, activation="relu", input_dim=4), Dense(3, activation="softmax")], seed=0)
    model.compile(loss=loss, optimizer=SGD(0.1, momentum=0.9), metrics=["accuracy"])
    return model


def cnn():
    layers = [
        Conv2D(2, (3, 3), activation="relu", input_shape=(8, 8, 1)),
        MaxPooling2D(),
        Dropout(0.2),
        Flatten(),
        Dense(3, activation="softmax"),
    ]
    model = Sequential(layers, seed=0)
    model.compile(loss="sparse_categorical_crossentropy", optimizer="adam", metrics=["accuracy"])
    return model


def samples(model, n=10):
    rng = np.random.default_rng(0)
    x, y = rng.random((n, *model.input_shape)), rng.integers(0, 3, n)
    return x, to_categorical(y, 3) if isinstance(model.loss, losses.CategoricalCrossentropy) else y


def state(model):
    slots = [value.copy() for slots in model.optimizer.slots.values() for value in slots.values()]
    return model.get_weights(), slots, model.optimizer.iterations, [layer.name for layer in model.layers]


@contextmanager
def refused(model, error, text, whole=True):
    """The block raises this error with this text, changes nothing in the model, and leaves it to train and predict."""
    weights, slots, *others = state(model)
    with pytest.raises(error) as caught:
        yield model
    assert type(caught.value) is error
    if whole:
        assert str(caught.value) == text
    else:
        assert text in str(caught.value)
    weights_after, slots_after, *others_after = state(model)
    assert others_after == others
    for before, after in zip([*weights, *slots], [*weights_after, *slots_after], strict=True):
        np.testing.assert_array_equal(before, after)
    x, y = samples(model)
    assert np.isfinite(model.predict(x, verbose=0)).all()
    assert model.fit(x, y, verbose=0).epoch == [0]
    assert model.optimizer.iterations == others[0] + 1


def every_call(model, x, y):
    """All calls that take data, with this bad data."""
    return {
        "fit": lambda: model.fit(x, y, verbose=0),
        "evaluate": lambda: model.evaluate(x, y, verbose=0),
        "predict": lambda: model.predict(x, verbose=0),
        "train_on_batch": lambda: model.train_on_batch(x, y),
        "loss_and_gradients": lambda: model.loss_and_gradients(x, y),
    }


def calls_with_labels(model, x, y):
    calls = every_call(model, x, y)
    del calls["predict"]
    return calls


# ---------------------------------------------------------------------------------------------------- shapes of the data


@pytest.mark.parametrize(
    ("received", "text"),
    [
        ((10, 8, 8), "model 'sequential' expects x of shape (n, 8, 8, 1), received (10, 8, 8). The channel axis is missing: "
                     "use x[..., None]."),
        ((10, 1, 8, 8), "model 'sequential' expects x of shape (n, 8, 8, 1), received (10, 1, 8, 8). The data looks "
                        "channels-first: use np.moveaxis(x, 1, -1)."),
        ((10, 64), "model 'sequential' expects x of shape (n, 8, 8, 1), received (10, 64). Use x.reshape(-1, 8, 8, 1)."),
        ((8, 8, 1), "model 'sequential' expects x of shape (n, 8, 8, 1), received (8, 8, 1). For a single sample use "
                    "x[None]."),
        ((10, 8, 8, 3), "model 'sequential' expects x of shape (n, 8, 8, 1), received (10, 8, 8, 3). For shades of "
                          "gray use x.mean(axis=-1, keepdims=True)."),
        ((10, 9, 8, 1), "model 'sequential' expects x of shape (n, 8, 8, 1), received (10, 9, 8, 1)."),
    ],
    ids=["no channel axis", "channels-first", "flat", "one sample", "other channels", "other size"],
)  # fmt: skip
def test_images_of_another_shape(received, text):
    model = cnn()
    for call in every_call(model, np.zeros(received), np.zeros(received[0], int)).values():
        with refused(model, ValueError, text):
            call()


@pytest.mark.parametrize(
    ("received", "text"),
    [
        ((10, 5), "model 'sequential' expects x of shape (n, 4), received (10, 5)."),
        ((10, 2, 2), "model 'sequential' expects x of shape (n, 4), received (10, 2, 2). Use x.reshape(-1, 4)."),
        ((4,), "model 'sequential' expects x of shape (n, 4), received (4,). For a single sample use x[None]."),
    ],
    ids=["width", "rank", "one sample"],
)
def test_rows_of_another_shape(received, text):
    model = mlp()
    for call in every_call(model, np.zeros(received), np.zeros(received[0], int)).values():
        with refused(model, ValueError, text):
            call()


def test_validation_data_of_another_shape():
    model = mlp()
    x, y = samples(model)
    text = "model 'sequential' expects validation_data's x of shape (n, 4), received (10, 3)."
    with refused(model, ValueError, text):
        model.fit(x, y, validation_data=(x[:, :3], y), verbose=0)
    for data, received in ((x, "ndarray"), ((x,), "tuple"), ((x, y, y, y), "tuple")):
        text = f"validation_data must be (x, y) or (x, y, sample_weight), received {received}."
        with refused(model, ValueError, text):
            model.fit(x, y, validation_data=data, verbose=0)


# -------------------------------------------------------------------------------------------- shapes between the layers


def test_channels_first_in_the_model():
    text = (
        "Conv2D 'conv2d' expects input (height, width, channels) at least 5×5, received (1, 28, 28). If the "
        "images are channels-first, use input_shape=(28, 28, 1); otherwise make the window smaller, or use padding='same'."
    )
    with pytest.raises(ValueError, match="^" + re.escape(text) + "$"):
        Sequential([Conv2D(32, (5, 5), input_shape=(1, 28, 28))])
    with pytest.raises(ValueError, match="^" + re.escape(text) + "$"):
        Sequential([Input((1, 28, 28)), Conv2D(32, (5, 5))])


def test_channels_first_in_the_data_of_a_model_that_is_not_built():
    model = Sequential([Conv2D(2, (5, 5)), Flatten(), Dense(3)])
    model.compile(loss="mse")
    text = (
        "expects input (height, width, channels) at least 5×5, received (1, 28, 28). If the images are channels-first, "
    )
    with pytest.raises(ValueError, match=re.escape(text)):
        model.fit(np.zeros((4, 1, 28, 28)), np.zeros((4, 3)), verbose=0)
    text = (
        "Conv2D 'conv2d' expects input (height, width, channels), received (28, 28). The channel axis is missing: use "
    )
    with pytest.raises(
        ValueError,
        match=re.escape(text) + re.escape("input_shape=(28, 28, 1) and give the data as np.expand_dims(x, -1)."),
    ):
        model.fit(np.zeros((4, 28, 28)), np.zeros((4, 3)), verbose=0)
    assert model.fit(np.zeros((4, 28, 28, 1)), np.zeros((4, 3)), verbose=0).epoch == [0]


def test_a_channels_first_model_that_happens_to_fit_is_found_by_its_data():
    model = Sequential([Conv2D(2, (1, 1), input_shape=(1, 8, 8)), Flatten(), Dense(3)])
    model.compile(loss="mse")
    text = (
        "model 'sequential' expects x of shape (n, 1, 8, 8), received (10, 8, 8, 1). The model was made channels-first: "
        "use input_shape=(8, 8, 1)."
    )
    with pytest.raises(ValueError, match="^" + re.escape(text) + "$"):
        model.fit(np.zeros((10, 8, 8, 1)), np.zeros((10, 3)), verbose=0)


@pytest.mark.parametrize(
    ("layer", "text"),
    [
        (lambda: Dense(3), "Dense 'dense' expects input (features,), received (3, 3, 2). Add Flatten() before it to turn "
                           "each sample into 18 features."),
        (lambda: Conv2D(3, 4), "Conv2D 'conv2d_1' expects input (height, width, channels) at least 4×4, received (3, 3, 2). "
                               "Make the window smaller, or use padding='same'."),
        (lambda: MaxPooling2D(5), "MaxPooling2D 'max_pooling2d_1' expects input (height, width, channels) at least 5×5, "
                                  "received (3, 3, 2). Make the window smaller, or use padding='same'."),
    ],
    ids=["rank into Dense", "kernel too large", "pool too large"],
)  # fmt: skip
def test_a_layer_that_does_not_fit_onto_the_others(layer, text):
    model = Sequential([Conv2D(2, 3, input_shape=(8, 8, 1)), MaxPooling2D()])
    with pytest.raises(ValueError, match="^" + re.escape(text) + "$"):
        model.add(layer())
    assert [one.name for one in model.layers] == ["conv2d", "max_pooling2d"]
    model.add(Flatten())
    model.add(Dense(3))
    assert model.predict(np.zeros((2, 8, 8, 1)), verbose=0).shape == (2, 3)
    with refused(
        cnn(), ValueError, "Conv2D 'conv2d_1' expects input (height, width, channels), received (3,)."
    ) as model:
        model.add(Conv2D(3, 3))


# --------------------------------------------------------------------------------------------------------------- labels


def test_integer_labels_for_the_one_hot_loss():
    model = mlp("categorical_crossentropy")
    x, _ = samples(model)
    for shape in ((10,), (10, 1)):
        text = (
            f"categorical_crossentropy expects one-hot labels of shape (n, 3), received shape {shape}, which looks like "
            "integer labels. Use loss='sparse_categorical_crossentropy', or to_categorical(y, 3)."
        )
        for call in calls_with_labels(model, x, np.zeros(shape, int)).values():
            with refused(model, ValueError, text):
                call()


def test_one_hot_labels_for_the_sparse_loss():
    model = mlp()
    x, y = samples(model)
    text = (
        "sparse_categorical_crossentropy expects integer labels of shape (n,) or (n, 1), received shape (10, 3), which "
        "looks one-hot. Use loss='categorical_crossentropy', or np.argmax(y, axis=-1)."
    )
    for call in calls_with_labels(model, x, to_categorical(y, 3)).values():
        with refused(model, ValueError, text):
            call()


def test_one_hot_labels_of_other_classes():
    model = mlp("categorical_crossentropy")
    x, _ = samples(model)
    text = (
        "categorical_crossentropy expects one-hot labels of shape (n, 3), the model's output, received shape (10, 4)."
    )
    with refused(model, ValueError, text):
        model.fit(x, np.eye(4)[[0] * 10], verbose=0)


@pytest.mark.parametrize(("bad", "seen"), [(3, "0 … 3"), (-1, "-1 … 2")])
def test_labels_out_of_range(bad, seen):
    model = mlp()
    x, _ = samples(model)
    y = np.array([0, 1, 2, 0, 1, 2, 0, 1, 2, bad])
    text = (
        "sparse_categorical_crossentropy expects labels 0 … 2, one for each of the model's 3 outputs, received labels "
        f"{seen}."
    )
    for call in calls_with_labels(model, x, y).values():
        with refused(model, ValueError, text):
            call()
    with refused(model, ValueError, text):
        model.fit(x, y % 3, validation_data=(x, y), verbose=0)


def test_labels_that_are_fractions_or_not_finite():
    model = mlp()
    x, _ = samples(model)
    with refused(model, ValueError, "sparse_categorical_crossentropy expects integer labels, received fractions."):
        model.fit(x, np.linspace(0, 2, 10), verbose=0)
    with refused(model, ValueError, "y holds NaN or infinity. Remove or replace such samples."):
        model.fit(x, np.array([0.0] * 9 + [np.nan]), verbose=0)


def test_targets_of_another_shape_than_the_output():
    model = mlp("mse")
    text = "mean_squared_error expects targets of shape (n, 3), the model's output, received shape (10, 2)."
    with pytest.raises(ValueError, match=re.escape(text)):
        model.fit(np.zeros((10, 4)), np.zeros((10, 2)), verbose=0)


# -------------------------------------------------------------------------------------------------- lengths and numbers


def test_x_and_y_of_different_lengths():
    model = mlp()
    x, y = samples(model)
    text = "x and y must hold the same number of samples, received different ones: x has 10, y has 9."
    for call in calls_with_labels(model, x, y[:9]).values():
        with refused(model, ValueError, text):
            call()
    with refused(model, ValueError, text):
        model.fit(x, y[:9], validation_split=0.5, verbose=0)


def test_weights_of_another_length():
    model = mlp()
    x, y = samples(model)
    text = "sample_weight must have shape (10,), one weight a sample, received (9,)."
    with refused(model, ValueError, text):
        model.fit(x, y, sample_weight=np.ones(9), verbose=0)
    with refused(model, ValueError, text):
        model.fit(x, y, sample_weight=np.ones(9), validation_split=0.2, verbose=0)
    with refused(model, ValueError, "sample_weight must be finite and not negative."):
        model.evaluate(x, y, sample_weight=-np.ones(10), verbose=0)


def test_data_that_are_missing():
    model = mlp()
    x, _ = samples(model)
    with refused(model, ValueError, "x is missing: expected an array of samples."):
        model.fit(verbose=0)
    for call in calls_with_labels(model, x, None).values():
        with refused(model, ValueError, "y is missing: expected a label for each sample."):
            call()


@pytest.mark.parametrize("empty", [np.zeros((0, 4)), []], ids=["array", "list"])
def test_data_that_are_empty(empty):
    model = mlp()
    text = f"x is empty: expected at least one sample, received shape {np.shape(empty)}."
    for call in every_call(model, empty, np.zeros(0, int)).values():
        with refused(model, ValueError, text):
            call()
    x, _ = samples(model)
    with refused(model, ValueError, "y is empty: expected at least one sample, received shape (0,)."):
        model.fit(x, [], verbose=0)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_x_that_is_not_finite(value):
    model = mlp()
    x, y = samples(model)
    x[7, 2] = value
    text = "x holds NaN or infinity (as float32), first found in sample 7. Remove or replace such samples."
    for call in every_call(model, x, y).values():  # all in one batch, so fit makes no step
        with refused(model, ValueError, text):
            call()


def test_x_too_large_for_float32():
    model = mlp()
    x, y = samples(model)
    x[3, 0] = 1e39
    text = "x holds NaN or infinity (as float32), first found in sample 3. Remove or replace such samples."
    for call in every_call(model, x, y).values():
        with refused(model, ValueError, text):
            call()


def test_x_that_is_not_finite_in_a_later_batch():
    model, other = mlp(), mlp()
    x, y = samples(model, 30)
    good = x.copy()
    x[13, 0] = np.nan
    with pytest.raises(ValueError, match="first found in sample 13"):
        model.fit(x, y, batch_size=5, shuffle=False, verbose=0)
    other.fit(good[:10], y[:10], batch_size=5, shuffle=False, verbose=0)  # the two batches before
    for one, two in zip(state(model)[0], state(other)[0], strict=True):
        np.testing.assert_array_equal(one, two)
    with pytest.raises(ValueError, match="first found in sample 13"):
        model.fit(x, y, batch_size=5, verbose=0)  # shuffled: the sample's place in x, not in the batch


def test_validation_data_that_are_not_finite():
    model = mlp()
    x, y = samples(model)
    bad = x.copy()
    bad[2] = np.nan
    with pytest.raises(ValueError, match=r"^validation_data's x holds NaN or infinity .* sample 2"):
        model.fit(x, y, validation_data=(bad, y), verbose=0)
    bad = x.copy()
    bad[9] = np.nan
    with pytest.raises(ValueError, match=r"^the validation split's x holds NaN or infinity .* sample 1"):
        model.fit(bad, y, validation_split=0.2, verbose=0)
    assert model.fit(x, y, verbose=0).epoch == [0]


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (lambda x: x.astype(object), "object. Use x.astype('float32')."),
        (lambda x: x.astype(str), "<U32. Use x.astype('float32')."),
        (lambda x: x + 1j, "complex128. Use np.real(x)."),
        (
            lambda x: [[1, 2, 3, 4]] * 9 + [[None] * 4],
            "object. Entries are missing, first in sample 9: remove or replace such samples.",
        ),
    ],
    ids=["object", "string", "complex", "None"],
)
def test_x_that_holds_no_real_numbers(change, text):
    model = mlp()
    x, y = samples(model)
    text = f"x must hold real numbers, received dtype {text}"
    for call in every_call(model, change(x), y).values():
        with refused(model, TypeError, text):
            call()


def test_y_that_holds_no_real_numbers():
    model = mlp()
    x, y = samples(model)
    for bad, dtype in ((np.array(list("abcabcabca")), "<U1"), (y.astype(object), "object"), (y + 1j, "complex128")):
        with refused(model, TypeError, f"y must hold real numbers, received dtype {dtype}.", whole=False):
            model.fit(x, bad, verbose=0)


def test_x_with_rows_of_different_lengths():
    model = mlp()
    with refused(model, ValueError, "x cannot be made an array: ", whole=False):
        model.predict([[1, 2, 3, 4], [1, 2]], verbose=0)


# ---------------------------------------------------------------------------------------------------------------- names


LOSSES, OPTIMIZERS = (", ".join(sorted(table)) + "." for table in (losses.LOSSES, optimizers.OPTIMIZERS))


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ({"loss": "sparse_categorical_crosentropy"},
         "unknown loss 'sparse_categorical_crosentropy'. Did you mean 'sparse_categorical_crossentropy' or "
         "'categorical_crossentropy'? There are: " + LOSSES),
        ({"loss": "mse", "optimizer": "adm"},
         "unknown optimizer 'adm'. Did you mean 'adam' or 'nadam'? There are: " + OPTIMIZERS),
        ({"loss": "mse", "metrics": ["acuracy"]},
         "unknown metric 'acuracy'. Did you mean 'accuracy'"),
        ({"loss": "mse", "optimizer": "zzz"}, "unknown optimizer 'zzz'. There are: " + OPTIMIZERS),
        ({}, "compile needs a loss, e.g. loss='categorical_crossentropy'."),
    ],
    ids=["loss", "optimizer", "metric", "nothing near", "no loss"],
)  # fmt: skip
def test_unknown_names_in_compile(settings, text):
    model = mlp()
    with refused(model, ValueError, text, whole=settings.get("metrics") is None):
        model.compile(**settings)


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ({"loss": 3}, "a loss must be a name or an object with forward and backward, received 3."),
        ({"loss": int}, "a loss must be a name or an object with forward and backward, received <class "),
        ({"loss": "mse", "optimizer": 0.1}, "an optimizer must be a name or an Optimizer"),
        ({"loss": "mse", "optimizer": optimizers.Adam}, "an optimizer must be a name or an Optimizer"),
        ({"loss": "mse", "metrics": [3]}, "a metric must be a name, a Metric, or a function (y_true, y_pred) → a number, "
         "a number for each sample or (total, count), received 3."),
        ({"loss": "mse", "metrics": "accuracy"}, "metrics must be a list, received 'accuracy'. Use metrics=['accuracy']."),
    ],
    ids=["loss", "loss class", "optimizer", "optimizer class", "metric", "metrics"],
)  # fmt: skip
def test_things_that_compile_does_not_take(settings, text):
    model = mlp()
    with refused(model, TypeError, text, whole=False):
        model.compile(**settings)


def test_unknown_activation():
    for create in (
        lambda: Dense(3, activation="rleu"),
        lambda: Conv2D(3, 3, activation="rleu"),
        lambda: Activation("rleu"),
    ):
        with pytest.raises(
            ValueError, match=r"unknown activation 'rleu'. Did you mean .*'relu'.*There are: .*leaky_relu, linear"
        ):
            create()


# --------------------------------------------------------------------------------------------------- settings of layers


@pytest.mark.parametrize("value", NOT_POSITIVE_INTEGERS, ids=repr)
def test_numbers_that_must_be_positive_integers(value):
    for create, what in (
        (lambda: Dense(value), "Dense units"),
        (lambda: Conv2D(value, 3), "Conv2D filters"),
        (lambda: Conv2D(3, value), "Conv2D kernel_size"),
        (lambda: Conv2D(3, 3, strides=value), "Conv2D strides"),
        (lambda: Conv2D(3, 3, strides=(1, value)), "Conv2D strides"),
        (lambda: MaxPooling2D(value), "MaxPooling2D pool_size"),
        (lambda: MaxPooling2D(2, strides=value), "MaxPooling2D strides"),
    ):
        with pytest.raises(ValueError, match=rf"^{what} must be a positive integer.* received .*{value!r}"):
            create()


@pytest.mark.parametrize("rate", [1, 1.5, -0.1, float("nan"), "0.2", None, True], ids=repr)
def test_a_rate_outside_0_to_1(rate):
    text = f"Dropout rate must be a number in [0, 1), the share to drop, received {rate!r}."
    with pytest.raises(ValueError, match="^" + re.escape(text) + "$"):
        Dropout(rate)


# -------------------------------------------------------------------------------------------------------------- adding


def test_two_layers_of_one_name():
    model = mlp()
    text = "model 'sequential' already has a layer named 'dense_1': every layer needs a name of its own."
    with refused(model, ValueError, text):
        model.add(Dense(2, name="dense_1"))
    unbuilt = Sequential([Dense(3, name="a")])
    with pytest.raises(ValueError, match="model 'sequential' already has a layer named 'a'"):
        unbuilt.add(Dense(2, name="a"))


def test_the_same_layer_twice():
    model = mlp()
    text = "model 'sequential' already holds the layer 'dense_1': create a new one to add it twice."
    with refused(model, ValueError, text):
        model.add(model.layers[1])
    layer = Dense(3)
    with pytest.raises(ValueError, match="model 'sequential' already holds the layer 'dense': create a new one"):
        Sequential([layer, Dense(2), layer])


def test_a_layer_of_another_model():
    """One that is built comes with its weights; one that is not would be built by both."""
    model, other = mlp(), Sequential([Dense(4, name="waits")])
    text = "the layer 'waits' belongs to another model: create a new one for model 'sequential'."
    with refused(model, ValueError, text):
        model.add(other.layers[0])


@pytest.mark.parametrize(
    ("thing", "text"),
    [
        ("relu", "model 'sequential' add expects a layer, an object with params, build, forward and backward, received 'relu', "
                 "without params."),
        (Flatten, "model 'sequential' add expects a layer, an object with params, build, forward and backward, received "
                  "<class 'minidl.layers.core.Flatten'>, a class: create the layer with (…)."),
        (None, "received None, without params."),
    ],
    ids=["text", "class", "None"],
)  # fmt: skip
def test_things_that_are_no_layers(thing, text):
    model = mlp()
    with refused(model, TypeError, text, whole=thing is not None):
        model.add(thing)


def test_input_in_the_wrong_place():
    model = mlp()
    text = "model 'sequential': Input must come first and once, received it after 2 layers."
    with refused(model, ValueError, text):
        model.add(Input((4,)))
    with pytest.raises(ValueError, match="Input must come first and once"):
        Sequential([Input((4,)), Input((4,))])


# ----------------------------------------------------------------------------------------------------- before compiling


def test_training_before_compile():
    model = Sequential([Dense(3, input_dim=4)])
    x, y = np.zeros((5, 4)), np.zeros((5, 3))
    before = model.get_weights()
    for call in calls_with_labels(model, x, y).values():
        with pytest.raises(
            RuntimeError, match=r"^model 'sequential' must be compiled first: call compile\(loss=…, optimizer=…\)\.$"
        ):
            call()
    np.testing.assert_array_equal(before[0], model.get_weights()[0])
    assert model.predict(x, verbose=0).shape == (5, 3)  # needs no loss
    model.compile(loss="mse")
    assert model.fit(x, y, verbose=0).epoch == [0]


def test_a_model_without_layers():
    model = Sequential()
    model.compile(loss="mse")
    for call in every_call(model, np.zeros((5, 4)), np.zeros((5, 3))).values():
        with pytest.raises(ValueError, match=r"^model 'sequential' has no layers: add some first.$"):
            call()
    with pytest.raises(ValueError, match="has no layers: add some first"):  # before anything is said of the data
        model.predict(None)
    with pytest.raises(ValueError, match="model 'sequential' is not built"):
        model.summary()


# --------------------------------------------------------------------------------------------------- arguments of calls


@pytest.mark.parametrize("value", NOT_POSITIVE_INTEGERS, ids=repr)
def test_batch_size_and_epochs_must_be_positive_integers(value):
    model = mlp()
    x, y = samples(model)
    text = f"batch_size must be a positive integer, received {value!r}."
    for call in (
        lambda: model.fit(x, y, batch_size=value, verbose=0),
        lambda: model.evaluate(x, y, batch_size=value, verbose=0),
        lambda: model.predict(x, batch_size=value, verbose=0),
    ):
        with refused(model, ValueError, text):
            call()
    with refused(model, ValueError, f"epochs must be a positive integer, received {value!r}."):
        model.fit(x, y, epochs=value, verbose=0)


@pytest.mark.parametrize("value", [-1, 0.5, "1", True, None], ids=repr)
def test_initial_epoch_must_be_an_integer(value):
    model = mlp()
    x, y = samples(model)
    with refused(model, ValueError, f"initial_epoch must be an integer ≥ 0, received {value!r}."):
        model.fit(x, y, epochs=2, initial_epoch=value, verbose=0)


@pytest.mark.parametrize("value", [1, 1.5, -0.1, float("nan"), "0.1", True], ids=repr)
def test_validation_split_must_be_a_share(value):
    model = mlp()
    x, y = samples(model)
    with refused(model, ValueError, f"validation_split must be a number in [0, 1), received {value!r}."):
        model.fit(x, y, validation_split=value, verbose=0)


def test_validation_split_must_leave_samples_on_both_sides():
    model = mlp()
    x, y = samples(model)
    text = "validation_split=0.95 of 10 samples leaves none to train on or none to validate on."
    with refused(model, ValueError, text):
        model.fit(x, y, validation_split=0.95, verbose=0)


@pytest.mark.parametrize("value", [3, "silent", None, [2]], ids=repr)
def test_verbose_must_be_one_of_four(value):
    model = mlp()
    x, y = samples(model)
    text = f"verbose must be 'auto', 0 (silent), 1 (a bar) or 2 (a line an epoch), received {value!r}."
    for call in (
        lambda: model.fit(x, y, verbose=value),
        lambda: model.evaluate(x, y, verbose=value),
        lambda: model.predict(x, verbose=value),
    ):
        with refused(model, ValueError, text):
            call()


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ({"seed": -1}, "seed must be an integer ≥ 0 or None, received -1."),
        ({"seed": 1.5}, "seed must be an integer ≥ 0 or None, received 1.5."),
        ({"seed": True}, "seed must be an integer ≥ 0 or None, received True."),
        ({"dtype": "float16"}, "dtype must be 'float32' or 'float64', received 'float16'."),
        ({"dtype": "int32"}, "dtype must be 'float32' or 'float64', received 'int32'."),
        (
            {"ops": "kernel"},
            "unknown set of operations 'kernel'. Did you mean 'kernels'? There are: kernels, reference.",
        ),
    ],
)
def test_settings_of_the_model(settings, text):
    with pytest.raises(ValueError, match="^" + re.escape(text) + "$"):
        Sequential(**settings)


def test_class_weights_that_are_no_weights():
    model = mlp()
    x, y = samples(model)
    with refused(model, ValueError, "class_weight must be finite and not negative, received -1 for class 2."):
        model.fit(x, y, class_weight={0: 1.0, 2: -1}, verbose=0)


# ------------------------------------------------------------------------------------------------------------- NaN loss


@pytest.mark.parametrize("settings", [{}, {"fuse": False}, {"ops": "reference"}], ids=["fused", "unfused", "reference"])
@pytest.mark.parametrize("culprit", ["conv2d", "dense", "dense_1"])
def test_a_loss_that_is_not_a_number_names_epoch_batch_and_layer(culprit, settings):
    layers = [
        Conv2D(2, 3, activation="relu", input_shape=(8, 8, 1)),
        MaxPooling2D(),
        Dropout(0.2),
        Flatten(),
        Dense(5, activation="tanh"),
        Dense(3, activation="softmax"),
    ]
    model = Sequential(layers, seed=0, **settings)
    model.compile(loss="sparse_categorical_crossentropy", optimizer="adam")
    x, y = samples(model, 40)
    seen = []

    def spoil(batch, logs):
        if batch == 2 and model.optimizer.iterations >= 5:  # the third batch of the second epoch
            model.params[f"{culprit}/bias"][0] = np.nan
            seen.append((model.get_weights(), model.optimizer.iterations))

    with pytest.raises(FloatingPointError) as caught:
        model.fit(x, y, batch_size=10, epochs=3, callbacks=[LambdaCallback(on_train_batch_begin=spoil)], verbose=0)
    assert str(caught.value) == (
        f"in epoch 2, batch 3: the loss is nan; the first layer whose output is not finite is {culprit!r}. "
        "Try a smaller learning rate, and inputs scaled to about [0, 1]. This batch made no step."
    )
    ((weights, steps),) = seen
    assert model.optimizer.iterations == steps == 6
    for before, after in zip(weights, model.get_weights(), strict=True):
        np.testing.assert_array_equal(before, after)  # NaN equals NaN here
    model.params[f"{culprit}/bias"][0] = 0
    assert model.fit(x, y, verbose=0).epoch == [0]
    assert all(np.isfinite(weight).all() for weight in model.get_weights())


def test_a_training_that_diverges_ends_in_one_error_and_no_warnings():
    model = mlp()
    x, y = samples(model, 64)
    model.optimizer.learning_rate = 1e30
    with pytest.raises(
        FloatingPointError, match=r"^in epoch \d, batch \d: the loss is (nan|inf); the first layer whose"
    ):
        model.fit(x, y, epochs=9, verbose=0)
    assert all(np.isfinite(weight).all() for weight in model.get_weights())


def test_a_loss_that_is_not_a_number_in_one_batch_alone():
    model = mlp()
    x, y = samples(model)
    model.params["dense/bias"][0] = np.nan
    before = model.optimizer.iterations
    for call in (model.train_on_batch, model.loss_and_gradients):
        with pytest.raises(
            FloatingPointError, match=r"^the loss is nan; the first layer whose output is not finite is 'dense'"
        ):
            call(x, y)
    assert model.optimizer.iterations == before
    assert np.isnan(model.evaluate(x, y, verbose=0)[0])


@pytest.mark.parametrize("place", ["forward", "backward"])
@pytest.mark.parametrize("callbacks", [[], [TerminateOnNaN()]], ids=["", "TerminateOnNaN"])
@pytest.mark.parametrize("batch", [10, 100], ids=["one thread", "two threads"])
def test_a_floating_point_error_of_the_users_own_code_comes_out_as_it_is(place, callbacks, batch, threads_as_before):
    """It is not the library's finding, and does not end the training quietly; the traceback leads to the user's line."""
    error = FloatingPointError("mine")

    class Own(Layer):
        def forward(self, x, *, training=False, rng=None):
            return self.maybe("forward", x), None

        def backward(self, dy, cache):
            return self.maybe("backward", dy), {}

        def maybe(self, here, array):
            if here == place:
                raise error
            return array

    set_num_threads(2)
    model = Sequential([Dense(4, input_dim=4), Own()])
    model.compile(loss="mse")
    x = np.zeros((batch, 4))
    calls = [
        lambda: model.fit(x, x, batch_size=batch, verbose=0, callbacks=callbacks),
        lambda: model.train_on_batch(x, x),
        lambda: model.loss_and_gradients(x, x),
        lambda: model.trace(x, x),
    ]
    if place == "forward":
        calls += [lambda: model.predict(x, verbose=0), lambda: model.evaluate(x, x, verbose=0)]
    for call in calls:
        with pytest.raises(FloatingPointError) as caught:
            call()
        assert caught.value is error
        assert traceback.extract_tb(error.__traceback__)[-1].name == "maybe"
        error.__traceback__ = None
    assert model.steps_trained == 0


def test_the_loss_itself_may_be_what_is_not_finite():
    class Broken(losses.MeanSquaredError):
        def losses_and_gradients(self, y_true, y_pred):
            values, gradients = super().losses_and_gradients(y_true, y_pred)
            return values * np.nan, gradients

    model = mlp()
    x, _ = samples(model)
    model.compile(loss=Broken())
    with pytest.raises(FloatingPointError, match="the loss is nan, although every layer's output is finite"):
        model.train_on_batch(x, np.zeros((10, 3)))


def test_a_layer_of_the_users_is_named_too():
    class Log(Layer):
        def forward(self, x, *, training=False, rng=None):
            return np.where(x > 0.5, x, np.nan), None

        def backward(self, dy, cache):
            return dy, {}

    model = Sequential([Dense(4, input_dim=4), Log(name="mine"), Dense(3)])
    model.compile(loss="mse")
    with pytest.raises(FloatingPointError, match="the first layer whose output is not finite is 'mine'"):
        model.fit(np.zeros((20, 4)), np.zeros((20, 3)), verbose=0)
