"""Optimizers, pinned to steps worked out by hand: a wrong update trains, only worse, and no gradient check sees it.

The settings are chosen so that the numbers are round; each comment is the arithmetic.
"""

import math
import re
from functools import partial

import numpy as np
import pytest

from minidl import optimizers
from minidl.ops import OPERATIONS
from minidl.optimizers import SGD, Adadelta, Adagrad, Adam, Adamax, AdamW, Nadam, RMSprop

both_sets = pytest.mark.parametrize("ops", OPERATIONS.values(), ids=OPERATIONS)
both_dtypes = pytest.mark.parametrize("dtype", [np.float32, np.float64])
CLOSE = {np.float32: {"rtol": 1e-5, "atol": 1e-7}, np.float64: {"rtol": 1e-12, "atol": 1e-15}}


def take_step(optimizer, params, grads, ops):
    """One step as the engine makes it, with the operations of one set."""
    optimizer.build(params)
    rate = optimizer.prepare(grads)
    for name, param in params.items():
        optimizer.update(param, grads[name], optimizer.slots[name], rate, ops)


def path(optimizer, start, grads, ops, dtype=np.float64):
    """Where one parameter stands after each of the gradients."""
    params, places = {"w": np.array([start], dtype)}, []
    for grad in grads:
        take_step(optimizer, params, {"w": np.array([grad], dtype)}, ops)
        assert params["w"].dtype == dtype
        places.append(params["w"].item())
    return places


# ------------------------------------------------------------------------------------------------------------------ by hand

