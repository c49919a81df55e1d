"""Nothing hangs: what one rank raises is raised on all, calls that differ are found, and an uncaught error ends all ranks."""

import contextlib
import os
import pickle
import signal
import sys
import threading
import time
from collections.abc import Iterator
from types import FrameType, TracebackType
from typing import Any, NamedTuple, NoReturn

from mpi4py import MPI

from ..engine.runner import NotFinite
from .facts import Facts, difference
from .lifeline import Lifeline
from .wire import Wire

PATIENCE = 1.0  # seconds after which a second Ctrl-C waits for nobody
GRACE = 60.0  # seconds that another rank has to print the cause and to end all
END = "the end of the program"


class Message(NamedTuple):
    """What ranks tell each other before they do something together.

    where: what this rank has come to. value: what it brings. error: what it has raised. interrupted: whether it got Ctrl-C.
    """

    where: str
    value: Any = None
    error: BaseException | None = None
    interrupted: bool = False


class Faults:
    """The errors of all ranks. Attribute: speaker: the rank that prints an error which all know."""

    def __init__(self, wire: Wire) -> None:
        self.wire = wire
        self.speaker = 0
        self._known: BaseException | None = None  # the error that all ranks know of
        self._interrupted: float | None = None  # when Ctrl-C came
        self._suspects: list[int] = []  # ranks whose sums were not finite

    def exchange(self, where: str, value: object = None) -> list[Any]:
        """The values of all ranks, in order, if all have come to the same place.

        Raises what another rank has raised instead, RuntimeError where they have come to different places, and KeyboardInterrupt
        where one has got Ctrl-C: the same on all ranks.
        """
        found = self._meet(Message(where, value, interrupted=self._interrupted is not None))
        places = [message.where for message in found]
        if len(set(places)) > 1:
            other = next(rank for rank, place in enumerate(places) if place != places[0])
            raise self.shared(
                RuntimeError(
                    f"rank 0 has come to {places[0]}, and rank {other} to {places[other]}. Every rank has to make the same calls "
                    "of fit, evaluate and predict, and within fit of save, too: leave out the 'if rank == 0'. What stops fit "
                    "has to stop it on all."
                ),
                0,
            )
        pressed = [rank for rank, message in enumerate(found) if message.interrupted]
        if pressed:
            self._interrupted = None
            raise self.shared(KeyboardInterrupt(f"rank {pressed[0]} was interrupted"), pressed[0])
        return [message.value for message in found]

    def share(self, error: BaseException) -> None:
        """Tell all ranks of this error, unless they know: the others raise it where they next meet."""
        if error is self._known:
            return
        if isinstance(error, NotFinite) and self._suspects:
            error.add_note(f"It was found on rank {self._suspects[0]}.")
        own = Message("", error=self.portable(error))
        failed = [rank for rank, message in enumerate(self._meet(own, raises=False)) if message.error is not None]
        self._known, self.speaker = error, failed[0]
        if isinstance(error, SystemExit) and len(failed) < self.wire.size:
            self.end(error)  # this rank alone leaves
        if isinstance(error, NotFinite) and not self._suspects:
            self._suspects = failed

    def _meet(self, message: Message, raises: bool = True) -> list[Message]:
        found: list[Message] = self.wire.exchange(message)
        failed = [(rank, each.error) for rank, each in enumerate(found) if each.error is not None]
        if failed and raises:
            rank, error = failed[0]
            if isinstance(error, NotFinite):
                self._suspects = [rank]
            error.add_note(f"It was raised on rank {rank}.")
            raise self.shared(error, rank)
        return found

    def shared(self, error: BaseException, speaker: int) -> BaseException:
        """The error, which all ranks know of and raise."""
        self._known, self.speaker = error, speaker
        return error

    def suspect(self, rank: int) -> None:
        """Remember that this rank's sums are not finite."""
        self._suspects.append(rank)

    def compare(self, what: str, facts: Facts, advice: str) -> None:
        """Raise RuntimeError, on all ranks, where these facts are not the same on all."""
        self._suspects = []
        different = difference(self.exchange(what, facts))
        if different is not None:
            raise self.shared(RuntimeError(f"{what}: the ranks differ in {different} {advice}"), 0)

    @contextlib.contextmanager
    def interrupts(self) -> Iterator[None]:
        """Within the block Ctrl-C takes effect on all ranks at once, where they next meet. A handler of the user's own stays."""
        before = signal.getsignal(signal.SIGINT)
        if threading.current_thread() is not threading.main_thread() or before is not signal.default_int_handler:
            yield
            return
        signal.signal(signal.SIGINT, self._interrupt)
        try:
            yield
        finally:
            signal.signal(signal.SIGINT, before)
            came, self._interrupted = self._interrupted, None
        if came is not None:  # after the last meeting
            raise KeyboardInterrupt

    def _interrupt(self, number: int, frame: FrameType | None) -> None:
        now = time.monotonic()
        if self._interrupted is not None and now - self._interrupted > PATIENCE:
            self.end(KeyboardInterrupt("a second Ctrl-C, which waits for nobody"))
        self._interrupted = self._interrupted or now

    @staticmethod
    def portable(error: BaseException) -> BaseException:
        """The error, or one that says the same and can be sent."""
        try:
            pickle.loads(pickle.dumps(error))
        except Exception:
            return RuntimeError(f"{type(error).__name__}: {error}")
        return error

    # --------------------------------------------------------------------------------------------------- the end of all

    def watch(self) -> None:
        """From now on an error that nobody catches ends all ranks, and a rank that is through waits for the others."""
        import atexit

        self.lifeline = Lifeline(self.wire)
        self._print = sys.excepthook
        sys.excepthook = self._uncaught
        atexit.register(self._leave)

    def _uncaught(self, kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        """Print an error in one rank, with its number, and end all."""
        with contextlib.suppress(ValueError):  # in another thread
            signal.signal(signal.SIGINT, signal.SIG_IGN)
        if error is self._known and self.wire.rank != self.speaker:
            time.sleep(GRACE)  # the speaker ends this rank, too
        elif error is not self._known and self.wire.rank > 0:  # where all ranks raise it, rank 0 prints it
            self.lifeline.over.wait(2 + 0.5 * min(self.wire.rank, 4))
        if not self.lifeline.goodbye():
            time.sleep(GRACE)  # another rank ends this one
        sys.stdout.flush()
        print(f"rank {self.wire.rank} of {self.wire.size} ends all:", file=sys.stderr)
        self._print(kind, error, trace)
        sys.stderr.flush()
        time.sleep(1)  # mpiexec passes on what was printed, and drops it when it ends the ranks
        MPI.COMM_WORLD.Abort(130 if isinstance(error, KeyboardInterrupt) else 1)

    def end(self, error: BaseException) -> NoReturn:
        """End all ranks at once."""
        self._known, self.speaker = error, self.wire.rank
        self._uncaught(type(error), error, error.__traceback__)
        os._exit(1)

    def _leave(self) -> None:
        try:
            self.exchange(END)
            self.lifeline.goodbye()
        except BaseException as error:
            self._uncaught(type(error), error, error.__traceback__)
