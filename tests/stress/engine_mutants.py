"""Would the tests notice a mistake in the engine, in training, in callbacks, in checking, in saving? A sample, drawn by a seed.

One process runs the tests once, to learn how long each takes and which functions of the library it calls. Then, for one mutant
after another, a fork of it puts the changed code into the function, and runs the tests that call it, the quick ones first, until
one fails. What was found is kept in a file, so that the command goes on where it was stopped.

    python tests/stress/engine_mutants.py --each 40                         forty mutants of each part, or what is left of them
    python tests/stress/engine_mutants.py --each 40 --parts engine --again  of one part; and once more those that survived

Out of reach: what a module does when it is imported, default arguments, and tests that start another program.
"""

import argparse
import ast
import difflib
import gc
import itertools
import json
import os
import random
import resource
import signal
import sys
import threading
import time
from collections import Counter
from functools import _lru_cache_wrapper
from pathlib import Path
from types import FunctionType
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parents[2]
PARTS = {  # modules, and the tests that touch them
    "engine": ("engine/*.py", "engine test_models.py test_bad_input.py test_hints.py distribution/test_alone.py"),
    "callbacks": ("callbacks/*.py", "callbacks test_callbacks.py test_progress.py lab/test_notebooks.py"),
    "saving": (
        "saving.py state.py resuming.py model_files.py models.py configs.py",
        "test_saving.py test_old_files.py test_tied.py test_models.py callbacks",
    ),
    "training": (
        "training.py passes.py sequential.py",
        "engine callbacks test_callbacks.py test_models.py test_bad_input.py test_ownership.py test_trainable.py "
        "test_regularizers.py lab/test_notebooks.py",
    ),
    "checking": (
        "checking/*.py",
        "checking test_checking.py test_testing.py utils/test_terminal.py",
    ),
}
LONGEST = 20  # seconds of the processor, for all tests of one mutant
PAIRS = "Lt LtE, Gt GtE, Eq NotEq, In NotIn, Is IsNot, And Or, Add Sub, Div Mult, FloorDiv Mult, BitOr BitAnd"
SWAPPED = {a: b for pair in PAIRS.split(", ") for a, b in itertools.permutations(pair.split())}
MESSAGES = ast.Raise | ast.Assert | ast.JoinedStr
SAME = {"strict", "copy", "stacklevel"}  # arguments that change no result


class Mutant(NamedTuple):
    """path: below the root. function: the outermost one around the change, by its qualified name. text: the whole file's."""

    path: str
    function: str
    text: str

    def __str__(self):
        before = (ROOT / self.path).read_text(encoding="utf-8").splitlines()
        lines = list(difflib.unified_diff(before, self.text.splitlines(), lineterm="", n=0))
        return "\n".join([f"{self.path} {self.function} {lines[2]}", *lines[3:]])


def changes(node):
    """What can stand in the place of a node."""
    if isinstance(node, ast.Compare) and type(node.ops[0]).__name__ in SWAPPED:
        yield changed(node, ops=[getattr(ast, SWAPPED[type(node.ops[0]).__name__])(), *node.ops[1:]])
    if isinstance(node, ast.BinOp | ast.AugAssign | ast.BoolOp) and type(node.op).__name__ in SWAPPED:
        yield changed(node, op=getattr(ast, SWAPPED[type(node.op).__name__])())
    if isinstance(node, ast.Constant) and isinstance(node.value, bool):
        yield ast.Constant(not node.value)
    elif isinstance(node, ast.Constant) and isinstance(node.value, int | float):
        yield from (ast.Constant(node.value + 1), ast.Constant(node.value - 1))
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
        yield node.operand
    if isinstance(node, ast.IfExp):
        yield changed(node, body=node.orelse, orelse=node.body)
    if isinstance(node, ast.Call):
        for each in node.keywords:
            if each.arg not in SAME:
                yield changed(node, keywords=[other for other in node.keywords if other is not each])
        if len(node.args) > 1:
            yield changed(node, args=node.args[:-1])
    if isinstance(node, ast.Return) and node.value and ast.unparse(node.value) != "None":
        yield ast.Return(None)
    stores = isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Attribute | ast.Subscript)
    calls = isinstance(node, ast.Expr) and isinstance(node.value, ast.Call)
    if stores or calls or isinstance(node, ast.Raise | ast.AugAssign):
        yield ast.Pass()


