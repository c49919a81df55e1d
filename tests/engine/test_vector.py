"""One vector of parameters: where each lies, what belongs together, and that layers, gradients and state are views of it."""

import copy
import re

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from minidl import Sequential
from minidl.engine.vector import Gradient, Layout, Parameters, Slots
from minidl.layers import Activation, Dense, Layer, Residual, Stack
from minidl.optimizers import SGD, Adam

FLOAT32 = np.dtype(np.float32)


def stack(*layers, shape=(4,)):
    made = Stack(layers, name="stack")
    made.build(shape, np.random.default_rng(0))
    return made


class Transposed(Layer):
    """y = x · Eᵀ with the matrix E of another layer: the decoder of a tied autoencoder. matrix: what to make of E."""

    def __init__(self, other, matrix=lambda e: e):
        super().__init__(name="tied")
        self.other, self.matrix = other, matrix

    def build(self, input_shape, rng, dtype):
        self.params = {"kernel": self.matrix(self.other.params["kernel"])}
        return (self.other.input_shape[0],)

    def forward(self, x, *, training=False, rng=None):
        return x @ self.params["kernel"].T, x

    def backward(self, dy, cache):
        return dy @ self.params["kernel"], {"kernel": dy.T @ cache}


def autoencoder():
    encoder = Dense(3, use_bias=False, name="encoder")
    return stack(encoder, Transposed(encoder))


# --------------------------------------------------------------------------------------------------------------- places


def test_places_by_hand():
    layout = Layout(stack(Dense(3), Residual([Dense(3, use_bias=False)]), Activation("relu"), Dense(2)))
    assert [(address, place.start, place.stop, place.shape) for address, place in layout.places.items()] == [
        ("dense/kernel", 0, 12, (4, 3)),
        ("dense/bias", 12, 15, (3,)),
        ("residual/dense/kernel", 15, 24, (3, 3)),
        ("dense_1/kernel", 24, 30, (3, 2)),
        ("dense_1/bias", 30, 32, (2,)),
    ]
    assert (layout.size, layout.ties) == (32, {})


def test_views_are_parts_of_the_vector_in_the_parameters_shapes():
    layout = Layout(stack(Dense(3), Dense(2)))
    vector = np.arange(layout.size, dtype=np.float32)
    views = layout.views(vector)
    np.testing.assert_array_equal(views["dense/kernel"], [[0, 1, 2], [3, 4, 5], [6, 7, 8], [9, 10, 11]])
    np.testing.assert_array_equal(views["dense_1/bias"], [21, 22])
    views["dense/bias"][:] = -1
    np.testing.assert_array_equal(np.flatnonzero(vector == -1), [12, 13, 14])


@given(st.lists(st.tuples(st.integers(1, 3), st.booleans(), st.booleans()), min_size=1, max_size=6))
def test_a_training_step_changes_what_is_not_frozen_in_as_few_runs_as_can_be(layers):
    """Against a mask with an entry for each number."""
    made = stack(*(Dense(units, use_bias=bias) for units, bias, _ in layers))
    frozen = {id(layer) for layer, (_, _, is_frozen) in zip(made.layers, layers, strict=True) if is_frozen}
    mask = [
        id(layer) not in frozen for layer in made.layers for value in layer.params.values() for _ in range(value.size)
    ]
    ranges = Layout(made).ranges(frozen)
    found = np.zeros(len(mask), bool)
    for start, stop in ranges:
        assert start < stop
        found[start:stop] = True
    np.testing.assert_array_equal(found, mask)
    assert len(ranges) == np.sum(np.diff([0, *mask]) == 1)


# ----------------------------------------------------------------------------------------------------------------- ties


def test_a_tied_parameter_has_one_place_and_is_frozen_if_any_of_its_owners_is():
    made = autoencoder()
    encoder, tied = made.layers
    layout = Layout(made)
    assert list(layout.places) == ["encoder/kernel"]
    assert (layout.size, layout.ties) == (12, {"tied/kernel": "encoder/kernel"})
    assert layout.ranges(()) == [(0, 12)]
    assert layout.ranges({id(encoder)}) == layout.ranges({id(tied)}) == []


