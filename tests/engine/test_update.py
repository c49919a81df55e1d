"""The end of a step: sums and the optimizer's rule over ranges of a vector, in pieces, against the rule on whole arrays."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minidl import set_num_threads
from minidl.engine import update as module
from minidl.engine.update import pieces, update
from minidl.engine.vector import Gradient, Parameters, Slots
from minidl.layers import Dense, Stack
from minidl.ops import OPERATIONS, reference
from minidl.optimizers import SGD, Adam, RMSprop

pytestmark = pytest.mark.usefixtures("threads_as_before")

FLOAT64 = np.dtype(np.float64)
OPTIMIZERS = {
    "sgd": lambda: SGD(0.1),
    "momentum": lambda: SGD(0.1, momentum=0.9),
    "nesterov, clipped": lambda: SGD(0.1, momentum=0.9, nesterov=True, clipnorm=0.5),
    "rmsprop, decay": lambda: RMSprop(0.01, weight_decay=0.1),
    "adam": lambda: Adam(0.01),
    "adam, decay, clipped": lambda: Adam(0.01, weight_decay=0.1, clipnorm=0.5),
}


def model():
    """Three layers: 12 + 3, 6 + 2 and 4 + 2 numbers."""
    stack = Stack([Dense(3), Dense(2), Dense(2)])
    stack.build((4,), np.random.default_rng(0), FLOAT64)
    return stack


def gradient(layout, seed):
    found = Gradient(layout, FLOAT64)
    found.vector[:] = np.random.default_rng(seed).normal(size=layout.size)
    return found


# --------------------------------------------------------------------------------------------------------------- pieces


@given(
    sizes=st.lists(st.tuples(st.integers(0, 50), st.integers(1, 400)), max_size=6),
    threads=st.integers(1, 5),
    smallest=st.sampled_from([1, 64, 1000]),
)
def test_pieces_cover_the_ranges_once_and_in_order(sizes, threads, smallest):
    ranges, end = [], 0
    for gap, size in sizes:
        ranges.append((end + gap, end + gap + size))
        end += gap + size
    set_num_threads(threads)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "PIECE", smallest)
        found = pieces(ranges)
    covered = [i for piece in found for i in range(piece.start, piece.stop)]
    assert covered == [i for start, stop in ranges for i in range(start, stop)]
    assert all(piece.start < piece.stop for piece in found)
    total = len(covered)
    assert len(found) <= threads + len(ranges)
    assert all(piece.stop - piece.start <= max(smallest, -(-total // threads)) for piece in found)
    if total <= smallest:
        assert len(found) == len(ranges)  # few numbers are not shared out


# --------------------------------------------------------------------------------------------------------------- a step


def test_by_hand():
    """Two gradients that add up, a rate of 0.5, and a frozen layer in the middle."""
    stack = model()
    parameters = Parameters(stack, FLOAT64)
    parameters.vector[:] = 10
    left, right = gradient(parameters.layout, 0), gradient(parameters.layout, 0)
    left.vector[:], right.vector[:] = 1, 3
    optimizer = SGD(0.5)
    ranges = parameters.layout.ranges({id(stack.layers[1])})
    slots = Slots(optimizer, parameters, ranges)
    assert ranges == [(0, 15), (23, 29)]
    update(parameters, [left, right], ranges, optimizer, slots, OPERATIONS["kernels"])
    np.testing.assert_array_equal(parameters.vector, [8.0] * 15 + [10.0] * 8 + [8.0] * 6)
    assert optimizer.iterations == 1
    np.testing.assert_array_equal(right.vector, 3)


def test_clipping_by_hand():
    """Each parameter's gradient on its own: (3, 4) has the norm 5, and becomes (0.6, 0.8); what is shorter stays."""
    stack = Stack([Dense(2, use_bias=True)])
    stack.build((1,), np.random.default_rng(0), FLOAT64)
    parameters = Parameters(stack, FLOAT64)
    parameters.vector[:] = 0
    left, right = gradient(parameters.layout, 0), gradient(parameters.layout, 0)
    left.named["dense/kernel"][:], right.named["dense/kernel"][:] = [[1, 4]], [[2, 0]]
    left.named["dense/bias"][:], right.named["dense/bias"][:] = [0.25, 0], [0.25, 0]
    optimizer = SGD(1.0, clipnorm=1.0)
    slots = Slots(optimizer, parameters, [(0, 4)])
    update(parameters, [left, right], [(0, 4)], optimizer, slots, OPERATIONS["kernels"])
    np.testing.assert_allclose(parameters.vector, [-0.6, -0.8, -0.5, 0], rtol=1e-12)


class Doubled(SGD):
    """A user's own prepare, which changes the gradients and the rate."""

    def prepare(self, grads):
        for grad in grads.values():
            grad *= 2
        return super().prepare(grads) / 4


