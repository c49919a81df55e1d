"""Names that nobody would read: an argument or an attribute that does not exist is an error that says which one does."""

import difflib
import functools
import inspect
from collections.abc import Callable, Collection, Mapping
from typing import Any, ParamSpec, TypeVar

from .settings import arguments, default, takes_any

P = ParamSpec("P")
R = TypeVar("R")

# What an argument or an attribute was called in older versions of Keras.
FORMER = {
    "lr": "learning_rate",
    "nb_epoch": "epochs",
    "samples_per_epoch": "steps_per_epoch",
    "nb_val_samples": "validation_steps",
    "show_accuracy": "metrics",
    "nb_filter": "filters",
    "output_dim": "units",
    "init": "kernel_initializer",
    "border_mode": "padding",
    "subsample": "strides",
    "p": "rate",
    "alpha": "negative_slope",
    "bias": "use_bias",
    "batch_input_shape": "input_shape",
    "W_regularizer": "kernel_regularizer",
    "epsilon": "min_delta",
    "period": "save_freq",
}


def advice(name: str, present: Collection[str]) -> str:
    """Which of the names that there are to use instead of this one."""
    if FORMER.get(name) in present:
        return f"It is called {FORMER[name]} now."
    near = difflib.get_close_matches(name, present, n=1)
    return f"Did you mean {near[0]}?" if near else f"There are: {', '.join(present)}."


def explained(function: Callable[P, R]) -> Callable[P, R]:
    """The same function; for a keyword that it does not take, its TypeError says which one to use."""
    present = [name for name in inspect.signature(function).parameters if name != "self"]

    @functools.wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        _check_keywords(function.__qualname__, kwargs, present)
        return function(*args, **kwargs)

    return call


def _check_keywords(what: str, kwargs: Mapping[str, object], present: Collection[str], rate: object = None) -> None:
    """Raise TypeError for a keyword that is not among those present. rate: an optimizer's learning rate."""
    for name in kwargs:
        if name not in present:
            hint = advice(name, present)
            if name == "decay" and "learning_rate" in present:  # of old optimizers
                schedule = f"InverseTimeDecay({rate}, decay_steps=1, decay_rate={kwargs[name]})"
                hint = f"Leave it out, and use learning_rate=minidl.optimizers.schedules.{schedule}."
            raise TypeError(f"{what}() got an unexpected keyword argument {name!r}. {hint}")


class Strict:
    """Objects that, once they are made, accept no attribute that they do not have: a typo would be ignored in silence.

    This holds for objects of exactly the library's classes. A user's subclass may have what it likes.
    """

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        if is_ours(cls) and "__init__" in vars(cls):
            cls.__init__ = _sealing(cls.__init__)  # type: ignore[method-assign]

    def __setattr__(self, name: str, value: object) -> None:
        cls = type(self)
        known = name.startswith("_") or name in vars(self) or hasattr(cls, name) or "_made" not in vars(self)
        if not known and is_ours(cls):
            properties = [
                each for base in cls.__mro__ for each, kind in vars(base).items() if isinstance(kind, property)
            ]
            present = [each for each in (*vars(self), *properties) if not each.startswith("_")]
            raise AttributeError(
                f"{cls.__name__} has no attribute {name!r}, and setting it would have no effect. {advice(name, present)}"
            )
        super().__setattr__(name, value)


def is_ours(cls: type) -> bool:
    return cls.__module__.split(".")[0] == __package__.split(".")[0]


def _sealing(init: Callable[..., None]) -> Callable[..., None]:
    """The ``__init__`` that also explains a wrong keyword, and marks the object as made when that of its own class is done."""
    own = inspect.signature(init).parameters

    @functools.wraps(init)
    def __init__(self: Strict, *args: Any, **kwargs: Any) -> None:
        cls = type(self)
        if any(name not in own for name in kwargs) and not takes_any(cls):
            present, given = arguments(cls), dict(zip(list(own)[1:], args, strict=False)) | kwargs
            rate = default(cls, "learning_rate") if "learning_rate" in present else None
            rate = given.get("learning_rate", given.get("lr", rate))
            _check_keywords(f"{cls.__name__}.__init__", kwargs, present, rate)
        init(self, *args, **kwargs)
        if cls.__init__ is __init__:
            vars(self)["_made"] = True

    return __init__
