"""What a layer refuses, and that the message says who, what was expected, what was received, and what to do."""

import math
import re

import numpy as np
import pytest

from minidl.checks import check_shape
from minidl.layers import (
    Activation,
    BatchNormalization,
    Conv2D,
    Dense,
    Dropout,
    Flatten,
    GaussianNoise,
    Input,
    Layer,
    LayerNormalization,
    LeakyReLU,
    MaxPooling2D,
    ReLU,
    Rescaling,
    Reshape,
    Softmax,
    SpatialDropout2D,
    UpSampling2D,
    ZeroPadding2D,
)
from minidl.ops.random import RandomKey

FLOAT64 = np.dtype(np.float64)
NOT_POSITIVE_INTEGERS = [0, -1, 1.5, 3.0, True, "3", None, math.nan, np.float32(3), np.bool_(True)]
NOT_PAIRS = [*NOT_POSITIVE_INTEGERS, (), (3,), (3, 3, 3), (3, 0), (-1, 3), (1.5, 3), (True, 3), ("3", 3), "33", {3, 4}]


def assert_refused(text, function, *args, error=ValueError, **kwargs):
    """The whole message is ``text``."""
    with pytest.raises(error, match="^" + re.escape(text) + "$"):
        function(*args, **kwargs)


def build(layer, input_shape):
    return layer.build(input_shape, np.random.default_rng(0), FLOAT64)


def built(layer, input_shape):
    build(layer, input_shape)
    return layer


# ----------------------------------------------------------------------------------------------- numbers of the settings


@pytest.mark.parametrize("value", NOT_POSITIVE_INTEGERS, ids=repr)
def test_units_and_filters(value):
    assert_refused(f"Dense units must be a positive integer, received {value!r}.", Dense, value)
    assert_refused(f"Conv2D filters must be a positive integer, received {value!r}.", Conv2D, value, 3)
    assert_refused(f"Dense 'out' units must be a positive integer, received {value!r}.", Dense, value, name="out")


@pytest.mark.parametrize("value", NOT_PAIRS, ids=repr)
def test_windows_and_strides(value):
    text = f"must be a positive integer or a pair of them, received {value!r}."
    assert_refused(f"Conv2D kernel_size {text}", Conv2D, 8, value)
    assert_refused(f"Conv2D strides {text}", Conv2D, 8, 3, value)
    assert_refused(f"MaxPooling2D pool_size {text}", MaxPooling2D, value)
    if value is not None:  # the pool size
        assert_refused(f"MaxPooling2D strides {text}", MaxPooling2D, 2, value)
        assert_refused(f"MaxPooling2D 'pool' strides {text}", MaxPooling2D, 2, value, name="pool")


@pytest.mark.parametrize(
    "value", [2**16, (2**31, 1), (1, 2**31), (2**40, 2**40), 10**400], ids=lambda value: str(value)[:20]
)
def test_windows_whose_cells_an_int32_cannot_count(value):
    text = f"must be less than 2³¹ cells in all, received {value!r}."
    assert_refused(f"MaxPooling2D pool_size {text}", MaxPooling2D, value)
    assert_refused(f"MaxPooling2D strides {text}", MaxPooling2D, 2, value)
    assert_refused(f"Conv2D kernel_size {text}", Conv2D, 8, value)


def test_the_largest_window():
    assert MaxPooling2D((2**31 - 1, 1)).pool_size == (2**31 - 1, 1)
    pool = built(MaxPooling2D((1, 2**31 - 1), padding="same"), (1, 3, 1))
    x = np.array([1.0, 3.0, 2.0]).reshape(1, 1, 3, 1)
    y, cache = pool.forward(x)
    assert y.tolist() == [[[[3.0]]]]
    assert pool.backward(y, cache)[0].ravel().tolist() == [0, 3, 0]


