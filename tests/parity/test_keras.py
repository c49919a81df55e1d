"""minidl and Keras 3, given the same program, the same weights and the same digits, compute the same numbers.

Keras runs on TensorFlow: on PyTorch its fit and predict turn float64 data into float32, and nothing could be proved.
"""

import functools
import inspect
import re
from pathlib import Path

import numpy as np
import pytest
from parity.twins import BATCH, MODELS, STEPS, agree, changes, digits, give_biases, normalized

import minidl
from minidl.layers.activation import ACTIVATIONS, ALIASES
from minidl.ops import OPERATIONS
from minidl.ops.random import RandomKey
from minidl.utils import to_categorical

keras = pytest.importorskip("keras", reason="the twins need Keras 3 on TensorFlow: pip install 'minidl[parity]'")
if keras.config.backend() != "tensorflow":
    pytest.skip(
        f"the twins need Keras on TensorFlow, here it runs on {keras.config.backend()}", allow_module_level=True
    )
tensorflow = pytest.importorskip(
    "tensorflow", reason="the twins need Keras 3 on TensorFlow: pip install 'minidl[parity]'"
)

both_dtypes = pytest.mark.parametrize("dtype", ["float64", "float32"], indirect=True)
both_sets = pytest.mark.parametrize("ops", OPERATIONS)


@pytest.fixture
def dtype(request):
    """What both compute in, float64 where the test does not say; with the images' channels last."""
    name = getattr(request, "param", "float64")
    before = keras.config.floatx(), keras.config.dtype_policy(), keras.config.image_data_format()
    _configure(name, name, "channels_last")
    yield name
    _configure(*before)


def _configure(floatx, policy, image_data_format):
    keras.config.set_floatx(floatx)
    keras.config.set_dtype_policy(policy)
    keras.config.set_image_data_format(image_data_format)


def slopes(function, variables):
    """What function() is, a scalar, and its gradient for each of the Keras variables that it reads."""
    with tensorflow.GradientTape() as tape:
        result = function()
    gradients = tape.gradient(result, [variable.value for variable in variables])
    return to_numpy(result), [to_numpy(gradient) for gradient in gradients]


def to_numpy(tensor):
    return keras.ops.convert_to_numpy(tensor)


# ---------------------------------------------------------------------------------------------------- the whole models


def make(name, dtype, rate=0.2):
    """The model and its twin, made by the same source."""
    model = minidl.Sequential(MODELS[name](minidl.layers, rate), seed=1, dtype=dtype)
    give_biases(model)
    twin = keras.Sequential(MODELS[name](keras.layers, rate))
    twin.set_weights(model.get_weights())
    return model, twin


@both_dtypes
@pytest.mark.parametrize("name", MODELS)
def test_outputs_loss_and_every_gradient(name, dtype):
    model, twin = make(name, dtype)
    model.compile(loss="categorical_crossentropy")
    x, labels = digits(name, 33)
    x, y = x.astype(dtype), to_categorical(labels, 10)
    agree(f"{name}: outputs", model.predict(x, verbose=0), twin.predict(x, verbose=0), dtype, "values")
    loss, gradients = model.loss_and_gradients(x, y)
    twin_loss = keras.losses.CategoricalCrossentropy()
    expected_loss, expected = slopes(lambda: twin_loss(y.astype(dtype), twin(x)), twin.trainable_variables)
    agree(f"{name}: loss", loss, expected_loss, dtype, "values")
    agree(f"{name}: gradients", list(gradients.values()), expected, dtype, "gradients")


def schedule(library):
    """A learning rate that falls after the steps 5 and 12."""
    if library is minidl:
        return lambda step: 2**-5 if step <= 5 else 2**-6 if step <= 12 else 2**-7
    return keras.optimizers.schedules.PiecewiseConstantDecay([5, 12], [2**-5, 2**-6, 2**-7])


def adam_with_defaults(library):
    """Keras turns β into float32 on its way to float64: its correction for the start at 0 is a little another.

    Adam multiplies it with the learning rate, so there it can be put into minidl's step as well. (In the other optimizers
    below, all such numbers are ones that float32 holds exactly.)
    """
    if library is keras:
        return keras.optimizers.Adam()

    def correction(t, beta_1, beta_2):
        return (1 - beta_2**t) ** 0.5 / (1 - beta_1**t)

    exact = 0.9, 0.999
    rounded = [float(to_numpy(keras.ops.cast(beta, keras.config.floatx()))) for beta in exact]
    return minidl.optimizers.Adam(lambda step: 0.001 * correction(step + 1, *rounded) / correction(step + 1, *exact))


