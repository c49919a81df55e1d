"""Initializers: limits and variances from the papers' formulas, shapes of the distributions, dtypes and seeds."""

import copy
import math
import re

import numpy as np
import pytest

from minidl import Sequential, initializers, load_model
from minidl.initializers import INITIALIZERS
from minidl.layers import Dense

FLOAT32, FLOAT64 = np.dtype(np.float32), np.dtype(np.float64)
SIGMAS = 5  # of the estimate; the seed is fixed, so a test that passes passes always

SHAPES = {(300, 200): (300, 200), (5, 5, 20, 30): (500, 750), (3, 7, 100, 10): (2100, 210)}  # fan-in and fan-out
RULES = {
    "lecun": lambda fan_in, fan_out: 1 / fan_in,
    "glorot": lambda fan_in, fan_out: 2 / (fan_in + fan_out),
    "he": lambda fan_in, fan_out: 2 / fan_in,
}

every_shape = pytest.mark.parametrize("shape", SHAPES, ids=str)
every_rule = pytest.mark.parametrize("rule", RULES)
every_name = pytest.mark.parametrize("name", INITIALIZERS)
RANDOM = [name for name in INITIALIZERS if name not in ("zeros", "ones", "identity")]
AXES = {"orthogonal": (2, 4), "identity": (2,)}  # the numbers of axes that they can have, where not any


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


def test_random_uniform():
    """In ±0.05, with the variance 0.1² / 12; or between any other bounds."""
    for values, low, high in (
        (draw("uniform", (300, 200)), -0.05, 0.05),
        (initializers.RandomUniform(1, 3)((300, 200), np.random.default_rng(0), FLOAT64), 1, 3),
    ):
        variance = (high - low) ** 2 / 12
        assert low <= values.min() < low + (high - low) / 1000
        assert high >= values.max() > high - (high - low) / 1000
        assert abs(values.mean() - (low + high) / 2) < SIGMAS * math.sqrt(variance / values.size)
        assert abs(values.var() / variance - 1) < SIGMAS * math.sqrt(4 / 5 / values.size)


def test_normal_of_another_mean_and_deviation():
    """Cut off at two deviations: the variance is 0.7737 of that before the cut, as Keras leaves it."""
    rng = np.random.default_rng(0)
    whole = initializers.RandomNormal(3, 0.5)((300, 200), rng, FLOAT64)
    cut = initializers.TruncatedNormal(3, 0.5)((300, 200), rng, FLOAT64)
    assert abs(whole.mean() - 3) < SIGMAS * 0.5 / math.sqrt(whole.size)
    assert abs(whole.std() - 0.5) < SIGMAS * 0.5 / math.sqrt(2 * whole.size)
    assert 0.999 < np.abs(cut - 3).max() <= 1
    assert abs(cut.var() / (0.25 * 0.7737413) - 1) < SIGMAS * math.sqrt((1.4162 / 0.7737**2 - 1) / cut.size)
    assert np.abs(draw("truncated_normal", (300, 200))).max() <= 0.1


@pytest.mark.parametrize("shape", [(6, 4), (4, 6), (5, 5), (3, 2, 4, 6)])
def test_orthogonal(shape):
    """Of a tall matrix the columns, of a wide one the rows are orthogonal and as long as the gain."""
    values = initializers.Orthogonal(2.0)(shape, np.random.default_rng(0), FLOAT64).reshape(-1, shape[-1])
    product = values.T @ values if len(values) >= shape[-1] else values @ values.T
    np.testing.assert_allclose(product, 4 * np.eye(len(product)), atol=1e-13)


def test_orthogonal_matrices_are_equally_likely():
    """The sign of an entry is a coin toss; without the signs of R's diagonal, those on the diagonal would mostly be alike."""
    rng = np.random.default_rng(0)
    positive = sum(initializers.orthogonal((2, 2), rng, FLOAT64)[0, 0] > 0 for _ in range(400))
    assert abs(positive - 200) < SIGMAS * 10


