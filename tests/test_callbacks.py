"""Callbacks: the order of Keras's hooks, what each is given, and what a callback may do to the training."""

import contextlib
import re
import sys
from typing import ClassVar

import numpy as np
import pytest

from minidl import Sequential
from minidl.callbacks import HOOKS, BackupAndRestore, Callback, History, LambdaCallback
from minidl.layers import Dense
from minidl.optimizers import SGD


def small():
    model = Sequential([Dense(2, activation="softmax", input_dim=3)], seed=0)
    model.compile(loss="sparse_categorical_crossentropy", optimizer=SGD(0.1), metrics=["accuracy"])
    return model


def samples(n):
    rng = np.random.default_rng(0)
    return rng.random((n, 3)), rng.integers(0, 2, n)


class Recorder(Callback):
    """Every hook that is called: its name without "on_", its number if it has one, and the names in its logs."""

    def __init__(self):
        self.events, self.logs = [], []


def _recording(hook):
    def record(self, *arguments):
        *number, logs = arguments  # logs are always given, as in Keras
        self.events.append(" ".join([hook.removeprefix("on_"), *map(str, number)]))
        self.logs.append((self.events[-1], dict(logs)))

    return record


for _hook in HOOKS:
    setattr(Recorder, _hook, _recording(_hook))


# ---------------------------------------------------------------------------------------------------------------- hooks


def test_there_are_keras_hooks():
    assert set(HOOKS) == {
        f"on_{part}_{end}"
        for part in ("train", "epoch", "train_batch", "batch", "test", "test_batch", "predict", "predict_batch")
        for end in ("begin", "end")
    }


def test_fit_calls_its_hooks_in_keras_order():
    recorder = Recorder()
    x, y = samples(9)
    small().fit(x, y, batch_size=5, epochs=2, validation_data=(x[:6], y[:6]), callbacks=[recorder], verbose=0)

    def epoch(number):
        return [
            f"epoch_begin {number}",
            "train_batch_begin 0", "train_batch_end 0", "train_batch_begin 1", "train_batch_end 1",
            "test_begin",
            "test_batch_begin 0", "test_batch_end 0", "test_batch_begin 1", "test_batch_end 1",
            "test_end",
            f"epoch_end {number}",
        ]  # fmt: skip

    assert recorder.events == ["train_begin", *epoch(0), *epoch(1), "train_end"]


def test_evaluate_and_predict_call_their_own_hooks():
    recorder = Recorder()
    model = small()
    x, y = samples(5)
    model.evaluate(x, y, batch_size=3, callbacks=[recorder], verbose=0)
    batches = ["test_batch_begin 0", "test_batch_end 0", "test_batch_begin 1", "test_batch_end 1"]
    assert recorder.events == ["test_begin", *batches, "test_end"]
    recorder.events.clear()
    model.predict(x, batch_size=3, callbacks=recorder, verbose=0)  # one callback need not be in a list
    batches = ["predict_batch_begin 0", "predict_batch_end 0", "predict_batch_begin 1", "predict_batch_end 1"]
    assert recorder.events == ["predict_begin", *batches, "predict_end"]


def test_logs_hold_the_epoch_so_far_and_at_its_end_the_whole_of_it():
    recorder = Recorder()
    model = small()
    model.optimizer.learning_rate = 0.0  # so that the batches' losses are those of one and the same model
    x, y = samples(8)
    history = model.fit(
        x, y, batch_size=3, validation_data=(x[:2], y[:2]), shuffle=False, callbacks=[recorder], verbose=0
    )
    logs = dict(recorder.logs)
    for batch, seen in enumerate((3, 6, 8)):
        expected = model.evaluate(x[:seen], y[:seen], verbose=0, return_dict=True)
        assert logs[f"train_batch_end {batch}"] == pytest.approx(expected, rel=1e-6)
    assert logs["test_end"] == pytest.approx(model.evaluate(x[:2], y[:2], verbose=0, return_dict=True), rel=1e-6)
    whole = {**logs["train_batch_end 2"], **{f"val_{name}": value for name, value in logs["test_end"].items()}}
    assert logs["epoch_end 0"] == logs["train_end"] == whole
    assert list(whole) == ["accuracy", "loss", "val_accuracy", "val_loss"]
    assert {name: values[0] for name, values in history.history.items()} == whole
    for name in ("train_begin", "epoch_begin 0", "train_batch_begin 0", "test_begin", "test_batch_begin 0"):
        assert logs[name] == {}


