"""Schedules: numbers worked out by hand, and trainings that are saved, loaded and resumed in the middle of one."""

import re

import numpy as np
import pytest
from support import assert_same

from minidl import Sequential, load_model
from minidl.callbacks import BackupAndRestore, Callback
from minidl.layers import Dense
from minidl.optimizers import SGD, Adagrad, Adam
from minidl.optimizers.schedules import (
    CosineDecay,
    ExponentialDecay,
    InverseTimeDecay,
    LearningRateSchedule,
    OneCycle,
    PiecewiseConstantDecay,
)

BY_HAND = {
    # halved every 10 steps: after 5 of them 1/√2
    "exponential": (ExponentialDecay(0.8, 10, 0.5), {0: 0.8, 5: 0.8 / 2**0.5, 10: 0.4, 30: 0.1}),
    "in stairs": (ExponentialDecay(0.8, 10, 0.5, staircase=True), {0: 0.8, 9: 0.8, 10: 0.4, 19: 0.4, 30: 0.1}),
    # a half, a third, a quarter after 10, 20, 30 steps
    "inverse": (InverseTimeDecay(0.6, 10, 1), {0: 0.6, 5: 0.4, 10: 0.3, 20: 0.2, 30: 0.15}),
    "inverse in stairs": (InverseTimeDecay(0.6, 10, 1, staircase=True), {0: 0.6, 9: 0.6, 10: 0.3, 19: 0.3, 20: 0.2}),
    # a boundary still belongs to what is before it
    "piecewise": (PiecewiseConstantDecay([2, 5], [1, 0.5, 0.1]), {0: 1, 2: 1, 3: 0.5, 5: 0.5, 6: 0.1, 99: 0.1}),
    # half a cosine: 1, ½ + ½ · cos 60° = ¾, ½, 0; and it stays there
    "cosine": (CosineDecay(0.4, 12), {0: 0.4, 4: 0.3, 6: 0.2, 12: 0, 20: 0}),
    # from 0.4 down to 0.1: 0.1 + 0.3 · ¾
    "cosine to a quarter": (CosineDecay(0.4, 12, alpha=0.25), {0: 0.4, 4: 0.325, 6: 0.25, 12: 0.1, 20: 0.1}),
    # from 0.1 up by 0.1 a step; then the cosine from 0.5
    "warm-up": (
        CosineDecay(0.1, 12, warmup_target=0.5, warmup_steps=4),
        {0: 0.1, 1: 0.2, 3: 0.4, 4: 0.5, 8: 0.375, 10: 0.25, 16: 0, 30: 0},
    ),
    # 1/10 up to 1 in the steps 0 … 4, by half a cosine; from there down to 1/100 in the steps 4 … 10
    "one cycle": (
        OneCycle(1.0, 11, pct_start=5 / 11, div_factor=10, final_div_factor=10),
        {0: 0.1, 2: 0.55, 4: 1, 6: 0.01 + 0.99 * 0.75, 7: 0.505, 10: 0.01, 20: 0.01},
    ),
}


@pytest.mark.parametrize("name", BY_HAND)
def test_by_hand(name):
    schedule, expected = BY_HAND[name]
    assert {step: schedule(step) for step in expected} == pytest.approx(expected, rel=1e-12, abs=1e-15)
    again = type(schedule)(**schedule.get_config())
    assert [again(step) for step in range(40)] == [schedule(step) for step in range(40)]


def trained(model, *callbacks, epochs=2):
    random = np.random.default_rng(0)
    x, y = random.normal(size=(60, 3)), random.normal(size=60)
    return model.fit(x, y, batch_size=10, epochs=epochs, verbose=0, callbacks=list(callbacks)).history


def model_with(schedule, optimizer=SGD):
    model = Sequential([Dense(1, input_dim=3)], seed=0)
    model.compile(optimizer(schedule), "mse")
    return model


