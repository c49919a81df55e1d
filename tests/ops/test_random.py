"""Keys and generators: which numbers follow from a seed is part of what a saved seed means, so it may not change unnoticed."""

import hashlib
import itertools

import numpy as np
import pytest

from minidl.ops.random import FORWARD, INITIALIZE, SHUFFLE, RandomKey, derive_key, generator

ARGUMENTS = [(0, INITIALIZE), (7, SHUFFLE, 3), (2**31, FORWARD, 10**6, 12)]


@pytest.mark.parametrize("arguments", ARGUMENTS)
def test_a_key_is_64_bits_of_numpys_seed_sequence(arguments):
    """The first two 32-bit words that NumPy documents for these integers, the lower one first."""
    low, high = (int(word) for word in np.random.SeedSequence(list(arguments)).generate_state(2, np.uint32))
    assert derive_key(*arguments) == low + 2**32 * high


@pytest.mark.parametrize("arguments", ARGUMENTS)
def test_a_generator_is_numpys_default_one_of_these_integers(arguments):
    expected = np.random.Generator(np.random.PCG64(np.random.SeedSequence(list(arguments)))).random(5)
    np.testing.assert_array_equal(generator(*arguments).random(5), expected)


def test_every_argument_counts():
    keys = {derive_key(seed, purpose, step) for seed in range(10) for purpose in range(3) for step in range(10)}
    assert len(keys) == 300


# ---------------------------------------------------------------------------------------------------- the keys of layers


def at(key, *path):
    for place in path:
        key = key.layer(place)
    return key


def test_the_key_of_a_layer_in_a_model_is_a_sum_and_deeper_down_a_hash():
    """By hand: numbers that files of trainings depend on, as another program would compute them."""
    assert at(RandomKey(5, 7), 0) == (5, 7, 1)
    assert at(RandomKey(5, 7), 2) == ((5 + 2 * 0x9E3779B97F4A7C15) % 2**64, 7, 1)
    digest = hashlib.blake2b(b"5/3", digest_size=8).digest()
    assert at(RandomKey(5, 7), 0, 3) == (sum(byte << 8 * i for i, byte in enumerate(digest)), 7, 2)


def test_no_two_paths_of_places_have_one_key():
    paths = [path for depth in (1, 2, 3) for path in itertools.product(range(12), repeat=depth)]
    batches = [derive_key(0, FORWARD, step) for step in range(5)] + [0, 1, 2**63, 2**64 - 1]
    keys = {at(RandomKey(batch, 0), *path).key for batch in batches for path in paths}
    assert len(keys) == len(batches) * len(paths) == 9 * (12 + 144 + 1728)
    assert all(0 <= key < 2**64 for key in keys)
