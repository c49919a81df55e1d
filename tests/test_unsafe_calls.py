"""No code of the project can be made to run what a file, a name or a text says: a walk over the syntax of all of it."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FOLDERS = ("minidl", "examples", "benchmarks")

# Modules that run code from data, or hand it to a shell.
MODULES = {"pickle", "cPickle", "_pickle", "cloudpickle", "dill", "joblib", "jsonpickle", "marshal", "shelve", "yaml"}
MODULES |= {"code", "codeop", "imp", "runpy", "pty"}
LIBRARY = MODULES | {"subprocess", "ctypes", "importlib"}  # the package itself has no need of these either
BUILTINS = {"eval", "exec", "compile", "__import__"}
METHODS = {
    "import_module",
    "exec_module",
    "load_module",
    "read_pickle",
    "to_pickle",
    "load_source",
}  # of whatever module
SHELLS = {"os": {"system", "popen", "startfile"}, "subprocess": {"getoutput", "getstatusoutput"}}
SAFE = {"allow_pickle": False, "shell": False, "weights_only": True}  # arguments, and the one value that they may have
ALLOWED = {
    "benchmarks/worker.py": {"import_module"},  # a contestant's adapter, by its name in a table of the code
    "benchmarks/recipes.py": {"runpy"},  # an example of the project's own, by its name in a table of the code
    "examples/search_settings.py": {"joblib"},  # it calls functions in other processes
    "minidl/distribution/faults.py": {"pickle"},  # what the ranks of one program tell each other
    "minidl/distribution/wire.py": {"pickle"},
    "minidl/engine/memory.py": {"ctypes"},  # two functions of the C library that has been loaded
    "minidl/lab/page.py": {"importlib.resources"},  # files of the package itself
    "minidl/lab/server.py": {"importlib.resources"},
    "minidl/machine.py": {
        "subprocess",
        "importlib.metadata",
    },  # macOS tells the processor's name to a command; versions
}


def unsafe(source: str, banned: set[str] = MODULES) -> Iterator[str]:
    """What a text of Python has in it that can run code from data. banned: the modules that it may not import."""
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Import(names=names):
                yield from (alias.name for alias in names if alias.name.split(".")[0] in banned)
            case ast.ImportFrom(module=module, names=names):
                taken = {alias.name for alias in names}
                if module and module.split(".")[0] in banned:
                    yield module
                yield from taken & (METHODS | SHELLS.get(module, set()) | (BUILTINS if module == "builtins" else set()))
            case ast.Call(func=ast.Name(id="compile")):
                yield "compile"  # only where it is called: the name is also an argument of load_model
            case ast.Name(id=name) if name in BUILTINS - {"compile"}:  # called, or handed to somebody who calls it
                yield name
            case ast.Attribute(value=ast.Name(id=owner), attr=name) if name in SHELLS.get(owner, ()):
                yield name
            case ast.Attribute(value=ast.Name(id="builtins" | "__builtins__"), attr=name) if name in BUILTINS:
                yield name
            case ast.Attribute(attr=name) if name in METHODS:
                yield name
            case ast.keyword(arg=name, value=value) if name in SAFE:
                if not (isinstance(value, ast.Constant) and value.value is SAFE[name]):
                    yield name


PEERS = ROOT / "benchmarks" / "environments"  # other libraries, where somebody has installed them
FILES = sorted(
    path.relative_to(ROOT).as_posix()
    for folder in FOLDERS
    for path in (ROOT / folder).rglob("*.py")
    if PEERS not in path.parents
)


def test_the_files_are_found():
    assert {"minidl/models.py", "minidl/saving.py", "examples/mnist_cnn.py", "benchmarks/race.py"} <= set(FILES)
    assert set(ALLOWED) <= set(FILES)


@pytest.mark.parametrize("file", FILES)
def test_no_unsafe_calls(file):
    found = set(unsafe((ROOT / file).read_text("utf-8"), LIBRARY if file.startswith("minidl/") else MODULES))
    assert found == ALLOWED.get(file, set())


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("import pickle", "pickle"),
        ("import numpy, pickle as p", "pickle"),
        ("from pickle import loads", "pickle"),
        ("def f():\n    import marshal", "marshal"),
        ("import shelve", "shelve"),
        ("import yaml", "yaml"),
        ("from joblib.numpy_pickle import load", "joblib.numpy_pickle"),
        ("eval('1')", "eval"),
        ("map(eval, texts)", "eval"),
        ("exec(text)", "exec"),
        ("compile(text, 'f', 'exec')", "compile"),
        ("__import__(name)", "__import__"),
        ("import builtins\nbuiltins.eval(text)", "eval"),
        ("from builtins import eval as e", "eval"),
        ("importlib.import_module(name)", "import_module"),
        ("from importlib import import_module", "import_module"),
        ("np.load(path, allow_pickle=True)", "allow_pickle"),
        ("np.load(path, allow_pickle=flag)", "allow_pickle"),
        ("torch.load(path, weights_only=False)", "weights_only"),
        ("pandas.read_pickle(path)", "read_pickle"),
        ("os.system(text)", "system"),
        ("from os import popen", "popen"),
        ("subprocess.run(text, shell=True)", "shell"),
        ("subprocess.getoutput(text)", "getoutput"),
    ],
)
def test_what_is_unsafe_is_seen(source, found):
    assert list(unsafe(source)) == [found]


@pytest.mark.parametrize("source", ["import subprocess", "import importlib.util", "from ctypes import CDLL"])
def test_the_library_may_do_less(source):
    assert list(unsafe(source, LIBRARY))
    assert not list(unsafe(source))


@pytest.mark.parametrize(
    "source",
    [
        "model.compile(loss='mse')",
        "re.compile('a')",
        "np.load(path, allow_pickle=False)",
        "torch.load(path, weights_only=True)",
        "subprocess.run(['ls'], shell=False)",
        "platform.system()",
        "self.model.eval()",
        "text = 'eval(1)'  # import pickle",
    ],
)
def test_what_only_looks_like_it_is_not(source):
    assert not list(unsafe(source))
