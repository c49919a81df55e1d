"""Every small mistake in a backward is found, and no right layer is accused: by machine, not by choice.

The backwards of the right layers in tests/checking/zoo.py are changed in their source, one mechanical change at a time. A mutant
counts where some gradient of the right shape has another value than before. ``gradcheck`` and ``check_layer`` then have to
find it, with their default arguments, and with x as people write it. With --right, right layers of the zoo and of the library are
tried in random configurations instead.

    python tests/stress/backward_mutants.py                     all mutants, in about twenty minutes
    python tests/stress/backward_mutants.py --page              and write the result into docs/checking.md
    python tests/stress/backward_mutants.py --count 1000 --json a.json       in parts, …
    python tests/stress/backward_mutants.py --start 1000 --json b.json
    python tests/stress/backward_mutants.py --parts a.json b.json --page     … which are summed up
    python tests/stress/backward_mutants.py --others            of each layer, the mutants that the first choice leaves out
    python tests/stress/backward_mutants.py --right 10000       right ones, none of which may be accused
    python tests/stress/backward_mutants.py --right 10000 --start 0 1000000 --page
"""

import argparse
import ast
import copy
import inspect
import json
import random
import sys
import textwrap
import time
from collections import Counter
from itertools import islice
from pathlib import Path
from types import SimpleNamespace
from typing import NamedTuple

import numpy as np

sys.path.insert(0, str(Path(__file__).parent.parent))
sys.path.insert(0, str(Path(__file__).parent))
from checking import library, zoo
from hint_judges import Effect, by_cause, by_effect

from minidl import gradcheck
from minidl.ops import reference
from minidl.testing import check_layer

DOCUMENT = Path(__file__).parent.parent.parent / "docs" / "checking.md"
SEED = 0
PER_LAYER = 60  # of one layer so many mutants at most, chosen at random
SMALL = 1e-9  # a gradient that changes by less than this, of its largest number, is not changed

LAYERS = {**zoo.LAYERS, **library.LAYERS}
LOSSES = {**zoo.LOSSES, **library.LOSSES}

# What people write for x.
IDIOMS = [
    lambda shape: np.random.default_rng(0).normal(size=shape),
    lambda shape: np.random.default_rng(42).standard_normal(shape),
    lambda shape: np.random.RandomState(0).randn(*shape),
    lambda shape: np.random.default_rng(0).uniform(-1, 1, shape),
]


# ------------------------------------------------------------------------------------------------------------ the changes


class Site(NamedTuple):
    """A place in the source where something can be changed. kind: of change. make: a copy of the node → the node instead."""

    kind: str
    node: ast.AST
    make: object


SWAPPED = {ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Div, ast.Div: ast.Mult}
COMPARED = {ast.Gt: ast.Lt, ast.Lt: ast.Gt, ast.GtE: ast.Lt, ast.LtE: ast.Gt, ast.Eq: ast.NotEq}
FUNCTIONS = {
    "sum": "mean",
    "mean": "sum",
    "cos": "sin",
    "maximum": "minimum",
    "minimum": "maximum",
    "zeros_like": "ones_like",
}


