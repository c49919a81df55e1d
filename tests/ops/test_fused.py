"""The engine's fused kernels against the plain operations that they stand for, one after the other."""

import numba
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from support import assert_close

from minidl.ops import reference
from minidl.ops.kernels import vector
from minidl.ops.kernels.fused import (
    BLOCK,
    CUT,
    DOWN,
    TAPS,
    conv_pool_backward,
    conv_pool_dkernel,
    conv_pool_dkernel_narrow,
    conv_pool_forward,
    narrow,
    whole_blocks,
)

STRIDES, POOL = (1, 1), (2, 2)


def plain_forward(x, kernel, bias, relu):
    z = reference.conv2d_forward(x, kernel, bias, STRIDES, "valid")
    a = reference.relu_forward(z) if relu else z
    return a, *reference.max_pool2d_forward(a, POOL, POOL, "valid")


def as_lanes(place):
    """From where in its window an entry stands, counted row by row, to the index of the fused kernels."""
    return place // 2 * DOWN + place % 2


def plain_backward(dy, place, a, x, kernel, relu):
    da = reference.max_pool2d_backward(dy, place, a.shape, POOL, POOL, "valid")
    return reference.conv2d_backward(reference.relu_backward(da, a) if relu else da, x, kernel, STRIDES, "valid")


def fused_forward(x, kernel, bias, relu):
    height, width, channels, filters = kernel.shape
    n, rows, columns = len(x), (x.shape[1] - height + 1) // 2, (x.shape[2] - width + 1) // 2
    y = np.full((n, rows, columns, filters), np.nan, x.dtype)
    blocks = whole_blocks(kernel.reshape(height, width * channels, filters))
    index = np.full((n, rows, columns, blocks.shape[2]), 99, np.uint8)
    conv_pool_forward(x, blocks, whole_blocks(bias), relu, y, index)
    return y, index


