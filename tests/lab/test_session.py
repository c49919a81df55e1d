"""What the lab does, without its server: looking, one step, training, and breaking a layer."""

import json
import threading
import time

import numpy as np
import pytest

from minidl import Sequential
from minidl.datasets import mnist
from minidl.lab import session as sessions
from minidl.lab.drawing import image_of
from minidl.lab.reader import Reader, load, small_network
from minidl.lab.run import BATCH, Curve, Run
from minidl.lab.session import Busy, Session
from minidl.layers import Activation, Conv2D, Dense, Flatten, Input, MaxPooling2D, Rescaling

STROKES = [[[0.3, 0.2], [0.7, 0.25], [0.5, 0.8]]]
DRAWING = {"strokes": STROKES}
SGD = {"digits": 200, "epochs": 1, "optimizer": "SGD", "rate": 0.1}


@pytest.fixture(scope="module")
def data():
    (x, y), (x_test, y_test) = mnist.load_data()
    return (x[:300], y[:300]), (x_test[:100], y_test[:100])


def network(dtype="float64"):
    """Like the lab's own, but smaller."""
    layers = [
        *(Input((28, 28, 1)), Rescaling(1 / 255), Conv2D(2, 5, strides=3), Activation("relu"), MaxPooling2D()),
        *(Flatten(), Dense(10, activation="softmax")),
    ]
    model = Sequential(layers, seed=3, dtype=dtype)
    model.params["conv2d/bias"][:] = 0.1, -0.1  # or the background would be at ReLU's kink
    model.compile("sgd", "sparse_categorical_crossentropy")
    return Reader(model)


@pytest.fixture
def lab(data):
    reader = network()
    made = Session(reader, data)
    made.reader = reader
    yield made
    made.close()


# ---------------------------------------------------------------------------------------------------------------- looking


def test_a_drawing_is_read_as_the_model_reads_its_image(lab):
    image = image_of(STROKES)
    answer = lab.look(DRAWING, 4)
    predicted = lab.reader.model.predict(image[None, ..., None], verbose=0)[0]
    np.testing.assert_allclose(answer["probabilities"], predicted, rtol=1e-3)
    assert answer["read"] == predicted.argmax()
    assert answer["label"] == 4
    assert answer["loss"] == pytest.approx(-np.log(predicted[4]))
    assert answer["image"] == image.ravel().tolist()
    assert "microscope" not in answer


def test_without_a_label_it_is_what_is_read(lab):
    answer = lab.look(DRAWING)
    assert answer["label"] == answer["read"]


def test_the_blame_of_pixels_is_the_slope_of_the_loss(lab):
    """Central differences, of a pixel's way from no ink to full."""
    image, answer = image_of(STROKES).astype(float), lab.look(DRAWING, 4)
    for row, column in zip(*np.nonzero(image_of(STROKES) > 200), strict=True):
        moved = np.repeat(image[None], 2, axis=0)
        moved[:, row, column] += 1e-4, -1e-4
        up, down = (lab.reader.model.loss_and_gradients(x[None, ..., None], np.array([4]))[0] for x in moved)
        slope = (up - down) / 2e-4 * 255
        assert answer["dpixels"][28 * row + column] == pytest.approx(slope, rel=1e-3, abs=1e-6)
    assert np.count_nonzero(answer["dpixels"]) > 100


def test_a_whole_look_holds_what_the_microscope_shows(lab):
    found = lab.look(DRAWING, 4, True)
    assert found["microscope"]["traces"][0]["loss"] == f"{found['loss']:.6g}"
    assert found["wrong"] is None


def test_a_test_digit_instead_of_a_drawing(lab, data):
    found = lab.digit(7)
    assert found == {"image": data[1][0][7].ravel().tolist(), "label": int(data[1][1][7])}
    assert lab.look({"digit": 7})["image"] == found["image"]


@pytest.mark.parametrize(
    ("drawing", "label", "message"),
    [
        (None, 1, 'must be {"strokes"'),
        ({}, 1, 'must be {"strokes"'),
        ({"strokes": [], "digit": 1}, 1, 'must be {"strokes"'),
        ({"digit": 100}, 1, "0 to 99"),
        ({"digit": -1}, 1, "0 to 99"),
        ({"digit": True}, 1, "0 to 99"),
        ({"digit": 1.0}, 1, "0 to 99"),
        ({"digit": "1"}, 1, "0 to 99"),
        (DRAWING, 10, "0 to 9"),
        (DRAWING, -1, "0 to 9"),
        (DRAWING, False, "0 to 9"),
        (DRAWING, "x" * 10000, "0 to 9"),
        (DRAWING, [1], "0 to 9"),
    ],
)
def test_what_cannot_be_looked_at_is_refused(lab, drawing, label, message):
    with pytest.raises(ValueError, match=message) as error:
        lab.look(drawing, label)
    assert len(str(error.value)) < 300


