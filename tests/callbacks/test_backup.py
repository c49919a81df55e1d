"""BackupAndRestore: a training that dies anywhere goes on as if it had never died; and whom a backup does not fit."""

import contextlib
import json
import math
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from support import assert_same

import minidl
from minidl import callbacks as c
from minidl import saving
from minidl.layers import Dense, Dropout, Layer
from minidl.losses import SparseCategoricalCrossentropy
from minidl.optimizers import SGD, Adam
from minidl.optimizers.schedules import ExponentialDecay

STRESS = Path(__file__).parents[1] / "stress" / "kill_resume.py"
FILE = "backup.safetensors"
rng = np.random.default_rng(0)
X = rng.normal(size=(20, 5))
Y = (X[:, :3] + rng.normal(size=(20, 3))).argmax(axis=1)


class Death(BaseException):
    """In the place of SIGKILL: nothing in the library catches it."""


class DiesAt(c.Callback):
    """Dies in the count-th of its hooks, before the other callbacks' hooks of that moment, or after."""

    def __init__(self, count):
        self.count = count


def _hook(self, *arguments):
    self.count -= 1
    if self.count == 0:
        raise Death


for _name in c.HOOKS:
    if not _name.startswith("on_batch"):
        setattr(DiesAt, _name, _hook)


class Own(c.Callback):
    """A user's callback that changes the learning rate by what it has seen, with NaN and infinity among that."""

    def on_train_begin(self, logs=None):
        self.lowest, self.unknown, self.losses = math.inf, math.nan, np.zeros(3)

    def on_epoch_begin(self, epoch, logs=None):
        self.model.optimizer.learning_rate *= 1.01
        self.losses *= 1.5

    def on_train_batch_end(self, batch, logs=None):
        self.losses[:] = *self.losses[1:], logs["loss"]
        if self.losses.mean() < self.lowest:
            self.lowest = float(self.losses.mean())
            self.model.optimizer.learning_rate *= 0.99

    def get_state(self):
        return {"lowest": self.lowest, "unknown": self.unknown, "losses": self.losses}

    def set_state(self, state):
        self.lowest, self.unknown, self.losses = state["lowest"], state["unknown"], state["losses"]
        assert math.isnan(self.unknown)


def certainty(y_true, y_pred):
    """A metric as users write them: NumPy's own numbers, in float32."""
    return np.sum(y_pred.max(axis=1)), np.float32(len(y_pred))


class Single(SparseCategoricalCrossentropy):
    """A loss as users write them: its value is a number of NumPy's, too."""

    def forward(self, *arrays, **arguments):
        value, cache = super().forward(*arrays, **arguments)
        return np.float32(value), cache


def build(optimizer=None, seed=7, units=4, **arguments):
    model = minidl.Sequential(
        [Dense(units, activation="relu", input_dim=5), Dropout(0.2), Dense(3, activation="softmax")],
        seed=seed,
        **arguments,
    )
    model.compile(optimizer or Adam(0.05), Single(), metrics=["accuracy", certainty])
    return model


def fit(model, folder, more=(), save_freq=2, data=(X, Y), **arguments):
    """A training with every callback that remembers something. Returns all that must not depend on its deaths."""
    own = Own()
    arguments = {"batch_size": 4, "epochs": 6, "validation_split": 0.25, **arguments}
    history = model.fit(
        *data,
        verbose=0,
        callbacks=[
            c.BackupAndRestore(folder / "backup", save_freq),
            c.LearningRateScheduler(lambda epoch, rate: rate * 0.9),
            c.ReduceLROnPlateau("loss", factor=0.5, patience=1, min_delta=0.02, cooldown=1),
            c.EarlyStopping(patience=1, restore_best_weights=True),
            c.CSVLogger(folder / "log.csv"),
            own,
            *more,
        ],
        **arguments,
    )
    return {
        "weights": model.get_weights(),
        "slots": model.optimizer.slots,
        "history": history.history,
        "epochs": history.epoch,
        "counters": [model.epochs_trained, model.steps_trained, model.optimizer.iterations],
        "rate": model.optimizer.learning_rate,
        "own": [own.lowest, own.losses],
        "log": (folder / "log.csv").read_text(),
        "files": sorted(os.listdir(folder)),
        "stopped": model.stop_training,
    }


def until_it_ends(folder, save_freq, counts):
    """Lives of one training, each a new model; all but the last die, at the hook of that number."""
    for count in counts:
        with pytest.raises(Death):
            fit(build(), folder, [DiesAt(count)], save_freq)
    return fit(build(), folder, [], save_freq)


# ------------------------------------------------------------------------------------------------------ going on


