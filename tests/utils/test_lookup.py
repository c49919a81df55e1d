"""Finding a thing by its name, and the nearest names where there is none."""

import re
import tracemalloc

import pytest

from minidl.utils.lookup import by_name, spelled

TABLE = {"adam": 1, "sgd": 2, "rmsprop": 3}


def test_found():
    assert by_name(TABLE, "sgd", "optimizer") == 2


@pytest.mark.parametrize(
    ("name", "hint"),
    [("Adan", "Did you mean 'adam'? "), ("rmsprops", "Did you mean 'rmsprop'? "), ("x", ""), ("adam" * 50, "")],
)
def test_not_found(name, hint):
    text = f"unknown optimizer {name!r}. {hint}There are: adam, rmsprop, sgd."
    with pytest.raises(ValueError, match="^" + re.escape(text) + "$"):
        by_name(TABLE, name, "optimizer")


def test_another_spelling():
    table = {"he_normal": 1, "l2": 2, "L2": 3, "auc": 4}
    for name, expected in {"HeNormal": "he_normal", "L2": "L2", "l2": "l2", "AUC": "auc", "au": "au"}.items():
        assert spelled(table, name) == expected


@pytest.mark.parametrize("name", [None, 3, ["adam"], b"adam"])
def test_not_a_name(name):
    with pytest.raises(TypeError, match="^" + re.escape(f"a optimizer must be given by its name, received {name!r}.")):
        by_name(TABLE, name, "optimizer")


def test_a_name_without_end_takes_no_more_than_its_message():
    name = "x" * 10**6
    tracemalloc.start()
    try:
        with pytest.raises(ValueError, match="unknown optimizer"):
            by_name(TABLE, name, "optimizer")
        assert tracemalloc.get_traced_memory()[1] < 5e6
    finally:
        tracemalloc.stop()