# --------------------------------------------------------------------------------------------------------------- one step


def test_a_step_is_the_rate_times_the_gradient(lab):
    model, image = lab.reader.model, image_of(STROKES)
    _, gradients = model.loss_and_gradients(image[None, ..., None], np.array([4]))
    before, change = {at: value.copy() for at, value in model.params.items()}, lab.state()["weights"]
    found = lab.step(DRAWING, 4, 1e-4)
    for at, value in model.params.items():
        np.testing.assert_allclose(value, before[at] - 1e-4 * gradients[at], rtol=1e-12)
    assert found["promised"] == pytest.approx(-1e-4 * sum((g**2).sum() for g in gradients.values()))
    # a gradient is a local promise
    assert found["after"]["loss"] - found["before"]["loss"] == pytest.approx(found["promised"], rel=0.02)
    assert lab.state()["weights"] > change


def test_steps_move_the_prediction_and_reset_undoes_them(lab):
    first = lab.look(DRAWING, 4)
    for _ in range(20):
        last = lab.step(DRAWING, 4, 0.05)
    assert last["after"]["read"] == 4
    lab.reset()
    assert lab.look(DRAWING, 4)["loss"] == first["loss"]


def test_a_step_to_where_nothing_is_finite_is_not_made(lab, monkeypatch):
    monkeypatch.setattr(sessions, "MOST_RATE", 1e308)
    before = lab.reader.model.get_weights()
    with pytest.raises(FloatingPointError, match="choose a smaller one"):
        lab.step(DRAWING, 4, 1e300)
    for one, other in zip(before, lab.reader.model.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("rate", [0, -1, float("nan"), float("inf"), 1e9, "0.1", True, None, [1]])
def test_a_rate_that_is_none_is_refused(lab, rate):
    with pytest.raises(ValueError, match="learning rate"):
        lab.step(DRAWING, 4, rate)


# --------------------------------------------------------------------------------------------------------------- training


def test_training_learns_and_is_seen_meanwhile(lab, data):
    seen = []
    lab.train(digits=200, epochs=20, optimizer="Adam", rate=0.02, fresh=True)
    while lab.state()["phase"] == "training":
        seen.append(lab.state())
        time.sleep(0.01)
    state = lab.state()
    assert seen
    assert all(each["progress"]["total"] == 80 for each in seen)
    [curve] = state["curves"]
    assert curve["points"][0][0] == 1
    assert curve["points"][-1][0] == 80
    assert curve["points"][-1][1] < 1 < curve["points"][0][1]
    assert state["accuracy"] > 0.5
    assert state["accuracy"] == Reader(lab.reader.model).accuracy(*data[1])
    filters = state["filters"]
    assert filters["address"] == "conv2d/kernel"
    assert (filters["rows"], filters["columns"], len(filters["values"])) == (5, 5, 2)
    np.testing.assert_allclose(
        filters["values"][1], lab.reader.model.params["conv2d/kernel"][:, :, 0, 1].ravel(), rtol=1e-3
    )
    _, gradients = lab.reader.model.loss_and_gradients(data[0][0][:100, ..., None], data[0][1][:100])
    np.testing.assert_allclose(filters["gradient"][1], gradients["conv2d/kernel"][:, :, 0, 1].ravel(), rtol=1e-3)


def test_training_is_what_steps_on_the_same_batches_give(lab, data):
    """The same batches by hand, from the same new weights."""
    lab.train(**SGD, fresh=True)
    lab.wait()
    expected = network().model
    order = np.random.default_rng(0).permutation(200)
    expected.params["conv2d/bias"][:] = 0  # as in a new one
    expected.optimizer.learning_rate = 0.1
    for first in range(0, 200, BATCH):
        batch = order[first : first + BATCH]
        expected.train_on_batch(data[0][0][batch][..., None], data[0][1][batch])
    for one, other in zip(lab.reader.model.get_weights(), expected.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)


def test_training_goes_on_from_the_weights_that_there_are(lab):
    lab.train(**SGD, fresh=True)
    lab.wait()
    first = lab.state()["curves"][0]["points"][-1][1]
    lab.train(**SGD, fresh=False)
    lab.wait()
    assert lab.state()["curves"][0]["points"][0][1] < first
    trained = lab.look(DRAWING, 4)["loss"]
    lab.step(DRAWING, 4, 0.1)
    lab.reset()  # to what the training has left
    assert lab.look(DRAWING, 4)["loss"] == trained


def test_a_training_can_be_stopped_and_keeps_what_it_has_learned(lab):
    before = lab.reader.model.get_weights()
    lab.train(**SGD | {"epochs": 20}, fresh=False)
    while not lab.state()["curves"]:
        time.sleep(0.001)
    lab.stop()
    lab.wait()
    state = lab.state()
    assert state["phase"] == "idle"
    assert state["curves"][0]["points"][-1][0] < 80
    assert any(not np.array_equal(a, b) for a, b in zip(before, lab.reader.model.get_weights(), strict=True))
    lab.stop()  # nothing runs: nothing happens


def test_what_would_get_in_the_way_of_a_training_is_refused_and_looking_is_not(lab, monkeypatch):
    held = threading.Event()
    step = Curve.step
    monkeypatch.setattr(Curve, "step", lambda *arguments: held.wait(10) and step(*arguments))
    lab.train(**SGD, fresh=True)
    busy = [
        lambda: lab.step(DRAWING, 4, 0.1),
        lab.reset,
        lab.heal,
        lambda: lab.plant("conv-stops", "conv2d"),
        lambda: lab.train(**SGD, fresh=True),
        lambda: lab.compare(**SGD),
    ]
    try:
        for call in busy:
            with pytest.raises(Busy, match="stop it first"):
                call()
        assert lab.look(DRAWING)["loss"] > 0
    finally:
        held.set()
    lab.wait()


def test_a_training_without_a_finite_loss_ends_with_a_reason(lab):
    lab.reader.model.params["dense/kernel"][:] = np.nan
    lab.train(**SGD, fresh=False)
    lab.wait()
    state = lab.state()
    assert state["phase"] == "idle"
    assert "finite" in state["note"]
    assert state["note"] == state["curves"][0]["ended"]
    assert json.loads(json.dumps(state, allow_nan=False)) == state
    with pytest.raises(FloatingPointError, match="finite"):
        lab.look(DRAWING, 4)
    lab.train(**SGD, fresh=True)  # the way back
    lab.wait()
    assert lab.look(DRAWING, 4)["loss"] < 10


def test_a_layer_that_raises_ends_the_training_with_its_error(lab, monkeypatch):
    def fail(*arguments):
        raise RuntimeError("the layer is broken")

    monkeypatch.setattr(Curve, "step", fail)
    lab.train(**SGD, fresh=True)
    lab.wait()
    assert lab.state()["note"] == "RuntimeError: the layer is broken"
    assert lab.state()["phase"] == "idle"


def test_closing_ends_a_training(lab):
    lab.train(**SGD | {"epochs": 20}, fresh=True)
    run = lab._run
    lab.close()
    assert lab.closed
    assert not run.is_alive()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"digits": 0}, "digits must be a positive integer"),
        ({"digits": 301}, "at most 300 digits"),
        ({"digits": "5"}, "digits must be a positive integer"),
        ({"epochs": 21}, "20 epochs"),
        ({"epochs": 1.5}, "epochs must be a positive integer"),
        ({"optimizer": "Ada"}, "'SGD' or 'Adam'"),
        ({"optimizer": ["SGD"]}, "'SGD' or 'Adam'"),
        ({"rate": 0}, "learning rate"),
    ],
)
def test_settings_that_are_none_are_refused(lab, change, message):
    with pytest.raises(ValueError, match=message):
        lab.train(**SGD | change, fresh=True)
    assert lab.state()["phase"] == "idle"


