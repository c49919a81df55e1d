"""Numbers at the edge: huge logits, constant inputs, one class, one sample. Finite, and in float32 what they are in float64.

The oracle is a model in float64 with the same weights; where even that would round, the weights are few binary digits, so that
float32 computes the logits without any rounding.
"""

import math

import numpy as np
import pytest
from support import assert_same

from minidl import Sequential, set_num_threads
from minidl.layers import Activation, Conv2D, Dense, Dropout, Flatten, MaxPooling2D
from minidl.optimizers import OPTIMIZERS, SGD, Adam

LARGEST = float(np.finfo(np.float32).max)
SMALLEST = float(np.finfo(np.float32).tiny)  # below it float32 has fewer digits
CLASSES = 5


def mlp(**options):
    return Sequential(
        [Flatten(input_shape=(12, 12, 1)), Dense(40, activation="relu"), Dense(CLASSES, "softmax")], **options
    )


def cnn(**options):
    layers = [
        Conv2D(6, (5, 5), activation="relu", input_shape=(12, 12, 1)),
        MaxPooling2D(),
        Dropout(0.2),
        Flatten(),
        Dense(16, activation="relu"),
        Dense(CLASSES, activation="softmax"),
    ]
    return Sequential(layers, **options)


def cnn_large(**options):
    layers = [
        Conv2D(6, (3, 3), activation="relu", input_shape=(12, 12, 1)),
        MaxPooling2D(),
        Conv2D(5, (2, 2), activation="relu"),
        MaxPooling2D(),
        Dropout(0.2),
        Flatten(),
        Dense(16, activation="relu"),
        Dense(9, activation="relu"),
        Dense(CLASSES),
        Activation("softmax"),
    ]
    return Sequential(layers, **options)


@pytest.mark.parametrize("ops", ["kernels", "reference"])
@pytest.mark.parametrize("optimizer", [*map(str.lower, OPTIMIZERS), "clipped"])
@pytest.mark.parametrize("scale", [1.0, 1e3, 1e30])
def test_numpys_settings_for_errors_change_nothing(ops, optimizer, scale, threads_as_before):
    """np.seterr(all="raise") is a setting of one thread, and the user's; an underflow, for one, is no error here."""
    rng = np.random.default_rng(0)
    x = (rng.random((40, 12, 12, 1)) * scale * 10.0 ** rng.integers(-30, 1, (40, 1, 1, 1))).astype(np.float32)
    y = rng.integers(0, CLASSES, 40)

    def results():
        own = Adam(0.1, global_clipnorm=1.0) if optimizer == "clipped" else optimizer
        model = mlp(ops=ops, seed=1)
        model.compile(own, "sparse_categorical_crossentropy", metrics=["accuracy"])
        calls = [
            lambda: model.predict(x, verbose=0),
            lambda: model.evaluate(x, y, verbose=0),
            lambda: model.loss_and_gradients(x, y),
            lambda: str(model.trace(x, y)),
            lambda: model.fit(x, y, batch_size=20, epochs=3, verbose=0, validation_split=0.2).history,
            lambda: model.train_on_batch(x, y),
            model.get_weights,
        ]
        for call in calls:
            try:
                yield call()
            except FloatingPointError as error:  # where it diverges
                yield str(error)

    for threads in (1, 2):
        set_num_threads(threads)
        usual = list(results())
        with np.errstate(all="raise"):
            assert_same(list(results()), usual)


every_model = pytest.mark.parametrize("make", [mlp, cnn, cnn_large])
LOSSES = ["categorical_crossentropy", "sparse_categorical_crossentropy", "mean_squared_error"]
every_loss = pytest.mark.parametrize("loss", LOSSES)


def labels_for(loss, classes):
    return classes if loss.startswith("sparse") else np.eye(CLASSES)[classes]


def twins(make, loss, optimizer=lambda: SGD(0.01), change=lambda weights: weights):
    """The same model in float32 and in float64, with the same weights."""
    single, double = (make(seed=3, dtype=dtype) for dtype in ("float32", "float64"))
    for model in (single, double):
        model.compile(loss=loss, optimizer=optimizer(), metrics=["accuracy"])
    single.set_weights(change(single.get_weights()))
    double.set_weights(single.get_weights())
    return single, double