# The same source for both.
OPTIMIZERS = {
    "adam": adam_with_defaults,
    "momentum": lambda library: library.optimizers.SGD(0.02, momentum=0.875),
    "nesterov": lambda library: library.optimizers.SGD(0.02, momentum=0.875, nesterov=True),
    "rmsprop": lambda library: library.optimizers.RMSprop(0.0005),
    "sgd by name": lambda library: "sgd",
    "rmsprop by name": lambda library: "rmsprop",
    "adam, other β": lambda library: library.optimizers.Adam(beta_1=0.75, beta_2=0.96875),
    "adam, large ε": lambda library: library.optimizers.Adam(0.01, beta_1=0.875, beta_2=0.96875, epsilon=0.01),
    "adam, decay": lambda library: library.optimizers.Adam(0.002, beta_1=0.75, beta_2=0.96875, weight_decay=0.125),
    "adam, clipped": lambda library: library.optimizers.Adam(beta_1=0.875, beta_2=0.96875, clipnorm=0.125),
    "sgd, schedule": lambda library: library.optimizers.SGD(schedule(library)),
    "momentum, schedule": lambda library: library.optimizers.SGD(schedule(library), momentum=0.875),
    "momentum, clipped": lambda library: library.optimizers.SGD(0.02, momentum=0.875, clipnorm=0.125),
    "momentum, decay": lambda library: library.optimizers.SGD(0.02, momentum=0.875, weight_decay=0.125),
    "adamw": lambda library: library.optimizers.AdamW(beta_1=0.75, beta_2=0.96875, weight_decay=0.125),
    "adagrad": lambda library: library.optimizers.Adagrad(0.02, initial_accumulator_value=0.125),
    "adadelta": lambda library: library.optimizers.Adadelta(1.0, rho=0.9375),
    "adamax": lambda library: library.optimizers.Adamax(0.002, beta_1=0.75, beta_2=0.96875),
    "nadam": lambda library: library.optimizers.Nadam(0.002, beta_1=0.75, beta_2=0.96875),
    "sgd, all clipped": lambda library: library.optimizers.SGD(0.02, global_clipnorm=0.125),
    "adam, entries clipped": lambda library: library.optimizers.Adam(beta_1=0.875, beta_2=0.96875, clipvalue=2**-10),
    "momentum, averaged": lambda library: library.optimizers.SGD(0.02, momentum=0.875, use_ema=True, ema_momentum=0.75),
    "momentum, overwritten": lambda library: library.optimizers.SGD(
        0.02, momentum=0.875, use_ema=True, ema_momentum=0.75, ema_overwrite_frequency=3
    ),
    "adam, averaged": lambda library: library.optimizers.Adam(
        beta_1=0.75, beta_2=0.96875, use_ema=True, ema_momentum=0.9375, weight_decay=0.125
    ),
    "rmsprop, large ε": lambda library: library.optimizers.RMSprop(0.01, rho=0.75, epsilon=0.01),
}
CASES = [
    *((name, optimizer, "float64") for name in MODELS for optimizer in ("adam", "momentum", "nesterov", "rmsprop")),
    *((name, optimizer, "float32") for name in MODELS for optimizer in ("adam", "momentum")),
    *(("cnn", optimizer, "float64") for optimizer in list(OPTIMIZERS)[4:] if optimizer != "nadam"),
    ("cnn", "nadam", "float32"),  # Keras keeps its product of momenta in float32
]