BY_HAND = {
    # 1 − 0.1 · 2 = 0.8; 0.8 − 0.1 · 3 = 0.5; 0.5 + 0.1 · 4 = 0.9.
    "SGD": (lambda: SGD(0.1), 1, [2, 3, -4], [0.8, 0.5, 0.9]),
    # v = −0.2, w = 1 − 0.2; v = −0.1 − 0.2 = −0.3, w = 0.8 − 0.3; v = −0.15, w = 0.5 − 0.15: it rolls on without gradient.
    "momentum": (lambda: SGD(0.1, momentum=0.5), 1, [2, 2, 0], [0.8, 0.5, 0.35]),
    # The same velocities, −0.2, −0.3, −0.15, looked ahead: w = 1 + 0.5 · −0.2 − 0.2 = 0.7; 0.7 − 0.15 − 0.2 = 0.35;
    # 0.35 − 0.075 − 0 = 0.275.
    "Nesterov": (lambda: SGD(0.1, momentum=0.5, nesterov=True), 1, [2, 2, 0], [0.7, 0.35, 0.275]),
    # v = 0.25 · 16 = 4, √(4 + 5) = 3, w = 1 − 0.3 · 4 / 3 = 0.6; v = 0.75 · 4 + 0.25 · 4 = 4, w = 0.6 − 0.3 · 2 / 3 = 0.4;
    # v = 3 + 0.25 · 49 = 15.25, √20.25 = 4.5, w = 0.4 + 0.3 · 7 / 4.5. With ε outside the root the first step would
    # end at 1 − 1.2 / (2 + 5) = 0.83.
    "RMSprop": (lambda: RMSprop(0.3, rho=0.75, epsilon=5), 1, [4, 2, -7], [0.6, 0.4, 0.4 + 2.1 / 4.5]),
    # t = 1: m = 0.5 · 2 = 1, v = 0.25 · 4 = 1, correction √(1 − 0.75) / (1 − 0.5) = 1: w = 1 − 0.1 · 1 / (1 + 1) = 0.95.
    #   (PyTorch corrects first, m̂ = 2, v̂ = 4, and then adds ε: 1 − 0.1 · 2 / (2 + 1) = 0.933.)
    # t = 2: m = 1 + 0.5 · (1 − 1) = 1, v = 1 + 0.25 · (1 − 1) = 1, correction √(1 − 0.5625) / (1 − 0.25):
    #   w = 0.95 − 0.1 · (√0.4375 / 0.75) · 1 / 2.
    # t = 3: m = 1 + 0.5 · (3 − 1) = 2, v = 1 + 0.25 · (9 − 1) = 3, correction √(1 − 0.421875) / (1 − 0.125):
    #   w = … − 0.1 · (√0.578125 / 0.875) · 2 / (√3 + 1).
    "Adam": (
        lambda: Adam(0.1, beta_1=0.5, beta_2=0.75, epsilon=1),
        1,
        [2, 1, 3],
        [0.95, 0.9059041, 0.8422914],
    ),
    # a = 3 + 4 + 2 for ε: √9 = 3, w = 1 − 0.3 · 2 / 3 = 0.8; a = 7 + 16, √25 = 5, w = 0.8 − 0.3 · 4 / 5 = 0.56.
    "Adagrad": (lambda: Adagrad(0.3, initial_accumulator_value=3, epsilon=2), 1, [2, 4], [0.8, 0.56]),
    # v = 0.75 · 16 = 12, √(u + ε) / √(v + ε) = 2 / 4, δ = 4 · ½ = 2, u = 0.75 · 4 = 3, w = 1 − 0.1 · 2 = 0.8;
    # v = 0.25 · 12 + 0.75 · 0 = 3, no gradient: δ = 0, u = 0.25 · 3; v = 0.75 + 0.75 · 15 = 12, (u + ε) = 4.75, v + ε = 16.
    "Adadelta": (
        lambda: Adadelta(0.1, rho=0.25, epsilon=4),
        1,
        [4, 0, math.sqrt(15)],
        [0.8, 0.8, 0.8 - 0.1 * math.sqrt(15 * 4.75) / 4],
    ),
    # t = 1: m = 1, u = 2, η / (1 − ½) = 0.2: w = 1 − 0.2 · 1 / (2 + 2) = 0.95. t = 2: m = 0, u = max(0.75 · 2, 1):
    # it stays. t = 3: m = 4, u = 8, η / (1 − ⅛): w = 0.95 − 0.1 / 0.875 · 4 / 10.
    "Adamax": (
        lambda: Adamax(0.1, beta_1=0.5, beta_2=0.75, epsilon=2),
        1,
        [2, -1, 8],
        [0.95, 0.95, 0.95 - 0.1 / 0.875 * 4 / 10],
    ),
    # μ₁ = ½ · (1 − 0.48) = 0.26, μ₂ = ½ · (1 − 0.4608) = 0.2696; m = 1, v = 1, v̂ = 4, √v̂ + ε = 3;
    # m̂ = 0.2696 · 1 / (1 − 0.26 · 0.2696) + 0.74 · 2 / 0.74 = 2.2899949 …: w = 1 − 0.1 · m̂ / 3.
    "Nadam": (
        lambda: Nadam(0.1, beta_1=0.5, beta_2=0.75, epsilon=1),
        1,
        [2],
        [1 - 0.1 * (0.2696 / (1 - 0.26 * 0.2696) + 2) / 3],
    ),
    # 1 · (1 − 0.1 · 0.5) = 0.95, then Adam's first step, − 0.1 · 1 / (1 + 1).
    "AdamW": (lambda: AdamW(0.1, 0.5, beta_1=0.5, beta_2=0.75, epsilon=1), 1, [2], [0.9]),
}  # name: (optimizer, start, gradients, where the parameter stands after each)


def test_the_roots_in_adams_steps():
    """The numbers of the comment above, to the seven digits given there."""
    second = 0.95 - 0.1 * (math.sqrt(0.4375) / 0.75) * 1 / 2
    third = second - 0.1 * (math.sqrt(0.578125) / 0.875) * 2 / (math.sqrt(3) + 1)
    assert [round(second, 7), round(third, 7)] == BY_HAND["Adam"][3][1:]


@both_sets
@both_dtypes
@pytest.mark.parametrize("name", BY_HAND)
def test_steps_by_hand(name, dtype, ops):
    create, start, grads, expected = BY_HAND[name]
    close = {"rtol": 1e-7, "atol": 0} if name == "Adam" and dtype is np.float64 else CLOSE[dtype]
    np.testing.assert_allclose(path(create(), start, grads, ops, dtype), expected, **close)
    mirrored = path(create(), -start, [-grad for grad in grads], ops, dtype)  # every rule is odd
    np.testing.assert_allclose(mirrored, [-place for place in expected], **close)