@pytest.mark.parametrize(
    "shape",
    [(2**63,), (2**32, 2**31), (np.int64(2**32), np.int64(2**31)), (1,) * 64, 10**400],
    ids=lambda shape: str(shape)[:20],
)
def test_shapes_that_no_array_has(shape):
    shown = (shape,) if isinstance(shape, int) else shape
    text = f"must be one that NumPy can hold: 63 axes, less than 2⁶³ numbers, received {shown!r}."
    assert_refused(f"Input shape {text}", Input, shape)
    assert_refused(f"Flatten input_shape {text}", Flatten, input_shape=shape)


@pytest.mark.parametrize("shape", [(2**63 - 1,), (2**32, 2**30), (1,) * 63])
def test_the_largest_shapes(shape):
    assert Input(shape).input_shape == shape


def test_windows_and_strides_as_integers_pairs_and_lists():
    layer = Conv2D(np.int64(8), [np.int32(3), 5], strides=2)
    assert (layer.filters, layer.kernel_size, layer.strides) == (8, (3, 5), (2, 2))
    assert {type(size) for size in (layer.filters, *layer.kernel_size)} == {int}
    pool = MaxPooling2D(3)
    assert (pool.pool_size, pool.strides) == ((3, 3), (3, 3))
    assert MaxPooling2D().pool_size == (2, 2)
    assert MaxPooling2D((2, 3), strides=1).strides == (1, 1)
    assert Dense(np.int64(3)).units == 3


@pytest.mark.parametrize(
    ("padding", "frame"),
    [
        (2, ((2, 2), (2, 2))),
        ((1, 3), ((1, 1), (3, 3))),
        ([(0, 1), (2, np.int64(3))], ((0, 1), (2, 3))),
        ((2, (0, 1)), ((2, 2), (0, 1))),
    ],
)
def test_frames(padding, frame):
    assert ZeroPadding2D(padding).padding == frame
    assert {type(size) for side in ZeroPadding2D(padding).padding for size in side} == {int}


@pytest.mark.parametrize(
    "padding", [-1, 1.5, True, None, "same", (1,), (1, 2, 3), ((1, 2), (3,)), ((1, -2), (0, 0))], ids=repr
)
def test_what_is_no_frame(padding):
    text = "ZeroPadding2D padding must be an integer ≥ 0, a pair of them, or ((top, bottom), (left, right)), received "
    assert_refused(f"{text}{padding!r}.", ZeroPadding2D, padding)


@pytest.mark.parametrize("rate", [1, 1.0, -0.1, 1.5, math.nan, math.inf, True, "0.5", None], ids=repr)
def test_dropout_rate(rate):
    assert_refused(f"Dropout rate must be a number in [0, 1), the share to drop, received {rate!r}.", Dropout, rate)


@pytest.mark.parametrize("rate", [0, 0.5, np.float32(0.25)])
def test_dropout_rates_that_are_taken(rate):
    assert Dropout(rate).rate == rate


def test_dropout_in_training_needs_rng():
    text = "Dropout 'drop': in training, forward needs rng=RandomKey(key, first_sample) to draw its mask."
    assert_refused(text, Dropout(0.5, name="drop").forward, np.ones((2, 3)), training=True)
    y, _ = Dropout(0).forward(np.ones((2, 3)), training=True)  # nothing to draw
    np.testing.assert_array_equal(y, np.ones((2, 3)))


@pytest.mark.parametrize("value", [math.nan, math.inf, "1", None, True], ids=repr)
def test_rescaling(value):
    assert_refused(f"Rescaling scale must be a finite number, received {value!r}.", Rescaling, value)
    assert_refused(f"Rescaling offset must be a finite number, received {value!r}.", Rescaling, 1, value)


# ------------------------------------------------------------------------------------------------------- names of things


