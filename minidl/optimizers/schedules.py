"""Schedules: learning rates that depend on the step, 0, 1, 2, … They hold no state, so a resumed training needs none of it."""

import math
from collections.abc import Sequence

from ..checks import check_count, check_number, check_positive
from ..contracts import Config
from ..utils.settings import settings


class LearningRateSchedule:
    """The base class. Your own schedule defines ``__call__``, and keeps its arguments as attributes of their names."""

    def __call__(self, step: int) -> float:
        """The learning rate of this step."""
        raise NotImplementedError

    def get_config(self) -> Config:
        """The arguments that recreate this schedule, by name."""
        return settings(self)


def _check_steps(decay_steps: float) -> int:
    """As an int, where it is one or, as 1e4, a whole float."""
    whole = isinstance(decay_steps, float) and decay_steps.is_integer()
    return check_positive(int(decay_steps) if whole else decay_steps, "decay_steps")


class _Decay(LearningRateSchedule):
    """What ExponentialDecay and InverseTimeDecay share: their arguments, and how many decay_steps have passed."""

    def __init__(
        self, initial_learning_rate: float, decay_steps: float, decay_rate: float, staircase: bool = False
    ) -> None:
        self.initial_learning_rate = check_number(initial_learning_rate, "initial_learning_rate", 0)
        self.decay_steps = _check_steps(decay_steps)
        self.decay_rate = check_number(decay_rate, "decay_rate", 0)
        self.staircase = bool(staircase)

    def _passed(self, step: int) -> float:
        return step // self.decay_steps if self.staircase else step / self.decay_steps


class ExponentialDecay(_Decay):
    """initial_learning_rate · decay_rate^(step / decay_steps); with staircase=True, of the whole number of decay_steps."""

    def __call__(self, step: int) -> float:
        return float(self.initial_learning_rate * self.decay_rate ** self._passed(step))


class InverseTimeDecay(_Decay):
    """initial_learning_rate / (1 + decay_rate · step / decay_steps); with staircase=True, of the whole number of decay_steps.

    With decay_steps=1, what optimizers of old versions of Keras did with their argument ``decay``.
    """

    def __call__(self, step: int) -> float:
        return self.initial_learning_rate / (1 + self.decay_rate * self._passed(step))


class PiecewiseConstantDecay(LearningRateSchedule):
    """values[0] up to step boundaries[0], then values[1] up to boundaries[1], and so on."""

    def __init__(self, boundaries: Sequence[int], values: Sequence[float]) -> None:
        self.boundaries = [check_count(step, "boundaries") for step in boundaries]
        self.values = [check_number(value, "values", 0) for value in values]
        if len(self.values) != len(self.boundaries) + 1 or sorted(self.boundaries) != self.boundaries:
            raise ValueError(
                "PiecewiseConstantDecay expects boundaries that increase, and one value more than these, received "
                f"{boundaries!r} and {values!r}."
            )

    def __call__(self, step: int) -> float:
        return self.values[sum(step > boundary for boundary in self.boundaries)]


class CosineDecay(LearningRateSchedule):
    """Half a cosine from initial_learning_rate down to alpha times that, over decay_steps (Loshchilov and Hutter 2017).

    warmup_target: where it is given, the first warmup_steps go from initial_learning_rate up to it in a straight line, and the
    cosine goes from there down to alpha times warmup_target.
    """

    def __init__(
        self,
        initial_learning_rate: float,
        decay_steps: float,
        alpha: float = 0.0,
        *,
        warmup_target: float | None = None,
        warmup_steps: int = 0,
    ) -> None:
        self.initial_learning_rate = check_number(initial_learning_rate, "initial_learning_rate", 0)
        self.decay_steps = _check_steps(decay_steps)
        self.alpha = check_number(alpha, "alpha", 0)
        self.warmup_target = None if warmup_target is None else check_number(warmup_target, "warmup_target", 0)
        self.warmup_steps = check_count(warmup_steps, "warmup_steps")

    def __call__(self, step: int) -> float:
        top = self.initial_learning_rate
        if self.warmup_target is not None:
            if step < self.warmup_steps:
                return top + (self.warmup_target - top) * step / self.warmup_steps
            step, top = step - self.warmup_steps, self.warmup_target
        return top * (self.alpha + (1 - self.alpha) * _cosine(step / self.decay_steps))


class OneCycle(LearningRateSchedule):
    """Up to max_learning_rate and down again in total_steps, by cosines (Smith and Topin 2018; PyTorch's OneCycleLR).

    It begins at max_learning_rate / div_factor, is highest after the share pct_start of the steps, and ends at that beginning
    divided by final_div_factor.
    """

    def __init__(
        self,
        max_learning_rate: float,
        total_steps: int,
        pct_start: float = 0.3,
        div_factor: float = 25.0,
        final_div_factor: float = 1e4,
    ) -> None:
        self.max_learning_rate = check_number(max_learning_rate, "max_learning_rate", 0)
        self.total_steps = check_positive(total_steps, "total_steps")
        self.pct_start = check_number(pct_start, "pct_start", 0, 1)
        self.div_factor = check_number(div_factor, "div_factor", 1)
        self.final_div_factor = check_number(final_div_factor, "final_div_factor", 1)

    def __call__(self, step: int) -> float:
        first, top = self.max_learning_rate / self.div_factor, self.max_learning_rate
        peak, end = self.pct_start * self.total_steps - 1, self.total_steps - 1
        if step < peak:
            return top + (first - top) * _cosine(step / peak)
        last = first / self.final_div_factor
        return last + (top - last) * _cosine((step - peak) / (end - peak) if end > peak else 1)


def _cosine(share: float) -> float:
    """Half a cosine, from 1 at 0 down to 0 at 1, and 0 after it."""
    return 0.5 * (1 + math.cos(math.pi * min(share, 1)))