def test_identity():
    np.testing.assert_array_equal(draw("identity", (2, 3)), [[1, 0, 0], [0, 1, 0]])
    values = initializers.Identity(0.5)((2, 2), np.random.default_rng(0), FLOAT32)
    np.testing.assert_array_equal(values, np.eye(2, dtype=np.float32) / 2, strict=True)


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda: draw("orthogonal", (3,)), "Orthogonal makes arrays of two axes or more, received shape (3,)."),
        (lambda: draw("identity", (3, 2, 2)), "Identity makes matrices, received shape (3, 2, 2)."),
        (lambda: initializers.RandomNormal(stddev=-1), "stddev must be a number in [0, ∞), received -1."),
        (
            lambda: initializers.VarianceScaling(mode="fan"),
            "mode must be 'fan_in' or 'fan_out' or 'fan_avg', received 'fan'.",
        ),
    ],
)
def test_what_initializers_refuse(make, text):
    with pytest.raises(ValueError, match="^" + re.escape(text) + "$"):
        make()


def test_variance_scaling_is_what_the_named_ones_are():
    for name, arguments in {
        "he_normal": (2.0, "fan_in"),
        "glorot_uniform": (1.0, "fan_avg", "uniform"),
        "lecun_normal": (),
    }.items():
        same = initializers.VarianceScaling(*arguments)((7, 5), np.random.default_rng(0), FLOAT64)
        np.testing.assert_array_equal(draw(name, (7, 5)), same)
    whole = initializers.VarianceScaling(3, "fan_out", "untruncated_normal")(
        (300, 200), np.random.default_rng(0), FLOAT64
    )
    assert abs(whole.var() / (3 / 200) - 1) < SIGMAS * math.sqrt(2 / whole.size)


def test_classes_and_copies_have_the_names_of_what_they_are():
    """A copied layer is described as the one that it was copied from."""
    assert initializers.name_of(initializers.get(initializers.HeNormal)) == "he_normal"
    for name, ours in INITIALIZERS.items():
        if name not in ("uniform", "normal"):
            assert initializers.name_of(copy.deepcopy(ours)) == name
    other = initializers.RandomNormal(stddev=0.01)
    assert initializers.name_of(other) is other


def test_an_initializer_with_settings_is_saved_and_loaded(tmp_path):
    model = Sequential([Dense(2, kernel_initializer=initializers.RandomNormal(stddev=0.01), input_dim=3)])
    model.save(tmp_path / "model.safetensors")
    found = load_model(tmp_path / "model.safetensors").layers[0].kernel_initializer
    assert (type(found), found.get_config()) == (initializers.RandomNormal, {"mean": 0.0, "stddev": 0.01})


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
        if len(shape) not in AXES.get(name, (1, 2, 4)):
            continue
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
        if name not in ("normal", "uniform"):  # short for classes of other names
            assert initializers.get(type(function).__name__) is function

    def own(shape, rng, dtype):
        return np.zeros(shape, dtype)

    assert initializers.get(own) is own


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("glorot_unifrom", "Did you mean 'glorot_uniform' or 'glorot_normal'? "),
        ("He_Norml", "Did you mean 'he_normal' or 'he_uniform'? "),
        ("zero", "Did you mean 'zeros'? "),
        ("xyzzy", ""),
    ],
)
def test_unknown_name(name, hint):
    text = (
        f"unknown initializer {name!r}. {hint}There are: glorot_normal, glorot_uniform, he_normal, he_uniform, identity, "
        "lecun_normal, lecun_uniform, normal, ones, orthogonal, random_normal, random_uniform, truncated_normal, uniform, zeros."
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


@every_name
def test_keras_spelling_as_a_call(name):
    """he_normal() is HeNormal(), and he_normal(shape, rng, dtype) an array."""
    ready = INITIALIZERS[name]
    assert type(ready()) is type(ready)
    assert Dense(2, kernel_initializer=ready()).get_config() == Dense(2, kernel_initializer=name).get_config()
    shape = (4, 4)
    np.testing.assert_array_equal(
        ready()(shape=shape, rng=np.random.default_rng(3), dtype=FLOAT64), draw(name, shape, seed=3)
    )


def test_settings_in_keras_spelling():
    wide = initializers.random_normal(stddev=2.0)
    assert (type(wide), wide.get_config()) == (initializers.RandomNormal, {"mean": 0.0, "stddev": 2.0})
    assert initializers.random_uniform(-3, 3).get_config() == {"minval": -3.0, "maxval": 3.0}
    with pytest.raises(TypeError, match="unexpected keyword argument 'seed'"):
        initializers.he_normal(seed=1)