@pytest.mark.parametrize(("save_freq", "first", "step"), [(2, 1, 1), ("epoch", 1, 3), (1, 2, 3), (3, 3, 3)])
def test_a_training_may_die_at_any_moment(tmp_path, save_freq, first, step):
    """Every hook of the training once, batches and validation included; of each further frequency one in three."""
    (tmp_path / "whole").mkdir()
    expected = fit(build(), tmp_path / "whole", save_freq=save_freq)
    assert 3 <= len(expected["epochs"]) < 6  # EarlyStopping has stopped it
    assert expected["stopped"]
    assert expected["files"] == ["log.csv"]  # the backup is removed at the end
    hooks = DiesAt(0)
    (tmp_path / "count").mkdir()
    fit(build(), tmp_path / "count", [hooks])
    for count in range(first, 1 - hooks.count, step):
        folder = tmp_path / str(count)
        folder.mkdir()
        assert_same(until_it_ends(folder, save_freq, [count]), expected)


def test_a_training_may_die_many_times(tmp_path):
    (tmp_path / "whole").mkdir()
    expected = fit(build(), tmp_path / "whole")
    chance = np.random.default_rng(1)
    for trial in range(10):
        folder = tmp_path / str(trial)
        folder.mkdir()
        counts = chance.integers(2, 14, size=5)
        assert_same(until_it_ends(folder, [1, 2, 3][trial % 3], counts), expected)


@pytest.mark.parametrize("kind", [bool, int])
def test_a_callback_may_stop_the_training_within_an_epoch_and_the_validation_die(tmp_path, kind):
    """The batches after the one that stopped it are not made up for."""

    class Stops(c.Callback):
        def on_train_batch_end(self, batch, logs=None):
            self.model.stop_training = kind(self.model.steps_trained == 5)

    class DiesInValidation(c.Callback):
        def on_test_end(self, logs=None):
            if self.model.steps_trained == 5:
                raise Death

    for name in ("whole", "killed"):
        (tmp_path / name).mkdir()
    expected = fit(build(), tmp_path / "whole", [Stops()], save_freq=1)
    assert expected["counters"] == [2, 5, 5]
    with pytest.raises(Death):
        fit(build(), tmp_path / "killed", [Stops(), DiesInValidation()], save_freq=1)
    assert_same(fit(build(), tmp_path / "killed", [Stops()], save_freq=1), expected)


@pytest.mark.parametrize("count", [1, 2, 3, 4, 5, 15])
def test_a_training_may_go_on_in_the_same_model(tmp_path, count):
    """As after a Ctrl-C in a notebook, the earliest before any step; and then, after another, in a new process."""
    for name in ("whole", "killed", "again"):
        (tmp_path / name).mkdir()
    expected = fit(build(), tmp_path / "whole")
    model = build()
    with pytest.raises(Death):
        fit(model, tmp_path / "killed", [DiesAt(count)])
    assert_same(fit(model, tmp_path / "killed"), expected)
    model = build()
    for each in (count, 17):
        with pytest.raises(Death):
            fit(model, tmp_path / "again", [DiesAt(each)])
    assert_same(fit(build(), tmp_path / "again"), expected)


@pytest.mark.parametrize("count", [5, 14, 23, 38])
def test_a_checkpoint_is_written_when_it_would_have_been(tmp_path, count):
    """Every third batch, of four an epoch; and the first of all, which no later one is "better" than, as the loss falls."""
    found = []
    for folder, lives in ((tmp_path / "unbroken", [[]]), (tmp_path / "died", [[DiesAt(count)], []])):
        folder.mkdir()
        for more in lives:
            every = c.ModelCheckpoint(folder / "{epoch}-{batch}.safetensors", save_freq=3, save_weights_only=True)
            best = c.ModelCheckpoint(folder / "best.safetensors", "loss", mode="max", save_best_only=True)
            with pytest.raises(Death) if more else contextlib.nullcontext():
                fit(build(), folder, [every, best, *more], 1)
        found.append({path.name: path.read_bytes() for path in folder.glob("*.safetensors")})
    assert found[0] == found[1]
    assert {"1-3.safetensors", "2-2.safetensors", "3-1.safetensors", "best.safetensors"} <= found[0].keys()


def test_a_model_without_a_seed_gets_the_one_of_the_backup(tmp_path):
    first = build(seed=None)
    with pytest.raises(Death):
        fit(first, tmp_path, [DiesAt(15)])
    second = build(seed=None)
    assert second.seed != first.seed
    fit(second, tmp_path)
    assert second.seed == first.seed
    (tmp_path / "whole").mkdir()
    whole = build(seed=first.seed)
    fit(whole, tmp_path / "whole")
    assert_same(second.get_weights(), whole.get_weights())


def test_what_is_shown_counts_the_batches_before(tmp_path, capsys):
    """Killed after 3 of 5 batches; the epoch ends with 5 of 5."""

    def train(*more):
        build().fit(X, Y, batch_size=4, verbose=2, callbacks=[c.BackupAndRestore(tmp_path, save_freq=1), *more])

    with pytest.raises(Death):
        train(c.LambdaCallback(on_train_batch_begin=lambda batch, logs: dies_at(batch, 3)))
    capsys.readouterr()
    batches = []
    train(c.LambdaCallback(on_train_batch_begin=lambda batch, logs: batches.append(batch)))
    assert batches == [3, 4]
    title, line = capsys.readouterr().out.splitlines()
    assert title == "Epoch 1/1"
    assert line.startswith("5/5 - ")


