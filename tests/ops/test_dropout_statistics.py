"""A dropout mask is a hash, not a stream of random numbers; here it has to pass for one.

Every statistic is a number of standard deviations from what independent coin tosses give. All is seeded by keys, so the tests
give the same numbers in every run; true coin tosses would exceed 5 once in two million times.
"""

import math

import numpy as np
import pytest

from minidl.layers import Dropout
from minidl.ops import OPERATIONS
from minidl.ops.random import FORWARD, RandomKey, derive_key

KEY = derive_key(0, FORWARD, 1)
SIGMAS = 5

both_sets = pytest.mark.parametrize("ops", OPERATIONS.values(), ids=OPERATIONS)


def mask(ops, rate, samples, features, key=KEY, first=0):
    """True where an entry is kept.  (samples, features)."""
    return ops.dropout(np.ones((samples, features), np.float32), rate, RandomKey(key, first)) != 0


def correlation(one, other, rate):
    """How many standard deviations the covariance of two masks is away from 0."""
    a, b = one - (1 - rate), other - (1 - rate)
    return np.sum(a * b) / (rate * (1 - rate) * math.sqrt(one.size))


@both_sets
@pytest.mark.parametrize("rate", [0.001, 0.1, 0.2, 0.25, 0.5, 0.75, 0.9, 0.999])
def test_rate_overall_in_each_sample_and_in_each_feature(rate, ops):
    kept = mask(ops, rate, 500, 1000)
    deviation = math.sqrt(rate * (1 - rate))
    assert abs(kept.mean() - (1 - rate)) < SIGMAS * deviation / math.sqrt(kept.size)
    if 0.1 <= rate <= 0.9:  # elsewhere a row has too few for the normal distribution to hold
        for axis in (0, 1):
            z = (kept.mean(axis=axis) - (1 - rate)) / (deviation / math.sqrt(kept.shape[axis]))
            assert np.abs(z).max() < SIGMAS
            # The sums of rows and of columns scatter as much as coin tosses do, neither more nor less: the variance of n
            # standard normal numbers is 1 ± √(2/n).
            assert abs(z.var() - 1) < SIGMAS * math.sqrt(2 / z.size)


@both_sets
def test_kept_values_make_up_for_the_dropped_ones(ops):
    """0 or x / (1 − rate); the mean is unchanged: for ones it has the standard deviation √(rate / (1 − rate) / n)."""
    for rate in (0.1, 0.5, 0.8):
        y = ops.dropout(np.ones((400, 500)), rate, RandomKey(KEY, 0))
        assert set(np.unique(y)) == {0.0, 1 / (1 - rate)}
        assert abs(y.mean() - 1) < SIGMAS * math.sqrt(rate / (1 - rate) / y.size)


@both_sets
def test_a_mask_of_a_lower_rate_keeps_more(ops):
    """One number an entry, compared with the rate: so what rate 0.3 drops, rate 0.6 drops, too."""
    low, high = mask(ops, 0.3, 50, 60), mask(ops, 0.6, 50, 60)
    assert (low | ~high).all()
    assert low.sum() > high.sum()


@both_sets
@pytest.mark.parametrize("rate", [0.2, 0.5])
def test_no_correlation_between_neighbouring_features_and_samples(rate, ops):
    kept = mask(ops, rate, 400, 1024)
    for lag in (1, 2, 3, 4, 7, 8, 16, 28, 32, 64, 128, 256, 512):
        assert abs(correlation(kept[:, lag:], kept[:, :-lag], rate)) < SIGMAS
    for lag in (1, 2, 3, 4, 8, 16, 50, 64, 100, 128, 200):
        assert abs(correlation(kept[lag:], kept[:-lag], rate)) < SIGMAS
    for lag in (1, 2, 3, 5):  # along both diagonals
        assert abs(correlation(kept[lag:, lag:], kept[:-lag, :-lag], rate)) < SIGMAS
        assert abs(correlation(kept[lag:, :-lag], kept[:-lag, lag:], rate)) < SIGMAS


