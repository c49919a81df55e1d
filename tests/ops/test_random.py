"""Keys and generators: which numbers follow from a seed is part of what a saved seed means, so it may not change unnoticed."""

import numpy as np
import pytest

from minidl.ops.random import FORWARD, INITIALIZE, SHUFFLE, derive_key, generator

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
