"""Randomness as values: every random number follows from the model's seed and from what it is for, never from a global state."""

from typing import NamedTuple

import numpy as np

# What a stream of random numbers is for. Two purposes never share a stream.
INITIALIZE, SHUFFLE, FORWARD = 0, 1, 2


class RandomKey(NamedTuple):
    """What a layer gets as ``rng``: the same key gives the same numbers, always and everywhere.

    key: a 64-bit integer made of (seed, purpose, the model's lifetime step, the layer's position in the model).
    first_sample: the position in its batch of the first sample that the layer is given. A layer whose numbers depend on
        ``first_sample + i`` for sample i draws the same ones however the batch is cut into shards.
    """

    key: int
    first_sample: int


def derive_key(seed: int, purpose: int, *counters: int) -> int:
    """A 64-bit key that depends on every argument; keys of different arguments are independent for all practical purposes."""
    return int(np.random.SeedSequence([seed, purpose, *counters]).generate_state(1, np.uint64)[0])


def generator(seed: int, purpose: int, *counters: int) -> np.random.Generator:
    """A NumPy generator that depends on every argument."""
    return np.random.default_rng([seed, purpose, *counters])
