"""Two complete sets of operations, one contract: the same names, signatures, values, NaNs, masks and updates.

That the reference is right is shown elsewhere, by loops and differences; here that the fast set is the reference.
"""

import inspect
import math
import types

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from support import TOLERANCE, assert_close, copied

from minidl.layers import activation
from minidl.ops import OPERATIONS, kernels, reference
from minidl.ops.random import RandomKey

DTYPES = [np.float32, np.float64]
ELEMENTWISE = ["relu", "leaky_relu", "sigmoid", "tanh", "softmax"]

both_dtypes = pytest.mark.parametrize("dtype", DTYPES)
both_sets = pytest.mark.parametrize("ops", OPERATIONS.values(), ids=OPERATIONS)
seeds = st.integers(0, 2**32 - 1)


def public(module):
    """The module's own functions; not what it imports to work with."""
    return {
        name: value
        for name, value in vars(module).items()
        if isinstance(value, types.FunctionType)
        and not name.startswith("_")
        and value.__module__.startswith((reference.__name__, kernels.__name__))
    }


# --------------------------------------------------------------------------------------------------- names and signatures


def test_the_sets_have_the_same_names():
    assert set(public(kernels)) == set(public(reference)) == set(kernels.__all__)
    assert list(OPERATIONS.items()) == [("kernels", kernels), ("reference", reference)]


@pytest.mark.parametrize("name", kernels.__all__)
def test_signatures_are_equal(name):
    assert inspect.signature(getattr(kernels, name)) == inspect.signature(getattr(reference, name))


def test_every_operation_is_compared_below():
    compared = {"dense_forward", "dense_backward", "conv2d_forward", "conv2d_backward", "dropout"}
    compared |= {"conv2d_transpose_forward", "conv2d_transpose_backward", "gelu_forward", "gelu_backward"}
    compared |= {"elastic_places", "resample_forward", "resample_backward", "average_update"}
    compared |= {"max_pool2d_forward", "max_pool2d_backward", *UPDATES}
    compared |= {f"batch_norm_{what}" for what in ("sums", "forward", "backward_sums", "backward")}
    compared |= {f"{name}_{way}" for name in ELEMENTWISE for way in ("forward", "backward")}
    the_same = {name for name in kernels.__all__ if getattr(kernels, name) is getattr(reference, name)}
    assert compared | the_same == set(kernels.__all__)


# ------------------------------------------------------------------------------------------------------------- comparing


def normal(seed, *shape):
    """Standard normal numbers, exact in float32, so that both dtypes get the same input."""
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def in_layout(array, layout):
    """The same values: contiguous, column by column, as every second entry of a larger array, or read backwards."""
    if layout == "columns first":
        return np.asfortranarray(array)
    if layout == "every second":
        larger = np.full([2 * size for size in array.shape], np.nan if array.dtype.kind == "f" else 0, array.dtype)
        within = larger[tuple(slice(1, None, 2) for _ in array.shape)]
        within[...] = array
        return within
    if layout == "backwards":
        backwards = tuple(slice(None, None, -1) for _ in array.shape)
        return np.ascontiguousarray(array[backwards])[backwards]
    return np.ascontiguousarray(array)


layouts = st.sampled_from(["contiguous", "columns first", "every second", "backwards"])


def compare(name, *args):
    """Call the operation of both sets; equal values, dtypes and shapes, fresh results, arguments as they were."""
    results, before = [], copied(args)
    for ops in (kernels, reference):
        result = getattr(ops, name)(*args)
        result = result if isinstance(result, tuple) else (result,)
        for argument, old in zip(args, before, strict=True):
            if isinstance(argument, np.ndarray):
                np.testing.assert_array_equal(argument, old, strict=True)
                assert not any(np.shares_memory(argument, value) for value in result)
        results.append(result)
    for fast, plain in zip(*results, strict=True):
        assert fast.dtype == plain.dtype
        if fast.dtype.kind == "f":
            assert fast.dtype == args[0].dtype
            assert_close(fast, plain)
        else:
            np.testing.assert_array_equal(fast, plain, strict=True)
    return results[0]


@both_dtypes
@given(
    n=st.integers(1, 5), d=st.integers(1, 9), units=st.integers(1, 9), bias=st.booleans(), seed=seeds, layout=layouts
)
def test_dense(dtype, n, d, units, bias, seed, layout):
    x, kernel, b, dy = (
        in_layout(normal([seed, i], *shape).astype(dtype), layout)
        for i, shape in enumerate([(n, d), (d, units), (units,), (n, units)])
    )
    compare("dense_forward", x, kernel, b if bias else None)
    compare("dense_backward", dy, x, kernel)


