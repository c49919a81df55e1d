"""A table that knows nothing of what it shows: for the terminal with rich, and as Markdown for the page."""

import sys
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from rich.console import Console
from rich.table import Table as RichTable


class Table(NamedTuple):
    """header: the first column is text, the others are numbers. notes: lines below the table."""

    title: str
    header: tuple[str, ...]
    rows: Sequence[tuple[str, ...]]
    notes: tuple[str, ...] = ()


def terminal() -> Console:
    """The terminal, or, where the output goes elsewhere, lines that are long enough for our tables."""
    return Console(width=None if sys.stdout.isatty() else 140, markup=False, highlight=False)


def show(table: Table, console: Console) -> None:
    """Print it to the terminal."""
    rich = RichTable(title=table.title, title_justify="left")
    for number, name in enumerate(table.header):
        rich.add_column(name, justify="right" if number else "left", no_wrap=not number)
    for row in table.rows:
        rich.add_row(*row)
    console.print(rich)
    for note in table.notes:
        console.print(note)


def markdown(table: Table) -> str:
    """As Markdown, the title in bold."""
    lines = [f"**{table.title}**", "", _line(table.header), _line(("---", *["---:"] * (len(table.header) - 1)))]
    lines += [_line(row) for row in table.rows]
    return "\n".join(lines + [f"\n{note}" for note in table.notes]) + "\n"


def _line(cells: tuple[str, ...]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def number(value: float | None) -> str:
    """Three digits that mean something; a dash for what was not measured."""
    if value is None:
        return "–"
    if abs(value) >= 100:
        return f"{value:,.0f}"
    if abs(value) >= 10:
        return f"{value:.1f}"
    if abs(value) >= 1:
        return f"{value:.2f}"
    return f"{value:.2f}" if abs(value) >= 0.1 else f"{value:.2g}"


def span(values: Iterable[float]) -> str:
    """The least and the most, where there are several."""
    found = list(values)
    return f"{number(min(found))}–{number(max(found))}" if len(found) > 1 else "–"


def approximate(text: str, scaled: bool) -> str:
    """Marks a figure that was scaled up from a sample."""
    return f"~{text}" if scaled and text != "–" else text