def changed(node, **fields):
    return type(node)(**{**dict(ast.iter_fields(node)), **fields})


def mutants_of(path):
    """Every mutant of a file, in order."""
    source = path.read_bytes()
    starts = [0, *itertools.accumulate(len(line) for line in source.splitlines(keepends=True))]

    def visit(node, names, inside):
        """names: of the classes, and of the outermost function, around the node. inside: a function."""
        if inside and not isinstance(node, ast.JoinedStr):
            for new in changes(node):
                begin, end = (
                    starts[node.lineno - 1] + node.col_offset,
                    starts[node.end_lineno - 1] + node.end_col_offset,
                )
                code = ast.unparse(ast.fix_missing_locations(new))
                code = code if isinstance(node, ast.stmt | ast.Constant) else f"({code})"
                text = (source[:begin] + code.encode() + source[end:]).decode()
                yield Mutant(str(path.relative_to(ROOT)), ".".join(names), text)
        if isinstance(node, MESSAGES):
            return
        begins = isinstance(node, ast.ClassDef | ast.FunctionDef) and not inside
        names, inside = [*names, node.name] if begins else names, inside or isinstance(node, ast.FunctionDef)
        skipped = ("annotation", "returns", "decorator_list", "args" if isinstance(node, ast.FunctionDef) else "")
        for name, value in ast.iter_fields(node):
            for child in value if isinstance(value, list) else [value]:
                if isinstance(child, ast.AST) and name not in skipped:
                    yield from visit(child, names, inside)

    yield from visit(ast.parse(source), [], False)