@both_dtypes
@given(
    shape=st.lists(st.integers(1, 6), min_size=2, max_size=4),
    scale=st.booleans(),
    center=st.booleans(),
    seed=seeds,
    layout=layouts,
)
def test_batch_normalization(dtype, shape, scale, center, seed, layout):
    x, dy = (in_layout(normal([seed, i], *shape).astype(dtype), layout) for i in (0, 1))
    mean, gamma, beta, of_mean, of_variance = normal([seed, 2], 5, shape[-1]).astype(dtype)
    inverse = np.abs(normal([seed, 3], shape[-1]).astype(dtype)) + dtype(0.1)
    given = gamma if scale else None
    compare("batch_norm_forward", x, mean, inverse, given, beta if center else None)
    compare("batch_norm_backward", dy, x, mean, inverse, given, of_mean, of_variance)
    for name, arguments in (("batch_norm_sums", (x,)), ("batch_norm_backward_sums", (dy, x, mean, inverse))):
        fast, plain = (getattr(ops, name)(*arguments) for ops in (kernels, reference))
        assert fast.dtype == plain.dtype == np.float64
        np.testing.assert_allclose(fast, plain, **TOLERANCE[np.dtype(dtype)])


@st.composite
def geometry(draw, most):
    """(window, strides, padding, (height, width)): also "same" with strides, and windows larger than a padded image."""
    window = draw(st.tuples(st.integers(1, most), st.integers(1, most)))
    strides = draw(st.tuples(st.integers(1, 4), st.integers(1, 4)))
    padding = draw(st.sampled_from(["valid", "same"]))
    least = window if padding == "valid" else (1, 1)
    return window, strides, padding, tuple(draw(st.integers(size, size + 7)) for size in least)


@both_dtypes
@settings(max_examples=60)
@given(
    where=geometry(most=5),
    n=st.integers(1, 3),
    channels=st.integers(1, 4),
    filters=st.integers(1, 5),
    bias=st.booleans(),
    seed=seeds,
    layout=layouts,
)
def test_convolution(dtype, where, n, channels, filters, bias, seed, layout):
    window, strides, padding, size = where
    # The sums have up to 3 · 12 · 12 terms: dividing by 4 keeps the results of the size of 1, which the tolerances are for.
    x, kernel, b = (
        in_layout((normal([seed, i], *shape) / 4).astype(dtype), layout)
        for i, shape in enumerate([(n, *size, channels), (*window, channels, filters), (filters,)])
    )
    (y,) = compare("conv2d_forward", x, kernel, b if bias else None, strides, padding)
    dy = in_layout(normal([seed, 3], *y.shape).astype(dtype), layout)
    compare("conv2d_backward", dy, x, kernel, strides, padding)


@both_dtypes
@settings(max_examples=60)
@given(
    where=geometry(most=4),
    n=st.integers(1, 3),
    channels=st.integers(1, 4),
    filters=st.integers(1, 5),
    bias=st.booleans(),
    seed=seeds,
    layout=layouts,
)
def test_transposed_convolution(dtype, where, n, channels, filters, bias, seed, layout):
    window, strides, padding, size = where
    x, kernel, b = (
        in_layout((normal([seed, i], *shape) / 4).astype(dtype), layout)
        for i, shape in enumerate([(n, *size, channels), (*window, filters, channels), (filters,)])
    )
    (y,) = compare("conv2d_transpose_forward", x, kernel, b if bias else None, strides, padding)
    dy = in_layout((normal([seed, 3], *y.shape) / 4).astype(dtype), layout)
    compare("conv2d_transpose_backward", dy, x, kernel, strides, padding)


