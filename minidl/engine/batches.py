"""Where a pass gets its batches: cut from arrays, or made by the user's own code, one ahead, in a thread of its own."""

import os
import warnings
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Set
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Protocol, TypeAlias, TypeVar

import numpy as np

from ..checks import check_positive
from ..contracts import Array, ClassWeight, Samples
from .arrays import has_numbers
from .blas import limit_this_thread
from .data import Data, Parts, Where

Pass: TypeAlias = Generator[tuple[Data, Where], None, None]
Item = TypeVar("Item")


class Batches(Protocol):
    """The batches of a fit, an evaluate or a predict.

    Attributes: steps: how many batches a pass has; None where that is not known before its end. count: what can be brought
    into another order: how many samples, or how many batches there are; None where they come as they come. size: the samples
    of a batch; None where others decide it. once: whether each can be had only once.
    """

    @property
    def steps(self) -> int | None: ...

    @property
    def count(self) -> int | None: ...

    @property
    def size(self) -> int | None: ...

    @property
    def once(self) -> bool: ...

    def one_pass(self, order: Array | None = None, first: int = 0) -> Pass:
        """The batches of a pass, without those before the first. order: a permutation of ``count``. To be closed after use."""


class Cut:
    """Batches of samples that are in arrays."""

    once = False

    def __init__(self, data: Data, size: int) -> None:
        self.data, self.size, self.count = data, size, len(data)
        self.steps = -(-len(data) // size)

    def one_pass(self, order: Array | None = None, first: int = 0) -> Pass:
        for start in range(first * self.size, self.count, self.size):
            stop = min(start + self.size, self.count)
            yield self.data, slice(start, stop) if order is None else order[start:stop]


class Stream:
    """Batches that the user's code makes: x, (x, y) or (x, y, sample_weight). It comes in one of three forms.

    An object with ``__len__`` and ``__getitem__`` makes any batch by its number; ``on_epoch_begin`` and ``on_epoch_end``
    are called where it has them. An iterable, such as PyTorch's DataLoader, is iterated over anew in each pass. An iterator, such
    as a generator, is continued, and so needs ``steps`` where there is more than one pass.

    Arguments: source: the object. prepare: checks a batch, and copies it, because many generators use their arrays again;
    called with the batch and its name. steps: how many batches a pass has; None for all. what: what messages call the source.
    passes: how many there will be. Raises ValueError where the source cannot give as many.
    """

    size = None
    steps: int | None
    count: int | None

    def __init__(
        self, source: Any, prepare: Callable[[Parts, str], Data], steps: int | None, what: str, passes: int = 1
    ) -> None:
        self.source, self.prepare = source, prepare
        self.steps = None if steps is None else check_positive(steps, "the number of steps")
        self.name = f"{what}, a {type(source).__name__},"
        self.what = what
        self.count = None
        self.once = hasattr(source, "__next__")
        self._peeked: list[object] = []  # by ``first``
        if not self.once and hasattr(source, "__getitem__") and hasattr(source, "__len__"):
            self.count = len(source)
            self.steps = self.count if self.steps is None else self.steps
            if not 0 < self.steps <= self.count:
                raise ValueError(f"{self.name} has {self.count} batches, and a pass needs {max(1, self.steps)}.")
        elif self.once and steps is None and passes > 1:
            option = "validation_steps" if what == "validation_data" else "steps_per_epoch"
            raise ValueError(
                f"{self.name} gives each batch once, and there are {passes} epochs: pass {option}, the number of batches in "
                "each. Or write a class with __len__ and __getitem__, which can make a batch again."
            )

    def first(self) -> Parts:
        """The first batch, which a pass will give again."""
        items = iter([self.source[0]]) if self.count is not None else iter(self.source)
        for item in items:
            if self.once:
                self._peeked.append(item)
            return parts(item, f"batch 1 of {self.what}")
        raise ValueError(f"{self.name} gave no batch.")

    def one_pass(self, order: Array | None = None, first: int = 0) -> Pass:
        return one_ahead(self._made(order, first))

    def _made(self, order: Array | None, first: int) -> Pass:
        items = self._items(order, first)
        done = first
        while self.steps is None or done < self.steps:
            what = f"batch {done + 1} of {self.what}"
            try:
                item = next(items, items)
                if item is items:
                    break
                data = self.prepare(parts(item, what), what)
            except Exception as error:
                error.add_note(f"This was {what}, from {type(self.source).__name__}.")
                raise
            yield data, slice(0, len(data))
            done += 1
        if self.steps is not None and done < self.steps:
            warnings.warn(f"{self.name} ended after {done} of {self.steps} batches.", stacklevel=2)
        elif done == 0:
            raise ValueError(f"{self.name} gave no batch.")
        self._call("on_epoch_end")

    def _items(self, order: Array | None, first: int) -> Iterator[object]:
        self._call("on_epoch_begin")
        if self.count is not None:
            for place in range(first, self.count) if order is None else order[first:]:
                yield self.source[int(place)]
        while self._peeked:
            yield self._peeked.pop()
        if self.count is None:
            for item in self.source:  # noqa: UP028 (yield from would close the user's generator together with this one)
                yield item

    def _call(self, hook: str) -> None:
        if hasattr(self.source, hook):
            getattr(self.source, hook)()


def is_stream(x: object) -> bool:
    """Whether it gives batches, and is no array: it can be iterated over, or has ``__len__`` and ``__getitem__``."""
    if isinstance(x, np.ndarray | type | str | bytes | Mapping | Set) or has_numbers(x):
        return False
    return isinstance(x, Iterable) or (hasattr(x, "__len__") and hasattr(x, "__getitem__"))


def check_left_out(
    x: object,
    size: int | None,
    sample_weight: Samples | None,
    validation_split: object,
    class_weight: ClassWeight | None,
) -> None:
    """Raise ValueError for arguments that belong to arrays, where x makes batches."""
    kind = type(x).__name__
    if size is not None:
        raise ValueError(
            f"x is a {kind}, which makes the batches: leave batch_size out, and let it make them of {size!r} samples."
        )
    if sample_weight is not None:
        raise ValueError(
            f"x is a {kind}, which gives the weights, too, in batches (x, y, sample_weight): leave sample_weight out."
        )
    if validation_split:
        raise ValueError(
            f"x is a {kind}, of which no part can be held out: pass validation_data instead of validation_split."
        )
    if isinstance(class_weight, str):
        raise ValueError(
            f"x is a {kind}, and class_weight={class_weight!r} needs all labels at once: pass class → weight."
        )


def parts(item: object, what: str) -> Parts:
    """(x, y or None, sample_weight or None) of x, (x,), (x, y) or (x, y, sample_weight). Raises ValueError for other tuples."""
    given = item if isinstance(item, tuple | list) else (item,)
    if not 1 <= len(given) <= 3:
        raise ValueError(
            f"{what} must be (x, y) or (x, y, sample_weight), received {type(item).__name__} of {len(given)}."
        )
    x, y, sample_weight = (*given, None, None)[:3]
    return x, y, sample_weight


def one_ahead(items: Iterator[Item]) -> Generator[Item, None, None]:
    """The same items, each made in a thread while the one before it is in use. Closing it waits for the one in work.

    Where no thread can be had, at the end of the process or at a limit of the system's, each is made when it is asked for.

    Raises RuntimeError in a process that was forked meanwhile: it does not have the thread, and would wait for it forever.
    """
    process = os.getpid()
    with ThreadPoolExecutor(1, "minidl-data", limit_this_thread) as pool:
        coming = _begun(pool, items)
        while (item := next(items, None) if coming is None else coming.result()) is not None:
            # never again after a failure: the pool has kept that call, and would make it first
            coming = None if coming is None else _begun(pool, items)
            yield item
            if os.getpid() != process:
                raise RuntimeError(
                    "this process was forked in the middle of a pass, and cannot take the batches that its parent makes: begin "
                    "the pass again."
                )


def _begun(pool: ThreadPoolExecutor, items: Iterator[Item]) -> Future[Item | None] | None:
    """The next item, which the pool's thread has begun to make; None where there can be no thread."""
    try:
        return pool.submit(next, items, None)
    except RuntimeError:
        return None
