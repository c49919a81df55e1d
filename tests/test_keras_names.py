"""The page about Keras's names says what the code says."""

import inspect
import re
from pathlib import Path

import pytest

import minidl
from minidl.layers.activation import ACTIVATIONS, ALIASES

PAGE = Path(__file__).parent.parent / "docs" / "keras.md"
ONLY_HERE = {
    "layers": {"RandomAffine", "Residual", "Stack"},
    "losses": {"LossFunction"},
    "metrics": {"ChosenAccuracy", "EachSample", "Function", "SampleMean", "accuracy"},
    "optimizers.schedules": {"OneCycle"},
}


def rows():
    """(module, names that are here, names that are not) of every line of the table."""
    lines = [line for line in PAGE.read_text(encoding="utf-8").splitlines() if line.startswith("| ")][1:]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    return [(module, *(re.findall("`(\\w+)`", names) for names in lists)) for module, *lists in cells]


def has(module, name):
    if module == "activations":
        return name in ACTIVATIONS or name in ALIASES
    return hasattr(getattr_path(module), name)


def getattr_path(module):
    found = minidl
    for part in module.split("."):
        found = getattr(found, part)
    return found


@pytest.mark.parametrize(
    ("module", "here", "missing"), rows(), ids=lambda value: value if isinstance(value, str) else ""
)
def test_the_table_is_the_code(module, here, missing):
    assert here
    assert missing
    assert [name for name in here if not has(module, name)] == []
    assert [name for name in missing if has(module, name)] == []
    if module == "activations":
        assert set(here) == ACTIVATIONS.keys() | ALIASES.keys()
        return
    ours = {
        name
        for name, value in vars(getattr_path(module)).items()
        if name[0] != "_"
        and inspect.isclass(value)
        and value.__name__ == name
        and value.__module__.startswith(f"minidl.{module.split('.')[0]}")
    }
    assert ours - set(here) - ONLY_HERE.get(module, set()) - INTERNAL == set()


INTERNAL = {"Initializer", "Crossentropy", "RegularizerLike", "TrainingCallback", "Progress"}


def test_short_names():
    text = PAGE.read_text(encoding="utf-8").partition("short forms")[2].partition("Only here")[0]
    known = {*minidl.losses.LOSSES, *minidl.metrics.METRICS, *minidl.initializers.INITIALIZERS}
    assert set(re.findall("`(\\w+)`", text)) <= known
