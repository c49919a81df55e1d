"""set_random_seed, and the seeds of what is given none: the one place where randomness is global."""

import itertools
import random
from collections.abc import Iterator

import numpy as np

from ..checks import is_integer

_seeds: Iterator[tuple[int, int]] | None = None  # (seed, 0), (seed, 1), … after set_random_seed


def set_random_seed(seed: int) -> None:
    """Make a script repeatable: seed Python's ``random``, NumPy's old global generator, and the seeds of later models.

    A model that is made with seed=None then gets a seed that follows from this one and from how many were made before it.
    Models that exist already, and those with a seed of their own, are not changed. Raises ValueError where seed is not an integer
    from 0 to 2³² − 1, NumPy's limit.
    """
    global _seeds
    if not is_integer(seed) or not 0 <= seed < 2**32:
        raise ValueError(f"set_random_seed seed must be an integer from 0 to 2³² − 1, received {seed!r}.")
    random.seed(int(seed))
    np.random.seed(int(seed))  # noqa: NPY002 (for scripts that draw from it)
    _seeds = zip(itertools.repeat(int(seed)), itertools.count(), strict=False)


def share(seed: int) -> None:
    """Let later models that are given no seed get those that follow from this one, unless set_random_seed was called."""
    global _seeds
    if _seeds is None:
        _seeds = zip(itertools.repeat(seed), itertools.count(), strict=False)


def draw_seed() -> int:
    """A seed for what was given none: a different one each time; from the system where set_random_seed was not called."""
    sequence = np.random.SeedSequence(None if _seeds is None else next(_seeds))
    return int(sequence.generate_state(1)[0])