class Mutation:
    """A plugin of pytest that does, where the tests would be run, all of this."""

    def __init__(self, options):
        self.options, self.path = options, Path(options.json)
        self.kept = json.loads(self.path.read_text()) if self.path.exists() else {"tests": {}, "mutants": {}}

    def pytest_runtestloop(self, session):
        new = [item for item in session.items if item.nodeid not in self.kept["tests"]]
        for number, item in enumerate(new):
            self.kept["tests"][item.nodeid] = look_at(item)
            if number % 50 == 0:
                self.write()
        # [seconds, functions, test], the quickest first; -1 seconds are those of a test that fails without any mutant
        self.tests = sorted(
            ([*self.kept["tests"][item.nodeid], item] for item in session.items), key=lambda test: test[0]
        )
        self.tests = [test for test in self.tests if test[0] >= 0]
        for *_, item in self.tests[:: len(self.tests) // 60 + 1]:  # the kernels are loaded once, not by every fork
            look_at(item)
        from minidl.engine import workers

        workers.set_num_threads(1)  # ends the pool
        workers._num_threads = None
        for part in self.options.parts:
            paths = [path for pattern in PARTS[part][0].split() for path in sorted((ROOT / "minidl").glob(pattern))]
            mutants = [mutant for path in paths for mutant in mutants_of(path)]
            random.Random(f"{self.options.seed} {part}").shuffle(mutants)
            for mutant in mutants[: self.options.each]:
                self.try_one(part, mutant)
            fates = Counter(fate.split(":")[0] for which, fate in self.kept["mutants"].values() if which == part)
            print(f"{part}: {dict(fates)}", flush=True)
        return True

    def try_one(self, part, mutant):
        _, fate = self.kept["mutants"].get(str(mutant), ("", ""))
        if fate and not (self.options.again and fate in ("survived", "no test")):
            return
        chosen, seconds = [], 0
        for cost, functions, item in self.tests:
            if f"{mutant.path} {mutant.function}" in functions and seconds + cost < LONGEST:
                chosen.append(item)
                seconds += cost
        fate = in_a_fork(lambda: first_failure(mutant, chosen), seconds) if chosen else "no test"
        self.kept["mutants"][str(mutant)] = [part, fate]
        self.write()
        print(f"\n{fate} ({len(chosen)} tests)\n{mutant}", flush=True)

    def write(self):
        self.path.write_text(json.dumps(self.kept, indent=1))


def run(item):
    """Whether the test passes."""
    before = item.session.testsfailed
    item.config.hook.pytest_runtest_protocol(item=item, nextitem=None)
    return item.session.testsfailed == before


def look_at(item):
    """[seconds, functions of the library that it calls] of a test; [-1, []] where it fails."""
    called, began = set(), time.process_time()

    def look(frame, event, argument):
        if event == "call":
            called.add(frame.f_code)

    threading.setprofile(look)
    sys.setprofile(look)
    try:
        passed = run(item)
    finally:
        sys.setprofile(None)
        threading.setprofile(None)
    ours = {
        (code.co_filename, code.co_qualname.split(".<locals>")[0]) for code in tuple(called)
    }  # other threads may add to it
    functions = sorted(f"{name[len(f'{ROOT}/') :]} {called}" for name, called in ours if f"{ROOT}/minidl/" in name)
    return [time.process_time() - began, functions] if passed else [-1, []]


def first_failure(mutant, items):
    """Put the mutant into its function, and run these tests up to the first that fails."""
    path = str(ROOT / mutant.path)
    try:
        codes = [compile(mutant.text, path, "exec")]
    except SyntaxError:
        return "impossible"
    for name in mutant.function.split("."):
        codes = [code for each in codes for code in each.co_consts if getattr(code, "co_name", "") == name]
    replaced = 0
    for thing in gc.get_objects():
        if isinstance(thing, _lru_cache_wrapper) and (thing.__module__ or "").startswith("minidl."):
            thing.cache_clear()
        elif isinstance(thing, FunctionType) and thing.__code__.co_filename == path:
            for new in codes:  # a property's getter and setter have one name
                if (new.co_qualname, new.co_firstlineno) == (thing.__code__.co_qualname, thing.__code__.co_firstlineno):
                    try:
                        thing.__code__ = new
                        replaced += 1
                    except ValueError:  # it reads other variables of what is around it
                        return "impossible"
    if not replaced:
        return "impossible"
    return next((f"killed: {item.nodeid}" for item in items if not run(item)), "survived")


def in_a_fork(function, seconds):
    """What the function, which returns a str, returns in a forked process; "killed" where that hangs or dies."""
    reads, writes = os.pipe()
    child = os.fork()
    if child == 0:
        os.setsid()
        resource.setrlimit(resource.RLIMIT_CPU, (int(20 + 3 * seconds),) * 2)
        for stream in (1, 2):
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream)
        os.write(writes, function().encode())
        os._exit(0)
    os.close(writes)
    timer = threading.Timer(60 + 10 * seconds, os.killpg, (child, signal.SIGKILL))
    timer.start()
    with os.fdopen(reads) as answer:
        said = answer.read()
    timer.cancel()
    os.waitpid(child, 0)
    return said or "killed: by the time limit"


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--each", type=int, default=40, help="how many mutants of each part")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=[*PARTS])
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--again", action="store_true", help="try again those that survived")
    parser.add_argument("--json", default="engine_mutants.json", help="where it keeps what was found")
    options = parser.parse_args()
    signal.signal(
        signal.SIGINT, signal.default_int_handler
    )  # in the background a shell has it ignored, and tests need it
    names = dict.fromkeys(name for part in options.parts for name in PARTS[part][1].split())
    tests = [str(ROOT / "tests" / name) for name in names]
    return pytest.main(["-n0", "-q", "-pno:cacheprovider", f"--rootdir={ROOT}", *tests], plugins=[Mutation(options)])


if __name__ == "__main__":
    sys.exit(main())