@pytest.mark.parametrize(
    ("create", "text"),
    [
        (lambda: ReLU(max_value=-1), "ReLU max_value must be a number in [0, ∞), received -1."),
        (lambda: LeakyReLU(-0.1), "LeakyReLU negative_slope must be a number in [0, ∞), received -0.1."),
        (lambda: Softmax(axis=1), "Softmax axis must be -1, the last one, received 1."),
        (lambda: LayerNormalization(axis=1), "LayerNormalization axis must be -1, the last one, received 1."),
        (lambda: BatchNormalization(axis=1), "BatchNormalization axis must be -1, the channels, received 1."),
        (
            lambda: BatchNormalization(momentum=1.5),
            "BatchNormalization momentum must be a number in [0, 1), the share to keep, received 1.5.",
        ),
        (lambda: BatchNormalization(epsilon=-1), "BatchNormalization epsilon must be a number in [0, ∞), received -1."),
        (
            lambda: SpatialDropout2D(1),
            "SpatialDropout2D rate must be a number in [0, 1), the share to drop, received 1.",
        ),
        (
            lambda: SpatialDropout2D(0.5).forward(np.ones((4, 3)), training=True, rng=RandomKey(0, 0)),
            "SpatialDropout2D expects images (N, height, width, channels), received shape (4, 3).",
        ),
        (
            lambda: SpatialDropout2D(0.5).build((5,), None, FLOAT64),
            "SpatialDropout2D expects input (height, width, channels), received (5,).",
        ),
        (lambda: GaussianNoise(-1), "GaussianNoise stddev must be a number in [0, ∞), received -1."),
        (
            lambda: UpSampling2D(interpolation="bilinear"),
            "UpSampling2D interpolation must be 'nearest', received 'bilinear'.",
        ),
        (lambda: Reshape((-1, -1)), "Reshape target_shape may leave one size open with -1, received (-1, -1)."),
    ],
)
def test_settings_of_further_layers(create, text):
    assert_refused(text, create)


@pytest.mark.parametrize("target", [(3, 3), (5, -1)])
def test_a_shape_that_samples_cannot_take(target):
    layer = Reshape(target)
    assert_refused(
        f"Reshape: samples of shape (4, 2) cannot take the shape {target}.",
        layer.build,
        (4, 2),
        np.random.default_rng(0),
        np.dtype(np.float32),
    )


NAMES = (
    "There are: elu, gelu, hard_sigmoid, leaky_relu, linear, log_softmax, relu, relu6, selu, sigmoid, silu, softmax, softplus, "
    "swish, tanh."
)


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("rellu", "Did you mean 'relu' or 'relu6'? "),
        ("ReLU", "Did you mean 'relu' or 'relu6'? "),
        ("sigmod", "Did you mean 'sigmoid' or 'hard_sigmoid'? "),
        ("softmx", "Did you mean 'softmax' or 'log_softmax'? "),
        ("xyzzy", ""),
        ("", ""),
    ],
)
def test_unknown_activation(name, hint):
    for create in (Activation, lambda name: Dense(2, activation=name), lambda name: Conv2D(2, 3, activation=name)):
        assert_refused(f"unknown activation {name!r}. {hint}{NAMES}", create, name)


@pytest.mark.parametrize("value", [np.tanh, 3, Activation], ids=["function", "number", "class"])
def test_activation_that_is_no_name(value):
    for create, who in (
        (Activation, "Activation"),
        (lambda activation: Dense(2, activation), "Dense"),
        (lambda activation: Conv2D(2, 3, activation=activation), "Conv2D"),
    ):
        assert_refused(
            f"{who} activation must be the name of an activation or None, received {value!r}. For a function of your own, "
            "write a layer with its forward and backward.",
            create,
            value,
            error=TypeError,
        )


@pytest.mark.parametrize("argument", ["kernel_initializer", "bias_initializer"])
def test_initializer(argument):
    for create in (lambda **kwargs: Dense(2, **kwargs), lambda **kwargs: Conv2D(2, 3, **kwargs)):
        assert_refused(
            "unknown initializer 'glorot_unifrom'. Did you mean 'glorot_uniform' or 'glorot_normal'? There are: "
            "glorot_normal, glorot_uniform, he_normal, he_uniform, identity, lecun_normal, lecun_uniform, normal, ones, "
            "orthogonal, random_normal, random_uniform, truncated_normal, uniform, zeros.",
            create,
            **{argument: "glorot_unifrom"},
        )
        assert_refused(
            "an initializer must be a name or a function (shape, rng, dtype) → array, received 3.",
            create,
            error=TypeError,
            **{argument: 3},
        )