@both_sets
def test_adams_epsilon_is_added_to_the_uncorrected_root(ops):
    """A tiny gradient, where the default ε = 1e-7 counts: g = 1e-6, m = 1e-7, √v = √0.001 · 1e-6 = 3.1623e-8.

    The step is 0.001 · (√0.001 / 0.1) · 1e-7 / (3.1623e-8 + 1e-7) = 0.2402531e-3. Corrected first, as in PyTorch, it would be
    0.001 · 1e-6 / (1e-6 + 1e-7) = 0.909e-3.
    """
    (place,) = path(Adam(), 0, [1e-6], ops)
    assert place == pytest.approx(-0.2402531e-3, rel=1e-6)


@both_sets
def test_adams_first_step_is_the_learning_rate(ops):
    """Whatever the size of the gradient: m̂ / √v̂ = ±1; and so is each of many equal ones. (Without the power of t in the
    correction, 1 − β instead of 1 − βᵗ, the steps would shrink to a third.)"""
    for grad in (0.01, 1, 1000):
        places = path(Adam(0.001), 0, [grad] * 200, ops)
        # ε is 1e-7 beside √v ≥ √0.001 · 0.01, at most 3.2e-4 of it.
        np.testing.assert_allclose(-np.diff([0, *places]), np.full(200, 0.001), rtol=3.5e-4)


@both_sets
def test_rmsprops_epsilon_is_inside_the_root(ops):
    """g = 1e-6: v = 0.1 · 1e-12; the default 1e-7 inside the root gives 0.001 · 1e-6 / √(1e-13 + 1e-7) = 3.16e-6.

    Outside it would be 0.001 · 1e-6 / (3.16e-7 + 1e-7) = 2.4e-3.
    """
    (place,) = path(RMSprop(), 0, [1e-6], ops)
    assert place == pytest.approx(-1e-9 / math.sqrt(1.000001e-7), rel=1e-12)


@both_sets
def test_weight_decay(ops):
    """Before each step w ← w − 0.1 · 0.5 · w: 2 · 0.95 − 0.1 = 1.8; 1.8 · 0.95 − 0.1 = 1.61; then without a gradient."""
    np.testing.assert_allclose(path(SGD(0.1, weight_decay=0.5), 2, [1, 1, 0], ops), [1.8, 1.61, 1.5295], rtol=1e-14)


@both_sets
@pytest.mark.parametrize("create", [SGD, RMSprop, Adam, lambda *args, **kwargs: SGD(*args, momentum=0.9, **kwargs)])
def test_weight_decay_stays_out_of_the_optimizers_state(create, ops):
    """Decoupled: without gradients the parameter shrinks by 1 − 0.1 · 0.5 a step, and the state stays 0."""
    optimizer = create(0.1, weight_decay=0.5)
    np.testing.assert_allclose(path(optimizer, 2, [0, 0], ops), [1.9, 1.805], rtol=1e-14)
    assert not any(slot.any() for slot in optimizer.slots["w"].values())


@both_sets
def test_clipnorm(ops):
    """(6, 8) has the norm 10, above 5: it becomes (3, 4). (0.3, 0.4) has its own norm, 0.5, and stays. η = 0.1."""
    params = {"a": np.zeros(2), "b": np.zeros((1, 2))}
    take_step(SGD(0.1, clipnorm=5), params, {"a": np.array([6.0, 8.0]), "b": np.array([[0.3, 0.4]])}, ops)
    np.testing.assert_allclose(params["a"], [-0.3, -0.4], rtol=1e-14)
    np.testing.assert_allclose(params["b"], [[-0.03, -0.04]], rtol=1e-14)


