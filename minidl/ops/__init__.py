"""Two complete sets of operations, equal in names, signatures and values: one to read, one to run.

``reference`` is NumPy and readable; ``kernels`` is Numba and fast. A layer calls the set that its model was made with.
"""

from types import ModuleType

from . import kernels, reference

OPERATIONS: dict[str, ModuleType] = {"kernels": kernels, "reference": reference}

__all__ = ["OPERATIONS", "kernels", "reference", "set_name"]


def set_name(operations: object) -> str:
    """The name of a set of operations; unlike a module, it can be copied and pickled."""
    return next(name for name, module in OPERATIONS.items() if module is operations)
