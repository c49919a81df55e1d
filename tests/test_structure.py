"""The house rules for imports: contracts → ops → layers → engine → training → sequential → models, and never in a circle."""

import ast
import functools
import subprocess
import sys
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from importlib.util import resolve_name
from pathlib import Path

import pytest

import minidl

ROOT = Path(minidl.__file__).parent

# Each part of the package, and the parts that it may know, from the bottom up. A new part has to be given its place here.
BASE = {"contracts", "checks", "home", "ranks", "utils"}
MAY_KNOW = {
    "contracts": set(),
    "checks": {"contracts"},
    "home": set(),
    "ranks": {"contracts"},
    "utils": {"checks"},
    "datasets": {"checks"},
    "ops": {"contracts", "utils"},
    "initializers": BASE,
    "regularizers": BASE,
    "tracing": {"contracts", "utils", "ops"},
    "backprop": {"contracts", "ops", "tracing"},
    "layers": BASE | {"ops", "initializers", "regularizers", "backprop"},
    "losses": BASE | {"ops"},
    "metrics": BASE | {"losses"},
    "optimizers": BASE | {"ops"},
    "configs": BASE | {"initializers", "regularizers", "layers", "losses", "metrics", "optimizers"},
    "engine": BASE | {"ops", "tracing", "backprop", "layers", "losses", "optimizers"},
    "state": BASE | {"layers", "configs"},
    "saving": BASE | {"configs"},
    "resuming": BASE | {"engine", "configs", "state", "saving"},
    "callbacks": BASE | {"saving"},
    "passes": BASE | {"ops", "tracing", "backprop", "engine", "callbacks"},
    "training": BASE | {"ops", "engine", "resuming", "callbacks", "passes"},
    "summary": BASE | {"layers"},
    "model_files": BASE | {"ops", "layers", "engine", "configs", "state", "saving"},
    "sequential": BASE
    | {"ops", "tracing", "layers", "losses", "metrics", "optimizers", "engine"}
    | {"callbacks", "passes", "training", "summary", "model_files"},
    "models": {"contracts", "configs", "saving", "model_files", "sequential"},
    "checking": {"contracts", "ops", "utils", "backprop"},  # it knows layers, losses and models by their contract alone
    "cases": {"contracts", "layers"},
    "lab": {"contracts", "ops", "tracing", "backprop", "layers", "losses", "saving"},
    "testing": {"contracts", "ops", "layers", "cases", "checking"},
    "machine": {"", "contracts", "utils", "ops"},  # the root for the version
    "distribution": BASE | {"", "engine", "optimizers", "resuming"},  # the root for the version
}
FREE = {"", "certificate", "benchmark"}  # the package's root, and programs that use the library as a user would

# The program among the microscope's modules: it uses the library as a user would, and nothing uses it.
LAB = {f"minidl.lab.{name}" for name in ("__main__", "bugs", "drawing", "reader", "run", "server", "session")}

# What is imported when it is used, and the one module that does: the microscope by a trace, several machines by the root.
DOORS = {"minidl.lab": "minidl.tracing", "minidl.distribution": "minidl"}


def modules() -> dict[str, Path]:
    """Every module's name and file: minidl, minidl.models, minidl.ops.kernels, …"""
    return {
        ".".join(path.relative_to(ROOT.parent).with_suffix("").parts).removesuffix(".__init__"): path
        for path in ROOT.rglob("*.py")
    }


def statements(tree: ast.AST) -> Iterator[ast.AST]:
    """Every node that runs: what stands below ``if TYPE_CHECKING:`` gives a name to a type, and is never imported."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING":
            continue
        yield node
        yield from statements(node)


def imports(name: str, path: Path, known: dict[str, Path]) -> Iterator[str]:
    """The modules of the package that this one imports, anywhere in it: of ``from ..ops import kernels``, minidl.ops.kernels."""
    package = name if path.name == "__init__.py" else name.rpartition(".")[0]
    for node in statements(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            found = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = resolve_name("." * node.level + (node.module or ""), package)
            found = [part if (part := f"{base}.{alias.name}") in known else base for alias in node.names]
        else:
            continue
        yield from (
            module
            for module in found
            if module in known and not any(module.startswith(room) and name == door for room, door in DOORS.items())
        )


@functools.cache
def graph() -> dict[str, set[str]]:
    known = modules()
    return {name: set(imports(name, path, known)) for name, path in known.items()}


def part_of(module: str) -> str:
    """The first name below the package; "" for its root."""
    return module.split(".")[1] if "." in module else ""


def test_the_imports_are_found():
    """The walk sees what is there: one import of each form."""
    found = graph()
    assert {"minidl.models", "minidl.datasets", "minidl.engine.workers"} <= found["minidl"]  # from . import models
    assert {"minidl.engine.runner", "minidl.resuming"} <= found["minidl.training"]  # from .engine.runner import Runner
    assert {"minidl.engine.steps", "minidl.losses"} <= found["minidl.engine.plan"]  # from . import steps
    assert "minidl.ops.reference" in found["minidl.ops.kernels"]  # from ..reference import dense_forward, in a package
    assert "minidl.datasets.idx" in found["minidl.datasets.mnist"]  # from minidl.datasets.idx import read_idx
    assert "minidl.ops.random" not in found["minidl.contracts"]  # under TYPE_CHECKING


@pytest.mark.parametrize("part", sorted({part_of(name) for name in modules()} - FREE))
def test_imports_go_one_way(part):
    assert part in MAY_KNOW, f"give {part!r} its place in this test's table"
    for module, targets in graph().items():
        if part_of(module) == part and module not in LAB:
            unknown = {target for target in targets if part_of(target) not in MAY_KNOW[part] | {part} or target in LAB}
            assert not unknown, f"{module} must not import {unknown}"


@pytest.mark.parametrize(
    ("module", "users"),
    [("models", set()), ("sequential", {"models"}), ("machine", set()), ("benchmark", set()), ("distribution", set())],
)
def test_the_model_stands_at_the_top(module, users):
    found = {part_of(name) for name, targets in graph().items() if f"minidl.{module}" in targets and name not in LAB}
    assert found - FREE == users


def test_the_microscope_is_imported_when_it_is_used():
    lines = ["import sys", "import minidl", "print([name for name in sys.modules if name.startswith('minidl.lab')])"]
    done = subprocess.run([sys.executable, "-c", "\n".join(lines)], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
    assert not {
        part_of(name) for name, targets in graph().items() if any(t.startswith("minidl.lab") for t in targets)
    } - {"lab"}


def test_distribution_is_imported_when_it_is_used():
    lines = [
        "import sys, minidl",
        "print([name for name in sys.modules if name.startswith(('minidl.distribution', 'mpi4py'))])",
        "print(minidl.distribution.rank(), minidl.distribution.size(), 'mpi4py' in sys.modules)",
    ]
    done = subprocess.run([sys.executable, "-c", "\n".join(lines)], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n0 1 False\n"


def test_the_table_itself_goes_one_way():
    TopologicalSorter(MAY_KNOW).prepare()  # raises where two parts may know each other


def test_no_module_imports_itself_in_a_circle():
    try:
        TopologicalSorter(graph()).prepare()
    except CycleError as error:
        pytest.fail(f"circle of imports: {' → '.join(error.args[1])}")
