"""What belongs to whom: a reference to the owner that neither keeps it alive nor is copied."""

import weakref
from typing import Generic, TypeVar

Owner = TypeVar("Owner")


class Home(Generic[Owner]):
    """A reference to the stack that a layer is in, or to the model that an optimizer works for.

    In a copy made by copy.deepcopy or pickle it becomes None: the copy belongs to nobody.
    """

    def __init__(self, owner: Owner) -> None:
        self._owner = weakref.ref(owner)

    @property
    def owner(self) -> Owner | None:
        """The owner; None where it no longer exists."""
        return self._owner()

    def __reduce__(self) -> tuple[type[None], tuple[()]]:
        return type(None), ()
