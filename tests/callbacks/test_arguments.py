"""Wrong arguments of callbacks are found when the callback is made, and not after an epoch."""

import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minidl import Sequential, metrics
from minidl.callbacks import (
    BackupAndRestore,
    CSVLogger,
    EarlyStopping,
    LambdaCallback,
    LearningRateScheduler,
    ModelCheckpoint,
    ReduceLROnPlateau,
    TerminateOnNaN,
)
from minidl.layers import Dense

COUNT, NUMBER, FLAG, PATH = "a count", "a number", "a flag", "a path"
KINDS = {  # what each kind of argument does not take
    COUNT: ["3", -1, 2.5, None, [], True, np.nan, b"1"],
    NUMBER: ["0.1", None, np.nan, np.inf, [0.1], {}, b"1"],
    FLAG: ["yes", None, 2, 0.5, [], "False"],
    PATH: [b"log.csv", None, 3, [], {}, "", True],
    "a mode": ["lower", None, 3, [], b"min"],
    "a name": [None, 3, [], b"loss", "", {}],
    "a frequency": ["batch", 0, -1, 1.5, None, True],
    "a function": ["exp", None, 0.1, [], float],
    "a character": [None, "", ", ", 3, b",", "\n", '"'],
}
MADE = {EarlyStopping: {}, ReduceLROnPlateau: {}, TerminateOnNaN: {}, ModelCheckpoint: {"filepath": "a.safetensors"},
        CSVLogger: {"filename": "a.csv"}, BackupAndRestore: {"backup_dir": "a"},
        LearningRateScheduler: {"schedule": lambda epoch: 0.1}}  # fmt: skip
ARGUMENTS = [
    *[(EarlyStopping, name, COUNT) for name in ("patience", "verbose", "start_from_epoch")],
    (EarlyStopping, "min_delta", NUMBER),
    (EarlyStopping, "baseline", NUMBER),
    (EarlyStopping, "restore_best_weights", FLAG),
    *[(kind, "monitor", "a name") for kind in (EarlyStopping, ReduceLROnPlateau, ModelCheckpoint)],
    *[(kind, "mode", "a mode") for kind in (EarlyStopping, ReduceLROnPlateau, ModelCheckpoint)],
    *[(ReduceLROnPlateau, name, COUNT) for name in ("patience", "verbose", "cooldown")],
    *[(ReduceLROnPlateau, name, NUMBER) for name in ("factor", "min_delta", "min_lr")],
    (ModelCheckpoint, "filepath", PATH),
    (ModelCheckpoint, "verbose", COUNT),
    (ModelCheckpoint, "save_best_only", FLAG),
    (ModelCheckpoint, "save_weights_only", FLAG),
    (ModelCheckpoint, "save_freq", "a frequency"),
    (ModelCheckpoint, "initial_value_threshold", NUMBER),
    (CSVLogger, "filename", PATH),
    (CSVLogger, "separator", "a character"),
    (CSVLogger, "append", FLAG),
    (BackupAndRestore, "backup_dir", PATH),
    (BackupAndRestore, "save_freq", "a frequency"),
    (BackupAndRestore, "delete_checkpoint", FLAG),
    (LearningRateScheduler, "schedule", "a function"),
    (LearningRateScheduler, "verbose", COUNT),
    (TerminateOnNaN, "raise_error", FLAG),
]
OPTIONAL = {"baseline", "initial_value_threshold"}  # may be None


@pytest.mark.parametrize(("cls", "name", "kind"), ARGUMENTS, ids=lambda value: getattr(value, "__name__", value))
def test_a_wrong_argument_is_found_at_once(cls, name, kind):
    for value in KINDS[kind]:
        if value is None and name in OPTIONAL:
            continue
        with pytest.raises((ValueError, TypeError), match=f"{cls.__name__} {name} must be"):
            cls(**{**MADE[cls], name: value})


def test_every_argument_is_in_the_table():
    from minidl.utils.settings import arguments

    for cls in MADE:
        assert set(arguments(cls)) == {name for each, name, _ in ARGUMENTS if each is cls}


