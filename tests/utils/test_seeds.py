"""set_random_seed makes a script repeatable, and is the only thing that is global."""

import random
import subprocess
import sys

import numpy as np
import pytest

from minidl import Sequential
from minidl.layers import Dense, Residual
from minidl.utils import seeds, set_random_seed

X = np.random.default_rng(0).random((20, 3))


@pytest.fixture(autouse=True)
def _as_before(monkeypatch):
    states = random.getstate(), np.random.get_state()  # noqa: NPY002
    monkeypatch.setattr(seeds, "_seeds", None)
    yield
    random.setstate(states[0])
    np.random.set_state(states[1])  # noqa: NPY002


def script():
    """What a script draws: numbers, and two models without a seed that are trained."""
    drawn = [random.random(), np.random.rand()]  # noqa: NPY002
    for _ in range(2):
        model = Sequential([Dense(4, activation="relu"), Dense(1)])
        model.compile(loss="mse", optimizer="adam")
        model.fit(X, X[:, :1], epochs=2, verbose=0)
        drawn.append(model.predict(X, verbose=0).tobytes())
    block = Residual([Dense(3)])
    block.build((3,))
    return [*drawn, block.get_weights()[0].tobytes()]


def test_the_same_seed_gives_the_same_script():
    set_random_seed(7)
    first = script()
    set_random_seed(7)
    assert script() == first
    assert first[2] != first[3]  # the second model is another one
    set_random_seed(8)
    assert all(one != other for one, other in zip(script(), first, strict=True))


def test_it_holds_across_processes():
    code = (
        "from minidl import Sequential; from minidl.utils import set_random_seed; set_random_seed(3); "
        "print([Sequential().seed for _ in range(3)])"
    )
    printed = {subprocess.check_output([sys.executable, "-c", code], text=True) for _ in range(2)}
    set_random_seed(3)
    assert printed == {f"{[Sequential().seed for _ in range(3)]}\n"}


def test_without_it_every_model_differs():
    assert len({Sequential().seed for _ in range(20)}) == 20
    set_random_seed(1)
    assert len({Sequential().seed for _ in range(20)}) == 20


def test_a_seed_of_ones_own_is_not_changed():
    set_random_seed(5)
    assert Sequential(seed=11).seed == 11
    following = Sequential().seed
    set_random_seed(5)
    assert Sequential().seed == following  # the model with a seed of its own has not counted


@pytest.mark.parametrize("seed", [-1, 2**32, 1.5, "3", None, True])
def test_what_is_no_seed(seed):
    with pytest.raises(ValueError, match="set_random_seed seed must be an integer from 0 to 2³² − 1, received"):
        set_random_seed(seed)


@pytest.mark.parametrize("seed", [0, 2**32 - 1, np.int64(5)])
def test_the_ends_of_the_range(seed):
    set_random_seed(seed)
    assert Sequential().seed >= 0