@pytest.mark.parametrize(("name", "optimizer", "dtype"), CASES, indirect=["dtype"])
def test_twenty_steps(name, optimizer, dtype):
    """An epoch of fit, the last batch a short one. The logs agree too, and how far every weight went.

    An accuracy counts whole digits, and the larger CNN has one that half a rounding of the initial weights in float32 turns
    from wrong to right. So in float32 the counts may differ by one digit.
    """
    x, y = digits(name)
    x, y = x[:-3].astype(dtype), y[:-3]
    went, logs = [], []
    for model, library in zip(make(name, dtype, rate=0), (minidl, keras), strict=True):
        before = model.get_weights()
        model.compile(
            loss="sparse_categorical_crossentropy", optimizer=OPTIMIZERS[optimizer](library), metrics=["accuracy"]
        )
        history = model.fit(
            x, y, batch_size=BATCH, epochs=1, verbose=0, shuffle=False, validation_data=(x[:50], y[:50])
        )
        went.append(changes(model.get_weights(), before))
        logs.append(history.history)
    label = f"{name}, {optimizer}"
    agree(f"{label}: after {STEPS} steps", *went, dtype, "steps")
    ours, theirs = logs
    assert list(ours) == list(theirs)
    for key in ours:
        if dtype == "float32" and key.endswith("accuracy"):
            counted = 50 if key.startswith("val_") else len(x)
            assert abs(round(ours[key][0] * counted) - round(theirs[key][0] * counted)) <= 1
        else:
            agree(f"{label}: {key}", ours[key][0], theirs[key][0], dtype, "losses")


@pytest.mark.parametrize("swap_on_epoch", [False, True])
def test_averages_are_validated_and_kept(swap_on_epoch, dtype):
    """Two epochs, of which the history holds the averages' loss on held-out digits."""
    x, y = digits("cnn")
    x = x.astype(dtype)
    went, logs = [], []
    for model, library in zip(make("cnn", dtype, rate=0), (minidl, keras), strict=True):
        before = model.get_weights()
        optimizer = library.optimizers.SGD(0.02, momentum=0.875, use_ema=True, ema_momentum=0.9375)
        model.compile(loss="sparse_categorical_crossentropy", optimizer=optimizer)
        swap = library.callbacks.SwapEMAWeights(swap_on_epoch)
        held_out = (x[:50], y[:50])
        history = model.fit(
            x[50:], y[50:], BATCH, 2, verbose=0, shuffle=False, validation_data=held_out, callbacks=[swap]
        )
        went.append(changes(model.get_weights(), before))
        logs.append([history.history["loss"], history.history["val_loss"]])
    agree("cnn, averages: weights", *went, dtype, "steps")
    agree("cnn, averages: losses", *map(np.array, logs), dtype, "losses")


@both_dtypes
def test_evaluate_with_weights(dtype):
    model, twin = make("cnn", dtype)
    x, y = digits("cnn", 90)
    weights = np.random.default_rng(3).uniform(0, 3, len(x))
    results = []
    for each in (model, twin):
        each.compile(loss="sparse_categorical_crossentropy", optimizer="sgd", metrics=["accuracy"])
        results.append(each.evaluate(x.astype(dtype), y, batch_size=90, sample_weight=weights, verbose=0))
    agree("cnn: evaluate with weights", results[0], results[1], dtype, "losses")


@pytest.mark.parametrize("frozen", [False, True])
@pytest.mark.parametrize("way", [{}, {"fuse": False}, {"ops": "reference"}], ids=["fused", "not fused", "reference"])
@both_dtypes
def test_twenty_steps_with_batch_normalization(way, dtype, frozen):
    """Training and evaluation, the last batch a short one; the weights with their moving averages, in the same order.

    Frozen: the first normalization stays in inference mode.
    """
    x, y = digits("cnn")
    x, y = x[:-3].astype(dtype), y[:-3]
    model = minidl.Sequential(normalized(minidl.layers), seed=1, dtype=dtype, **way)
    twin = keras.Sequential(normalized(keras.layers))
    random = np.random.default_rng(1)
    model.set_weights([w if w.ndim > 1 else random.uniform(0.5, 1, w.shape) for w in model.get_weights()])
    twin.set_weights(model.get_weights())
    went, logs, outputs = [], [], []
    for each, library in ((model, minidl), (twin, keras)):
        each.layers[1].trainable = not frozen
        before = each.get_weights()
        outputs.append(each.predict(x[:33], verbose=0))
        each.compile(loss="sparse_categorical_crossentropy", optimizer=library.optimizers.SGD(0.02, momentum=0.875))
        history = each.fit(x, y, batch_size=BATCH, epochs=1, verbose=0, shuffle=False, validation_data=(x[:50], y[:50]))
        went.append(changes(each.get_weights(), before))
        logs.append(history.history)
    agree("normalized: predictions", *outputs, dtype, "values")
    # a bias before a normalization has the gradient 0, of which there is but rounding
    without = [[w for place, w in enumerate(every) if place != 6] for every in went]
    agree(f"normalized: after {STEPS} steps", *without, dtype, "steps")
    for key, expected in logs[1].items():
        agree(f"normalized: {key}", logs[0][key][0], expected[0], dtype, "losses")
    assert [not w.any() for w in without[0]].count(True) == (4 if frozen else 0)