@both_sets
def test_clipnorm_comes_before_the_momentum(ops):
    """Norm 10 cut to 1 in both steps: v = −0.1, −0.15; w = −0.1, −0.25. A clipped velocity could not pass 0.1."""
    np.testing.assert_allclose(path(SGD(0.1, momentum=0.5, clipnorm=1), 0, [10, 10], ops), [-0.1, -0.25], rtol=1e-14)


@both_sets
def test_global_clipnorm(ops):
    """The norm of 3, 4 and 12 together is 13: all are divided by 2."""
    grads = {"a": np.array([3.0, 4.0]), "b": np.array([[12.0]])}
    params = {"a": np.zeros(2), "b": np.zeros((1, 1))}
    take_step(SGD(1.0, global_clipnorm=6.5), params, grads, ops)
    np.testing.assert_allclose(params["a"], [-1.5, -2], rtol=1e-15)
    np.testing.assert_allclose(params["b"], [[-6]], rtol=1e-15)
    take_step(SGD(1.0, global_clipnorm=13), params, grads, ops)  # no longer than this: unchanged
    np.testing.assert_allclose(params["b"], [[-12]], rtol=1e-15)


@both_sets
def test_clipvalue(ops):
    params = {"a": np.zeros(3)}
    take_step(SGD(1.0, clipvalue=2), params, {"a": np.array([-3.0, 1.0, 5.0])}, ops)
    np.testing.assert_array_equal(params["a"], [2, -1, -2])


def test_clips_cannot_be_combined():
    with pytest.raises(ValueError, match=r"^clipnorm and clipvalue cannot be combined: choose one\.$"):
        Adam(clipvalue=1, clipnorm=1)
    with pytest.raises(
        TypeError, match=r"^Nadam.__init__\(\) got an unexpected keyword argument 'amsgrad'\. There are: "
    ):
        Nadam(amsgrad=True)


def test_clipnorm_of_a_gradient_of_zeros():
    """No division by its norm."""
    params = {"w": np.ones(2)}
    SGD(clipnorm=1).step(params, {"w": np.zeros(2)})
    np.testing.assert_array_equal(params["w"], [1, 1])


# --------------------------------------------------------------------------------------------------------------- properties

CREATE = {
    "SGD": SGD,
    "momentum": lambda: SGD(momentum=0.9),
    "Nesterov": lambda: SGD(momentum=0.9, nesterov=True),
    "RMSprop": RMSprop,
    "Adam": Adam,
    "AdamW": lambda: AdamW(0.1),
    "Adagrad": lambda: Adagrad(0.1, clipvalue=0.5),
    "Adadelta": lambda: Adadelta(1.0),
    "Adamax": lambda: Adamax(0.1),
    "Nadam": lambda: Nadam(0.1, global_clipnorm=1),
    "Adam with all": lambda: Adam(weight_decay=0.1, clipnorm=1),
}
every_optimizer = pytest.mark.parametrize("create", CREATE.values(), ids=CREATE)


def problem(seed=0, dtype=np.float64):
    random = np.random.default_rng(seed)
    shapes = {"dense/kernel": (4, 3), "dense/bias": (3,), "conv2d/kernel": (2, 2, 1, 3)}
    return {name: random.normal(size=shape).astype(dtype) for name, shape in shapes.items()}


@every_optimizer
def test_both_sets_and_step_make_the_same_steps(create):
    paths = []
    ways = [partial(take_step, ops=ops) for ops in OPERATIONS.values()]
    for step in (*ways, lambda optimizer, params, grads: optimizer.step(params, grads)):
        optimizer, params = create(), problem()
        for seed in range(1, 5):
            step(optimizer, params, problem(seed))
        assert optimizer.iterations == 4
        paths.append(params)
    for params in paths[1:]:
        for name, value in params.items():
            np.testing.assert_allclose(value, paths[0][name], rtol=1e-12)