@both_sets
def test_neighbouring_features_take_all_patterns_alike(ops):
    """Runs of 8 features, read as a byte: all 256 patterns are equally frequent. χ² of 255 degrees is 255 ± √510."""
    kept = mask(ops, 0.5, 500, 1024)
    counts = np.bincount(np.packbits(kept, axis=1).ravel(), minlength=256)
    expected = kept.size / 8 / 256
    assert abs(np.sum((counts - expected) ** 2) / expected - 255) < SIGMAS * math.sqrt(510)


@both_sets
def test_no_two_samples_have_one_mask(ops):
    kept = mask(ops, 0.5, 3000, 128)
    assert len(np.unique(np.packbits(kept, axis=1), axis=0)) == 3000
    agreement = kept[:500].astype(np.float64) @ kept[500:1000].T - 32  # 128 features kept in both with probability 1/4
    assert np.abs(agreement).max() < 7 * math.sqrt(128 * 3 / 16)  # 250,000 pairs: 7 σ is once in 10^6 runs


# -------------------------------------------------------------------------------------------------------------------- keys

KEYS = [
    KEY,
    KEY + 1,
    KEY ^ 1 << 63,
    KEY ^ 1 << 32,
    derive_key(0, FORWARD, 2),
    derive_key(1, FORWARD, 1),
    0,
    1,
    2**64 - 1,
]


@both_sets
@pytest.mark.parametrize("rate", [0.2, 0.5])
def test_no_correlation_between_keys(rate, ops):
    """Not even keys that differ in one bit, nor the steps and seeds that follow one another."""
    masks = [mask(ops, rate, 100, 1000, key) for key in KEYS]
    for i, one in enumerate(masks):
        for other in masks[:i]:
            assert abs(correlation(one, other, rate)) < SIGMAS


@both_sets
def test_the_mask_of_the_next_key_is_not_that_of_the_next_sample(ops):
    one, next_key = mask(ops, 0.5, 100, 1000), mask(ops, 0.5, 100, 1000, KEY + 1)
    assert abs(correlation(one[1:], next_key[:-1], 0.5)) < SIGMAS


@both_sets
def test_the_layers_of_a_model_drop_independently(ops):
    """Several Dropout layers in one model, the same step: each has a key of its own."""
    masks = [mask(ops, 0.5, 100, 1000, RandomKey(KEY, 0).layer(place).key) for place in range(4)]
    for i, one in enumerate(masks):
        for other in masks[:i]:
            for shift in (0, 1):
                assert abs(correlation(one[shift:], other[: len(other) - shift], 0.5)) < SIGMAS


# ------------------------------------------------------------------------------------------------------------------ shards


@both_sets
def test_a_shard_has_the_part_of_the_batchs_mask(ops):
    whole = mask(ops, 0.4, 100, 30)
    np.testing.assert_array_equal(mask(ops, 0.4, 50, 30, first=50), whole[50:])
    np.testing.assert_array_equal(mask(ops, 0.4, 1, 30, first=99), whole[99:])
    assert not np.array_equal(mask(ops, 0.4, 50, 30, first=0), whole[50:])


@both_sets
def test_the_mask_depends_on_the_position_of_a_feature_alone(ops):
    """Not on how the features are laid out, nor on how many follow, nor on the dtype, nor on the values."""
    kept = mask(ops, 0.4, 20, 24)
    x = -np.arange(1.0, 20 * 24 + 1).reshape(20, 2, 3, 4)
    np.testing.assert_array_equal(ops.dropout(x, 0.4, RandomKey(KEY, 0)).reshape(20, 24) != 0, kept)
    np.testing.assert_array_equal(mask(ops, 0.4, 20, 100)[:, :24], kept)


@both_sets
def test_the_layer_repeats_its_mask_for_the_same_rng_and_no_other(ops):
    layer = Dropout(0.5)
    layer.ops = ops
    x = np.ones((4, 100), np.float32)
    first = layer.forward(x, training=True, rng=RandomKey(KEY, 0))[0]
    second = layer.forward(x, training=True, rng=RandomKey(KEY + 12345, 0))[0]
    assert not np.array_equal(first, second)
    np.testing.assert_array_equal(layer.forward(x, training=True, rng=RandomKey(KEY, 0))[0], first)