def sites(function):
    """Every place of a backward that can be changed, with what the change is; of its tree, in order."""
    stored = {node.id for node in ast.walk(function) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)}
    given = {one.arg for one in function.args.args if one.annotation and ast.unparse(one.annotation) == "Array"}
    arrays = sorted(stored | given | {"dy"})
    for node in ast.walk(function):
        if isinstance(node, ast.BinOp):
            yield from of_operation(node)
        elif isinstance(node, ast.Attribute) and node.attr == "T":
            yield Site("a transpose dropped", node, lambda n: n.value)
        elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
            yield Site("a sign", node, lambda n: n.operand)
        elif isinstance(node, ast.Compare) and type(node.ops[0]) in COMPARED:
            yield Site("a comparison turned", node, lambda n: set_field(n, ops=[COMPARED[type(n.ops[0])]()]))
            yield Site("a threshold", node, lambda n: set_field(n, left=binary(n.left, ast.Add, 0.3)))
        elif isinstance(node, ast.Constant) and type(node.value) in (int, float):
            for value in sorted({node.value + 1, 2 * node.value, -node.value} - {node.value}):
                yield Site("a constant", node, lambda n, value=value: ast.Constant(value))
        elif isinstance(node, ast.Call):
            yield from of_call(node)
        elif isinstance(node, ast.AugAssign):
            yield Site("= for +=", node, lambda n: ast.Assign([n.target], n.value, lineno=0))
            yield Site("a sign", node, lambda n: set_field(n, op=SWAPPED[type(n.op)]()))
        elif isinstance(node, ast.Assign) and not isinstance(node.targets[0], ast.Tuple):
            yield Site("a sign", node, lambda n: set_field(n, value=ast.UnaryOp(ast.USub(), n.value)))
            yield Site("a factor", node, lambda n: set_field(n, value=binary(n.value, ast.Mult, 2.0)))
        elif isinstance(node, ast.Subscript) and isinstance(node.ctx, ast.Load):
            yield Site("an index dropped", node, lambda n: n.value)
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load) and node.id in arrays:
            for other in arrays:
                if other != node.id:
                    yield Site("another array", node, lambda n, other=other: ast.Name(other, ast.Load()))
        elif isinstance(node, ast.Return):
            yield from of_return(node)
        elif isinstance(node, ast.If):
            yield Site("a branch", node, lambda n: set_field(n, test=ast.UnaryOp(ast.Not(), n.test)))


def of_operation(node):
    if type(node.op) in SWAPPED:
        yield Site("an operator", node, lambda n: set_field(n, op=SWAPPED[type(n.op)]()))
    if isinstance(node.op, ast.Sub | ast.MatMult | ast.Div):
        yield Site("operands swapped", node, lambda n: set_field(n, left=n.right, right=n.left))
    if isinstance(node.op, ast.Add | ast.Sub):
        yield Site("a term dropped", node, lambda n: n.left)
        yield Site("a term dropped", node, lambda n: n.right)
    if isinstance(node.op, ast.Mult | ast.Div):
        yield Site("a factor dropped", node, lambda n: n.left)
        yield Site("a factor dropped", node, lambda n: n.right)
    if isinstance(node.op, ast.Pow):
        yield Site("a power dropped", node, lambda n: n.left)
    if isinstance(node.op, ast.MatMult):
        for side in ("left", "right"):
            yield Site(
                "a transpose too much", node, lambda n, side=side: set_field(n, **{side: transposed(getattr(n, side))})
            )


def of_call(node):
    if isinstance(node.func, ast.Attribute):
        name = node.func.attr
        if name in FUNCTIONS:
            yield Site(f"{FUNCTIONS[name]} for {name}", node, lambda n: set_field(n, func=renamed(n.func)))
        if name in ("sum", "mean", "copy", "transpose", "reshape") and not is_numpy(node.func.value):
            yield Site(f"a {name} dropped", node, lambda n: n.func.value)
        if name == "at":  # np.add.at(a, index, values): rows that repeat get the last one alone
            yield Site("= for +=", node, lambda n: add_once(*n.args))
        if name == "where":
            yield Site("branches swapped", node, lambda n: set_field(n, args=[n.args[0], n.args[2], n.args[1]]))
        if name == "einsum":
            yield Site("operands swapped", node, lambda n: set_field(n, args=[n.args[0], *n.args[:0:-1]]))
    if isinstance(node.func, ast.Name) and node.func.id == "range":
        yield Site("a step too few", node, lambda n: set_field(n, args=[*n.args[:-1], binary(n.args[-1], ast.Sub, 1)]))
    if isinstance(node.func, ast.Name) and node.func.id == "reversed":
        yield Site("the order turned", node, lambda n: n.args[0])
    for keyword in node.keywords:
        if keyword.arg == "axis":
            yield Site("an axis left out", node, lambda n: set_field(n, keywords=without(n.keywords, "axis")))