@both_sets
@every_optimizer
def test_pieces_equal_the_whole(create, ops):
    """Every rule is elementwise: the engine updates pieces of the arrays, in any order."""
    whole, pieces = problem(), problem()
    one, other = create(), create()
    for seed in (1, 2):
        take_step(one, whole, problem(seed), ops)
        grads = problem(seed)
        other.build(pieces)
        rate = other.prepare(grads)
        for name, param in reversed(pieces.items()):
            half = param.size // 2
            for where in (slice(half, None), slice(0, half)):
                slots = {slot: value.reshape(-1)[where] for slot, value in other.slots[name].items()}
                other.update(param.reshape(-1)[where], grads[name].reshape(-1)[where], slots, rate, ops)
    for name, value in whole.items():
        np.testing.assert_array_equal(pieces[name], value)


@both_sets
@every_optimizer
def test_float32_stays_float32(create, ops):
    optimizer, params = create(), problem(dtype=np.float32)
    double, params64 = create(), {name: value.astype(np.float64) for name, value in params.items()}
    arrays = dict(params)
    for seed in (1, 2, 3):
        take_step(optimizer, params, problem(seed, np.float32), ops)
        take_step(double, params64, {k: v.astype(np.float64) for k, v in problem(seed, np.float32).items()}, ops)
    assert {slot.dtype for slots in optimizer.slots.values() for slot in slots.values()} <= {np.dtype(np.float32)}
    for name, value in params.items():
        assert value is arrays[name]  # changed in place
        assert value.dtype == np.float32
        np.testing.assert_allclose(value, params64[name], rtol=1e-5, atol=1e-6)


@every_optimizer
def test_build_keeps_the_state(create):
    """Building again, as after a change of the model, forgets nothing; a parameter of another shape starts anew."""
    optimizer, params = create(), problem()
    optimizer.step(params, problem(1))
    before = {name: dict(slots) for name, slots in optimizer.slots.items()}
    optimizer.build({**params, "new/bias": np.ones(2)})
    for name, slots in before.items():
        assert list(optimizer.slots[name]) == list(slots)
        for slot, value in slots.items():
            assert optimizer.slots[name][slot] is value
            assert value.any()
    for slot, value in optimizer.slots["new/bias"].items():
        np.testing.assert_array_equal(value, np.full(2, 0.1 if slot == "accumulator" else 0))
    assert optimizer.iterations == 1
    optimizer.build({"dense/bias": np.ones(5)})
    for slot, value in optimizer.slots["dense/bias"].items():
        np.testing.assert_array_equal(value, np.full(5, 0.1 if slot == "accumulator" else 0))


@pytest.mark.parametrize(
    ("optimizer", "slots"),
    [
        (SGD(), ()),
        (SGD(momentum=0.9), ("velocity",)),
        (RMSprop(), ("mean_square",)),
        (Adam(), ("mean", "mean_square")),
        (AdamW(), ("mean", "mean_square")),
        (Nadam(), ("mean", "mean_square")),
        (Adamax(), ("mean", "largest")),
        (Adagrad(), ("accumulator",)),
        (Adadelta(), ("mean_square", "mean_square_step")),
    ],
)
def test_names_of_the_state(optimizer, slots):
    optimizer.build({"w": np.ones(3, np.float32)})
    assert tuple(optimizer.slots["w"]) == slots
    assert optimizer.slot_names == slots


def test_two_parameters_have_a_state_each():
    """The second one's first step is not the first one's second."""
    params = {"a": np.zeros(1), "b": np.zeros(1)}
    optimizer = SGD(0.1, momentum=0.5)
    optimizer.step(params, {"a": np.ones(1), "b": np.full(1, 3.0)})
    optimizer.step(params, {"a": np.zeros(1), "b": np.zeros(1)})
    np.testing.assert_allclose([params["a"].item(), params["b"].item()], [-0.15, -0.45], rtol=1e-14)


@every_optimizer
def test_every_optimizer_finds_the_minimum_of_a_bowl(create):
    """Σ (w − 3)², gradient 2 (w − 3): the largest error, 3 at first, falls below 0.2."""
    optimizer, params = create(), {"w": np.array([0.0, 1.0, 5.0])}
    rates = {Adagrad: 0.5, Adadelta: 20.0}  # their steps become smaller and smaller, and begin at √ε
    optimizer.learning_rate, optimizer.weight_decay = rates.get(type(optimizer), 0.02), None
    for _ in range(500):
        optimizer.step(params, {"w": 2 * (params["w"] - 3)})
    assert np.abs(params["w"] - 3).max() < 0.2


