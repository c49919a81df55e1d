"""Runs the Python blocks of a page, in order and in one namespace.

A ``text`` block that follows a ``python`` block is what it prints; the error of a check is printed as Python would. The tests
compare the two, and the figures are drawn from what the blocks leave behind.

    python docs/book/pages.py docs/book/afternoon.md     write what the blocks print into the page
"""

import argparse
import contextlib
import io
import os
import re
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).parents[2]
BLOCK = re.compile(r"^```([^\n]*)\n(.*?)^```\n", re.DOTALL | re.MULTILINE)


class Ran(NamedTuple):
    """A block that was run. shown: what the page says that it prints. start, end: where that stands in the page, or should."""

    line: int
    printed: str
    shown: str
    start: int
    end: int


def run(page: Path, names: dict[str, Any]) -> Iterator[Ran]:
    """Runs block after block in ``names``."""
    text = page.read_text(encoding="utf-8")
    found = list(BLOCK.finditer(text))
    for place, block in enumerate(found):
        if block[1] != "python":
            continue
        line = text.count("\n", 0, block.start()) + 1
        output = io.StringIO()
        with contextlib.redirect_stdout(output):
            try:
                exec(compile("\n" * line + block[2], page, "exec"), names)
            except AssertionError as error:
                print(f"{type(error).__name__}: {error}")
        after = found[place + 1] if place + 1 < len(found) and found[place + 1][1] == "text" else None
        start, end, shown = (after.start(), after.end(), after[2]) if after else (block.end(), block.end(), "")
        yield Ran(line, output.getvalue(), shown, start, end)


def prepare() -> dict[str, Any]:
    """A fresh namespace, in an empty folder, where examples and benchmarks can be imported."""
    os.environ.update(MPLBACKEND="Agg", COLUMNS="150")
    sys.path.insert(0, str(ROOT))
    os.chdir(tempfile.mkdtemp())
    return {"__name__": "page"}


def write(page: Path) -> None:
    """Replace the outputs in the page by what the blocks print."""
    text = page.read_text(encoding="utf-8")
    for ran in reversed(list(run(page, prepare()))):
        new = ""
        if ran.printed:
            lines = [line.rstrip() for line in ran.printed.strip("\n").splitlines()]
            new = "\n".join(["```text", *lines, "```", ""])
            new = new if text.startswith("```text", ran.start) else "\n" + new
        text = text[: ran.start] + new + text[ran.end :]
    page.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Run a page's code, and write what it prints into the page.")
    parser.add_argument("page", type=Path)
    write(parser.parse_args().page.resolve())
