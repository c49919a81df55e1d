"""The settings of an object: the arguments that would recreate it, as its attributes hold them."""

import inspect
from typing import Any

_VARIADIC = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)


def settings(thing: object, without: tuple[str, ...] = ()) -> dict[str, Any]:
    """Argument's name → the attribute of that name, for every argument of the class.

    Where ``__init__`` has ``**kwargs``, the arguments of the base class are included. Raises ValueError where an argument is
    kept under another name, or not at all.
    """
    found: dict[str, Any] = {}
    for cls in type(thing).__mro__:
        if "__init__" not in vars(cls) or cls is object:
            continue
        arguments = list(inspect.signature(vars(cls)["__init__"]).parameters.values())[1:]
        for argument in arguments:
            if argument.kind in _VARIADIC or argument.name in without:
                continue
            if not hasattr(thing, argument.name):
                raise ValueError(
                    f"the settings of {type(thing).__name__} are not known: its __init__ takes {argument.name!r} and keeps no "
                    f"attribute of that name. Keep it as self.{argument.name}, or write get_config()."
                )
            found[argument.name] = getattr(thing, argument.name)
        if all(argument.kind != inspect.Parameter.VAR_KEYWORD for argument in arguments):
            break
    return found