# ------------------------------------------------------------------------------------------------------------- learning rate


def test_learning_rate_can_be_set():
    """1 − 0.1 · 1 = 0.9, then with 0.5: 0.9 − 0.5 = 0.4."""
    optimizer, params = SGD(0.1), {"w": np.ones(1)}
    optimizer.step(params, {"w": np.ones(1)})
    optimizer.learning_rate = 0.5
    assert optimizer.learning_rate == 0.5
    optimizer.step(params, {"w": np.ones(1)})
    assert params["w"].item() == pytest.approx(0.4, rel=1e-15)


@both_sets
def test_learning_rate_as_a_function_of_the_step(ops):
    """Steps 0, 1, 2 with 1, 1/2 and 1/4: 0 − 1 = −1, −1.5, −1.75."""
    seen = []

    def schedule(step):
        seen.append(step)
        return np.float32(0.5**step)

    optimizer = SGD(schedule)
    assert optimizer.learning_rate is schedule
    assert path(optimizer, 0, [1, 1, 1], ops) == [-1, -1.5, -1.75]
    assert seen == [0, 1, 2]
    assert optimizer.current_learning_rate() == 0.125


def test_the_schedule_goes_on_after_build():
    optimizer, params = SGD(lambda step: 1.0 if step == 0 else 0.0), {"w": np.zeros(1)}
    optimizer.step(params, {"w": np.ones(1)})
    optimizer.build(params)
    optimizer.step(params, {"w": np.ones(1)})
    assert params["w"].item() == -1


@pytest.mark.parametrize("value", [-0.1, math.nan, math.inf, "fast", None])
def test_a_schedule_that_returns_no_learning_rate_makes_no_step(value):
    optimizer, params = SGD(lambda step: value), {"w": np.ones(1)}
    text = f"learning_rate(step) must be a number in [0, ∞), received {value!r}."
    with pytest.raises(ValueError, match="^" + re.escape(text) + "$"):
        optimizer.step(params, {"w": np.ones(1)})
    assert params["w"].item() == 1
    assert optimizer.iterations == 0


# ------------------------------------------------------------------------------------------------------ settings and errors


def test_defaults_are_keras():
    sgd, rmsprop, adam = SGD(), RMSprop(), Adam()
    assert (sgd.learning_rate, sgd.momentum, sgd.nesterov) == (0.01, 0.0, False)
    assert (rmsprop.learning_rate, rmsprop.rho, rmsprop.epsilon) == (0.001, 0.9, 1e-7)
    assert (adam.learning_rate, adam.beta_1, adam.beta_2, adam.epsilon) == (0.001, 0.9, 0.999, 1e-7)
    assert {(o.weight_decay, o.clipnorm, o.iterations) for o in (sgd, rmsprop, adam)} == {(None, None, 0)}
    assert (AdamW().weight_decay, AdamW().learning_rate, AdamW().epsilon) == (0.004, 0.001, 1e-7)
    adagrad, adadelta = Adagrad(), Adadelta()
    assert (adagrad.learning_rate, adagrad.initial_accumulator_value, adagrad.epsilon) == (0.001, 0.1, 1e-7)
    assert (adadelta.learning_rate, adadelta.rho, adadelta.epsilon) == (0.001, 0.95, 1e-7)
    for other in (Adamax(), Nadam()):
        assert (other.learning_rate, other.beta_1, other.beta_2, other.epsilon) == (0.001, 0.9, 0.999, 1e-7)


@pytest.mark.parametrize("value", [-0.1, math.nan, math.inf, "0.1", None, True], ids=repr)
def test_learning_rates_that_are_refused(value):
    text = "^" + re.escape(f"learning_rate must be a number in [0, ∞), received {value!r}.") + "$"
    for create in (SGD, RMSprop, Adam):
        with pytest.raises(ValueError, match=text):
            create(value)
    optimizer = Adam(0.25)
    with pytest.raises(ValueError, match=text):
        optimizer.learning_rate = value
    assert optimizer.learning_rate == 0.25