@st.composite
def problems(draw):
    """x, kernel, bias, relu and dy; small whole numbers, so that ties and zeros happen and no sum is rounded."""
    window = draw(st.integers(1, 3)), draw(st.integers(1, 6))
    channels, filters = draw(st.sampled_from([1, 1, 2, 5, 9])), draw(st.sampled_from([1, 3, 15, 16, 33]))
    height, width = window[0] + draw(st.integers(1, 5)), window[1] + draw(st.integers(1, 5))
    n = draw(st.integers(1, 3))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))

    def whole_numbers(*shape):
        return rng.integers(-3, 4, shape).astype(np.float32)

    x, kernel = whole_numbers(n, height, width, channels), whole_numbers(*window, channels, filters)
    dy = whole_numbers(n, (height - window[0] + 1) // 2, (width - window[1] + 1) // 2, filters)
    return x, kernel, whole_numbers(filters), draw(st.booleans()), dy


@settings(max_examples=40)
@given(problems())
def test_forward(problem):
    x, kernel, bias, relu, _ = problem
    y, index = fused_forward(x, kernel, bias, relu)
    _, expected, place = plain_forward(x, kernel, bias, relu)
    np.testing.assert_array_equal(y, expected, strict=True)
    cut = (expected == 0) & relu
    np.testing.assert_array_equal(index[..., : kernel.shape[3]], np.where(cut, CUT, as_lanes(place)))


@settings(max_examples=40)
@given(problems())
def test_all_ways_backward(problem):
    x, kernel, bias, relu, dy = problem
    height, width, channels, filters = kernel.shape
    _, index = fused_forward(x, kernel, bias, relu)
    a, _, place = plain_forward(x, kernel, bias, relu)
    dx, dkernel, dbias = plain_backward(dy, place, a, x, kernel, relu)

    for by_lanes in [conv_pool_dkernel, *([conv_pool_dkernel_narrow] if narrow(width, channels) else [])]:
        blocks, sums = (
            whole_blocks(np.zeros((*shape, filters), x.dtype)) for shape in ((height, width * channels), ())
        )
        by_lanes(dy, index, x, blocks, sums)
        np.testing.assert_array_equal(blocks[..., :filters].reshape(kernel.shape), dkernel)
        np.testing.assert_array_equal(sums[:filters], dbias)
        assert not blocks[..., filters:].any(), "a filter that is not there has no gradient"

    by_filter = np.ascontiguousarray(np.moveaxis(kernel, 3, 0)).reshape(filters, height, width * channels)
    fast_dx, dby_filter, sums = np.zeros_like(x), np.zeros_like(by_filter), np.zeros(filters, x.dtype)
    conv_pool_backward(dy, index, x, by_filter, fast_dx, dby_filter, sums)
    np.testing.assert_array_equal(fast_dx, dx)
    np.testing.assert_array_equal(np.moveaxis(dby_filter.reshape(filters, height, width, channels), 0, 3), dkernel)
    np.testing.assert_array_equal(sums, dbias)


def test_numbers_that_are_rounded():
    rng = np.random.default_rng(0)
    x, kernel, bias = (rng.normal(size=shape).astype(np.float32) for shape in [(2, 9, 9, 30), (3, 3, 30, 15), (15,)])
    assert_close(fused_forward(x, kernel, bias, True)[0], plain_forward(x, kernel, bias, True)[1])


@pytest.mark.parametrize("relu", [False, True])
@pytest.mark.parametrize("where", [(0, 0), (1, 2), (3, 3)])
def test_a_nan_is_not_hidden(relu, where):
    """It wins in its pool's window, and the ReLU lets it through."""
    x = np.random.default_rng(1).normal(size=(1, 4, 4, 1)).astype(np.float32)
    x[0, *where, 0] = np.nan
    one = np.ones((1, 1, 1, 2), np.float32)
    y, index = fused_forward(x, one, np.zeros(2, np.float32), relu)
    _, expected, place = plain_forward(x, one, np.zeros(2, np.float32), relu)
    np.testing.assert_array_equal(y, expected)
    nan = np.isnan(expected)
    assert nan.sum() == 2
    np.testing.assert_array_equal(index[..., :2][nan], as_lanes(place)[nan])


def test_infinities_win_and_lose():
    x = np.array([[-np.inf, 1], [np.inf, 2]], np.float32)[None, :, :, None]
    # as many filters as a block: an infinity times the zeros of filters that are not there would make NumPy warn
    y, index = fused_forward(x, np.ones((1, 1, 1, BLOCK), np.float32), np.zeros(BLOCK, np.float32), True)
    assert (y == np.inf).all()
    assert (index == DOWN).all()


def test_the_narrow_way_is_for_one_channel_and_windows_that_fit_its_sums_and_a_register():
    assert not narrow(3, 2)
    assert not narrow(TAPS + 1, 1)
    assert not narrow(vector.HALF, 1)
    assert narrow(3, 1) == (vector.TAKE is not None)


def test_without_an_instruction_lanes_are_taken_one_by_one(monkeypatch):
    @numba.njit
    def taken(numbers, lanes, out):
        vector.store(out, 0, vector.take(vector.load(numbers, 0), vector.after(vector.places(lanes, 0), 1)))

    monkeypatch.setattr(vector, "TAKE", None)
    rng = np.random.default_rng(0)
    numbers, out = rng.normal(size=(2, vector.LANES)).astype(np.float32)
    lanes = rng.integers(0, vector.LANES, vector.LANES).astype(np.uint8)
    taken(numbers, lanes, out)
    np.testing.assert_array_equal(out, numbers[(lanes + 1) % vector.LANES])


@given(st.integers(0, 2**32 - 1))
@example(0)
def test_a_vector_is_a_numpy_array_of_its_lanes(seed):
    """The functions that Numba has code for, called without it."""
    a, b, c = np.random.default_rng(seed).integers(-2, 3, (3, vector.LANES)).astype(np.float32)
    long = np.concatenate([a, b, c])
    np.testing.assert_array_equal(vector.load(long, 3), long[3 : 3 + vector.LANES])
    np.testing.assert_array_equal(vector.spread(long, 5), vector.fill(long[5]))
    np.testing.assert_array_equal(vector.multiply_add(a, b, c), a * b + c)
    np.testing.assert_array_equal(vector.choose(vector.beats(a, b), a, b), np.maximum(a, b))
    np.testing.assert_array_equal(vector.choose(vector.equal(a, b), c, a), np.where(a == b, c, a))
    rising = np.arange(2 * vector.LANES, dtype=np.uint8)
    place = vector.after(vector.places(rising, 1), 2)
    np.testing.assert_array_equal(vector.take(vector.load(long, 0), place), np.roll(a, -3))
    halves = np.concatenate([a[1 : 1 + vector.HALF], b[: vector.HALF]])
    np.testing.assert_array_equal(vector.pair(long, 1, vector.LANES), halves)
    vector.copy(long, 0, long, 2 * vector.LANES, 3)
    np.testing.assert_array_equal(long, [*a, *b, *a[:3], *c[3:]])
    vector.store(long, 1, c)
    np.testing.assert_array_equal(long[1 : 1 + vector.LANES], c)
