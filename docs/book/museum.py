"""Writes docs/book/museum.md: every exhibit of examples/bug_museum.py as a question, with the answer folded.

python docs/book/museum.py            the code and what the checks say; the accuracies stay as they are
python docs/book/museum.py --train    the accuracies as well, in about a minute
"""

import argparse
import ast
import inspect
import re
import sys
import textwrap
from importlib import import_module
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2]))
museum = import_module("examples.bug_museum")  # which is no part of the package

PAGE = Path(__file__).with_suffix(".md")
SAMPLES, EPOCHS = 3000, 3
INTRODUCTION = """\
# The museum of bugs

<!-- Written by python docs/book/museum.py -->

Each of these {count} parts of a network is wrong. Most of the bugs were found in libraries that people use. Read the code, say
what is wrong and which test would find it; then open the answer.

{learn} of the {count} networks learn in spite of it. {as_well} reach the accuracy of the right one within a point, so no curve
would have told you. That is the point of the museum: *training proves nothing*.

What you need to know: `forward` returns y and a cache; `backward` gets dy = ∂loss/∂y and that cache, and returns dx and the
gradients of the parameters; neither dy nor the cache may be changed. `self.ops` holds
[the operations](../reference/operations.md). The comments and the names that would give the answer away are left out here; they
are in [`examples/bug_museum.py`](../../examples/bug_museum.py), which prints all of this with `--exhibit NAME`. The accuracies
are after {epochs} epochs on {samples:,} digits, on the 10,000 test digits; less than a point may be chance.
"""
SECTIONS = (
    ("Dropout", "dropout"),
    ("Pools", "pool"),
    ("Activations", "elu softmax sigmoid"),
    ("Dense layers and connections", "dense skip groups embedding"),
    ("Convolutions and averages", "conv average"),
    ("Normalization and recurrence", "batch lstm"),
    ("Losses", "crossentropy squared"),
    ("Optimizers and shuffling", "adam shuffle"),
)


def code_of(part: type) -> str:
    """A class of the museum without decorators, docstrings, comments, and a name that would say what is wrong."""
    tree = ast.parse(textwrap.dedent(inspect.getsource(part)))
    (found,) = (node for node in tree.body if isinstance(node, ast.ClassDef))
    found.decorator_list = []
    found.name = "Faulty"
    found.body = [node for node in found.body if not is_docstring(node)]
    for node in found.body:
        if isinstance(node, ast.FunctionDef):
            node.body = [inner for inner in node.body if not is_docstring(inner)] or node.body
    return ast.unparse(found)


def is_docstring(node: ast.stmt) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)


def right_of(part: type) -> list[str]:
    """What the comments say that should stand there."""
    return re.findall(r"# .*?right: (.+)", inspect.getsource(part))


def question(numbers: dict[str, int], shown: Any, trained: str) -> str:
    faulty, _, blind = museum.verdicts(shown)
    base = shown.faulty.__mro__[1]
    lines = [f"### {numbers[shown.faulty.__name__]}. {shown.correct.__name__}", ""]
    if base.__name__ in numbers:
        lines += [f"`{base.__name__}` is number {numbers[base.__name__]}.", ""]
    settings = ", ".join(f"{name}={value!r}" for name, value in shown.settings.items())
    if settings:
        lines += [f"Made with `{settings}`.", ""]
    lines += ["```py", code_of(shown.faulty), "```", ""]
    if base.__module__ == museum.__name__ and base is shown.correct:
        lines += ["<details>", f"<summary>The right one, <code>{base.__name__}</code></summary>", ""]
        lines += ["```py", textwrap.dedent(museum.source_of(base)), "```", "", "</details>", ""]
    lines += ["<details>", "<summary>Answer</summary>", ""]
    lines += [f"**{shown.name}**, seen at: {shown.seen_at}. {escaped(shown.wrong)}", ""]
    lines += [f"- Right: `{each}`" for each in right_of(shown.faulty)]
    lines += [f"- {trained}", f"- Found by: {shown.check.kind}, which says:"]
    lines += ["", *textwrap.wrap(faulty.says, 96, initial_indent="      ", subsequent_indent="      "), ""]
    if blind and blind.passed:
        lines += [f"- Not found by: {shown.blind.kind}.", ""]
    return "\n".join([*lines, "</details>", ""])


def escaped(text: str) -> str:
    return text.replace("``", "`").replace("*", r"\*")


def trainings() -> dict[str, str]:
    """A line for each exhibit, by training both parts."""
    lines = {}
    for name, shown in museum.EXHIBITS.items():
        faulty, correct = museum.train_both(shown, SAMPLES, EPOCHS, seed=0)
        words = museum.in_words(faulty, correct)
        lines[name] = f"Trained: {faulty}; the right one: {correct}; {words}."
    return lines


def trained_before() -> dict[str, str]:
    """The same lines, from the page."""
    text = PAGE.read_text(encoding="utf-8")
    return dict(re.findall(r"^\*\*([\w-]+)\*\*, seen at.*?^- (Trained: .*?)$", text, re.DOTALL | re.MULTILINE))


def page(trained: dict[str, str]) -> str:
    as_well = sum("as well" in line for line in trained.values())
    learn = sum("learns nothing" not in line and "stops" not in line for line in trained.values())
    counts = {"count": len(museum.EXHIBITS), "learn": learn, "as_well": as_well}
    parts = [INTRODUCTION.format(**counts, epochs=EPOCHS, samples=SAMPLES)]
    numbers: dict[str, int] = {}  # of the faulty class
    for title, beginnings in SECTIONS:
        parts.append(f"## {title}\n")
        for name, shown in museum.EXHIBITS.items():
            if name.partition("-")[0] in beginnings.split():
                numbers[shown.faulty.__name__] = len(numbers) + 1
                parts.append(question(numbers, shown, trained[name]))
    assert len(numbers) == len(museum.EXHIBITS), "an exhibit belongs to no section"
    return "\n".join(parts)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Write the page of the museum.")
    parser.add_argument("--train", action="store_true", help="train all networks again")
    PAGE.write_text(page(trainings() if parser.parse_args().train else trained_before()), encoding="utf-8")
