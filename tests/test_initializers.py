"""Initializers: limits and variances from the papers' formulas, shapes of the distributions, dtypes and seeds."""

import math
import re

import numpy as np
import pytest

from minidl import initializers
from minidl.initializers import INITIALIZERS

FLOAT32, FLOAT64 = np.dtype(np.float32), np.dtype(np.float64)
SIGMAS = 5  # of the estimate; the seed is fixed, so a test that passes passes always

SHAPES = {(300, 200): (300, 200), (5, 5, 20, 30): (500, 750), (3, 7, 100, 10): (2100, 210)}  # fan-in and fan-out
RULES = {"glorot": lambda fan_in, fan_out: 2 / (fan_in + fan_out), "he": lambda fan_in, fan_out: 2 / fan_in}

every_shape = pytest.mark.parametrize("shape", SHAPES, ids=str)
every_rule = pytest.mark.parametrize("rule", RULES)
every_name = pytest.mark.parametrize("name", INITIALIZERS)
RANDOM = [name for name in INITIALIZERS if name not in ("zeros", "ones")]


def draw(name, shape, seed=0, dtype=FLOAT64):
    return INITIALIZERS[name](shape, np.random.default_rng(seed), dtype)


@pytest.mark.parametrize(
    ("shape", "expected"),
    [
        ((784, 128), (784, 128)),
        ((5, 5, 1, 32), (25, 800)),  # 5 · 5 · 1 inputs of an output; each input goes to 5 · 5 · 32 outputs
        ((3, 5, 30, 15), (450, 225)),
        ((10,), (10, 10)),
    ],
)
def test_fans(shape, expected):
    assert initializers.fans(shape) == expected


@every_rule
@every_shape
def test_uniform(rule, shape):
    """Uniform in ±limit has the variance limit² / 3, so limit = √(3 · variance): √(6 / (in + out)), √(6 / in)."""
    values = draw(f"{rule}_uniform", shape)
    variance = RULES[rule](*SHAPES[shape])
    limit = math.sqrt(3 * variance)
    assert limit * 0.999 < np.abs(values).max() <= limit
    n = values.size
    assert abs(values.mean()) < SIGMAS * math.sqrt(variance / n)
    # The fourth moment is limit⁴ / 5 = 9/5 variance²: the variance's estimate has the deviation variance · √(4/5 / n).
    assert abs(values.var() / variance - 1) < SIGMAS * math.sqrt(4 / 5 / n)
    counts = np.histogram(values, bins=20, range=(-limit, limit))[0]  # χ² of 19 degrees is 19 ± √38
    assert np.sum((counts - n / 20) ** 2) / (n / 20) < 19 + SIGMAS * math.sqrt(38)


@every_rule
@every_shape
def test_truncated_normal(rule, shape):
    """The variance is that of the rule after the cut at two deviations of the normal distribution before it.

    A standard normal cut at ±2 keeps erf(√2) = 0.9545 of it, with variance 1 − 4 φ(2) / 0.9545 = 0.7737 and fourth moment
    3 · 0.7737 − 16 φ(2) / 0.9545 = 1.4162, φ(2) = 0.05399. It holds 0.6827 / 0.9545 = 0.7153 within one deviation.
    """
    values = draw(f"{rule}_normal", shape)
    n, variance = values.size, RULES[rule](*SHAPES[shape])
    before = math.sqrt(variance / 0.7737413)  # the deviation before the cut
    assert 1.99 * before < np.abs(values).max() <= 2 * before * (1 + 1e-6)
    assert abs(values.mean()) < SIGMAS * math.sqrt(variance / n)
    assert abs(values.var() / variance - 1) < SIGMAS * math.sqrt((1.4162 / 0.7737**2 - 1) / n)
    for deviations in (0.25, 0.5, 1, 1.5):
        share = math.erf(deviations / math.sqrt(2)) / math.erf(math.sqrt(2))
        inside = np.mean(np.abs(values) < deviations * before)
        assert abs(inside - share) < SIGMAS * math.sqrt(share * (1 - share) / n)