def test_without_a_model_the_labs_own_is_trained_at_the_start(data):
    lab = Session(data=data)
    assert lab.look(DRAWING)["loss"] > 0  # at once
    lab.wait()
    state = lab.state()
    assert state["model"]["name"] == "the lab's own"
    assert [layer["kind"] for layer in state["model"]["layers"]][1:4] == ["Conv2D", "Activation", "MaxPooling2D"]
    assert state["curves"][0]["points"][-1][0] == 6
    assert state["accuracy"] is not None


# ------------------------------------------------------------------------------------------------------------------- bugs


def test_a_planted_bug_is_found_and_shows_on_the_drawing(lab, data):
    right = lab.look(DRAWING, 4)
    found = lab.plant("conv-equals", "conv2d")
    assert [report["passed"] for report in found["faulty"]] == [False]
    assert [report["passed"] for report in found["right"]] == [True]
    assert any("+=" in line for line in found["faulty"][0]["lines"])
    assert "Conv2DOverwrites" in found["code"]
    assert lab.state()["planted"] == {"bug": "conv-equals", "layer": "conv2d"}
    shown = lab.look(DRAWING, 4, True)
    assert shown["loss"] == pytest.approx(right["loss"])  # forward is right
    # by hand: the last window's product is all that is left, and there is no ink in that corner
    assert shown["wrong"]["address"] == "conv2d:dkernel"
    assert shown["wrong"]["given"] == 0
    _, gradients = network().model.loss_and_gradients(image_of(STROKES)[None, ..., None], np.array([4]))
    flat = shown["wrong"]["flat"]
    assert shown["wrong"]["right"] == pytest.approx(gradients["conv2d/kernel"].ravel()[flat], rel=1e-6)
    assert abs(shown["wrong"]["right"]) == pytest.approx(np.abs(gradients["conv2d/kernel"]).max())