def assert_alike(single, double, x, y, training=True):
    """Loss, all gradients, predictions and metrics are finite, and those of float64 but for float32's rounding."""
    found, gradients = single.loss_and_gradients(x, y, training=training)
    expected, exact = double.loss_and_gradients(x, y, training=training)
    assert math.isfinite(found)
    assert found == pytest.approx(expected, rel=1e-5, abs=1e-6)
    # a sum is off by its terms' rounding; over samples the terms may cancel, so they are taken one by one
    alone = [double.loss_and_gradients(x, y, weight, training=training)[1] for weight in np.eye(len(x))]
    for name, gradient in exact.items():
        assert gradients[name].dtype == np.float32
        near = max(5e-6 * sum(np.abs(own[name]) for own in alone).max(), SMALLEST)
        np.testing.assert_allclose(gradients[name], gradient, rtol=1e-4, atol=near, err_msg=name)
    predicted = single.predict(x, verbose=0)
    np.testing.assert_allclose(predicted, double.predict(x, verbose=0), rtol=1e-4, atol=1e-6)
    assert single.evaluate(x, y, verbose=0) == pytest.approx(double.evaluate(x, y, verbose=0), rel=1e-5, abs=1e-6)
    return found, gradients


INPUTS = {
    "zeros": lambda rng, n: np.zeros((n, 12, 12, 1)),
    "ones": lambda rng, n: np.ones((n, 12, 12, 1)),
    "one image": lambda rng, n: np.repeat(rng.random((1, 12, 12, 1)).astype(np.float32), n, axis=0),
    "random": lambda rng, n: rng.random((n, 12, 12, 1)).astype(np.float32),
}


@every_model
@every_loss
@pytest.mark.parametrize("inputs", INPUTS.values(), ids=INPUTS)
@pytest.mark.parametrize("n", [1, 17])
@pytest.mark.parametrize("one_class", [False, True])
def test_constant_inputs_one_class_and_one_sample(make, loss, inputs, n, one_class):
    rng = np.random.default_rng(0)
    classes = np.full(n, 2) if one_class else rng.integers(0, CLASSES, n)
    assert_alike(*twins(make, loss), inputs(rng, n), labels_for(loss, classes))


@every_model
@every_loss
@pytest.mark.parametrize("batch_size", [1, 16, 33], ids=["batches of one", "the last of one", "one batch"])
def test_a_training_on_one_class_goes_where_that_of_float64_goes(make, loss, batch_size):
    """33 samples: in batches of 16 the last one has a single sample."""
    rng = np.random.default_rng(1)
    x, y = INPUTS["random"](rng, 33), labels_for(loss, np.full(33, 4))
    single, double = twins(make, loss, optimizer=lambda: SGD(0.02, momentum=0.5))
    settings = {"batch_size": batch_size, "epochs": 3, "verbose": 0}
    found, expected = (model.fit(x, y, **settings).history for model in (single, double))
    np.testing.assert_allclose(found["loss"], expected["loss"], rtol=1e-3)
    assert found["loss"][-1] < found["loss"][0]
    for weight, exact in zip(single.get_weights(), double.get_weights(), strict=True):
        np.testing.assert_allclose(weight, exact, rtol=1e-3, atol=1e-4)


@every_model
def test_a_training_on_nothing_but_zeros_stays_finite(make):
    """Only the last bias can learn: it learns how frequent the classes are."""
    rng = np.random.default_rng(2)
    y = rng.choice(CLASSES, 400, p=[0.5, 0.2, 0.1, 0.1, 0.1])
    model = make(seed=0)
    model.compile(loss="sparse_categorical_crossentropy", optimizer=Adam(0.05))
    model.fit(np.zeros((400, 12, 12, 1)), y, batch_size=400, epochs=60, verbose=0)
    share = np.bincount(y, minlength=CLASSES) / 400
    np.testing.assert_allclose(model.predict(np.zeros((1, 12, 12, 1)), verbose=0)[0], share, atol=0.02)


# ------------------------------------------------------------------------------------------------------------ huge logits


def binary(weights, digits=3):
    """Weights of a few binary digits, so that sums of their products need no more than float32 has."""
    return [np.round(weight * 2**digits) / 2**digits for weight in weights]


def scaled(largest, model, x):
    """A change of weights that makes the logits at most this large, exactly: the last layer's times a power of two."""

    def change(weights):
        weights = binary(weights)
        model.set_weights(weights)
        # the logarithm of a probability is a logit but for the same number in each row
        most = max(np.abs(logits_of(model, x)).max(), *(np.abs(weight).max() for weight in weights[-2:]))
        factor = 2.0 ** math.floor(math.log2(largest) - math.log2(most))
        return [*weights[:-2], *(weight.astype(np.float64) * factor for weight in weights[-2:])]

    return change


def logits_of(model, x):
    """What goes into the last softmax, layer by layer, in the model's dtype."""
    y = np.asarray(x, model.dtype)
    for layer in model.layers:
        if isinstance(layer, Dense) and layer.activation == "softmax":
            return y @ layer.params["kernel"] + layer.params["bias"]
        if isinstance(layer, Activation):
            return y
        y, _ = layer.forward(y)
    raise AssertionError("no softmax")