# ----------------------------------------------------------------------------------------------- layer by layer, float64


def layer_parity(layer, twin, ops, x, tolerance="float64"):
    """Outputs, dx and the parameters' gradients of a layer and of its twin, both in float64."""
    random = np.random.default_rng(2)
    layer.ops = OPERATIONS[ops]
    layer.build(x.shape[1:], random, np.dtype(np.float64))
    for value in layer.params.values():
        value[...] = random.normal(size=value.shape)
    y, cache = layer.forward(x)
    dy = random.normal(size=y.shape)
    dx, gradients = layer.backward(dy, cache)

    leaf = keras.Variable(x)
    twin.build((None, *x.shape[1:]))
    twin.set_weights(layer.get_weights())
    agree(f"{layer}: outputs", y, to_numpy(twin(keras.ops.convert_to_tensor(x))), tolerance, "values")
    _, expected = slopes(lambda: keras.ops.sum(twin(leaf.value) * dy), [leaf, *twin.trainable_variables])
    agree(f"{layer}: dx", dx, expected[0], tolerance, "gradients")
    for (name, gradient), other in zip(gradients.items(), expected[1:], strict=True):
        agree(f"{layer}: {name}", gradient, other, tolerance, "gradients")


@both_sets
@pytest.mark.parametrize("padding", ["valid", "same"])
@pytest.mark.parametrize(
    ("size", "window", "strides"),
    [
        ((7, 9), (3, 3), (1, 1)),
        ((6, 7), (4, 2), (1, 1)),
        ((7, 9), (3, 2), (2, 2)),
        ((6, 8), (5, 3), (3, 3)),
        ((9, 7), (2, 4), (3, 1)),
        ((5, 11), (3, 4), (2, 3)),
    ],
)
def test_conv2d(size, window, strides, padding, ops, dtype):
    x = np.random.default_rng(0).normal(size=(3, *size, 4))
    layer, twin = (library.layers.Conv2D(5, window, strides, padding) for library in (minidl, keras))
    layer_parity(layer, twin, ops, x)


@both_sets
@pytest.mark.parametrize("padding", ["valid", "same"])
@pytest.mark.parametrize(
    ("pool", "strides"), [(2, None), ((3, 2), None), (3, 1), (3, 2), ((3, 4), (2, 1)), ((2, 2), (3, 3))]
)
def test_max_pooling2d(pool, strides, padding, ops, dtype):
    """All negative, so that a padding of zeros would show."""
    x = np.random.default_rng(0).uniform(-2, -1, (3, 7, 10, 4))
    layer, twin = (library.layers.MaxPooling2D(pool, strides, padding) for library in (minidl, keras))
    layer_parity(layer, twin, ops, x)


@both_sets
@pytest.mark.parametrize("name", [*ACTIVATIONS, *ALIASES])
def test_activations(name, ops, dtype):
    """Of a layer of its own, with 0 and saturated inputs among the others, and of a Dense."""
    x = np.random.default_rng(0).normal(size=(5, 6)) * 3
    x[0] = [0, -0.0, 40, -40, 600, -600]
    if (
        name == "selu"
    ):  # at 0 its slope jumps: TensorFlow takes that of the right side, PyTorch and JAX that of the left
        x[0, :2] = 1, -1
    tolerance = "float32" if name in ("leaky_relu", "gelu") else "float64"  # TensorFlow holds 0.2 and √2 in float32
    layer_parity(*(library.layers.Activation(name) for library in (minidl, keras)), ops, x, tolerance)
    layer_parity(*(library.layers.Dense(7, activation=name) for library in (minidl, keras)), ops, x[1:], tolerance)


