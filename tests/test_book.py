"""Every Python block of the documentation runs as it stands, page by page, and prints what the page says that it prints."""

import importlib
import importlib.util
import inspect
import re
import sys
import tomllib
from pathlib import Path

import numba
import pytest

import minidl
from minidl.datasets import mnist
from minidl.utils import seeds

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
PAGES = sorted([ROOT / "README.md", *DOCS.rglob("*.md")])
WITH_CODE = [page for page in PAGES if "```python\n" in page.read_text(encoding="utf-8")]
FEWER = {"README.md": 400}  # digits of the README's trainings, which print nothing that the page shows


def load(path):
    """A module by its file."""
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = module  # where inspect looks for the code of a class
    spec.loader.exec_module(module)
    return module


pages = load(DOCS / "book" / "pages.py")


def without_rounding(text):
    """Errors of the size of rounding differ from machine to machine; so does what is right of them in a table."""
    return [
        re.sub(r"\d\.\d+e[-+]\d+", "…", line).replace(" ", "").rstrip() for line in text.splitlines() if line.strip()
    ]


@pytest.mark.skipif(bool(numba.config.DISABLE_JIT), reason="readers have the kernels compiled")
@pytest.mark.usefixtures("threads_as_before", "_cut_as_users_see_it")
@pytest.mark.parametrize("page", WITH_CODE, ids=[str(page.relative_to(ROOT)) for page in WITH_CODE])
def test_the_code_runs_and_prints_what_the_page_shows(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MPLBACKEND", "Agg")
    monkeypatch.setenv("COLUMNS", "150")
    monkeypatch.syspath_prepend(ROOT)  # for what is in examples and benchmarks
    monkeypatch.setattr(seeds, "_seeds", None)  # and as before, after a page that calls set_random_seed
    if page.name in FEWER:
        few = tuple((x[: FEWER[page.name]], y[: FEWER[page.name]]) for x, y in mnist.load_data())
        monkeypatch.setattr(mnist, "load_data", lambda: few)
    for ran in pages.run(page, {"__name__": "page"}):
        if page.name not in FEWER:
            where = f"{page.relative_to(ROOT)}, line {ran.line}"
            assert without_rounding(ran.printed) == without_rounding(ran.shown), where


@pytest.mark.parametrize("page", PAGES, ids=[str(page.relative_to(ROOT)) for page in PAGES])
def test_every_link_to_a_file_leads_somewhere(page):
    text = re.sub(r"```.*?```|`[^`\n]*`", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    targets = [target.partition("#")[0] for target in re.findall(r"\]\(([^)\s]+)\)", text) if "://" not in target]
    assert [target for target in targets if target and not (page.parent / target).exists()] == []


INCLUDED = re.compile(r"```\{literalinclude\} (\S+)\n(?::\w+:.*\n)*?:pyobject: (\S+)")


@pytest.mark.parametrize("page", [page for page in PAGES if INCLUDED.search(page.read_text(encoding="utf-8"))])
def test_what_is_included_from_the_source_exists(page):
    for path, name in INCLUDED.findall(page.read_text(encoding="utf-8")):
        source = (page.parent / path).read_text(encoding="utf-8")
        assert re.search(rf"^ *(def|class) {name.rpartition('.')[2]}\b", source, re.MULTILINE), (path, name)


def test_every_figure_is_drawn_by_the_program_and_shown():
    program = (DOCS / "book" / "figures.py").read_text(encoding="utf-8")
    drawn = re.findall(r'^    "([\w-]+)": \w+,$', program, re.MULTILINE)
    shown = [
        name
        for page in (DOCS / "book").rglob("*.md")
        for name in re.findall(r"\((?:\.\./)?pictures/([\w-]+)\.svg\)", page.read_text(encoding="utf-8"))
    ]
    assert sorted(drawn) == sorted(shown)
    assert sorted(drawn) == sorted(path.stem for path in (DOCS / "book" / "pictures").iterdir())


def public_names():
    """(module, name) of all that is public: what the package and its parts list in ``__all__``, or define without one."""
    parts = ["minidl", "minidl.testing", "minidl.ops", "minidl.ops.reference", "minidl.optimizers.schedules"]
    parts += [f"minidl.{name}" for name in minidl.__all__ if inspect.ismodule(getattr(minidl, name))]
    for part in parts:
        module = importlib.import_module(part)
        own = [
            name
            for name, value in vars(module).items()
            if not name.startswith("_") and getattr(value, "__module__", "") == part and callable(value)
        ]
        names = getattr(module, "__all__", own)
        yield from ((part, name) for name in names if not inspect.ismodule(getattr(module, name)))


def test_the_reference_has_every_public_name():
    text = "\n".join(page.read_text(encoding="utf-8") for page in (DOCS / "reference").glob("*.md"))
    shown = set()  # module.name of every directive
    module = ""
    for line in text.splitlines():
        if line.startswith(".. currentmodule:: "):
            module = line.split()[-1]
        elif found := re.match(r"\.\. auto\w+:: (\S+)", line):
            shown.add(f"{module}.{found[1]}")
    mentioned = set(re.findall(r"`[\w.]*?(\w+)`", text))  # an alias, a constant: in a sentence
    missing = [
        f"{part}.{name}" for part, name in public_names() if f"{part}.{name}" not in shown and name not in mentioned
    ]
    assert sorted(missing) == [
        "minidl.initializers.allocate",
        "minidl.initializers.name_of",
    ]  # for the library's own layers


def test_the_reference_has_no_name_that_is_not_there():
    for page in (DOCS / "reference").glob("*.md"):
        module = ""
        for line in page.read_text(encoding="utf-8").splitlines():
            if line.startswith(".. currentmodule:: "):
                module = importlib.import_module(line.split()[-1])
            elif found := re.match(r"\.\. auto\w+:: (\S+)", line):
                value = module
                for name in found[1].split("."):
                    value = getattr(value, name)
                assert inspect.getdoc(value), line


@pytest.mark.skipif(bool(numba.config.DISABLE_JIT), reason="readers have the kernels compiled")
def test_the_museum_shows_what_the_exhibits_are_and_what_finds_them():
    """All but the accuracies, which take a minute: python docs/book/museum.py --train."""
    museum = load(DOCS / "book" / "museum.py")
    shown = museum.PAGE.read_text(encoding="utf-8")
    assert without_rounding(museum.page(museum.trained_before())) == without_rounding(shown)


def test_the_museum_does_not_give_its_answers_away():
    """Outside of what is folded there is no comment, and no name or docstring of a faulty class."""
    museum = load(DOCS / "book" / "museum.py")
    text = re.sub(
        r"<summary>Answer</summary>.*?</details>", "", museum.PAGE.read_text(encoding="utf-8"), flags=re.DOTALL
    )
    for code in re.findall(r"```py\n(class Faulty.*?)```", text, re.DOTALL):
        assert "#" not in code
        assert '"""' not in code
    exhibits = museum.museum.EXHIBITS
    assert text.count("class Faulty") == len(exhibits)
    assert [name for name, shown in exhibits.items() if name in text or shown.wrong in text] == []


def test_the_table_of_versions_has_those_that_the_package_declares():
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["classifiers"]
    text = (DOCS / "contributing.md").read_text(encoding="utf-8")
    tried = re.findall(r"^\| (3\.\d+) \|", text, re.MULTILINE)
    assert [f"Programming Language :: Python :: {version}" for version in tried] == [
        each for each in declared if "Python :: 3." in each
    ]
    assert tried