@every_model
@every_loss
@pytest.mark.parametrize("largest", [1e4, 1e30, LARGEST])
def test_huge_logits(make, loss, largest):
    rng = np.random.default_rng(3)
    x = rng.integers(0, 2, (19, 12, 12, 1)).astype(np.float64)
    y = labels_for(loss, rng.integers(0, CLASSES, 19))
    single, double = twins(make, loss, change=scaled(largest, make(seed=3, dtype="float64"), x))
    logits = logits_of(double, x)
    np.testing.assert_array_equal(
        logits_of(single, x), logits
    )  # no rounding, so the losses can be held against each other
    assert largest / 16 < np.abs(logits).max() <= largest
    if largest == 1e4 and loss != "mean_squared_error":
        assert_alike(single, double, x, y, training=False)
    found, expected = (model.evaluate(x, y, verbose=0) for model in (single, double))
    assert found == pytest.approx(expected, rel=1e-6)
    np.testing.assert_allclose(single.predict(x, verbose=0), double.predict(x, verbose=0), rtol=1e-6, atol=SMALLEST)
    if loss != "mean_squared_error":
        assert expected[0] == pytest.approx(by_hand(logits, y), rel=1e-12)


def by_hand(logits, y):
    """The mean of log Σ e^z − z of the label, with Python's integers and floats alone."""
    classes = y if y.ndim == 1 else y.argmax(axis=1)
    losses = []
    for row, label in zip(logits.tolist(), classes, strict=True):
        largest = max(row)
        losses.append(largest - row[label] + math.log(math.fsum(math.exp(z - largest) for z in row)))
    return math.fsum(losses) / len(losses)


@pytest.mark.parametrize("loss", ["categorical_crossentropy", "sparse_categorical_crossentropy"])
@pytest.mark.parametrize("label", [0, 1, 2])
def test_the_largest_floats_as_logits(loss, label):
    """Between +3.4e38 and −3.4e38 lies more than float32 holds; the loss is that, and its gradient is 0s and ±1."""
    model = Sequential([Dense(3, activation="softmax", input_dim=1)])
    model.compile(loss=loss, optimizer="sgd")
    model.set_weights([[[LARGEST, -LARGEST, 0]], [0, 0, 0]])
    y = np.array([label]) if loss.startswith("sparse") else np.eye(3)[[label]]
    value, gradients = model.loss_and_gradients([[1.0]], y)
    assert value == [0, 2 * LARGEST, LARGEST][label]
    np.testing.assert_array_equal(gradients["dense/bias"], np.array([1, 0, 0]) - np.eye(3)[label])
    np.testing.assert_array_equal(model.predict([[1.0]], verbose=0), [[1, 0, 0]])


@pytest.mark.parametrize("activation", ["linear", "relu", "sigmoid", "tanh", "softmax"])
@pytest.mark.parametrize("size", [1e4, 1e19, LARGEST])
def test_mean_squared_error_of_huge_numbers(activation, size):
    """The square of a large float32 is beyond float32; the loss is a float64 and holds it."""
    model = Sequential([Dense(3, activation=activation, input_dim=1)])
    model.compile(loss="mse", optimizer="sgd")
    model.set_weights([[[size, -size, 0]], [0, 0, 0]])
    size = float(model.params["dense/kernel"][0, 0])
    y = {
        "linear": [size, -size, 0],
        "relu": [size, 0, 0],
        "sigmoid": [1, 0, 0.5],
        "tanh": [1, -1, 0],
        "softmax": [1, 0, 0],
    }[activation]
    slope = {"linear": [1, 1, 1], "relu": [1, 0, 0], "sigmoid": [0, 0, 0.25], "tanh": [0, 0, 1], "softmax": [0, 0, 0]}
    value, gradients = model.loss_and_gradients([[1.0]], [[0, 0, 1]])
    difference = np.array(y) - [0, 0, 1]
    assert value == pytest.approx(float((difference**2).sum() / 3), rel=1e-6)
    np.testing.assert_allclose(gradients["dense/bias"], difference * slope[activation] / 1.5, rtol=1e-6)
    np.testing.assert_allclose(model.predict([[1.0]], verbose=0), [y], rtol=1e-6)


@pytest.mark.parametrize("size", [1e-30, 1.0, 1e20, 1e38])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_clipnorm_of_a_huge_gradient(size, dtype):
    """Its square is beyond float32, its norm is not: what is left of it has the direction that it had, and norm 1."""
    optimizer = SGD(1.0, clipnorm=1.0)
    params = {"w": np.zeros(4, dtype)}
    optimizer.step(params, {"w": np.array([2, -1, 2, 0], dtype) * dtype(size)})
    np.testing.assert_allclose(params["w"], -np.array([2, -1, 2, 0]) * min(size, 1 / 3), rtol=1e-6)