@both_sets
@pytest.mark.parametrize("padding", ["valid", "same"])
@pytest.mark.parametrize(
    ("window", "strides"), [((3, 3), (1, 1)), ((4, 2), (2, 2)), ((5, 3), (2, 1)), ((3, 3), (2, 3)), ((2, 3), (3, 3))]
)
def test_conv2d_transpose(window, strides, padding, ops, dtype):
    x = np.random.default_rng(0).normal(size=(3, 4, 5, 2))
    layer_parity(*(library.layers.Conv2DTranspose(3, window, strides, padding) for library in (minidl, keras)), ops, x)


@both_sets
@pytest.mark.parametrize("padding", ["valid", "same"])
@pytest.mark.parametrize(
    ("pool", "strides"), [(2, None), ((3, 2), None), (3, 1), (3, 2), ((3, 4), (2, 1)), ((2, 2), 3)]
)
def test_average_pooling2d(pool, strides, padding, ops, dtype):
    x = np.random.default_rng(0).normal(size=(3, 7, 10, 4))
    layer_parity(*(library.layers.AveragePooling2D(pool, strides, padding) for library in (minidl, keras)), ops, x)


@both_sets
@pytest.mark.parametrize(
    "make",
    [
        lambda layers: layers.GlobalAveragePooling2D(),
        lambda layers: layers.GlobalMaxPooling2D(keepdims=True),
        lambda layers: layers.UpSampling2D((3, 2)),
        lambda layers: layers.ZeroPadding2D(((1, 0), (2, 3))),
        lambda layers: layers.Reshape((5, -1)),
        lambda layers: layers.LayerNormalization(epsilon=2**-10),
        lambda layers: layers.LayerNormalization(epsilon=0.5, scale=False),
        lambda layers: layers.BatchNormalization(epsilon=2**-10),
        lambda layers: layers.BatchNormalization(epsilon=0.5, center=False, moving_variance_initializer="zeros"),
        lambda layers: layers.LeakyReLU(0.25),
        lambda layers: layers.ReLU(),
        lambda layers: layers.ReLU(max_value=1.5, negative_slope=0.25, threshold=0.5),
        lambda layers: layers.Softmax(),
    ],
)
def test_the_other_layers(make, ops, dtype):
    x = np.random.default_rng(0).normal(size=(3, 4, 5, 2))
    layer_parity(make(minidl.layers), make(keras.layers), ops, x)


@both_sets
@pytest.mark.parametrize("shape", [(6, 5), (3, 4, 5, 2), (1, 4)])
def test_batch_normalization_in_training(shape, ops, dtype):
    """Outputs, dx, gradients and the moving averages; a batch of one, too."""
    random, settings = np.random.default_rng(0), {"momentum": 0.75, "epsilon": 2**-10}
    layer, twin = (library.layers.BatchNormalization(**settings) for library in (minidl, keras))
    layer.ops = OPERATIONS[ops]
    x = random.normal(size=shape) * 3 + 5
    layer.build(shape[1:], random, np.dtype(np.float64))
    layer.set_weights([random.uniform(0.5, 2, w.shape) for w in layer.get_weights()])
    twin.build((None, *shape[1:]))
    twin.set_weights(layer.get_weights())
    dy, leaf = random.normal(size=shape), keras.Variable(x)
    y, cache = layer.forward(x, training=True)
    dx, gradients = layer.backward(dy, cache)
    layer.learn(layer.measure(x))
    agree("outputs", y, to_numpy(twin(keras.ops.convert_to_tensor(x), training=True)), "float64", "values")
    agree("weights", layer.get_weights(), twin.get_weights(), "float64", "values")
    leaves = [leaf, *twin.trainable_variables]
    _, expected = slopes(lambda: keras.ops.sum(twin(leaf.value, training=True) * dy), leaves)
    np.testing.assert_allclose(dx, expected[0], rtol=1e-10, atol=1e-13)  # of a batch of one it is 0
    for gradient, other in zip(gradients.values(), expected[1:], strict=True):
        np.testing.assert_allclose(gradient, other, rtol=1e-10, atol=1e-13)