ANYTHING = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=3),
    st.binary(max_size=2),
    st.lists(st.integers(), max_size=2),
)


@given(drawn=st.sampled_from(ARGUMENTS), value=ANYTHING)
@settings(max_examples=200)
def test_any_value_is_taken_or_refused_in_words(drawn, value):
    cls, name, _ = drawn
    try:
        cls(**{**MADE[cls], name: value})
    except (ValueError, TypeError) as error:
        assert re.match(rf"{cls.__name__} ", str(error)), error  # noqa: PT017 (it need not be raised)


@pytest.mark.parametrize(
    "path",
    ["a{}.safetensors", "a{0}.safetensors", "a{epoch.safetensors", "a}.safetensors", "{epoch.x}.safetensors",
     "{epoch[0]}.safetensors", "{val_loss:d}.safetensors", "{epoch:q}.safetensors", "{ epoch }.safetensors"],
)  # fmt: skip
def test_a_path_that_cannot_be_filled_in(path):
    with pytest.raises(ValueError, match=re.escape(f"ModelCheckpoint filepath {path!r} cannot be filled in: ")):
        ModelCheckpoint(path)


@pytest.mark.parametrize(
    "path", ["{epoch:02d}-{val_loss:.2f}.safetensors", "{epoch}{batch}", "a{{b}}", "{accuracy:.3%}"]
)
def test_a_path_that_can_be_filled_in(path):
    assert ModelCheckpoint(Path(path)).filepath == path


def test_auto_knows_every_metric_of_the_library():
    """And knows it rightly: perfect predictions must be the better ones."""
    right, wrong = np.array([[0.9, 0.1], [0.2, 0.8]]), np.array([[0.1, 0.9], [0.8, 0.2]])
    for name in metrics.METRICS:
        y = np.array([0, 1]) if name.startswith("sparse") else np.eye(2)
        column = slice(0, 1) if name == "f1_score" else slice(None)  # of one class
        metric = metrics.get(name)[1]
        good, bad = (metric.result(metric.sums(y[..., column], p[:, column])) for p in (right, wrong))
        assert EarlyStopping(f"val_{name}").mode == ("max" if good > bad or name.count("top_k") else "min"), name
    assert [EarlyStopping(name).mode for name in ("val_AUC", "F1Score", "val_MSE")] == ["max", "max", "min"]


def test_keras_suffixes_get_ours():
    with pytest.raises(
        ValueError, match=re.escape("received the name of a .keras file: 'best.keras'. Use 'best.safetensors'.")
    ):
        ModelCheckpoint("best.keras")


@pytest.mark.parametrize("value", [3, "print", [print]])
def test_a_hook_must_be_a_function(value):
    with pytest.raises(TypeError, match="LambdaCallback on_epoch_end must be a function, received"):
        LambdaCallback(on_epoch_end=value)
    assert LambdaCallback(on_epoch_end=None).on_epoch_end(1, {}) is None


@pytest.mark.parametrize(
    ("callbacks", "text"),
    [
        (EarlyStopping, "received <class 'minidl.callbacks.stopping.EarlyStopping'>."),
        ([EarlyStopping], "received <class 'minidl.callbacks.stopping.EarlyStopping'>, a class: create an object, "
                          "EarlyStopping(…)."),
        ([print], "received <built-in function print>, a function: use LambdaCallback(on_epoch_end=…)."),
        (print, "received <built-in function print>."),
        ([None], "received None."),
        ("EarlyStopping", "received 'EarlyStopping'."),
        ({"a": EarlyStopping()}, "received {'a': "),
        (3, "received 3."),
        ([[EarlyStopping()]], "received [<"),
    ],
)  # fmt: skip
def test_what_is_no_list_of_callbacks(callbacks, text):
    model = Sequential([Dense(1, input_dim=1)])
    model.compile(loss="mse")
    for call in (model.fit, model.evaluate):
        with pytest.raises(TypeError, match=re.escape(f"callbacks must be a list of Callback objects, {text}")):
            call([[1.0]], [[1.0]], callbacks=callbacks, verbose=0)
    assert model.fit([[1.0]], [[1.0]], callbacks=(), verbose=0).epoch == [0]
