"""Copying between arrays."""

from collections.abc import Iterable
from typing import Any

import numpy as np
import numpy.typing as npt


def copy_each(pairs: Iterable[tuple[npt.NDArray[Any], npt.NDArray[Any]]]) -> None:
    """Copy the second array of each pair into the first. What overflows its dtype becomes infinite, without a warning."""
    with np.errstate(over="ignore"):
        for target, source in pairs:
            target[...] = source