def of_return(node):
    """return dx, {"kernel": dkernel, …}: gradients swapped, of the wrong sign or size, or 0."""
    if isinstance(node.value, ast.Tuple):
        yield Site("a sign", node, lambda n: on_dx(n, lambda dx: ast.UnaryOp(ast.USub(), dx)))
        yield Site("a factor", node, lambda n: on_dx(n, lambda dx: binary(dx, ast.Mult, 2.0)))
        yield Site(
            "a factor",
            node,
            lambda n: on_dx(n, lambda dx: binary(dx, ast.Div, call("len", ast.Name("dy", ast.Load())))),
        )
        if isinstance(node.value.elts[1], ast.Dict):
            for i in range(len(node.value.elts[1].keys)):
                for j in range(i):
                    yield Site("gradients swapped", node, lambda n, i=i, j=j: swap_values(n, i, j))
                yield Site("a factor", node, lambda n, i=i: on_value(n, i, lambda v: binary(v, ast.Mult, 1.01)))
                yield Site("a gradient of 0", node, lambda n, i=i: on_value(n, i, lambda v: binary(v, ast.Mult, 0.0)))
                yield Site(
                    "a mean over the batch",
                    node,
                    lambda n, i=i: on_value(
                        n, i, lambda v: binary(v, ast.Div, call("len", ast.Name("dy", ast.Load())))
                    ),
                )
    else:
        yield Site("a sign", node, lambda n: set_field(n, value=ast.UnaryOp(ast.USub(), n.value)))
        yield Site("a factor", node, lambda n: set_field(n, value=binary(n.value, ast.Mult, 3.0)))


def set_field(node, **fields):
    for name, value in fields.items():
        setattr(node, name, value)
    return node


def binary(left, operator, number):
    return ast.BinOp(left, operator(), number if isinstance(number, ast.AST) else ast.Constant(number))


def call(name, argument):
    return ast.Call(ast.Name(name, ast.Load()), [argument], [])


def transposed(node):
    return node.value if isinstance(node, ast.Attribute) and node.attr == "T" else ast.Attribute(node, "T", ast.Load())


def renamed(attribute):
    return set_field(attribute, attr=FUNCTIONS[attribute.attr])


def is_numpy(node):
    return isinstance(node, ast.Name) and node.id == "np"


def without(keywords, name):
    return [keyword for keyword in keywords if keyword.arg != name]


def add_once(array, index, values):
    """array.__setitem__(index, values), as an expression."""
    return ast.Call(ast.Attribute(array, "__setitem__", ast.Load()), [index, values], [])


def on_dx(node, change):
    return set_field(node, value=set_field(node.value, elts=[change(node.value.elts[0]), *node.value.elts[1:]]))


def on_value(node, i, change):
    node.value.elts[1].values[i] = change(node.value.elts[1].values[i])
    return node


def swap_values(node, i, j):
    values = node.value.elts[1].values
    values[i], values[j] = values[j], values[i]
    return node


# ------------------------------------------------------------------------------------------------------------ the mutants


class Mutant(NamedTuple):
    """layer: its name in the zoo. kind: of change. line: the changed source. made: the class."""

    layer: str
    kind: str
    line: str
    made: type

    def __str__(self):
        return f"{self.layer}: {self.kind}: {self.line}"


class Replace(ast.NodeTransformer):
    """Puts another node in the place of the one with this number, in the order of ast.walk."""

    def __init__(self, target, make):
        self.target, self.make = target, make

    def visit(self, node):
        if node is self.target:
            return self.make(copy.deepcopy(node))
        return self.generic_visit(node)


def parts_of(cls):
    """What is mutated of a layer or a loss: (a function, the mutated function → attributes of the mutant's class)."""
    yield cls.backward, lambda made: {"backward": made}
    if operation := getattr(cls, "operation", None):
        others = vars(reference)
        yield getattr(reference, operation), lambda made: {"operations": SimpleNamespace(**{**others, operation: made})}


