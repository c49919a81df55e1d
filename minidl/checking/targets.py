"""What can be checked, recognised by its attributes: a layer, a loss, a model, a network, or functions."""

import copy

from ..contracts import Output, Target
from .calls import required_by
from .operators import of_layer, of_pair
from .report import Report
from .scalars import of_function, of_functions, of_loss, of_model, of_net
from .stack import Stack
from .subjects import Settings, Subject


def subject_of(target: Target, arrays: tuple[Output, ...], settings: Settings, report: Report) -> Subject:
    """The target as a Subject. Raises TypeError where it cannot be checked, ValueError for arrays that do not fit."""
    if isinstance(target, tuple) and len(target) == 2 and all(map(callable, target)):
        report.target = getattr(target[0], "__name__", "function")
        _expect(arrays, "two functions", "x", more=True)
        is_forward = _returns_a_pair(target[0], arrays)
        return (of_pair if is_forward else of_functions)(target, arrays, settings, report)
    if hasattr(target, "loss_and_gradients") and len(arrays) != 1:
        x, y = _expect(arrays, "a model", "x", "y")
        return of_model(target, x, y, settings, report)
    is_model = hasattr(target, "loss_and_gradients")
    if not is_model and callable(getattr(target, "loss", None)) and isinstance(getattr(target, "params", None), dict):
        return of_net(target, _expect(arrays, "a network with loss(x, y)", "x", more=True), settings, report)
    if hasattr(target, "layers") and (hasattr(target, "loss_and_gradients") or not hasattr(target, "backward")):
        target = Stack(target.layers)
    if hasattr(target, "forward") and hasattr(target, "backward") and not isinstance(target, type):
        if len(arrays) == 2 and len(required_by(target.backward) or "..") == 1:
            return of_loss(target, *arrays, settings, report)
        return of_layer(target, _expect(arrays, "a layer", "x", more=True), settings, report)
    if callable(target) and not isinstance(target, type):
        report.target = getattr(target, "__name__", report.target)
        return of_function(target, _expect(arrays, "a function", "x", more=True), settings, report)
    raise TypeError(
        "gradcheck expects a layer or a loss (objects with forward and backward), a model (with loss_and_gradients), a "
        "function that returns (value, gradients), or a pair of functions, (value, gradient) or (forward, backward), "
        f"received {target!r}."
    )


def _returns_a_pair(function: Target, arrays: tuple[Output, ...]) -> bool:
    """Whether it returns (y, cache), like a forward, and not a value."""
    return isinstance(function(*copy.deepcopy(arrays)), tuple)


def _expect(arrays: tuple[Output, ...], target: str, *names: str, more: bool = False) -> tuple[Output, ...]:
    """The arrays, if there are as many as names, or more where that is allowed."""
    if len(arrays) < len(names) or (len(arrays) > len(names) and not more):
        raise ValueError(f"gradcheck of {target} expects {', '.join(names)}, received {len(arrays)} arrays.")
    return arrays