@pytest.mark.parametrize("name", ["normal", "random_normal"])
def test_random_normal(name):
    """Deviation 0.05 whatever the shape, and not cut off: 4.55 % lie beyond two deviations, 0.27 % beyond three."""
    values = draw(name, (300, 200))
    n = values.size
    assert abs(values.mean()) < SIGMAS * 0.05 / math.sqrt(n)
    assert abs(values.var() / 0.05**2 - 1) < SIGMAS * math.sqrt(2 / n)
    for deviations, share in ((2, 0.0455), (3, 0.0027)):
        beyond = np.mean(np.abs(values) > deviations * 0.05)
        assert abs(beyond - share) < SIGMAS * math.sqrt(share / n)


def test_constants():
    np.testing.assert_array_equal(draw("zeros", (2, 3)), np.zeros((2, 3)), strict=True)
    np.testing.assert_array_equal(draw("ones", (2, 3)), np.ones((2, 3)), strict=True)
    half = initializers.constant(0.5)((3,), np.random.default_rng(0), FLOAT32)
    np.testing.assert_array_equal(half, np.full(3, 0.5, np.float32), strict=True)
    for bad in ("1", None, True, [1.0]):
        with pytest.raises(ValueError, match=re.escape(f"Constant value must be a number, received {bad!r}.")):
            initializers.constant(bad)


@every_name
@pytest.mark.parametrize("dtype", [FLOAT32, FLOAT64])
def test_dtype_and_shape(name, dtype):
    for shape in ((4,), (3, 5), (3, 2, 4, 6)):
        values = draw(name, shape, dtype=dtype)
        assert values.dtype == dtype
        assert values.shape == shape
        assert values.flags.writeable


@pytest.mark.parametrize("name", RANDOM)
def test_the_generator_decides_and_float32_is_float64_rounded(name):
    first = draw(name, (4, 5))
    np.testing.assert_array_equal(draw(name, (4, 5)), first, strict=True)
    assert (draw(name, (4, 5), seed=1) != first).all()
    np.testing.assert_array_equal(draw(name, (4, 5), dtype=FLOAT32), first.astype(np.float32), strict=True)
    random = np.random.default_rng(0)
    one, other = (INITIALIZERS[name]((4, 5), random, FLOAT64) for _ in range(2))
    assert (one != other).all()  # two layers that share a generator start apart
    assert len(np.unique(first)) == 20


def test_get():
    for name, function in INITIALIZERS.items():
        assert initializers.get(name) is function

    def own(shape, rng, dtype):
        return np.zeros(shape, dtype)

    assert initializers.get(own) is own


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("glorot_unifrom", "Did you mean 'glorot_uniform' or 'glorot_normal'? "),
        ("He_Normal", "Did you mean 'he_normal' or 'normal'? "),
        ("zero", "Did you mean 'zeros'? "),
        ("xyzzy", ""),
    ],
)
def test_unknown_name(name, hint):
    text = (
        f"unknown initializer {name!r}. {hint}There are: glorot_normal, glorot_uniform, he_normal, he_uniform, normal, ones, "
        "random_normal, zeros."
    )
    with pytest.raises(ValueError, match="^" + re.escape(text) + "$"):
        initializers.get(name)


@pytest.mark.parametrize("value", [None, 3, 0.5])
def test_neither_a_name_nor_a_function(value):
    text = f"an initializer must be a name or a function (shape, rng, dtype) → array, received {value!r}."
    with pytest.raises(TypeError, match="^" + re.escape(text) + "$"):
        initializers.get(value)


def test_allocate_makes_a_new_contiguous_array_of_the_dtype():
    """Whatever the function returns: here one array again and again, of integers and column by column."""
    same = np.arange(6).reshape(2, 3).T
    values = initializers.allocate(lambda shape, rng, dtype: same, (3, 2), np.random.default_rng(0), FLOAT32)
    np.testing.assert_array_equal(values, np.array([[0, 3], [1, 4], [2, 5]], np.float32), strict=True)
    assert values.flags.c_contiguous
    assert not np.shares_memory(values, same)


def test_allocate_refuses_another_shape():
    def constant(shape, rng, dtype):
        return 1.0

    text = "the initializer constant must return an array of shape (2, 2), received ()."
    with pytest.raises(ValueError, match="^" + re.escape(text) + "$"):
        initializers.allocate(constant, (2, 2), np.random.default_rng(0), FLOAT32)


def test_names_of_initializers():
    assert initializers.name_of(initializers.he_normal) == "he_normal"
    assert initializers.name_of(initializers.get("ones")) == "ones"
    assert initializers.name_of(initializers.get("normal")) == "random_normal"
    another = initializers.constant(1.0)
    assert initializers.name_of(another) is another
