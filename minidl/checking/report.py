"""The results: a record for each array, the report in words and as data, and the error that contains it."""

import math
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np

from ..contracts import Named
from ..utils.terminal import printable, printable_lines
from .pictures import as_html

MIN_PROVED = 0.05  # the share of an array's tried entries that must be proved; the rest may be kinks or too small
LITTLE = 0.5  # a report that passes with less than this share says so
WORDS = {"entries": "entries", "direction": "directions", "ties": "groups of equal entries"}
ONE = {"direction": "direction", "ties": "group of equal entries"}


@dataclass
class Record:
    """What was found for one array.

    entries: its size. proved, kink, small, failed: how many of those tried agree; are at a kink (the slopes on both sides
    differ, and the gradient is between them); are too small to judge; disagree. zero: how many of the small ones have no
    effect at all and the gradient 0, like entries that a pool ignores. worst_relative and worst_absolute: the largest
    errors among those judged; where, analytic, numeric: the entry with the worst one ((k,) is the k-th direction). tries: what
    was tried, "entries", "direction" or "ties". shape: of the array. failures: (where, analytic, numeric) of all that failed.
    """

    name: str
    entries: int
    proved: int = 0
    kink: int = 0
    small: int = 0
    failed: int = 0
    zero: int = 0
    worst_relative: float = 0.0
    worst_absolute: float = 0.0
    where: tuple[int, ...] | None = None
    analytic: float = math.nan
    numeric: float = math.nan
    tries: str = "entries"
    shape: tuple[int, ...] = ()
    failures: list[tuple[tuple[int, ...], float, float]] = field(default_factory=list, repr=False, compare=False)

    @property
    def passed(self) -> bool:
        """Whether nothing failed and enough was proved, or no entry has an effect and the gradient is 0."""
        if self.entries == 0 or self.zero == self.tried:
            return True
        return self.failed == 0 and self.proved >= max(1, MIN_PROVED * (self.tried - self.zero))

    @property
    def tried(self) -> int:
        """How many entries, or directions, were tried."""
        return self.proved + self.kink + self.small + self.failed

    @property
    def place(self) -> str:
        """The worst entry, as an index, or the worst direction, in words."""
        where = list(self.where or ())
        return str(where) if self.tries == "entries" else f" {ONE[self.tries]} {where[0]}"

    @property
    def little(self) -> bool:
        """Whether less than half of what could be proved was proved."""
        return self.proved < LITTLE * (self.tried - self.zero)

    def count(self, verdict: str, where: tuple[int, ...], analytic: float, numeric: float) -> None:
        """Add one entry's verdict: "proved", "kink", "small", "failed" or "zero"."""
        if verdict == "zero":
            self.zero += 1
            verdict = "small"
        first_failure = verdict == "failed" and self.failed == 0
        if verdict == "failed":
            self.failures.append((where, analytic, numeric))
        setattr(self, verdict, getattr(self, verdict) + 1)
        if (verdict == "proved" and self.failed) or verdict in ("kink", "small"):
            return  # once something is wrong, what is right is not shown
        if first_failure:
            self.where, self.worst_relative, self.worst_absolute = None, 0.0, 0.0
        error = abs(analytic - numeric)
        relative = error / max(abs(analytic), abs(numeric), np.finfo(np.float64).tiny)
        self.worst_absolute = max(self.worst_absolute, error)
        # Of entries that are equally wrong, e.g. by a factor, the first is shown: rounding should not decide.
        if self.where is None or round(relative, 6) > round(self.worst_relative, 6):
            self.where, self.analytic, self.numeric = where, analytic, numeric
        self.worst_relative = max(self.worst_relative, relative)


