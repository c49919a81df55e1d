"""The engine's convolutions against the plain operations that they stand for, and the blocks they are made of."""

import numba
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support import assert_close

from minidl.ops import reference
from minidl.ops.kernels import addresses, blocks, direct, vector
from minidl.ops.kernels.loops import CUT, all_finite

POOL = (2, 2)


def plain_forward(x, kernel, bias, strides, padding, relu):
    z = reference.conv2d_forward(x, kernel, bias, strides, padding)
    return reference.relu_forward(z) if relu else z


def plain_pooled(x, kernel, bias, strides, padding, relu):
    a = plain_forward(x, kernel, bias, strides, padding, relu)
    return a, *reference.max_pool2d_forward(a, POOL, POOL, "valid")


@st.composite
def problems(draw):
    """(x, kernel, bias, strides, padding), relu and a seed. Small whole numbers: ties and zeros happen, and no sum is rounded."""
    window = draw(st.integers(1, 4)), draw(st.integers(1, 7))
    strides, padding = (draw(st.integers(1, 3)), draw(st.integers(1, 3))), draw(st.sampled_from(["valid", "same"]))
    channels, filters = (
        draw(st.sampled_from([1, 1, 2, 3, 5, 9])),
        draw(st.sampled_from([1, 2, 3, 4, 6, 15, 16, 20, 33])),
    )
    height, width = window[0] + draw(st.integers(1, 6)), window[1] + draw(st.integers(1, 6))
    seed = draw(st.integers(0, 2**32 - 1))
    rng = np.random.default_rng(seed)
    x = whole_numbers(rng, draw(st.integers(1, 9)), height, width, channels)
    kernel, bias = whole_numbers(rng, *window, channels, filters), whole_numbers(rng, filters)
    return (x, kernel, bias, strides, padding), draw(st.booleans()), seed


def whole_numbers(rng, *shape):
    return rng.integers(-3, 4, shape).astype(np.float32)


@pytest.fixture(params=["whole tiles", "tiny tiles"])
def _tiles(request, monkeypatch):
    """Tiles as they are, and so small that every batch has several, of which the last is not full."""
    if request.param == "tiny tiles":
        monkeypatch.setattr(addresses, "TILE", 300)
        monkeypatch.setattr(addresses, "LIST_TILE", 100)
        monkeypatch.setattr(direct, "PATCH", 5)
    addresses.convolution.cache_clear()
    yield
    addresses.convolution.cache_clear()


@pytest.mark.usefixtures("_tiles")
class TestConvolution:
    @settings(max_examples=40)
    @given(problems())
    def test_forward(self, problem):
        arguments, relu, _ = problem
        expected = plain_forward(*arguments, relu)
        np.testing.assert_array_equal(direct.forward(*arguments, relu), expected, strict=True)

    @settings(max_examples=40)
    @given(problems())
    def test_backward(self, problem):
        (x, kernel, bias, strides, padding), _, seed = problem
        z = reference.conv2d_forward(x, kernel, bias, strides, padding)
        dz = whole_numbers(np.random.default_rng(seed + 1), *z.shape)
        dx, dkernel, dbias = reference.conv2d_backward(dz, x, kernel, strides, padding)
        found = direct.backward(dz, x, kernel, strides, padding, True)
        np.testing.assert_array_equal(found[0], dx)
        np.testing.assert_array_equal(found[1], dkernel)
        np.testing.assert_array_equal(found[2], dbias)
        assert direct.backward(dz, x, kernel, strides, padding, False)[0].size == 0

    @settings(max_examples=40)
    @given(problems())
    def test_both_ways_to_dx(self, problem):
        """Which way is taken depends on the shapes; both must be right for all."""
        (x, kernel, bias, _, padding), _, seed = problem
        z = reference.conv2d_forward(x, kernel, bias, (1, 1), padding)
        dz = whole_numbers(np.random.default_rng(seed + 1), *z.shape)
        g = addresses.convolution(len(x), x.shape[1:], kernel.shape, (1, 1), padding, 1)
        dx, _, _ = reference.conv2d_backward(dz, x, kernel, (1, 1), padding)
        np.testing.assert_array_equal(direct._dx_turned(g, dz, kernel), dx)
        np.testing.assert_array_equal(direct._dx_scattered(g, dz, kernel), dx)

    @settings(max_examples=40)
    @given(problems())
    def test_with_a_pool(self, problem):
        arguments, relu, seed = problem
        (x, kernel, _, strides, padding) = arguments
        a = plain_forward(*arguments, relu)
        if min(a.shape[1:3]) < 2:
            return
        a, expected, place = plain_pooled(*arguments, relu)
        y, index = direct.forward_pooled(*arguments, relu)
        np.testing.assert_array_equal(y, expected, strict=True)
        cut = (expected == 0) & relu
        np.testing.assert_array_equal(index, np.where(cut, CUT, place))

        dy = whole_numbers(np.random.default_rng(seed + 1), *y.shape)
        da = reference.max_pool2d_backward(dy, place, a.shape, POOL, POOL, "valid")
        dz = reference.relu_backward(da, a) if relu else da
        dx, dkernel, dbias = reference.conv2d_backward(dz, x, kernel, strides, padding)
        found = direct.backward_pooled(dy, index, x, kernel, strides, padding, True)
        np.testing.assert_array_equal(found[0], dx)
        np.testing.assert_array_equal(found[1], dkernel)
        np.testing.assert_array_equal(found[2], dbias)
        only = direct.backward_pooled(dy, index, x, kernel, strides, padding, False)
        assert only[0].size == 0
        np.testing.assert_array_equal(only[1], dkernel)