@both_sets
def test_rescaling_and_flatten(ops, dtype):
    x = np.random.default_rng(0).normal(size=(3, 4, 5, 2))
    layer_parity(*(library.layers.Rescaling(1 / 256, -0.5) for library in (minidl, keras)), ops, x)
    layer_parity(*(library.layers.Flatten() for library in (minidl, keras)), ops, x)


FIXED = {  # where nothing is left to chance
    "translation": lambda layers, **how: layers.RandomTranslation((0.15, 0.15), (-0.22, -0.22), **how),
    "rotation": lambda layers, **how: layers.RandomRotation((0.07, 0.07), **how),
    "zoom out": lambda layers, **how: layers.RandomZoom((0.3, 0.3), **how),
    "zoom": lambda layers, **how: layers.RandomZoom((-0.3, -0.3), (0.23, 0.23), **how),
}


@both_sets
@pytest.mark.parametrize("fill_mode", ["reflect", "constant", "nearest"])
@pytest.mark.parametrize("interpolation", ["bilinear", "nearest"])
@pytest.mark.parametrize("name", FIXED)
def test_warps(name, interpolation, fill_mode, ops):
    """In float32, in which Keras keeps the places. Its "wrap" does not interpolate across the seam; no place is
    halfway between two pixels, where rounding decides."""
    x = np.random.default_rng(0).normal(size=(3, 9, 8, 2)).astype(np.float32)
    how = {"interpolation": interpolation, "fill_mode": fill_mode, "fill_value": 0.25}
    layer, twin = (FIXED[name](library.layers, **how) for library in (minidl, keras))
    layer.ops = OPERATIONS[ops]
    y, _ = layer.forward(x, training=True, rng=RandomKey(3, 0))
    np.testing.assert_allclose(y, to_numpy(twin(x, training=True)), rtol=0, atol=2e-5)


@both_sets
def test_shear(ops):
    """Chance chooses between two images, in both libraries."""
    x = np.random.default_rng(0).normal(size=(16, 9, 8, 1)).astype(np.float32)[:1].repeat(16, axis=0)
    layer, twin = (library.layers.RandomShear((0.3, 0.3), (0.1, 0.1)) for library in (minidl, keras))
    layer.ops = OPERATIONS[ops]
    ours = layer.forward(x, training=True, rng=RandomKey(3, 0))[0]
    theirs = to_numpy(twin(x, training=True))
    found = [[np.abs(one - other).max() < 2e-5 for other in theirs] for one in ours]
    assert np.all(np.any(found, axis=1))
    assert np.all(np.any(found, axis=0))


def test_erasing_and_bending_are_as_frequent_and_as_strong():
    """Means over many images: of the erased share, and of how far a slope of brightness was moved."""
    x = np.full((4000, 12, 10, 1), 0.25, np.float32)
    shares = []
    for library in (minidl, keras):
        layer = library.layers.RandomErasing(0.8, (0.1, 0.4), fill_value=1.0, value_range=(0, 1))
        erased = augmented(layer, x) == 1
        shares.append([erased.any(axis=(1, 2, 3)).mean(), erased.mean(), erased.mean(axis=(0, 2, 3)).std()])
    np.testing.assert_allclose(*shares, rtol=0, atol=0.03)
    slope = np.broadcast_to(np.arange(28, dtype=np.float32)[None, :, None, None], (400, 28, 28, 1))
    moves = []
    for library in (minidl, keras):
        layer = library.layers.RandomElasticTransform((1, 1), (0.9, 0.9), fill_mode="nearest")
        moves.append((augmented(layer, np.ascontiguousarray(slope)) - slope)[:, 8:20, 8:20].std())
    np.testing.assert_allclose(*moves, rtol=0.05)


def augmented(layer, x):
    if isinstance(layer, minidl.layers.Layer):
        return layer.forward(x, training=True, rng=RandomKey(3, 0))[0]
    keras.utils.set_random_seed(0)
    return to_numpy(layer(x, training=True))


# ------------------------------------------------------------------------------------------------------ losses, float64

