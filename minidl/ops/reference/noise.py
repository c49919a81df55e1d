"""Whatever is drawn: random numbers that are a hash of (key, sample, entry), so that backward can compute them once more."""

import math

import numpy as np

from ...contracts import Array
from ..floats import of_floats
from ..random import RandomKey

GOLDEN = np.uint32(0x9E3779B9)  # 2^32 over the golden ratio; odd, so its multiples visit all 2^32 values


@of_floats
def dropout(x: Array, rate: float, rng: RandomKey) -> Array:
    """Each entry becomes 0 with probability rate and is divided by 1 − rate otherwise, so that its mean is unchanged.

    x (N, …) → y (N, …). Multiplying by a mask is its own transpose, so this one function is both forward (on x) and backward
    (on dy, with the same rng). Srivastava et al. 2014, "Dropout: a simple way to prevent neural networks from overfitting".

    The mask is a hash, not a stream: entry d of sample n depends on (key, first_sample + n, d) and on nothing else. It is the
    same however a batch is cut into shards, in whatever order the threads run, and whenever it is computed again.
    """
    features = x.reshape(len(x), -1)
    bits = _bits(rng, *features.shape)
    scale = x.dtype.type(1 / (1 - rate))
    return np.where(bits >= np.uint32(rate * 2**32), features * scale, 0).reshape(x.shape)


@of_floats
def gaussian_noise(x: Array, stddev: float, rng: RandomKey) -> Array:
    """y = x + stddev · a standard normal number for each entry.  x (N, …) → y (N, …).  Its backward is dx = dy.

    Two hashes as in dropout, numbers u and v between 0 and 1, give the normal number √(−2 ln u) · cos 2πv (Box and Muller 1958).
    """
    numbers = uniform(rng, len(x), 2 * math.prod(x.shape[1:]))
    u, v = np.moveaxis(numbers.reshape(*x.shape, 2), -1, 0)
    return x + (stddev * np.sqrt(-2 * np.log(u)) * np.cos(2 * np.pi * v)).astype(x.dtype)


def uniform(rng: RandomKey, samples: int, count: int) -> Array:
    """Random numbers between 0 and 1, ``count`` for each sample, hashes as in dropout.  (samples, count) float64."""
    numbers: Array = (_bits(rng, samples, count) + 0.5) / 2**32
    return numbers


def _bits(rng: RandomKey, samples: int, count: int) -> Array:
    """32 random bits for each of the ``count`` entries of each sample.  (samples, count) uint32."""
    sample = np.arange(rng.first_sample, rng.first_sample + samples, dtype=np.uint64)
    state = _mix64(_mix64(np.array([rng.key % 2**64], np.uint64)) + sample)  # (N,): 64 random bits a sample
    low, high = state.astype(np.uint32)[:, None], (state >> np.uint64(32)).astype(np.uint32)[:, None]
    counter = np.arange(count, dtype=np.uint32) * GOLDEN
    return _mix32(counter + low, high)


def _mix64(z: Array) -> Array:
    """The output function of SplitMix64 (Steele, Lea, Flood 2014): every input bit reaches every output bit. Wraps at 2^64."""
    z = z + np.uint64(0x9E3779B97F4A7C15)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


def _mix32(z: Array, high: Array) -> Array:
    """A 32-bit mixer with the constants of C. Wellons's lowbias32; ``high`` enters halfway. Wraps at 2^32."""
    z = (z ^ (z >> np.uint32(16))) * np.uint32(0x7FEB352D)
    z = ((z + high) ^ (z >> np.uint32(15))) * np.uint32(0x846CA68B)
    return z ^ (z >> np.uint32(16))
