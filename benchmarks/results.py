"""The results as one JSON file, written anew after every measurement, so that an interrupted run has lost little."""

import argparse
import json
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from rich.console import Console

from .machine import describe
from .tables import Table, show, terminal

DEFAULT_FOLDER = Path(__file__).parent / "results"


class Results:
    """results.json in a folder: one part a benchmark, by name, {"machine", "settings", "records", …}."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "results.json"
        self.parts: dict[str, Any] = json.loads(self.path.read_text()) if self.path.exists() else {}

    def begin(self, part: str, settings: dict[str, Any]) -> None:
        """Begin a part anew, without records."""
        self.parts[part] = {"machine": describe(), "settings": settings, "records": []}
        self.save()

    def add(self, part: str, record: dict[str, Any]) -> dict[str, Any]:
        """Append a record and save."""
        self.parts[part]["records"].append(record)
        self.save()
        return record

    def save(self) -> None:
        """Write the file whole or not at all."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        unfinished = self.path.with_suffix(".unfinished")
        unfinished.write_text(json.dumps(self.parts, indent=1, ensure_ascii=False) + "\n")
        os.replace(unfinished, self.path)


def parser(description: str | None) -> argparse.ArgumentParser:
    """A parser with the options that all parts have."""
    result = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    result.add_argument("--output", type=Path, default=DEFAULT_FOLDER, metavar="DIR", help="where results.json goes")
    result.add_argument("--threads", type=int, default=2, help="of every contestant (default: 2)")
    result.add_argument("--quick", action="store_true", help="little data, one round: does it run, not how fast")
    return result


class Part(NamedTuple):
    """A benchmark that runs alone or with all the others.

    name: of its part of the results. options: beside those of ``parser``. quick: the settings that --quick changes. measure:
    fills the part. tables: what it shows of all parts that there are.
    """

    name: str
    options: argparse.ArgumentParser
    quick: dict[str, Any]
    measure: Callable[[Results, dict[str, Any], Console], None]
    tables: Callable[[dict[str, Any]], list[Table]]


def main(part: Part, arguments: Sequence[str] | None = None) -> None:
    """Measure, save and show one part; without arguments, those of the command line."""
    settings = vars(part.options.parse_args(arguments))
    results, console = Results(settings.pop("output")), terminal()
    if settings["quick"]:
        settings |= part.quick
    part.measure(results, settings, console)
    for table in part.tables(results.parts):
        show(table, console)
    console.print(f"All of it is in {results.path}.")