def test_what_is_shown_counts_the_batches_before_where_none_is_left(tmp_path, capsys):
    """Killed after the last batch, before the epoch has ended."""

    def train(*more):
        build().fit(X, Y, batch_size=4, verbose=2, callbacks=[c.BackupAndRestore(tmp_path, save_freq=1), *more])

    with pytest.raises(Death):
        train(c.LambdaCallback(on_epoch_end=lambda epoch, logs: dies_at(epoch, 0)))
    capsys.readouterr()
    batches = []
    train(c.LambdaCallback(on_train_batch_begin=lambda batch, logs: batches.append(batch)))
    assert batches == []
    assert capsys.readouterr().out.splitlines()[1].startswith("5/5 - ")


def test_a_log_that_is_appended_to_has_each_line_once(tmp_path):
    """Killed before any backup but the first one, after two epochs had been written."""
    path = tmp_path / "log.csv"

    def train(*more):
        backup = c.BackupAndRestore(tmp_path / "backup", save_freq=1000)
        build().fit(X, Y, epochs=3, verbose=0, callbacks=[c.CSVLogger(path, append=True), backup, *more])

    path.write_text("an older line\r\n")
    with pytest.raises(Death):
        train(c.LambdaCallback(on_epoch_begin=lambda epoch, logs: dies_at(epoch, 2)))
    assert len(path.read_text().splitlines()) == 3
    train()
    assert [line.split(",")[0] for line in path.read_text().splitlines()] == ["an older line", "0", "1", "2"]


def dies_at(number, at):
    if number == at:
        raise Death


def test_a_log_that_was_cut_is_an_error(tmp_path):
    with pytest.raises(Death):
        fit(build(), tmp_path, [DiesAt(25)])
    (tmp_path / "log.csv").write_text("")
    with pytest.raises(ValueError, match=r"holds 0 bytes, but \d+ were written before .* Put the old file back"):
        fit(build(), tmp_path)


