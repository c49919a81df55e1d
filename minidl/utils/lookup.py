"""Looking up an object by the name that a user typed, suggesting the nearest names where there is none."""

import difflib
from collections.abc import Mapping
from typing import TypeVar

Value = TypeVar("Value")


def by_name(table: Mapping[str, Value], name: object, kind: str) -> Value:
    """table[name]. Raises ValueError, with the nearest names, where it is missing; TypeError where it is not a string."""
    if not isinstance(name, str):
        raise TypeError(f"a {kind} must be given by its name, received {name!r}.")
    if name in table:
        return table[name]
    # a name from a file may be of any length
    near = difflib.get_close_matches(name[:100].lower(), table, n=2, cutoff=0.5)
    hint = f"Did you mean {' or '.join(map(repr, near))}? " if near else ""
    raise ValueError(f"unknown {kind} {name!r}. {hint}There are: {', '.join(sorted(table))}.")


def spelled(table: Mapping[str, object], name: str) -> str:
    """How the table spells this name: Keras takes "MeanSquaredError", "MSE" and "L2", too. The name itself where it has none."""
    return name if name in table else {_bare(key): key for key in table}.get(_bare(name), name)


def _bare(name: str) -> str:
    return name.lower().replace("_", "")