def test_of_ties_both_checks_are_shown(lab):
    found = lab.plant("pool-ties-all-win", "max_pooling2d")
    assert [(report["mode"], report["passed"]) for report in found["faulty"]] == [("entries", True), ("ties", False)]
    assert all(report["passed"] for report in found["right"])


def test_one_bug_at_a_time_and_none_after_it_is_taken_out(lab):
    before = lab.look(DRAWING, 4)["loss"]
    lab.step(DRAWING, 4, 0.01)
    stepped = lab.look(DRAWING, 4)["loss"]
    lab.plant("conv-stops", "conv2d")
    assert not np.any(lab.look(DRAWING, 4)["dpixels"])
    lab.plant("relu-without-mask", "activation")
    assert np.any(lab.look(DRAWING, 4)["dpixels"])
    lab.heal()
    assert lab.state()["planted"] is None
    assert lab.look(DRAWING, 4, True)["wrong"] is None
    assert lab.look(DRAWING, 4)["loss"] == stepped  # the weights are those that it had
    lab.reset()
    assert lab.look(DRAWING, 4)["loss"] == before
    lab.heal()  # nothing to take out


def test_two_networks_are_trained_side_by_side(lab):
    loss, accuracy = lab.look(DRAWING, 4)["loss"], lab.state()["accuracy"]
    lab.plant("conv-equals", "conv2d")
    lab.compare(**SGD | {"epochs": 3})
    lab.wait()
    state = lab.state()
    right, faulty = state["curves"]
    assert (right["name"], faulty["name"]) == ("right", "with the bug")
    assert right["points"][0][1] == faulty["points"][0][1]  # the same weights, the same batch
    assert right["points"][-1] != faulty["points"][-1]
    assert lab.look(DRAWING, 4)["loss"] == pytest.approx(loss)  # the model itself is as it was
    assert state["accuracy"] == accuracy
    assert state["filters"]["of"] == "with the bug"
    lab.heal()
    lab.train(**SGD | {"epochs": 3}, fresh=True)
    lab.wait()
    [alone] = lab.state()["curves"]
    assert alone["points"][-1][2] == right["points"][-1][2]


def test_a_comparison_needs_a_bug(lab):
    with pytest.raises(ValueError, match="plant one first"):
        lab.compare(**SGD)


@pytest.mark.parametrize(("bug", "layer"), [("conv-equals", "dense"), ("none", "conv2d"), (1, None), ([], {})])
def test_a_bug_that_there_is_not(lab, bug, layer):
    with pytest.raises(ValueError, match="This model can have: relu-without-mask in activation"):
        lab.plant(bug, layer)


# ------------------------------------------------------------------------------------------------------ models of one's own


def saved(tmp_path, layers, x, y, **how):
    """A small model that has learned a little, in a file."""
    model = Sequential(layers, seed=0)
    model.compile("adam", how.pop("loss", "sparse_categorical_crossentropy"))
    model.fit(x, y, epochs=15, verbose=0)
    if how.pop("uncompiled", False):
        model = Sequential(model.layers[:-1] if how.get("logits") else model.layers)
    path = str(tmp_path / "digits.safetensors")
    model.save(path)
    return path