def test_killed_processes_go_on(tmp_path):
    """What the stress test does a thousand times, a few times: real processes, signals, also in the middle of a write.

    A second run goes on from the counts of the first.
    """
    for times in ("1", "3"):
        command = [sys.executable, STRESS, "--times", times, "--seed", "5", "--keep", tmp_path / "kills.json"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        assert re.search(rf"^{times} kills in \d+ trainings \(seed 5\); that differ: 0$", done.stdout, re.M)


# --------------------------------------------------------------------------------------------------------- the folder


def test_a_backup_is_there_during_the_training_and_gone_after_it(tmp_path):
    seen = []
    look = c.LambdaCallback(
        on_train_batch_begin=lambda batch, logs: seen.append(os.listdir(tmp_path / "deep" / "backup"))
    )
    backup = c.BackupAndRestore(tmp_path / "deep" / "backup")
    build().fit(X, Y, epochs=2, verbose=0, callbacks=[backup, look])
    assert seen == [[FILE]] * 2
    assert not (tmp_path / "deep" / "backup").exists()


@pytest.mark.parametrize("count", [None, 20])
def test_there_may_be_more_epochs_than_before(tmp_path, count):
    """As in Keras; after the end of the training, and after a death in its second epoch."""

    def train(folder, epochs, *more):
        model, backup = build(), c.BackupAndRestore(folder, 1, delete_checkpoint=False)
        history = model.fit(X, Y, batch_size=4, epochs=epochs, verbose=0, callbacks=[backup, *more])
        return [model.get_weights(), history.history, history.epoch]

    if count is None:
        train(tmp_path / "a", 2)
    else:
        with pytest.raises(Death):
            train(tmp_path / "a", 2, DiesAt(count))
    assert_same(train(tmp_path / "a", 4), train(tmp_path / "b", 4))


def test_a_training_that_was_stopped_stays_so_with_more_epochs(tmp_path):
    class Stops(c.Callback):
        def on_epoch_end(self, epoch, logs=None):
            self.model.stop_training = epoch == 1

    models = [build(), build()]
    histories = [
        model.fit(
            X,
            Y,
            epochs=epochs,
            verbose=0,
            callbacks=[Stops(), c.BackupAndRestore(tmp_path, delete_checkpoint=False)],
        )
        for model, epochs in zip(models, (3, 9), strict=True)
    ]
    assert [history.epoch for history in histories] == [[0, 1]] * 2
    assert_same(models[1].get_weights(), models[0].get_weights())


def test_the_samples_are_not_kept_after_the_training(tmp_path):
    backup = c.BackupAndRestore(tmp_path / "backup")
    build().fit(X, Y, verbose=0, callbacks=backup)
    assert backup.training is None
    with pytest.raises(Death):
        build().fit(X, Y, verbose=0, callbacks=[backup, DiesAt(5)])
    assert backup.training is None


def test_the_callbacks_in_a_callback_list_have_their_states_kept(tmp_path):
    def train(folder, *more):
        plateau = c.ReduceLROnPlateau("loss", factor=0.5, patience=1, min_delta=9)
        backup = c.BackupAndRestore(folder, 1)
        several = c.CallbackList([plateau, c.CallbackList([backup], None, {})], None, {})
        model = build()
        history = model.fit(X, Y, batch_size=4, epochs=4, verbose=0, callbacks=[several, *more])
        return [model.get_weights(), history.history]

    expected = train(tmp_path / "whole")
    assert expected[1]["learning_rate"] == [0.05, 0.05, 0.025, 0.0125]
    with pytest.raises(Death):
        train(tmp_path / "killed", c.LambdaCallback(on_epoch_begin=lambda epoch, logs: dies_at(epoch, 2)))
    assert_same(train(tmp_path / "killed"), expected)


@pytest.mark.parametrize("place", ["taken", "taken/folder"])
def test_a_folder_that_cannot_be_made_is_an_error_of_its_own(tmp_path, place):
    (tmp_path / "taken").write_text("mine")
    for callback in (c.BackupAndRestore(tmp_path / place), c.ModelCheckpoint(tmp_path / place / "model")):
        name = type(callback).__name__
        with pytest.raises(
            OSError, match=rf"{name} cannot make its folder: a file is in its place: move that.*{place}"
        ):
            build().fit(X, Y, verbose=0, callbacks=callback)
    assert (tmp_path / "taken").read_text() == "mine"


def test_what_others_keep_in_the_folder_stays(tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    (tmp_path / ".minidl-notes.tmp").write_text("mine, too")
    (tmp_path / ".minidl-0123456789abcdef.tmp").write_text("of a process that was killed")
    build().fit(X, Y, verbose=0, callbacks=c.BackupAndRestore(tmp_path))
    assert sorted(os.listdir(tmp_path)) == [".minidl-notes.tmp", "notes.txt"]


def test_a_backup_that_is_kept_ends_the_next_fit_at_once(tmp_path):
    """As in Keras: what is done is done."""
    first, second = build(), build()
    one = first.fit(X, Y, epochs=2, verbose=0, callbacks=c.BackupAndRestore(tmp_path, delete_checkpoint=False))
    steps = []
    count = c.LambdaCallback(on_train_batch_begin=lambda batch, logs: steps.append(batch))
    two = second.fit(
        X, Y, epochs=2, verbose=0, callbacks=[c.BackupAndRestore(tmp_path, delete_checkpoint=False), count]
    )
    assert steps == []
    assert_same([second.get_weights(), two.history, two.epoch], [first.get_weights(), one.history, one.epoch])


def test_a_full_disk_leaves_the_old_backup_whole(tmp_path, monkeypatch):
    """The tenth flush to disk fails; the training ends with that error, and the next one goes on from the last backup."""
    for name in ("whole", "killed"):
        (tmp_path / name).mkdir()
    expected = fit(build(), tmp_path / "whole", save_freq=1)
    real, calls = os.fsync, []

    def full(descriptor):
        calls.append(descriptor)
        if len(calls) > 9:
            raise OSError(28, "No space left on device")
        real(descriptor)

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(OSError, match="No space left on device"):
            fit(build(), tmp_path / "killed", save_freq=1)
    content, _ = saving.read(tmp_path / "killed" / "backup" / FILE, "backup")
    assert content["state"]["steps_trained"] > 0
    assert_same(fit(build(), tmp_path / "killed", save_freq=1), expected)


def test_a_state_that_cannot_be_kept_is_an_error_before_the_first_batch(tmp_path):
    class Wrong(c.Callback):
        state: object = None

        def get_state(self):
            return self.state

    wrong, model = Wrong(), build()
    for state, error, match in (
        (None, TypeError, "Wrong: get_state must return a dictionary, received None"),
        ({"model": model}, TypeError, "hold what a callback has put into its state or into the logs: received <"),
        ({"pairs": {(1, 2): 3}}, TypeError, "with strings or numbers as keys"),
        ({"mask": np.ones(3, bool)}, ValueError, "a file holds arrays of floats and integers"),
    ):
        wrong.state = state
        with pytest.raises(error, match=match):
            model.fit(X, Y, verbose=0, callbacks=[wrong, c.BackupAndRestore(tmp_path)])
    assert model.steps_trained == 0
    assert os.listdir(tmp_path) == []


def test_logs_that_cannot_be_kept_are_an_error(tmp_path):
    more = c.LambdaCallback(on_epoch_end=lambda epoch, logs: logs.update(object=print))
    with pytest.raises(TypeError, match="put into its state or into the logs: received <built-in function print>"):
        build().fit(X, Y, verbose=0, callbacks=[c.BackupAndRestore(tmp_path), more])


def test_the_arguments_are_checked():
    with pytest.raises(ValueError, match="must be the path of a file or folder, received an empty one"):
        c.BackupAndRestore("")
    with pytest.raises(
        ValueError, match="BackupAndRestore save_freq must be 'epoch' or a number of batches, received 0"
    ):
        c.BackupAndRestore("x", 0)


# ------------------------------------------------------------------------------------------ whom a backup does not fit


@pytest.fixture
def folder(tmp_path):
    """A folder with the backup of a training that died in its second epoch."""
    with pytest.raises(Death):
        fit(build(), tmp_path, [DiesAt(20)])
    return tmp_path


OTHERS = {
    r"layers\[0\]'s units was 4 then, and is 5": lambda folder: fit(build(units=5), folder),
    "dtype was 'float32' then, and is 'float64'": lambda folder: fit(build(dtype="float64"), folder),
    "ops was 'minidl.ops.kernels' then, and is 'minidl.ops.reference'": lambda folder: fit(
        build(ops="reference"), folder
    ),
    "fuse was True then, and is False": lambda folder: fit(build(fuse=False), folder),
    r"optimizer was {'class': 'Adam', .* then, and is {'class': 'SGD', .*": lambda folder: fit(
        build(SGD(0.05)), folder
    ),
    "optimizer's beta_1 was 0.9 then, and is 0.8": lambda folder: fit(build(Adam(0.05, beta_1=0.8)), folder),
    "learning_rate was 0.05 then, and is 0.01": lambda folder: fit(build(Adam(0.01)), folder),
    "batch_size was 4 then, and is 5": lambda folder: fit(build(), folder, batch_size=5),
    "validation_freq was 1 then, and is 2": lambda folder: fit(build(), folder, validation_freq=2),
    "initial_epoch was 0 then, and is 1": lambda folder: fit(build(), folder, initial_epoch=1),
    "shuffle was True then, and is False": lambda folder: fit(build(), folder, shuffle=False),
    "the number of samples was 15 then, and is 10": lambda folder: fit(build(), folder, validation_split=0.5),
    "the number of validation samples was 5 then, and is 20": lambda folder: fit(
        build(), folder, data=(X[:15], Y[:15]), validation_split=0.0, validation_data=(X, Y)
    ),
    "the callbacks with a state was .* then, and is .*": lambda folder: fit(build(), folder, [c.EarlyStopping()]),
}


@pytest.mark.parametrize("what", OTHERS)
def test_another_training_is_refused_with_what_is_different(folder, what):
    before = (folder / "backup" / FILE).read_bytes()
    with pytest.raises(ValueError, match=f"cannot resume from .*: it is of another training: {what} now") as e:
        OTHERS[what](folder)
    assert "delete that file; to resume, call fit as it was called then" in str(e.value)
    assert (folder / "backup" / FILE).read_bytes() == before


def halving(step):
    return 0.1 / 2**step


def quartering(step):
    return 0.1 / 4**step


SCHEDULES = {
    r"learning_rate was {'class': 'ExponentialDecay', 'initial_learning_rate': 0.1, .*} then, and is 0.1": (
        ExponentialDecay(0.1, 10, 0.5),
        0.1,
    ),
    r"learning_rate was 0.1 then, and is {'class': 'ExponentialDecay', .*}": (0.1, ExponentialDecay(0.1, 10, 0.5)),
    r"learning_rate's decay_steps was 10 then, and is 20": (
        ExponentialDecay(0.1, 10, 0.5),
        ExponentialDecay(0.1, 20, 0.5),
    ),
    "learning_rate was 'halving' then, and is 'quartering'": (halving, quartering),
}


def scheduled(rate, folder, *more):
    return build(Adam(rate)).fit(X, Y, epochs=3, verbose=0, callbacks=[c.BackupAndRestore(folder, 1), *more])


@pytest.mark.parametrize("what", SCHEDULES)
def test_another_schedule_is_another_training(what, tmp_path):
    then, now = SCHEDULES[what]
    with pytest.raises(Death):
        scheduled(then, tmp_path / "backup", DiesAt(7))
    with pytest.raises(ValueError, match=f"it is of another training: {what} now"):
        scheduled(now, tmp_path / "backup")
    scheduled(then, tmp_path / "backup")


def test_a_schedule_that_a_callback_replaces_by_numbers(tmp_path):
    """Resuming, the program has the schedule again, and the backup has the number."""

    class Slower(c.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            self.model.optimizer.learning_rate = 0.1 / (1 + epoch)

    slower = Slower()
    rate = ExponentialDecay(0.1, 10, 0.5)
    whole = scheduled(rate, tmp_path / "whole", slower)
    with pytest.raises(Death):
        scheduled(rate, tmp_path / "backup", slower, DiesAt(7))
    assert scheduled(rate, tmp_path / "backup", slower).history == whole.history


def test_a_function_of_an_earlier_version(tmp_path):
    """It noted None, whatever the function was: any goes on, and a number is told apart."""
    folder = tmp_path / "backup"
    with pytest.raises(Death):
        scheduled(halving, folder, DiesAt(7))
    content, arrays = saving.read(folder / FILE, "backup")
    place = json.loads(content["training"])
    place["began"]["learning_rate"] = None
    saving.write(folder / FILE, "backup", content | {"training": json.dumps(place)}, arrays)
    with pytest.raises(ValueError, match=r"learning_rate was 'a function of the step' then, and is 0\.1 now"):
        scheduled(0.1, folder)
    scheduled(quartering, folder)


def test_fewer_epochs_than_have_begun_are_refused(tmp_path):
    with pytest.raises(Death):
        fit(build(), tmp_path, [DiesAt(25)])
    with pytest.raises(ValueError, match=r"cannot resume from .*: it has come to epoch 2, and epochs is 1 now\."):
        fit(build(), tmp_path, epochs=1)


def test_an_epoch_has_begun_with_its_first_batch(folder):
    change(folder, {"epoch": 1, "batch": 1})
    with pytest.raises(ValueError, match=r"it has come to epoch 2, and epochs is 1 now\."):
        fit(build(), folder, epochs=1)


class Tabled(Single):
    """Its settings are nothing that JSON can hold."""

    def __init__(self, table):
        super().__init__()
        self.table = table


def test_a_loss_whose_settings_are_not_known_is_told_by_its_class(tmp_path):
    def with_loss(loss):
        model = build()
        model.compile(Adam(0.05), loss, metrics=["accuracy"])
        return model

    with pytest.raises(Death):
        fit(with_loss(Tabled(np.ones(3))), tmp_path, [DiesAt(20)])
    with pytest.raises(ValueError, match=r"loss was 'Tabled' then, and is {'class': 'Single', .*} now"):
        fit(with_loss(Single()), tmp_path)
    fit(with_loss(Tabled(np.ones(3))), tmp_path)


def test_what_the_outermost_model_decides_may_differ_within(tmp_path):
    """An inner model that is given no seed draws one, another one in each process; only the outermost one's has an effect."""

    def nested(**options):
        inner = minidl.Sequential([Dense(4, activation="relu"), Dropout(0.2)], name="inner", **options)
        model = minidl.Sequential([inner, Dense(3, activation="softmax")], seed=7)
        model.compile(Adam(0.05), Single(), metrics=["accuracy"])
        return model

    with pytest.raises(Death):
        fit(nested(seed=1), tmp_path, [DiesAt(20)])
    resumed = fit(nested(seed=2, dtype="float64", ops="reference", fuse=False), tmp_path)
    (tmp_path / "log.csv").unlink()
    assert_same(resumed, fit(nested(seed=3), tmp_path))


class Fixed(SGD):
    """An optimizer whose settings do not say its learning rate."""

    def __init__(self):
        super().__init__(0.05)

    def get_config(self):
        return {}


def test_an_optimizer_without_a_learning_rate_in_its_settings(tmp_path):
    whole = fit(build(Fixed()), tmp_path)
    (tmp_path / "log.csv").unlink()
    with pytest.raises(Death):
        fit(build(Fixed()), tmp_path, [DiesAt(20)])
    assert_same(fit(build(Fixed()), tmp_path), whole)


@pytest.mark.parametrize(
    ("samples", "batch_size", "shards"),
    [(15, 4, [[3, 1], [4, 1]]), (240, 120, [[120, 2]]), (310, 150, [[10, 1], [150, 2]]), (8, 32, [[8, 1]])],
)
def test_a_backup_tells_how_the_batches_of_an_epoch_are_cut(tmp_path, samples, batch_size, shards):
    """Each full one, and the last: one shard of fewer than 16 samples, at least two of more, none above 100."""
    x, y = np.ones((samples, 5)), np.zeros(samples, int)
    with pytest.raises(Death):
        fit(
            build(),
            tmp_path,
            [DiesAt(7)],
            1,
            (x, y),
            batch_size=batch_size,
            validation_split=0.0,
            validation_data=(x[:4], y[:4]),
        )
    content, _ = saving.read(tmp_path / "backup" / FILE, "backup")
    assert content["fit"]["shards"] == shards


@pytest.mark.parametrize(
    ("batch_size", "goes_on"),
    [(15, True), (16, True), (160, True), (210, True), (310, False)],
    ids=["1", "2 of 8", "2", "3", "4"],
)
def test_the_batches_of_version_0_1_0_were_summed_as_now_up_to_three_shards(tmp_path, batch_size, goes_on):
    """Its backups do not say how they were cut: one shard after the other. (a + b) + c is the tree's sum, too; of four it is
    (a + b) + (c + d)."""
    x, y = np.ones((310, 5)), np.zeros(310, int)
    arguments = {
        "data": (x, y),
        "batch_size": batch_size,
        "validation_split": 0.0,
        "validation_data": (x[:4], y[:4]),
        "epochs": 2,
    }
    with pytest.raises(Death):
        fit(build(), tmp_path, [DiesAt(7)], 1, **arguments)
    said, _ = saving.read(tmp_path / "backup" / FILE, "backup")
    change(tmp_path, fit={name: value for name, value in said["fit"].items() if name not in ("shards", "frozen")})
    if goes_on:
        fit(build(), tmp_path, [], 1, **arguments)
    else:
        with pytest.raises(
            ValueError, match="cut a batch of 310 samples into 4 shards, and this one cuts it into 4, or adds"
        ):
            fit(build(), tmp_path, [], 1, **arguments)


def test_a_callback_without_a_state_may_come_and_go(folder):
    fit(build(), folder, [c.LambdaCallback()])


def test_a_later_fit_of_the_same_program_does_not_become_the_first(tmp_path):
    model = build()
    fit(model, tmp_path)
    (tmp_path / "log.csv").unlink()
    with pytest.raises(Death):
        fit(model, tmp_path, [DiesAt(20)])
    with pytest.raises(ValueError, match=r"made by a later fit: .* Give each fit a folder of its own"):
        fit(build(), tmp_path)


# ------------------------------------------------------------------------------------------------------ hostile folders


def state_of(model):
    return [
        model.get_weights(),
        {name: {slot: value.copy() for slot, value in group.items()} for name, group in model.optimizer.slots.items()},
        [model.seed, model.epochs_trained, model.steps_trained, model.optimizer.iterations],
        model.optimizer.learning_rate,
    ]


def refused(folder, match):
    """fit raises this ValueError, and the model is as it was."""
    model = build()
    before = state_of(model)
    with pytest.raises(ValueError, match=match):
        fit(model, folder)
    assert_same(state_of(model), before)


def change(folder, place=None, callback=(0, {}), change_arrays=None, **content):
    """Write the backup anew: with these entries in the place, in the state of the callback of that number, in the content."""
    path = folder / "backup" / FILE
    old, arrays = saving.read(path, "backup")
    if place or callback[1]:
        new = json.loads(old["training"]) | (place or {})
        if callback[1]:
            new["callbacks"][callback[0]] |= callback[1]
        old["training"] = json.dumps(new)
    if change_arrays is not None:
        change_arrays(arrays)
    saving.write(path, "backup", {key: old[key] for key in ("state", "fit", "training")} | content, arrays)


@pytest.mark.parametrize("cut", [0, 7, 8, 100, -1])
def test_a_file_that_was_cut_is_refused(folder, cut):
    path = folder / "backup" / FILE
    path.write_bytes(path.read_bytes()[:cut])
    refused(folder, "cannot resume from .* is damaged, or no safetensors file")


def test_a_file_of_another_kind_is_refused(folder):
    build().save(folder / "backup" / FILE)
    refused(folder, r"cannot resume from .* holds 'model', expected 'backup'")


def test_a_link_is_not_followed(folder, tmp_path_factory):
    """A folder from a stranger must not make us write to what its link names."""
    other = tmp_path_factory.mktemp("elsewhere") / "other"
    path = folder / "backup" / FILE
    path.rename(other)
    before = other.read_bytes()
    path.symlink_to(other)
    refused(folder, "it is not an ordinary file")
    assert other.read_bytes() == before


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no pipes with names")
def test_a_pipe_is_not_waited_for(folder):
    path = folder / "backup" / FILE
    path.unlink()
    os.mkfifo(path)
    refused(folder, "it is not an ordinary file")


NO_COUNTS = [None, -1, True, 1.0, "1", [], {}, 2**63, 10**30]
WRONG = {
    "epoch": NO_COUNTS,
    "batch": [*NO_COUNTS, 0, 5],  # 0 does not go with sums
    "seed": [None, -1, True, 1.0, "1", []],
    "learning_rate": [None, -0.1, True, "1", [], math.nan, math.inf, 10**400],
    "stop_training": [None, 0, "yes"],
    "sums": [None, 1, {}, [1.0, 2], [1.0, 0, [[1, 1]]], [1.0, 2, []], [1.0, 2, [[1, ""]]], [1.0, 2, [[1]]], ["", 2, [[1, 1]]]],
    "logs": [None, [], 1],
    "began": [None, [], {}, {"epochs_trained": 0}, {"epochs_trained": 0, "steps_trained": -1}],
    "callbacks": [None, {}, [], [{}], [[]] * 5],
}  # fmt: skip


@pytest.mark.parametrize("name", WRONG)
def test_a_place_that_cannot_be_is_refused(folder, name):
    for value in WRONG[name]:
        change(folder, {name: value})
        refused(folder, "cannot resume from .*: it is damaged")


STATES = {  # the callback's place in the list, what its state becomes, and what is said of it
    "rate": (0, {"wait": 1.5}, "state 'wait' must be int, received 1.5"),
    "stopping": (1, {"best": "good"}, "state 'best' must be float or NoneType, received 'good'"),
    "log": (2, {"length": 10**9}, "holds .* bytes, but 1000000000 were written"),
    "negative log": (2, {"length": -1}, "holds .* bytes, but -1 were written"),
    "columns": (2, {"names": [1]}, "the names of the columns must be strings"),
    "history's epochs": (
        4,
        {"epochs": {"loss": [0, 1, 2]}},
        "the history's state must have an epoch for each number",
    ),
    "history": (
        4,
        {"history": {"loss": 1}},
        "the history's state must be a list of epochs, and a list of numbers a name",
    ),
    "epochs": (4, {"epoch": None}, "state 'epoch' must be list, received None"),
}


@pytest.mark.parametrize("what", STATES)
def test_a_callbacks_state_of_another_type_is_refused(folder, what):
    position, values, match = STATES[what]
    change(folder, callback=(position, values))
    refused(folder, f"cannot resume from .*{match}")


def test_what_is_no_whole_state_is_refused(folder):
    whole = json.loads(saving.read(folder / "backup" / FILE, "backup")[0]["training"])
    for wrong in (None, 1, "", "[]", "{", "[" * 100_000, "9" * 5000):
        change(folder, training=wrong)
        refused(folder, "it is damaged")
    for other, kind in (("[]", "list"), ("5", "int"), ("null", "NoneType")):
        change(folder, training=other)
        refused(folder, f"it is damaged: expected the state of a training, found {kind}")
    for missing in whole:
        change(folder, training=json.dumps({name: value for name, value in whole.items() if name != missing}))
        refused(folder, f"it is damaged: {missing} is missing")
    for wrong in (None, [], {}, "all"):
        change(folder, fit=wrong)
        refused(folder, "it is of another training: layers was None then")


def test_shards_that_cannot_be_are_refused(folder):
    said, _ = saving.read(folder / "backup" / FILE, "backup")
    assert said["fit"]["shards"] == [[3, 1], [4, 1]]
    for wrong in (
        None,
        5,
        "all",
        [],
        [[3, 1]],
        [3, 4],
        [[3, 1], 5],
        [[3, 1], [4]],
        [[3, "1"], [4, 1]],
        [[3, 1], [4, 1, 1]],
    ):
        change(folder, fit={**said["fit"], "shards": wrong})
        refused(folder, "it is damaged: the shards of a batch cannot be")


def test_arrays_that_do_not_fit_are_refused(folder):
    path = folder / "backup" / FILE
    whole = path.read_bytes()
    faults = {
        "missing 'dense/kernel'": lambda arrays: arrays.pop("dense/kernel"),
        "unexpected 'dense/more'": lambda arrays: arrays.update({"dense/more": np.zeros(3)}),
        "expected floats": lambda arrays: arrays.update({"dense/bias": np.zeros(4, np.int32)}),
        "'/optimizer/dense/kernel/mean' has shape": lambda arrays: arrays.update(
            {"/optimizer/dense/kernel/mean": np.zeros((5, 5), np.float32)}
        ),
        "best weights are not of this model's shapes": lambda arrays: arrays.update(
            {"/callbacks/1/best_weights/0": np.zeros((4, 5), np.float32)}
        ),
    }
    for match, fault in faults.items():
        path.write_bytes(whole)
        change(folder, change_arrays=fault)
        refused(folder, match)


class Counting(Layer):
    """A layer with a state, which is among the weights that EarlyStopping keeps."""

    def build(self, input_shape, rng, dtype):
        self.state = {"seen": np.zeros(input_shape, dtype)}
        return input_shape

    def forward(self, x, *, training=False, rng=None):
        return x.copy(), None

    def backward(self, dy, cache):
        return dy.copy(), {}


def test_the_best_weights_of_a_model_with_state_come_back(tmp_path):
    def fit(*more):
        model = minidl.Sequential([Counting(input_shape=(5,)), Dense(1)], seed=1)
        model.compile("sgd", "mse")
        stopping = c.EarlyStopping("loss", patience=2, restore_best_weights=True)
        model.fit(
            X, X.sum(axis=1), epochs=4, verbose=0, callbacks=[c.BackupAndRestore(tmp_path / "b"), stopping, *more]
        )
        return model

    with pytest.raises(Death):
        fit(DiesAt(9))
    assert (tmp_path / "b" / FILE).exists()
    resumed = fit()
    plain = minidl.Sequential([Counting(input_shape=(5,)), Dense(1)], seed=1)
    plain.compile("sgd", "mse")
    plain.fit(X, X.sum(axis=1), epochs=4, verbose=0)
    assert_same(resumed.get_weights(), plain.get_weights())