def test_the_gradient_of_a_tied_parameter_is_the_sum_of_its_owners():
    gradient = Gradient(Layout(autoencoder()), FLOAT32)
    gradient.named["encoder/kernel"][:] = 3
    gradient.named["tied/kernel"][:] = 4
    gradient.add_tied()
    np.testing.assert_array_equal(gradient.vector, np.full(12, 7, np.float32))
    gradient.named["encoder/kernel"][:] = 1  # what a next backward writes
    gradient.add_tied()
    np.testing.assert_array_equal(gradient.vector, np.full(12, 5, np.float32))


def test_tied_parameters_stay_one_array_in_the_vector():
    made = autoencoder()
    encoder, tied = made.layers
    values = encoder.params["kernel"].copy()
    parameters = Parameters(made, FLOAT32)
    np.testing.assert_array_equal(parameters.vector, values.reshape(-1))
    parameters.vector += 1
    for layer in (encoder, tied):
        np.testing.assert_array_equal(layer.params["kernel"], values + 1)
        assert np.shares_memory(layer.params["kernel"], parameters.vector)


OVERLAPS = {
    "a transpose": lambda e: e.T,
    "a part": lambda e: e[:2],
    "every second row": lambda e: e[::2],
    "backwards": lambda e: e[::-1],
    "another shape": lambda e: e.reshape(3, 4),
}


@pytest.mark.parametrize("matrix", OVERLAPS.values(), ids=OVERLAPS)
def test_parameters_that_overlap_in_another_way_are_refused(matrix):
    encoder = Dense(3, use_bias=False, name="encoder")
    made = Stack([encoder, Transposed(encoder, matrix)])
    made.build((4,))
    names = "|".join(("'encoder/kernel' and 'tied/kernel'", "'tied/kernel' and 'encoder/kernel'"))
    with pytest.raises(ValueError, match=rf"^the parameters ({names}) share memory, but are not the same array"):
        Layout(made)


class Given(Layer):
    """Parameters as they are."""

    def __init__(self, **arrays):
        super().__init__(name="given")
        self.arrays = arrays

    def build(self, input_shape, rng, dtype):
        self.params = dict(self.arrays)
        return input_shape


def test_an_overlap_is_found_behind_arrays_that_lie_in_between():
    """b lies in a gap of a; c does not, though it begins behind the end of b."""
    memory = np.zeros(40, np.float32)
    with pytest.raises(ValueError, match="'given/a' and 'given/c' share memory"):
        Layout(stack(Given(a=memory[::2], b=memory[1:2], c=memory[8:10])))


def test_arrays_side_by_side_in_one_memory_are_apart():
    memory = np.zeros(40, np.float32)
    layout = Layout(stack(Given(even=memory[:20:2], odd=memory[1:20:2], last=memory[20:][::-1], none=memory[:0])))
    assert [place.stop - place.start for place in layout.places.values()] == [10, 10, 20, 0]


@example([(0, 3, 2), (1, 2, 1), (2, 3, 1)])
@given(st.lists(st.tuples(st.integers(0, 11), st.integers(0, 12), st.integers(1, 4)), min_size=2, max_size=5))
def test_it_is_refused_exactly_where_two_have_a_number_in_common(slices):
    memory = np.zeros(12, np.float32)
    arrays = {f"p{i}": memory[start:stop:step] for i, (start, stop, step) in enumerate(slices)}
    places = [frozenset(range(12)[start:stop:step]) for start, stop, step in slices]
    pairs = [(i, j) for j in range(len(slices)) for i in range(j)]
    # of the same numbers in the same order: one array under two names, which is a tie
    same = {(i, j) for i, j in pairs if places[i] == places[j] and len({arrays[f"p{k}"].strides for k in (i, j)}) == 1}
    overlap = any(places[i] & places[j] and (i, j) not in same for i, j in pairs)
    made = stack(Given(**arrays))
    if overlap:
        with pytest.raises(ValueError, match="share memory, but are not the same array"):
            Layout(made)
    else:
        assert Layout(made).size == sum(map(len, set(places)))


# ----------------------------------------------------------------------------------------------------------- parameters


def test_layers_hold_views_of_the_vector():
    made = stack(Dense(3), Dense(2))
    values = made.get_weights()
    parameters = Parameters(made, FLOAT32)
    np.testing.assert_array_equal(parameters.vector, np.concatenate([value.reshape(-1) for value in values]))
    parameters.vector[:] = np.arange(23)
    np.testing.assert_array_equal(made.layers[1].params["kernel"], [[15, 16], [17, 18], [19, 20]])
    made.layers[0].params["bias"][1] = -5
    assert parameters.vector[13] == -5