@both_dtypes
@pytest.mark.parametrize(
    ("shape", "window", "filters", "strides", "padding"),
    [
        ((23, 28, 28, 1), (5, 5), 32, (1, 1), "valid"),
        ((21, 12, 12, 30), (3, 3), 15, (1, 1), "valid"),
        ((9, 14, 14, 32), (3, 3), 64, (1, 1), "same"),
        ((33, 28, 28, 1), (3, 3), 17, (2, 2), "same"),
        ((11, 28, 28, 3), (5, 5), 16, (2, 3), "valid"),
        ((1, 60, 60, 16), (7, 7), 8, (1, 1), "same"),
    ],
)
def test_convolution_of_real_sizes(dtype, shape, window, filters, strides, padding):
    """Batches of several tiles with a rest, and one image that is larger than a tile."""
    x, kernel = normal(0, *shape), normal(1, *window, shape[3], filters)
    dy_size = math.prod(shape[:3]) / math.prod(strides)
    fan_in = math.prod(window) * shape[3]
    x, kernel, bias = x.astype(dtype), (kernel / fan_in**0.5).astype(dtype), normal(2, filters).astype(dtype)
    (y,) = compare("conv2d_forward", x, kernel, bias, strides, padding)
    # dkernel and dbias are sums of dy_size terms: this scale makes them, too, of the size of 1.
    dy = (normal(3, *y.shape) / dy_size**0.5).astype(dtype)
    compare("conv2d_backward", dy, x, kernel, strides, padding)


@both_dtypes
@settings(max_examples=60)
@given(
    where=geometry(most=4),
    n=st.integers(1, 3),
    channels=st.integers(1, 5),
    ties=st.booleans(),
    seed=seeds,
    layout=layouts,
)
def test_max_pooling(dtype, where, n, channels, ties, seed, layout):
    pool_size, strides, padding, size = where
    x = normal(seed, n, *size, channels)
    x = in_layout((np.round(x) if ties else x).astype(dtype) - 5, layout)  # negative: zeros as padding would win
    y, index = compare("max_pool2d_forward", x, pool_size, strides, padding)
    assert index.dtype == np.int32
    dy = in_layout(normal([seed, 1], *y.shape).astype(dtype), layout)
    compare("max_pool2d_backward", dy, in_layout(index, layout), x.shape, pool_size, strides, padding)


@both_dtypes
@pytest.mark.parametrize("name", ELEMENTWISE)
@given(shape=st.lists(st.integers(1, 5), min_size=2, max_size=4), seed=seeds, layout=layouts)
def test_activations(name, dtype, shape, seed, layout):
    x = in_layout((4 * normal(seed, *shape)).astype(dtype), layout)
    (y,) = compare(f"{name}_forward", x)
    dy = in_layout(normal([seed, 1], *shape).astype(dtype), layout)
    compare(f"{name}_backward", dy, in_layout(y, layout))


@both_dtypes
@given(shape=st.lists(st.integers(1, 5), min_size=2, max_size=4), seed=seeds, layout=layouts)
def test_gelu(dtype, shape, seed, layout):
    x, dy = (in_layout((4 * normal([seed, i], *shape)).astype(dtype), layout) for i in (0, 1))
    compare("gelu_forward", x)
    compare("gelu_backward", dy, x)


# ------------------------------------------------------------------------------------------------- NaN and extreme values


@both_sets
@both_dtypes
def test_nan_is_not_hidden_by_relu(dtype, ops):
    """Nor by leaky ReLU. In backward there is nothing to see: nan > 0 is false, so the slope is the left one."""
    x = np.array([[np.nan, -1, 2, np.inf, -np.inf]], dtype)
    np.testing.assert_array_equal(ops.relu_forward(x), np.array([[np.nan, 0, 2, np.inf, 0]], dtype), strict=True)
    expected = np.array([[np.nan, dtype(0.2) * dtype(-1), 2, np.inf, -np.inf]], dtype)
    np.testing.assert_array_equal(ops.leaky_relu_forward(x), expected, strict=True)
    dy = np.array([[1, 2, np.nan, 3, 4]], dtype)
    np.testing.assert_array_equal(ops.relu_backward(dy, x), np.array([[0, 0, np.nan, 3, 0]], dtype), strict=True)


@both_sets
@both_dtypes
@pytest.mark.parametrize("padding", ["valid", "same"])
def test_nan_wins_in_max_pooling_wherever_it_stands(dtype, padding, ops):
    for place in np.ndindex(2, 2):
        x = np.array([[5, 9], [7, 8]], dtype)
        x[place] = np.nan
        y, index = ops.max_pool2d_forward(x[None, :, :, None], (2, 2), (2, 2), padding)
        assert np.isnan(y.item())
        assert index.item() == 2 * place[0] + place[1]
    x = np.array([[1, np.nan], [np.nan, 8]], dtype)  # of two, the first
    assert ops.max_pool2d_forward(x[None, :, :, None], (2, 2), (2, 2), padding)[1].item() == 1