def mutants_of(name, cls):
    """All mutants of a layer's backward that can be compiled, each source once."""
    for function, attributes in parts_of(cls):
        text = textwrap.dedent(inspect.getsource(function))
        tree = ast.parse(text)
        seen = {ast.unparse(tree)}
        places = {node: place for place, node in enumerate(ast.walk(tree))}
        for site in sites(tree.body[0]):
            copied = ast.parse(text)
            target = next(islice(ast.walk(copied), places[site.node], None))
            changed = ast.fix_missing_locations(Replace(target, site.make).visit(copied))
            try:
                source = ast.unparse(changed)
                if source in seen:
                    continue
                seen.add(source)
                scope = {}
                exec(compile(source, f"<{name}>", "exec"), function.__globals__, scope)
            except (SyntaxError, ValueError):
                continue
            made = type(name, (cls,), attributes(scope[function.__name__]))
            yield Mutant(name, site.kind, changed_line(text, source), made)


def changed_line(before, after):
    """The first line that is another one, of the new source."""
    ours = ast.unparse(ast.parse(before)).splitlines()
    lines = after.splitlines()
    for old, new in zip(ours, lines, strict=False):
        if old != new:
            return new.strip()
    return lines[-1].strip()


def gradients(name, cls, draw=None, training=(True, False), shapes=None):
    """The gradients of a layer or a loss, on random numbers, in training and outside: a list of arrays; None where it fails."""
    found = []
    try:
        with np.errstate(all="ignore"):
            for seed in range(2):
                rng = np.random.default_rng([SEED, 1, seed])
                if name in LOSSES:
                    made = cls()
                    found.append(np.asarray(made.backward(made.forward(*LOSSES[name][1](rng))[1])))
                    continue
                _, all_shapes, inputs = LAYERS[name]
                for shape in shapes or all_shapes:
                    for mode in training:
                        made = cls()
                        made.build(shape, rng, np.dtype(np.float64))
                        size = (4, *shape)
                        x = inputs(rng, size) if inputs else draw(size) if draw else rng.normal(size=size)
                        y, cache = made.forward(x, training=mode, rng=zoo.KEY)
                        dx, grads = made.backward(rng.normal(size=y.shape), cache)
                        found.append(np.zeros(1) if dx is None else np.asarray(dx))
                        found += [np.asarray(grads[key]) for key in made.params]
    except Exception:
        return None
    return found


def changes_a_value(right, wrong):
    """Whether the gradients have the right shapes, and some other values."""
    if wrong is None or any(a.shape != b.shape or b.dtype.kind != "f" for a, b in zip(right, wrong, strict=True)):
        return False
    limits = [SMALL * max(np.abs(a).max(initial=0), 1e-300) for a in right]
    return any(not np.allclose(a, b, rtol=0, atol=limit) for a, b, limit in zip(right, wrong, limits, strict=True))


def all_mutants(begin=0, end=PER_LAYER):
    """The mutants that count, always the same ones in the same order; of each layer, those from begin to end."""
    for name, (cls, *_) in {**LAYERS, **LOSSES}.items():
        right = gradients(name, cls)
        found = list(mutants_of(name, cls))
        random.Random(f"{SEED} {name}").shuffle(found)
        counting = (mutant for mutant in found if changes_a_value(right, gradients(name, mutant.made)))
        yield from islice(counting, begin, end)


# --------------------------------------------------------------------------------------------------------------- the checks


class Found(NamedTuple):
    """What was said of a mutant, with default arguments.

    check_layer, gradcheck: whether it was caught; None where there is nothing to catch: check_layer is not for losses, and some
    mutants change no value in training, which is what gradcheck looks at, or none at the x that it was given. other: gradcheck
    with another idiom for x. hints: of gradcheck, by array. effect: whether what the first of them says is so.
    """

    check_layer: bool | None
    gradcheck: bool | None
    other: bool | None
    hints: dict
    effect: bool | None