def test_numbers_that_are_rounded():
    rng = np.random.default_rng(0)
    x, kernel, bias = (rng.normal(size=shape).astype(np.float32) for shape in [(2, 9, 9, 30), (3, 3, 30, 15), (15,)])
    assert_close(
        direct.forward(x, kernel, bias, (1, 1), "same", True), plain_forward(x, kernel, bias, (1, 1), "same", True)
    )


@pytest.mark.parametrize("relu", [False, True])
@pytest.mark.parametrize("where", [(0, 0), (1, 2), (3, 3)])
def test_a_nan_is_not_hidden(relu, where):
    """The ReLU lets it through, and it wins in its pool's window."""
    x = np.random.default_rng(1).normal(size=(1, 4, 4, 1)).astype(np.float32)
    x[0, *where, 0] = np.nan
    problem = (x, np.ones((1, 1, 1, 16), np.float32), np.zeros(16, np.float32), (1, 1), "valid", relu)
    np.testing.assert_array_equal(direct.forward(*problem), plain_forward(*problem))
    y, index = direct.forward_pooled(*problem)
    _, expected, place = plain_pooled(*problem)
    np.testing.assert_array_equal(y, expected)
    nan = np.isnan(expected)
    assert nan.sum() == 16
    np.testing.assert_array_equal(index[nan], place[nan])


# Lanes that fill up a block are multiplied by 0, and without the compiler NumPy tells what that makes of an infinity.
unused_lanes = pytest.mark.filterwarnings("ignore:invalid value encountered in multiply:RuntimeWarning")


@unused_lanes
@pytest.mark.parametrize("filters", [1, blocks.WIDTHS[0]])
def test_infinities_win_and_lose(filters):
    x = np.array([[-np.inf, 1], [np.inf, 2]], np.float32)[None, :, :, None]
    y, index = direct.forward_pooled(
        x, np.ones((1, 1, 1, filters), np.float32), np.zeros(filters, np.float32), (1, 1), "valid", True
    )
    assert (y == np.inf).all()
    assert (index == 2).all()


@unused_lanes
@pytest.mark.parametrize("bad", [np.inf, -np.inf, np.nan])
@pytest.mark.parametrize(("channels", "filters"), [(1, 1), (1, 4), (3, 20), (32, 32)])
def test_a_number_that_is_not_finite_reaches_no_pixel_but_those_whose_windows_have_it(bad, channels, filters):
    """Also where neighbouring pixels are computed together."""
    rng = np.random.default_rng(filters)
    x, kernel = whole_numbers(rng, 2, 8, 8, channels), rng.integers(1, 4, (3, 3, channels, filters)).astype(np.float32)
    x[0, 3, 4, channels - 1] = bad
    problem = x, kernel, whole_numbers(rng, filters), (1, 1), "valid", True
    y, pooled = direct.forward(*problem), direct.forward_pooled(*problem)[0]
    np.testing.assert_array_equal(y, plain_forward(*problem))
    np.testing.assert_array_equal(pooled, plain_pooled(*problem)[1])
    assert np.isfinite(y).sum() == y.size - (filters * 9 if bad > 0 or bad != bad else 0)


@pytest.mark.parametrize("size", [0, 1, 7, 8, 31, 32, 33, 100])
def test_all_finite(size):
    x = np.full(size, -3e38, np.float32)
    assert all_finite(x)
    for place in range(size):
        for bad in (np.inf, -np.inf, np.nan):
            x[place] = bad
            assert not all_finite(x), place
        x[place] = 3e38