@both_dtypes
@settings(max_examples=40)
@given(where=geometry(most=3), seed=seeds)
def test_nan_and_infinity_in_max_pooling(dtype, where, seed):
    pool_size, strides, padding, size = where
    random = np.random.default_rng(seed)
    x = random.choice(np.array([np.nan, np.inf, 1, 2, 3, 4], dtype), size=(2, *size, 2))
    y, index = compare("max_pool2d_forward", x, pool_size, strides, padding)
    compare("max_pool2d_backward", normal(seed, *y.shape).astype(dtype), index, x.shape, pool_size, strides, padding)


@both_sets
@both_dtypes
def test_padding_never_wins_even_over_minus_infinity(dtype, ops):
    """One cell, window 3×3: the maximum is the cell in the middle, place 4, and the gradient comes back to it."""
    x = np.full((1, 1, 1, 1), -np.inf, dtype)
    _, index = ops.max_pool2d_forward(x, (3, 3), (1, 1), "same")
    assert index.item() == 4
    dx = ops.max_pool2d_backward(np.ones_like(x), index, x.shape, (3, 3), (1, 1), "same")
    assert dx.item() == 1


@both_sets
@both_dtypes
@pytest.mark.parametrize("operation", ["dense", "conv2d"])
def test_nan_is_not_hidden_by_products(operation, dtype, ops):
    """A NaN in one sample makes all of its outputs NaN, and no other sample's; also where the weight is 0."""
    x = np.ones((3, 4, 4, 2), dtype)
    x[1, 2, 2, 0] = np.nan
    if operation == "dense":
        y = ops.dense_forward(x.reshape(3, -1), np.zeros((32, 5), dtype), None)
    else:
        y = ops.conv2d_forward(x, np.zeros((3, 3, 2, 5), dtype), None, (1, 1), "valid")
    assert np.isnan(y[1]).all()
    assert (y[[0, 2]] == 0).all()


@both_sets
@both_dtypes
def test_extreme_values_by_hand(dtype, ops):
    """Neither overflows, warns (warnings are errors here) nor gives NaN; what is too small for the dtype becomes 0."""
    x = np.array([[-1e4, 0, 1e4]], dtype)
    np.testing.assert_array_equal(ops.sigmoid_forward(x), np.array([[0, 0.5, 1]], dtype), strict=True)
    np.testing.assert_array_equal(ops.tanh_forward(x), np.array([[-1, 0, 1]], dtype), strict=True)
    np.testing.assert_array_equal(ops.softmax_forward(x), np.array([[0, 0, 1]], dtype), strict=True)
    same = np.array([[1e4, 1e4], [-1e4, -1e4]], dtype)
    np.testing.assert_array_equal(ops.softmax_forward(same), np.full((2, 2), 0.5, dtype), strict=True)
    largest = np.finfo(dtype).max
    np.testing.assert_array_equal(ops.sigmoid_forward(np.array([[-largest, largest]])), np.array([[0, 1]], dtype))
    for name in ("sigmoid", "tanh", "softmax"):
        y = getattr(ops, f"{name}_forward")(x)
        np.testing.assert_array_equal(getattr(ops, f"{name}_backward")(np.ones_like(x), y)[:, [0, 2]], [[0, 0]])


NAMES = sorted(activation.ACTIVATIONS.keys() - {"linear"})


@both_sets
@both_dtypes
@pytest.mark.parametrize("name", NAMES)
def test_no_activation_overflows_or_hides_nan(name, dtype, ops):
    """Of ±10⁴ every one is finite, and so is its slope, without a warning. (gelu_backward's density is 0 there.)"""
    x = np.array([[-1e4, -100, 0, 100, 1e4]], dtype)
    y = getattr(ops, f"{name}_forward")(x)
    dx = getattr(ops, f"{name}_backward")(np.ones_like(x), x if name in activation.OF_X else y)
    assert np.isfinite(y).all()
    assert np.isfinite(dx).all()
    assert y.dtype == dx.dtype == dtype
    assert np.isnan(getattr(ops, f"{name}_forward")(np.full((1, 2), np.nan, dtype))).all()


@both_sets
@pytest.mark.parametrize("dtype", [np.uint8, np.int8, np.int64, bool])
@pytest.mark.parametrize("name", NAMES)
def test_activations_of_integers_are_those_of_floats(name, dtype, ops):
    """uint8 would wrap around, bool has no minus."""
    x = np.array([[0, 1, 3], [1, 0, 1]]).astype(dtype)
    floats, forward, backward = x.astype(np.float32), getattr(ops, f"{name}_forward"), getattr(ops, f"{name}_backward")
    y = forward(x)
    np.testing.assert_array_equal(y, forward(floats), strict=True)
    kept = (x, floats) if name in activation.OF_X else (y, y)
    np.testing.assert_array_equal(backward(x, kept[0]), backward(floats, kept[1]), strict=True)


