"""One process: nothing is needed and nothing happens; and what several need is told where it is missing."""

import os
import sys

import numpy as np
import pytest

import minidl
from minidl import ranks
from minidl.engine import workers
from minidl.engine.update import update
from minidl.engine.vector import Parameters, Slots
from minidl.layers import Dense
from minidl.optimizers import SGD, Adagrad, Adam
from minidl.optimizers.base import BLOCK
from minidl.utils import seeds

pytestmark = pytest.mark.usefixtures("threads_as_before")


@pytest.fixture
def without_mpi(monkeypatch):
    monkeypatch.setitem(sys.modules, "mpi4py", None)  # importing it raises ImportError
    for name in minidl.distribution.LAUNCHERS:
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize("started", [None, "1", ""])
def test_nothing_happens(without_mpi, monkeypatch, started):
    if started is not None:
        monkeypatch.setenv("PMI_SIZE", started)
    minidl.distribution.initialize()
    assert type(ranks.group) is ranks.Alone
    assert (minidl.distribution.rank(), minidl.distribution.size()) == (0, 1)


@pytest.mark.parametrize("launcher", minidl.distribution.LAUNCHERS)
def test_mpiexec_without_mpi4py(without_mpi, monkeypatch, launcher):
    monkeypatch.setenv(launcher, "4")
    with pytest.raises(ImportError, match=r"has started 4 ranks, which need mpi4py: pip install 'minidl\[mpi\]'"):
        minidl.distribution.initialize()


def test_another_attribute_is_still_an_error():
    with pytest.raises(AttributeError, match="module 'minidl' has no attribute 'distributoin'"):
        minidl.distributoin  # noqa: B018


def test_a_shared_seed_is_for_those_who_have_none(monkeypatch):
    monkeypatch.setattr(seeds, "_seeds", None)
    seeds.share(5)
    first = [seeds.draw_seed(), seeds.draw_seed()]
    monkeypatch.setattr(seeds, "_seeds", None)
    seeds.share(5)
    assert [seeds.draw_seed(), seeds.draw_seed()] == first
    minidl.utils.set_random_seed(7)
    given = seeds.draw_seed()
    minidl.utils.set_random_seed(7)
    seeds.share(5)
    assert seeds.draw_seed() == given


def test_ranks_of_a_machine_share_its_cores(monkeypatch):
    monkeypatch.delenv("MINIDL_NUM_THREADS", raising=False)
    monkeypatch.setattr(workers, "_num_threads", None)
    monkeypatch.setattr(workers, "get_num_threads", lambda: workers._num_threads or 12)
    monkeypatch.setattr(os, "cpu_count", lambda: 12)
    workers.share_cores(4)
    assert workers._num_threads == 3
    workers.share_cores(2)  # it has been said now
    assert workers._num_threads == 3


def test_ranks_that_are_bound_to_cores_keep_them(monkeypatch):
    monkeypatch.delenv("MINIDL_NUM_THREADS", raising=False)
    monkeypatch.setattr(workers, "_num_threads", None)
    monkeypatch.setattr(workers, "get_num_threads", lambda: 3)
    monkeypatch.setattr(os, "cpu_count", lambda: 12)
    workers.share_cores(4)
    assert workers._num_threads is None


def test_squares_that_the_caller_knows_are_not_summed_again():
    optimizer = Adam(global_clipnorm=1.0)
    gradients = {"a": np.array([3.0, np.nan]), "b": np.array([4.0])}  # entries that are not here may be anything
    optimizer.prepare(gradients, {"a": 9.0, "b": 16.0})
    assert gradients["a"][0] == pytest.approx(3 / 5)
    assert gradients["b"][0] == pytest.approx(4 / 5)


@pytest.mark.parametrize(("optimizer", "first"), [(Adam(), 0.0), (Adagrad(initial_accumulator_value=0.3), 0.3)])
def test_the_optimizers_state_begins_as_it_should(optimizer, first):
    model = minidl.Sequential([Dense(3)], seed=1)
    model.build((4,))
    slots = Slots(optimizer, Parameters(model, model.dtype), [(0, 15)])
    for vector in slots.vectors.values():
        np.testing.assert_array_equal(vector, np.full(15, first, np.float32))


class First(ranks.Alone):
    """A process that has to step the first entries alone."""

    def __init__(self, stop):
        self.stop, self.gathered, self.completed = stop, (), 0

    def part(self, ranges):
        return [(0, self.stop)]

    def gather(self, vector, ranges, later=None):
        self.gathered = vector, ranges

    def complete(self):
        self.completed += 1


def test_a_process_begins_its_part_of_the_state_alone(monkeypatch):
    """The rest of what is trained stays untouched, and takes no memory; what is frozen begins everywhere."""
    monkeypatch.setattr(ranks, "group", First(4))
    model = minidl.Sequential([Dense(3)], seed=1)
    model.build((4,))
    parameters = Parameters(model, model.dtype)
    slots = Slots(Adagrad(initial_accumulator_value=0.3, use_ema=True), parameters, [(0, 10)])
    here = np.array([1] * 4 + [0] * 6 + [1] * 5, np.float32)
    np.testing.assert_array_equal(slots.vectors["accumulator"], np.float32(0.3) * here)
    np.testing.assert_array_equal(slots.vectors["average"], parameters.vector * here)
    assert parameters.vector[:4].all()


def test_averages_are_used_when_all_parts_of_them_are_here(monkeypatch):
    group = First(1)
    monkeypatch.setattr(ranks, "group", group)
    optimizer, params = SGD(0.1, use_ema=True), {"w": np.ones(2)}
    optimizer.build(params)
    optimizer.swap_averages(params)
    optimizer.keep_averages(params)
    assert group.completed == 2


def test_a_process_steps_its_part_alone(monkeypatch):
    """What is outside of it stays, for ``gather`` to fill in."""
    model = minidl.Sequential([Dense(4)], seed=1)
    model.build((BLOCK // 2,))
    parameters = Parameters(model, model.dtype)
    before = parameters.vector.copy()
    group = First(BLOCK)
    monkeypatch.setattr(ranks, "group", group)
    whole = [(0, len(before))]
    gradient = minidl.engine.vector.Gradient(parameters.layout, model.dtype)
    gradient.vector[:] = 1
    optimizer = SGD(0.5)
    update(parameters, [gradient], whole, optimizer, Slots(optimizer, parameters, whole), model.ops)
    np.testing.assert_array_equal(parameters.vector[:BLOCK], before[:BLOCK] - np.float32(0.5))
    np.testing.assert_array_equal(parameters.vector[BLOCK:], before[BLOCK:])
    assert group.gathered[0] is parameters.vector
    assert group.gathered[1] == whole