LABELS = np.array([3, 0, 4, 4, 1, 2])
ONE_HOT = to_categorical(LABELS, 5)
SOFT = np.random.default_rng(1).dirichlet(np.ones(5), 6)
LOGITS = np.random.default_rng(0).normal(size=(6, 5)) * 4
PROBABILITIES = np.random.default_rng(1).uniform(0.1, 0.9, (6, 5))  # that do not add up to 1
SATURATED = np.eye(5)[[3, 0, 0, 4, 1, 1]]  # four of them right, two wrong


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize(
    ("name", "y_true", "y_pred", "options"),
    [
        ("SparseCategoricalCrossentropy", LABELS, LOGITS, {"from_logits": True}),
        ("CategoricalCrossentropy", ONE_HOT, LOGITS, {"from_logits": True}),
        ("CategoricalCrossentropy", SOFT, 300 * LOGITS, {"from_logits": True}),
        ("SparseCategoricalCrossentropy", LABELS, PROBABILITIES, {}),
        ("CategoricalCrossentropy", ONE_HOT, PROBABILITIES, {}),
        ("CategoricalCrossentropy", SOFT, PROBABILITIES, {}),
        ("CategoricalCrossentropy", ONE_HOT, SATURATED, {}),
        ("MeanSquaredError", ONE_HOT, LOGITS, {}),
        ("MeanSquaredError", ONE_HOT.reshape(6, 1, 5, 1), LOGITS.reshape(6, 1, 5, 1), {}),
        ("CategoricalCrossentropy", ONE_HOT, PROBABILITIES, {"label_smoothing": 0.25}),
        ("CategoricalCrossentropy", ONE_HOT, LOGITS, {"label_smoothing": 0.25, "from_logits": True}),
        ("BinaryCrossentropy", ONE_HOT, PROBABILITIES, {}),
        ("BinaryCrossentropy", ONE_HOT, SATURATED, {}),
        ("BinaryCrossentropy", SOFT, PROBABILITIES, {"label_smoothing": 0.25}),
        ("BinaryCrossentropy", SOFT, LOGITS, {"label_smoothing": 0.25, "from_logits": True}),
        ("BinaryCrossentropy", SOFT.reshape(6, 1, 5, 1), 300 * LOGITS.reshape(6, 1, 5, 1), {"from_logits": True}),
        ("MeanAbsoluteError", SOFT, LOGITS, {}),
        ("Huber", SOFT, LOGITS, {}),
        ("Huber", SOFT, LOGITS, {"delta": 0.5}),
        ("Hinge", ONE_HOT, LOGITS, {}),
        ("Hinge", 2 * ONE_HOT - 1, LOGITS, {}),
        ("KLDivergence", SOFT, PROBABILITIES, {}),
        ("KLDivergence", ONE_HOT.reshape(6, 1, 5, 1), PROBABILITIES.reshape(6, 1, 5, 1), {}),
    ],
)
def test_losses(name, y_true, y_pred, options, weighted, dtype):
    weights = np.random.default_rng(3).uniform(0, 3, len(y_pred)) if weighted else None
    loss, twin = (getattr(library.losses, name)(**options) for library in (minidl, keras))
    value, cache = loss.forward(y_true, y_pred, sample_weight=weights)
    leaf = keras.Variable(y_pred)
    shaped = weights if weights is None else weights.reshape(-1, *[1] * (max(y_pred.ndim, 2) - 2))
    expected, (slope,) = slopes(lambda: twin(y_true, leaf.value, sample_weight=shaped), [leaf])
    agree(f"{name}: loss", value, expected, "float64", "values")
    agree(f"{name}: gradient", loss.backward(cache), slope, "float64", "gradients")


# ------------------------------------------------------------------------------------------------------------- metrics

ANSWERS = np.random.default_rng(0).integers(0, 2, (500, 1))
SCORES = np.clip(0.3 * ANSWERS + 0.7 * np.random.default_rng(1).random((500, 1)), 0, 1)
MANY = np.random.default_rng(2).integers(0, 4, 500)
SHARES = np.random.default_rng(3).random((500, 4))