@pytest.mark.parametrize("hook", ["on_train_batch_begin", "on_train_batch_end", "on_batch_begin", "on_batch_end"])
def test_a_hook_for_batches_is_called_however_it_is_defined(hook):
    """As a method, or as an attribute, be it one that another hook sets."""
    seen = []

    class Late(Callback):
        def on_epoch_begin(self, epoch, logs=None):
            setattr(self, hook, lambda batch, logs=None: seen.append(("late", epoch, batch)))

    class Usual(Callback):
        pass

    setattr(Usual, hook, lambda self, batch, logs=None: seen.append(("usual", batch, sorted(logs))))
    names = ["accuracy", "loss"] if hook.endswith("end") else []
    for callback, expected in [
        (Late(), [("late", 0, 0), ("late", 0, 1), ("late", 1, 0), ("late", 1, 1)]),
        (Usual(), [("usual", 0, names), ("usual", 1, names)] * 2),
        (LambdaCallback(**{hook: lambda batch, logs: seen.append(batch)}), [0, 1, 0, 1]),
    ]:
        seen.clear()
        small().fit(*samples(9), batch_size=5, epochs=2, callbacks=[callback], verbose=0)
        assert seen == expected


def test_several_callbacks_are_called_in_order_with_model_and_params():
    calls = []

    class Named(Callback):
        def __init__(self, name):
            self.name = name

        def on_epoch_end(self, epoch, logs=None):
            calls.append((self.name, self.model, self.params))

    model = small()
    x, y = samples(70)
    model.fit(x, y, epochs=4, initial_epoch=3, callbacks=[Named("b"), Named("a")], verbose=0)
    params = {"epochs": 4, "steps": 3, "verbose": 0}
    assert calls == [("b", model, params), ("a", model, params)]


def test_a_callback_sees_the_weights_of_the_moment():
    model = small()
    seen = []
    look = LambdaCallback(
        on_train_batch_begin=lambda batch, logs: seen.append(model.get_weights()[0]),
        on_train_batch_end=lambda batch, logs: seen.append(model.get_weights()[0]),
    )
    x, y = samples(6)
    model.fit(x, y, batch_size=3, callbacks=[look], verbose=0)
    before, after, same, last = seen
    assert not np.array_equal(before, after)
    np.testing.assert_array_equal(after, same)
    np.testing.assert_array_equal(last, model.get_weights()[0])


def test_what_is_no_callback_is_refused():
    model = small()
    x, y = samples(4)
    with pytest.raises(TypeError, match="callbacks must be a list of Callback objects, received 'print'"):
        model.fit(x, y, callbacks=["print"], verbose=0)
    with pytest.raises(TypeError, match="callbacks must be a list of Callback objects, received <class"):
        model.fit(x, y, callbacks=[History], verbose=0)
    assert model.optimizer.iterations == 0


def test_an_error_in_a_callback_ends_the_training_and_leaves_the_model_usable():
    def fail(batch, logs):
        raise ZeroDivisionError("mine")

    model = small()
    x, y = samples(6)
    with pytest.raises(ZeroDivisionError, match="mine"):
        model.fit(x, y, batch_size=2, callbacks=[LambdaCallback(on_train_batch_end=fail)], verbose=0)
    assert model.optimizer.iterations == 1
    assert model.fit(x, y, epochs=2, verbose=0).epoch == [0, 1]


# -------------------------------------------------------------------------------------------------------- stop_training


