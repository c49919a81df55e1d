"""The results as one JSON file, and what all benchmarks share: their options, and how they are run.

After every measurement a file beside it is written anew, so that an interrupted run has lost little. It takes the other's place
when a part is whole: until then the earlier result stays.
"""

import argparse
import json
import os
import re
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from rich.console import Console

from minidl.machine import describe, thread_counts

from .tables import Table, show, terminal

DEFAULT_FOLDER = Path(__file__).parent / "results"


class Results:
    """results.json in a folder: one part a benchmark, by name, {"machine", "settings", "records", …}."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "results.json"
        self.unfinished = folder / "results.unfinished.json"
        self.parts: dict[str, Any] = json.loads(self.path.read_text()) if self.path.exists() else {}

    def begin(self, part: str, settings: dict[str, Any]) -> None:
        """Begin a part anew, without records. Leaves the program where the other parts are of another processor."""
        machine = describe()
        for name, other in self.parts.items():
            if name != part and other["machine"]["processor"] != machine["processor"]:
                raise SystemExit(
                    f"{self.path} holds results of {other['machine']['processor']}, and this is {machine['processor']}. "
                    f"Measure into another folder: --output {self.path.parent}-2"
                )
        self.parts[part] = {"machine": machine, "settings": settings, "records": []}
        self.save()

    def add(self, part: str, record: dict[str, Any]) -> dict[str, Any]:
        """Append a record and save."""
        self.parts[part]["records"].append(record)
        self.save()
        return record

    def save(self) -> None:
        """Write the unfinished file, whole or not at all."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        write_json(self.unfinished, self.parts)

    def finish(self) -> None:
        """The unfinished file becomes the result."""
        self.save()
        os.replace(self.unfinished, self.path)


def write_json(path: Path, content: Any) -> None:
    """Write a file whole or not at all."""
    temporary = path.with_suffix(".tmp")
    temporary.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n")
    os.replace(temporary, path)


def minutes_left(begin: float, done: int, total: int) -> str:
    """How long it still takes if it goes on as since begin (time.monotonic)."""
    seconds = (time.monotonic() - begin) / done * (total - done)
    return f"about {seconds / 60:.0f} min left" if seconds >= 60 else "under a minute left"


def parser(description: str | None) -> argparse.ArgumentParser:
    """A parser with the options that all parts have."""
    result = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    result.add_argument("--output", type=Path, default=DEFAULT_FOLDER, metavar="DIR", help="where results.json goes")
    every = thread_counts()[-1]
    result.add_argument("--threads", type=int, default=every, help=f"of every contestant (default: all, here {every})")
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
    if settings["quick"]:
        console.print("--quick: what follows are no measurements.")
    part.measure(results, settings, console)
    results.finish()
    for table in part.tables(results.parts):
        show(table, console)
    console.print(f"All of it is in {results.path}.")


def slug(processor: str) -> str:
    """The processor's name for a file: amd-epyc-family-25-model-1."""
    return re.sub(r"[^a-z0-9]+", "-", processor.lower()).strip("-")
