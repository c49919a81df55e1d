"""Choose from the inputs that the fuzzer has kept those that are committed: the smallest that reach every line that any reaches,
and are refused for every reason.

    python tests/fuzz/minimize.py load_model /tmp/corpus

They are written to tests/fuzz/corpus/load_model, in the place of what is there, which is among what is chosen from.
"""

import argparse
import contextlib
import hashlib
import re
import sys
import tempfile
import threading
from pathlib import Path
from types import FrameType
from typing import Any

sys.path.insert(0, str(Path(__file__).parent.parent))

from targets import CORPUS, TARGETS, check

import minidl

PACKAGE = str(Path(minidl.__file__).parent)


Steps = set[tuple[str, int, int]]
STEPS: Steps = set()


def look(frame: FrameType, event: str, _: Any) -> Any:
    """Note (file, line, the next line) of the library's Python code, in whatever thread."""
    file, before = frame.f_code.co_filename, 0
    if not file.startswith(PACKAGE):
        return None

    def line(frame: FrameType, event: str, _: Any) -> Any:
        nonlocal before
        if event == "line":
            STEPS.add((file, before, frame.f_lineno))
            before = frame.f_lineno
        return line

    return line


def reached(name: str, content: bytes, path: Path) -> Steps:
    """The steps of the code that reads this input; and why it was refused, without details."""
    STEPS.clear()
    sys.settrace(look)
    try:
        refused = check(TARGETS[name], content, path, measured=False)
    finally:
        sys.settrace(None)
    reason = re.sub(r"(found|received|holds|asks? for) .*|'[^']*'|[^a-z ]", "", str(refused))
    return STEPS | {(reason, 0, 0)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("target", choices=sorted(TARGETS))
    parser.add_argument("corpus", type=Path, nargs="+", help="folders of inputs")
    arguments = parser.parse_args()
    target, own = TARGETS[arguments.target], CORPUS / arguments.target
    own.mkdir(parents=True, exist_ok=True)
    inputs = {file.read_bytes() for folder in (*arguments.corpus, own) for file in folder.iterdir()}
    kept: dict[bytes, Steps] = {}
    threading.settrace(look)  # for those that begin from now on
    with tempfile.TemporaryDirectory() as folder:
        path, known = Path(folder) / "input", set()
        for content in [*target.seeds(), *target.odd()]:  # these are made, not kept; and they load what is loaded once
            path.write_bytes(content)
            target.prepare(path)
            with contextlib.suppress(*target.errors):
                target.read(path)
            known |= reached(arguments.target, content, path)
        for content in sorted(inputs, key=lambda content: (len(content), content)):
            steps = reached(arguments.target, content, path) - known
            if not steps <= set().union(*kept.values()):
                kept[content] = steps
    for content in reversed(list(kept)):  # what others, which came later, reach as well
        steps = kept.pop(content)
        if not steps <= set().union(*kept.values()):
            kept[content] = steps
    for file in own.iterdir():
        file.unlink()
    for content in kept:
        (own / hashlib.sha256(content).hexdigest()[:16]).write_bytes(content)
    steps = known.union(*kept.values())
    print(f"{len(kept)} of {len(inputs)} inputs, {sum(map(len, kept))} bytes, {len(steps)} steps from line to line")


if __name__ == "__main__":
    main()