@pytest.mark.parametrize("value", ["smae", "full", None, 1, ("same", "valid")], ids=repr)
def test_unknown_padding(value):
    text = f"padding must be 'valid' or 'same', received {value!r}."
    assert_refused(f"Conv2D {text}", Conv2D, 2, 3, padding=value)
    assert_refused(f"MaxPooling2D {text}", MaxPooling2D, padding=value)


def test_a_sample_may_be_a_single_number():
    """Its shape has no axes, which is no error by itself."""
    assert check_shape((), "input_shape") == ()


@pytest.mark.parametrize("name", ["", "a/b", "/", 3, b"dense"], ids=repr)
def test_name_of_a_layer(name):
    text = f"a layer's name must be a string without '/', received {name!r}."
    for create in (
        lambda: Dense(2, name=name),
        lambda: Conv2D(2, 3, name=name),
        lambda: MaxPooling2D(name=name),
        lambda: Dropout(0.5, name=name),
        lambda: Flatten(name=name),
        lambda: Rescaling(1, name=name),
        lambda: Activation("relu", name=name),
        lambda: Input((3,), name=name),
    ):
        assert_refused(text, create)


# ------------------------------------------------------------------------------------------------------- shapes of inputs


@pytest.mark.parametrize("shape", [2.5, (3, -1), (0,), (28, 28.0), "28", (None, 3), (True,), {28, 1}], ids=repr)
def test_input_shape(shape):
    text = f"must be a tuple of positive integers, the shape of one sample without the batch axis, received {shape!r}."
    assert_refused(f"Input shape {text}", Input, shape)
    assert_refused(f"Dense input_shape {text}", Dense, 2, input_shape=shape)
    assert_refused(f"Flatten 'flat' input_shape {text}", Flatten, name="flat", input_shape=shape)


def test_input_dim_and_input_shape_together():
    text = "Dense takes input_dim or input_shape, received both: 5 and (4,)."
    assert_refused(text, Dense, 2, input_dim=5, input_shape=(4,))


def test_a_layer_before_its_build():
    layer = Dense(2)
    assert (layer.name, layer.input_shape, layer.output_shape, layer.home) == (None, None, None, None)
    assert layer.params == {}
    assert built(layer, (3,)).params["kernel"].shape == (3, 2)


def test_input_shapes_that_are_taken():
    assert Dense(2, input_dim=5).input_shape == (5,)
    assert Dense(2, input_shape=5).input_shape == (5,)
    assert Flatten(input_shape=[np.int64(2), 3]).input_shape == (2, 3)
    for layer in (Activation("relu", input_shape=(4,)), Dropout(0.5, input_shape=(4,)), Rescaling(2, input_shape=(4,))):
        assert layer.input_shape == (4,)
    for layer in (Conv2D(2, 3, input_shape=(5, 5, 1)), MaxPooling2D(input_shape=(5, 5, 1))):
        assert layer.input_shape == (5, 5, 1)
    assert Input((28, 28, 1)).input_shape == (28, 28, 1)


def test_input_dim():
    assert_refused(
        "Dense input_shape must be a tuple of positive integers, the shape of one sample without the batch axis, "
        "received (2.5,).",
        Dense,
        2,
        input_dim=2.5,
    )


WINDOWS = pytest.mark.parametrize(
    ("create", "who"),
    [
        (lambda window, **kwargs: Conv2D(32, window, **kwargs), "Conv2D"),
        (lambda window, **kwargs: MaxPooling2D(window, **kwargs), "MaxPooling2D"),
    ],
    ids=["Conv2D", "MaxPooling2D"],
)


