"""How long a call takes: the one way of timing that all benchmarks share."""

import statistics
import time
from collections.abc import Callable

LEAST, MOST = 5, 200  # calls


def median_seconds(call: Callable[[], object], budget: float = 0.5) -> float:
    """The median of as many calls as fit the budget (seconds), at least 5 and at most 200, after 3 that warm up."""
    for _ in range(3):
        call()
    seconds: list[float] = []
    while len(seconds) < LEAST or (sum(seconds) < budget and len(seconds) < MOST):
        begin = time.perf_counter()
        call()
        seconds.append(time.perf_counter() - begin)
    return statistics.median(seconds)
