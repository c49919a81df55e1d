"""What counts as an integer."""

from typing import TypeGuard

import numpy as np


def is_integer(value: object) -> TypeGuard[int]:
    """True for 3 and np.int64(3), not for True or 3.0."""
    return isinstance(value, int | np.integer) and not isinstance(value, bool)
