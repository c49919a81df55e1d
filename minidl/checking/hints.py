"""The likely mistake behind a wrong gradient: what the wrong numbers have in common."""

from itertools import combinations

import numpy as np

from ..ops.geometry import Array
from .subjects import Subject

Judged = tuple[tuple[int, ...], float, float]  # (where, analytic, numeric)


def likely_mistake(judged: list[list[Judged]], gradients: list[Array], by_entry: bool, subject: Subject) -> str:
    """The likely mistake behind a wrong gradient, or an empty text. judged, gradients: for each dy.

    A guess has to hold for every dy for which something is wrong.
    """
    guesses = {
        _guess(gradient if by_entry else np.zeros(0), found, subject.samples)
        for gradient, found in zip(gradients, judged, strict=True)
        if any(not np.isclose(analytic, numeric, rtol=1e-4) for _, analytic, numeric in found)
    }
    return guesses.pop() if len(guesses) == 1 else ""


def _guess(gradient: Array, judged: list[Judged], samples: int) -> str:
    a, n = np.array([analytic for _, analytic, _ in judged]), np.array([numeric for *_, numeric in judged])
    scale = np.abs(n).max(initial=0.0)
    if scale <= 1e-9 * np.abs(a).max():
        return "moving it does not change the output, so its gradient is 0: does forward use it, and read it from self.params?"

    def alike(x: Array, y: Array) -> bool:
        return bool(np.allclose(x, y, rtol=1e-3, atol=1e-6 * scale))

    square = "a factor of 2, as of a square's derivative"
    mean = "the number of samples: mean or sum over the batch"
    if samples == 2:
        square = mean = f"{mean}, or {square}"
    for factor, words in (
        (0.0, "it is 0 everywhere: was the gradient computed, and passed on?"),
        (-1.0, "the sign is wrong."),
        (2.0, f"it is twice too large: {square}?"),
        (0.5, f"it is half as large as it should be: {square}?"),
        (float(samples), f"it is {samples} times too large, {mean}?"),
        (1 / samples, f"it is {samples} times too small, {mean}?"),
    ):
        if alike(a, factor * n):
            return words

    ratio = float(a @ n / (n @ n))
    if len(a) > 1 and np.allclose(a, ratio * n, rtol=min(1e-3, abs(ratio - 1) / 10), atol=1e-9 * scale):
        return f"it is {ratio:.6g} times what it should be, everywhere: a constant factor is missing or too much."
    for one, other in combinations(range(gradient.ndim), 2):
        if gradient.shape[one] == gradient.shape[other]:
            swapped = np.swapaxes(gradient, one, other)
            if alike(np.array([swapped[where] for where, *_ in judged]), n):
                return f"it is transposed: its axes {one} and {other} are swapped."
    zero = np.abs(n) <= 1e-9 * scale
    if zero.any() and (np.abs(a[zero]) > 1e-6 * scale).any():
        if alike(a[~zero], n[~zero]):
            return "it lets through what should be 0: is a mask (of a ReLU, a pool or a dropout) not applied?"
        return "it is not 0 where it should be: is a mask (of a ReLU, a pool or a dropout) missing or misplaced?"
    return ""