@WINDOWS
def test_channels_first(create, who):
    assert_refused(
        f"{who} expects input (height, width, channels) at least 5×5, received (1, 28, 28). If the images are channels-first, "
        "use input_shape=(28, 28, 1); otherwise make the window smaller, or use padding='same'.",
        build,
        create((5, 5)),
        (1, 28, 28),
    )
    assert_refused(
        f"{who} 'first' expects input (height, width, channels) at least 5×3, received (3, 32, 30). If the "
        "images are channels-first, use input_shape=(32, 30, 3); otherwise make the window smaller, or use padding='same'.",
        build,
        create((5, 3), name="first"),
        (3, 32, 30),
    )


@WINDOWS
@pytest.mark.parametrize(
    ("shape", "first"),
    [((4, 5, 6), True), ((4, 6, 5), True), ((4, 4, 9), False), ((4, 9, 4), False)],
)
def test_channels_first_is_guessed_from_images_as_large_as_the_window(create, who, shape, first):
    with pytest.raises(ValueError, match="channels-first" if first else "Make the window smaller"):
        build(create((5, 5)), shape)


def test_channels_first_is_guessed_from_at_most_4_channels():
    for channels, text in ((4, "channels-first"), (5, "Make the window smaller")):
        with pytest.raises(ValueError, match=text):
            build(Conv2D(8, (6, 6)), (channels, 28, 28))


@WINDOWS
def test_missing_channel_axis(create, who):
    assert_refused(
        f"{who} expects input (height, width, channels), received (28, 20). The channel axis is missing: use "
        "input_shape=(28, 20, 1) and give the data as np.expand_dims(x, -1).",
        build,
        create(3, padding="same"),
        (28, 20),
    )


@WINDOWS
@pytest.mark.parametrize("shape", [(784,), (10, 28, 28, 1), ()])
def test_not_images(create, who, shape):
    assert_refused(f"{who} expects input (height, width, channels), received {shape}.", build, create(3), shape)


@WINDOWS
@pytest.mark.parametrize("shape", [(4, 9, 2), (9, 6, 2), (8, 6, 9), (1, 4, 9), (1, 6, 6)])
def test_window_larger_than_the_image(create, who, shape):
    """None of them is taken for channels-first: 8 is too many channels, and 4×9 and 6×6 are too small."""
    assert_refused(
        f"{who} expects input (height, width, channels) at least 5×7, received {shape}. Make the window smaller, or use "
        "padding='same'.",
        build,
        create((5, 7)),
        shape,
    )


@WINDOWS
def test_window_as_large_as_the_image_fits(create, who):
    assert build(create((5, 7)), (5, 7, 2))[:2] == (1, 1)
    assert build(create((5, 7), padding="same", strides=1), (2, 3, 2))[:2] == (2, 3)


@pytest.mark.parametrize(("shape", "features"), [((28, 28, 1), 784), ((28, 28), 784), ((2, 3, 4, 5), 120)])
def test_dense_needs_flat_samples(shape, features):
    assert_refused(
        f"Dense 'out' expects input (features,), received {shape}. Add Flatten() before it to turn each sample into "
        f"{features} features.",
        build,
        Dense(10, name="out"),
        shape,
    )


def test_a_layer_without_forward_or_backward():
    assert_refused(
        "Layer must define forward(x, *, training=False, rng=None) → (y, cache)",
        Layer().forward,
        np.ones((1, 1)),
        error=NotImplementedError,
    )
    assert_refused(
        "Layer must define backward(dy, cache) → (dx, gradients by name)",
        Layer().backward,
        np.ones((1, 1)),
        None,
        error=NotImplementedError,
    )


# -------------------------------------------------------------------------------------------------------------- weights


