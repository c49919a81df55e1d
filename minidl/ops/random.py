"""Randomness as values: every random number follows from the model's seed and its purpose, never from global state."""

import hashlib
from typing import NamedTuple

import numpy as np

# What a stream of random numbers is for. Two purposes never share a stream.
INITIALIZE, SHUFFLE, FORWARD = 0, 1, 2


class RandomKey(NamedTuple):
    """What a layer gets as ``rng``: the same key always gives the same numbers.

    key: a 64-bit integer made of (seed, purpose, the model's lifetime step) and the path to the layer. first_sample: the
    position in the batch of the first sample that the layer is given. A layer whose numbers depend on ``first_sample + i``
    for sample i draws the same ones however the batch is cut into shards. depth: how many stacks the layer is in; 0 for
    the key of a whole batch.
    """

    key: int
    first_sample: int
    depth: int = 0

    def layer(self, place: int) -> "RandomKey":
        """The key of the layer at this place in the stack that has this key."""
        if self.depth == 0:
            key = (self.key + place * 0x9E3779B97F4A7C15) % 2**64  # as far from its neighbours' keys as 64 bits allow
        else:  # a hash, because sums along different paths may be equal
            text = f"{self.key % 2**64}/{place}".encode()
            key = int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), "little")
        return RandomKey(key, self.first_sample, self.depth + 1)


def derive_key(seed: int, purpose: int, *counters: int) -> int:
    """A 64-bit key that depends on every argument; keys of different arguments are independent for all practical purposes."""
    return int(np.random.SeedSequence([seed, purpose, *counters]).generate_state(1, np.uint64)[0])


def generator(seed: int, purpose: int, *counters: int) -> np.random.Generator:
    """A NumPy generator that depends on every argument."""
    return np.random.default_rng([seed, purpose, *counters])
