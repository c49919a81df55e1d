"""The dys: numbers independent of what they check, so that no wrong gradient is right by accident."""

import numpy as np

from ..contracts import Array

# A separate stream: x from default_rng(0).normal(...) must not be the same numbers as dy.
PRIVATE = 0x6D696E69


def stream(seed: int, purpose: int, *more: int) -> np.random.Generator:
    """A generator with a state that nobody else starts from."""
    return np.random.default_rng([PRIVATE, seed, purpose, *more])


def draw_upstreams(size: int, seed: int, training: bool) -> list[Array]:
    """Two rows of ``size`` numbers, with absolute values between 0.5 and 2, and opposite signs everywhere.

    So whatever the signs of x are, one of the two rows differs at each place; and evaluation mode gets other rows, so that a
    gradient that is right by chance in training is not right twice.
    """
    rng = stream(seed, 1, training)
    signs = rng.choice([-1.0, 1.0], size)
    return [signs * rng.uniform(0.5, 2, size), -signs * rng.uniform(0.5, 2, size)]


def upstream_for_small(outputs: Array, seed: int) -> Array | None:
    """A row that weights each output by the inverse of its size, if sizes differ greatly; otherwise None.

    In a softmax that is saturated, one output is 1 and the others are 1e-13: their slopes drown in the rounding of the large
    one. Weighted like this, all of them count alike.
    """
    sizes = np.abs(outputs)
    if not (sizes > 0).any() or sizes[sizes > 0].min() > 1e-3 * sizes.max():
        return None
    rng = stream(seed, 2)
    weights = np.zeros(outputs.size)
    np.divide(1.0, sizes, out=weights, where=sizes > 1e-300)
    return rng.choice([-1.0, 1.0], outputs.size) * rng.uniform(0.5, 2, outputs.size) * weights
