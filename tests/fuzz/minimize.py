"""Choose from the inputs that the fuzzer has kept those that are committed: the smallest that reach every line that any reaches.

    python tests/fuzz/minimize.py load_model /tmp/corpus

They are written to tests/fuzz/corpus/load_model, in the place of what is there, which is among what is chosen from.
"""

import argparse
import contextlib
import hashlib
import sys
import tempfile
from pathlib import Path
from types import FrameType
from typing import Any

sys.path.insert(0, str(Path(__file__).parent.parent))

from targets import CORPUS, TARGETS, check

import minidl

PACKAGE = str(Path(minidl.__file__).parent)


def reached(name: str, content: bytes, path: Path) -> set[tuple[str, int, int]]:
    """(file, line, the next line) of the library's Python code that reads this input."""
    steps: set[tuple[str, int, int]] = set()

    def look(frame: FrameType, event: str, _: Any) -> Any:
        file, before = frame.f_code.co_filename, 0
        if not file.startswith(PACKAGE):
            return None

        def line(frame: FrameType, event: str, _: Any) -> Any:
            nonlocal before
            if event == "line":
                steps.add((file, before, frame.f_lineno))
                before = frame.f_lineno
            return line

        return line

    sys.settrace(look)
    try:
        check(TARGETS[name], content, path, measured=False)
    finally:
        sys.settrace(None)
    return steps


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("target", choices=sorted(TARGETS))
    parser.add_argument("corpus", type=Path, nargs="+", help="folders of inputs")
    arguments = parser.parse_args()
    target, own = TARGETS[arguments.target], CORPUS / arguments.target
    own.mkdir(parents=True, exist_ok=True)
    inputs = {file.read_bytes() for folder in (*arguments.corpus, own) for file in folder.iterdir()}
    kept: list[bytes] = []
    with tempfile.TemporaryDirectory() as folder:
        path, known = Path(folder) / "input", set()
        for content in [*target.seeds(), *target.odd()]:  # these are made, not kept; and they load what is loaded once
            path.write_bytes(content)
            target.prepare(path)
            with contextlib.suppress(*target.errors):
                target.read(path)
            known |= reached(arguments.target, content, path)
        for content in sorted(inputs, key=lambda content: (len(content), content)):
            steps = reached(arguments.target, content, path)
            if not steps <= known:
                known |= steps
                kept.append(content)
    for file in own.iterdir():
        file.unlink()
    for content in kept:
        (own / hashlib.sha256(content).hexdigest()[:16]).write_bytes(content)
    print(f"{len(kept)} of {len(inputs)} inputs, {sum(map(len, kept))} bytes, {len(known)} steps from line to line")


if __name__ == "__main__":
    main()
