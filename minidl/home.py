"""To whom a thing belongs: a reference that neither keeps the owner alive nor is copied with the thing."""

import weakref
from typing import Generic, TypeVar

Owner = TypeVar("Owner")


class Home(Generic[Owner]):
    """The stack that a layer stands in, or the model that an optimizer works for.

    A copy of the thing, by copy.deepcopy or pickle, has None in its place: it is free.
    """

    def __init__(self, owner: Owner) -> None:
        self._owner = weakref.ref(owner)

    @property
    def owner(self) -> Owner | None:
        """None where it no longer exists."""
        return self._owner()

    def __reduce__(self) -> tuple[type[None], tuple[()]]:
        return type(None), ()
