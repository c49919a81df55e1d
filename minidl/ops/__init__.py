"""Two complete sets of operations, equal in names, signatures and values: one to read, one to run.

``reference`` is NumPy and readable; ``kernels`` is Numba and fast. A layer calls whichever its model was made with.
"""

from types import ModuleType
from typing import Any

from . import kernels, reference


class OperationSet:
    """A module of operations as an object, so that what holds it can be copied, pickled and sent to another process."""

    def __init__(self, module: ModuleType) -> None:
        self.__name__ = module.__name__
        self._module = module

    def __getattr__(self, name: str) -> Any:
        operation = getattr(self._module, name)
        setattr(self, name, operation)  # the next time it is found at once
        return operation

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return operation_set, (self.__name__.rpartition(".")[2],)


def operation_set(name: str) -> OperationSet:
    """The set of that name: the same object in every layer of a process."""
    return OPERATIONS[name]


OPERATIONS: dict[str, OperationSet] = {"kernels": OperationSet(kernels), "reference": OperationSet(reference)}

__all__ = ["OPERATIONS", "OperationSet", "kernels", "operation_set", "reference"]
