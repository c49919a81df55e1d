"""The settings of an object: the arguments that would recreate it, as its attributes hold them."""

import functools
import inspect
from collections.abc import Callable, Iterator, Mapping
from typing import Any

_VARIADIC = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)


def settings(thing: object, without: tuple[str, ...] = ()) -> dict[str, Any]:
    """Argument's name → the attribute of that name, for every argument of the class.

    Where ``__init__`` has ``**kwargs``, the arguments of the base class are included. Raises ValueError where an argument is
    kept under another name, or not at all.
    """
    found: dict[str, Any] = {}
    for name in arguments(type(thing)):
        if name in without:
            continue
        if not hasattr(thing, name):
            raise ValueError(
                f"the settings of {type(thing).__name__} are not known: its __init__ takes {name!r} and keeps no "
                f"attribute of that name. Keep it as self.{name}, or write get_config()."
            )
        found[name] = getattr(thing, name)
    return found


def arguments(cls: type) -> list[str]:
    """The names of a class's arguments; where its ``__init__`` has ``**kwargs``, with those of its base class."""
    found = ((name, parameter) for init in _inits(cls) for name, parameter in _parameters(init).items())
    return list(dict.fromkeys(name for name, parameter in found if parameter.kind not in _VARIADIC))


def default(cls: type, name: str) -> object:
    """The default of this argument of the class."""
    return next(_parameters(init)[name].default for init in _inits(cls) if name in _parameters(init))


def takes_any(cls: type) -> bool:
    """Whether it takes arguments of any name: there is no base class to which its ``**kwargs`` could go."""
    inits = list(_inits(cls))
    return bool(inits) and is_open(inits[-1])


def is_open(init: Callable[..., None]) -> bool:
    """Whether it has ``**kwargs``."""
    return any(parameter.kind is inspect.Parameter.VAR_KEYWORD for parameter in _parameters(init).values())


def _inits(cls: type) -> Iterator[Callable[..., None]]:
    """The class's ``__init__``, and those to which its ``**kwargs`` go."""
    for each in cls.__mro__:
        if "__init__" in vars(each) and each is not object:
            init: Callable[..., None] = each.__init__  # type: ignore[misc]  # as it is called, whatever it was wrapped in
            yield init
            if not is_open(init):
                return


# Asked for with every object that is made or described, and slow. Bounded, for the classes that a notebook defines anew.
@functools.lru_cache(256)
def _parameters(init: Callable[..., None]) -> Mapping[str, inspect.Parameter]:
    """All but self."""
    return dict(list(inspect.signature(init).parameters.items())[1:])
