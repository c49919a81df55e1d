"""What was found: a record for each array, the report, and the error that carries it."""

import math
from dataclasses import dataclass, field

import numpy as np

MIN_PROVED = 0.05  # the share of the tried entries of an array that must be proved; the rest may be kinks or too small


@dataclass
class Record:
    """What was found for one array.

    entries: how many numbers it holds. proved, kink, small, failed: how many of those tried agree; are at a kink (the slopes
    on both sides differ, and the gradient is between them); are too small to judge; disagree. zero: how many of the small
    ones do nothing at all and have the gradient 0, as what a pool passes over. worst_relative and worst_absolute: the largest
    errors among those judged; where, analytic, numeric: the entry with the worst one ((k,) is the k-th direction).
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

    @property
    def passed(self) -> bool:
        """Nothing failed, and enough was proved."""
        if self.entries == 0:
            return True
        return self.failed == 0 and self.proved >= max(1, MIN_PROVED * (self.tried - self.zero))

    @property
    def tried(self) -> int:
        """How many entries, or directions, were tried."""
        return self.proved + self.kink + self.small + self.failed

    def count(self, verdict: str, where: tuple[int, ...], analytic: float, numeric: float) -> None:
        """Add one entry's verdict: "proved", "kink", "small", "failed" or "zero"."""
        if verdict == "zero":
            self.zero += 1
            verdict = "small"
        first_failure = verdict == "failed" and self.failed == 0
        setattr(self, verdict, getattr(self, verdict) + 1)
        if (verdict == "proved" and self.failed) or verdict in ("kink", "small"):
            return  # what is right is not shown any more where something is wrong
        if first_failure:
            self.where, self.worst_relative, self.worst_absolute = None, 0.0, 0.0
        error = abs(analytic - numeric)
        relative = error / max(abs(analytic), abs(numeric), np.finfo(np.float64).tiny)
        self.worst_absolute = max(self.worst_absolute, error)
        # Of entries that are equally wrong, as by a factor, the first one is shown: rounding shall not decide.
        if self.where is None or round(relative, 6) > round(self.worst_relative, 6):
            self.where, self.analytic, self.numeric = where, analytic, numeric
        self.worst_relative = max(self.worst_relative, relative)


@dataclass
class Report:
    """The result of gradcheck. ``print(report)`` shows it as a table.

    target: what was checked. records: one for each array. problems: faults other than wrong slopes, in words. hints:
    likely mistakes, by array. notes: what is good to know and no fault. mode: "entries" or "direction".
    """

    target: str
    records: list[Record] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    hints: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    mode: str = "entries"

    @property
    def passed(self) -> bool:
        """True where every array was proved and no other fault was found."""
        proved = sum(record.proved for record in self.records)
        return not self.problems and proved > 0 and all(record.passed for record in self.records)

    def __str__(self) -> str:
        from rich.console import Console
        from rich.table import Table

        counted = ("entries", "proved", "kink", "small", "failed")
        table = Table(title=f"gradcheck {self.target}: {'passed' if self.passed else 'FAILED'}")
        for column in ("array", *counted, "relative", "absolute", "worst at", "analytic", "numeric"):
            table.add_column(column, no_wrap=True)
        for r in self.records:
            counts = (str(getattr(r, column)) for column in counted)
            errors = (f"{r.worst_relative:.1e}", f"{r.worst_absolute:.1e}") if r.where is not None else ()
            worst = (str(list(r.where or ())), f"{r.analytic:.6g}", f"{r.numeric:.6g}") if r.failed else ()
            table.add_row(r.name, *counts, *errors, *worst)
        console = Console(width=120, highlight=False, no_color=True)
        with console.capture() as capture:
            console.print(table)
        return "\n".join([capture.get().rstrip("\n"), *self.explanations(), *self.notes])

    def explanations(self) -> list[str]:
        """A line for every fault: what it is, and the likely mistake."""
        lines = list(self.problems)
        if not lines and not any(record.entries for record in self.records):
            lines.append("There is no number to be checked.")
        for r in self.records:
            if r.failed:
                lines.append(
                    f"{r.name}{self._place(r)}: the gradient says {r.analytic:.6g}, the slope is {r.numeric:.6g} "
                    f"({r.failed} of {r.tried} {self._tries} are wrong)."
                )
            elif not r.passed:
                biases = ", or biases that are not 0" if r.kink else ""
                lines.append(
                    f"{r.name}: only {r.proved} of {r.tried} {self._tries} could be proved ({r.small} are too small, {r.kink} at "
                    f"a kink). Choose other inputs, e.g. random ones that are not all 0 or equal{biases}."
                )
            if r.name in self.hints:
                lines.append(f"{r.name}: {self.hints[r.name]}")
        return lines

    @property
    def _tries(self) -> str:
        return "entries" if self.mode == "entries" else "directions"

    def _place(self, record: Record) -> str:
        where = list(record.where or ())
        return str(where) if self.mode == "entries" else f" direction {where[0]}"


class GradientError(AssertionError):
    """A gradient was found wrong; ``report`` holds what was found."""

    def __init__(self, report: Report) -> None:
        super().__init__(f"gradcheck {report.target} failed.\n" + "\n".join(report.explanations()))
        self.report = report


class Fault(Exception):
    """What is under test breaks its contract so that nothing more can be checked; the text is a problem of the report."""