@both_sets
def test_small_probabilities_keep_their_digits(ops):
    """sigmoid(−30) = e^−30 / (1 + e^−30) = 9.357622968839299e-14: as 1 − sigmoid(30) it would keep three digits."""
    expected = pytest.approx(9.357622968839299e-14, rel=1e-14, abs=0)
    assert ops.sigmoid_forward(np.array([[-30.0]])).item() == expected
    assert ops.softmax_forward(np.array([[0.0, -30.0]]))[0, 1] == expected


# --------------------------------------------------------------------------------------------------------------- dropout


@both_dtypes
@settings(max_examples=60)
@given(
    shape=st.lists(st.integers(1, 6), min_size=2, max_size=4),
    rate=st.sampled_from([1e-6, 0.2, 0.5, 0.75, 0.999999]) | st.floats(0, 0.99),
    key=st.integers(0, 2**64 - 1),
    first=st.integers(0, 2**40),
    seed=seeds,
    layout=layouts,
)
def test_dropout_is_the_same_to_the_bit(dtype, shape, rate, key, first, seed, layout):
    x = in_layout(normal(seed, *shape).astype(dtype), layout)
    fast, plain = (ops.dropout(x, rate, RandomKey(key, first)) for ops in (kernels, reference))
    np.testing.assert_array_equal(fast, plain, strict=True)
    assert fast.dtype == dtype
    assert not np.shares_memory(fast, x)


def test_dropout_of_many_features_is_the_same_to_the_bit():
    """More than 2^16 features, where a product of 32-bit numbers leaves 32 bits."""
    x = np.ones((2, 70_000), np.float32)
    fast, plain = (ops.dropout(x, 0.5, RandomKey(2**64 - 1, 3)) for ops in (kernels, reference))
    np.testing.assert_array_equal(fast, plain, strict=True)


def test_dropout_takes_the_same_32_bits_and_keeps_the_entry_that_equals_the_threshold():
    """The largest rate at which an entry is still kept is its 32 random bits over 2^32: found bit by bit, alike in both sets."""
    x = np.ones((4, 3))
    for ops in (kernels, reference):
        for n, d in np.ndindex(x.shape):
            bits = 0
            for bit in reversed(range(32)):
                higher = bits | 1 << bit
                if ops.dropout(x, higher / 2**32, RandomKey(5, 0))[n, d] != 0:
                    bits = higher
            for other in (kernels, reference):
                assert other.dropout(x, bits / 2**32, RandomKey(5, 0))[n, d] != 0
                assert other.dropout(x, (bits + 1) / 2**32, RandomKey(5, 0))[n, d] == 0


@both_sets
def test_a_key_counts_modulo_2_to_the_64(ops):
    masks = [ops.dropout(np.ones((2, 50)), 0.5, RandomKey(key, 1)) for key in (7, 7 + 2**64, 7 + 5 * 2**64)]
    np.testing.assert_array_equal(masks[0], masks[1])
    np.testing.assert_array_equal(masks[0], masks[2])


@both_sets
def test_dropout_of_a_nan(ops):
    """What is dropped is 0, also a NaN; what is kept keeps it."""
    key = RandomKey(3, 0)
    kept = ops.dropout(np.ones((1, 100)), 0.5, key) != 0
    np.testing.assert_array_equal(np.isnan(ops.dropout(np.full((1, 100), np.nan), 0.5, key)), kept)
    assert 0 < kept.sum() < 100


# -------------------------------------------------------------------------------------------------------------- optimizers

UPDATES = {
    "sgd_update": (0, [(0.1,), (1e-3,)]),
    "momentum_update": (1, [(0.1, 0.9, False), (0.01, 0.5, True)]),
    "rmsprop_update": (1, [(1e-3, 0.9, 1e-7), (0.1, 0.5, 0.25)]),
    "adam_update": (2, [(1e-3, 0.9, 0.999, 1e-7), (0.1, 0.5, 0.75, 1.0)]),
}  # name: (how many arrays of state, settings)