@pytest.mark.parametrize(
    ("clip", "expected"), [({}, -2.0), ({"global_clipnorm": 8.0}, -1.0)], ids=["as it is", "clipped"]
)
def test_a_prepare_of_the_users_by_hand(clip, expected):
    """2 · (1 + 3) = 8 for each of four numbers has the norm 16; clipped to the norm 8 it is 4. The rate of 1 becomes 1/4."""
    stack = Stack([Dense(2, use_bias=True)])
    stack.build((1,), np.random.default_rng(0), FLOAT64)
    parameters = Parameters(stack, FLOAT64)
    parameters.vector[:] = 0
    left, right = gradient(parameters.layout, 0), gradient(parameters.layout, 0)
    left.vector[:], right.vector[:] = 1, 3
    optimizer = Doubled(1.0, **clip)
    slots = Slots(optimizer, parameters, [(0, 4)])
    update(parameters, [left, right], [(0, 4)], optimizer, slots, OPERATIONS["kernels"])
    np.testing.assert_allclose(parameters.vector, [expected] * 4, rtol=1e-12)
    assert optimizer.iterations == 1


@pytest.mark.parametrize("make", OPTIMIZERS.values(), ids=OPTIMIZERS)
@pytest.mark.parametrize("frozen", [(), (1,), (0, 2)], ids=["none frozen", "the middle one", "the others"])
@pytest.mark.parametrize("parts", [1, 2])
def test_steps_in_pieces_are_the_optimizers_steps_on_whole_arrays(make, frozen, parts, monkeypatch):
    """Optimizer.step is NumPy's plain formulas, array by array; what is frozen, it is not given."""
    set_num_threads(3)
    monkeypatch.setattr(module, "PIECE", 3)
    stack, optimizer, alone = model(), make(), make()
    parameters = Parameters(stack, FLOAT64)
    names = [layer.name for i, layer in enumerate(stack.layers) if i in frozen]
    params = {name: value.copy() for name, value in stack.params.items()}
    trained = {name: value for name, value in params.items() if name.split("/")[0] not in names}
    ranges = parameters.layout.ranges({id(stack.layers[i]) for i in frozen})
    slots = Slots(optimizer, parameters, ranges)
    for step in range(3):
        given = [gradient(parameters.layout, 10 * step + i) for i in range(parts)]
        summed = {name: sum(each.named[name] for each in given) for name in trained}
        alone.step(trained, summed)
        update(parameters, given, ranges, optimizer, slots, reference)
        for name, value in params.items():
            np.testing.assert_allclose(stack.params[name], value, rtol=1e-12, atol=1e-14, err_msg=name)
    assert optimizer.iterations == alone.iterations == 3
    for name, own in optimizer.slots.items():
        for slot, value in own.items():
            expected = alone.slots[name][slot] if name in trained else np.zeros_like(value)
            np.testing.assert_allclose(value, expected, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("make", OPTIMIZERS.values(), ids=OPTIMIZERS)
def test_the_bits_do_not_depend_on_the_pieces(make, monkeypatch):
    found = set()
    for threads, smallest in [(1, 64 * 1024), (2, 1), (3, 5), (4, 7)]:
        set_num_threads(threads)
        monkeypatch.setattr(module, "PIECE", smallest)
        stack, optimizer = model(), make()
        parameters = Parameters(stack, FLOAT64)
        slots = Slots(optimizer, parameters, [(0, parameters.layout.size)])
        for step in range(3):
            given = [gradient(parameters.layout, 10 * step + i) for i in range(2)]
            update(parameters, given, [(0, parameters.layout.size)], optimizer, slots, OPERATIONS["kernels"])
        found.add(parameters.vector.tobytes())
    assert len(found) == 1


def test_where_nothing_is_trained_the_step_is_counted_and_nothing_changes():
    stack, optimizer = model(), Adam(0.1, weight_decay=0.5, clipnorm=1.0)
    parameters = Parameters(stack, FLOAT64)
    before = parameters.vector.copy()
    slots = Slots(optimizer, parameters, [])
    update(parameters, [gradient(parameters.layout, 0)], [], optimizer, slots, OPERATIONS["kernels"])
    np.testing.assert_array_equal(parameters.vector, before)
    assert optimizer.iterations == 1


@pytest.mark.parametrize(("smallest", "woken"), [(12, False), (11, True)])
def test_no_thread_is_woken_for_fewer_entries_than_a_piece(smallest, woken, monkeypatch):
    """Whatever number of ranges they lie in: here, six of them in each of two."""
    calls, run = [], module.run
    monkeypatch.setattr(module, "PIECE", smallest)
    monkeypatch.setattr(module, "run", lambda job, parts: (calls.append(parts), run(job, parts)))
    set_num_threads(2)
    stack, optimizer = model(), SGD(1.0)
    parameters = Parameters(stack, FLOAT64)
    before, given = parameters.vector.copy(), gradient(parameters.layout, 3)
    change = given.vector.copy()
    ranges = [(0, 6), (15, 21)]
    update(parameters, [given], ranges, optimizer, Slots(optimizer, parameters, ranges), reference)
    stepped = np.r_[0:6, 15:21]
    before[stepped] -= change[stepped]
    np.testing.assert_allclose(parameters.vector, before, rtol=1e-12)
    assert bool(calls) == woken