@pytest.mark.parametrize("case", ["images", "without channel", "flat", "up to 1", "one-hot", "uncompiled", "logits"])
def test_models_of_every_kind_read_the_lab(tmp_path, data, case):
    (x, y), test = data
    head = [Dense(24, activation="relu"), Dense(10), Activation("softmax")]
    scaled = [Rescaling(1 / 255)]
    if case == "images":
        path = saved(tmp_path, [*scaled, Flatten(), *head], x[..., None], y)
    elif case == "without channel":
        path = saved(tmp_path, [*scaled, Flatten(), *head], x, y)
    elif case == "flat":
        path = saved(tmp_path, [*scaled, *head], x.reshape(-1, 784), y)
    elif case == "up to 1":
        path = saved(tmp_path, [Flatten(), *head], x / 255, y)
    elif case == "one-hot":
        path = saved(tmp_path, [*scaled, Flatten(), *head], x, np.eye(10)[y], loss="mean_squared_error")
    else:
        layers = [*scaled, Flatten(), *head]
        path = saved(tmp_path, layers, x, y, uncompiled=True, logits=case == "logits")
    reader = load(path, *test)
    assert reader.full == (1 if case == "up to 1" else 255)
    lab = Session(reader, data)
    assert lab.state()["accuracy"] > 0.5
    found = lab.look({"digit": 0}, 3, True)
    assert sum(found["probabilities"]) == pytest.approx(1, abs=1e-2)
    if case not in ("one-hot",):
        assert found["loss"] == pytest.approx(-np.log(found["probabilities"][3]), rel=1e-2)
    assert lab.step({"digit": 0}, 3, 1e-4)["after"]["loss"] < found["loss"]
    lab.train(**SGD, fresh=True)
    lab.wait()
    assert lab.state()["note"] == ""
    assert lab.state()["filters"]["rows"] == 28
    for bug in lab.state()["bugs"]:
        for layer in bug["layers"]:
            assert not all(report["passed"] for report in lab.plant(bug["bug"], layer)["faulty"])
            lab.look({"digit": 0}, 3, True)


def test_models_that_do_not_fit_are_refused_at_once(tmp_path, data):
    path = str(tmp_path / "model.safetensors")
    Sequential([Input((32, 32, 3)), Flatten(), Dense(10)]).save(path)
    with pytest.raises(ValueError, match=r"28 × 28 pixels.*\(28, 28, 1\), \(28, 28\) or \(784,\).*\(32, 32, 3\)"):
        load(path, *data[1])
    Sequential([Input((28, 28)), Flatten(), Dense(2)]).save(path)
    with pytest.raises(ValueError, match=r"ten digits, \(10,\).*\(2,\)"):
        load(path, *data[1])
    (tmp_path / "text").write_text("no model")
    with pytest.raises(ValueError, match="safetensors"):
        load(str(tmp_path / "text"), *data[1])
    with pytest.raises(FileNotFoundError):
        load(str(tmp_path / "nowhere"), *data[1])


def test_the_labs_own_network_learns_to_read(data):
    """In 120 steps it reads most of the test digits."""
    (x, y), (x_test, y_test) = mnist.load_data()
    reader = small_network()
    run = Run([Curve("it", reader)], (x[:6000], y[:6000]), (x_test, y_test), 1, lambda run: None)
    reader.model.optimizer.learning_rate = 0.003
    run.run()
    assert run.curves[0].points[-1][2] > 0.8


def test_tied_parameters_can_be_trained_from_new_weights(data):
    """No config holds a tie, so the network with new weights has to be told."""
    layers = [Input((28, 28, 1)), Flatten(), Rescaling(1 / 255), Dense(10), Dense(10), Dense(10, activation="softmax")]
    model = Sequential(layers, seed=3)
    model.tie({"dense_2/kernel": "dense_1/kernel"})
    model.compile("sgd", "sparse_categorical_crossentropy")
    lab = Session(Reader(model), data)
    lab.train(**SGD, fresh=True)
    lab.wait(60)
    assert lab.state()["phase"] == "idle"
    assert lab.state()["note"] == ""
    assert len(model.get_weights()) == 5
    lab.close()


def test_a_lab_that_fails_at_the_end_of_a_training_goes_on(lab, monkeypatch):
    monkeypatch.setattr(threading, "excepthook", lambda args: None)
    monkeypatch.setattr(sessions, "_filters", lambda *_: 1 / 0)
    lab.train(**SGD, fresh=False)
    lab.wait(60)
    monkeypatch.undo()
    assert lab.state()["phase"] == "idle"
    assert "ZeroDivisionError" in lab.state()["note"]
    lab.train(**SGD, fresh=False)
    lab.wait(60)
    assert lab.state()["note"] == ""


def test_reset_undoes_steps_that_a_comparison_came_after(lab):
    """It trains copies, and the lab's own model not at all."""
    before = lab.reader.model.get_weights()
    bug = next(each for each in lab.state()["bugs"] if each["layers"])
    lab.plant(bug["bug"], bug["layers"][0])
    lab.step(DRAWING, 4, 0.1)
    lab.compare(**SGD)
    lab.wait(60)
    lab.reset()
    for now, then in zip(lab._reader.model.get_weights(), before, strict=True):
        np.testing.assert_array_equal(now, then)