@both_dtypes
@given(
    size=st.tuples(st.integers(1, 7), st.integers(1, 7), st.integers(1, 3)),
    n=st.integers(0, 3),
    interpolation=st.sampled_from(["bilinear", "nearest"]),
    fill_mode=st.sampled_from(["reflect", "wrap", "nearest", "constant"]),
    seed=seeds,
    layout=layouts,
)
def test_resampling(dtype, size, n, interpolation, fill_mode, seed, layout):
    """At places as far outside as three images, on pixels and halfway between them too."""
    x, dy = (in_layout(normal([seed, i], n, *size).astype(dtype), layout) for i in (0, 1))
    places = np.random.default_rng(seed).integers(-24, 48, (n, 2, *size[:2])) / 2 + normal([seed, 2], n, 2, 1, 1).round(
        1
    )
    compare("resample_forward", x, in_layout(places, layout), interpolation, fill_mode, 0.5)
    compare("resample_backward", dy, in_layout(places, layout), interpolation, fill_mode)


@given(size=st.tuples(st.integers(1, 30), st.integers(1, 30)), n=st.integers(0, 3), seed=seeds, layout=layouts)
def test_elastic_places(size, n, seed, layout):
    """Windows of one cell up to nine, and images that are left alone."""
    random = np.random.default_rng(seed)
    strength = random.uniform(0, 1, n) * random.integers(0, 2, n)
    compare("elastic_places", in_layout(random.normal(size=(n, 2, *size)), layout), strength)


@both_dtypes
@given(
    shape=st.lists(st.integers(1, 12), min_size=1, max_size=3), momentum=st.sampled_from([0.0, 0.75, 0.999]), seed=seeds
)
def test_average_update(dtype, shape, momentum, seed):
    sets = []
    for ops in (kernels, reference):
        average, param = (normal([seed, i], *shape).astype(dtype) for i in (0, 1))
        assert ops.average_update(average, param, momentum) is None
        np.testing.assert_array_equal(param, normal([seed, 1], *shape))
        sets.append(average)
    assert_close(*sets)


@both_dtypes
@pytest.mark.parametrize("name", UPDATES)
@given(shape=st.lists(st.integers(1, 40), min_size=1, max_size=3), seed=seeds)
def test_updates(name, dtype, shape, seed):
    """Three steps, so that the state counts. All arguments but the gradient are changed, and by the same numbers."""
    assume(math.prod(shape) < 3000)
    states, settings_ = UPDATES[name]
    for values in settings_:
        start = [normal([seed, i], *shape).astype(dtype) for i in range(1 + states)]
        start[1:] = [np.abs(state) for state in start[1:]]  # mean squares are not negative
        sets = []
        for ops in (kernels, reference):
            param, *state = (array.copy() for array in start)
            for step in range(3):
                grad = normal([seed, 10 + step], *shape).astype(dtype)
                before = grad.copy()
                assert getattr(ops, name)(param, grad, *state, *values) is None
                np.testing.assert_array_equal(grad, before)
            assert {array.dtype for array in (param, *state)} == {np.dtype(dtype)}
            sets.append([param, *state])
        for fast, plain, old in zip(*sets, start, strict=True):
            assert not np.array_equal(fast, old)
            assert_close(fast, plain)


@pytest.mark.parametrize("name", UPDATES)
def test_the_arrays_that_are_changed_must_be_contiguous(name):
    """A copy would take the update and be lost; a gradient is only read, so it may have any layout."""
    states, values = UPDATES[name]
    apart, whole = np.zeros((4, 6))[:, ::2], np.zeros((4, 3))
    grad = in_layout(normal(0, 4, 3).astype(np.float64), "columns first")
    for position in range(1 + states):
        changed = [whole.copy() for _ in range(1 + states)]
        changed[position] = apart
        with pytest.raises(
            ValueError, match=r"needs them C-contiguous, received shape \(4, 3\) with strides \(48, 16\)"
        ):
            getattr(kernels, name)(changed[0], grad, *changed[1:], *values[0])
        assert not apart.any()
    results = []
    for ops in (kernels, reference):
        changed = [whole.copy() for _ in range(1 + states)]
        getattr(ops, name)(changed[0], grad, *changed[1:], *values[0])
        results.append(changed[0])
    np.testing.assert_allclose(*results, **TOLERANCE[np.dtype(np.float64)])
    assert results[0].any()


@both_sets
def test_a_gradient_for_the_padding_is_left_out(ops):
    """The library's own forward never points there; a layer of somebody else's may, and must not write outside of dx."""
    dy = np.ones((1, 2, 2, 1))
    index = np.array([0, 2, 6, 8], np.int32).reshape(1, 2, 2, 1)  # the corners of 3×3 windows around a 2×2 image
    dx = ops.max_pool2d_backward(dy, index, (1, 2, 2, 1), (3, 3), (1, 1), "same")
    assert (dx == 0).all()