def test_each_step_has_its_rate():
    """Steps against a gradient of 1: the parameter goes by the rates."""
    optimizer, params = SGD(PiecewiseConstantDecay([1], [0.5, 0.25])), {"w": np.zeros(1)}
    places = []
    for _ in range(4):
        optimizer.step(params, {"w": np.ones(1)})
        places.append(params["w"].item())
    assert places == [-0.5, -1, -1.25, -1.5]


@pytest.mark.parametrize("name", BY_HAND)
def test_saved_and_loaded(name, tmp_path):
    """The schedule comes back with its settings, and goes on at the step where it stopped."""
    schedule, _ = BY_HAND[name]
    whole, stopped = model_with(schedule, Adam), model_with(schedule, Adam)
    trained(whole, epochs=1)
    trained(whole, epochs=1)
    trained(stopped, epochs=1)
    stopped.save(tmp_path / "model.safetensors")
    loaded = load_model(tmp_path / "model.safetensors")
    found = loaded.optimizer.learning_rate
    assert (type(found), found.get_config()) == (type(schedule), schedule.get_config())
    trained(loaded, epochs=1)
    assert_same(loaded.get_weights(), whole.get_weights())


@pytest.mark.parametrize("optimizer", [SGD, Adam, Adagrad])
def test_resumed(optimizer, tmp_path):
    schedule = CosineDecay(0.01, 12, warmup_target=0.1, warmup_steps=3)

    class Stop(Callback):
        def on_train_batch_end(self, batch, logs=None):
            if batch == 3:
                raise SystemExit

    expected = trained(model_with(schedule, optimizer))
    with pytest.raises(SystemExit):
        trained(model_with(schedule, optimizer), BackupAndRestore(tmp_path, save_freq=1), Stop())
    resumed = model_with(schedule, optimizer)
    assert trained(resumed, BackupAndRestore(tmp_path, save_freq=1)) == expected
    assert resumed.optimizer.iterations == 12


def test_a_schedule_of_a_users_own(tmp_path):
    class Linear(LearningRateSchedule):
        def __init__(self, start):
            self.start = start

        def __call__(self, step):
            return self.start / (1 + step)

    model = model_with(Linear(0.5))
    model.save(tmp_path / "model.safetensors")
    loaded = load_model(tmp_path / "model.safetensors", {"Linear": Linear})
    assert loaded.optimizer.learning_rate.start == 0.5


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda: ExponentialDecay(-1, 10, 0.5), "initial_learning_rate must be a number in [0, ∞), received -1."),
        (lambda: ExponentialDecay(1, 0, 0.5), "decay_steps must be a positive integer, received 0."),
        (lambda: InverseTimeDecay(1, 0, 0.5), "decay_steps must be a positive integer, received 0."),
        (lambda: InverseTimeDecay(1, 10, -1), "decay_rate must be a number in [0, ∞), received -1."),
        (lambda: CosineDecay(1, 10, warmup_steps=-1), "warmup_steps must be an integer ≥ 0, received -1."),
        (lambda: OneCycle(1, 10, pct_start=1), "pct_start must be a number in [0, 1), received 1."),
        (
            lambda: PiecewiseConstantDecay([5, 2], [1, 2, 3]),
            "PiecewiseConstantDecay expects boundaries that increase, and one value more than these, received "
            "[5, 2] and [1, 2, 3].",
        ),
        (
            lambda: PiecewiseConstantDecay([5], [1]),
            "PiecewiseConstantDecay expects boundaries that increase, and one value more than these, received [5] and [1].",
        ),
    ],
)
def test_settings_that_are_refused(make, text):
    with pytest.raises(ValueError, match="^" + re.escape(text) + "$"):
        make()


def test_steps_that_are_counted_in_whole_floats():
    """As 1e4, or a number of samples divided by one that divides it."""
    for schedule in (ExponentialDecay(0.1, 1e3, 0.5), CosineDecay(0.1, 6e2)):
        assert type(schedule.decay_steps) is int
        assert schedule(300) == type(schedule)(**{**schedule.get_config(), "decay_steps": int(schedule.decay_steps)})(
            300
        )