def test_stopping_at_the_end_of_an_epoch():
    model = small()
    x, y = samples(6)

    def stop(epoch, logs):
        model.stop_training = epoch == 1

    recorder = Recorder()
    history = model.fit(x, y, epochs=5, callbacks=[LambdaCallback(on_epoch_end=stop), recorder], verbose=0)
    assert history.epoch == [0, 1]
    assert recorder.events[-2:] == ["epoch_end 1", "train_end"]
    again = model.fit(x, y, epochs=3, verbose=0)  # a new training does not stop at once
    assert again.epoch == [0, 1, 2]


def test_stopping_within_an_epoch_leaves_out_its_other_batches_as_in_keras():
    model = small()
    x, y = samples(10)

    def stop(batch, logs):
        model.stop_training = batch == 1

    recorder = Recorder()
    callbacks = [LambdaCallback(on_train_batch_end=stop), recorder]
    history = model.fit(x, y, batch_size=2, epochs=3, validation_data=(x, y), callbacks=callbacks, verbose=0)
    assert model.optimizer.iterations == 2
    assert [event for event in recorder.events if "test" not in event] == [
        "train_begin", "epoch_begin 0", "train_batch_begin 0", "train_batch_end 0", "train_batch_begin 1",
        "train_batch_end 1", "epoch_end 0", "train_end",
    ]  # fmt: skip
    assert list(history.history) == ["accuracy", "loss", "val_accuracy", "val_loss"]


# ------------------------------------------------------------------------------------------------------- LambdaCallback


def test_lambda_callback_takes_any_hook():
    calls = []
    hooks = set(HOOKS) - {"on_batch_begin", "on_batch_end"}  # other names of on_train_batch_…, which take their place
    functions = {
        hook: (lambda name, epoch_or_batch: lambda *arguments: calls.append((name, len(arguments))))(hook, None)
        for hook in hooks
    }
    model = small()
    x, y = samples(3)
    callback = LambdaCallback(**functions)
    model.fit(x, y, validation_data=(x, y), callbacks=[callback], verbose=0)
    model.predict(x, callbacks=[callback], verbose=0)
    assert {name for name, _ in calls} == hooks
    for name, count in calls:
        assert count == (2 if "epoch" in name or "batch" in name else 1)  # (number, logs) or (logs)


def test_on_batch_is_another_name_of_on_train_batch():
    class Old(Callback):
        batches: ClassVar[list[str]] = []

        def on_batch_begin(self, batch, logs=None):
            self.batches.append(f"begin {batch}")

        def on_batch_end(self, batch, logs=None):
            self.batches.append(f"end {batch}")

    small().fit(*samples(4), batch_size=2, callbacks=[Old()], verbose=0)
    assert Old.batches == ["begin 0", "end 0", "begin 1", "end 1"]


def test_lambda_callback_refuses_other_names():
    with pytest.raises(TypeError, match=r"LambdaCallback has no hook 'on_epoch_ends'. Did you mean on_epoch_end\?"):
        LambdaCallback(on_epoch_ends=print)
    with pytest.raises(TypeError, match=r"LambdaCallback has no hook 'xyz'. There are: on_train_begin, on_train_end"):
        LambdaCallback(xyz=print)


# -------------------------------------------------------------------------------------------------------------- History


def test_history_belongs_to_one_fit():
    model = small()
    x, y = samples(6)
    first = model.fit(x, y, epochs=2, verbose=0)
    kept = {name: list(values) for name, values in first.history.items()}
    second = model.fit(x, y, epochs=1, verbose=0)
    assert first.history == kept
    assert (first.epoch, second.epoch) == ([0, 1], [0])


def test_a_history_of_the_users_begins_anew_with_each_fit():
    model, history = small(), History()
    x, y = samples(6)
    model.fit(x, y, epochs=2, callbacks=[history], verbose=0)
    returned = model.fit(x, y, callbacks=[history], verbose=0)
    assert history.epoch == [0]
    assert history.history == returned.history