@pytest.mark.parametrize(
    ("name", "options", "y_true", "y_pred"),
    [
        ("AUC", {}, ANSWERS, SCORES),
        ("AUC", {"num_thresholds": 7}, ANSWERS, SCORES),
        ("AUC", {"curve": "PR"}, ANSWERS, SCORES),
        ("AUC", {"curve": "PR", "num_thresholds": 7}, ANSWERS, SCORES),
        ("AUC", {}, to_categorical(MANY), SHARES),
        ("Precision", {}, ANSWERS, SCORES),
        ("Precision", {"thresholds": 0.3}, to_categorical(MANY), SHARES),
        ("Recall", {"thresholds": 0.3}, to_categorical(MANY), SHARES),
        ("F1Score", {"average": "macro"}, to_categorical(MANY), SHARES),
        ("F1Score", {"average": "weighted"}, to_categorical(MANY), SHARES),
        ("F1Score", {"average": "micro", "threshold": 0.4}, to_categorical(MANY), SHARES),
        ("BinaryAccuracy", {"threshold": 0.3}, to_categorical(MANY), SHARES),
        ("CategoricalAccuracy", {}, to_categorical(MANY), SHARES),
        ("SparseCategoricalAccuracy", {}, MANY, SHARES),
        ("TopKCategoricalAccuracy", {"k": 2}, to_categorical(MANY), SHARES),
        ("SparseTopKCategoricalAccuracy", {"k": 2}, MANY, SHARES),
        ("MeanSquaredError", {}, to_categorical(MANY), SHARES),
        ("RootMeanSquaredError", {}, to_categorical(MANY), SHARES),
        ("MeanAbsoluteError", {}, to_categorical(MANY), SHARES),
        ("KLDivergence", {}, to_categorical(MANY), SHARES),
        ("Hinge", {}, to_categorical(MANY), SHARES),
        ("BinaryCrossentropy", {}, to_categorical(MANY), SHARES),
        ("CategoricalCrossentropy", {}, to_categorical(MANY), SHARES),
    ],
)
def test_metrics(name, options, y_true, y_pred):
    """In two batches. Keras counts in float32."""
    metric, twin = (getattr(library.metrics, name)(**options) for library in (minidl, keras))
    sums = metric.empty(y_pred.shape[1:])
    for part in (slice(0, 300), slice(300, 500)):
        sums = sums + metric.sums(y_true[part], y_pred[part])
        twin.update_state(y_true[part], y_pred[part].astype("float32"))
    assert re.fullmatch(f"{metric.name}(_[0-9]+)?", twin.name)  # Keras numbers those of one kind
    agree(f"{name}: value", metric.result(sums), to_numpy(twin.result()), "float32", "values")


# ----------------------------------------------------------------------------------------------------------- schedules


@pytest.mark.parametrize(
    "make",
    [
        lambda schedules: schedules.ExponentialDecay(0.5, 10, 0.75),
        lambda schedules: schedules.ExponentialDecay(0.5, 10, 0.75, staircase=True),
        lambda schedules: schedules.InverseTimeDecay(0.5, 10, 0.75),
        lambda schedules: schedules.InverseTimeDecay(0.5, 10, 0.75, staircase=True),
        lambda schedules: schedules.PiecewiseConstantDecay([3, 17], [0.5, 0.25, 0.125]),
        lambda schedules: schedules.CosineDecay(0.5, 20),
        lambda schedules: schedules.CosineDecay(0.125, 20, alpha=0.25, warmup_target=0.5, warmup_steps=8),
    ],
)
def test_schedules(make):
    ours, theirs = make(minidl.optimizers.schedules), make(keras.optimizers.schedules)
    steps = range(40)
    agree("schedule", [ours(step) for step in steps], [to_numpy(theirs(step)) for step in steps], "float32", "values")


# ------------------------------------------------------------------------------------------------------------- the names


def test_the_page_of_names_is_complete():
    """Every class of the version of Keras that it names, and no other name."""
    text = (Path(__file__).parents[2] / "docs" / "keras.md").read_text(encoding="utf-8")
    if f"Keras {keras.__version__}," not in text:
        pytest.skip(f"the page is about another version than {keras.__version__}")
    for line in [line for line in text.splitlines() if line.startswith("| ")][1:]:
        module = functools.reduce(getattr, line.split("|")[1].strip().split("."), keras)
        listed = set(re.findall("`(\\w+)`", line))
        classes = {name for name, value in vars(module).items() if inspect.isclass(value) and name[0].isupper()}
        assert classes <= listed, line[:30]
        assert all(hasattr(module, name) for name in listed), line[:30]