@pytest.mark.parametrize("size", range(1, 100))
def test_blocks_cover_all_lanes_once_and_no_more_than_needed(size):
    found = addresses.blocks(size, 7)
    assert [lane for _, lane, _ in found] == [sum(width for _, _, width in found[:i]) for i in range(len(found))]
    assert [start for start, _, _ in found] == [7 * lane for _, lane, _ in found]
    assert 0 <= addresses.covered(size) - size < blocks.WIDTHS[-1]


@pytest.mark.parametrize("group", [1, 2, 3])
@pytest.mark.parametrize("stride", [1, 2])
def test_fold_is_the_transpose_of_unfold(group, stride):
    """⟨unfold(k), d⟩ = ⟨k, fold(d)⟩ for all k and d."""
    rng = np.random.default_rng(0)
    kernel = rng.normal(size=(2, 3, 2, 4))
    wide = addresses.unfold(kernel, group, stride)
    dwide = rng.normal(size=wide.shape)
    assert np.vdot(wide, dwide) == pytest.approx(np.vdot(kernel, addresses.fold(dwide, group, stride)))


# -------------------------------------------------------------------------------- the blocks: their code against their definition


@pytest.mark.parametrize("size", blocks.SIZES, ids=str)
@pytest.mark.parametrize("add", [False, True])
@pytest.mark.parametrize("count", [0, 1, 2, 7])
def test_a_block(size, add, count):
    block = blocks.make_block(*size)

    @numba.njit
    def compiled(a, a_at, terms, count, b, start, add, floor, c, c_at):
        block(a, a_at, 0, terms, 1, count, b, 3, start, 2, add, floor, c, c_at, 5)

    rng = np.random.default_rng(count)
    a, b, start, c = (rng.normal(size=n).astype(np.float32) for n in (200, 400, 60, 2000))
    a_at, terms, c_at = rng.integers(0, 100, size[0]), rng.integers(0, 90, 9), 40 * rng.permutation(size[0])
    expected = c.copy()
    block(a, a_at, 0, terms, 1, count, b, 3, start, 2, add, np.float32(-1), expected, c_at, 5)
    compiled(a, a_at, terms, count, b, start, add, np.float32(-1), c, c_at)
    assert_close(c, expected)
    assert (c == -1).any(), "some sums were below the floor"


@pytest.mark.parametrize("count", [0, 1, 5])
def test_gather_and_scatter(count):
    @numba.njit
    def compiled(x, at, values, count, offsets, c):
        blocks.gather(x, at, values, 1, count, offsets, 2, c, 3)
        blocks.scatter(x, at, values, 1, count, offsets, 2, c, 3)

    rng = np.random.default_rng(count)
    x, values, c = (rng.normal(size=n).astype(np.float32) for n in (200, 9, 80))
    at, offsets = rng.integers(0, 100, 9), rng.integers(0, 90, 8)
    expected = x.copy(), c.copy()
    blocks.gather(expected[0], at, values, 1, count, offsets, 2, expected[1], 3)
    blocks.scatter(expected[0], at, values, 1, count, offsets, 2, expected[1], 3)
    compiled(x, at, values, count, offsets, c)
    assert_close(x, expected[0])
    assert_close(c, expected[1])


def test_vectors_as_numpy_has_them():
    """The compiled functions do what the Python functions of the same names do, NaN included."""

    @numba.njit
    def compiled(a, b, out, bytes_out):
        one, other = vector.load(a, 0), vector.load(b, 1)
        best = vector.choose(vector.beats(other, one), other, one)
        vector.store(out, 0, vector.multiply_add(best, vector.fill(np.float32(2)), one))
        vector.store(bytes_out, 0, vector.fill(np.float32(3)))
        vector.copy(a, 2, out, vector.LANES, 4)

    rng = np.random.default_rng(0)
    a, b = (rng.integers(-3, 4, vector.LANES + 8).astype(np.float32) for _ in range(2))
    a[1] = b[3] = a[4] = b[5] = np.nan
    out, small = np.zeros(vector.LANES + 4, np.float32), np.zeros(vector.LANES, np.uint8)
    compiled(a, b, out, small)
    one, other = a[: vector.LANES], b[1 : vector.LANES + 1]
    best = np.where((other > one) | (np.isnan(other) & ~np.isnan(one)), other, one)
    np.testing.assert_array_equal(out, [*(2 * best + one), *a[2:6]])
    assert (small == 3).all()