def test_what_a_layer_has_set_anew_is_taken_over():
    made = stack(Dense(3), Dense(2))
    parameters = Parameters(made, FLOAT32)
    layer = made.layers[1]
    layer.params["bias"] = np.array([7.0, 8.0])  # another dtype, too
    layer.params = {"kernel": np.ones((3, 2), np.float32), "bias": layer.params["bias"]}
    assert parameters.hold()
    np.testing.assert_array_equal(parameters.vector[15:], [1, 1, 1, 1, 1, 1, 7, 8])
    assert np.shares_memory(layer.params["bias"], parameters.vector)
    assert parameters.hold()  # nothing more to do


@pytest.mark.parametrize(
    "change",
    [
        lambda layer: layer.params.pop("bias"),
        lambda layer: layer.params.update(bias=np.ones(3, np.float32)),
        lambda layer: setattr(layer, "params", {}),
    ],
    ids=["missing", "shape", "none"],
)
def test_other_parameters_need_another_vector(change):
    made = stack(Dense(3), Dense(2))
    parameters = Parameters(made, FLOAT32)
    change(made.layers[1])
    assert not parameters.hold()


def test_an_attribute_of_the_layer_is_the_view_as_well():
    class Known(Layer):
        def build(self, input_shape, rng, dtype):
            self.factor = np.full(input_shape, 3, dtype)
            self.params = {"factor": self.factor}
            return input_shape

        def forward(self, x, *, training=False, rng=None):
            return x * self.factor, x

        def backward(self, dy, cache):
            return dy * self.factor, {"factor": (dy * cache).sum(axis=0)}

    model = Sequential([Known()], dtype="float64", seed=0)
    model.compile(SGD(0.5), "mse")
    model.train_on_batch(np.ones((1, 1)), np.zeros((1, 1)))  # ∂ (f − 0)² / ∂f = 6
    assert model.layers[0].factor is model.layers[0].params["factor"]
    assert model.predict(np.ones((1, 1)), verbose=0) == 0


# ----------------------------------------------------------------------------------------------------------------- state


def test_the_optimizers_state_is_views_and_keeps_what_it_had():
    made, optimizer = stack(Dense(3), Dense(2)), Adam()
    kept = {"mean": np.full((3, 2), 5, np.float32), "mean_square": np.full((3, 2), 6, np.float32)}
    other = {"mean": np.full(9, 1, np.float32), "mean_square": np.full(9, 1, np.float32)}
    optimizer.slots = {"dense_1/kernel": kept, "dense/bias": other}  # of another shape: it is of no use
    slots = Slots(optimizer, Parameters(made, FLOAT32), [(0, 23)])
    assert list(slots.vectors) == ["mean", "mean_square"]
    np.testing.assert_array_equal(slots.vectors["mean"], [0] * 15 + [5] * 6 + [0] * 2)
    np.testing.assert_array_equal(slots.vectors["mean_square"], [0] * 15 + [6] * 6 + [0] * 2)
    slots.vectors["mean"][12:15] = 9
    np.testing.assert_array_equal(optimizer.slots["dense/bias"]["mean"], [9, 9, 9])
    assert slots.hold(optimizer)
    assert not slots.hold(copy.deepcopy(optimizer))
    optimizer.slots = {}
    assert not slots.hold(optimizer)


def test_an_optimizer_without_state_has_no_vectors():
    optimizer = SGD(0.1)
    slots = Slots(optimizer, Parameters(stack(Dense(2)), FLOAT32), [(0, 8)])
    assert slots.vectors == {}
    assert optimizer.slots == {"dense/kernel": {}, "dense/bias": {}}
    assert slots.hold(optimizer)
    optimizer.slot_names = ("velocity",)
    assert not slots.hold(optimizer)


def test_the_overlap_message_says_what_to_write():
    """Its advice, taken: the very same array, transposed in forward; or a copy."""
    encoder = Dense(3, use_bias=False)
    message = r"x @ self.params['kernel'].T; otherwise give one of them a .copy()."
    with pytest.raises(ValueError, match=re.escape(message)):
        Layout(stack(encoder, Transposed(encoder, lambda e: e.T)))
    assert Layout(stack(encoder, Transposed(encoder))).size == 12
    assert Layout(stack(encoder, Transposed(encoder, lambda e: e.copy()))).size == 24