@pytest.mark.parametrize(
    ("weights", "text"),
    [
        ([], "Dense 'out' has 2 weight arrays (kernel, bias), received 0."),
        ([np.full((3, 2), 9.0)], "Dense 'out' has 2 weight arrays (kernel, bias), received 1."),
        ([np.full((3, 2), 9.0), np.full(2, 9.0), 1], "Dense 'out' has 2 weight arrays (kernel, bias), received 3."),
        ([np.full((3, 2), 9.0), np.full(3, 9.0)], "Dense 'out': the weight 'bias' has shape (2,), received (3,)."),
        ([np.full((3, 2), 9.0), 9.0], "Dense 'out': the weight 'bias' has shape (2,), received ()."),
        (
            [np.full((2, 3), 9.0), np.full(2, 9.0)],
            "Dense 'out': the weight 'kernel' has shape (3, 2), received (2, 3).",
        ),
        ([np.full((3, 2), 9.0), np.full(2, 9j)], "Dense 'out': the weight 'bias' is float64, received complex128."),
        ([np.full((3, 2), "9"), np.full(2, 9.0)], "Dense 'out': the weight 'kernel' is float64, received <U1."),
    ],
)
def test_weights_that_do_not_fit_change_nothing(weights, text):
    layer = built(Dense(2, name="out", bias_initializer="ones"), (3,))
    before = layer.get_weights()
    assert_refused(text, layer.set_weights, weights)
    for value, old in zip(layer.get_weights(), before, strict=True):
        np.testing.assert_array_equal(value, old)


def test_a_layer_without_a_name_says_its_type():
    layer = built(Conv2D(2, 3), (3, 3, 1))
    assert_refused("Conv2D has 2 weight arrays (kernel, bias), received 0.", layer.set_weights, [])


def test_weights_are_copied_in_and_out():
    layer = built(Dense(2), (3,))
    kernel, bias = layer.params["kernel"], layer.params["bias"]
    given = [np.arange(6.0).reshape(3, 2), np.array([7, 8])]
    layer.set_weights(given)
    assert layer.params["kernel"] is kernel  # in place: whoever holds the array sees the new values
    assert layer.params["bias"] is bias
    assert bias.dtype == np.float64
    for value in (*given, *layer.get_weights()):
        value[...] = -1
    np.testing.assert_array_equal(kernel, [[0, 1], [2, 3], [4, 5]])
    np.testing.assert_array_equal(bias, [7, 8])
    assert layer.count_params() == 8
    assert Flatten().get_weights() == []


# ------------------------------------------------------------------------------------------- initializers of a user's own


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_parameters_are_new_contiguous_arrays_of_the_dtype_whatever_an_initializer_returns(dtype):
    """Optimizers change parameters in place: a shared or a transposed array would be changed wrongly, or not at all."""
    kernel = np.arange(6).reshape(2, 3).T
    layer = Dense(
        2, kernel_initializer=lambda shape, rng, dtype: kernel, bias_initializer=lambda shape, rng, dtype: [1, 2]
    )
    layer.build((3,), np.random.default_rng(0), np.dtype(dtype))
    assert layer.params["kernel"].dtype == layer.params["bias"].dtype == dtype
    assert layer.params["kernel"].flags.c_contiguous
    layer.params["kernel"][...] = 7
    np.testing.assert_array_equal(kernel, [[0, 3], [1, 4], [2, 5]])


def test_an_initializer_that_returns_another_shape():
    def wide(shape, rng, dtype):
        return np.zeros((1, *shape), dtype)

    for layer, shape, expected in (
        (Dense(2, kernel_initializer=wide), (3,), (3, 2)),
        (Conv2D(2, 3, bias_initializer=wide), (3, 3, 1), (2,)),
    ):
        assert_refused(
            f"the initializer wide must return an array of shape {expected}, received {(1, *expected)}.",
            build,
            layer,
            shape,
        )


@pytest.mark.parametrize(
    ("layer", "shape"), [(Dense, (4,)), (lambda n, **settings: Conv2D(n, 3, **settings), (5, 5, 1))]
)
def test_a_random_bias_follows_from_the_generator(layer, shape):
    one, two = (built(layer(6, bias_initializer="random_normal"), shape).params["bias"] for _ in range(2))
    np.testing.assert_array_equal(one, two)
    assert len(set(one)) == 6