def history_of(*names, epochs=3, first=0):
    history = History()
    history.on_train_begin({})
    for epoch in range(first, first + epochs):
        history.on_epoch_end(epoch, {name: 1 / (epoch + 1 + i) for i, name in enumerate(names)})
    return history


def test_plot_draws_a_panel_for_the_loss_and_for_each_metric(tmp_path):
    matplotlib = pytest.importorskip("matplotlib")
    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    history = history_of("loss", "accuracy", "val_loss", "val_accuracy", "zeal", epochs=3, first=4)
    try:
        figure = history.plot(tmp_path / "curves.png")
        assert [axis.get_title() for axis in figure.axes] == ["loss", "accuracy", "zeal"]
        assert [axis.get_xlabel() for axis in figure.axes] == ["epoch"] * 3
        drawn = [{line.get_label(): line.get_xydata().tolist() for line in axis.lines} for axis in figure.axes]
        points = {
            name: [[e, v] for e, v in zip((5, 6, 7), values, strict=True)] for name, values in history.history.items()
        }
        assert drawn == [
            {"training": points["loss"], "validation": points["val_loss"]},
            {"training": points["accuracy"], "validation": points["val_accuracy"]},
            {"training": points["zeal"]},
        ]
        picture = (tmp_path / "curves.png").read_bytes()
        assert picture[:8] == b"\x89PNG\r\n\x1a\n"
        width, height, *_ = plt.imread(tmp_path / "curves.png").shape[::-1][-2:]
        assert width > height > 100  # three panels beside each other
    finally:
        plt.close("all")


def test_what_is_logged_in_some_epochs_only_stands_at_these(tmp_path):
    """A number of the epochs 2 and 4; also of a training that died in between and went on."""
    matplotlib = pytest.importorskip("matplotlib")
    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    def odd(epoch, logs):
        logs.update({"rare": epoch / 8} if epoch % 2 else {})

    def halt(epoch, logs):
        if epoch == 2:
            raise KeyboardInterrupt

    x, y = samples(8)
    for hooks in ([halt], []):
        callbacks = [LambdaCallback(on_epoch_end=hook) for hook in (odd, *hooks)]
        with contextlib.suppress(KeyboardInterrupt):
            history = small().fit(
                x, y, epochs=4, verbose=0, callbacks=[*callbacks, BackupAndRestore(tmp_path / "backup")]
            )
    assert history.history["rare"] == [0.125, 0.375]
    rows = re.findall(r"<tr>(.*?)</tr>", history._repr_html_(), re.DOTALL)
    assert [re.findall(r"<td>(.*?)</td>", row)[-1:] for row in rows] == [[], [""], ["0.125"], [""], ["0.375"]]
    history.history["mine"] = [1.0, 2.0, 3.0, 4.0]  # as users do
    assert "<td>4</td>\n</tr></table>" in history._repr_html_()
    try:
        axis = history.plot().axes[-2]
        assert (axis.get_title(), axis.lines[0].get_xydata().tolist()) == ("rare", [[2, 0.125], [4, 0.375]])
    finally:
        plt.close("all")


def test_plot_of_a_training(tmp_path):
    matplotlib = pytest.importorskip("matplotlib")
    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    model = small()
    x, y = samples(8)
    try:
        figure = model.fit(x, y, epochs=2, validation_split=0.25, verbose=0).plot()
        assert [axis.get_title() for axis in figure.axes] == ["loss", "accuracy"]
        assert not list(tmp_path.iterdir())
    finally:
        plt.close("all")


def test_plot_before_the_first_epoch_says_so():
    with pytest.raises(ValueError, match="there is nothing to plot yet: fit has not finished an epoch"):
        History().plot()


def test_plot_without_matplotlib_says_how_to_get_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.pyplot", None)
    with pytest.raises(ImportError, match=re.escape("History.plot needs matplotlib: pip install 'minidl[plot]'.")):
        history_of("loss").plot()