def try_mutant(mutant, number):
    name, cls = mutant.layer, mutant.made
    with np.errstate(all="ignore"):
        if name in LOSSES:
            report = attempt(lambda: gradcheck(cls(), *LOSSES[name][1](np.random.default_rng(0))))
            return Found(None, caught(report), None, hints_of(report), effect_is_so(mutant, hints_of(report)))
        _, shapes, inputs = LAYERS[name]
        verdicts, hints = [], {}
        for idiom, tried in ((IDIOMS[0], shapes), (IDIOMS[1 + number % (len(IDIOMS) - 1)], shapes[:1])):
            verdict = None
            for shape in tried:
                right = gradients(name, LAYERS[name][0], idiom, [True], [shape])
                wrong = gradients(name, cls, idiom, [True], [shape])
                if wrong is not None and not changes_a_value(right, wrong):
                    continue
                x = inputs(np.random.default_rng(0), (4, *shape)) if inputs else idiom((4, *shape))
                report = attempt(lambda x=x: gradcheck(cls(), x))
                verdict = verdict or caught(report)
                hints = hints or hints_of(report)
            verdicts.append(verdict)
        try:
            check_layer(cls, shapes, inputs=inputs)
            whole = False
        except AssertionError:
            whole = True
        return Found(whole, *verdicts, hints, effect_is_so(mutant, hints))


def attempt(call):
    """None where it raises: that is found, too."""
    try:
        return call()
    except Exception:
        return None


def caught(report):
    return report is None or not report.passed


def hints_of(report):
    return {} if report is None else report.hints


# ------------------------------------------------------------------------------------------------- hints: right or wrong?


def effect_is_so(mutant, hints):
    """Whether what the first hint says of its array is so on other numbers; None where nothing is said."""
    if not hints:
        return None
    (name, said), *_ = hints.items()
    for samples in (6, 4):  # some mutants work on a square batch alone
        try:
            return by_effect(effect_of(mutant, name, samples), said)
        except Exception:
            continue
    return False


def effect_of(mutant, name, samples):
    right, shape = backward_of(mutant.layer, {**LAYERS, **LOSSES}[mutant.layer][0], samples)
    wrong, _ = backward_of(mutant.layer, mutant.made, samples)
    dys = np.eye(int(np.prod(shape))).reshape(-1, *shape)
    all_right = [right(dy) for dy in dys]
    arrays = {key: np.array([one[key] for one in all_right]) for key in all_right[0]}
    ours = np.array([wrong(dy)[name] for dy in dys])
    if mutant.layer in LOSSES:
        samples = len(ours[0])
    return Effect(ours, arrays[name], shape, samples, arrays, lambda dy: wrong(dy)[name])


def backward_of(name, cls, samples):
    """dy → gradients by name, on numbers that no other check sees; and the shape of dy."""
    rng, made = np.random.default_rng([SEED, 3]), cls()
    if name in LOSSES:
        _, cache = made.forward(*LOSSES[name][1](rng))
        return lambda dy: {"y_pred": dy * made.backward(copy.deepcopy(cache))}, ()
    _, (shape, *_), inputs = LAYERS[name]
    made.build(shape, rng, np.dtype(np.float64))
    size = (samples, *shape)
    y, cache = made.forward(inputs(rng, size) if inputs else rng.normal(size=size), training=True, rng=zoo.KEY)

    def backward(dy):
        dx, grads = made.backward(dy.copy(), copy.deepcopy(cache))
        return {"x": np.zeros(size) if dx is None else dx, **grads}

    return backward, y.shape


def judged(mutant, found):
    """ "right", "silent" or "wrong": what is said first, by its cause and by its effect."""
    if not found.hints:
        return "silent", "silent"
    cause = by_cause(mutant.kind, next(iter(found.hints.values())))
    return ("right" if cause else "wrong"), ("right" if found.effect else "wrong")


