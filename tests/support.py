"""What several test modules share: gradients by differences, tolerances, and numbers that stand well apart."""

import numpy as np

# Two computations of the same numbers in different order: a few dozen roundings of numbers of the size of 1.
TOLERANCE = {
    np.dtype(np.float32): {"rtol": 1e-5, "atol": 1e-5},
    np.dtype(np.float64): {"rtol": 1e-12, "atol": 1e-12},
}
# A derivative against central differences, always in float64: with STEP = 1e-5 the differences themselves are off by
# STEP²/6 · f''' ≈ 1e-11 from the curve and eps / STEP ≈ 1e-11 from rounding, a hundred times less than what is allowed.
STEP = 1e-5
GRADIENT = {"rtol": 1e-8, "atol": 1e-8}


def assert_close(actual, expected):
    """Equal to rounding, in the dtype of ``actual``; and of one shape."""
    assert np.shape(actual) == np.shape(expected)
    np.testing.assert_allclose(actual, expected, **TOLERANCE[np.asarray(actual).dtype])


def assert_gradient(actual, numeric):
    """A gradient in float64 equals what central differences say; and has the shape of what was changed."""
    assert actual.dtype == np.float64
    assert actual.shape == numeric.shape
    np.testing.assert_allclose(actual, numeric, **GRADIENT)


def numeric_gradient(function, x, dy=1.0):
    """∂ Σ(dy · function()) / ∂x by central differences, in float64; the shape of x.

    function: no arguments; it reads x, which is changed one entry at a time and then put back. dy: the upstream gradient, of
    the shape of what function returns. The difference is taken before the sum, so that no large terms cancel.
    """
    assert x.dtype == np.float64
    gradient = np.zeros(x.shape)
    for place in np.ndindex(x.shape):
        value = x[place]
        low, high = value - STEP, value + STEP
        x[place] = high
        difference = np.asarray(function()).astype(np.float64)
        x[place] = low
        difference = difference - function()
        x[place] = value
        gradient[place] = np.sum(dy * difference) / (high - low)
    return gradient


def well_separated(rng, shape, gap=0.0625):
    """Numbers in random order, any two of them ``gap`` apart and none nearer to 0 than half of it; exact in float32.

    No step of a difference leads across the kink of a ReLU or changes which of them is the largest.
    """
    size = int(np.prod(shape))
    return (rng.permutation(size).reshape(shape) - size // 2 + 0.5) * gap


def copied(value):
    """A deep copy of arrays in tuples, lists and dicts, to compare with after a call that must not change them."""
    if isinstance(value, np.ndarray):
        return value.copy()
    if isinstance(value, dict):
        return {key: copied(item) for key, item in value.items()}
    if isinstance(value, tuple | list):
        return tuple(copied(item) for item in value)
    return value


def assert_same(actual, expected):
    """Bit for bit the same arrays (NaN equals NaN) and values, through tuples, lists and dicts."""
    if isinstance(expected, np.ndarray):
        np.testing.assert_array_equal(actual, expected, strict=True)
    elif isinstance(expected, dict):
        assert list(actual) == list(expected)
        for key, item in expected.items():
            assert_same(actual[key], item)
    elif isinstance(expected, tuple | list):
        assert len(actual) == len(expected)
        for one, other in zip(actual, expected, strict=True):
            assert_same(one, other)
    else:
        assert actual == expected