@pytest.mark.parametrize(
    ("create", "argument"),
    [(SGD, "momentum"), (RMSprop, "rho"), (Adam, "beta_1"), (Adam, "beta_2")],
)
@pytest.mark.parametrize("value", [-0.1, 1, 1.0, 2, math.nan, "0.9", None, True], ids=repr)
def test_decay_rates_are_below_1(create, argument, value):
    text = f"{argument} must be a number in [0, 1), received {value!r}."
    with pytest.raises(ValueError, match="^" + re.escape(text) + "$"):
        create(**{argument: value})


@pytest.mark.parametrize(
    ("create", "argument"),
    [
        *[(create, argument) for create in (SGD, RMSprop, Adam) for argument in ("weight_decay", "clipnorm")],
        (RMSprop, "epsilon"),
        (Adam, "epsilon"),
    ],
)
@pytest.mark.parametrize("value", [-1e-3, math.nan, math.inf, "1", True], ids=repr)
def test_sizes_are_not_negative(create, argument, value):
    text = f"{argument} must be a number in [0, ∞), received {value!r}."
    with pytest.raises(ValueError, match="^" + re.escape(text) + "$"):
        create(**{argument: value})


def test_clipnorm_0():
    with pytest.raises(ValueError, match=r"^clipnorm must be above 0; None turns clipping off\.$"):
        Adam(clipnorm=0)


def test_get():
    for name, expected in (
        ("sgd", SGD),
        ("rmsprop", RMSprop),
        ("adam", Adam),
        ("Adam", Adam),
        ("RMSprop", RMSprop),
        ("AdamW", AdamW),
    ):
        assert type(optimizers.get(name)) is expected
    assert optimizers.get("adam") is not optimizers.get("adam")  # a state each
    own = Adam(0.25)
    assert optimizers.get(own) is own


def test_get_of_something_else():
    text = (
        "unknown optimizer 'adma'. Did you mean 'adamax' or 'adam'? There are: adadelta, adagrad, adam, adamax, adamw, nadam, "
        "rmsprop, sgd."
    )
    with pytest.raises(ValueError, match="^" + re.escape(text) + "$"):
        optimizers.get("adma")
    for value in (Adam, None, 0.1):
        text = f"an optimizer must be a name or an Optimizer, e.g. Adam(learning_rate=0.001), received {value!r}."
        with pytest.raises(TypeError, match="^" + re.escape(text) + "$"):
            optimizers.get(value)


# ----------------------------------------------------------------------------------------------------------- settings


CLIPS = {"clipvalue": None, "global_clipnorm": None}


@pytest.mark.parametrize(
    ("optimizer", "config"),
    [
        (
            SGD(0.5, 0.25, True),
            {"learning_rate": 0.5, "momentum": 0.25, "nesterov": True, "weight_decay": None, "clipnorm": None} | CLIPS,
        ),
        (
            RMSprop(rho=0.5, epsilon=1e-3, weight_decay=0.25),
            {"learning_rate": 0.001, "rho": 0.5, "epsilon": 1e-3, "weight_decay": 0.25, "clipnorm": None} | CLIPS,
        ),
        (
            Adam(math.sqrt, 0.5, 0.75, 1e-3, clipnorm=2),
            {
                "learning_rate": math.sqrt,
                "beta_1": 0.5,
                "beta_2": 0.75,
                "epsilon": 1e-3,
                "weight_decay": None,
                "clipnorm": 2.0,
            }
            | CLIPS,
        ),
    ],
    ids=lambda value: type(value).__name__,
)
def test_the_settings_make_the_optimizer_again(optimizer, config):
    assert optimizer.get_config() == config
    assert type(optimizer)(**config).get_config() == config


def test_a_learning_rate_that_was_changed_is_the_setting():
    optimizer = SGD(0.5)
    optimizer.learning_rate = 0.25
    assert optimizer.get_config()["learning_rate"] == 0.25