@dataclass
class Report:
    """The result of gradcheck. ``print(report)`` shows it as a table; a notebook, with a picture of where an array is wrong.

    target: what was checked. records: one for each array. problems: faults other than wrong slopes, in words. hints:
    likely mistakes, by array. notes: remarks that are not faults. mode: gradcheck's argument. flat: whether all slopes and
    gradients are 0, at other inputs too, as for a step function. forwards_in_backward: how often backward called forward.
    evaluations: how often the outputs were computed. seconds: the time taken.
    """

    target: str
    records: list[Record] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    hints: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    mode: str = "entries"
    flat: bool = False
    forwards_in_backward: int = 0
    evaluations: int = field(default=0, compare=False)
    seconds: float = field(default=0.0, compare=False)

    @property
    def passed(self) -> bool:
        """True where every array was proved and no other fault was found."""
        return not self.problems and (self.flat or self._any_proof) and all(record.passed for record in self.records)

    @property
    def _any_proof(self) -> bool:
        return any(record.proved for record in self.records)

    @property
    def verdict(self) -> str:
        """The verdict in a few words."""
        if not self.passed:
            return "FAILED"
        return "passed, but little of it is proved" if any(r.little for r in self.records) else "passed"

    def __str__(self) -> str:
        from rich.console import Console
        from rich.table import Table

        table = Table(title=f"gradcheck {printable(self.target)}: {self.verdict}")
        head, *rows = self.table()
        for column in head:
            table.add_column(column)
        for row in rows:
            table.add_row(*map(printable, row))
        # Wider than any table, which takes what it needs: a number that is cut off is another number.
        console = Console(width=100_000, highlight=False, no_color=True, markup=False, emoji=False)
        with console.capture() as capture:
            console.print(table)
        return "\n".join([capture.get().rstrip("\n"), *map(printable_lines, [*self.explanations(), *self.remarks()])])

    def _repr_html_(self) -> str:
        title = f"gradcheck {self.target}: {self.verdict}"
        wrong = [(r.name, r.shape, r.failures) for r in self.records if r.failed and r.tries == "entries"]
        return as_html(title, self.table(), [*self.explanations(), *self.remarks()], wrong)

    def table(self) -> Iterator[list[str]]:
        """The header, and a row for each array, as strings."""
        counted = ("entries", "proved", "kink", "small", "failed")
        yield ["array", *counted, "relative", "absolute", "worst at", "analytic", "numeric"]
        for r in self.records:
            counts = [str(getattr(r, column)) for column in counted]
            errors = [f"{r.worst_relative:.1e}", f"{r.worst_absolute:.1e}"] if r.where is not None else ["", ""]
            worst = [str(list(r.where or ())), f"{r.analytic:.6g}", f"{r.numeric:.6g}"] if r.failed else ["", "", ""]
            yield [r.name, *counts, *errors, *worst]

    def to_dict(self) -> Named:
        """The report as data, for JSON: numbers that are not finite become None."""

        def number(value: float) -> float | None:
            return value if math.isfinite(value) else None

        def record(r: Record) -> Named:
            counts = {
                name: getattr(r, name) for name in ("entries", "tried", "proved", "kink", "small", "zero", "failed")
            }
            worst = {"where": None if r.where is None else list(r.where)}
            numbers = {
                key: number(getattr(r, key)) for key in ("analytic", "numeric", "worst_relative", "worst_absolute")
            }
            return {
                "name": r.name,
                "shape": list(r.shape),
                "tries": r.tries,
                "passed": r.passed,
                **counts,
                **worst,
                **numbers,
            }

        keys = ("target", "verdict", "passed", "mode", "problems", "hints", "evaluations", "seconds")
        return {
            **{key: getattr(self, key) for key in keys},
            "notes": self.remarks(),
            "records": [record(r) for r in self.records],
        }

    def explanations(self) -> list[str]:
        """A line for every fault: what it is, and the likely mistake."""
        lines = list(self.problems)
        if not lines and not any(record.entries for record in self.records):
            lines.append("There is nothing to check.")
        nothing = not (self.flat or self._any_proof or self.problems or any(record.failed for record in self.records))
        for r in self.records:
            words = WORDS[r.tries]
            if r.failed:
                lines.append(
                    f"{r.name}{r.place}: the gradient says {r.analytic:.6g}, the slope is {r.numeric:.6g} "
                    f"({r.failed} of {r.tried} {words} are wrong)."
                )
            elif not r.passed or (nothing and r.entries):
                lines.append(
                    f"{r.name}: only {r.proved} of {r.tried} {words} could be proved ({r.small} are too small, {r.kink} at a "
                    f"kink). {_way_out(r)}"
                )
            if r.name in self.hints:
                lines.append(f"{r.name}: {self.hints[r.name]}")
        return lines

    def remarks(self) -> list[str]:
        """The notes, and, for each array, what a pass leaves open."""
        lines = list(self.notes)
        for r in self.records:
            if r.tried and r.zero == r.tried and self.passed:
                lines.append(f"{r.name}: its gradient is 0 everywhere, and so is the slope: it has no effect here.")
            elif r.passed and r.little:
                lines.append(
                    f"{r.name}: only {r.proved} of {r.tried} {WORDS[r.tries]} are proved ({r.small} are too small, {r.kink} at a "
                    "kink), so a mistake in the others is not seen."
                )
            if r.passed and r.tries == "ties" and 0 < r.tried < r.entries:
                lines.append(
                    f"{r.name}: only the sums over equal entries are proved, {r.tried} of them for {r.entries} entries: check it "
                    "with other inputs, too, which are not equal."
                )
        return lines


def _way_out(r: Record) -> str:
    """What to do where too little could be proved."""
    if r.kink >= r.small:
        return (
            "At a kink, like ReLU at 0 or a tie in a pool, there is no slope: choose inputs that are not 0 or equal, or biases "
            'that are not 0. In another check beside that one, mode="ties" moves equal entries together.'
        )
    if r.zero >= r.small / 2:
        return "Nothing happens there, as behind a ReLU that is off: choose inputs where it is on."
    return (
        "The slopes drown in the rounding of the outputs: choose inputs of another size, where the function is not saturated "
        "and not flat."
    )


class GradientError(AssertionError):
    """A gradient was found wrong; ``report`` holds what was found."""

    def __init__(self, report: Report) -> None:
        verdict = f"gradcheck did not accept the gradients of {report.target}."
        super().__init__(printable_lines("\n".join([verdict, *report.explanations()])))
        self.report = report


class Fault(Exception):
    """The target breaks its contract so badly that nothing more can be checked; the message becomes a problem in the report."""