# ------------------------------------------------------------------------------------------------------------ right ones


def right_configurations(start, count):
    """How often a right layer was accused, of so many random configurations."""
    from hypothesis import HealthCheck, given, settings
    from hypothesis import seed as seeded
    from hypothesis import strategies as st

    from minidl.testing import inputs as draw_inputs
    from minidl.testing import layer_configurations

    accused, tried = [], 0

    def note(what, report):
        nonlocal tried
        tried += 1
        if report.problems or any(record.failed for record in report.records):
            accused.append(f"{what}\n{report}")

    half = count // 2
    for number in range(start, start + half):
        rng = np.random.default_rng([SEED, 2, number])
        name = sorted(LAYERS)[number % len(LAYERS)]
        cls, shapes, inputs = LAYERS[name]
        shape = (int(rng.integers(1, 6)), *shapes[rng.integers(len(shapes))])
        x = inputs(rng, shape) if inputs else kinds(rng, shape)
        made = cls()
        made.build(shape[1:], rng, np.dtype(np.float64))
        if rng.random() < 0.2:
            for value in made.params.values():
                value[...] *= 10.0 ** rng.integers(-3, 4)
        mode = ("entries", "direction", "ties")[rng.integers(3)]
        with np.errstate(all="ignore"):
            report = gradcheck(
                made, x, mode=mode, max_entries=8, directions=4, training=bool(rng.random() < 0.5), seed=number
            )
        if not any("NaN or infinity" in problem for problem in report.problems):
            note(f"{name} {shape} {mode} {number}", report)

    @seeded(start)
    @settings(max_examples=count - half, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @given(
        layer_configurations(),
        st.data(),
        st.sampled_from(["entries", "direction", "ties"]),
        st.booleans(),
        st.integers(0, 99),
    )
    def of_the_library(configuration, data, mode, training, seed):
        factory, shape = configuration
        made, rng = factory(), np.random.default_rng(seed)
        made.build(shape, rng, np.dtype(np.float64))
        for value in made.params.values():
            value += rng.normal(size=value.shape) * (seed % 2)
        report = gradcheck(
            made, data.draw(draw_inputs(shape)), mode=mode, training=training, max_entries=8, directions=4, seed=seed
        )
        note(f"{type(made).__name__} {made.get_config()} {mode}", report)

    of_the_library()
    return tried, accused


def kinds(rng, shape):
    """Normal numbers, ties, large and small ones, mixed, constant, zeros."""
    kind = rng.integers(8)
    x = rng.normal(size=shape)
    if kind == 0:
        return rng.integers(-2, 3, shape).astype(float)
    if kind == 1:
        return x * 10.0 ** rng.integers(-4, 3)
    if kind == 2:
        return x * 10.0 ** rng.integers(-3, 2, shape)
    if kind == 3:
        return np.full(shape, rng.normal())
    if kind == 4:
        return np.zeros(shape)
    return x


# ----------------------------------------------------------------------------------------------------------------- the command


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument(
        "--start", type=int, nargs="+", default=[0], help="the number of the first one; for --right, of several"
    )
    parser.add_argument("--count", type=int, help="how many; all by default")
    parser.add_argument(
        "--others", action="store_true", help=f"of each layer, the {PER_LAYER} mutants after the first ones"
    )
    parser.add_argument("--right", type=int, metavar="N", help="try so many configurations of right layers instead")
    parser.add_argument("--page", action="store_true", help="write the result into docs/checking.md, too")
    parser.add_argument(
        "--parts", nargs="+", metavar="PATH", help="sum up what --json wrote of several parts, and try nothing"
    )
    parser.add_argument("--json", metavar="PATH", help="write what was found of each mutant, too")
    options = parser.parse_args()
    started = time.perf_counter()
    if options.right:
        lines, faults = [], 0
        for start in options.start:
            tried, accused = right_configurations(start, options.right)
            faults += len(accused)
            lines.append(
                f"- numbered from {start:,}: {tried:,} configurations of right layers tried, {len(accused)} accused"
            )
            print(*accused, lines[-1], sep="\n\n", flush=True)
        if options.page:
            write_page(lines, "right")
        return bool(faults)

    if options.parts:
        data = [each for path in options.parts for each in json.loads(Path(path).read_text(encoding="utf-8"))]
        rows = [
            (
                each["number"],
                Mutant(each["layer"], each["kind"], each["line"], None),
                Found(*(each[key] for key in Found._fields)),
            )
            for each in sorted(data, key=lambda each: each["number"])
        ]
        lines = summary(rows)
        print("\n".join(lines))
        if options.page:
            write_page(lines, "others" if options.others else "mutants")
        return 0

    rows, stop = [], None if options.count is None else options.start[0] + options.count
    for number, mutant in enumerate(all_mutants(*((PER_LAYER, 2 * PER_LAYER) if options.others else ()))):
        if number < options.start[0] or (stop is not None and number >= stop):
            continue
        rows.append((number, mutant, try_mutant(mutant, number)))
    lines = summary(rows)
    print("\n".join(lines), f"\n{time.perf_counter() - started:.0f} s.", sep="")
    if options.json:
        data = [{"number": n, "layer": m.layer, "kind": m.kind, "line": m.line, **f._asdict()} for n, m, f in rows]
        Path(options.json).write_text(json.dumps(data, indent=1), encoding="utf-8")
    if options.page:
        write_page(lines, "others" if options.others else "mutants")
    return 0


def summary(rows):
    """How many were made and caught, which survive, and what the hints are worth; as Markdown."""
    layers = len({mutant.layer for _, mutant, _ in rows})
    lines = [
        f"{len(rows):,} mutants of {layers} backwards change a value.",
        "",
        "| check | mutants | caught | share |",
        "|---|---|---|---|",
    ]
    names = {
        "check_layer": "`check_layer`",
        "gradcheck": "`gradcheck`, `default_rng(0).normal`",
        "other": "`gradcheck`, another x",
    }
    for which, what in names.items():
        verdicts = [getattr(found, which) for *_, found in rows if getattr(found, which) is not None]
        if verdicts:
            lines.append(f"| {what} | {len(verdicts):,} | {sum(verdicts):,} | {100 * np.mean(verdicts):.2f} % |")
    lines += ["", "Survivors:", ""]
    before = len(lines)
    for number, mutant, found in rows:
        missed = [which for which in names if getattr(found, which) is False]
        if missed:
            lines.append(f"- {number}, {', '.join(missed)}: {mutant.layer}, {mutant.kind}: `{mutant.line}`")
    if len(lines) == before:
        lines[-2:] = ["Survivors: none."]
    kinds_made = Counter(mutant.kind for _, mutant, _ in rows)
    lines += [
        "",
        "Kinds of change: " + ", ".join(f"{kind} ({count})" for kind, count in kinds_made.most_common()) + ".",
    ]
    verdicts = [judged(mutant, found) for _, mutant, found in rows if found.gradcheck]
    for what, counts in zip(("cause", "effect"), map(Counter, zip(*verdicts, strict=True)), strict=True):
        shares = ", ".join(
            f"{word} {counts[word]:,} ({100 * counts[word] / len(verdicts):.1f} %)"
            for word in ("right", "silent", "wrong")
        )
        lines += ["", f"Hints of gradcheck, by {what}: {shares}."]
    return lines


def write_page(lines, which):
    """Put the lines between the marks of this block in the document."""
    begin, end = f"<!-- {which}: begin -->", f"<!-- {which}: end -->"
    text = DOCUMENT.read_text(encoding="utf-8")
    before, _, rest = text.partition(begin)
    _, _, after = rest.partition(end)
    DOCUMENT.write_text(f"{before}{begin}\n\n" + "\n".join(lines) + f"\n\n{end}{after}", encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
