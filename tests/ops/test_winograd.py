"""Winograd's convolution against the plain operations, exactly and in float32; and where it is taken."""

import numba
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minidl.ops import reference
from minidl.ops.kernels import addresses, direct, vector, winograd

ONE = (1, 1)
POOL = (2, 2)


@pytest.fixture(params=["many squares at once", "few squares at once"])
def _everywhere(request, monkeypatch):
    """Taken wherever it can be; with tables as they are, and so small that every batch needs several rounds."""
    monkeypatch.setattr(winograd, "TRANSFORM", -(10**9))
    if request.param == "few squares at once":
        monkeypatch.setattr(winograd, "ROOM", 1)
        monkeypatch.setattr(addresses, "TILE", 1000)
    for table in (addresses.convolution, winograd.squares):
        table.cache_clear()
    yield
    for table in (addresses.convolution, winograd.squares):
        table.cache_clear()


@st.composite
def problems(draw):
    """x, kernel, bias, padding and a seed. Small whole numbers, so that the halves and quarters are exact, too."""
    channels, filters = draw(st.sampled_from([1, 2, 7, 8, 17])), vector.LANES * draw(st.integers(1, 3))
    samples, height, width = draw(st.integers(1, 3)), draw(st.integers(3, 9)), draw(st.integers(3, 9))
    seed = draw(st.integers(0, 2**32 - 1))
    rng = np.random.default_rng(seed)
    shapes = (samples, height, width, channels), (3, 3, channels, filters), (filters,)
    return *(whole_numbers(rng, shape) for shape in shapes), draw(st.sampled_from(["valid", "same"])), seed


def whole_numbers(rng, shape):
    return rng.integers(-3, 4, shape).astype(np.float32)


@pytest.mark.usefixtures("_everywhere")
class TestExactly:
    @settings(max_examples=25)
    @given(problems(), st.booleans())
    def test_forward(self, problem, relu):
        x, kernel, bias, padding, _ = problem
        assert winograd.pays(addresses.convolution(len(x), x.shape[1:], kernel.shape, ONE, padding, 1))
        y = reference.conv2d_forward(x, kernel, bias, ONE, padding)
        if relu:
            y = reference.relu_forward(y)
        np.testing.assert_array_equal(direct.forward(x, kernel, bias, ONE, padding, relu), y, strict=True)
        if min(y.shape[1:3]) > 1:
            pooled, _ = direct.forward_pooled(x, kernel, bias, ONE, padding, relu)
            np.testing.assert_array_equal(pooled, reference.max_pool2d_forward(y, POOL, POOL, "valid")[0])

    @settings(max_examples=25)
    @given(problems())
    def test_backward(self, problem):
        x, kernel, bias, padding, seed = problem
        z = reference.conv2d_forward(x, kernel, bias, ONE, padding)
        dz = whole_numbers(np.random.default_rng(seed + 1), z.shape)
        found = direct.backward(dz, x, kernel, ONE, padding, True)
        for one, other in zip(found, reference.conv2d_backward(dz, x, kernel, ONE, padding), strict=True):
            np.testing.assert_array_equal(one, other)


@pytest.mark.skipif(bool(numba.config.DISABLE_JIT), reason="takes minutes, for the same sums in the same order")
@pytest.mark.parametrize("channels", [32, 64])
def test_float32_is_as_near_to_float64_as_the_plain_sums(channels, monkeypatch):
    """Errors as root mean squares, in units of 2⁻²⁴ times the result's own: the rounding of one number in float32."""
    rng = np.random.default_rng(channels)
    kernel = rng.normal(size=(3, 3, channels, 64)) / np.sqrt(9 * channels)
    x, dz, bias = rng.normal(size=(4, 14, 14, channels)), rng.normal(size=(4, 12, 12, 64)), np.zeros(64)
    x, kernel, bias, dz = (array.astype(np.float32) for array in (x, kernel, bias, dz))
    exact = conv2d(*(array.astype(np.float64) for array in (x, kernel, bias, dz)))

    def errors():
        y = direct.forward(x, kernel, bias, ONE, "valid", False)
        found = y, *direct.backward(dz, x, kernel, ONE, "valid", True)[:2]
        return [
            np.sqrt(np.mean((one - other) ** 2) / np.mean(other**2)) * 2**24
            for one, other in zip(found, exact, strict=True)
        ]

    assert winograd.pays(addresses.convolution(4, x.shape[1:], kernel.shape, ONE, "valid", 1))
    by_squares = errors()
    assert max(by_squares) < 7  # y, dx, dkernel
    monkeypatch.setattr(winograd, "pays", lambda g: False)
    plain = errors()
    assert all(one < 1.2 * other for one, other in zip(by_squares, plain, strict=True)), (by_squares, plain)


def conv2d(x, kernel, bias, dz):
    """y, dx, dkernel, plainly."""
    y = reference.conv2d_forward(x, kernel, bias, ONE, "valid")
    return y, *reference.conv2d_backward(dz, x, kernel, ONE, "valid")[:2]


@pytest.mark.parametrize(
    ("image", "kernel", "stride", "taken"),
    [
        ((26, 26, 32), (3, 3, 32, 32), 1, True),
        ((10, 10, 64), (3, 3, 64, 64), 1, True),
        ((28, 28, 1), (3, 3, 1, 32), 1, False),  # one channel: nothing to share the transforms
        ((26, 26, 32), (5, 5, 32, 32), 1, False),
        ((26, 26, 32), (3, 3, 32, 32), 2, False),
        ((26, 26, 32), (3, 3, 32, 30), 1, False),  # not whole vectors
        ((5, 5, 64), (3, 3, 64, 64), 1, False),  # four squares for nine pixels
    ],
)
def test_where_it_is_taken(image, kernel, stride, taken):
    assert winograd.pays(addresses.convolution(8, image, kernel, (stride, stride), "valid", 1)) == taken
